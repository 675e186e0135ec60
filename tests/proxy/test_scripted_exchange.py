"""Whole exchanges on scripted streams: byte by byte and in every split, what both sides get is the same.

A `Connection` is served on streams that exist in memory, its upstream another one. What was sent in one piece settles
what both sides get; then the client's bytes, the answer's, or both come in other pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

from pytest_gatekeeper._core.records import Exchange, Record
from pytest_gatekeeper._proxy import upstream as upstreams
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.routes import Target
from pytest_gatekeeper._proxy.serving import serve
from pytest_gatekeeper._proxy.stream import Stream
from pytest_gatekeeper._proxy.upstream import Upstream
from tests.engine.conftest import BEARER, HOST, make_lease

Pair = Callable[[int | None], tuple[Stream, Stream]]

LIMIT = 20.0
ID = b"X-Request-Id: mine\r\n"
NAMED = b"Host: ws.example.com\r\n" + ID
INJECTED = b"Authorization: " + BEARER.encode() + b"\r\n"


class Talk(NamedTuple):
    """What both ends send, and what each of them should get.

    Attributes:
        asked: by the client, after the CONNECT where there is one; `{at}` stands for what absolute-form adds.
        reached: the upstream, of it.
        answers: of the upstream, one for each request that has come.
        sizes: of the records, up and down.
        ends: whether the upstream finishes after its last answer.
    """

    asked: bytes
    reached: bytes
    answers: tuple[bytes, ...]
    sizes: tuple[tuple[int, int], ...]
    ends: bool = False


CHUNKED = b"5;x=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

TALKS = {
    "two requests in a row": Talk(
        b"GET {at}/a HTTP/1.1\r\n" + NAMED + b"\r\nGET {at}/b HTTP/1.1\r\n" + NAMED + b"\r\n",
        b"GET /a HTTP/1.1\r\n" + NAMED + INJECTED + b"\r\nGET /b HTTP/1.1\r\n" + NAMED + INJECTED + b"\r\n",
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst", b"HTTP/1.1 204 No\r\nX-Two: 2\r\n\r\n"),
        ((0, 5), (0, 0)),
    ),
    "chunks and trailers": Talk(
        b"POST {at}/a HTTP/1.1\r\n" + NAMED + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        b"POST /a HTTP/1.1\r\n" + NAMED + b"Transfer-Encoding: chunked\r\n" + INJECTED + b"\r\n"
        + CHUNKED,
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,),
        ((11, 11),),
    ),
    "a body up to the end": Talk(
        b"PUT {at}/a HTTP/1.1\r\n" + NAMED + b"Content-Length: 3\r\n\r\nabc",
        b"PUT /a HTTP/1.1\r\n" + NAMED + b"Content-Length: 3\r\n" + INJECTED + b"\r\nabc",
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",),
        ((3, 13),),
        ends=True,
    ),
    "an upgrade with glued bytes": Talk(
        b"GET {at}/a HTTP/1.1\r\n" + NAMED + UPGRADE + b"\r\n\x81\x05early",
        b"GET /a HTTP/1.1\r\n" + NAMED + UPGRADE + INJECTED + b"\r\n\x81\x05early",
        (SWITCHED + b"\x81\x04glue\x88\x00",),
        ((7, 8),),
        ends=True,
    ),
}  # fmt: skip


class Tcp:
    """A stream in memory that has a peer's address, as a TCP stream has."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.peer = ("127.0.0.1", 9)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Told(NamedTuple):
    """What came of it."""

    reached: bytes
    got: bytes
    exchanges: list[Exchange]


async def served(talk: Talk, way: str, pair: Pair, patch: pytest.MonkeyPatch, size: int | None,
                 ask: Iterable[bytes], cut: int) -> Told:  # fmt: skip
    """Serve one connection: `ask` are the client's pieces, each answer is cut at `cut`."""
    records: list[Record] = []
    lease = make_lease(records.append)
    lease.routes.add(HOST, "http://127.0.0.1:9")
    (client, near), (server, far) = pair(size), pair(size)

    async def opened(host: str, target: Target) -> Upstream:
        return Upstream(far, Tcp(far), target)  # type: ignore[arg-type]

    patch.setattr(upstreams, "_open", opened)
    reached, got = bytearray(), bytearray()

    async def upstream() -> None:
        parts = talk.reached.split(b"\r\n\r\nGET ")  # pipelined: each is answered for itself
        due = 0
        for number, answer in enumerate(talk.answers):
            due = len(talk.reached) if number == len(talk.answers) - 1 else due + len(parts[number]) + 4
            while len(reached) < (due if b"101" not in answer[:12] else due - 7):
                data = await server.receive()
                if not data:
                    return
                reached.extend(data)
            for piece in filter(None, (answer[:cut], answer[cut:])):
                await server.send(piece)
        while len(reached) < due and (data := await server.receive()):
            reached.extend(data)
        if talk.ends:
            await server.finish()

    async def reading() -> None:
        while (talk.ends or len(got) < len(expected(talk, way))) and (data := await client.receive()):
            got.extend(data)
        client.close()

    serving = asyncio.ensure_future(serve(Connection(Tcp(near), lease)))  # type: ignore[arg-type]
    ends = [asyncio.ensure_future(upstream()), asyncio.ensure_future(reading())]
    for piece in ask:
        await client.send(piece)
    await asyncio.wait_for(asyncio.gather(serving, *ends), LIMIT)
    exchanges = {record.id: record for record in records if isinstance(record, Exchange)}
    return Told(bytes(reached), bytes(got), list(exchanges.values()))


OPENED = b"HTTP/1.1 200 Connection Established\r\n\r\n"
CONNECT = b"CONNECT ws.example.com:80 HTTP/1.1\r\nHost: ws.example.com:80\r\n\r\n"


def expected(talk: Talk, way: str) -> bytes:
    """What the client gets: over plain HTTP an answer names the request's id; a 101 is passed on as it is."""
    got = b"" if way == "plain" else OPENED
    for answer in talk.answers:
        head, _, rest = answer.partition(b"\r\n\r\n")
        head, close, _ = head.partition(b"\r\nConnection: close")
        named = b"\r\n" + ID[:-2] if way == "plain" and b" 101 " not in head else b""
        got += head + named + close + b"\r\n\r\n" + rest
    return got


def check(talk: Talk, way: str, told: Told) -> None:
    """Both ends got what they should, and the records say so."""
    assert told.reached == talk.reached
    assert told.got == expected(talk, way)
    assert tuple((exchange.request_size, exchange.response_size) for exchange in told.exchanges) == talk.sizes
    assert all(len(exchange.injections) == 1 for exchange in told.exchanges)


def raw(talk: Talk, way: str) -> bytes:
    at = b"http://ws.example.com" if way == "plain" else b""
    return (b"" if way == "plain" else CONNECT) + talk.asked.replace(b"{at}", at)


ways = pytest.mark.parametrize("way", ["plain", "inner"])
talks = pytest.mark.parametrize("name", TALKS)


@ways
@talks
def test_whole_and_byte_by_byte(memory_pair: Pair, monkeypatch: pytest.MonkeyPatch, name: str, way: str) -> None:
    """In one piece, and in pieces of one, two and seven bytes, on all four legs."""
    talk = TALKS[name]
    for size in (None, 1, 2, 7):
        told = asyncio.run(served(talk, way, memory_pair, monkeypatch, size, [raw(talk, way)], 0))
        check(talk, way, told)


@ways
@talks
def test_every_split(memory_pair: Pair, monkeypatch: pytest.MonkeyPatch, name: str, way: str) -> None:
    """What the client sends in two pieces, cut anywhere, while the answers are cut anywhere, too."""
    talk = TALKS[name]
    asked = raw(talk, way)

    async def all_of_them() -> None:
        for at in range(1, len(asked)):
            cut = at % max(map(len, talk.answers))
            check(talk, way, await served(talk, way, memory_pair, monkeypatch, None, [asked[:at], asked[at:]], cut))

    asyncio.run(all_of_them())
