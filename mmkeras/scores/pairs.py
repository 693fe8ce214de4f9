"""Scores of pairs of rows that show one identity or two."""

import numpy as np

from mmkeras.scores.ranking import Ranked
from mmkeras.scores.resampling import divided

# Draws of a bootstrap: each sorts all pairs of rows anew.
DRAWS = 200


def measured(same, cosines, threshold):
    """Scores of pairs.

    Args:
        same: (pairs,) bool, whether of one identity.
        cosines: (pairs,).
        threshold: cosine from which on two rows count as the same.

    Returns:
        {"roc_auc"; "equal_error_rate": where as many pairs of one identity are rejected
        as of two are accepted; "pair_accuracy": mean of both kinds' at the threshold};
        all in [0, 1], nan without pairs of both kinds.
    """
    from sklearn import metrics

    if not same.any() or same.all():
        return dict.fromkeys(("roc_auc", "equal_error_rate", "pair_accuracy"), np.nan)
    told = cosines >= np.float32(threshold)
    return {
        "roc_auc": float(metrics.roc_auc_score(same, cosines)),
        "equal_error_rate": equal_error(same, cosines)[0],
        "pair_accuracy": float(metrics.balanced_accuracy_score(same, told)),
    }


def redrawn(pairs, threshold, counts):
    """The scores of `measured`, {score: (draws,)}.

    Rows are drawn, not pairs; a row is not compared with itself, drawn twice or not.

    Args:
        pairs: ((first, second) rows of each pair, whether of one identity, cosine),
            (pairs,) each.
        threshold: a cosine.
        counts: (draws, rows), how often each row counts.
    """
    places, same, cosines = pairs
    ranked, told = Ranked(same, cosines), cosines >= np.float32(threshold)
    found = {name: [] for name in ("roc_auc", "equal_error_rate", "pair_accuracy")}
    for weights in _weights(places, counts):
        found["roc_auc"].append(ranked.roc_auc(weights)[0])
        found["equal_error_rate"].append(ranked.equal_error(weights)[0])
        each = [
            divided(weights[0, kind & right].sum(), weights[0, kind].sum())
            for kind, right in ((same, told), (~same, ~told))
        ]
        found["pair_accuracy"].append(np.mean(each))
    return {name: np.array(values) for name, values in found.items()}


def roc_auc(pairs, counts):
    """One of the scores of `redrawn`, (draws,)."""
    places, same, cosines = pairs
    ranked = Ranked(same, cosines)
    each = [ranked.roc_auc(weights)[0] for weights in _weights(places, counts)]
    return np.array(each)


def _weights(places, counts):
    """How often each pair counts in a draw, (1, pairs); one draw after the other."""
    first, second = places
    return ((count[first] * count[second])[None] for count in counts)


def equal_error(same, cosines):
    """(equal error rate, the cosine where it is met) of pairs.

    Args:
        same: (pairs,) bool, of both kinds.
        cosines: (pairs,).
    """
    from sklearn import metrics

    accepted, caught, steps = metrics.roc_curve(same, cosines, drop_intermediate=False)
    at = int(np.argmin(np.abs(accepted - (1 - caught))))
    return float((accepted[at] + 1 - caught[at]) / 2), float(min(steps[at], 1.0))
