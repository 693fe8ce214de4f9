"""The model that is fitted: its class, optimizer, losses, metrics and precision."""

import contextlib

import keras
from keras import ops

from mmkeras import distribution, model
from mmkeras.train import blending, optimizers, weighing


def build(recipe, decoders, tasks):
    """`model.build` in the precision of the recipe; see there."""
    with _precision(recipe.train.precision):
        return model.build(recipe, decoders, tasks)


@contextlib.contextmanager
def _precision(name):
    """Inside its `with`, layers are made that compute in a precision of the recipe."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def model_to_fit(recipe, tasks, inputs, outputs):
    """The model to fit; the run keeps another one, with the same layers.

    Args:
        recipe: a `recipe.Recipe`.
        tasks: {target: task}.
        inputs: {key: keras.Input}.
        outputs: {key: tensor}, of the core of a model.
    """
    # Its own policy says to Keras whether losses are to be scaled.
    with _precision(recipe.train.precision):
        return _model_to_fit(recipe, tasks, inputs, outputs)


def _model_to_fit(recipe, tasks, inputs, outputs):
    names = [name for name in recipe.data.inputs if f"{name}_present" in inputs]
    if recipe.train.balance == "none" or len(names) < 2:
        outputs = {target: outputs[target] for target in tasks}
        if recipe.train.loss_weights == "uncertainty":
            made = distribution.model_class(weighing.Weighed)
            return made(inputs, outputs, tasks)
        return distribution.model_class(keras.Model)(inputs, outputs)
    losses = {target: task.loss() for target, task in tasks.items()}
    factors = loss_weights(recipe.train, tasks)
    made = distribution.model_class(blending.Blended)
    return made(inputs, outputs, losses, factors, names)


def compile_model(recipe, network, tasks, steps_per_epoch, rates=None):
    """Gives a model its optimizer, losses and metrics, as the recipe says.

    Args:
        recipe: a `recipe.Recipe`.
        network: a `keras.Model` with an output a target.
        tasks: {target: task}.
        steps_per_epoch: for the schedule.
        rates: {input: what the learning rate is multiplied with}; None for none.
    """
    options = recipe.train
    rate = optimizers.schedule(options, steps_per_epoch)
    factors = optimizers.factors(rates or {}, network)
    network.compile(
        optimizers.make(options, rate, factors),
        loss=distribution.losses({name: task.loss() for name, task in tasks.items()}),
        loss_weights=loss_weights(options, tasks),
        # Weighted: a row whose cell of a target is empty does not count.
        weighted_metrics={name: task.metrics() for name, task in tasks.items()},
        jit_compile=options.jit_compile,
        steps_per_execution=options.steps_per_execution,
    )


def make_state(network, taught):
    """Makes the variables of optimizer, losses and metrics before the first step.

    A step that makes them is traced twice by TensorFlow, which takes seconds. Several
    devices need them made in their own way, which Keras knows.

    Args:
        network: a compiled `keras.Model`.
        taught: what `Prepared.taught` gives, one row or more.
    """
    scales = isinstance(network.optimizer, keras.optimizers.LossScaleOptimizer)
    if scales or distribution.here().replicas > 1:
        return
    network.optimizer.build(network.trainable_variables)
    row = keras.tree.map_structure(lambda one: ops.convert_to_tensor(one[:1]), taught)
    truth, weights = row if isinstance(row, tuple) else (row, None)
    inputs, outputs = keras.tree.map_structure(
        lambda spec: ops.zeros([size or 1 for size in spec.shape], spec.dtype),
        (network.input, network.output),
    )
    network.compute_loss(inputs, truth, outputs, weights, training=False)
    network.compute_metrics(inputs, truth, outputs, weights)
    network.reset_metrics()


def loss_weights(options, tasks):
    """What each target's loss counts, {target: factor}; None where it is learned."""
    if options.loss_weights == "uncertainty":
        return None
    return {name: options.loss_weights.get(name, 1.0) for name in tasks}
