"""A network opened up for one row: the tensors on the way through it."""

import contextlib
from collections import Counter
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mmkeras import model
from mmkeras.branches import pretrained


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


class Opened:
    """One network and one row.

    Features of pretrained backbones are computed once; only the backbone of the input
    that is looked into runs again.

    Args:
        network: as `mmkeras.model.build` makes it.
        given: {key: (1, ...)}, the decoded row.
    """

    def __init__(self, network, given):
        self.core, self.backbones = model.parts(network)
        self.branches = model.branches_of(self.core)
        self.given = given
        self.features = {
            name: pretrained.renamed(
                pretrained.fed(backbone, given, name), backbone, name
            )
            for name, backbone in self.backbones.items()
        }

    def outputs(self, changed=None, *, rows=1, live=None):
        """What the network answers.

        Args:
            changed: {key: (rows, ...)} that take the place of the row's own.
            rows: how many.
            live: the input whose backbone must run.

        Returns:
            {target: (rows, ...)}.
        """
        known = {
            key: tensor
            for name, made in self.features.items()
            if name != live
            for key, tensor in made.items()
        }
        given = {
            key: _repeated(tensor, rows)
            for key, tensor in {**self.given, **known, **(changed or {})}.items()
        }
        backbones = {live: self.backbones[live]} if live in self.backbones else {}
        return model.joined(self.core, backbones, given)

    def layer(self, name):
        """The core's layer of a name, None where there is none."""
        return next((one for one in self.core.layers if one.name == name), None)

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
        with listening(list(layers.values()), found):
            self.outputs(changed, live=name)
        return [made for made in found if tf.is_tensor(made.output)]

    def fused(self, attends=()):
        """What the fusion is given, and what its attentions read.

        Args:
            attends: `keras.layers.MultiHeadAttention` layers within the fusion.

        Returns:
            ({input: {"tokens": (1, steps, dim), "mask": (1, steps)}}, a (heads, asking,
            asked) float32 array each of `attends`), of the one pass that answers.
        """
        ends = {name: self.layer(f"{name}_missing") for name in self.branches}
        found, scores = [], {}

        def keep(layer, turn, output):
            output, scores[id(layer)] = output
            return output

        asked = {"return_attention_scores": True}
        with listening(list(ends.values()), found), _tapped(attends, keep, **asked):
            self.outputs()
        made = {id(one.layer): one.output for one in found}
        corridors = {
            name: dict(zip(("tokens", "mask"), made[id(end)], strict=True))
            for name, end in ends.items()
        }
        read = [np.asarray(scores[id(each)][0], "float32") for each in attends]
        return corridors, read


def _differs(one, other):
    """Whether two tensors of a shape differ by more than rounding."""
    one, other = np.asarray(one), np.asarray(other)
    return bool(np.any(np.abs(one - other) > 1e-5 * np.abs(one).max(initial=0)))


def _repeated(tensor, rows):
    return tensor if tensor.shape[0] == rows else tf.repeat(tensor, rows, axis=0)


@contextlib.contextmanager
def _tapped(layers, handle, **asked):
    """While it lasts, what layers make passes through `handle(layer, turn, output)`.

    `asked` are options that the layers are called with on top.

    A functional model hands out no tensor of a model within it, and building another
    around it fails where a layer cannot be read back from its config: so the layers'
    own `call` is stood in for.
    """
    turns = Counter()

    def tap(layer, original):
        def call(*arguments, **options):
            turn = turns[id(layer)]
            turns[id(layer)] += 1
            return handle(layer, turn, original(*arguments, **{**options, **asked}))

        return call

    for layer in layers:
        object.__setattr__(layer, "call", tap(layer, layer.call))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def listening(layers, found):
    """While it lasts, what layers make is put into the list `found`, as `Made`."""

    def handle(layer, turn, output):
        found.append(Made(layer, turn, output))
        return output

    return _tapped(layers, handle)


def replacing(replaced):
    """While it lasts, tensors stand in for what is made, (`Made`, tensor) pairs."""
    others = {(id(made.layer), made.turn): tensor for made, tensor in replaced}
    layers = {id(made.layer): made.layer for made, _ in replaced}

    def handle(layer, turn, output):
        return others.get((id(layer), turn), output)

    return _tapped(list(layers.values()), handle)
