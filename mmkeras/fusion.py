"""All fusions on one page, to compare: corridors of every modality -> one vector.

Each is called with {name: {"tokens": (batch, steps, dim), "mask": (batch, steps)}}, in
which every row has at least one visible token a modality (`layers.MissingToken` sees
to that), and gives (batch, units).
"""

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.families import Fraction


@keras.saving.register_keras_serializable("mmkeras")
class Concat(keras.layers.Layer):
    """Pools each modality, puts the vectors side by side, mixes them in a dense layer.

    Args:
        units: size of the fused vector.
        hidden: size of the dense layer before it.
        dropout: share in [0, 1).
        **kwargs: of a Keras layer.
    """

    def __init__(
        self,
        *,
        units: PositiveInt = 64,
        hidden: PositiveInt = 128,
        dropout: Fraction = 0.2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.options = {"units": units, "hidden": hidden, "dropout": dropout}
        self.mix = keras.layers.Dense(hidden, "relu")
        self.drop = keras.layers.Dropout(dropout)
        self.out = keras.layers.Dense(units, "relu")

    def build(self, input_shape):
        """Makes one pool a modality."""
        self.pools, widths = _pools(input_shape)
        self.mix.build((None, sum(widths.values())))
        self.out.build((None, self.options["hidden"]))

    def call(self, corridors, training=None):
        """Fuses."""
        pooled = _pooled(self.pools, corridors, training)
        hidden = self.mix(ops.concatenate(list(pooled.values()), axis=-1))
        return self.out(self.drop(hidden, training=training))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class Weighted(keras.layers.Layer):
    """A sum of the modalities, weighted by learned softmax weights.

    The weights are the same for all rows, so they tell at a glance what the model
    leans on: `weights_by_name()`.

    Args:
        units: size of the fused vector.
        dropout: share in [0, 1).
        **kwargs: of a Keras layer.
    """

    def __init__(self, *, units: PositiveInt = 64, dropout: Fraction = 0.2, **kwargs):
        super().__init__(**kwargs)
        self.options = {"units": units, "dropout": dropout}
        self.drop = keras.layers.Dropout(dropout)
        self.out = keras.layers.Dense(units, "relu")

    def build(self, input_shape):
        """Makes one pool, projection and scalar a modality."""
        units = self.options["units"]
        self.pools, widths = _pools(input_shape)
        self.projections = _dense(widths, units, activation="tanh")
        self.out.build((None, units))
        self.scores = self.add_weight(
            shape=(len(widths),), initializer="zeros", name="scores"
        )

    def call(self, corridors, training=None):
        """Fuses."""
        pooled = _pooled(self.pools, corridors, training)
        streams = [self.projections[name](one) for name, one in pooled.items()]
        stacked = ops.stack(streams, axis=1)  # (batch, modalities, units)
        weights = ops.cast(ops.softmax(self.scores), stacked.dtype)
        summed = ops.sum(stacked * weights[None, :, None], axis=1)
        return self.out(self.drop(summed, training=training))

    def weights_by_name(self):
        """The learned weight of each modality, {name: float}; they add up to one."""
        weights = ops.convert_to_numpy(ops.softmax(self.scores))
        return dict(zip(self.pools, weights.tolist(), strict=True))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class LowRank(keras.layers.Layer):
    """The product of one projection a modality: low-rank tensor fusion.

    The outer product of all modalities, each with a one appended, holds every
    interaction of them; a low-rank weight tensor reads it without ever making it (Liu
    et al. 2018, arXiv 1806.00064). Where the answer hangs on a combination, as in the
    lesson `synergy`, this learns it fastest.

    Args:
        units: size of the fused vector.
        rank: of the tensor: products that are formed.
        dropout: share in [0, 1).
        **kwargs: of a Keras layer.
    """

    def __init__(
        self,
        *,
        units: PositiveInt = 64,
        rank: PositiveInt = 256,
        dropout: Fraction = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.options = {"units": units, "rank": rank, "dropout": dropout}
        self.drop = keras.layers.Dropout(dropout)
        self.out = keras.layers.Dense(units, "relu")

    def build(self, input_shape):
        """Makes one pool and projection a modality."""
        self.pools, widths = _pools(input_shape)
        # A bias of one is the appended one: each modality may also leave the product
        # of the others as it is.
        self.projections = _dense(widths, self.options["rank"], bias_initializer="ones")
        self.out.build((None, self.options["rank"]))

    def call(self, corridors, training=None):
        """Fuses."""
        product = 1.0
        for name, one in _pooled(self.pools, corridors, training).items():
            product = product * self.projections[name](one)  # (batch, rank)
        return self.out(self.drop(product, training=training))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


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
        if units % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {units} units")
        self.options = {
            "units": units,
            "num_queries": num_queries,
            "num_heads": num_heads,
            "dropout": dropout,
        }
        self.attend = keras.layers.MultiHeadAttention(
            num_heads, units // num_heads, dropout=dropout
        )
        self.mix = keras.layers.Dense(2 * units, "relu")
        self.drop = keras.layers.Dropout(dropout)
        self.out = keras.layers.Dense(units, "relu")

    def build(self, input_shape):
        """Makes a pool, a projection and a mark a modality, and the queries."""
        units, count = self.options["units"], self.options["num_queries"]
        self.pools, widths = _pools(input_shape)
        dims = {name: input_shape[name]["tokens"][-1] for name in widths}
        self.projections = _dense(dims, units)
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
        pooled = _pooled(self.pools, corridors, training)
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

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


def _pools(input_shape):
    """A built `layers.Pool` a modality, by name in order, and the widths they give."""
    pools = {}
    for name in sorted(input_shape):
        pools[name] = layers.Pool(name=f"{name}_pool")
        pools[name].build(input_shape[name]["tokens"], input_shape[name]["mask"])
    widths = {name: 2 * input_shape[name]["tokens"][-1] for name in pools}
    return pools, widths


def _pooled(pools, corridors, training):
    """{name: (batch, width)} of every modality."""
    return {
        name: pool(
            corridors[name]["tokens"], corridors[name]["mask"], training=training
        )
        for name, pool in pools.items()
    }


def _dense(widths, units, **options):
    """A built dense layer a modality, {name: layer}, from {name: input width}."""
    made = {}
    for name, width in widths.items():
        made[name] = keras.layers.Dense(units, name=f"{name}_projection", **options)
        made[name].build((None, width))
    return made


FUSIONS = {
    "concat": Concat,
    "weighted": Weighted,
    "low_rank": LowRank,
    "attention": Attention,
}
