"""Fusions that read tokens: words, patches and frames find each other by attention.

Each keeps the pooled vectors beside what attention reads: they learn faster, and carry
what needs no attention. Called as those of `vectors.py` are.
"""

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras.families import Fraction
from mmkeras.fusion import pooling
from mmkeras.fusion.block import Block, Reader


@keras.saving.register_keras_serializable("mmkeras")
class Attention(keras.layers.Layer):
    """Learned queries attend to all tokens of all modalities at once.

    Words, patches and frames are projected to one width and marked with their
    modality; what the queries read is mixed with each modality's pooled vector in
    dense layers (the resampler of Flamingo, Alayrac et al. 2022, arXiv 2204.14198, is
    this with more layers and without the pooled vectors, which learn faster).

    Args:
        units: size of a token and of the fused vector.
        num_queries: how many vectors are read.
        num_heads: attention heads; must divide units.
        dropout: share in [0, 1).
        **kwargs: of a Keras layer.

    Raises:
        ValueError: the heads do not divide the units.
    """

    def __init__(
        self,
        *,
        units: PositiveInt = 64,
        num_queries: PositiveInt = 8,
        num_heads: PositiveInt = 4,
        dropout: Fraction = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _require_heads_divide(units, num_heads)
        self.options = {
            "units": units,
            "num_queries": num_queries,
            "num_heads": num_heads,
            "dropout": dropout,
        }
        self.attend = keras.layers.MultiHeadAttention(
            num_heads, units // num_heads, dropout=dropout, dtype=self.dtype_policy
        )
        self.mix = keras.layers.Dense(2 * units, "relu", dtype=self.dtype_policy)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = keras.layers.Dense(units, "relu", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes a pool, a projection and a mark a modality, and the queries."""
        units, count = self.options["units"], self.options["num_queries"]
        self.pools, widths = pooling.pools(input_shape, dtype=self.dtype_policy)
        dims = {name: input_shape[name]["tokens"][-1] for name in widths}
        self.projections = pooling.projections(dims, units, dtype=self.dtype_policy)
        self.marks = self.add_weight(
            shape=(len(dims), units), initializer="truncated_normal", name="marks"
        )
        # As large as tokens are, or every query reads the same average.
        self.queries = self.add_weight(
            shape=(count, units),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="queries",
        )
        self.attend.build((None, count, units), (None, None, units))
        self.mix.build((None, count * units + sum(widths.values())))
        self.out.build((None, 2 * units))

    def call(self, corridors, training=None):
        """Fuses."""
        tokens, mask = self.all_tokens(corridors)
        queries = ops.broadcast_to(
            ops.cast(self.queries, tokens.dtype),
            (ops.shape(tokens)[0], *self.queries.shape),
        )
        read = self.attend(
            queries, tokens, attention_mask=mask[:, None, :], training=training
        )  # (batch, queries, units)
        width = self.options["num_queries"] * self.options["units"]
        pooled = pooling.pooled(self.pools, corridors, training)
        hidden = self.mix(
            ops.concatenate([ops.reshape(read, (-1, width)), *pooled.values()], axis=-1)
        )
        return self.out(self.drop(hidden, training=training))

    def all_tokens(self, corridors):
        """One sequence of all modalities' tokens, marked, and its mask."""
        streams = [
            projection(corridors[name]["tokens"])
            + ops.cast(self.marks[index], self.compute_dtype)
            for index, (name, projection) in enumerate(self.projections.items())
        ]
        masks = [corridors[name]["mask"] for name in self.projections]
        return ops.concatenate(streams, axis=1), ops.concatenate(masks, axis=1)

    def readers(self):
        """Who reads whom, a list of `block.Reader`; the layer must have been built."""
        own = self.options["num_queries"]
        return [Reader(self.attend, (None,), tuple(self.projections), own=own)]

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class CrossAttention(keras.layers.Layer):
    """The tokens of each modality ask the tokens of all others, then all are pooled.

    A stream a modality: a pre-norm block in which its tokens are the queries, and the
    others' tokens, marked with their modality, keys and values (the crossmodal block of
    MulT, Tsai et al. 2019, arXiv 1906.00295, with all sources in one softmax instead of
    one transformer a pair: N blocks, not N (N - 1)). One modality alone asks itself.
    The streams are pooled beside the modality's own vector; `low_rank`'s product mixes.

    Args:
        units: size of a token and of the fused vector.
        num_layers: rounds of asking.
        num_heads: attention heads; must divide units.
        rank: of the product that mixes the streams.
        dropout: share in [0, 1), of the product; none in front of the pools.
        **kwargs: of a Keras layer.

    Raises:
        ValueError: the heads do not divide the units.
    """

    def __init__(
        self,
        *,
        units: PositiveInt = 64,
        num_layers: PositiveInt = 1,
        num_heads: PositiveInt = 4,
        rank: PositiveInt = 256,
        dropout: Fraction = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _require_heads_divide(units, num_heads)
        self.options = {
            "units": units,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "rank": rank,
            "dropout": dropout,
        }
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = keras.layers.Dense(units, "relu", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes two pools, a projection, a mark and the blocks of each modality."""
        units, policy = self.options["units"], self.dtype_policy
        self.pools, widths = pooling.pools(input_shape, dtype=policy)
        self.projections, read_shape = _narrowed(input_shape, units, policy)
        self.read_pools, _ = pooling.pools(read_shape, "read_pool", dtype=policy)
        self.marks = self.add_weight(
            shape=(len(widths), units), initializer="truncated_normal", name="marks"
        )
        self.blocks = _blocks(self.options, widths, policy)
        self.factors = _factors(widths, units, self.options["rank"], policy)
        self.out.build((None, self.options["rank"]))

    def call(self, corridors, training=None):
        """Fuses."""
        product = _mixed(self, self.read(corridors), corridors, training)
        return self.out(self.drop(product, training=training))

    def read(self, corridors):
        """The tokens of each modality after asking, {name: (batch, steps, units)}."""
        streams = {
            name: projection(corridors[name]["tokens"])
            for name, projection in self.projections.items()
        }
        for index in range(self.options["num_layers"]):
            marked = {
                name: tokens + ops.cast(self.marks[place], tokens.dtype)
                for place, (name, tokens) in enumerate(streams.items())
            }
            streams = {
                name: self.blocks[f"{name}_{index}"](
                    tokens, *_others(name, marked, corridors)
                )
                for name, tokens in streams.items()
            }
        return streams

    def readers(self):
        """Who reads whom, a list of `block.Reader`; the layer must have been built."""
        return [
            Reader(self.blocks[f"{name}_{index}"].attend, (name,), others, index)
            for index in range(self.options["num_layers"])
            for name in self.projections
            for others in [_asked_by(name, self.projections)]
        ]

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class Bottleneck(keras.layers.Layer):
    """Modalities exchange through a few latent tokens only: attention bottlenecks.

    In each layer a modality's block attends over its own tokens and the latents, and
    updates both; then the latents are averaged over the modalities (MBT, Nagrani et al.
    2021, arXiv 2107.00135, eqs. 8 and 9). So tokens hear of other modalities from the
    second layer on, and attention grows with the length of each, not of all together.
    The streams are pooled beside the modality's own vector; `low_rank`'s product mixes.

    Args:
        units: size of a token and of the fused vector.
        num_latents: tokens that the modalities share.
        num_layers: rounds; one exchanges nothing between the streams.
        num_heads: attention heads; must divide units.
        rank: of the product that mixes the streams.
        dropout: share in [0, 1), of the product; none in front of the pools.
        **kwargs: of a Keras layer.

    Raises:
        ValueError: the heads do not divide the units.
    """

    def __init__(
        self,
        *,
        units: PositiveInt = 64,
        num_latents: PositiveInt = 4,
        num_layers: PositiveInt = 2,
        num_heads: PositiveInt = 4,
        rank: PositiveInt = 256,
        dropout: Fraction = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _require_heads_divide(units, num_heads)
        self.options = {
            "units": units,
            "num_latents": num_latents,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "rank": rank,
            "dropout": dropout,
        }
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = keras.layers.Dense(units, "relu", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes two pools, a projection and blocks a modality, and the latents."""
        units, count = self.options["units"], self.options["num_latents"]
        policy = self.dtype_policy
        self.pools, widths = pooling.pools(input_shape, dtype=policy)
        self.projections, read_shape = _narrowed(input_shape, units, policy)
        self.read_pools, _ = pooling.pools(read_shape, "read_pool", dtype=policy)
        # As large as tokens are, so that latents differ from the start.
        self.latents = self.add_weight(
            shape=(count, units),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="latents",
        )
        self.blocks = _blocks(self.options, widths, policy)
        self.factors = _factors(widths, units, self.options["rank"], policy)
        self.out.build((None, self.options["rank"]))

    def call(self, corridors, training=None):
        """Fuses."""
        streams, _ = self.read(corridors)
        product = _mixed(self, streams, corridors, training)
        return self.out(self.drop(product, training=training))

    def read(self, corridors):
        """All tokens after the exchange.

        Returns:
            {name: (batch, steps, units)} and the latents, (batch, latents, units).
        """
        streams = {
            name: projection(corridors[name]["tokens"])
            for name, projection in self.projections.items()
        }
        first = next(iter(streams.values()))
        latents = ops.broadcast_to(
            ops.cast(self.latents, first.dtype),
            (ops.shape(first)[0], *self.latents.shape),
        )
        for index in range(self.options["num_layers"]):
            told = []
            for name, tokens in streams.items():
                streams[name], own = self._exchange(
                    f"{name}_{index}", tokens, latents, corridors[name]["mask"]
                )
                told.append(own)
            latents = ops.mean(ops.stack(told), axis=0)
        return streams, latents

    def _exchange(self, block, tokens, latents, mask):
        """One block over the tokens of one modality and the latents: both, updated."""
        both = ops.concatenate([tokens, latents], axis=1)
        always = ops.ones_like(latents[:, :, 0], dtype="bool")
        visible = ops.concatenate([mask, always], axis=1)
        both = self.blocks[block](both, both, visible)
        count = self.options["num_latents"]
        return both[:, :-count], both[:, -count:]

    def readers(self):
        """Who reads whom, a list of `block.Reader`; the layer must have been built."""
        own = self.options["num_latents"]
        return [
            Reader(
                self.blocks[f"{name}_{index}"].attend, *[(name, None)] * 2, index, own
            )
            for index in range(self.options["num_layers"])
            for name in self.projections
        ]

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


def _require_heads_divide(units, num_heads):
    if units % num_heads:
        raise ValueError(f"{num_heads} heads do not divide {units} units")


def _narrowed(input_shape, units, policy):
    """A dense layer a modality to tokens of `units`, and their corridors' shape."""
    dims = {name: input_shape[name]["tokens"][-1] for name in sorted(input_shape)}
    shape = {
        name: {**input_shape[name], "tokens": (*input_shape[name]["tokens"][:2], units)}
        for name in dims
    }
    return pooling.projections(dims, units, dtype=policy), shape


def _factors(widths, units, rank, policy):
    """The factors over what `_mixed` puts side by side: both pools of a modality."""
    both = {name: width + 2 * units for name, width in widths.items()}
    return pooling.factors(both, rank, dtype=policy)


def _mixed(fuse, streams, corridors, training):
    """Streams and corridors pooled, then the product of all, (batch, rank)."""
    read = {
        name: {"tokens": tokens, "mask": corridors[name]["mask"]}
        for name, tokens in streams.items()
    }
    heard = pooling.pooled(fuse.read_pools, read, training)
    own = pooling.pooled(fuse.pools, corridors, training)
    both = {name: ops.concatenate([own[name], heard[name]], axis=-1) for name in own}
    return pooling.product(fuse.factors, both)


def _blocks(options, names, policy):
    """A built block a modality and layer, {"<name>_<layer>": block}."""
    units, made = options["units"], {}
    for index in range(options["num_layers"]):
        for name in names:
            block = Block(
                num_heads=options["num_heads"], name=f"{name}_{index}", dtype=policy
            )
            block.build((None, None, units), (None, None, units), (None, None))
            made[block.name] = block
    return made


def _asked_by(name, streams):
    """All modalities but one; itself, where it is alone."""
    return tuple(other for other in streams if other != name) or (name,)


def _others(name, streams, corridors):
    """Tokens and mask of the modalities that one asks."""
    others = _asked_by(name, streams)
    return (
        ops.concatenate([streams[other] for other in others], axis=1),
        ops.concatenate([corridors[other]["mask"] for other in others], axis=1),
    )
