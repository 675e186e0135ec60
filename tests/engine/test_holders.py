"""Facts about a port that changes hands: what was connected before belongs to whoever held it then."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from pytest_gatekeeper import Gatekeeper, Origin
from pytest_gatekeeper._proxy import listener as listener_module
from pytest_gatekeeper._proxy.thread import proxy_thread
from pytest_gatekeeper.gatekeeper import Listener, open_listener

ROUNDS = 40
CLIENTS = 12


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A port that several proxies hold in turn."""
    opened = open_listener()
    yield opened
    opened.close()


def test_what_was_sent_to_one_holder_never_reaches_the_next(listener: Listener) -> None:
    """Clients that connect and send just before the port changes hands: none of it is in the next one's recorder."""
    with Origin() as origin, contextlib.ExitStack() as stack:
        for number in range(ROUNDS):
            with Gatekeeper(listener=listener) as first:
                first.route("api.example.com", origin.url_for("http"))
                for client in range(CLIENTS):
                    sock = stack.enter_context(socket.create_connection((listener.host, listener.port), 10))
                    sock.sendall(
                        b"GET http://api.example.com/%d/%d HTTP/1.1\r\n" % (number, client)
                        + b"Host: api.example.com\r\n\r\n"
                    )
            with Gatekeeper(listener=listener) as second:
                second.route("api.example.com", origin.url_for("http"))
                second.add_credential("api.example.com", "t0k-of-the-second", grant="second")
            assert second.recorder.exchanges == ()
            assert second.recorder.late == ()
    assert not any(received.header("Authorization") for received in origin.received)


def test_what_is_sent_to_the_next_holder_reaches_it(listener: Listener) -> None:
    """The positive twin: a connection that is made once it holds the port."""
    with Origin() as origin:
        with Gatekeeper(listener=listener):
            pass
        with Gatekeeper(listener=listener) as second:
            second.route("api.example.com", origin.url_for("http"))
            with socket.create_connection((listener.host, listener.port), 10) as sock:
                sock.sendall(b"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
                assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert [exchange.path for exchange in second.recorder.exchanges] == ["/"]


def test_a_starved_loop_takes_in_what_came_before(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was connected belongs to whoever held the port, also where the time for taking it in is over at once."""
    monkeypatch.setattr(listener_module, "SETTLE_LIMIT", 0.0)
    with Gatekeeper(listener=listener) as first, contextlib.ExitStack() as stack:

        async def connect_and_release() -> None:
            for _ in range(CLIENTS):  # in one turn of the loop, which cannot accept any of them meanwhile
                stack.enter_context(socket.create_connection((listener.host, listener.port), 10))
            assert first._lease is not None
            await listener._inner.release(first._lease)

        proxy_thread().run(connect_and_release)
        with Gatekeeper(listener=listener) as second:
            assert (first.recorder.late, second.recorder.late) == ((), ())
