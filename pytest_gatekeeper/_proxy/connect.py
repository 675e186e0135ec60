"""CONNECT: opening a tunnel, and TLS or plain HTTP inside it by the first byte.

The answer comes before the client's handshake, as clients expect; the leaf names the host of the CONNECT. Whether a
tunnel may be opened is `_core.admission`'s decision, what goes through it is `exchange`'s matter.
"""

from __future__ import annotations

from pytest_gatekeeper._core.admission import decide_connect
from pytest_gatekeeper._core.hosts import is_address, same_host, split_authority
from pytest_gatekeeper._core.model import Destination, Refused, RequestHead, Violation
from pytest_gatekeeper._core.records import Tunnel
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.ids import new_request_id
from pytest_gatekeeper._proxy.local import answer
from pytest_gatekeeper._proxy.notes import log_refusal
from pytest_gatekeeper._proxy.tls import TlsFailure, TlsStream

__all__ = ["distrust", "open_tunnel"]

_ESTABLISHED = b"HTTP/1.1 200 Connection Established\r\n\r\n"
_TLS_HANDSHAKE = 0x16  # RFC 8446 section 5.1
_CURE = (
    "point it at the proxy's CA: SSL_CERT_FILE (most clients), REQUESTS_CA_BUNDLE (requests, boto3) and"
    " NODE_EXTRA_CA_CERTS (Node) are in proxy.env, and proxy.ca.ssl_context() is for clients that read none; an"
    " SSLContext or a client made before the test keeps what it trusted then"
)
_ALERTS = ("UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "BAD_CERTIFICATE", "CERTIFICATE_REQUIRED", "UNSUPPORTED_CERTIFICATE")


def distrust(error: TlsFailure, sni: str | None) -> str:
    """What a failed handshake with a client that named `sni` means, and the variable that would cure it."""
    if sni is not None and sni.endswith("."):
        return (
            f"the TLS handshake names {sni}, and must not end with a dot (RFC 6066 section 3): leave it out of the URL"
        )
    if any(alert in error.reason for alert in _ALERTS):
        return f"the client does not trust the proxy's CA ({error}): {_CURE}"
    if error.reason == "EOF":
        return f"the client left during the TLS handshake; if it does not trust the proxy's CA, {_CURE}"
    return f"the TLS handshake with the client failed: {error}"


async def open_tunnel(connection: Connection, head: RequestHead) -> bool:
    """Answer a CONNECT; whether the connection goes on. Raises the stream's errors."""
    began = connection.now()
    lease = connection.lease
    decision = decide_connect(head, lease.terms)
    if isinstance(decision, Refused):
        return await _refuse(connection, head, decision)
    tunnel = Tunnel(lease.next_tunnel(), lease.shown(decision.host), decision.port)
    tunnel.status = 200
    connection.tunnel = tunnel
    connection.user_id = decision.user_id
    connection.opening = connection.now() - began
    lease.tell(tunnel)
    await connection.stream.send(_ESTABLISHED)
    scheme = await _secure(connection, tunnel, decision.host)
    if not scheme:
        return False
    connection.destination = Destination(scheme, decision.host, decision.port)
    return True


async def _secure(connection: Connection, tunnel: Tunnel, host: str) -> str:
    """TLS with the client where it begins like that: the tunnel's scheme, "" where the client has left."""
    lease, tcp = connection.lease, connection.tcp
    limit = lease.limits.handshake
    connection.watch.limit(limit, tcp, f"the client did not finish its TLS handshake within {limit:g} s")
    try:
        first = await tcp.receive()
        if not first:
            return ""
        tcp.unread(first)
        if first[0] != _TLS_HANDSHAKE:
            return "http"
        context = lease.authority.tunnel_context(host)
        secure = TlsStream(tcp, context, server_side=True)
        try:
            await secure.handshake()
        finally:
            _note_sni(connection, tunnel, host, lease.authority.sni_of(secure.session))
    finally:
        connection.watch.lift()
    connection.stream = secure
    tunnel.tls_version = secure.version
    lease.tell(tunnel)
    return "https"


def _note_sni(connection: Connection, tunnel: Tunnel, host: str, sni: str | None) -> None:
    tunnel.sni = None if sni is None else connection.lease.shown(sni)
    if sni is not None and not is_address(host) and not same_host(sni, host):
        text = f"the TLS handshake names {tunnel.sni}, the tunnel leads to {tunnel.host}"
        tunnel.violations += (Violation("sni", text, "treated as the tunnel's host"),)


async def _refuse(connection: Connection, head: RequestHead, refused: Refused) -> bool:
    """Record a CONNECT that may not be, and answer it; whether the connection goes on."""
    lease = connection.lease
    try:
        host, port = split_authority(head.target)
    except ValueError:
        host, port = "", 0
    tunnel = Tunnel(lease.next_tunnel(), lease.shown(host), port or 0)
    tunnel.status = refused.status
    tunnel.denied = bool(refused.deny_reason)
    tunnel.error = lease.shown(refused.body.strip())
    tunnel.closed = "error"
    if refused.logged:
        log_refusal(connection, head, refused, request_id=new_request_id())
    lease.tell(tunnel)
    await answer(connection.stream, refused.status, refused.headers, refused.body, close=refused.close)
    return not refused.close
