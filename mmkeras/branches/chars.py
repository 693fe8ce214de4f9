"""Text branch on characters, for scripts without spaces and for misspelt words."""

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras.branches import words
from mmkeras.families import Fraction


def text_chars(
    name,
    *,
    length,
    vocabulary_size,
    embedding_dim: PositiveInt = 32,
    width: PositiveInt = 5,
    num_layers: PositiveInt = 2,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """Convolutions over characters; one token a character, (batch, length, units).

    Each sees `width` neighbours more than the one before, so a token stands for a
    piece of a word (Zhang et al. 2015, arXiv 1509.01626; here residual, without
    pooling). `data.inputs.<name>.length` counts characters, spaces included.

    Args:
        name: of the input.
        length: characters a text.
        vocabulary_size: ids, padding and unknown included.
        embedding_dim: size of a character's vector.
        width: characters that a convolution sees.
        num_layers: convolutions.
        units: size of a token.
        dropout: on the characters' vectors, share in [0, 1).
    """
    inputs, mask = words.inputs(name, length)
    tokens = keras.layers.Embedding(
        vocabulary_size, embedding_dim, name=f"{name}_embedding"
    )(inputs[name])
    tokens = keras.layers.Dropout(dropout, name=f"{name}_dropout")(tokens)
    for index in range(num_layers):
        seen = ops.where(mask[..., None], tokens, ops.zeros_like(tokens))
        made = keras.layers.Conv1D(
            units, width, padding="same", activation="relu", name=f"{name}_conv{index}"
        )(seen)
        tokens = made if index == 0 else tokens + made
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")
