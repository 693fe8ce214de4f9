"""Scores of one class of several."""

import functools

import numpy as np

from mmkeras.scores import calibration, ranking, tallies
from mmkeras.scores.resampling import divided, mean


def top(classes):
    """How many classes of the most probable ones top-k accuracy looks at.

    5 where there are more than 5, 2 of 3 to 5, None of 2, where it would always be 1.
    """
    return 5 if classes > 5 else 2 if classes > 2 else None


def measured(true, called, probabilities):
    """Scores of rows.

    Args:
        true: (rows,) positions of the true classes.
        called: (rows,) of those told.
        probabilities: (rows, classes) float64 that add up to one.

    Returns:
        {score: float}: "accuracy"; "macro_f1", over the classes that are true or told
        somewhere; "log_loss", nats; "calibration_error" of the most probable class
        (`calibration.error`); "balanced_accuracy", the mean recall of the classes that
        are true somewhere; "macro_" and "weighted_precision" and "_recall",
        "weighted_f1" and "micro_f1" (as micro precision and recall it is the accuracy
        where each row has one class); "top_5_accuracy" or "top_2_accuracy", see `top`;
        "roc_auc", each class against the rest, and "average_precision", means over the
        classes that have both kinds of rows or rows; "brier", the sum over classes of
        the squared error, in [0, 2].
    """
    from sklearn import metrics

    ones, classes = np.ones((1, len(true))), np.arange(probabilities.shape[1])
    averages = _averages(true, called)
    accuracy = float(metrics.accuracy_score(true, called))
    found = {
        "accuracy": accuracy,
        "macro_f1": averages.pop("macro_f1"),
        "log_loss": metrics.log_loss(true, probabilities, labels=classes),
        "calibration_error": calibration.error(*_sure(true, probabilities), ones)[0],
        **averages,
        "micro_f1": accuracy,
    }
    if most := top(len(classes)):
        found[f"top_{most}_accuracy"] = metrics.top_k_accuracy_score(
            true, probabilities, k=most, labels=classes
        )
    truth = true[:, None] == classes
    found |= ranking.measured(truth, probabilities)
    found["brier"] = _squared(truth, probabilities).mean()
    return {name: float(value) for name, value in found.items()}


def _averages(true, called):
    """Precision, recall and F1, {score: float}."""
    from sklearn import metrics

    present = np.unique(np.concatenate([true, called]))
    average = functools.partial(
        metrics.precision_recall_fscore_support, true, called, zero_division=0
    )
    macro, weighted = (
        average(labels=present, average=kind) for kind in ("macro", "weighted")
    )
    balanced = average(labels=np.unique(true), average="macro")
    return {
        "macro_f1": macro[2],
        "balanced_accuracy": balanced[1],
        "macro_precision": macro[0],
        "macro_recall": macro[1],
        "weighted_precision": weighted[0],
        "weighted_recall": weighted[1],
        "weighted_f1": weighted[2],
    }


def redrawn(true, called, probabilities, counts):
    """The scores of `measured`, {score: (draws,)}.

    Args:
        true: see `measured`, as are `called` and `probabilities`.
        called: (rows,).
        probabilities: (rows, classes).
        counts: (draws, rows), how often each row counts.
    """
    classes = np.arange(probabilities.shape[1])
    truth = true[:, None] == classes
    right = mean(counts, true == called)
    found = {
        "accuracy": right,
        "log_loss": mean(counts, -np.log(_of_truth(true, probabilities))),
        "calibration_error": calibration.error(*_sure(true, probabilities), counts),
        "micro_f1": right,
        **_averaged(truth, called[:, None] == classes, counts),
        "brier": mean(counts, _squared(truth, probabilities)),
    }
    if most := top(len(classes)):
        # As scikit-learn orders ties.
        best = np.argsort(probabilities, axis=1, kind="mergesort")[:, ::-1][:, :most]
        found[f"top_{most}_accuracy"] = mean(
            counts, (best == true[:, None]).any(axis=1)
        )
    areas = ranking.macro(truth, probabilities, counts)
    return found | dict(zip(("roc_auc", "average_precision"), areas, strict=True))


def _averaged(truth, told, counts):
    """Precision, recall and F1 of all classes, averaged."""
    rows, calls, hits = tallies.sums(truth, told, counts)
    present, found = rows + calls > 0, {}
    for name, (part, whole) in tallies.fractions(rows, calls, hits).items():
        values = divided(part, whole, 0.0)
        if name == "recall":
            found["balanced_accuracy"] = _mean(values, rows > 0)
        found[f"macro_{name}"] = _mean(values, present)
        found[f"weighted_{name}"] = _mean(values, rows)
    return found


def _mean(values, weights):
    return divided((values * weights).sum(axis=1), weights.sum(axis=1))


def _sure(true, probabilities):
    """(probability of the most probable class, whether it is the true one)."""
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == true


def _of_truth(true, probabilities):
    # As scikit-learn, which lets no probability be zero.
    least = np.finfo(probabilities.dtype).eps
    return np.clip(probabilities[np.arange(len(true)), true], least, 1 - least)


def _squared(truth, probabilities):
    return ((probabilities - truth) ** 2).sum(axis=1)
