"""What the tests of the engine share: a proxy whose sink is a list, and clients and upstreams close to the wire.

A `World` is one lease on one listener. A test that leaves a task on the proxy's loop, an open record, a secret in a
record or a failed upstream script is wrong, whatever it asserts: that is checked here, after each test.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

from pytest_gatekeeper._core.model import Credential, NetworkSettings, SourceSpec
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.records import Exchange, LogLine, Record, Tunnel
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.rules import RuleBook, make_rule
from pytest_gatekeeper._core.scan.watchlist import Watchlist
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.terms import Terms
from pytest_gatekeeper._proxy.ca import CertificateAuthority, process_authority
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.lease import Lease, Limits
from pytest_gatekeeper._proxy.listener import Listener
from pytest_gatekeeper._proxy.routes import Routes
from pytest_gatekeeper._proxy.thread import proxy_thread
from tests.conftest import CHUNK, PATIENCE, SOON, Ended, Message

if TYPE_CHECKING:
    from pytest_gatekeeper.origin import Origin

T = TypeVar("T")
HOST = "ws.example.com"
SECRET = "t0k-5f2a9c7d31e8"
BEARER = f"Bearer {SECRET}"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
TIMEOUT = 30.0
RESET = struct.pack("ii", 1, 0)

ways = pytest.mark.parametrize("way", ["plain", "tls", "inner"])
upgrades = pytest.mark.parametrize("upgrade", [False, True], ids=["request", "upgrade"])


class Wire:
    """A blocking socket whose every wait has a limit, with TLS or without, and what was read of it and not used."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()

    # ---- bytes

    def secure(self, context: ssl.SSLContext, name: str | None = None, *, server_side: bool = False) -> None:
        """A TLS handshake; what was read before is its beginning."""
        self._in.write(self.buffer)
        self.buffer = b""
        self.tls = context.wrap_bio(self._in, self._out, server_side=server_side, server_hostname=name)
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                if not data:
                    raise Ended("the connection ended in the handshake") from None
                self._in.write(data)
            except ssl.SSLError:
                self._flush()
                raise
            else:
                return self._flush()

    def _flush(self) -> None:
        self.sock.sendall(self._out.read())

    def sealed(self, data: bytes) -> bytes:
        """The bytes that stand for `data` on the wire."""
        if self.tls is None:
            return data
        self.tls.write(data)
        return self._out.read()

    def send(self, *parts: bytes) -> None:
        """Send bytes, all at once."""
        self.sock.sendall(self.sealed(b"".join(parts)))

    def recv(self) -> bytes:
        """The next bytes, b"" at the end: with TLS after close_notify only, else it is an SSLError."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        if self.tls is None:
            return self.sock.recv(65536)
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                raw = self.sock.recv(65536)
                if raw:
                    self._in.write(raw)
                else:
                    self._in.write_eof()
            except ssl.SSLZeroReturnError:
                return b""

    def until(self, mark: bytes) -> bytes:
        """Everything up to a mark and the mark; what follows stays."""
        data = b""
        while mark not in data:
            part = self.recv()
            if not part:
                raise Ended(f"the connection ended before {mark!r}: {data[-200:]!r}")
            data += part
        end = data.index(mark) + len(mark)
        self.buffer = data[end:]
        return data[:end]

    def exactly(self, count: int) -> bytes:
        """As many bytes; what follows stays."""
        parts, left = [], count
        while left > 0:
            part = self.recv()
            if not part:
                raise Ended(f"the connection ended {left} bytes early")
            parts.append(part)
            left -= len(part)
        data = b"".join(parts)
        self.buffer = data[count:]
        return data[:count]

    def rest(self) -> bytes:
        """Everything up to the end."""
        parts = []
        while part := self.recv():
            parts.append(part)
        return b"".join(parts)

    def end(self) -> bytes:
        """Everything up to the end, be it in order or not."""
        data = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while part := self.recv():
                data += part
        return data

    def silent(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes for a while."""
        self.sock.settimeout(seconds)
        try:
            self.buffer = self.recv()
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(TIMEOUT)
        return False

    # ---- ends

    def finish(self) -> None:
        """End this direction: close_notify where there is TLS, and FIN."""
        if self.tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            self._flush()
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End both directions; no close_notify."""
        self.sock.close()

    def reset(self) -> None:
        """End with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    # ---- messages

    def message(self, method: str = "GET") -> Message:
        """The next message, interim answers included; `method` is of the request that it answers."""
        return self._with_body(Message.of(self.until(b"\r\n\r\n")), method)

    def _with_body(self, head: Message, method: str) -> Message:
        answer = head.start.startswith("HTTP/")
        if answer and (method == "HEAD" or head.status < 200 or head.status in {204, 304}):
            return head
        if head.get("transfer-encoding"):
            return head._replace(body=self.chunks()[0])
        if head.get("content-length"):
            return head._replace(body=self.exactly(int(head.get("content-length"))))
        return head._replace(body=self.rest() if answer else b"")

    def chunks(self) -> tuple[bytes, bytes]:
        """A chunked body: its data, and its trailers as they came."""
        data = b""
        while True:
            match = CHUNK.fullmatch(self.until(b"\r\n"))
            assert match is not None, "no chunk size"
            size = int(match[1], 16)
            if size == 0:
                break
            data += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        trailers = b""
        while (line := self.until(b"\r\n")) != b"\r\n":
            trailers += line
        return data, trailers


class Client(Wire):
    """A client of the proxy. `way` is `plain` (absolute-form), `tls` (in a tunnel), or `inner` (plain in a tunnel)."""

    def __init__(self, sock: socket.socket, way: str, host: str) -> None:
        super().__init__(sock)
        self.way = way
        self.host = host

    def ask(self, method: str = "GET", path: str = "/", *fields: str, **more: Any) -> None:
        """Send a request, with what `request` takes."""
        self.send(self.request(method, path, *fields, **more))

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        *fields: str,
        body: bytes | None = None,
        version: str = "1.1",
        host: str | None = None,
    ) -> bytes:
        """A request's bytes, in the form that the way asks for."""
        target = f"http://{self.host}{path}" if self.way == "plain" else path
        lines = [f"{method} {target} HTTP/{version}", f"Host: {host or self.host}", *fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    def do(self, method: str = "GET", path: str = "/", *fields: str, **more: Any) -> Message:
        """Send a request and read its answer."""
        self.ask(method, path, *fields, **more)
        return self.message(method)

    def upgrade(self, path: str = "/socket", *fields: str, protocol: str = "websocket") -> None:
        """Ask for another protocol."""
        self.ask("GET", path, "Connection: keep-alive, Upgrade", f"Upgrade: {protocol}", *fields)


class Stub:
    """A scripted upstream on loopback: each connection is handed to `script` on a thread of its own.

    Attributes:
        port: where it listens.
        count: connections so far.
        heads: request heads that `serve` has read, in order.
        errors: what scripts raised, broken connections left out.
    """

    def __init__(self, script: Callable[[Wire], object], context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._wires: list[Wire] = []
        self._threads: list[threading.Thread] = []
        self.port: int = self._socket.getsockname()[1]
        self.count = 0
        self.heads: list[Message] = []
        self.errors: list[BaseException] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self.count += 1
            wire = Wire(sock)
            self._wires.append(wire)
            thread = threading.Thread(target=self._run, args=(wire,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, wire: Wire) -> None:
        try:
            if self._context is not None:
                wire.secure(self._context, server_side=True)
            self._script(wire)
        except OSError:
            pass  # the proxy's tests cut connections
        except BaseException as error:  # noqa: BLE001 - told after the test
            self.errors.append(error)
        finally:
            wire.close()

    def close(self) -> None:
        """End everything, and wait for the scripts."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in [self._accepting, *self._threads]:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), "an upstream's script did not end"


class World:
    """A lease on a listener, and who takes part in it.

    Attributes:
        told: for each record that the sink got, what it said at that moment.
    """

    def __init__(self, stack: contextlib.ExitStack, lease: Callable[[Callable[[Record], None]], Lease]) -> None:
        self._stack = stack
        self._condition = threading.Condition()
        self.records: list[Record] = []
        self.told: list[tuple[Any, ...]] = []
        self.lease = lease(self._sink)
        self.routes = self.lease.routes
        self.listener = Listener("127.0.0.1", 0)
        self.ended = False
        thread = proxy_thread()
        thread.run(self.listener.open)
        stack.callback(lambda: thread.run(self.listener.close, limit=2 * PATIENCE))
        thread.run(lambda: self.listener.hold(self.lease))
        stack.callback(self.end)

    def _sink(self, record: Record) -> None:
        with self._condition:
            self.records.append(record)
            if isinstance(record, Exchange):
                sizes = record.request_size, record.response_size
                self.told.append((record.id, record.status, len(record.injections), sizes, record.closed))
            self._condition.notify_all()

    def end(self) -> float:
        """End the lease; how long that took (seconds): less than `SOON`, unless a connection had to be dropped."""
        began = time.monotonic()
        if not self.ended:
            self.ended = True
            proxy_thread().run(lambda: self.listener.release(self.lease), limit=2 * PATIENCE)
        return time.monotonic() - began

    def at_end(self, work: Callable[[], object]) -> None:
        """Do something after the test, before what was begun until now is ended."""
        self._stack.callback(work)

    # ---- records

    @property
    def exchanges(self) -> list[Exchange]:
        """In order of arrival, each once."""
        return list({record.id: record for record in list(self.records) if isinstance(record, Exchange)}.values())

    @property
    def tunnels(self) -> list[Tunnel]:
        """In order of arrival, each once."""
        return list({record.id: record for record in list(self.records) if isinstance(record, Tunnel)}.values())

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log, each line's fields with its level and message."""
        lines = [record for record in list(self.records) if isinstance(record, LogLine)]
        return [{"level": line.level, "msg": line.message, **dict(line.fields)} for line in lines]

    def wait_for(self, predicate: Callable[[], T]) -> T:
        """Wait until something holds that the proxy does without telling the client."""
        end = time.monotonic() + TIMEOUT
        with self._condition:
            while not (found := predicate()):
                assert time.monotonic() < end, f"it never came: {self.records[-5:]!r}"
                self._condition.wait(0.01)  # some of it is done without telling the sink
            return found

    def hear(self, client: Wire, data: bytes) -> None:
        """Have the one client send something, and wait until the proxy has read it."""
        (cut,) = self.lease._open.values()
        connection = cast("MethodType", cut).__self__
        assert isinstance(connection, Connection)
        before = connection.tcp.activity
        client.send(data)
        self.wait_for(lambda: connection.tcp.activity != before)

    # ---- who takes part

    def connect(self) -> socket.socket:
        """A TCP connection to the proxy, nothing sent."""
        return self._stack.enter_context(socket.create_connection(("127.0.0.1", self.listener.port), TIMEOUT))

    def client(
        self, way: str, host: str = HOST, port: int | None = None, *, context: ssl.SSLContext | None = None
    ) -> Client:
        """A client that has got as far as its first request."""
        client = Client(self.connect(), way, host)
        if way != "plain":
            authority = f"{host}:{port or (443 if way == 'tls' else 80)}"
            client.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        if way == "tls":
            client.secure(context or client_context(), host)
        return client

    def upstream(
        self,
        script: Callable[[Wire], object],
        host: str = HOST,
        *,
        tls: bool = False,
        context: ssl.SSLContext | None = None,
        verify: bool = True,
    ) -> Stub:
        """A scripted upstream, and a route to it."""
        if tls and context is None:
            context = stub_authority().server_context(host)
        stub = Stub(script, context)
        self._stack.callback(self._closed, stub)
        scheme = "http" if context is None else "https"
        self.routes.add(host, f"{scheme}://127.0.0.1:{stub.port}", ca=stub_authority().pem, verify=verify)
        return stub

    def _closed(self, stub: Stub) -> None:
        stub.close()
        assert not stub.errors, f"an upstream's script failed: {stub.errors!r}"

    def serve(self, *answers: bytes, host: str = HOST, tls: bool = False) -> Stub:
        """An upstream that reads a request and sends the next answer, the last one again and again."""

        def script(wire: Wire) -> None:
            for answer in itertools.chain(answers, itertools.repeat(answers[-1])):
                stub.heads.append(wire.message())
                wire.send(answer)

        stub = self.upstream(script, host, tls=tls)
        return stub

    def origin(self, *hosts: str) -> Origin:
        """The package's own stub, routed."""
        from pytest_gatekeeper.origin import Origin

        origin = Origin(lambda host, url, ca: self.routes.add(host, url, ca=ca))
        self._stack.enter_context(origin)
        origin.serve(*(hosts or (HOST,)))
        return origin


@functools.lru_cache(maxsize=1)
def stub_authority() -> CertificateAuthority:
    """Who vouches for scripted upstreams."""
    return CertificateAuthority()


@functools.lru_cache(maxsize=1)
def client_context() -> ssl.SSLContext:
    """What clients trust."""
    return process_authority().ssl_context()


def texts(thing: object, seen: set[int] | None = None) -> Iterator[str]:
    """Every text that can be reached from a record, and how everything shows itself; a Secret is its repr."""
    seen = set() if seen is None else seen
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, bytes):
        yield thing.decode("latin-1")
    elif id(thing) not in seen:
        seen.add(id(thing))
        yield repr(thing)
        if isinstance(thing, list | tuple):
            parts: list[object] = list(thing)
        elif isinstance(thing, dict):
            parts = [*thing.keys(), *thing.values()]
        elif isinstance(thing, Secret):
            parts = []
        elif dataclasses.is_dataclass(thing):
            parts = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
        else:
            parts = [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
        for part in parts:
            yield from texts(part, seen)


def credential(host: str = HOST, value: str = SECRET, header: str = "Authorization") -> tuple[Credential, Secret]:
    return Credential(host, SourceSpec("static"), header=header, grant="ws-api"), Secret(value)


def make_lease(
    sink: Callable[[Record], None],
    *,
    credentials: tuple[tuple[Credential, Secret], ...] = (),
    limits: Limits | None = None,
    network: NetworkSettings | None = None,
    auth_token: str = "",
    allow_network: bool = False,
    capture: tuple[str, ...] = (),
) -> Lease:
    pairs = credentials or (credential(),)
    rules = [make_rule(f"credentials[{index}]", *pair) for index, pair in enumerate(pairs)]
    token = Secret(auth_token) if auth_token else None
    terms = Terms(RuleBook(rules), Policy(network or NetworkSettings()), token, capture)
    hidden = [secret for rule in rules for secret in (rule.secret, rule.header_value)]
    redactor = Redactor([*hidden, *([token] if token else [])])
    routes = Routes(allow_network=allow_network)
    limits = (limits or Limits(head=TIMEOUT, handshake=TIMEOUT))._replace(patience=PATIENCE)
    return Lease(terms, routes, redactor, process_authority(), sink, watchlist=Watchlist(rules), limits=limits)


async def _tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def _left_over(before: set[asyncio.Task[Any]]) -> list[str]:
    """The tasks that a test left, after a moment to end."""
    left: set[asyncio.Task[Any]] = await _tasks() - before
    if left:
        await asyncio.wait(left, timeout=SOON)
    return [repr(task) for task in await _tasks() - before]


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Make a world: `make_world(limits=…, auth_token=…, network=…, allow_network=…, credentials=…, capture=…)`."""
    thread = proxy_thread()
    before = thread.run(_tasks)
    worlds: list[World] = []
    with contextlib.ExitStack() as stack:

        def make_world(**options: Any) -> World:
            worlds.append(World(stack, functools.partial(make_lease, **options)))
            return worlds[-1]

        yield make_world
        for world in worlds:
            assert world.end() < SOON, "the lease did not end in time"
    assert not thread.run(lambda: _left_over(before)), "tasks were left on the proxy's loop"
    for world in worlds:
        everything: list[Exchange | Tunnel] = [*world.exchanges, *world.tunnels]
        assert not [record for record in everything if record.closed is None], "left open"
        assert not [text for text in texts(world.records) if SECRET in text], "a secret shows in a record"


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with one rule: `ws.example.com` gets a bearer token under the grant `ws-api`."""
    return make_world()
