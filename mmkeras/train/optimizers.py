"""Optimizers by their name in a recipe, with a rate of its own for each branch."""

import keras

from mmkeras import model
from mmkeras.branches import pretrained

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


def schedule(options, steps_per_epoch):
    """The learning rate, a number or a Keras schedule.

    Args:
        options: the `train` section of a recipe.
        steps_per_epoch: as many.
    """
    schedules, rate = keras.optimizers.schedules, options.learning_rate
    steps = options.epochs * steps_per_epoch
    rising = min(options.warmup_epochs * steps_per_epoch, steps - 1)
    if options.schedule == "cosine" and rising:
        first = rate / rising
        return schedules.CosineDecay(
            first, steps - rising, warmup_target=rate, warmup_steps=rising
        )
    if options.schedule == "cosine":
        return schedules.CosineDecay(rate, steps)
    # From the first step's share, not from zero: it would be lost.
    return schedules.PolynomialDecay(rate / rising, rising, rate) if rising else rate


def make(kind, rate, factors, clip_norm=None):
    """An optimizer whose rate is multiplied for some variables.

    Args:
        kind: a key of `OPTIMIZERS`.
        rate: learning rate or schedule.
        factors: a list of (variable, factor).
        clip_norm: gradients longer than this, all together, are cut to it.
    """
    parent = OPTIMIZERS[kind]
    if not factors:
        return parent(rate, global_clipnorm=clip_norm)
    by_key = {}

    class Discriminative(parent):
        def update_step(self, gradient, variable, learning_rate):
            # Not the variable itself: TensorFlow hands in what lies below it.
            factor = by_key.get(self._var_key(variable), 1.0)
            super().update_step(gradient, variable, learning_rate * factor)

    optimizer = Discriminative(rate, global_clipnorm=clip_norm)
    by_key |= {optimizer._var_key(variable): factor for variable, factor in factors}
    return optimizer


def factors(rates, network):
    """A list of (variable, what its learning rate is multiplied with)."""
    if not rates:
        return []
    core, backbones = model.parts(network)
    tuned = [*model.branches_of(core).values(), *backbones.values()]
    # By the owner's name: a network of one input alone may be without the owner.
    by_owner = {
        pretrained.owner(part): part
        for part in tuned
        if not part.name.endswith("_rest")  # what stands on a backbone is trained anew
    }
    return [
        (variable, factor)
        for name, factor in rates.items()
        if name in by_owner
        for variable in by_owner[name].trainable_variables
    ]
