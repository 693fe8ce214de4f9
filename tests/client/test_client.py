import concurrent.futures
import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time

import pytest

from mmkeras import client
from mmkeras.client import Client, ServerError, grpc_api

ROWS = [{"text": "a", "image_bytes": b"\x00\xff"}]
ANSWER = {"predictions": [{"label": "cat", "crop_bytes": {"b64": "AP8="}}]}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.001)


@contextlib.contextmanager
def answering(*answers, wait_seconds=0.0):
    """A server of (HTTP status, content), the last again and again; its requests."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers.get("Content-Length", 0))
            asked.append((self.path, self.rfile.read(size)))
            time.sleep(wait_seconds)
            code, content = answers[min(len(asked), len(answers)) - 1]
            if isinstance(content, dict):
                content = json.dumps(content).encode()
            self.send_response(code)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # it may wait no more
                self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@contextlib.contextmanager
def grpc_answering(*codes, wait_seconds=0.0):
    """A gRPC server that aborts with these codes, and then answers; its requests."""
    apis, asked = grpc_api.stubs(), []

    def call(request, context):
        asked.append(request)
        time.sleep(wait_seconds)
        if len(asked) <= len(codes):
            context.abort(getattr(apis.grpc.StatusCode, codes[len(asked) - 1]), "so")
        return apis.status.GetModelStatusResponse()

    servicer = apis.models.ModelServiceServicer()
    servicer.GetModelStatus = call
    server = apis.grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    apis.models.add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}", asked
    server.stop(0)


def test_rows_go_as_instances_and_columns_as_inputs():
    with answering((200, ANSWER)) as (url, asked):
        found = Client(url, model="pets").predict(ROWS)
        Client(url, model="pets").predict({"text": ["a"], "image_bytes": [b"\x00\xff"]})
    assert found == {"label": ["cat"], "crop_bytes": [b"\x00\xff"]}
    (path, rows), (_, columns) = asked
    assert path == "/v1/models/pets:predict"
    assert json.loads(rows)["instances"] == [
        {"text": "a", "image_bytes": {"b64": "AP8="}}
    ]
    assert json.loads(columns)["inputs"] == {
        "text": ["a"],
        "image_bytes": [{"b64": "AP8="}],
    }


@pytest.mark.parametrize(
    ("behind", "options", "path"),
    [
        ("", {"model": "a b/c"}, "/v1/models/a%20b%2Fc"),
        ("/v1/models/pets", {}, "/v1/models/pets"),
        ("/v1/models/pets:predict", {}, "/v1/models/pets"),
        ("/v1/models/pets/versions/7", {}, "/v1/models/pets/versions/7"),
        ("/v1/models/pets/labels/x", {}, "/v1/models/pets/labels/x"),
        ("/v1/models/pets/", {"version": 3}, "/v1/models/pets/versions/3"),
        ("", {"model": "pets", "version": "x"}, "/v1/models/pets/labels/x"),
    ],
)
def test_urls_name_models_and_versions(behind, options, path):
    with answering((200, {"model_version_status": []})) as (url, asked):
        assert Client(url + behind, **options).status() == []
    assert asked[0][0] == path


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("seconds", [0, -1.5, float("nan"), float("inf")])
def test_seconds_that_are_no_time_to_wait(scheme, seconds):
    with pytest.raises(ValueError, match=f"seconds, more than 0, got {seconds:g}"):
        Client(f"{scheme}://127.0.0.1:1", model="pets", timeout_seconds=seconds)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_what_cannot_be_sent_is_not_sent(scheme):
    pets = Client(f"{scheme}://127.0.0.1:1", model="pets")
    with pytest.raises(ValueError, match=r"row 0, `age`: .* got int \(31\)"):
        pets.predict([{"age": 31}])  # bytes(31) are 31 zeros


def test_it_tries_again_where_the_server_is_not_available():
    with answering((503, b""), (503, b""), (200, ANSWER)) as (url, asked):
        assert Client(url, model="pets").predict(ROWS)["label"] == ["cat"]
    assert len(asked) == 3


def test_it_gives_up_after_its_retries():
    with answering((503, {"error": "loading"})) as (url, asked):
        with pytest.raises(ServerError, match=r"loading \(503, 3 attempts\)") as caught:
            Client(url, model="pets", retries=2).predict(ROWS)
    assert len(asked) == 3 and caught.value.code == 503


@pytest.mark.parametrize("code", [400, 404, 413, 429, 500, 502, 504])
def test_nothing_else_is_tried_again(code):
    with answering((code, {"error": "so it is"})) as (url, asked):
        with pytest.raises(ServerError, match=rf"so it is \({code}\)") as caught:
            Client(url, model="pets").predict(ROWS)
    assert len(asked) == 1 and caught.value.code == code


def test_waits_double_and_differ(monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.1)
    with pytest.raises(ServerError):
        Client("http://127.0.0.1:1", model="pets", retries=4).status()
    shares = [each / (0.1 * 2**at) for at, each in enumerate(waited)]
    assert len(waited) == 4 and all(0.5 <= each <= 1.5 for each in shares)
    assert len(set(shares)) == 4


def test_a_late_answer_is_told_with_the_option_and_not_asked_again():
    with answering((200, ANSWER), wait_seconds=1) as (url, asked):
        with pytest.raises(ServerError) as caught:
            Client(url, model="pets", timeout_seconds=0.1).predict(ROWS)
    assert caught.value.code == 504 and len(asked) == 1
    assert str(caught.value) == (
        f"predict of model pets at {url}: no answer in 0.1 s (504). Send fewer rows at "
        "once, or wait longer: timeout_seconds is 0.1."
    )


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_listens(scheme):
    with pytest.raises(
        ServerError, match="Is the server up, and is that its port"
    ) as e:
        Client(f"{scheme}://127.0.0.1:1", model="pets", retries=1).status()
    assert e.value.code == 503 and "2 attempts" in str(e.value)


def test_over_grpc_it_tries_again_where_the_server_is_not_available():
    with grpc_answering("UNAVAILABLE", "UNAVAILABLE") as (url, asked):
        assert Client(url, model="pets", version=3).status() == []
    assert len(asked) == 3
    assert (asked[0].model_spec.name, asked[0].model_spec.version.value) == ("pets", 3)


@pytest.mark.parametrize(
    ("name", "code"), [("INVALID_ARGUMENT", 400), ("NOT_FOUND", 404), ("INTERNAL", 500)]
)
def test_over_grpc_nothing_else_is_tried_again(name, code):
    with grpc_answering(name) as (url, asked):
        with pytest.raises(ServerError, match=rf"server answers: so \({code}\)") as e:
            Client(url, model="pets").status()
    assert len(asked) == 1 and e.value.code == code


def test_over_grpc_a_late_answer_is_told():
    with grpc_answering(wait_seconds=1) as (url, asked):
        with pytest.raises(ServerError, match=r"no answer in 0.1 s \(504\)"):
            Client(url, model="pets", timeout_seconds=0.1).status()
    assert len(asked) == 1


def test_over_grpc_no_proxy_is_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with grpc_answering() as (url, asked):
        assert Client(url, model="pets", retries=0).status() == []
    assert len(asked) == 1


def test_grpc_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError, match=r"pip install 'mmkeras\[serving\]'"):
        Client("grpc://127.0.0.1:1", model="pets")


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        ({"dtype": 1, "float_val": [0.5, 1.5]}, [0.5, 1.5]),
        ({"dtype": 1, "float_val": [0.5]}, [0.5, 0.5]),
        (
            {"dtype": 9, "tensor_content": b"\x07" + 7 * b"\0" + b"\x08" + 7 * b"\0"},
            [7, 8],
        ),
        ({"dtype": 10, "bool_val": [True, False]}, [True, False]),
        ({"dtype": 7, "string_val": [b"a\0", b"\xe4\xb8\x89"]}, ["a\0", "三"]),
    ],
)
def test_tensors_of_all_forms_are_read(tensor, expected):
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    made = TensorProto(**tensor)
    made.tensor_shape.dim.add().size = 2
    assert grpc_api._values("x", made) == expected
    if tensor["dtype"] == 7:
        assert grpc_api._values("x_bytes", made) == tensor["string_val"]


def test_rest_imports_no_tensorflow():
    code = (
        "import sys; from mmkeras.client import Client; "
        "Client('http://localhost:1', model='pets'); "
        "print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
