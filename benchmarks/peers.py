"""The clients of the soak: a connection to the proxy, a tunnel with TLS in it, HTTP and WebSocket on that.

They stand on the package's own streams, so that these are soaked, too. What clients do is `acts`' matter.
"""

# ruff: noqa: S101, S311 - what must hold is asserted, and dice are thrown
from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from dataclasses import dataclass, field

from frames import frame

from pytest_gatekeeper._proxy.stream import Stream, TcpStream
from pytest_gatekeeper._proxy.tls import TlsStream

__all__ = ["API", "OTHER", "UPGRADE", "Peer", "Road", "connect", "knock", "silent_websocket", "tunnel"]

API, OTHER = "api.soak.example", "other.soak.example"  # the rule is for the first
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==")  # fmt: skip


@dataclass
class Road:
    """How a client gets to the proxy, and its dice.

    Attributes:
        port: the proxy's.
        context: trusts the proxy's CA.
        random: the dice.
        over: set before the end of the test cuts everything.
        payloads: of WebSocket messages.
    """

    port: int
    context: ssl.SSLContext
    random: random.Random
    over: asyncio.Event
    payloads: list[bytes] = field(default_factory=lambda: [random.randbytes(size) for size in (5, 300, 70_000)])


class Peer:
    """A client's connection."""

    def __init__(self, tcp: TcpStream, host: str) -> None:
        self.tcp = tcp
        self.host = host
        self.stream: Stream = tcp
        self._rest = b""

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.tcp.abort()

    async def receive(self) -> bytes:
        """The next bytes. Raises ConnectionError at the end."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        data = await self.stream.receive()
        if not data:
            raise ConnectionError("the end")
        return data

    async def until(self, mark: bytes) -> bytes:
        """Everything up to a mark and the mark."""
        data = b""
        while mark not in data:
            data += await self.receive()
        end = data.index(mark) + len(mark)
        self._rest = data[end:]
        return data[:end]

    async def exactly(self, count: int) -> bytes:
        """As many bytes."""
        data = b""
        while len(data) < count:
            data += await self.receive()
        self._rest = data[count:]
        return data[:count]

    async def until_end(self) -> None:
        """Read until the connection is over."""
        with contextlib.suppress(OSError):
            while await self.stream.receive():
                pass
        self.tcp.abort()

    def reset(self) -> None:
        """End it with RST."""
        sock = self.tcp._transport.get_extra_info("socket")  # noqa: SLF001 - no stream of the package ever does this
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.abort()

    def request(self, method: str, path: str, *fields: str, body: bytes = b"") -> bytes:
        """A request's bytes."""
        start = f"{method} {path} HTTP/1.1" if isinstance(self.stream, TlsStream) else (
            f"{method} http://{self.host}{path} HTTP/1.1"
        )  # fmt: skip
        lines = [start, f"Host: {self.host}", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def ask(self, method: str, path: str, *fields: str, body: bytes = b"") -> None:
        """Send a request."""
        await self.stream.send(self.request(method, path, *fields, body=body))

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the answer."""
        head = (await self.until(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"\r\ntransfer-encoding:" in head:
            body = b""
            while size := int((await self.until(b"\r\n")).partition(b";")[0], 16):
                body += (await self.exactly(size + 2))[:-2]
            await self.until(b"\r\n")
            return status, body
        found = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        return status, await self.exactly(int(found)) if found else b""

    async def do(self, method: str, path: str, *fields: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request and read its answer. Late connections are answered 503, and are no fault."""
        await self.ask(method, path, *fields, body=body)
        status, content = await self.answer()
        if status == 503:
            raise ConnectionError("late")
        return status, content

    async def upgrade(self, path: str = "/socket") -> None:
        """Become a WebSocket."""
        status, _ = await self.do("GET", path, *UPGRADE)
        if status != 101:
            raise ConnectionError(f"no upgrade: {status}")

    async def message(self, payload: bytes, mask: bytes = b"\x11\x22\x33\x44") -> None:
        """Send a message."""
        await self.stream.send(frame(payload, mask))

    async def echoed(self) -> bytes:
        """The next message."""
        head = await self.exactly(2)
        count = head[1] & 127
        if count > 125:
            count = int.from_bytes(await self.exactly(2 if count == 126 else 8), "big")
        return await self.exactly(count)


# ------------------------------------------------------------------ connections


async def knock(road: Road, host: str) -> Peer:
    """A TCP connection to the proxy."""
    _, tcp = await asyncio.get_running_loop().create_connection(TcpStream, "127.0.0.1", road.port)
    return Peer(tcp, host)


def _check(answer: bytes) -> None:
    """The answer to CONNECT. It is 503 between two tests, which is no fault."""
    if b" 200 " not in answer:
        raise ConnectionError("late")


async def connect(road: Road, host: str) -> Peer:
    """As far as the answer to CONNECT."""
    peer = await knock(road, host)
    try:
        await peer.stream.send(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        _check(await peer.until(b"\r\n\r\n"))
    except BaseException:
        peer.tcp.abort()
        raise
    return peer


async def tunnel(road: Road, host: str = "") -> Peer:
    """A tunnel with TLS in it."""
    peer = await connect(road, host or road.random.choice((API, OTHER)))
    stream = TlsStream(peer.tcp, road.context, server_side=False, server_hostname=peer.host)
    try:
        await stream.handshake()
    except BaseException:
        peer.tcp.abort()
        raise
    peer.stream = stream
    return peer


async def silent_websocket(road: Road) -> Peer:
    """A WebSocket that has had one echo and is silent."""
    peer = await tunnel(road, API)
    try:
        await peer.upgrade()
        await peer.message(b"hello")
        assert await peer.echoed() == b"hello", "another message came back"
    except BaseException:
        peer.tcp.abort()
        raise
    return peer
