import keras
import numpy as np
import pytest
from keras import ops

from mmkeras import layers

RATE_HZ = 16_000


@pytest.fixture
def waves(rng):
    """Two seconds of a chirp with noise, and of noise alone, (2, samples)."""
    seconds = np.arange(2 * RATE_HZ) / RATE_HZ
    chirp = np.sin(2 * np.pi * (200 + 1500 * seconds) * seconds)
    noise = 0.01 * rng.standard_normal((2, len(seconds)))
    return (noise + [0.5 * chirp, 0 * chirp]).astype("float32")


def librosa_mfcc(wave, *, rate_hz, num_mels, num_mfcc, window, hop, fft):
    import librosa

    power = librosa.feature.melspectrogram(
        y=wave,
        sr=rate_hz,
        n_fft=fft,
        win_length=window,
        hop_length=hop,
        n_mels=num_mels,
        htk=True,
        norm=None,
        pad_mode="constant",
    )
    log_mel = librosa.power_to_db(power, top_db=None)
    return log_mel.T, librosa.feature.mfcc(S=log_mel, n_mfcc=num_mfcc).T


@pytest.mark.parametrize("rate_hz, num_mels", [(16_000, 40), (8_000, 26)])
def test_log_mel_and_mfcc_agree_with_librosa(waves, rate_hz, num_mels):
    log_mel = layers.LogMel(rate_hz, num_mels=num_mels)(waves)
    mfcc = layers.MFCC(rate_hz, num_mfcc=13, num_mels=num_mels)(waves)
    window, hop = rate_hz * 25 // 1000, rate_hz * 10 // 1000
    fft = 1 << (window - 1).bit_length()
    for row in range(2):
        theirs = librosa_mfcc(
            waves[row],
            rate_hz=rate_hz,
            num_mels=num_mels,
            num_mfcc=13,
            window=window,
            hop=hop,
            fft=fft,
        )
        np.testing.assert_allclose(log_mel[row], theirs[0], atol=1e-3)
        np.testing.assert_allclose(mfcc[row], theirs[1], atol=1e-3)


def test_a_tone_stands_in_its_mel_band_at_its_time():
    wave = np.zeros((1, RATE_HZ), "float32")
    wave[0, 8000:] = np.sin(2 * np.pi * 1000 * np.arange(8000) / RATE_HZ)
    spectrum = np.array(layers.LogMel(RATE_HZ, num_mels=40)(wave)[0])
    assert spectrum.shape == (101, 40)  # a frame at every 10 ms, both ends included
    assert spectrum[:40].max() == -100  # silence is the floor
    edges_hz = 700 * (10 ** (np.linspace(0, 2840.023, 42) / 2595) - 1)
    band = spectrum[75].argmax()
    assert edges_hz[band] < 1000 < edges_hz[band + 2]


def test_log_mel_of_a_clip_does_not_depend_on_its_neighbours(waves):
    log_mel = layers.LogMel(RATE_HZ)
    together = log_mel(waves)
    np.testing.assert_array_equal(together[1:], log_mel(waves[1:]))


def test_log_mel_is_float32_under_mixed_precision(waves):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        spectrum = layers.LogMel(RATE_HZ)(waves)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert spectrum.dtype == "float32"
    np.testing.assert_array_equal(spectrum, layers.LogMel(RATE_HZ)(waves))


def test_too_many_coefficients_are_refused():
    with pytest.raises(ValueError, match="50 MFCCs cannot come of 40 mel bands"):
        layers.MFCC(RATE_HZ, num_mfcc=50)


def test_standardize_counts_visible_frames_only(rng):
    features = (5 + 20 * rng.standard_normal((2, 9, 3))).astype("float32")
    visible = np.arange(9)[None] < [[6], [0]]
    poisoned = np.where(visible[..., None], features, 1e6)
    out = np.array(layers.Standardize()(poisoned, visible))
    assert out[0, :6].mean() == pytest.approx(0, abs=1e-5)
    assert out[0, :6].std() == pytest.approx(1, abs=0.01)
    assert not out[0, 6:].any() and not out[1].any()


def test_missing_token_is_seen_exactly_where_nothing_else_is(rng):
    layer = layers.MissingToken()
    tokens = rng.standard_normal((2, 4, 3)).astype("float32")
    visible = np.array([[True, True, False, False], [False] * 4])
    out, mask = layer(tokens, visible)
    assert out.shape == (2, 5, 3)
    np.testing.assert_array_equal(
        mask, [[False, True, True, False, False], [True, False, False, False, False]]
    )
    np.testing.assert_array_equal(out[1, 0], layer.token)
    np.testing.assert_array_equal(out[0, 1:3], tokens[0, :2])
    assert not np.array(out[:, 3:]).any()


def test_pooling_sees_visible_steps_only(rng):
    tokens = rng.standard_normal((2, 5, 3)).astype("float32")
    mask = np.array([[True, True, False, False, True], [True] + [False] * 4])
    poisoned = np.where(mask[..., None], tokens, 1e4)
    shown = tokens[0, [0, 1, 4]]
    np.testing.assert_allclose(
        layers.masked_mean(poisoned, mask)[0], shown.mean(0), rtol=1e-5
    )
    np.testing.assert_array_equal(layers.masked_max(poisoned, mask)[0], shown.max(0))
    np.testing.assert_array_equal(layers.masked_mean(poisoned, mask)[1], tokens[1, 0])


def test_transformer_block_refuses_heads_that_do_not_divide():
    tokens = keras.Input((4, 10))
    with pytest.raises(ValueError, match="3 heads do not divide 10 units"):
        layers.transformer_block(
            tokens, ops.ones((1, 4), "bool"), num_heads=3, dropout=0.0, name="block"
        )


@pytest.mark.parametrize(
    "layer",
    [
        layers.LogMel(8000, num_mels=20, window_ms=30, hop_ms=15),
        layers.MFCC(8000, num_mfcc=12, num_mels=24, hop_ms=20),
    ],
)
def test_features_come_back_from_their_config(layer, waves):
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(layer(waves), again(waves))
