"""What the tests of the proxy's lower half share: streams in memory, whose pieces a test chooses."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable

import pytest

from pytest_gatekeeper._proxy.stream import Stream

LIMIT = 20.0
GLUED = 0
"""As a piece size: everything that was written comes at once."""


class _MemoryStream:
    """One end of a connection that exists in memory; what is written arrives in pieces of `size` bytes."""

    ragged = False
    writable = True
    activity = 0.0

    def __init__(self, pieces: Iterable[bytes] = (), size: int | None = None) -> None:
        self.inbox = deque(pieces)
        self.size = size
        self.peer: _MemoryStream | None = None
        self.ended = False
        self.closed = False
        self.error: OSError | None = None
        self._arrived = asyncio.Event()
        self._callback: Callable[[], None] | None = None

    async def receive(self) -> bytes:
        while not self.inbox:
            if self.error is not None:
                raise self.error
            if self.ended:
                return b""
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), LIMIT)
        return self.take()

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        while data := await self.receive():
            if not into(data):
                return False
        return True

    def take(self) -> bytes:
        if self.size == GLUED:
            data = b"".join(self.inbox)
            self.inbox.clear()
            return data
        return self.inbox.popleft() if self.inbox else b""

    def unread(self, data: bytes) -> None:
        if data:
            self.inbox.appendleft(data)

    def write(self, data: bytes) -> None:
        if self.closed or self.peer is None:
            raise ConnectionResetError("the connection is closed")
        step = self.size or max(len(data), 1)
        self.peer.inbox.extend(data[at : at + step] for at in range(0, len(data), step))
        self.peer.wake()

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def send(self, data: bytes) -> None:
        self.write(data)
        await self.drain()

    async def finish(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        if self.peer is not None:
            self.peer.end()

    def cut(self) -> None:
        self.close()

    def abort(self, error: OSError | None = None) -> None:
        self.error = error
        self.inbox.clear()
        self.end()
        if self.peer is not None:
            self.peer.error = ConnectionResetError("reset")
            self.peer.end()

    def on_end(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback

    def end(self) -> None:
        """The peer has ended its direction."""
        self.ended = True
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
        self.wake()

    def wake(self) -> None:
        """Something has arrived."""
        self._arrived.set()


@pytest.fixture(scope="session")
def scripted_stream() -> Callable[..., Stream]:
    """Make a stream that gives these pieces, then ends."""

    def scripted_stream(*pieces: bytes) -> Stream:
        stream = _MemoryStream(pieces)
        stream.ended = True
        return stream

    return scripted_stream


@pytest.fixture(scope="session")
def memory_pair() -> Callable[[int | None], tuple[Stream, Stream]]:
    """Make two streams that are each other's other end; what is written arrives in pieces of a size."""

    def memory_pair(size: int | None) -> tuple[Stream, Stream]:
        one, other = _MemoryStream(size=size), _MemoryStream(size=size)
        one.peer, other.peer = other, one
        return one, other

    return memory_pair


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake. Raises what the client raises."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for session in (ours, theirs, ours, theirs):
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            if session is ours:
                raise
    return ours, theirs
