"""Where a message body ends (RFC 9112 section 6), by counting it through.

A body is fed the bytes that follow its head and says how many of them belong to it; nothing is copied, joined or
re-serialised. `payload` finds the data bytes among the framing, for those who look at contents or must send them
without chunks. No streams here.
"""

from __future__ import annotations

import re
from typing import Protocol

from pytest_gatekeeper._core.model import Headers, RequestHead, ResponseHead

__all__ = ["Body", "BodyError", "ChunkedBody", "LengthBody", "OpenBody", "no_body", "request_body", "response_body"]


class BodyError(ValueError):
    """A body's framing is broken."""


class Body(Protocol):
    """How a body is framed, and how far it has come.

    Attributes:
        done: all of it has been fed.
        trailers: the trailer fields that have come (RFC 9112 section 7.1.2); none without chunks.
        extensions: the chunk extensions (section 7.1.1) that ended in what was fed last, joined.
        size: data bytes fed so far, framing and trailers left out.
        declared: the size that the head promised, or None.
    """

    done: bool
    size: int
    declared: int | None

    @property
    def trailers(self) -> Headers: ...

    @property
    def extensions(self) -> bytes: ...

    def feed(self, data: bytes) -> int:
        """Count `data` in; how many of its bytes belong to the body. Raises BodyError."""

    def payload(self) -> list[tuple[int, int]]:
        """Where the data bytes were in what was fed last: (start, end) pairs."""

    def end(self) -> bool:
        """The connection ended; whether the body may end with it."""


class LengthBody:
    """A body of a declared length (RFC 9112 section 6.2)."""

    trailers: Headers = ()
    extensions = b""

    def __init__(self, length: int) -> None:
        self.declared: int | None = length
        self.size = 0
        self.done = length == 0
        self._left = length
        self._last = 0

    def feed(self, data: bytes) -> int:
        self._last = count = min(len(data), self._left)
        self._left -= count
        self.size += count
        self.done = self._left == 0
        return count

    def payload(self) -> list[tuple[int, int]]:
        return [(0, self._last)]

    def end(self) -> bool:
        return self.done


class OpenBody:
    """A body that ends with its connection (RFC 9112 section 6.3, rule 8)."""

    declared: int | None = None
    trailers: Headers = ()
    extensions = b""

    def __init__(self) -> None:
        self.size = 0
        self.done = False
        self._last = 0

    def feed(self, data: bytes) -> int:
        self._last = len(data)
        self.size += self._last
        return self._last

    def payload(self) -> list[tuple[int, int]]:
        return [(0, self._last)]

    def end(self) -> bool:
        self.done = True
        return True


_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")
_MAX_LINE = 4096
_MAX_TRAILERS = 65536


class ChunkedBody:
    """A chunked body with its trailers (RFC 9112 section 7.1), chunks passed through as they are."""

    declared: int | None = None

    def __init__(self) -> None:
        self.size = 0
        self.done = False
        self._state = self._size_line
        self._left = 0  # data bytes of the current chunk, with its CRLF
        self._part = b""  # a line that has not ended yet
        self._trailers: list[bytes] = []
        self._trailer_size = 0
        self._spans: list[tuple[int, int]] = []
        self._extensions: list[bytes] = []

    def feed(self, data: bytes) -> int:
        self._spans = []
        if self._extensions:
            self._extensions = []
        at = 0
        while at < len(data) and not self.done:
            at = self._state(data, at)
        return at

    def payload(self) -> list[tuple[int, int]]:
        return self._spans

    @property
    def trailers(self) -> Headers:
        fields = (line.decode("latin-1").partition(":") for line in self._trailers)
        return tuple((name.strip(), value.strip()) for name, _, value in fields)

    @property
    def extensions(self) -> bytes:
        return b"".join(self._extensions)

    def end(self) -> bool:
        return self.done

    def _line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """A whole line with its line end, or None and the rest kept for the next feed."""
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        self._part += data[at:stop]
        if len(self._part) > _MAX_LINE:
            raise BodyError("a line of the chunked body is too long")
        if end < 0:
            return None, stop
        line, self._part = self._part, b""
        return line, stop

    def _size_line(self, data: bytes, at: int) -> int:
        line, at = self._line(data, at)
        if line is not None:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise BodyError("a chunk of the body has no readable size")
            size = int(match[1], 16)
            if match[2] is not None:
                self._extensions.append(match[2])
            self._left = size + 2
            self._state = self._data if size else self._trailer
        return at

    def _data(self, data: bytes, at: int) -> int:
        count = min(len(data) - at, max(self._left - 2, 0))
        if count:
            self._spans.append((at, at + count))
            self.size += count
            self._left -= count
            at += count
        while at < len(data) and 0 < self._left <= 2:
            if data[at] != b"\n\r"[self._left - 1]:
                raise BodyError("a chunk of the body does not end where its size says")
            self._left -= 1
            at += 1
        if self._left == 0:
            self._state = self._size_line
        return at

    def _trailer(self, data: bytes, at: int) -> int:
        line, at = self._line(data, at)
        if line is not None:
            if line != b"\r\n" and not _TRAILER_LINE.fullmatch(line):
                raise BodyError("a trailer of the body is no header field (RFC 9112 section 5)")
            self._trailer_size += len(line)
            if self._trailer_size > _MAX_TRAILERS:
                raise BodyError("the trailers of the body are too long")
            self.done = line == b"\r\n"
            if not self.done:
                self._trailers.append(line)
        return at


def no_body() -> LengthBody:
    """The body of a message that has none."""
    return LengthBody(0)


def request_body(head: RequestHead) -> Body:
    """The body that follows a request head which `decide` has accepted (RFC 9112 section 6.3)."""
    return _framed(head.headers) or no_body()


def response_body(head: ResponseHead, method: str) -> Body:
    """The body that follows a final response to a request with `method` (RFC 9112 section 6.3)."""
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        body = no_body()
        body.declared = _length(head.headers)
        return body
    return _framed(head.headers) or OpenBody()


def _framed(headers: Headers) -> Body | None:
    length: int | None = None
    for name, value in headers:
        size = len(name)
        if size == 14 and length is None and name.lower() == "content-length":
            length = _number(value)
        elif size == 17 and name.lower() == "transfer-encoding":
            if value.strip().lower() != "chunked":
                raise BodyError("a transfer coding other than chunked")
            return ChunkedBody()
    return None if length is None else LengthBody(length)


def _length(headers: Headers) -> int | None:
    value = next((value for name, value in headers if len(name) == 14 and name.lower() == "content-length"), None)
    return None if value is None else _number(value)


def _number(value: str) -> int:
    text = value.partition(",")[0].strip()
    if not text.isascii() or not text.isdigit():
        raise BodyError("a Content-Length that is no number")
    return int(text)
