"""TensorFlow Serving's REST API, https://www.tensorflow.org/tfx/serving/api_rest."""

import base64
import functools
import http.client
import json
import socket
import ssl
import time
import urllib.parse

from mmkeras.client.error import BROKEN, TIMED_OUT, UNAVAILABLE, ServerError, shown

CHUNK_BYTES = 1 << 20


class Rest:
    """One model over HTTP; a connection a question, so threads share nothing.

    Proxies of the environment are not asked: a model server is near.

    Args:
        server: `http://host:port` or `https://host:port`.
        model: its name.
        version: int, a label, or None.
        timeout_seconds: of one question.
    """

    def __init__(self, server, model, version, timeout_seconds):
        self.parts = urllib.parse.urlsplit(server)
        self.timeout_seconds = timeout_seconds
        self.path = f"/v1/models/{urllib.parse.quote(model, '')}"
        if version is not None:
            kind = "labels" if isinstance(version, str) else "versions"
            self.path += f"/{kind}/{urllib.parse.quote(str(version), '')}"

    def predict(self, rows, signature):
        """See `Client.predict`."""
        if isinstance(rows, dict):
            asked = {"inputs": {name: _to_json(each) for name, each in rows.items()}}
        else:
            asked = {
                "instances": [
                    {name: _to_json(value) for name, value in row.items()}
                    for row in rows
                ]
            }
        body = json.dumps({"signature_name": signature, **asked})
        reading = functools.partial(self._answers, signature)
        return self._fetch("POST", reading, ":predict", body)

    def _answers(self, signature, found):
        """{output: list} of the JSON of an answer."""
        rowwise = "predictions" in found
        answers = found["predictions" if rowwise else "outputs"]
        if not _named(answers[0] if rowwise else answers):
            # Both formats leave the name away where there is but one output.
            name = next(iter(self.metadata()["signatures"][signature]["outputs"]))
            return {name: _from_json(answers)}
        if rowwise:
            answers = {name: [row[name] for row in answers] for name in answers[0]}
        return {name: _from_json(values) for name, values in answers.items()}

    def status(self):
        """See `Client.status`."""
        return self._fetch("GET", _versions)

    def metadata(self):
        """See `Client.metadata`."""
        return self._fetch("GET", _signatures, "/metadata")

    def _fetch(self, method, reading, what="", body=None):
        """What `reading` makes of the JSON of an answer; ServerError for all else."""
        try:
            code, sent_to, content = self._exchange(method, what, body)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        text = content.decode("utf-8", "replace")
        try:
            found = json.loads(text)
        except (RecursionError, ValueError):
            found = None
        if code == http.client.OK:
            try:
                return reading(found)
            # JSON, perhaps, but not of TensorFlow Serving.
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                code = BROKEN
        said = found.get("error") if isinstance(found, dict) else None
        said = said if isinstance(said, str) else shown(text) or "nothing"
        if sent_to:
            said = f"ask at {sent_to} instead"
        raise ServerError(code, f"the server answers: {said}")

    def _broken(self, error):
        """A ServerError for what is no HTTP answer."""
        if isinstance(error, TimeoutError):
            said = f"no answer in {self.timeout_seconds:g} s"
            return ServerError(TIMED_OUT, said)
        if isinstance(error, ConnectionRefusedError):
            return ServerError(UNAVAILABLE, "nobody listens there")
        if isinstance(error, socket.gaierror):
            return ServerError(UNAVAILABLE, f"no such host: {error.strerror}")
        if isinstance(error, ssl.SSLError):
            return ServerError(BROKEN, f"no encrypted connection: {error.reason}")
        said = shown(str(error)) or type(error).__name__
        if isinstance(error, ConnectionError) or not isinstance(
            error, http.client.HTTPException
        ):
            return ServerError(BROKEN, f"the connection broke: {said}")
        said = f": {said!r}" if said.isprintable() else ""
        return ServerError(BROKEN, f"what answers there speaks no HTTP{said}")

    def _exchange(self, method, what, body):
        """One question: (HTTP status, where else to ask, or None, bytes)."""
        secure = self.parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(
            self.parts.hostname, self.parts.port, timeout=self.timeout_seconds
        )
        # The socket's timeout is for each read alone; a trickle must end as well.
        until = time.monotonic() + self.timeout_seconds
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, self.path + what, body, headers)
            response = connection.getresponse()
            content = []
            while part := response.read1(CHUNK_BYTES):
                content.append(part)
                if time.monotonic() > until:
                    raise TimeoutError
            return response.status, response.getheader("Location"), b"".join(content)
        finally:
            connection.close()


def _versions(found):
    return [
        {
            "version": int(each["version"]),
            "state": each["state"],
            "error": each.get("status", {}).get("error_message", ""),
        }
        for each in found["model_version_status"]
    ]


def _signatures(found):
    signatures = found["metadata"]["signature_def"]["signature_def"]
    return {
        "version": int(found["model_spec"]["version"]),
        "signatures": {
            name: {side: _shapes(each.get(side, {})) for side in ("inputs", "outputs")}
            for name, each in signatures.items()
        },
    }


def _named(answer):
    return isinstance(answer, dict) and set(answer) != {"b64"}


def _to_json(value):
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value


def _from_json(value):
    """Nested lists; {"b64": ...} as bytes."""
    if isinstance(value, list):
        return [_from_json(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _shapes(tensors):
    # In JSON of protobuf int64 are strings.
    return {
        name: {
            "dtype": each["dtype"],
            "shape": [int(dim["size"]) for dim in each["tensor_shape"].get("dim", [])],
        }
        for name, each in tensors.items()
    }
