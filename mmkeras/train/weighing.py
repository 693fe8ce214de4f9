"""How much each target counts, learned with the model."""

import keras
from keras import ops

from mmkeras import distribution
from mmkeras.tasks import TASKS


class Weighed(keras.Model):
    """A model for fitting whose targets are weighed by their uncertainty.

    The loss of a target t is exp(-s) L + s / 2, with half the first term where t is a
    number, and s = log sigma^2 learned (Kendall, Gal and Cipolla 2018, arXiv
    1705.07115). In validation its loss is the plain sum, which no s can lower.

    Args:
        inputs: {key: keras.Input}.
        outputs: {target: tensor}.
        tasks: {target: task}.
    """

    def __init__(self, inputs, outputs, tasks):
        super().__init__(inputs=inputs, outputs=outputs, name="weighed")
        self.losses_by_target = distribution.losses(
            {name: task.loss() for name, task in tasks.items()}
        )
        number = TASKS["regression"]
        self.factors = {
            name: 0.5 if isinstance(task, number) else 1.0
            for name, task in tasks.items()
        }
        self.log_variances = self.add_weight(
            shape=(len(tasks),), initializer="zeros", name="log_variances"
        )

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **options
    ):
        """The weighed sum of all targets' losses; in validation the plain one."""
        plain = super().compute_loss(x, y, y_pred, sample_weight, training, **options)
        if not training:
            return plain
        total = sum(self.losses)  # what layers add
        for place, (name, loss) in enumerate(self.losses_by_target.items()):
            weight = None if sample_weight is None else sample_weight[name]
            log_variance = self.log_variances[place]
            each = loss(y[name], y_pred[name], sample_weight=weight)
            total += self.factors[name] * ops.exp(-log_variance) * each
            # Keras adds up the losses of all replicas, each divided by how many.
            total += log_variance / 2 / distribution.here().replicas
        return total


class LogWeights(keras.callbacks.Callback):
    """Logs what each target of a `Weighed` counts, `<target>_weight`, each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        """Adds exp(-s)."""
        values = ops.convert_to_numpy(ops.exp(-self.model.log_variances)).tolist()
        for name, value in zip(self.model.losses_by_target, values, strict=True):
            logs[f"{name}_weight"] = value
