"""WebSockets at the stub: the handshake, the echo, permessage-deflate, and how they end."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import struct
import sys
import zlib
from collections.abc import Callable
from http.client import HTTPResponse

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect

from pytest_gatekeeper._origin import journal, websocket
from pytest_gatekeeper.origin import Origin
from tests.conftest import in_a_loop
from tests.origin.conftest import exactly, opened

Dial = Callable[[Origin], socket.socket]
Ask = Callable[..., HTTPResponse]

KEY = base64.b64encode(bytes(16))
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


def upgrade(*fields: bytes, version: bytes = b"13", key: bytes | None = KEY) -> bytes:
    lines = [b"GET /ws?token=s3cret HTTP/1.1", b"Host: ws.example.com", b"Connection: keep-alive, Upgrade"]
    lines += [b"Upgrade: WebSocket", *(field.strip() for field in fields), b"Sec-WebSocket-Version: " + version]
    lines += [b"Sec-WebSocket-Key: " + key] if key else []
    return b"\r\n".join(lines) + b"\r\n\r\n"


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False, masked: bool = True) -> bytes:
    """A client's frame (RFC 6455 section 5.2)."""
    first = fin << 7 | rsv1 << 6 | opcode
    length = len(payload)
    size = bytes([length]) if length < 126 else b"\x7e" + struct.pack("!H", length)
    if not masked:
        return bytes([first]) + size + payload
    mask = b"\x37\xfa\x21\x3d"
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([first, size[0] | 0x80]) + size[1:] + mask + body


def next_frame(sock: socket.socket) -> tuple[int, bytes]:
    """First byte and payload of the server's next frame."""
    first, length = exactly(sock, 2)
    if length == 126:
        (length,) = struct.unpack("!H", exactly(sock, 2))
    return first, exactly(sock, length)


# ---- usual clients

MESSAGES: list[str | bytes] = ["", b"", "hé", b"\x00\xff", "x" * 200_000, os.urandom(300_000), b"z" * 1024 * 1024, ""]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_come_back_as_they_are(origin: Origin, trusting: ssl.SSLContext, compression: str | None) -> None:
    """Text and binary, empty and large, with and without compression; each is received before it is back."""
    with connect(origin.url_for("wss") + "/s", ssl=trusting, compression=compression, max_size=None) as client:
        assert bool(client.response and client.response.headers.get("Sec-WebSocket-Extensions")) is bool(compression)
        for number, message in enumerate(MESSAGES, start=1):
            client.send(message)
            assert client.recv(timeout=10) == message
            assert origin.received[0].message_count == number
    assert origin.received[0].messages == MESSAGES
    assert origin.errors == ()


def test_fragments_are_joined(origin: Origin) -> None:
    """One message out for one message in."""
    with connect(origin.url_for("ws")) as client:
        client.send(["a", "", "bé"])
        client.send([b"\x01", b"\x02"])
        assert [client.recv(timeout=10) for _ in range(2)] == ["abé", b"\x01\x02"]


def test_the_first_subprotocol_offered_is_selected(origin: Origin) -> None:
    """And none where none is offered."""
    with connect(origin.url_for("ws"), subprotocols=["v2.x", "v1.x"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "v2.x"
    with connect(origin.url_for("ws")) as client:
        assert client.subprotocol is None


def test_a_ping_is_answered_with_its_payload(origin: Origin) -> None:
    """RFC 6455 section 5.5.3."""
    with connect(origin.url_for("ws")) as client:
        assert client.ping(b"payload").wait(10)
        assert client.pong(b"unasked") is None  # type: ignore[func-returns-value]
        client.send("still there")
        assert client.recv(timeout=10) == "still there"


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (4321, "grund: ä")])
def test_close_comes_back_with_code_and_reason(origin: Origin, code: int, reason: str) -> None:
    """And is noted."""
    with connect(origin.url_for("ws")) as client:
        client.close(code, reason)
        with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, reason)
    assert origin.received[0].close_code == code


def test_asyncio_clients_side_by_side(origin: Origin, trusting: ssl.SSLContext) -> None:
    """Sixteen connections, each with messages of its own."""
    scheme = "wss" if sys.version_info >= (3, 11) else "ws"  # 3.10's own TLS transport warns when the server ends first

    context = trusting if scheme == "wss" else None

    async def talk(number: int) -> None:
        async with connect_async(origin.url_for(scheme) + f"/{number}", ssl=context) as client:
            for turn in range(10):
                await client.send(f"{number}/{turn}")
                assert await asyncio.wait_for(client.recv(), 10) == f"{number}/{turn}"

    async def all_of_them() -> None:
        await asyncio.gather(*(talk(number) for number in range(16)))

    in_a_loop(all_of_them())
    kept = {request.path: request.messages for request in origin.received}
    assert kept == {f"/{number}": [f"{number}/{turn}" for turn in range(10)] for number in range(16)}


# ---- the handshake


def test_the_101_is_exact(origin: Origin, dial: Dial) -> None:
    """The accept key is that of RFC 6455 section 4.2.2 for this nonce."""
    head = opened(dial(origin), upgrade())
    assert b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n" in head
    assert b"Extensions" not in head


def test_a_frame_before_the_101_is_not_lost(origin: Origin, dial: Dial) -> None:
    """It may be in the same segment as the request."""
    sock = dial(origin)
    opened(sock, upgrade() + frame(1, b"early"))
    assert next_frame(sock) == (0x81, b"early")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (upgrade(version=b"8"), 426),
        (upgrade(key=None), 400),
        (upgrade(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=x"), 400),
        (upgrade(b"Sec-WebSocket-Protocol: caf\xe9"), 400),
    ],
)
def test_a_bad_handshake_is_refused_and_the_connection_goes_on(
    origin: Origin, dial: Dial, ask: Ask, request_bytes: bytes, status: int
) -> None:
    """With the version that is spoken, and a line in `errors`."""
    sock = dial(origin)
    response = ask(sock, request_bytes)
    assert (response.status, response.getheader("Sec-WebSocket-Version")) == (status, "13")
    assert b"RFC 6455" in response.read()
    assert str(status) in origin.errors[0]
    opened(sock, upgrade())


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"GET", b"POST"), (b"Upgrade: WebSocket", b"Upgrade: other"), (b"keep-alive, Upgrade", b"keep-alive"),
     (b"HTTP/1.1", b"HTTP/1.0")],
)  # fmt: skip
def test_what_asks_for_no_websocket_is_echoed(origin: Origin, dial: Dial, ask: Ask, old: bytes, new: bytes) -> None:
    """RFC 6455 section 4.2.1 names what an upgrade needs."""
    assert ask(dial(origin), upgrade().replace(old, new)).status == 200
    assert origin.received[0].upgrade is False


def test_an_upgrade_can_be_rejected(origin: Origin) -> None:
    """As often as asked for, with status and body; ordinary requests are left alone."""
    origin.reject_upgrade(401, {"error": "no"}, path="/s*", times=1, headers={"X-Why": "token"})
    with pytest.raises(InvalidStatus) as caught:
        connect(origin.url_for("ws") + "/socket")
    response = caught.value.response
    assert (response.status_code, bytes(response.body or b""), response.headers["X-Why"]) == (
        401,
        b'{"error": "no"}',
        "token",
    )
    with connect(origin.url_for("ws") + "/socket") as client:
        client.send("now")
        assert client.recv(timeout=10) == "now"


def test_a_rejection_leaves_requests_alone_and_an_answer_does_not(origin: Origin, dial: Dial, ask: Ask) -> None:
    """`reject_upgrade` is for upgrades, `respond` for all."""
    origin.reject_upgrade(503)
    sock = dial(origin)
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert [ask(sock, request).status, ask(sock, upgrade()).status] == [200, 503]
    origin.respond(status=500)
    assert [ask(sock, request).status, ask(sock, upgrade()).status] == [500, 500]


def test_an_upgrade_does_not_show_its_query(origin: Origin, dial: Dial) -> None:
    """Tokens travel there."""
    sock = dial(origin)
    opened(sock, upgrade())
    assert repr(origin.received[0]) == "<Received GET ws.example.com/ws, 0 messages>"


# ---- permessage-deflate


def compressed(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return (squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


def expanded(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")


def test_a_ping_between_compressed_fragments(origin: Origin, dial: Dial) -> None:
    """A control frame does not end the message's decompression (RFC 7692 section 6.1)."""
    sock = dial(origin)
    opened(sock, upgrade(DEFLATE))
    data = compressed(b"hello, hello, hello")
    sock.sendall(frame(1, data[:4], fin=False, rsv1=True) + frame(9, b"p") + frame(0, data[4:]))
    assert next_frame(sock) == (0x8A, b"p")
    first, payload = next_frame(sock)
    assert (first, expanded(payload)) == (0xC1, b"hello, hello, hello")


def test_a_compressed_control_frame_is_a_protocol_error(origin: Origin, dial: Dial) -> None:
    """RFC 7692 section 6.1."""
    sock = dial(origin)
    opened(sock, upgrade(DEFLATE))
    sock.sendall(frame(9, b"", rsv1=True))
    first, payload = next_frame(sock)
    assert (first, payload[:2]) == (0x88, struct.pack("!H", 1002))


def test_no_context_takeover_is_honoured(origin: Origin, dial: Dial) -> None:
    """The parameter is agreed to, and each message can be expanded on its own."""
    sock = dial(origin)
    head = opened(sock, upgrade(DEFLATE.strip() + b"; server_no_context_takeover"))
    assert b"permessage-deflate; server_no_context_takeover\r\n" in head
    for _ in range(2):
        sock.sendall(frame(1, b"hello, hello"))
        assert expanded(next_frame(sock)[1]) == b"hello, hello"


def test_the_first_offer_that_will_do_is_taken(origin: Origin, dial: Dial) -> None:
    """A window of 8 bits cannot be had from zlib, so the second offer is agreed to; a third changes nothing."""
    offers = b"permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10, "
    sock = dial(origin)
    head = opened(sock, upgrade(b"Sec-WebSocket-Extensions: " + offers + b"permessage-deflate"))
    assert b"permessage-deflate; server_max_window_bits=10\r\n" in head
    sock.sendall(frame(1, b"hello"))
    assert expanded(next_frame(sock)[1]) == b"hello"


def test_small_windows_with_a_usual_client(origin: Origin) -> None:
    """Every parameter that a client can ask for."""
    factory = ClientPerMessageDeflateFactory(True, True, 10, 11)
    with connect(origin.url_for("ws"), compression=None, extensions=[factory], max_size=None) as client:
        for message in MESSAGES:
            client.send(message)
            assert client.recv(timeout=10) == message


# ---- what goes wrong


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(1, b"x", masked=False), 1002),
        (frame(1, b"\xff"), 1007),
        (frame(0, b"x"), 1002),
        (frame(3, b"x"), 1002),
        (frame(1, b"x", rsv1=True), 1002),
        (frame(8, b"\x03"), 1002),
    ],
)
def test_a_broken_frame_closes_with_its_code(
    origin: Origin, dial: Dial, read_all: Callable[[socket.socket], bytes], frames: bytes, code: int
) -> None:
    """RFC 6455 section 7.4.1; then the connection ends."""
    sock = dial(origin)
    opened(sock, upgrade())
    sock.sendall(frames)
    first, payload = next_frame(sock)
    assert (first, struct.unpack("!H", payload[:2])[0]) == (0x88, code)
    assert read_all(sock) == b""
    assert (origin.received[0].close_code, f"closed with {code}" in origin.errors[0]) == (None, True)


def test_a_close_without_a_code_is_answered_without_one(origin: Origin, dial: Dial) -> None:
    """RFC 6455 section 7.1.5 calls it 1005."""
    sock = dial(origin)
    opened(sock, upgrade())
    sock.sendall(frame(8, b""))
    assert next_frame(sock) == (0x88, b"")
    assert origin.received[0].close_code == 1005


def too_much(client: ClientConnection) -> None:
    client.send([b"x" * 5, b"y" * 6])
    client.recv(timeout=10)


def test_a_message_beyond_the_limit_is_refused(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """1009, also when it comes in fragments; a message of just the limit is echoed."""
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 10)
    with connect(origin.url_for("ws"), compression=None) as client:
        client.send(["x" * 5, "y" * 5])
        assert client.recv(timeout=10) == "xxxxxyyyyy"
        with pytest.raises(ConnectionClosedError) as caught:
            too_much(client)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009
    assert "longer than 10" in origin.errors[0]


def test_messages_are_kept_up_to_a_bound(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are echoed and counted."""
    monkeypatch.setattr(journal, "MAX_MESSAGES", 4)
    with connect(origin.url_for("ws")) as client:
        for message in ("abc", "de", "f"):
            client.send(message)
            assert client.recv(timeout=10) == message
    assert (origin.received[0].messages, origin.received[0].message_count) == (["abc", "f"], 3)


def test_a_connection_that_ends_without_a_close_is_noted(origin: Origin, dial: Dial) -> None:
    """In words without a byte of what was said."""
    sock = dial(origin)
    opened(sock, upgrade())
    sock.sendall(frame(1, b"s3cret")[:-2])
    sock.shutdown(socket.SHUT_WR)
    (error,) = origin.wait_for(lambda o: o.errors)
    assert "without closing the WebSocket" in error
    assert (origin.received[0].messages, origin.received[0].close_code) == ([], None)
