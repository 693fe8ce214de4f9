"""A run's outputs on rows, and what its tasks score of them."""

import numpy as np

from mmkeras import dataset, tasks

# The mean of the single models' outputs, judged as a model of its own.
LATE = "late_fusion"


def judge(run, rows, *, log=print):
    """The metrics of one split; None where it has no usable row.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest`, all of whose rows are judged.
        log: called with one line where rows or a baseline had to be left out.

    Raises:
        ValueError: the model's outputs are not finite.
    """
    rows, loaded, _ = readable(run, rows, log)
    return judged(run, rows, loaded, log) if len(rows) else None


def readable(run, rows, log):
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


def judged(run, rows, loaded, log):
    """The metrics of rows that are decoded; see `judge`."""
    outputs = predict(run.model, loaded, len(rows))
    if not _finite(outputs):
        raise ValueError(
            "the model's outputs are not finite: its training diverged. Lower "
            f"train.learning_rate, it was {run.recipe.train.learning_rate:g}"
        )
    truths = _truths(run.tasks, rows)
    found = {"rows": len(rows), **_scores(run.tasks, truths, outputs)}
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
        found["baselines"] = {
            name: headline(_scores(run.tasks_of(name), truths, outputs))
            for name, outputs in with_late(run.tasks, alone).items()
        }
    return found


def with_late(made, alone):
    """The outputs of single models, and their mean where one has a meaning.

    Args:
        made: {target: task}.
        alone: {input: {target: outputs}}.
    """
    if not all(task.can_average for task in made.values()):
        return alone
    late = {
        target: np.mean([outputs[target] for outputs in alone.values()], axis=0)
        for target in made
    }
    return {**alone, LATE: late}


def decide(made, models, splits):
    """What every model's tasks decide after training, for `decisions.json`.

    Args:
        made: {target: task}.
        models: {"fusion" or input: its `keras.Model`}.
        splits: {"train" or "valid": (`dataset.Rows`, rows of the manifest)}.

    Returns:
        {model, and "late_fusion": {target: decision}}; {} where no task decides.
    """
    asked = {split for task in made.values() for split in task.judged_on}
    splits = {split: splits[split] for split in splits if split in asked}
    splits = {split: pair for split, pair in splits.items() if len(pair[1])}
    if not splits:
        return {}
    outputs = {name: {} for name in models}
    for name, network in models.items():
        for split, (loaded, rows) in splits.items():
            own = loaded.only(set(network.input))
            outputs[name][split] = predict(network, own, len(rows))
    alone = {name: each for name, each in outputs.items() if name != "fusion"}
    if alone:
        late = {
            split: with_late(made, {name: each[split] for name, each in alone.items()})
            for split in splits
        }
        if all(LATE in each for each in late.values()):
            outputs[LATE] = {split: each[LATE] for split, each in late.items()}
    truths = {split: _truths(made, rows) for split, (_, rows) in splits.items()}
    return {
        name: _decisions(made, truths, by_split) for name, by_split in outputs.items()
    }


def _decisions(made, truths, outputs):
    """{target: decision} of one model; a task without rows to judge decides nothing."""
    found = {}
    for target, task in made.items():
        seen = {}
        for split in task.judged_on:
            if split in truths and truths[split][target][1].any():
                truth, known = truths[split][target]
                seen[split] = truth[known], outputs[split][target][known]
        if seen and task.judged_on[0] in seen:
            found[target] = task.choose(seen)
    return found


def predict(network, loaded, count, batch_size=128):
    """A model's outputs for all rows, {target: (rows, ...) array}."""
    with dataset.broken_files_named():
        return network.predict(dataset.ordered(loaded, count, batch_size), verbose=0)


def _truths(made, rows):
    """{target: (truth, which rows have one)}."""
    return {name: tasks.truth(task, rows.frame[name]) for name, task in made.items()}


def _finite(outputs):
    return all(np.isfinite(values).all() for values in outputs.values())


def _scores(made, truths, outputs):
    """All tasks' scores in one dict; prefixed by target where there are several."""
    found = {}
    for name, task in made.items():
        prefix = f"{name}." if len(made) > 1 else ""
        truth, known = truths[name]
        if known.any():
            scores = task.scores(truth[known], outputs[name][known])
            found |= {f"{prefix}{key}": value for key, value in scores.items()}
    return found


def headline(scores):
    """Those of the scores that are one number each."""
    return {key: value for key, value in scores.items() if isinstance(value, float)}
