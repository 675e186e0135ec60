"""Credentials in the wrong place, attack by attack: hosts that look like ours, addresses in disguise, redirects."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
import websockets

from pytest_gatekeeper import Config
from tests.conftest import in_a_loop
from tests.proof.conftest import Bench, Way, is_secure, is_upgrade, rule, upstream_authority, ways

if TYPE_CHECKING:
    from pytest_gatekeeper import Gatekeeper, Origin

SECRET = "k7Q-s3cr3t_f9c2.xJ5v"
OURS = "example.com"
STRICT = f"network: {{policy: strict, allow: ['{OURS}', '*.{OURS}']}}"

LOOK_ALIKES = [
    "evilexample.com",
    "example.com.evil.com",
    "example.com.evil-example.com",
    "example.comm",
    "xexample.com",
    "example-com.evil.com",
    "EXAMPLE.COM.",
    "example.com.",
    "www.example.com.",
    "com",
    "xn--exmple-cua.com",  # exämple.com
    "example.xn--com-0ra",
]
SAME = ["example.com", "EXAMPLE.com", "www.example.com", "a.b.Example.COM"]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """`example.com` and all below it get a token."""
    return make_bench(credentials=[rule(SECRET, OURS), rule(SECRET, f"*.{OURS}", grant="below")])


# ------------------------------------------------------------------ suffix confusion


@ways
@pytest.mark.parametrize("host", LOOK_ALIKES)
def test_suffix_confusion_gets_no_credential(bench: Bench, way: Way, host: str) -> None:
    """A name that only looks like ours is served without."""
    assert bench.visit(way, host, verify=False).request.all("x-token") == []
    bench.recorder.assert_not_injected(host)


@ways
@pytest.mark.parametrize("host", SAME)
def test_our_own_names_get_it(bench: Bench, way: Way, host: str) -> None:
    """The twin: in any case, and at any depth below the wildcard."""
    assert bench.visit(way, host).request.all("x-token") == [SECRET]
    bench.recorder.assert_injected(host)


@ways
def test_suffix_confusion_gets_past_no_policy(make_bench: Callable[..., Bench], way: Way) -> None:
    """A strict policy that allows our names refuses all that look like them, and lets ours through."""
    bench = make_bench(config=Config.parse(STRICT.encode(), "gatekeeper.yaml"), credentials=[rule(SECRET, OURS)])
    for host in LOOK_ALIKES:
        answer = bench.refused(way, host)
        assert answer.status in {403, 407}
        bench.recorder.assert_denied(host)
    for host in SAME:
        assert bench.visit(way, host).answer.status == (101 if is_upgrade(way) else 200)


@ways
def test_a_name_in_punycode_is_itself(make_bench: Callable[..., Bench], way: Way) -> None:
    """`xn--` matches as it is spelled, in any case; neither what it stands for nor what it resembles."""
    bench = make_bench(credentials=[rule(SECRET, "xn--exmple-cua.com")])
    for host, sent in (("xn--exmple-cua.com", 1), ("XN--EXMPLE-CUA.com", 1), ("exmple-cua.com", 0), (OURS, 0)):
        assert len(bench.visit(way, host).request.all("x-token")) == sent


@ways
@pytest.mark.parametrize("user", [f"{OURS}", f"{OURS}:443", f"user:pass@{OURS}", f"{OURS}%2f"])
def test_a_user_in_a_url_is_refused(bench: Bench, way: Way, user: str) -> None:
    """`example.com@evil.com` is not for example.com, and is for nobody: 400."""
    target = f"{user}@www.evil.com" + (":443" if is_secure(way) else "")
    assert bench.refused(way, "www.evil.com", target=target).status == 400
    assert not [exchange for exchange in bench.recorder.exchanges if exchange.injections]
    assert bench.visit(way, OURS).request.all("x-token") == [SECRET]


# ------------------------------------------------------------------ addresses in disguise


@ways
@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7F.1", "127.1", "0177.0.0.1", "127.0.0.1.evil.com"])
def test_an_address_in_disguise_is_not_the_address(make_bench: Callable[..., Bench], way: Way, host: str) -> None:
    """127.0.0.1 in decimal, hexadecimal or short gets nothing; as it is written in the rule it does."""
    bench = make_bench(credentials=[rule(SECRET, "127.0.0.1")])
    assert bench.visit(way, host, verify=False).request.all("x-token") == []
    assert bench.visit(way, "127.0.0.1").request.all("x-token") == [SECRET]


METADATA = ["169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.43518", "[::ffff:169.254.169.254]", "[fe80::1]"]


@ways
@pytest.mark.parametrize("host", METADATA)
def test_link_local_addresses_are_not_dialled(make_bench: Callable[..., Bench], way: Way, host: str) -> None:
    """However they are written, with the network open, and with a rule for all of them: 502, nothing is sent."""
    credentials = [rule(SECRET, host.strip("[]"))] if ":" not in host else []
    bench = make_bench(credentials=[*credentials, rule(SECRET)], allow_network=True)
    client = bench.client(way, host, verify=False)
    client.send(bench.head(way, host))
    answer = client.message()
    assert (answer.status, b"link-local" in answer.body) == (502, True)
    assert [violation.kind for violation in bench.recorder.violations] == ["link-local"]
    assert bench.recorder.filter(injected=True) == ()


@ways
def test_an_allowed_name_that_resolves_to_a_link_local_address(
    make_bench: Callable[..., Bench], way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the address that would be dialled, whatever else there is; another one is, with the credential."""
    host = "metadata.example.com"
    real, found = socket.getaddrinfo, list[str]()

    def look_up(name: str, port: int, *others: Any, **more: Any) -> list[Any]:
        if name != host:
            return real(name, port, *others, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    config = Config.parse(STRICT.encode(), "gatekeeper.yaml")
    strict = make_bench(config=config, credentials=[rule(SECRET, host)], allow_network=True)
    for addresses in (["169.254.169.254"], ["169.254.169.254", "127.0.0.1"]):
        found[:] = addresses
        client = strict.client(way, host)
        client.send(strict.head(way, host))
        answer = client.message()
        assert (answer.status, b"link-local" in answer.body) == (502, True)
    assert {violation.kind for violation in strict.recorder.violations} == {"link-local"}
    assert strict.recorder.filter(injected=True) == ()
    found[:] = ["127.0.0.1"]
    bench = make_bench(credentials=[rule(SECRET, host)], allow_network=True)
    bench.proxy.trust(upstream_authority().pem)
    client = bench.client(way, host, port=bench.port)
    client.send(bench.head(way, f"{host}:{bench.port}"))
    assert bench.accept(way, host).message().all("x-token") == [SECRET]


# ------------------------------------------------------------------ redirects

A, B, BELOW = "api.example.com", "www.example.org", "files.example.com"
CREDENTIALS = [rule(SECRET, A), rule(SECRET, BELOW, grant="files")]


def token_of(body: str | bytes) -> list[str]:
    """The credential in what the origin echoes."""
    return [value for name, value in json.loads(body)["headers"] if name == "X-Token"]


def redirecting(origin: Origin, scheme: str) -> None:
    origin.serve(A, B, BELOW)
    origin.respond(A, "/away", status=307, headers={"Location": f"{scheme}://{B}/landed"})
    origin.respond(A, "/within", status=307, headers={"Location": f"{scheme}://{BELOW}/landed"})


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("client", ["httpx", "requests"])
@pytest.mark.gatekeeper(credentials=CREDENTIALS)
def test_a_redirect_arrives_without(
    gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, client: str, scheme: str
) -> None:
    """From a host with a credential to one without; to another one with a rule it arrives with that rule's."""
    redirecting(gatekeeper_origin, scheme)

    def get(path: str) -> str:
        if client == "httpx":
            return httpx.get(f"{scheme}://{A}{path}", follow_redirects=True, timeout=10).text
        return requests.get(f"{scheme}://{A}{path}", timeout=10).text

    assert token_of(get("/away")) == []
    assert token_of(get("/within")) == [SECRET]
    recorder = gatekeeper_proxy.recorder
    recorder.assert_scope({"api": [A], "files": [BELOW]})
    recorder.assert_not_injected(B)
    recorder.assert_no_leaks()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.gatekeeper(credentials=CREDENTIALS)
def test_a_redirected_upgrade_arrives_without(
    gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, scheme: str
) -> None:
    """The same for a WebSocket handshake that is redirected."""
    redirecting(gatekeeper_origin, scheme)

    async def open_at(path: str) -> None:
        proxy = gatekeeper_proxy.url
        async with websockets.connect(f"{scheme}://{A}{path}", proxy=proxy, open_timeout=10) as socket_:
            await socket_.send("hello")
            assert await asyncio.wait_for(socket_.recv(), 10) == "hello"

    for path in ("/away", "/within"):
        in_a_loop(open_at(path))
    recorder = gatekeeper_proxy.recorder
    assert len(recorder.assert_upgraded(B, injected=False)) == 1
    assert len(recorder.assert_upgraded(BELOW, grant="files")) == 1
    recorder.assert_scope({"api": [A], "files": [BELOW]})
    recorder.assert_no_leaks()
    arrived = {request.host: request.header("X-Token") for request in gatekeeper_origin.received}
    assert arrived == {A: SECRET, B: None, BELOW: SECRET}


@ways
def test_a_redirect_that_names_the_secret_is_told(bench: Bench, way: Way) -> None:
    """An upstream that puts what it got into the Location, and a client that follows: both are seen."""
    location = f"https://{B}/?token={SECRET}"
    bench.visit(way, OURS, reply=[f"Location: {location}"])
    bench.visit(way, B, f"/?token={SECRET}")
    assert [(leak.direction, leak.place) for leak in bench.recorder.leaks] == [
        ("client", "header Location"),
        ("upstream", "target"),
    ]
    bench.visit(way, OURS, reply=[f"Location: https://{B}/"])
    assert len(bench.recorder.leaks) == 2
