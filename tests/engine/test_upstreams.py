"""Upstreams that fail: each ends within its limit, with a text that says what, why and what to do, and no secret."""

from __future__ import annotations

import datetime
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._proxy.ca import CertificateAuthority, load_chain
from pytest_gatekeeper._proxy.lease import Limits
from tests.conftest import Message
from tests.engine.conftest import HOST, OK, SECRET, TIMEOUT, upgrades, ways

if TYPE_CHECKING:
    import ssl

    from tests.conftest import Clock
    from tests.engine.conftest import Client, Wire, World


def ask(client: Client, upgrade: bool) -> Message:
    client.upgrade() if upgrade else client.ask()
    return client.message()


def refused(world: World, answer: Message, *words: str, sent: bool = False, closed: str = "error") -> None:
    """The answer is a 502 that says these words, as does the record; credentials are recorded if they were sent."""
    record = world.exchanges[-1]
    assert (answer.status, record.status, record.upgraded, record.closed) == (502, 502, False, closed)
    for word in (*words, HOST):
        assert word in answer.body.decode()
        assert word in str(record.error)
    assert SECRET not in answer.raw.decode() + answer.body.decode()
    assert len(record.injections) == int(sent)
    assert bool(record.forwarded_headers) is sent
    line = world.lines[-1]
    assert (line["level"], line["http_status"], line.get("credential_injected", False)) == ("ERROR", 502, sent)
    assert line["error"] == record.error


def route(world: World, url: str) -> None:
    world.routes.add(HOST, url)


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


# ---- not reached


@ways
@upgrades
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_refused_connection(world: World, way: str, upgrade: bool, scheme: str, closed_port: int) -> None:
    """An upstream where nobody listens is a 502 that names the route's address; it may come up later."""
    route(world, f"{scheme}://127.0.0.1:{closed_port}")
    client = world.client(way)
    refused(world, ask(client, upgrade), f"127.0.0.1:{closed_port}", "refused", "running?")
    world.serve(OK)
    assert client.do().body == b"ok"


@ways
@upgrades
def test_closed_network(world: World, way: str, upgrade: bool) -> None:
    """A name without a route is not dialled, and the answer says how to lead it somewhere."""
    answer = ask(world.client(way), upgrade)
    refused(world, answer, "no route", f'gatekeeper_origin.serve("{HOST}")', "--gatekeeper-allow-network")
    assert world.exchanges[0].upstream is None


def test_loopback_needs_no_route(world: World) -> None:
    """A loopback address may be dialled without a route."""
    stub = world.serve(OK, host="unused.example.com")
    answer = world.client("inner", "127.0.0.1", stub.port).do()
    assert answer.body == b"ok"


@ways
def test_a_name_that_does_not_resolve(world: World, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A route to a name without an address says so."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    route(world, "http://nowhere.example.org:81")
    client = world.client(way)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", fail)
        answer = client.do()
    refused(world, answer, "does not resolve", "Name or service not known", "nowhere.example.org:81")


def test_a_name_that_is_none(make_world: Callable[..., World]) -> None:
    """A label of more than 63 characters cannot be looked up, and is told like any other failure."""
    world = make_world(allow_network=True)
    client = world.client("inner", f"{'a' * 64}.example.com")
    answer = client.do()
    assert (answer.status, b"could not be reached" in answer.body) == (502, True)


@ways
@upgrades
@pytest.mark.parametrize("address", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
def test_link_local_is_not_dialled(world: World, way: str, upgrade: bool, address: str) -> None:
    """A route to the address of a cloud's metadata is refused and recorded as a violation."""
    route(world, f"http://{address}:80")
    refused(world, ask(world.client(way), upgrade), "link-local")
    assert [violation.kind for violation in world.exchanges[0].violations] == ["link-local"]


@pytest.mark.parametrize("host", ["2852039166", "0xA9FEA9FE", "169.254.43518"])
def test_link_local_by_the_address_dialled(make_world: Callable[..., World], host: str) -> None:
    """A name that resolves to a link-local address is refused, too: here, numbers that mean one."""
    world = make_world(allow_network=True)
    answer = world.client("inner", host).do()
    assert (answer.status, b"link-local" in answer.body) == (502, True)
    assert [violation.kind for violation in world.exchanges[0].violations] == ["link-local"]


def test_a_dial_that_is_not_answered(make_world: Callable[..., World], clock: Clock) -> None:
    """A connection that does not come about within the upstream's limit is a 502 that names the option."""
    world = make_world(limits=Limits(upstream=60))
    with socket.socket() as server, socket.socket() as one, socket.socket() as two:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for sock in (one, two):
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        route(world, f"http://127.0.0.1:{server.getsockname()[1]}")
        client = world.client("plain")
        client.ask()
        world.wait_for(lambda: world.exchanges)
        clock.forward(60)
        answer = client.message()
    assert answer.status == 502
    if b"no answer came" not in answer.body:  # where the system takes more than it was told to
        refused(world, answer, "no connection within 60 s", "--gatekeeper-upstream-timeout")


# ---- TLS with the upstream


@ways
@upgrades
def test_an_untrusted_certificate(world: World, way: str, upgrade: bool) -> None:
    """A certificate of an unknown authority is refused before anything is sent; the authority can be added."""
    stranger = CertificateAuthority()
    stub = world.upstream(lambda wire: wire.send(wire.message().raw and OK), context=stranger.server_context(HOST))
    client = world.client(way)
    refused(world, ask(client, upgrade), "certificate is not accepted", "proxy.trust(ca)", f"127.0.0.1:{stub.port}")
    world.routes.trust(stranger.pem)
    assert client.do().body == b"ok"
    assert world.exchanges[-1].upstream_verified is True


def expired(authority: CertificateAuthority) -> ssl.SSLContext:
    import ssl

    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = authority.issue(HOST, not_before=past - datetime.timedelta(days=1), not_after=past)
    load_chain(context, authority._leaf_key_pem + pem)
    return context


@ways
@pytest.mark.parametrize("fault", ["name", "expired"])
def test_a_certificate_that_does_not_fit(world: World, way: str, fault: str) -> None:
    """A certificate for another name, or one that has expired, is refused, and the answer says which."""
    authority = CertificateAuthority()
    context = authority.server_context("other.example.net") if fault == "name" else expired(authority)
    world.upstream(lambda wire: None, context=context)
    world.routes.trust(authority.pem)
    word = "mismatch" if fault == "name" else "expired"
    refused(world, world.client(way).do(), word, f"must name {HOST}")


@ways
def test_verification_can_be_off_for_a_route(world: World, way: str) -> None:
    """With verify=False any certificate does, and the record shows it."""
    context = CertificateAuthority().server_context("other.example.net")
    world.upstream(lambda wire: wire.send(wire.message().raw and OK), context=context, verify=False)
    assert world.client(way).do().body == b"ok"
    assert world.exchanges[0].upstream_verified is False


@ways
@upgrades
def test_plain_where_tls_is_expected(world: World, way: str, upgrade: bool) -> None:
    """An upstream without TLS behind an https route is told from one with a wrong certificate."""

    def script(wire: Wire) -> None:
        wire.recv()
        wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    stub = world.upstream(script)
    route(world, f"https://127.0.0.1:{stub.port}")
    refused(world, ask(world.client(way), upgrade), "does not speak TLS", "http:// or ws://")


@ways
@upgrades
def test_tls_where_plain_is_expected(world: World, way: str, upgrade: bool) -> None:
    """An upstream with TLS behind an http route answers with an alert, or hangs up: a 502 in either case."""
    stub = world.upstream(lambda wire: None, tls=True)
    route(world, f"http://127.0.0.1:{stub.port}")
    refused(world, ask(world.client(way), upgrade), f"127.0.0.1:{stub.port}", sent=True)


# ---- no answer, or none that can be used


def ends(wire: Wire) -> None:
    wire.until(b"\r\n\r\n")


def resets(wire: Wire) -> None:
    wire.until(b"\r\n\r\n")
    wire.reset()


@ways
@upgrades
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("script", [ends, resets])
def test_no_answer(world: World, way: str, upgrade: bool, tls: bool, script: Callable[[Wire], None]) -> None:
    """An upstream that takes the request and hangs up is a 502; the client's connection stays."""
    stub = world.upstream(script, tls=tls)
    client = world.client(way)
    for _ in range(2):
        refused(world, ask(client, upgrade), f"127.0.0.1:{stub.port}", sent=True)


@ways
@upgrades
def test_reset_before_the_request(world: World, way: str, upgrade: bool) -> None:
    """An upstream that resets at once is a 502, whether anything could be sent or not."""
    world.upstream(lambda wire: wire.reset())
    answer = ask(world.client(way), upgrade)
    refused(world, answer, sent=bool(world.exchanges[0].injections))


@ways
@pytest.mark.parametrize(
    ("start", "upgrade"),
    [(b"", False), (b"", True), (b"HTTP/1.1 200 OK\r\nX-", False), (b"HTTP/1.1 103 Hints\r\n\r\n", False)],
)
def test_an_answer_that_does_not_come(
    make_world: Callable[..., World], clock: Clock, way: str, upgrade: bool, start: bytes
) -> None:
    """Silence instead of a head, or in the middle of one, ends with the limit; 1xx answers do not put it off."""
    world = make_world(limits=Limits(upstream=60))
    asked, half = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        asked.set()
        assert half.wait(TIMEOUT)
        wire.send(start)
        wire.end()

    world.upstream(script, tls=way == "tls")
    client = world.client(way)
    client.upgrade() if upgrade else client.ask()
    assert asked.wait(TIMEOUT)
    clock.forward(30)
    half.set()
    if start.startswith(b"HTTP/1.1 103"):
        assert client.message().status == 103
    clock.forward(30)
    answer = client.message()
    refused(world, answer, "no answer came within 60 s", "--gatekeeper-upstream-timeout", sent=True)
    assert answer.get("connection") == ""


@ways
@upgrades
@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX Y: " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101,
    ],
)
def test_garbage_instead_of_an_answer(world: World, way: str, upgrade: bool, garbage: bytes) -> None:
    """What is no HTTP answer is a 502 that repeats nothing of it, with one log line; the connection stays."""

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(garbage)
        wire.end()

    world.upstream(script)
    client = world.client(way)
    answer = ask(client, upgrade)
    while answer.status == 103:
        answer = client.message()
    refused(world, answer, sent=True)
    assert [line["http_status"] for line in world.lines if line["http_method"] == "GET"] == [502]
    world.serve(OK)
    assert client.do().body == b"ok"


@ways
def test_an_answers_head_over_the_limit(world: World, way: str) -> None:
    """More than 1 MiB of an answer's head is a 502; a little less is passed on."""
    field = b"X-A: " + b"v" * 1000 + b"\r\n"

    def script(wire: Wire) -> None:
        for count in (1000, 1100):
            wire.until(b"\r\n\r\n")
            wire.send(b"HTTP/1.1 200 OK\r\n" + field * count + b"Content-Length: 0\r\n\r\n")
        wire.end()

    world.upstream(script)
    client = world.client(way)
    assert client.do().status == 200
    refused(world, client.do(), "larger than 1048576 bytes", sent=True)


# ---- cut short

SHORT = [
    b"Content-Length: 10\r\n\r\nhello",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
]


@ways
@pytest.mark.parametrize("answer", SHORT)
@pytest.mark.parametrize(("tls", "reset"), [(False, False), (False, True), (True, False)])
def test_an_answer_cut_short_arrives_cut(world: World, way: str, tls: bool, answer: bytes, reset: bool) -> None:
    """An answer without its end comes without its end, and TLS without close_notify; the record says who cut it."""
    head, body = (b"HTTP/1.1 200 OK\r\n" + answer).split(b"\r\n\r\n", 1)
    go = threading.Event()

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(head + b"\r\n\r\n" + body[:3])
        assert go.wait(TIMEOUT)
        wire.send(body[3:])
        if reset:
            wire.reset()

    world.upstream(script, tls=tls)
    client = world.client(way)
    client.ask()
    assert client.until(b"\r\n\r\n").startswith(head)
    go.set()
    got = client.end()
    assert body.startswith(got) and not got.endswith(b"0\r\n\r\n")
    if not reset and b"zz" not in body:
        assert got == body
    client.close()
    record = world.exchanges[0]
    world.wait_for(lambda: record.closed)
    assert (record.closed, record.status) == ("upstream", 200)
    assert record.error
    if way != "plain":
        world.wait_for(lambda: world.tunnels[0].closed == "upstream")


def test_a_tls_answer_cut_short_has_no_close_notify(world: World) -> None:
    """An answer that ends with its connection, cut upstream, is no orderly end of TLS to the client either."""
    import ssl

    for finish in (True, False):

        def script(wire: Wire, finish: bool = finish) -> None:
            wire.until(b"\r\n\r\n")
            wire.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
            if finish:
                wire.finish()
                wire.end()

        world.upstream(script, tls=True)
        client = world.client("tls")
        client.ask()
        if finish:
            assert client.message().body == b"hello"
        else:
            client.until(b"hello")
            with pytest.raises(ssl.SSLError, match="EOF"):
                client.rest()
        client.close()


# ---- silence, ours and theirs


@ways
def test_a_slow_handshake_is_no_silence(make_world: Callable[..., World], clock: Clock, way: str) -> None:
    """While an upstream is being dialled its own limit counts, not the idle limit, however short that is."""
    world = make_world(limits=Limits(idle=60, upstream=300))
    authority = CertificateAuthority()
    greeted, go = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        wire.buffer = wire.recv()
        greeted.set()
        assert go.wait(TIMEOUT)
        wire.secure(authority.server_context(HOST), server_side=True)
        wire.message()
        wire.send(OK)
        wire.end()

    stub = world.upstream(script)
    world.routes.add(HOST, f"https://127.0.0.1:{stub.port}", ca=authority.pem)
    client = world.client(way)
    client.ask()
    assert greeted.wait(TIMEOUT)
    clock.forward(100)
    go.set()
    assert client.message().body == b"ok"


@ways
def test_silence_in_the_middle_of_an_answer(make_world: Callable[..., World], clock: Clock, way: str) -> None:
    """An answer that stops in the middle is cut after the idle limit, and arrives cut."""
    world = make_world(limits=Limits(idle=60))

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        assert wire.end() == b""

    world.upstream(script)
    client = world.client(way)
    client.ask()
    assert client.until(b"hello")
    clock.forward(60)
    assert client.end() == b""
    record = world.exchanges[0]
    world.wait_for(lambda: record.closed)
    assert (record.closed, record.status, record.response_size, record.error) == ("idle", 200, 5, None)
