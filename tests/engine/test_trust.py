"""TLS with the client: what the leaf names, what the hello named, and clients that do not trust the authority."""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from pytest_gatekeeper._proxy.ca import CertificateAuthority, process_authority
from pytest_gatekeeper._proxy.lease import Limits
from tests.engine.conftest import HOST, OK

if TYPE_CHECKING:
    from tests.conftest import Clock
    from tests.engine.conftest import Client, World

UNKNOWN_CA = 48
versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def context_of(version: ssl.TLSVersion, ca: bytes | None = None) -> ssl.SSLContext:
    """A client context for one version; it trusts the proxy, or `ca`."""
    context = ssl.create_default_context(cadata=(ca or process_authority().pem).decode())
    context.minimum_version = context.maximum_version = version
    return context


def names_of(client: Client) -> list[str]:
    assert client.tls is not None
    leaf = x509.load_der_x509_certificate(client.tls.getpeercert(binary_form=True) or b"")
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


# ---- the leaf and the hello


@versions
@pytest.mark.parametrize("host", [HOST, "127.0.0.1", "WS.example.com"])
def test_the_leaf_names_the_host(world: World, version: ssl.TLSVersion, host: str) -> None:
    """The leaf names the CONNECT host, an address as an address, and verifies; the tunnel knows version and SNI."""
    world.serve(OK, host=host)
    client = world.client("tls", host, context=context_of(version))
    assert names_of(client) == ([host, "localhost"] if host == "127.0.0.1" else [host.lower()])
    assert client.do().body == b"ok"
    (tunnel,) = world.tunnels
    assert tunnel.tls_version == version.name.replace("_", ".")
    assert tunnel.sni == (None if host == "127.0.0.1" else host)
    assert (tunnel.violations, tunnel.error) == ((), None)


def test_a_hello_without_a_name(world: World) -> None:
    """A ClientHello without SNI gets a leaf for the CONNECT host and for localhost, and is served."""
    stub = world.serve(OK)
    client = world.client("inner", port=443)
    context = context_of(ssl.TLSVersion.TLSv1_3)
    context.check_hostname = False
    client.secure(context, None)
    assert names_of(client) == [HOST, "localhost"]
    client.way = "tls"
    assert client.do().body == b"ok"
    assert world.tunnels[0].sni is None
    assert stub.heads[0].get("authorization")


def test_a_hello_that_names_another_host(world: World) -> None:
    """The leaf and the credential stay those of the CONNECT host; the other name is a violation."""
    stub = world.serve(OK)
    client = world.client("inner", port=443)
    context = context_of(ssl.TLSVersion.TLSv1_3)
    context.check_hostname = False
    client.secure(context, "other.example.net")
    assert names_of(client) == [HOST]
    client.way = "tls"
    assert client.do().body == b"ok"
    (tunnel,) = world.tunnels
    assert tunnel.sni == "other.example.net"
    assert [violation.kind for violation in tunnel.violations] == ["sni"]
    assert "other.example.net" in tunnel.violations[0].text
    assert stub.heads[0].get("host") == HOST


# ---- clients that do not trust


@versions
def test_a_client_that_trusts_somebody_else(world: World, version: ssl.TLSVersion) -> None:
    """The tunnel's error says that the client does not trust the authority, and names what would cure it."""
    client = world.client("inner", port=443)
    with pytest.raises(ssl.SSLCertVerificationError):
        client.secure(context_of(version, CertificateAuthority().pem), HOST)
    client.close()
    (tunnel,) = world.tunnels
    world.wait_for(lambda: tunnel.closed)
    assert tunnel.closed == "error"
    for word in ("does not trust", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "ssl_context()"):
        assert word in str(tunnel.error)


@versions
def test_a_client_that_hangs_up_in_the_handshake(world: World, version: ssl.TLSVersion) -> None:
    """A client that just leaves may not trust the authority either, and the error says so."""
    client = world.client("inner", port=443)
    bio = ssl.MemoryBIO()
    hello = context_of(version).wrap_bio(ssl.MemoryBIO(), bio, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    client.sock.sendall(bio.read())
    client.sock.recv(65536)
    client.close()
    (tunnel,) = world.tunnels
    world.wait_for(lambda: tunnel.closed)
    assert "left during the TLS handshake" in str(tunnel.error)
    assert "SSL_CERT_FILE" in str(tunnel.error)


def expanded(secret: bytes, label: bytes, length: int, digest: str) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1), one block long."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\x00"
    return hmac.new(secret, info + b"\x01", digest).digest()[:length]


def sealed_alert(keys: Path, cipher: str, alert: int) -> bytes:
    """A client's first record after a TLS 1.3 handshake: a fatal alert (RFC 8446 sections 5.2 and 6)."""
    lines = [line.split() for line in keys.read_text().splitlines()]
    secret = next(bytes.fromhex(line[2]) for line in lines if line[0] == "CLIENT_TRAFFIC_SECRET_0")
    digest = "sha384" if cipher.endswith("SHA384") else "sha256"
    size = 16 if "AES_128" in cipher else 32
    key, nonce = expanded(secret, b"key", size, digest), expanded(secret, b"iv", 12, digest)
    inner = bytes([2, alert, 21])
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
    seal = ChaCha20Poly1305(key) if "CHACHA20" in cipher else AESGCM(key)
    return header + seal.encrypt(nonce, inner, header)


@pytest.mark.parametrize("alert", [UNKNOWN_CA, 42, 46])
def test_an_alert_after_the_handshake(world: World, tmp_path: Path, alert: int) -> None:
    """A client that looks at the certificate after the handshake and objects is told apart just the same."""
    context = context_of(ssl.TLSVersion.TLSv1_3)
    context.keylog_filename = str(tmp_path / "keys")
    client = world.client("inner", port=443)
    client.secure(context, HOST)
    assert client.tls is not None
    client.sock.sendall(sealed_alert(tmp_path / "keys", (client.tls.cipher() or ("",))[0], alert))
    (tunnel,) = world.tunnels
    world.wait_for(lambda: tunnel.closed)
    assert tunnel.closed == "error"
    assert "does not trust" in str(tunnel.error)
    assert "SSL_CERT_FILE" in str(tunnel.error)


def test_a_client_that_does_not_end_its_handshake(make_world: Callable[..., World], clock: Clock) -> None:
    """A handshake that does not end within its limit ends the connection, and the tunnel says so."""
    world = make_world(limits=Limits(handshake=60))
    client = world.client("inner", port=443)
    world.hear(client, b"\x16\x03\x01\x02\x00")
    clock.forward(60)
    assert client.end() == b""
    (tunnel,) = world.tunnels
    world.wait_for(lambda: tunnel.closed)
    assert tunnel.closed == "error"
    assert "TLS handshake within 60 s" in str(tunnel.error)


def test_a_tunnel_that_was_used_has_no_error(world: World) -> None:
    """Once a request went through, an end without close_notify is no distrust."""
    world.serve(OK)
    client = world.client("tls")
    assert client.do().body == b"ok"
    client.close()
    (tunnel,) = world.tunnels
    world.wait_for(lambda: tunnel.closed)
    assert (tunnel.closed, tunnel.error) == ("client", None)
