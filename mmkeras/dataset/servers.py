"""The processes of tf.data service: a dispatcher, and workers that read rows for it."""

import contextlib
import socket
import time

import tensorflow as tf

from mmkeras.dataset.service import ServiceError, nobody, silence
from mmkeras.modalities import native

HERE = ("localhost", "127.0.0.1", "[::1]")
# Seconds between two looks for a dispatcher.
LOOK_SECONDS = 0.5


def dispatcher(port):
    """A dispatcher, on all addresses of this machine, until it is forgotten.

    Args:
        port: to listen at; 0 takes a free one.

    Returns:
        (what keeps it alive, its port).

    Raises:
        ServiceError: it cannot listen there.
    """
    _register()
    config = tf.data.experimental.service.DispatcherConfig(port=port)
    with _listening(port, "--dispatcher"):
        server = tf.data.experimental.service.DispatchServer(config)
    return server, int(server.target.rpartition(":")[2])


def worker(address, *, host=None, port=0, wait_seconds=60.0, log=print):
    """A worker that reads rows for a dispatcher, until it is forgotten.

    Args:
        address: `grpc://HOST:PORT` of the dispatcher.
        host: under which those who train reach this machine; its own name where None,
            `localhost` where the dispatcher is here.
        port: to listen at; 0 takes a free one.
        wait_seconds: for the dispatcher to answer.
        log: called with one line of text now and then.

    Returns:
        (what keeps it alive, `HOST:PORT` of the worker).

    Raises:
        ServiceError: no dispatcher answers, or it cannot listen there.
    """
    _await(address, wait_seconds, log)
    _register()
    dispatched = address.removeprefix("grpc://")
    if host is None:
        here = dispatched.rpartition(":")[0] in HERE
        host = "localhost" if here else socket.gethostname()
    config = tf.data.experimental.service.WorkerConfig(
        dispatched, worker_address=f"{host}:%port%", port=port
    )
    with _listening(port, "--port"):
        server = tf.data.experimental.service.WorkerServer(config)
    return server, f"{host}:{server._address.rpartition(':')[2]}"


def _register():
    """Imports what has operations that a graph may hold; a dispatcher reads it too."""
    native.works()
    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401  for tokenizers


@contextlib.contextmanager
def _listening(port, option):
    """For what begins to listen: that it cannot is told in one sentence."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError) as error:
        raise ServiceError(
            f"cannot listen at port {port} ({error}): name another one, {option} 0 "
            "takes a free one"
        ) from error


def _await(address, wait_seconds, log):
    """Waits until a dispatcher answers: in Python, so that Ctrl-C is heard."""
    last, told = time.monotonic() + wait_seconds, False
    while fault := silence(address):
        if time.monotonic() > last:
            raise ServiceError(nobody(address, fault))
        if not told:
            log(f"data-worker: waits for {address} ({fault})")
        told = True
        time.sleep(LOOK_SECONDS)
