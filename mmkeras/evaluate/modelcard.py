"""The model card of a run, as Hugging Face reads it: data for machines, then prose."""

import os

import yaml

from mmkeras import plots
from mmkeras.evaluate import telling

# How Hugging Face names the tasks and metrics that it knows.
TASKS = {"regression": "tabular-regression"}
# A class or part of the rows is named among the limits where it scores so much less.
WEAK = 0.1


def values(run, there, metrics, split, told_rows):
    """What the template of the card is filled with.

    Args:
        run: a `run.Run`.
        there: where the card stands.
        metrics: {split: metrics}.
        split: the one that is shown.
        told_rows: a sentence on the rows.
    """
    judged = metrics[split]
    lines = [
        f"| {name} | {scores['rows']} | {telling.plain(scores)} | {_interval(scores)} |"
        for name, scores in metrics.items()
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
        "front": _front(run, metrics, split),
        "name": run.recipe.name,
        "verdict": telling.verdict(judged) or telling.plain(judged),
        "table": "\n".join(lines),
        "inputs": inputs,
        "targets": targets,
        "parameters": f"{run.model.count_params():,}",
        "data": told_rows,
        "limits": "\n".join(f"- {each}" for each in _limits(run, judged)),
        "parts": _parts(run, there),
    }


def _front(run, metrics, split):
    """The YAML block at the top."""
    results = []
    for name, choice in run.recipe.data.targets.items():
        own = telling.of_run(run, metrics[split], name)
        kind = choice["kind"]
        results.append(
            {
                "task": {"type": TASKS.get(kind, f"multimodal-{kind}"), "name": name},
                "dataset": {
                    "name": os.path.basename(run.recipe.data.manifest),
                    "type": "csv",
                    "split": split,
                },
                "metrics": [
                    {"type": key, "value": round(value, 4)}
                    for key, value in list(telling.headline(own).items())[:4]
                ],
            }
        )
    kinds = dict.fromkeys(each["kind"] for each in run.recipe.data.inputs.values())
    front = {
        "library_name": "keras",
        "tags": ["mmkeras", "multimodal", *kinds],
        "model-index": [{"name": run.recipe.name, "results": results}],
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _interval(judged):
    """The intervals of the first scores in one line."""
    found = []
    for target, key in telling.headlines(judged).items():
        if ends := judged.get("intervals", {}).get(key):
            name = f"{target}: " if target else ""
            found.append(f"{name}{ends[0]:.3f} to {ends[1]:.3f}")
    return ", ".join(found)


def _limits(run, judged):
    """Where the model is weak, by its numbers; what it was never asked, always."""
    found = [
        "Judged on rows like those it was trained on; on other rows, other cameras or "
        "other voices it was not."
    ]
    for name in run.tasks:
        own = telling.of_run(run, judged, name)
        mean = own.get("macro_f1", 0)
        each = own.get("per_class", {}).items()
        weak = [
            f"{label} ({one['f1']:.2f})"
            for label, one in sorted(each, key=lambda pair: pair[1]["f1"])
            if one["rows"] and one["f1"] < mean - WEAK
        ]
        if weak:
            found.append(f"`{name}`: the lowest F1 have {', '.join(weak[:5])}.")
    return found + _weak_subsets(judged)


def _weak_subsets(judged):
    found = []
    for target, key in telling.headlines(judged).items():
        for present, part in judged.get("subsets", {}).items():
            if part.get(key, judged[key]) < judged[key] - WEAK:
                score = key.rpartition(".")[2]
                name = f"`{target}`: " if target else ""
                found.append(
                    f"{name}rows with {present} only: {telling.title(score)} "
                    f"{telling.amount(score, part[key])} on {part['rows']} rows."
                )
    return found


def _parts(run, there):
    """A table of the parts' parameters in Markdown, and the diagram; or ""."""
    outline = run.read_json(run.parameters_json)
    if not outline:
        return ""
    head, *lines = plots.parts(outline)
    table = [head, ["---"] * len(head), *lines]
    diagram = f"![the model]({os.path.relpath(run.diagram, there.folder)})"
    return "\n".join([*(f"| {' | '.join(line)} |" for line in table), "", diagram, ""])


def _target(kind, labels):
    return f"{kind}, {len(labels)} labels" if isinstance(labels, list) else kind
