"""Where a model is asked: the URL of a server, its model, and which version."""

import re
import threading
import urllib.parse
from typing import NamedTuple

PATH = re.compile(
    r"(?:/v1/models/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?)?(?::predict)?/?"
)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
MOST_VERSION = 2**63 - 1  # int64 of TensorFlow Serving


class Place(NamedTuple):
    """One model of one server.

    Attributes:
        scheme: of the URL, as `http`.
        server: `scheme://host:port`.
        model: its name.
        version: int, a version; str, a label of one; None, the newest.
    """

    scheme: str
    server: str
    model: str
    version: int | str | None


def read(url, schemes, model=None, version=None):
    """Reads a URL.

    Args:
        url: `http://host:port`, with or without `/v1/models/NAME...` behind it.
        schemes: those that are known.
        model: its name, where the URL does not have it.
        version: see `Place`; what the URL has where None.

    Raises:
        ValueError: no URL of a server, no model named, or what is no version.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:  # a port that is none, an address that is cut
        raise ValueError(f"no server's URL: {url}. {error}") from error
    path = PATH.fullmatch(parts.path)
    if parts.scheme not in schemes or not parts.hostname or not path:
        raise ValueError(
            f"no server's URL: {url}. Expected http://host:port, https://host:port "
            "or grpc://host:port, alone or with /v1/models/NAME behind it"
        )
    if parts.scheme == "grpc" and port is None:
        raise ValueError(
            f"{url} has no port, and gRPC has none by default: TensorFlow Serving's "
            f"is 8500, as in grpc://{parts.netloc}:8500"
        )
    server = f"{parts.scheme}://{parts.netloc}"
    model = model or urllib.parse.unquote(path["model"] or "")
    if not model:
        raise ValueError(
            f"{url} names no model, and a server lists none: give "
            f"{server}/v1/models/NAME, or the name as `model`"
        )
    if version is None:
        version = int(path["version"]) if path["version"] else path["label"]
    return Place(parts.scheme, server, model, _checked(version))


def check_name(model):
    """Refuses a name that cannot be part of a URL and of a path.

    Raises:
        ValueError: it is no such name.
    """
    if not NAME.fullmatch(model):
        raise ValueError(
            f"a model cannot be called `{model}`: expected ASCII letters, digits, `_`, "
            "`.` and `-`"
        )


def check_timeout(seconds):
    """Refuses what is no time to wait.

    Raises:
        ValueError: it is not above zero, or longer than a machine can wait.
    """
    if not 0 < seconds <= threading.TIMEOUT_MAX:  # false of nan, too
        raise ValueError(
            f"timeout_seconds: expected seconds, more than 0, got {seconds:g}"
        )


def _checked(version):
    if isinstance(version, int) and not 0 <= version <= MOST_VERSION:
        raise ValueError(f"version: expected 0 to {MOST_VERSION}, got {version}")
    if not isinstance(version, int | str | None):
        raise ValueError(
            f"version: expected a number as int, or a label as str, got {version!r}"
        )
    return version
