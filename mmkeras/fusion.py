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


def pooled_width(input_shape):
    """Length of all modalities' `pool` side by side."""
    return sum(2 * shape["tokens"][-1] for shape in input_shape.values())


def pool(corridor):
    """Mean and maximum over the visible tokens, (batch, 2 * dim)."""
    tokens, mask = corridor["tokens"], corridor["mask"]
    return ops.concatenate(
        [layers.masked_mean(tokens, mask), layers.masked_max(tokens, mask)], axis=-1
    )


@keras.saving.register_keras_serializable("mmkeras")
class Concat(keras.layers.Layer):
    """Pools each modality, puts the vectors side by side, mixes them in a dense layer.

    Args:
        units: size of the fused vector.
        hidden: size of a dense layer before it.
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
        """Builds the dense layers."""
        self.mix.build((None, pooled_width(input_shape)))
        self.out.build((None, self.options["hidden"]))

    def call(self, corridors, training=None):
        """Fuses."""
        pooled = [pool(corridors[name]) for name in sorted(corridors)]
        hidden = self.mix(ops.concatenate(pooled, axis=-1))
        return self.out(self.drop(hidden, training=training))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class Weighted(keras.layers.Layer):
    """A sum of the modalities, weighted by learned softmax weights.

    The weights are the same for all rows, so they tell at a glance what the model
    leans on: `weights()`.

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
        """Makes one projection and one scalar a modality."""
        self.names = sorted(input_shape)
        self.projections = {
            name: keras.layers.Dense(self.options["units"], "tanh", name=name)
            for name in self.names
        }
        for name, projection in self.projections.items():
            projection.build((None, 2 * input_shape[name]["tokens"][-1]))
        self.out.build((None, self.options["units"]))
        self.scores = self.add_weight(
            shape=(len(self.names),), initializer="zeros", name="scores"
        )

    def call(self, corridors, training=None):
        """Fuses."""
        streams = [self.projections[name](pool(corridors[name])) for name in self.names]
        stacked = ops.stack(streams, axis=1)  # (batch, modalities, units)
        weights = ops.cast(ops.softmax(self.scores), stacked.dtype)
        summed = ops.sum(stacked * weights[None, :, None], axis=1)
        return self.out(self.drop(summed, training=training))

    def weights_by_name(self):
        """The learned weight of each modality, {name: float}; they add up to one."""
        weights = ops.convert_to_numpy(ops.softmax(self.scores))
        return dict(zip(self.names, weights.tolist(), strict=True))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class Attention(keras.layers.Layer):
    """Learned queries attend to all tokens of all modalities at once.

    Words, patches and frames are projected to one width and marked with their
    modality; what the queries read is mixed with each modality's mean and maximum in
    dense layers (the resampler of Flamingo, Alayrac et al. 2022, arXiv 2204.14198,
    is this with more layers and without the mean and maximum, which learn faster).

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
        """Makes a projection and a mark a modality, and the queries."""
        self.names = sorted(input_shape)
        units = self.options["units"]
        self.projections = {
            name: keras.layers.Dense(units, name=name) for name in self.names
        }
        for name, projection in self.projections.items():
            projection.build(input_shape[name]["tokens"])
        read = self.options["num_queries"] * units
        self.attend.build((None, None, units), (None, None, units))
        self.mix.build((None, read + pooled_width(input_shape)))
        self.out.build((None, 2 * units))
        self.marks = self.add_weight(
            shape=(len(self.names), units), initializer="truncated_normal", name="marks"
        )
        self.queries = self.add_weight(
            shape=(self.options["num_queries"], units),
            # As large as tokens are, or every query reads the same average.
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="queries",
        )

    def call(self, corridors, training=None):
        """Fuses."""
        tokens, mask = self.all_tokens(corridors)
        batch = ops.shape(tokens)[0]
        queries = ops.broadcast_to(
            ops.cast(self.queries, tokens.dtype), (batch, *self.queries.shape)
        )
        read = self.attend(
            queries, tokens, attention_mask=mask[:, None, :], training=training
        )  # (batch, queries, units)
        width = self.options["num_queries"] * self.options["units"]
        read = ops.reshape(read, (-1, width))
        pooled = [pool(corridors[name]) for name in self.names]
        hidden = self.mix(ops.concatenate([read, *pooled], axis=-1))
        return self.out(self.drop(hidden, training=training))

    def all_tokens(self, corridors):
        """One sequence of all modalities' tokens, marked, and its mask."""
        streams = [
            self.projections[name](corridors[name]["tokens"])
            + ops.cast(self.marks[index], self.compute_dtype)
            for index, name in enumerate(self.names)
        ]
        masks = [corridors[name]["mask"] for name in self.names]
        return ops.concatenate(streams, axis=1), ops.concatenate(masks, axis=1)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


FUSIONS = {"concat": Concat, "weighted": Weighted, "attention": Attention}
