"""What probabilities are worth: of those told with 70 %, 70 % should be right."""

import numpy as np

from mmkeras.scores.resampling import divided

BINS = 15
# With fewer valid rows a temperature follows chance.
MIN_ROWS = 50
# Bounds of a temperature, and how near to them counts as having none.
COLDEST, HOTTEST, EDGE = 0.1, 10.0, 0.02


def bins(confidence):
    """Which of 15 bins of equal width a probability is in, (rows,) of 0 to 14.

    A bin takes its upper edge, the first one zero too.
    """
    places = np.ceil(np.asarray(confidence, "float64") * BINS).astype(int) - 1
    return np.clip(places, 0, BINS - 1)


def error(confidence, right, counts):
    """Expected calibration error (Naeini, Cooper and Hauskrecht 2015).

    sum over bins of |rows told right - sum of their probabilities| / all rows.

    Args:
        confidence: (rows,) probabilities told, or (rows, labels), each for itself.
        right: bool, of the same shape.
        counts: (draws, rows), how often each row counts.

    Returns:
        (draws,) in [0, 1].
    """
    gap = np.asarray(right, "float64") - np.asarray(confidence, "float64")
    gap, places = (each.reshape(len(gap), -1) for each in (gap, bins(confidence)))
    placed = np.stack([(gap * (places == at)).sum(axis=1) for at in range(BINS)], 1)
    told = counts.sum(axis=1) * gap.shape[1]
    return divided(np.abs(counts @ placed).sum(axis=1), told)


def reliability(confidence, right):
    """The rows of each bin that has some, for a diagram.

    Args:
        confidence: (rows,) probabilities told.
        right: (rows,) bool.

    Returns:
        A list of {"rows", "confidence": its mean, "right": share told right}.
    """
    confidence, right = np.asarray(confidence, "float64"), np.asarray(right, bool)
    places = bins(confidence)
    return [
        {
            "rows": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "right": float(right[inside].mean()),
        }
        for inside in (places == place for place in range(BINS))
        if inside.any()
    ]


def temperature(loss, rows):
    """What logits are to be divided by, so that the log loss is least.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599).

    Args:
        loss: function of a temperature -> mean log loss of the valid rows, nats.
        rows: how many rows it is the mean of.

    Returns:
        {"temperature": 1.0 where it was left out; "calibration": what was done or why
        not, in words}.
    """
    from scipy.optimize import minimize_scalar

    if rows < MIN_ROWS:
        why = f"left out: {rows} valid rows with a label, fewer than {MIN_ROWS}"
        return {"temperature": 1.0, "calibration": why}
    ends = np.log(COLDEST), np.log(HOTTEST)
    found = minimize_scalar(
        lambda at: loss(np.exp(at)), bounds=ends, method="bounded"
    ).x
    if min(found - ends[0], ends[1] - found) < EDGE:
        why = (
            f"left out: the log loss of {rows} valid rows has no least value for "
            f"temperatures between {COLDEST:g} and {HOTTEST:g}, as where all of them "
            "are told right"
        )
        return {"temperature": 1.0, "calibration": why}
    best = float(np.exp(found))
    told = (
        f"log loss of {rows} valid rows {loss(1.0):.4f} before, {loss(best):.4f} after"
    )
    return {"temperature": best, "calibration": told}


def abstaining(confidence, right, precision):
    """The lowest probability from which on the rows told are right often enough.

    Args:
        confidence: (rows,) probabilities told, of valid rows.
        right: (rows,) bool.
        precision: share of the rows told that must be right, in (0, 1).

    Returns:
        A probability; 2.0, which none reaches, where no share of the rows is right
        often enough.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = np.asarray(confidence, "float64")[order]
    share = np.cumsum(np.asarray(right)[order]) / np.arange(1, len(order) + 1)
    ends = np.r_[ordered[1:] != ordered[:-1], True]  # ties are told together
    enough = np.flatnonzero(ends & (share >= precision))
    if not len(enough):
        return 2.0
    last = enough[-1]
    below = ordered[last + 1] if last + 1 < len(ordered) else 0.0
    # Halfway to the next, so that rounding does not tell.
    return float((ordered[last] + below) / 2)
