"""The stub's own streams: a TCP connection that can be reset, and streams that stand on another one.

They are `_proxy.stream`'s port with a little more. What is said on them, and when one is broken, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from pytest_gatekeeper._origin.journal import RawStream
from pytest_gatekeeper._proxy.stream import Stream, TcpStream

__all__ = ["LINGER", "ForwardedStream", "RecordedStream", "StubTcp", "exhaust", "part"]

LINGER = 2.0  # seconds for a client to take the last answer and finish
_AT_ONCE = struct.pack("ii", 1, 0)


class StubTcp(TcpStream):
    """A TCP connection that the stub may reset.

    Attributes:
        was_reset: it has been; whatever fails on it afterwards was meant to.
    """

    was_reset = False

    def __init__(self, admit: Callable[[StubTcp], None]) -> None:
        super().__init__()
        self._admit = admit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._admit(self)

    async def flush(self) -> None:
        """Wait until the system has taken everything that was written."""
        self._transport.set_write_buffer_limits(high=0)
        await self.drain()

    def reset(self) -> None:
        """Drop the connection with RST instead of FIN (RFC 9293 section 3.10.7), whatever was still to be sent."""
        self.was_reset = True
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.abort()


class ForwardedStream:
    """A stream that passes everything on to the one below; for those that change a part of it."""

    def __init__(self, lower: Stream) -> None:
        self._lower = lower

    @property
    def activity(self) -> float:
        return self._lower.activity

    @property
    def ragged(self) -> bool:
        return self._lower.ragged

    @property
    def ended(self) -> bool:
        return self._lower.ended

    async def receive(self) -> bytes:
        return await self._lower.receive()

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        while data := await self.receive():
            if not into(data):
                return False
        return True

    def take(self) -> bytes:
        return self._lower.take()

    def unread(self, data: bytes) -> None:
        self._lower.unread(data)

    def write(self, data: bytes) -> None:
        self._lower.write(data)

    @property
    def writable(self) -> bool:
        return self._lower.writable

    async def drain(self) -> None:
        await self._lower.drain()

    async def send(self, data: bytes) -> None:
        await self._lower.send(data)

    async def finish(self) -> None:
        await self._lower.finish()

    def close(self) -> None:
        self._lower.close()

    def cut(self) -> None:
        self._lower.cut()

    def abort(self, error: OSError | None = None) -> None:
        self._lower.abort(error)

    def on_end(self, callback: Callable[[], None] | None) -> None:
        self._lower.on_end(callback)


class RecordedStream(ForwardedStream):
    """A stream that keeps a copy of everything that passes."""

    def __init__(self, lower: Stream, raw: RawStream) -> None:
        super().__init__(lower)
        self._raw = raw
        self._returned: list[bytes] = []

    async def receive(self) -> bytes:
        if self._returned:
            return self._returned.pop()
        data = await self._lower.receive()
        self._raw.add_received(data)
        return data

    def take(self) -> bytes:
        if self._returned:
            return self._returned.pop()
        data = self._lower.take()
        self._raw.add_received(data)
        return data

    def unread(self, data: bytes) -> None:
        if data:
            self._returned.append(data)

    def write(self, data: bytes) -> None:
        self._raw.add_sent(data)
        self._lower.write(data)

    async def send(self, data: bytes) -> None:
        self._raw.add_sent(data)
        await self._lower.send(data)


async def part(stream: Stream) -> None:
    """Finish, and let the client take everything and finish too: a close before that would reset the connection."""
    try:
        await stream.finish()
        await asyncio.wait_for(exhaust(stream), LINGER)
    except (OSError, asyncio.TimeoutError):
        stream.abort()
    else:
        stream.close()


async def exhaust(stream: Stream) -> None:
    """Read and forget until the client has finished. Raises the stream's errors."""
    while await stream.receive():
        pass
