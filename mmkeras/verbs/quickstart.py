"""The whole main job on the embedded digits, from nothing to served answers.

Writes a lesson's data, trains text + image + audio, judges the run, exports it, and has
a process with only TensorFlow answer the test rows from raw bytes.
"""

import time
from pathlib import Path

from mmkeras import verbs

RECIPES = {
    "redundant": "digits.yaml",
    "unique": "digits_unique.yaml",
    "synergy": "digits_synergy.yaml",
}


def arguments(parser):
    """Adds the options."""
    verbs.lesson_arguments(parser)
    parser.add_argument("--folder", default="runs/quickstart", help="for all of it")
    parser.add_argument("--quick", action="store_true", help="few rows, to see it run")


def run(options, extra):
    """Does the main job."""
    verbs.no_more(extra)
    began = time.perf_counter()
    folder = Path(options.folder) / (options.lesson + "_quick" * options.quick)
    verbs.log(f"lesson {options.lesson}: writing the digits to {folder / 'data'}")
    recipe, rows = _data(folder / "data", options)
    verbs.quiet()
    from mmkeras import evaluate, export, run, train

    trained = train.fit(recipe, rows, folder=run.free(folder / "run"), log=verbs.log)
    metrics = evaluate.report(trained, rows, log=verbs.log)
    test = rows.split("test")
    path, found = export.saved_model(trained, folder / "export", test, log=verbs.log)
    accuracy = {
        name: scores["accuracy"]
        for name, scores in metrics["test"]["baselines"].items()
    }
    content = {
        "lesson": options.lesson,
        "accuracy": {**accuracy, "fusion": metrics["test"]["accuracy"]},
        "verdict": evaluate.verdict(metrics["test"]),
        "run": str(trained.folder),
        "report": str(trained.report_html),
        "export": str(path),
        "rows_proved": found["rows"],
        "max_difference": found["max_difference"],
        "answers": [
            _told(test, row, answer) for row, answer in enumerate(found["answers"])
        ],
        "seconds": round(time.perf_counter() - began, 1),
    }
    return verbs.Answer(content, _text(content))


def _data(folder, options):
    """The lesson's recipe and rows; --quick takes a few rows and epochs."""
    from mmkeras import config, digits, manifest

    path = digits.write(
        folder,
        lesson=options.lesson,
        rows=300 if options.quick else None,
        seed=options.seed,
    )
    file = config.shipped(RECIPES[options.lesson])
    changes = [f"data.manifest={path}", f"train.seed={options.seed}"]
    if options.quick:
        changes.append("train.epochs=2")
    recipe = config.load(file, changes)
    return recipe, manifest.read(recipe.data)


def _told(test, row, answer):
    """One answered row: what was sent, what came back, what is true."""
    sent = {name: test.frame[name].iloc[row] for name in test.inputs}
    truth = {name: test.frame[name].iloc[row] for name in test.targets}
    return {
        "sent": sent,
        "label": answer["label"],
        "probability": answer["probability"],
        "truth": truth,
    }


def _text(content):
    accuracy = verbs.aligned(
        [
            [f"    {name.replace('_', ' ')}", f"{100 * value:.1f} %"]
            for name, value in content["accuracy"].items()
        ]
    )
    answers = "\n".join(f"    {_answer(one)}" for one in content["answers"])
    parent = Path(content["export"]).parent
    return f"""
Done in {content["seconds"]:.0f} s: {content["lesson"]} digits from CSV to served model.

  accuracy on the test rows
{accuracy}
{verbs.wrapped(content["verdict"], "  ")}

  {content["rows_proved"]} test rows, as raw text and bytes, answered by a fresh process
  that imports only tensorflow: max difference {content["max_difference"]:.1e}
{answers}

  report   {content["report"]}
  model    {content["export"]}
  serve    docker run -p 8501:8501 -e MODEL_NAME=digits \\
             -v "{parent.resolve()}":/models/digits tensorflow/serving
  ask      mmkeras predict {parent} --text seven"""


def _answer(one):
    """`seven + image + audio -> 7 (98.1 %), truth 7`."""
    sent = [
        cell if name == "text" else name for name, cell in one["sent"].items() if cell
    ]
    truth = ", ".join(one["truth"].values())
    share = f"{100 * one['probability']:.1f} %"
    return f"{' + '.join(sent)} -> {one['label']} ({share}), truth {truth}"
