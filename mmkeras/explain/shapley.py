"""Exact Shapley values: what each modality adds to an answer."""

import itertools
import math

import numpy as np
import tensorflow as tf

# 4,096 subsets; so many inputs are tables' columns told as texts, not modalities.
MOST = 12


def values(worth):
    """Shapley values of players, each in the unit of the worth (Shapley 1953).

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)).

    Args:
        worth: array of shape (2,) * n: of the subset that an index (0 or 1 a player)
            names.

    Returns:
        (n,) float64; they add up to worth[1, ..., 1] - worth[0, ..., 0].

    >>> values(np.array([[0.0, 1.0], [2.0, 4.0]])).tolist()
    [2.5, 1.5]
    """
    worth = np.asarray(worth, "float64")
    n = worth.ndim
    found = np.zeros(n)
    for player in range(n):
        others = np.moveaxis(worth, player, 0)
        gains = others[1] - others[0]  # (2,) * (n - 1)
        for subset in itertools.product((0, 1), repeat=n - 1):
            size = sum(subset)
            weight = math.factorial(size) * math.factorial(n - size - 1)
            found[player] += weight / math.factorial(n) * gains[subset]
    return found


def of_modalities(probe, names):
    """What each input adds to the number, from nothing known to the whole row.

    An input that is left out is missing: the model's learned token stands in its place,
    as in training, and no data is invented. All subsets of the inputs that the row has
    are one batch; an input that it lacks adds exactly nothing.

    Args:
        probe: a `probing.Probe`.
        names: of the inputs.

    Returns:
        ({input: Shapley value}, the number with every input missing, the number).

    Raises:
        ValueError: more inputs than subsets can be counted of.
    """
    here = [name for name in names if bool(probe.given[f"{name}_present"][0])]
    if len(here) > MOST:
        raise ValueError(
            f"the row has {len(here)} inputs, more than {MOST}: their 2^{len(here)} "
            "subsets are too many for exact Shapley values"
        )
    subsets = np.array(list(itertools.product((False, True), repeat=len(here))), bool)
    subsets = subsets.reshape(2 ** len(here), len(here))
    seen = {
        f"{name}_present": tf.constant(subsets[:, at]) for at, name in enumerate(here)
    }
    worth = np.asarray(probe.value(seen, rows=len(subsets)), "float64")
    found = dict(zip(here, values(worth.reshape((2,) * len(here))), strict=True))
    shares = {name: float(found.get(name, 0.0)) for name in names}
    return shares, float(worth[0]), float(worth[-1])
