"""`classify` and `regress` over REST and gRPC, ours and tensorflow/serving's."""

import base64
import json
import urllib.error
import urllib.request

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, regression_pb2

from mmkeras.client.grpc_api import Grpc
from mmkeras.serving import models, server


def ask(url, body):
    """(HTTP status, JSON) of a request."""
    body = body if isinstance(body, str) else json.dumps(body)
    try:
        with urllib.request.urlopen(url, body.encode(), timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def classify(served, body):
    return ask(f"{served.rest}/v1/models/pets:classify", body)


def as_json(raw):
    """Rows as JSON has them, without what is missing."""
    return [
        {
            name: {"b64": base64.b64encode(cell).decode()}
            for name, cell in zip(raw, row, strict=True)
            if cell
        }
        for row in zip(*raw.values(), strict=True)
    ]


def fill(example, row):
    for name, cell in row.items():
        example.features.feature[name].bytes_list.value.append(cell)


@pytest.fixture(scope="module")
def labels(trained):
    return trained.labels["label"]


def test_rest_tells_classes_and_scores(served, raw, expected, labels):
    code, answer = classify(
        served, {"signature_name": "classify", "examples": as_json(raw)}
    )
    assert code == 200 and list(answer) == ["results"]
    for told, wanted in zip(answer["results"], expected["probabilities"], strict=True):
        assert [label for label, _ in told] == labels
        assert [score for _, score in told] == pytest.approx(wanted, abs=1e-6)


def test_a_context_is_shared_by_all_rows(served, raw):
    """A row's own feature counts, not the one of the context."""
    text = raw["text"][0].decode()
    name = {"signature_name": "classify"}
    shared = {"context": {"text": "upper"}, "examples": [{}, {"text": [text]}]}
    alone = {"examples": [{"text": "upper"}, {"text": text}]}
    got, wanted = (classify(served, name | body)[1] for body in (shared, alone))
    for one, other in zip(got["results"], wanted["results"], strict=True):
        assert [score for _, score in one] == pytest.approx(
            [score for _, score in other], abs=1e-6
        )
    assert got["results"][0] != got["results"][1]


def asked_by_grpc(served, raw, context=None):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "pets", "classify"
    held = request.input.example_list
    if context:
        held = request.input.example_list_with_context
        fill(held.context, context)
    for row in zip(*raw.values(), strict=True):
        fill(held.examples.add(), dict(zip(raw, row, strict=True)))
    return Grpc(served.grpc, "pets", None, 20).prediction.Classify(request, timeout=20)


def test_grpc_tells_the_same(served, raw, expected, labels):
    answer = asked_by_grpc(served, raw)
    assert answer.model_spec.version.value == 5
    assert answer.model_spec.signature_name == "classify"
    rows = answer.result.classifications
    assert len(rows) == len(raw["text"])
    for row, wanted in zip(rows, expected["probabilities"], strict=True):
        assert [each.label for each in row.classes] == labels
        assert [each.score for each in row.classes] == pytest.approx(wanted, abs=1e-6)
    pictures = {"text": raw["text"], "image_bytes": raw["image_bytes"]}
    sound = next(filter(None, raw["audio_bytes"]))
    with_sound = {**raw, "audio_bytes": [sound] * len(raw["text"])}
    one = asked_by_grpc(served, pictures, {"audio_bytes": sound})
    assert one.result == asked_by_grpc(served, with_sound).result


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "JSON Parse error: The document is empty"),
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": ["a"]}, "Example must be JSON object but got JSON String"),
        (
            {"examples": [{}], "context": 1},
            "Example must be JSON object but got JSON N",
        ),
        (
            {"examples": [{"text": None}]},
            "Feature: text has element with unexpected JSON type: Null",
        ),
        (
            {"examples": [{"text": [["a"]]}]},
            "Feature: text has element with unexpected JSON type: Array",
        ),
        (
            {"examples": [{"text": {"c64": "a"}}]},
            "Feature: text has element with unexpected JSON type: Object",
        ),
        (
            {"examples": [{"text": ["a", True]}]},
            "Unexpected element type in feature: text expecting type: bytes",
        ),
        (
            {"examples": [{"text": 2**63}]},
            "Feature: text has uint64 element. Only int64 is supported.",
        ),
        (
            '{"examples": [{"text": 1e300}]}',
            "to float without loss of precision.",
        ),
        ({"examples": [{"text": {"b64": "&"}}]}, "Unable to base64 decode"),
        ({"examples": [{}]}, "Expected one input Tensor."),
        (
            {"signature_name": "x", "examples": [{}]},
            "No signature was found with the name: x",
        ),
        ({"signature_name": "classify", "examples": [{"text": 1.5}]}, "Data types don"),
    ],
)
def test_bad_requests_have_the_words_of_tensorflow_serving(served, body, words):
    code, answer = classify(served, body)
    assert code == 400 and words in answer["error"]


def test_a_signature_has_the_outputs_of_its_method(served):
    path = f"{served.rest}/v1/models/pets:regress"
    code, answer = ask(path, {"signature_name": "classify", "examples": [{}]})
    assert (code, answer["error"]) == (400, "Expected one output Tensor.")
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "pets"
    request.model_spec.signature_name = "classify"
    call = Grpc(served.grpc, "pets", None, 20).prediction.Classify
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Input is empty."


def test_numbers_too_long_to_read_are_refused(served):
    body = '{"instances": [' + "1" * 5000 + "]}"
    code, answer = ask(f"{served.rest}/v1/models/pets:predict", body)
    assert code == 400 and answer["error"]


def test_regress_tells_numbers(priced):
    versions = models.Versions(priced[1], name="m", log=lambda _: None)
    with server.Server(versions, port=0, grpc_port=0, log=lambda _: None) as run:
        body = {"signature_name": "regress", "examples": [{"text": "0.2"}, {}]}
        answer = ask(f"{run.url}/v1/models/m:regress", body)
        assert answer == (200, {"results": [0.2, -1.0]})
        request = regression_pb2.RegressionRequest()
        request.model_spec.name, request.model_spec.signature_name = "m", "regress"
        fill(request.input.example_list.examples.add(), {"text": b"3"})
        asked = Grpc(run.grpc_url, "m", None, 20).prediction
        found = asked.Regress(request, timeout=20)
        assert [each.value for each in found.result.regressions] == [3]
        asked = {"signature_name": "regress", "examples": [{}]}
        code, answer = ask(f"{run.url}/v1/models/m:classify", asked)
        assert code == 400
        assert answer["error"].endswith(
            'one of "classes" or "scores". Signature was: [\'outputs\']'
        )
        code, answer = ask(f"{run.url}/v1/models/m:regress", {"examples": [{}]})
        assert code == 400
        assert answer["error"].startswith("No regression inputs found in SignatureDef")
        # Predict takes it too, with the serialized examples as strings.
        row = tf.train.Example()
        fill(row, {"text": b"4"})
        encoded = base64.b64encode(row.SerializeToString()).decode()
        body = {"signature_name": "regress", "instances": [{"b64": encoded}]}
        answer = ask(f"{run.url}/v1/models/m:predict", body)
        assert answer == (200, {"predictions": [4.0]})
