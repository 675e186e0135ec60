"""Leases: whose a connection is, what happens at the end of a test, and between tests."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._proxy.ca import process_authority
from pytest_gatekeeper._proxy.lease import Lease
from pytest_gatekeeper._proxy.listener import Listener
from pytest_gatekeeper._proxy.thread import proxy_thread
from pytest_gatekeeper.errors import ProxyError
from tests.conftest import PATIENCE, SOON
from tests.engine.conftest import HOST, OK, SECRET, TIMEOUT, ways

if TYPE_CHECKING:
    from tests.engine.conftest import Client, Wire, World

Begin = Callable[["World", str], "Client"]


# ---- what a connection may be doing


def idle(world: World, way: str) -> Client:
    world.serve(OK)
    client = world.client(way)
    assert client.do().body == b"ok"
    return client


def sending(world: World, way: str) -> Client:
    world.upstream(lambda wire: wire.end())
    client = world.client(way)
    client.ask("POST", "/", "Content-Length: 10")
    client.send(b"hello")
    world.wait_for(lambda: world.exchanges and world.exchanges[0].request_size == 5)
    return client


def stuck(world: World, way: str) -> Client:
    """The upstream takes nothing of a long body."""
    go = threading.Event()
    world.upstream(lambda wire: wire.until(b"\r\n\r\n") and go.wait(TIMEOUT))
    world.at_end(go.set)
    client = world.client(way)
    client.ask("POST", "/", "Content-Length: 100000000")
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.send(bytes(50_000_000))
    world.wait_for(lambda: world.exchanges and world.exchanges[0].injections)
    return client


def receiving(world: World, way: str) -> Client:
    def script(wire: Wire) -> None:
        wire.message()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        wire.end()

    world.upstream(script)
    client = world.client(way)
    client.ask()
    client.until(b"hello")
    return client


def stalling(world: World, way: str) -> Client:
    """The client takes nothing of a long answer."""

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", bytes(20_000_000))

    world.upstream(script)
    client = world.client(way)
    client.ask()
    client.until(b"\r\n\r\n")
    world.wait_for(lambda: world.exchanges[0].response_size > 500_000)
    return client


def waiting(world: World, way: str) -> Client:
    world.upstream(lambda wire: wire.end())
    client = world.client(way)
    client.ask()
    world.wait_for(lambda: world.exchanges and world.exchanges[0].injections)
    return client


def dialling(world: World, way: str) -> Client:
    """The upstream accepts, and never answers the TLS hello."""
    seen = threading.Event()

    def script(wire: Wire) -> None:
        wire.recv()
        seen.set()
        wire.end()

    stub = world.upstream(script)
    world.routes.add(HOST, f"https://127.0.0.1:{stub.port}")
    client = world.client(way)
    client.ask()
    assert seen.wait(TIMEOUT)
    return client


def resolving(world: World, way: str) -> Client:
    """The name's address is being looked up."""
    began, go = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        began.set()
        go.wait(TIMEOUT)
        raise socket.gaierror(socket.EAI_NONAME, "no")

    world.at_end(go.set)
    world.routes.add(HOST, "http://slow.example.org")
    client = world.client(way)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", slow)
        client.ask()
        assert began.wait(TIMEOUT)
    return client


def switched(world: World, way: str) -> Client:
    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        wire.end()

    world.upstream(script)
    client = world.client(way)
    client.upgrade()
    client.until(b"\r\n\r\n")
    client.send(b"hello")
    return client


EXCHANGES: list[Begin] = [sending, stuck, receiving, stalling, waiting, dialling, resolving, switched]


@ways
@pytest.mark.parametrize("begin", EXCHANGES)
def test_the_end_cuts_every_exchange(world: World, way: str, begin: Begin) -> None:
    """Whatever an exchange is doing, it is cut at once, and it and its tunnel say that the test ended."""
    client = begin(world, way)
    assert world.end() < SOON
    (record,) = world.exchanges
    assert (record.closed, record.error) == ("test", None)
    assert [tunnel.closed for tunnel in world.tunnels] == ([] if way == "plain" else ["test"])
    client.sock.settimeout(TIMEOUT)
    client.end()


@ways
def test_the_end_cuts_a_kept_connection(world: World, way: str) -> None:
    """A kept connection ends with the test; the exchange before it stays as it ended."""
    client = idle(world, way)
    assert world.end() < SOON
    assert client.end() == b""
    assert world.exchanges[0].closed == "upstream"
    assert [tunnel.closed for tunnel in world.tunnels] == ([] if way == "plain" else ["test"])


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00", b"GET / HT"])
def test_the_end_cuts_an_opening_tunnel(world: World, sent: bytes) -> None:
    """A tunnel whose handshake or first head is under way ends with the test, and is no error."""
    client = world.client("inner")
    client.send(sent)
    assert client.silent(0.02)
    assert world.end() < SOON
    assert client.end() == b""
    assert [(tunnel.closed, tunnel.error) for tunnel in world.tunnels] == [("test", None)]


@pytest.mark.parametrize("sent", [b"", b"CONN"])
def test_the_end_cuts_a_silent_connection(world: World, sent: bytes) -> None:
    """A connection that has not said what it wants ends with the test, and leaves no record."""
    client = world.client("plain")
    client.send(sent)
    assert client.silent(0.02)
    assert world.end() < SOON
    assert client.end() == b""
    assert world.records == []


def test_the_end_cuts_a_connection_that_lingers(world: World) -> None:
    """A client that has its last answer and does not leave is cut, too."""
    world.serve(OK)
    client = world.client("plain")
    assert client.do("GET", "/", "Connection: close").body == b"ok"
    assert world.end() < SOON
    assert client.end() == b""


def test_the_end_cuts_many(world: World) -> None:
    """A hundred tunnels end together."""
    clients = []
    for number in range(100):
        client = switched(world, ("plain", "inner")[number % 2])
        clients.append(client)
    assert world.end() < SOON
    assert {record.closed for record in world.exchanges} == {"test"}
    assert len(world.exchanges) == 100
    for client in clients:
        assert client.end() == b""


# ---- between tests


def another(world: World) -> tuple[Lease, list[object]]:
    """Another lease, and what it is told."""
    told: list[object] = []
    old = world.lease
    return Lease(old.terms, old.routes, old.redactor, process_authority(), told.append, watchlist=old.watchlist), told


def next_lease(world: World) -> tuple[Lease, list[object]]:
    """Another lease on the same listener."""
    lease, told = another(world)
    proxy_thread().run(lambda: world.listener.hold(lease))
    return lease, told


def test_late_connections(world: World) -> None:
    """Between tests a connection is answered 503, and the next test is told; its traffic is nobody's record."""
    world.serve(OK)
    world.end()
    count = len(world.records)
    for _ in range(2):
        client = world.client("plain")
        client.ask()
        answer = client.message()
        assert (answer.status, b"No test holds this proxy" in answer.body) == (503, True)
        assert client.rest() == b""
        client.close()
    silent = world.connect()
    assert len(world.records) == count
    lease, told = next_lease(world)
    assert len(told) == 2 + (len(told) == 3)
    assert all(type(record).__name__ == "Late" and "127.0.0.1:" in record.client for record in told)  # type: ignore[attr-defined]
    late = world.client("plain")
    assert late.do().body == b"ok"
    assert len(world.records) == count
    proxy_thread().run(lambda: world.listener.release(lease))
    silent.close()


def test_traffic_belongs_to_the_test_it_was_opened_in(world: World) -> None:
    """A connection of one test is gone in the next, which sees its own traffic alone."""
    world.serve(OK)
    old = world.client("plain")
    assert old.do().body == b"ok"
    world.end()
    lease, told = next_lease(world)
    assert old.end() == b""
    count = len(world.records)
    assert world.client("plain").do().body == b"ok"
    assert (len(world.records), bool(told)) == (count, True)
    proxy_thread().run(lambda: world.listener.release(lease))


def test_one_holder_at_a_time(world: World) -> None:
    """A port that is held cannot be held by another lease; after its release it can."""
    with pytest.raises(ProxyError, match="another Gatekeeper holds this port"):
        next_lease(world)
    world.end()
    lease, _ = next_lease(world)
    proxy_thread().run(lambda: world.listener.release(lease))


def test_two_that_want_the_port_at_once(world: World) -> None:
    """One of them gets it, and the other is refused; neither believes to hold what the other holds."""
    world.end()
    leases = [another(world)[0] for _ in range(2)]

    async def both() -> list[BaseException | None]:
        return await asyncio.gather(*map(world.listener.hold, leases), return_exceptions=True)

    outcomes = proxy_thread().run(both)
    assert sorted(map(repr, outcomes)) == ["None", "ProxyError('another Gatekeeper holds this port')"]
    proxy_thread().run(lambda: world.listener.release(leases[outcomes.index(None)]))
    lease, _ = next_lease(world)
    proxy_thread().run(lambda: world.listener.release(lease))


def test_a_late_connection_is_cut_when_the_port_closes(world: World) -> None:
    """Closing the port takes no longer for a late client that says nothing."""
    world.end()
    sock = world.connect()
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    began = time.monotonic()
    proxy_thread().run(world.listener.close, limit=2 * PATIENCE)
    assert time.monotonic() - began < SOON
    sock.settimeout(TIMEOUT)
    assert sock.recv(1) == b""


@ways
def test_closing_the_port_ends_the_lease(world: World, way: str) -> None:
    """A port that is closed while it is held cuts what is there, and takes no more."""
    client = idle(world, way)
    proxy_thread().run(world.listener.close, limit=2 * PATIENCE)
    assert client.end() == b""
    with pytest.raises(ConnectionRefusedError):
        world.connect()
    assert [tunnel.closed for tunnel in world.tunnels] == ([] if way == "plain" else ["test"])


def test_a_port_that_is_taken() -> None:
    """A port that cannot be had is a ProxyError that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProxyError, match=f"cannot listen on 127.0.0.1:{port}"):
            Listener("127.0.0.1", port)


def test_a_sink_that_fails(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A sink that raises breaks no connection; the log names the kind of error alone."""
    world.serve(OK)

    def fail(_: object) -> None:
        raise ValueError(SECRET)

    world.lease._sink, sink = fail, world.lease._sink
    assert world.client("plain").do().body == b"ok"
    world.lease._sink = sink
    assert "ValueError" in caplog.text
    assert "t0k" not in caplog.text


def test_healthz(world: World) -> None:
    """The health check is answered without a trace, and the connection goes on."""
    world.serve(OK)
    client = world.client("plain")
    for _ in range(2):
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.message().body == b'{"status":"ok"}'
    assert world.records == []
    assert client.do().body == b"ok"
