"""The stub upstream as users see it: its life, its place, its certificates, its memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from pytest_gatekeeper._origin import reception
from pytest_gatekeeper._origin.answers import Answer
from pytest_gatekeeper._origin.certificates import origin_authority
from pytest_gatekeeper._origin.fault_table import Fault
from pytest_gatekeeper._origin.journal import Journal
from pytest_gatekeeper._origin.script import Script
from pytest_gatekeeper._origin.streams import ForwardedStream, RecordedStream, StubTcp
from pytest_gatekeeper._proxy.ca import CertificateAuthority
from pytest_gatekeeper._proxy.thread import proxy_thread
from pytest_gatekeeper.errors import ProxyError
from pytest_gatekeeper.origin import Origin, RawStream, Received
from tests.conftest import Clock
from tests.origin.conftest import TIMEOUT, at_rest

Dial = Callable[[Origin], socket.socket]
Ask = Callable[..., HTTPResponse]
ReadAll = Callable[[socket.socket], bytes]

GET = b"GET /p?q=s3cret HTTP/1.1\r\nHost: a.example\r\nAuthorization: s3cret\r\n\r\n"


def gone(sock: socket.socket) -> bool:
    """Whether the other end has ended the connection."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


# ---- life


def test_it_lives_as_long_as_its_block(dial: Dial, ask: Ask) -> None:
    """Afterwards the port refuses; what was received stays."""
    with Origin() as origin:
        place = origin.host, origin.port
        assert ask(dial(origin), GET).status == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, TIMEOUT)
    assert len(origin.received) == 1


def test_it_lives_as_long_as_its_async_block() -> None:
    """The loop of the test is not held up while it starts and ends."""

    async def use() -> tuple[str, int]:
        async with Origin() as origin:
            reader, writer = await asyncio.open_connection(origin.host, origin.port)
            writer.write(GET)
            assert (await asyncio.wait_for(reader.readline(), 10)) == b"HTTP/1.1 200 OK\r\n"
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return origin.host, origin.port

    place = asyncio.run(use())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, TIMEOUT)


def test_it_starts_once() -> None:
    """Neither twice nor again."""
    origin = Origin()
    origin.start()
    try:
        with pytest.raises(ProxyError, match="is running; make another one"):
            origin.start()
    finally:
        origin.close()
    with pytest.raises(ProxyError, match="is closed; make another one"):
        origin.start()
    origin.close()


def test_before_it_starts_it_is_nowhere() -> None:
    """And closing it is no error."""
    origin = Origin()
    with pytest.raises(ProxyError, match="has not been started"):
        _ = origin.url
    origin.close()
    assert repr(origin) == "<Origin new>"


def test_close_cuts_everything_in_time(
    dial: Dial, ask: Ask, trusting: ssl.SSLContext, cleanup: contextlib.ExitStack
) -> None:
    """Idle, in a handshake, in a body, in a stream that waits, in a WebSocket: all are gone at once."""
    hold = threading.Event()
    with Origin() as origin, Origin() as other:
        origin.respond(path="/hold", chunks=["first", hold])
        bystander = dial(other)
        half = dial(origin)
        half.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
        shaking = dial(origin)
        shaking.sendall(b"\x16\x03\x01")
        held = dial(origin)
        ask(held, b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        idle = dial(origin)
        ask(idle, GET)
        client = cleanup.enter_context(connect(origin.url_for("wss"), ssl=trusting))
        origin.wait_for(lambda o: len(o.received) == 4)
        origin.close()
        assert at_rest(origin)
        assert all(gone(sock) for sock in (half, shaking, idle))
        with pytest.raises(ConnectionClosedError):
            client.recv(timeout=10)
        assert ask(bystander, GET).status == 200
    assert origin.errors == ()


def test_a_connection_that_comes_while_it_closes_is_cut(origin: Origin, dial: Dial) -> None:
    """asyncio may have accepted one before it stops to listen."""
    journal = Journal()
    desk = reception.Reception(Script(journal), journal, idle_limit=60, record_raw=False)

    async def close_first() -> None:
        await desk.open()
        arriving = StubTcp(desk._admit)
        await desk.shut()
        await asyncio.get_running_loop().create_connection(lambda: arriving, origin.host, origin.port)
        assert await arriving.receive() == b""

    asyncio.run(close_first())


def test_connections_that_race_with_close_are_closed() -> None:
    """Whatever the moment at which they come, none is left open behind asyncio's back."""
    for _ in range(50):
        with Origin() as origin:
            socks = [socket.create_connection((origin.host, origin.port), TIMEOUT) for _ in range(4)]
        assert all(gone(sock) for sock in socks)
        for sock in socks:
            sock.close()
    gc.collect()  # a ResourceWarning would be an error here


def test_close_says_so_when_the_thread_is_busy(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait beyond its limit; the closing goes on when the thread is free."""
    monkeypatch.setattr("pytest_gatekeeper.origin.CLOSE_LIMIT", 0.01)
    free = threading.Event()
    with Origin() as origin:
        proxy_thread().loop.call_soon_threadsafe(free.wait, TIMEOUT)
        origin.close()
        assert "did not answer within 0.01 s" in origin.errors[0]
        sock = dial(origin)  # the system takes it in, nobody else does
        free.set()
        assert gone(sock)


def test_a_connection_that_never_speaks_is_let_go(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Nothing is noted for it."""
    sock = dial(origin)
    sock.shutdown(socket.SHUT_WR)
    assert gone(sock)
    assert ask(dial(origin), GET).status == 200
    assert origin.errors == ()


def test_an_idle_connection_is_cut(clock: Clock, dial: Dial, ask: Ask) -> None:
    """After the limit, and the journal names it."""
    with Origin(idle_limit=60) as origin:
        sock = dial(origin)
        response = ask(sock, GET)
        assert len(response.read()) > 0
        clock.forward(60)
        assert gone(sock)
        assert origin.errors == ("a connection was cut after 60 s without a byte",)


def test_a_busy_connection_is_not_cut(clock: Clock, dial: Dial, ask: Ask) -> None:
    """Its limit starts anew with each byte."""
    with Origin(idle_limit=60) as origin:
        sock = dial(origin)
        for _ in range(4):
            assert ask(sock, GET).read()
            clock.forward(35)
        assert origin.errors == ()
        clock.forward(25)
        assert gone(sock)


@pytest.mark.parametrize("limit", [0, -1])
def test_the_idle_limit_is_positive(limit: float) -> None:
    """A limit that nothing could meet is refused."""
    with pytest.raises(ValueError, match="above 0"):
        Origin(idle_limit=limit)


# ---- place


def test_one_port_for_every_scheme(origin: Origin) -> None:
    """`url` is that for https."""
    place = f"127.0.0.1:{origin.port}"
    assert origin.url == f"https://{place}"
    assert [origin.url_for(scheme) for scheme in ("http", "ws", "wss")] == [
        f"http://{place}",
        f"ws://{place}",
        f"wss://{place}",
    ]
    assert repr(origin) == f"<Origin https://{place}>"


def test_other_schemes_are_refused(origin: Origin) -> None:
    """The text lists what there is."""
    with pytest.raises(ValueError, match="http, https, ws or wss"):
        origin.url_for("ftp")


def test_serve_leads_names_here() -> None:
    """Each of them, with the URL and the authority."""
    routes: list[tuple[str, str, bytes]] = []
    with Origin(lambda *route: routes.append(route)) as origin:
        origin.serve("ws.example.com", "*.api.example.com")
        assert routes == [
            ("ws.example.com", origin.url, origin.ca_pem),
            ("*.api.example.com", origin.url, origin.ca_pem),
        ]


def test_serve_uses_the_proxy_that_it_is_given(origin: Origin) -> None:
    """Whatever has `route`."""
    routes: list[tuple[str, str, bytes]] = []

    class Proxy:
        def route(self, host: str, url: str, *, ca: bytes) -> None:
            routes.append((host, url, ca))

    origin.serve("ws.example.com", proxy=Proxy())
    assert routes == [("ws.example.com", origin.url, origin.ca_pem)]


def test_serve_without_a_proxy_says_what_to_do(origin: Origin) -> None:
    """The way out is in the text."""
    with pytest.raises(ProxyError, match=r"proxy\.route\(host, origin\.url, ca=origin\.ca_pem\)"):
        origin.serve("ws.example.com")


@pytest.mark.parametrize("hosts", [["a.example.com", "b.example.com"], None, 7])
def test_serve_takes_names_one_by_one(hosts: Any) -> None:
    """A list is refused with the form that is meant, before any route is set."""
    routes: list[str] = []
    origin = Origin(lambda host, url, ca: routes.append(host))
    with pytest.raises(TypeError, match=r'serve\("a\.example\.com", "b\.example\.com"\), not a'):
        origin.serve("ws.example.com", hosts)
    assert routes == []


# ---- certificates


@pytest.mark.parametrize("name", ["ws.example.com", "under_score.example.com", "localhost", "a" * 63 + ".example"])
def test_the_leaf_is_for_the_name_asked_for(
    origin: Origin, dial: Dial, ask: Ask, trusting: ssl.SSLContext, cleanup: contextlib.ExitStack, name: str
) -> None:
    """The client's own verification passes, and the name is recorded."""
    sock = cleanup.enter_context(trusting.wrap_socket(dial(origin), server_hostname=name))
    assert sock.selected_alpn_protocol() is None
    assert ask(sock, GET).status == 200
    (request,) = origin.received
    assert (request.tls, request.sni, request.host) == (True, name, "a.example")


def test_without_a_name_the_leaf_is_for_the_address(
    origin: Origin, dial: Dial, ask: Ask, trusting: ssl.SSLContext, cleanup: contextlib.ExitStack
) -> None:
    """And for localhost; a client that asks by address sends no name. HTTP/1.1 is agreed on by ALPN."""
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    sock = cleanup.enter_context(trusting.wrap_socket(dial(origin), server_hostname="127.0.0.1"))
    assert sock.selected_alpn_protocol() == "http/1.1"
    certificate = sock.getpeercert()
    assert certificate is not None
    assert certificate["subjectAltName"] == (("IP Address", "127.0.0.1"), ("DNS", "localhost"))
    assert ask(sock, b"GET / HTTP/1.0\r\n\r\n").status == 200
    assert (origin.received[0].sni, origin.received[0].host) == (None, "")


def test_a_name_stands_in_for_a_missing_host(
    origin: Origin, dial: Dial, ask: Ask, trusting: ssl.SSLContext, cleanup: contextlib.ExitStack
) -> None:
    """HTTP/1.0 needs none, and answers are found all the same."""
    origin.respond(host="old.example", body="found")
    sock = cleanup.enter_context(trusting.wrap_socket(dial(origin), server_hostname="old.example"))
    assert ask(sock, b"GET / HTTP/1.0\r\n\r\n").read() == b"found"


def test_a_client_that_does_not_trust_it_is_noted(origin: Origin, dial: Dial) -> None:
    """With OpenSSL's name for its alert."""
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(dial(origin), server_hostname="a.example")
    (error,) = origin.wait_for(lambda o: o.errors)
    assert error == "TLS failed: TLSV1_ALERT_UNKNOWN_CA"


def test_a_name_that_is_none_gets_no_leaf(origin: Origin, dial: Dial, trusting: ssl.SSLContext) -> None:
    """The handshake fails with an alert, and the journal says why."""
    with pytest.raises(ssl.SSLError):
        trusting.wrap_socket(dial(origin), server_hostname="a b.example")
    origin.wait_for(lambda o: len(o.errors) == 2)
    assert origin.errors[0] == "no certificate could be made: ValueError"


def test_the_authority_is_one_for_all_stubs() -> None:
    """And not the proxy's, which is another object of the same class."""
    assert Origin().ca_pem == Origin().ca_pem == origin_authority().pem
    assert CertificateAuthority().pem != origin_authority().pem


def test_the_script_is_asked_for_each_connection_and_each_request(
    origin: Origin, dial: Dial, ask: Ask, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the one place that decides what a stub does."""
    asked: list[str] = []
    context, answer = Script.context, Script.answer

    def noted_context(script: Script, sni: str | None, fault: Fault | None) -> ssl.SSLContext:
        asked.append(f"tls {sni}")
        return context(script, sni, fault)

    def noted_answer(script: Script, request: Received) -> Answer | None:
        asked.append(request.path)
        return answer(script, request)

    monkeypatch.setattr(Script, "context", noted_context)
    monkeypatch.setattr(Script, "answer", noted_answer)
    with trusting.wrap_socket(dial(origin), server_hostname="a.example") as sock:
        for _ in range(2):
            ask(sock, GET).read()
    assert asked == ["tls a.example", "/p", "/p"]


# ---- memory


def test_wait_for_gives_what_the_predicate_gives(origin: Origin, dial: Dial) -> None:
    """It is called with the stub, again at each arrival."""
    sock = dial(origin)
    timer = threading.Thread(target=sock.sendall, args=(GET,))
    timer.start()
    (request,) = origin.wait_for(lambda o: o.received)
    timer.join(10)
    assert request.path == "/p"


def test_wait_for_shows_what_was_there(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Without a header value or a query."""
    ask(dial(origin), GET).read()
    ask(dial(origin), b"\x00\x00").read()
    with pytest.raises(AssertionError) as caught:
        origin.wait_for(lambda o: len(o.received) > 1, timeout=0.01)
    text = str(caught.value)
    assert "did not happen within 0.01 s" in text
    assert "received: 1\n  <Received GET a.example/p>\n" in text
    assert "errors: 1\n  a request was answered 400" in text
    assert "s3cret" not in text


def test_wait_for_shows_that_nothing_was_there(origin: Origin) -> None:
    """In so many words."""
    with pytest.raises(AssertionError, match="received: nothing"):
        origin.wait_for(lambda o: o.received, timeout=0)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_raw_streams_are_what_passed_on_the_wire(
    dial: Dial, ask: Ask, trusting: ssl.SSLContext, read_all: ReadAll, cleanup: contextlib.ExitStack, scheme: str
) -> None:
    """TLS taken off, each connection apart, what was glued together not twice."""
    with Origin(record_raw=True) as origin:
        sock = dial(origin)
        if scheme == "wss":
            sock = cleanup.enter_context(trusting.wrap_socket(sock, server_hostname="a.example"))
        sent = GET + b"POST /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
        sock.sendall(sent)
        received = read_all(sock)
        assert received.count(b"HTTP/1.1 200 OK") == 2
        (stream,) = origin.streams
        assert (stream.received, stream.sent) == (sent, received)
        assert repr(stream) == f"<RawStream received={len(sent)} sent={len(received)} bytes>"


def test_raw_streams_of_a_websocket(trusting: ssl.SSLContext) -> None:
    """Frames and all; without `record_raw` nothing is kept."""
    with Origin(record_raw=True) as origin, Origin() as other:
        for stub in (origin, other):
            with connect(stub.url_for("wss"), ssl=trusting, compression=None) as client:
                client.send("hello")
                assert client.recv(timeout=10) == "hello"
        (stream,) = origin.streams
        assert stream.received.startswith(b"GET / HTTP/1.1\r\n")
        assert b"\r\n\r\n\x81\x05hello" in stream.sent
        assert other.streams == ()


def test_a_recorded_stream_is_a_stream(origin: Origin) -> None:
    """Everything that the port offers goes through to the stream below."""

    class Lower:
        activity = 7.0
        ragged = True
        writable = True
        ended = True

        def __init__(self) -> None:
            self.said: list[object] = []

        async def receive(self) -> bytes:
            return b"later"

        async def pour(self, into: Callable[[bytes], bool]) -> bool:
            raise AssertionError("what is recorded must not go past the recording")

        def take(self) -> bytes:
            return b"now"

        def unread(self, data: bytes) -> None:
            self.said.append(("unread", data))

        def write(self, data: bytes) -> None:
            self.said.append(data)

        async def send(self, data: bytes) -> None:
            self.said.append(("send", data))

        async def drain(self) -> None:
            self.said.append("drain")

        async def finish(self) -> None:
            self.said.append("finish")

        def close(self) -> None:
            self.said.append("close")

        def cut(self) -> None:
            self.said.append("cut")

        def abort(self, error: OSError | None = None) -> None:
            self.said.append(error)

        def on_end(self, callback: Callable[[], None] | None) -> None:
            self.said.append(callback)

    lower, error, raw = Lower(), OSError(), RawStream()
    stream = RecordedStream(lower, raw)
    stream.unread(b"")
    stream.unread(b"back")
    assert (stream.take(), stream.take()) == (b"back", b"now")
    assert (stream.activity, stream.ragged, stream.ended, stream.writable) == (7.0, True, True, True)
    assert asyncio.run(stream.pour(lambda data: data != b"later")) is False
    stream.write(b"out")
    asyncio.run(stream.drain())
    asyncio.run(stream.finish())
    stream.close()
    stream.cut()
    stream.abort(error)
    stream.on_end(None)
    assert lower.said == [b"out", "drain", "finish", "close", "cut", error, None]
    assert (raw.received, raw.sent) == (b"nowlater", b"out")

    lower.said.clear()
    forwarded = ForwardedStream(lower)
    forwarded.unread(b"back")
    forwarded.write(b"out")
    asyncio.run(forwarded.send(b"more"))
    assert (forwarded.take(), asyncio.run(forwarded.receive())) == (b"now", b"later")
    assert lower.said == [("unread", b"back"), b"out", ("send", b"more")]


def test_what_nobody_expected_is_noted_by_kind_and_place(
    origin: Origin, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text could hold anything; the connection ends, the stub goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("s3cret")

    with monkeypatch.context() as patch:
        patch.setattr(Script, "answer", fail)
        sock = dial(origin)
        sock.sendall(GET)
        assert gone(sock)
    (error,) = origin.wait_for(lambda o: o.errors)
    assert error.startswith("an answer failed: RuntimeError at test_origin.py:")
    assert reception.describe(RuntimeError("s3cret")) == "an answer failed: RuntimeError"


def test_a_reset_is_noted(origin: Origin, dial: Dial) -> None:
    """A client that drops its connection in the middle of a request."""
    sock = dial(origin)
    sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    origin.wait_for(lambda o: o.received and o.received[0].body)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()
    assert "ConnectionResetError" in origin.wait_for(lambda o: o.errors)[0]
