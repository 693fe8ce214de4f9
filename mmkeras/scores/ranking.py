"""Scores of an order: what is true should stand before what is not."""

import numpy as np

from mmkeras.scores.resampling import divided


class Ranked:
    """Rows from the highest value to the lowest, ties together.

    Args:
        true: (rows,) bool.
        values: (rows,), the higher the surer.
    """

    def __init__(self, true, values):
        values = np.asarray(values)
        self.order = np.argsort(-values, kind="stable")
        self.true = np.asarray(true, bool)[self.order]
        ordered = values[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def sums(self, counts):
        """(true, false) rows down to the end of each tie, (draws, ties) twice.

        Args:
            counts: (draws, rows), how often each row counts.
        """
        counts = counts[:, self.order]
        each = (counts * self.true, counts * ~self.true)
        steps = (np.add.reduceat(one, self.starts, axis=1) for one in each)
        return tuple(np.cumsum(step, axis=1) for step in steps)

    def roc_auc(self, counts):
        """Chance that a true row stands before a false one, (draws,) in [0, 1]."""
        return _area(*self.sums(counts))

    def both(self, counts):
        """(ROC AUC, average precision), (draws,) each."""
        true, false = self.sums(counts)
        step = np.diff(true, axis=1, prepend=0)
        precision = divided(true, true + false, 0.0)
        average = divided((step * precision).sum(axis=1), true[:, -1])
        return _area(true, false), average

    def equal_error(self, counts):
        """Where as many of the true are rejected as of the false accepted, (draws,)."""
        true, false = (np.pad(each, ((0, 0), (1, 0))) for each in self.sums(counts))
        accepted = divided(false, false[:, -1:])
        rejected = 1 - divided(true, true[:, -1:])
        gap = np.abs(accepted - rejected)
        at = np.argmin(np.where(np.isnan(gap), np.inf, gap), axis=1)[:, None]
        mean = (accepted + rejected) / 2
        return np.take_along_axis(mean, at, axis=1)[:, 0]


def macro(true, values, counts):
    """Means over columns of what the column's rows allow.

    Args:
        true: (rows, columns) bool.
        values: (rows, columns).
        counts: (draws, rows).

    Returns:
        (ROC AUC over the columns with rows of both kinds, average precision over those
        with a true row), (draws,) each.
    """
    sums, known = np.zeros((2, len(counts))), np.zeros((2, len(counts)))
    for column in np.flatnonzero(true.any(axis=0)):
        found = np.array(Ranked(true[:, column], values[:, column]).both(counts))
        known += np.isfinite(found)
        sums += np.nan_to_num(found)
    return tuple(divided(sums, known))


def _area(true, false):
    """ROC AUC of sums down to each tie; of a tie, half stand before the other half."""
    step = np.diff(true, axis=1, prepend=0)
    before = false - np.diff(false, axis=1, prepend=0) / 2
    wrong = divided((step * before).sum(axis=1), true[:, -1] * false[:, -1])
    return 1 - wrong


def measured(true, values):
    """{"roc_auc", "average_precision"} as `macro`, by scikit-learn, where they exist.

    Args:
        true: (rows, columns) bool.
        values: (rows, columns).
    """
    from sklearn import metrics

    some = np.flatnonzero(true.any(axis=0))
    both = [column for column in some if not true[:, column].all()]
    found = {}
    if len(both):
        areas = [metrics.roc_auc_score(true[:, at], values[:, at]) for at in both]
        found["roc_auc"] = float(np.mean(areas))
    if len(some):
        averages = [
            metrics.average_precision_score(true[:, at], values[:, at]) for at in some
        ]
        found["average_precision"] = float(np.mean(averages))
    return found
