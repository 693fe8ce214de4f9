"""Asks a model behind TensorFlow Serving, by REST or gRPC.

    from mmkeras.client import Client

    pets = Client("http://localhost:8501", model="pets")
    pets.predict([{"text": "it purrs", "image_bytes": Path("cat.jpg").read_bytes()}])

REST needs nothing but Python. gRPC, `grpc://localhost:8500`, needs the extra `serving`:
the official stubs, whose messages import the tensorflow package. Each transport is a
file with `predict`, `status` and `metadata`.
"""

import itertools
import random
import time

from mmkeras.client import error, grpc_api, place, rest
from mmkeras.client import rows as _rows
from mmkeras.client.error import ServerError

__all__ = ["Client", "ServerError"]

TRANSPORTS = {"http": rest.Rest, "https": rest.Rest, "grpc": grpc_api.Grpc}
FIRST_WAIT_SECONDS = 0.1


class Client:
    """One model of a server; may be used by many threads.

    Args:
        url: `http://host:port`, `https://...` or `grpc://host:port`, with or without
            `/v1/models/NAME[/versions/N|/labels/L]` behind it.
        model: its name, where the URL does not have it.
        version: int, a version; str, a label of one; None, the newest.
        timeout_seconds: for one attempt, the whole answer.
        retries: attempts after the first, where the server is not there or says that
            it is not available (503, UNAVAILABLE): nothing else is tried again. Before
            them it waits 0.1, 0.2, 0.4, ... seconds, each times 0.5 to 1.5 by chance.

    Raises:
        ValueError: no URL of a server, no model named, no version, no timeout.
        ImportError: gRPC without the extra `serving`.
    """

    def __init__(
        self, url, *, model=None, version=None, timeout_seconds=10.0, retries=3
    ):
        found = place.read(url, TRANSPORTS, model, version)
        place.check_timeout(timeout_seconds)
        self.server, self.model, self.version = found.server, found.model, found.version
        self.timeout_seconds = timeout_seconds
        self.retries = retries
        self._transport = TRANSPORTS[found.scheme](
            self.server, self.model, self.version, timeout_seconds
        )

    def predict(self, rows, *, signature="serving_default"):
        """Raw rows -> answers.

        Args:
            rows: a list of {served name: str or bytes}, or columns, {served name: list
                of str or bytes}, all of one length; "" is missing. Over REST the first
                go as `instances`, the second as `inputs`; bytes as {"b64": ...}.
            signature: its name.

        Returns:
            {output name: list with a value a row}; strings are str, but bytes where
            the output's name ends in `_bytes`.

        Raises:
            ServerError: see there.
            ValueError: no rows, they do not all have the same names, or hold what is
                neither str nor bytes.
        """
        return self._ask("predict", _rows.checked(rows), signature)

    def status(self):
        """The versions the server knows, newest first.

        Returns:
            A list of {"version": int, "state": "AVAILABLE" or another, "error": str}.

        Raises:
            ServerError: see there.
        """
        return self._ask("status")

    def metadata(self):
        """What the model takes and gives.

        Returns:
            {"version": int, "signatures": {signature: {"inputs": {name: {"dtype":
            "DT_STRING", "shape": [-1]}}, "outputs": the same}}}.

        Raises:
            ServerError: see there.
        """
        return self._ask("metadata")

    def _ask(self, what, *arguments):
        """Asks, and again while the server is not available."""
        for attempt in itertools.count():
            try:
                return getattr(self._transport, what)(*arguments)
            except ServerError as found:
                if found.code != error.UNAVAILABLE or attempt >= self.retries:
                    raise self._explained(what, found, attempt + 1) from found
            spread = 0.5 + random.random()  # so that many clients do not come together
            time.sleep(FIRST_WAIT_SECONDS * 2**attempt * spread)

    def _explained(self, what, found, attempts):
        which = "" if self.version is None else f", version {self.version},"
        return error.explained(
            found,
            f"{what} of model {self.model}{which} at {self.server}",
            attempts,
            model=self.model,
            version=self.version,
            timeout_seconds=self.timeout_seconds,
        )
