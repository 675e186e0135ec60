"""What the stub answers: prepared answers, and which of them fits a request.

An `Answer` is checked when it is made and never again. Values only: nothing is sent, received or waited for here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pytest_gatekeeper._core.headers import values_of
from pytest_gatekeeper._core.hosts import host_matches
from pytest_gatekeeper._core.model import Headers
from pytest_gatekeeper._proxy.local import reason_phrase

__all__ = [
    "Answer", "Answers", "Body", "HeaderFields", "Piece", "Pieces", "Source", "as_bytes", "checked_piece",
    "make_answer", "uses",
]  # fmt: skip

Piece = bytes | str | threading.Event
"""A part of a streamed body; an event holds back what follows until it is set."""

Pieces = Iterable[Piece] | Callable[[], Iterable[Piece]]
"""A streamed body: a list serves any number of requests, so does a callable that makes an iterable; an iterator one."""

Body = bytes | str | Mapping[str, Any] | Sequence[Any] | Pieces
"""A body in any of its shapes: bytes, text, something for JSON (mapping or list), or `Pieces`."""

HeaderFields = Mapping[str, str] | Iterable[tuple[str, str]]

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Source:
    """Where a streamed body comes from.

    Attributes:
        ready: its pieces, where they are all there and none of them waits.
        make: gives an iterable of pieces; it and the iterable may block, so they must not run on an event loop.
        chunked: each piece is one chunk (RFC 9112 section 7.1), whatever the header fields say.
    """

    ready: tuple[bytes, ...] | None
    make: Callable[[], Iterable[Piece]]
    chunked: bool


@dataclass(frozen=True)
class Answer:
    """One prepared answer.

    Attributes:
        headers: its fields; framing is added by whoever sends it unless it is there.
        content: the whole body, where it is not streamed.
        source: the streamed body, or None.
        delay: seconds to wait before answering.
        sink: count and hash the request's body, keep none of it, and answer with the result.
    """

    status: int = 200
    headers: Headers = ()
    content: bytes = field(default=b"", repr=False)
    source: Source | None = None
    delay: float = 0.0
    sink: bool = False

    @property
    def reason(self) -> str:
        """The reason phrase that is registered for the status, or ""."""
        return reason_phrase(self.status)


def make_answer(
    status: int = 200, headers: HeaderFields = (), body: Body = b"", chunks: Pieces | None = None, delay: float = 0.0
) -> Answer:
    """Check and build an answer. Raises TypeError and ValueError, whose texts hold no header value."""
    if not 200 <= status <= 599:
        raise ValueError("an answer's status is a number from 200 to 599")
    if delay < 0:
        raise ValueError("an answer's delay cannot be negative")
    fields = _checked(headers.items() if isinstance(headers, Mapping) else headers)
    if chunks is not None:
        if body != b"":
            raise TypeError("an answer has a body or chunks, not both")
        if values_of(fields, "content-length") or values_of(fields, "transfer-encoding"):
            raise ValueError("chunks bring their own framing: leave out Content-Length and Transfer-Encoding")
        return Answer(status, fields, source=_source(chunks, chunked=True), delay=delay)
    kind, content = _encoded(body)
    if content is None:
        return Answer(status, fields, source=_source(body, chunked=False), delay=delay)
    if kind and not values_of(fields, "content-type"):
        fields = (("Content-Type", kind), *fields)
    return Answer(status, fields, content, delay=delay)


def _checked(headers: Iterable[tuple[str, str]]) -> Headers:
    fields = tuple(headers)
    for name, value in fields:
        if not name or not _TOKEN.issuperset(name):
            raise ValueError(f"{name!r} is no name of a header field (RFC 9110 section 5.1)")
        if any(mark in value for mark in "\r\n\0") or not _is_latin(value):
            raise ValueError(f"the value of the header field {name} holds characters that cannot be sent")
    return fields


def _is_latin(text: str) -> bool:
    return not text or max(text) <= "\xff"


def _encoded(body: object) -> tuple[str, bytes | None]:
    """The media type and the bytes of a body that is whole; no bytes for one that is streamed."""
    if isinstance(body, bytes | bytearray | memoryview):
        return "", bytes(body)
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode()
    if isinstance(body, Mapping | list | tuple):
        return "application/json", json.dumps(body).encode()
    return "", None


def _source(pieces: object, *, chunked: bool) -> Source:
    if isinstance(pieces, bytes | str | bytearray | Mapping):
        raise TypeError("chunks are an iterable of pieces (bytes, text or threading.Event), not one piece")
    if isinstance(pieces, list | tuple):
        kept = tuple(checked_piece(piece) for piece in pieces)
        if any(isinstance(piece, threading.Event) for piece in kept):
            return Source(None, lambda: kept, chunked)
        return Source(tuple(as_bytes(piece) for piece in kept), lambda: kept, chunked)
    if callable(pieces):
        return Source(None, pieces, chunked)
    if isinstance(pieces, Iterable):
        return Source(None, lambda: pieces, chunked)
    raise TypeError(f"a body cannot be made of {type(pieces).__name__}")


def checked_piece(piece: object) -> Piece:
    """`piece`, if it is one. Raises TypeError."""
    if isinstance(piece, bytes | str | threading.Event):
        return piece
    raise TypeError(f"a piece of a body is bytes, text or a threading.Event, not {type(piece).__name__}")


def as_bytes(piece: Piece) -> bytes:
    """What is sent for a piece; nothing for an event."""
    if isinstance(piece, str):
        return piece.encode()
    return piece if isinstance(piece, bytes) else b""


@dataclass
class _Entry:
    answer: Answer
    host: str | None
    path: str | None
    method: str | None
    upgrades: bool
    left: int | None

    def fits(self, method: str, host: str, path: str, upgrade: bool) -> bool:
        return (
            self.left != 0
            and (upgrade or not self.upgrades)
            and (self.method is None or self.method == method)
            and (self.path is None or fnmatchcase(path, self.path))
            and (self.host is None or host_matches(self.host, host))
        )


class Answers:
    """The answers that a test has prepared; the last one that fits wins. Any thread may use it."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(
        self,
        answer: Answer,
        *,
        host: str | None = None,
        path: str | None = None,
        method: str | None = None,
        upgrades: bool = False,
        times: int | None = None,
    ) -> None:
        """Register an answer for the requests that fit: host pattern, path glob, method; None fits all.

        `upgrades` leaves out what is no WebSocket upgrade; `times` is how often it may be used.
        """
        if path is not None and path[:1] not in ("/", "*", "?", "["):
            raise ValueError("path is a glob for what follows the host, such as /v1/*")
        if times is not None and times < 1:
            raise ValueError("times is at least 1")
        with self._lock:
            self._entries.append(_Entry(answer, host, path, method.upper() if method else None, upgrades, times))

    def pick(self, method: str, host: str, path: str, upgrade: bool, *, use: bool = True) -> Answer | None:
        """The answer for a request, counted as used with `use`; None where none fits."""
        with self._lock:
            for entry in reversed(self._entries):
                if entry.fits(method, host, path, upgrade):
                    if use and entry.left is not None:
                        entry.left -= 1
                    return entry.answer
        return None

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._entries.clear()


def uses(pieces: object, times: int | None) -> int | None:
    """How often an answer made of `pieces` may be used: once where they can be gone through only once."""
    return 1 if times is None and isinstance(pieces, Iterator) else times
