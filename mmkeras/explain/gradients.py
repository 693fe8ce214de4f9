"""Gradients of one answer: integrated ones, Grad-CAM, and gradient times input."""

import numpy as np
import tensorflow as tf

STEPS, MOST_STEPS = 64, 512
CHUNK = 32  # points of a path that are computed at once
CLOSE = 0.01  # share of the difference that the parts may miss it by
NOTHING = 1e-4  # a difference that is not worth a closer look


def integrated(value, starts, ends):
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1).

    (x - x') times the mean gradient on the straight way from x' to x, at the points of
    Gauss-Legendre quadrature: 64 of them, twice as many where the parts miss the whole
    by more than 1 %, up to 512.

    Args:
        value: function (list of (rows, ...) tensors, rows) -> (rows,).
        starts: list of (1, ...) tensors, x'.
        ends: list of (1, ...) tensors, x.

    Returns:
        (list of arrays (...), in the shapes of the tensors; {"start": value(x'), "end":
        value(x), "steps", "gap": end - start - the sum of all parts}).
    """
    start, end = (float(value(each, 1)[0]) for each in (starts, ends))
    steps = STEPS
    while True:
        means = _mean_gradients(value, starts, ends, steps)
        parts = [
            (np.asarray(to - of, "float64") * mean)[0]
            for of, to, mean in zip(starts, ends, means, strict=True)
        ]
        gap = end - start - sum(float(part.sum()) for part in parts)
        if steps >= MOST_STEPS or abs(gap) <= max(CLOSE * abs(end - start), NOTHING):
            break
        steps *= 2
    return parts, {"start": start, "end": end, "steps": steps, "gap": gap}


def _mean_gradients(value, starts, ends, steps):
    points, weights = np.polynomial.legendre.leggauss(steps)
    points, weights = (points + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
    sums = [np.zeros(end.shape) for end in ends]
    for first in range(0, steps, CHUNK):
        part = slice(first, first + CHUNK)
        rows = len(points[part])
        way = [
            start + _column(points[part], end) * (end - start)
            for start, end in zip(starts, ends, strict=True)
        ]
        with tf.GradientTape() as tape:
            tape.watch(way)
            total = tf.reduce_sum(value(way, rows))
        found = tape.gradient(total, way, unconnected_gradients="zero")
        for at, gradient in enumerate(found):
            each = np.asarray(gradient) * _column(weights[part], gradient).numpy()
            sums[at] += each.sum(axis=0, keepdims=True)
    return sums


def _column(numbers, like):
    """(rows,) -> (rows, 1, ...), as many axes as a tensor has."""
    shape = (-1,) + (1,) * (len(like.shape) - 1)
    return tf.cast(np.reshape(numbers, shape), like.dtype)


def grad_cam(feature_map, gradient):
    """Where a feature map speaks for an answer (Selvaraju et al. 2017, 1610.02391).

    ReLU(sum over channels of the channel's mean gradient times the channel).

    Args:
        feature_map: (height, width, channels).
        gradient: of the answer, in the same shape.

    Returns:
        (height, width) float32, not negative.
    """
    weights = np.asarray(gradient).mean(axis=(0, 1))
    return np.maximum(np.asarray(feature_map) @ weights, 0).astype("float32")


def grad_times_tokens(tokens, gradient):
    """Which tokens speak for an answer: ReLU of gradient times token, summed.

    Args:
        tokens: (steps, dim).
        gradient: of the answer, in the same shape.

    Returns:
        (steps,) float32, not negative.
    """
    product = np.asarray(tokens) * np.asarray(gradient)
    return np.maximum(product.sum(axis=-1), 0).astype("float32")
