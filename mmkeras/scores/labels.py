"""Scores of any number of labels a row."""

import numpy as np

from mmkeras.scores import calibration, ranking, tallies
from mmkeras.scores.resampling import divided, mean


def measured(true, told, probabilities):
    """Scores of rows.

    Args:
        true: (rows, labels) bool.
        told: (rows, labels) bool.
        probabilities: (rows, labels).

    Returns:
        {score: float}: "macro_f1", over all labels; "micro_f1"; "exact", share of rows
        whose set is right; "average_precision", mean over the labels that some row has,
        0 without one; "macro_", "micro_" and "weighted_precision" and "_recall",
        "weighted_f1"; "roc_auc", mean over the labels that some rows have and some have
        not; "log_loss", nats, "brier" and "calibration_error" (`calibration.error`) of
        one label of a row.
    """
    from sklearn import metrics

    each = {
        kind: metrics.precision_recall_fscore_support(
            true, told, average=kind, zero_division=0
        )
        for kind in ("macro", "micro", "weighted")
    }
    areas = {"average_precision": 0.0, **ranking.measured(true, probabilities)}
    found = {
        "macro_f1": each["macro"][2],
        "micro_f1": each["micro"][2],
        "exact": metrics.accuracy_score(true, told),
        "average_precision": areas.pop("average_precision"),
    }
    for kind, (precision, recall, f1, _) in each.items():
        found |= {
            f"{kind}_precision": precision,
            f"{kind}_recall": recall,
            f"{kind}_f1": f1,
        }
    found |= areas
    found |= {
        name: values[0]
        for name, values in _probable(
            true, probabilities, np.ones((1, len(true)))
        ).items()
    }
    return {name: float(value) for name, value in found.items()}


def redrawn(true, told, probabilities, counts):
    """The scores of `measured`, {score: (draws,)}.

    Args:
        true: see `measured`, as are `told` and `probabilities`.
        told: (rows, labels).
        probabilities: (rows, labels).
        counts: (draws, rows), how often each row counts.
    """
    rows, calls, hits = tallies.sums(true, told, counts)
    found = {"exact": mean(counts, (true == told).all(axis=1))}
    for name, (part, whole) in tallies.fractions(rows, calls, hits).items():
        each = divided(part, whole, 0.0)
        found[f"macro_{name}"] = each.mean(axis=1)
        found[f"micro_{name}"] = divided(part.sum(axis=1), whole.sum(axis=1), 0.0)
        weighted = (each * rows).sum(axis=1)
        found[f"weighted_{name}"] = divided(weighted, rows.sum(axis=1), 0.0)
    area, average = ranking.macro(true, probabilities, counts)
    found |= {"average_precision": np.nan_to_num(average), "roc_auc": area}
    return found | _probable(true, probabilities, counts)


def macro_f1(true, told, counts):
    """One of the scores of `redrawn`, (draws,)."""
    part, whole = tallies.fractions(*tallies.sums(true, told, counts))["f1"]
    return divided(part, whole, 0.0).mean(axis=1)


def _probable(true, probabilities, counts):
    """Scores of the probabilities themselves, {score: (draws,)}."""
    exact = np.clip(np.asarray(probabilities, "float64"), 1e-15, 1 - 1e-15)
    log = -np.where(true, np.log(exact), np.log1p(-exact))
    return {
        "log_loss": mean(counts, log.mean(axis=1)),
        "brier": mean(counts, ((exact - true) ** 2).mean(axis=1)),
        "calibration_error": calibration.error(exact, true, counts),
    }
