"""Metrics on paper: figures, report.html, and the model card of a run."""

import base64
import csv
import html
import os
import string
from pathlib import Path

from mmkeras import manifest, plots
from mmkeras.evaluate import telling

TEMPLATES = Path(__file__).parent.parent / "templates"

# By the first word of a figure's file name.
CAPTIONS = {
    "baselines": "Each modality alone, and fused",
    "confusion": "Which class is taken for which",
    "curves": "Training, epoch by epoch",
    "numbers": "True and told",
    "roc": "Same or not: pairs of rows",
}


def write(run, there, metrics, rows):
    """Draws the figures, writes report.html and README.md.

    Args:
        run: the `run.Run` that was judged.
        there: a `run.Run` that tells where to write; see `evaluate.place`.
        metrics: {split: metrics}, all that is known.
        rows: the `manifest.Manifest` that was judged.
    """
    _draw(run, there, metrics)
    _write_report(run, there, metrics, _accounted(run, there, rows))


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
        several = len(run.tasks) > 1
        scores = telling.of_target(judged, name if several else "")
        if "confusion" in scores:
            path = there.figures / f"confusion_{name}.png"
            plots.confusion(path, scores["confusion"], task.labels)
        if "points" in scores:
            plots.numbers(there.figures / f"numbers_{name}.png", scores["points"], name)
        if scores.get("roc"):
            plots.roc(there.figures / f"roc_{name}.png", scores["roc"])
    for target, key in telling.headlines(judged).items():
        bars = {
            name: one[key]
            for name, one in judged.get("baselines", {}).items()
            if key in one
        }
        if bars:
            bars["fusion"] = judged[key]
            path = there.figures / f"baselines{'_' * bool(target)}{target}.png"
            score = key.rpartition(".")[2]
            label = f"{split} {telling.title(score)}"
            plots.baselines(path, bars, label, score not in telling.PLAIN)


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
        "verdict": html.escape(telling.verdict(judged) or telling.plain(judged)),
        "scores": "\n".join(_score_tables(*pair) for pair in metrics.items()),
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


def _score_tables(split, judged):
    return "\n".join(map(_score_table, telling.tables(split, judged)))


def _score_table(table):
    head, *body = ([html.escape(cell) for cell in line] for line in table)
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
        scores = telling.of_target(judged, name if len(run.tasks) > 1 else "")
        if "per_class" in scores:
            tables += _class_table(name, scores["per_class"])
    return tables


def _class_table(name, classes):
    columns = list(next(iter(classes.values())))
    head = "".join(f"<th>{telling.title(column)}</th>" for column in columns)
    rows = ""
    for label, one in classes.items():
        cells = (f"{one[c]:.3f}" if c != "rows" else f"{one[c]}" for c in columns)
        rows += f"<tr><th>{html.escape(label)}</th>"
        rows += "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
    return f"<table><tr><th>{html.escape(name)}</th>{head}</tr>\n{rows}</table>"


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


def _accounted(run, there, rows):
    """The rows without those that training found unreadable, see rejected.csv."""
    if there is not run or not run.rejected_csv.is_file():
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
        f"| {split} | {scores['rows']} | {telling.plain(scores)} |"
        for split, scores in metrics.items()
    ]
    inputs = ", ".join(
        f"`{name}` ({choice['kind']})"
        for name, choice in run.recipe.data.inputs.items()
    )
    targets = ", ".join(
        f"`{name}` ({_target(choice['kind'], run.labels[name])})"
        for name, choice in run.recipe.data.targets.items()
    )
    return {
        "name": run.recipe.name,
        "verdict": telling.verdict(judged) or telling.plain(judged),
        "table": "\n".join(lines),
        "inputs": inputs,
        "targets": targets,
        "parameters": f"{run.model.count_params():,}",
        "data": _data_sentence(rows),
    }


def _target(kind, labels):
    return f"{kind}, {len(labels)} labels" if isinstance(labels, list) else kind
