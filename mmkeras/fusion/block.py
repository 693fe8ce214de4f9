"""The transformer block of the token-level fusions, and who reads whom in it."""

from typing import NamedTuple

import keras


class Reader(NamedTuple):
    """An attention within a fusion, and whose tokens ask and are asked, in order.

    Attributes:
        attend: the `keras.layers.MultiHeadAttention`.
        asking: inputs whose tokens are the queries; None stands for `own` vectors of
            the fusion itself, learned queries or latents.
        asked: inputs whose tokens are keys and values; None as above.
        turn: which round of asking, from 0.
        own: how many vectors None stands for.
    """

    attend: object
    asking: tuple
    asked: tuple
    turn: int = 0
    own: int = 0


@keras.saving.register_keras_serializable("mmkeras")
class Block(keras.layers.Layer):
    """Pre-norm attention of tokens to a context, then a small network, both residual.

    x = tokens + Attention(LN(tokens), LN(context)), out = x + MLP(LN(x)) (Xiong et al.
    2020, arXiv 2002.04745). Where the context is the tokens, a self-attention block.
    Without dropout: what it gives is pooled, and noise in front of `layers.Pool` keeps
    a combination of modalities from being learned.

    Args:
        num_heads: heads; must divide the size of a token.
        **kwargs: of a Keras layer.
    """

    def __init__(self, *, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.norm = keras.layers.LayerNormalization(dtype=self.dtype_policy)
        self.mlp_norm = keras.layers.LayerNormalization(dtype=self.dtype_policy)

    def build(self, tokens_shape, context_shape, visible_shape):
        """Makes the attention and the network, as wide as the tokens."""
        dim, heads = tokens_shape[-1], self.num_heads
        self.attend = keras.layers.MultiHeadAttention(
            heads, dim // heads, dtype=self.dtype_policy
        )
        self.attend.build(tokens_shape, context_shape)
        self.hidden = keras.layers.Dense(2 * dim, "gelu", dtype=self.dtype_policy)
        self.hidden.build((None, None, dim))
        self.out = keras.layers.Dense(dim, dtype=self.dtype_policy)
        self.out.build((None, None, 2 * dim))
        self.norm.build((None, None, dim))
        self.mlp_norm.build((None, None, dim))

    def call(self, tokens, context, visible):
        """Attends.

        Args:
            tokens: (batch, steps, dim), the queries.
            context: (batch, others, dim), keys and values.
            visible: (batch, others) bool, what of the context is attended to.

        Returns:
            (batch, steps, dim).
        """
        tokens = tokens + self.attend(
            self.norm(tokens),
            self.norm(context),
            attention_mask=visible[:, None, :],
        )
        return tokens + self.out(self.hidden(self.mlp_norm(tokens)))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads}
