"""Credentials in the wrong place, attack by attack: by header and by value (hosts are in `test_wrong_host.py`).

Each attack is made by a plain request, a request in a tunnel, and an upgrade in either, with a twin beside it that
differs in the attack alone: a proxy that injects nothing, or finds everything, passes none of these.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from pytest_gatekeeper import Config, ConfigError, Gatekeeper, GatekeeperError
from tests.proof.conftest import API, SWITCHED, TEXT, WEB, Bench, Way, fragments, frame, is_upgrade, rule, ways

SECRET = "k7Q-s3cr3t_f9c2.xJ5v"  # may stand in any field
UPGRADES = pytest.mark.parametrize("way", ["upgrade", "plain upgrade"])
TUNNELS = pytest.mark.parametrize("way", ["tunnel", "upgrade"])
OPEN = pytest.mark.parametrize("way", ["plain", "plain upgrade"])


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """`api.example.com` gets a bearer token."""
    return make_bench(credentials=[rule(SECRET, header="Authorization")])


BEARER = f"Bearer {SECRET}"


# ------------------------------------------------------------------ by the inner Host instead of the tunnel's target


@TUNNELS
def test_inner_host_of_a_tunnel(bench: Bench, way: Way) -> None:
    """A tunnel to another host with our Host inside gets nothing, nor does ours with another Host; ours alone does."""
    for host, named in ((WEB, API), (API, WEB), (API, f"{API}.example.org"), (API, f"evil-{API}")):
        visit = bench.visit(way, host, named=named)
        assert visit.request.all("authorization") == []
        assert visit.request.all("host") == [named]
        assert [violation.kind for violation in visit.record.violations] == ["inner-host"]
        assert (visit.record.host, visit.record.injections) == (host, ())
    for named in (API, API.upper(), f"{API}:443"):
        visit = bench.visit(way, named=named)
        assert visit.request.all("authorization") == [BEARER]
        assert visit.record.violations == ()


@OPEN
def test_inner_host_of_a_url(bench: Bench, way: Way) -> None:
    """Over plain HTTP the URL says whom it is for, and is what the upstream gets as Host, whatever the Host says."""
    visit = bench.visit(way, WEB, named=API)
    assert (visit.request.all("host"), visit.request.all("authorization")) == ([WEB], [])
    visit = bench.visit(way, API, named=WEB)
    assert (visit.request.all("host"), visit.request.all("authorization")) == ([API], [BEARER])


@TUNNELS
@pytest.mark.parametrize("url", [f"https://{API}/", f"http://{API}:443/"])
def test_inner_absolute_target(bench: Bench, way: Way, url: str) -> None:
    """A whole URL in a tunnel to another host gets nothing; in the tunnel to its own host it does."""
    for host, sent in ((WEB, []), (API, [BEARER])):
        head = bench.head(way, host).replace(b"GET / ", f"GET {url} ".encode())
        request = bench.asked(way, host, head)[1].message()
        assert request.all("authorization") == sent
        assert request.all("host") == [url.split("/")[2]]
    assert [len(exchange.violations) for exchange in bench.recorder.exchanges] == [1, 0]


# ------------------------------------------------------------------ Connection: close, authorization


@ways
def test_connection_names_the_injected_header(bench: Bench, way: Way) -> None:
    """The client cannot have it removed; its own fields that it names so are, and stay where it does not name them."""
    connection = "Connection: authorization" if is_upgrade(way) else "Connection: close, authorization"
    for own in ((), ("Authorization: Bearer mine",)):
        visit = bench.visit(way, API, "/", connection, *own)
        assert visit.request.all("authorization") == [BEARER]
        assert [injection.header for injection in visit.record.injections] == ["Authorization"]
    mine = "Authorization: Bearer mine"
    assert bench.visit(way, WEB, "/", connection, mine).request.all("authorization") == []
    assert bench.visit(way, WEB, "/", mine).request.all("authorization") == ["Bearer mine"]


# ------------------------------------------------------------------ look everywhere by value, not by header name


@ways
@pytest.mark.parametrize(
    ("path", "field", "place"),
    [
        ("/", "Sec-WebSocket-Protocol: chat, {}", "header Sec-WebSocket-Protocol"),
        ("/", "Cookie: theme=dark; session={}", "header Cookie"),
        ("/?token={}&v=1", "", "target"),
        ("/v1/{}/items", "", "target"),
        ("/", "Referer: https://api.example.com/?key={}", "header Referer"),
        ("/", "X-Forwarded-User: {}", "header X-Forwarded-User"),
        ("/", "Proxy-Connection: {}", "header Proxy-Connection"),
    ],
)
def test_secrets_travel_anywhere(bench: Bench, way: Way, path: str, field: str, place: str) -> None:
    """The value is found wherever it is sent, on its own host too; another value in the same place is not."""
    for host, value, leaks in ((WEB, SECRET[::-1], 0), (WEB, SECRET, 1), (API, SECRET, 2)):
        bench.visit(way, host, path.format(value), *([field.format(value)] if field else []))
        assert len(bench.recorder.leaks) == leaks
    assert {(leak.place, leak.direction, leak.client_held) for leak in bench.recorder.leaks} == {
        (place, "upstream", False)
    }
    with pytest.raises(AssertionError, match="2 leaks sent upstream"):
        bench.recorder.assert_no_leaks()
    assert SECRET not in bench.recorder.describe()


@UPGRADES
def test_secrets_travel_in_first_frames(bench: Bench, way: Way) -> None:
    """`{"token": …}` right after the 101; a frame without it is none."""
    visit = bench.visit(way, WEB, "/socket")
    for payload, leaks in ((b'{"token": "none"}', 0), (b'{"token": "%b"}' % SECRET.encode(), 1)):
        data = frame(TEXT, payload, mask=True)
        visit.client.send(data)
        assert visit.server.exactly(len(data)) == data
        assert len(bench.recorder.leaks) == leaks
    assert (bench.leak.place, bench.leak.offset) == ("message 2", len('{"token": "'))


@UPGRADES
def test_a_subprotocol_that_is_echoed(bench: Bench, way: Way) -> None:
    """A server that selects the subprotocol that is a token sends it back: both are told, and no record shows it."""
    field = f"Sec-WebSocket-Protocol: {SECRET}"
    visit = bench.visit(way, WEB, "/", field, reply=[field])
    assert [leak.direction for leak in bench.recorder.leaks] == ["upstream", "client"]
    assert visit.answer.all("sec-websocket-protocol") == [SECRET]
    assert visit.record.subprotocol is not None and SECRET not in visit.record.subprotocol
    plain = "Sec-WebSocket-Protocol: chat"
    assert bench.visit(way, WEB, "/", plain, reply=[plain]).record.subprotocol == "chat"
    assert len(bench.recorder.leaks) == 2


# ------------------------------------------------------------------ upstreams echo secrets


def echoed(bench: Bench, count: int) -> None:
    """So many leaks have come back and nothing was sent: the default assertion holds, the others say how many."""
    assert [leak.direction for leak in bench.recorder.leaks] == ["client"] * count
    bench.recorder.assert_no_leaks()
    for direction in ("client", "any"):
        if count:
            with pytest.raises(AssertionError, match=rf"{count} leaks?"):
                bench.recorder.assert_no_leaks(direction)
        else:
            bench.recorder.assert_no_leaks(direction)


@ways
def test_upstreams_echo_in_headers(bench: Bench, way: Way) -> None:
    """Of a 200 or of the 101, where what was injected is sent back; without that there is none."""
    bench.visit(way, reply=["X-Echo: nothing"])
    echoed(bench, 0)
    visit = bench.visit(way, reply=[f"X-Echo: {BEARER}"])
    echoed(bench, 1)
    assert bench.leak.place == "header X-Echo"
    assert visit.answer.all("x-echo") == [BEARER]
    assert SECRET not in repr(visit.record.response_headers)


def ask(bench: Bench, way: Way) -> tuple[Callable[..., None], Callable[[int], bytes], Callable[[], bytes]]:
    """A request with the credential that waits for its answer: upstream's `send`, client's `exactly`, client's head."""
    client, server = bench.asked(way, API, bench.head(way, API))
    assert server.message().all("authorization") == [BEARER]
    return server.send, client.exactly, lambda: client.until(b"\r\n\r\n")


@ways
def test_upstreams_echo_in_gzip_bodies(bench: Bench, way: Way) -> None:
    """A body that does not show the value as it is: that of an answer, and of an upgrade's refusal."""
    for count, value in enumerate((SECRET[::-1], SECRET)):
        body = gzip.compress(b'{"authorization": "Bearer %b"}' % value.encode())
        assert value.encode() not in body
        send, exactly, head = ask(bench, way)
        fields = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        send(b"HTTP/1.1 403 Forbidden\r\n" + fields, body)
        assert head().startswith(b"HTTP/1.1 403")
        assert exactly(len(body)) == body
        echoed(bench, count)
    assert bench.leak.place == "body"


@ways
@pytest.mark.parametrize("at", range(1, len(SECRET), 4))
def test_upstreams_echo_in_events_that_are_cut(bench: Bench, way: Way, at: int) -> None:
    """An event stream whose pieces end inside the value; the client has each piece before the next one is sent."""
    for count, value in enumerate((SECRET[::-1].encode(), SECRET.encode())):
        send, exactly, head = ask(bench, way)
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert head().startswith(b"HTTP/1.1 200")
        for piece in (b"data: " + value[:at], value[at:] + b"\n\n"):
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
            send(chunk)
            assert exactly(len(chunk)) == chunk
        echoed(bench, count)
    assert (bench.leak.place, bench.leak.offset) == ("body", len("data: "))


@UPGRADES
@pytest.mark.parametrize("at", range(1, len(SECRET), 4))
def test_upstreams_echo_in_two_fragments(bench: Bench, way: Way, at: int) -> None:
    """A message in two frames, each of them held by the client before the other is sent."""
    visit = bench.visit(way)
    for count, value in enumerate((SECRET[::-1].encode(), SECRET.encode())):
        for data in fragments(TEXT, [b"you: " + value[:at], value[at:]], mask=False):
            visit.server.send(data)
            assert visit.client.exactly(len(data)) == data
        echoed(bench, count)
    assert (bench.leak.place, bench.leak.offset) == ("message 2", len("you: "))


# ------------------------------------------------------------------ a trailing newline in a secret

SPOILED = [SECRET + "\n", SECRET + "\r\n", SECRET[:5] + "\0" + SECRET[5:], "\x1b" + SECRET]


def from_file(value: str) -> Gatekeeper:
    text = f"credentials:\n- {{host: {API}, source: {{type: static, value: {json.dumps(value)}}}}}\n"
    return Gatekeeper(Config.parse(text.encode(), "gatekeeper.yaml"))


def from_environment(value: str) -> Gatekeeper:
    return Gatekeeper(credentials=[{"host": API, "source": {"type": "env", "var": "PROOF_TOKEN"}}])


def from_mapping(value: str) -> Gatekeeper:
    return Gatekeeper(credentials=[rule(value)])


def added(value: str) -> Gatekeeper:
    proxy = Gatekeeper()
    proxy.add_credential(API, value)
    return proxy


@pytest.mark.parametrize("make", [from_file, from_environment, from_mapping, added])
@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_newline_in_a_secret_is_refused_at_load(
    make: Callable[[str], Gatekeeper], spoiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule and the position are named, never the value; the same value without it loads, tabs and spaces too."""
    if "\0" not in spoiled:  # no variable can hold it
        monkeypatch.setenv("PROOF_TOKEN", spoiled)
        with pytest.raises(GatekeeperError) as caught:
            make(spoiled)
        text = str(caught.value)
        assert isinstance(caught.value, ConfigError)
        assert "credentials[0]" in text or "added[0]" in text
        assert f"U+{next(ord(c) for c in spoiled if ord(c) < 32):04X}" in text
        assert API in text
        assert not [part for part in (SECRET, SECRET[:5], SECRET[5:]) if part in repr(caught.value) + text]
        assert SECRET not in repr(caught.value.__cause__) + repr(caught.value.__context__)
    for sound in (SECRET, f" {SECRET}\t"):
        monkeypatch.setenv("PROOF_TOKEN", sound)
        make(sound).close()


@ways
def test_a_value_that_loads_arrives(make_bench: Callable[..., Bench], way: Way) -> None:
    """White space at its ends is not sent; so what is refused above is refused for its newline."""
    bench = make_bench(credentials=[rule(f" {SECRET} ")])
    assert bench.visit(way).request.all("x-token") == [SECRET]


# ------------------------------------------------------------------ the client's own credential


@ways
def test_the_own_credential_is_replaced_never_merged(bench: Bench, way: Way) -> None:
    """One field with one value, however often and however spelled the client sent its own; other fields stay."""
    own = ["authorization: Bearer mine", "AUTHORIZATION: Basic bWluZQ==", "X-Other: mine", "Authorization:"]
    for fields in (own, own[1:], own[2:], ["Authorization: Bearer mine, Bearer two"]):
        visit = bench.visit(way, API, "/", *fields)
        assert visit.request.all("authorization") == [BEARER]
        assert b"mine" not in visit.request.raw.replace(b"X-Other: mine", b"")
        assert visit.request.all("x-other") == (["mine"] if "X-Other: mine" in fields else [])
    visit = bench.visit(way, WEB, "/", *own)
    assert visit.request.all("authorization") == ["Bearer mine", "Basic bWluZQ==", ""]
    bench.recorder.assert_injected(API, value=SECRET, times=4)
    bench.recorder.assert_not_injected(WEB)


@UPGRADES
def test_a_refused_upgrade_has_had_the_credential(bench: Bench, way: Way) -> None:
    """It was sent, so it is told, whatever the answer was; a 101 of the same host is the twin."""
    send, _, head = ask(bench, way)
    send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    assert head().startswith(b"HTTP/1.1 401")
    send, _, head = ask(bench, way)
    send(SWITCHED + b"\r\n")
    assert head().startswith(b"HTTP/1.1 101")
    bench.recorder.assert_injected(API, upgrade=True, times=2)
    bench.recorder.assert_upgraded(API, injected=True, times=1)
