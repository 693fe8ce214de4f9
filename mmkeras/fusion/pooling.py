"""What every fusion begins with: a pool, and a dense layer, a modality."""

import keras

from mmkeras import layers


def pools(input_shape, suffix="pool", **options):
    """A built `layers.Pool` a modality, by name in order, and the widths they give.

    Args:
        input_shape: {name: {"tokens": (batch, steps, dim), "mask": (batch, steps)}}.
        suffix: of the layers' names.
        **options: of a Keras layer.

    Returns:
        ({name: pool}, {name: 2 * dim}), both in the alphabet's order.
    """
    made = {}
    for name in sorted(input_shape):
        made[name] = layers.Pool(name=f"{name}_{suffix}", **options)
        made[name].build(input_shape[name]["tokens"], input_shape[name]["mask"])
    return made, {name: 2 * input_shape[name]["tokens"][-1] for name in made}


def pooled(made, corridors, training):
    """{name: (batch, width)} of every modality, from the pools and the corridors."""
    return {
        name: pool(
            corridors[name]["tokens"], corridors[name]["mask"], training=training
        )
        for name, pool in made.items()
    }


def projections(widths, units, suffix="projection", **options):
    """A built dense layer a modality, {name: layer}, from {name: input width}."""
    made = {}
    for name, width in widths.items():
        made[name] = keras.layers.Dense(units, name=f"{name}_{suffix}", **options)
        made[name].build((None, width))
    return made


def factors(widths, rank, **options):
    """Projections whose `product` reads every interaction of the modalities.

    The bias of one is the one that low-rank fusion appends to each vector (Liu et al.
    2018, arXiv 1806.00064): a modality may also leave the product of the others as is.
    """
    return projections(widths, rank, "factor", bias_initializer="ones", **options)


def product(made, vectors):
    """The product over the modalities of `factors`' layers, (batch, rank)."""
    multiplied = 1.0
    for name, factor in made.items():
        multiplied = multiplied * factor(vectors[name])
    return multiplied
