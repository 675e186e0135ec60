"""The stream port, and TCP behind it.

The engine knows connections only as a `Stream`: receive, write and drain, finish, close, abort. Here are that port and
its implementation on asyncio's transports: one read of up to 256 KiB a wake-up, flow control both ways, TCP keep-alive.
No TLS (see `tls`), no HTTP, no time limits (see `watch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from pytest_gatekeeper._core.records import Closed
from pytest_gatekeeper._proxy.forks import forget, keep_from_children

__all__ = ["Stream", "StreamCut", "TcpStream", "tune"]

READ_SIZE = 256 * 1024
"""Bytes read at most at one wake-up, and the bytes that may wait unread before the peer is slowed down."""

WRITE_LIMIT = 256 * 1024
"""Bytes that may wait to be sent before `drain` holds the sender back."""

KEEP_ALIVE_SECONDS = 30


class _Room(threading.local):
    """Where a thread's streams read to, shared: its loop fills it and hands it on before anything else runs there."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_SIZE))


_room = _Room()


class StreamCut(ConnectionError):
    """The proxy itself ended the connection; `why` is one of records.Closed."""

    def __init__(self, why: Closed, text: str = "") -> None:
        super().__init__(text or f"cut: {why}")
        self.why = why


class Stream(Protocol):
    """A two-way byte stream. All errors are OSErrors; after one the stream is of no further use."""

    @property
    def activity(self) -> float:
        """The loop's time (seconds) at which bytes last came in or went out."""

    @property
    def ragged(self) -> bool:
        """Whether the peer ended without saying so (TLS without close_notify)."""

    @property
    def ended(self) -> bool:
        """Whether it is known that nothing more will arrive; bytes that have arrived may still be unread."""

    async def receive(self) -> bytes:
        """The next bytes, as many as are there; b"" once the peer has finished."""

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        """Hand bytes over as they arrive, until `into` returns False; True where the peer has finished instead.

        No task is woken for a piece, so this costs less than a loop around `receive`. `into` must not raise.
        """

    def take(self) -> bytes:
        """The bytes that can be had without waiting, b"" when there are none."""

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be received next."""

    def write(self, data: bytes) -> None:
        """Send bytes without waiting; `drain` afterwards."""

    @property
    def writable(self) -> bool:
        """Whether `drain` would not wait."""

    async def drain(self) -> None:
        """Wait until the peer has taken enough of what was written."""

    async def send(self, data: bytes) -> None:
        """`write` and `drain`."""

    async def finish(self) -> None:
        """Send everything, then tell the peer that nothing more will come. Receiving goes on."""

    def close(self) -> None:
        """Send what was written, then close; returns at once."""

    def cut(self) -> None:
        """As `close`, but so that the peer sees that the end is missing: by a reset, or without close_notify."""

    def abort(self, error: OSError | None = None) -> None:
        """Drop the connection now. Whoever waits for it gets `error`."""

    def on_end(self, callback: Callable[[], None] | None) -> None:
        """Call back once when the peer ends the connection, even while nobody receives."""


def tune(sock: socket.socket) -> None:
    """Notice dead peers (TCP keep-alive, RFC 9293 section 3.8.4) and send small writes at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):  # the second is what macOS calls the first
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), KEEP_ALIVE_SECONDS)


class TcpStream(asyncio.BufferedProtocol):
    """A TCP connection as a `Stream`; asyncio calls its protocol methods, the engine the others."""

    ragged = False

    def __init__(self, on_connect: Callable[[TcpStream], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_connect = on_connect
        self._on_end: Callable[[], None] | None = None
        self._buffer = _room.view
        self._inbox: deque[bytes] = deque()
        self._waiting = 0  # bytes in the inbox
        self._reading = True
        self._ended = False
        self._finished = False
        self._lost = False
        self._error: OSError | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._into: Callable[[bytes], bool] | None = None  # while `pour` waits
        self._writable = True
        self._drainers: list[asyncio.Future[None]] = []
        self.activity = self._loop.time()

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_LIMIT)
        sock = self._transport.get_extra_info("socket")
        tune(sock)
        self._descriptor: int = sock.fileno()
        keep_from_children(self._descriptor)
        if self._on_connect is not None:
            self._on_connect(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio gives it
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.activity = self._loop.time()
        data = bytes(self._buffer[:nbytes])
        if self._into is not None:
            if not self._into(data):
                self._into = None
                self._wake()
            return
        self._inbox.append(data)
        self._waiting += nbytes
        if self._waiting >= READ_SIZE and self._reading:
            self._reading = False
            self._transport.pause_reading()
        if self._receiver is not None:
            self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        self._tell_end()
        return True  # keep our own direction open

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self.activity = self._loop.time()
        self._writable = True
        self._release()

    def connection_lost(self, exc: Exception | None) -> None:
        forget(self._descriptor)  # the socket is closed after this
        self._lost = self._ended = True
        if self._error is None and exc is not None:
            self._error = exc if isinstance(exc, OSError) else ConnectionError(type(exc).__name__)
        self._wake()
        self._release()
        self._tell_end()

    def _wake(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None and not receiver.done():
            receiver.set_result(None)

    def _release(self) -> None:
        drainers, self._drainers = self._drainers, []
        for drainer in drainers:
            if not drainer.done():
                drainer.set_result(None)

    def _tell_end(self) -> None:
        callback, self._on_end = self._on_end, None
        if callback is not None:
            callback()

    # ---- the engine's side

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port of the other end."""
        name = self._transport.get_extra_info("peername") or ("", 0)
        return name[0], name[1]

    @property
    def local(self) -> tuple[str, int]:
        """Address and port of this end."""
        name = self._transport.get_extra_info("sockname") or ("", 0)
        return name[0], name[1]

    @property
    def ended(self) -> bool:
        return self._ended

    async def receive(self) -> bytes:
        while not self._inbox:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._receiver = self._loop.create_future()
            await self._receiver
        return self.take()

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        while True:
            while self._inbox:
                if not into(self.take()):
                    return False
            if self._error is not None:
                raise self._error
            if self._ended:
                return True
            self._into, self._receiver = into, self._loop.create_future()
            try:
                await self._receiver
                if self._into is not into:  # it has had enough
                    return False
            finally:
                self._into = None

    def take(self) -> bytes:
        if not self._inbox:
            return b""
        data = self._inbox.popleft()
        self._waiting -= len(data)
        if not self._reading and self._waiting < READ_SIZE:
            self._reading = True
            if not self._lost:
                self._transport.resume_reading()
        return data

    def unread(self, data: bytes) -> None:
        if data:
            self._inbox.appendleft(data)
            self._waiting += len(data)

    def write(self, data: bytes) -> None:
        if self._lost or self._finished:
            raise self._error or ConnectionResetError("the connection is closed")
        self.activity = self._loop.time()
        self._transport.write(data)

    @property
    def writable(self) -> bool:
        return self._writable

    async def drain(self) -> None:
        while not self._writable and not self._lost:
            drainer = self._loop.create_future()
            self._drainers.append(drainer)
            await drainer
        if self._lost:
            raise self._error or ConnectionResetError("the connection is closed")

    async def send(self, data: bytes) -> None:
        self.write(data)
        if not self._writable:
            await self.drain()

    async def finish(self) -> None:
        self._finished = True
        if not self._lost and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        self._transport.close()

    def cut(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._lost:  # a reset, since the end of plain TCP could be that of a body
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.close()

    def abort(self, error: OSError | None = None) -> None:
        if self._error is None:
            self._error = error
        self._inbox.clear()
        self._waiting = 0
        if not self._lost:
            self._transport.abort()

    def on_end(self, callback: Callable[[], None] | None) -> None:
        self._on_end = callback
        if callback is not None and self._ended:
            self._loop.call_soon(self._tell_end)
