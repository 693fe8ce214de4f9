"""Audio branches: wave -> spectral features -> corridor.

Inputs of each: `<name>`, (batch, clip_samples) float32, `<name>_samples`, (batch,)
int32, how many of them are real, and `<name>_present`, (batch,) bool.
"""

from typing import Literal

import keras
from keras import ops
from pydantic import PositiveInt

from mmkeras import layers
from mmkeras.branches import waves
from mmkeras.branches.kerashub import audio_kerashub
from mmkeras.branches.own import audio_own
from mmkeras.families import Fraction

# Speech has a PCEN variance of about 0.2, silence none.
PCEN_FLOOR = 0.01


def cnn(
    name,
    masks=None,
    *,
    rate_hz,
    clip_samples,
    features: Literal["learned", "pcen", "mfcc", "log_mel"] = "log_mel",
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
        masks: see `_frames`.
        rate_hz: sampling rate.
        clip_samples: samples a clip.
        features: `log_mel` (dB), `mfcc`, `pcen` (mel bands that learn their own gain
            control) or `learned` (a filter bank that learns its bands).
        hop_ms: step between frames, milliseconds.
        num_mels: bands, of the learned filter bank too.
        num_mfcc: coefficients; used by `mfcc` only.
        units: channels of the convolutions.
        num_layers: convolutions, five frames wide.
        dropout: share of channels, in [0, 1).
    """
    front = _front_end(features, rate_hz, hop_ms, num_mels, num_mfcc)
    inputs, tokens, mask = _frames(name, clip_samples, front, masks)
    for index in range(num_layers):
        tokens, mask = _halve(tokens, mask, units, 5, f"{name}_conv{index}")
    tokens = layers.channel_dropout(tokens, dropout, f"{name}_dropout")
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def gru(
    name,
    masks=None,
    *,
    rate_hz,
    clip_samples,
    features: Literal["learned", "pcen", "mfcc", "log_mel"] = "log_mel",
    hop_ms: PositiveInt = 20,
    num_mels: PositiveInt = 40,
    num_mfcc: PositiveInt = 20,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """GRU over the frames, (batch, frames, units).

    Args:
        name: of the input.
        masks: see `_frames`.
        rate_hz: sampling rate.
        clip_samples: samples a clip.
        features: `log_mel` (dB), `mfcc`, `pcen` (mel bands that learn their own gain
            control) or `learned` (a filter bank that learns its bands).
        hop_ms: step between frames, milliseconds.
        num_mels: bands, of the learned filter bank too.
        num_mfcc: coefficients; used by `mfcc` only.
        units: of the GRU.
        dropout: share of the features, in [0, 1).
    """
    front = _front_end(features, rate_hz, hop_ms, num_mels, num_mfcc)
    layer = keras.layers.GRU(units, return_sequences=True, name=f"{name}_gru")
    return _recurrent(name, clip_samples, front, layer, dropout, masks)


def lstm(
    name,
    masks=None,
    *,
    rate_hz,
    clip_samples,
    features: Literal["learned", "pcen", "mfcc", "log_mel"] = "log_mel",
    hop_ms: PositiveInt = 20,
    num_mels: PositiveInt = 40,
    num_mfcc: PositiveInt = 20,
    units: PositiveInt = 64,
    dropout: Fraction = 0.1,
):
    """LSTM over the frames, (batch, frames, units).

    Args:
        name: of the input.
        masks: see `_frames`.
        rate_hz: sampling rate.
        clip_samples: samples a clip.
        features: `log_mel` (dB), `mfcc`, `pcen` (mel bands that learn their own gain
            control) or `learned` (a filter bank that learns its bands).
        hop_ms: step between frames, milliseconds.
        num_mels: bands, of the learned filter bank too.
        num_mfcc: coefficients; used by `mfcc` only.
        units: of the LSTM.
        dropout: share of the features, in [0, 1).
    """
    front = _front_end(features, rate_hz, hop_ms, num_mels, num_mfcc)
    layer = keras.layers.LSTM(units, return_sequences=True, name=f"{name}_lstm")
    return _recurrent(name, clip_samples, front, layer, dropout, masks)


def conformer(
    name,
    masks=None,
    *,
    rate_hz,
    clip_samples,
    features: Literal["learned", "pcen", "log_mel"] = "log_mel",
    hop_ms: PositiveInt = 10,
    num_mels: PositiveInt = 40,
    units: PositiveInt = 64,
    num_layers: PositiveInt = 2,
    num_heads: PositiveInt = 4,
    dropout: Fraction = 0.1,
):
    """Two strided convolutions and conformer blocks, (batch, frames / 4, units).

    See `layers.conformer_block` (Gulati et al. 2020, arXiv 2005.08100). No MFCCs.

    Args:
        name: of the input.
        masks: see `_frames`.
        rate_hz: sampling rate.
        clip_samples: samples a clip.
        features: `log_mel` (dB), `pcen` (mel bands that learn their own gain control)
            or `learned` (a filter bank that learns its bands).
        hop_ms: step between frames, milliseconds; a token stands for four.
        num_mels: bands, of the learned filter bank too.
        units: size of a token.
        num_layers: conformer blocks.
        num_heads: attention heads; must divide units.
        dropout: share in [0, 1).

    Raises:
        ValueError: the heads do not divide the units.
    """
    front = _front_end(features, rate_hz, hop_ms, num_mels)
    inputs, tokens, mask = _frames(name, clip_samples, front, masks)
    for index in range(2):
        tokens, mask = _halve(tokens, mask, units, 3, f"{name}_conv{index}")
    tokens = layers.Positions(name=f"{name}_positions")(tokens)
    tokens = keras.layers.Dropout(dropout, name=f"{name}_dropout")(tokens)
    for index in range(num_layers):
        tokens = layers.conformer_block(
            tokens,
            mask,
            num_heads=num_heads,
            dropout=dropout,
            name=f"{name}_block{index}",
        )
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def _front_end(features, rate_hz, hop_ms, num_mels, num_mfcc=None):
    # Two and a half hops a window, the usual 25 ms at 10 ms.
    shape = {"window_ms": 5 * hop_ms // 2, "hop_ms": hop_ms, "name": features}
    if features == "mfcc":
        return layers.MFCC(rate_hz, num_mfcc=num_mfcc, num_mels=num_mels, **shape)
    if features == "pcen":
        return layers.PCEN(rate_hz, num_mels=num_mels, **shape)
    if features == "learned":
        return layers.GaborFilters(rate_hz, num_filters=num_mels, **shape)
    return layers.LogMel(rate_hz, num_mels=num_mels, **shape)


def _halve(tokens, mask, units, width, name):
    """A strided convolution that sees zeros outside the mask, and leaves them."""
    tokens = keras.layers.Conv1D(units, width, 2, "same", activation="relu", name=name)(
        tokens
    )
    mask = mask[:, ::2]
    return ops.where(mask[..., None], tokens, 0.0), mask


def _recurrent(name, clip_samples, front_end, layer, dropout, masks):
    """A recurrent layer over the frames that are there."""
    inputs, frames, mask = _frames(name, clip_samples, front_end, masks)
    frames = layers.channel_dropout(frames, dropout, f"{name}_dropout")
    tokens = layer(frames, mask=mask)
    return keras.Model(inputs, {"tokens": tokens, "mask": mask}, name=f"{name}_branch")


def _frames(name, clip_samples, front_end, masks=None):
    """The three inputs by name, standardised frames and the mask of real frames.

    Args:
        name: of the input.
        clip_samples: samples a clip.
        front_end: layer that makes frames of waves.
        masks: (share of the frames, share of the bands) that `layers.SpecMask` hides
            in training; None for none.
    """
    inputs = waves.inputs(name, clip_samples)
    real, _, wave = waves.heard(name, inputs)
    frames = front_end(wave)
    starts = ops.arange(frames.shape[1], dtype="int32") * front_end.hop_samples
    mask = ops.less(starts[None, :], real)  # (batch, frames)
    floor = PCEN_FLOOR if isinstance(front_end, layers.PCEN) else 1.0  # else dB
    frames = layers.Standardize(
        per_band=isinstance(front_end, layers.MFCC),
        floor=floor,
        name=f"{name}_standardize",
    )(frames, mask)
    if masks:
        frames = layers.SpecMask(*masks, name=f"{name}_spec_mask")(frames, mask)
    return inputs, frames, mask


AUDIO = {
    "cnn": cnn,
    "gru": gru,
    "lstm": lstm,
    "conformer": conformer,
    "kerashub": audio_kerashub,
    "own": audio_own,
}
