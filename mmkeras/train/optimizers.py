"""Optimizers by their name in a recipe, with a rate of its own for each branch."""

import keras

from mmkeras import model

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


def make(kind, rate, factors):
    """An optimizer whose rate is multiplied for some variables.

    Args:
        kind: a key of `OPTIMIZERS`.
        rate: learning rate or schedule.
        factors: a list of (variable, factor).
    """
    parent = OPTIMIZERS[kind]
    if not factors:
        return parent(rate)
    by_key = {}

    class Discriminative(parent):
        def update_step(self, gradient, variable, learning_rate):
            # Not the variable itself: TensorFlow hands in what lies below it.
            factor = by_key.get(self._var_key(variable), 1.0)
            super().update_step(gradient, variable, learning_rate * factor)

    optimizer = Discriminative(rate)
    by_key |= {optimizer._var_key(variable): factor for variable, factor in factors}
    return optimizer


def factors(rates, network):
    """A list of (variable, what its learning rate is multiplied with)."""
    core, backbones = model.parts(network)
    branches = {layer.name: layer for layer in core.layers}
    return [
        (variable, factor)
        for name, factor in rates.items()
        for layer in [backbones.get(name) or branches.get(f"{name}_branch")]
        if layer
        for variable in layer.trainable_variables
    ]
