"""Secrets that become known while a conversation is under way: a rule that is added, a credential that is refreshed.

A WebSocket lives as long as a test, and a test adds its rules when it likes. What was open before is looked into from
then on, with all that its frames and its compression remember; what had passed by then is not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest

from tests.proof.conftest import API, TEXT, VALUE, WEB, Bench, Way, Wire, frame, rule

UPGRADES = pytest.mark.parametrize("way", ["upgrade", "plain upgrade"])
BODIES = pytest.mark.parametrize("way", ["plain", "tunnel"])
OTHER = "some-other-s3cret-0123"
RULES = pytest.mark.parametrize("rules", [[], [rule(OTHER)]], ids=["no rule before", "another rule before"])
LATER = pytest.mark.parametrize("known", [True, False], ids=["known later", "never known"])


def passed(source: Wire, sink: Wire, data: bytes) -> None:
    """Send bytes through the proxy, and see them arrive as they are."""
    source.send(data)
    assert sink.exactly(len(data)) == data


@UPGRADES
@RULES
@LATER
def test_in_a_websocket(make_bench: Callable[..., Bench], way: Way, rules: list[object], known: bool) -> None:
    """It is found in the messages that come afterwards, also in one that had begun, in either direction."""
    bench = make_bench(credentials=rules)
    visit = bench.visit(way, WEB)
    passed(visit.client, visit.server, frame(TEXT, VALUE.encode(), mask=True))
    begun = frame(TEXT, f"{'.' * 300}{VALUE}".encode(), mask=True)
    passed(visit.client, visit.server, begun[:200])
    if known:
        bench.proxy.add_credential(API, VALUE, header="X-Token", grant="api")
    passed(visit.client, visit.server, begun[200:])
    passed(visit.server, visit.client, frame(TEXT, VALUE.encode()))
    found = [(leak.direction, leak.place, leak.offset, leak.count) for leak in bench.recorder.leaks]
    assert found == ([("upstream", "message 2", 300, 1), ("client", "message 1", 0, 1)] if known else [])


@UPGRADES
@RULES
@LATER
def test_in_a_compressed_websocket(
    make_bench: Callable[..., Bench], way: Way, rules: list[object], known: bool
) -> None:
    """Also where the message refers to an earlier one for it (RFC 7692 section 7.2.3.2)."""
    bench = make_bench(credentials=rules)
    visit = bench.visit(way, WEB, reply=["Sec-WebSocket-Extensions: permessage-deflate"])
    packer = zlib.compressobj(wbits=-15)

    def message() -> bytes:
        packed = (packer.compress(VALUE.encode()) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        return frame(TEXT, packed, rsv1=True, mask=True)

    first = message()
    passed(visit.client, visit.server, first)
    if known:
        bench.proxy.add_credential(API, VALUE, header="X-Token", grant="api")
    second = message()
    assert len(second) < len(first)
    passed(visit.client, visit.server, second)
    found = [(leak.direction, leak.place) for leak in bench.recorder.leaks]
    assert found == ([("upstream", "message 2")] if known else [])


@BODIES
@LATER
def test_in_a_body(make_bench: Callable[..., Bench], way: Way, known: bool) -> None:
    """It is found in what comes of a body afterwards."""
    bench = make_bench(credentials=[rule(OTHER)])
    head = bench.head(way, WEB, fields=["Content-Length: 1000"], method="POST")
    client, server = bench.asked(way, WEB, head + b"." * 500)
    server.until(b"\r\n\r\n")
    assert server.exactly(500) == b"." * 500
    if known:
        bench.proxy.add_credential(API, VALUE, header="X-Token", grant="api")
    passed(client, server, VALUE.encode().rjust(500, b"."))
    server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.message().status == 204
    found = [(leak.direction, leak.place, leak.offset) for leak in bench.recorder.leaks]
    assert found == ([("upstream", "body", 1000 - len(VALUE))] if known else [])


@UPGRADES
def test_a_value_that_is_known_for_longer_is_one_leak(bench: Bench, way: Way) -> None:
    """Another rule beside it does not make a second leak of it, but for a place of its own."""
    visit = bench.visit(way, WEB)
    twice = frame(TEXT, f"{VALUE} and {VALUE}".encode(), mask=True)
    passed(visit.client, visit.server, twice[:40])
    bench.proxy.add_credential(WEB, OTHER, header="X-Other", grant="other")
    passed(visit.client, visit.server, twice[40:])
    assert (bench.leak.place, bench.leak.count, bench.leak.grant) == ("message 1", 2, "api")
