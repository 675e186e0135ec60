"""Facts about reading WebSocket frames in passing; the streams are made by the websockets library and by hand."""

from __future__ import annotations

import os
import random
import tracemalloc
import zlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate as WsprotoDeflate

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.scan.frames import Deflate, WebSocketProbe, deflate_parameters, unmasked
from pytest_gatekeeper._core.scan.watchlist import Watchlist
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret-token-for-tests"
TOKEN = VALUE.encode()
WATCHLIST = Watchlist([Rule("credentials[0]", "ws.example.com", "X-Key", "", Secret(VALUE), Secret(VALUE))])
TAKEOVER = Deflate(takeover=True, bits=15)
FRESH = Deflate(takeover=False, bits=15)


def places(probe: WebSocketProbe, pieces: Iterable[bytes]) -> list[tuple[str, int]]:
    return [(sighting.place, sighting.hit.offset) for piece in pieces for sighting in probe.feed(piece)]


def halves(data: bytes, at: int) -> list[bytes]:
    return [data[:at], data[at:]]


def singles(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def frame(
    opcode: int, data: bytes, fin: bool = True, mask: bool = False, deflate: PerMessageDeflate | None = None
) -> bytes:
    extensions = [] if deflate is None else [deflate]
    return Frame(Opcode(opcode), data, fin).serialize(mask=mask, extensions=extensions)


TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


@pytest.mark.parametrize("deflate", [None, TAKEOVER, FRESH, Deflate(takeover=True, bits=9)])
@pytest.mark.parametrize("mask", [False, True])
def test_a_value_is_found_once_in_its_message_wherever_the_stream_is_cut(mask: bool, deflate: Deflate | None) -> None:
    """Over fragments, with pings between them, masked or not, compressed or not; the next message is another place."""
    packer = None
    if deflate is not None:
        packer = PerMessageDeflate(False, not deflate.takeover, 15, deflate.bits)
    stream = b"".join([
        frame(TEXT, b"hello", mask=mask, deflate=packer),
        frame(TEXT, b"....." + TOKEN[:9], fin=False, mask=mask, deflate=packer),
        frame(PING, b"??", mask=mask),
        frame(CONT, TOKEN[9:12], fin=False, mask=mask, deflate=packer),
        frame(CONT, b"", fin=False, mask=mask, deflate=packer),
        frame(CONT, TOKEN[12:] + b".", mask=mask, deflate=packer),
        frame(BINARY, TOKEN[:-1], mask=mask, deflate=packer),
        frame(BINARY, TOKEN[-1:] + TOKEN + TOKEN, mask=mask, deflate=packer),
        frame(PONG, b"", mask=mask),
        frame(CLOSE, b"\x03\xe8bye", mask=mask),
    ])  # fmt: skip
    expected = [("message 2", 5), ("message 4", 1), ("message 4", 1 + len(TOKEN))]
    for pieces in ([stream], singles(stream), *(halves(stream, at) for at in range(1, len(stream)))):
        assert places(WebSocketProbe(WATCHLIST, deflate), pieces) == expected


@pytest.mark.parametrize(
    ("opcode", "place", "prefix"), [(CLOSE, "close", b"\x03\xe8"), (PING, "ping", b""), (PONG, "pong", b"")]
)
def test_control_frames_are_places_of_their_own(opcode: int, place: str, prefix: bytes) -> None:
    """Also between the fragments of a message, which goes on after them."""
    stream = frame(TEXT, TOKEN[:5], fin=False, mask=True) + frame(opcode, prefix + TOKEN, mask=True)
    expected = [(place, len(prefix))]
    if opcode != CLOSE:
        stream += frame(CONT, TOKEN[5:], mask=True)
        expected.append(("message 1", 0))
    for at in range(len(stream)):
        assert places(WebSocketProbe(WATCHLIST), halves(stream, at)) == expected
    assert places(WebSocketProbe(WATCHLIST), [frame(opcode, prefix + TOKEN[1:], mask=True)]) == []


def test_what_follows_a_close_frame_is_looked_at_as_plain_bytes() -> None:
    """It is no message any more."""
    stream = frame(CLOSE, b"") + frame(TEXT, TOKEN)
    assert places(WebSocketProbe(WATCHLIST), [stream]) == [("tunnel", 4)]
    assert places(WebSocketProbe(WATCHLIST), singles(stream)) == [("tunnel", 4)]
    assert places(WebSocketProbe(WATCHLIST), [frame(TEXT, TOKEN)]) == [("message 1", 0)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("mask", [False, True])
def test_payloads_of_any_length_are_read(size: int, mask: bool) -> None:
    """With each form of the length, in one piece and in many."""
    data = random.Random(size).randbytes(size)
    stream = frame(BINARY, data + TOKEN, mask=mask) + frame(TEXT, TOKEN, mask=mask)
    expected = [("message 1", size), ("message 2", 0)]
    assert places(WebSocketProbe(WATCHLIST), [stream]) == expected
    step = max(1, size // 50)
    assert places(WebSocketProbe(WATCHLIST), [stream[at : at + step] for at in range(0, len(stream), step)]) == expected


def wsproto_stream(side: ConnectionType, events: Sequence[Event], extension: WsprotoDeflate | None) -> bytes:
    connection = Connection(side, extensions=[] if extension is None else [extension])
    return b"".join(connection.send(event) for event in events)


@pytest.mark.parametrize("parameters", [
    "", "; client_no_context_takeover", "; server_no_context_takeover", "; client_max_window_bits=10",
    "; server_max_window_bits=12; server_no_context_takeover; client_no_context_takeover", None,
])  # fmt: skip
@pytest.mark.parametrize("side", list(ConnectionType))
def test_what_wsproto_sends_is_read(side: ConnectionType, parameters: str | None) -> None:
    """Of a client and of a server, with all parameters of compression, and without it."""
    extension = None
    headers: tuple[tuple[str, str], ...] = ()
    if parameters is not None:
        extension = WsprotoDeflate()
        extension.finalize("permessage-deflate" + parameters)
        headers = (("Sec-WebSocket-Extensions", "permessage-deflate" + parameters),)
    events = [
        TextMessage("first " * 50 + VALUE),
        TextMessage("second " * 50, message_finished=False),
        Ping(b"now"),
        TextMessage(VALUE + " first" * 50),
        BytesMessage(os.urandom(5000)),
        BytesMessage(b"third" + TOKEN),
        CloseConnection(1000, VALUE),
    ]
    stream = wsproto_stream(side, events, extension)
    deflate = deflate_parameters(headers, client=side is ConnectionType.CLIENT)
    assert (deflate is None) == (parameters is None)
    expected = [("message 1", 300), ("message 2", 350), ("message 4", 5), ("close", 2)]
    assert places(WebSocketProbe(WATCHLIST, deflate), [stream]) == expected
    assert places(WebSocketProbe(WATCHLIST, deflate), singles(stream)) == expected


@pytest.mark.parametrize(
    ("header", "client", "server"),
    [
        ("permessage-deflate", TAKEOVER, TAKEOVER),
        ("Permessage-Deflate; server_no_context_takeover", TAKEOVER, FRESH),
        ('permessage-deflate; client_no_context_takeover; client_max_window_bits="10"', Deflate(False, 10), TAKEOVER),
        ("x-other, permessage-deflate;server_max_window_bits = 8", TAKEOVER, Deflate(True, 9)),  # zlib's least
        ("permessage-deflate; server_max_window_bits=99; client_max_window_bits=x", TAKEOVER, TAKEOVER),
        ("permessage-deflate-2", None, None),
        ("", None, None),
    ],
)
def test_what_a_response_agrees_on(header: str, client: Deflate | None, server: Deflate | None) -> None:
    """Each direction has its parameters (RFC 7692 section 7.1)."""
    headers = (("Upgrade", "websocket"), ("sec-websocket-extensions", header))
    assert deflate_parameters(headers, client=True) == client
    assert deflate_parameters(headers, client=False) == server


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xc1\x05",  # compressed, which was not agreed on
        b"\xa1\x05",  # RSV2
        b"\x83\x05",  # an opcode that there is not
        b"\x8b\x05",
        b"\x80\x05",  # a continuation of nothing
        b"\x09\x05",  # a ping in fragments
        b"\x89\x7e\x00\x7e",  # a ping that is too long
        b"\xc9\x05",  # a compressed ping
        b"\x01\x01x\x01\x01y",  # a message within a message
        b"\x01\x01x\x81\x01y",
        b"\x01\x01x\xc0\x01y",  # RSV1 on a continuation
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_is_no_frame_is_looked_at_as_plain_bytes(garbage: bytes) -> None:
    """From there on, with offsets in the whole stream; what came before was read."""
    start = frame(TEXT, TOKEN)
    for between in (b"", b"....."):
        stream = start + garbage + between + frame(TEXT, TOKEN) + TOKEN
        later = len(start + garbage + between) + 2
        expected = [("message 1", 0), ("tunnel", later), ("tunnel", later + len(TOKEN))]
        for at in range(len(stream)):
            assert places(WebSocketProbe(WATCHLIST), halves(stream, at)) == expected
        assert places(WebSocketProbe(WATCHLIST), singles(stream)) == expected


@pytest.mark.parametrize("takeover", [True, False])
def test_a_message_that_cannot_be_inflated_is_looked_at_as_it_is(takeover: bool) -> None:
    """So are those that may refer to it; where none may, the next one is inflated again."""
    packer = PerMessageDeflate(False, not takeover, 15, 15)
    broken = bytes([0xC1, len(TOKEN) + 2]) + b"\xff\xff" + TOKEN
    stream = frame(TEXT, TOKEN, deflate=packer) + broken + frame(TEXT, b"- " + TOKEN, deflate=packer)
    probe = WebSocketProbe(WATCHLIST, Deflate(takeover, 15))
    expected = [("message 1", 0), ("message 2", 2)]
    if not takeover:
        expected.append(("message 3", 2))
    assert places(probe, singles(stream)) == expected
    assert places(probe, [frame(TEXT, TOKEN)])[-1:] == [("message 4", 0)]


def test_a_block_that_says_it_is_the_last_is_not() -> None:
    """A message may end with a final block (RFC 7692 section 7.2.3.4)."""
    packer = zlib.compressobj(wbits=-15)
    payload = packer.compress(b"x" * 50 + TOKEN) + packer.flush() + b"\0"
    stream = bytes([0xC1, len(payload)]) + payload
    assert places(WebSocketProbe(WATCHLIST, FRESH), singles(stream * 2)) == [("message 1", 50), ("message 2", 50)]


def test_a_bomb_is_put_out() -> None:
    """A message that grows beyond all measure is not inflated to its end; memory stays small."""
    packer = PerMessageDeflate(False, True, 15, 15)
    bomb = frame(BINARY, TOKEN + bytes(100 << 20) + TOKEN, deflate=packer)
    told: list[str] = []
    probe = WebSocketProbe(WATCHLIST, FRESH, told.append)
    tracemalloc.start()
    found = places(probe, [bomb])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [("message 1", 0)]
    assert peak < 3 << 20
    assert places(probe, [frame(TEXT, TOKEN, deflate=packer)]) == [("message 2", 0)]
    assert told == ["it decodes to more than 16 MiB and 64 times its size, and was left there"]
    probe = WebSocketProbe(WATCHLIST, TAKEOVER)
    assert places(probe, [bomb]) == [("message 1", 0)]
    as_it_is = bytes([0xC1, len(TOKEN)]) + TOKEN
    assert places(probe, [as_it_is, frame(TEXT, TOKEN)]) == [("message 2", 0), ("message 3", 0)]


def test_a_long_message_is_not_kept() -> None:
    """What is remembered of it does not grow."""
    probe = WebSocketProbe(WATCHLIST)
    probe.feed(b"\x82\x7f" + (1 << 40).to_bytes(8, "big"))
    piece = random.Random(1).randbytes(1 << 16)
    probe.feed(piece)
    tracemalloc.start()
    for _ in range(200):
        assert probe.feed(piece) == []
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 100_000
    assert places(probe, [TOKEN]) == [("message 1", 201 << 16)]


@given(st.lists(st.binary(max_size=200), max_size=6), st.sampled_from([None, TAKEOVER, FRESH]), st.booleans())
def test_no_data_raises(pieces: list[bytes], deflate: Deflate | None, framed: bool) -> None:
    """Garbage of any kind, also in compressed frames, holds nothing and is survived."""
    if framed:
        pieces = [bytes([0xC2 if at % 2 else 0x82, min(len(piece), 125)]) + piece for at, piece in enumerate(pieces)]
    assert places(WebSocketProbe(WATCHLIST, deflate), pieces) == []


@given(st.binary(max_size=9000), st.binary(min_size=4, max_size=4))
def test_unmasking_is_what_the_standard_says(data: bytes, key: bytes) -> None:
    """Each byte is combined with one of the key, in turn (RFC 6455 section 5.3)."""
    assert unmasked(data, key) == bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


def test_views_and_nothing_at_all_are_taken() -> None:
    """Memoryviews, empty pieces, and no secrets to look for."""
    assert places(WebSocketProbe(WATCHLIST), [memoryview(frame(TEXT, TOKEN)), b""]) == [("message 1", 0)]  # type: ignore[list-item]
    assert places(WebSocketProbe(Watchlist([])), [frame(TEXT, TOKEN)]) == []
