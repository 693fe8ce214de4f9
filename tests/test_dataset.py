"""Rows in, batches out: every row once an epoch, with its own inputs and target."""

import dataclasses
import os

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mmkeras import dataset, manifest, modalities

COUNT = 70  # of the rows used here: two batches of 32 and a part of one


@pytest.fixture(scope="module")
def few(rows):
    return dataclasses.replace(rows, frame=rows.frame[:COUNT])


@pytest.fixture(scope="module")
def decoders(recipe, few):
    made = modalities.make(recipe.data.inputs, recipe.branches)
    made["text"].learn(few.cells("text"))
    return made


@pytest.fixture(scope="module")
def held(few, decoders):
    loaded, faults = dataset.load(few, decoders)
    assert faults == {} and not loaded.cells
    return loaded


@pytest.fixture(scope="module")
def fresh(few, decoders):
    loaded, faults = dataset.load(few, decoders, cache_mb=0)
    assert faults == {} and not loaded.arrays
    return loaded


class FourBytes:
    """The smallest decoder of files: four bytes, or a fault."""

    is_file = True

    def __init__(self, name):
        self.name = name
        self.specs = {name: tf.TensorSpec((4,), tf.uint8)}

    def attempt_batch(self, raws):
        good = tf.strings.length(raws) == 4
        whole = tf.where(good, raws, "\0\0\0\0")
        faults = tf.strings.join(["four bytes expected, got ", raws])
        faults = tf.where(good | (raws == ""), "", faults)
        return {self.name: tf.io.decode_raw(whole, tf.uint8, fixed_length=4)}, faults


@pytest.fixture
def files(tmp_path):
    """Rows of four files, on lines 2 to 5."""
    names = [f"{number}.bin" for number in range(4)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([number + 1] * 4))
    frame = pd.DataFrame(
        {"id": list("wxyz"), "it": names}, index=[2, 3, 4, 5], dtype=object
    )
    return manifest.Manifest(tmp_path / "rows.csv", frame, {"it": "bytes"}, ())


def numbers_of(loaded, seed=0, epochs=1, count=COUNT, batch_size=32, **options):
    """The row numbers of each epoch, as `shuffled` deals them out."""
    batches = dataset.shuffled(
        loaded,
        {"number": np.arange(count)},
        batch_size=batch_size,
        seed=seed,
        **options,
    )
    steps = -(-count // batch_size)
    dealt = [targets["number"].numpy() for _, targets in batches.take(epochs * steps)]
    return [
        np.concatenate(dealt[epoch * steps : (epoch + 1) * steps])
        for epoch in range(epochs)
    ]


NOTHING = dataset.Rows({}, {}, {})


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_an_epoch_is_every_row_once(count):
    for epoch in numbers_of(NOTHING, epochs=3, count=count):
        assert sorted(epoch) == list(range(count))


def test_order_hangs_on_seed_and_epoch_alone():
    first, again = (numbers_of(NOTHING, epochs=3, count=500) for _ in range(2))
    other = numbers_of(NOTHING, seed=1, epochs=3, count=500)
    np.testing.assert_array_equal(first, again)
    orders = [*first, *other]
    for index, order in enumerate(orders):
        # Two unrelated permutations agree in one place on average.
        for later in orders[index + 1 :]:
            assert np.sum(order == later) < 8
        assert np.sum(order == np.arange(500)) < 8


def test_every_place_of_the_order_is_equally_likely():
    count, epochs = 210, 1500
    numbers = tf.range(count, dtype=tf.int64)

    @tf.function
    def orders():
        return tf.map_fn(
            lambda epoch: dataset.permute(numbers, count, 0, epoch),
            tf.range(epochs, dtype=tf.int64),
        )

    table = np.zeros((count, count))
    np.add.at(table, (np.arange(count), orders().numpy()), 1)
    expected = epochs / count
    chi = np.sum((table - expected) ** 2) / expected
    freedom = (count - 1) ** 2  # the statistic's mean; its variance is twice that
    assert chi < freedom + 5 * np.sqrt(2 * freedom)


def test_batches_of_an_epoch_have_the_promised_sizes(held):
    targets = {"number": np.arange(COUNT)}
    batches = dataset.shuffled(held, targets, batch_size=32, seed=0).take(6)
    sizes = [len(wanted["number"]) for _, wanted in batches]
    assert sizes == [32, 32, 6, 32, 32, 6]


def test_a_row_comes_with_its_own_inputs_and_target(few, held):
    truth = {key: array.numpy() for key, array in held.arrays.items()}
    labels = few.frame["label"].to_numpy(dtype=str)
    seen = []
    targets = {"number": np.arange(COUNT), "label": labels}
    batches = dataset.shuffled(held, targets, batch_size=32, seed=3)
    for inputs, wanted in batches.take(3):
        numbers = wanted["number"].numpy()
        seen += numbers.tolist()
        for key, tensor in inputs.items():
            np.testing.assert_array_equal(tensor, truth[key][numbers], err_msg=key)
        assert wanted["label"].numpy().astype(str).tolist() == labels[numbers].tolist()
    assert sorted(seen) == list(range(COUNT))
    ordered = dataset.labelled(held, targets, 32)
    numbers = np.concatenate([wanted["number"] for _, wanted in ordered])
    np.testing.assert_array_equal(numbers, np.arange(COUNT))
    pixels = np.concatenate([inputs["image"] for inputs, _ in ordered])
    np.testing.assert_array_equal(pixels, truth["image"])


def test_in_memory_and_decoded_anew_are_the_same_bits(held, fresh):
    targets = {"number": np.arange(COUNT)}
    both = [
        dataset.shuffled(loaded, targets, batch_size=32, seed=1).take(3)
        for loaded in (held, fresh)
    ]
    for (first, one), (second, two) in zip(*both, strict=True):
        np.testing.assert_array_equal(one["number"], two["number"])
        assert set(first) == set(second)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_training_sees_what_the_served_decoder_gives(few, decoders, held):
    for name, decoder in decoders.items():
        raws = few.cells(name)[:20]
        if decoder.is_file:
            raws = [open(path, "rb").read() if path else b"" for path in raws]
        served = tf.function(decoder.attempt_batch)(tf.constant(raws, tf.string))[0]
        for key, tensor in served.items():
            np.testing.assert_array_equal(tensor, held.arrays[key][:20], err_msg=key)


def test_missing_cells_are_absent_and_zero(few, held):
    for name in few.inputs:
        missing = np.array([not cell for cell in few.cells(name)])
        assert missing.any() and not missing.all()
        np.testing.assert_array_equal(held.arrays[f"{name}_present"], ~missing)
        assert not held.arrays[name].numpy()[missing].any()
        assert held.arrays[name].numpy()[~missing].any()
    samples = held.arrays["audio_samples"].numpy()
    np.testing.assert_array_equal(samples == 0, ~held.arrays["audio_present"].numpy())


def test_a_run_that_goes_on_sees_the_same_stream(held):
    whole = numbers_of(held, epochs=3)
    rest = numbers_of(held, epochs=2, begin=(1, 0))
    np.testing.assert_array_equal(rest, whole[1:])

    def mark(inputs, seeds):
        return {"seeds": seeds}

    def seeds(first_epoch, steps):
        batches = dataset.shuffled(
            held,
            {"number": np.arange(COUNT)},
            batch_size=32,
            seed=0,
            augment=mark,
            begin=(first_epoch, 0),
        )
        return np.concatenate([inputs["seeds"] for inputs, _ in batches.take(steps)])

    np.testing.assert_array_equal(seeds(0, 6)[COUNT:], seeds(1, 3))
    assert len(np.unique(seeds(0, 6), axis=0)) == 2 * COUNT


def test_a_rows_seed_hangs_on_seed_epoch_and_number_alone():
    one = dataset.row_seeds(5, 2, tf.constant([7, 8, 9])).numpy()
    other = dataset.row_seeds(5, 2, tf.constant([9, 7])).numpy()
    np.testing.assert_array_equal(other, one[[2, 0]])
    assert (dataset.row_seeds(5, 3, tf.constant([7])).numpy() != one[0]).any()
    assert (dataset.row_seeds(6, 2, tf.constant([7])).numpy() != one[0]).any()
    assert dataset.row_seeds(2**31 - 1, 0, tf.constant([0])).shape == (1, 2)


@pytest.mark.parametrize("kind", ["held", "fresh"])
def test_shapes_are_static_but_for_the_batch(kind, request, decoders):
    loaded = request.getfixturevalue(kind)
    targets = {"label": np.eye(10, dtype="float32")[np.arange(COUNT) % 10]}
    made = [
        dataset.shuffled(loaded, targets, batch_size=32, seed=0),
        dataset.labelled(loaded, targets, 32),
    ]
    for inputs, wanted in (batches.element_spec for batches in made):
        specs = {k: s for each in decoders.values() for k, s in each.specs.items()}
        assert set(inputs) == set(specs)
        for key, spec in specs.items():
            assert inputs[key].shape.as_list() == [None, *spec.shape], key
            assert inputs[key].dtype == spec.dtype
        assert wanted["label"].shape.as_list() == [None, 10]


def test_only_keep_and_or(held, fresh):
    names = {"image", "image_present"}
    assert set(held.only(names).arrays) == names
    assert set(fresh.only(names).cells) == set(fresh.only(names).decoders) == {"image"}
    mask = np.arange(COUNT) % 3 == 0
    three = np.arange(0, COUNT, 3)
    for loaded in (held, fresh):
        kept = next(iter(dataset.ordered(loaded.keep(mask), len(three), 100)))
        for key, tensor in kept.items():
            np.testing.assert_array_equal(tensor, held.arrays[key].numpy()[three])
        assert loaded.keep(np.ones(COUNT, bool)) is loaded
    both = held.only({"text", "text_present"}) | fresh.only(names)
    mixed = next(iter(dataset.ordered(both, COUNT, COUNT)))
    assert set(mixed) == {"text", "text_present", "image", "image_present"}
    np.testing.assert_array_equal(mixed["image"], held.arrays["image"])


def test_no_decoder_and_no_row(few, decoders):
    loaded, faults = dataset.load(few, {})
    assert faults == {} and loaded.take(tf.constant([0])) == {}
    assert loaded.keep(np.ones(COUNT, bool)) == NOTHING
    none = dataclasses.replace(few, frame=few.frame[:0])
    empty, faults = dataset.load(none, decoders)
    assert faults == {}
    assert empty.arrays["image"].shape == (0, 16, 16, 3)


def test_the_cache_holds_what_fits(few, decoders):
    image = {"image": decoders["image"]}
    need = COUNT * (16 * 16 * 3 * 4 + 1)  # bytes: 0.2 MB
    assert 0 < need < 2**20
    assert dataset.load(few, image, cache_mb=1)[0].arrays
    assert not dataset.load(few, image, cache_mb=0)[0].arrays


def test_progress_counts_all_rows(few, decoders):
    calls = []
    text = {"text": decoders["text"]}
    dataset.load(few, text, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(32, COUNT), (64, COUNT), (COUNT, COUNT)]


@pytest.mark.parametrize("cache_mb", [0, 2048])
def test_unreadable_files_are_told_by_line_and_harm_no_other(files, cache_mb):
    (files.path.parent / "1.bin").write_bytes(b"")
    (files.path.parent / "3.bin").write_bytes(b"more")
    (files.path.parent / "2.bin").write_bytes(b"more than four")
    decoders = {"it": FourBytes("it")}
    loaded, faults = dataset.load(files, decoders, cache_mb=cache_mb)
    assert faults == {
        3: ("it", "the file is empty"),
        4: ("it", "four bytes expected, got more than four"),
    }
    good = loaded.keep(~files.frame.index.isin(list(faults)))
    tensors = next(iter(dataset.ordered(good, 2, 2)))
    assert tensors["it"].numpy().tolist() == [[1, 1, 1, 1], list(b"more")]
    told = [str(row) for row in files.reject(faults).rejected]
    assert told[0] == "line 3, row `x`, `it`: the file is empty"


def test_a_file_that_is_gone_is_a_fault_and_no_crash(files, monkeypatch):
    decoders = {"it": FourBytes("it")}
    (files.path.parent / "2.bin").unlink()
    assert dataset.load(files, decoders)[1] == {4: ("it", "the file is gone")}
    monkeypatch.setattr(
        os, "access", lambda path, mode: not path.endswith(("0.bin", "2.bin"))
    )
    faults = dataset.load(files, decoders)[1]
    assert faults[2] == ("it", "the file may not be read by this user")
    assert set(faults) == {2, 4}


def test_the_first_fault_of_a_row_is_told(files):
    (files.path.parent / "0.bin").write_bytes(b"")
    (files.path.parent / "1.bin").write_bytes(b"long enough")
    frame = files.frame.assign(other=files.frame["it"])
    both = {"it": "bytes", "other": "bytes"}
    rows = dataclasses.replace(files, frame=frame, inputs=both)
    faults = dataset.load(rows, {name: FourBytes(name) for name in both})[1]
    assert {line: column for line, (column, _) in faults.items()} == {2: "it", 3: "it"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"spoilt", "got spoilt"), (None, "No such file")],
)
def test_a_file_that_breaks_after_loading_is_named(files, content, reason):
    loaded, _ = dataset.load(files, {"it": FourBytes("it")}, cache_mb=0)
    path = files.path.parent / "2.bin"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(tf.errors.OpError) as caught:
        list(dataset.ordered(loaded, 4, 2))
    assert str(path) in str(caught.value) and reason in str(caught.value)
    with pytest.raises(manifest.ManifestError) as caught, dataset.broken_files_named():
        list(dataset.ordered(loaded, 4, 2))
    told = str(caught.value)
    assert told.startswith(
        f"{path} could be read when the run began and no longer can:"
    )
    assert reason in told and "\n" not in told


def test_other_errors_pass_as_they_are():
    with pytest.raises(tf.errors.AbortedError), dataset.broken_files_named():
        raise tf.errors.AbortedError(None, None, "lost a worker: 3")


def test_fit_takes_the_batches(held):
    first = keras.Input((16, 16, 3), name="image")
    flat = keras.layers.Flatten()(first)
    network = keras.Model({"image": first}, {"number": keras.layers.Dense(1)(flat)})
    network.compile("sgd", loss={"number": "mse"})
    targets = {"number": np.zeros((COUNT, 1), "float32")}
    own = held.only({"image"})
    batches = dataset.shuffled(own, targets, batch_size=32, seed=0)
    seen = network.fit(batches, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)
    assert np.isfinite(seen.history["loss"]).all()
