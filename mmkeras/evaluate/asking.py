"""One model asked the same rows in several ways."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mmkeras import dataset, model
from mmkeras.branches import pretrained

BATCH = 128


class Change(NamedTuple):
    """Something that is done to rows before a model is asked.

    Attributes:
        make: function ({key: (batch, ...)}, `numpy.random.Generator`, (batch,) row
            numbers) -> those of the tensors that it changes.
        live: the inputs whose pretrained backbone must run anew.
    """

    make: Callable
    live: tuple = ()


# Rows as they are: a model is asked once for all that are called so.
UNCHANGED = Change(lambda tensors, random, numbers: {})


class Asked:
    """A model opened between its pretrained backbones and the rest.

    What a backbone makes of rows is computed once, and again only where a change asks
    for it.

    Args:
        network: as `mmkeras.model.build` makes it, or a mean of such.
        decoders: {input: decoder} of its inputs.
    """

    def __init__(self, network, decoders):
        self.core, self.backbones = model.parts(network)
        self.targets = list(network.output)
        self.keys = {name: [*each.specs] for name, each in decoders.items()}

    def features(self, tensors, names):
        """Tensors of the decoders, with what the backbones of these inputs make."""
        made = dict(tensors)
        for name in self.backbones:
            if name in names:
                backbone = self.backbones[name]
                fed = pretrained.fed(backbone, tensors, name)
                made |= pretrained.renamed(fed, backbone, name)
        return made

    def of_input(self, features, name):
        """Those of the tensors that belong to an input."""
        keys = list(self.keys[name])
        if name in self.backbones:
            backbone = self.backbones[name]
            keys += pretrained.renamed(backbone.output, backbone, name)
        return {key: features[key] for key in keys if key in features}

    def answers(self, features):
        """{target: (batch, ...) array} of what `features` gave."""
        given = {key: features[key] for key in self.core.input}
        outputs = self.core.predict_on_batch(given)
        return {target: outputs[target] for target in self.targets}


def changed(asked, loaded, count, changes, seed=0):
    """A model's outputs for all rows, each of them changed in each of several ways.

    Args:
        asked: an `Asked`.
        loaded: `dataset.Rows`.
        count: how many rows there are.
        changes: {name: `Change`}; each is given rows in random order.
        seed: of that order and of the generators.

    Returns:
        {name: {target: (rows, ...) array}}, in the order of the rows.
    """
    order = np.random.default_rng(seed).permutation(count)
    randoms = {
        name: np.random.default_rng([seed, at]) for at, name in enumerate(changes)
    }
    parts = {name: [] for name in changes}
    numbers = tf.data.Dataset.from_tensor_slices(order.astype("int64")).batch(BATCH)
    with dataset.broken_files_named():
        taken = numbers.map(lambda part: (part, loaded.take(part)), tf.data.AUTOTUNE)
        for part, tensors in taken.prefetch(2):
            part, features = part.numpy(), asked.features(tensors, asked.keys)
            plain = None
            for name, change in changes.items():
                if change is UNCHANGED:
                    plain = plain or asked.answers(features)
                    parts[name].append(plain)
                    continue
                given = features | change.make(features, randoms[name], part)
                given = asked.features(given, change.live)
                parts[name].append(asked.answers(given))
    back = np.argsort(order)
    return {
        name: {
            target: np.concatenate([part[target] for part in each])[back]
            for target in asked.targets
        }
        for name, each in parts.items()
    }


def without(name):
    """The change that takes an input from every row."""

    def make(tensors, random, numbers):
        return {f"{name}_present": tf.zeros_like(tensors[f"{name}_present"])}

    return Change(make)


def exchanged(asked, name):
    """The change that gives every row the input of a random other, missing or not."""

    def make(tensors, random, numbers):
        order = random.permutation(len(numbers))
        own = asked.of_input(tensors, name)
        return {key: tf.gather(tensor, order) for key, tensor in own.items()}

    return Change(make)
