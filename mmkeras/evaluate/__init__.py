"""A trained run against rows it has not seen: metrics.json, figures, report, card."""

from mmkeras import manifest
from mmkeras.evaluate import gains, groups, judging, pages, robustness
from mmkeras.evaluate.advising import shortfalls
from mmkeras.evaluate.comparing import compare
from mmkeras.evaluate.comparing import tables as comparison
from mmkeras.evaluate.ensembling import ensemble
from mmkeras.evaluate.folding import across
from mmkeras.evaluate.folding import tables as spread
from mmkeras.evaluate.judging import decide, predict
from mmkeras.evaluate.telling import headlines, plain, tables, verdict
from mmkeras.run import Run, is_own

__all__ = [
    "across",
    "compare",
    "comparison",
    "decide",
    "ensemble",
    "headlines",
    "judge",
    "place",
    "plain",
    "predict",
    "report",
    "shortfalls",
    "spread",
    "tables",
    "verdict",
]


def report(run, rows, splits=("valid", "test"), *, slices=(), disturbed=0, log=print):
    """Judges a run and writes metrics.json, figures, report.html and README.md.

    What another manifest gives is written below `judged/` in the run's folder, see
    `place`: the run's own numbers stay what they were.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest` with the recipe's columns.
        splits: which of its splits; those without rows are left out.
        slices: columns of the manifest, each value of which is judged by itself too.
        disturbed: rows that `robustness` disturbs; none where 0.
        log: called with one line of text now and then.

    Returns:
        What metrics.json holds: {split: see `judge`; "robustness" and "disturbed_rows"
        with `disturbed`}.

    Raises:
        ManifestError: none of the splits has a usable row, or the manifest lacks a
            column of `slices`.
        ValueError: the model's outputs are not finite.
    """
    groups.check(rows, slices)
    metrics, seen = {}, {}
    for split in splits:
        part, loaded, faults = judging.readable(run, rows.split(split), log)
        rows = rows.reject(faults)
        if len(part):
            seen[split] = judging.see(run, part, loaded, log)
            metrics[split] = _judged(run, seen[split], slices)
            if disturbed:
                log(f"{split}: disturbing at most {disturbed} rows")
                metrics[split] |= _disturbed(run, seen[split], disturbed)
    if not metrics:
        raise manifest.ManifestError(
            f"{rows.path.name} has no usable row in the splits {', '.join(splits)}"
        )
    there = place(run, rows)
    there.folder.mkdir(parents=True, exist_ok=True)
    kept = {**run.read_json(there.metrics_json), **metrics}
    run.write_json(there.metrics_json, kept)
    pages.write(run, there, kept, rows, seen)
    return metrics


def judge(run, rows, *, slices=(), log=print):
    """The metrics of one split; None where it has no usable row.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest`, all of whose rows are judged.
        slices: columns of the manifest, each value of which is judged by itself too.
        log: called with one line where rows or a baseline had to be left out.

    Returns:
        {"rows", the scores of the task, "intervals", "resampling", "baselines": see
        `judging.judged`; "gain": see `gains.gains`, of a run of several inputs;
        "subsets", "slices": see `groups`, where there are}. The first score is the one
        that fusion is judged by. With several targets each name of a score begins with
        its target and a dot, and so does "gain".

    Raises:
        ManifestError: the manifest lacks a column of `slices`.
        ValueError: the model's outputs are not finite.
    """
    groups.check(rows, slices)
    rows, loaded, _ = judging.readable(run, rows, log)
    if not len(rows):
        return None
    return _judged(run, judging.see(run, rows, loaded, log), slices)


def _judged(run, seen, slices):
    """The metrics of rows that models were asked; see `judge`."""
    found = judging.judged(seen)
    if len(run.decoders) > 1:
        for target, gain in gains.gains(run, seen).items():
            found[judging.named(run.tasks, target, "gain")] = gain
    if subsets := groups.subsets(run, seen):
        found["subsets"] = subsets
    if slices:
        found["slices"] = groups.slices(seen, slices)
    return found


def _disturbed(run, seen, most):
    """Curves of every target, see `robustness.curves`, and of how many rows."""
    curves, rows = robustness.curves(run, seen, most)
    return {"disturbed_rows": rows} | {
        judging.named(run.tasks, target, "robustness"): each
        for target, each in curves.items()
    }


def place(run, rows):
    """Where `report` writes: the run, or a folder in it for another manifest.

    Returns:
        A `run.Run` that tells the paths of metrics.json, report.html and so on.
    """
    if is_own(run, rows.path):
        return run
    return Run(run.judged / rows.path.stem)
