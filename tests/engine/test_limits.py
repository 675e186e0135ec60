"""Facts about what the proxy bounds: connections at once, header fields, and what a recorder keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gatekeeper._core.folding import Folding
from pytest_gatekeeper._core.records import Exchange, Tunnel
from pytest_gatekeeper._proxy.lease import Limits
from pytest_gatekeeper._proxy.wire import MAX_FIELDS
from pytest_gatekeeper.recorder import Recorder
from tests.engine.conftest import OK


def test_more_connections_than_may_be_are_answered_503(make_world: Callable[..., Any]) -> None:
    """The first ones are served, the next is told why; as soon as one has left there is room again."""
    world = make_world(limits=Limits(connections=2))
    world.serve(OK)
    kept = [world.client("tls") for _ in range(2)]
    assert kept[0].do("GET", "/").status == 200
    refused = world.connect()
    refused.sendall(b"CONNECT ws.example.com:443 HTTP/1.1\r\nHost: ws.example.com:443\r\n\r\n")
    assert refused.recv(65536).startswith(b"HTTP/1.1 503 ")
    (record,) = [tunnel for tunnel in world.tunnels if tunnel.status == 503]
    assert "2 connections at once" in record.error
    kept[0].sock.close()
    world.wait_for(lambda: [tunnel for tunnel in world.tunnels if tunnel.status == 200 and tunnel.closed])
    assert world.client("tls").do("GET", "/").status == 200


@pytest.mark.parametrize(("count", "status"), [(MAX_FIELDS - 10, 200), (MAX_FIELDS, 431)])
def test_header_fields_are_bounded(make_world: Callable[..., Any], count: int, status: int) -> None:
    """As many as may be are forwarded, more are refused."""
    world = make_world()
    world.serve(OK)
    assert world.client("tls").do("GET", "/", *["X-A: b"] * count).status == status


def exchange(id: int) -> Exchange:
    """An exchange that has ended."""
    made = Exchange(id, "GET", "https", "api.example.com", 443, "/")
    made.headers = made.forwarded_headers = made.response_headers = (("X-A", "b"),)
    made.closed = "upstream"
    return made


def test_the_oldest_exchanges_give_up_their_fields() -> None:
    """Those that have ended, beyond the bound; one that still runs keeps them until its turn comes again."""
    folding = Folding(whole=3)
    made = [exchange(id) for id in range(8)]
    made[0].closed = None
    for one in made:
        folding.arrived(one)
    assert [one.folded for one in made] == [False, True, True, True, False, False, False, False]
    assert made[1].headers == made[1].forwarded_headers == made[1].response_headers == ()
    assert made[4].headers == (("X-A", "b"),)


def test_a_recorder_folds_and_forgets_no_exchange() -> None:
    """Ten thousand keep their fields, all are still there; telling of a change folds nothing more."""
    recorder = Recorder()
    made = [exchange(id) for id in range(10_050)]
    for one in made:
        recorder.accept(one)
        recorder.accept(one)
    recorder.accept(Tunnel(1, "api.example.com", 443))
    assert recorder.exchanges == tuple(made)
    assert [one.folded for one in made] == [True] * 50 + [False] * 10_000
