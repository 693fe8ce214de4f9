"""A try in the graph: core decoders raise, which would fail the whole batch.

A dataset can leave out what raised. It costs time in proportion to its operations, so
only the decoders belong in it.
"""

import tensorflow as tf


def boldly(decode):
    """`decode` of no care, and only where that raises, of care.

    One try a file costs more than the rest of its checks: so the batch goes first
    without, and once more, file by file, where one is bad.

    Args:
        decode: function of careful, a scalar bool, that gives tensors.
    """
    ways = tf.data.Dataset.from_tensor_slices([False, True])
    tried = ways.map(tf.autograph.experimental.do_not_convert(decode))
    return _first(tried.ignore_errors())


def carefully(decode, failed, *given):
    """What `decode` gives; where it raises, `failed`.

    Args:
        decode: function of `given` that gives tensors.
        failed: what it gives elsewhere, of the same structure and types.
        *given: tensors.
    """
    as_written = tf.autograph.experimental.do_not_convert(decode)
    tried = tf.data.Dataset.from_tensors(given).map(as_written).ignore_errors()
    return _first(tried.concatenate(tf.data.Dataset.from_tensors(failed)))


def _first(elements):
    """The first element of a dataset that is made anew for each batch or file.

    It would be looked through for optimisations each time, which takes longer than what
    they could gain.
    """
    plain = tf.data.Options()
    plain.autotune.enabled = False
    plain.experimental_optimization.apply_default_optimizations = False
    return elements.take(1).with_options(plain).get_single_element()
