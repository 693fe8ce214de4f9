"""How the image is run: by a `docker` that only notes what it is told, and for real."""

import http.server
import json
import re
import threading
import urllib.request

import pytest
import yaml

from mmkeras.client import Client

STATUS = {"model_version_status": [{"version": "5", "state": "AVAILABLE"}]}


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """A function of {command: what sh does}: a `docker` of these; its commands."""

    def make(**does):
        log, script = tmp_path / "asked", tmp_path / "bin" / "docker"
        script.parent.mkdir()
        cases = "".join(f"{name}) {what};;\n" for name, what in does.items())
        script.write_text(f'#!/bin/sh\necho "$@" >> {log}\ncase $1 in\n{cases}esac\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
        return lambda: log.read_text().splitlines()

    return make


@pytest.fixture
def available():
    """Port of a server whose model is available."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(STATUS).encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ({"info": "echo no daemon >&2; exit 1"}, "docker's daemon does not answer: no"),
        ({"image": "exit 1"}, "no image tensorflow/serving here: `pytest -m docker"),
        (
            {"run": "echo TensorFlow Library: 2.19.1"},
            "tensorflow/serving has TensorFlow 2.19, the least is 2.20",
        ),
        ({"run": "echo no"}, "tensorflow/serving --version tells no TensorFlow: no"),
        ({"run": "echo TensorFlow Library: 2.20.0"}, "$"),
        ({"run": "echo TensorFlow Library: 10.1.0"}, "$"),
    ],
)
def test_why_the_image_cannot_run(docker_image, noted, does, reason):
    noted(**does)
    assert re.match(reason, docker_image.no_image())


def test_without_docker_it_says_so(docker_image, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert docker_image.no_image() == "docker is not installed"


def test_an_image_is_fetched_where_it_is_asked_for(docker_image, noted):
    asked = noted(image="exit 1", run="echo TensorFlow Library: 2.21.0")
    assert docker_image.no_image(pulls=True) == ""
    assert "pull tensorflow/serving" in asked()


def test_it_is_started_waited_for_and_taken_away(
    docker_image, noted, available, tmp_path
):
    ports = f"case $3 in 8501/tcp) echo 127.0.0.1:{available};; *) echo 127.0.0.1:7;; "
    asked = noted(run="echo cafe", inspect="echo true", port=f"{ports}esac")
    folder = tmp_path / "pets"
    folder.mkdir()
    with docker_image.image(folder) as running:
        assert running.rest == f"http://127.0.0.1:{available}"
        assert running.grpc == "grpc://127.0.0.1:7"
        started = asked()[0]
    assert started.startswith("run --detach -p 127.0.0.1::8501 -p 127.0.0.1::8500 -v ")
    assert f"-v {folder}:/models/pets:ro " in started
    assert f"-v {tmp_path}/models.config:/models/models.config:ro tensorf" in started
    assert " tensorflow/serving --model_config_file=/models/models.config " in started
    assert (tmp_path / "models.config").is_file()
    assert asked()[-1] == "rm --force --volumes cafe"


def test_one_that_ends_at_once_fails_with_its_log(docker_image, noted, tmp_path):
    asked = noted(
        run="echo cafe",
        port="exit 1",
        inspect="echo false",
        logs="echo No versions of servable pets found >&2",
    )
    folder = tmp_path / "pets"
    folder.mkdir()
    with pytest.raises(pytest.fail.Exception, match="No versions of servable pets"):
        with docker_image.image(folder):
            pass
    assert asked()[-1] == "rm --force --volumes cafe"


@pytest.mark.docker
def test_the_files_of_an_export_serve_with_batching(
    real_image, exported, raw, expected
):
    """The command of `compose.yaml`: its configuration, its batches, its metrics."""
    folder = exported[0].parent
    service = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    (mount,) = service["serving"]["volumes"]
    here, there, _ = mount.split(":")
    model = there.removeprefix("/models/")
    command = service["serving"]["command"]
    with real_image.container({folder / here: there}, command, model) as running:
        for url in (running.rest, running.grpc):
            assert Client(url, model=model).predict(raw)["label"] == expected["label"]
        body = (folder / "request.json").read_bytes()
        path = f"{running.rest}/v1/models/{model}:predict"
        with urllib.request.urlopen(path, body, timeout=20) as response:
            assert len(json.load(response)["predictions"]) == 1
        metrics = f"{running.rest}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(metrics, timeout=20) as response:
            assert "tensorflow" in response.read().decode()
