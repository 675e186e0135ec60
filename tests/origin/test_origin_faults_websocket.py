"""Faults of WebSockets: upgrades that are not answered or answered wrongly, frames that are cut, garbage."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidHandshake, WebSocketException
from websockets.sync.client import ClientConnection, connect

from pytest_gatekeeper.origin import Applied, Origin
from tests.origin.conftest import TIMEOUT, end_of, exactly, opened

Dial = Callable[[Origin], socket.socket]
Open = Callable[[Origin], socket.socket]
Meet = Callable[..., ClientConnection]

KEY = base64.b64encode(bytes(16))
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"
ECHO = b"\x81\x05hello"
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"


@pytest.fixture(params=["ws", "wss"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_(dial: Dial, dial_tls: Dial, scheme: str) -> Dial:
    """Open a connection, plain or TLS."""
    return dial_tls if scheme == "wss" else dial


@pytest.fixture
def meet(origin: Origin, trusting: ssl.SSLContext, scheme: str) -> Meet:
    """A usual client of the stub."""

    def meet(path: str = "/ws", timeout: float = TIMEOUT) -> ClientConnection:
        context = trusting if scheme == "wss" else None
        return connect(origin.url_for(scheme) + path, ssl=context, proxy=None, open_timeout=timeout, close_timeout=2)

    return meet


def works(client: ClientConnection) -> bool:
    with client:
        client.send("hello")
        return client.recv(timeout=TIMEOUT) == "hello"


# ---- no 101


def test_an_upgrade_is_reset(origin: Origin, meet: Meet) -> None:
    """On its path alone, and the next one is accepted."""
    origin.faults.reset(path="/ws", times=1)
    assert works(meet("/other"))
    with pytest.raises((OSError, EOFError, WebSocketException)):
        meet()
    assert works(meet())
    assert origin.faults.applied == (Applied("reset", origin.host, "/ws"),)


def test_an_upgrade_stalls(origin: Origin, meet: Meet) -> None:
    """The client gives up by its own limit."""
    origin.faults.stall(path="/ws")
    while not origin.faults.applied:  # it may give up before it has asked
        with pytest.raises(TimeoutError):
            meet(timeout=0.2)
    origin.faults.clear()
    assert works(meet())
    assert {request.upgrade for request in origin.received} == {True}


# ---- a 101, and then


@pytest.mark.parametrize(
    ("name", "after", "sent", "how"),
    [
        ("reset", 0, b"", "reset"),
        ("reset", 3, ECHO[:3], "reset"),
        ("reset", 7, ECHO, "reset"),
        ("reset", 10, ECHO + ECHO[:3], "reset"),
        ("truncate", None, ECHO[:3], "clean"),
        ("truncate", 0, b"", "clean"),
        ("truncate", 1, ECHO[:1], "clean"),
        ("truncate", 9, ECHO + ECHO[:2], "clean"),
    ],
)
def test_frames_are_cut(origin: Origin, open_: Open, name: str, after: int | None, sent: bytes, how: str) -> None:
    """Bytes count from behind the 101; at once for none."""
    getattr(origin.faults, name)(path="/ws", after=after)
    sock = open_(origin)
    opened(sock, UPGRADE)
    if after != 0:  # else it has ended already
        sock.sendall(HELLO + HELLO)
    assert end_of(sock) == (sent, how)
    assert origin.errors == ()


def test_a_usual_client_sees_a_frame_that_is_cut(origin: Origin, meet: Meet) -> None:
    """The connection is closed without a close frame; on other paths, and the next time, it is not."""
    origin.faults.truncate(path="/ws", times=1)
    assert works(meet("/other"))
    with meet() as client:
        client.send("hello")
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(timeout=TIMEOUT)
    assert caught.value.rcvd is None
    assert works(meet())
    assert origin.received[1].messages == ["hello"]


def test_messages_stall(origin: Origin, open_: Open) -> None:
    """After so many bytes; the client can leave."""
    origin.faults.stall(after=4)
    sock = open_(origin)
    opened(sock, UPGRADE)
    sock.sendall(HELLO)
    assert exactly(sock, 4) == ECHO[:4]
    sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(TIMEOUT)
    sock.shutdown(socket.SHUT_WR)
    assert end_of(sock)[0] == b""
    assert origin.errors == ()


def test_a_slow_websocket_still_works(origin: Origin, meet: Meet) -> None:
    """Handshake and messages come in pieces."""
    origin.faults.slow(size=20, delay=0.001)
    assert works(meet())
    assert origin.faults.applied == (Applied("slow", origin.host, "/ws"),)
    assert origin.errors == ()


@pytest.mark.parametrize("scheme", ["wss"], indirect=True)
@pytest.mark.parametrize(("after", "sent"), [(None, ECHO + b"\x88\x02\x03\xe8"), (4, ECHO[:4])])
def test_a_websocket_ends_ragged(origin: Origin, open_: Open, after: int | None, sent: bytes) -> None:
    """After its closing handshake, or within a frame; without the fault it ends with close_notify."""
    origin.faults.ragged(times=1, after=after)
    for expected in ((sent, "ragged"), (ECHO + b"\x88\x02\x03\xe8", "clean")):
        sock = open_(origin)
        opened(sock, UPGRADE)
        with contextlib.suppress(ConnectionError):
            sock.sendall(HELLO + CLOSE)
        assert end_of(sock) == expected
    assert origin.errors == ()


# ---- a wrong 101


def accept_of(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def test_an_accept_belongs_to_another_key(origin: Origin, open_: Open) -> None:
    """All else is as ever: a client that does not look is echoed."""
    origin.faults.bad_accept(path="/ws", times=1)
    for right in (False, True):
        sock = open_(origin)
        head = opened(sock, UPGRADE)
        assert head.lower().count(b"\r\nsec-websocket-accept: ") == 1
        assert (accept_of(KEY) in head) is right
        sock.sendall(HELLO)
        assert exactly(sock, len(ECHO)) == ECHO
    assert origin.faults.applied == (Applied("bad_accept", "a.example", "/ws"),)


def test_a_usual_client_refuses_a_bad_accept(origin: Origin, meet: Meet) -> None:
    """It says which field it is, and the next handshake is right."""
    origin.faults.bad_accept(times=1)
    with pytest.raises(InvalidHandshake, match="Sec-WebSocket-Accept"):
        meet()
    assert works(meet())


def test_garbage_is_glued_to_the_101(origin: Origin, open_: Open) -> None:
    """The bytes that were asked for, or some that are no frame."""
    origin.faults.garbage(times=1)
    origin.faults.garbage(times=1, data=b"\x00asked for")
    for expected in (b"\x00asked for", b"\xff\xff this is no WebSocket frame\r\n", b""):
        sock = open_(origin)
        opened(sock, UPGRADE)
        assert exactly(sock, len(expected)) == expected
        sock.sendall(HELLO)
        assert exactly(sock, len(ECHO)) == ECHO
    assert origin.errors == ()


def test_a_usual_client_closes_over_garbage(origin: Origin, meet: Meet) -> None:
    """With 1002, which the stub notes."""
    origin.faults.garbage(path="/ws", times=1)
    assert works(meet("/other"))
    with meet() as client, pytest.raises(ConnectionClosedError) as caught:
        client.recv(timeout=TIMEOUT)
    assert caught.value.sent is not None
    assert caught.value.sent.code == 1002
    assert origin.wait_for(lambda o: o.received[1].close_code) == 1002
    assert works(meet())


@pytest.mark.parametrize("name", ["bad_accept", "garbage"])
def test_an_upgrade_that_is_rejected_has_no_101_to_spoil(origin: Origin, meet: Meet, name: str) -> None:
    """The fault waits for one that is accepted, and the prepared answer is used once."""
    getattr(origin.faults, name)(times=1)
    origin.reject_upgrade(403, times=1)
    with pytest.raises(InvalidHandshake, match="403"):
        meet()
    assert not origin.faults.applied
    with contextlib.suppress(InvalidHandshake), meet() as client, pytest.raises(ConnectionClosedError):
        client.recv(timeout=TIMEOUT)
    assert origin.faults.applied == (Applied(name, origin.host, "/ws"),)
