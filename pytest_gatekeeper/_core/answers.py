"""The answers that the proxy gives itself, and their words.

Each body says what happened and what to do, for the reader of a failed test. None may hold a credential or repeat what
a client sent, hosts aside. When each is given is settled elsewhere.
"""

from __future__ import annotations

from pytest_gatekeeper._core.model import Destination, Headers, Refused, Violation

__all__ = ["TEXT", "auth_required", "bad_request", "denial", "denied", "healthy", "malformed", "not_allowed"]

TEXT: Headers = (("Content-Type", "text/plain; charset=utf-8"),)
"""The header fields of a plain-text answer."""


def _text(status: int, text: str, headers: Headers = ()) -> Refused:
    return Refused(status, (*headers, *TEXT), text + "\n")


def healthy(close: bool) -> Refused:
    """The answer to the health check."""
    return Refused(200, (("Content-Type", "application/json"),), '{"status":"ok"}', logged=False, close=close)


def malformed(status: int, text: str, violations: tuple[Violation, ...] = ()) -> Refused:
    """A head that no server would accept; not logged, and the connection ends since its framing is in doubt."""
    return _text(status, text)._replace(logged=False, violations=violations)


def bad_request(text: str, destination: Destination | None = None) -> Refused:
    """400: a request that is HTTP but cannot be forwarded."""
    return _text(400, text)._replace(destination=destination)


def not_allowed(text: str, destination: Destination | None, violation: Violation) -> Refused:
    """405: a method that would defeat the rules."""
    answer = _text(405, text, (("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),))
    return answer._replace(destination=destination, violations=(violation,))


def auth_required(close: bool) -> Refused:
    """407: the proxy's own token is missing or wrong."""
    text = (
        "This proxy wants authentication: put the token into the proxy URL (http://user:TOKEN@HOST:PORT) or send it as"
        " Proxy-Authorization. With pytest-gatekeeper, proxy.env and proxy.url_with_auth hold it."
    )
    answer = _text(407, text, (("Proxy-Authenticate", 'Basic realm="gatekeeper"'),))
    return answer._replace(logged=False, close=close)


def denied(destination: Destination, close: bool) -> Refused:
    """407: the network policy does not permit the destination. The reason for the log is in production's words."""
    text = denial(destination.host, destination.port)
    answer = _text(407, text, (("X-Moat-Blocked", "request-rule"), ("Proxy-Authenticate", "Moat-Policy")))
    reason = f"Host not in allow list: {destination.host}"
    return answer._replace(destination=destination, deny_reason=reason, close=close)


def denial(host: str, port: int) -> str:
    """Why the network policy does not permit a destination, and what would."""
    pattern = host if port in (80, 443) else f"{host}:{port}"
    where = host if port in (80, 443) else f"{host} on port {port}"
    return (
        f'{where} is not allowed by the network policy: add "{pattern}" to network.allow (a pattern without a port'
        " covers ports 80 and 443), or use policy: permissive."
    )
