"""What counts as a leak and what does not: each case beside the one that differs from it in what matters."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable

import pytest

from pytest_gatekeeper import Config, Gatekeeper
from pytest_gatekeeper._core.scope import finding_facts, merge_findings, render
from tests.proof.conftest import (
    API,
    SWITCHED,
    TEXT,
    VALUE,
    WAYS,
    WEB,
    Bench,
    Way,
    facts,
    fragments,
    frame,
    is_upgrade,
    rule,
    ways,
)

OTHER = "an0ther-secret-value-7c1d"
IN_TUNNELS = pytest.mark.parametrize("way", ["tunnel", "upgrade"])


def places(bench: Bench) -> list[tuple[str, str, int]]:
    """Direction, place and count of each leak."""
    return [(leak.direction, leak.place, leak.count) for leak in bench.recorder.leaks]


# ------------------------------------------------------------------ the credential in its own place


@ways
def test_the_injected_credential_is_no_leak(bench: Bench, way: Way) -> None:
    """It reached its host, by the proxy; the same value sent by the client in another field is one, there as well."""
    assert bench.visit(way).request.all("x-token") == [VALUE]
    assert bench.recorder.leaks == ()
    assert len(bench.recorder.assert_no_leaks("any")) == 1
    assert bench.visit(way, API, "/", f"X-Copy: {VALUE}").request.all("x-token") == [VALUE]
    assert places(bench) == [("upstream", "header X-Copy", 1)]
    with pytest.raises(AssertionError, match="1 leak sent upstream"):
        bench.recorder.assert_no_leaks()


@ways
def test_what_the_client_holds_is_told_and_fails_nothing(bench: Bench, way: Way) -> None:
    """Its own credential in the header that is replaced never gets upstream; without a rule it does, and is a leak."""
    assert bench.visit(way, API, "/", f"X-Token: {VALUE}").request.all("x-token") == [VALUE]
    assert (bench.leak.client_held, bench.leak.place) == (True, "header X-Token")
    assert len(bench.recorder.assert_no_leaks()) == 1
    assert bench.visit(way, WEB, "/", f"X-Token: {VALUE}").request.all("x-token") == [VALUE]
    assert [leak.client_held for leak in bench.recorder.leaks] == [True, False]
    with pytest.raises(AssertionError, match="1 leak sent upstream"):
        bench.recorder.assert_no_leaks()


@ways
def test_a_value_of_another_proxy_is_no_leak(make_bench: Callable[..., Bench], way: Way) -> None:
    """Each proxy looks for its own secrets alone; the value is one where it is known."""
    one, other = make_bench(), make_bench(credentials=[rule(OTHER)])
    one.visit(way, WEB, f"/?a={OTHER}")
    assert (one.recorder.leaks, other.recorder.leaks) == ((), ())
    other.visit(way, WEB, f"/?a={OTHER}")
    assert other.leak.secret == OTHER
    assert one.recorder.leaks == ()


@ways
@pytest.mark.parametrize(("value", "found"), [("s3cr3t7", 0), ("s3cr3t78", 1)])
def test_short_secrets_are_not_scanned(make_bench: Callable[..., Bench], way: Way, value: str, found: int) -> None:
    """Seven characters would be met where they are not; eight are looked for. Both are injected."""
    bench = make_bench(credentials=[rule(value)])
    bench.visit(way, WEB, f"/?a={value}")
    assert len(bench.recorder.leaks) == found
    assert bench.visit(way).request.all("x-token") == [value]


# ------------------------------------------------------------------ how often, whose, where


@ways
def test_one_leak_for_each_exchange_place_and_secret(make_bench: Callable[..., Bench], way: Way) -> None:
    """Counted: twice in one place is one leak of two, at the first offset; elsewhere, and next time, it is another."""
    bench = make_bench(credentials=[rule(), rule(OTHER, "two.example.com", grant="two")])
    bench.visit(way, WEB, "/", f"X-A: {VALUE}, {VALUE}", f"X-B: b {OTHER} {VALUE}")
    bench.visit(way, WEB, "/", f"X-A: {VALUE}")
    told = [(leak.exchange.id, leak.grant, leak.place, leak.offset, leak.count) for leak in bench.recorder.leaks]
    assert told == [
        (1, "api", "header X-A", 0, 2),
        (1, "two", "header X-B", 2, 1),
        (1, "api", "header X-B", 3 + len(OTHER), 1),
        (2, "api", "header X-A", 0, 1),
    ]


@ways
def test_of_rules_that_share_a_value_the_covering_one_is_named(make_bench: Callable[..., Bench], way: Way) -> None:
    """Where one covers the host; else the first."""
    bench = make_bench(credentials=[rule(), rule(host="two.example.com", grant="two")])
    for host in ("two.example.com", WEB):
        bench.visit(way, host, "/", f"X-Copy: {VALUE}")
    assert [(leak.rule, leak.grant) for leak in bench.recorder.leaks] == [
        ("credentials[1]", "two"),
        ("credentials[0]", "api"),
    ]


@ways
def test_a_token_is_found_without_its_scheme(make_bench: Callable[..., Bench], way: Way) -> None:
    """A source that gives `Bearer TOKEN` has TOKEN for its secret; and what `Basic` makes of a pair shows it, too."""
    bench = make_bench(credentials=[rule(f"Bearer {OTHER}", header="Authorization")])
    bench.visit(way, WEB, f"/?access_token={OTHER}")
    pair = base64.b64encode(f"user:{OTHER}".encode()).decode()
    bench.visit(way, WEB, "/", f"Authorization: Basic {pair}")
    assert places(bench) == [("upstream", "target", 1), ("upstream", "header Authorization", 1)]


@ways
def test_a_credential_that_is_added_later_is_looked_for(bench: Bench, way: Way) -> None:
    """From the next exchange on; before, nobody could know."""
    bench.visit(way, WEB, f"/?a={OTHER}")
    assert bench.recorder.leaks == ()
    bench.proxy.add_credential("late.example.com", OTHER, grant="late")
    bench.visit(way, WEB, f"/?a={OTHER}")
    assert (bench.leak.grant, bench.leak.exchange.id) == ("late", 2)


@ways
def test_a_field_that_is_named_like_a_secret(make_bench: Callable[..., Bench], way: Way) -> None:
    """The name is a place, too, and no place shows a value."""
    bench = make_bench(credentials=[rule(OTHER)])
    bench.visit(way, WEB, "/", f"{OTHER}: {OTHER}")
    assert places(bench) == [("upstream", "header name", 1), ("upstream", "header value", 1)]
    assert OTHER not in bench.recorder.describe()


# ------------------------------------------------------------------ ways that are easily forgotten


@IN_TUNNELS
def test_a_request_that_is_sent_again_is_scanned_once(bench: Bench, way: Way) -> None:
    """A kept connection that had ended makes the proxy repeat a request: it is one exchange, with one sighting."""
    client, server = bench.asked(way, WEB, bench.head("tunnel", WEB))
    server.message()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.message().body == b"ok"
    client.send(bench.head(way, WEB, f"/?a={VALUE}"))
    assert VALUE in server.message().target
    server.close()  # before any answer
    again = bench.accept(way, WEB)
    assert VALUE in again.message().target
    again.send(SWITCHED + b"\r\n" if is_upgrade(way) else b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.message().status in {101, 204}
    assert places(bench) == [("upstream", "target", 1)]
    assert bench.leak.exchange is bench.recorder.exchanges[1]


@pytest.mark.parametrize("way", ["upgrade", "plain upgrade"])
def test_frames_that_come_with_the_head(bench: Bench, way: Way) -> None:
    """A first frame glued to the request, sent before the 101, and one in the segment of the 101 are looked at."""
    early, glued = frame(TEXT, b"a " + VALUE.encode(), mask=True), frame(TEXT, b"bc " + VALUE.encode())
    client, server = bench.asked(way, WEB, bench.head(way, WEB, "/socket") + early)
    server.message()
    server.send(SWITCHED + b"\r\n" + glued)
    assert client.message().status == 101
    assert (server.exactly(len(early)), client.exactly(len(glued))) == (early, glued)
    assert sorted((leak.direction, leak.place, leak.offset) for leak in bench.recorder.leaks) == [
        ("client", "message 1", 3),
        ("upstream", "message 1", 2),
    ]


@ways
@pytest.mark.parametrize("status", [200, 401, 503])
def test_answers_that_are_no_101(bench: Bench, way: Way, status: int) -> None:
    """An interim answer and a refusal, of an upgrade as of a request, are looked at like any other."""
    client, server = bench.asked(way, API, bench.head(way, API))
    assert server.message().all("x-token") == [VALUE]
    body = b"you sent " + VALUE.encode()
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: <%b>\r\n\r\n" % VALUE.encode())
    server.send(b"HTTP/1.1 %d Status\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
    assert client.message().status == 103
    assert client.message().body == body
    assert places(bench) == [("client", "header Link", 1), ("client", "body", 1)]


@ways
def test_a_request_that_is_refused_sent_nothing(make_bench: Callable[..., Bench], way: Way) -> None:
    """So nothing can have leaked by it; where policy lets the same request through, it has."""
    with_policy = make_bench(config=_strict())
    answer = with_policy.refused(way, WEB, f"/?a={VALUE}")
    assert answer.status == 407
    assert with_policy.recorder.leaks == ()
    bench = make_bench()
    bench.visit(way, WEB, f"/?a={VALUE}")
    assert bench.leak.place == "target"


def _strict() -> Config:
    return Config.parse(b"network: {policy: strict, allow: [api.example.com]}", "gatekeeper.yaml")


@pytest.mark.parametrize("way", ["upgrade", "plain upgrade"])
def test_each_message_is_a_place(bench: Bench, way: Way) -> None:
    """Message by message, in both directions; the one between them that holds half of the value is none."""
    visit = bench.visit(way, WEB, "/socket")
    half = VALUE[:9].encode()
    for sender, receiver, mask in ((visit.client, visit.server, True), (visit.server, visit.client, False)):
        for payload in (VALUE.encode(), half, VALUE[9:].encode(), b"x" + VALUE.encode()):
            data = frame(TEXT, payload, mask=mask)
            sender.send(data)
            assert receiver.exactly(len(data)) == data
        split = fragments(TEXT, [half, VALUE[9:].encode()], mask=mask)
        sender.send(*split)
        assert receiver.exactly(len(b"".join(split))) == b"".join(split)
    assert [facts(leak)["place"] for leak in bench.recorder.leaks] == ["message 1", "message 4", "message 5"] * 2
    assert [leak.direction for leak in bench.recorder.leaks] == ["upstream"] * 3 + ["client"] * 3


def test_every_way_is_a_way() -> None:
    """What is parametrised over them covers requests and upgrades, in the open and in a tunnel."""
    assert {(is_upgrade(way), way.startswith("plain")) for way in WAYS} == {
        (False, True), (False, False), (True, True), (True, False),
    }  # fmt: skip
    assert Gatekeeper().recorder.leaks == ()


# ------------------------------------------------------------------ what cannot be looked into


@pytest.mark.parametrize("way", ["plain", "tunnel"])
@pytest.mark.parametrize(("coding", "unscanned"), [("s3cret-coding", 1), ("gzip", 0)])
def test_a_body_that_cannot_be_looked_into_is_told(bench: Bench, way: Way, coding: str, unscanned: int) -> None:
    """Of what is sent upstream, by exchange; one that can is not, and what an upstream sends back fails nothing."""
    body = gzip.compress(b"nothing")
    fields = (f"Content-Encoding: {coding}", f"Content-Length: {len(body)}")
    client, server = bench.asked(way, WEB, bench.head(way, WEB, fields=fields, method="PUT") + body)
    assert server.message().body == body
    server.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: odd\r\nContent-Length: 2\r\n\r\nok")
    assert client.message().body == b"ok"
    (exchange,) = bench.recorder.exchanges
    assert exchange.unscanned == ("body: its Content-Encoding is not known",) * unscanned
    assert bench.recorder.assert_no_leaks("any") == (exchange,)
    (told,) = [finding_facts([exchange], (), (), "test_a")]
    line = f"PUT {exchange.url}, body: its Content-Encoding is not known"
    assert told == [{"kind": "unscanned", "text": line, "test": "test_a"}] * unscanned
    assert render([], 200, merge_findings(told))[1:] == [
        "leaks 0, violations 0, bypasses 0, cleartext injections 0",
        *[f"unscanned: {line} [test_a]"] * unscanned,
    ]
