"""A trained run against rows it has not seen: metrics.json, figures, report, card."""

import base64
import csv
import html
import os
import string
from pathlib import Path

import numpy as np

from mmkeras import dataset, manifest, plots
from mmkeras.run import Run

TEMPLATES = Path(__file__).parent / "templates"

# By the first word of a figure's file name.
CAPTIONS = {
    "baselines": "Each modality alone, and fused",
    "confusion": "Which class is taken for which",
    "curves": "Training, epoch by epoch",
}


def report(run, rows, splits=("valid", "test"), *, log=print):
    """Judges a run and writes metrics.json, figures, report.html and README.md.

    What another manifest gives is written below `judged/` in the run's folder, see
    `place`: the run's own numbers stay what they were.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest` with the recipe's columns.
        splits: which of its splits; those without rows are left out.
        log: called with one line of text now and then.

    Returns:
        What metrics.json holds: {split: {"rows", "accuracy", "macro_f1", "log_loss",
        "per_class", "confusion", "baselines": {input or "late_fusion": {"accuracy",
        "macro_f1", "log_loss"}}}}. With several targets each name of a score begins
        with its target and a dot.

    Raises:
        ManifestError: none of the splits has a usable row.
        ValueError: the model's outputs are not finite.
    """
    metrics = {}
    for split in splits:
        part, loaded, faults = _readable(run, rows.split(split), log)
        rows = rows.reject(faults)
        if len(part):
            metrics[split] = _judged(run, part, loaded, log)
    if not metrics:
        raise manifest.ManifestError(
            f"{rows.path.name} has no usable row in the splits {', '.join(splits)}"
        )
    there = place(run, rows)
    there.folder.mkdir(parents=True, exist_ok=True)
    kept = {**run.read_json(there.metrics_json), **metrics}
    run.write_json(there.metrics_json, kept)
    _draw(run, there, kept)
    _write_report(run, there, kept, _accounted(run, rows))
    return metrics


def place(run, rows):
    """Where `report` writes: the run, or a folder in it for another manifest.

    Returns:
        A `run.Run` that tells the paths of metrics.json, report.html and so on.
    """
    if rows.path.resolve() == Path(run.recipe.data.manifest).resolve():
        return run
    return Run(run.judged / rows.path.stem)


def judge(run, rows, *, log=print):
    """The metrics of one split; None where it has no usable row.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest`, all of whose rows are judged.
        log: called with one line where rows or a baseline had to be left out.

    Raises:
        ValueError: the model's outputs are not finite.
    """
    rows, loaded, _ = _readable(run, rows, log)
    return _judged(run, rows, loaded, log) if len(rows) else None


def _readable(run, rows, log):
    """(the rows whose files can be read, decoded, {line: fault} of the others)."""
    if not len(rows):
        return rows, None, {}
    loaded, faults = dataset.load(rows, run.decoders, cache_mb=run.recipe.data.cache_mb)
    if faults:
        loaded = loaded.keep(~rows.frame.index.isin(list(faults)))
        rows = rows.reject(faults)
        shown = "".join(f"\n  {row}" for row in rows.rejected[:10])
        more = len(faults) - 10
        shown += f"\n  and {more} more" if more > 0 else ""
        log(f"left out {len(faults)} rows that cannot be read:{shown}")
    return rows, loaded, faults


def _judged(run, rows, loaded, log):
    truth = {name: task.target(rows.frame[name]) for name, task in run.tasks.items()}
    outputs = predict(run.model, loaded, len(rows))
    if not _finite(outputs):
        raise ValueError(
            "the model's outputs are not finite: its training diverged. Lower "
            f"train.learning_rate, it was {run.recipe.train.learning_rate:g}"
        )
    found = {"rows": len(rows), **_scores(run.tasks, truth, outputs)}
    alone = {}
    for name in run.decoders:
        network = run.baseline(name)
        if network:
            own = loaded.only(set(network.input))
            alone[name] = predict(network, own, len(rows))
            if not _finite(alone[name]):
                log(f"left out the baseline {name}: its outputs are not finite")
                del alone[name]
    if alone:
        late = {
            target: np.mean([outputs[target] for outputs in alone.values()], axis=0)
            for target in run.tasks
        }
        found["baselines"] = {
            name: _headline(_scores(run.tasks, truth, outputs))
            for name, outputs in {**alone, "late_fusion": late}.items()
        }
    return found


def _finite(outputs):
    return all(np.isfinite(values).all() for values in outputs.values())


def predict(network, loaded, count, batch_size=128):
    """A model's outputs for all rows, {target: (rows, ...) array}."""
    with dataset.broken_files_named():
        return network.predict(dataset.ordered(loaded, count, batch_size), verbose=0)


def verdict(metrics):
    """One sentence: is the fusion better than the best single modality?

    Args:
        metrics: of one split, as `judge` gives.

    Returns:
        The sentence, one a target where there are several; "" where there is nothing
        to compare with.
    """
    baselines = metrics.get("baselines", {})
    sentences = []
    for key in metrics:
        target, _, score = key.rpartition(".")
        if score == "accuracy" and baselines:
            told = _compared(
                metrics[key], {name: one[key] for name, one in baselines.items()}
            )
            sentences.append(f"{target}: {told}" if target else told)
    return " ".join(sentences)


def _compared(fused, others):
    """The sentence on one target; accuracies in [0, 1]."""
    singles = {name: value for name, value in others.items() if name != "late_fusion"}
    best, late = max(singles, key=singles.get), others["late_fusion"]
    gain = 100 * (fused - singles[best])
    helped = "helped" if gain > 0 else "did not help"
    told = (
        f"Fusion {helped}: {100 * fused:.1f} % against {100 * singles[best]:.1f} % of "
        f"{best} alone, {gain:+.1f} points."
    )
    if late > fused:
        told += f" The mean of the single models does better: {100 * late:.1f} %."
    if gain <= 0:
        told += " Try another fusion.kind, or augment.modality_dropout."
    return told


def _scores(tasks, truth, outputs):
    """All tasks' scores in one dict; prefixed by target where there are several."""
    found = {}
    for name, task in tasks.items():
        prefix = f"{name}." if len(tasks) > 1 else ""
        scores = task.scores(truth[name], outputs[name])
        found |= {f"{prefix}{key}": value for key, value in scores.items()}
    return found


def _headline(scores):
    return {key: value for key, value in scores.items() if isinstance(value, float)}


def _shown(metrics):
    """The split that figures and verdict are about."""
    return "test" if "test" in metrics else next(iter(metrics))


def _draw(run, there, metrics):
    there.figures.mkdir(exist_ok=True)
    history = _read_history(run.history_csv)
    if history:
        plots.curves(there.figures / "curves.png", history)
    split = _shown(metrics)
    judged = metrics[split]
    for name, task in run.tasks.items():
        prefix, suffix = (f"{name}.", f"_{name}") if len(run.tasks) > 1 else ("", "")
        if f"{prefix}confusion" in judged:
            matrix = judged[f"{prefix}confusion"]
            path = there.figures / f"confusion_{name}.png"
            plots.confusion(path, matrix, task.labels)
        key = f"{prefix}accuracy"
        if "baselines" in judged and key in judged:
            bars = {name: one[key] for name, one in judged["baselines"].items()}
            bars["fusion"] = judged[key]
            path = there.figures / f"baselines{suffix}.png"
            plots.baselines(path, bars, split)


def _read_history(path):
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"] if rows else []
    return {name: [float(row[name]) for row in rows] for name in names}


def _write_report(run, there, metrics, rows):
    split = _shown(metrics)
    judged = metrics[split]
    values = {
        "name": html.escape(run.recipe.name),
        "verdict": html.escape(verdict(judged) or plain(judged)),
        "scores": "\n".join(_score_table(*pair) for pair in metrics.items()),
        "figures": _figures(there.figures),
        "diagram": _diagram(run),
        "classes": _class_tables(run, judged),
        "data": html.escape(_data_sentence(rows)),
        "recipe": html.escape(run.recipe_yaml.read_text(encoding="utf-8")),
        "environment": html.escape(run.environment_json.read_text(encoding="utf-8")),
        "split": split,
    }
    _fill("report.html", there.report_html, values)
    values = _card_values(run, metrics, judged, rows)
    values["parts"] = _parts(run, there)
    _fill("card.md", there.card, values)


def _fill(template, path, values):
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    path.write_text(string.Template(text).substitute(values), encoding="utf-8")


def plain(judged):
    """The headline numbers of a split in one line."""
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.3f}"
        for key, value in _headline(judged).items()
    )


def table(split, judged):
    """The headline numbers of a split and of its baselines, as rows of text.

    Args:
        split: its name.
        judged: its metrics, as `judge` gives.

    Returns:
        A list of lists of str, the first the header.
    """
    keys = list(_headline(judged))
    lines = [[f"{split}, {judged['rows']} rows", *(k.replace("_", " ") for k in keys)]]
    for name, scores in {"": judged, **judged.get("baselines", {})}.items():
        title = {"": "fusion", "late_fusion": "late fusion"}.get(name, f"{name} alone")
        if "baselines" not in judged:
            title = "model"
        lines.append([title, *(f"{scores[key]:.4f}" for key in keys)])
    return lines


def _score_table(split, judged):
    head, *body = (
        [html.escape(cell) for cell in line] for line in table(split, judged)
    )
    lines = "".join(
        f"<tr><th>{line[0]}</th>"
        + "".join(f"<td>{cell}</td>" for cell in line[1:])
        + "</tr>\n"
        for line in body
    )
    names = "".join(f"<th>{cell}</th>" for cell in head)
    return f"<table>\n<tr>{names}</tr>\n{lines}</table>"


def _class_tables(run, judged):
    tables = ""
    for name in run.tasks:
        prefix = f"{name}." if len(run.tasks) > 1 else ""
        rows = ""
        for label, one in judged.get(f"{prefix}per_class", {}).items():
            rows += (
                f"<tr><th>{html.escape(label)}</th><td>{one['rows']}</td>"
                f"<td>{one['precision']:.3f}</td><td>{one['recall']:.3f}</td>"
                f"<td>{one['f1']:.3f}</td></tr>\n"
            )
        tables += (
            f"<table><tr><th>{html.escape(name)}</th><th>rows</th><th>precision</th>"
            f"<th>recall</th><th>F1</th></tr>\n{rows}</table>"
        )
    return tables


def _figures(folder):
    shown = ""
    for path in sorted(folder.glob("*.png")):
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        kind, _, target = path.stem.partition("_")
        title = CAPTIONS.get(kind, path.stem) + (f": {target}" if target else "")
        title = html.escape(title)
        shown += (
            f'<figure><img alt="{title}" src="data:image/png;base64,{data}">'
            f"<figcaption>{title}</figcaption></figure>\n"
        )
    return shown


def _diagram(run):
    """The model's diagram as a picture inside a page; "" of a run that has none."""
    if not run.diagram.is_file():
        return ""
    data = base64.b64encode(run.diagram.read_bytes()).decode("ascii")
    return f'<img alt="the model" src="data:image/svg+xml;base64,{data}">'


def _parts(run, there):
    """A table of the parts' parameters in Markdown, and the diagram; or ""."""
    outline = run.read_json(run.parameters_json)
    if not outline:
        return ""
    head, *lines = plots.parts(outline)
    table = [head, ["---"] * len(head), *lines]
    diagram = f"![the model]({os.path.relpath(run.diagram, there.folder)})"
    return "\n".join([*(f"| {' | '.join(line)} |" for line in table), "", diagram, ""])


def _accounted(run, rows):
    """The rows without those that training found unreadable, see rejected.csv."""
    if place(run, rows) is not run or not run.rejected_csv.is_file():
        return rows
    with open(run.rejected_csv, newline="", encoding="utf-8") as file:
        refused = {
            int(row["line"]): (row["column"], row["reason"])
            for row in csv.DictReader(file)
        }
    here = set(rows.frame.index)
    return rows.reject({line: why for line, why in refused.items() if line in here})


def _data_sentence(rows):
    counts = rows.frame[rows.split_column].value_counts()
    parts = ", ".join(f"{counts.get(split, 0)} {split}" for split in manifest.SPLITS)
    return (
        f"{rows.path.name}: {rows.rows_read} rows read, {len(rows)} used ({parts}), "
        f"{len(rows.rejected)} refused."
    )


def _card_values(run, metrics, judged, rows):
    lines = [
        f"| {split} | {scores['rows']} | {plain(scores)} |"
        for split, scores in metrics.items()
    ]
    inputs = ", ".join(
        f"`{name}` ({choice['kind']})"
        for name, choice in run.recipe.data.inputs.items()
    )
    targets = ", ".join(
        f"`{name}` ({len(labels)} labels)" for name, labels in run.labels.items()
    )
    return {
        "name": run.recipe.name,
        "verdict": verdict(judged) or plain(judged),
        "table": "\n".join(lines),
        "inputs": inputs,
        "targets": targets,
        "parameters": f"{run.model.count_params():,}",
        "data": _data_sentence(rows),
    }
