"""Frozen backbones run once per file: equal results, kept, bounded, told apart."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import config, dataset, export, features, manifest, model, run, train
from mmkeras.evaluate import judging


@pytest.fixture
def cache(tmp_path):
    return features.Cache(tmp_path / "deep" / "features.sqlite", most_mb=1)


@pytest.fixture(scope="module")
def backbone():
    """(batch, 3) -> features (batch, 2, 4) and a mask (batch, 2) of an input `it`."""
    keras.utils.set_random_seed(0)
    rows = keras.Input((3,), name="it")
    made = keras.layers.Reshape((2, 4))(keras.layers.Dense(8)(rows))
    seen = keras.ops.greater(made[..., 0], 0)
    outputs = {"it_features": made, "it_visible": seen}
    found = keras.Model({"it": rows}, outputs, name="it_backbone")
    found.trainable = False
    return found


def held(rng, count=70):
    arrays = {
        "it": rng.random((count, 3)).astype("float32"),
        "it_present": rng.random(count) < 0.8,
    }
    return dataset.Rows(arrays, {}, {}), arrays


def taken(rows, count):
    return {k: np.array(v) for k, v in rows.take(tf.range(count)).items()}


def counted(monkeypatch):
    """A list that grows by one whenever a backbone runs."""
    runs, plain = [], features._run
    monkeypatch.setattr(
        features, "_run", lambda *given: runs.append(1) or plain(*given)
    )
    return runs


@pytest.mark.parametrize("memory_mb", [1, 0])
def test_features_are_those_of_the_backbone(memory_mb, backbone, cache, rng):
    rows, arrays = held(rng)
    made = features.computed(backbone, rows, 70, cache, memory_mb=memory_mb)
    assert bool(made.decoders) == (memory_mb == 0)
    found, wanted = taken(made, 70), backbone({"it": arrays["it"]})
    assert set(found) == {"it_features", "it_visible", "it_present"}
    np.testing.assert_allclose(found["it_features"], wanted["it_features"], atol=1e-6)
    np.testing.assert_array_equal(found["it_visible"], wanted["it_visible"])
    np.testing.assert_array_equal(found["it_present"], arrays["it_present"])


def test_a_second_run_reads_and_only_what_changed_is_computed(
    backbone, cache, rng, monkeypatch
):
    runs = counted(monkeypatch)
    rows, arrays = held(rng)
    first = taken(features.computed(backbone, rows, 70, cache), 70)
    assert len(runs) == 3  # chunks of 32
    again = taken(features.computed(backbone, rows, 70, cache), 70)
    assert len(runs) == 3
    np.testing.assert_array_equal(first["it_features"], again["it_features"])
    changed = {key: value.copy() for key, value in arrays.items()}
    changed["it"][40] += 1  # another file, or another way to decode it
    changed = dataset.Rows(changed, {}, {})
    other = taken(features.computed(backbone, changed, 70, cache), 70)
    assert len(runs) == 4  # the chunk of that row
    moved = np.abs(other["it_features"] - first["it_features"]).max(axis=(1, 2)) > 0
    assert np.flatnonzero(moved).tolist() == [40]


def test_the_same_content_is_computed_once(backbone, cache, rng, monkeypatch):
    runs = counted(monkeypatch)
    arrays = {key: np.repeat(each, 5, axis=0) for key, each in held(rng, 30)[1].items()}
    rows = dataset.Rows(arrays, {}, {})
    made = taken(features.computed(backbone, rows, 150, cache), 150)
    assert len(runs) == 1
    wanted = backbone({"it": arrays["it"]})["it_features"]
    np.testing.assert_allclose(made["it_features"], wanted, atol=1e-6)


def test_another_input_reads_the_same_features(backbone, cache, rng, monkeypatch):
    rows, arrays = held(rng, 40)
    features.computed(backbone, rows, 40, cache)
    runs = counted(monkeypatch)
    arrays = {key.replace("it", "that"): each[::-1] for key, each in arrays.items()}
    rows = dataset.Rows(arrays, {}, {})
    made = taken(features.computed(backbone, rows, 40, cache, name="that"), 40)
    assert not runs
    assert set(made) == {"that_features", "that_visible", "that_present"}
    wanted = backbone({"it": arrays["that"]})["it_features"]
    np.testing.assert_allclose(made["that_features"], wanted, atol=1e-6)


def test_a_split_without_rows_has_no_features(backbone, cache, rng):
    made = features.computed(backbone, held(rng, 0)[0], 0, cache)
    assert made == dataset.Rows({}, {}, {})


def test_other_weights_are_another_backbone(backbone, cache, rng, monkeypatch):
    rows, _ = held(rng, 32)
    features.computed(backbone, rows, 32, cache)
    runs = counted(monkeypatch)
    other = keras.models.clone_model(backbone)
    other.set_weights(backbone.get_weights())
    assert features.digest(other) == features.digest(backbone)
    features.computed(other, rows, 32, cache)
    assert not runs
    other.set_weights([weight * 1.001 for weight in backbone.get_weights()])
    features.computed(other, rows, 32, cache)
    assert len(runs) == 1


def test_the_longest_unused_features_go_first(cache):
    mega = b"x" * 2**19
    for name in (b"a", b"b"):
        cache.write({name: mega})
    cache.shrink()
    assert cache.missing([b"a", b"b"]) == set()
    assert cache.missing([b"a"]) == set()  # used last
    cache.write({b"c": mega})
    cache.shrink()
    assert cache.missing([b"a", b"b", b"c"]) == {b"b"}
    assert cache.size_bytes() == 2**20
    assert cache.path.stat().st_size < 1.2 * 2**20
    with pytest.raises(LookupError, match="1 features are no longer in .* Raise data"):
        cache.read([b"a", b"b"])


def test_a_kill_loses_no_more_than_what_was_being_written(tmp_path):
    path = tmp_path / "features.sqlite"
    code = (
        "import sys\nfrom mmkeras import features\n"
        "cache = features.Cache(sys.argv[1], 100)\n"
        "number = 0\n"
        "while True:\n"
        "    cache.write({b'%d' % number: b'%d' % number * 5000})\n"
        "    print(number, flush=True)\n"
        "    number += 1\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(20):
        last = int(writer.stdout.readline())
    time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    cache = features.Cache(path, 100)
    keys = [b"%d" % number for number in range(last + 1)]
    assert cache.missing(keys) == set()
    assert cache.read(keys) == [key * 5000 for key in keys]


@pytest.mark.parametrize("broken", ["a file of others", "a folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, broken):
    path = tmp_path / "features.sqlite"
    path.mkdir() if broken == "a folder" else path.write_text("no database" * 99)
    with pytest.raises(OSError, match="features cannot be kept in .*MMKERAS_CACHE"):
        features.Cache(path, 1)


def test_rows_survive_being_packed(rng):
    specs = {
        "a": tf.TensorSpec((2, 3), tf.float16),
        "b": tf.TensorSpec((4,), tf.bool),
        "c": tf.TensorSpec((), tf.int32),
    }
    row = {
        "a": rng.standard_normal((2, 3)).astype("float16"),
        "b": rng.random(4) < 0.5,
        "c": np.int32(7),
    }
    again = features.unpack(features.pack(row), specs)
    for key, value in row.items():
        np.testing.assert_array_equal(again[key], value)
        assert again[key].dtype == specs[key].dtype.as_numpy_dtype


@pytest.fixture(scope="module")
def presets(tiny_bert, tiny_vit):
    """Folders of a small text backbone and of one for pictures."""
    return tiny_bert, tiny_vit


def frozen(recipe, presets, *overrides):
    """A recipe with a frozen text backbone and a frozen picture backbone."""
    given = (
        f"branches.text={{kind: kerashub, preset: {presets[0]}, units: 8}}",
        f"branches.image={{kind: kerashub, preset: {presets[1]}, units: 8}}",
        "augment.modality_dropout=0.2",
        "train.epochs=3",
        "train.baselines=false",
    )
    return config.parse(recipe.model_dump(by_alias=True), [*given, *overrides])


def text_and_audio(recipe, presets, *overrides):
    """A recipe with a text backbone, without pictures."""
    tree = frozen(recipe, presets, *overrides).model_dump(by_alias=True)
    del tree["data"]["inputs"]["image"], tree["branches"]["image"]
    return config.parse(tree)


def fitted(recipe, folder):
    rows = manifest.read(recipe.data).head(60)
    return train.fit(recipe, rows, folder=folder, log=lambda _: None), rows


def history(made):
    return np.genfromtxt(made.history_csv, delimiter=",", skip_header=1)


@pytest.fixture(scope="module")
def cached(recipe, presets, tmp_path_factory):
    with_baselines = frozen(recipe, presets, "train.baselines=true")
    return fitted(with_baselines, tmp_path_factory.mktemp("run") / "cached")


def test_training_on_features_equals_training_without(
    cached, recipe, presets, tmp_path
):
    plain = frozen(recipe, presets, "data.features_mb=0")
    without, _ = fitted(plain, tmp_path / "plain")
    np.testing.assert_allclose(history(cached[0]), history(without), atol=1e-4)


@pytest.mark.slow
def test_features_on_disk_train_the_same(cached, recipe, presets, tmp_path):
    small = frozen(recipe, presets, "data.cache_mb=0")
    other, _ = fitted(small, tmp_path / "disk")
    np.testing.assert_allclose(history(cached[0]), history(other), atol=1e-4)


@pytest.mark.slow
def test_the_run_keeps_the_whole_model_and_serves_it(cached, tmp_path):
    made, rows = cached
    opened = run.open_folder(made.folder)
    core, backbones = model.parts(opened.model)
    assert set(backbones) == {"text", "image"} and core is not opened.model
    assert {"text", "image", "audio"} < set(opened.model.input)
    served = export.saved_model(opened, tmp_path, rows.split("test"), log=print)
    assert served[1]["max_difference"] < 1e-5


def test_backbones_run_once_for_the_run_and_its_baselines(
    cached, recipe, presets, tmp_path, monkeypatch
):
    runs, asked, plain = counted(monkeypatch), [], judging.predict

    def predict(network, loaded, count):
        asked.append(set(network.input))
        return plain(network, loaded, count)

    monkeypatch.setattr(judging, "predict", predict)
    again, rows = fitted(frozen(recipe, presets, "train.seed=0"), tmp_path / "again")
    assert not runs
    # What is decided after training is decided on the same features.
    assert [{"text_features", "image_features"} < each for each in asked] == [True]
    assert not asked[0] & {"text", "image"}
    valid, loaded, _ = judging.readable(again, rows.split("valid"), print)
    live = {"fusion": (again.model, {"valid": loaded})}
    found = json.loads(again.decisions_json.read_text())
    expected = judging.decide(again.tasks, live, {"valid": valid})
    assert found["fusion"] == approx(expected["fusion"])


def approx(tree):
    """Numbers of nested dicts to 1e-4."""
    if isinstance(tree, dict):
        return {key: approx(each) for key, each in tree.items()}
    return pytest.approx(tree, rel=1e-4) if isinstance(tree, float) else tree


@pytest.mark.slow
def test_a_changed_input_is_not_run_beforehand(recipe, presets, tmp_path, monkeypatch):
    seen = []
    plain = features.on_features
    monkeypatch.setattr(
        features,
        "on_features",
        lambda network, names: seen.append(set(names)) or plain(network, names),
    )
    changed = frozen(recipe, presets, "augment.image_shift=0.1", "train.epochs=1")
    fitted(changed, tmp_path / "changed")
    assert seen == [{"text"}, {"text"}]  # to be fitted, and to be asked


@pytest.mark.slow
def test_frozen_at_first_trained_thereafter(recipe, presets, tmp_path):
    options = ("branches.text.trainable=true", "train.frozen_epochs=1")
    long = text_and_audio(recipe, presets, *options, "train.epochs=2")
    whole, _ = fitted(long, tmp_path / "whole")
    short = text_and_audio(recipe, presets, *options, "train.epochs=1")
    first, _ = fitted(short, tmp_path / "first")
    start = model.build(short, first.decoders, first.tasks)
    weights = [
        model.parts(network)[1]["text"].get_weights()
        for network in (start, first.model, whole.model)
    ]
    same = [all(map(np.array_equal, weights[0], other)) for other in weights[1:]]
    assert same == [True, False]
    assert history(whole)[:, 0].tolist() == [0, 1]
    np.testing.assert_allclose(history(whole)[0], history(first), atol=1e-4)


@pytest.mark.slow
def test_a_learning_rate_of_its_own_for_a_backbone(recipe, presets, tmp_path):
    slow = text_and_audio(
        recipe,
        presets,
        "branches.text.trainable=true",
        "train.learning_rates={text: 1.0e-9, audio: 1.0e-9}",
        "train.epochs=1",
    )
    made, _ = fitted(slow, tmp_path / "slow")
    keras.utils.set_random_seed(slow.train.seed)
    start = model.build(slow, made.decoders, made.tasks)
    moved = {}
    for key in ("text_backbone", "text_rest", "audio_branch"):
        layers = [find(network, key).get_weights() for network in (start, made.model)]
        moved[key] = max(np.abs(a - b).max() for a, b in zip(*layers, strict=True))
    assert moved["text_backbone"] < 1e-6 and moved["audio_branch"] < 1e-6
    assert moved["text_rest"] > 1e-4


def find(network, name):
    core, backbones = model.parts(network)
    every = {layer.name: layer for layer in [*core.layers, *backbones.values()]}
    return every[name]
