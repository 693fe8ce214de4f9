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
    "audio_snr_db": 10.0,
    "word_dropout": 0.4,
}
TOUCHES = {
    "modality_dropout": {"text_present", "image_present", "audio_present"},
    "image_shift": {"image"},
    "image_rotation_degrees": {"image"},
    "image_zoom": {"image"},
    "image_flip": {"image"},
    "audio_snr_db": {"audio"},
    "word_dropout": {"text"},
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
