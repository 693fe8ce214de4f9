"""Sockets, threads and their end: REST by uvicorn, gRPC where its stubs are."""

import contextlib
import errno
import os
import signal
import socket
import threading

import uvicorn

from mmkeras.serving import rest

# What is still being answered at the end has this long.
GRACE_SECONDS = 30
BACKLOG = 2048
HOSTS = "--host takes an address of this machine, as 127.0.0.1, or 0.0.0.0 for all"
ENDS = (signal.SIGINT, signal.SIGTERM)


class ListenError(OSError):
    """A port or an address where this process cannot listen."""


class Server:
    """A running development server; a context manager that ends it.

    Args:
        versions: `models.Versions`; closed with the server.
        host: address to listen at; 127.0.0.1 is this machine alone.
        port: of REST and the page; 0 takes a free one.
        grpc_port: of gRPC; 0 takes a free one, None has none.
        max_mb: of a request.
        log: called with one line of text now and then.

    Attributes:
        url: of REST and the page.
        grpc_url: of gRPC, None without.

    Raises:
        ListenError: a port is taken, or the address is not of this machine.
    """

    def __init__(
        self,
        versions,
        *,
        host="127.0.0.1",
        port=8501,
        grpc_port=8500,
        max_mb=64,
        log=print,
    ):
        self.versions = versions
        self._grpc, self.grpc_url = None, None
        self._socket = _listen(host, port)
        self.url = f"http://{_shown(host)}:{self._socket.getsockname()[1]}"
        if grpc_port is not None:
            self._start_grpc(host, grpc_port, max_mb, log)
        self._http = uvicorn.Server(
            uvicorn.Config(
                rest.application(versions, max_mb=max_mb),
                access_log=False,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        # Outside the main thread uvicorn leaves signals alone.
        self._thread = threading.Thread(
            target=self._http.run, args=([self._socket],), daemon=True
        )
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Takes no more requests, finishes those that are in flight, ends."""
        stopped = self._grpc and self._grpc.stop(GRACE_SECONDS)
        self._http.should_exit = True
        self._thread.join()
        if stopped:
            stopped.wait()
        self._socket.close()
        self.versions.close()

    def _start_grpc(self, host, port, max_mb, log):
        try:
            from mmkeras.serving import grpc_api

            address = f"{_shown(host)}:{port}"
            self._grpc, port = grpc_api.start(self.versions, address, max_mb=max_mb)
            self.grpc_url = f"grpc://{_shown(host)}:{port}"
        except ImportError as error:
            log(f"serve: REST only. {error}")
        except OSError as error:
            self._socket.close()
            hint = "--grpc-port takes another port, --rest-only goes without"
            raise ListenError(f"cannot listen at {address}: {error}. {hint}") from error


@contextlib.contextmanager
def ending():
    """Keeps Ctrl-C and SIGTERM from ending the process; in the main thread.

    Yields:
        A function that returns when one of them has come.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wait():
        while os.read(reader, 1)[0] not in ENDS:
            pass

    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        # Python writes the signal's number there whichever thread gets it, and no lock
        # is taken: an Event that is set by a handler hangs where it is waited for.
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer))
        for number in ENDS:
            before = signal.signal(number, lambda *_: None)
            stack.callback(signal.signal, number, before)
        yield wait


def _listen(host, port):
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        # What `create_server` adds says the same again.
        why = error.strerror.split(" (while attempting")[0]
        hint = "--port takes another port" if taken else HOSTS
        raise ListenError(
            f"cannot listen at {_shown(host)}:{port}: {why}. {hint}"
        ) from error


def _shown(host):
    return f"[{host}]" if ":" in host else host
