"""Encoder blocks over masked tokens: transformer and conformer."""

import keras
from keras import ops


def channel_dropout(features, rate, name):
    """Drops whole channels of a row, (batch, ..., channels) -> as features.

    What Keras' SpatialDropout does, which forgets its precision in a file.

    Args:
        features: (batch, ..., channels).
        rate: share of the channels, in [0, 1).
        name: of the layer.
    """
    shape = (None, *[1] * (len(features.shape) - 2), None)
    return keras.layers.Dropout(rate, shape, name=name)(features)


def transformer_block(tokens, mask, *, num_heads, dropout, name):
    """One pre-norm encoder block (Xiong et al. 2020, arXiv 2002.04745).

    Args:
        tokens: (batch, steps, dim).
        mask: (batch, steps) bool; steps outside it are not attended to.
        num_heads: heads; must divide dim.
        dropout: share in [0, 1).
        name: prefix of the layers' names.

    Returns:
        (batch, steps, dim).

    Raises:
        ValueError: the heads do not divide dim.
    """
    dim = tokens.shape[-1]
    tokens = tokens + _attend(tokens, mask, num_heads, dropout, name)
    normed = keras.layers.LayerNormalization(name=f"{name}_mlp_norm")(tokens)
    hidden = keras.layers.Dense(4 * dim, "gelu", name=f"{name}_mlp_hidden")(normed)
    hidden = keras.layers.Dropout(dropout, name=f"{name}_dropout")(hidden)
    return tokens + keras.layers.Dense(dim, name=f"{name}_mlp")(hidden)


def conformer_block(tokens, mask, *, num_heads, dropout, name):
    """One conformer block (Gulati et al. 2020, arXiv 2005.08100).

    Half a feed-forward step, self-attention, a depthwise convolution, another half
    step, a normalisation. Simplified: positions are not the block's business, where the
    paper attends by relative ones, and the convolution is followed by a layer
    normalisation, since batch statistics would count the padding.

    Args:
        tokens: (batch, steps, dim).
        mask: (batch, steps) bool; steps outside it are not attended to, and the
            convolution finds zeros there.
        num_heads: heads; must divide dim.
        dropout: share in [0, 1).
        name: prefix of the layers' names.

    Returns:
        (batch, steps, dim).

    Raises:
        ValueError: the heads do not divide dim.
    """
    tokens = tokens + 0.5 * _feed_forward(tokens, dropout, f"{name}_before")
    attended = _attend(tokens, mask, num_heads, dropout, name)
    tokens = tokens + keras.layers.Dropout(dropout, name=f"{name}_dropout")(attended)
    tokens = tokens + _convolve(tokens, mask, dropout, f"{name}_conv")
    tokens = tokens + 0.5 * _feed_forward(tokens, dropout, f"{name}_after")
    return keras.layers.LayerNormalization(name=f"{name}_norm")(tokens)


def _attend(tokens, mask, num_heads, dropout, name):
    dim = tokens.shape[-1]
    if dim % num_heads:
        raise ValueError(f"{num_heads} heads do not divide {dim} units")
    normed = keras.layers.LayerNormalization(name=f"{name}_attention_norm")(tokens)
    return keras.layers.MultiHeadAttention(
        num_heads, dim // num_heads, dropout=dropout, name=f"{name}_attention"
    )(normed, normed, attention_mask=mask[:, None, :])


def _feed_forward(tokens, dropout, name):
    dim = tokens.shape[-1]
    normed = keras.layers.LayerNormalization(name=f"{name}_norm")(tokens)
    hidden = keras.layers.Dense(4 * dim, "silu", name=f"{name}_hidden")(normed)
    hidden = keras.layers.Dropout(dropout, name=f"{name}_hidden_dropout")(hidden)
    out = keras.layers.Dense(dim, name=f"{name}_out")(hidden)
    return keras.layers.Dropout(dropout, name=f"{name}_dropout")(out)


def _convolve(tokens, mask, dropout, name):
    dim = tokens.shape[-1]
    normed = keras.layers.LayerNormalization(name=f"{name}_in_norm")(tokens)
    # Not `Dense(..., "glu")`: Keras 3.15 tells a wrong shape of it.
    both = keras.layers.Dense(2 * dim, name=f"{name}_gate")(normed)
    gated = both[..., :dim] * ops.sigmoid(both[..., dim:])
    gated = ops.where(mask[..., None], gated, 0.0)
    # 15 steps see 0.6 s of 40 ms; the paper's 32 are for sentences, not for words.
    mixed = keras.layers.DepthwiseConv1D(15, padding="same", name=f"{name}_depthwise")(
        gated
    )
    normed = keras.layers.LayerNormalization(name=f"{name}_out_norm")(mixed)
    hidden = keras.layers.Activation("silu", name=f"{name}_silu")(normed)
    out = keras.layers.Dense(dim, name=f"{name}_out")(hidden)
    return keras.layers.Dropout(dropout, name=f"{name}_dropout")(out)
