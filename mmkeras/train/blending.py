"""Modality balance: no modality is trained past the point where it still generalises.

A model that learns all modalities at once often ends below its best single one: each
overfits at a pace of its own, and the fastest decides when training stops. Gradient
blending (Wang, Tran and Feiszli 2020, arXiv 1905.12681) gives every modality a head of
its own beside the fused one, and weighs their losses by how well each still
generalises.
"""

import keras
import numpy as np
from keras import ops

from mmkeras import distribution, model

FUSED = "fused"


class Blended(keras.Model):
    """A model for fitting: the fused loss and those of single modalities, weighed.

    Its metrics are the unweighed losses `<input>_loss` and `fused_loss`; rows that lack
    an input do not count in its loss. In validation its loss is the fused one alone.

    Args:
        inputs: {key: keras.Input}, `<input>_present` among them.
        outputs: {target or `model.head_name`: tensor}.
        losses: {target: keras Loss}.
        factors: {target: what its loss is multiplied with}.
        names: inputs that have heads of their own.
    """

    def __init__(self, inputs, outputs, losses, factors, names):
        super().__init__(inputs=inputs, outputs=outputs, name="blended")
        self.losses_by_target, self.factors = losses, factors
        self.names = list(names)
        parts = [*self.names, FUSED]
        self.shares = self.add_weight(
            shape=(len(parts),),
            initializer=keras.initializers.Constant(1 / len(parts)),
            trainable=False,
            name="shares",
        )
        self.parts = {part: keras.metrics.Mean(name=f"{part}_loss") for part in parts}

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **options
    ):
        """The sum of all losses, each times its share; `fused` alone in validation."""
        fused = super().compute_loss(
            x, y, self._targets(y_pred), sample_weight, training, **options
        )
        alone = (self._alone(name, x, y, y_pred, sample_weight) for name in self.names)
        every, replicas = [*alone, fused], distribution.here().replicas
        for tracker, loss in zip(self.parts.values(), every, strict=True):
            tracker.update_state(loss * replicas)
        return ops.sum(ops.stack(every) * self.shares) if training else fused

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The metrics of the fused outputs, and the losses."""
        return super().compute_metrics(x, y, self._targets(y_pred), sample_weight)

    def _targets(self, outputs):
        return {target: outputs[target] for target in self.losses_by_target}

    def _alone(self, name, inputs, truth, outputs, sample_weight):
        """Mean loss of one input's heads over the rows that have the input.

        Of the rows of all replicas, divided by how many these are, as Keras' losses.
        """
        rows_of = distribution.gathered
        weights = rows_of(ops.cast(inputs[f"{name}_present"], "float32"))
        rows = 0.0  # (batch,)
        for target, loss in self.losses_by_target.items():
            output = rows_of(outputs[model.head_name(target, name)])
            each = self.factors[target] * loss.call(rows_of(truth[target]), output)
            rows += (
                each if sample_weight is None else each * rows_of(sample_weight[target])
            )
        mean = ops.sum(rows * weights) / ops.maximum(ops.sum(weights), 1.0)
        return mean / distribution.here().replicas


class Blend(keras.callbacks.Callback):
    """Sets the shares of a `Blended` after every epoch, and logs `<part>_share`."""

    def on_train_begin(self, logs=None):
        """Forgets an earlier fit."""
        self.first = None

    def on_epoch_end(self, epoch, logs=None):
        """Weighs by what was won and what was overfitted since the first epoch."""
        parts = list(self.model.parts)
        now = {part: (logs[f"{part}_loss"], logs[f"val_{part}_loss"]) for part in parts}
        if self.first is None:
            self.first = now
        else:
            self.model.shares.assign(shares(self.first, now))
        values = ops.convert_to_numpy(self.model.shares).tolist()
        for part, value in zip(parts, values, strict=True):
            logs[f"{part}_share"] = value


def shares(first, now, least=0.05):
    """How much each part of a blended loss counts.

    w = G / O^2, scaled to a sum of one: G is by how much the validation loss fell, O by
    how much the gap between validation and training loss grew (equation 5 of the
    paper). A part that won nothing gets the least.

    Args:
        first: {part: (training loss, validation loss)} at one time.
        now: the same at a later time.
        least: no share is smaller than this part of an equal share.

    Returns:
        (parts,) float32 array, in the order of `now`.
    """
    weights = []
    for part, (training, validation) in now.items():
        training_then, validation_then = first[part]
        won = max(validation_then - validation, 0.0)
        overfitted = (validation - training) - (validation_then - training_then)
        # A gap that did not grow counts as a hundredth of a nat.
        weights.append(won / max(overfitted, 0.01) ** 2)
    total = sum(weights)
    if not total:
        return np.full(len(weights), 1 / len(weights), "float32")
    equal = 1 / len(weights)
    floored = np.maximum(np.array(weights) / total, least * equal)
    return (floored / floored.sum()).astype("float32")
