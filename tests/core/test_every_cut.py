"""Every cut of every encoding: a `LeakScan` that gets a stream in two pieces finds the value once, wherever it is cut.

The streams are what is on the wire: frames with their heads and masks, fragments with a ping between them, compressed
messages, bodies in gzip and deflate. `test_watchlist` has the same for bytes without anything around them.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from pytest_gatekeeper._core.scan.frames import unmasked
from pytest_gatekeeper._core.scan.leaks import LeakScan, StreamScan
from tests.core.test_leaks import ENCODED, Scene, response

BEFORE, AFTER = b'{"?q=', b'."}'
KEY = b"\x9d\x03\xfe\x11"
PING = b"\x89\x82" + KEY + unmasked(b"hi", KEY)

FORMS = {name: text.encode() for name, text in ENCODED.items()}


def frame(first: int, payload: bytes, *, mask: bool) -> bytes:
    """A frame whose first byte is given (RFC 6455 section 5.2)."""
    size = bytes([len(payload) | 128 * mask])
    if len(payload) > 125:
        size = bytes([126 | 128 * mask]) + len(payload).to_bytes(2, "big")
    return bytes([first]) + size + (KEY + unmasked(payload, KEY) if mask else payload)


def squeezed(data: bytes) -> bytes:
    """A message as permessage-deflate has it (RFC 7692 section 7.2.1)."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def parts(payload: bytes, *, mask: bool, first: int) -> bytes:
    """A message in three fragments that cut the value, with a ping between them."""
    a, b = len(payload) // 3, 2 * len(payload) // 3
    pieces = [frame(first, payload[:a], mask=mask), frame(0, payload[a:b], mask=mask)]
    return pieces[0] + (PING if mask else b"\x89\x02hi") + pieces[1] + frame(0x80, payload[b:], mask=mask)


STREAMS: dict[str, Callable[[bytes, bool], bytes]] = {
    "text": lambda data, mask: frame(0x81, data, mask=mask),
    "binary": lambda data, mask: frame(0x82, data, mask=mask),
    "fragments": lambda data, mask: parts(data, mask=mask, first=0x01),
    "deflate": lambda data, mask: frame(0xC1, squeezed(data), mask=mask),
    "deflate, fragments": lambda data, mask: parts(squeezed(data), mask=mask, first=0x41),
}


def upgraded(scan: LeakScan) -> tuple[StreamScan, StreamScan]:
    agreed = ("Sec-WebSocket-Extensions", "permessage-deflate")
    return scan.upgraded(response(("Upgrade", "websocket"), agreed, status=101))


def found(make: Callable[[LeakScan], StreamScan], *pieces: bytes) -> list[tuple[str, str, int, int]]:
    scene = Scene()
    watch = make(scene.scan)
    for piece in pieces:
        watch.feed(piece)
    return scene.seen


def everywhere(
    make: Callable[[LeakScan], StreamScan], stream: bytes, expected: list[tuple[str, str, int, int]]
) -> None:
    """Whole, byte by byte, and in two pieces with every cut."""
    assert found(make, stream) == expected
    assert found(make, *(stream[at : at + 1] for at in range(len(stream)))) == expected
    for at in range(1, len(stream)):
        assert found(make, stream[:at], stream[at:]) == expected, f"cut at {at} of {len(stream)}"


@pytest.mark.parametrize("mask", [True, False], ids=["sent", "coming back"])
@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("form", FORMS)
def test_messages(form: str, kind: str, mask: bool) -> None:
    """In each encoding, kind of message and direction; without its last characters nothing is found."""
    hello = frame(0x81, b"hello", mask=mask)

    def make(scan: LeakScan) -> StreamScan:
        return upgraded(scan)[0 if mask else 1]

    direction = "upstream" if mask else "client"
    stream = hello + STREAMS[kind](BEFORE + FORMS[form] + AFTER, mask) + hello
    everywhere(make, stream, [(direction, "message 2", len(BEFORE), 1)])
    everywhere(make, hello + STREAMS[kind](BEFORE + FORMS[form][:-4] + AFTER, mask), [])


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data, 1),
    "deflate": zlib.compress,
    "deflate, raw": lambda data: squeezed(data) + b"\0\0\xff\xff",
    "gzip, twice": lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]),
    "identity": lambda data: data,
}


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "coming back"])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("form", FORMS)
def test_bodies(form: str, coding: str, sent: bool) -> None:
    """In each encoding, content coding and direction; without its last characters nothing is found."""
    headers = (("Content-Encoding", coding.partition(",")[0]),)

    def make(scan: LeakScan) -> StreamScan:
        return (scan.request_body(headers) if sent else scan.response_body(headers)).data

    expected = ("upstream" if sent else "client", "body", len(BEFORE), 1)
    everywhere(make, CODINGS[coding](BEFORE + FORMS[form] + AFTER), [expected])
    everywhere(make, CODINGS[coding](BEFORE + FORMS[form][:-4] + AFTER), [])
