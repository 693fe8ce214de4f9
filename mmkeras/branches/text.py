"""Text branches: token ids -> corridor.

Inputs of each: `<name>`, (batch, length) int32, 0 is padding and 1 is unknown, and
`<name>_present`, (batch,) bool.
"""

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.families import Fraction


def lstm(
    name,
    *,
    length,
    vocabulary_size,
    embedding_dim: PositiveInt = 64,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """Embedding and LSTM; one token a word, (batch, length, units).

    Args:
        name: of the input.
        length: tokens a text.
        vocabulary_size: ids, padding and unknown included.
        embedding_dim: size of a word's vector.
        units: of the LSTM.
        dropout: on the word vectors, share in [0, 1).
    """
    inputs, mask = _inputs(name, length)
    embedded = keras.layers.Embedding(
        vocabulary_size, embedding_dim, name=f"{name}_embedding"
    )(inputs[name])
    embedded = keras.layers.Dropout(dropout, name=f"{name}_dropout")(embedded)
    tokens = keras.layers.LSTM(units, return_sequences=True, name=f"{name}_lstm")(
        embedded, mask=mask
    )
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def transformer(
    name,
    *,
    length,
    vocabulary_size,
    units: PositiveInt = 64,
    num_layers: PositiveInt = 2,
    num_heads: PositiveInt = 4,
    dropout: Fraction = 0.1,
):
    """Pre-norm transformer encoder, trained from scratch, (batch, length, units).

    Args:
        name: of the input.
        length: tokens a text.
        vocabulary_size: ids, padding and unknown included.
        units: size of a token.
        num_layers: encoder blocks.
        num_heads: attention heads; must divide units.
        dropout: share in [0, 1).
    """
    inputs, mask = _inputs(name, length)
    tokens = keras.layers.Embedding(vocabulary_size, units, name=f"{name}_embedding")(
        inputs[name]
    )
    tokens = layers.Positions(name=f"{name}_positions")(tokens)
    for index in range(num_layers):
        tokens = layers.transformer_block(
            tokens,
            mask,
            num_heads=num_heads,
            dropout=dropout,
            name=f"{name}_block{index}",
        )
    tokens = keras.layers.LayerNormalization(name=f"{name}_norm")(tokens)
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def _inputs(name, length):
    """The two inputs by name, and the mask of real tokens."""
    ids = keras.Input((length,), dtype="int32", name=name)
    present = keras.Input((), dtype="bool", name=f"{name}_present")
    mask = ops.logical_and(ops.not_equal(ids, 0), present[:, None])
    return {name: ids, f"{name}_present": present}, mask


TEXT = {"lstm": lstm, "transformer": transformer}
