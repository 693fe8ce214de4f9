"""A trained run against rows it has not seen: metrics.json, figures, report, card."""

from pathlib import Path

from mmkeras import manifest
from mmkeras.evaluate import pages
from mmkeras.evaluate.judging import decide, judge, judged, predict, readable
from mmkeras.evaluate.telling import headlines, plain, tables, verdict
from mmkeras.run import Run

__all__ = [
    "decide",
    "headlines",
    "judge",
    "place",
    "plain",
    "predict",
    "report",
    "tables",
    "verdict",
]


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
        What metrics.json holds: {split: {"rows", the scores of the task, "baselines":
        {input or "late_fusion": those of its scores that are numbers}}}. The first
        score is the one that fusion is judged by. With several targets each name of a
        score begins with its target and a dot.

    Raises:
        ManifestError: none of the splits has a usable row.
        ValueError: the model's outputs are not finite.
    """
    metrics = {}
    for split in splits:
        part, loaded, faults = readable(run, rows.split(split), log)
        rows = rows.reject(faults)
        if len(part):
            metrics[split] = judged(run, part, loaded, log)
    if not metrics:
        raise manifest.ManifestError(
            f"{rows.path.name} has no usable row in the splits {', '.join(splits)}"
        )
    there = place(run, rows)
    there.folder.mkdir(parents=True, exist_ok=True)
    kept = {**run.read_json(there.metrics_json), **metrics}
    run.write_json(there.metrics_json, kept)
    pages.write(run, there, kept, rows)
    return metrics


def place(run, rows):
    """Where `report` writes: the run, or a folder in it for another manifest.

    Returns:
        A `run.Run` that tells the paths of metrics.json, report.html and so on.
    """
    if rows.path.resolve() == Path(run.recipe.data.manifest).resolve():
        return run
    return Run(run.judged / rows.path.stem)
