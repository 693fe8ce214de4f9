"""Sounds: the bytes of one WAV file -> samples, in the graph, to train and to serve."""

import tensorflow as tf
from pydantic import PositiveFloat, PositiveInt

from mmkeras.modalities import binary, compressed, pcm, wav
from mmkeras.modalities.resample import (
    filters,
    output_length,
    resample,
    source_length,
)

# Rows of one batch decoded at the same time: enough for the cores of a small server.
PARALLEL_ROWS = 8


class Audio:
    """The beginning of WAV files, mixed to one channel, at one rate and of one length.

    Longer sounds are cut, shorter ones padded with zeros at the end. Nothing behind
    the cut is decoded.

    Args:
        name: the manifest's column and the model's input.
        rate_hz: the model's sample rate; files of 4 to 192 kHz are resampled to it.
        clip_seconds: length of the result.
    """

    is_file = True
    resources, packages = [], ()

    def __init__(
        self, name, *, rate_hz: PositiveInt = 16_000, clip_seconds: PositiveFloat = 2.0
    ):
        self.name = name
        self.rate_hz = rate_hz
        self.clip_seconds = clip_seconds
        self.clip_samples = max(1, round(rate_hz * clip_seconds))
        self.signatures = (f"{name}_bytes",)

    @property
    def specs(self):
        """{key: tf.TensorSpec} of one decoded row, without the batch dimension."""
        return {
            self.name: tf.TensorSpec((self.clip_samples,), tf.float32),
            f"{self.name}_samples": tf.TensorSpec((), tf.int32),
            f"{self.name}_present": tf.TensorSpec((), tf.bool),
        }

    @property
    def geometry(self):
        """What a branch must know: rate in Hz and length in samples."""
        return {"rate_hz": self.rate_hz, "clip_samples": self.clip_samples}

    # Before `attempt_batch` in training, where the file may be FLAC, Ogg or MP3.
    unpacked = staticmethod(compressed.unpacked)
    wave_bytes = staticmethod(compressed.wave_bytes)

    def decode(self, raw):
        """One file -> {name: samples, name_samples: count, name_present: bool}.

        Args:
            raw: scalar string, the whole file. Empty: missing.

        Returns:
            Dict as `specs`: (clip_samples,) float32 in [-1, 1], of which the first
            `name_samples` are sound and the rest is zeros.

        Raises:
            InvalidArgumentError: the bytes are not a WAV file that can be decoded.
        """
        row, fault = self.attempt(raw)
        with tf.control_dependencies([binary.raise_fault(fault)]):
            return {key: tf.identity(value) for key, value in row.items()}

    def attempt(self, raw, known=None):
        """As `decode`, but never raises.

        Args:
            raw: as of `decode`.
            known: as of `resample`.

        Returns:
            (dict as `decode`, fault): a scalar string, "" where the file was decoded
            or missing; else the samples are zeros and not present.
        """
        header = wav.read(raw)
        exists = tf.strings.length(raw) > 0
        present = exists & (header["fault"] == "")
        clip, samples = tf.cond(
            present,
            lambda: self._clip(raw, header, known),
            lambda: (tf.zeros((self.clip_samples,)), tf.constant(0)),
        )
        row = {
            self.name: tf.ensure_shape(clip, (self.clip_samples,)),
            f"{self.name}_samples": samples,
            f"{self.name}_present": present,
        }
        return row, tf.where(exists, header["fault"], "")

    def attempt_batch(self, raws):
        """(batch,) files -> (dict as `decode` with a batch axis, (batch,) faults)."""
        known = filters(self._first_rate(raws), self.rate_hz)
        return tf.map_fn(
            lambda raw: self.attempt(raw, known),
            raws,
            fn_output_signature=(self.specs, tf.TensorSpec((), tf.string)),
            parallel_iterations=PARALLEL_ROWS,
        )

    def _first_rate(self, raws):
        """The rate of the first file that is there, Hz; most often that of all."""
        there = tf.boolean_mask(raws, raws != "")
        rate_hz = wav.plain_rate(tf.concat([there[:1], [""]], 0)[0])
        in_range = (rate_hz >= wav.MIN_RATE_HZ) & (rate_hz <= wav.MAX_RATE_HZ)
        return tf.where(in_range, rate_hz, self.rate_hz)

    def _clip(self, raw, header, known):
        """((clip_samples,) float32, how many of them are sound) of a healthy file."""
        source_hz = header["rate_hz"]
        samples = tf.minimum(
            output_length(header["frames"], source_hz, self.rate_hz), self.clip_samples
        )
        frames = source_length(samples, source_hz, self.rate_hz)
        wave = pcm.samples(raw, header, frames)
        wave = resample(wave, source_hz, self.rate_hz, samples, known)
        # A filter overshoots at steep edges.
        wave = tf.clip_by_value(wave, -1.0, 1.0)
        wave = tf.pad(wave, [[0, self.clip_samples - samples]])
        return wave, tf.cast(samples, tf.int32)
