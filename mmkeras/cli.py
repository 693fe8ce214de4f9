"""`mmkeras VERB`: argparse; each verb's imports stand inside it.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed while
running, 2 usage or recipe, 3 a file, weight or package is missing, 4 data refused or a
proof failed, 130 interrupted.
"""

import argparse
import json
import os
import sys
from pathlib import Path

FAILED, USAGE, MISSING, REFUSED, INTERRUPTED = 1, 2, 3, 4, 130


def main(arguments=None):
    """Runs one verb; returns the exit code."""
    parser = _parser()
    options, extra = parser.parse_known_args(arguments)
    if extra and options.verb != "predict":
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    options.extra = extra
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        _log("interrupted")
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        code, message = _explain(error)
        print(f"mmkeras {options.verb}: {message}", file=sys.stderr)
        return code


# Verbs --------------------------------------------------------------------------------


def quickstart(options):
    """The main job on the embedded digits, from nothing to served answers."""
    from mmkeras import quickstart

    summary = quickstart.start(
        options.lesson,
        Path(options.folder),
        quick=options.quick,
        seed=options.seed,
        log=_log,
    )
    _result(options, summary, quickstart.describe(summary))


def digits(options):
    """Writes the embedded data set."""
    from mmkeras import digits

    path = digits.write(
        options.folder, lesson=options.lesson, rows=options.rows, seed=options.seed
    )
    _result(options, {"manifest": str(path)}, str(path))


def check(options):
    """Opens every file of a manifest; exit 4 where rows were refused."""
    from mmkeras import check

    recipe = check.recipe_for(options.source, options.set)
    found = check.check(recipe)
    _result(options, found.as_json(), found.as_text())
    return REFUSED if found.rejected else 0


def train(options):
    """Trains a recipe and judges the run."""
    from mmkeras import config

    recipe = config.load(options.recipe, options.set)
    from mmkeras import evaluate, manifest, run, train

    rows = manifest.read(recipe.data, seed=recipe.train.seed)
    if options.quick:
        recipe, rows = train.quick(recipe, rows)
    folder = options.run_folder or run.free(Path("runs") / recipe.name)
    trained = train.fit(recipe, rows, folder=folder, log=_log)
    metrics = evaluate.report(trained, rows, log=_log)
    _result(options, metrics, evaluate.describe(trained, metrics))


def evaluate(options):
    """Judges a run on a split of its manifest, or on another manifest."""
    from mmkeras import evaluate, manifest, run

    trained = run.open_folder(options.run_folder)
    data = trained.recipe.data
    if options.manifest:
        data = data.model_copy(update={"manifest": options.manifest})
    rows = manifest.read(data, labels=trained.labels, seed=trained.recipe.train.seed)
    metrics = evaluate.report(trained, rows, (options.split,), log=_log)
    _result(options, metrics, evaluate.describe(trained, metrics))


def export(options):
    """Exports a run as a SavedModel, proved on its test rows."""
    from mmkeras import export, manifest, run

    trained = run.open_folder(options.run_folder)
    data = trained.recipe.data
    rows = None
    if Path(data.manifest).is_file():
        rows = manifest.read(
            data, labels=trained.labels, seed=trained.recipe.train.seed
        ).split("test")
    else:
        _log(f"{data.manifest} is gone: no rows to prove the answers on")
    folder = options.folder or trained.export
    path, found = export.saved_model(trained, folder, rows, log=_log)
    text = f"{path}"
    if found["max_difference"] is not None:
        text += (
            f"\n{found['rows']} test rows answered in a fresh process: at most "
            f"{found['max_difference']:.1e} from the trained model's answers"
        )
    _result(options, {"path": str(path), **found}, text)


def predict(options):
    """Answers one raw row, or all rows of a manifest."""
    from mmkeras import predict

    answers = predict.predict(options.source, options.extra, options.manifest)
    for line in answers if options.json else predict.describe(answers):
        print(json.dumps(line, ensure_ascii=False) if options.json else line)


# Output -------------------------------------------------------------------------------


def _result(options, content, text):
    print(json.dumps(content, ensure_ascii=False) if options.json else text)


def _log(line):
    print(line, file=sys.stderr, flush=True)


def _explain(error):
    """Exit code and message of an error, by its class."""
    codes = {
        "RecipeError": USAGE,
        "UsageError": USAGE,
        "FileExistsError": USAGE,
        "ManifestError": REFUSED,
        "ProofError": REFUSED,
        "FileNotFoundError": MISSING,
        "ImportError": MISSING,
        "ModuleNotFoundError": MISSING,
    }
    kinds = [kind.__name__ for kind in type(error).__mro__]
    for name in kinds:
        if name in codes:
            return codes[name], str(error)
    first = str(error).strip().splitlines() or ["no message"]
    return FAILED, f"{kinds[0]}: {first[0]} (--debug shows where)"


# Arguments ----------------------------------------------------------------------------


def _parser():
    from mmkeras import __version__

    parser = argparse.ArgumentParser(
        prog="mmkeras",
        description="From a CSV of texts, image files and sounds to a model that "
        "answers raw bytes in TensorFlow Serving.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    one = _verb(verbs, quickstart)
    _lesson(one)
    one.add_argument("--folder", default="runs/quickstart", help="where all of it goes")
    one.add_argument("--quick", action="store_true", help="few rows, to see it work")
    one = _verb(verbs, digits)
    one.add_argument("folder", nargs="?", default="data/digits")
    _lesson(one)
    one.add_argument("--rows", type=int, help="default: the lesson's own")
    one = _verb(verbs, check)
    one.add_argument("source", metavar="RECIPE|MANIFEST")
    _set(one)
    one = _verb(verbs, train)
    one.add_argument("recipe", metavar="RECIPE")
    _set(one)
    one.add_argument("--run", dest="run_folder", metavar="DIR", help="new run folder")
    one.add_argument("--quick", action="store_true", help="100 rows, one epoch")
    one = _verb(verbs, evaluate)
    one.add_argument("run_folder", metavar="RUN")
    one.add_argument("--split", default="test", choices=["train", "valid", "test"])
    one.add_argument("--manifest", help="other rows than those of the recipe")
    one = _verb(verbs, export)
    one.add_argument("run_folder", metavar="RUN")
    one.add_argument("folder", nargs="?", metavar="DIR", help="default: RUN/export")
    one = _verb(verbs, predict)
    one.add_argument("source", metavar="RUN|DIR")
    one.add_argument("--manifest", help="CSV of rows, instead of one row")
    one.epilog = "One row: --<input> VALUE, as --text 'seven' --image 7.png."
    return parser


def _verb(verbs, run):
    summary = run.__doc__.splitlines()[0]
    parser = verbs.add_parser(run.__name__, help=summary, description=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="results as JSON")
    parser.add_argument("--debug", action="store_true", help="errors with traceback")
    return parser


def _lesson(parser):
    parser.add_argument(
        "--lesson", default="redundant", choices=["redundant", "unique", "synergy"]
    )
    parser.add_argument("--seed", type=int, default=0)


def _set(parser):
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the recipe, as train.epochs=3",
    )


if __name__ == "__main__":
    sys.exit(main())
