"""One contract for every branch of every modality."""

import keras
import numpy as np
import pytest

from mmkeras import run  # noqa: F401  registers the layers
from mmkeras.branches import BRANCHES

GEOMETRY = {
    "text": {"length": 6, "vocabulary_size": 12},
    "image": {"size": 32},
    "audio": {"rate_hz": 8000, "clip_samples": 1600},
}
SMALL = {
    "lstm": {"units": 8, "embedding_dim": 4},
    "transformer": {"units": 8, "num_layers": 1, "num_heads": 2},
    "cnn": {"units": 8},
    "gru": {"units": 8},
    "vgg16": {"weights": None, "units": 8},
    "resnet50": {"weights": None, "units": 8},
    "efficientnet": {"weights": None, "units": 8},
}
ALL = [(modality, kind) for modality, kinds in BRANCHES.items() for kind in kinds]


def inputs(modality, rng):
    """Three rows: whole, half and missing."""
    present = np.array([True, True, False])
    if modality == "text":
        ids = rng.integers(1, 12, (3, 6)).astype("int32")
        ids[1, 3:] = 0
        return {"it": ids, "it_present": present}
    if modality == "image":
        return {
            "it": rng.random((3, 32, 32, 3)).astype("float32"),
            "it_present": present,
        }
    return {
        "it": rng.standard_normal((3, 1600)).astype("float32"),
        "it_samples": np.array([1600, 800, 1600], "int32"),
        "it_present": present,
    }


def poison(modality, rows):
    """The same rows with other values where nothing is."""
    rows = {key: value.copy() for key, value in rows.items()}
    rows["it"][2] = 7
    if modality == "audio":
        rows["it"][1, 800:] = 100.0
    return rows


@pytest.fixture(scope="module")
def branches():
    made = {}

    def make(modality, kind):
        if (modality, kind) not in made:
            keras.utils.set_random_seed(1)
            made[modality, kind] = BRANCHES[modality][kind](
                "it", **GEOMETRY[modality], **SMALL[kind]
            )
        return made[modality, kind]

    return make


@pytest.mark.parametrize("modality, kind", ALL)
def test_gives_the_corridor(modality, kind, branches, rng):
    branch = branches(modality, kind)
    out = branch(inputs(modality, rng))
    assert set(out) == {"tokens", "mask"}
    batch, steps, dim = out["tokens"].shape
    assert (batch, dim) == (3, 8) and out["mask"].shape == (3, steps)
    assert out["mask"].dtype == "bool" and branch.name != "it"
    assert np.isfinite(out["tokens"]).all()
    # A frame whose centre is where the clip ends is not seen.
    assert np.array(out["mask"])[0].sum() >= steps - (modality == "audio")


@pytest.mark.parametrize("modality, kind", ALL)
def test_padding_never_leaks_and_missing_is_masked(modality, kind, branches, rng):
    branch = branches(modality, kind)
    rows = inputs(modality, rng)
    clean, poisoned = branch(rows), branch(poison(modality, rows))
    np.testing.assert_array_equal(clean["mask"], poisoned["mask"])
    mask = np.array(clean["mask"])
    assert not mask[2].any(), "a missing modality has no visible token"
    if modality != "image":
        assert 0 < mask[1].sum() < mask.shape[1], "the half row is half visible"
    seen = mask[..., None] & np.ones_like(clean["tokens"], bool)
    np.testing.assert_allclose(
        np.array(poisoned["tokens"])[seen],
        np.array(clean["tokens"])[seen],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("modality, kind", ALL)
def test_a_row_does_not_depend_on_its_neighbours(modality, kind, branches, rng):
    branch, rows = branches(modality, kind), inputs(modality, rng)
    alone = branch({key: value[1:2] for key, value in rows.items()})["tokens"]
    together = branch(rows)["tokens"][1:2]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modality, kind", ALL)
def test_save_and_load_agree(modality, kind, branches, rng, tmp_path):
    branch, rows = branches(modality, kind), inputs(modality, rng)
    branch.save(tmp_path / "branch.keras")
    again = keras.saving.load_model(tmp_path / "branch.keras")
    np.testing.assert_array_equal(again(rows)["tokens"], branch(rows)["tokens"])


@pytest.mark.parametrize("kind", ["vgg16", "resnet50", "efficientnet"])
def test_pretrained_is_frozen_unless_told(kind, branches):
    frozen = branches("image", kind)
    tuned = BRANCHES["image"][kind]("it", size=32, **{**SMALL[kind], "trainable": True})
    added = {"it_units/kernel", "it_units/bias", "it_positions/table"}
    assert {weight.path for weight in frozen.trainable_weights} == added
    assert len(tuned.trainable_weights) > 20


def test_pretrained_takes_a_local_file(branches, tmp_path, rng):
    first = branches("image", "vgg16")
    path = tmp_path / "vgg16_notop.weights.h5"
    first.get_layer("it_backbone").get_layer("vgg16").save_weights(path)
    again = BRANCHES["image"]["vgg16"]("it", size=32, weights=str(path), units=8)
    np.testing.assert_array_equal(
        again.get_layer("it_backbone").get_layer("vgg16").get_weights()[0],
        first.get_layer("it_backbone").get_layer("vgg16").get_weights()[0],
    )


def test_pretrained_errors_say_what_to_do(monkeypatch):
    make = BRANCHES["image"]["vgg16"]
    with pytest.raises(FileNotFoundError, match="no weights file `gone.h5` for VGG16"):
        make("it", size=32, weights="gone.h5")
    with pytest.raises(ValueError, match="16 pixels are too few for VGG16, 32 at"):
        make("it", size=16, weights=None)

    def offline(**options):
        raise OSError("URL fetch failure")

    offline.__name__ = "VGG16"
    monkeypatch.setattr(keras.applications, "VGG16", offline)
    with pytest.raises(FileNotFoundError, match="weights: null, trainable: true"):
        make("it", size=32)


def test_vgg16_sees_bgr_with_the_mean_taken_away(branches):
    branch = branches("image", "vgg16")
    pixels = np.zeros((1, 32, 32, 3), "float32")
    pixels[..., 0] = 1.0  # red
    expected = keras.applications.vgg16.preprocess_input(255 * pixels.copy())
    backbone = branch.get_layer("it_backbone").get_layer("vgg16")
    features = backbone(expected, training=False)
    patches = np.array(features).reshape(1, -1, 512)
    rest = branch.get_layer("it_rest")
    dense = rest.get_layer("it_units")
    tokens = keras.activations.gelu(
        dense(patches) + rest.get_layer("it_positions").table
    )
    ours = branch({"it": pixels, "it_present": np.array([True])})["tokens"]
    np.testing.assert_allclose(ours, tokens, rtol=1e-4, atol=1e-5)


def test_cnn_refuses_more_halvings_than_pixels():
    with pytest.raises(ValueError, match="6 blocks leave nothing of a picture of 32"):
        BRANCHES["image"]["cnn"]("it", size=32, num_blocks=6)
