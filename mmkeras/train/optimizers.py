"""Optimizers by their name in a recipe, with a rate of its own for each branch."""

import keras
import tensorflow as tf

from mmkeras import distribution, model
from mmkeras.branches import pretrained

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "adafactor": keras.optimizers.Adafactor,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "ftrl": keras.optimizers.Ftrl,
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


def make(options, rate, factors):
    """An optimizer whose rate is multiplied for some variables.

    Args:
        options: the `train` section of a recipe.
        rate: learning rate or schedule.
        factors: a list of (variable, factor).
    """
    parent = OPTIMIZERS[options.optimizer]
    arguments = _arguments(options)
    replicas = distribution.here().replicas
    if not factors and not options.ema_momentum and replicas == 1:
        return parent(rate, **arguments)
    by_key = {}

    class Ours(parent):
        def update_step(self, gradient, variable, learning_rate):
            # Not the variable itself: TensorFlow hands in what lies below it.
            factor = by_key.get(self._var_key(variable), 1.0)
            super().update_step(gradient, variable, learning_rate * factor)

        def finalize_variable_values(self, var_list):
            """Leaves them: `averaging` puts the averages in, at every epoch's end."""

        def _clip_gradients(self, grads):
            # Keras cuts what one replica found and sums up then; the sum is what is
            # as long as told.
            if replicas == 1 or not self.global_clipnorm:
                return super()._clip_gradients(grads)
            replica = tf.distribute.get_replica_context()
            whole = super()._clip_gradients(replica.all_reduce("SUM", list(grads)))
            return [tf.math.scalar_mul(1 / replicas, each) for each in whole]

    optimizer = Ours(rate, **arguments)
    by_key |= {optimizer._var_key(variable): factor for variable, factor in factors}
    return optimizer


def _arguments(options):
    """What Keras' optimizers take beside the rate."""
    given = {
        "global_clipnorm": options.clip_norm,
        "weight_decay": options.weight_decay,
        "momentum": options.momentum or None,
        "use_ema": options.ema_momentum is not None or None,
        "ema_momentum": options.ema_momentum,
    }
    if options.accumulation_steps > 1:
        given["gradient_accumulation_steps"] = options.accumulation_steps
    return {name: value for name, value in given.items() if value is not None}


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
