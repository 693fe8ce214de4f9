"""Any number of labels of one row: a sigmoid each, a threshold each."""

import keras
import numpy as np

from mmkeras.targets import names_in
from mmkeras.tasks.classification import in_order


class Multilabel:
    """Any number of several labels; a cell names them with a separator between.

    Args:
        labels: all of them, list of str; their order is the order of the outputs.
        decision: {"thresholds": {label: probability from which on it is told}}, as
            `choose` gives; 0.5 where None.
        separator: between the labels of a cell; an empty cell has none of them.

    Raises:
        ValueError: no label.
    """

    labels_of = staticmethod(in_order)
    judged_on = ("valid",)
    can_average = True
    takes_empty = True  # a row that has none of the labels

    def __init__(self, labels, decision=None, *, separator: str = "|"):
        if not labels:
            raise ValueError("multilabel needs a label, the train rows name none")
        self.labels, self.separator = list(labels), separator
        chosen = (decision or {}).get("thresholds", {})
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
        """For each label the threshold with the best F1 on the valid rows.

        Halfway between two neighbouring probabilities, so that rounding does not tell;
        0.5 for a label that no valid row has.

        Args:
            judged: {"valid": (truth, outputs)}.
        """
        truth, outputs = judged["valid"]
        thresholds = {
            label: _best_threshold(truth[:, place], outputs[:, place])
            for place, label in enumerate(self.labels)
        }
        return {"thresholds": thresholds}

    def decode(self, outputs):
        """(rows, labels) -> texts of labels, as a cell of the manifest names them."""
        told = np.asarray(outputs) >= self.thresholds
        return [
            self.separator.join(np.array(self.labels, object)[row].tolist())
            for row in told
        ]

    def serve(self, outputs):
        """What the served model answers.

        Returns:
            {"labels": (batch,) string, those told with the separator between;
            "probabilities": (batch, labels) in the order of `labels`}.
        """
        import tensorflow as tf

        told = outputs >= tf.constant(self.thresholds)
        names = tf.constant([f"{label}{self.separator}" for label in self.labels])
        joined = tf.strings.reduce_join(tf.where(told, names, ""), axis=-1)
        # All end with a separator, but for a row of no label.
        length = tf.strings.length(joined) - len(self.separator.encode("utf-8"))
        labels = tf.strings.substr(joined, tf.zeros_like(length), tf.maximum(length, 0))
        return {"labels": labels, "probabilities": tf.identity(outputs)}

    def scores(self, truth, outputs):
        """How well the labels are told.

        Args:
            truth: (rows, labels) of zeros and ones, as `target` gives.
            outputs: probabilities, (rows, labels).

        Returns:
            {"macro_f1", "micro_f1", "exact": share of rows whose set is right,
            "average_precision": mean over the labels that some row has, "per_class":
            {label: {"precision", "recall", "f1", "rows", "threshold"}}}; all in [0, 1].
        """
        from sklearn import metrics

        true, told = np.asarray(truth) > 0.5, np.asarray(outputs) >= self.thresholds
        each = metrics.precision_recall_fscore_support(true, told, zero_division=0)
        seen = true.any(axis=0)
        score = lambda average: float(  # noqa: E731
            metrics.f1_score(true, told, average=average, zero_division=0)
        )
        precision = [
            metrics.average_precision_score(true[:, place], outputs[:, place])
            for place in np.flatnonzero(seen)
        ]
        return {
            "macro_f1": score("macro"),
            "micro_f1": score("micro"),
            "exact": float((true == told).all(axis=1).mean()),
            "average_precision": float(np.mean(precision)) if precision else 0.0,
            "per_class": {
                label: {
                    "precision": float(each[0][place]),
                    "recall": float(each[1][place]),
                    "f1": float(each[2][place]),
                    "rows": int(each[3][place]),
                    "threshold": float(self.thresholds[place]),
                }
                for place, label in enumerate(self.labels)
            },
        }


def _best_threshold(truth, outputs):
    from sklearn import metrics

    if not truth.any():
        return 0.5
    precision, recall, steps = metrics.precision_recall_curve(truth > 0.5, outputs)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1[:-1]))
    below = outputs[outputs < steps[best]]
    return float((steps[best] + (below.max() if below.size else 0)) / 2)
