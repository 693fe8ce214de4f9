"""A number."""

from typing import Literal

import keras
import numpy as np

from mmkeras.scores import numbers, resampling


class Regression:
    """A number, in its own unit.

    Args:
        labels: {"mean", "scale"} of the train rows, as `labels_of` gives.
        decision: not used, a number needs none.
        error: what is minimised, in standard deviations of the train rows: `squared`,
            `absolute`, or `huber`, which is squared up to one and absolute beyond
            (Huber 1964, doi 10.1214/aoms/1177703732).
    """

    judged_on = ()
    can_average = True
    takes_empty = False
    has_probabilities = False
    draws = resampling.DRAWS

    def __init__(
        self,
        labels,
        decision=None,
        *,
        error: Literal["squared", "absolute", "huber"] = "squared",
    ):
        self.labels = labels
        self.mean, self.scale = float(labels["mean"]), float(labels["scale"])
        self.error = error

    @staticmethod
    def labels_of(values):
        """Mean and standard deviation of texts of numbers; a scale of zero counts as 1.

        >>> Regression.labels_of(["1", "3"])
        {'mean': 2.0, 'scale': 1.0}
        """
        numbers = np.array([float(value) for value in values])
        return {"mean": float(numbers.mean()), "scale": float(numbers.std()) or 1.0}

    def target(self, values):
        """Texts of numbers -> (rows, 1) float32."""
        return np.array([[float(value)] for value in values], "float32").reshape(-1, 1)

    def head(self, fused, name):
        """Fused vector (batch, units) -> numbers in their own unit, (batch, 1)."""
        deviations = keras.layers.Dense(1, dtype="float32", name=f"{name}_deviations")
        unit = keras.layers.Rescaling(
            self.scale, offset=self.mean, dtype="float32", name=name
        )
        return unit(deviations(fused))

    def loss(self):
        """The mean error in standard deviations, or their squares."""
        return ScaledError(self.error, self.scale)

    def metrics(self):
        """What `fit` shows each epoch, in the unit of the target."""
        return [keras.metrics.MeanAbsoluteError(name="mae")]

    def calibrated(self, outputs):
        """The numbers as they are: there are no probabilities."""
        return outputs

    def decode(self, outputs):
        """(rows, 1) -> list of float."""
        return np.asarray(outputs)[:, 0].tolist()

    def serve(self, outputs):
        """What the served model answers: {"value": (batch,) float32}."""
        return {"value": outputs[:, 0]}

    def scores(self, truth, outputs):
        """How far off the numbers are.

        Args:
            truth: (rows, 1), as `target` gives.
            outputs: (rows, 1).

        Returns:
            {the scores of `scores.numbers.measured`, "r2" first, "points": [truth,
            told] of up to 1,000 rows}.
        """
        true, told = _columns(truth, outputs)
        shown = np.unique(np.linspace(0, len(true) - 1, 1000).astype(int))
        return {
            **numbers.measured(true, told),
            "points": np.stack([true[shown], told[shown]], axis=1).tolist(),
        }

    def redrawn(self, truth, outputs, counts, first=False):
        """The scores that are numbers, of rows drawn; see `mmkeras.tasks`."""
        found = numbers.redrawn(*_columns(truth, outputs), counts)
        return {"r2": found["r2"]} if first else found

    def wrongness(self, truth, outputs):
        """The absolute error."""
        true, told = _columns(truth, outputs)
        return np.abs(true - told)


def _columns(*arrays):
    """(rows, 1) each -> (rows,) float64 each."""
    return [np.asarray(each)[:, 0].astype("float64") for each in arrays]


@keras.saving.register_keras_serializable("mmkeras")
class ScaledError(keras.losses.Loss):
    """The error of numbers, divided by a scale.

    Args:
        error: squared, absolute or huber.
        scale: what counts as one, in the unit of the numbers.
    """

    def __init__(self, error, scale, name="scaled_error", **options):
        super().__init__(name=name, **options)
        self.error, self.scale = error, scale

    def call(self, y_true, y_pred):
        """(batch, 1) twice -> (batch,)."""
        error = {
            "squared": keras.losses.mean_squared_error,
            "absolute": keras.losses.mean_absolute_error,
            "huber": keras.losses.huber,
        }[self.error]
        return error(y_true / self.scale, y_pred / self.scale)

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "error": self.error, "scale": self.scale}
