"""Corridors: positions, missing tokens, pooling."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class Positions(keras.layers.Layer):
    """Adds a learned vector for each step, (batch, steps, dim) -> the same."""

    def build(self, input_shape):
        """Makes the table, (steps, dim)."""
        self.table = self.add_weight(
            shape=input_shape[1:], initializer="truncated_normal", name="table"
        )

    def call(self, tokens):
        """Adds the table."""
        return tokens + self.table

    def compute_output_shape(self, input_shape):
        """As the input."""
        return input_shape


@keras.saving.register_keras_serializable("mmkeras")
class MissingToken(keras.layers.Layer):
    """Puts a learned token first; it is seen only where the modality is missing.

    Every row then has at least one visible token, in training and in the served graph,
    and no fusion needs a special case.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True  # it takes masks in, as a tensor, and ends them

    def build(self, tokens_shape, visible_shape):
        """Makes the token, (dim,)."""
        self.token = self.add_weight(
            shape=(tokens_shape[-1],), initializer="truncated_normal", name="token"
        )

    def compute_mask(self, *inputs, **masks):
        """Keras' own masks end here; the corridor carries its mask as a tensor."""
        return None

    def call(self, tokens, visible):
        """Tokens (batch, steps, dim), visible (batch, steps) -> a step more of each."""
        missing = ops.logical_not(ops.any(visible, axis=1, keepdims=True))
        # Zeros where the mask is off: what a branch computes there never leaks.
        seen = ops.where(visible[..., None], tokens, ops.zeros_like(tokens))
        first = ops.zeros_like(seen[:, :1]) + ops.cast(self.token, tokens.dtype)
        return (
            ops.concatenate([first, seen], axis=1),
            ops.concatenate([missing, visible], axis=1),
        )

    def compute_output_shape(self, tokens_shape, visible_shape):
        """A step more of each."""
        batch, steps, dim = tokens_shape
        return (batch, steps + 1, dim), (batch, steps + 1)


@keras.saving.register_keras_serializable("mmkeras")
class Pool(keras.layers.Layer):
    """Mean and maximum over the visible tokens, batch-normalised.

    (batch, steps, dim), (batch, steps) -> (batch, 2 * dim). What all rows have in
    common is taken away and every modality comes in the same scale; without, the
    modality with the largest numbers is heard alone for the first hundreds of steps.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        # Short runs: the default of 0.99 would still remember the first steps.
        # Over all replicas, where the backend can.
        synchronized = keras.backend.backend() == "tensorflow"
        self.norm = keras.layers.BatchNormalization(
            momentum=0.9, synchronized=synchronized, dtype=self.dtype_policy
        )

    def build(self, tokens_shape, visible_shape):
        """Builds the normalisation."""
        self.norm.build((None, 2 * tokens_shape[-1]))

    def compute_mask(self, *inputs, **masks):
        """No steps are left, so no mask."""
        return None

    def call(self, tokens, visible, training=None):
        """Pools."""
        both = [masked_mean(tokens, visible), masked_max(tokens, visible)]
        return self.norm(ops.concatenate(both, axis=-1), training=training)


def masked_mean(tokens, mask):
    """Mean over the steps of the mask, (batch, steps, dim) -> (batch, dim)."""
    weights = ops.cast(mask, tokens.dtype)[..., None]
    return ops.sum(tokens * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)


def masked_max(tokens, mask):
    """Largest over the steps of the mask, (batch, steps, dim) -> (batch, dim)."""
    lowest = -6e4  # within float16
    return ops.max(ops.where(mask[..., None], tokens, lowest), axis=1)
