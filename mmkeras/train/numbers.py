"""No bad number goes on unsaid: losses and weights must stay finite."""

import numpy as np


class Numbers:
    """Raises FloatingPointError where a loss or a weight is not a finite number.

    Args:
        title: what is fitted.
        learning_rate: for the message.
        ids: function (epoch, step), counted from 0 -> ids of the rows of that step.
        store: `checkpoints.Checkpoints`, or None.
    """

    def __init__(self, title, learning_rate, ids, store=None):
        self.title, self.learning_rate = title, learning_rate
        self.ids, self.store = ids, store

    def require_loss(self, loss, epoch, step):
        """The loss after a step, None if unknown; both counted from 0."""
        if not np.isfinite(loss):
            raise self._diverged("the loss", epoch, step)

    def require_losses(self, logs, epoch):
        """The losses of an epoch."""
        for name in ("loss", "val_loss"):
            if not np.isfinite(logs.get(name, 0.0)):
                raise self._diverged(name, epoch)

    def require_weights(self, weights, epoch, step):
        """All weights after a step, arrays."""
        for weight in weights:
            if weight.dtype.kind == "f" and not np.isfinite(weight).all():
                raise self._diverged("a weight", epoch, step)

    def _diverged(self, what, epoch, step=None):
        told = f"{self.title}: {what} is not a number in epoch {epoch + 1}"
        if step is not None:
            rows = ", ".join(self.ids(epoch, step))
            told += f", step {step + 1}, on the rows {rows}"
        told += f". Lower train.learning_rate, which is {self.learning_rate:g}"
        if step is not None:
            told += ", or look at these rows"
        if kept := self.store and self.store.last:
            told += f". The last good weights stay in {kept}"
        return FloatingPointError(told)
