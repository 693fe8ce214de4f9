"""Random changes: as large as promised, the same for the same seed, or none at all."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import augment, dataset
from mmkeras.recipe import Augment

KINDS = {"text": "text", "image": "image", "audio": "audio"}
ON = {
    "modality_dropout": 0.3,
    "image_shift": 0.25,
    "image_rotation_degrees": 30.0,
    "image_zoom": 0.3,
    "image_flip": True,
    "image_crop": 0.5,
    "image_brightness": 0.3,
    "image_contrast": 0.4,
    "image_saturation": 0.5,
    "image_hue": 0.2,
    "image_randaugment": 2,
    "image_erase": 0.3,
    "audio_snr_db": 10.0,
    "audio_shift": 0.3,
    "audio_gain_db": 6.0,
    "word_dropout": 0.4,
    "word_swap": 0.4,
}
TOUCHES = {
    "modality_dropout": {"text_present", "image_present", "audio_present"},
    "image_shift": {"image"},
    "image_rotation_degrees": {"image"},
    "image_zoom": {"image"},
    "image_flip": {"image"},
    "image_crop": {"image"},
    "image_brightness": {"image"},
    "image_contrast": {"image"},
    "image_saturation": {"image"},
    "image_hue": {"image"},
    "image_randaugment": {"image"},
    "image_erase": {"image"},
    "audio_snr_db": {"audio"},
    "audio_shift": {"audio", "audio_samples"},
    "audio_gain_db": {"audio"},
    "word_dropout": {"text"},
    "word_swap": {"text"},
}
# In `changes`; these are at work elsewhere, and tested there.
ELSEWHERE = {
    "image_randaugment_magnitude",
    "audio_time_mask",
    "audio_frequency_mask",
    "mixup",
}


@tf.function
def seeds(count, epoch=0):
    return dataset.row_seeds(0, epoch, tf.range(count))


@pytest.fixture
def batch(rng):
    """Eight rows; the last has no image, and half of its sound is padding."""
    wave = rng.uniform(-0.5, 0.5, (8, 400)).astype("float32")
    samples = np.full(8, 400, "int32")
    samples[7], wave[7, 200:] = 200, 0
    present = np.ones(8, bool)
    pixels = rng.uniform(0.2, 1, (8, 16, 16, 3)).astype("float32")
    pixels[7] = 0
    ids = rng.integers(2, 50, (8, 12)).astype("int32")
    ids[:, 9:] = 0
    tensors = {
        "text": ids,
        "text_present": present,
        "image": pixels,
        "image_present": present & (np.arange(8) < 7),
        "audio": wave,
        "audio_samples": samples,
        "audio_present": present,
    }
    return {key: tf.constant(value) for key, value in tensors.items()}


def same(one, other):
    return {key for key in one if np.array_equal(one[key], other[key])}


def test_every_key_is_tested():
    assert set(Augment.model_fields) == set(ON) | ELSEWHERE


def test_off_is_no_change_at_all():
    assert augment.changes(Augment(), KINDS) is None


@pytest.mark.parametrize("option", ON)
def test_every_option_changes_its_own_tensors_only(option, batch):
    change = augment.changes(Augment(**{option: ON[option]}), KINDS)
    changed = change(batch, seeds(8))
    assert set(changed) == set(batch)
    for key, tensor in changed.items():
        assert tensor.shape == batch[key].shape and tensor.dtype == batch[key].dtype
    touched = set(batch) - same(batch, changed)
    assert touched and touched <= TOUCHES[option]


def test_an_input_that_is_not_there_is_not_changed(batch):
    every = Augment(**ON)
    change = augment.changes(every, {"text": "text"})
    own = {key: batch[key] for key in ("text", "text_present")}
    changed = change(own, seeds(8))
    assert same(own, changed) == {"text_present"}  # alone, nothing may be hidden
    only = Augment(modality_dropout=0.5)
    assert augment.changes(only, {"text": "text"}) is None
    assert augment.changes(Augment(image_shift=0.1), {"it": "audio"}) is None


def test_a_ratio_of_zero_db_is_noise_and_not_off(batch):
    change = augment.changes(Augment(audio_snr_db=0.0), KINDS)
    assert "audio" not in same(batch, change(batch, seeds(8)))


def test_a_rows_change_does_not_hang_on_its_neighbours(batch):
    change = augment.changes(Augment(**ON), KINDS)
    whole = change(batch, seeds(8))
    graph = tf.function(change)(batch, seeds(8))
    picked = [5, 2]
    part = change(
        {key: tf.gather(tensor, picked) for key, tensor in batch.items()},
        tf.gather(seeds(8), picked),
    )
    for key in batch:
        np.testing.assert_array_equal(part[key], tf.gather(whole[key], picked))
        np.testing.assert_allclose(graph[key], whole[key], rtol=1e-5, atol=1e-5)
    later = change(batch, seeds(8, epoch=1))
    assert not same(whole, later) & {"text", "image", "audio"}


def test_the_batch_that_was_given_stays_as_it_was(batch):
    before = dict(batch)
    augment.changes(Augment(**ON), KINDS)(batch, seeds(8))
    assert all(batch[key] is before[key] for key in before)


def hidden(present, share=0.3):
    """Presence after dropout; `present`, (rows, 3) bool."""
    tensors = {
        f"{name}_present": tf.constant(present[:, index])
        for index, name in enumerate(sorted(KINDS))
    }
    drop = tf.function(augment.drop_modalities)
    left = drop(
        tensors, sorted(KINDS), Augment(modality_dropout=share), seeds(len(present))
    )
    return np.stack([left[f"{name}_present"] for name in sorted(KINDS)], axis=1)


def test_modality_dropout_hides_about_the_promised_share():
    count, share = 4000, 0.3
    left = hidden(np.ones((count, 3), bool), share)
    assert left.any(axis=1).all(), "never all of a row"
    # Where all three were drawn, which is rare, none is hidden.
    expected = share - share**3
    deviation = np.sqrt(expected * (1 - expected) / count)
    np.testing.assert_allclose(1 - left.mean(axis=0), expected, atol=5 * deviation)
    both = np.mean(~left[:, 0] & ~left[:, 1])
    assert abs(both - share**2 * (1 - share)) < 0.02, "independent of each other"


def test_modality_dropout_never_invents_and_spares_the_last(rng):
    present = rng.random((2000, 3)) < 0.5
    left = hidden(present, 0.9)
    assert not (left & ~present).any()
    alone = present.sum(axis=1) == 1
    np.testing.assert_array_equal(left[alone], present[alone])
    np.testing.assert_array_equal(left.any(axis=1), present.any(axis=1))


def test_image_shift_moves_within_its_share_and_black_comes_in():
    count, size, share = 600, 20, 0.2
    pixels = np.zeros((count, size, size, 3), "float32")
    pixels[:, 9:11, 9:11] = 1.0  # centre of gravity at 9.5
    moved = tf.function(augment.move_image)(
        {"it": pixels}, "it", Augment(image_shift=share), seeds(count)
    )["it"]
    weight = np.array(moved).sum(axis=3)
    grid = np.arange(size)
    total = weight.sum(axis=(1, 2))
    np.testing.assert_allclose(total, 12, rtol=1e-4)
    offsets = np.stack(
        [
            (weight.sum(axis=2) * grid).sum(axis=1) / total - 9.5,
            (weight.sum(axis=1) * grid).sum(axis=1) / total - 9.5,
        ]
    )
    reach = share * size
    assert np.abs(offsets).max() <= reach + 1e-3
    assert np.abs(offsets).max() > 0.95 * reach
    deviation = reach / np.sqrt(3 * count)
    assert np.abs(offsets.mean(axis=1)).max() < 4 * deviation
    assert abs(np.corrcoef(offsets)[0, 1]) < 0.2, "both ways independently"
    white = np.ones((64, size, size, 3), "float32")
    shifted = np.array(
        tf.function(augment.move_image)(
            {"it": white}, "it", Augment(image_shift=share), seeds(64)
        )["it"]
    )
    assert shifted.min() == 0.0 and shifted.max() <= 1.0 + 1e-6
    lost = 1 - shifted.mean(axis=(1, 2, 3))
    assert (lost > 0).all() and lost.max() <= 1 - (1 - share) ** 2 + 1e-3


def test_noise_reaches_a_ratio_in_the_promised_range(rng):
    count, clip, least = 300, 2000, -5.0
    wave = rng.standard_normal((count, clip)).astype("float32") * 0.1
    samples = rng.integers(500, clip + 1, count).astype("int32")
    inside = np.arange(clip) < samples[:, None]
    wave *= inside
    tensors = {"it": tf.constant(wave), "it_samples": tf.constant(samples)}
    loud = np.array(
        tf.function(augment.add_noise)(
            tensors, "it", Augment(audio_snr_db=least), seeds(count)
        )["it"]
    )
    noise = loud - wave
    assert not noise[~inside].any(), "padding stays"
    power = (wave**2).sum(axis=1) / (noise**2).sum(axis=1)
    ratio_db = 10 * np.log10(power)
    assert ratio_db.min() > least - 0.7 and ratio_db.max() < least + 30.7
    assert abs(ratio_db.mean() - (least + 15)) < 2
    assert ratio_db.min() < least + 2 and ratio_db.max() > least + 28


def test_silence_and_absence_stay_silent():
    tensors = {"it": tf.zeros((3, 50)), "it_samples": tf.constant([50, 0, 10])}
    loud = augment.add_noise(tensors, "it", Augment(audio_snr_db=-20.0), seeds(3))["it"]
    np.testing.assert_array_equal(loud, np.zeros((3, 50)))


def test_words_are_dropped_at_the_promised_rate_and_padding_stays(rng):
    count, length, share = 500, 20, 0.25
    ids = rng.integers(2, 90, (count, length)).astype("int32")
    ids[:, 15:] = 0
    tensors = {"it": tf.constant(ids)}
    after = np.array(
        tf.function(augment.drop_words)(
            tensors, "it", Augment(word_dropout=share), seeds(count)
        )["it"]
    )
    assert after.dtype == np.int32 and not after[:, 15:].any()
    words, kept = ids[:, :15], after[:, :15]
    dropped = kept != words
    assert (kept[dropped] == augment.UNKNOWN).all()
    deviation = np.sqrt(share * (1 - share) / words.size)
    assert abs(dropped.mean() - share) < 5 * deviation


def test_the_unknown_word_is_the_texts():
    from mmkeras.modalities import MODALITIES

    text = MODALITIES["text"]("it", length=2)
    text.learn(["known"])
    ids = text.decode(tf.constant("never known"))["it"]
    assert ids[0] == augment.UNKNOWN and ids[1] > augment.UNKNOWN


def test_uniform_numbers_are_uniform_and_unrelated_between_rows():
    drawn = np.array(tf.function(augment.uniform)(seeds(3000), 2))
    assert drawn.min() >= 0 and drawn.max() < 1
    for column in drawn.T:
        shares = np.histogram(column, 10, (0, 1))[0] / len(column)
        np.testing.assert_allclose(shares, 0.1, atol=0.03)
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.08


def moved(pixels, **options):
    """Sixty-four copies of a picture, each changed by a seed of its own."""
    change = augment.changes(Augment(**options), {"image": "image"})
    given = {"image": tf.repeat(pixels[None], 64, axis=0)}
    return change(given, seeds(64))["image"].numpy()


def test_a_flip_is_the_mirror_image_of_half_the_rows(rng):
    pixels = tf.constant(rng.random((16, 16, 3)), tf.float32)
    found = moved(pixels, image_flip=True)
    same = np.isclose(found, pixels).all(axis=(1, 2, 3))
    mirrored = np.isclose(found, pixels[:, ::-1], atol=1e-5).all(axis=(1, 2, 3))
    assert (same | mirrored).all() and 20 < mirrored.sum() < 44


def test_a_turn_keeps_the_centre_and_the_distance_from_it():
    pixels = np.zeros((33, 33, 3), "float32")
    pixels[16, 16], pixels[16, 26] = 1, 1
    found = moved(tf.constant(pixels), image_rotation_degrees=90.0)
    np.testing.assert_allclose(found[:, 16, 16, 0], 1, atol=1e-4)
    found[:, 14:19, 14:19] = 0
    down, across = np.mgrid[:33, :33] - 16
    mass = found[..., 0].sum(axis=(1, 2))
    radius = (found[..., 0] * np.hypot(down, across)).sum(axis=(1, 2)) / mass
    np.testing.assert_allclose(radius, 10, atol=0.6)
    angle = np.degrees(
        np.arctan2(
            (found[..., 0] * down).sum(axis=(1, 2)),
            (found[..., 0] * across).sum(axis=(1, 2)),
        )
    )
    assert angle.min() < -60 and angle.max() > 60 and np.abs(angle).max() < 92


def test_a_zoom_makes_a_square_larger_or_smaller_within_its_share():
    pixels = np.zeros((40, 40, 3), "float32")
    pixels[10:30, 10:30] = 1
    areas = moved(tf.constant(pixels), image_zoom=0.2)[..., 0].sum(axis=(1, 2))
    sides = np.sqrt(areas) / 20
    assert 0.79 < sides.min() < 0.9 and 1.1 < sides.max() < 1.21


# ------------------------------------------------------------- crops, colours, erasing


def ramp(size=32):
    """A picture whose first channel tells the column, its second the row."""
    down, across = np.mgrid[:size, :size].astype("float32") / (size - 1)
    return np.stack([across, down, np.full_like(down, 0.5)], axis=-1)


def found(pixels, **options):
    """Sixty-four copies of a picture that is there, each with a seed of its own."""
    change = augment.changes(Augment(**options), {"image": "image"})
    given = {
        "image": tf.repeat(tf.constant(pixels)[None], 64, axis=0),
        "image_present": tf.ones(64, tf.bool),
    }
    return tf.function(change)(given, seeds(64))["image"].numpy()


def test_a_crop_is_a_part_of_the_promised_area_and_shape():
    crops = found(ramp(), image_crop=0.6)
    # The ramps' spans are the sides of the part, in shares of the picture's.
    width = crops[:, 0, -1, 0] - crops[:, 0, 0, 0] + 1 / 31
    height = crops[:, -1, 0, 1] - crops[:, 0, 0, 1] + 1 / 31
    area, ratio = width * height * (31 / 32) ** 2, width / height
    assert 0.36 < area.min() < 0.6 and 0.8 < area.max() < 1.02
    assert 0.7 < ratio.min() < 0.9 and 1.1 < ratio.max() < 1.4
    np.testing.assert_allclose(crops[..., 2], 0.5, atol=1e-6)
    inner = crops[:, :, 1:-1, 0]  # columns stay columns
    np.testing.assert_allclose(inner, np.repeat(inner[:, :1], 32, 1), atol=1e-5)


def test_colours_change_as_much_as_promised_and_only_so(rng):
    pixels = (0.4 + 0.2 * ramp()).astype("float32")
    brighter = found(pixels, image_brightness=0.2) - pixels
    np.testing.assert_allclose(
        brighter, np.broadcast_to(brighter[:, :1, :1, :1], brighter.shape), atol=1e-6
    )
    offsets = brighter[:, 0, 0, 0]
    assert -0.2 <= offsets.min() < -0.15 and 0.15 < offsets.max() <= 0.2
    spread = (
        found(pixels, image_contrast=0.3)[..., 0].std(axis=(1, 2))
        / pixels[..., 0].std()
    )
    assert 0.7 <= spread.min() < 0.75 and 1.25 < spread.max() <= 1.301
    hues = found(pixels, image_hue=0.1)
    np.testing.assert_allclose(
        hues.max(-1), np.broadcast_to(pixels.max(-1), hues.shape[:3]), atol=1e-5
    )
    grey = np.full((16, 16, 3), 0.3, "float32")
    for option in ("image_hue", "image_saturation"):
        np.testing.assert_allclose(
            found(grey, **{option: 0.4}),
            np.broadcast_to(grey, (64, 16, 16, 3)),
            atol=1e-6,
        )


def test_half_of_the_pictures_lose_a_rectangle_of_the_promised_area():
    pixels = np.full((40, 40, 3), 2.0, "float32")
    changed = (found(pixels, image_erase=0.25) != 2).any(-1)
    areas = changed.mean(axis=(1, 2))
    assert 16 < (areas > 0).sum() < 48 and 0.15 < areas.max() < 0.28
    for one in changed[areas > 0]:  # a full rectangle
        down, across = one.any(1).sum(), one.any(0).sum()
        assert down * across == one.sum()


def test_randaugment_draws_all_its_changes_and_none_at_magnitude_zero(rng):
    pixels = rng.uniform(0.2, 0.8, (20, 20, 3)).astype("float32")
    levels = (np.round(pixels * 255) / 255).astype("float32")
    most = found(levels, image_randaugment=1, image_randaugment_magnitude=0.9)
    assert most.min() >= 0 and most.max() <= 1 and np.isfinite(most).all()
    distinct = np.unique(np.round(most.reshape(64, -1), 4), axis=0)
    assert 14 <= len(distinct) <= 23, "fourteen changes, nine of them either way"
    none = found(levels, image_randaugment=1, image_randaugment_magnitude=0.0)
    same = np.isclose(none, levels, atol=2e-3).all(axis=(1, 2, 3))
    assert 45 < same.sum() < 64, "all but contrast and equalising, which have none"


def test_a_picture_that_is_missing_stays_black(batch):
    every = {key: value for key, value in ON.items() if key.startswith("image_")}
    changed = augment.changes(Augment(**every), KINDS)(batch, seeds(8))["image"]
    assert (
        not changed[7].numpy().any() and changed[:7].numpy().any(axis=(1, 2, 3)).all()
    )


# ------------------------------------------------------------------- sounds and texts


def test_a_shift_moves_the_sound_and_its_length_with_it():
    wave = np.zeros((200, 100), "float32")
    wave[:, :60] = np.arange(1, 61) / 100
    tensors = {"it": tf.constant(wave), "it_samples": tf.fill([200], 60)}
    change = augment.changes(Augment(audio_shift=0.5), {"it": "audio"})
    after = change(tensors, seeds(200))
    moved, samples = after["it"].numpy(), after["it_samples"].numpy()
    by = np.array(
        [
            np.flatnonzero(row)[0] if row[0] == 0 else 1 - round(row[0] * 100)
            for row in moved
        ]
    )
    assert by.min() < -45 and by.max() > 45 and np.abs(by).max() <= 50
    np.testing.assert_array_equal(samples, np.minimum(60 + by, 100))
    for row, offset, count in zip(moved, by, samples, strict=True):
        expected = np.zeros(100, "float32")
        expected[max(0, offset) : count] = wave[0, max(0, -offset) : count - offset]
        np.testing.assert_array_equal(row, expected)
    silent = {"it": tf.zeros((3, 50)), "it_samples": tf.constant([0, 50, 1])}
    np.testing.assert_array_equal(
        change(silent, seeds(3))["it_samples"] == 0, [True, False, False]
    )


def test_a_gain_is_in_its_range_of_decibels_and_cuts_at_one(rng):
    wave = rng.uniform(-0.2, 0.2, (300, 50)).astype("float32")
    change = augment.changes(Augment(audio_gain_db=12.0), {"it": "audio"})
    loud = change({"it": tf.constant(wave)}, seeds(300))["it"].numpy()
    gain_db = 20 * np.log10(np.abs(loud).max(1) / np.abs(wave).max(1))
    np.testing.assert_allclose(loud, wave * 10 ** (gain_db / 20)[:, None], rtol=1e-4)
    assert -12.01 < gain_db.min() < -11 and 11 < gain_db.max() < 12.01
    over = change({"it": tf.ones((50, 4))}, seeds(50))["it"].numpy()
    assert over.max() == 1.0 and over.min() < 0.5


def test_neighbours_change_places_at_the_promised_rate(rng):
    count, length, share = 400, 21, 0.3
    ids = np.tile(np.arange(2, 2 + length, dtype="int32"), (count, 1))
    ids[:, 18:] = 0
    change = augment.changes(Augment(word_swap=share), {"it": "text"})
    after = change({"it": tf.constant(ids)}, seeds(count))["it"].numpy()
    np.testing.assert_array_equal(np.sort(after, 1), np.sort(ids, 1))
    assert not after[:, 18:].any(), "padding stays"
    assert np.abs(after - ids)[:, :18].max() == 1, "by one place"
    # Of seventeen pairs of words each is one of the row's pairs half of the time.
    swapped = (after != ids).sum() / 2 / count
    expected = share * 17 / 2
    assert abs(swapped - expected) < 5 * np.sqrt(expected / count)


# ------------------------------------------------------------------------------ mixup


def mixed(batch, weights=None, alpha=1.0, kinds=KINDS):
    targets = {"label": tf.one_hot(tf.range(8), 8), "size": tf.range(8.0)[:, None]}
    mix = augment.mixer(Augment(mixup=alpha), kinds)
    taught = (targets,) if weights is None else (targets, weights)
    return mix(batch, taught, seeds(8))


def test_mixup_mixes_inputs_and_answers_in_the_same_shares(batch):
    tensors, (targets,) = mixed(batch)
    label = targets["label"].numpy()
    share = label[np.arange(8), np.arange(8)]
    # The seventh's next has no picture, the last one itself has none.
    np.testing.assert_array_equal(share[6:], 1)
    assert ((share[:6] >= 0.5) & (share[:6] < 1)).all() and len(set(share[:6])) == 6
    for row in range(6):
        assert label[row, row + 1] == pytest.approx(1 - share[row])
        for key in ("image", "audio"):
            one, other = batch[key][row].numpy(), batch[key][row + 1].numpy()
            expected = share[row] * one + (1 - share[row]) * other
            np.testing.assert_allclose(tensors[key][row], expected, atol=1e-6)
        assert float(targets["size"][row, 0]) == pytest.approx(
            row + 1 - share[row], abs=1e-5
        )
    assert same(batch, tensors) >= {"text", "text_present", "image_present"}
    np.testing.assert_array_equal(tensors["image"][6:], batch["image"][6:])


def test_a_mixed_sound_is_as_long_as_the_longer_one(batch):
    lengths = tf.constant([100, 400, 50, 60, 70, 80, 90, 200])
    tensors, _ = mixed({**batch, "audio_samples": lengths}, kinds={"audio": "audio"})
    np.testing.assert_array_equal(
        tensors["audio_samples"], [400, 400, 60, 70, 80, 90, 200, 200]
    )


def test_rows_that_answer_different_targets_are_not_mixed(batch):
    weights = {"label": tf.constant([1.0, 1, 1, 0, 0, 1, 1, 1]), "size": tf.ones(8)}
    _, (targets, left) = mixed(batch, weights)
    share = targets["label"].numpy()[np.arange(8), np.arange(8)]
    np.testing.assert_array_equal(share == 1, [0, 0, 1, 0, 1, 0, 1, 1])
    for name, each in weights.items():
        np.testing.assert_array_equal(left[name], each)
    # What rows count is mixed as they are.
    heavy = {name: tf.range(1.0, 9.0) for name in weights}
    _, (_, left) = mixed(batch, heavy)
    share = targets["label"].numpy()[np.arange(8), np.arange(8)]
    assert (left["size"].numpy()[:2] > [1, 2]).all()


def test_mixup_is_repeated_by_the_seeds_and_off_for_texts(batch):
    one, two = mixed(batch), mixed(batch)
    np.testing.assert_array_equal(one[1][0]["label"], two[1][0]["label"])
    assert augment.mixer(Augment(mixup=0.4), {"text": "text"}) is None
    assert augment.mixer(Augment(), KINDS) is None
    assert augment.touched(Augment(mixup=0.4), KINDS) == {"image", "audio"}


def test_the_shares_are_those_of_the_beta_distribution():
    from scipy import stats

    for alpha in (0.2, 1.0):
        drawn = augment.mixing._shares(seeds(2000), alpha).numpy()

        def folded(x, a=alpha):
            return stats.beta.cdf(x, a, a) - stats.beta.cdf(1 - x, a, a)

        assert stats.kstest(drawn, folded).pvalue > 0.001
