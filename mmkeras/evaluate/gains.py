"""Did fusion help? Against single models, and with a modality taken from it."""

import functools

import numpy as np

from mmkeras.evaluate import asking
from mmkeras.evaluate.judging import FUSION, LATE
from mmkeras.scores import resampling


def gains(run, seen):
    """What the fusion is worth, by the first score of each target.

    All differences are of the same rows, drawn together (a paired bootstrap).

    Args:
        run: a `run.Run` of several inputs.
        seen: a `judging.Seen`.

    Returns:
        {target: {"score": its name, "best_single": the best input alone, "over_single"
        and "over_late_fusion": {"difference": fused minus that, "interval"}, where
        there are baselines, "left_out": {input: {"score": without it, where each row
        misses it, "drop": by how much it is lower, "interval" of that}}, "shuffled":
        the same where each row has the input of another}}. None for an interval or a
        score that the rows cannot have.
    """
    asked = asking.Asked(run.model, run.decoders)
    changes = {("left_out", name): asking.without(name) for name in run.decoders}
    changes |= {
        ("shuffled", name): asking.exchanged(asked, name) for name in run.decoders
    }
    made = asking.changed(asked, seen.loaded, len(seen.rows), changes)
    return {
        target: _of_target(seen, target, made)
        for target in seen.tasks[FUSION]
        if seen.truths[target][1].any()
    }


def _of_target(seen, target, made):
    truth, known = seen.truths[target]
    task = seen.tasks[FUSION][target]
    asked = {
        name: (seen.tasks[name][target], outputs[target][known])
        for name, outputs in seen.outputs.items()
    }
    asked |= {change: (task, each[target][known]) for change, each in made.items()}
    compared = paired(asked, truth[known], task.draws)
    single = [name for name in seen.outputs if name not in (FUSION, LATE)]
    scores = {name: compared[name]["score"] for name in compared}
    told = [name for name in single if scores[name] is not None]
    found = {"score": first_score(task, truth[known], asked[FUSION][1])[0]}
    if told and scores[FUSION] is not None:
        best = max(told, key=scores.get)
        found |= {"best_single": best, "over_single": _over(compared[best])}
    if LATE in compared:
        found["over_late_fusion"] = _over(compared[LATE])
    for (kind, name), one in ((k, v) for k, v in compared.items() if k in made):
        drop = _over(one)
        found.setdefault(kind, {})[name] = {
            "score": one["score"],
            "drop": drop["difference"],
            "interval": drop["interval"],
        }
    return found


def _over(compared):
    return {key: compared[key] for key in ("difference", "interval")}


def first_score(task, truth, outputs):
    """(name, value) of the score that a task is judged by; None where it has none."""
    once = np.ones((1, len(truth)), int)  # all others would take most of a report
    ((key, (value,)),) = task.redrawn(truth, outputs, once, first=True).items()
    return key, (float(value) if value == value else None)


def scored(task, truth, outputs):
    """{"score", "interval"} of rows, None where they cannot have it."""
    redrawn = functools.partial(task.redrawn, truth, outputs, first=True)
    ends = [*resampling.intervals(redrawn, len(truth), task.draws).values(), None]
    return {"score": first_score(task, truth, outputs)[1], "interval": ends[0]}


def paired(asked, truth, draws):
    """First scores of several models on the same rows, and the differences to one.

    Args:
        asked: {name: (task, (rows, ...) outputs)}; the first is what all are compared
            with.
        truth: (rows, ...).
        draws: of the bootstrap.

    Returns:
        {name: {"score", "difference": the first one's score minus it, "interval" of
        the difference}}, None where rows cannot have it.
    """

    def redrawn(counts):
        found = {}
        for name, (task, outputs) in asked.items():
            (found[name],) = task.redrawn(truth, outputs, counts, first=True).values()
        return found

    drawn = resampling.distribution(redrawn, len(truth), draws)
    scores = {
        name: first_score(task, truth, each)[1] for name, (task, each) in asked.items()
    }
    one = next(iter(asked))
    found = {}
    for name, score in scores.items():
        both = score is not None and scores[one] is not None
        found[name] = {
            "score": score,
            "difference": scores[one] - score if both else None,
            "interval": resampling.interval(drawn[one] - drawn[name]),
        }
    return found
