"""One label of several: softmax over the classes (two classes are a softmax of two)."""

import copy
import re

import keras
import numpy as np
from keras import ops
from scipy.special import logsumexp

from mmkeras.families import Fraction, NonNegativeFloat, nearest
from mmkeras.scores import calibration, classes, resampling, tallies
from mmkeras.scores.resampling import mean

# The least probability whose logarithm is taken, in float32 too.
LEAST = 1e-30


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
        decision: as `choose` gives; probabilities as they are where None.
        label_smoothing: share of the target's probability spread over all classes,
            in [0, 1) (Szegedy et al. 2016, arXiv 1512.00567).
        focal: gamma of the focal loss, by which rows that are told right already count
            less (Lin et al. 2017, arXiv 1708.02002); 0 is plain cross-entropy.
        outside: the label of rows that belong to no class proper, as `oos`; it is told
            too where the best other class is less probable than a threshold, which is
            chosen on the valid rows.
        refused: share of the valid rows told right, in [0, 1), that this threshold may
            turn into `outside`.
        precision: share of the rows that are answered which should be right, in [0, 1);
            the model then abstains below a probability that is chosen on the valid
            rows. None: it never abstains. Without valid rows nothing shows a precision,
            and it always abstains.

    Raises:
        ValueError: fewer than two labels, or `outside` is none of them.
    """

    labels_of = staticmethod(in_order)
    can_average = True
    takes_empty = False
    judged_on = ("valid",)
    has_probabilities = True
    draws = resampling.DRAWS

    def __init__(
        self,
        labels,
        decision=None,
        *,
        label_smoothing: Fraction = 0.0,
        focal: NonNegativeFloat = 0.0,
        outside: str | None = None,
        refused: Fraction = 0.005,
        precision: Fraction | None = None,
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
        self.label_smoothing, self.focal = label_smoothing, focal
        self.precision = precision
        decision = decision or {}
        self.threshold = decision.get("threshold", 0.0)
        self.temperature = decision.get("temperature", 1.0)
        # No probability is below the first, each is below the last.
        never, always = 0.0, 2.0
        asked = precision is not None
        self.abstain_below = decision.get("abstain_below", always) if asked else never

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
        """Cross-entropy between target and probabilities, nats; or focal loss."""
        if self.focal:
            return keras.losses.CategoricalFocalCrossentropy(
                alpha=1.0, gamma=self.focal, label_smoothing=self.label_smoothing
            )
        return keras.losses.CategoricalCrossentropy(
            label_smoothing=self.label_smoothing
        )

    def metrics(self):
        """What `fit` shows each epoch."""
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def choose(self, judged):
        """A temperature, then thresholds of the calibrated probabilities.

        `threshold`, below which a row is taken to be outside, is the highest that
        refuses no more of the valid rows told right than `refused` says: what is
        outside is seldom among valid rows as often as it will be asked.

        Args:
            judged: {"valid": (truth, probabilities)}.

        Returns:
            {"temperature", "calibration": see `calibration.temperature`; "threshold"
            with `outside`; "abstain_below" with `precision`}.
        """
        truth, probabilities = judged["valid"]
        true = np.argmax(truth, axis=-1)
        logs = np.log(np.maximum(_exact(probabilities), LEAST))

        def loss(temperature):
            scaled = logs / temperature
            normal = logsumexp(scaled, axis=1)
            return float(np.mean(normal - scaled[np.arange(len(true)), true]))

        found = calibration.temperature(loss, len(true))
        decided = copy.copy(self)
        decided.temperature = found["temperature"]
        if self.outside is not None:
            best, sure, called = decided._inside(probabilities)
            right = sure[(best == true) & ~called]
            quantile = np.quantile(right, self.refused) if len(right) else 0.0
            decided.threshold = found["threshold"] = float(quantile)
        if self.precision is not None:
            told = decided.called(probabilities)
            sure = decided._told_with(probabilities, told)
            found["abstain_below"] = calibration.abstaining(
                sure, told == true, self.precision
            )
        return found

    def calibrated(self, probabilities):
        """Probabilities (rows, classes) as they are told: of logits / temperature."""
        if self.temperature == 1:
            return probabilities
        logs = ops.log(ops.maximum(probabilities, LEAST))
        return ops.softmax(logs / self.temperature, axis=-1)

    def _calibrated(self, probabilities):
        return np.asarray(self.calibrated(np.asarray(probabilities)))

    def _inside(self, probabilities):
        """(best class inside, its probability, whether `outside` is still better)."""
        at = self.labels.index(self.outside)
        # Which is best is asked of what was not scaled: rounding makes no new ties.
        others = np.array(probabilities)
        others[:, at] = -1
        best = np.argmax(others, axis=-1)
        called = np.asarray(probabilities)[:, at] > others[np.arange(len(best)), best]
        return best, self._calibrated(probabilities)[np.arange(len(best)), best], called

    def called(self, probabilities):
        """Probabilities (rows, classes) -> position of the label told, (rows,)."""
        if self.outside is None:
            return np.argmax(probabilities, axis=-1)
        best, sure, called = self._inside(probabilities)
        outside = called | (sure < np.float32(self.threshold))
        return np.where(outside, self.labels.index(self.outside), best)

    def _told_with(self, probabilities, called):
        """The calibrated probability of the label told, (rows,)."""
        return self._calibrated(probabilities)[np.arange(len(called)), called]

    def abstains(self, probabilities):
        """Probabilities (rows, classes) -> (rows,) bool: too unsure to answer.

        All False where no `precision` is asked for.
        """
        told = self._told_with(probabilities, self.called(probabilities))
        return told < np.float32(self.abstain_below)

    def decode(self, probabilities):
        """Probabilities (rows, classes) -> list of the labels told."""
        return [self.labels[position] for position in self.called(probabilities)]

    def serve(self, probabilities):
        """Probabilities (batch, classes) -> what the served model answers.

        Returns:
            {"label": (batch,) string; "probability": (batch,) of that label, small for
            `outside` where no class was sure enough; "probabilities": (batch, classes)
            in the order of `labels`, calibrated; "abstained": (batch,) bool, as
            `abstains`}.
        """
        # The one place of a task that needs strings in the graph.
        import tensorflow as tf

        told = self.calibrated(probabilities)
        best = tf.argmax(probabilities, axis=-1)
        if self.outside is not None:
            at = self.labels.index(self.outside)
            others = probabilities - 2 * tf.one_hot(at, len(self.labels))
            best = tf.argmax(others, axis=-1)
            sure = tf.gather(told, best, axis=1, batch_dims=1)
            outside = probabilities[:, at] > tf.reduce_max(others, axis=-1)
            outside |= sure < self.threshold
            best = tf.where(outside, tf.cast(at, tf.int64), best)
        probability = tf.gather(told, best, axis=1, batch_dims=1)
        return {
            "label": tf.gather(tf.constant(self.labels), best),
            "probability": probability,
            "probabilities": tf.identity(told),
            "abstained": probability < self.abstain_below,
        }

    def scores(self, truth, probabilities):
        """How well the classes are told, by calibrated probabilities.

        Args:
            truth: one-hot rows, (rows, classes), as `target` gives.
            probabilities: (rows, classes), as the model gives them.

        Returns:
            {the scores of `classes.measured`, "accuracy" first, "per_class": {label:
            {"precision", "recall", "f1", "rows"}}, "confusion": [[rows of class i
            called j]], "reliability": {"before", "after" calibration: see
            `calibration.reliability`}}. With `outside` also "inside_accuracy", of the
            other rows, and "outside_recall", of its own; with `precision` "coverage",
            the share of rows that are answered, and "answered_accuracy".
        """
        from sklearn import metrics

        positions = np.arange(len(self.labels))
        true, called, told = self._asked(truth, probabilities)
        confusion = metrics.confusion_matrix(true, called, labels=positions)
        found = classes.measured(true, called, told)
        chosen = self._chosen(true, called, probabilities, np.ones((1, len(true))))
        shown = {key: float(values[0]) for key, values in chosen.items()}
        shown = {key: value for key, value in shown.items() if np.isfinite(value)}
        return {
            "accuracy": found["accuracy"],
            **shown,
            **found,
            "per_class": tallies.by_class(self.labels, *self._one_hot(true, called)),
            "confusion": confusion.tolist(),
            "reliability": {
                when: calibration.reliability(each.max(1), each.argmax(1) == true)
                for when, each in (("before", _exact(probabilities)), ("after", told))
            },
        }

    def redrawn(self, truth, probabilities, counts, first=False):
        """The scores that are numbers, of rows drawn; see `mmkeras.tasks`."""
        true, called, told = self._asked(truth, probabilities)
        if first:
            return {"accuracy": mean(counts, true == called)}
        return {
            **classes.redrawn(true, called, told, counts),
            **self._chosen(true, called, probabilities, counts),
            **tallies.redrawn_by_class(
                self.labels, *self._one_hot(true, called), counts
            ),
        }

    def wrongness(self, truth, probabilities):
        """The probability of the label told where it is another than the true one."""
        called = self.called(probabilities)
        wrong = np.argmax(truth, axis=-1) != called
        return wrong * self._told_with(probabilities, called)

    def _one_hot(self, *positions):
        """Each (rows,) as (rows, classes) bool."""
        return (each[:, None] == np.arange(len(self.labels)) for each in positions)

    def _asked(self, truth, probabilities):
        """(true, called, (rows,) each; calibrated probabilities in float64)."""
        called = self.called(probabilities)
        return np.argmax(truth, -1), called, _exact(self._calibrated(probabilities))

    def _chosen(self, true, called, probabilities, counts):
        """Scores of what options ask for, {score: (draws,)}."""
        right, found = true == called, {}
        if self.precision is not None:
            answered = ~self.abstains(probabilities)
            found["coverage"] = mean(counts, answered)
            found["answered_accuracy"] = mean(counts, right, answered)
        if self.outside is not None:
            outside = true == self.labels.index(self.outside)
            found["inside_accuracy"] = mean(counts, right, ~outside)
            found["outside_recall"] = mean(counts, right, outside)
        return found


def _exact(probabilities):
    # float32 rows add up to one within 1e-7; scikit-learn wants better.
    exact = np.asarray(probabilities, "float64")
    return exact / exact.sum(axis=-1, keepdims=True)
