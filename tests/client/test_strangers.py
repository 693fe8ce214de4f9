"""A port where no model answers, but a page, another service, or no HTTP at all."""

import contextlib
import socket
import threading

import pytest

from mmkeras import client
from mmkeras.client import Client, ServerError

ROWS = [{"text": "a"}]
PAGE = b"""<!DOCTYPE html>
<html><head>
<title>502 Bad
 Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"""
SSH = b"SSH-2.0-OpenSSH_9.2p1\r\n"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.001)


@contextlib.contextmanager
def saying(content):
    """A port where somebody hears one message, says this and hangs up; its number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk():
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as heard:
                        while b"\r\n\r\n" not in heard.recv(65536):
                            pass
                        heard.sendall(content)

        threading.Thread(target=talk, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def answer(code, content, head=b""):
    """An answer of HTTP."""
    size = str(len(content)).encode()
    lines = (b"HTTP/1.1 %d X" % code, b"Content-Length: " + size, head, b"")
    return b"\r\n".join(line for line in lines if line) + b"\r\n\r\n" + content


def refused(content, what="status", scheme="http", **options):
    """The one sentence, and its code, of who asks where that is said."""
    with saying(content) as port:
        asked = Client(f"{scheme}://127.0.0.1:{port}", model="pets", **options)
        with pytest.raises(ServerError) as caught:
            getattr(asked, what)(*([ROWS] if what == "predict" else []))
    said = str(caught.value)
    assert said.startswith(f"{what} of model pets at {scheme}://127.0.0.1:{port}: ")
    assert "\n" not in said
    hint = "REST is asked as http://, port 8501 by default, gRPC as grpc://, port 8500"
    assert (hint in said) == (caught.value.code == 502)
    return said, caught.value.code


@pytest.mark.parametrize(
    ("code", "content", "told", "as_code"),
    [
        (200, b"<html>", "<html>", 502),
        (200, b"[]", "[]", 502),
        (200, b"{}", "{}", 502),
        (200, b'{"predictions": []}', '{"predictions": []}', 502),
        (200, b'{"predictions": 3}', '{"predictions": 3}', 502),
        (200, b'{"predictions": [{"a": 1}, {"b": 1}]}', '{"predictions": [{"a', 502),
        (200, PAGE, 'a page, "502 Bad Gateway"', 502),
        (407, PAGE, 'a page, "502 Bad Gateway"', 407),
        (502, b"", "nothing", 502),
        (404, b'{"detail": "Not Found"}', '{"detail": "Not Found"}', 404),
        (500, b'{"error": {"code": 3}}', '{"error": {"code": 3}}', 500),
        (500, b"x" * 1000, "x" * 200 + "… (500)", 500),
    ],
)
def test_a_page_or_another_service(code, content, told, as_code):
    said, got = refused(answer(code, content), "predict")
    assert f"the server answers: {told}" in said and got == as_code


@pytest.mark.parametrize("what", ["status", "metadata"])
@pytest.mark.parametrize("content", [b"null", b"{}", b'{"model_version_status": [{}]}'])
def test_json_of_another_service(what, content):
    said, code = refused(answer(200, content), what)
    assert f"the server answers: {content.decode()} (502)" in said and code == 502


@pytest.mark.parametrize(
    ("scheme", "content", "told"),
    [
        ("http", SSH, "what answers there speaks no HTTP: 'SSH-2.0-OpenSSH_9.2p1'"),
        ("http", b"\0\0\x18\4", "what answers there speaks no HTTP (502)"),
        ("http", b"", "the connection broke: Remote end closed connection without"),
        ("grpc", SSH, "what answers there speaks no gRPC (502)"),
    ],
)
def test_what_speaks_something_else(scheme, content, told):
    said, code = refused(content, scheme=scheme)
    assert told in said and code == 502


def test_a_port_without_encryption():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk():
            with listener.accept()[0] as heard:
                heard.recv(65536)
                heard.sendall(SSH)

        threading.Thread(target=talk, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        said = "no encrypted connection: WRONG_VERSION_NUMBER"
        with pytest.raises(ServerError, match=rf"{said} \(502\)\. REST is asked as"):
            Client(url, model="pets").status()


def test_a_server_that_sends_elsewhere():
    said, code = refused(answer(301, b"", b"Location: https://x/v1"))
    assert "the server answers: ask at https://x/v1 instead (301)." in said
    assert code == 301


def test_a_host_that_nobody_knows():
    with pytest.raises(ServerError, match=r"no such host: .*\(503, 2 attempts\)"):
        Client("http://nohost.invalid:1", model="pets", retries=1).status()
