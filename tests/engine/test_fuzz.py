"""Anything may come over the wire, from either side: nothing breaks, everything ends, and no secret goes astray.

`make fuzz` runs the same with many more examples (GATEKEEPER_FUZZ multiplies them).
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.records import Exchange
from pytest_gatekeeper._proxy.lease import Limits
from tests.conftest import SOON
from tests.engine.conftest import HOST, SECRET, SWITCHED, Client, Stub, Wire, World, ways

MORE = int(os.environ.get("GATEKEEPER_FUZZ", "1"))
OTHER = "other.example.com"  # no rule is for it
LIMITS = Limits(idle=60, upstream=60, head=60, handshake=60, linger=60)  # what has to end ends without them
ENDS = 30.0  # seconds in which a connection has to end whose client has finished, or left


def fuzz(count: int) -> settings:
    """So many examples; the worlds are meant to be shared by them."""
    return settings(
        max_examples=count * MORE,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# ------------------------------------------------------------------ material

METHODS = ("GET", "POST", "HEAD", "CONNECT", "OPTIONS", "get", "PRI", "M-SEARCH")
TARGETS = ("/", "/a?b=c", "*", f"http://{HOST}/", f"https://{OTHER}/x", f"{HOST}:443", "//", "http://", "/\xff", "")
FIELDS = (
    f"Host: {HOST}", f"Host: {OTHER}", "Host:", "Connection: close", "Connection: keep-alive, authorization",
    "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c", "Content-Length: 3", "Content-Length: 0",
    "Content-Length: 3, 3", "Content-Length: -1", "Content-Length: 99999999999999999999", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked", "Expect: 100-continue", "Authorization: mine", "Proxy-Authorization: x",
    "Content-Encoding: gzip", " folded", "X: \x00", "X", ": x", "Trailer: Authorization", "TE: trailers",
)  # fmt: skip
BODIES = (b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"0\r\nAuthorization: x\r\n\r\n", b"GET / ")
STATUSES = ("HTTP/1.1 200 OK", "HTTP/1.0 200", "HTTP/1.1 100 Go", "HTTP/1.1 101 S", "HTTP/1.1 204 N", "HTTP/2 200",
            "HTTP/1.1 304 N", "HTTP/1.1 999 Z", "HTTP/1.1 20 x", "ICY 200 OK")  # fmt: skip


def put_together(start: str, fields: list[str], body: bytes) -> bytes:
    return "\r\n".join([start, *fields, "", ""]).encode("latin-1") + body


def bent(parts: tuple[bytes, list[tuple[int, str, bytes]]]) -> bytes:
    """Bytes with changes at places."""
    data, changes = parts
    for place, change, what in changes:
        at = place % (len(data) + 1)
        behind = {"insert": at, "replace": at + len(what), "cut": at + 1 + place % 9, "end": len(data)}[change]
        data = data[:at] + (b"" if change == "end" else what) + data[behind:]
    return data


changes = st.lists(
    st.tuples(
        st.integers(0, 2000), st.sampled_from(("insert", "replace", "cut", "end")),
        st.binary(max_size=3) | st.sampled_from((b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b" ", b":")),
    ),
    max_size=4,
)  # fmt: skip


def mutated(heads: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(heads, changes).map(bent)


fields = st.lists(st.sampled_from(FIELDS), max_size=5)
request_lines = st.builds("{} {} HTTP/{}".format, st.sampled_from(METHODS), st.sampled_from(TARGETS),
                          st.sampled_from(("1.1", "1.1", "1.0", "2.0", "1.1 ")))  # fmt: skip
requests = st.binary(max_size=200) | mutated(
    st.lists(st.builds(put_together, request_lines, fields, st.sampled_from(BODIES)), min_size=1, max_size=2).map(
        b"".join
    )
)
responses = st.binary(max_size=200) | mutated(
    st.builds(put_together, st.sampled_from(STATUSES), fields, st.sampled_from(BODIES))
)
splits = st.lists(st.integers(1, 300), max_size=4)


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Data in pieces of these sizes, and the rest."""
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


# ------------------------------------------------------------------ what must hold


class Wreck:
    """Two upstreams that read whatever comes and answer what they are told; one has a rule, the other none."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.ruled = self._upstream(HOST)
        self.free = self._upstream(OTHER)

    def _upstream(self, host: str) -> list[bytes]:
        seen: list[bytes] = []

        def script(wire: Wire) -> None:
            seen.append(b"")
            at = len(seen) - 1
            with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
                while b"\n\r\n" not in seen[at] and b"\n\n" not in seen[at]:
                    data = wire.recv()
                    if not data:
                        return
                    seen[at] += data
                wire.send(self.answer)
                wire.finish()
                while data := wire.recv():
                    seen[at] += data

        self.world.upstream(script, host)
        return seen

    def say(self, way: str, host: str, data: bytes, sizes: list[int], then: str = "hear") -> bytes:
        """A client says something; what it got until the connection ended.

        Args:
            way: of the client.
            host: whom it talks to.
            data: what it says.
            sizes: of the pieces in which it is sent.
            then: `finish` (wants no answer any more), `reset`, `hear` (finishes once nothing comes for a moment), or
                `wait` for the other side to end.
        """
        client = self.world.client(way, host)
        client.sock.settimeout(ENDS)
        began = time.monotonic()
        got = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for piece in pieces(data, sizes):
                client.send(piece)
            if then == "hear":
                client.silent(0.03)
            if then in ("hear", "finish"):
                _finish(client)
            if then != "reset":
                client.sock.settimeout(ENDS)
                got = client.end()  # TimeoutError, where it does not end
        assert time.monotonic() - began < ENDS
        client.reset()
        self.check()
        return got

    def check(self) -> None:
        """What must hold at any time."""
        assert not any(SECRET.encode() in data for data in self.free), "a secret went where no rule leads"
        for exchange in self.world.exchanges:
            assert not (exchange.injections and exchange.host != HOST)
            assert exchange.status is None or 100 <= exchange.status <= 999
            assert exchange.request_size >= 0 and exchange.response_size >= 0


def _finish(client: Client) -> None:
    with contextlib.suppress(OSError):  # the other side may be gone
        client.finish()


@pytest.fixture
def wreck(make_world: Callable[..., World], caplog: pytest.LogCaptureFixture) -> Iterator[Wreck]:
    """Two upstreams behind a proxy with long limits; afterwards its loop must have met no exception."""
    wreck = Wreck(make_world(limits=LIMITS))
    with caplog.at_level(logging.ERROR, "pytest_gatekeeper"):
        yield wreck
        wreck.world.end()
    met = [record.getMessage() for record in caplog.records if record.name in ("pytest_gatekeeper", "asyncio")]
    assert met == [], "an exception reached the loop"


def settled(world: World, count: int) -> list[Exchange]:
    """The exchanges, once so many have been closed."""
    world.wait_for(lambda: sum(exchange.closed is not None for exchange in world.exchanges) >= count)
    return world.exchanges


# ------------------------------------------------------------------ clients


@ways
@fuzz(30)
@given(data=requests, sizes=splits, then=st.sampled_from(("hear", "hear", "finish", "reset")))
@example(data=put_together("GET / HTTP/1.1", [f"Host: {HOST}"], b""), sizes=[], then="hear")
def test_any_bytes_from_a_client(wreck: Wreck, way: str, data: bytes, sizes: list[int], then: str) -> None:
    """Whatever a client sends, in the open or in a tunnel to a host without rule, its connection ends."""
    wreck.say(way, OTHER, data, sizes, then)


@ways
def test_plain_bytes_from_a_client(wreck: Wreck, way: str) -> None:
    """The same clients are served when they send what they should: the secret goes to its host, and there alone."""
    for host in (HOST, OTHER):
        target = f"http://{host}/" if way == "plain" else "/"
        head = put_together(f"GET {target} HTTP/1.1", [f"Host: {host}", "Connection: close"], b"")
        got = wreck.say(way, host, head, [5, 9], "wait")
        assert got.startswith(b"HTTP/1.1 200 OK\r\n") and got.endswith(b"\r\n\r\nok")
    assert [SECRET.encode() in data for data in (wreck.ruled[0], wreck.free[0])] == [True, False]


@fuzz(30)
@given(data=st.binary(max_size=300) | mutated(st.just(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(193))),
       sizes=splits, then=st.sampled_from(("hear", "finish", "reset")))  # fmt: skip
@example(data=b"\x16\x03\x01\x40\x01\x01", sizes=[1], then="hear")
def test_any_bytes_after_connect(wreck: Wreck, data: bytes, sizes: list[int], then: str) -> None:
    """Whatever follows the answer to CONNECT, a broken handshake included, the connection ends and is recorded."""
    wreck.say("inner", OTHER, data, sizes, then)
    assert wreck.world.tunnels[-1].host == OTHER


# ------------------------------------------------------------------ upstreams


@pytest.mark.parametrize("way", ["plain", "tls"])
@fuzz(40)
@given(answer=responses, method=st.sampled_from(("GET", "HEAD", "POST")), upgrade=st.booleans())
@example(answer=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff", method="GET", upgrade=False)
@example(answer=SWITCHED, method="GET", upgrade=False)
@example(answer=b"HTTP/1.1 100 Go on\r\n\r\n" * 101, method="GET", upgrade=False)
def test_any_bytes_from_an_upstream(wreck: Wreck, way: str, answer: bytes, method: str, upgrade: bool) -> None:
    """Whatever an upstream answers, the client gets an answer or an end, and the exchange is closed."""
    wreck.answer = answer
    target = f"http://{HOST}/" if way == "plain" else "/"
    asked = ["Connection: close, Upgrade", "Upgrade: websocket"] if upgrade else ["Connection: close"]
    before = len(wreck.world.exchanges)
    head = put_together(f"{method} {target} HTTP/1.1", [f"Host: {HOST}", *asked], b"")
    got = wreck.say(way, HOST, head, [], "wait")
    exchange = settled(wreck.world, before + 1)[-1]
    assert got.startswith(b"HTTP/1.1 %d " % (exchange.status or 0)) or b"\r\n\r\nHTTP/1.1 " in got


# ------------------------------------------------------------------ bodies

chunk_lists = st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.sampled_from((b"", b";a", b'; a="b"'))),
                       max_size=5)  # fmt: skip


def chunked(chunks: list[tuple[bytes, bytes]], trailers: bytes) -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(data), extra, data) for data, extra in chunks) + b"0\r\n%b\r\n" % trailers


@pytest.mark.parametrize("way", ["plain", "tls"])
@fuzz(40)
@given(up=chunk_lists, down=chunk_lists, trailers=st.sampled_from((b"", b"X-Sum: 1\r\n")), sizes=splits)
def test_chunked_bodies(
    echoing: Stub, world: World, way: str, up: list[tuple[bytes, bytes]], down: list[tuple[bytes, bytes]],
    trailers: bytes, sizes: list[int],
) -> None:  # fmt: skip
    """Chunked bodies arrive byte for byte in both directions, however they are cut, and their sizes are recorded."""
    before = len(echoing.heads)
    echoing.answers.append(chunked(down, trailers))  # type: ignore[attr-defined]
    client = world.client(way)
    client.send(client.request("POST", "/", "Transfer-Encoding: chunked"))
    for piece in pieces(chunked(up, trailers), sizes):
        client.send(piece)
    answer = client.message("POST")
    assert answer.body == b"".join(data for data, _ in down)
    assert echoing.heads[before].body == b"".join(data for data, _ in up)
    exchange = world.exchanges[-1]
    sizes_seen = exchange.request_size, exchange.response_size
    assert sizes_seen == (len(echoing.heads[before].body), len(answer.body))
    client.close()


@pytest.fixture
def echoing(world: World) -> Stub:
    """An upstream that reads requests and sends the chunked bodies of `answers` in turn."""

    def script(wire: Wire) -> None:
        while True:
            stub.heads.append(wire.message())
            body = answers.pop(0)
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body[:3])
            wire.send(body[3:])

    answers: list[bytes] = []
    stub = world.upstream(script)
    stub.answers = answers  # type: ignore[attr-defined]
    return stub


@pytest.mark.parametrize("way", ["plain", "tls"])
@fuzz(30)
@given(body=mutated(st.builds(chunked, chunk_lists, st.sampled_from((b"", b"Authorization: x\r\n")))), sizes=splits,
       of=st.sampled_from(("client", "upstream")))  # fmt: skip
def test_broken_chunks(wreck: Wreck, way: str, body: bytes, sizes: list[int], of: str) -> None:
    """Whatever is sent in the place of chunks, from either side, the exchange ends and is closed."""
    target = f"http://{OTHER}/" if way == "plain" else "/"
    framed = ["Transfer-Encoding: chunked"]
    fields = [f"Host: {OTHER}", "Connection: close", *(framed if of == "client" else [])]
    head = put_together(f"POST {target} HTTP/1.1", fields, b"")
    wreck.answer = b"HTTP/1.1 200 OK\r\n%b" % (
        b"Transfer-Encoding: chunked\r\n\r\n" + body if of == "upstream" else b"Content-Length: 2\r\n\r\nok"
    )
    before = len(wreck.world.exchanges)
    wreck.say(way, OTHER, head + (body if of == "client" else b""), sizes, "hear" if of == "client" else "wait")
    assert all(exchange.closed for exchange in settled(wreck.world, before + 1))


# ------------------------------------------------------------------ WebSockets


@pytest.mark.parametrize("way", ["plain", "tls"])
@fuzz(40)
@given(up=st.binary(max_size=400), down=st.binary(max_size=400), glued=st.booleans(), sizes=splits)
@example(up=b"\x81\xfe", down=b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", glued=True, sizes=[1])
@example(up=b"\x88\x80\0\0\0\0", down=b"\x88\x00\x81\x02hi", glued=False, sizes=[])
def test_any_bytes_in_a_websocket(
    switching: Stub, world: World, way: str, up: bytes, down: bytes, glued: bool, sizes: list[int]
) -> None:
    """After a 101 any bytes, frames or not, arrive as they were sent, in both directions, and are counted."""
    before = len(world.exchanges)
    switching.sends.append((len(up), down, glued))  # type: ignore[attr-defined]
    client = world.client(way)
    client.upgrade()
    assert client.until(b"\r\n\r\n") == SWITCHED
    for piece in pieces(up, sizes):
        client.send(piece)
    assert client.exactly(len(down)) == down
    client.finish()
    assert client.rest() == b""
    exchange = settled(world, before + 1)[-1]
    assert switching.got[-1] == up  # type: ignore[attr-defined]
    assert (exchange.request_size, exchange.response_size, exchange.upgraded) == (len(up), len(down), True)
    assert exchange.closed in ("client", "upstream")
    client.close()


@pytest.fixture
def switching(world: World) -> Stub:
    """An upstream that switches protocols, reads as many bytes as `sends` says, and sends what that says."""

    def script(wire: Wire) -> None:
        wire.message()
        count, down, glued = sends.pop(0)
        wire.send(SWITCHED + (down if glued else b""))
        got.append(wire.exactly(count))
        wire.send(b"" if glued else down)
        assert wire.rest() == b""
        wire.finish()

    sends: list[tuple[int, bytes, bool]] = []
    got: list[bytes] = []
    stub = world.upstream(script)
    stub.sends, stub.got = sends, got  # type: ignore[attr-defined]
    return stub


def test_many_silent_websockets(world: World) -> None:
    """200 WebSockets are served at once, and all are cut when their test ends."""
    origin: Any = world.origin()
    clients: list[Client] = []
    for _ in range(200):
        client = world.client("tls")
        client.upgrade("/", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==")
        clients.append(client)
    for client in clients:
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        client.send(b"\x81\x82\0\0\0\0hi")
    for client in clients:
        assert client.exactly(4) == b"\x81\x02hi"
    assert len(origin.received) == 200
    assert world.end() < SOON
    assert [exchange.closed for exchange in world.exchanges] == ["test"] * 200
    for client in clients:
        assert client.end() == b""
