"""What is explained of a target: one number that the model makes of a row."""

import numpy as np
import tensorflow as tf

from mmkeras.families import nearest
from mmkeras.tasks import Classification, Multilabel, Regression, Verification


class NoSuchError(ValueError):
    """A target or label that the run does not have."""


class Question:
    """One number of a target's output.

    Of a classification the probability of the label that is told, of several labels
    that of the most probable one, both calibrated as they are served; of a regression
    the number itself, of a verification the cosine to the nearest enrolled identity.

    Args:
        target: name of the target.
        task: its task, see `mmkeras.tasks`.
        output: what the model makes of the row, (1, ...).
        label: another label to explain; None for the above.

    Raises:
        NoSuchError: the task has no such label.
    """

    def __init__(self, target, task, output, label=None):
        self.target, self.task = target, task
        self.output = np.asarray(output)
        self.at = self._position(label)
        self.label = "" if self.at is None else task.labels[self.at]

    @property
    def what(self):
        """The number in words, as `probability of "cat"`."""
        if isinstance(self.task, Regression):
            return f"{self.target}, in its own unit"
        if isinstance(self.task, Classification | Multilabel):
            return f'probability of "{self.label}"'
        return f'cosine to "{self.label}"'

    @property
    def logits(self):
        """Name of the layer with the scores before the softmax; None without one.

        A probability near 1 has no gradient left in float32, its score has.
        """
        if isinstance(self.task, Classification):
            return f"{self.target}_logits"
        return None

    @property
    def told(self):
        """What the model answers, as text; "" where no label is told."""
        told = self.task.decode(self.output)[0]
        if isinstance(told, float):
            return f"{told:.4g}"
        return told if isinstance(told, str) else ", ".join(told)

    @property
    def probabilities(self):
        """{label: probability or cosine}, the largest first; {} of a regression."""
        if isinstance(self.task, Regression):
            return {}
        each = self._each(tf.constant(self.output)).numpy()[0].tolist()
        pairs = zip(self.task.labels, each, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def number(self, outputs):
        """Outputs of the model {target: (batch, ...)} -> (batch,) float32."""
        each = self._each(outputs[self.target])
        return each[:, 0 if self.at is None else self.at]

    def _each(self, output):
        """(batch, labels): probabilities, cosines, or the one number."""
        if isinstance(self.task, Verification):
            return tf.linalg.matmul(output, self.task.enrolled, transpose_b=True)
        return tf.convert_to_tensor(self.task.calibrated(output))

    def _position(self, label):
        """Of the label that is explained, None of a regression."""
        if isinstance(self.task, Regression):
            if label is not None:
                raise NoSuchError(f"`{self.target}` is a number and has no labels")
            return None
        labels = self.task.labels
        if label is not None:
            if label not in labels:
                hint = nearest(label, labels)
                raise NoSuchError(f"`{self.target}` has no label `{label}`{hint}")
            return labels.index(label)
        if isinstance(self.task, Classification):
            return int(self.task.called(self.output)[0])
        return int(np.argmax(self._each(tf.constant(self.output))[0]))
