"""What all audio branches share: their inputs, and which samples are real."""

import keras
from keras import ops


def inputs(name, clip_samples):
    """Wave (batch, clip_samples), samples that are real and presence (batch,), by name.

    Returns:
        {key: keras.Input}.
    """
    return {
        name: keras.Input((clip_samples,), dtype="float32", name=name),
        f"{name}_samples": keras.Input((), dtype="int32", name=f"{name}_samples"),
        f"{name}_present": keras.Input((), dtype="bool", name=f"{name}_present"),
    }


def heard(name, given):
    """What is there of each sound.

    Args:
        name: of the input.
        given: see `inputs`.

    Returns:
        (samples that are real, (batch, 1) int32, 0 of a missing sound; mask of them,
        (batch, clip_samples) bool; the wave, 0 elsewhere, (batch, clip_samples)).
    """
    wave = given[name]
    real = ops.where(given[f"{name}_present"], given[f"{name}_samples"], 0)[:, None]
    steps = ops.arange(wave.shape[1], dtype="int32")[None, :]
    mask = ops.less(steps, real)
    return real, mask, ops.where(mask, wave, 0.0)
