"""The network of a run as a function of tensors, its weights constants in it."""

import contextlib
import re

import keras
import tensorflow as tf

from mmkeras import export, layers

# What is served as numbers; labels are strings, and follow from these.
NUMBERS = ("probabilities", "value", "similarity", "embedding", "abstained")
# Layers whose numbers span more than eight bits can tell apart.
SPECTRA = (layers.LogMel, layers.MFCC, layers.PCEN, layers.GaborFilters)


def specs(run, batch=None):
    """What the function takes, a list of tf.TensorSpec in the order of the recipe.

    Args:
        run: a `run.Run`.
        batch: rows; any number where None.
    """
    return [
        tf.TensorSpec([batch, *spec.shape], spec.dtype, name=key)
        for decoder in run.decoders.values()
        for key, spec in decoder.specs.items()
    ]


def numbers(run, batch=None):
    """The concrete function {key: tensor of a decoder} -> {served name: numbers}.

    Variables are constants of its graph: what a converter makes of them is one file,
    and a loop may read them.

    Args:
        run: a `run.Run`.
        batch: see `specs`.
    """
    network, tasks, wanted = run.model, run.tasks, specs(run, batch)
    trained = [each.numpy() for each in network.trainable_variables]
    kept = [each.numpy() for each in network.non_trainable_variables]

    def tell(*given):
        tensors = {spec.name: one for spec, one in zip(wanted, given, strict=True)}
        outputs, _ = network.stateless_call(
            list(map(tf.constant, trained)),
            list(map(tf.constant, kept)),
            tensors,
            training=False,
        )
        told = export.answers(tasks, outputs)
        return {key: value for key, value in told.items() if is_number(key)}

    made = tf.function(tell, input_signature=wanted, autograph=False)
    return made.get_concrete_function()


def is_number(key):
    """Whether a served output is one of `NUMBERS`, of whatever target."""
    return key.rpartition("_")[2] in NUMBERS


@contextlib.contextmanager
def without_transforms(network):
    """Makes spectra of matrix products while it lasts: ONNX has no such transform."""
    found = [each for each in flat(network) if isinstance(each, layers.LogMel)]
    for layer in found:
        layer.by_products = True
    try:
        yield
    finally:
        for layer in found:
            layer.by_products = False


@contextlib.contextmanager
def without_loops(network):
    """Writes recurrent layers out step by step: no converter measures inside a loop."""
    kinds = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
    found = [each for each in flat(network) if isinstance(each, kinds)]
    before = [layer.unroll for layer in found]
    for layer in found:
        layer.unroll = True
    try:
        yield
    finally:
        for layer, was in zip(found, before, strict=True):
            layer.unroll = was


def spectral(network):
    """A pattern of the names of operations inside layers of `SPECTRA`."""
    names = {each.name for each in flat(network) if isinstance(each, SPECTRA)}
    if not names:
        return re.compile(r"(?!)")
    return re.compile(rf"(^|/)({'|'.join(map(re.escape, sorted(names)))})(_\d+)?/")


def flat(network):
    """All layers, those of inner models and layers too."""
    return list(network._flatten_layers())
