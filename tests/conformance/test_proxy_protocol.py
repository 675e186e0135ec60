"""The PROXY protocol on the listener: whom the log names as client, and which connections are dropped.

How a header is read is `tests/core/test_proxy_protocol.py`'s matter; here real connections bring one.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Iterator

import pytest

from pytest_gatekeeper import Config, Gatekeeper
from tests.conftest import Clock

LIMIT = 30.0
V2 = b"\r\n\r\n\x00\r\nQUIT\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
DENIED = b"GET http://api.example.com/v1 HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n"
CONFIG = "proxy: {proxy_protocol: true}\nlog: {level: debug}\nnetwork: {policy: strict}\n"


@pytest.fixture
def running() -> Iterator[Gatekeeper]:
    """A proxy that expects the header, and denies every host."""
    with Gatekeeper(Config.parse(CONFIG)) as proxy:
        yield proxy


def talk(proxy: Gatekeeper, *parts: bytes) -> bytes:
    """Send parts, each in a segment of its own, and read to the end."""
    with socket.create_connection((proxy.host, proxy.port), LIMIT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                answer += data
        return answer


def v2(command: int, family: int, addresses: bytes) -> bytes:
    """A header of version 2."""
    return V2 + struct.pack("!BBH", 0x20 | command, family, len(addresses)) + addresses


FOUR = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 443)
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack("!HH", 4711, 443)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7"),
        (v2(1, 0x11, FOUR), "192.0.2.7"),
        (v2(1, 0x21, SIX), "2001:db8::7"),
        (v2(1, 0x11, FOUR + b"\x04\x00\x01x"), "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (v2(0, 0x00, b""), "127.0.0.1"),
        (b"", "127.0.0.1"),
    ],
    ids=["v1-ipv4", "v1-ipv6", "v2-ipv4", "v2-ipv6", "v2-with-tlv", "v1-unknown", "v2-local", "none"],
)
def test_the_log_names_the_client_of_the_header(
    running: Gatekeeper, caplog: pytest.LogCaptureFixture, header: bytes, client: str
) -> None:
    """`client_ip` is the header's address, the connection's own where it names none or is absent."""
    with caplog.at_level(logging.DEBUG, "pytest_gatekeeper"):
        assert talk(running, header + DENIED).startswith(b"HTTP/1.1 407 ")
    assert [record.__dict__.get("client_ip") for record in caplog.records] == [client, None]


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n", v2(1, 0x11, FOUR)], ids=["v1", "v2"]
)
def test_a_header_may_come_in_pieces(running: Gatekeeper, caplog: pytest.LogCaptureFixture, header: bytes) -> None:
    """A header is read byte by byte as it comes, and what follows it is the request."""
    pieces = [header[at : at + 1] for at in range(len(header))]
    with caplog.at_level(logging.DEBUG, "pytest_gatekeeper"):
        assert talk(running, *pieces, DENIED).startswith(b"HTTP/1.1 407 ")
    assert caplog.records[0].__dict__["client_ip"] == "192.0.2.7"


def test_a_request_that_begins_like_a_header_is_none(running: Gatekeeper) -> None:
    """A method that shares its first letters with the header is read as a request."""
    answer = talk(running, b"P", b"ROPFIND /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert talk(running, HEALTH).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 nonsense 4711 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
        b"PROXY " + b"x" * 200,
        b"PROXY TCP4 192.0.2.7",
        V2 + b"\x31\x11\x00\x00",
        v2(1, 0x11, FOUR[:4]),
        V2 + b"\x21\x11\xff\xff",
        v2(1, 0x11, FOUR)[:20],
    ],
    ids=[
        "no-address", "other-family", "too-long", "cut", "v2-version", "v2-short", "v2-too-long", "v2-cut",
    ],
)  # fmt: skip
def test_a_malformed_header_drops_its_connection(
    running: Gatekeeper, caplog: pytest.LogCaptureFixture, header: bytes
) -> None:
    """Nothing is answered, one DEBUG line says why, without what was sent; the next connection is served."""
    with caplog.at_level(logging.DEBUG, "pytest_gatekeeper"):
        assert talk(running, header) == b""
        assert talk(running, HEALTH).startswith(b"HTTP/1.1 200 ")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith('msg="dropping connection: malformed PROXY protocol header" peer=127.0.0.1:')
    assert "192.0.2.7" not in line
    assert running.recorder.exchanges == ()


def test_a_header_has_to_come_within_the_limit_of_a_head(clock: Clock) -> None:
    """A client that begins one and falls silent is cut, another one is served meanwhile."""
    proxy = Gatekeeper(Config.parse(CONFIG))
    proxy._limits = proxy._limits._replace(head=60)
    with proxy, socket.create_connection((proxy.host, proxy.port), LIMIT) as silent:
        silent.sendall(b"PROXY TCP4 ")
        assert talk(proxy, HEALTH).startswith(b"HTTP/1.1 200 ")
        clock.forward(60)
        with contextlib.suppress(ConnectionError):
            assert silent.recv(1) == b""


def test_the_header_is_no_header_where_none_is_expected() -> None:
    """Without `proxy_protocol` it is a malformed request: who a client is cannot be claimed by the client."""
    with Gatekeeper(Config.parse(CONFIG.replace("true", "false"))) as proxy:
        assert talk(proxy, b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n" + DENIED).startswith(b"HTTP/1.1 400 ")


def test_the_tunnel_keeps_the_client_of_the_header(running: Gatekeeper, caplog: pytest.LogCaptureFixture) -> None:
    """A CONNECT that follows the header is logged under its address."""
    with caplog.at_level(logging.DEBUG, "pytest_gatekeeper"):
        connect = b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"
        assert talk(running, v2(1, 0x21, SIX), connect).startswith(b"HTTP/1.1 407 ")
    assert caplog.records[0].__dict__["client_ip"] == "2001:db8::7"
