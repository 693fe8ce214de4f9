"""Averaged weights: what is validated, and what is saved."""

import keras
from keras import ops


class Averages(keras.callbacks.Callback):
    """Puts the optimizer's averages into the model at every epoch's end.

    Steps are made on the weights themselves. When an epoch's steps are done the moving
    averages take their place: validation measures them, patience keeps the best of
    them, and the run saves them. With the next epoch the weights come back. What is not
    trained by gradients, as batch statistics, is not averaged.

    Meanwhile the weights stand where the averages were, in the optimizer, bit for bit:
    `keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, and rounds.
    """

    is_in_model = False

    def on_train_begin(self, logs=None):
        """Forgets an earlier fit."""
        self.is_in_model = False

    def on_epoch_begin(self, epoch, logs=None):
        """Puts the weights back."""
        self._put(False)

    def on_test_begin(self, logs=None):
        """Validates the averages."""
        self._put(True)

    def on_epoch_end(self, epoch, logs=None):
        """Without validation, now. The first of all callbacks."""
        self._put(True)

    def _put(self, averages):
        if averages == self.is_in_model:
            return
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of float16
        pairs = zip(
            optimizer._trainable_variables,
            optimizer._model_variables_moving_average,
            strict=True,
        )
        for variable, other in pairs:
            value = ops.convert_to_numpy(variable)
            variable.assign(other)
            other.assign(value)
        self.is_in_model = averages
