"""What all image branches share: their inputs, and one token a patch at the end."""

import keras
from keras import ops

from mmkeras import layers


def inputs(name, size):
    """Pixels (batch, size, size, 3) in [0, 1] and presence (batch,), by name."""
    return {
        name: keras.Input((size, size, 3), dtype="float32", name=name),
        f"{name}_present": keras.Input((), dtype="bool", name=f"{name}_present"),
    }


def tokens(name, features, units):
    """Feature map (batch, height, width, channels) -> (batch, patches, units)."""
    height, width, channels = features.shape[1:]
    patches = ops.reshape(features, (-1, height * width, channels))
    projected = keras.layers.Dense(units, name=f"{name}_units")(patches)
    placed = layers.Positions(name=f"{name}_positions")(projected)
    return keras.layers.Activation("gelu", name=f"{name}_gelu")(placed)


def seen(name, given, features):
    """All patches of the pictures that are there, (batch, patches) bool."""
    height, width = features.shape[1:3]
    return shown(name, given, height * width)


def shown(name, given, steps):
    """All tokens of the rows that are there, (batch, steps) bool."""
    present = given[f"{name}_present"][:, None]
    return ops.logical_and(present, ops.ones((1, steps), dtype="bool"))
