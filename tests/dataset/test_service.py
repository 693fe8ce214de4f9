"""Rows over tf.data service: those of one process, whoever makes them and dies."""

import contextlib
import dataclasses
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import (
    augment,
    cli,
    config,
    dataset,
    manifest,
    modalities,
    progress,
    train,
)
from mmkeras.dataset import servers, service
from mmkeras.train import fitting
from mmkeras.verbs import launch

COUNT, BATCH = 70, 8
STOP = 7  # steps in all after which a training is stopped
PATIENT = 300.0  # seconds: a busy machine's workers begin late


def started(*arguments):
    """`mmkeras data-worker` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "mmkeras.cli", "data-worker", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )


def place(process):
    """The line by which a process says that it is ready."""
    for line in process.stderr:
        if line.startswith("data-worker: ") and "waits for" not in line:
            return line
    raise RuntimeError(f"{process.args} ended: {process.wait()}")


@contextlib.contextmanager
def ended(processes):
    """Ends processes with its block, however it ends."""
    try:
        yield processes
    finally:
        for each in processes:
            each.kill()
            each.wait()
            each.stderr.close()


@pytest.fixture(scope="module")
def processes():
    """A dispatcher and two workers: (address, [processes])."""
    (free,) = launch.free_addresses(1)
    address = f"grpc://{free}"
    own = ["--dispatcher", free.rpartition(":")[2]]
    with ended([started(*each) for each in (own, [address], [address])]) as team:
        dispatched, *working = map(place, team)
        assert dispatched.endswith(f" dispatcher at grpc://localhost:{own[1]}\n")
        for line in working:
            assert line.endswith(f" reads rows for {address}\n")
        yield address, team


@pytest.fixture(scope="module")
def batches(recipe, rows):
    """A function of a share: batches of 70 rows of words and pictures, changed."""
    few = dataclasses.replace(rows, frame=rows.frame[:COUNT])
    inputs = {name: recipe.data.inputs[name] for name in ("text", "image")}
    made = modalities.make(inputs, recipe.branches)
    made["text"].learn(few.cells("text"))
    held, _ = dataset.load(few, made, cache_mb=0)
    options = config.parse(
        recipe.model_dump(by_alias=True),
        ["augment.image_shift=0.1", "augment.modality_dropout=0.2"],
    ).augment
    kinds = {name: each["kind"] for name, each in inputs.items()}
    change = augment.changes(options, kinds, {})

    def given(share=dataset.WHOLE):
        return dataset.shuffled(
            held,
            {"number": np.arange(COUNT)},
            batch_size=BATCH,
            seed=3,
            augment=change,
            begin=(1, 2),
            share=share,
        )

    return given


def require_equal(one, two):
    """Batches with the same bits in the same order; the numbers of their rows."""
    numbers = []
    for (here, _), (there, told) in zip(one, two, strict=True):
        assert here.keys() == there.keys()
        for key, values in here.items():
            np.testing.assert_array_equal(values, there[key])
        numbers.append(told["number"].numpy())
    return np.concatenate(numbers)


class Arrivals:
    """Numbers as workers send them, with silences between; its clock is its own."""

    def __init__(self, numbers):
        self.numbers, self.now = iter(numbers), 0.0

    def __iter__(self):
        return self

    def __next__(self):
        number = next(self.numbers, -1)
        self.now += 1.0 if number < 0 else 0.01
        return number, [tf.fill((256,), number)]  # 2 kB of int64


@pytest.fixture
def taken(monkeypatch):
    """A function of arrivals, a count and room: what came, or None, of each number."""

    def given(arrivals, count, room_bytes=2**20, patience=10.0):
        monkeypatch.setattr(service.time, "monotonic", lambda: arrivals.now)
        queue = service._Queue(arrivals, room_bytes)
        batches = [queue.taken(number, patience) for number in range(count)]
        return [batch and int(batch[0][0]) for batch in batches], queue

    return given


@pytest.mark.parametrize("seed", range(5))
def test_whatever_order_they_come_in_each_is_given_in_its_turn(taken, seed):
    rng = random.Random(seed)
    numbers = sorted(range(60), key=lambda number: number + rng.uniform(0, 9))
    lost = set(rng.sample(range(60), 6))
    sent = [n for n in numbers for _ in range(rng.choice((1, 1, 2))) if n not in lost]
    got, _ = taken(Arrivals(sent), 60)
    assert got == [None if number in lost else number for number in range(60)]


def test_what_does_not_come_is_waited_for_once(taken):
    """Numbers 0 to 4 are lost, then silence: 10 s for all of them together."""
    arrivals = Arrivals([5, 6])
    got, queue = taken(arrivals, 20)
    assert got == [None] * 5 + [5, 6] + [None] * 13
    assert queue.is_silent
    # One look a number at whether somebody is there again.
    assert arrivals.now == pytest.approx(10 + 4 + 13, abs=1)


def test_those_that_come_again_are_heard(taken):
    got, queue = taken(Arrivals([0, *[-1] * 14, 1, 7, 8]), 9)
    assert got == [0, None, None, None, None, None, None, 7, 8]
    assert not queue.is_silent


def test_where_there_is_no_room_nothing_is_waited_for(taken):
    arrivals = Arrivals(range(1, 50))
    got, queue = taken(arrivals, 3, room_bytes=6 * 2**10)
    assert got == [None, 1, 2] and len(queue.held) <= 5 and arrivals.now < 1


def test_an_address_where_nobody_is_says_what_to_start(recipe, rows, tmp_path):
    (free,) = launch.free_addresses(1)
    changes = [f"train.data_service=grpc://{free}"]
    alone = config.parse(recipe.model_dump(by_alias=True), changes)
    with pytest.raises(dataset.ServiceError) as caught:
        train.fit(alone, rows, folder=tmp_path / "run", log=pytest.fail)
    told = str(caught.value)
    assert told.startswith(f"nothing answers at grpc://{free} (Connection refused). ")
    port = free.rpartition(":")[2]
    for command in (f"--dispatcher {port}", f"grpc://{free}"):
        assert f"`mmkeras data-worker {command}`" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["train.data_service=hub:5050"], "the address of a dispatcher, grpc://HOST:"),
        (["train.data_service=grpc://hub"], "the address of a dispatcher, grpc://HOST"),
        (["train.strategy=multiworker"], "train.strategy: multiworker was not tried"),
        (["train.strategy=tpu"], "train.strategy: tpu was not tried with it: drop one"),
        (
            ["train.batch_size=auto", "train.memory_limit_gb=1"],
            "train.batch_size: auto measures in processes of its own: give a number",
        ),
        (
            ["data.disk_mb=64"],
            "data.disk_mb: 64 keeps what this process decodes, and t",
        ),
    ],
)
def test_what_does_not_go_with_a_service_is_refused(recipe, changes, told):
    own = ["train.data_service=grpc://hub:5050", *changes]
    with pytest.raises(config.RecipeError, match=told):
        config.parse(recipe.model_dump(by_alias=True), own)


def test_features_that_are_kept_need_no_service(recipe, monkeypatch):
    monkeypatch.setattr(fitting, "_frozen", lambda *_: {"image": None})
    served = SimpleNamespace(service=dataset.Service("grpc://hub:5050"))
    with pytest.raises(config.RecipeError, match="of `image` the features of its fro"):
        fitting._on_features(recipe, served, None, "fusion")


def test_several_workers_of_one_run_are_refused(recipe, rows, monkeypatch):
    several = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": 0}}'
    monkeypatch.setenv("TF_CONFIG", several)
    changes = ["train.data_service=grpc://hub:5050"]
    served = config.parse(recipe.model_dump(by_alias=True), changes)
    with pytest.raises(config.RecipeError, match="under the strategy multiworker, wh"):
        train.prepare(served, rows, log=pytest.fail)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "or --dispatcher PORT to be one"),
        (["grpc://hub:5050", "--dispatcher", "5050"], "or --dispatcher PORT to be one"),
        (["hub:5050"], "hub:5050: expected the address of a dispatcher, grpc://HOST"),
        (["--dispatcher", "70000"], "--dispatcher 70000: expected a port, 0 to 65535"),
        (["grpc://hub:1", "--port", "-1"], "--port -1: expected a port, 0 to 65535"),
    ],
)
def test_usage_of_the_verb(arguments, told, capsys):
    assert cli.main(["data-worker", *arguments]) == cli.USAGE
    shown = capsys.readouterr()
    assert told in shown.err and not shown.out


def test_a_worker_without_a_dispatcher_says_what_to_start(capsys):
    (free,) = launch.free_addresses(1)
    own = ["data-worker", f"grpc://{free}", "--wait-seconds", "0.1"]
    assert cli.main(own) == cli.FAILED
    told = capsys.readouterr().err
    assert f"waits for grpc://{free} (Connection refused)" in told
    assert f"nothing answers at grpc://{free}" in told
    assert f"`mmkeras data-worker --dispatcher {free.rpartition(':')[2]}`" in told


@pytest.fixture
def website():
    """The address of an HTTP server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"grpc://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


class Quiet(BaseHTTPRequestHandler):
    """Answers every request with an error, and says nothing of it on stderr."""

    def log_message(self, *_):
        """In the place of a line for each request."""


@pytest.fixture
def mute(monkeypatch):
    """The address of a socket that takes connections and says nothing."""
    monkeypatch.setattr(service, "TO_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield f"grpc://127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("website", "what answers there is no dispatcher"),
        ("mute", "it takes connections and says nothing in 0.2 s"),
    ],
)
def test_what_is_no_dispatcher_is_told_by_worker_and_training(
    kind, fault, request, recipe, rows, capsys
):
    address = request.getfixturevalue(kind)
    told = f"nothing answers at {address} ({fault}). Start there `mmkeras data-worker"
    assert cli.main(["data-worker", address, "--wait-seconds", "0"]) == cli.FAILED
    assert told in capsys.readouterr().err
    changes = [f"train.data_service={address}"]
    served = config.parse(recipe.model_dump(by_alias=True), changes)
    with pytest.raises(dataset.ServiceError) as caught:
        train.prepare(served, rows, log=pytest.fail)
    assert str(caught.value).startswith(told)
    # One that is gone in mid-training: this process goes on by itself.
    said, asked = [], dataset.Service(address)
    asked.log = said.append
    flow = asked.flow(lambda number: number * 2, 0, 3)
    assert [int(number) for number in flow] == [0, 2, 4]
    assert said == [
        f"train.data_service: {address} gives no rows ({fault}): this process reads "
        "them"
    ]


def test_a_dispatcher_answers():
    held, port = servers.dispatcher(0)
    assert service.silence(f"grpc://localhost:{port}") == "" and held


def test_a_port_that_is_taken_is_told(capsys):
    with socket.create_server(("0.0.0.0", 0)) as held:  # noqa: S104
        port = held.getsockname()[1]
        assert cli.main(["data-worker", "--dispatcher", str(port)]) == cli.FAILED
    assert f"cannot listen at port {port} (" in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_give_the_rows_of_one_process_in_its_order(processes, batches):
    address, _ = processes
    asked = dataset.Service(address, patience_seconds=PATIENT, log=pytest.fail)
    given = batches(dataset.Share(flow=asked.flow)).take(7 + 2 * 9)
    numbers = require_equal(batches().take(7 + 2 * 9), given)
    for epoch in np.split(numbers[-2 * COUNT :], 2):
        assert sorted(epoch) == list(range(COUNT))
    shares = [dataset.Share((0, 1), 3, flow=flow) for flow in (None, asked.flow)]
    require_equal(*[batches(share).take(8) for share in shares])


@pytest.mark.slow
def test_a_training_with_workers_ends_with_the_same_weights(
    processes, recipe, rows, trained, tmp_path, monkeypatch
):
    address, _ = processes
    given = dataset.Service.__init__.__kwdefaults__
    monkeypatch.setitem(given, "patience_seconds", PATIENT)
    changes = [f"train.data_service={address}", "train.baselines=false"]
    served = config.parse(recipe.model_dump(by_alias=True), changes)
    said = []
    made = train.fit(served, rows, folder=tmp_path / "run", log=said.append)
    for one, two in zip(trained.model.weights, made.model.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not [line for line in said if "data_service" in line]


class Bytes:
    """The smallest decoder of files: four bytes."""

    is_file = True
    specs = {"it": tf.TensorSpec((4,), tf.uint8)}

    def attempt_batch(self, raws):
        return {"it": tf.io.decode_raw(raws, tf.uint8)}, tf.zeros_like(raws)


@pytest.mark.slow
def test_a_file_that_a_worker_cannot_read_is_named(processes, tmp_path):
    address, _ = processes
    paths = [str(tmp_path / f"{number}.bin") for number in range(16)]
    for path in paths[:-1]:
        (tmp_path / path).write_bytes(b"four")
    held = dataset.Rows({}, {"it": tf.constant(paths)}, {"it": Bytes()})
    flow = dataset.Service(address, log=pytest.fail).flow
    targets = {"number": np.arange(16)}
    given = dataset.labelled(held, targets, 4, dataset.Share(flow=flow))
    with pytest.raises(manifest.ManifestError) as caught:
        with dataset.broken_files_named():
            list(given)
    told = str(caught.value)
    assert told.startswith(f"{paths[-1]} could be read when the run began")
    assert told.endswith(
        f"No such file or directory (so a worker of {address}: all need the same files "
        "under the same paths)"
    )


@pytest.mark.nightly
def test_a_training_that_was_stopped_goes_on_with_workers(
    processes, recipe, rows, trained, tmp_path, monkeypatch
):
    """In mid-epoch: the weights of one that no worker fed and nobody stopped."""
    address, _ = processes
    given = dataset.Service.__init__.__kwdefaults__
    monkeypatch.setitem(given, "patience_seconds", PATIENT)
    changes = ["train.baselines=false", "train.checkpoint_steps=2"]
    changes.append(f"train.data_service={address}")
    served = config.parse(recipe.model_dump(by_alias=True), changes)
    plain, seen, said = progress.Epochs.on_train_batch_end, [], []

    def watched(self, batch, logs=None):
        plain(self, batch, logs)
        seen.append(batch)
        if len(seen) == STOP:
            raise Stopped

    monkeypatch.setattr(progress.Epochs, "on_train_batch_end", watched)
    with pytest.raises(Stopped):
        train.fit(served, rows, folder=tmp_path / "run", log=said.append)
    made = train.fit(
        served, rows, folder=tmp_path / "run", resume=True, log=said.append
    )
    begun = [line for line in said if line.startswith("fusion: goes on at epoch ")]
    assert begun and not begun[0].endswith("step 1"), "in mid-epoch"
    for one, two in zip(trained.model.weights, made.model.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not [line for line in said if "data_service" in line]


class Stopped(Exception):
    """Ends a fit in the middle of a step's callbacks, as a kill would."""


@pytest.mark.slow
def test_whoever_dies_no_row_is_lost_and_none_comes_twice(processes, batches):
    address, (dispatcher, first, second) = processes
    said = []
    asked = dataset.Service(address, patience_seconds=1.5, log=said.append)
    deaths = {9: first, 30: second, 40: dispatcher}

    def watched():
        given = batches(dataset.Share(flow=asked.flow)).take(7 + 9 * 6)
        for step, batch in enumerate(given):
            if step in deaths:
                os.kill(deaths[step].pid, signal.SIGKILL)
            yield batch

    numbers = require_equal(batches().take(7 + 9 * 6), watched())
    for epoch in np.split(numbers[-6 * COUNT :], 6):
        assert sorted(epoch) == list(range(COUNT))
    silent = (
        f"train.data_service: no rows came from {address} in 1.5 s: this process reads "
        f"them until some do. Is there a worker? mmkeras data-worker {address}"
    )
    assert set(said) == {silent}
    assert asked.made_here > 10
    # What begins now, such as a validation, finds nobody there.
    require_equal(batches().take(2), batches(dataset.Share(flow=asked.flow)).take(2))
    told = f"{address} gives no rows (Connection refused): this process reads them"
    assert said[-1].endswith(told)
