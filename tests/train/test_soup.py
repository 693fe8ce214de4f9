"""The mean of the last epochs' weights, and when it is kept."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import config, manifest, progress, train
from mmkeras.config import RecipeError
from mmkeras.train import checkpoints, soup
from mmkeras.train.checkpoints import Checkpoints, State


def state(epoch, *arrays, step=0, phase=0):
    meta = {"fit": "fusion", "phase": phase, "epoch": epoch, "step": step}
    return State(meta, {"model": list(arrays)})


def test_it_is_the_mean_and_counters_are_the_last(rng):
    each = rng.normal(size=(3, 5, 2)).astype("float32")
    states = [state(n, one, np.uint32(7 + n)) for n, one in enumerate(each)]
    weights, seed = soup.mean(states)
    exact = (each.astype("float64").sum(0) / 3).astype("float32")
    np.testing.assert_array_equal(weights, exact)
    assert weights.dtype == "float32" and seed == 9 and seed.dtype == "uint32"


@pytest.fixture
def model():
    """One weight w, its validation loss (w - 1)^2."""
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    made.compile("sgd", "mse")
    return made


@pytest.mark.parametrize(("own", "kept"), [(0.0, True), (1.0, False), (0.75, False)])
def test_it_is_kept_where_the_validation_loss_is_lower_alone(model, own, kept):
    ones = np.ones((4, 1), "float32")
    data = tf.data.Dataset.from_tensors((ones, ones))
    held_out = {"validation_data": data, "validation_steps": 1}
    model.set_weights([np.full((1, 1), own, "float32")])
    rest = [keras.ops.convert_to_numpy(each) for each in model.variables[1:]]
    ends = [state(n, np.full((1, 1), w), *rest) for n, w in ((4, 0.5), (5, 2.0))]
    found = soup.tasted(model, ends, held_out)
    assert found == {
        "epochs": [4, 5],
        "val_loss": 0.0625,  # w = 1.25
        "val_loss_without": (own - 1) ** 2,
        "kept": kept,
    }
    assert model.get_weights()[0][0, 0] == (1.25 if kept else own)


def test_the_ends_of_the_last_epochs_stay(tmp_path):
    store = Checkpoints(tmp_path, print, ends=2)
    store.add(state(9, np.float32(0), phase=1))
    for epoch in range(1, 5):
        for step in (0, 1, 2, 3):
            store.add(state(epoch, np.float32(epoch), step=step))
    place = {"fit": "fusion", "phase": 0}
    assert [one.arrays["model"] for one in store.ends(place)] == [[3.0], [4.0]]
    left = [checkpoints.read(path).meta for path in sorted(tmp_path.iterdir())]
    assert [(one["epoch"], one["step"]) for one in left] == [
        (3, 0),
        (4, 0),
        (4, 2),
        (4, 3),
    ]
    path = sorted(tmp_path.iterdir())[1]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert [one.meta["epoch"] for one in store.ends(place)] == [3]


class Broken(Exception):
    """Ends a fit in the middle of an epoch."""


def test_a_run_saves_it_says_so_and_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    lines = ["text,label,split"]
    for number in range(40):
        word, split = ("apple", "bear")[number % 2], ("train", "valid")[number >= 28]
        lines.append(f"{word} {number % 7},{number % 2},{split}")
    (tmp_path / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    tree = {
        "name": "soup",
        "data": {
            "manifest": str(tmp_path / "rows.csv"),
            "inputs": {"text": {"kind": "text", "length": 4}},
            "targets": {"label": "classification"},
        },
        "branches": {"text": {"kind": "bag", "units": 4}},
        "fusion": {"kind": "concat", "units": 4, "hidden": 4, "dropout": 0.2},
        "train": {
            "epochs": 5,
            "batch_size": 7,
            "learning_rate": 0.1,
            "checkpoint_steps": 1,
            "patience": 0,
            "soup": 3,
        },
    }
    recipe, ends = config.parse(tree), []
    plain = soup.tasted

    def watched(model, states, held_out):
        ends.append(states)
        return plain(model, states, held_out)

    monkeypatch.setattr(soup, "tasted", watched)
    # The mean is to be the better one: so few steps of so small a model leave it open.
    judged = itertools.cycle([2.0, 1.0])
    monkeypatch.setattr(soup, "_loss", lambda model, held_out: next(judged))

    def fit(name, **options):
        said = []
        made = train.fit(
            recipe,
            manifest.read(recipe.data),
            folder=tmp_path / name,
            log=said.append,
            **options,
        )
        told = json.loads(made.environment_json.read_text())["fits"]["fusion"]["soup"]
        return made, told, said

    whole, told, said = fit("whole")
    assert told["epochs"] == [3, 4, 5] and told["kept"]
    assert any("mean of the weights after epochs 3, 4, 5" in line for line in said)
    means = [each for each in soup.mean(ends[0]) if each.dtype.kind == "f"]
    for weights, mean in zip(whole.model.get_weights(), means, strict=True):
        np.testing.assert_array_equal(weights, mean)

    seen, before = [], progress.Epochs.on_train_batch_end

    def broken(self, batch, logs=None):
        before(self, batch, logs)
        seen.append(batch)
        if len(seen) == 18:  # the second step of the last epoch
            raise Broken

    monkeypatch.setattr(progress.Epochs, "on_train_batch_end", broken)
    with pytest.raises(Broken):
        fit("run")
    again, same, _ = fit("run", resume=True)
    assert same == told
    for one, two in zip(
        again.model.get_weights(), whole.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_one_epoch_has_no_mean():
    tree = {
        "name": "x",
        "data": {
            "manifest": "x",
            "inputs": {"a": "text"},
            "targets": {"b": "classification"},
        },
        "train": {"soup": 1},
    }
    with pytest.raises(RecipeError, match="train.soup: 1 epoch has no mean: give the"):
        config.parse(tree)
