"""The parts of the report, each a piece of HTML."""

import html

from mmkeras import manifest, splits, templates
from mmkeras.evaluate import sketch, telling

CLASS_SCORES = ("precision", "recall", "f1")


def numbers(judged):
    """The first score of each target in large figures, and those beside it in small."""
    tiles = ""
    for target, first in telling.headlines(judged).items():
        for at, (key, value) in enumerate(telling.brief(judged, target).items()):
            score = key.rpartition(".")[2]
            name = f"{target}: " if target else ""
            ends = telling.between(score, judged.get("intervals", {}).get(key))
            tiles += (
                f'<div class="tile{" first" * (key == first and not at)}">'
                f"<span>{html.escape(name + telling.title(score))}</span>"
                f"<b>{telling.amount(score, value)}</b><small>{ends}</small></div>\n"
            )
    return f'<div class="tiles">{tiles}</div>'


def scores(metrics):
    """The first scores of every split and model, then all of the shown split."""
    return "\n".join(
        templates.table(each)
        for pair in metrics.items()
        for each in telling.tables(*pair)
    )


def all_scores(judged):
    """Every number of a split with its interval."""
    lines = [["score", "", "95 % interval"]]
    for key, value in telling.headline(judged).items():
        ends = judged.get("intervals", {}).get(key)
        lines.append([key.replace("_", " "), f"{value:.4f}", telling.span(ends)])
    return templates.table(lines)


def gain(judged):
    """What each modality is worth to the fusion."""
    found = ""
    for target, key in telling.headlines(judged).items():
        each = telling.of_target(judged, target).get("gain", {})
        score = key.rpartition(".")[2]
        head = [target or "modality", "left out", "drop", "95 % interval"]
        lines = [[*head, "shuffled", "drop", "95 % interval"]]
        for name in each.get("left_out", ()):
            cells = [name]
            for kind in ("left_out", "shuffled"):
                cells += _drop(score, each[kind][name])
            lines.append(cells)
        if len(lines) > 1:
            found += templates.table(lines)
    return found


def _drop(score, one):
    if one["drop"] is None:
        return ["", "", ""]
    return [
        telling.amount(score, one["score"]),
        telling.change(score, one["drop"]),
        telling.changes(score, one["interval"]),
    ]


def groups(judged):
    """Rows by what is present in them, and by the values of columns."""
    every = {"present": judged.get("subsets", {}), **judged.get("slices", {})}
    return "".join(
        templates.table(_group(judged, *pair)) for pair in every.items() if pair[1]
    )


def _group(judged, name, parts):
    keys = list(telling.headlines(judged).values())
    lines = [[name, "rows"]]
    for key in keys:
        lines[0] += [key.replace("_", " "), "95 % interval"]
    for value, part in parts.items():
        cells = [value, f"{part['rows']}"]
        for key in keys:
            score, ends = key.rpartition(".")[2], part["intervals"].get(key)
            told = telling.amount(score, part[key]) if key in part else ""
            cells += [told, telling.between(score, ends)]
        lines.append(cells)
    return lines


def classes(run, judged):
    """Precision, recall and F1 of every class, with their intervals."""
    found = ""
    for name in run.tasks:
        own = telling.of_run(run, judged, name)
        if "per_class" not in own:
            continue
        ends = telling.of_run(run, judged.get("intervals", {}), name)
        ends = ends.get("per_class", {})
        columns = list(next(iter(own["per_class"].values())))
        lines = [[name]]
        for column in columns:
            sure = column in CLASS_SCORES
            lines[0] += [telling.title(column), *["95 % interval"] * sure]
        for label, one in own["per_class"].items():
            cells = [label]
            for column in columns:
                told = f"{one[column]:.3f}" if column != "rows" else f"{one[column]}"
                cells.append(told)
                if column in CLASS_SCORES:
                    cells.append(telling.span(ends.get(f"{label}.{column}"), 3))
            lines.append(cells)
        found += templates.table(lines)
    return found


def calibration(run):
    """How the probabilities of each target were calibrated, in sentences."""
    found = []
    for name in run.tasks:
        decided = run.read_json(run.decisions_json).get("fusion", {}).get(name, {})
        if "calibration" not in decided:
            continue
        told = f"{name}: temperature {decided['temperature']:.3f}; "
        told += f"{decided['calibration']}."
        if "abstain_below" in decided:
            below = decided["abstain_below"]
            told += f" Abstains below a probability of {below:.4f}."
            if below > 1:
                told += " No part of the valid rows reaches the precision asked for."
        found.append(f"<p>{html.escape(told)}</p>")
    return "\n".join(found)


def pictures(figures, *kinds):
    """Figures of these kinds, held in the page."""
    shown = ""
    every = [(kind, *each) for kind in kinds for each in figures.get(kind, ())]
    for kind, path, caption in every:
        source = templates.embedded("image/png", path.read_bytes())
        title = html.escape(caption)
        shown += (
            f'<figure class="{kind}"><img alt="{title}" '
            f'src="{source}">'
            f"<figcaption>{title}</figcaption></figure>\n"
        )
    return f'<div class="figures">{shown}</div>' if shown else ""


def disturbed(judged):
    """What each disturbance costs, a line an input."""
    found = ""
    for target, key in telling.headlines(judged).items():
        score = key.rpartition(".")[2]
        head = f"{target}: disturbed" if target else "disturbed"
        lines = [[head, "input", "strength: " + telling.title(score), "unit"]]
        curves = telling.of_target(judged, target).get("robustness", {})
        for what, curve in curves.items():
            for name, points in curve["inputs"].items():
                told = "; ".join(
                    f"{point['strength']}: {telling.amount(score, point['score'])}"
                    for point in points
                    if point["score"] is not None
                )
                lines.append([what, name, told, curve["unit"]])
        if curves:
            found += templates.table(lines)
    return found


def diagram(run):
    """The model as boxes, or the runs that it is the mean of."""
    if members := run.read_json(run.members_json):
        listed = "".join(f"<li>{html.escape(name)}</li>" for name in members)
        return f"<p>The mean of {len(members)} runs:</p><ul>{listed}</ul>"
    return sketch.drawn(run.read_json(run.parameters_json))


def data(rows):
    """How many rows of each split lack what."""
    lines = [["split", "rows", *(f"{name} missing" for name in rows.inputs)]]
    for split in manifest.SPLITS:
        part = rows.split(split)
        missing = (
            sum(not any(cell) for cell in part.cells(name)) for name in rows.inputs
        )
        lines.append([split, f"{len(part)}", *map(str, missing)])
    return templates.table(lines)


def told_rows(rows):
    """One sentence on all rows of a manifest."""
    counts = rows.frame[rows.split_column].value_counts()
    parts = ", ".join(f"{counts.get(split, 0)} {split}" for split in manifest.SPLITS)
    kept = int(counts.get(splits.KEPT, 0))
    return (
        f"{rows.path.name}: {rows.rows_read} rows read, {len(rows) - kept} used "
        f"({parts}), "
        + f"{kept} kept out of all folds, " * bool(kept)
        + f"{len(rows.rejected)} refused."
    )


def section(title, *parts, folded=False):
    """A part of the page under a heading; "" where it holds nothing."""
    content = "\n".join(filter(None, parts))
    if not content:
        return ""
    title = html.escape(title)
    if folded:
        return f"<details><summary>{title}</summary>\n{content}\n</details>\n"
    return f"<section><h2>{title}</h2>\n{content}\n</section>\n"
