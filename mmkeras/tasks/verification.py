"""Whether two rows show the same identity, by the distance of their embeddings."""

import keras
import numpy as np
from keras import ops

from mmkeras.families import PositiveFloat, PositiveInt
from mmkeras.scores import pairs as scoring
from mmkeras.scores.resampling import mean
from mmkeras.tasks.classification import in_order

# Pairs that are compared when judging; beyond, a fixed sample of rows.
MOST_PAIRS = 2_000_000


class Verification:
    """Embeddings of unit length, near where the identity is the same.

    Trained by supervised contrast (Khosla et al. 2020, arXiv 2004.11362). Identities of
    the train rows are enrolled: each by the mean of its embeddings; a row is told to be
    the nearest of them, or none where even that is farther than a threshold. Rows that
    are judged may show identities that were never trained on.

    Args:
        labels: the identities of the train rows, list of str.
        decision: {"threshold": cosine from which on two rows count as the same,
            "enrolled": {label: embedding}}, as `choose` gives.
        embedding_dim: length of an embedding.
        temperature: what cosines are divided by in the loss.

    Raises:
        ValueError: fewer than two identities.
    """

    labels_of = staticmethod(in_order)
    judged_on = ("train", "valid")
    takes_empty = False
    can_average = False  # of two models' embeddings no mean has a meaning
    has_probabilities = False
    draws = scoring.DRAWS

    def __init__(
        self,
        labels,
        decision=None,
        *,
        embedding_dim: PositiveInt = 64,
        temperature: PositiveFloat = 0.1,
    ):
        if len(labels) < 2:
            raise ValueError(f"verification needs two identities or more, not {labels}")
        self.labels = list(labels)
        self.embedding_dim, self.temperature = embedding_dim, temperature
        decision = decision or {}
        self.threshold = decision.get("threshold", 0.5)
        enrolled = decision.get("enrolled", {})
        nobody = np.zeros(embedding_dim)
        self.enrolled = np.array(
            [enrolled.get(label, nobody) for label in self.labels], "float32"
        )

    def target(self, values):
        """Identities -> (rows, 1) float32 numbers, those not trained on above all."""
        index = {label: place for place, label in enumerate(self.labels)}
        for value in values:
            index.setdefault(value, len(index))
        return np.array([[index[value]] for value in values], "float32").reshape(-1, 1)

    def head(self, fused, name):
        """Fused vector (batch, units) -> (batch, embedding_dim) of length 1."""
        embedded = keras.layers.Dense(
            self.embedding_dim, dtype="float32", name=f"{name}_embedding"
        )(fused)
        return keras.layers.UnitNormalization(dtype="float32", name=name)(embedded)

    def loss(self):
        """Supervised contrast within the batch, nats."""
        return Contrast(self.temperature)

    def metrics(self):
        """What `fit` shows each epoch: is a row's nearest in the batch of its kind?"""
        return [keras.metrics.MeanMetricWrapper(nearest_is_same, name="nearest")]

    def choose(self, judged):
        """Enrols the train rows; the threshold errs equally often both ways on valid.

        Args:
            judged: {"train": (truth, embeddings), "valid": the same}; without two valid
                rows of one identity, the train rows serve for both.
        """
        truth, outputs = judged["train"]
        means = [
            outputs[truth[:, 0] == at].mean(axis=0) for at in range(len(self.labels))
        ]
        enrolled = {
            label: (mean / max(np.linalg.norm(mean), 1e-12)).tolist()
            for label, mean in zip(self.labels, means, strict=True)
        }
        for split in ("valid", "train"):
            _, same, cosines = pairs(*judged.get(split, judged["train"]))
            if same.any() and not same.all():
                break
        return {
            "threshold": scoring.equal_error(same, cosines)[1],
            "enrolled": enrolled,
        }

    def calibrated(self, outputs):
        """The embeddings as they are: there are no probabilities."""
        return outputs

    def _nearest(self, outputs):
        cosines = np.asarray(outputs) @ self.enrolled.T  # (rows, identities)
        best = cosines.argmax(axis=1)
        return best, cosines[np.arange(len(best)), best]

    def decode(self, outputs):
        """Embeddings -> list of the nearest enrolled identities, "" where none is."""
        told = zip(*self._nearest(outputs), strict=True)
        return [
            self.labels[place] if cosine >= np.float32(self.threshold) else ""
            for place, cosine in told
        ]

    def serve(self, outputs):
        """What the served model answers.

        Returns:
            {"label": (batch,) string, the nearest enrolled identity, "" where none is
            near enough; "similarity": its cosine, (batch,) in [-1, 1]; "embedding":
            (batch, embedding_dim), to compare two rows by their product}.
        """
        import tensorflow as tf

        cosines = tf.linalg.matmul(
            outputs, tf.constant(self.enrolled), transpose_b=True
        )
        similarity = tf.reduce_max(cosines, axis=-1)
        label = tf.gather(tf.constant(self.labels), tf.argmax(cosines, axis=-1))
        return {
            "label": tf.where(similarity >= self.threshold, label, ""),
            "similarity": similarity,
            "embedding": tf.identity(outputs),
        }

    def scores(self, truth, outputs):
        """How well same and different pairs are told apart, over all pairs of rows.

        Args:
            truth: (rows, 1), as `target` gives.
            outputs: embeddings, (rows, embedding_dim).

        Returns:
            {the scores of `scores.pairs.measured`, "roc_auc" first; "identified": share
            of the rows of enrolled identities whose nearest enrolled is right; "roc":
            [false, true acceptance] at up to 200 thresholds}.
        """
        from sklearn import metrics

        _, same, cosines = pairs(truth, outputs)
        found = scoring.measured(same, cosines, self.threshold)
        curve = np.zeros((0, 2))
        if same.any() and not same.all():
            curve = np.stack(metrics.roc_curve(same, cosines)[:2], axis=1)
        known = self._enrolled(truth)
        if known.any():
            right = self._nearest(outputs)[0] == truth[:, 0]
            found["identified"] = float(right[known].mean())
        shown = np.unique(np.linspace(0, max(len(curve) - 1, 0), 200).astype(int))
        return {**found, "roc": curve[shown[: len(curve)]].tolist()}

    def redrawn(self, truth, outputs, counts, first=False):
        """The scores that are numbers, of rows drawn; see `mmkeras.tasks`."""
        compared = pairs(truth, outputs)
        if first:
            return {"roc_auc": scoring.roc_auc(compared, counts)}
        found = scoring.redrawn(compared, self.threshold, counts)
        known = self._enrolled(truth)
        if known.any():
            right = self._nearest(outputs)[0] == truth[:, 0]
            found["identified"] = mean(counts, right, known)
        return found

    def wrongness(self, truth, outputs):
        """1 + the cosine to the nearest enrolled where that is another identity."""
        best, cosine = self._nearest(outputs)
        wrong = self._enrolled(truth) & (best != truth[:, 0])
        return wrong * (1 + cosine)

    def _enrolled(self, truth):
        """Whether a row's identity is one of those enrolled, (rows,) bool."""
        return (truth[:, 0] < len(self.labels)) & self.enrolled.any()


def pairs(truth, outputs):
    """Every two rows: (their places, whether of one identity, cosine), (pairs,) each.

    Of more than `MOST_PAIRS` those of a fixed sample of the rows.
    """
    places, most = np.arange(len(truth)), int((2 * MOST_PAIRS) ** 0.5)
    if len(truth) > most:
        places = np.random.default_rng(0).permutation(len(truth))[:most]
    first, second = (places[each] for each in np.triu_indices(len(places), k=1))
    cosines = np.zeros(len(first), "float32")
    if len(first):
        some = outputs[places]
        cosines = (some @ some.T)[np.triu_indices(len(places), k=1)]
    return (first, second), truth[first, 0] == truth[second, 0], cosines


@keras.saving.register_keras_serializable("mmkeras")
class Contrast(keras.losses.Loss):
    """Supervised contrastive loss over the rows of a batch (equation 2 of the paper).

    A row without another of its identity in the batch counts zero.

    Args:
        temperature: what cosines are divided by.
    """

    def __init__(self, temperature, name="contrast", **options):
        super().__init__(name=name, **options)
        self.temperature = temperature

    def call(self, y_true, y_pred):
        """Identities (batch, 1), embeddings (batch, dim) -> (batch,)."""
        same, itself = _same(y_true)
        logits = ops.matmul(y_pred, ops.transpose(y_pred)) / self.temperature
        logits = logits - 1e9 * itself  # no row is compared with itself
        log_shares = logits - ops.logsumexp(logits, axis=1, keepdims=True)
        count = ops.sum(same, axis=1)
        return -ops.sum(same * log_shares, axis=1) / ops.maximum(count, 1.0)

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "temperature": self.temperature}


def nearest_is_same(y_true, y_pred):
    """Whether each row's nearest other in the batch is of its identity, (batch,)."""
    same, itself = _same(y_true)
    cosines = ops.matmul(y_pred, ops.transpose(y_pred)) - 4.0 * itself
    nearest = ops.one_hot(ops.argmax(cosines, axis=1), ops.shape(same)[1])
    return ops.sum(same * nearest, axis=1)


def _same(identities):
    """(1 for two rows of one identity, 1 on the diagonal), (batch, batch) each."""
    identities = ops.reshape(ops.cast(identities, "float32"), (-1, 1))
    itself = ops.eye(ops.shape(identities)[0], dtype="float32")
    same = ops.cast(identities == ops.transpose(identities), "float32")
    return same * (1.0 - itself), itself
