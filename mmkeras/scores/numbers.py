"""Scores of numbers, in their own unit."""

import numpy as np

from mmkeras.scores.resampling import divided, mean

# Of the absolute error.
QUANTILES = (0.5, 0.9, 0.95)


def measured(true, told):
    """Scores of rows.

    Args:
        true: (rows,) float64.
        told: (rows,) float64.

    Returns:
        {"r2": share of the variance explained, at most 1, below 0 where the mean would
        do better, nan of fewer than two rows; "mae" and "rmse" in the unit of the
        numbers; "error_quantiles": {"0.5", "0.9", "0.95"} of the absolute error}.
    """
    from sklearn import metrics

    off = np.abs(true - told)
    return {
        "r2": float(metrics.r2_score(true, told)) if len(true) > 1 else float("nan"),
        "mae": float(metrics.mean_absolute_error(true, told)),
        "rmse": float(metrics.root_mean_squared_error(true, told)),
        "error_quantiles": {
            str(share): float(np.quantile(off, share)) for share in QUANTILES
        },
    }


def redrawn(true, told, counts):
    """The scores of `measured`, {score: (draws,)}; quantiles as "error_quantiles.0.5".

    Args:
        true: (rows,).
        told: (rows,).
        counts: (draws, rows), how often each row counts.
    """
    off = np.abs(true - told)
    centred = true - true.mean()
    squares = mean(counts, centred**2) - mean(counts, centred) ** 2
    # Where all rows drawn have one number, there is no variance to explain.
    squares[squares <= 1e-12 * max(float(np.var(true)), 1e-300)] = 0
    found = {
        "r2": 1 - divided(mean(counts, off**2), squares),
        "mae": mean(counts, off),
        "rmse": np.sqrt(mean(counts, off**2)),
    }
    order = np.argsort(off)
    sums = np.cumsum(counts[:, order], axis=1)
    for share in QUANTILES:
        found[f"error_quantiles.{share}"] = _quantile(off[order], sums, share)
    return found


def _quantile(ordered, sums, share):
    """Between the two rows next to it, as NumPy's, (draws,)."""
    place = share * (sums[:, -1] - 1)
    first, second = np.floor(place), np.ceil(place)
    low, high = (ordered[(sums <= at[:, None]).sum(axis=1)] for at in (first, second))
    return low + (place - first) * (high - low)
