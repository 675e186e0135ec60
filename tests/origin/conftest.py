"""What the tests of the stub upstream share: origins that end with their test, and clients close to the wire."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from http.client import HTTPResponse

import pytest

from pytest_gatekeeper.origin import Origin

TIMEOUT = 10.0


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
