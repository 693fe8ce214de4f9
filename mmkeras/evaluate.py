"""A trained run against rows it has not seen: metrics.json, figures, report, card."""

import base64
import csv
import html
import string
from pathlib import Path

import numpy as np

from mmkeras import dataset, manifest, plots

TEMPLATES = Path(__file__).parent / "templates"


def report(run, rows, splits=("valid", "test"), *, log=print):
    """Judges a run and writes metrics.json, figures, report.html and README.md.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest` with the recipe's columns.
        splits: which of its splits; those without rows are left out.
        log: called with one line of text now and then.

    Returns:
        What metrics.json holds: {split: {"accuracy", "macro_f1", "rows", ...,
        "baselines": {input or "late_fusion": {"accuracy", "macro_f1"}}}}. With several
        targets each name begins with its target and a dot.

    Raises:
        ManifestError: none of the splits has a usable row.
    """
    metrics = {}
    for split in splits:
        judged = judge(run, rows.split(split), log=log)
        if judged:
            metrics[split] = judged
    if not metrics:
        raise manifest.ManifestError(
            f"{rows.path.name} has no usable row in the splits {', '.join(splits)}"
        )
    kept = {**run.read_json(run.metrics_json), **metrics}
    run.write_json(run.metrics_json, kept)
    _draw(run, kept)
    _write_report(run, kept, rows)
    return metrics


def judge(run, rows, *, log=print):
    """The metrics of one split; None where it has no usable row.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest`, all of whose rows are judged.
        log: called with one line where rows had to be left out.
    """
    if not len(rows):
        return None
    loaded, faults = dataset.load(rows, run.decoders, cache_mb=run.recipe.data.cache_mb)
    if faults:
        loaded = loaded.keep(~rows.frame.index.isin(list(faults)))
        rows = rows.reject(faults)
        log(f"left out {len(faults)} unreadable rows, first {rows.rejected[0]}")
        if not len(rows):
            return None
    truth = {name: task.target(rows.frame[name]) for name, task in run.tasks.items()}
    outputs = predict(run.model, loaded, len(rows))
    found = {"rows": len(rows), **_scores(run.tasks, truth, outputs)}
    alone = {}
    for name in run.decoders:
        network = run.baseline(name)
        if network:
            own = loaded.only(set(network.input))
            alone[name] = predict(network, own, len(rows))
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


def predict(network, loaded, count, batch_size=128):
    """A model's outputs for all rows, {target: (rows, ...) array}."""
    return network.predict(dataset.ordered(loaded, count, batch_size), verbose=0)


def verdict(metrics):
    """One sentence: is the fusion better than the best single modality?

    Args:
        metrics: of one split, as `judge` gives.

    Returns:
        The sentence; "" where there is nothing to compare with.
    """
    singles = {
        name: scores["accuracy"]
        for name, scores in metrics.get("baselines", {}).items()
        if name != "late_fusion" and "accuracy" in scores
    }
    if not singles or "accuracy" not in metrics:
        return ""
    best = max(singles, key=singles.get)
    gain = 100 * (metrics["accuracy"] - singles[best])
    if gain > 0:
        return (
            f"Fusion helped: {100 * metrics['accuracy']:.1f} % against "
            f"{100 * singles[best]:.1f} % of {best} alone, {gain:+.1f} points."
        )
    return (
        f"Fusion did not help: {100 * metrics['accuracy']:.1f} % against "
        f"{100 * singles[best]:.1f} % of {best} alone, {gain:+.1f} points. Try another "
        "fusion.kind, or augment.modality_dropout."
    )


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


def _draw(run, metrics):
    run.figures.mkdir(exist_ok=True)
    history = _read_history(run.history_csv)
    if history:
        plots.curves(run.figures / "curves.png", history)
    split = "test" if "test" in metrics else next(iter(metrics))
    judged = metrics[split]
    for name, task in run.tasks.items():
        prefix = f"{name}." if len(run.tasks) > 1 else ""
        if f"{prefix}confusion" in judged:
            matrix = judged[f"{prefix}confusion"]
            path = run.figures / f"confusion_{name}.png"
            plots.confusion(path, matrix, task.labels)
    if "baselines" in judged and "accuracy" in judged:
        bars = {name: one["accuracy"] for name, one in judged["baselines"].items()}
        bars["fusion"] = judged["accuracy"]
        plots.baselines(run.figures / "baselines.png", bars)


def _read_history(path):
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"] if rows else []
    return {name: [float(row[name]) for row in rows] for name in names}


def _write_report(run, metrics, rows):
    split = "test" if "test" in metrics else next(iter(metrics))
    judged = metrics[split]
    values = {
        "name": html.escape(run.recipe.name),
        "verdict": html.escape(verdict(judged) or plain(judged)),
        "scores": _score_table(metrics),
        "figures": _figures(run.figures),
        "classes": _class_tables(run, judged),
        "data": html.escape(_data_sentence(rows)),
        "recipe": html.escape(run.recipe_yaml.read_text(encoding="utf-8")),
        "environment": html.escape(run.environment_json.read_text(encoding="utf-8")),
        "split": split,
    }
    for template, path in (("report.html", run.report_html), ("card.md", run.card)):
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        if path == run.card:
            values = {**values, **_card_values(run, metrics, judged)}
        filled = string.Template(text).substitute(values)
        path.write_text(filled, encoding="utf-8")


def plain(judged):
    """The headline numbers of a split in one line."""
    return ", ".join(f"{key} {value:.3f}" for key, value in _headline(judged).items())


def _score_table(metrics):
    keys = [key for key, value in _headline(next(iter(metrics.values()))).items()]
    head = "".join(f"<th>{html.escape(key.replace('_', ' '))}</th>" for key in keys)
    body = ""
    for split, judged in metrics.items():
        named = {split: judged, **judged.get("baselines", {})}
        for name, scores in named.items():
            label = name if name == split else f"{split}, {name.replace('_', ' ')}"
            label += " alone" if name in judged.get("baselines", {}) else ""
            label = label.replace("late fusion alone", "late fusion")
            cells = "".join(f"<td>{scores[key]:.4f}</td>" for key in keys)
            body += f"<tr><th>{html.escape(label)}</th>{cells}</tr>\n"
    return f"<table><tr><th></th>{head}</tr>\n{body}</table>"


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
        title = html.escape(path.stem.replace("_", " "))
        shown += (
            f'<figure><img alt="{title}" src="data:image/png;base64,{data}">'
            f"<figcaption>{title}</figcaption></figure>\n"
        )
    return shown


def _data_sentence(rows):
    counts = rows.frame[rows.split_column].value_counts()
    parts = ", ".join(f"{counts.get(split, 0)} {split}" for split in manifest.SPLITS)
    return (
        f"{rows.path.name}: {rows.rows_read} rows read, {len(rows)} used ({parts}), "
        f"{len(rows.rejected)} refused."
    )


def _card_values(run, metrics, judged):
    lines = [
        f"| {split} | {scores['rows']} | "
        + ", ".join(f"{key} {value:.4f}" for key, value in _headline(scores).items())
        + " |"
        for split, scores in metrics.items()
    ]
    inputs = ", ".join(
        f"`{name}` ({choice['kind']})"
        for name, choice in run.recipe.data.inputs.items()
    )
    targets = ", ".join(f"`{name}`" for name in run.recipe.data.targets)
    return {
        "name": run.recipe.name,
        "verdict": verdict(judged) or plain(judged),
        "table": "\n".join(lines),
        "inputs": inputs,
        "targets": targets,
        "parameters": f"{run.model.count_params():,}",
        "data": _data_sentence_from(metrics),
    }


def _data_sentence_from(metrics):
    return ", ".join(f"{one['rows']} {split} rows" for split, one in metrics.items())
