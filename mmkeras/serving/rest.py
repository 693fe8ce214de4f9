"""The REST API, as model_servers/http_rest_api_handler.cc of TensorFlow Serving."""

import re

import anyio
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from tensorflow.core.framework import types_pb2

from mmkeras.client.error import HTTP_CODES
from mmkeras.serving import examples, page, tensors
from mmkeras.serving.models import Refusal

WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
ASK = re.compile(
    rf"/v1/models/(?P<model>[^/:]+){WHICH}:(?P<method>classify|regress|predict)", re.I
)
TELL = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:]+))?{WHICH}(?:/(?P<what>metadata))?", re.I
)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# Predictions at a time: TensorFlow has threads of its own below them.
THREADS = 16
MB = 2**20


def application(versions, *, max_mb=64):
    """The server without its sockets.

    Args:
        versions: `models.Versions`.
        max_mb: of a request's body; larger ones are refused with 413.

    Returns:
        A Starlette application.
    """
    limiter = anyio.CapacityLimiter(THREADS)

    async def api(request):
        body = await _body(request, max_mb)
        asked = (versions, request.method, request.url.path, body)
        return await anyio.to_thread.run_sync(_respond, *asked, limiter=limiter)

    def home(request):
        return HTMLResponse(page.render(versions))

    return Starlette(
        routes=[Route("/", home), Route("/v1/{rest:path}", api, methods=METHODS)],
        exception_handlers={Refusal: _refused, TooLarge: _too_large, Exception: _broke},
    )


class TooLarge(Exception):
    """A body over the limit."""


async def _body(request, max_mb):
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        # Past the limit it is read on, not kept: a client that is still sending does
        # not hear an answer.
        if size <= max_mb * MB:
            parts.append(part)
    if size > max_mb * MB:
        raise TooLarge(
            f"the request has {size / MB:.1f} MB, the server takes {max_mb} MB "
            "(--max-mb of `mmkeras serve`)"
        )
    return b"".join(parts)


def _respond(versions, method, path, body):
    """The response to one request, in a thread."""
    found = {"POST": ASK, "GET": TELL}.get(method)
    parts = found and found.fullmatch(path)
    if not parts:
        raise tensors.refuse(f"Malformed request: {method} {path}")
    version = parts["version"] and int(parts["version"])
    if version and version >= 2**63:
        raise tensors.refuse(f"Failed to convert version: {version} to numeric.")
    spec = (parts["model"], version, parts["label"])
    if method == "POST":
        content = _predict(versions, spec, parts["method"].lower(), body)
        return Response(content, media_type="application/json")
    if not parts["model"]:
        raise tensors.refuse("Missing model name in request.")
    told = _metadata if parts["what"] else _status
    return JSONResponse(told(versions, *spec))


def _predict(versions, spec, method, body):
    found, signature = tensors.document(body)
    if method in examples.KINDS:
        rows = examples.of_json(found)
        loaded = versions.pick(*spec)
        return examples.to_json(examples.answer(loaded, signature, method, rows))
    loaded = versions.pick(*spec)
    columns, rowwise = tensors.columns(found, loaded.inputs(signature))
    return tensors.answers(loaded.answer(columns, signature), rowwise)


def _status(versions, model, version, label):
    # A label does not narrow it, in TensorFlow Serving neither.
    return {
        "model_version_status": [
            {
                "version": str(each),
                "state": state,
                "status": {"error_code": code, "error_message": message},
            }
            for each, state, code, message in versions.status(model, version)
        ]
    }


def _metadata(versions, model, version, label):
    loaded = versions.pick(model, version, label)
    return {
        "model_spec": {
            "name": model,
            "signature_name": "",
            "version": str(loaded.version),
        },
        "metadata": {
            "signature_def": {
                "signature_def": {
                    name: {
                        "inputs": _infos(each.inputs),
                        "outputs": _infos(each.outputs),
                        "method_name": each.method_name,
                        "defaults": {},
                    }
                    for name, each in loaded.signatures.items()
                }
            }
        },
    }


def _infos(tensor_infos):
    """As protobuf's own JSON, which prints int64 as strings."""
    return {
        name: {
            "dtype": types_pb2.DataType.Name(each.dtype),
            "tensor_shape": {
                "dim": [
                    {"size": str(dim.size), "name": dim.name}
                    for dim in each.tensor_shape.dim
                ],
                "unknown_rank": each.tensor_shape.unknown_rank,
            },
            "name": each.name,
        }
        for name, each in tensor_infos.items()
    }


def _refused(request, error):
    code = HTTP_CODES.get(error.code, 500)
    return JSONResponse({"error": str(error)}, code)


def _too_large(request, error):
    return JSONResponse({"error": str(error)}, 413)


def _broke(request, error):
    return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 500)
