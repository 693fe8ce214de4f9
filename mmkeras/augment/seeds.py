"""Random numbers of a row, from its seed alone."""

import tensorflow as tf


def uniform(seeds, count):
    """`count` numbers in [0, 1) a row, (batch, 2) seeds -> (batch, count) float32."""
    return tf.map_fn(
        lambda seed: tf.random.stateless_uniform((count,), seed),
        seeds,
        fn_output_signature=tf.TensorSpec((count,), tf.float32),
    )
