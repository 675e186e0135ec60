"""What the tests of the stub upstream share: origins that end with their test, and clients close to the wire."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from http.client import HTTPResponse

import pytest

from pytest_gatekeeper._proxy.thread import proxy_thread
from pytest_gatekeeper.origin import Origin
from tests.conftest import turns

TIMEOUT = 30.0


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    """Closes what a test opens."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A running stub."""
    with Origin() as running:
        yield running


@pytest.fixture
def trusting(origin: Origin) -> ssl.SSLContext:
    """A client context that trusts the stubs of this process."""
    return ssl.create_default_context(cadata=origin.ca_pem.decode())


@pytest.fixture
def dial(cleanup: contextlib.ExitStack) -> Callable[[Origin], socket.socket]:
    """Open a plain TCP connection to a stub."""

    def dial(origin: Origin) -> socket.socket:
        return cleanup.enter_context(socket.create_connection((origin.host, origin.port), TIMEOUT))

    return dial


@pytest.fixture
def dial_tls(
    cleanup: contextlib.ExitStack, dial: Callable[[Origin], socket.socket], trusting: ssl.SSLContext
) -> Callable[[Origin], socket.socket]:
    """Open a TLS connection to a stub; it tells a ragged end from a clean one."""

    def dial_tls(origin: Origin) -> socket.socket:
        return cleanup.enter_context(
            trusting.wrap_socket(dial(origin), server_hostname="a.example", suppress_ragged_eofs=False)
        )

    return dial_tls


@pytest.fixture
def ask(cleanup: contextlib.ExitStack) -> Callable[..., HTTPResponse]:
    """Send a request as it is and read the head of its answer."""

    def ask(sock: socket.socket, request: bytes, method: str = "GET") -> HTTPResponse:
        sock.sendall(request)
        response = HTTPResponse(sock, method=method)
        cleanup.callback(response.close)
        response.begin()
        return response

    return ask


@pytest.fixture
def read_all() -> Callable[[socket.socket], bytes]:
    """Read a connection to its end."""

    def read_all(sock: socket.socket) -> bytes:
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)

    return read_all


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, "the connection ended"
        data += part
    return data


def opened(sock: socket.socket, request: bytes) -> bytes:
    """Send an upgrade; the head of the 101."""
    sock.sendall(request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(sock, 1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return head


def at_rest(origin: Origin) -> bool:
    """Whether a stub that was closed serves nothing any more."""
    proxy_thread().run(turns)
    return not origin._reception._open


def end_of(sock: socket.socket) -> tuple[bytes, str]:
    """What arrives, and how the connection ends: `clean`, `ragged` or `reset`.

    Python's ssl makes the same of a reset as of a ragged end, so the bytes below are looked at first.
    """
    data = b""
    with socket.socket(fileno=os.dup(sock.fileno())) as below:
        below.settimeout(TIMEOUT)
        try:
            while True:
                if not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                    below.recv(1, socket.MSG_PEEK)
                part = sock.recv(65536)
                if not part:
                    return data, "clean"
                data += part
        except ConnectionResetError:
            return data, "reset"
        except ssl.SSLEOFError:
            return data, "ragged"
