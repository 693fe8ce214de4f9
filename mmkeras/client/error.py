"""What a server can say instead of an answer, the same over REST and gRPC."""

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
BROKEN, UNAVAILABLE, TIMED_OUT = 502, 503, 504

# By code; `server`, `model` and `timeout_seconds` are filled in.
HINTS = {
    400: " `metadata()` of the client tells what the model takes.",
    404: " Is the model called otherwise there? Its name is MODEL_NAME of tensorflow/"
    "serving, --name of `mmkeras serve`; a server lists none, but `status()` of the "
    "client, GET /v1/models/{model} over REST, tells a model's versions.",
    413: " Send fewer rows at once, or smaller files.",
    429: " Send fewer rows at once, or smaller files.",
    503: " Is the server up, and is that its port? `mmkeras serve DIR` starts one.",
    504: " Send fewer rows at once, or wait longer: timeout_seconds is "
    "{timeout_seconds:g}.",
}


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
        **known: what `HINTS` name.
    """
    tried = f", {attempts} attempts" if attempts > 1 else ""
    hint = HINTS.get(error.code, "").format(**known)
    said = str(error).rstrip(".")
    return ServerError(error.code, f"{asked}: {said} ({error.code}{tried}).{hint}")
