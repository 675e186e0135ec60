"""What reached the stub, and what went wrong there.

The proxy's thread writes, everybody else reads and may wait. Everything is noted before it is answered, so a client
that has its answer finds its request here. What is kept can hold credentials: nothing here prints a header value, a
query or a body.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pytest_gatekeeper._core.headers import value_of
from pytest_gatekeeper._core.hosts import split_authority
from pytest_gatekeeper._core.model import Headers, RequestHead

__all__ = ["MAX_BODY", "MAX_MESSAGES", "Applied", "Journal", "RawStream", "Received", "path_of"]

T = TypeVar("T")

MAX_BODY = 1024 * 1024
"""Bytes of a request body that are kept; what follows is counted and discarded."""

MAX_MESSAGES = 64 * 1024 * 1024
"""Payload bytes of WebSocket messages that are kept for each connection; what follows is counted and echoed."""

_SHOWN = 20  # lines of a failure text


def path_of(target: str) -> str:
    """The path of a request target in origin or absolute form, without its query (RFC 9112 section 3.2)."""
    _, separator, rest = target.partition("://")
    if separator and not target.startswith("/"):
        target = "/" + rest.partition("/")[2]
    return target.partition("?")[0]


def _host_of(headers: Headers, sni: str | None) -> str:
    try:
        return split_authority(value_of(headers, "host") or "")[0]
    except ValueError:
        return sni or ""


class Received:
    """One request as it reached the stub. It is live: the body grows until `complete`, `messages` until the end.

    It holds whatever was sent, credentials included; its repr shows method, host and path alone.

    Attributes:
        method, target, version: of the request line, as on the wire.
        path: the target without its query.
        headers: (name, value) pairs, order and case as on the wire.
        host: of the Host header, without its port; the SNI name where there is none.
        sni: the name in the ClientHello, None without TLS or without a name.
        tls: whether it came in TLS.
        upgrade: whether it asked for a WebSocket.
        body_size: bytes of body that arrived, framing left out.
        complete: the request has arrived to its end.
        messages: the WebSocket messages that the client sent, joined: str or bytes, in order.
        message_count: how many messages arrived; more than `messages` holds once `MAX_MESSAGES` is passed.
        close_code: what the client closed the WebSocket with, None before.
    """

    __slots__ = (
        "_body", "body_size", "close_code", "complete", "headers", "host", "kept_bytes", "message_count", "messages",
        "method", "path", "sni", "target", "tls", "upgrade", "version",
    )  # fmt: skip

    def __init__(self, head: RequestHead, *, tls: bool, sni: str | None, upgrade: bool = False) -> None:
        self.method = head.method
        self.target = head.target
        self.path = path_of(head.target)
        self.version = head.version
        self.headers: list[tuple[str, str]] = list(head.headers)
        self.host = _host_of(head.headers, sni)
        self.sni = sni
        self.tls = tls
        self.upgrade = upgrade
        self.body_size = 0
        self.complete = False
        self.messages: list[str | bytes] = []
        self.message_count = 0
        self.close_code: int | None = None
        self.kept_bytes = 0  # of messages
        self._body = bytearray()

    @property
    def body(self) -> bytes:
        """The body as far as it has arrived and is kept (`MAX_BODY`; nothing for a sink)."""
        return bytes(self._body)

    @property
    def body_truncated(self) -> bool:
        """Whether more of the body arrived than is kept."""
        return self.body_size > len(self._body)

    def header(self, name: str) -> str | None:
        """The first value of a header field, or None; case does not matter."""
        return value_of(self.headers, name.lower())

    def grow(self, data: memoryview, *, keep: bool) -> None:
        """Count a part of the body in; for the stub alone."""
        self.body_size += len(data)
        if keep:
            self._body += data[: MAX_BODY - len(self._body)]

    def __repr__(self) -> str:
        messages = f", {self.message_count} messages" if self.upgrade else ""
        return f"<Received {self.method} {self.host}{self.path}{messages}>"


class RawStream:
    """The bytes of one connection as they passed, TLS taken off: what the stub received and what it sent."""

    __slots__ = ("_received", "_sent")

    def __init__(self) -> None:
        self._received = bytearray()
        self._sent = bytearray()

    @property
    def received(self) -> bytes:
        """Everything that arrived so far."""
        return bytes(self._received)

    @property
    def sent(self) -> bytes:
        """Everything that was sent so far."""
        return bytes(self._sent)

    def add_received(self, data: bytes) -> None:
        """For the stub alone."""
        self._received += data

    def add_sent(self, data: bytes) -> None:
        """For the stub alone."""
        self._sent += data

    def __repr__(self) -> str:
        return f"<RawStream received={len(self._received)} sent={len(self._sent)} bytes>"


@dataclass(frozen=True)
class Applied:
    """A fault that has happened, as a test set it.

    Attributes:
        fault: the name of the method that set it.
        host: of the request, or the name in the ClientHello; None where neither was known.
        path: of the request, None for a fault of a connection.
    """

    fault: str
    host: str | None = None
    path: str | None = None


class Journal:
    """Everything that one stub has seen."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._received: list[Received] = []
        self._errors: list[str] = []
        self._faults: list[Applied] = []
        self._streams: list[RawStream] = []

    # ---- the proxy's thread

    def arrived(self, received: Received) -> None:
        """A request's head is there."""
        with self._changed:
            self._received.append(received)
            self._tell()

    def completed(self, received: Received) -> None:
        """A request's body is there."""
        with self._changed:
            received.complete = True
            self._tell()

    def message(self, received: Received, message: str | bytes) -> None:
        """A WebSocket message is there."""
        with self._changed:
            received.message_count += 1
            if received.kept_bytes + len(message) <= MAX_MESSAGES:
                received.kept_bytes += len(message)
                received.messages.append(message)
            self._tell()

    def closed(self, received: Received, code: int) -> None:
        """The client closed its WebSocket."""
        with self._changed:
            received.close_code = code
            self._tell()

    def failed(self, text: str) -> None:
        """Something went wrong; the text must hold nothing that was sent."""
        with self._changed:
            self._errors.append(text)
            self._tell()

    def applied(self, fault: Applied) -> None:
        """A fault is about to happen."""
        with self._changed:
            self._faults.append(fault)
            self._tell()

    def stream(self) -> RawStream:
        """A new connection whose bytes are kept."""
        stream = RawStream()
        with self._changed:
            self._streams.append(stream)
            self._tell()
        return stream

    def _tell(self) -> None:
        self._version += 1
        self._changed.notify_all()

    # ---- everybody

    @property
    def received(self) -> tuple[Received, ...]:
        with self._changed:
            return tuple(self._received)

    @property
    def errors(self) -> tuple[str, ...]:
        with self._changed:
            return tuple(self._errors)

    @property
    def faults(self) -> tuple[Applied, ...]:
        with self._changed:
            return tuple(self._faults)

    @property
    def streams(self) -> tuple[RawStream, ...]:
        with self._changed:
            return tuple(self._streams)

    def wait_for(self, predicate: Callable[[], T], timeout: float) -> T:
        """Wait until `predicate` gives something true, and return that.

        It is called again whenever something is noted. Raises AssertionError, with what is here, after `timeout`
        seconds.
        """
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        while True:
            seen = self._version
            if value := predicate():
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(self._summary(timeout))
            with self._changed:
                if self._version == seen:
                    self._changed.wait(left)

    def _summary(self, timeout: float) -> str:
        lines = [f"what the stub upstream waited for did not happen within {timeout:g} s"]
        faults = [f"{item.fault} {item.host or ''}{item.path or ''}".strip() for item in self.faults]
        shown = (("received", [repr(item) for item in self.received]), ("errors", list(self.errors)))
        for title, items in (*shown, *((("faults", faults),) if faults else ())):
            lines.append(f"{title}: {len(items) or 'nothing'}")
            lines += [f"  {item}" for item in items[-_SHOWN:]]
        return "\n".join(lines)
