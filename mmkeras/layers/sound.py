"""Sound features: waves -> frames of mel bands or cepstra, standardised."""

import keras
import numpy as np
from keras import ops


def mel_edges(rate_hz, num_mels):
    """Where the mel bands begin, peak and end: (num_mels + 2,) Hz, 0 to half the rate.

    mel(f) = 2595 log10(1 + f / 700) (Young et al., The HTK Book, eq. 5.13).
    """
    top_mel = 2595 * np.log10(1 + rate_hz / 2 / 700)
    return 700 * (10 ** (np.linspace(0, top_mel, num_mels + 2) / 2595) - 1)


def mel_filters(rate_hz, fft_samples, num_mels):
    """Triangular mel filter bank, HTK mel scale, peaks of 1.

    The triangles are straight lines in Hz between `mel_edges`, as in librosa with
    `htk=True, norm=None`; `keras.layers.MelSpectrogram` draws them straight in mels.

    Args:
        rate_hz: sampling rate.
        fft_samples: length of the Fourier transform.
        num_mels: bands between 0 Hz and half the rate.

    Returns:
        (fft_samples // 2 + 1, num_mels) float32.
    """
    edges_hz = mel_edges(rate_hz, num_mels)
    bins_hz = np.linspace(0, rate_hz / 2, fft_samples // 2 + 1)[:, None]
    rise = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    fall = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return np.maximum(0, np.minimum(rise, fall)).astype("float32")


def dct_matrix(num_mels, num_mfcc):
    """Orthonormal DCT-II as a matrix, (num_mels, num_mfcc) float32.

    c_k = sqrt(2 / n) sum_j x_j cos(pi k (j + 1/2) / n), c_0 further divided by sqrt(2)
    (Ahmed, Natarajan, Rao 1974).
    """
    j = np.arange(num_mels)[:, None] + 0.5
    k = np.arange(num_mfcc)[None, :]
    matrix = np.sqrt(2 / num_mels) * np.cos(np.pi * k * j / num_mels)
    matrix[:, 0] /= np.sqrt(2)
    return matrix.astype("float32")


def decibels(power):
    """Power -> dB, 10 log10, not below -100 dB."""
    return 10 * ops.log10(ops.maximum(power, 1e-10))


@keras.saving.register_keras_serializable("mmkeras")
class LogMel(keras.layers.Layer):
    """Waves (batch, samples) -> log-mel spectrogram (batch, frames, mels), in dB.

    Power spectrum of Hann windows around every hop (frame t stands at sample
    t * hop, zeros beyond both ends), mel filters, 10 log10 with a floor of -100 dB.
    No clip depends on another: `keras.layers.MelSpectrogram` cuts below the loudest
    value of the whole batch, so one row's answer would change with its neighbours.

    Args:
        rate_hz: sampling rate of the waves.
        num_mels: bands.
        window_ms: length of a window, milliseconds.
        hop_ms: step between frames, milliseconds.
        **kwargs: of a Keras layer. Always computes in float32, under mixed precision
            too: half precision cannot hold the squares.
    """

    def __init__(self, rate_hz, *, num_mels=40, window_ms=25, hop_ms=10, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.rate_hz = rate_hz
        self.num_mels = num_mels
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.hop_samples = max(1, rate_hz * hop_ms // 1000)
        window_samples = max(2, rate_hz * window_ms // 1000)
        # A power of two is fast; the window is centred in it, as librosa does.
        self.fft_samples = 1 << (window_samples - 1).bit_length()
        before = (self.fft_samples - window_samples) // 2
        self._window = np.zeros(self.fft_samples, "float32")
        phase = 2 * np.pi * np.arange(window_samples) / window_samples
        self._window[before : before + window_samples] = 0.5 - 0.5 * np.cos(phase)
        self._filters = mel_filters(rate_hz, self.fft_samples, num_mels)
        # For converters that know no Fourier transform: products of matrices instead.
        self.by_products = False

    def power(self, waves):
        """Power by band, before the logarithm, (batch, frames, mels)."""
        half = self.fft_samples // 2
        padded = ops.pad(ops.cast(waves, "float32"), [[0, 0], [half, half]])
        if self.by_products:
            real, imaginary = self._transformed(padded)
        else:
            real, imaginary = ops.stft(
                padded,
                sequence_length=self.fft_samples,
                sequence_stride=self.hop_samples,
                fft_length=self.fft_samples,
                window=self._window,
                center=False,
            )  # (batch, frames, bins)
        power = ops.square(real) + ops.square(imaginary)
        return ops.matmul(power, self._filters)  # (batch, frames, mels)

    def _transformed(self, padded):
        """`ops.stft` as gather and products: (real, imaginary), up to rounding."""
        places, bins = np.arange(self.fft_samples), np.arange(self.fft_samples // 2 + 1)
        frames = 1 + (padded.shape[1] - self.fft_samples) // self.hop_samples
        taken = np.arange(frames)[:, None] * self.hop_samples + places  # samples
        windows = ops.take(padded, taken.ravel().astype("int32"), axis=1)
        windows = ops.reshape(windows, (-1, frames, self.fft_samples)) * self._window
        # The product of place and bin modulo the length: exact, however large it is.
        turns = places[:, None] * bins % self.fft_samples / self.fft_samples
        waves = np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)
        return tuple(ops.matmul(windows, each.astype("float32")) for each in waves)

    def call(self, waves):
        """Computes the spectrogram."""
        return decibels(self.power(waves))

    def compute_output_shape(self, input_shape):
        """(batch, samples) -> (batch, 1 + samples // hop, mels)."""
        return (input_shape[0], 1 + input_shape[1] // self.hop_samples, self.num_mels)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "rate_hz": self.rate_hz,
            "num_mels": self.num_mels,
            "window_ms": self.window_ms,
            "hop_ms": self.hop_ms,
        }


@keras.saving.register_keras_serializable("mmkeras")
class MFCC(keras.layers.Layer):
    """Waves (batch, samples) -> cepstral coefficients (batch, frames, coefficients).

    The orthonormal DCT-II of `LogMel` (Davis and Mermelstein 1980); equals
    `librosa.feature.mfcc` of librosa's spectrogram with `htk=True, norm=None`,
    `pad_mode="constant"` and no `top_db`.

    Args:
        rate_hz: sampling rate of the waves.
        num_mfcc: coefficients kept, the zeroth included; at most `num_mels`.
        num_mels: bands.
        window_ms: length of a window, milliseconds.
        hop_ms: step between frames, milliseconds.
        **kwargs: of a Keras layer.
    """

    def __init__(
        self, rate_hz, *, num_mfcc=20, num_mels=40, window_ms=25, hop_ms=10, **kwargs
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        if num_mfcc > num_mels:
            raise ValueError(f"{num_mfcc} MFCCs cannot come of {num_mels} mel bands")
        self.num_mfcc = num_mfcc
        self.log_mel = LogMel(
            rate_hz, num_mels=num_mels, window_ms=window_ms, hop_ms=hop_ms
        )
        self.hop_samples = self.log_mel.hop_samples
        self._dct = dct_matrix(num_mels, num_mfcc)

    def build(self, input_shape):
        """Builds the inner layer; it has no weights."""
        self.log_mel.build(input_shape)

    def call(self, waves):
        """Computes the coefficients."""
        return ops.matmul(self.log_mel(waves), self._dct)

    def compute_output_shape(self, input_shape):
        """(batch, samples) -> (batch, 1 + samples // hop, coefficients)."""
        frames = self.log_mel.compute_output_shape(input_shape)[1]
        return (input_shape[0], frames, self.num_mfcc)

    def get_config(self):
        """The constructor's arguments."""
        inner = self.log_mel
        return {
            **super().get_config(),
            "rate_hz": inner.rate_hz,
            "num_mfcc": self.num_mfcc,
            "num_mels": inner.num_mels,
            "window_ms": inner.window_ms,
            "hop_ms": inner.hop_ms,
        }


@keras.saving.register_keras_serializable("mmkeras")
class Standardize(keras.layers.Layer):
    """Zero mean and unit variance over each clip, all its frames and bands together.

    A louder microphone moves nothing. Frames that are not visible neither count nor
    survive. (Keras handles an argument called `mask` in a way of its own, so none is
    here.)

    Args:
        per_band: each band by itself: cepstral mean and variance normalisation. Right
            for cepstra, whose first outweighs all others together; bands of a spectrum
            which hold only noise would be blown up.
        floor: variance added to that of the clip, in the features' unit squared; the
            default is for dB. Silence has no variance, and must not become loud noise.
        **kwargs: of a Keras layer. Always computes in float32: the squares of a whole
            clip overflow float16.
    """

    def __init__(self, floor=1.0, per_band=False, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.per_band, self.floor = per_band, floor

    def call(self, features, visible):
        """Features (batch, frames, bands), visible (batch, frames) -> as features."""
        weights = ops.cast(visible, features.dtype)[..., None]
        axes, bands = ((1,), 1) if self.per_band else ((1, 2), features.shape[-1])
        count = bands * ops.sum(weights, axis=1, keepdims=True)
        count = ops.maximum(count, 1)  # (batch, 1, 1)
        mean = ops.sum(features * weights, axis=axes, keepdims=True) / count
        centred = (features - mean) * weights
        variance = ops.sum(ops.square(centred), axis=axes, keepdims=True) / count
        return centred / ops.sqrt(variance + self.floor)

    def compute_output_shape(self, features_shape, visible_shape):
        """As the features."""
        return features_shape

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "per_band": self.per_band,
            "floor": self.floor,
        }


@keras.saving.register_keras_serializable("mmkeras")
class SpecMask(keras.layers.Layer):
    """Hides stretches of time and of frequency in training (SpecAugment).

    Two of each a row, of a length drawn anew between nothing and a share of the frames
    that are there or of the bands, become 0, the mean of what `Standardize` gives
    (Park et al. 2019, arXiv 1904.08779, section 2).

    Args:
        time: largest share of a row's visible frames, in [0, 1).
        frequency: largest share of the bands, in [0, 1).
        seed: of the generator.
        **kwargs: of a Keras layer.
    """

    masks = 2

    def __init__(self, time, frequency, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.time, self.frequency, self.seed = time, frequency, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, features, visible, training=False):
        """Features (batch, frames, bands), visible (batch, frames) -> as features."""
        if not training:
            return features
        frames, bands = features.shape[1], features.shape[2]
        there = ops.sum(ops.cast(visible, "float32"), axis=1)  # (batch,)
        late = self._hidden(there, self.time, frames)  # (batch, frames)
        high = self._hidden(bands * ops.ones_like(there), self.frequency, bands)
        hidden = ops.logical_or(late[:, :, None], high[:, None, :])
        return ops.where(hidden, ops.zeros_like(features), features)

    def _hidden(self, lengths, share, count):
        """(batch, count) bool: what one of the stretches covers."""
        shape = (ops.shape(lengths)[0], self.masks)
        drawn = keras.random.uniform((2, *shape), seed=self.generator)
        most = ops.floor(share * lengths)[:, None]
        width = ops.floor(drawn[0] * (most + 1))  # 0, 1, ..., most
        start = ops.floor(drawn[1] * (lengths[:, None] - width + 1))
        places = ops.arange(count, dtype="float32")[None, None, :]
        inside = ops.logical_and(
            places >= start[..., None], places < (start + width)[..., None]
        )
        return ops.any(inside, axis=1)

    def compute_output_shape(self, features_shape, visible_shape):
        """As the features."""
        return features_shape

    def get_config(self):
        """The constructor's arguments."""
        own = {"time": self.time, "frequency": self.frequency, "seed": self.seed}
        return {**super().get_config(), **own}
