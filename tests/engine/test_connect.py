"""CONNECT: the shapes that clients send, what is refused, and TLS or plain HTTP behind it."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._core.model import NetworkSettings
from pytest_gatekeeper._proxy.ca import process_authority
from pytest_gatekeeper._proxy.lease import Limits
from tests.engine.conftest import HOST, OK

if TYPE_CHECKING:
    from tests.conftest import Clock
    from tests.engine.conftest import Client, World

ESTABLISHED = b"HTTP/1.1 200 Connection Established\r\n\r\n"


def raw(world: World) -> Client:
    """A client that has sent nothing."""
    return world.client("plain")


# ---- accepted


@pytest.mark.parametrize(
    ("request_head", "host", "port"),
    [
        (b"CONNECT ws.example.com:443 HTTP/1.1\r\nHost: ws.example.com:443\r\n\r\n", HOST, 443),
        (b"CONNECT ws.example.com:443 HTTP/1.0\r\n\r\n", HOST, 443),
        (b"CONNECT ws.example.com:443 HTTP/1.1\r\n\r\n", HOST, 443),
        (
            b"\r\nCONNECT ws.example.com:8443 HTTP/1.1\r\nHost: other\r\nProxy-Connection: keep-alive\r\n\r\n",
            HOST,
            8443,
        ),
        (b"CONNECT WS.Example.COM:443 HTTP/1.1\r\nHost: x\r\n\r\n", "WS.Example.COM", 443),
        (b"CONNECT [::1]:9443 HTTP/1.1\r\nHost: [::1]:9443\r\n\r\n", "::1", 9443),
        (b"CONNECT ::1:9443 HTTP/1.1\r\nHost: ::1:9443\r\n\r\n", "::1", 9443),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\nHost: x\n\n", "127.0.0.1", 1),
    ],
)
@pytest.mark.parametrize("tls", [True, False])
def test_shapes_of_connect(world: World, request_head: bytes, host: str, port: int, tls: bool) -> None:
    """Old, bare, unbracketed and upper-case CONNECTs open a tunnel, for TLS and plain HTTP by the first byte."""
    stub = world.serve(OK, host=f"[{host}]" if ":" in host else host)
    client = raw(world)
    client.send(request_head)
    assert client.until(b"\r\n\r\n") == ESTABLISHED
    (tunnel,) = world.tunnels
    assert (tunnel.host, tunnel.port, tunnel.status, tunnel.error, tunnel.closed) == (host, port, 200, None, None)
    if tls:
        client.secure(process_authority().ssl_context(), host)
    client.send(f"GET /x HTTP/1.1\r\nHost: {f'[{host}]' if ':' in host else host}\r\n\r\n".encode())
    assert client.message().body == b"ok"
    record = world.exchanges[0]
    assert (record.scheme, record.host, record.port) == ("https" if tls else "http", host, port)
    assert record.tunnel is tunnel and tunnel.exchanges == [record]
    assert tunnel.tls_version == ("TLSv1.3" if tls else None)
    assert bool(stub.heads[0].get("authorization")) is (host.lower() == HOST)


def test_hello_glued_to_connect(world: World) -> None:
    """A plain request in the same segment as the CONNECT is served."""
    world.serve(OK)
    client = raw(world)
    connect = b"CONNECT ws.example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(connect + b"GET / HTTP/1.1\r\nHost: ws.example.com\r\n\r\n")
    assert client.until(b"\r\n\r\n") == ESTABLISHED
    assert client.message().body == b"ok"


# ---- refused


@pytest.mark.parametrize(
    "target",
    [
        b"ws.example.com", b"ws.example.com:0", b"ws.example.com:", b"ws.example.com:65536", b"ws.example.com:4a3",
        b"https://ws.example.com:443", b"user@ws.example.com:443", b":443", b"/", b"[::1:443", b"[ws.example.com]:443",
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_malformed_connect(world: World, target: bytes, version: bytes) -> None:
    """A CONNECT that names no host and port is a 400, recorded, and the end of its connection."""
    client = raw(world)
    client.send(b"CONNECT " + target + b" HTTP/" + version + b"\r\nHost: x\r\n\r\n")
    answer = client.message()
    assert (answer.status, answer.get("connection"), client.rest()) == (400, "close", b"")
    (tunnel,) = world.tunnels
    assert (tunnel.status, tunnel.closed) == (400, "error")
    assert "HOST:PORT" in str(tunnel.error)
    assert not world.exchanges


@pytest.mark.parametrize(
    "garbage",
    [b"connect ws.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT\r\n\r\n", b"\x16\x03\x01\x00\x05hello"],
)
def test_what_is_no_connect(world: World, garbage: bytes) -> None:
    """A misspelled CONNECT, half a request line, or TLS straight to the proxy is a 400 and recorded."""
    client = raw(world)
    client.send(garbage)
    answer = client.message()
    assert (answer.status, client.rest()) == (400, b"")
    statuses = [tunnel.status for tunnel in world.tunnels] + [exchange.status for exchange in world.exchanges]
    assert statuses == [400]


@pytest.mark.parametrize("garbage", [b"\x00\x01\x02\x03", b"hello\r\n\r\n", b"\x16garbage that is no handshake"])
def test_garbage_in_a_tunnel(world: World, garbage: bytes) -> None:
    """Garbage behind CONNECT ends the connection and is told in the tunnel's error."""
    client = world.client("inner")
    client.send(garbage)
    client.rest()
    client.close()
    (tunnel,) = world.tunnels
    world.wait_for(lambda: tunnel.closed)
    assert tunnel.closed == "error"
    assert "400" in str(tunnel.error) or "TLS handshake with the client failed" in str(tunnel.error)


@pytest.mark.parametrize("way", ["tls", "inner"])
def test_connect_inside_a_tunnel(world: World, way: str) -> None:
    """A tunnel in a tunnel is refused with 405 and recorded as a violation."""
    client = world.client(way)
    client.send(b"CONNECT ws.example.com:443 HTTP/1.1\r\nHost: ws.example.com\r\n\r\n")
    assert client.message().status == 405
    assert [violation.kind for violation in world.exchanges[0].violations] == ["connect-inside"]
    assert world.exchanges[0].injections == ()


def test_policy_keeps_the_connection(make_world: Callable[..., World]) -> None:
    """After a CONNECT that policy refuses, the same connection may open another tunnel."""
    world = make_world(network=NetworkSettings("strict", (HOST,)))
    world.serve(OK)
    client = raw(world)
    client.send(b"CONNECT evil.example.com:443 HTTP/1.1\r\nHost: evil.example.com:443\r\n\r\n")
    answer = client.message()
    assert (answer.status, answer.get("x-moat-blocked"), answer.get("connection")) == (407, "request-rule", "")
    client.send(b"CONNECT ws.example.com:443 HTTP/1.1\r\nHost: ws.example.com:443\r\n\r\n")
    assert client.until(b"\r\n\r\n") == ESTABLISHED
    client.secure(process_authority().ssl_context(), HOST)
    client.way = "tls"
    assert client.do().body == b"ok"
    denied, opened = world.tunnels
    assert (denied.status, denied.denied, denied.closed) == (407, True, "error")
    assert denied.error is not None
    assert 'add "evil.example.com" to network.allow' in denied.error
    assert (opened.status, opened.denied) == (200, False)
    denial = [line for line in world.lines if line.get("denied") or line["msg"] == "policy denial"]
    assert [line.get("http_host") or line["operation"] for line in denial] == ["evil.example.com", "http.connect"]


@pytest.mark.parametrize("way", ["tls", "plain"])
def test_token_of_the_proxy(make_world: Callable[..., World], way: str) -> None:
    """Without the proxy's token the answer is 407 and no log line; with it the connection goes on."""
    world = make_world(auth_token="pr0xy-t0ken-77")
    world.serve(OK)
    client = raw(world)
    pair = base64.b64encode(b"me:pr0xy-t0ken-77").decode()
    start = b"GET http://ws.example.com/ HTTP/1.1\r\nHost: ws.example.com\r\n"
    if way == "tls":
        start = b"CONNECT ws.example.com:443 HTTP/1.1\r\nHost: ws.example.com\r\n"
    for field in (b"", b"Proxy-Authorization: Bearer wrong\r\n"):
        client.send(start + field + b"\r\n")
        answer = client.message()
        assert (answer.status, answer.get("proxy-authenticate")) == (407, 'Basic realm="gatekeeper"')
    assert not world.lines
    client.send(start + f"Proxy-Authorization: Basic {pair}\r\n\r\n".encode())
    if way == "tls":
        assert client.until(b"\r\n\r\n") == ESTABLISHED
        client.secure(process_authority().ssl_context(), HOST)
        client.way = "tls"
        client.ask()
    assert client.message().body == b"ok"
    assert [line["user_id"] for line in world.lines] == ["me"] * len(world.lines)
    assert all("pr0xy-t0ken-77" not in text for record in world.exchanges for text in map(str, record.headers))


# ---- slow and silent clients


@pytest.mark.parametrize("sent", [b"", b"CONNECT ws.exam", b"GET http://ws.example.com/ HTTP/1.1\r\nX-A: b\r\n"])
def test_a_head_that_does_not_complete(make_world: Callable[..., World], clock: Clock, sent: bytes) -> None:
    """A client that does not complete its head within the limit is cut, however it drips, and not before."""
    world = make_world(limits=Limits(head=60))
    client = raw(world)
    client.send(sent)
    world.wait_for(lambda: world.lease._open)
    for _ in range(2):
        clock.forward(20)
        assert client.silent(0.02)
        world.hear(client, b"x")
    clock.forward(20)
    assert client.end() == b""


@pytest.mark.parametrize("way", ["tls", "inner"])
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX-A: b\r\n"])
def test_a_head_that_does_not_complete_in_a_tunnel(
    make_world: Callable[..., World], clock: Clock, way: str, sent: bytes
) -> None:
    """The limit holds inside a tunnel, too, and the tunnel says so."""
    world = make_world(limits=Limits(head=60, handshake=60))
    client = world.client(way)
    if way == "tls":
        world.wait_for(lambda: world.tunnels[0].tls_version)
    if sent:
        world.hear(client, sent)
    clock.forward(60)
    world.wait_for(lambda: world.tunnels[0].closed)
    assert world.tunnels[0].closed == "error"
    assert "60 s" in str(world.tunnels[0].error)


@pytest.mark.parametrize("way", ["plain", "tls", "inner"])
def test_a_kept_connection_may_be_silent(make_world: Callable[..., World], clock: Clock, way: str) -> None:
    """Between requests the idle limit counts, not the one for heads; the next head has its own again."""
    world = make_world(limits=Limits(head=60, idle=300))
    world.serve(OK)
    client = world.client(way)
    assert client.do().body == b"ok"
    clock.forward(100)
    assert client.do().body == b"ok"
    world.hear(client, b"GET")
    clock.forward(60)
    assert client.end() == b""
    if way != "plain":
        world.wait_for(lambda: world.tunnels[0].closed == "error")


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_kept_connection_is_cut_after_the_idle_limit(
    make_world: Callable[..., World], clock: Clock, way: str
) -> None:
    """A kept connection without a request for the idle limit is cut, also after an answer that took longer."""
    world = make_world(limits=Limits(idle=40, upstream=300))
    origin = world.origin()
    origin.respond(delay=50)
    client = world.client(way)
    client.ask()
    origin.wait_for(lambda origin: origin.received)
    clock.forward(50)
    assert client.message().status == 200
    clock.forward(40)
    assert client.end() == b""
    if way != "plain":
        world.wait_for(lambda: world.tunnels[0].closed == "idle")


@pytest.mark.parametrize("way", ["plain", "tls", "inner"])
def test_a_head_over_the_limit(world: World, way: str) -> None:
    """More than 1 MiB of head is a 431, with or without an end in sight; just below it is carried."""
    stub = world.serve(OK)
    client = world.client(way)
    assert client.do("GET", "/", *[f"X-{n}: {'v' * 1000}" for n in range(1000)]).body == b"ok"
    client.ask("GET", "/", *[f"X-{n}: {'v' * 1000}" for n in range(1100)])
    assert client.message().status == 431
    assert client.rest() == b""
    assert len(stub.heads) == 1


def test_client_that_leaves_after_connect(world: World) -> None:
    """A client that opens a tunnel and leaves is no error."""
    client = world.client("inner")
    client.sock.shutdown(socket.SHUT_RDWR)
    world.wait_for(lambda: world.tunnels[0].closed)
    assert (world.tunnels[0].closed, world.tunnels[0].error, world.exchanges) == ("client", None, [])
