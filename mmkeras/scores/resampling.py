"""The bootstrap over rows: how far a score would move with other rows like these.

Rows are drawn with replacement, as many as there are (Efron 1979, doi
10.1214/aos/1176344552); the interval holds the middle 95 % of the scores of all draws
(the percentile method). A draw is a vector of how often each row came, so that scores
are sums over rows and all draws are one product of matrices.
"""

import numpy as np

DRAWS, SEED, SHARE = 1000, 0, 0.95
# Numbers held at once: draws times rows.
CELLS = 4_000_000
METHOD = "percentile bootstrap over rows"


def counts(rows, draws=DRAWS, seed=SEED):
    """How often each row is drawn; the same rows, draws and seed give the same.

    Args:
        rows: how many there are.
        draws: how many times as many are drawn.
        seed: of the draws.

    Yields:
        (some of the draws, rows) float64; each line adds up to `rows`.
    """
    random = np.random.default_rng(seed)
    step = max(1, CELLS // max(rows, 1))
    for start in range(0, draws, step):
        some = min(step, draws - start)
        drawn = random.integers(0, rows, (some, rows))
        drawn += np.arange(some)[:, None] * rows
        found = np.bincount(drawn.ravel(), minlength=some * rows)
        yield found.reshape(some, rows).astype("float64")


def distribution(score, rows, draws=DRAWS):
    """The scores of all draws.

    Args:
        score: function of counts (draws, rows) -> {name: (draws,)}.
        rows: how many there are.
        draws: how many.

    Returns:
        {name: (draws,)}.
    """
    parts = [score(some) for some in counts(rows, draws)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(values):
    """[low, high] of the middle 95 % of draws; None where no draw has a value."""
    values = np.asarray(values, "float64")
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    edge = (1 - SHARE) / 2
    return [float(each) for each in np.quantile(values, [edge, 1 - edge])]


def intervals(score, rows, draws=DRAWS):
    """{name: [low, high]} of every score; see `distribution` for the arguments."""
    found = distribution(score, rows, draws)
    return {
        name: ends
        for name, each in found.items()
        if (ends := interval(each)) is not None
    }


def mean(counts, values, among=None):
    """The mean of one value a row, (draws,); nan in a draw without such rows.

    Args:
        counts: (draws, rows).
        values: (rows,).
        among: (rows,) bool; the rows that count, all where None.
    """
    weights = np.ones(len(values)) if among is None else np.asarray(among, "float64")
    return divided(counts @ (weights * values), counts @ weights)


def divided(part, whole, otherwise=np.nan):
    """Part / whole, and `otherwise` where the whole is zero."""
    part, whole = np.broadcast_arrays(part, whole)
    out = np.full(part.shape, otherwise, "float64")
    return np.divide(part, whole, out=out, where=whole != 0)


def across_folds(values):
    """How a score spreads over the folds of a cross-validation.

    The interval of the mean is Student's t of the folds' spread, widened because folds
    share most of their train rows: the variance of the mean is taken as (1 / folds +
    test rows / train rows) times that of the folds, not 1 / folds (Nadeau and Bengio
    2003, doi 10.1023/A:1024068626366).

    Args:
        values: one a fold, two or more.

    Returns:
        {"mean", "deviation": of a fold, with folds - 1 in the denominator, "interval":
        [low, high] of 95 %, "values"}.

    >>> found = across_folds([0.97, 0.98, 0.99])
    >>> round(found["mean"], 3), round(found["deviation"], 3)
    (0.98, 0.01)
    """
    from scipy import stats

    values = [float(each) for each in values]
    folds = len(values)
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = deviation * np.sqrt(1 / folds + 1 / (folds - 1))
    half *= stats.t.ppf((1 + SHARE) / 2, folds - 1)
    return {
        "mean": mean,
        "deviation": deviation,
        "interval": [mean - float(half), mean + float(half)],
        "values": values,
    }
