"""What Whisper's encoder asks for: its spectrogram, without its decoder."""

import keras
from keras import ops

RATE_HZ = 16_000
WINDOW_SAMPLES, HOP_SAMPLES = 400, 160  # 25 and 10 ms
# The encoder halves the frames.
STEP_SAMPLES = 2 * HOP_SAMPLES


@keras.saving.register_keras_serializable("mmkeras")
class WhisperMel(keras.layers.Layer):
    """Waves (batch, samples) at 16 kHz -> (batch, frames, mels), as Whisper heard them.

    Radford et al. 2022, arXiv 2212.04356: Slaney's mel filters, log10, at most 8 below
    the clip's loudest value, (x + 4) / 4. Equals KerasHub's `WhisperAudioConverter`,
    which is no part of a model.

    Args:
        num_mels: bands.
        **kwargs: of a Keras layer. Always computes in float32.
    """

    def __init__(self, num_mels=80, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        import keras_hub

        self.num_mels = num_mels
        converter = keras_hub.layers.WhisperAudioConverter(num_mels=num_mels)
        self._filters = ops.convert_to_numpy(converter.mel_filters)

    def call(self, waves):
        """Computes the spectrogram."""
        half = WINDOW_SAMPLES // 2
        padded = ops.pad(waves, [[0, 0], [half, half]], mode="reflect")
        real, imaginary = ops.stft(
            padded, WINDOW_SAMPLES, HOP_SAMPLES, WINDOW_SAMPLES, center=False
        )
        power = (ops.square(real) + ops.square(imaginary))[:, :-1]
        mels = ops.log10(ops.maximum(ops.matmul(power, self._filters), 1e-10))
        loudest = ops.max(mels, axis=(1, 2), keepdims=True)
        return (ops.maximum(mels, loudest - 8.0) + 4.0) / 4.0

    def compute_output_shape(self, input_shape):
        """(batch, samples) -> (batch, samples // 160, mels)."""
        return (input_shape[0], input_shape[1] // HOP_SAMPLES, self.num_mels)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "num_mels": self.num_mels}


def require_clip(name, rate_hz, clip_samples):
    """Raises ValueError where Whisper cannot take the clips of an input."""
    if rate_hz != RATE_HZ or clip_samples > 30 * RATE_HZ:
        raise ValueError(
            "Whisper takes 16,000 Hz and 30 s at most: set "
            f"data.inputs.{name}.rate_hz = 16000 and clip_seconds to 30 or less, they "
            f"are {rate_hz} and {clip_samples / rate_hz:g}"
        )


def encoder(backbone):
    """(the encoder of a Whisper backbone, its mel bands).

    Raises:
        ValueError: the backbone is no Whisper.
    """
    try:
        features = backbone.input["encoder_features"]
        outputs = backbone.output["encoder_sequence_output"]
    except (KeyError, TypeError):
        raise ValueError(
            f"preset: {type(backbone).__name__} has no encoder of sounds; a Whisper has"
        ) from None
    own = keras.Model({"encoder_features": features}, outputs, name="whisper_encoder")
    return own, features.shape[-1]


def visible(features, samples, present):
    """Steps that begin inside the sound, (batch, steps) bool."""
    starts = STEP_SAMPLES * ops.arange(features.shape[1], dtype="int32")[None, :]
    return ops.logical_and(ops.less(starts, samples[:, None]), present[:, None])
