"""Front ends that learn: per-channel energy normalisation and a Gabor filter bank."""

import keras
import numpy as np
from keras import ops

from mmkeras.layers.sound import LogMel, decibels, mel_edges


def smooth(energies, s):
    """First-order recursive average over the frames, exactly, in log2(frames) steps.

    M[0] = E[0], M[t] = (1 - s) M[t - 1] + s E[t]. After k doublings each frame holds
    the sum over its last 2^k frames (Hillis and Steele 1986), so there is no loop over
    time and XLA compiles it at any static length.

    Args:
        energies: (batch, frames, bands).
        s: in (0, 1), a number or one a band.

    Returns:
        (batch, frames, bands).
    """
    total = ops.concatenate([energies[:, :1], s * energies[:, 1:]], axis=1)
    decay, shift = 1 - s, 1
    while shift < energies.shape[1]:
        earlier = ops.pad(total[:, :-shift], [[0, 0], [shift, 0], [0, 0]])
        total = total + decay * earlier
        decay, shift = decay * decay, 2 * shift
    return total


def pcen(energies, *, alpha=0.98, delta=2.0, r=0.5, s=0.025, floor=1e-6):
    """Per-channel energy normalisation (Wang et al. 2017, arXiv 1607.05666, eq. 1).

    (E / (floor + M)^alpha + delta)^r - delta^r, where M is `smooth(E, s)`. Equals
    `librosa.pcen(E, gain=alpha, bias=delta, power=r, b=s, eps=floor)` started at
    M[0] = E[0]. A frame depends on no later one, so nothing leaks from padding.

    Args:
        energies: (batch, frames, bands), not negative.
        alpha: strength of the gain control; a number or one a band, as all below.
        delta: offset before the root.
        r: exponent of the root.
        s: smoothing, in (0, 1); 0.025 at 10 ms a frame forgets in 0.4 s.
        floor: energy of what counts as silence.

    Returns:
        (batch, frames, bands), not negative.
    """
    gain = ops.exp(-alpha * ops.log(floor + smooth(energies, s)))
    return ops.power(energies * gain + delta, r) - ops.power(delta, r)


@keras.saving.register_keras_serializable("mmkeras")
class PCEN(keras.layers.Layer):
    """Waves (batch, samples) -> PCEN of mel power (batch, frames, mels).

    Every band learns its own alpha, delta and r, in the log domain as the paper does,
    and its own smoothing s, by its logit; see `pcen`. A slow change of loudness, as
    of the distance to the microphone, is divided away.

    Args:
        rate_hz: sampling rate of the waves.
        num_mels: bands.
        window_ms: length of a window, milliseconds.
        hop_ms: step between frames, milliseconds.
        **kwargs: of a Keras layer. Always computes in float32, as `LogMel`.
    """

    START = {"alpha": 0.98, "delta": 2.0, "r": 0.5, "s": 0.025}  # the paper's

    def __init__(self, rate_hz, *, num_mels=40, window_ms=25, hop_ms=10, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.spectrum = LogMel(
            rate_hz, num_mels=num_mels, window_ms=window_ms, hop_ms=hop_ms
        )
        self.hop_samples = self.spectrum.hop_samples

    def build(self, input_shape):
        """Makes the four parameters of each band, (mels,)."""
        self.spectrum.build(input_shape)
        for name, start in self.START.items():
            raw = np.log(start / (1 - start)) if name == "s" else np.log(start)
            weight = self.add_weight(
                shape=(self.spectrum.num_mels,),
                initializer=keras.initializers.Constant(raw),
                name=f"logit_{name}" if name == "s" else f"log_{name}",
            )
            setattr(self, f"_{name}", weight)

    def call(self, waves):
        """Computes the features."""
        return pcen(
            self.spectrum.power(waves),
            alpha=ops.exp(self._alpha),
            delta=ops.exp(self._delta),
            r=ops.exp(self._r),
            s=ops.sigmoid(self._s),
        )

    def compute_output_shape(self, input_shape):
        """(batch, samples) -> (batch, 1 + samples // hop, mels)."""
        return self.spectrum.compute_output_shape(input_shape)

    def get_config(self):
        """The constructor's arguments."""
        inner = self.spectrum
        return {
            **super().get_config(),
            "rate_hz": inner.rate_hz,
            "num_mels": inner.num_mels,
            "window_ms": inner.window_ms,
            "hop_ms": inner.hop_ms,
        }


@keras.saving.register_keras_serializable("mmkeras")
class GaborFilters(keras.layers.Layer):
    """Waves (batch, samples) -> energy of learned filters (batch, frames, bands), dB.

    Complex Gabor filters whose centres and widths are learned, squared modulus, and a
    window that averages around every hop. They start as the bands of `LogMel`. After
    LEAF (Zeghidour et al. 2021, arXiv 2101.08596), simplified: the filters stand at
    about every millisecond and not at every sample, the averaging window is a fixed
    Hann window, and the energies go to dB, not through PCEN.

    Args:
        rate_hz: sampling rate of the waves.
        num_filters: bands.
        window_ms: length of a filter and of the averaging window, milliseconds.
        hop_ms: step between frames, milliseconds.
        **kwargs: of a Keras layer. Always computes in float32, as `LogMel`.
    """

    def __init__(self, rate_hz, *, num_filters=40, window_ms=25, hop_ms=10, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.rate_hz = rate_hz
        self.num_filters = num_filters
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.hop_samples = max(1, rate_hz * hop_ms // 1000)
        self._radius = max(2, rate_hz * window_ms // 2000)  # samples
        # About a millisecond; it divides the hop, so that no frame drifts.
        about = range(1, max(1, rate_hz // 1000) + 1)
        self._step = max(step for step in about if self.hop_samples % step == 0)
        self._reach = self._radius // self._step  # of the averaging window, steps
        self._average = self._hann()

    def _hann(self):
        """The averaging window, cut in pieces of a hop: (pieces, steps a hop)."""
        steps = np.arange(1, 2 * self._reach + 2) / (2 * self._reach + 2)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * steps)
        hop_steps = self.hop_samples // self._step
        rest = np.zeros(-len(hann) % hop_steps)
        pieces = np.concatenate([hann / hann.sum(), rest]).reshape(-1, hop_steps)
        return pieces.astype("float32")

    def build(self, input_shape):
        """Makes the filters' centres and the logarithms of their widths."""
        edges = 2 * np.pi * mel_edges(self.rate_hz, self.num_filters) / self.rate_hz
        # Half the power where the triangle is half as high, exp(-(d * width)^2) = 1/2.
        width = np.sqrt(np.log(2)) / ((edges[2:] - edges[:-2]) / 4)
        self.centre = self._learned("centre", edges[1:-1])  # radians a sample
        self.log_width = self._learned("log_width", np.log(width))  # log samples

    def _learned(self, name, start):
        return self.add_weight(
            shape=(self.num_filters,),
            initializer=keras.initializers.Constant(start.astype("float32")),
            name=name,
        )

    def kernels(self):
        """The filters, cosines then sines, (2 * radius + 1, 1, 2 * filters)."""
        time = ops.arange(-self._radius, self._radius + 1, dtype="float32")[:, None]
        # Not wider than the window holds, not narrower than a sample.
        width = ops.clip(ops.exp(self.log_width), 1.0, float(self._radius))
        bell = ops.exp(-0.5 * ops.square(time / width))
        # To zero at both ends: cut off, the low bands would hear all the others.
        bell = bell * ops.square(ops.cos(0.5 * np.pi * time / (self._radius + 1)))
        bell = self._radius * bell / ops.sum(bell, axis=0)  # as loud as in `LogMel`
        phase = time * self.centre
        waves = [bell * ops.cos(phase), bell * ops.sin(phase)]
        return ops.concatenate(waves, axis=1)[:, None, :]

    def call(self, waves):
        """Filters, squares, averages."""
        pieces, hop_steps = self._average.shape
        frames = 1 + waves.shape[1] // self.hop_samples
        steps = (frames - 1 + pieces) * hop_steps
        before = self._radius + self._reach * self._step
        after = max(0, steps * self._step + self._radius - waves.shape[1])
        padded = ops.pad(ops.cast(waves, "float32"), [[0, 0], [before, after]])
        both = ops.conv(padded[..., None], self.kernels(), strides=self._step)
        cosines, sines = ops.split(both[:, :steps], 2, axis=-1)
        power = ops.square(cosines) + ops.square(sines)  # (batch, steps, bands)
        # Every piece of the window on every hop, then each frame's pieces together: a
        # depthwise convolution is ten times slower to train under XLA.
        hops = ops.reshape(power, (-1, frames - 1 + pieces, hop_steps, power.shape[-1]))
        parts = ops.matmul(self._average, hops)  # (batch, hops, pieces, bands)
        shifted = [parts[:, piece : piece + frames, piece] for piece in range(pieces)]
        return decibels(sum(shifted))

    def compute_output_shape(self, input_shape):
        """(batch, samples) -> (batch, 1 + samples // hop, bands)."""
        frames = 1 + input_shape[1] // self.hop_samples
        return (input_shape[0], frames, self.num_filters)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "rate_hz": self.rate_hz,
            "num_filters": self.num_filters,
            "window_ms": self.window_ms,
            "hop_ms": self.hop_ms,
        }
