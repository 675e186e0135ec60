"""Happens-before: each time a client has its response, the record is there and complete, without a sleep anywhere.

Sixteen threads, each with a tunnel that it keeps, look into the recorder the moment they have a head, and again when
they have the last byte. `benchmarks/happens_before.py` does the same with a hundred thousand exchanges.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_gatekeeper import Exchange, Gatekeeper, Recorder
from tests.proof.conftest import KEY, TEXT, Wire, client_context, frame, rule

HOST = "api.example.com"
SECRET = "k7Q-s3cr3t_f9c2.xJ5v"
THREADS = 16

# What is asked, and what it is answered: method, request body, fields and body of the answer as they are on the wire,
# and the answer's body in bytes.
KINDS = (
    ("GET", b"", b"Content-Length: 2\r\n\r\nok", 2),
    ("POST", b"x" * 300, b"Content-Length: 0\r\n\r\n", 0),
    ("PUT", b"y", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", 7),
    ("DELETE", b"", b"Content-Length: 2000\r\n\r\n" + b"z" * 2000, 2000),
)
ANSWERS = {method.encode(): b"HTTP/1.1 200 OK\r\n" + answer for method, _, answer, _ in KINDS}


class Upstream(asyncio.Protocol):
    """Answers each request at once, by its method; echoes what follows an upgrade."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - asyncio's
        self.transport: Any = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:  # noqa: D102 - asyncio's
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, rest = self.data.partition(b"\r\n\r\n")
            if b"\r\nUpgrade: " in head:
                self.data = rest
                switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                self.transport.write(switched + b"\x81\x05hello")
                return
            method = head.split(b" ", 1)[0]
            size = next(len(body) for name, body, _, _ in KINDS if name.encode() == method)
            if len(rest) < size:
                return
            self.data = rest[size:]
            self.transport.write(ANSWERS[method])


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """An upstream with a loop and a thread of its own; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        opening = asyncio.run_coroutine_threadsafe(_server(loop), loop)
        server = opening.result(30)
        yield server.sockets[0].getsockname()[1]
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        assert not thread.is_alive()
        loop.close()


async def _server(loop: asyncio.AbstractEventLoop) -> asyncio.Server:
    return await loop.create_server(Upstream, "127.0.0.1", 0, backlog=64)


def own(recorder: Recorder, target: str) -> Exchange | None:
    """The exchange of a target, looked for from the last one on."""
    return next((exchange for exchange in reversed(recorder.exchanges) if exchange.target == target), None)


def at_head(exchange: Exchange | None) -> str:
    """What is missing when the client has the response head."""
    if exchange is None:
        return "the exchange is not there"
    if exchange.status not in (200, 101) or not exchange.response_headers:
        return f"its answer is not there: {exchange.status}"
    if [injection.secret == SECRET for injection in exchange.injections] != [True]:
        return f"its injection is not there: {exchange.injections}"
    return "" if exchange.upstream and exchange.tunnel is not None else "where it went is not there"


def at_end(exchange: Exchange, sizes: tuple[int, int]) -> str:
    """What is missing when the client has the last byte."""
    if (exchange.request_size, exchange.response_size) != sizes:
        return f"sizes are not final: {exchange.request_size}, {exchange.response_size}"
    done = exchange.closed == "upstream" and exchange.duration is not None and exchange.error is None
    return "" if done else f"it is not closed: {exchange.closed}, {exchange.error}"


def hammer(count: int, threads: int = THREADS, limit: float = 120.0) -> tuple[int, float]:
    """Make `count` exchanges over kept tunnels; how many were made, and in how many seconds.

    Raises AssertionError for the first record that was not there, or not complete, and when `limit` seconds are over.
    """
    wrong: list[BaseException | str] = []
    made = itertools.count()
    with upstream() as port, Gatekeeper(credentials=[rule(SECRET)], watch_bypass=False) as proxy:
        proxy.route(HOST, f"http://127.0.0.1:{port}")
        began = time.monotonic()

        def work(number: int) -> None:
            try:
                with proxy.connect(HOST) as raw, client_context().wrap_socket(raw, server_hostname=HOST) as sock:
                    wire = Wire(sock)
                    for turn in range(count // threads + (number < count % threads)):
                        if wrong or time.monotonic() - began > limit:
                            break
                        if problem := one(proxy.recorder, wire, f"/{number}/{turn}", turn):
                            wrong.append(f"/{number}/{turn}: {problem}")
                        next(made)
            except BaseException as error:  # noqa: BLE001 - told by the test's own thread
                wrong.append(error)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(limit + 20)
        took = time.monotonic() - began
        assert not wrong, wrong[0]
        assert not [worker for worker in workers if worker.is_alive()]
        complete(proxy.recorder, count, threads)
    return next(made), took


def one(recorder: Recorder, wire: Wire, target: str, turn: int) -> str:
    """One exchange; what was missing in its record when the client had what tells it that it is there."""
    method, body, answer, size = KINDS[turn % len(KINDS)]
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    wire.send(f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{length}\r\n".encode() + body)
    wire.until(b"\r\n\r\n")
    exchange = own(recorder, target)
    if exchange is None or (problem := at_head(exchange)):
        return "the exchange is not there" if exchange is None else problem
    rest = answer.partition(b"\r\n\r\n")[2]
    if wire.exactly(len(rest)) != rest:
        return "the answer is not what was sent"
    return at_end(exchange, (len(body), size))


def complete(recorder: Recorder, count: int, threads: int) -> None:
    """Every exchange is there once, in the order in which its tunnel asked."""
    exchanges = recorder.exchanges
    assert len(exchanges) == len({exchange.target for exchange in exchanges}) == count
    assert [exchange.id for exchange in exchanges] == list(range(1, count + 1))
    assert len(recorder.tunnels) == threads
    for tunnel in recorder.tunnels:
        assert [exchange.target.rpartition("/")[2] for exchange in tunnel.exchanges] == [
            str(turn) for turn in range(len(tunnel.exchanges))
        ]
    assert len(recorder.assert_injected(HOST, value=SECRET)) == count
    assert len(recorder.assert_no_leaks("any")) == count


def test_five_thousand_exchanges_over_sixteen_threads() -> None:
    """Each of them was there when its client had the head, and complete when it had the end."""
    made, _ = hammer(5000)
    assert made == 5000


def test_the_check_can_fail() -> None:
    """It sees a record that is not there, has no answer, no injection, or is not closed."""
    assert at_head(None) == "the exchange is not there"
    exchange = Exchange(1, "GET", "https", HOST, 443, "/")
    assert "its answer is not there" in at_head(exchange)
    exchange.status, exchange.response_headers = 200, (("A", "b"),)
    assert "its injection is not there" in at_head(exchange)
    assert "sizes are not final" in at_end(exchange, (0, 2))
    assert "it is not closed" in at_end(exchange, (0, 0))


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "plain"])
def test_upgrades_are_there_with_their_101(secure: bool) -> None:
    """When the client has the 101 the upgrade is in the recorder, upgraded and injected; 300 of them."""
    with upstream() as port, Gatekeeper(credentials=[rule(SECRET)], watch_bypass=False) as proxy:
        proxy.route(HOST, f"http://127.0.0.1:{port}")
        for turn in range(300):
            raw: socket.socket = proxy.connect(HOST, 443 if secure else 80)
            with client_context().wrap_socket(raw, server_hostname=HOST) if secure else raw as sock:
                wire = Wire(sock)
                head = f"GET /{turn} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                wire.send(head.encode())
                wire.until(b"\r\n\r\n")
                exchange = own(proxy.recorder, f"/{turn}")
                assert at_head(exchange) == ""
                assert exchange is not None and exchange.upgraded and exchange.scheme == ("wss" if secure else "ws")
                assert wire.exactly(7) == b"\x81\x05hello"
                assert exchange.response_size == 7
                wire.send(frame(TEXT, KEY, mask=True))
        assert len(proxy.recorder.assert_upgraded(HOST, injected=True, times=300)) == 300
