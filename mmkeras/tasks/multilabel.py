"""Any number of labels of one row: a sigmoid each, a threshold each."""

import copy

import keras
import numpy as np
from keras import ops

from mmkeras.scores import calibration, resampling, tallies
from mmkeras.scores import labels as scoring
from mmkeras.targets import names_in
from mmkeras.tasks.classification import in_order

# Of the probabilities whose logits are taken, in float32 too.
LEAST, MOST = 1e-30, 1 - 2**-24


class Multilabel:
    """Any number of several labels; a cell names them with a separator between.

    Args:
        labels: all of them, list of str; their order is the order of the outputs.
        decision: as `choose` gives; probabilities as they are, told from 0.5 on, where
            None.
        separator: between the labels of a cell; an empty cell has none of them.

    Raises:
        ValueError: no label.
    """

    labels_of = staticmethod(in_order)
    judged_on = ("valid",)
    can_average = True
    takes_empty = True  # a row that has none of the labels
    has_probabilities = True
    draws = resampling.DRAWS

    def __init__(self, labels, decision=None, *, separator: str = "|"):
        if not labels:
            raise ValueError("multilabel needs a label, the train rows name none")
        self.labels, self.separator = list(labels), separator
        decision = decision or {}
        self.temperature = decision.get("temperature", 1.0)
        chosen = decision.get("thresholds", {})
        self.thresholds = np.array(
            [chosen.get(label, 0.5) for label in self.labels], "float32"
        )

    def target(self, values):
        """Texts of labels -> (rows, labels) float32 of zeros and ones.

        Raises:
            KeyError: a label that is not known.
        """
        index = {label: position for position, label in enumerate(self.labels)}
        rows = np.zeros((len(values), len(self.labels)), "float32")
        for row, value in enumerate(values):
            for label in names_in(value, self.separator):
                rows[row, index[label]] = 1
        return rows

    def head(self, fused, name):
        """Fused vector (batch, units) -> probabilities, (batch, labels) float32."""
        return keras.layers.Dense(
            len(self.labels), activation="sigmoid", dtype="float32", name=name
        )(fused)

    def loss(self):
        """Mean binary cross-entropy over the labels, nats."""
        return keras.losses.BinaryCrossentropy()

    def metrics(self):
        """What `fit` shows each epoch, at a threshold of 0.5."""
        return [keras.metrics.F1Score(average="macro", threshold=0.5, name="macro_f1")]

    def choose(self, judged):
        """One temperature; then for each label the threshold with the best F1.

        Both on the valid rows. A threshold is halfway between two neighbouring
        calibrated probabilities, so that rounding does not tell; 0.5 for a label that
        no valid row has.

        Args:
            judged: {"valid": (truth, outputs)}.

        Returns:
            {"temperature", "calibration": see `calibration.temperature`; "thresholds":
            {label: probability from which on it is told}}.
        """
        truth, outputs = judged["valid"]
        exact = np.clip(np.asarray(outputs, "float64"), LEAST, MOST)
        logits = np.log(exact) - np.log1p(-exact)

        def loss(temperature):
            signed = np.where(truth > 0.5, -logits, logits) / temperature
            return float(np.logaddexp(0, signed).mean())

        found = calibration.temperature(loss, len(truth))
        scaled = copy.copy(self)
        scaled.temperature = found["temperature"]
        told = scaled._calibrated(outputs)
        thresholds = {
            label: _best_threshold(truth[:, place], told[:, place])
            for place, label in enumerate(self.labels)
        }
        return {**found, "thresholds": thresholds}

    def calibrated(self, outputs):
        """Probabilities (rows, labels) as they are told: of logits / temperature."""
        if self.temperature == 1:
            return outputs
        bounded = ops.clip(outputs, LEAST, MOST)
        logits = ops.log(bounded) - ops.log1p(-bounded)
        return ops.sigmoid(logits / self.temperature)

    def _calibrated(self, outputs):
        return np.asarray(self.calibrated(np.asarray(outputs)))

    def decode(self, outputs):
        """(rows, labels) -> texts of labels, as a cell of the manifest names them."""
        told = self._calibrated(outputs) >= self.thresholds
        return [
            self.separator.join(np.array(self.labels, object)[row].tolist())
            for row in told
        ]

    def serve(self, outputs):
        """What the served model answers.

        Returns:
            {"labels": (batch,) string, those told with the separator between;
            "probabilities": (batch, labels) in the order of `labels`, calibrated}.
        """
        import tensorflow as tf

        calibrated = self.calibrated(outputs)
        told = calibrated >= tf.constant(self.thresholds)
        names = tf.constant([f"{label}{self.separator}" for label in self.labels])
        joined = tf.strings.reduce_join(tf.where(told, names, ""), axis=-1)
        # All end with a separator, but for a row of no label.
        length = tf.strings.length(joined) - len(self.separator.encode("utf-8"))
        labels = tf.strings.substr(joined, tf.zeros_like(length), tf.maximum(length, 0))
        return {"labels": labels, "probabilities": tf.identity(calibrated)}

    def scores(self, truth, outputs):
        """How well the labels are told, by calibrated probabilities.

        Args:
            truth: (rows, labels) of zeros and ones, as `target` gives.
            outputs: probabilities, (rows, labels), as the model gives them.

        Returns:
            {the scores of `scores.labels.measured`, "macro_f1" first, "per_class":
            {label: {"precision", "recall", "f1", "rows", "threshold"}}, "reliability":
            {"before", "after" calibration: see `calibration.reliability`}}.
        """
        true, told, calibrated = self._asked(truth, outputs)
        each = tallies.by_class(self.labels, true, told)
        stages = (("before", np.asarray(outputs)), ("after", calibrated))
        return {
            **scoring.measured(true, told, calibrated),
            "per_class": {
                label: {**each[label], "threshold": float(threshold)}
                for label, threshold in zip(self.labels, self.thresholds, strict=True)
            },
            "reliability": {
                when: calibration.reliability(probabilities.ravel(), true.ravel())
                for when, probabilities in stages
            },
        }

    def redrawn(self, truth, outputs, counts, first=False):
        """The scores that are numbers, of rows drawn; see `mmkeras.tasks`."""
        true, told, calibrated = self._asked(truth, outputs)
        if first:
            return {"macro_f1": scoring.macro_f1(true, told, counts)}
        return {
            **scoring.redrawn(true, told, calibrated, counts),
            **tallies.redrawn_by_class(self.labels, true, told, counts),
        }

    def wrongness(self, truth, outputs):
        """How far off the probabilities are, summed, where the set told is wrong."""
        true, told, calibrated = self._asked(truth, outputs)
        wrong = (true != told).any(axis=1)
        return wrong * np.abs(true - calibrated).sum(axis=1)

    def _asked(self, truth, outputs):
        """(true, told, bool; calibrated probabilities), (rows, labels) each."""
        calibrated = self._calibrated(outputs)
        return np.asarray(truth) > 0.5, calibrated >= self.thresholds, calibrated


def _best_threshold(truth, outputs):
    from sklearn import metrics

    if not truth.any():
        return 0.5
    precision, recall, steps = metrics.precision_recall_curve(truth > 0.5, outputs)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1[:-1]))
    below = outputs[outputs < steps[best]]
    return float((steps[best] + (below.max() if below.size else 0)) / 2)
