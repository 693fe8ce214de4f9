"""One number that a model makes of one row, or that the mean of several makes."""

import tensorflow as tf

from mmkeras import model
from mmkeras.explain.opened import Opened, listening, replacing


class Probe:
    """One row and one number that a model makes of it.

    Of an ensemble the number is that of the mean; each of its models can be looked
    into.

    Args:
        network: as `mmkeras.model.build` or `mmkeras.model.mean` makes it.
        given: {key: (1, ...)}, the decoded row.
        question: a `question.Question`.

    Attributes:
        models: the `opened.Opened` networks, one but for an ensemble.
        given: see above.
    """

    def __init__(self, network, given, question):
        leaves = _leaves(network, 1.0)
        self.models = [Opened(each, given) for each, _ in leaves]
        self.given, self.question = given, question
        self._shares = [share for _, share in leaves]

    def value(self, changed=None, *, rows=1, live=None, replaced=()):
        """The number, of as many rows as are asked for.

        Args:
            changed: {key: (rows, ...)} that take the place of the row's own.
            rows: how many.
            live: the input whose backbones must run.
            replaced: (`opened.Made`, (rows, ...)) pairs: tensors that take the place of
                what a layer makes.

        Returns:
            (rows,) float32 tensor.
        """
        with replacing(replaced):
            each = [one.outputs(changed, rows=rows, live=live) for one in self.models]
        target = self.question.target
        parts = [
            share * tf.cast(outputs[target], "float32")
            for share, outputs in zip(self._shares, each, strict=True)
        ]
        return self.question.number({target: tf.add_n(parts)})

    def gradient(self, one, name, made):
        """Of a score with respect to a tensor of a branch, in its shape.

        The score is that of the label before the softmax of this model, where there is
        one: a probability near 1 has no gradient left in float32. Else the number.

        Args:
            one: of `models`.
            name: of the input whose branch made the tensor.
            made: an `opened.Made` of that model.
        """
        point = tf.convert_to_tensor(made.output)
        with tf.GradientTape() as tape:
            tape.watch(point)
            score = self._score(one, name, [(made, point)])
        found = tape.gradient(score, point)
        return tf.zeros_like(point) if found is None else found

    def _score(self, one, live, replaced):
        logits = one.layer(self.question.logits)
        if logits is None:
            return self.value(live=live, replaced=replaced)
        found = []
        with listening([logits], found), replacing(replaced):
            one.outputs(live=live)
        return found[0].output[:, self.question.at]


def _leaves(network, share):
    """(network, what it counts in the mean) of all that `mmkeras.model.build` made."""
    inner = model.members(network)
    if not inner:
        return [(network, share)]
    return [leaf for each in inner for leaf in _leaves(each, share / len(inner))]
