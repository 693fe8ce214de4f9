import functools
import json

import pytest

from mmkeras import cli
from mmkeras.serving import models, server


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory):
    """The exported model behind the development server, as `pets`."""
    versions = models.Versions(exported[0].parent, name="pets", log=lambda _: None)
    with server.Server(versions, port=0, grpc_port=0) as running:
        yield running


@pytest.fixture
def ask(call):
    """`mmkeras ask ...`: (exit code, stdout, stderr)."""
    return functools.partial(call, "ask")


@pytest.mark.parametrize("transport", ["url", "grpc_url"])
def test_a_server_answers_as_predict_does(
    ask, call, served, exported, options, transport
):
    url = f"{getattr(served, transport)}/v1/models/pets"
    told = [*options, "--json"]
    code, out, _ = ask(url, "--export", exported[0].parent, *told)
    right, wanted, _ = call("predict", exported[0], *told)
    assert right == code == 0
    answer, expected = json.loads(out), json.loads(wanted)
    assert list(answer) == list(expected)
    for name in ("label", "present", "error"):
        assert answer[name] == expected[name]
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


def test_without_the_export_classes_are_told_by_number(ask, served, options):
    code, out, _ = ask(served.url, "--model", "pets", *options)
    lines = dict(line.split(None, 1) for line in out.splitlines())
    assert code == 0 and list(lines) == ["label", "probability", "probabilities"]
    assert lines["probabilities"].startswith(f"#{lines['label']} ")


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--model", "pets", "--txt", "a"], cli.USAGE, "(did you mean `--text`?)"),
        (["--model", "pets"], cli.USAGE, "nothing to answer: give "),
        (["--text", "a"], cli.USAGE, "names no model, and a server lists none"),
        (
            ["--model", "x", "--text", "a"],
            cli.FAILED,
            "not found for request: Latest(x)",
        ),
        (["--model", "pets", "--image", "no.png"], cli.MISSING, "no file no.png"),
        (
            ["--model", "pets", "--text", "a", "--export", "nowhere"],
            cli.MISSING,
            "no version in nowhere",
        ),
    ],
)
def test_messages_and_exit_codes(ask, served, arguments, code, expected):
    got, out, err = ask(served.url, *arguments)
    assert got == code and out == "" and expected in err


def test_nobody_listens(ask):
    code, _, err = ask("http://127.0.0.1:1/v1/models/pets", "--text", "a")
    assert code == cli.FAILED
    assert (
        "mmkeras ask: metadata of model pets at http://127.0.0.1:1: nobody list" in err
    )
