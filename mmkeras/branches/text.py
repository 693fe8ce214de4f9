"""Text branches: token ids -> corridor.

Inputs of each: `<name>`, (batch, length) int32, 0 is padding and 1 is unknown, and
`<name>_present`, (batch,) bool.
"""

import keras
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.branches import words
from mmkeras.branches.chars import text_chars
from mmkeras.branches.hub import text_hub
from mmkeras.branches.kerashub import text_kerashub
from mmkeras.branches.own import text_own
from mmkeras.branches.vectors import text_vectors
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
    layer = keras.layers.LSTM(units, return_sequences=True, name=f"{name}_lstm")
    return _recurrent(name, length, vocabulary_size, embedding_dim, dropout, layer)


def bilstm(
    name,
    *,
    length,
    vocabulary_size,
    embedding_dim: PositiveInt = 64,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """Embedding and LSTMs from both ends; one token a word, (batch, length, units).

    Args:
        name: of the input.
        length: tokens a text.
        vocabulary_size: ids, padding and unknown included.
        embedding_dim: size of a word's vector.
        units: size of a token, half from each direction; even.
        dropout: on the word vectors, share in [0, 1).

    Raises:
        ValueError: units is odd.
    """
    both = words.both_ways(name, units)
    return _recurrent(name, length, vocabulary_size, embedding_dim, dropout, both)


def gru(
    name,
    *,
    length,
    vocabulary_size,
    embedding_dim: PositiveInt = 64,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """Embedding and GRU; one token a word, (batch, length, units).

    Args:
        name: of the input.
        length: tokens a text.
        vocabulary_size: ids, padding and unknown included.
        embedding_dim: size of a word's vector.
        units: of the GRU.
        dropout: on the word vectors, share in [0, 1).
    """
    layer = keras.layers.GRU(units, return_sequences=True, name=f"{name}_gru")
    return _recurrent(name, length, vocabulary_size, embedding_dim, dropout, layer)


def bag(
    name,
    *,
    length,
    vocabulary_size,
    units: PositiveInt = 64,
    dropout: Fraction = 0.3,
):
    """A vector a word, whatever the order; one token a word, (batch, length, units).

    The words stay tokens: averaging is the fusion's business, and a fusion that
    attends finds the word it looks for. How much a word counts is learned as the
    length of its vector.

    Args:
        name: of the input.
        length: tokens a text.
        vocabulary_size: ids, padding and unknown included.
        units: size of a word's vector.
        dropout: of whole words, share in [0, 1), as in deep averaging networks (Iyyer
            et al. 2015, section 3.1, whose best share is 0.3).
    """
    inputs, mask = words.inputs(name, length)
    tokens = keras.layers.Embedding(vocabulary_size, units, name=f"{name}_embedding")(
        inputs[name]
    )
    tokens = keras.layers.Dropout(
        dropout, noise_shape=(None, length, 1), name=f"{name}_dropout"
    )(tokens)
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
    inputs, mask = words.inputs(name, length)
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


def _recurrent(name, length, vocabulary_size, embedding_dim, dropout, layer):
    """Word vectors, and a recurrent layer over the words that are there."""
    inputs, mask = words.inputs(name, length)
    embedded = keras.layers.Embedding(
        vocabulary_size, embedding_dim, name=f"{name}_embedding"
    )(inputs[name])
    embedded = keras.layers.Dropout(dropout, name=f"{name}_dropout")(embedded)
    tokens = layer(embedded, mask=mask)
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


TEXT = {
    "lstm": lstm,
    "transformer": transformer,
    "bag": bag,
    "bilstm": bilstm,
    "gru": gru,
    "chars": text_chars,
    "vectors": text_vectors,
    "kerashub": text_kerashub,
    "hub": text_hub,
    "own": text_own,
}
