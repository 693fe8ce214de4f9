"""A run's outputs on rows, and what its tasks score of them."""

import dataclasses
import functools

import numpy as np

from mmkeras import dataset, tasks
from mmkeras.scores import resampling

FUSION = "fusion"
# The mean of the single models' outputs, judged as a model of its own.
LATE = "late_fusion"


def readable(run, rows, log):
    """(the rows whose files can be read, decoded, {line: fault} of the others)."""
    if not len(rows):
        return rows, None, {}
    loaded, faults = dataset.load(rows, run.decoders, cache_mb=run.recipe.data.cache_mb)
    if faults:
        loaded = loaded.keep(~rows.frame.index.isin(list(faults)))
        rows = rows.reject(faults)
        log(f"left out {len(faults)} rows that cannot be read:\n{rows.listed()}")
    return rows, loaded, faults


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a run's models make of rows.

    Attributes:
        rows: the `manifest.Manifest`.
        loaded: `dataset.Rows` of them.
        truths: {target: (truth, (rows,) bool, whether it is known)}.
        tasks: {model: {target: task}}, of `fusion`, each input's own and `late_fusion`.
        outputs: {model: {target: (rows, ...) array}}, `fusion` first.
    """

    rows: object
    loaded: object
    truths: dict
    tasks: dict
    outputs: dict


def see(run, rows, loaded, log):
    """Asks all models of a run.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest`, see `readable`.
        loaded: the same rows, decoded.
        log: called with one line where a baseline had to be left out.

    Returns:
        A `Seen`.

    Raises:
        ValueError: the model's outputs are not finite.
    """
    outputs = predict(run.model, loaded, len(rows))
    if not _finite(outputs):
        raise ValueError(
            "the model's outputs are not finite: its training diverged. Lower "
            f"train.learning_rate, it was {run.recipe.train.learning_rate:g}"
        )
    alone = {}
    for name in run.decoders:
        network = run.baseline(name)
        if network:
            own = loaded.only(set(network.input))
            alone[name] = predict(network, own, len(rows))
            if not _finite(alone[name]):
                log(f"left out the baseline {name}: its outputs are not finite")
                del alone[name]
    made = {FUSION: outputs, **(with_late(run.tasks, alone) if alone else {})}
    tasks = {name: run.tasks_of(name) for name in made} | {FUSION: run.tasks}
    return Seen(rows, loaded, truths(run.tasks, rows), tasks, made)


def judged(seen):
    """The scores of all models, and how sure those of the model itself are.

    Returns:
        {"rows", the scores, "intervals": {score: [low, high]}, "resampling": how they
        were found, "baselines": {model: the scores that are numbers, and "intervals" of
        the first one of each target}, where there are}.
    """
    fused = seen.tasks[FUSION], seen.truths, seen.outputs[FUSION]
    draws = {name: task.draws for name, task in fused[0].items()}
    found = {
        "rows": len(seen.rows),
        **scores(*fused),
        "intervals": intervals(*fused),
        "resampling": {
            "method": resampling.METHOD,
            "share": resampling.SHARE,
            "draws": draws if len(draws) > 1 else next(iter(draws.values())),
            "seed": resampling.SEED,
        },
    }
    others = {name: each for name, each in seen.outputs.items() if name != FUSION}
    if others:
        found["baselines"] = {
            name: {
                **headline(scores(seen.tasks[name], seen.truths, outputs)),
                "intervals": intervals(
                    seen.tasks[name], seen.truths, outputs, first=True
                ),
            }
            for name, outputs in others.items()
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
        models: {"fusion" or input: (its `keras.Model`, {split: `dataset.Rows` that it
            is asked on})}.
        splits: {"train" or "valid": rows of the manifest}.

    Returns:
        {model, and "late_fusion": {target: decision}}; {} where no task decides.
    """
    asked = {split for task in made.values() for split in task.judged_on}
    splits = {split: rows for split, rows in splits.items() if split in asked}
    splits = {split: rows for split, rows in splits.items() if len(rows)}
    if not splits:
        return {}
    outputs = {name: {} for name in models}
    for name, (network, loaded) in models.items():
        for split, rows in splits.items():
            own = loaded[split].only(set(network.input))
            outputs[name][split] = predict(network, own, len(rows))
    alone = {name: each for name, each in outputs.items() if name != FUSION}
    if alone:
        late = {
            split: with_late(made, {name: each[split] for name, each in alone.items()})
            for split in splits
        }
        if all(LATE in each for each in late.values()):
            outputs[LATE] = {split: each[LATE] for split, each in late.items()}
    known = {split: truths(made, rows) for split, rows in splits.items()}
    return {
        name: _decisions(made, known, by_split) for name, by_split in outputs.items()
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


def truths(made, rows):
    """{target: (truth, which rows have one)} of a manifest's rows."""
    return {name: tasks.truth(task, rows.frame[name]) for name, task in made.items()}


def _finite(outputs):
    return all(np.isfinite(values).all() for values in outputs.values())


def scores(made, known, outputs):
    """All tasks' scores in one dict; prefixed by target where there are several.

    Args:
        made: {target: task}.
        known: {target: (truth, which rows count)}.
        outputs: {target: (rows, ...)}.
    """
    found = {}
    for name, task, truth, told in _each(made, known, outputs):
        each = task.scores(truth, told)
        found |= {f"{name}{key}": value for key, value in each.items()}
    return found


def intervals(made, known, outputs, first=False):
    """{score: [low, high]} of those that are numbers, or of the first one of each task.

    Quantiles of an error are a dict of intervals, as they are of numbers; so are the
    scores of classes: "per_class": {"<class>.recall": [low, high]}. See `scores` for
    the arguments.
    """
    found = {}
    for name, task, truth, told in _each(made, known, outputs):
        redrawn = functools.partial(task.redrawn, truth, told, first=first)
        ends = resampling.intervals(redrawn, len(truth), task.draws)
        for key, each in ends.items():
            score, dot, part = key.partition(".")
            if dot:
                found.setdefault(f"{name}{score}", {})[part] = each
            else:
                found[f"{name}{score}"] = each
    return found


def _each(made, known, outputs):
    """(prefix, task, truth, outputs) of every target that some rows have."""
    for name, task in made.items():
        truth, here = known[name]
        if here.any():
            yield named(made, name, ""), task, truth[here], outputs[name][here]


def named(made, target, key):
    """A key of metrics, behind its target where there are several.

    >>> named({"a": None}, "a", "gain"), named({"a": None, "b": None}, "a", "gain")
    ('gain', 'a.gain')
    """
    return f"{target}.{key}" if len(made) > 1 else key


def headline(scores):
    """Those of the scores that are one number each."""
    return {key: value for key, value in scores.items() if isinstance(value, float)}
