"""Mixup: two rows as one, their pictures, sounds, numbers and answers alike.

Source: Zhang et al. 2017, arXiv 1710.09412.
"""

import tensorflow as tf

# Kinds of input that can be mixed. Half of one word and half of another is no word.
MIXED = ("image", "audio", "tabular")
WHOLE = ("image", "audio")


def mixer(options, inputs):
    """The function that mixes the rows of a batch, or None for no mixing.

    Every row is mixed with the one that comes next in its epoch's order (the last of a
    batch with the first), the shares drawn from Beta(`mixup`, `mixup`) with the row's
    seed; its own is the larger. Only where both have the same pictures and sounds, and
    answers to the same targets; texts and words of tables stay the row's own.

    Args:
        options: the `augment` section of a recipe.
        inputs: {input: kind} of the model at hand.

    Returns:
        (inputs, a tuple of targets and maybe their weights, seeds (batch, 2) int32) ->
        (inputs, the tuple), of the same keys and shapes.
    """
    mixed = {name: kind for name, kind in inputs.items() if kind in MIXED}
    if not (options.mixup and mixed):
        return None

    def mix(tensors, taught, seeds):
        alike = _alike(tensors, taught, mixed)
        share = tf.where(alike, _shares(seeds, options.mixup), 1.0)
        tensors = dict(tensors)
        for name, kind in mixed.items():
            tensors[name] = _mixed(tensors[name], share, _counts(tensors, name, kind))
            if kind == "audio":
                tensors |= _longer(tensors, name, share)
        mixed_too = [
            {key: _mixed(each, share) for key, each in part.items()} for part in taught
        ]
        return tensors, tuple(mixed_too)

    return mix


def _shares(seeds, alpha):
    """What a row keeps of its own, (batch,) in [0.5, 1]."""
    # A ratio of gamma variables is a beta variable.
    pairs = tf.map_fn(
        lambda seed: tf.random.stateless_gamma((2,), seed + [0, 7], alpha),
        seeds,
        fn_output_signature=tf.TensorSpec((2,), tf.float32),
    )
    total = tf.reduce_sum(pairs, axis=1)
    share = tf.where(total > 0, tf.math.divide_no_nan(pairs[:, 0], total), 1.0)
    return tf.maximum(share, 1 - share)


def _next(tensor):
    return tf.roll(tensor, -1, axis=0)


def _alike(tensors, taught, mixed):
    """Whether a row and the next can be mixed, (batch,) bool."""
    told = [tensors[f"{n}_present"] for n, kind in mixed.items() if kind in WHOLE]
    told += [each > 0 for each in taught[1].values()] if len(taught) > 1 else []
    first = next(iter(mixed))
    alike = tf.ones_like(tensors[f"{first}_present"])
    for each in told:
        alike &= each == _next(each)
    return alike


def _counts(tensors, name, kind):
    """Which numbers of a table both rows have, (batch, numbers); None: all."""
    if kind != "tabular":
        return None
    seen = tensors[f"{name}_seen"][:, : tensors[name].shape[1]]  # numbers come first
    return seen & _next(seen)


def _mixed(tensor, share, counts=None):
    share = tf.reshape(share, (-1, *[1] * (tensor.shape.rank - 1)))
    other = _next(tensor)
    both = tensor * share + other * (1 - share)
    # Not by a product with 1: what is not mixed keeps its bits.
    whole = share < 1.0 if counts is None else (share < 1.0) & counts
    return tf.where(whole, both, tensor)


def _longer(tensors, name, share):
    """Two sounds are as long as the longer one."""
    samples = tensors[f"{name}_samples"]
    both = tf.maximum(samples, _next(samples))
    return {f"{name}_samples": tf.where(share < 1.0, both, samples)}
