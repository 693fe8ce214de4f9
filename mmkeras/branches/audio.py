"""Audio branches: wave -> spectral features -> corridor.

Inputs of each: `<name>`, (batch, clip_samples) float32, `<name>_samples`, (batch,)
int32, how many of them are real, and `<name>_present`, (batch,) bool.
"""

from typing import Literal

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.families import Fraction


def cnn(
    name,
    *,
    rate_hz,
    clip_samples,
    features: Literal["log_mel", "mfcc"] = "log_mel",
    hop_ms: PositiveInt = 10,
    num_mels: PositiveInt = 40,
    num_mfcc: PositiveInt = 20,
    units: PositiveInt = 64,
    num_layers: PositiveInt = 3,
    dropout: Fraction = 0.0,
):
    """Convolutions over time, each halving it, (batch, frames / 2^layers, units).

    Args:
        name: of the input.
        rate_hz: sampling rate.
        clip_samples: samples a clip.
        features: `log_mel` (dB) or `mfcc`.
        hop_ms: step between frames, milliseconds.
        num_mels: mel bands.
        num_mfcc: coefficients; used by `mfcc` only.
        units: channels of the convolutions.
        num_layers: convolutions, five frames wide.
        dropout: share of channels, in [0, 1).
    """
    front = _front_end(features, rate_hz, hop_ms, num_mels, num_mfcc)
    inputs, tokens, mask = _frames(name, clip_samples, front)
    for index in range(num_layers):
        tokens = keras.layers.Conv1D(
            units, 5, 2, "same", activation="relu", name=f"{name}_conv{index}"
        )(tokens)
        mask = mask[:, ::2]
        tokens = ops.where(mask[..., None], tokens, 0.0)
    tokens = keras.layers.SpatialDropout1D(dropout, name=f"{name}_dropout")(tokens)
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def gru(
    name,
    *,
    rate_hz,
    clip_samples,
    features: Literal["mfcc", "log_mel"] = "mfcc",
    hop_ms: PositiveInt = 20,
    num_mels: PositiveInt = 40,
    num_mfcc: PositiveInt = 20,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """GRU over the frames, (batch, frames, units).

    Args:
        name: of the input.
        rate_hz: sampling rate.
        clip_samples: samples a clip.
        features: `mfcc` or `log_mel` (dB).
        hop_ms: step between frames, milliseconds.
        num_mels: mel bands.
        num_mfcc: coefficients; used by `mfcc` only.
        units: of the GRU.
        dropout: on the features, share in [0, 1).
    """
    front = _front_end(features, rate_hz, hop_ms, num_mels, num_mfcc)
    inputs, frames, mask = _frames(name, clip_samples, front)
    frames = keras.layers.SpatialDropout1D(dropout, name=f"{name}_dropout")(frames)
    tokens = keras.layers.GRU(units, return_sequences=True, name=f"{name}_gru")(
        frames, mask=mask
    )
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def _front_end(features, rate_hz, hop_ms, num_mels, num_mfcc):
    # Two and a half hops a window, the usual 25 ms at 10 ms.
    shape = {"num_mels": num_mels, "window_ms": 5 * hop_ms // 2, "hop_ms": hop_ms}
    if features == "mfcc":
        return layers.MFCC(rate_hz, num_mfcc=num_mfcc, name="mfcc", **shape)
    return layers.LogMel(rate_hz, name="log_mel", **shape)


def _frames(name, clip_samples, front_end):
    """The three inputs by name, standardised frames and the mask of real frames."""
    wave = keras.Input((clip_samples,), dtype="float32", name=name)
    samples = keras.Input((), dtype="int32", name=f"{name}_samples")
    present = keras.Input((), dtype="bool", name=f"{name}_present")
    real = ops.where(present, samples, 0)[:, None]  # (batch, 1)
    steps = ops.arange(clip_samples, dtype="int32")[None, :]
    wave_mask = ops.less(steps, real)
    frames = front_end(ops.where(wave_mask, wave, 0.0))
    starts = ops.arange(frames.shape[1], dtype="int32") * front_end.hop_samples
    mask = ops.less(starts[None, :], real)  # (batch, frames)
    frames = layers.Standardize(name=f"{name}_standardize")(frames, mask)
    inputs = {name: wave, f"{name}_samples": samples, f"{name}_present": present}
    return inputs, frames, mask


AUDIO = {"cnn": cnn, "gru": gru}
