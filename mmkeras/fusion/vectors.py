"""Fusions that read one pooled vector a modality: cheap, and enough where each knows.

All begin with `layers.Pool`, the batch-normalised mean and maximum over the visible
tokens. Called with {name: {"tokens": (batch, steps, dim), "mask": (batch, steps)}}, in
which every row has at least one visible token a modality.
"""

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras.families import Fraction
from mmkeras.fusion import pooling


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
        self.mix = keras.layers.Dense(hidden, "relu", dtype=self.dtype_policy)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = keras.layers.Dense(units, "relu", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes one pool a modality."""
        self.pools, widths = pooling.pools(input_shape, dtype=self.dtype_policy)
        self.mix.build((None, sum(widths.values())))
        self.out.build((None, self.options["hidden"]))

    def call(self, corridors, training=None):
        """Fuses."""
        pooled = pooling.pooled(self.pools, corridors, training)
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
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = keras.layers.Dense(units, "relu", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes one pool, projection and scalar a modality."""
        units = self.options["units"]
        self.pools, widths = pooling.pools(input_shape, dtype=self.dtype_policy)
        self.projections = pooling.projections(
            widths, units, activation="tanh", dtype=self.dtype_policy
        )
        self.out.build((None, units))
        self.scores = self.add_weight(
            shape=(len(widths),), initializer="zeros", name="scores"
        )

    def call(self, corridors, training=None):
        """Fuses."""
        pooled = pooling.pooled(self.pools, corridors, training)
        streams = [self.projections[name](one) for name, one in pooled.items()]
        stacked = ops.stack(streams, axis=1)  # (batch, modalities, units)
        weights = ops.cast(_softmax(self.scores), stacked.dtype)
        summed = ops.sum(stacked * weights[None, :, None], axis=1)
        return self.out(self.drop(summed, training=training))

    def weights_by_name(self):
        """The learned weight of each modality, {name: float}; they add up to one."""
        weights = ops.convert_to_numpy(_softmax(self.scores))
        return dict(zip(self.pools, weights.tolist(), strict=True))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class Gated(keras.layers.Layer):
    """A sum of the modalities, weighted row by row: a gated multimodal unit.

    h_m = tanh(W_m x_m), gates = softmax(V [x_1, ..., x_N]), h = sum_m gates_m h_m
    (Arevalo et al. 2017, arXiv 1702.01992, whose z and 1 - z for two modalities are the
    softmax of two). A softmax, not one sigmoid a modality, since gates that add up to
    one can be compared: what a noisy input loses the others gain. One gate a modality
    and row, seen with `gates(corridors)`; all modalities have their say in each.

    Args:
        units: size of the fused vector.
        hidden: size of h.
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
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = keras.layers.Dense(units, "relu", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes one pool and projection a modality, and the gates."""
        hidden, policy = self.options["hidden"], self.dtype_policy
        self.pools, widths = pooling.pools(input_shape, dtype=policy)
        self.projections = pooling.projections(
            widths, hidden, activation="tanh", dtype=policy
        )
        # Zeros: at first all gates are equal, and every modality learns.
        self.gate = keras.layers.Dense(
            len(widths), kernel_initializer="zeros", dtype=policy
        )
        self.gate.build((None, sum(widths.values())))
        self.out.build((None, hidden))

    def call(self, corridors, training=None):
        """Fuses."""
        pooled = pooling.pooled(self.pools, corridors, training)
        streams = [self.projections[name](one) for name, one in pooled.items()]
        stacked = ops.stack(streams, axis=1)  # (batch, modalities, hidden)
        summed = ops.sum(stacked * self._gates(pooled)[:, :, None], axis=1)
        return self.out(self.drop(summed, training=training))

    def gates(self, corridors):
        """The gate of each modality in each row, {name: (batch,)}; they add up to one.

        Args:
            corridors: as the layer is called with. It must have been called before.
        """
        pooled = pooling.pooled(self.pools, corridors, training=False)
        gates = self._gates(pooled)
        return {name: gates[:, index] for index, name in enumerate(self.pools)}

    def _gates(self, pooled):
        """(batch, modalities), in the order of the pools."""
        everything = ops.concatenate(list(pooled.values()), axis=-1)
        return _softmax(self.gate(everything))

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
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.out = keras.layers.Dense(units, "relu", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes one pool and projection a modality."""
        self.pools, widths = pooling.pools(input_shape, dtype=self.dtype_policy)
        rank, policy = self.options["rank"], self.dtype_policy
        self.factors = pooling.factors(widths, rank, dtype=policy)
        self.out.build((None, rank))

    def call(self, corridors, training=None):
        """Fuses."""
        pooled = pooling.pooled(self.pools, corridors, training)
        product = pooling.product(self.factors, pooled)  # (batch, rank)
        return self.out(self.drop(product, training=training))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable("mmkeras")
class Late(keras.layers.Layer):
    """Keeps each modality to itself until the heads: a vector a modality, in a dict.

    The only fusion that gives {name: (batch, units)}, not (batch, units). `model.build`
    puts one head a modality on it and averages the probabilities over the modalities
    that are present in the row: late fusion in one training (the sum rule of Kittler et
    al. 1998, doi 10.1109/34.667881). A missing input takes nothing away from the
    others; an answer that hangs on a combination of modalities cannot be learned.

    Args:
        units: size of each vector.
        dropout: share in [0, 1), on each vector.
        **kwargs: of a Keras layer.
    """

    def __init__(self, *, units: PositiveInt = 64, dropout: Fraction = 0.2, **kwargs):
        super().__init__(**kwargs)
        self.options = {"units": units, "dropout": dropout}
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        """Makes one pool and dense layer a modality."""
        policy = self.dtype_policy
        self.pools, widths = pooling.pools(input_shape, dtype=policy)
        self.projections = pooling.projections(
            widths, self.options["units"], activation="relu", dtype=policy
        )

    def call(self, corridors, training=None):
        """A vector a modality, {name: (batch, units)}."""
        pooled = pooling.pooled(self.pools, corridors, training)
        return {
            name: self.drop(self.projections[name](one), training=training)
            for name, one in pooled.items()
        }

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


def _softmax(scores):
    """Over the modalities; `ops.softmax` would warn where there is only one."""
    return ops.exp(ops.log_softmax(scores))
