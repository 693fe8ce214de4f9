"""Averages, accumulation, several steps a call, plateaus: what each of them does."""

import csv
import json
import types

import keras
import numpy as np
import pytest

from mmkeras import config, manifest, progress, run, train
from mmkeras.config import RecipeError
from mmkeras.recipe import Train
from mmkeras.tasks import TASKS
from mmkeras.train import averaging, keeping, measuring, optimizers


def silent(line):
    """In the place of print."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A recipe of 36 train rows in 6 steps an epoch, with dropout and valid rows."""
    folder = tmp_path_factory.mktemp("texts")
    lines = ["text,label,split"]
    for number in range(44):
        word = ("apple and ant", "bear or bird")[number % 2]
        split = "train" if number < 36 else "valid"
        lines.append(f"{word} {number % 7},{'ab'[number % 2]},{split}")
    (folder / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    tree = {
        "name": "texts",
        "data": {
            "manifest": str(folder / "rows.csv"),
            "inputs": {"text": {"kind": "text", "length": 4}},
            "targets": {"label": "classification"},
        },
        "branches": {"text": {"kind": "bag", "units": 4}},
        "fusion": {"kind": "concat", "units": 4, "hidden": 4, "dropout": 0.2},
        "train": {"epochs": 3, "batch_size": 6, "learning_rate": 0.02, "patience": 0},
    }
    return config.parse(tree)


def fit(recipe, folder, *overrides, **options):
    own = config.parse(recipe.model_dump(by_alias=True), overrides)
    rows = manifest.read(own.data)
    return train.fit(own, rows, folder=folder, **{"log": silent, **options})


class Broken(Exception):
    """Ends a fit in the middle of a step's callbacks, as a kill would."""


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.ema_momentum=0.9", "train.accumulation_steps=2", "train.plateau=1"],
        pytest.param(
            ["train.precision=mixed_float16", "train.steps_per_execution=2"],
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["averaged", "float16"],
)
def test_stopped_and_resumed_it_gives_the_same_bits(
    texts, tmp_path, monkeypatch, overrides
):
    own = [*overrides, "train.checkpoint_steps=2", "train.learning_rate=0.2"]
    whole = fit(texts, tmp_path / "whole", *own)
    plain, seen = progress.Epochs.on_train_batch_end, []

    def watched(self, batch, logs=None):
        plain(self, batch, logs)
        seen.append(batch)
        if (self.epoch, batch) == (1, 3):  # the fourth step of the second epoch
            raise Broken

    with monkeypatch.context() as patch, pytest.raises(Broken):
        patch.setattr(progress.Epochs, "on_train_batch_end", watched)
        begin = progress.Epochs.on_epoch_begin
        patch.setattr(
            progress.Epochs,
            "on_epoch_begin",
            lambda self, epoch, logs=None: (
                setattr(self, "epoch", epoch) or begin(self, epoch, logs)
            ),
        )
        fit(texts, tmp_path / "run", *own)
    said = []
    fit(texts, tmp_path / "run", *own, resume=True, log=said.append)
    assert said[0] == "fusion: goes on at epoch 2, step 3"
    again = run.open_folder(tmp_path / "run")
    assert again.history_csv.read_text() == whole.history_csv.read_text()
    pairs = zip(again.model.get_weights(), whole.model.get_weights(), strict=True)
    for one, two in pairs:
        np.testing.assert_array_equal(one, two)


def step(**keys):
    """A small model without batch statistics, as `compile_model` leaves it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, "tanh")(inputs)
    network = keras.Model(inputs, {"it": keras.layers.Dense(1)(hidden)})
    task = TASKS["regression"]({"mean": 0, "scale": 1})
    recipe = config.Recipe(
        name="x", data={"manifest": "x", "inputs": {}, "targets": {}}, train=keys
    )
    train.compile_model(recipe, network, {"it": task}, 4)
    return network


@pytest.fixture(scope="module")
def numbers():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 3)).astype("float32"), {
        "it": rng.normal(size=(16, 1)).astype("float32")
    }


OFTEN = ("adam", "sgd", "lamb")
TRIED = [
    pytest.param(name, marks=() if name in OFTEN else pytest.mark.nightly)
    for name in optimizers.OPTIMIZERS
]


@pytest.mark.parametrize("name", TRIED)
def test_every_optimizer_learns_and_its_state_comes_back(name, numbers):
    keys = {"optimizer": name, "learning_rate": 0.01, "clip_norm": 1.0}
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    network = step(**keys)
    assert type(network.optimizer) is optimizers.OPTIMIZERS[name]
    losses = network.fit(*numbers, epochs=3, **options).history["loss"]
    assert losses[-1] < losses[0]
    state = keeping.taken(network, [], {"epoch": 3, "step": 0})
    network.fit(*numbers, **options)
    other = step(**keys)
    keeping.restore(other, [], state)
    other.fit(*numbers, **options)
    for one, two in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_momentum_and_decay_reach_the_optimizer():
    assert step(optimizer="sgd", momentum=0.9).optimizer.momentum == 0.9
    assert step(optimizer="rmsprop", momentum=0.5).optimizer.momentum == 0.5
    assert step(weight_decay=0.01).optimizer.weight_decay == 0.01
    assert step(optimizer="adamw").optimizer.weight_decay == 0.004, "Keras' own"


@pytest.mark.parametrize("name", ["sgd", "adam", "lion"])
def test_accumulated_steps_equal_the_large_batch(numbers, name):
    keys = {"optimizer": name, "learning_rate": 0.01, "clip_norm": 0.5}
    large, small = (
        step(**keys),
        step(accumulation_steps=4, **keys),
    )
    for network, size in ((large, 16), (small, 4)):
        network.fit(*numbers, epochs=5, batch_size=size, shuffle=False, verbose=0)
    for one, two in zip(large.get_weights(), small.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


class Recorded(keras.callbacks.Callback):
    """The weights after every step, and those of the model when an epoch ends."""

    def __init__(self):
        super().__init__()
        self.steps, self.ends = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.model.get_weights())


@pytest.mark.parametrize("validated", [True, False])
def test_averages_are_validated_and_kept_and_steps_made_on_the_weights(
    numbers, validated
):
    keys = {"optimizer": "sgd", "learning_rate": 0.1}
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "epochs": 3}
    plain, network = step(**keys), step(ema_momentum=0.7, **keys)
    seen, expected = Recorded(), Recorded()
    plain.fit(*numbers, callbacks=[expected], **options)
    validation = {"validation_data": numbers} if validated else {}
    history = network.fit(
        *numbers, callbacks=[averaging.Averages(), seen], **validation, **options
    ).history
    average = expected.steps[0]
    for number, (one, two) in enumerate(zip(seen.steps, expected.steps, strict=True)):
        for mine, theirs in zip(one, two, strict=True):
            np.testing.assert_array_equal(mine, theirs)  # steps know no averages
        average = [0.7 * a + 0.3 * w for a, w in zip(average, two, strict=True)]
        if number % 4 == 3:
            for kept, right in zip(seen.ends[number // 4], average, strict=True):
                np.testing.assert_allclose(kept, right, atol=1e-6)
    for kept, right in zip(network.get_weights(), average, strict=True):
        np.testing.assert_allclose(kept, right, atol=1e-6)
    if validated:
        told = network.evaluate(*numbers, verbose=0, return_dict=True)["loss"]
        assert history["val_loss"][-1] == pytest.approx(told, rel=1e-6)


@pytest.mark.slow
def test_averages_are_what_a_run_saves(texts, tmp_path):
    plain = fit(texts, tmp_path / "plain", "train.epochs=1")
    averaged = fit(texts, tmp_path / "run", "train.epochs=1", "train.ema_momentum=0.99")
    pairs = zip(plain.model.get_weights(), averaged.model.get_weights(), strict=True)
    assert max(np.abs(one - two).max() for one, two in pairs) > 1e-3
    lines = [each.history_csv.read_text().split() for each in (plain, averaged)]
    train_loss = [line[1].split(",")[2] for line in lines]
    valid_loss = [line[1].split(",")[4] for line in lines]
    assert train_loss[0] == train_loss[1] and valid_loss[0] != valid_loss[1]


def test_several_steps_a_call_give_the_same_weights(texts, tmp_path):
    one = fit(texts, tmp_path / "one")
    three = fit(texts, tmp_path / "three", "train.steps_per_execution=3")
    for mine, theirs in zip(
        three.model.get_weights(), one.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    with pytest.raises(RecipeError) as caught:
        fit(texts, tmp_path / "four", "train.steps_per_execution=4")
    told = "train.steps_per_execution: 4 does not divide the 6 steps of an epoch"
    assert told in str(caught.value) and "Set one of 1, 2, 3, 6" in str(caught.value)
    assert not (tmp_path / "four").exists()


def test_a_plateau_halves_the_rate(texts, tmp_path):
    wild = ["train.plateau=1", "train.learning_rate=3", "train.epochs=5"]
    made = fit(texts, tmp_path / "run", *wild, "train.optimizer=sgd")
    with open(made.history_csv, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    rates = [float(line["learning_rate"]) for line in lines]
    losses = [float(line["val_loss"]) for line in lines]
    expected, best, rate = [], np.inf, 3.0
    for loss in losses:
        expected.append(rate)
        rate, best = (rate, loss) if loss < best - 1e-4 else (rate / 2, best)
    assert rates == expected and rates[-1] < 3


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            {"momentum": 0.9},
            "train.momentum: 0.9 is of sgd and rmsprop; adam take",
        ),
        ({"plateau": 2, "schedule": "cosine"}, "train.plateau: the rate follows"),
        ({"plateau": 2, "warmup_epochs": 1}, "train.plateau: the rate follows"),
        (
            {"steps_per_execution": 4, "checkpoint_steps": 6},
            "train.checkpoint_steps: 6",
        ),
        ({"steps_per_execution": 4, "max_steps": 6}, "no multiple of train.steps_per_"),
        ({"profile_steps": [9, 3]}, "the first step, 9, comes after the last, 3"),
    ],
)
def test_keys_that_do_not_go_together(texts, keys, told):
    (sentence,) = Train(**keys).conflicts()
    assert told in sentence
    tree = texts.model_dump(by_alias=True)
    with pytest.raises(RecipeError, match="has 1 fault"):
        config.parse({**tree, "train": {**tree["train"], **keys}})
    assert not Train().conflicts()


@pytest.mark.parametrize(
    "value",
    ["train.ema_momentum=0", "train.accumulation_steps=0", "train.momentum=1.5"],
)
def test_values_out_of_range(texts, value):
    with pytest.raises(RecipeError, match=value.split("=")[0]):
        config.parse(texts.model_dump(by_alias=True), [value])


def test_what_a_fit_took_is_said_and_kept(texts, tmp_path):
    said = []
    made = fit(texts, tmp_path / "run", "train.profile_steps=[2, 4]", log=said.append)
    found = json.loads(made.environment_json.read_text())["fits"]["fusion"]
    assert found["seconds"] > 0 and 0 <= found["input_wait"] <= 1
    assert found["peak_memory_mb"] <= measuring.peak_memory_mb()
    assert said[-1].startswith("fusion: ") and "peak memory" in said[-1]
    assert said[-1].endswith("% of the steps' time waiting for input")
    assert list((made.logs / "train" / "plugins" / "profile").rglob("*.xplane.pb"))


def test_waiting_is_until_rows_are_handed_out(monkeypatch):
    clock = iter([5.0, 10.0, 14.0, 20.0, 22.0])
    # Not `time.time` itself, which others ask too.
    fake = types.SimpleNamespace(time=lambda: next(clock), perf_counter=lambda: 0.0)
    monkeypatch.setattr(measuring, "time", fake)
    measured = measuring.Measured()
    assert measured.found["input_wait"] is None
    data = measuring.tf.data.Dataset.range(3)
    dealt = measured.watched(data.map(lambda number: (number,)))
    assert [int(each[0]) for each in dealt] == [0, 1, 2]
    assert float(measured.handed_out) > 1e9, "seconds since 1970"
    for batch, at in enumerate((5.0, 13.0, 19.0)):
        measured.on_train_batch_begin(batch)
        measured.handed_out.assign(at)
        measured.on_train_batch_end(batch)
    # Four seconds with three of waiting, two with none; the first step traces.
    assert measured.found["input_wait"] == 0.5


class Watch(keras.callbacks.Callback):
    """What Keras tells a user's callback; asks for an end after two epochs."""

    def __init__(self):
        super().__init__()
        self.steps, self.epochs, self.models = 0, [], []

    def on_train_begin(self, logs=None):
        self.models.append(self.model.count_params())

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, logs["val_loss"]))
        self.model.stop_training = epoch == 1


def test_what_is_no_callback_is_told_before_a_folder_is_made(texts, tmp_path):
    with pytest.raises(TypeError, match="expected a keras.callbacks.Callback, got 'x'"):
        fit(texts, tmp_path / "run", callbacks=["x"])
    assert not (tmp_path / "run").exists()


def test_callbacks_of_ones_own_watch_the_model_and_may_end_it(texts, tmp_path):
    watch = Watch()
    made = fit(texts, tmp_path / "run", callbacks=watch)
    assert watch.models == [made.model.count_params()], "the model, no baseline"
    assert watch.steps == 12 and [epoch for epoch, _ in watch.epochs] == [0, 1]
    with open(made.history_csv, newline="", encoding="utf-8") as file:
        told = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert told == pytest.approx([loss for _, loss in watch.epochs], rel=1e-4)
