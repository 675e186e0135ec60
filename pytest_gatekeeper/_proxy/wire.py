"""Heads on the wire: finding their end, reading them, writing them.

h11 is the judge, so that nothing it would refuse gets through; plain heads, whose verdict is known beforehand, take the
`lane`. What h11 says is translated, because its messages can hold header values. A head is latin-1 text from here on.
Bodies are `_core.framing`'s, decisions `_core.decide`'s.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_gatekeeper._core.model import Headers, RequestHead, ResponseHead
from pytest_gatekeeper._proxy.lane import fast_request, fast_response
from pytest_gatekeeper._proxy.stream import Stream

if TYPE_CHECKING:
    import h11  # slow to load, and most runs have none but plain heads

__all__ = [
    "MAX_HEAD",
    "BadHead",
    "parse_request",
    "parse_response",
    "read_head",
    "request_bytes",
    "response_bytes",
]

MAX_HEAD = 1024 * 1024
"""Bytes of a message head that are read at most, as in production."""

MAX_FIELDS = 4000
"""Header fields that a message may have; as many as fit into MAX_HEAD cost seconds to go through."""

_END = re.compile(rb"\n\r?\n")
_HOST = re.compile(rb"\nhost[ \t]*:", re.IGNORECASE)
_HIGH_TARGET = re.compile(rb"([!-~]+ )([!-~]*[\x80-\xff][!-~\x80-\xff]*) ")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class BadHead(ValueError):
    """A head that cannot be used: `status` is what to answer, the text is fit for the answer's body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def read_head(stream: Stream, *, limit: int = MAX_HEAD) -> bytes:
    """The bytes of the next head, its empty line included; what follows is left in the stream.

    Returns b"" where the peer finished instead of sending one. Empty lines before it are skipped (RFC 9112 section
    2.2). Raises BadHead for what cannot become a head or is too large, and the stream's errors.
    """
    data = await stream.receive()
    if not data:
        return b""
    if data[0] not in _TOKEN_BYTES:
        data = await _started(stream, data)
        if not data:
            return b""
    end = _end(data)  # nearly always the whole head comes at once, and nothing else with it
    if not 0 < end <= limit:
        data = await _gathered(stream, data, limit)
    elif end < len(data):
        stream.unread(data[end:])
        data = data[:end]
    if data.count(b"\n") > MAX_FIELDS:
        raise BadHead(431, f"the message has more than {MAX_FIELDS} header fields")
    return data


async def _started(stream: Stream, data: bytes) -> bytes:
    """What a head starts with, after the empty lines that `data` starts with; b"" where the peer finished."""
    while not (data := data.lstrip(b"\r\n")):
        data = await stream.receive()
        if not data:
            return b""
    if data[0] not in _TOKEN_BYTES:
        raise BadHead(400, "this is not HTTP: a request starts with a method")
    return data


def _end(data: bytes) -> int:
    """Where the first head in `data` ends, -1 where it does not: after CRLF CRLF, or LF LF or LF CRLF (as in h11)."""
    plain = data.find(b"\n\r\n")
    bare = data.find(b"\n\n") if plain < 0 else data.find(b"\n\n", 0, plain + 1)
    if bare >= 0:
        return bare + 2
    return plain + 3 if plain >= 0 else -1


async def _gathered(stream: Stream, data: bytes, limit: int) -> bytes:
    """A head that came in pieces, `data` being the first."""
    buffer = bytearray()
    while True:
        searched = max(0, len(buffer) - 2)
        buffer += data
        match = _END.search(buffer, searched)
        if match is not None and match.end() <= limit:
            stream.unread(bytes(buffer[match.end() :]))
            return bytes(buffer[: match.end()])
        if len(buffer) > limit:
            raise BadHead(431, f"the message head is larger than {limit} bytes")
        data = await stream.receive()
        if not data:
            raise BadHead(400, "the connection was finished in the middle of a message head")


_CAUSES = (  # h11's words, which can hold values, and ours
    ("Missing mandatory Host", 400, "an HTTP/1.1 request needs a Host header (RFC 9112 section 3.2)"),
    ("multiple Host", 400, "the request has more than one Host header (RFC 9112 section 3.2)"),
    ("conflicting Content-Length", 400, "the message has Content-Length headers that differ (RFC 9112 section 6.3)"),
    ("bad Content-Length", 400, "the message has a Content-Length that is no number (RFC 9112 section 6.3)"),
    ("multiple Transfer-Encoding", 501, "the message has more than one Transfer-Encoding header"),
    ("Transfer-Encoding", 501, "the message has a transfer coding other than chunked"),
    ("Illegal header", 400, "the message has a header field that is not allowed (RFC 9112 section 5)"),
    ("illegal header", 400, "the message has a header field that is not allowed (RFC 9112 section 5)"),
    ("request line", 400, "the request line is not METHOD TARGET HTTP/1.1 (RFC 9112 section 3)"),
    ("status line", 400, "the status line is not HTTP/1.1 CODE REASON (RFC 9112 section 4)"),
)


def _translated(error: h11.ProtocolError) -> BadHead:
    words = str(error)
    for mark, status, text in _CAUSES:
        if mark in words:
            return BadHead(status, text)
    return _malformed()


def _malformed() -> BadHead:
    return BadHead(400, "the message head is malformed (RFC 9112)")


def _judged(connection: h11.Connection, raw: bytes) -> object:
    """The event that h11 makes of a head, or what it gives where that is none."""
    import h11

    try:
        connection.receive_data(raw)
        return connection.next_event()
    except h11.ProtocolError as error:
        raise _translated(error) from None
    except ValueError:  # h11 before 0.15 makes a number of any Content-Length, int() of 4,300 digits at most
        raise _translated(h11.RemoteProtocolError("bad Content-Length")) from None


def _headers(event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers.raw_items())


def parse_request(raw: bytes) -> RequestHead:
    """Read a request head, as leniently as production does. Raises BadHead."""
    head = fast_request(raw)
    if head is not None:
        return head
    import h11

    hostless = raw.startswith(b"CONNECT ") and _HOST.search(raw) is None
    if hostless:  # its target names the host, and clients leave it at that
        raw = raw[: -2 if raw.endswith(b"\r\n") else -1] + b"Host: x\r\n\r\n"
    start = _HIGH_TARGET.match(raw)
    if start is not None:  # the judge wants it percent-encoded, and not every client does that
        raw = start[1] + b"/" + raw[start.end(2) :]
    event = _judged(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD), raw)
    if not isinstance(event, h11.Request):
        raise _malformed()
    method, version, headers = event.method.decode("latin-1"), event.http_version.decode(), _headers(event)
    if version[0] != "1" and method != "PRI":
        raise BadHead(505, "the proxy speaks HTTP/1.1, not this version (RFC 9110 section 15.6.6)")
    if any(_CONTROL.search(value) for _, value in headers):
        raise BadHead(400, "the message has a header field with a control character (RFC 9110 section 5.5)")
    target = (event.target if start is None else start[2]).decode("latin-1")
    return RequestHead(method, target, version, headers[:-1] if hostless else headers)


def parse_response(raw: bytes) -> ResponseHead:
    """Read a response head, interim ones included. Raises BadHead."""
    head = fast_response(raw)
    if head is not None:
        return head
    import h11

    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    upgrade = [("Host", "x"), ("Connection", "upgrade"), ("Upgrade", "x")]
    connection.send(h11.Request(method="GET", target="/", headers=upgrade))  # so that it accepts any answer
    event = _judged(connection, raw)
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise _malformed()
    return ResponseHead(event.status_code, event.reason.decode("latin-1"), event.http_version.decode(), _headers(event))


def request_bytes(head: RequestHead) -> bytes:
    """A request head as it is sent: HTTP/1.1, headers in order."""
    lines = [f"{head.method} {head.target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def response_bytes(status: int, reason: str, headers: Headers) -> bytes:
    """A response head as it is sent: HTTP/1.1, headers in order."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")
