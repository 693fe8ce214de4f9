"""Which strategy, what each process reads, and what is refused before anything runs."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import config, dataset, distribution
from mmkeras.config import RecipeError
from mmkeras.dataset import Share
from mmkeras.distribution import places, strategies
from mmkeras.distribution import team as teams
from mmkeras.recipe import Augment, Train

SCRIPT = Path(__file__).parent.parent / "two_devices.py"
TEAM = {"cluster": {"worker": ["one:1", "two:2"]}, "task": {"type": "worker"}}


def team(monkeypatch, index=0, **changes):
    task = {**TEAM["task"], "index": index}
    monkeypatch.setenv("TF_CONFIG", json.dumps({**TEAM, "task": task, **changes}))


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)


def two_devices(folder, *names):
    """What tests/two_devices.py tells of its scenarios."""
    command = [sys.executable, SCRIPT, folder, *names]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def require_equal(found):
    assert found["moved"] > 0.02, "something was learnt"
    assert found["weights"] < 1e-5 and found["history"] < 2e-5


@pytest.mark.slow
def test_two_devices_equal_one_whatever_is_trained(tmp_path):
    """Missing and empty cells, two targets, augmentation, a partial batch."""
    names = ["plain", "uncertainty", "blending", "verification", "bfloat16"]
    names += ["frozen", "tuned"]
    found = two_devices(tmp_path, *names)
    assert list(found) == names
    assert found["plain"]["resumed"] == [0, 0], "the bits of a run that was not stopped"
    # Sums in another order, rounded to eight bits.
    half = found.pop("bfloat16")
    assert half["weights"] < 5e-3 and half["history"] < 5e-3
    # Random attention makes rows nearly alike, and rounding counts for more: on one
    # device TF_ENABLE_ONEDNN_OPTS=0 moves these weights by 3e-4.
    deep = found.pop("tuned")
    assert deep["moved"] > 0.02
    assert deep["weights"] < 5e-4 and deep["history"] < 5e-4
    for each in found.values():
        require_equal(each)


def test_workers_are_those_of_tf_config(monkeypatch):
    assert teams.workers() == (1, 0, ())
    team(monkeypatch, 1)
    assert teams.workers() == (2, 1, ("one:1", "two:2"))
    cluster = {"chief": ["zero:0"], "worker": ["one:1", "two:2"]}
    team(monkeypatch, 1, cluster=cluster)
    assert teams.workers() == (3, 2, ("zero:0", "one:1", "two:2"))
    task = {"type": "chief", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert teams.workers().index == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {"worker": [1]}}'])
def test_a_bad_tf_config_is_told_with_a_good_one(monkeypatch, text):
    if "worker" in text:
        team(monkeypatch, 2)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(RecipeError, match="TF_CONFIG cannot be used") as caught:
        teams.workers()
    assert '{"cluster": {"worker": ["host1:4444", "host2:4444"]}' in str(caught.value)


def test_auto_is_what_is_there(monkeypatch):
    plain = Train()
    assert strategies.kind_of(plain) == "one"
    gpus = ["GPU:0", "GPU:1"]
    with monkeypatch.context() as patch:
        patch.setattr(strategies.tf.config, "list_logical_devices", lambda kind: gpus)
        assert strategies.kind_of(plain) == "mirrored"
        assert strategies.kind_of(Train(strategy="one")) == "one"
    with monkeypatch.context() as patch:
        patch.setenv("TPU_NAME", "local")
        assert strategies.kind_of(plain) == "tpu"
    team(monkeypatch)
    assert strategies.kind_of(plain) == "multiworker"


def refused(**keys):
    with pytest.raises(RecipeError) as caught:
        distribution.strategy_of(Train(**keys))
    return str(caught.value)


def test_what_is_not_here_is_refused(monkeypatch):
    assert "train.strategy: mirrored needs two devices" in refused(strategy="mirrored")
    told = refused(strategy="multiworker")
    assert "TF_CONFIG names no other worker" in told and "mmkeras launch" in told
    monkeypatch.setenv("TPU_NAME", "nowhere")
    assert "train.strategy: no TPU answers" in refused(strategy="tpu")
    team(monkeypatch)
    assert "one, but TF_CONFIG names 2 workers" in refused(strategy="one")


def test_a_saved_model_of_tf_hub_is_refused(monkeypatch):
    team(monkeypatch)
    with pytest.raises(RecipeError, match="branches.text: a SavedModel of TF Hub was"):
        distribution.strategy_of(Train(), {"text": {"kind": "hub"}})


def test_auto_trains_tf_hub_on_one_of_several_devices(monkeypatch):
    gpus = ["GPU:0", "GPU:1"]
    monkeypatch.setattr(strategies.tf.config, "list_logical_devices", lambda kind: gpus)
    text = {"text": {"kind": "hub"}}
    assert distribution.strategy_of(Train(), text) is None
    with pytest.raises(RecipeError, match="branches.text: a SavedModel of TF Hub was"):
        distribution.strategy_of(Train(strategy="mirrored"), text)


def test_what_no_tpu_runs_is_refused(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "local")
    with pytest.raises(RecipeError, match="branches.text: a SavedModel of TF Hub"):
        distribution.strategy_of(Train(), {"text": {"kind": "hub"}})


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"steps_per_execution": 2}, "train.steps_per_execution: 2 fails in Keras"),
        ({"accumulation_steps": 4}, "train.accumulation_steps: 4 fails in Keras"),
        ({"jit_compile": True}, "train.jit_compile fails in Keras under"),
        ({"precision": "mixed_float16"}, "train.precision: mixed_float16"),
        ({"time_limit_minutes": 3}, "Say it in steps: train.max_steps"),
    ],
)
def test_what_fails_under_a_strategy_is_refused(monkeypatch, keys, told):
    team(monkeypatch)
    assert told in refused(**keys)


def test_another_keras_and_its_own_distribution_are_refused(monkeypatch):
    team(monkeypatch)
    monkeypatch.setattr(strategies.keras, "__version__", "3.16.0")
    assert "tested with Keras 3.15" in refused() and "this is 3.16.0" in refused()
    monkeypatch.setattr(strategies.keras, "__version__", "3.15.1")
    made = keras.distribution.DataParallel
    monkeypatch.setattr(strategies.keras.distribution, "distribution", lambda: made)
    assert "keras.distribution is set, which does nothing" in refused()


def place(monkeypatch, replicas, fixed=False):
    share = Share(tuple(range(replicas)), replicas, fixed)
    made = places.Place(replicas, share, 0, None)
    monkeypatch.setattr(places, "here", lambda: made)


def test_a_device_without_rows_is_refused(monkeypatch):
    place(monkeypatch, 4)
    places.require_rows({"train": 36, "valid": 4}, Train(batch_size=16))
    with pytest.raises(RecipeError) as caught:
        places.require_rows({"train": 35, "valid": 4}, Train(batch_size=16))
    told = "16 rows a step leave 3 of 35 for the last one, and each of 4 devices needs"
    assert told in str(caught.value)
    assert "Set it to 18, or train on fewer devices" in str(caught.value)
    places.require_rows({"train": 35, "valid": 4}, Train(batch_size=18))
    with pytest.raises(RecipeError, match="valid split has 3 rows"):
        places.require_rows({"train": 36, "valid": 3}, Train(batch_size=16))
    place(monkeypatch, 8, fixed=True)
    places.require_rows({"train": 35, "valid": 3}, Train(batch_size=16))
    with pytest.raises(RecipeError, match="not a multiple of the 8 cores"):
        places.require_rows({"train": 36, "valid": 8}, Train(batch_size=12))


def test_rows_that_are_mixed_stand_on_one_device(monkeypatch):
    places.require_own_rows(Augment(mixup=0.2))
    place(monkeypatch, 2)
    places.require_own_rows(Augment())
    with pytest.raises(RecipeError, match="augment.mixup: 0.2 mixes each row with the"):
        places.require_own_rows(Augment(mixup=0.2))


def test_batch_size_per_replica_grows_with_the_devices(monkeypatch):
    place(monkeypatch, 4)
    assert places.batch_size(Train(batch_size=8)) == 8
    assert places.batch_size(Train(batch_size=8, batch_size_per="replica")) == 32


@pytest.mark.parametrize("count", [3, 10, 127, 128, 129, 130, 257, 1000])
def test_every_device_has_rows_to_validate(count):
    share = Share((0, 1, 2), 3)
    size = places.even(count, 128, share)
    assert (count % size or size) >= 3
    assert size >= 120 or count < size


NUMBERS = {"it": np.arange(21), "odd": np.arange(21) % 2}


def batches(share, batch_size=8, **options):
    rows = dataset.Rows({"it": tf.range(21)}, {}, {})
    return dataset.shuffled(
        rows, NUMBERS, batch_size=batch_size, seed=3, share=share, **options
    )


@pytest.mark.parametrize("own", [1, 3])
def test_replicas_share_a_step_and_nothing_is_lost(own):
    """Steps of 8, 8 and 5 rows; each replica has every third of them, in order."""
    whole = [given["it"].numpy() for given, _ in batches(dataset.WHOLE).take(6)]
    seen = [[] for _ in range(6)]
    for first in range(0, 3, own):
        share = Share(tuple(range(first, first + own)), 3)
        dealt = [
            (g["it"].numpy(), t["it"].numpy()) for g, t in batches(share).take(6 * own)
        ]
        for number, (given, taught) in enumerate(dealt):
            np.testing.assert_array_equal(given, taught)
            step, replica = number // own, first + number % own
            np.testing.assert_array_equal(given, whole[step][replica::3])
            seen[step].extend(given.tolist())
    assert [sorted(each) for each in seen] == [sorted(each.tolist()) for each in whole]


def test_a_worker_reads_its_own_rows_alone(monkeypatch):
    taken, plain = [], dataset.Rows.take

    def watched(self, numbers):
        note = lambda n: taken.append(len(n)) or n  # noqa: E731
        tf.numpy_function(note, [numbers], "int64")
        return plain(self, numbers)

    monkeypatch.setattr(dataset.Rows, "take", watched)
    list(batches(Share((1,), 2)).take(3))
    # Several batches are made at once: which is noted first is left open.
    assert max(taken) == 4
    assert 2 in taken


def test_fixed_steps_are_filled_up_with_rows_that_do_not_count():
    share = Share((0, 1), 2, fixed=True)
    dealt = list(batches(share).take(6))
    assert {given["it"].shape for given, *_ in dealt} == {(4,)}
    assert batches(share).element_spec[0]["it"].shape == (4,)
    counted = [w["it"].numpy() for *_, w in dealt]
    assert [each.sum() for each in counted] == [4, 4, 4, 4, 3, 2]
    real = [
        given["it"].numpy()[w > 0]
        for (given, *_), w in zip(dealt, counted, strict=True)
    ]
    assert sorted(np.concatenate(real)) == list(range(21))
    rows = dataset.Rows({"it": tf.range(21)}, {}, {})
    weights = {name: np.full(21, 0.5, "float32") for name in NUMBERS}
    held = list(dataset.labelled(rows, (NUMBERS, weights), 16, share))
    assert [w["odd"].numpy().sum() for *_, w in held] == [4.0, 4.0, 1.5, 1.0]


def test_a_lost_worker_is_named(monkeypatch):
    team(monkeypatch, 0)
    message = "Connection reset: /job:worker/replica:0/task:1 while /task:0 waited"
    lost = teams.tf.errors.UnavailableError(None, None, message)
    with pytest.raises(distribution.WorkerLostError) as caught:
        with distribution.loss_of_workers_told():
            raise lost
    told = str(caught.value)
    assert told.startswith("worker 1 (two:2) no longer answers worker 0")
    assert "Start all workers again with the same arguments and --resume" in told
    monkeypatch.delenv("TF_CONFIG")
    with pytest.raises(teams.tf.errors.UnavailableError):
        with distribution.loss_of_workers_told():
            raise lost


def test_one_device_is_left_as_it_was():
    loss = keras.losses.MeanSquaredError()
    assert distribution.losses({"it": loss}) == {"it": loss}
    assert distribution.model_class(keras.Model) is keras.Model
    assert distribution.agreed(7) == 7
    tensor = np.ones(3)
    assert distribution.gathered(tensor) is tensor
    assert distribution.here().share == dataset.WHOLE


def test_strategy_is_a_key_with_choices():
    tree = {
        "name": "x",
        "data": {
            "manifest": "x",
            "inputs": {"a": "text"},
            "targets": {"b": "classification"},
        },
        "train": {"strategy": "many"},
    }
    with pytest.raises(RecipeError, match="'one', 'mirrored', 'multiworker' or 'tpu'"):
        config.parse(tree)
