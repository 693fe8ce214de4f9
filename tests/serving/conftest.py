"""A folder with the versions 4 and 5, served by us and by tensorflow/serving."""

import contextlib
import shutil
import socket
import subprocess
import time
import types

import pytest

from mmkeras import export
from mmkeras.client import Client, ServerError
from mmkeras.serving import models, server

CONFIG = """
model_config_list {
  config {
    name: "pets"
    base_path: "/models/pets"
    model_platform: "tensorflow"
    model_version_policy { all {} }
    version_labels { key: "stable" value: 4 }
  }
}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextlib.contextmanager
def ours(folder):
    """The development server."""
    versions = models.Versions(
        folder,
        name="pets",
        labels={"stable": 4},
        poll_seconds=0.2,
        log=lambda _: None,
    )
    with server.Server(versions, port=0, grpc_port=0) as running:
        yield types.SimpleNamespace(
            rest=running.url, grpc=running.grpc_url, folder=folder
        )


@contextlib.contextmanager
def image(folder):
    """The image tensorflow/serving."""
    config = folder.parent / "models.config"
    config.write_text(CONFIG)
    rest, grpc = free_port(), free_port()
    command = ["docker", "run", "--rm", "--detach"]
    command += ["-p", f"127.0.0.1:{rest}:8501", "-p", f"127.0.0.1:{grpc}:8500"]
    command += ["-v", f"{folder}:/models/pets", "-v", f"{config}:/models/models.config"]
    command += ["tensorflow/serving", "--model_config_file=/models/models.config"]
    command += ["--allow_version_labels_for_unavailable_models=true"]
    command += ["--file_system_poll_wait_seconds=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    try:
        url = f"http://127.0.0.1:{rest}"
        until = time.monotonic() + 120
        while not answers(url) and time.monotonic() < until:
            time.sleep(0.5)
        yield types.SimpleNamespace(
            rest=url, grpc=f"grpc://127.0.0.1:{grpc}", folder=folder
        )
    finally:
        subprocess.run(["docker", "stop", done.stdout.strip()], capture_output=True)


def answers(url):
    try:
        found = Client(url, model="pets", retries=0).status()
    except ServerError:
        return False
    return {each["state"] for each in found} == {"AVAILABLE"}


def no_image():
    """Why tensorflow/serving cannot run here; "" where it can."""
    if not shutil.which("docker"):
        return "docker is not installed"
    for command, reason in (
        (["docker", "info"], "docker's daemon does not run"),
        (["docker", "image", "inspect", "tensorflow/serving"], "no such image here"),
    ):
        if subprocess.run(command, capture_output=True).returncode:
            return f"{reason}: {' '.join(command)} fails"
    return ""


@pytest.fixture(
    scope="session",
    params=[ours, pytest.param(image, marks=pytest.mark.docker)],
    ids=["ours", "image"],
)
def run_server(request):
    """A context manager that serves a folder as the model `pets`."""
    if request.param is image and (reason := no_image()):
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session")
def add_version(exported):
    """A function: the exported model as one more version of a folder, whole at once."""

    def add(folder, number):
        work = folder.parent / f"copy-{number}"
        shutil.copytree(exported[0], work)
        work.rename(folder / str(number))

    return add


@pytest.fixture(scope="session")
def make_folder(add_version, tmp_path_factory):
    """A function of version numbers: a new folder of these."""

    def make(*numbers):
        folder = tmp_path_factory.mktemp("served") / "pets"
        folder.mkdir()
        for number in numbers:
            add_version(folder, number)
        return folder

    return make


@pytest.fixture(scope="session")
def served(run_server, make_folder):
    """A server of the versions 4, `stable`, and 5."""
    with run_server(make_folder(4, 5)) as running:
        yield running


@pytest.fixture(params=["rest", "grpc"])
def connect(request, served):
    """A function that gives a client of `served`; its `url` is one transport's."""

    def make(**options):
        options = {"model": "pets", **options}
        return Client(getattr(served, request.param), **options)

    return make


@pytest.fixture(scope="session")
def raw(trained, rows):
    """Twelve raw test rows, {served name: list of bytes}."""
    columns = export.raw_columns(trained, rows.split("test"))
    columns = {name: values[:12] for name, values in columns.items()}
    assert all(any(values) for values in columns.values())
    return columns


@pytest.fixture(scope="session")
def expected(exported, raw):
    """What the exported graph itself answers to `raw`, as lists."""
    found = export.answer(exported[0], raw)
    told = {key: value.tolist() for key, value in found.items()}
    for name in ("label", "error"):
        told[name] = [each.decode() for each in told[name]]
    return told
