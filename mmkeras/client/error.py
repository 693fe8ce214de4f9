"""What a server can say instead of an answer, the same over REST and gRPC."""

import re

# Names of gRPC's codes -> HTTP, as TensorFlow Serving has them (ToHTTPStatusCode in
# https://github.com/tensorflow/serving, model_servers); all others are 500.
HTTP_CODES = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
WRONG, NOT_FOUND, BROKEN, UNAVAILABLE, TIMED_OUT = 400, 404, 502, 503, 504

# Of what answers there, whatever it says, as a message shows it.
SHOWN_CHARACTERS = 200
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)

# By code; `server`, `model` and `timeout_seconds` are filled in.
HINTS = {
    400: " `metadata()` of the client tells what the model takes.",
    404: " Is the model called otherwise there? Its name is MODEL_NAME of tensorflow/"
    "serving, --name of `mmkeras serve`; a server lists none, but `status()` of the "
    "client, GET /v1/models/{model} over REST, tells a model's versions.",
    413: " Send fewer rows at once, or smaller files.",
    429: " Send fewer rows at once, or smaller files.",
    502: " REST is asked as http://, port 8501 by default, gRPC as grpc://, port 8500: "
    "is that what listens there?",
    503: " Is the server up, and is that its port? `mmkeras serve DIR` starts one.",
    504: " Send fewer rows at once, or wait longer: timeout_seconds is "
    "{timeout_seconds:g}.",
}
NO_VERSION = (
    " `status()` of the client, GET /v1/models/{model} over REST, tells which versions "
    "are there."
)
NO_LABEL = (
    " Labels are given by --label of `mmkeras serve`, and by version_labels in "
    "models.config; a version is asked as a number."
)


class ServerError(RuntimeError):
    """A question that got no answer; the message says how to mend it.

    Attributes:
        code: the HTTP status, of gRPC the one it has over REST (`HTTP_CODES`); 503
            also where nobody listens, 502 where the connection broke, 504 where time
            ran out.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def explained(error, asked, attempts, **known):
    """A ServerError that says what was asked, what came back and how to mend it.

    Args:
        error: the transport's ServerError.
        asked: str.
        attempts: how often it was asked.
        **known: what hints name: `model`, `version`, `timeout_seconds`.
    """
    tried = f", {attempts} attempts" if attempts > 1 else ""
    said = str(error).rstrip(".")
    hint = _hint(error.code, said, known["version"]).format(**known)
    return ServerError(error.code, f"{asked}: {said} ({error.code}{tried}).{hint}")


def shown(text):
    """What was answered in one short line: of a page its title."""
    if title := TITLE.search(text):
        text = f'a page, "{title[1].strip()}"'
    text = " ".join(text.split())
    return f"{text[:SHOWN_CHARACTERS]}…" if len(text) > SHOWN_CHARACTERS else text


def _hint(code, said, version):
    if code == NOT_FOUND and version is not None:
        return NO_VERSION
    if code == WRONG and isinstance(version, str) and "label" in said:
        return NO_LABEL
    return HINTS.get(code, "")
