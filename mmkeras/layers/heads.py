"""What stands behind the heads."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class MeanOfPresent(keras.layers.Layer):
    """The mean of one answer a modality over the modalities that a row has.

    (batch, modalities, ...), (batch, modalities) bool -> (batch, ...). A row that has
    none gets the mean of all.
    """

    def call(self, answers, seen):
        """Averages."""
        seen = ops.logical_or(seen, ops.logical_not(ops.any(seen, 1, keepdims=True)))
        extra = (1,) * (len(answers.shape) - 2)
        weights = ops.cast(ops.reshape(seen, (-1, answers.shape[1], *extra)), "float32")
        return ops.sum(answers * weights, axis=1) / ops.sum(weights, axis=1)

    def compute_output_shape(self, answers_shape, seen_shape):
        """Without the axis of modalities."""
        return (answers_shape[0], *answers_shape[2:])
