import keras
import numpy as np
import pytest
import tensorflow as tf
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


FRONT_ENDS = [layers.LogMel, layers.MFCC, layers.PCEN, layers.GaborFilters]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_features_are_float32_under_mixed_precision(front_end, waves):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        features = front_end(RATE_HZ)(waves)
    finally:
        keras.config.set_dtype_policy("float32")
    assert features.dtype == "float32"
    np.testing.assert_array_equal(features, front_end(RATE_HZ)(waves))


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize(
    "rate_hz, samples, window_ms, hop_ms",
    [(16_000, 16_000, 25, 10), (8000, 799, 50, 20), (11_025, 5000, 37, 15)],
)
def test_frames_are_as_many_as_told(front_end, rate_hz, samples, window_ms, hop_ms):
    layer = front_end(rate_hz, window_ms=window_ms, hop_ms=hop_ms)
    waves = np.zeros((1, samples), "float32")
    shape = layer.compute_output_shape(waves.shape)
    assert shape == layer(waves).shape
    assert shape[1] == 1 + samples // layer.hop_samples


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_click_stands_in_its_frame(front_end):
    """The frame at sample t * hop hears what happens there, in every front end."""
    wave = np.zeros((1, 8000), "float32")
    wave[0, 4000] = 1.0
    layer = (
        front_end(8000, num_mels=24)
        if front_end is not layers.GaborFilters
        else (front_end(8000, num_filters=24))
    )
    features = np.array(layer(wave)[0])  # (frames, bands)
    change = np.abs(features - features[0]).sum(axis=1)
    assert change.argmax() == 50
    assert not change[:47].any()


@pytest.mark.parametrize("frames", [1, 2, 37])
def test_smooth_is_the_recursion(frames, rng):
    energies = rng.random((2, frames, 3)).astype("float32")
    s = np.array([0.025, 0.3, 0.9], "float32")
    expected = energies.copy()
    for t in range(1, frames):
        expected[:, t] = (1 - s) * expected[:, t - 1] + s * energies[:, t]
    np.testing.assert_allclose(layers.smooth(energies, s), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "told",
    [
        {"alpha": 0.98, "delta": 2.0, "r": 0.5, "s": 0.025},
        {"alpha": 0.8, "delta": 10.0, "r": 0.25, "s": 0.2},
    ],
)
def test_pcen_agrees_with_librosa(told, waves):
    import librosa

    energies = np.array(layers.LogMel(RATE_HZ).power(waves))  # (batch, frames, mels)
    theirs = librosa.pcen(
        energies,
        gain=told["alpha"],
        bias=told["delta"],
        power=told["r"],
        b=told["s"],
        eps=1e-6,
        axis=1,
        zi=(1 - told["s"]) * energies[:, :1],  # starts at the first frame
    )
    ours = layers.pcen(energies, **told)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    compiled = tf.function(lambda e: layers.pcen(e, **told), jit_compile=True)
    np.testing.assert_allclose(compiled(energies), theirs, rtol=1e-3, atol=1e-5)


def test_pcen_starts_where_the_paper_does_and_learns_all_four(waves):
    layer = layers.PCEN(RATE_HZ)
    features = layer(waves)
    energies = layer.spectrum.power(waves)
    np.testing.assert_allclose(features, layers.pcen(energies), rtol=1e-4, atol=1e-6)
    names = ["log_alpha", "log_delta", "log_r", "logit_s"]
    assert [weight.name for weight in layer.trainable_weights] == names
    assert_all_are_learned(layer, waves)


def test_pcen_takes_a_change_of_loudness_away(waves):
    layer = layers.PCEN(RATE_HZ)
    loud, quiet = np.array(layer(waves[:1])), np.array(layer(0.1 * waves[:1]))
    # A hundredth of the power. 0.98 of the 20 dB are divided away, 0.4 dB are left.
    assert np.abs(loud - quiet).mean() < 0.1 * loud.mean()


def test_gabor_filters_start_as_the_bands_of_log_mel(rng):
    seconds = np.arange(8000) / 8000
    tones_hz = np.array([200, 500, 1000, 2000, 3500])
    tones = np.sin(2 * np.pi * tones_hz[:, None] * seconds).astype("float32")
    learned = np.array(layers.GaborFilters(8000)(tones))[:, 50]
    log_mel = np.array(layers.LogMel(8000)(tones))[:, 50]
    np.testing.assert_array_equal(learned.argmax(1), log_mel.argmax(1))
    np.testing.assert_allclose(learned.max(1), log_mel.max(1), atol=6)  # dB
    noise = rng.standard_normal((1, 8000)).astype("float32")
    both = [layer(8000)(noise) for layer in (layers.GaborFilters, layers.LogMel)]
    assert np.corrcoef(np.ravel(both[0]), np.ravel(both[1]))[0, 1] > 0.8


def test_gabor_filters_learn_centres_and_widths(waves):
    layer = layers.GaborFilters(RATE_HZ)
    layer(waves)
    names = ["centre", "log_width"]
    assert [weight.name for weight in layer.trainable_weights] == names
    assert_all_are_learned(layer, waves)


def assert_all_are_learned(layer, waves):
    """Every band of every weight has a gradient, and it is a number."""
    with tf.GradientTape() as tape:
        loss = ops.mean(ops.square(layer(waves)))
    variables = [weight.value for weight in layer.trainable_weights]
    for weight, gradient in zip(
        layer.trainable_weights, tape.gradient(loss, variables), strict=True
    ):
        assert np.isfinite(gradient).all() and np.all(np.array(gradient) != 0), weight


def test_front_ends_stay_numbers_in_silence():
    """No sound at all: features and gradients are finite."""
    silence = np.zeros((1, 4000), "float32")
    for front_end in (layers.PCEN, layers.GaborFilters):
        layer = front_end(8000)
        layer(silence)
        with tf.GradientTape() as tape:
            loss = ops.mean(layer(silence))
        variables = [weight.value for weight in layer.trainable_weights]
        for gradient in tape.gradient(loss, variables):
            assert np.isfinite(gradient).all()


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


def test_standardize_floor_decides_what_is_silence(rng):
    features = 0.1 * rng.standard_normal((1, 50, 3)).astype("float32")
    visible = np.ones((1, 50), bool)
    assert np.std(layers.Standardize()(features, visible)) < 0.11
    low = layers.Standardize.from_config(layers.Standardize(1e-4).get_config())
    assert np.std(low(features, visible)) > 0.9


def test_standardize_holds_in_half_precision(rng):
    """The squares of a clip in dB are beyond float16."""
    features = (-50 + 20 * rng.standard_normal((1, 400, 40))).astype("float32")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        out = np.array(layers.Standardize()(features, np.ones((1, 400), bool)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert out.std() == pytest.approx(1, abs=0.01)


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


BLOCKS = [layers.transformer_block, layers.conformer_block]


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_refuse_heads_that_do_not_divide(block):
    tokens = keras.Input((4, 10))
    with pytest.raises(ValueError, match="3 heads do not divide 10 units"):
        block(tokens, ops.ones((1, 4), "bool"), num_heads=3, dropout=0.0, name="block")


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_see_visible_steps_only(block, rng):
    tokens = keras.Input((20, 8))
    visible = keras.Input((20,), dtype="bool")
    out = block(tokens, visible, num_heads=2, dropout=0.0, name="block")
    model = keras.Model([tokens, visible], out)
    values = rng.standard_normal((2, 20, 8)).astype("float32")
    mask = np.arange(20)[None] < [[9], [20]]
    poisoned = np.where(mask[..., None], values, 50.0).astype("float32")
    np.testing.assert_allclose(
        model([poisoned, mask])[0, :9], model([values, mask])[0, :9], rtol=1e-5
    )
    # And what is visible is heard: the last step reaches the first.
    changed = values.copy()
    changed[1, 19, 0] += 3
    moved = np.array(model([changed, mask])) - np.array(model([values, mask]))
    assert np.abs(moved[1, 0]).max() > 1e-5 and not moved[0].any()


@pytest.mark.parametrize(
    "layer",
    [
        layers.LogMel(8000, num_mels=20, window_ms=30, hop_ms=15),
        layers.MFCC(8000, num_mfcc=12, num_mels=24, hop_ms=20),
        layers.PCEN(8000, num_mels=20, window_ms=30, hop_ms=15),
        layers.GaborFilters(8000, num_filters=20, window_ms=30, hop_ms=15),
    ],
)
def test_features_come_back_from_their_config(layer, waves):
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(layer(waves), again(waves))


def test_spec_masks_hide_stretches_of_the_promised_length_in_training_only(rng):
    layer = layers.SpecMask(0.25, 0.5, seed=3)
    features = np.full((200, 40, 12), 1.0, "float32")
    visible = np.arange(40) < np.repeat([[40], [20]], 100, axis=0)
    np.testing.assert_array_equal(layer(features, visible), features)
    hidden = np.array(layer(features, visible, training=True)) == 0
    assert hidden.shape == features.shape
    late, high = hidden.all(axis=2), hidden.all(axis=1)
    np.testing.assert_array_equal(hidden, late[:, :, None] | high[:, None, :])
    # Two stretches of at most ten of 40 frames, of five of 20, of six of 12 bands.
    for part, frames in ((late[:100], 40), (late[100:], 20)):
        counts = part.sum(axis=1)
        assert counts.max() <= frames // 2 and counts.max() > 0.3 * frames
        assert counts.mean() == pytest.approx(frames / 4, abs=0.08 * frames)
    assert not late[100:, 20:].any(), "what is not there is not counted"
    edges = np.diff(np.pad(late, [[0, 0], [1, 1]]).astype(int), axis=1)
    assert (edges == 1).sum(axis=1).max() <= 2
    again = layers.SpecMask.from_config(layer.get_config())
    np.testing.assert_array_equal(
        np.array(again(features, visible, training=True)) == 0, hidden
    )
    assert [v.name for v in layer.variables] == ["seed_generator_state"]
