"""Bodies on their way: as they come, both ways at once, at the pace of the slower side, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._proxy.lease import Limits
from tests.engine.conftest import OK, TIMEOUT, ways

if TYPE_CHECKING:
    from tests.conftest import Clock
    from tests.engine.conftest import Wire, World

MIB = 1024 * 1024
SIZE = 64 * MIB
ENDLESS = 4 * SIZE  # more than the systems' own buffers hold, a receiver's grows to 32 MiB on some
HELD = 12 * MIB  # that a proxy may hold at any time
BLOCK = bytes(range(256)) * (MIB // 256)
OPEN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that Python held at most while `work` ran, beyond those from before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# ---- memory


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_long_answer_takes_little_memory(world: World, way: str) -> None:
    """64 MiB come down with a few MiB held at any time."""

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // MIB):
            wire.send(BLOCK)
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    got = 0

    def work() -> None:
        nonlocal got
        client.ask()
        client.until(b"\r\n\r\n")
        while got < SIZE:
            got += len(client.recv())

    assert peak_of(work) < HELD
    assert (got, world.exchanges[0].response_size) == (SIZE, SIZE)


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_long_body_takes_little_memory(world: World, way: str) -> None:
    """64 MiB go up with a few MiB held at any time, and arrive whole."""
    world.origin().sink()
    client = world.client(way)

    def work() -> None:
        client.ask("POST", "/", f"Content-Length: {SIZE}")
        for _ in range(SIZE // MIB):
            client.send(BLOCK)

    assert peak_of(work) < HELD
    digest = hashlib.sha256()
    for _ in range(SIZE // MIB):
        digest.update(BLOCK)
    assert json.loads(client.message().body) == {"size": SIZE, "sha256": digest.hexdigest()}
    assert world.exchanges[0].request_size == SIZE


def pour(wire: Wire) -> int:
    """Send until the other side takes no more, `ENDLESS` bytes at most; how many went out."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    wire.sock.settimeout(0.15)
    sent = 0
    view = memoryview(BLOCK)
    try:
        while sent < ENDLESS:
            sent += wire.sock.send(view)
    except TimeoutError:
        pass
    finally:
        wire.sock.settimeout(TIMEOUT)
    return sent


@pytest.mark.parametrize("way", ["plain", "tls"])
@pytest.mark.parametrize("upgrade", [False, True])
def test_a_stalled_reader_holds_the_upstream_back(world: World, way: str, upgrade: bool) -> None:
    """While the client reads nothing, the upstream cannot send on without end; then everything arrives."""
    poured: list[int] = []
    full = threading.Event()

    def script(wire: Wire) -> None:
        wire.message()
        switched = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        wire.send(switched if upgrade else b"HTTP/1.1 200 OK\r\n\r\n")
        poured.append(pour(wire))
        full.set()
        wire.finish()
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.upgrade() if upgrade else client.ask()
    client.until(b"\r\n\r\n")
    assert peak_of(lambda: full.wait(TIMEOUT)) < HELD
    assert full.is_set()
    assert poured[0] < ENDLESS
    got = len(client.rest())
    client.close()
    assert got == poured[0]
    world.wait_for(lambda: world.exchanges[0].closed)
    assert world.exchanges[0].response_size == got


@pytest.mark.parametrize("upgrade", [False, True])
def test_a_stalled_upstream_holds_the_client_back(world: World, upgrade: bool) -> None:
    """While the upstream reads nothing, the client cannot send on without end; then everything arrives."""
    go, done = threading.Event(), threading.Event()
    poured = 0

    def script(wire: Wire) -> None:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.until(b"\r\n\r\n")
        if upgrade:
            wire.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert go.wait(TIMEOUT)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
        wire.exactly(poured)
        done.set()

    world.upstream(script)
    client = world.client("plain")
    if upgrade:
        client.upgrade()
        client.until(b"\r\n\r\n")
    else:
        client.ask("POST", "/", f"Content-Length: {ENDLESS}")

    def work() -> None:
        nonlocal poured
        poured = pour(client)

    assert peak_of(work) < HELD
    assert poured < ENDLESS
    go.set()
    assert done.wait(TIMEOUT)
    assert world.exchanges[0].request_size == poured
    client.close()
    world.wait_for(lambda: world.exchanges[0].closed)


# ---- as it comes


@ways
def test_events_arrive_one_by_one(world: World, way: str) -> None:
    """An event of a stream arrives before the next one is sent; the record stays open until the end."""
    origin = world.origin()
    go = [threading.Event(), threading.Event()]
    chunks: list[str | bytes | threading.Event] = ["data: 1\n\n", go[0], "data: 2\n\n", go[1], "data: 3\n\n"]
    origin.respond(chunks=chunks, headers={"Content-Type": "text/event-stream"})
    client = world.client(way)
    client.ask()
    assert b"text/event-stream" in client.until(b"\r\n\r\n")
    for number, event in enumerate([*go, None], 1):
        assert client.until(b"\n\n\r\n").endswith(b"data: %d\n\n\r\n" % number)
        if event is not None:
            assert (world.exchanges[0].response_size, world.exchanges[0].closed) == (9 * number, None)
            event.set()
    assert client.until(b"0\r\n\r\n")
    assert (world.exchanges[0].response_size, world.exchanges[0].closed) == (27, "upstream")


@ways
def test_answer_and_body_at_the_same_time(world: World, way: str) -> None:
    """An answer that comes while the body does is passed on at once, and the body goes on."""

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(OPEN)
        for _ in range(3):
            size = int(wire.until(b"\r\n"), 16)
            wire.send(chunk(wire.exactly(size + 2)[:-2].upper()))
        assert wire.until(b"\r\n\r\n") == b"0\r\n\r\n"
        wire.send(b"0\r\n\r\n")
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    client.ask("POST", "/", "Transfer-Encoding: chunked")
    assert b" 200 " in client.until(b"\r\n\r\n")
    for word in (b"one", b"two", b"three"):
        client.send(chunk(word))
        assert client.until(b"\r\n") and client.until(b"\r\n") == word.upper() + b"\r\n"
    client.send(b"0\r\n\r\n")
    assert client.until(b"0\r\n\r\n")
    assert client.rest() == b""
    assert (world.exchanges[0].request_size, world.exchanges[0].response_size) == (11, 11)


@ways
def test_early_answer_ends_the_upload(world: World, way: str) -> None:
    """An answer before the body's end is passed on whole; the connection ends with it, however much is still coming."""

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        wire.rest()

    world.upstream(script)
    client = world.client(way)
    client.ask("POST", "/", f"Content-Length: {SIZE}")
    client.send(BLOCK)
    answer = client.message()
    assert (answer.status, answer.body, answer.get("connection")) == (413, b"no!", "close")
    client.send(BLOCK)
    assert client.rest() == b""
    client.close()
    record = world.exchanges[0]
    assert (record.status, record.closed) == (413, "upstream")
    assert record.request_size < SIZE


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_slow_upload_is_no_silent_upstream(make_world: Callable[..., World], clock: Clock, way: str) -> None:
    """The upstream's limit does not run while the request's body is still coming."""
    world = make_world(limits=Limits(upstream=60))

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(OK)
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    client.ask("POST", "/", "Transfer-Encoding: chunked")
    world.wait_for(lambda: world.exchanges and world.exchanges[0].injections)
    for size in (5, 10):
        clock.forward(35)
        client.send(chunk(b"hello"))
        world.wait_for(lambda size=size: world.exchanges[0].request_size == size)  # type: ignore[misc]
    clock.forward(35)
    client.send(b"0\r\n\r\n")
    assert client.message().status == 200


def test_a_slow_upload_to_a_silent_upstream_ends(make_world: Callable[..., World], clock: Clock) -> None:
    """Once the body has been sent, or has stopped, the upstream's limit holds."""
    world = make_world(limits=Limits(upstream=60))
    world.upstream(lambda wire: wire.rest())
    for count, end in enumerate((b"0\r\n\r\n", b""), 1):
        client = world.client("tls")
        client.ask("POST", "/", "Transfer-Encoding: chunked")
        world.wait_for(lambda count=count: len(world.exchanges) == count and world.exchanges[-1].injections)  # type: ignore[misc]
        client.send(chunk(b"hello"), end)
        world.wait_for(lambda: world.exchanges[-1].request_size == 5)
        clock.forward(60)
        answer = client.message()
        assert (answer.status, b"60 s" in answer.body) == (502, True)


# ---- cut short


@ways
def test_client_leaves_in_the_middle_of_its_body(world: World, way: str) -> None:
    """An upload that breaks off is cut upstream too, without its end, and the record says who left."""
    got: list[bytes] = []

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        got.append(wire.end())

    world.upstream(script)
    client = world.client(way)
    client.ask("POST", "/", "Transfer-Encoding: chunked")
    client.send(chunk(b"hello"))
    world.wait_for(lambda: world.exchanges and world.exchanges[0].injections)
    client.close()
    world.wait_for(lambda: got)
    assert not got[0].endswith(b"0\r\n\r\n")
    world.wait_for(lambda: world.exchanges[0].closed)
    record = world.exchanges[0]
    assert (record.closed, record.status, len(record.injections)) == ("client", None, 1)
    assert "left" in str(record.error)


@pytest.mark.parametrize("glued", [True, False])
def test_a_client_whose_tls_breaks_in_its_body(world: World, glued: bool) -> None:
    """A record that cannot be decrypted is the client's failure, be it glued to the head or later; no upstream's."""
    world.upstream(lambda wire: wire.end())
    client = world.client("tls")
    head, broken = client.sealed(client.request("POST", "/", "Content-Length: 5")), b"\x17\x03\x03\x00\x20" + bytes(32)
    if glued:
        client.sock.sendall(head + broken)
    else:
        client.sock.sendall(head)
        world.wait_for(lambda: world.exchanges and world.exchanges[0].injections)
        client.sock.sendall(broken)
    world.wait_for(lambda: world.exchanges and world.exchanges[0].closed)
    record = world.exchanges[0]
    assert (record.closed, record.status, len(record.injections)) == ("client", None, 0 if glued else 1)
    assert "the client left in the middle of its request's body" in str(record.error)


@ways
def test_client_leaves_in_the_middle_of_its_answer(world: World, way: str) -> None:
    """A download that the client breaks off is broken off upstream, too."""
    ended = threading.Event()

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(OPEN + chunk(b"hello"))
        wire.end()
        ended.set()

    world.upstream(script)
    client = world.client(way)
    client.ask()
    client.until(b"hello\r\n")
    client.close()
    assert ended.wait(TIMEOUT)
    world.wait_for(lambda: world.exchanges[0].closed)
    assert (world.exchanges[0].closed, world.exchanges[0].status) == ("client", 200)


@ways
@pytest.mark.parametrize("body", [None, b"hello", b"x" * 300_000])
def test_client_leaves_while_it_waits(world: World, way: str, body: bytes | None) -> None:
    """A client that leaves before the answer ends the exchange at once, whatever it had sent."""
    ended = threading.Event()

    def script(wire: Wire) -> None:
        wire.end()
        ended.set()

    stub = world.upstream(script)
    client = world.client(way)
    client.ask("POST", body=body)
    world.wait_for(lambda: stub.count)
    client.close()
    assert ended.wait(TIMEOUT)
    world.wait_for(lambda: world.exchanges[0].closed)
    assert (world.exchanges[0].closed, world.exchanges[0].status) == ("client", None)


@ways
def test_a_client_that_sent_more_has_not_left(world: World, way: str) -> None:
    """A client that ends its direction behind a second request still gets the answer to the first."""
    go = threading.Event()

    def script(wire: Wire) -> None:
        wire.message()
        assert go.wait(TIMEOUT)
        wire.send(OK)
        wire.end()

    world.upstream(script)
    client = world.client(way)
    client.send(client.request(), client.request("GET", "/second"))
    client.finish()
    world.wait_for(lambda: world.exchanges and world.exchanges[0].injections)
    go.set()
    assert client.message().body == b"ok"
    assert (world.exchanges[0].status, world.exchanges[0].closed) == (200, "upstream")
    client.end()


@ways
@pytest.mark.parametrize("first", [b"zz\r\n", b"5\r\nhello!!"])
def test_broken_chunks_are_refused(world: World, way: str, first: bytes) -> None:
    """A body whose chunks cannot be read gets a 400, at once or after a good beginning, and is cut upstream."""

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            wire.until(b"0\r\n\r\n")

    world.upstream(script)
    for pause in (True, False):
        client = world.client(way)
        head = client.request("POST", "/", "Transfer-Encoding: chunked")
        if pause:
            client.send(head, chunk(b"fine"))
            world.wait_for(lambda: world.exchanges and world.exchanges[-1].injections)
            client.send(first)
        else:
            client.send(head + first)
        assert client.message().status == 400
        assert client.rest() == b""
        client.close()
        assert world.exchanges[-1].status == 400
    assert [len(exchange.injections) for exchange in world.exchanges] == [1, 0]
