"""What is told and when: before the client can know it, only what was sent, and never a secret."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._core.model import Credential, NetworkSettings, SourceSpec
from pytest_gatekeeper._core.secret import Secret
from tests.engine.conftest import BEARER, HOST, OK, SECRET, SWITCHED, TIMEOUT, upgrades, ways

if TYPE_CHECKING:
    from tests.engine.conftest import Client, Wire, World

in_tunnels = pytest.mark.parametrize("way", ["tls", "inner"])


# ---- before the client knows


@ways
def test_the_record_comes_before_the_answer(world: World, way: str) -> None:
    """200 times: who has the head finds status and injections, who has the last byte finds final sizes."""
    go = threading.Semaphore(0)

    def script(wire: Wire) -> None:
        while True:
            wire.message()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
            assert go.acquire(timeout=TIMEOUT)
            wire.send(b"def")

    world.upstream(script)
    client = world.client(way)
    for number in range(1, 201):
        client.ask("POST", body=b"xyz")
        client.until(b"\r\n\r\n")
        record = world.exchanges[-1]
        assert (record.id, record.status, record.grants, record.closed) == (number, 200, ("ws-api",), None)
        assert world.told[-1][:3] == (number, 200, 1)
        go.release()
        assert client.exactly(6) == b"abcdef"
        assert (record.request_size, record.response_size, record.closed) == (3, 6, "upstream")
        assert world.told[-1] == (number, 200, 1, (3, 6), "upstream")
        assert record.duration is not None and record.duration >= 0


@ways
@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (OK, 2),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 3),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0),
    ],
)
def test_sizes_are_final_with_the_last_byte(world: World, way: str, answer: bytes, size: int) -> None:
    """66 times, for answers that come in one piece: the record is complete when the client has it."""
    world.serve(answer)
    client = world.client(way)
    for number in range(1, 67):
        client.do()
        assert world.told[-1] == (number, int(answer[9:12]), 1, (0, size), "upstream")


@ways
def test_the_upgrade_comes_before_the_101(world: World, way: str) -> None:
    """66 times: who has the 101 finds the upgrade with its credential."""

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(SWITCHED)
        wire.end()

    world.upstream(script)
    for number in range(1, 67):
        client = world.client(way)
        client.upgrade("/", "Sec-WebSocket-Protocol: a, b")
        client.until(b"\r\n\r\n")
        record = world.exchanges[-1]
        assert (record.id, record.upgraded, record.status, record.grants) == (number, True, 101, ("ws-api",))
        assert (number, 101, 1) in [told[:3] for told in world.told]
        client.close()


@ways
@upgrades
def test_a_refusal_is_recorded_before_it_is_sent(world: World, way: str, upgrade: bool) -> None:
    """20 times: who has the 502 finds it recorded, with its cause, and no injection since nothing was sent."""
    client = world.client(way)
    for number in range(1, 21):
        client.upgrade() if upgrade else client.ask()
        answer = client.message()
        assert world.told[-1] == (number, 502, 0, (0, len(answer.body)), "error")
        record = world.exchanges[-1]
        assert (record.error, record.injections, record.forwarded_headers) == (answer.body.decode().strip(), (), ())
    assert not any(line.get("credential_injected") for line in world.lines)


@in_tunnels
def test_the_tunnel_comes_before_its_answer(world: World, way: str) -> None:
    """Who has the answer to CONNECT finds the tunnel, who has finished the handshake its version."""
    for number in range(1, 21):
        world.client(way)
        tunnel = world.tunnels[-1]
        assert (tunnel.id, tunnel.status, tunnel.closed) == (number, 200, None)


# ---- whose credential


@in_tunnels
@upgrades
def test_inner_host_gets_no_credential(world: World, way: str, upgrade: bool) -> None:
    """An inner Host that names another host goes on as it is, without any credential, as a violation."""
    stub = world.serve(OK)
    client = world.client(way)
    fields = ("Connection: Upgrade", "Upgrade: websocket") if upgrade else ()
    assert client.do("GET", "/", *fields, host="evil.example.net").status == 200
    assert client.do("GET", "/", *fields).status == 200
    assert [(head.get("host"), head.get("authorization")) for head in stub.heads] == [
        ("evil.example.net", ""), (HOST, BEARER),
    ]  # fmt: skip
    fronted, own = world.exchanges
    assert [violation.kind for violation in fronted.violations] == ["inner-host"]
    assert (fronted.host, fronted.injections, "evil.example.net" in fronted.reason) == (HOST, (), True)
    assert (own.violations, own.grants) == ((), ("ws-api",))


@in_tunnels
@upgrades
@pytest.mark.parametrize("scheme", ["https", "http", "wss", "ws"])
def test_absolute_form_in_a_tunnel(world: World, way: str, upgrade: bool, scheme: str) -> None:
    """A whole URL in a tunnel is for its own host, or goes on without a credential as a violation."""
    stub = world.serve(OK)
    client = world.client(way)
    fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n" if upgrade else ""
    for host in (HOST, "evil.example.net"):
        client.send(f"GET {scheme}://{host}/x?y HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode())
        assert client.message().status == 200
    assert [(head.start, head.get("host"), head.get("authorization")) for head in stub.heads] == [
        ("GET /x?y HTTP/1.1", HOST, BEARER), ("GET /x?y HTTP/1.1", "evil.example.net", ""),
    ]  # fmt: skip
    assert [violation.kind for exchange in world.exchanges for violation in exchange.violations] == ["absolute-form"]


def test_the_credential_is_the_tunnels(make_world: Callable[..., World]) -> None:
    """The CONNECT target decides about the credential; a Host that names a host with one gets nothing."""
    own = Credential("api.example.com", SourceSpec("static"), grant="api"), Secret("an0ther-s3cret")
    main = Credential(HOST, SourceSpec("static"), grant="ws-api"), Secret(SECRET)
    world = make_world(credentials=(main, own))
    api, free = world.serve(OK, host="api.example.com"), world.serve(OK, host="free.example.com")
    assert world.client("tls", "api.example.com").do().status == 200
    assert world.client("tls", "free.example.com").do(host="api.example.com").status == 200
    assert world.client("tls", "api.example.com").do(host=HOST).status == 200
    assert [head.get("authorization") for head in api.heads] == ["Bearer an0ther-s3cret", ""]
    assert [head.get("authorization") for head in free.heads] == [""]


@ways
def test_both_framings_are_a_violation(world: World, way: str) -> None:
    """Content-Length beside chunked: the former is dropped, the connection ends, and it is recorded."""
    stub = world.serve(OK)
    client = world.client(way)
    client.ask("POST", "/", "Content-Length: 3", "Transfer-Encoding: chunked")
    client.send(b"5\r\nhello\r\n0\r\n\r\n")
    answer = client.message()
    assert (answer.status, answer.get("connection"), client.rest()) == (200, "close", b"")
    assert (stub.heads[0].get("content-length"), stub.heads[0].body) == ("", b"hello")
    assert [violation.kind for violation in world.exchanges[0].violations] == ["smuggling"]


@ways
@upgrades
def test_policy_inside_and_outside(make_world: Callable[..., World], way: str, upgrade: bool) -> None:
    """What policy does not allow is a 407 that is recorded and logged twice, over every way; the rest passes."""
    world = make_world(network=NetworkSettings("strict", (HOST,)))
    world.serve(OK)
    world.serve(OK, host="evil.example.com")
    assert world.client(way).do().status == 200
    client: Client = world.client("plain", "evil.example.com")
    if way != "plain":
        client.send(b"CONNECT evil.example.com:443 HTTP/1.1\r\nHost: evil.example.com\r\n\r\n")
    elif upgrade:
        client.upgrade()
    else:
        client.ask()
    answer = client.message()
    assert (answer.status, answer.get("proxy-authenticate")) == (407, "Moat-Policy")
    assert b"evil.example.com" in answer.body
    denied = [(record.host, record.status) for record in world.exchanges if record.denied]
    denied += [(tunnel.host, tunnel.status) for tunnel in world.tunnels if tunnel.denied]
    assert denied == [("evil.example.com", 407)]
    request, denial = world.lines[-2:]
    assert (request["level"], request["denied"], request["http_status"]) == ("WARN", True, 407)
    assert (denial["msg"], denial["scope"], denial["run_id"], denial["rule"]) == ("policy denial", "network", "", "")
    assert denial["operation"] == ("http.request" if way == "plain" else "http.connect")
    assert request["deny_reason"] == denial["message"] == "Host not in allow list: evil.example.com"


# ---- log lines


@ways
@upgrades
def test_log_lines(make_world: Callable[..., World], way: str, upgrade: bool) -> None:
    """One line a request with the fields in order; before the first one of a tunnel, one for its CONNECT."""
    world = make_world(capture=("X-Team",))
    stub = world.serve(OK)
    client = world.client(way)
    fields = ("Connection: Upgrade", "Upgrade: websocket") if upgrade else ()
    for _ in range(2):
        client.do("POST", "/a%20b?q=1", "X-Team: blue", *fields, body=b"hello")
    lines = world.lines
    if way != "plain":
        connect = lines.pop(0)
        port = 443 if way == "tls" else 80
        assert list(connect) == [
            "level", "msg", "request_id", "http_method", "http_host", "http_path", "http_status", "duration_ms",
            "proxy_type", "client_ip", "credential_injected", "injected_headers", "grants",
        ]  # fmt: skip
        assert (connect["http_method"], connect["http_host"], connect["http_status"]) == (
            "CONNECT",
            f"{HOST}:{port}",
            200,
        )
        assert connect["request_id"] == lines[0]["request_id"]
    assert len(lines) == 2
    for line, head in zip(lines, stub.heads):
        assert list(line) == [
            "level", "msg", "request_id", "http_method", "http_host", "http_path", "http_status", "duration_ms",
            "proxy_type", "client_ip", "credential_injected", "injected_headers", "grants", "request_size",
            "response_size", "x_team",
        ]  # fmt: skip
        assert (line["level"], line["msg"], line["http_method"], line["http_path"]) == (
            "INFO",
            "request",
            "POST",
            "/a b",
        )
        assert (line["http_host"], line["proxy_type"]) == (HOST, "http" if way == "plain" else "connect")
        assert (line["grants"], line["injected_headers"], line["x_team"]) == ("ws-api", "authorization", "blue")
        assert (line["request_size"], line["response_size"], line["client_ip"]) == (5, 2, "127.0.0.1")
        assert (head.get("x-request-id"), head.get("x-team")) == (line["request_id"], "")


@in_tunnels
def test_a_connect_line_without_a_credential(world: World, way: str) -> None:
    """The CONNECT's line says credential_injected only where the first request got one."""
    client = world.client(way)
    assert client.do().status == 502
    world.serve(OK)
    assert client.do().status == 200
    assert [(line["http_method"], line.get("credential_injected")) for line in world.lines] == [
        ("CONNECT", None), ("GET", None), ("GET", True),
    ]  # fmt: skip


@ways
def test_the_line_comes_with_the_head(world: World, way: str) -> None:
    """The line of a streamed answer is there when its head is, without a size."""
    origin = world.origin()
    go = threading.Event()
    origin.respond(chunks=["a", go, "b"])
    client = world.client(way)
    client.ask()
    client.until(b"\r\n\r\n")
    assert "response_size" not in world.lines[-1]
    assert world.lines[-1]["http_status"] == 200
    go.set()
    assert client.until(b"0\r\n\r\n")
    assert [line["http_method"] for line in world.lines][-1:] == ["GET"]


# ---- secrets

ECHOES = [
    b"HTTP/1.1 200 OK\r\nX-Echo: %s\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 %s\r\nWWW-Authenticate: Bearer error=%s\r\nContent-Length: 0\r\n\r\n".replace(b"401 %s", b"401 No"),
    b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Echo: %s\r\n\r\n",
    b"HTTP/1.1 101 S\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n%s: x\r\n\r\n",
    b"HTTP/1.1 %s OK\r\n\r\n",
    b"%s\r\n\r\n",
]


@ways
@pytest.mark.parametrize("answer", ECHOES)
def test_no_secret_in_what_an_upstream_provokes(world: World, way: str, answer: bytes) -> None:
    """An upstream that echoes the credential in any part of its answer gets it into no record and no 502."""
    world.serve(answer.replace(b"%s", SECRET.encode()))
    client = world.client(way)
    client.upgrade()
    head = client.until(b"\r\n\r\n")
    if b" 502 " in head:
        assert SECRET.encode() not in head + client.exactly(30)
    assert world.exchanges[0].status is not None  # what records hold is looked at after the test


@ways
def test_no_secret_in_what_a_client_provokes(world: World, way: str) -> None:
    """A client that sends the credential itself, anywhere in a request, gets it into no record and no refusal."""
    world.serve(OK)
    for fields in (
        ("GET", f"/{SECRET}?a={SECRET}", f"X-A: {SECRET}", f"Authorization: {BEARER}"),
        (SECRET, "/"),
        ("GET", "/", f"X-Request-Id: {SECRET}"),
        ("GET", "/", f"Content-Length: {SECRET}"),
        ("GET", "/", f"Transfer-Encoding: {SECRET}"),
        ("GET", "/", f"Upgrade: {SECRET}", "Connection: upgrade"),
        ("GET", "/", f"{SECRET} : x"),
        ("GET", f"/ {SECRET}"),
    ):
        client = world.client(way)
        answer = client.do(*fields)
        if answer.status != 200:
            assert SECRET not in answer.raw.decode() + answer.body.decode()
        client.close()
    assert [line for line in world.lines if "secret" in line["http_path"]]


@pytest.mark.parametrize(
    "target", [f"{SECRET}@ws.example.com:443", f"ws.example.com:{SECRET}", f"https://ws.example.com/{SECRET}"]
)
def test_no_secret_in_what_connect_provokes(world: World, target: str) -> None:
    """A secret in the target of a CONNECT shows in no record, log line or refusal."""
    client = world.client("plain")
    client.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = client.message()
    assert (answer.status, SECRET in answer.raw.decode() + answer.body.decode()) == (400, False)
    assert [tunnel.status for tunnel in world.tunnels] == [400]


@ways
def test_no_secret_in_what_a_host_provokes(world: World, way: str) -> None:
    """A name that holds the credential shows neither as what has no rule, nor as what was dialled; another one does."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        for name in (SECRET, "plain"):
            host = f"{name}.localhost"
            client = world.client(way, f"{host}:{port}" if way == "plain" else host, port)
            assert client.do(host=host).status == 502
            if way != "plain":
                assert client.do(host=HOST).status == 502  # a violation, whose text names both
    shown = "".join(f"{record.reason} {record.upstream} {record.violations}" for record in world.exchanges)
    for name in ("<secret ", "plain"):
        assert f"no rule for {name}" in shown and f" {name}" in shown.replace("no rule for ", "")


def test_no_secret_in_why_a_host_is_denied(make_world: Callable[..., World]) -> None:
    """Neither where it is denied at CONNECT, nor in the open."""
    world = make_world(network=NetworkSettings("strict", (HOST,)))
    client = world.client("plain", f"{SECRET}.example.net")
    assert client.do().status == 407
    client.send(f"CONNECT {SECRET}.example.net:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert client.message().status == 407
    (exchange,), (tunnel,) = world.exchanges, world.tunnels
    assert exchange.deny_reason.startswith("Host not in allow list: <secret ")
    assert tunnel.error is not None and tunnel.error.startswith("<secret ")


def test_a_clock_that_is_put_back_changes_no_duration(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations come from a clock that never steps; when it began is told by the one that people read."""
    go = threading.Event()

    def script(wire: Wire) -> None:
        wire.message()
        assert go.wait(TIMEOUT)
        wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    world.upstream(script)
    monkeypatch.setattr("time.time", lambda: 5_000_000.0)
    client = world.client("plain")
    client.ask()
    world.wait_for(lambda: world.exchanges)
    monkeypatch.setattr("time.time", lambda: 4_000_000.0)
    go.set()
    client.message()
    (record,) = world.exchanges
    assert record.started == 5_000_000.0
    assert record.duration is not None and 0 < record.duration < TIMEOUT
