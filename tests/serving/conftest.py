"""A folder with the versions 4 and 5, served by us and by tensorflow/serving."""

import contextlib
import re
import shutil
import subprocess
import time
import types

import pytest

from mmkeras import export
from mmkeras.client import Client, ServerError
from mmkeras.export.beside import LEAST_SERVER
from mmkeras.serving import models, server

IMAGE = "tensorflow/serving"
READY_SECONDS = 120
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
            rest=running.url, grpc=running.grpc_url, is_ours=True
        )


@contextlib.contextmanager
def image(folder):
    """The image tensorflow/serving."""
    config = folder.parent / "models.config"
    config.write_text(CONFIG)
    mounts = {folder: "/models/pets", config: "/models/models.config"}
    options = [
        "--model_config_file=/models/models.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--file_system_poll_wait_seconds=1",
    ]
    with container(mounts, options, "pets") as running:
        yield running


@contextlib.contextmanager
def container(mounts, options, model):
    """The image with these folders and options of its server; ready, or it fails.

    Args:
        mounts: {path here: path there}.
        options: of `tensorflow_model_server`, beside those of the image.
        model: whose versions must be available before anybody asks.
    """
    # Docker takes free ports: one that is free now may not be so when it begins.
    command = ["run", "--detach", "-p", "127.0.0.1::8501", "-p", "127.0.0.1::8500"]
    for here, there in mounts.items():
        command += ["-v", f"{here}:{there}:ro"]
    # Without --rm: the log of one that ended is still to be read.
    name = docker(*command, IMAGE, *options).strip()
    try:
        wait_for(name, model)
        rest, grpc = (address(name, port) for port in (8501, 8500))
        yield types.SimpleNamespace(
            rest=f"http://{rest}", grpc=f"grpc://{grpc}", is_ours=False
        )
    finally:
        docker("rm", "--force", "--volumes", name)


def address(name, port):
    """Where a port of a container is heard here, as `127.0.0.1:32768`."""
    return docker("port", name, f"{port}/tcp").split()[0]


def wait_for(name, model):
    """Waits until all versions are available; fails with the container's log."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and is_up(name):
        if answers(name, model):
            return
        time.sleep(0.5)
    log = docker("logs", "--tail", "30", name)
    pytest.fail(f"tensorflow/serving does not answer. Its log ends:\n{log}")


def is_up(name):
    return docker("inspect", "--format", "{{.State.Running}}", name).strip() == "true"


def answers(name, model):
    try:
        url = f"http://{address(name, 8501)}"
        found = Client(url, model=model, retries=0).status()
    except (ServerError, OSError, IndexError):  # that has ended meanwhile has no port
        return False
    return {each["state"] for each in found} == {"AVAILABLE"}


def docker(*arguments, timeout_seconds=60):
    """What a command of docker prints, a log on stderr too; OSError where it fails."""
    try:
        done = subprocess.run(
            ["docker", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if arguments[0] == "logs" else subprocess.PIPE,
            text=True,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"no answer in {timeout_seconds} s") from error
    if done.returncode:
        raise OSError((done.stderr or done.stdout).strip()[-500:])
    return done.stdout


def no_image(pulls=False):
    """Why tensorflow/serving cannot run here; "" where it can.

    Args:
        pulls: whether an image that is not here is fetched.
    """
    if not shutil.which("docker"):
        return "docker is not installed"
    try:
        docker("info")
    except OSError as error:
        return f"docker's daemon does not answer: {error}"
    try:
        docker("image", "inspect", IMAGE)
    except OSError:
        if not pulls:
            return f"no image {IMAGE} here: `pytest -m docker tests/serving` fetches it"
        docker("pull", IMAGE, timeout_seconds=1800)
    told = docker("run", "--rm", IMAGE, "--version")
    found = re.search(r"TensorFlow Library: (\d+\.\d+)", told)
    if not found:
        return f"{IMAGE} --version tells no TensorFlow: {told}"
    least, its = (tuple(map(int, v.split("."))) for v in (LEAST_SERVER, found[1]))
    if its < least:
        return f"{IMAGE} has TensorFlow {found[1]}, the least is {LEAST_SERVER}"
    return ""


@pytest.fixture(scope="session")
def docker_image(request):
    """What runs the image, and what says why it cannot."""
    return types.SimpleNamespace(
        image=image,
        container=container,
        no_image=no_image,
        # Half a gigabyte is fetched for who asks for these tests alone.
        pulls=request.config.getoption("markexpr") == "docker",
    )


@pytest.fixture(scope="session")
def real_image(docker_image):
    """The same where the image can run; skips where it cannot, with the reason."""
    if reason := no_image(docker_image.pulls):
        pytest.skip(reason)
    return docker_image


@pytest.fixture(
    scope="session",
    params=[ours, pytest.param(image, marks=pytest.mark.docker)],
    ids=["ours", "image"],
)
def run_server(request):
    """A context manager that serves a folder as the model `pets`."""
    if request.param is image:
        request.getfixturevalue("real_image")
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
