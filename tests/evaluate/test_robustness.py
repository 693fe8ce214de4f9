"""Disturbances do what they say, and cost what they cost."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mmkeras.evaluate import asking, disturbing, judging, robustness
from mmkeras.modalities import MODALITIES


@pytest.fixture(scope="module")
def seen(trained, rows):
    part, loaded, _ = judging.readable(trained, rows.head(30).split("test"), print)
    return judging.see(trained, part, loaded, print)


@pytest.fixture(scope="module")
def curves(trained, seen):
    """Two strengths of each, or the test would take a minute."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MISSING", "TYPOS", "SNR_DB", "BLUR", "PIXEL_NOISE", "JPEG"):
            strengths = getattr(disturbing, name)
            patch.setattr(disturbing, name, (strengths[0], strengths[-1]))
        for name in ("PIXEL_STEPS", "SAMPLE_STEPS"):
            patch.setattr(disturbing, name, getattr(disturbing, name)[::3])
        return robustness.curves(trained, seen)


def test_every_input_has_its_disturbances(curves):
    found, rows = curves
    told = {what: list(each["inputs"]) for what, each in found["label"].items()}
    assert rows == 30
    assert told == {
        "missing": ["text", "image", "audio"],
        "typing errors": ["text"],
        "blur": ["image"],
        "noise on pictures": ["image"],
        "JPEG": ["image"],
        "gradient step on pixels": ["image"],
        "noise on sounds": ["audio"],
        "gradient step on samples": ["audio"],
    }
    assert set(told) == set(robustness.UNITS)


def test_without_strength_nothing_is_lost(curves, seen):
    truth, outputs = seen.truths["label"][0], seen.outputs["fusion"]["label"]
    accuracy = float(np.mean(truth.argmax(1) == outputs.argmax(1)))
    for each in curves[0]["label"].values():
        for points in each["inputs"].values():
            assert points[0]["score"] == pytest.approx(accuracy)
            low, high = points[-1]["interval"]
            assert low <= points[-1]["score"] <= high


def test_a_sample_of_many_rows_keeps_truths_beside_rows(trained, seen):
    some = robustness._sampled(seen, 7)
    assert len(some.rows) == 7
    again = trained.tasks["label"].target(some.rows.frame["label"])
    np.testing.assert_array_equal(some.truths["label"][0], again)
    batch = some.loaded.take(np.arange(7))
    alone, _ = seen.rows.frame.index, None
    places = [alone.get_loc(line) for line in some.rows.frame.index]
    whole = seen.loaded.take(places)
    np.testing.assert_array_equal(batch["image"], whole["image"])


def test_noise_has_the_ratio_that_it_says(rng):
    wave = 0.1 * np.sin(np.arange(8000) * 0.3)[None].astype("float32")
    wave[:, 4000:] = 0
    given = {"audio": wave, "audio_samples": np.array([4000])}
    change = disturbing.sound_noise("audio")[10]
    noisy = change.make(given, rng, np.arange(1))["audio"].numpy()
    noise = (noisy - wave)[0, :4000]
    ratio = 10 * np.log10((wave[0, :4000] ** 2).mean() / (noise**2).mean())
    assert ratio == pytest.approx(10, abs=0.3)
    assert not noisy[:, 4000:].any()  # silence behind the sound stays


def test_a_blur_spreads_a_point_and_loses_nothing(rng):
    pixels = np.zeros((1, 33, 33, 3), "float32")
    pixels[0, 16, 16] = 1
    change = disturbing.blur("image")[4]
    found = change.make({"image": pixels}, rng, None)["image"].numpy()
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, rtol=1e-5)
    offsets = np.arange(33) - 16
    spread = (found[0, :, :, 0].sum(axis=0) * offsets**2).sum()
    assert spread**0.5 == pytest.approx(0.04 * 33, rel=0.03)


def test_jpeg_keeps_size_and_orientation_and_flattens(tmp_path):
    path = tmp_path / "photo.png"
    clear = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    clear.save(path, exif=exif)
    content = disturbing.compressed(str(path), 50)
    with Image.open(io.BytesIO(content)) as made:
        assert (made.format, made.size, made.getexif()[0x0112]) == ("JPEG", (20, 10), 6)
        assert min(made.getpixel((5, 5))) > 250
    assert disturbing.compressed("", 50) == b""
    worse = disturbing.compressed(str(path), 5)
    assert len(worse) <= len(content)


def test_what_is_done_to_files_is_decoded_as_files_are(tmp_path, rng):
    decoder = MODALITIES["image"]("photo", size=8)
    path = tmp_path / "noise.png"
    Image.fromarray(rng.integers(0, 255, (16, 16, 3), "uint8")).save(path)
    change = disturbing.jpeg("photo", decoder, ["", str(path)])[5]
    found = change.make({}, rng, np.array([1, 0]))
    expected = decoder.decode(tf.constant(disturbing.compressed(str(path), 5)))
    np.testing.assert_array_equal(found["photo"][0], expected["photo"])
    assert found["photo_present"].numpy().tolist() == [True, False]


def test_letters_are_mistyped_as_often_as_asked(rng):
    text = "the quick brown fox jumps over the lazy dog " * 40
    assert disturbing.mistyped(text, 0.0, rng) == text
    other = disturbing.mistyped(text, 0.1, rng)
    assert other != text and abs(len(other) - len(text)) < 0.05 * len(text)
    kept = sum(a == b for a, b in zip(text.split(), other.split(), strict=False))
    # A word of four letters stays whole with the chance 0.9 ^ 4.
    assert 0.5 < kept / len(text.split()) < 0.8
    assert disturbing.mistyped("", 0.9, rng) == ""


def test_a_step_along_the_gradient_raises_the_loss_more_than_any_other(trained, seen):
    asked = asking.Asked(trained.model, trained.decoders)
    tensors = seen.loaded.take(np.arange(30))
    numbers = np.arange(30)

    def loss(outputs, numbers):
        return robustness._loss(trained.tasks, seen.truths, outputs, numbers)

    steps = disturbing.gradient_steps("image", asked, loss, "image")
    moved = steps[1].make(tensors, None, numbers)["image"].numpy()
    pixels = tensors["image"].numpy()
    assert np.abs(moved - pixels).max() <= 1 / 255 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    random = np.random.default_rng(0).choice([-1, 1], pixels.shape) / 255
    others = {"along": moved, "random": np.clip(pixels + random, 0, 1)}
    others["against"] = np.clip(2 * pixels - moved, 0, 1)
    found = {}
    for name, image in others.items():
        outputs = asked.answers({**tensors, "image": image.astype("float32")})
        found[name] = float(np.sum(loss(outputs, numbers)))
    assert found["along"] > found["random"] > found["against"]
