"""One label of several: softmax over the classes (two classes are a softmax of two)."""

import re

import keras
import numpy as np

from mmkeras.families import Fraction, nearest


def in_order(values):
    """Distinct texts, numbers in their order, words in the alphabet's.

    >>> in_order(["10", "9", "10"])
    ['9', '10']
    """
    distinct = sorted(set(values))
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", value) for value in distinct):
        return sorted(distinct, key=float)
    return distinct


class Classification:
    """One of several classes.

    Args:
        labels: the classes, list of str; their order is the order of the outputs.
        decision: {"threshold": probability in [0, 1]}, as `choose` gives; 0 where None.
        label_smoothing: share of the target's probability spread over all classes,
            in [0, 1) (Szegedy et al. 2016, arXiv 1512.00567).
        outside: the label of rows that belong to no class proper, as `oos`; it is told
            too where the best other class is less probable than a threshold, which is
            chosen on the valid rows.
        refused: share of the valid rows told right, in [0, 1), that this threshold may
            turn into `outside`.

    Raises:
        ValueError: fewer than two labels, or `outside` is none of them.
    """

    labels_of = staticmethod(in_order)
    can_average = True
    takes_empty = False

    def __init__(
        self,
        labels,
        decision=None,
        *,
        label_smoothing: Fraction = 0.0,
        outside: str | None = None,
        refused: Fraction = 0.005,
    ):
        if len(labels) < 2:
            raise ValueError(
                "classification needs two labels or more, the usable rows of the train "
                f"split have {labels}"
            )
        if outside is not None and outside not in labels:
            raise ValueError(
                f"outside: the usable rows of the train split have no label `{outside}`"
                f"{nearest(outside, labels)}"
            )
        self.labels, self.outside, self.refused = list(labels), outside, refused
        self.label_smoothing = label_smoothing
        self.threshold = (decision or {}).get("threshold", 0.0)
        self.judged_on = () if outside is None else ("valid",)

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

    def choose(self, judged):
        """The threshold below which a row is taken to be outside.

        The highest that refuses no more of the valid rows told right than `refused`
        says: what is outside is seldom among valid rows as often as it will be asked.

        Args:
            judged: {"valid": (truth, probabilities)}.
        """
        truth, probabilities = judged["valid"]
        best, sure, called = self._inside(probabilities)
        right = sure[(best == np.argmax(truth, axis=-1)) & ~called]
        return {
            "threshold": float(np.quantile(right, self.refused)) if len(right) else 0.0
        }

    def _inside(self, probabilities):
        """(best class inside, its probability, whether `outside` is still better)."""
        at = self.labels.index(self.outside)
        others = np.array(probabilities)
        others[:, at] = -1
        best = np.argmax(others, axis=-1)
        sure = others[np.arange(len(others)), best]
        return best, sure, np.asarray(probabilities)[:, at] > sure

    def called(self, probabilities):
        """Probabilities (rows, classes) -> position of the label told, (rows,)."""
        if self.outside is None:
            return np.argmax(probabilities, axis=-1)
        best, sure, called = self._inside(probabilities)
        outside = called | (sure < np.float32(self.threshold))
        return np.where(outside, self.labels.index(self.outside), best)

    def decode(self, probabilities):
        """Probabilities (rows, classes) -> list of the labels told."""
        return [self.labels[position] for position in self.called(probabilities)]

    def serve(self, probabilities):
        """Probabilities (batch, classes) -> what the served model answers.

        Returns:
            {"label": (batch,) string; "probability": (batch,) of that label, small for
            `outside` where no class was sure enough; "probabilities": (batch, classes)
            in the order of `labels`}.
        """
        # The one place of a task that needs strings in the graph.
        import tensorflow as tf

        best = tf.argmax(probabilities, axis=-1)
        if self.outside is not None:
            at = self.labels.index(self.outside)
            others = probabilities - 2 * tf.one_hot(at, len(self.labels))
            sure = tf.reduce_max(others, axis=-1)
            outside = (probabilities[:, at] > sure) | (sure < self.threshold)
            best = tf.where(outside, tf.cast(at, tf.int64), tf.argmax(others, axis=-1))
        return {
            "label": tf.gather(tf.constant(self.labels), best),
            "probability": tf.gather(probabilities, best, axis=1, batch_dims=1),
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
            shares in [0, 1], log loss in nats. With `outside` also "inside_accuracy",
            of the other rows, and "outside_recall", of its own.
        """
        from sklearn import metrics

        classes = np.arange(len(self.labels))
        true, called = np.argmax(truth, -1), self.called(probabilities)
        per_class = metrics.precision_recall_fscore_support(
            true, called, labels=classes, zero_division=0
        )
        confusion = metrics.confusion_matrix(true, called, labels=classes)
        present = np.unique(np.concatenate([true, called]))
        return {
            "accuracy": float(np.mean(true == called)),
            **self._outside_scores(true, called),
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

    def _outside_scores(self, true, called):
        if self.outside is None:
            return {}
        outside = true == self.labels.index(self.outside)
        right = true == called
        shares = {"inside_accuracy": right[~outside], "outside_recall": right[outside]}
        return {key: float(rows.mean()) for key, rows in shares.items() if len(rows)}


def _renormalised(probabilities):
    # float32 rows add up to one within 1e-7; scikit-learn wants better.
    exact = np.asarray(probabilities, "float64")
    return exact / exact.sum(axis=-1, keepdims=True)
