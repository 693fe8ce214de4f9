"""The bytes of a WAV file's data chunk -> samples, in the graph.

Source: ITU-T G.711 (A-law, mu-law).
"""

import numpy as np
import tensorflow as tf

from mmkeras.modalities import binary

# What one step of each of `wav.KINDS` is worth.
SCALES = (2.0**-7, 2.0**-15, 2.0**-23, 2.0**-31, 1.0, 1.0, 2.0**-15, 2.0**-15)


def samples(raw, header, frames):
    """The first `frames` moments, all channels mixed to one.

    Args:
        raw: scalar string, the whole file.
        header: what `wav.read` gave, without a fault.
        frames: how many are wanted at most, int64.

    Returns:
        (frames,) float32 in [-1, 1]. PCM16 is exactly the integer / 32768; floats that
        are no finite number are 0, and those beyond 1 are clipped.
    """
    size = tf.minimum(frames, header["frames"]) * header["block_bytes"]
    piece = binary.cut(raw, header["start"], size)
    readers = [_pcm8, _pcm16, _pcm24, _pcm32, _float32, _float64, _alaw, _mulaw]
    wave = tf.switch_case(
        header["kind"], [lambda reader=reader: reader(piece) for reader in readers]
    )
    scale = tf.gather(SCALES, header["kind"])
    channels = tf.cast(header["channels"], tf.int32)
    return tf.switch_case(
        tf.clip_by_value(channels, 1, 3) - 1,
        [
            lambda: wave * scale,
            lambda: _both(wave) * (scale / 2),
            lambda: _mono(wave, channels, scale),
        ],
    )


def _pcm8(piece):
    return tf.cast(tf.io.decode_raw(piece, tf.uint8), tf.float32) - 128.0


def _pcm16(piece):
    return tf.cast(tf.io.decode_raw(piece, tf.int16), tf.float32)


def _pcm24(piece):
    parts = tf.reshape(tf.io.decode_raw(piece, tf.uint8), (-1, 3))
    low = tf.cast(parts[:, :2], tf.int32)
    high = tf.cast(tf.bitcast(parts[:, 2], tf.int8), tf.int32)  # carries the sign
    wave = low[:, 0] + 2**8 * low[:, 1] + 2**16 * high
    return tf.cast(wave, tf.float32)


def _pcm32(piece):
    return tf.cast(tf.io.decode_raw(piece, tf.int32), tf.float32)


def _float32(piece):
    return _finite(tf.io.decode_raw(piece, tf.float32))


def _float64(piece):
    return tf.cast(_finite(tf.io.decode_raw(piece, tf.float64)), tf.float32)


def _alaw(piece):
    return _expanded(piece, _ALAW)


def _mulaw(piece):
    return _expanded(piece, _MULAW)


def _finite(wave):
    wave = tf.where(tf.math.is_finite(wave), wave, tf.zeros_like(wave))
    return tf.clip_by_value(wave, -1.0, 1.0)


def _expanded(piece, table):
    return tf.gather(table, tf.cast(tf.io.decode_raw(piece, tf.uint8), tf.int32))


def _both(wave):
    """(frames * 2,) -> (frames,): the sum of two channels, five times as fast."""
    left, right = tf.unstack(tf.reshape(wave, (-1, 2)), axis=1)
    return left + right


def _mono(wave, channels, scale):
    """(frames * channels,) -> (frames,): the mean of the channels."""
    wave = tf.reshape(wave, tf.stack([-1, channels]))  # (frames, channels)
    weights = tf.fill(tf.stack([channels, 1]), scale / tf.cast(channels, tf.float32))
    return tf.matmul(wave, weights)[:, 0]  # far faster than a mean over a short axis


def _alaw_table():
    """(256,) float32: what each A-law byte stands for (G.711, table 1)."""
    code = np.arange(256) ^ 0x55
    segment, step = code // 16 % 8, code % 16
    amount = np.where(
        segment == 0, 16 * step + 8, (16 * step + 264) * 2.0 ** (segment - 1)
    )
    return np.where(code >= 128, amount, -amount).astype(np.float32)


def _mulaw_table():
    """(256,) float32: what each mu-law byte stands for (G.711, table 2)."""
    code = 255 - np.arange(256)
    amount = (8 * (code % 16) + 132) * 2.0 ** (code // 16 % 8) - 132
    return np.where(code >= 128, -amount, amount).astype(np.float32)


_ALAW, _MULAW = _alaw_table(), _mulaw_table()
