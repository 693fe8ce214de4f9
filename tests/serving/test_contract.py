"""One contract: the development server and tensorflow/serving, REST and gRPC."""

import concurrent.futures
import json
import math
import random
import threading
import time
import urllib.error
import urllib.request

import pytest

from mmkeras.client import Client, ServerError

INPUTS = {"text", "image_bytes", "audio_bytes"}


def as_rows(columns):
    """Texts as str, files as bytes, a row each."""
    names, values = list(columns), zip(*columns.values(), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in values]
    return [{**row, "text": row["text"].decode()} for row in rows]


def assert_same(answers, expected):
    assert set(answers) == set(expected)
    for name in ("label", "abstained", "error", "present"):
        assert answers[name] == expected[name], name
    for name in ("probability", "probabilities"):
        for got, wanted in zip(answers[name], expected[name], strict=True):
            assert got == pytest.approx(wanted, abs=1e-6), name


def with_picture(raw, at, content):
    pictures = list(raw["image_bytes"])
    pictures[at] = content
    return {**raw, "image_bytes": pictures}


def fetch(served, path, body=None):
    """(HTTP status, JSON) of a request by hand."""
    body = body.encode() if isinstance(body, str) else body
    try:
        with urllib.request.urlopen(served.rest + path, body, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_rows_are_answered_as_by_the_graph(connect, raw, expected):
    assert_same(connect().predict(as_rows(raw)), expected)


def test_a_model_without_precision_never_abstains(connect, raw):
    assert connect().predict(raw)["abstained"] == [False] * 12


def test_columns_are_answered_as_rows(connect, raw, expected):
    assert_same(connect().predict(raw), expected)  # also the texts as bytes
    one = {name: values[:1] for name, values in raw.items()}
    first = {name: values[:1] for name, values in expected.items()}
    assert_same(connect().predict(one), first)


def test_what_is_missing_is_an_empty_string(connect, raw):
    answers = connect().predict([dict.fromkeys(raw, "")])
    assert answers["present"] == [[False, False, False]] and answers["error"] == [""]
    assert sum(answers["probabilities"][0]) == pytest.approx(1, abs=1e-5)


def test_one_bad_picture_fails_nothing_else(connect, raw):
    bad = connect().predict(as_rows(with_picture(raw, 2, b"no picture")))
    gone = connect().predict(as_rows(with_picture(raw, 2, b"")))
    assert bad["error"][2].startswith("image: not a JPEG")
    assert bad["error"].count("") == len(bad["error"]) - 1 and set(gone["error"]) == {
        ""
    }
    assert_same({**bad, "error": gone["error"]}, gone)


def test_zero_bytes_survive(connect, raw):
    """A picture that ends in zeros is the same picture."""
    at = next(at for at, each in enumerate(raw["image_bytes"]) if each)
    longer = with_picture(raw, at, raw["image_bytes"][at] + b"\0\0\0")
    assert_same(connect().predict(longer), connect().predict(raw))


def test_another_script_survives(connect):
    row = {"text": "上上面写着三 \U0001f63a", "image_bytes": "", "audio_bytes": ""}
    sent_as_bytes = {**row, "text": row["text"].encode()}
    assert_same(connect().predict([row]), connect().predict([sent_as_bytes]))


def test_versions_and_labels(connect):
    for asked, got in ((None, 5), (4, 4), (5, 5), ("stable", 4)):
        assert connect(version=asked).metadata()["version"] == got
        row = dict.fromkeys(INPUTS, "")
        assert connect(version=asked).predict([row])["error"] == [""]


def test_metadata_tells_inputs_and_outputs(connect):
    told = connect().metadata()["signatures"]["serving_default"]
    assert told["inputs"] == {
        name: {"dtype": "DT_STRING", "shape": [-1]} for name in INPUTS
    }
    assert told["outputs"] == {
        "label": {"dtype": "DT_STRING", "shape": [-1]},
        "probability": {"dtype": "DT_FLOAT", "shape": [-1]},
        "probabilities": {"dtype": "DT_FLOAT", "shape": [-1, 10]},
        "abstained": {"dtype": "DT_BOOL", "shape": [-1]},
        "present": {"dtype": "DT_BOOL", "shape": [-1, 3]},
        "error": {"dtype": "DT_STRING", "shape": [-1]},
    }


def test_status_lists_versions_the_newest_first(connect):
    both = [{"version": each, "state": "AVAILABLE", "error": ""} for each in (5, 4)]
    assert connect().status() == both
    assert connect(version=4).status() == both[1:]
    assert connect(version="stable").status() == both


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"model": "x"}, 404, r"Servable not found for request: Latest\(x\)"),
        ({"model": "x"}, 404, r"predict of model x at \S+: the server answers: "),
        ({"model": "x"}, 404, r"MODEL_NAME of tensorflow/serving, --name of `mmkeras"),
        ({"version": 9}, 404, r"Servable not found for request: Specific\(pets, 9\)"),
        ({"version": 9}, 404, r"GET /v1/models/pets over REST, tells which versions "),
        (
            {"version": "x"},
            400,
            r"Unrecognized servable version label: x \(400\)\. ",
        ),
    ],
)
def test_unknown_models_versions_and_labels(connect, options, code, words):
    with pytest.raises(ServerError, match=words) as caught:
        connect(**options).predict([dict.fromkeys(INPUTS, "")])
    assert caught.value.code == code


def test_the_status_of_what_is_not_there(connect):
    with pytest.raises(ServerError, match="Could not find any versions of model x"):
        connect(model="x").status()
    with pytest.raises(ServerError, match="Could not find version 9 of model pets"):
        connect(version=9).status()


def test_an_unknown_signature(connect):
    with pytest.raises(ServerError, match='Serving signature .*"x".* not found') as e:
        connect().predict([dict.fromkeys(INPUTS, "")], signature="x")
    assert e.value.code == 400


@pytest.mark.parametrize(
    "names",
    [{"text", "image_bytes", "sound"}, INPUTS | {"sound"}, {"text", "image_bytes"}],
    ids=["another", "more", "less"],
)
def test_wrong_names_of_inputs_are_told(connect, names):
    with pytest.raises(ServerError, match="sound|audio_bytes") as caught:
        connect().predict([dict.fromkeys(names, "")])
    assert caught.value.code == 400
    assert "tells what the model takes" in str(caught.value)


def test_columns_of_different_lengths_are_refused(served):
    body = '{"inputs": {"text": ["a", "b"], "image_bytes": [""], "audio_bytes": [""]}}'
    code, answer = fetch(served, "/v1/models/pets:predict", body)
    assert code == 400 and "hape" in answer["error"]


def test_json_of_rows(served, raw, expected):
    """The documented form, without our client."""
    code, answer = fetch(
        served,
        "/v1/models/pets/versions/5:predict",
        '{"signature_name": "serving_default", "instances": [{"text": "seven", '
        '"image_bytes": {"b64": ""}, "audio_bytes": ""}, {"text": {"b64": "c2V2ZW4="}, '
        '"image_bytes": "", "audio_bytes": ""}]}',
    )
    assert code == 200 and list(answer) == ["predictions"]
    first, second = answer["predictions"]
    assert first == second and set(first) == set(expected)
    assert isinstance(first["label"], str) and first["present"] == [True, False, False]


def test_json_of_columns(served, expected):
    code, answer = fetch(
        served,
        "/v1/models/pets/labels/stable:predict",
        '{"inputs": {"text": ["seven"], "image_bytes": [""], "audio_bytes": [""]}}',
    )
    assert code == 200 and list(answer) == ["outputs"]
    assert set(answer["outputs"]) == set(expected)
    assert answer["outputs"]["error"] == [""]


ROW = '{"text": "a", "image_bytes": "", "audio_bytes": ""}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON Parse error: The document is empty"),
        ("{", "JSON Parse error: "),
        (b'{"instances": ["\xff\xfe"]}', "JSON Parse error: "),
        ("[1]", "Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": "a"}', "Excepting 'instances' to be an list/array"),
        ('{"instances": ["a"]}', "instances is a plain list, but expecting list of"),
        (f'{{"instances": [{ROW}, "a"]}}', "Expecting object but got list at item 1"),
        ('{"instances": [{"text": "a"}]}', "keys must be equal to: audio_bytes,image"),
        (
            f'{{"instances": [{ROW}, {ROW.replace("text", "txt")}]}}',
            "Failed to process element: 1 key: txt of 'instances' list. Error: ",
        ),
        (
            f'{{"instances": [{ROW.replace(": " + chr(34) * 2, ": 1", 1)}]}}',
            "JSON Value: 1 Type: Number is not of expected type: string",
        ),
        (
            f'{{"instances": [{ROW.replace(chr(34) * 2, "{}", 1)}]}}',
            "JSON Value: {} not formatted correctly for base64 data",
        ),
        (
            f'{{"instances": [{ROW.replace(chr(34) * 2, "{%sb64%s: %s&%s}", 1)}]}}'
            % (('"',) * 4),
            "Unable to base64 decode",
        ),
        ('{"inputs": ["a"]}', "inputs is a plain value/list, but expecting an object"),
        (
            '{"inputs": {"text": ["a"], "image_bytes": [""]}}',
            "Missing named input: audio_bytes in 'inputs' object.",
        ),
        (
            f'{{"inputs": {ROW}, "instances": [{ROW}]}}',
            "expecting only one of 'inputs' or 'instances' keys to exist",
        ),
        (
            f'{{"signature_name": 1, "instances": [{ROW}]}}',
            "'signature_name' key must be a string value.",
        ),
    ],
)
def test_bad_requests_have_the_words_of_tensorflow_serving(served, body, words):
    code, answer = fetch(served, "/v1/models/pets:predict", body)
    assert code == 400 and list(answer) == ["error"]
    assert words in answer["error"]


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_json_kills_nothing(served, depth):
    if depth > 100 and not served.is_ours:
        pytest.skip("for our parser: RapidJSON's calls itself, a level each")
    body = '{"instances": ' + "[" * depth + "]" * depth + "}"
    assert fetch(served, "/v1/models/pets:predict", body)[0] == 400
    assert fetch(served, "/v1/models/pets")[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("/v1/models/pets", "{}", 400, "Malformed request: POST /v1/models/pets"),
        ("/v1/models/pets:predict", None, 400, "Malformed request: GET "),
        ("/v1/models/pets:guess", "{}", 400, "Malformed request: POST "),
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/x/metadata", None, 404, "Servable not found for request: Latest"),
        ("/v1/models/x:predict", "{}", 404, "Servable not found for request: Latest"),
        (
            "/v1/models/pets/versions/99999999999999999999/metadata",
            None,
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
    ],
)
def test_bad_paths_have_the_words_of_tensorflow_serving(
    served, path, body, code, words
):
    got, answer = fetch(served, path, body)
    assert got == code and words in answer["error"]


def asking(client, raw, expected, done, malformed, seed):
    """Asks until it is done: (healthy answers, all that went wrong)."""
    luck, good, failures = random.Random(seed), 0, []
    while not done():
        at = luck.randrange(len(raw["text"]))
        row = {name: values[at] for name, values in raw.items()}
        bad = luck.random() < malformed
        if bad:
            row["image_bytes"] = b"\x89PNG\r\n\x1a\n" + luck.randbytes(40)
        try:
            answer = client.predict([row])
        except ServerError as error:
            failures.append(str(error))
            continue
        good += not bad
        if bad != bool(answer["error"][0]):
            failures.append(f"{bad} {answer['error']}")
        if not bad and not math.isclose(
            answer["probability"][0], expected["probability"][at], abs_tol=1e-6
        ):
            failures.append(f"{answer['probability']} {expected['probability'][at]}")
    return good, failures


def test_sixteen_clients_one_row_in_twenty_malformed(served, raw, expected):
    until = time.monotonic() + 5
    clients = [
        Client(url, model="pets", timeout_seconds=30, retries=0)
        for url in (served.rest, served.grpc)
    ]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        over = lambda: time.monotonic() > until  # noqa: E731
        jobs = [
            pool.submit(asking, clients[at % 2], raw, expected, over, 0.05, at)
            for at in range(16)
        ]
        good = [job.result()[0] for job in jobs]
        failures = [each for job in jobs for each in job.result()[1]]
    assert failures == [] and min(good) > 0 and sum(good) > 50


def test_a_new_version_appears_and_nobody_fails(
    run_server, make_folder, add_version, raw, expected
):
    folder = make_folder(4, 5)
    with run_server(folder) as running:
        clients = [
            Client(url, model="pets", timeout_seconds=30, retries=0)
            for url in (running.rest, running.grpc)
        ]
        over = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(asking, clients[at % 2], raw, expected, over.is_set, 0, at)
                for at in range(4)
            ]
            add_version(folder, 6)
            until = time.monotonic() + 120
            while clients[0].metadata()["version"] == 5 and time.monotonic() < until:
                time.sleep(0.2)
            time.sleep(1)  # some more of the new one
            over.set()
            failures = [each for job in jobs for each in job.result()[1]]
        assert failures == []
        assert clients[1].metadata()["version"] == 6
        states = {each["version"]: each["state"] for each in clients[0].status()}
        assert states[6] == states[4] == "AVAILABLE"
