"""What the proofs share: a real `Gatekeeper`, and a test thread that drives both of its ends, step by step.

A `Bench` has one upstream port. The test connects as a client, sends, accepts the proxy's connection as the upstream,
reads, answers: nothing runs beside it but the proxy, so what has arrived at one end when a step is taken is a fact, not
a matter of luck. Every wait has a limit, and nothing sleeps.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import ssl
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pytest

from pytest_gatekeeper import Gatekeeper
from pytest_gatekeeper._core.records import Exchange, Leak
from pytest_gatekeeper._proxy.ca import CertificateAuthority
from pytest_gatekeeper.recorder import Recorder
from tests.conftest import CHUNK, Ended, Message

TIMEOUT = 30.0
API = "api.example.com"  # has a credential
WEB = "www.example.org"  # has none
VALUE = 'k7Q+/s&3~"f9c2=xJ5v'  # every encoding makes something else of it
TEST = "tests/test_shop.py::test_pay"

Way = Literal["plain", "tunnel", "upgrade", "plain upgrade"]
WAYS: tuple[Way, ...] = ("plain", "tunnel", "upgrade", "plain upgrade")
ways = pytest.mark.parametrize("way", WAYS)


class Wire:
    """One end of a connection: a blocking socket with a limit, and what was read of it and not used."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._buffer = b""

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a write of its own: a TLS record where there is TLS."""
        for piece in pieces:
            self.sock.sendall(piece)

    def _more(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise Ended(f"the connection ended after {self._buffer[-200:]!r}")
        return data

    def until(self, mark: bytes) -> bytes:
        """Everything up to a mark and the mark."""
        while mark not in self._buffer:
            self._buffer += self._more()
        end = self._buffer.index(mark) + len(mark)
        data, self._buffer = self._buffer[:end], self._buffer[end:]
        return data

    def exactly(self, count: int) -> bytes:
        """As many bytes."""
        while len(self._buffer) < count:
            self._buffer += self._more()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def waiting(self) -> bytes:
        """What has been read and not been used."""
        return self._buffer

    def rest(self) -> bytes:
        """Everything up to the end, be it in order or not."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:
                self._buffer += self._more()
        data, self._buffer = self._buffer, b""
        return data

    def message(self) -> Message:
        """The next message with its body."""
        head = Message.of(self.until(b"\r\n\r\n"))
        if head.all("transfer-encoding"):
            return head._replace(body=self._chunks())
        return head._replace(body=self.exactly(int(length[0])) if (length := head.all("content-length")) else b"")

    def _chunks(self) -> bytes:
        data = b""
        while True:
            match = CHUNK.fullmatch(self.until(b"\r\n"))
            assert match is not None, "no chunk size"
            if int(match[1], 16) == 0:
                break
            data += self.exactly(int(match[1], 16) + 2)[:-2]
        while self.until(b"\r\n") != b"\r\n":
            pass
        return data

    def close(self) -> None:
        """End both directions."""
        self.sock.close()


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data, cut at these places."""
    edges = itertools.pairwise([0, *cuts, len(data)])
    return [data[start:end] for start, end in edges]


# ------------------------------------------------------------------ WebSocket (RFC 6455)

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
KEY = bytes.fromhex("a15c07f3")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False, mask: bool = False) -> bytes:
    """One frame (section 5.2); a client's is masked."""
    size = len(payload)
    first = bytes([fin << 7 | rsv1 << 6 | opcode])
    bit = 0x80 if mask else 0
    if size < 126:
        head = first + bytes([bit | size])
    elif size < 65536:
        head = first + bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head = first + bytes([bit | 127]) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    return head + KEY + bytes(byte ^ KEY[at % 4] for at, byte in enumerate(payload))


def fragments(opcode: int, parts: Sequence[bytes], *, mask: bool) -> list[bytes]:
    """One message as several frames."""
    last = len(parts) - 1
    return [frame(0 if at else opcode, part, fin=at == last, mask=mask) for at, part in enumerate(parts)]


def deflated(payload: bytes) -> bytes:
    """A message as permessage-deflate writes it (RFC 7692 section 7.2.1)."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


# ------------------------------------------------------------------ the bench


@functools.lru_cache(maxsize=1)
def upstream_authority() -> CertificateAuthority:
    """Who vouches for the upstream."""
    return CertificateAuthority()


@functools.lru_cache(maxsize=1)
def client_context() -> ssl.SSLContext:
    """What clients trust."""
    return Gatekeeper().ca.ssl_context()


def rule(value: str = VALUE, host: str = API, header: str = "X-Token", grant: str = "api") -> dict[str, Any]:
    """A credential as in a file."""
    return {"host": host, "header": header, "grant": grant, "source": {"type": "static", "value": value}}


def is_upgrade(way: Way) -> bool:
    """Whether the client asks for a WebSocket."""
    return way.endswith("upgrade")


def is_secure(way: Way) -> bool:
    """Whether the client talks TLS, in a tunnel."""
    return not way.startswith("plain")


class Visit(NamedTuple):
    """One exchange, as both ends saw it; an upgrade is still open.

    Attributes:
        request: as the upstream got it.
        answer: as the client got it.
        client, server: the two ends.
        record: the exchange in the recorder.
    """

    request: Message
    answer: Message
    client: Wire
    server: Wire
    record: Exchange


class Bench:
    """A proxy, and the port of the upstream that its names lead to, on this machine's `address`."""

    def __init__(self, stack: contextlib.ExitStack, address: str = "127.0.0.1", **options: Any) -> None:
        self._stack = stack
        self._address = address
        self._listener = stack.enter_context(socket.create_server((address, 0), backlog=64))
        self._listener.settimeout(TIMEOUT)
        options = {"credentials": [rule()], "salt": TEST, "watch_bypass": False, **options}
        self.proxy = stack.enter_context(Gatekeeper(**options))

    @property
    def recorder(self) -> Recorder:
        """The proxy's."""
        return self.proxy.recorder

    @property
    def leak(self) -> Leak:
        """The only leak there is."""
        (leak,) = self.recorder.leaks
        return leak

    # ---- the client

    def client(self, way: Way, host: str = API, *, port: int = 443, verify: bool = True) -> Wire:
        """A client that has got as far as its first request."""
        sock = self._stack.enter_context(socket.create_connection((self.proxy.host, self.proxy.port), TIMEOUT))
        if not is_secure(way):
            return Wire(sock)
        authority = f"{host}:{port}"
        wire = Wire(sock)
        wire.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        assert wire.message().status == 200
        context = client_context() if verify else ssl._create_unverified_context()
        return Wire(self._stack.enter_context(context.wrap_socket(sock, server_hostname=host.removesuffix("."))))

    @staticmethod
    def head(
        way: Way, host: str, path: str = "/", fields: Iterable[str] = (), method: str = "GET", named: str = ""
    ) -> bytes:
        """A request's head; `named` is the Host where it is not the one asked for."""
        target = path if is_secure(way) else f"http://{host}{path}"
        own = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13") if is_upgrade(way) else ()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {named or host}", *own, *fields, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    # ---- the upstream

    @property
    def port(self) -> int:
        """The upstream's."""
        port: int = self._listener.getsockname()[1]
        return port

    def lead(self, way: Way, host: str, *, verify: bool = True) -> None:
        """Lead a name to the upstream; it talks TLS where the client does."""
        scheme = "https" if is_secure(way) else "http"
        self.proxy.route(host, f"{scheme}://{self._address}:{self.port}", ca=upstream_authority().pem, verify=verify)

    def accept(self, way: Way, host: str = API) -> Wire:
        """The proxy's next connection to the upstream."""
        sock, _ = self._listener.accept()
        self._stack.enter_context(sock)
        if is_secure(way):
            context = upstream_authority().server_context(host.removesuffix("."))
            sock = self._stack.enter_context(context.wrap_socket(sock, server_side=True))
        return Wire(sock)

    def nobody_came(self) -> bool:
        """Whether no connection waits for the upstream."""
        self._listener.setblocking(False)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return True
        finally:
            self._listener.settimeout(TIMEOUT)
        return False

    # ---- whole exchanges

    def asked(self, way: Way, host: str, *pieces: bytes, verify: bool = True) -> tuple[Wire, Wire]:
        """A client that has sent this, each piece in a write of its own, and the upstream that may read it."""
        self.lead(way, host, verify=verify)
        client = self.client(way, host, verify=verify)
        client.send(*pieces)
        return client, self.accept(way, host)

    def visit(
        self,
        way: Way,
        host: str = API,
        path: str = "/",
        *fields: str,
        named: str = "",
        reply: Iterable[str] = (),
        body: bytes = b"",
        verify: bool = True,
    ) -> Visit:
        """One request that reaches the upstream, answered 200 with `body`, or 101 where an upgrade was asked for.

        Args:
            way: how the client asks.
            host: whom it asks.
            path: what for.
            fields: of the request.
            named: the Host where it is another one.
            reply: fields of the answer.
            body: of a 200.
            verify: whether certificates are looked at, the proxy's and the upstream's.
        """
        client, server = self.asked(way, host, self.head(way, host, path, fields, named=named), verify=verify)
        request = server.message()
        extra = "".join(f"{field}\r\n" for field in reply).encode("latin-1")
        if is_upgrade(way):
            server.send(SWITCHED + extra + b"\r\n")
        else:
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body) + extra + b"\r\n" + body)
        answer = client.message()
        return Visit(request, answer, client, server, self.recorder.exchanges[-1])

    def refused(self, way: Way, host: str, path: str = "/", *fields: str, target: str = "") -> Message:
        """The answer of the proxy itself, to CONNECT or to the request; the upstream sees nothing.

        Args:
            way: how the client asks.
            host: whom it asks.
            path: what for.
            fields: of the request.
            target: in place of the host and its port, as CONNECT or the URL names it.
        """
        sock = self._stack.enter_context(socket.create_connection((self.proxy.host, self.proxy.port), TIMEOUT))
        wire = Wire(sock)
        if is_secure(way):
            authority = target or f"{host}:443"
            wire.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        else:
            wire.send(self.head(way, target or host, path, fields, named=host))
        answer = wire.message()
        assert self.nobody_came()
        return answer


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Make a bench: arguments as of `Gatekeeper`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: Bench(stack, **options)


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A bench with one rule: `api.example.com` gets a token in `X-Token` under the grant `api`."""
    return make_bench()


def facts(leak: Leak) -> Mapping[str, object]:
    """All that a leak says but for its exchange and its secret's value."""
    names = ("rule", "grant", "direction", "place", "offset", "test", "count", "client_held")
    return {name: getattr(leak, name) for name in names}


def other_address() -> str:
    """An address of this machine that is not loopback; skips the test where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect(("198.51.100.1", 9))  # RFC 5737; a datagram socket sends nothing when it connects
        address: str = sock.getsockname()[0]
        if not address.startswith("127."):
            return address
    found = subprocess.run(["hostname", "-I"], capture_output=True, text=True, timeout=10, check=False).stdout.split()
    return next((address for address in found if "." in address), "") or pytest.skip("only loopback addresses here")
