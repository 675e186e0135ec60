"""Faults of connections: refusals, and certificates that a client must not accept."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import ssl
import urllib.error
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from pytest_gatekeeper.origin import Applied, Origin

Dial = Callable[[Origin], socket.socket]
Ask = Callable[..., HTTPResponse]
Shake = Callable[[Origin, "str | None"], ssl.SSLSocket]

GET = b"GET /p HTTP/1.1\r\nHost: %b\r\n\r\n"


# wrap_socket of some Pythons leaves its socket open where a reset comes before it. Collected here, it bothers nobody.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture
def shake(cleanup: contextlib.ExitStack, dial: Dial, trusting: ssl.SSLContext) -> Iterator[Shake]:
    """Open a TLS connection whose ClientHello names somebody, or nobody."""

    def shake(origin: Origin, name: str | None) -> ssl.SSLSocket:
        return cleanup.enter_context(trusting.wrap_socket(dial(origin), server_hostname=name or "127.0.0.1"))

    yield shake
    gc.collect()


def was_reset(sock: socket.socket) -> bool:
    """Whether the other end has reset the connection; False where it sent something or ended it."""
    try:
        sock.recv(1)
    except ConnectionResetError:
        return True
    return False


def refused(origin: Origin) -> bool:
    """Whether a new connection is reset though its client says nothing; quick ones meet that while they connect."""
    try:
        with socket.create_connection((origin.host, origin.port), 10) as sock:
            return was_reset(sock)
    except ConnectionResetError:
        return True


# ---- refuse


def test_a_refused_connection_is_reset_before_anything_is_sent(origin: Origin) -> None:
    """The client has said nothing, so its name cannot matter."""
    origin.faults.refuse(times=1)
    assert refused(origin)
    assert (origin.faults.applied, origin.received, origin.errors) == ((Applied("refuse"),), (), ())


def test_usual_clients_meet_a_refusal(origin: Origin, trusting: ssl.SSLContext) -> None:
    """urllib and websockets, plain and TLS; each can try again."""
    for scheme in ("http", "https"):
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trusting))
        origin.faults.refuse(times=1)
        with pytest.raises((urllib.error.URLError, OSError)):
            opener.open(origin.url_for(scheme), timeout=10)
        with opener.open(origin.url_for(scheme), timeout=10) as answer:
            assert answer.status == 200
    for scheme, context in (("ws", None), ("wss", trusting)):
        origin.faults.refuse(times=1)
        with pytest.raises((OSError, EOFError, WebSocketException)):
            connect(origin.url_for(scheme), ssl=context, proxy=None)
        with connect(origin.url_for(scheme), ssl=context, proxy=None) as client:
            client.send("hello")
            assert client.recv(timeout=10) == "hello"
    assert [applied.fault for applied in origin.faults.applied] == ["refuse"] * 4
    assert origin.errors == ()
    gc.collect()


def test_a_refusal_by_name_comes_after_the_hello(origin: Origin, shake: Shake, ask: Ask) -> None:
    """No alert is sent, the connection is reset; other names are served."""
    origin.faults.refuse(host="a.example")
    with pytest.raises(ConnectionResetError):
        shake(origin, "a.example")
    for name in ("b.example", None):
        assert ask(shake(origin, name), GET % b"a.example").status == 200
    assert origin.faults.applied == (Applied("refuse", "a.example"),)
    assert origin.errors == ()


def test_a_refusal_by_name_comes_after_the_first_head_without_tls(origin: Origin, dial: Dial, ask: Ask) -> None:
    """The request that named the host is not received; on a connection that serves others it is."""
    origin.faults.refuse(host="a.example")
    refused, other = dial(origin), dial(origin)
    refused.sendall(GET % b"a.example")
    assert was_reset(refused)
    for host in (b"b.example", b"a.example"):
        ask(other, GET % host).read()
    assert [request.host for request in origin.received] == ["b.example", "a.example"]
    assert origin.errors == ()


def test_an_open_connection_is_not_refused(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Only new ones are."""
    sock = dial(origin)
    ask(sock, GET % b"a").read()
    origin.faults.refuse()
    assert ask(sock, GET % b"a").status == 200
    assert refused(origin)


# ---- certificates


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("untrusted", "self-signed certificate in certificate chain|unable to get local issuer"),
        ("expired", "certificate has expired"),
        ("wrong_name", "Hostname mismatch|IP address mismatch"),
    ],
)
@pytest.mark.parametrize("host", ["a.example", None])
def test_a_certificate_is_bad_in_one_way(origin: Origin, shake: Shake, name: str, says: str, host: str | None) -> None:
    """The client says in which; other names, and the next connection, are served."""
    getattr(origin.faults, name)(host=host or "127.0.0.1", times=1)
    shake(origin, "b.example")
    with pytest.raises(ssl.SSLCertVerificationError, match=says):
        shake(origin, host)
    shake(origin, host)
    assert origin.faults.applied == (Applied(name, host),)


@pytest.mark.parametrize("name", ["untrusted", "expired", "wrong_name"])
def test_a_client_that_does_not_verify_is_served(origin: Origin, dial: Dial, ask: Ask, name: str) -> None:
    """That is what such a fault is to find out; the request it sent can be seen."""
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    getattr(origin.faults, name)()
    with careless.wrap_socket(dial(origin), server_hostname="a.example") as sock:
        answer = json.load(ask(sock, GET % b"a.example"))
    assert answer["target"] == "/p"
    assert [request.sni for request in origin.received] == ["a.example"]


def test_plain_connections_have_no_certificate(origin: Origin, dial: Dial, ask: Ask) -> None:
    """A fault of certificates neither happens to them nor is it used up."""
    origin.faults.expired(times=1)
    assert ask(dial(origin), GET % b"a").status == 200
    assert origin.faults.applied == ()


@pytest.mark.parametrize("name", ["untrusted", "expired", "wrong_name"])
def test_usual_clients_refuse_a_bad_certificate(origin: Origin, trusting: ssl.SSLContext, name: str) -> None:
    """urllib and websockets; what the client says of it is among the errors."""
    getattr(origin.faults, name)(times=2)
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trusting))
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        opener.open(origin.url, timeout=10)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(origin.url_for("wss"), ssl=trusting, proxy=None)
    with opener.open(origin.url, timeout=10) as answer:
        assert answer.status == 200
    origin.wait_for(lambda o: len(o.errors) == 2)
    assert all(error.startswith(("TLS failed: ", "a connection broke: ")) for error in origin.errors)


def test_the_last_fault_of_a_connection_wins(origin: Origin, shake: Shake) -> None:
    """Certificates and refusals are of one kind."""
    origin.faults.refuse()
    origin.faults.expired(host="*.example", times=1)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(origin, "a.example")
    with pytest.raises(ConnectionResetError):
        shake(origin, "a.example")
    assert [applied.fault for applied in origin.faults.applied] == ["expired", "refuse"]


def test_a_hello_that_comes_twice_counts_once(origin: Origin, shake: Shake) -> None:
    """A HelloRetryRequest (RFC 8446 section 4.1.4) makes OpenSSL ask for the certificate again."""
    origin._reception._context.set_ecdh_curve("secp384r1")  # clients send a share of X25519 first
    origin.faults.expired(times=2)
    for _ in range(2):
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            shake(origin, "a.example")
    shake(origin, "a.example")
    assert [applied.fault for applied in origin.faults.applied] == ["expired"] * 2
