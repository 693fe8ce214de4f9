"""Fitting: the same seed the same run, every key at work, no bad run left unsaid."""

import csv
import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import config, dataset, manifest, model, progress, train
from mmkeras.manifest import ManifestError
from mmkeras.recipe import Train
from mmkeras.run import open_folder
from mmkeras.tasks import TASKS
from tests.conftest import words_recipe


def changed(recipe, *overrides):
    """The shared recipe with some keys changed."""
    return config.parse(recipe.model_dump(by_alias=True), overrides)


def silent(line):
    """In the place of print."""


def texts(tmp_path, lines, *overrides, header="text,label,split"):
    """(recipe, rows) of a manifest of texts; a step takes milliseconds."""
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header, *lines]), encoding="utf-8")
    tree = {
        "name": "texts",
        "data": {
            "manifest": str(path),
            "inputs": {"text": {"kind": "text", "length": 4}},
            "targets": {"label": "classification"},
        },
        "branches": {"text": {"kind": "transformer", "units": 8, "num_layers": 1}},
        "fusion": {"kind": "concat", "units": 8, "hidden": 8},
        "train": {"epochs": 3, "batch_size": 8, "learning_rate": 0.01},
    }
    recipe = config.parse(tree, overrides)
    return recipe, manifest.read(recipe.data)


WORDS = {"a": "apple and ant", "b": "bear or bird"}
LINES = [f"{WORDS['ab'[n % 2]]} {n},{'ab'[n % 2]},train" for n in range(20)]
HELD_OUT = [f"{WORDS['ab'[n % 2]]},{'ab'[n % 2]},valid" for n in range(4)]


def history(run):
    with open(run.history_csv, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def again(recipe, rows, trained, tmp_path_factory):
    """The run of `trained` once more, without its baselines."""
    folder = tmp_path_factory.mktemp("again") / "run"
    alone = changed(recipe, "train.baselines=false")
    return train.fit(alone, rows, folder=folder, log=silent)


def test_the_same_seed_gives_the_same_bits(trained, again):
    assert history(again) == history(trained)
    pairs = zip(trained.model.get_weights(), again.model.get_weights(), strict=True)
    for one, two in pairs:
        np.testing.assert_array_equal(one, two)


def test_another_seed_gives_another_run(tmp_path):
    recipe, rows = texts(tmp_path, LINES + HELD_OUT, "train.epochs=1")
    runs = [
        train.fit(
            changed(recipe, f"train.seed={seed}"),
            rows,
            folder=tmp_path / f"run{index}",
            log=silent,
        )
        for index, seed in enumerate((4, 5))
    ]
    first, other = (run.model.get_weights() for run in runs)
    assert not all(np.array_equal(*pair) for pair in zip(first, other, strict=True))


def test_baselines_are_trained_where_they_are_wanted(trained, again):
    assert not again.baselines.exists()
    assert set(trained.baseline("audio").input) >= {"audio", "audio_samples"}


def test_history_has_a_row_an_epoch(trained):
    told = history(trained)
    assert [row["epoch"] for row in told] == ["0", "1"]
    names = {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert set(told[0]) == names
    assert all(np.isfinite(float(value)) for row in told for value in row.values())


def test_the_weights_are_those_of_the_best_epoch(tmp_path):
    # The labels of `valid` are the wrong ones: the better it fits, the worse it does.
    wrong = [f"{WORDS['ab'[n % 2]]},{'ba'[n % 2]},valid" for n in range(4)]
    overrides = ["train.epochs=12", "train.patience=2", "train.learning_rate=0.05"]
    recipe, rows = texts(tmp_path, LINES + wrong, *overrides)
    said = []
    run = train.fit(recipe, rows, folder=tmp_path / "run", log=said.append)
    losses = [float(row["val_loss"]) for row in history(run)]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 12, "two epochs of patience"
    (ended,) = [line for line in said if "train.patience" in line]
    assert f"fusion: ended after epoch {best + 3} of 12: for 2 epochs" in ended
    assert f"than {losses[best]:.4g}, of epoch {best + 1}, whose" in ended
    prepared = train.prepare(recipe, rows, log=silent)
    held_out = dataset.labelled(prepared.rows["valid"], prepared.targets["valid"], 128)
    network = open_folder(run.folder).model
    train.fitting.compile_model(recipe, network, run.tasks, 1)
    saved = network.evaluate(held_out, verbose=0, return_dict=True)
    assert saved["loss"] == pytest.approx(min(losses), rel=1e-4)
    assert saved["loss"] < losses[-1] - 1e-3


def test_texts_alone_are_learnt(tmp_path):
    recipe, rows = texts(tmp_path, LINES + HELD_OUT, "train.epochs=8")
    run = train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    assert float(history(run)[-1]["val_accuracy"]) == 1.0
    assert not run.baselines.exists(), "alone it is its own baseline"
    assert (run.vocabulary / "text.txt").read_text(encoding="utf-8").count("ant") == 1


def test_without_valid_rows_the_last_epoch_stays(tmp_path):
    recipe, rows = texts(tmp_path, LINES + HELD_OUT, "train.epochs=2")
    train_only = rows.frame[rows.frame["split"] == "train"]
    rows = dataclasses.replace(rows, frame=train_only)
    run = train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    assert list(history(run)[0]) == ["epoch", "accuracy", "loss"]
    assert len(history(run)) == 2


def test_two_targets_train_together(tmp_path):
    header = "text,label,more,split"
    lines = [line.replace(",train", f",{n % 3},train") for n, line in enumerate(LINES)]
    lines += [line.replace(",valid", ",1,valid") for line in HELD_OUT]
    targets = "data.targets={label: classification, more: classification}"
    recipe, rows = texts(tmp_path, lines, targets, "train.epochs=2", header=header)
    run = train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    assert run.labels == {"label": ["a", "b"], "more": ["0", "1", "2"]}
    names = {"label_accuracy", "more_accuracy", "val_label_loss", "val_more_loss"}
    assert names <= set(history(run)[0])
    assert set(open_folder(run.folder).model.output) == {"label", "more"}


def test_a_loss_that_is_no_number_is_an_error_and_no_run(tmp_path):
    overrides = ["train.optimizer=sgd", "train.learning_rate=1e30"]
    recipe, rows = texts(tmp_path, LINES + HELD_OUT, *overrides)
    with pytest.raises(FloatingPointError) as caught:
        train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    told = str(caught.value)
    assert re.match("fusion: .* is not a number in epoch 1, step .*, on the rows", told)
    assert "Lower train.learning_rate, which is 1e+30" in told
    with pytest.raises(FileNotFoundError, match="no model.keras"):
        open_folder(tmp_path / "run")


def test_a_validation_loss_or_a_weight_that_is_no_number_is_found():
    watch = train.numbers.Numbers("fusion", 0.1, lambda epoch, step: ["a", "b"])
    watch.require_losses({"loss": 0.5, "val_loss": 0.5}, 1)
    watch.require_weights([np.ones(2), np.array([7], "uint32")], 1, 4)
    with pytest.raises(FloatingPointError) as caught:
        watch.require_losses({"loss": 0.5, "val_loss": np.inf}, 1)
    assert str(caught.value) == (
        "fusion: val_loss is not a number in epoch 2. Lower train.learning_rate, which "
        "is 0.1"
    )
    with pytest.raises(FloatingPointError, match="a weight is not a number in epoch 2"):
        watch.require_weights([np.array([np.nan])], 1, 4)


class Watched:
    """What `keras.Model.fit` was called with; nothing is fitted."""

    def fit(self, batches, **options):
        self.batches, self.options = batches, options
        return keras.callbacks.History()


def fitted(tmp_path, monkeypatch, *overrides):
    """What `fit` was called with, and the inputs of its first batch."""
    recipe, rows = texts(tmp_path, LINES + HELD_OUT, *overrides)
    watched = Watched()
    monkeypatch.setattr(
        keras.Model, "fit", lambda network, *a, **b: watched.fit(*a, **b)
    )
    prepared = train.prepare(recipe, rows, log=silent)
    network = model.build(recipe, prepared.decoders, prepared.tasks)
    train.fitting.fit_one(recipe, prepared, network, "fusion")
    inputs, _ = next(iter(watched.batches))
    return watched.options, {key: value.numpy() for key, value in inputs.items()}


def test_epochs_batch_size_seed_and_augmentation_reach_fit(tmp_path, monkeypatch):
    options, inputs = fitted(tmp_path, monkeypatch)
    assert (options["epochs"], options["steps_per_epoch"]) == (3, 3)  # of 8, 8 and 4
    assert inputs["text"].shape == (8, 4) and options["shuffle"] is False
    (held_out,) = options["validation_data"]
    assert held_out[0]["text"].shape == (4, 4)
    changed_to = ["train.epochs=5", "train.batch_size=20"]
    options, whole = fitted(tmp_path, monkeypatch, *changed_to)
    assert (options["epochs"], options["steps_per_epoch"]) == (5, 1)
    assert whole["text"].shape == (20, 4)
    _, other = fitted(tmp_path, monkeypatch, "train.seed=1", *changed_to)
    assert not np.array_equal(whole["text"], other["text"])
    same = np.sort(whole["text"], axis=0), np.sort(other["text"], axis=0)
    np.testing.assert_array_equal(*same, "the same rows in another order")
    dropout = ["augment.word_dropout=0.5", *changed_to]
    options, dropped = fitted(tmp_path, monkeypatch, *dropout)
    lost = dropped["text"] != whole["text"]
    assert 0.2 < lost.mean() < 0.8 and (dropped["text"][lost] == 1).all()
    (held_out,) = options["validation_data"]
    assert not (held_out[0]["text"].numpy()[:, :3] == 1).any(), "training rows only"


def test_a_file_that_breaks_while_fitting_is_a_data_error(tmp_path, monkeypatch):
    def broken(self, batches, **options):
        raise tf.errors.InvalidArgumentError(
            None, None, "Graph execution error:\n assertion failed: [a.png] [spoilt]"
        )

    monkeypatch.setattr(Watched, "fit", broken)
    with pytest.raises(ManifestError, match="a.png could be read when the run began"):
        fitted(tmp_path, monkeypatch)


def step(recipe, *overrides, steps=10):
    """A small model as `compile_model` leaves it."""
    inputs = keras.Input((2,))
    network = keras.Model(inputs, {"it": keras.layers.Dense(2)(inputs)})
    task = TASKS["classification"](["a", "b"])
    train.fitting.compile_model(
        changed(recipe, *overrides), network, {"it": task}, steps
    )
    return network


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adam", keras.optimizers.Adam),
        ("adamw", keras.optimizers.AdamW),
        ("sgd", keras.optimizers.SGD),
        ("rmsprop", keras.optimizers.RMSprop),
    ],
)
def test_optimizer_and_learning_rate(recipe, name, expected):
    overrides = [f"train.optimizer={name}", "train.learning_rate=0.02"]
    network = step(recipe, *overrides)
    assert type(network.optimizer) is expected
    assert float(network.optimizer.learning_rate) == pytest.approx(0.02)


def test_every_optimizer_of_the_recipe_is_known():
    choices = Train.model_fields["optimizer"].annotation.__args__
    assert set(choices) == set(train.optimizers.OPTIMIZERS)


def test_cosine_falls_to_zero_over_all_epochs(recipe):
    overrides = ["train.schedule=cosine", "train.epochs=3", "train.learning_rate=0.1"]
    rate = step(recipe, *overrides).optimizer._learning_rate
    told = [float(rate(at)) for at in (0, 15, 30)]
    np.testing.assert_allclose(told, [0.1, 0.05, 0.0], atol=1e-7)


def test_the_rate_rises_over_the_first_epochs(recipe):
    overrides = ["train.warmup_epochs=2", "train.epochs=6", "train.learning_rate=0.1"]
    rate = step(recipe, *overrides).optimizer._learning_rate
    told = [float(rate(at)) for at in (0, 10, 20, 59)]
    np.testing.assert_allclose(told, [0.005, 0.0525, 0.1, 0.1], atol=1e-7)
    rate = step(recipe, *overrides, "train.schedule=cosine").optimizer._learning_rate
    told = [float(rate(at)) for at in (0, 10, 20, 40, 60)]
    np.testing.assert_allclose(told, [0.005, 0.0525, 0.1, 0.05, 0.0], atol=1e-7)


def test_long_gradients_are_cut(recipe):
    factors = [(step(recipe).trainable_variables[0], 0.5)]
    for own in ([], factors):
        plain = train.optimizers.make(recipe.train, 1.0, own)
        cut = train.optimizers.make(
            changed(recipe, "train.clip_norm=0.1").train, 1.0, own
        )
        assert (plain.global_clipnorm, cut.global_clipnorm) == (None, 0.1)
    network = step(recipe, "train.clip_norm=0.1", "train.optimizer=sgd")
    assert network.optimizer.global_clipnorm == 0.1
    before = network.get_weights()
    network.optimizer.learning_rate = 1.0
    gradients = [100 * keras.ops.ones_like(one) for one in network.trainable_variables]
    network.optimizer.apply(gradients, network.trainable_variables)
    moved = [new - old for new, old in zip(network.get_weights(), before, strict=True)]
    length = np.sqrt(sum(np.square(each).sum() for each in moved))
    assert length == pytest.approx(0.1, rel=1e-4)


def test_a_fit_ends_after_so_many_steps(tmp_path):
    overrides = ["train.max_steps=4", "branches.text={kind: bag}"]  # of three an epoch
    recipe, rows = texts(tmp_path, LINES + HELD_OUT, *overrides)
    run = train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    assert len(history(run)) == 2
    state = train.keeping.Budget(recipe.train)
    assert [state.step() for _ in range(4)] == [False, False, False, True]


def test_a_fit_ends_after_so_many_minutes(recipe, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(train.keeping.time, "monotonic", lambda: now[0])
    options = changed(recipe, "train.time_limit_minutes=2").train
    first = train.keeping.Budget(options)
    now[0] += 90
    assert not first.step() and first.used() == {"steps": 1, "seconds": 90.0}
    now[0] += 1000  # killed, and gone on with later
    then = train.keeping.Budget(options)
    then.add({"steps": 1, "seconds": 90.0})
    now[0] += 29
    assert not then.step()
    now[0] += 1
    assert then.step() and then.spent
    assert not train.keeping.Budget(recipe.train).spent


def test_jit_compile_is_as_the_recipe_says(recipe):
    assert step(recipe).jit_compile is False
    assert step(recipe, "train.jit_compile=true").jit_compile is True


def test_patience_and_logs(recipe, tmp_path):
    def stopping(*overrides, has_valid=True):
        options = changed(recipe, *overrides).train
        found = train.fitting.callbacks(None, options, None, has_valid)
        kind = keras.callbacks.EarlyStopping
        return [one.patience for one in found if isinstance(one, kind)]

    assert stopping("train.patience=3") == [3]
    assert stopping("train.patience=0", "train.epochs=40") == [40], "0: all epochs"
    assert stopping("train.patience=3", has_valid=False) == []
    logged = train.fitting.callbacks(None, recipe.train, tmp_path, True)
    assert isinstance(logged[-1], keras.callbacks.TensorBoard)


@pytest.fixture
def spoilt(recipe, rows, tmp_path):
    """(recipe, rows) of 60 digits, of which a picture and a sound are spoilt."""
    frame = rows.frame.head(60).copy()
    for name in ("image", "audio"):
        (tmp_path / name).mkdir()
    paths = {name: rows.cells(name)[:60] for name in ("image", "audio")}
    for name, ending in (("image", "png"), ("audio", "wav")):
        cells = []
        for number, path in enumerate(paths[name]):
            cells.append(f"{name}/{number}.{ending}" if path else "")
            if path:
                content = open(path, "rb").read()
                (tmp_path / cells[-1]).write_bytes(content)
        frame[name] = cells
    picture = next(n for n, cell in enumerate(frame["image"]) if cell)
    sound = next(n for n, c in enumerate(frame["audio"]) if c and n > picture)
    (tmp_path / frame["image"].iloc[picture]).write_bytes(b"")
    (tmp_path / frame["audio"].iloc[sound]).write_bytes(b"RIFFraff")
    csv_path = tmp_path / "rows.csv"
    frame.to_csv(csv_path, index=False)
    data = recipe.data.model_copy(update={"manifest": str(csv_path)})
    recipe = recipe.model_copy(update={"data": data})
    return recipe, manifest.read(recipe.data), [picture + 2, sound + 2]


def test_bad_rows_are_dropped_and_accounted_for(spoilt, tmp_path):
    recipe, rows, lines = spoilt
    said = []
    prepared = train.prepare(recipe, rows, log=said.append)
    rejected = prepared.manifest.rejected
    assert [row.line for row in rejected if row.column != "label"] == lines
    assert rejected[0].column == "image" and rejected[0].reason == "the file is empty"
    assert len(prepared.manifest) + len(rejected) == 60
    assert (
        f"dropped {len(rejected)} of 60 rows of rows.csv, see rejected.csv" in said[0]
    )
    kept = prepared.manifest.split("train")
    present = prepared.rows["train"].arrays["image_present"].numpy()
    np.testing.assert_array_equal(present, [bool(cell) for cell in kept.frame["image"]])
    assert len(prepared.targets["train"]["label"]) == len(kept)
    # Decoded anew each epoch, the rows are the same.
    anew = train.prepare(changed(recipe, "data.cache_mb=0"), rows, log=silent)
    assert not anew.rows["train"].arrays and set(anew.rows["train"].cells) == {
        "text",
        "image",
        "audio",
    }
    count = len(kept)
    first = next(iter(dataset.ordered(anew.rows["train"], count, count)))
    for key, array in prepared.rows["train"].arrays.items():
        np.testing.assert_array_equal(first[key], array, err_msg=key)
    # So are those that are read from disk.
    kept = ("data.cache_mb=0", "data.disk_mb=50")
    disk = train.prepare(changed(recipe, *kept), rows, log=silent).rows["train"]
    assert type(disk.decoders["image"]).__name__ == "Shelved"
    (again,) = dataset.ordered(disk, count, count)
    for key, array in first.items():
        np.testing.assert_array_equal(again[key], array, err_msg=key)


def test_refuse_lists_the_bad_rows_and_leaves_no_folder(spoilt, tmp_path):
    recipe, rows, lines = spoilt
    recipe = changed(recipe, "data.on_bad_row=refuse")
    with pytest.raises(ManifestError) as caught:
        train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    told = str(caught.value)
    assert " of 60 rows of rows.csv cannot be used:" in told
    assert all(f"  line {line}, row `" in told for line in lines)
    assert "the file is empty" in told and "data.on_bad_row = drop" in told
    assert not (tmp_path / "run").exists()


def test_a_long_list_of_bad_rows_is_cut(tmp_path):
    lines = [*LINES, *HELD_OUT, *["word,,train"] * 13]
    recipe, rows = texts(tmp_path, lines, "data.on_bad_row=refuse")
    with pytest.raises(ManifestError, match="13 of 37 rows") as caught:
        train.prepare(recipe, rows, log=silent)
    assert str(caught.value).count("  line ") == 10
    assert "\n  and 3 more\n" in str(caught.value)


def test_rejected_rows_stand_in_the_run(tmp_path):
    lines = [*LINES, *HELD_OUT, "word,,train"]
    recipe, rows = texts(tmp_path, lines, "train.epochs=1")
    said = []
    run = train.fit(recipe, rows, folder=tmp_path / "run", log=said.append)
    with open(run.rejected_csv, newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["line"] == "26" and row["reason"] == "the label is empty"
    assert said[0].startswith("dropped 1 of 25 rows")
    assert [len(history(run)), "warning" in said[0]] == [1, False]


def test_warnings_of_the_manifest_are_passed_on(tmp_path):
    recipe, rows = texts(tmp_path, LINES)
    said = []
    train.prepare(recipe, rows, log=said.append)
    assert said == [f"warning: {warning}" for warning in rows.warnings] != []


def test_a_label_only_on_unreadable_train_rows_goes_with_them(tmp_path, monkeypatch):
    own, few = texts(tmp_path, [*LINES, *HELD_OUT, "c c,c,train", "c,c,valid"])
    assert len(few) == 26
    faults = {26: ("text", "spoilt")}
    load = dataset.load

    def broken(*arguments, **options):
        loaded, found = load(*arguments, **options)
        return loaded, found | faults

    monkeypatch.setattr(dataset, "load", broken)
    prepared = train.prepare(own, few, log=silent)
    assert prepared.labels == {"label": ["a", "b"]}
    told = {row.line: row.reason for row in prepared.manifest.rejected}
    expected = "the label `c` is on no usable row of the train split"
    assert told == {26: "spoilt", 27: expected}
    assert prepared.targets["valid"]["label"].shape == (4, 2)


def test_no_train_row_and_one_label_are_data_errors(tmp_path):
    recipe, rows = texts(tmp_path, LINES + HELD_OUT)
    none = dataclasses.replace(rows, frame=rows.split("valid").frame)
    with pytest.raises(ManifestError, match="rows.csv has no usable row in the train"):
        train.fit(recipe, none, folder=tmp_path / "run", log=silent)
    recipe, rows = texts(tmp_path, LINES[::2] + HELD_OUT[::2])
    with pytest.raises(ManifestError) as caught:
        train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    told = "target `label`: classification needs two labels or more"
    assert str(caught.value).startswith(told) and "['a']" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_full_folder_is_refused_before_anything_is_decoded(
    recipe, rows, tmp_path, monkeypatch
):
    (tmp_path / "thesis.tex").touch()
    monkeypatch.setattr(train, "prepare", None)
    with pytest.raises(FileExistsError, match="is not empty: name another folder"):
        train.fit(recipe, rows, folder=tmp_path)


def test_a_bar_does_not_outlive_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    shown = []
    make = progress.Epochs

    def watched(*arguments):
        shown.append(make(*arguments))
        return shown[-1]

    monkeypatch.setattr(progress, "Epochs", watched)

    def broken(self, batch, logs=None):
        assert shown[0].bars is not None
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_train_batch_begin", broken)
    recipe, rows = texts(tmp_path, LINES + HELD_OUT)
    with pytest.raises(KeyboardInterrupt):
        train.fit(recipe, rows, folder=tmp_path / "run", log=silent)
    assert shown[0].bars is None


def test_a_rate_that_learns_nothing_is_told(tmp_path):
    path = words_recipe(tmp_path, "wild", 24, train={"epochs": 3, "batch_size": 8})
    said = []
    for rate in ("100", "0.01"):
        recipe = config.load(path, [f"train.learning_rate={rate}", "train.patience=0"])
        rows = manifest.read(recipe.data)
        train.fit(recipe, rows, folder=tmp_path / rate, log=said.append)
        told = [line for line in said if "the training loss was" in line]
        assert len(told) == 1, said
        assert (
            "try another train.learning_rate than 100, a tenth of it first" in told[0]
        )
