"""One contract for every fusion."""

import inspect

import keras
import numpy as np
import pytest

from mmkeras.fusion import FUSIONS

UNITS = 8


@pytest.fixture
def corridors(rng):
    """Words, patches and frames of two rows; each row sees some of each."""
    made = {}
    for name, steps, dim in (("text", 4, 6), ("image", 9, 5), ("audio", 7, 3)):
        mask = rng.random((2, steps)) < 0.6
        mask[:, 0] = True
        tokens = rng.standard_normal((2, steps, dim)).astype("float32")
        made[name] = {"tokens": tokens, "mask": mask}
    return made


def poison(corridors):
    return {
        name: {
            "tokens": np.where(one["mask"][..., None], one["tokens"], 50.0),
            "mask": one["mask"],
        }
        for name, one in corridors.items()
    }


def model_of(fuse, corridors):
    inputs = {
        name: {
            "tokens": keras.Input(one["tokens"].shape[1:], name=f"{name}_tokens"),
            "mask": keras.Input(
                one["mask"].shape[1:], dtype="bool", name=f"{name}_mask"
            ),
        }
        for name, one in corridors.items()
    }
    return keras.Model(inputs, fuse(inputs))


@pytest.mark.parametrize("kind", FUSIONS)
def test_padding_never_leaks(kind, corridors):
    fuse = FUSIONS[kind](units=UNITS)
    np.testing.assert_allclose(
        fuse(poison(corridors)), fuse(corridors), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_modality_counts(kind, corridors):
    fuse = FUSIONS[kind](units=UNITS)
    whole = np.array(fuse(corridors))
    assert whole.shape == (2, UNITS)
    for name, one in corridors.items():
        changed = {**corridors, name: {**one, "tokens": one["tokens"] + 1}}
        assert np.abs(np.array(fuse(changed)) - whole).max() > 1e-4, name


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_row_does_not_depend_on_its_neighbours(kind, corridors):
    fuse = FUSIONS[kind](units=UNITS)
    alone = {
        name: {key: value[1:] for key, value in one.items()}
        for name, one in corridors.items()
    }
    np.testing.assert_allclose(fuse(alone), fuse(corridors)[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", FUSIONS)
def test_save_and_load_agree(kind, corridors, tmp_path):
    model = model_of(FUSIONS[kind](units=UNITS, name="fusion"), corridors)
    assert model.count_params() > 0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(corridors), model(corridors))


@pytest.mark.parametrize("kind", FUSIONS)
def test_one_modality_is_enough(kind, corridors):
    fuse = FUSIONS[kind](units=UNITS)
    assert fuse({"text": corridors["text"]}).shape == (2, UNITS)


@pytest.mark.parametrize("kind", FUSIONS)
def test_compiles_with_xla(kind, corridors):
    model = model_of(FUSIONS[kind](units=UNITS), corridors)
    model.compile("sgd", "mse", jit_compile=True)
    assert np.isfinite(model.train_on_batch(corridors, np.zeros((2, UNITS))))


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_option_does_something(kind, corridors):
    """Other options give other weights, or another output in training."""
    signature = inspect.signature(FUSIONS[kind].__init__)
    other = {"units": 12, "hidden": 20, "rank": 30, "num_queries": 3, "num_heads": 2}
    for name, parameter in signature.parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if name == "dropout":
            fuse = FUSIONS[kind](dropout=0.9)
            fuse(corridors)
            kept, dropped = fuse(corridors), fuse(corridors, training=True)
            assert np.abs(np.array(kept) - np.array(dropped)).max() > 1e-3
            continue
        default, changed = FUSIONS[kind](), FUSIONS[kind](**{name: other[name]})
        default(corridors), changed(corridors)
        shapes = [[w.shape for w in fuse.weights] for fuse in (default, changed)]
        assert shapes[0] != shapes[1], name


def test_weighted_tells_its_weights(corridors):
    fuse = FUSIONS["weighted"](units=UNITS)
    fuse(corridors)
    fuse.scores.assign([0.0, np.log(2.0), 0.0])
    assert fuse.weights_by_name() == pytest.approx(
        {"audio": 0.25, "image": 0.5, "text": 0.25}
    )


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="3 heads do not divide 64 units"):
        FUSIONS["attention"](num_heads=3)
