"""A model opened up for one row: its number, and the tensors on the way there."""

import contextlib
from collections import Counter
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mmkeras import model
from mmkeras.branches import pretrained
from mmkeras.explain.question import NoSuchError


class Made(NamedTuple):
    """A tensor that a layer made.

    Attributes:
        layer: the `keras.Layer`.
        turn: how often it was called before in the same pass; a shared branch is called
            once an input.
        output: (1, ...) tensor.
    """

    layer: object
    turn: int
    output: object


class Probe:
    """One row and one number that a model makes of it.

    Features of pretrained backbones are computed once; only the backbone of the input
    that is looked into runs again.

    Args:
        network: as `mmkeras.model.build` makes it.
        given: {key: (1, ...)}, the decoded row.
        question: a `question.Question`.

    Raises:
        NoSuchError: the network is the mean of others.
    """

    def __init__(self, network, given, question):
        if model.members(network):
            raise NoSuchError(
                "an ensemble has no branches of its own to look into: explain one of "
                "its runs, which members.json names"
            )
        self.core, self.backbones = model.parts(network)
        self.branches = model.branches_of(self.core)
        self.given, self.question = given, question
        self.features = {
            name: pretrained.renamed(
                pretrained.fed(backbone, given, name), backbone, name
            )
            for name, backbone in self.backbones.items()
        }
        names = [layer.name for layer in self.core.layers]
        self._logits = (
            self.core.get_layer(question.logits) if question.logits in names else None
        )

    def value(self, changed=None, *, rows=1, live=None, replaced=()):
        """The number, of as many rows as are asked for.

        Args:
            changed: {key: (rows, ...)} that take the place of the row's own.
            rows: how many.
            live: the input whose backbone must run.
            replaced: (`Made`, (rows, ...)) pairs: tensors that take the place of what a
                layer makes.

        Returns:
            (rows,) float32 tensor.
        """
        with _replacing(replaced):
            outputs = self._outputs(changed or {}, rows, live)
        return self.question.number(outputs)

    def score(self, *, live, replaced):
        """The number before the softmax where there is one; see `value`."""
        if self._logits is None:
            return self.value(live=live, replaced=replaced)
        found = []
        with _listening([self._logits], found), _replacing(replaced):
            self._outputs({}, 1, live)
        return found[0].output[:, self.question.at]

    def gradient(self, name, made):
        """Of `score` with respect to a tensor of a branch, in its shape."""
        point = tf.convert_to_tensor(made.output)
        with tf.GradientTape() as tape:
            tape.watch(point)
            score = self.score(live=name, replaced=[(made, point)])
        found = tape.gradient(score, point)
        return tf.zeros_like(point) if found is None else found

    def passed(self, name, key=None):
        """What the layers of a branch make of an input, in the order they make it.

        A layer may be called for other inputs too, and some make the same whatever the
        input is, as positions: the input is changed, and what changes with it counts.

        Args:
            name: of the input.
            key: of the tensor that is changed; the input's own name where None.

        Returns:
            A list of `Made`.
        """
        key = key or name
        own = self.given[key]
        if own.dtype.is_integer:
            other = tf.zeros_like(own)
        else:  # noise: branches that standardise do not see a constant
            noise = np.random.default_rng(0).normal(size=own.shape)
            other = own + tf.constant(noise, own.dtype)
        now, then = (self._recorded(name, {key: tensor}) for tensor in (own, other))
        return [
            made
            for made, changed in zip(now, then, strict=True)
            if _differs(made.output, changed.output)
        ]

    def _recorded(self, name, changed):
        roots = [self.branches[name], self.backbones.get(name)]
        layers = {
            id(layer): layer
            for root in roots
            if root is not None
            for layer in root._flatten_layers(include_self=False)
            if not isinstance(layer, keras.Model)
        }
        found = []
        with _listening(list(layers.values()), found):
            self._outputs(changed, 1, name)
        return [made for made in found if tf.is_tensor(made.output)]

    def _outputs(self, changed, rows, live):
        """{target: (rows, ...)}; see `value`."""
        known = {
            key: tensor
            for name, made in self.features.items()
            if name != live
            for key, tensor in made.items()
        }
        given = {
            key: _repeated(tensor, rows)
            for key, tensor in {**self.given, **known, **changed}.items()
        }
        backbones = {live: self.backbones[live]} if live in self.backbones else {}
        return model.joined(self.core, backbones, given)


def _differs(one, other):
    """Whether two tensors of a shape differ by more than rounding."""
    one, other = np.asarray(one), np.asarray(other)
    return bool(np.any(np.abs(one - other) > 1e-5 * np.abs(one).max(initial=0)))


def _repeated(tensor, rows):
    return tensor if tensor.shape[0] == rows else tf.repeat(tensor, rows, axis=0)


@contextlib.contextmanager
def _tapped(layers, handle):
    """While it lasts, what layers make passes through `handle(layer, turn, output)`.

    A functional model hands out no tensor of a model within it, and building another
    around it fails where a layer cannot be read back from its config: so the layers'
    own `call` is stood in for.
    """
    turns = Counter()

    def tap(layer, original):
        def call(*arguments, **options):
            turn = turns[id(layer)]
            turns[id(layer)] += 1
            return handle(layer, turn, original(*arguments, **options))

        return call

    for layer in layers:
        object.__setattr__(layer, "call", tap(layer, layer.call))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _listening(layers, found):
    def handle(layer, turn, output):
        found.append(Made(layer, turn, output))
        return output

    return _tapped(layers, handle)


def _replacing(replaced):
    others = {(id(made.layer), made.turn): tensor for made, tensor in replaced}
    layers = {id(made.layer): made.layer for made, _ in replaced}

    def handle(layer, turn, output):
        return others.get((id(layer), turn), output)

    return _tapped(list(layers.values()), handle)
