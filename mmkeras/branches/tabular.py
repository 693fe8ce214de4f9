"""Tabular branches: numbers and ids of words -> corridor, one token a column.

Inputs of each: `<name>`, (batch, numbers) float32; `<name>_ids`, (batch, categories)
int32, 0 where the cell is empty; `<name>_seen`, (batch, columns) bool, the numbers
first; `<name>_present`, (batch,) bool.
"""

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.families import Fraction


def tokens(
    name,
    *,
    numbers,
    categories,
    vocabulary_size,
    units: PositiveInt = 64,
    dropout: Fraction = 0.0,
):
    """One token a column, as it stands in the row, (batch, columns, units).

    The feature tokenizer of the FT-Transformer (Gorishniy et al. 2021, arXiv
    2106.11959, section 3.3): a number times a vector of its column, or a vector of the
    word, plus a vector of the column. Empty cells are outside the mask.

    Args:
        name: of the input.
        numbers: columns that hold numbers.
        categories: columns that hold words.
        vocabulary_size: ids of all words of all columns.
        units: size of a token.
        dropout: of whole columns, share in [0, 1).
    """
    inputs, mask = _inputs(name, numbers, categories)
    made = _tokens(inputs, name, vocabulary_size, units)
    made = keras.layers.Dropout(
        dropout, noise_shape=(None, numbers + categories, 1), name=f"{name}_dropout"
    )(made)
    return keras.Model(inputs, {"tokens": made, "mask": mask}, name=f"{name}_branch")


def transformer(
    name,
    *,
    numbers,
    categories,
    vocabulary_size,
    units: PositiveInt = 64,
    num_layers: PositiveInt = 2,
    num_heads: PositiveInt = 4,
    dropout: Fraction = 0.1,
):
    """Columns that attend to each other, (batch, columns, units): the FT-Transformer.

    Its token of the class is left out: pooling is the fusion's business. See `tokens`
    for the source.

    Args:
        name: of the input.
        numbers: columns that hold numbers.
        categories: columns that hold words.
        vocabulary_size: ids of all words of all columns.
        units: size of a token.
        num_layers: encoder blocks.
        num_heads: attention heads; must divide units.
        dropout: share in [0, 1).

    Raises:
        ValueError: the heads do not divide units.
    """
    inputs, mask = _inputs(name, numbers, categories)
    made = _tokens(inputs, name, vocabulary_size, units)
    for index in range(num_layers):
        made = layers.transformer_block(
            made,
            mask,
            num_heads=num_heads,
            dropout=dropout,
            name=f"{name}_block{index}",
        )
    made = keras.layers.LayerNormalization(name=f"{name}_norm")(made)
    return keras.Model(inputs, {"tokens": made, "mask": mask}, name=f"{name}_branch")


def _tokens(inputs, name, vocabulary_size, units):
    """(batch, columns, units), numbers first."""
    start = keras.initializers.RandomUniform(-(units**-0.5), units**-0.5)
    made = []
    if inputs[name].shape[1]:
        made.append(
            keras.layers.EinsumDense(
                "bn,nu->bnu",
                (inputs[name].shape[1], units),
                kernel_initializer=start,
                name=f"{name}_numbers",
            )(inputs[name])
        )
    if inputs[f"{name}_ids"].shape[1]:
        made.append(
            keras.layers.Embedding(
                vocabulary_size,
                units,
                embeddings_initializer=start,
                name=f"{name}_embedding",
            )(inputs[f"{name}_ids"])
        )
    joined = ops.concatenate(made, axis=1) if len(made) > 1 else made[0]
    # The vector of a column is that of a position: columns stand where they stand.
    return layers.Positions(name=f"{name}_columns")(joined)


def _inputs(name, numbers, categories):
    """The four inputs by name, and the mask of cells that are there."""
    seen = keras.Input((numbers + categories,), dtype="bool", name=f"{name}_seen")
    present = keras.Input((), dtype="bool", name=f"{name}_present")
    inputs = {
        name: keras.Input((numbers,), name=name),
        f"{name}_ids": keras.Input((categories,), dtype="int32", name=f"{name}_ids"),
        f"{name}_seen": seen,
        f"{name}_present": present,
    }
    return inputs, ops.logical_and(seen, present[:, None])


TABULAR = {"tokens": tokens, "transformer": transformer}
