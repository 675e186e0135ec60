"""Kept upstream connections: reused within one client connection and one destination, never beyond."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.engine.conftest import BEARER, HOST, OK, TIMEOUT, ways

if TYPE_CHECKING:
    from tests.engine.conftest import Stub, Wire, World

OTHER = "api.example.com"


@ways
@pytest.mark.parametrize("tls", [False, True])
def test_reused_for_one_client(world: World, way: str, tls: bool) -> None:
    """Requests of one client connection to one host share an upstream connection."""
    stub = world.serve(OK, tls=tls)
    client = world.client(way)
    for method in ("GET", "POST", "GET", "DELETE"):
        assert client.do(method).body == b"ok"
    assert stub.count == 1


@ways
def test_never_shared_between_clients(world: World, way: str) -> None:
    """Each client connection has upstream connections of its own, also when one follows the other."""
    stub = world.serve(OK)
    for number in range(3):
        client = world.client(way)
        assert client.do().body == b"ok"
        assert stub.count == number + 1
        if number:
            client.close()


def test_never_across_destinations(world: World) -> None:
    """A plain client that goes back and forth between hosts never meets the other's connection, or its credential."""
    first, second = world.serve(OK), world.serve(OK, host=OTHER)
    client = world.client("plain")
    for _ in range(2):
        for host in (HOST, OTHER):
            client.host = host
            assert client.do().body == b"ok"
    assert (first.count, second.count) == (2, 2)
    assert [head.get("authorization") for head in first.heads] == [BEARER, BEARER]
    assert [head.get("authorization") for head in second.heads] == ["", ""]


@ways
def test_ports_are_destinations_too(world: World, way: str) -> None:
    """The same host on two ports are two upstreams; a route with a port beats one without."""
    any_port = world.serve(OK)
    other = world.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", host="unused.example.com")
    world.routes.add(f"{HOST}:8443", f"http://127.0.0.1:{other.port}")
    assert world.client(way).do().body == b"ok"
    if way == "plain":
        client = world.client(way)
        client.host = f"{HOST}:8443"
    else:
        client = world.client(way, port=8443)
    assert client.do().body == b"other"
    assert (any_port.count, other.count) == (1, 1)
    assert [exchange.port for exchange in world.exchanges] == [443 if way == "tls" else 80, 8443]


@ways
def test_a_route_for_every_name_below(world: World, way: str) -> None:
    """A wildcard route leads every name below its suffix, at any depth, and not the suffix; an exact one wins."""
    below = world.serve(OK, host="*.example.com")
    exact = world.serve(OK, host=HOST)
    for host, status in (("a.example.com", 200), ("a.b.example.com", 200), ("example.com", 502), (HOST, 200)):
        assert world.client(way, host).do().status == status
    assert (below.count, exact.count) == (2, 1)


@ways
def test_routes_may_change_in_between(world: World, way: str) -> None:
    """After a route has changed the kept connection is not used any more: the next request goes where it leads now."""
    old = world.serve(OK)
    client = world.client(way)
    assert client.do().body == b"ok"
    new = world.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")
    assert client.do().body == b"new"
    assert (len(old.heads), len(new.heads)) == (1, 1)


# ---- stale


def stale(world: World, heads: list[str]) -> Stub:
    """An upstream whose first connection ends when the second request comes, unanswered."""
    lock = threading.Lock()

    def script(wire: Wire) -> None:
        first = True
        while True:
            message = wire.message()
            with lock:
                heads.append(message.start)
                if not first and stub.count == 1:
                    return
            first = False
            wire.send(OK)

    stub = world.upstream(script)
    return stub


@ways
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("upgrade", [False, True])
def test_a_stale_connection_is_tried_anew(world: World, way: str, method: str, upgrade: bool) -> None:
    """A request that can be repeated is sent again where the kept connection had ended; once, on a new one."""
    heads: list[str] = []
    stub = stale(world, heads)
    client = world.client(way)
    assert client.do().status == 200
    fields = ("Connection: Upgrade", "Upgrade: websocket") if upgrade else ()
    assert client.do(method, "/second", *fields).status == 200
    assert heads == ["GET / HTTP/1.1", f"{method} /second HTTP/1.1", f"{method} /second HTTP/1.1"]
    assert stub.count == 2
    assert [len(exchange.injections) for exchange in world.exchanges] == [1, 1]


@ways
@pytest.mark.parametrize(("method", "body"), [("POST", None), ("POST", b"hello"), ("GET", b"hello"), ("DELETE", None)])
def test_what_cannot_be_repeated_is_not(world: World, way: str, method: str, body: bytes | None) -> None:
    """A request that may have had an effect, or has a body, is sent once: a 502 where its connection had ended."""
    heads: list[str] = []
    stub = stale(world, heads)
    client = world.client(way)
    assert client.do().status == 200
    assert client.do(method, "/second", body=body).status == 502
    assert heads == ["GET / HTTP/1.1", f"{method} /second HTTP/1.1"]
    assert stub.count == 1
    assert client.do(method, "/third", body=body).status == 200


@ways
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_new_connection_is_not_tried_twice(world: World, way: str, method: str) -> None:
    """A first connection that ends without an answer is a 502 at once: the upstream is at fault, not its age."""
    stub = world.upstream(lambda wire: wire.until(b"\r\n\r\n"))
    assert world.client(way).do(method).status == 502
    assert stub.count == 1


@ways
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("end", ["finish", "reset", "babble"])
def test_a_connection_that_ended_is_not_used(world: World, way: str, tls: bool, end: str) -> None:
    """A kept connection that has ended, or on which something came unasked, is not used even for a POST."""
    ended = threading.Event()

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(OK)
        if stub.count == 1:
            wire.silent(0.02)
            if end == "babble":
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
                ended.set()
                wire.end()
            else:
                wire.finish() if end == "finish" else wire.reset()
        ended.set()
        wire.end()

    stub = world.upstream(script, tls=tls)
    client = world.client(way)
    assert client.do("POST").body == b"ok"
    assert ended.wait(TIMEOUT)
    assert client.silent(0.02)
    assert client.do("POST", body=b"hello").body == b"ok"
    assert stub.count == 2


@ways
def test_the_kept_connection_ends_with_its_client(world: World, way: str) -> None:
    """When a client leaves, its kept upstream connection is closed."""
    ended = threading.Event()

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(OK)
        assert wire.end() == b""
        ended.set()

    world.upstream(script)
    client = world.client(way)
    assert client.do().body == b"ok"
    client.close()
    assert ended.wait(TIMEOUT)
