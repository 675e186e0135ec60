"""Reading WebSocket frames in passing (RFC 6455), to look for secrets in messages.

A `WebSocketProbe` follows one direction of a connection that others relay: it unmasks, puts fragments together,
inflates (RFC 7692) and looks, message by message, keeping next to nothing. It never raises: what it cannot follow is
looked at as plain bytes from there on. Nothing is sent, answered or judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pytest_gatekeeper._core.headers import values_of
from pytest_gatekeeper._core.model import Headers
from pytest_gatekeeper._core.scan.codings import Inflater
from pytest_gatekeeper._core.scan.inflate import CodedProbe
from pytest_gatekeeper._core.scan.watchlist import Hit, Probe, Watchlist

__all__ = ["TUNNEL", "Deflate", "Sighting", "WebSocketProbe", "deflate_parameters", "unmasked"]

TUNNEL = "tunnel"
"""The place of bytes that are no frames."""

_CONTROL = {8: "close", 9: "ping", 10: "pong"}
_WHOLE = (0x81, 0x82)  # first bytes of a text and a binary message in one frame, not compressed
_SHORT = 128  # bytes of a frame whose length is one byte
_MASK_STEP = 4096
_END_OF_BLOCK = b"\x00\x00\xff\xff"  # what a sender leaves out (RFC 7692 section 7.2.1)


class Sighting(NamedTuple):
    """A hit and its place: `message 3`, `ping`, `pong`, `close`, `tunnel`."""

    place: str
    hit: Hit


class Deflate(NamedTuple):
    """How one direction is compressed (RFC 7692 section 7.1).

    Attributes:
        takeover: messages refer to earlier ones.
        bits: of the window, 8 to 15.
    """

    takeover: bool
    bits: int


def deflate_parameters(headers: Headers, client: bool) -> Deflate | None:
    """What the head of a 101 response agrees on for one direction; None without permessage-deflate.

    Args:
        headers: of the response.
        client: for what the client sends, else for what the server does.
    """
    side = "client" if client else "server"
    for extension in ",".join(values_of(headers, "sec-websocket-extensions")).split(","):
        name, *parameters = [part.strip().lower() for part in extension.split(";")]
        if name != "permessage-deflate":
            continue
        named = dict(_parameter(parameter) for parameter in parameters)
        bits = named.get(f"{side}_max_window_bits", "")
        width = int(bits) if bits.isascii() and bits.isdigit() and len(bits) <= 2 else 15
        return Deflate(f"{side}_no_context_takeover" not in named, max(9, min(width, 15)))
    return None


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip().strip('"')


def unmasked(data: bytes, key: bytes) -> bytes:
    """`data` without the mask that starts with the first byte of the key (RFC 6455 section 5.3)."""
    size = len(data)
    if size <= _MASK_STEP:
        mask = (key * (size // 4 + 1))[:size]
        return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")
    mask_number = int.from_bytes(key * (_MASK_STEP // 4), "little")
    whole = size - size % _MASK_STEP
    parts = [
        (int.from_bytes(data[at : at + _MASK_STEP], "little") ^ mask_number).to_bytes(_MASK_STEP, "little")
        for at in range(0, whole, _MASK_STEP)
    ]
    parts.append(unmasked(data[whole:], key))
    return b"".join(parts)


class _Frame(NamedTuple):
    """A frame's head.

    Attributes:
        size: bytes of the head itself.
        length: bytes of the payload.
        key: that it is masked with, or b"".
    """

    size: int
    fin: bool
    rsv: int
    opcode: int
    length: int
    key: bytes


_NO_FRAME = _Frame(0, True, 0, 0, 0, b"")


def _frame(data: bytes, at: int) -> _Frame | None:
    """The head that starts at `at`; None where it is not all there (RFC 6455 section 5.2)."""
    have = len(data) - at
    if have < 2:
        return None
    first, second = data[at], data[at + 1]
    length = second & 0x7F
    extended = 0 if length < 126 else 2 if length == 126 else 8
    masked = 4 if second & 0x80 else 0
    size = 2 + extended + masked
    if have < size:
        return None
    if extended:
        length = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
    key = data[at + size - 4 : at + size] if masked else b""
    return _Frame(size, bool(first & 0x80), first >> 4 & 7, first & 15, length, key)


class _Message:
    """A message, or a control frame, that is being read."""

    __slots__ = ("compressed", "place", "probe")

    def __init__(self, place: str, probe: CodedProbe, compressed: bool = False) -> None:
        self.place = place
        self.probe = probe
        self.compressed = compressed


class WebSocketProbe:
    """Looks for values in one direction of a WebSocket connection.

    Messages count from 1; offsets are those of the message, inflated. After a close frame nothing else may come; what
    does is looked at as plain bytes, like everything that is no frame. A message that cannot be inflated is looked at
    as it is, and so are those after it that refer to it.

    Args:
        watchlist: what to look for.
        deflate: how the direction is compressed, None where it is not.
        tell: called with the reason where a message is not looked into to its end, though its reader may do so.
    """

    def __init__(
        self,
        watchlist: Watchlist,
        deflate: Deflate | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._watchlist = watchlist
        self._tell = tell
        self._deflate = deflate
        self._inflater: Inflater | None = None  # with what earlier messages left in it
        self._lost = False  # what they left
        self._messages = 0
        self._message: _Message | None = None  # the data message that has begun
        self._frame = _NO_FRAME
        self._reading: _Message | None = None  # what the frame belongs to; None between frames
        self._left = 0  # bytes of the frame's payload that have not come
        self._part = b""  # of a frame's head
        self._offset = 0  # of the next byte, in the whole stream
        self._tunnel: Probe | None = None  # once frames are given up

    def feed(self, data: bytes | memoryview) -> list[Sighting]:
        """The values that end in these bytes; they follow those fed before."""
        if self._between and type(data) is bytes:
            short = self._short(data)
            if short is not None:
                return short
        data = self._part + data
        self._offset -= len(self._part)
        self._part = b""
        seen: list[Sighting] = []
        at = 0
        while self._tunnel is None and at < len(data):
            if self._reading is None:
                frame = _frame(data, at)
                if frame is None:
                    self._part = data[at:]
                    break
                end = at + frame.size + frame.length
                if end <= len(data) and self._is_message(frame):
                    seen += self._whole(frame, data[at + frame.size : end])
                    at = end
                    continue
                self._reading = self._begun(frame)
                if self._reading is None:
                    self._tunnel = Probe(self._watchlist, self._offset + at)
                    break
                self._frame, self._left = frame, frame.length
                at += frame.size
            at = self._payload(data, at, self._frame, self._reading, seen)
        if self._tunnel is not None:
            seen += [Sighting(TUNNEL, hit) for hit in self._tunnel.feed(data[at:])]
        self._offset += len(data)
        return seen

    @property
    def _between(self) -> bool:
        """Whether a message may begin with the next byte."""
        return not (self._part or self._reading or self._message or self._tunnel)

    def _short(self, data: bytes) -> list[Sighting] | None:
        """What is in a short message that comes alone, as most do; None where the bytes are anything else."""
        size = len(data)
        if not 2 <= size < _SHORT or data[0] not in _WHOLE or (data[1] & 127) + (6 if data[1] & 128 else 2) != size:
            return None
        self._messages += 1
        self._offset += size
        hits = self._watchlist.find_in(unmasked(data[6:], data[2:6]) if data[1] & 128 else data[2:])
        return [Sighting(f"message {self._messages}", hit) for hit in hits] if hits else []

    def _is_message(self, frame: _Frame) -> bool:
        """Whether a frame is all of a message that is not compressed: the usual case, worth a short cut."""
        return frame.fin and not frame.rsv and frame.opcode in (1, 2) and self._message is None

    def _whole(self, frame: _Frame, payload: bytes) -> list[Sighting]:
        self._messages += 1
        hits = self._watchlist.find_in(unmasked(payload, frame.key) if frame.key else payload)
        return [Sighting(f"message {self._messages}", hit) for hit in hits] if hits else []

    def _begun(self, frame: _Frame) -> _Message | None:
        """What a frame belongs to; None where there can be no such frame."""
        if frame.opcode == 0:
            return None if frame.rsv else self._message
        if frame.opcode in _CONTROL:
            sound = frame.fin and not frame.rsv and frame.length <= 125
            return _Message(_CONTROL[frame.opcode], CodedProbe(self._watchlist)) if sound else None
        compressed = frame.rsv == 4 and self._deflate is not None
        if frame.opcode > 2 or self._message is not None or (frame.rsv and not compressed):
            return None
        self._messages += 1
        probe = CodedProbe(self._watchlist, self._next_inflater() if compressed else (), self._tell)
        self._message = _Message(f"message {self._messages}", probe, compressed)
        return self._message

    def _next_inflater(self) -> Sequence[Inflater]:
        """What inflates the next message; nothing where one that it may refer to was not."""
        if self._deflate is None or self._lost:
            return ()
        if self._inflater is None or not self._deflate.takeover:
            self._inflater = Inflater(-self._deflate.bits, members=True)
        return (self._inflater,)

    def _payload(self, data: bytes, at: int, frame: _Frame, message: _Message, seen: list[Sighting]) -> int:
        """Look at what has come of a frame's payload; where that ends."""
        end = min(at + self._left, len(data))
        piece = data[at:end]
        if frame.key:
            turn = (frame.length - self._left) % 4
            piece = unmasked(piece, frame.key[turn:] + frame.key[:turn])
        hits = message.probe.feed(piece)
        self._left -= end - at
        if self._left == 0:
            self._reading = None
            if frame.opcode == 8:
                self._tunnel = Probe(self._watchlist, self._offset + end)
            elif frame.fin and message is self._message:
                self._message = None
                if message.compressed and not message.probe.failed:
                    hits += message.probe.feed(_END_OF_BLOCK)
                if message.probe.failed and self._deflate is not None and self._deflate.takeover:
                    self._lost = True
        seen += [Sighting(message.place, hit) for hit in hits]
        return end
