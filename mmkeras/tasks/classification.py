"""One label of several: softmax over the classes (two classes are a softmax of two)."""

import re

import keras
import numpy as np

from mmkeras.families import Fraction


class Classification:
    """One of several classes.

    Args:
        labels: the classes, list of str; their order is the order of the outputs.
        label_smoothing: share of the target's probability spread over all classes,
            in [0, 1) (Szegedy et al. 2016, arXiv 1512.00567).

    Raises:
        ValueError: fewer than two labels.
    """

    def __init__(self, labels, *, label_smoothing: Fraction = 0.0):
        if len(labels) < 2:
            raise ValueError(
                "classification needs two labels or more, the usable rows of the train "
                f"split have {labels}"
            )
        self.labels = list(labels)
        self.label_smoothing = label_smoothing

    @staticmethod
    def labels_of(values):
        """The distinct labels, numbers in their order, words in the alphabet's.

        >>> Classification.labels_of(["10", "9", "10"])
        ['9', '10']
        """
        distinct = sorted(set(values))
        if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", value) for value in distinct):
            return sorted(distinct, key=float)
        return distinct

    def target(self, values):
        """Texts of labels -> one-hot rows, (rows, classes) float32.

        Raises:
            KeyError: a value that is not among the labels.
        """
        index = {label: position for position, label in enumerate(self.labels)}
        positions = [index[value] for value in values]
        return np.eye(len(self.labels), dtype="float32")[positions]

    def head(self, fused, name):
        """Fused vector (batch, units) -> probabilities, (batch, classes) float32."""
        logits = keras.layers.Dense(
            len(self.labels), dtype="float32", name=f"{name}_logits"
        )(fused)
        return keras.layers.Softmax(dtype="float32", name=name)(logits)

    def loss(self):
        """Cross-entropy between target and probabilities, nats."""
        return keras.losses.CategoricalCrossentropy(
            label_smoothing=self.label_smoothing
        )

    def metrics(self):
        """What `fit` shows each epoch."""
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def decode(self, probabilities):
        """Probabilities (rows, classes) -> list of the most probable labels."""
        return [self.labels[position] for position in np.argmax(probabilities, axis=-1)]

    def serve(self, probabilities):
        """Probabilities (batch, classes) -> what the served model answers.

        Returns:
            {"label": (batch,) string, "probability": (batch,) of that label,
            "probabilities": (batch, classes) in the order of `labels`}.
        """
        # The one place of a task that needs strings in the graph.
        import tensorflow as tf

        best = tf.argmax(probabilities, axis=-1)
        return {
            "label": tf.gather(tf.constant(self.labels), best),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": tf.identity(probabilities),
        }

    def scores(self, truth, probabilities):
        """Accuracy, macro F1 and log loss, with one entry a class.

        Args:
            truth: one-hot rows, (rows, classes), as `target` gives.
            probabilities: (rows, classes).

        Returns:
            {"accuracy", "macro_f1", "log_loss", "per_class": {label: {"precision",
            "recall", "f1", "rows"}}, "confusion": [[rows of class i called j]]}; all
            shares in [0, 1], log loss in nats.
        """
        from sklearn import metrics

        classes = np.arange(len(self.labels))
        true, called = np.argmax(truth, -1), np.argmax(probabilities, -1)
        per_class = metrics.precision_recall_fscore_support(
            true, called, labels=classes, zero_division=0
        )
        confusion = metrics.confusion_matrix(true, called, labels=classes)
        present = np.unique(np.concatenate([true, called]))
        return {
            "accuracy": float(np.mean(true == called)),
            "macro_f1": float(
                metrics.f1_score(
                    true, called, labels=present, average="macro", zero_division=0
                )
            ),
            "log_loss": float(
                metrics.log_loss(true, _renormalised(probabilities), labels=classes)
            ),
            "per_class": {
                label: {
                    "precision": float(per_class[0][index]),
                    "recall": float(per_class[1][index]),
                    "f1": float(per_class[2][index]),
                    "rows": int(per_class[3][index]),
                }
                for index, label in enumerate(self.labels)
            },
            "confusion": confusion.tolist(),
        }


def _renormalised(probabilities):
    # float32 rows add up to one within 1e-7; scikit-learn wants better.
    exact = np.asarray(probabilities, "float64")
    return exact / exact.sum(axis=-1, keepdims=True)
