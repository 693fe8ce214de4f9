"""What the development server has of its own: folders, limits, its start and end."""

import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
import tensorflow as tf

from mmkeras import cli
from mmkeras.client import Client, ServerError
from mmkeras.serving import models, server

ROW = {"text": "seven", "image_bytes": "", "audio_bytes": ""}


def by_hand(folder, **functions):
    """A SavedModel of one text; {output name: function of it}, all (rows,)."""
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="text")
    serve = tf.function(
        lambda text: {name: each(text) for name, each in functions.items()}, [spec]
    )
    tf.saved_model.save(
        module,
        str(folder),
        signatures={"serving_default": serve.get_concrete_function()},
    )


def slowly(text):
    """Half a second and more of work, on the way to the text itself."""
    size = 1500 + 0 * tf.size(text)
    busy = tf.ones((size, size))
    for _ in range(12):
        busy = tf.linalg.matmul(busy, busy) / 1500
    return tf.strings.join([text, tf.where(busy[0, 0] > 0, "", "x")])


def running(folder, **options):
    versions = models.Versions(folder, name="m", poll_seconds=0.1, log=lambda _: None)
    return server.Server(versions, port=0, grpc_port=0, log=lambda _: None, **options)


def eventually(check, seconds=60):
    until = time.monotonic() + seconds
    while not check() and time.monotonic() < until:
        time.sleep(0.05)
    assert check()


def test_one_output_has_no_name_and_one_input_needs_none(tmp_path):
    by_hand(tmp_path / "1", copy_bytes=tf.identity)
    with running(tmp_path) as run:
        for url in (run.url, run.grpc_url):
            found = Client(url, model="m").predict([{"text": "a"}, {"text": b"\xff"}])
            assert found == {"copy_bytes": [b"a", b"\xff"]}
            found = Client(url, model="m").predict({"text": ["b"]})
            assert found == {"copy_bytes": [b"b"]}
        for body, answer in (
            ('{"instances": ["a"]}', '{"predictions": [{"b64": "YQ=="}]}'),
            ('{"instances": [{"b64": "YQ"}]}', '{"predictions": [{"b64": "YQ=="}]}'),
            ('{"inputs": ["a"]}', '{"outputs": [{"b64": "YQ=="}]}'),
        ):
            path = f"{run.url}/v1/models/m:predict"
            with urllib.request.urlopen(path, body.encode()) as response:
                assert json.load(response) == json.loads(answer)


def test_decimals_are_those_of_float32(tmp_path):
    def numbers(text):
        return tf.strings.to_number(text)

    by_hand(tmp_path / "1", number=numbers, text=tf.identity)
    with running(tmp_path) as run:
        path = f"{run.url}/v1/models/m:predict"
        body = b'{"inputs": ["0.2", "1e10", "3", "nan", "inf"]}'
        with urllib.request.urlopen(path, body) as response:
            assert b'"number": [0.2, 10000000000.0, 3.0, NaN, Infinity]' in (
                response.read()
            )
        with pytest.raises(ServerError, match="could not correctly convert string: x"):
            Client(run.url, model="m").predict([{"text": "x"}])


def test_an_output_filter_over_grpc(tmp_path):
    by_hand(tmp_path / "1", one=tf.identity, two=tf.identity)
    with running(tmp_path) as run:
        transport = Client(run.grpc_url, model="m")._transport
        request = transport.apis.predict.PredictRequest()
        request.inputs["text"].CopyFrom(tf.make_tensor_proto(["a"]))
        request.output_filter.append("two")
        found = transport._call(transport.prediction.Predict, request)
        assert list(found.outputs) == ["two"] and found.model_spec.version.value == 1
        request.output_filter.append("three")
        with pytest.raises(ServerError, match="alias not found in signature: three"):
            transport._call(transport.prediction.Predict, request)
        request.inputs["text"].CopyFrom(tf.make_tensor_proto([1.0]))
        with pytest.raises(ServerError, match="text must be DT_STRING, was float32"):
            transport._call(transport.prediction.Predict, request)


def test_too_large_a_request_is_refused(tmp_path):
    by_hand(tmp_path / "1", one=tf.identity, two=tf.identity)
    with running(tmp_path, max_mb=1) as run:
        fits, large = [{"text": "a" * 10**6}], [{"text": "a" * (3 * 2**20)}]
        for url, code, words in (
            (run.url, 413, r"the request has 3.0 MB, the server takes 1 MB"),
            (run.grpc_url, 429, r"larger than max"),
        ):
            assert len(Client(url, model="m").predict(fits)["one"][0]) == 10**6
            with pytest.raises(ServerError, match=words) as caught:
                Client(url, model="m").predict(large)
            assert caught.value.code == code
            assert "Send fewer rows at once, or smaller files" in str(caught.value)


def test_versions_come_and_go(tmp_path):
    folder = tmp_path / "m"
    by_hand(folder / "2", two=tf.identity, text=tf.identity)
    with running(folder) as run:
        asked = Client(run.url, model="m")
        by_hand(tmp_path / "work", ten=tf.identity, text=tf.identity)
        held = run.versions.pick("m")
        (tmp_path / "work").rename(folder / "10")
        eventually(lambda: asked.metadata()["version"] == 10)
        assert set(asked.predict([{"text": "a"}])) == {"ten", "text"}
        # A request that had begun with the old one ends with it.
        assert set(held.answer({"text": [b"a"]}, "serving_default")) == {"two", "text"}
        eventually(
            lambda: (
                [(each["version"], each["state"]) for each in asked.status()]
                == [(10, "AVAILABLE"), (2, "END")]
            )
        )
        with pytest.raises(ServerError, match=r"request: Specific\(m, 2\)"):
            Client(run.url, model="m", version=2).metadata()
        shutil.rmtree(folder / "10")
        eventually(lambda: asked.metadata()["version"] == 2)
        shutil.rmtree(folder)  # nothing to put in its place: it stays
        time.sleep(0.3)
        assert asked.predict([{"text": "a"}])["two"] == ["a"]


def test_a_version_that_does_not_load_leaves_the_old_one(tmp_path):
    by_hand(tmp_path / "1", one=tf.identity, text=tf.identity)
    with running(tmp_path) as run:
        (tmp_path / "2").mkdir()
        (tmp_path / "2" / "saved_model.pb").write_bytes(b"cut")
        asked = Client(run.url, model="m")
        eventually(lambda: [e["state"] for e in asked.status()] == ["END", "AVAILABLE"])
        words = r"\S+/2 does not load: Cannot parse file .* Is it whole.*"
        assert re.fullmatch(words, asked.status()[0]["error"])
        assert asked.metadata()["version"] == 1
        assert asked.predict([{"text": "a"}])["one"] == ["a"]


@pytest.mark.parametrize(
    ("made", "labels", "message"),
    [
        ([], {}, r"no version in \S+: no <number>/saved_model.pb. `mmkeras export RUN"),
        (["."], {}, r"\S+ is one version: serve the folder above it, /"),
        (["7"], {"x": 6}, r"\S+ has no version 6. Found \[7\]"),
    ],
)
def test_folders_that_cannot_be_served(tmp_path, made, labels, message):
    for name in made:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "saved_model.pb").touch()
    with pytest.raises(FileNotFoundError, match=message):
        models.Versions(tmp_path, labels=labels)


def test_what_is_in_flight_is_answered_at_the_end(tmp_path):
    by_hand(tmp_path / "1", text=slowly, copy=tf.identity)
    run = running(tmp_path)
    clients = [Client(url, model="m", retries=0) for url in (run.url, run.grpc_url)]
    began = threading.Event()
    answer = models.Loaded.answer

    def told(self, *arguments):
        began.set()
        return answer(self, *arguments)

    models.Loaded.answer = told
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for each in clients:
                began.clear()
                job = pool.submit(each.predict, [{"text": "a"}])
                assert began.wait(30)
            run.close()
            assert job.result()["text"] == ["a"]
    finally:
        models.Loaded.answer = answer
    for each in clients:
        with pytest.raises(ServerError):
            each.predict([{"text": "a"}])


def test_a_port_that_is_taken_is_told(tmp_path):
    by_hand(tmp_path / "1", one=tf.identity)
    with running(tmp_path) as run:
        port = int(run.url.rsplit(":", 1)[1])
        words = f"cannot listen at 127.0.0.1:{port}: Address already in use. --port ta"
        with pytest.raises(server.ListenError, match=words):
            server.Server(run.versions, port=port, grpc_port=None)
        port = int(run.grpc_url.rsplit(":", 1)[1])
        words = f"cannot listen at 127.0.0.1:{port}: .*:{port}. --grpc-port takes anot"
        with pytest.raises(server.ListenError, match=words):
            server.Server(run.versions, port=0, grpc_port=port)


@pytest.mark.parametrize("host", ["203.0.113.9", "nohost.invalid"])
def test_an_address_of_another_machine_is_told(host):
    with pytest.raises(server.ListenError) as caught:
        server.Server(None, host=host, port=0, grpc_port=None)
    told = str(caught.value)
    assert told.startswith(f"cannot listen at {host}:0: ") and told.count(host) == 1
    assert "--host takes an address of this machine" in told


def test_without_the_stubs_it_serves_rest_and_says_so(tmp_path, monkeypatch):
    by_hand(tmp_path / "1", one=tf.identity, two=tf.identity)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    told = []
    versions = models.Versions(tmp_path, name="m", log=lambda _: None)
    with server.Server(versions, port=0, grpc_port=0, log=told.append) as run:
        assert run.grpc_url is None
        assert Client(run.url, model="m").predict([{"text": "a"}])["one"] == ["a"]
    assert told == [
        "serve: REST only. grpc:// needs: pip install 'mmkeras[serving]'. http:// "
        "needs nothing"
    ]


def test_without_the_extra_the_verb_names_it(monkeypatch, capsys):
    for name in list(sys.modules):
        if name.startswith("mmkeras.serving"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys.modules["mmkeras"], "serving", None, raising=False)
    monkeypatch.delattr(sys.modules["mmkeras"], "serving")
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert cli.main(["serve", "nowhere"]) == cli.MISSING
    assert "needs: pip install 'mmkeras[serving]'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_verb_serves_until_a_signal(tmp_path, number):
    folder = tmp_path / "pets"
    by_hand(folder / "3", one=tf.identity, two=tf.identity)
    code = "import sys; from mmkeras import cli; sys.exit(cli.main(sys.argv[1:]))"
    arguments = ["serve", str(folder), "--port", "0", "--grpc-port", "0", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        lines = []
        while "docker run" not in (lines or [""])[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        told = "".join(lines)
        assert "a development server, for one machine and its user" in told
        assert f"{folder}:/models/pets tensorflow/serving" in told
        urls = re.findall(r"(?:http|grpc)://[^\s,;]+", told)
        assert len(urls) == 3 and urls[2] == urls[0].split("v1")[0]  # the page
        for url in urls[:2]:
            found = Client(url.removesuffix("/"), model="pets").predict([{"text": "a"}])
            assert found == {"one": ["a"], "two": ["a"]}
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and json.loads(out) == {"model": "pets"}
    assert "ending, when what is being answered is answered" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "65536"], "--port takes 0, any free one, to 65535. Got 65536"),
        (["--port", "-1"], "--port takes 0, any free one, to 65535. Got -1"),
        (["--grpc-port", "99999"], "--grpc-port takes 0, any free one, to 65535. Got"),
        (["--grpc-port", "8501"], "--port and --grpc-port are both 8501: each needs"),
        (["--max-mb", "0"], "--max-mb takes 1 or more. Got 0"),
        (["--name", "a/b"], "--name: a model cannot be called `a/b`: expected ASCII"),
    ],
)
def test_numbers_and_names_that_no_server_has(options, message, capsys):
    assert cli.main(["serve", "nowhere", *options]) == cli.USAGE
    assert message in capsys.readouterr().err


def test_versions_none_of_which_loads(tmp_path, capsys):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"cut")
    assert cli.main(["serve", str(tmp_path), "--port", "0"]) == cli.FAILED
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        rf"mmkeras serve: no version of {tmp_path} loads: \S+/1 does not load: Cannot "
        r"parse file .*Is it whole\? `mmkeras export` writes a version anew",
        told,
    )


@pytest.mark.parametrize("label", ["stable", "=3", "stable=x"])
def test_labels_of_the_verb(label, capsys):
    assert cli.main(["serve", "nowhere", "--label", label]) == cli.USAGE
    told = capsys.readouterr().err
    assert f"--label takes LABEL=VERSION, as stable=3. Got {label}" in told


def test_the_verb_without_a_version(tmp_path, capsys):
    assert cli.main(["serve", str(tmp_path)]) == cli.MISSING
    assert "no version in" in capsys.readouterr().err
