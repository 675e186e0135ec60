"""Upgrades: the 101 as it came, the bytes on both sides of it, and how a tunnel ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._proxy.lease import Limits
from tests.conftest import SOON
from tests.engine.conftest import BEARER, HOST, SWITCHED, TIMEOUT, ways

if TYPE_CHECKING:
    from tests.conftest import Clock
    from tests.engine.conftest import Wire, World

MIB = 1024 * 1024

Script = Callable[["Wire"], None]


def switching(then: Script, head: bytes = SWITCHED) -> Script:
    """An upstream that upgrades, then does something."""

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(head)
        then(wire)

    return script


def echo(wire: Wire) -> None:
    while data := wire.recv():
        wire.send(data)
    wire.finish()


# ---- the 101


@ways
@pytest.mark.parametrize("tls", [False, True])
def test_upgrade(world: World, way: str, tls: bool) -> None:
    """An upgrade gets the credential, keeps what makes it one, and is recorded when the client has its 101."""
    world.upstream(switching(echo), tls=tls)
    client = world.client(way)
    client.upgrade("/socket?a=b", "Sec-WebSocket-Protocol: chat", "Connection: x-mine", "X-Mine: 1")
    assert client.until(b"\r\n\r\n") == SWITCHED
    (record,) = world.exchanges
    assert (record.status, record.is_upgrade, record.upgraded, record.closed) == (101, True, True, None)
    assert (record.scheme, record.target) == ("wss" if way == "tls" else "ws", "/socket?a=b")
    assert record.grants == ("ws-api",)
    client.send(b"ping")
    assert client.exactly(4) == b"ping"
    client.finish()
    assert client.rest() == b""
    assert (record.request_size, record.response_size) == (4, 4)


@ways
def test_the_request_keeps_its_upgrade(world: World, way: str) -> None:
    """Of the hop-by-hop fields exactly Connection: Upgrade and Upgrade go on; the credential goes with them."""
    heads = []

    def script(wire: Wire) -> None:
        heads.append(wire.message())
        wire.send(SWITCHED)
        echo(wire)

    world.upstream(script)
    client = world.client(way)
    client.upgrade("/", "Keep-Alive: 5", "Sec-WebSocket-Key: abc", "Proxy-Connection: keep-alive")
    assert client.until(b"\r\n\r\n") == SWITCHED
    assert [pair for pair in heads[0].headers if pair[0] != "X-Request-Id"] == [
        ("Host", HOST), ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "abc"),
        ("Authorization", BEARER),
    ]  # fmt: skip


@ways
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101  Odd   Reason \r\nupGRADE:WebSocket\r\nX-Odd:\t  spaced \r\nconnection:   UPGRADE ,x\r\n\r\n",
        b"HTTP/1.1 101 \r\nUpgrade: WEBSOCKET\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 S\nUpgrade: websocket\nConnection: Upgrade\n\n",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nX-Fold: a\r\n  b\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_the_101_is_relayed_byte_for_byte(world: World, way: str, head: bytes) -> None:
    """Spacing, case, folds and bare line ends of the 101 arrive as they came, with what is glued to it."""
    world.upstream(switching(echo, head + b"glued"))
    client = world.client(way)
    client.upgrade()
    assert client.exactly(len(head) + 5) == head + b"glued"


@ways
def test_bytes_glued_to_the_request(world: World, way: str) -> None:
    """What a client sends with its upgrade, before any answer, is delivered after the 101."""
    world.upstream(switching(echo))
    client = world.client(way)
    client.send(
        client.request("GET", "/", "Connection: Upgrade", "Upgrade: websocket") + b"early",
        b" bird" * 1000,
    )
    assert client.until(b"\r\n\r\n") == SWITCHED
    assert client.exactly(5005) == b"early" + b" bird" * 1000
    assert world.exchanges[0].request_size == 5005


@ways
@pytest.mark.parametrize("protocol", ["tcp-tunnel/2", "TLS/1.3", "x"])
def test_any_protocol(world: World, way: str, protocol: str) -> None:
    """Any protocol that both sides name is tunnelled; it is no WebSocket."""
    head = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n" % protocol.upper().encode()
    world.upstream(switching(echo, head))
    client = world.client(way)
    client.upgrade(protocol=protocol)
    assert client.until(b"\r\n\r\n") == head
    client.send(b"\x00\xff")
    assert client.exactly(2) == b"\x00\xff"
    assert world.exchanges[0].scheme == ("https" if way == "tls" else "http")


@ways
def test_h2c_is_stripped(world: World, way: str) -> None:
    """`Upgrade: h2c` does not go on; beside another protocol only that is left."""
    stub = world.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client = world.client(way)
    for protocol, left in (("h2c", ""), ("h2c, websocket", "websocket")):
        client.upgrade("/", "HTTP2-Settings: AAMAAABkAAQAAP__", protocol=protocol)
        assert client.message().status == 200
        assert stub.heads[-1].get("upgrade") == left
    assert [exchange.is_upgrade for exchange in world.exchanges] == [False, True]


# ---- refused, and refused by us


@ways
@pytest.mark.parametrize("status", [401, 403, 426, 503])
def test_a_refused_upgrade_is_an_ordinary_answer(world: World, way: str, status: int) -> None:
    """A refusal is passed on with its body, and the connection can upgrade after all."""
    count = 0

    def script(wire: Wire) -> None:
        nonlocal count
        while True:
            wire.until(b"\r\n\r\n")
            count += 1
            if count == 2:
                wire.send(SWITCHED)
                return echo(wire)
            wire.send(b"HTTP/1.1 %d No\r\nX-Why: so\r\nContent-Length: 6\r\n\r\nreason" % status)

    world.upstream(script)
    client = world.client(way)
    client.upgrade()
    answer = client.message()
    assert (answer.status, answer.body, answer.get("x-why")) == (status, b"reason", "so")
    record = world.exchanges[0]
    assert (record.status, record.upgraded, record.closed, record.grants) == (status, False, "upstream", ("ws-api",))
    client.upgrade()
    assert client.until(b"\r\n\r\n") == SWITCHED
    assert world.exchanges[1].upgraded


@ways
@pytest.mark.parametrize(
    ("asked", "answered"), [("", "websocket"), ("websocket", "chat"), ("websocket", ""), ("websocket, chat", "chat")]
)
def test_a_switch_that_was_not_asked_for(world: World, way: str, asked: str, answered: str) -> None:
    """A 101 without an upgrade, or to another protocol than the one asked for, is a 502; the connection stays."""
    fields = f"Upgrade: {answered}\r\n".encode() if answered else b""
    world.upstream(switching(echo, b"HTTP/1.1 101 S\r\n" + fields + b"Connection: Upgrade\r\n\r\n"))
    client = world.client(way)
    for _ in range(2):
        if asked:
            client.upgrade(protocol=asked)
        else:
            client.ask()
        answer = client.message()
        assert (answer.status, b"switched protocols" in answer.body) == (502, True)
    record = world.exchanges[0]
    assert (record.status, record.upgraded, len(record.injections)) == (502, False, 1)
    assert [line["http_status"] for line in world.lines if line["http_method"] == "GET"] == [502, 502]


# ---- both directions, and their ends


@ways
@pytest.mark.parametrize("tls", [False, True])
def test_client_finishes_first(world: World, way: str, tls: bool) -> None:
    """The client may finish its direction and go on receiving."""
    got: list[bytes] = []

    def then(wire: Wire) -> None:
        got.append(wire.rest())
        wire.send(b"x" * MIB, b"done")
        wire.finish()

    world.upstream(switching(then), tls=tls)
    client = world.client(way)
    client.upgrade()
    client.until(b"\r\n\r\n")
    client.send(b"hello")
    client.finish()
    assert client.rest() == b"x" * MIB + b"done"
    assert got == [b"hello"]
    record = world.exchanges[0]
    world.wait_for(lambda: record.closed)
    assert (record.closed, record.error) == ("client", None)
    assert (record.request_size, record.response_size) == (5, MIB + 4)


@ways
@pytest.mark.parametrize("tls", [False, True])
def test_upstream_finishes_first(world: World, way: str, tls: bool) -> None:
    """The upstream may finish its direction and go on receiving; a slow one gets everything that was sent."""
    got: list[int] = []
    go = threading.Event()

    def then(wire: Wire) -> None:
        wire.send(b"bye")
        wire.finish()
        assert go.wait(TIMEOUT)
        got.append(len(wire.rest()))

    world.upstream(switching(then), tls=tls)
    client = world.client(way)
    client.upgrade()
    client.until(b"\r\n\r\n")
    assert client.rest() == b"bye"
    world.wait_for(lambda: client.silent(0.01) is False)

    def send() -> None:
        client.send(b"y" * 8 * MIB)
        client.finish()

    sender = threading.Thread(target=send)
    sender.start()
    world.wait_for(lambda: world.exchanges[0].request_size > 0)
    go.set()
    sender.join(TIMEOUT)
    world.wait_for(lambda: got)
    assert got == [8 * MIB]
    world.wait_for(lambda: world.exchanges[0].closed)
    assert (world.exchanges[0].closed, world.exchanges[0].request_size) == ("upstream", 8 * MIB)


@ways
@pytest.mark.parametrize("who", ["client", "upstream"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_closed_says_who_ended_the_tunnel(world: World, way: str, who: str, how: str) -> None:
    """A side that closes or resets its connection is named, and the other side sees an end."""
    go = threading.Event()
    seen: list[bytes] = []

    def then(wire: Wire) -> None:
        if who == "upstream":
            assert go.wait(TIMEOUT)
            return wire.reset() if how == "reset" else None
        seen.append(wire.end())
        return None

    world.upstream(switching(then))
    client = world.client(way)
    client.upgrade()
    client.until(b"\r\n\r\n")
    if who == "client":
        client.reset() if how == "reset" else client.close()
        world.wait_for(lambda: seen == [b""])
    else:
        go.set()
        assert client.end() == b""
        client.close()
    record = world.exchanges[0]
    world.wait_for(lambda: record.closed)
    assert record.closed == who
    assert (record.error is not None) is (how == "reset")


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_silence_ends_a_tunnel(make_world: Callable[..., World], clock: Clock, way: str) -> None:
    """A tunnel without a byte for the idle limit is cut on both sides; bytes in either direction keep it open."""
    world = make_world(limits=Limits(idle=60))
    ends: list[bytes] = []
    go = threading.Event()

    def then(wire: Wire) -> None:
        wire.exactly(1)
        assert go.wait(TIMEOUT)
        wire.send(b"!")
        ends.append(wire.end())

    world.upstream(switching(then))
    client = world.client(way)
    client.upgrade()
    client.until(b"\r\n\r\n")
    record = world.exchanges[0]
    clock.forward(35)
    client.send(b"?")
    world.wait_for(lambda: record.request_size == 1)
    clock.forward(35)
    go.set()
    assert client.exactly(1) == b"!"
    clock.forward(35)
    assert client.silent(0.02)
    clock.forward(25)
    assert client.end() == b""
    world.wait_for(lambda: record.closed and ends)
    assert (record.closed, record.error, ends) == ("idle", None, [b""])
    if way != "plain":
        world.wait_for(lambda: world.tunnels[0].closed == "idle")


@ways
def test_the_end_of_a_test_ends_a_tunnel(world: World, way: str) -> None:
    """A tunnel that is open when its test ends is cut, and says so."""
    world.upstream(switching(echo))
    client = world.client(way)
    client.upgrade()
    client.until(b"\r\n\r\n")
    assert world.end() < SOON
    record = world.exchanges[0]
    assert (record.closed, record.error, record.status) == ("test", None, 101)
    assert [tunnel.closed for tunnel in world.tunnels] == ([] if way == "plain" else ["test"])


@ways
def test_many_tunnels_at_once(world: World, way: str) -> None:
    """64 clients have each their own tunnel: what one sends comes back to it alone."""
    stub = world.upstream(switching(echo))
    clients = [world.client(way) for _ in range(64)]
    for client in clients:
        client.upgrade()
    for client in clients:
        client.until(b"\r\n\r\n")
    for turn in range(3):
        for number, client in enumerate(clients):
            client.send(b"%d.%d;" % (turn, number) * 50)
        for number, client in reversed(list(enumerate(clients))):
            word = b"%d.%d;" % (turn, number) * 50
            assert client.exactly(len(word)) == word
    assert stub.count == 64
    assert [exchange.upgraded for exchange in world.exchanges] == [True] * 64
    for client in clients:
        client.finish()
        assert client.rest() == b""
    assert len({(exchange.request_size, exchange.response_size) for exchange in world.exchanges}) <= 2
