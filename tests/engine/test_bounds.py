"""Bounds of what a tunnel takes: memory while much passes, and time while many are open.

`make proof` has both at their full size: `benchmarks/bounds.py`.
"""

from __future__ import annotations

import resource
import threading
from typing import TYPE_CHECKING

import pytest

from tests.engine.conftest import SWITCHED, Wire
from tests.engine.test_streaming import BLOCK, MIB, peak_of

if TYPE_CHECKING:
    from tests.engine.conftest import World

SIZE = 16 * MIB
MANY = 200
FILES = 6  # that an idle tunnel takes here at most: of client, proxy and upstream
SOON = 20.0  # seconds; the idle limit is 120


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("upgrade", [True, False], ids=["upgrade", "body"])
def test_much_through_tls_takes_little_memory(world: World, upgrade: bool, up: bool) -> None:
    """16 MiB, with TLS on both sides of the proxy, hold a few MiB at any time, and arrive as they were."""
    went: list[bool] = []
    head = SWITCHED if upgrade else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (0 if up else SIZE)

    def take(wire: Wire) -> None:
        went.append(all(wire.exactly(MIB) == BLOCK for _ in range(SIZE // MIB)))

    def give(wire: Wire) -> None:
        for _ in range(SIZE // MIB):
            wire.send(BLOCK)

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        if up and not upgrade:  # the answer comes after the body
            take(wire)
            wire.send(head)
        else:
            wire.send(head)
            take(wire) if up else give(wire)
        if up and upgrade:
            wire.send(b"!")
        wire.end()

    world.upstream(script, tls=True)
    client = world.client("tls")

    def work() -> None:
        if upgrade:
            client.upgrade()
            client.until(b"\r\n\r\n")
            give(client) if up else take(client)
            assert not up or client.exactly(1) == b"!"
        else:
            client.ask("PUT", "/", f"Content-Length: {SIZE if up else 0}")
            if up:
                give(client)
            client.until(b"\r\n\r\n")
            if not up:
                take(client)

    assert peak_of(work) < 12 * MIB
    assert went == [True]
    record = world.exchanges[0]
    sizes = record.request_size, record.response_size
    assert max(sizes) == sizes[0 if up else 1] == SIZE


def test_many_idle_tunnels_end_with_the_test(world: World) -> None:
    """Each is served, none is cut before; the end of the test cuts all of them, and the records say so."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = MANY if soft == resource.RLIM_INFINITY else min(MANY, (soft - 200) // FILES)
    assert count > 0, "hardly any files may be open here"
    arrived = threading.Semaphore(0)

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(SWITCHED)
        wire.send(wire.exactly(5))
        arrived.release()
        wire.end()

    world.upstream(script)
    clients = [world.client("tls") for _ in range(count)]
    for number, client in enumerate(clients):
        client.upgrade()
        client.until(b"\r\n\r\n")
        client.send(b"%05d" % number)
        assert client.exactly(5) == b"%05d" % number
    assert all(arrived.acquire(timeout=SOON) for _ in clients)
    assert [exchange.closed for exchange in world.exchanges] == [None] * count
    assert world.end() < SOON
    for client in clients:
        assert client.end() == b""
    assert {(exchange.closed, exchange.error) for exchange in world.exchanges} == {("test", None)}
    assert [tunnel.closed for tunnel in world.tunnels] == ["test"] * count
