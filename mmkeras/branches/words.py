"""What text branches on ids share: their inputs, and a recurrent layer both ways."""

import keras
from keras import ops


def inputs(name, length):
    """Ids (batch, length) and presence (batch,), by name, and the mask of real tokens.

    Returns:
        ({key: keras.Input}, (batch, length) bool).
    """
    ids = keras.Input((length,), dtype="int32", name=name)
    present = keras.Input((), dtype="bool", name=f"{name}_present")
    mask = ops.logical_and(ops.not_equal(ids, 0), present[:, None])
    return {name: ids, f"{name}_present": present}, mask


def both_ways(name, units):
    """A layer of LSTMs from both ends, half of the units from each.

    Raises:
        ValueError: units is odd.
    """
    if units % 2:
        raise ValueError(
            f"units: {units} cannot be shared by two directions, {units + 1} can"
        )
    half = keras.layers.LSTM(units // 2, return_sequences=True, name=f"{name}_lstm")
    return keras.layers.Bidirectional(half, name=f"{name}_bilstm")
