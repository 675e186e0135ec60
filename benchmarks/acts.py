"""What the clients of the soak do: talk through a tunnel, and break it in every way that is known.

Each act opens its connection (see `peers`), does one thing, and raises an OSError where the connection broke before
that was done (the end of a test cuts it at any time), an AssertionError where it got what it must not. Every act ends
by itself.
"""

# ruff: noqa: S101 - what must hold is asserted
from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from frames import frame
from peers import API, OTHER, UPGRADE, Peer, Road, connect, knock, silent_websocket, tunnel

from pytest_gatekeeper._proxy.tls import TlsStream
from pytest_gatekeeper.origin import Origin

__all__ = ["ACTS", "HOSTS", "Act"]

HOSTS = ("*.soak.example",)
BULK = 1 << 20


# ------------------------------------------------------------------ acts that go well


async def talk(road: Road) -> None:
    """Several requests on one tunnel; the credential goes to its host and nowhere else."""
    async with await tunnel(road) as peer:
        for number in range(road.random.randrange(1, 6)):
            status, body = await peer.do("POST", f"/items/{number}", body=b"x" * road.random.randrange(2000))
            assert status == 200, f"answered {status}"
            names = {name.lower() for name, _ in json.loads(body)["headers"]}
            assert ("authorization" in names) == (peer.host == API), f"{peer.host} got {names}"
        if road.random.random() < 0.5:
            await peer.stream.finish()
            await peer.until_end()


async def in_the_open(road: Road) -> None:
    """Absolute-form requests without a tunnel."""
    async with await knock(road, OTHER) as peer:
        for _ in range(3):
            status, _ = await peer.do("GET", "/open")
            assert status == 200, f"answered {status}"


async def chunks(road: Road) -> None:
    """Chunked bodies both ways."""
    async with await tunnel(road) as peer:
        await peer.ask("POST", "/take", "Transfer-Encoding: chunked")
        for _ in range(5):
            await peer.stream.send(b"%x\r\n%b\r\n" % (4000, b"y" * 4000))
        await peer.stream.send(b"0\r\n\r\n")
        status, _ = await peer.answer()
        assert status in {200, 503}, f"answered {status}"
        status, body = await peer.do("GET", "/pieces")
        assert (status, len(body)) == (200, 30_000), f"answered {status} with {len(body)} bytes"


async def bulk(road: Road) -> None:
    """A megabyte down, a quarter up."""
    async with await tunnel(road) as peer:
        status, body = await peer.do("GET", "/bulk")
        assert (status, len(body)) == (200, BULK), f"answered {status} with {len(body)} bytes"
        status, body = await peer.do("PUT", "/take", body=bytes(BULK // 4))
        assert (status, json.loads(body)["size"]) == (200, BULK // 4), f"answered {status}"


async def websocket(road: Road) -> None:
    """Messages and echoes, then the closing handshake, half a close, or none."""
    async with await tunnel(road) as peer:
        await peer.upgrade()
        for _ in range(road.random.randrange(1, 8)):
            payload = road.random.choice(road.payloads)
            await peer.message(payload)
            assert await peer.echoed() == payload, "another message came back"
        way = road.random.randrange(4)
        if way == 0:
            await peer.stream.send(b"\x88\x82\0\0\0\0\x03\xe8")
            await peer.until_end()
        elif way == 1:
            await peer.stream.finish()
            await peer.until_end()
        elif way == 2:
            peer.reset()


async def wait_for_the_end(road: Road) -> None:
    """A silent WebSocket that the end of the test cuts, or that leaves after a while."""
    peer = await silent_websocket(road)
    async with peer:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(peer.until_end(), road.random.uniform(0.1, 3))


# ------------------------------------------------------------------ acts that break it


async def half_head(road: Road) -> None:
    """Half a request, in the open or in a tunnel; then FIN, RST or silence."""
    peer = await (tunnel(road) if road.random.random() < 0.5 else knock(road, OTHER))
    async with peer:
        whole = peer.request("GET", "/never", "Accept: */*")
        await peer.stream.send(whole[: road.random.randrange(len(whole) - 1)])
        await leave(road, peer)


async def half_body(road: Road) -> None:
    """Half a body, then FIN, RST or silence."""
    async with await tunnel(road) as peer:
        await peer.stream.send(peer.request("POST", "/items", body=bytes(9000))[:-4000])
        await leave(road, peer)


async def half_handshake(road: Road) -> None:
    """Half a ClientHello, garbage, or nothing after CONNECT."""
    async with await connect(road, OTHER) as peer:
        hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40)
        await peer.stream.send(road.random.choice((hello, b"\x16garbage" * 9, b"\0", b"\x80\x2e\x01")))
        await leave(road, peer)


async def distrust(road: Road) -> None:
    """A client that does not trust the proxy's CA."""
    async with await connect(road, OTHER) as peer:
        stream = TlsStream(peer.tcp, NOBODY, server_side=False, server_hostname=OTHER)
        try:
            await stream.handshake()
        except OSError as error:
            if "certificate" not in str(error):
                raise
        else:
            raise AssertionError("it was trusted")


async def garbage(road: Road) -> None:
    """Bytes that are no HTTP, in the open or in a tunnel: answered 400, and ended."""
    peer = await (tunnel(road) if road.random.random() < 0.5 else knock(road, OTHER))
    async with peer:
        await peer.stream.send(b"\x01\x02 nothing of the sort \xff\r\n\r\n")
        await peer.until_end()


async def leave_early(road: Road) -> None:
    """Ask, and leave before the answer, or in the middle of it: FIN, RST, or a reader that has stopped."""
    async with await tunnel(road) as peer:
        await peer.ask("GET", road.random.choice(("/bulk", "/stall", "/slow", "/items")))
        if road.random.random() < 0.5:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(peer.receive(), 0.3)
        await leave(road, peer)


async def break_websocket(road: Road) -> None:
    """A WebSocket that is left in the middle of a frame, or with echoes on their way."""
    async with await tunnel(road) as peer:
        await peer.upgrade()
        await peer.stream.send(frame(road.payloads[2], b"abcd")[: road.random.randrange(1, 70_000)])
        await leave(road, peer)


async def leave(road: Road, peer: Peer) -> None:
    """FIN and wait, RST, a cut without close_notify, or silence for a moment."""
    way = road.random.randrange(4)
    if way == 0:
        await peer.stream.finish()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(peer.until_end(), road.random.uniform(0.1, 2))
    elif way == 1:
        peer.reset()
    elif way == 2:
        peer.tcp.close()
    else:
        await asyncio.sleep(road.random.uniform(0, 1))


class Fault(NamedTuple):
    """A fault of the stub: set at a path or at a host, and what a client may see of it."""

    name: str
    set: Callable[[Origin], object]
    path: str = ""
    host: str = OTHER
    upgrade: bool = False

    async def meet(self, road: Road) -> None:
        """Ask, and take what comes: an answer, half of one, or an end."""
        async with await tunnel(road, self.host) as peer:
            await peer.ask("GET", self.path or "/items", *(UPGRADE if self.upgrade else ()))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(peer.until_end(), 1.0)


FAULTS = (
    Fault("reset", lambda o: o.faults.reset(path="/reset"), "/reset"),
    Fault("reset in the body", lambda o: o.faults.reset(path="/reset-later", after=20), "/reset-later"),
    Fault("stall", lambda o: o.faults.stall(path="/stall"), "/stall"),
    Fault("slow", lambda o: o.faults.slow(path="/slow", size=64, delay=0.01), "/slow"),
    Fault("truncate", lambda o: o.faults.truncate(path="/truncate"), "/truncate"),
    Fault("ragged", lambda o: o.faults.ragged(path="/ragged", after=20), "/ragged"),
    Fault("early", lambda o: o.faults.early(path="/early"), "/early"),
    Fault("bad_accept", lambda o: o.faults.bad_accept(path="/bad-accept"), "/bad-accept", upgrade=True),
    Fault("garbage", lambda o: o.faults.garbage(path="/garbage"), "/garbage", upgrade=True),
    Fault("refuse", lambda o: o.faults.refuse(host="refuse.soak.example"), host="refuse.soak.example"),
    Fault("untrusted", lambda o: o.faults.untrusted(host="untrusted.soak.example"), host="untrusted.soak.example"),
    Fault("expired", lambda o: o.faults.expired(host="expired.soak.example"), host="expired.soak.example"),
    Fault("wrong_name", lambda o: o.faults.wrong_name(host="wrong.soak.example"), host="wrong.soak.example"),
)


# ------------------------------------------------------------------ all of them


class Act(NamedTuple):
    """Something a client does.

    Attributes:
        name: for the table.
        run: does it.
        sound: nothing but the end of its test may break it.
    """

    name: str
    run: Callable[[Road], Awaitable[Any]]
    sound: bool = False

    @staticmethod
    def prepare(origin: Origin) -> None:
        """Set the stub's answers and faults."""
        origin.respond(path="/bulk", body=bytes(BULK))
        origin.respond(path="/pieces", chunks=[b"z" * 10_000] * 3)
        origin.sink(path="/take")
        for fault in FAULTS:
            fault.set(origin)


NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
SOUND = (talk, talk, talk, in_the_open, chunks, bulk, websocket, websocket, websocket, wait_for_the_end)
BREAKING = (half_head, half_body, half_handshake, distrust, garbage, leave_early, break_websocket)
ACTS = [
    *(Act(act.__name__, act, sound=True) for act in SOUND),
    *(Act(act.__name__, act) for act in BREAKING),
    *(Act(f"fault: {fault.name}", fault.meet) for fault in FAULTS),
]
