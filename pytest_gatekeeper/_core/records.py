"""What the proxy says happened: exchanges, tunnels and the lines of its log.

The proxy makes these while it works and hands them to a sink; the recorder keeps them. An `Exchange` and a `Tunnel` are
live: the proxy's thread goes on setting their attributes until `closed` is set, everybody else only reads. Texts are
blanked by value before they are put here, so nothing in a record can show a secret. No queries, no formatting of
tables: those are the recorder's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pytest_gatekeeper._core.hosts import PORTS
from pytest_gatekeeper._core.model import Headers, Injection, Violation
from pytest_gatekeeper._core.secret import Secret

__all__ = ["Bypass", "Closed", "Exchange", "Late", "Leak", "Level", "LogLine", "Record", "Sink", "Tunnel"]

Closed = Literal["client", "upstream", "idle", "test", "error"]
"""What ended an exchange or a tunnel: either side, silence, the end of its test, or something that went wrong."""


class Tunnel:
    """One CONNECT.

    Attributes:
        id: counts tunnels of one recorder from 1.
        host: as the client spelled it, without brackets; "" where the target could not be read.
        port: 0 where the target could not be read.
        status: of the answer to CONNECT, None before it.
        tls_version: `TLSv1.3` and the like; None for plain HTTP inside, or before the handshake.
        sni: the name in the ClientHello (RFC 6066 section 3), None without one.
        denied: refused by policy.
        error: why the tunnel failed, with the way out; None where it did not.
        exchanges: what went through it, in order of arrival.
        violations: what it tried that it must not.
        closed: None while it is open, then what ended it.
    """

    __slots__ = (
        "closed", "denied", "error", "exchanges", "host", "id", "port", "sni", "status", "tls_version", "violations",
    )  # fmt: skip

    def __init__(self, id: int, host: str, port: int) -> None:
        self.id = id
        self.host = host
        self.port = port
        self.status: int | None = None
        self.tls_version: str | None = None
        self.sni: str | None = None
        self.error: str | None = None
        self.denied = False
        self.exchanges: list[Exchange] = []
        self.violations: tuple[Violation, ...] = ()
        self.closed: Closed | None = None

    def __repr__(self) -> str:
        state = self.error or self.closed or "open"
        return f"<Tunnel {self.id} CONNECT {self.host}:{self.port} {self.status or 'pending'} {state}>"


class Exchange:
    """One request and its answer.

    Attributes:
        id: counts exchanges of one recorder from 1.
        method, scheme, host, port, target: of the request; `scheme` is http, https, ws or wss (the last two for a
            WebSocket upgrade), `target` path and query.
        http_version: of the client's request, "1.0" or "1.1".
        headers: as the client sent them, order and case kept.
        forwarded_headers: as sent upstream, injected values blanked; empty where nothing was sent.
        injections: the credentials that were sent upstream.
        is_upgrade: the request asked for another protocol.
        upgraded: it was answered 101.
        subprotocol: the WebSocket subprotocol that was agreed on, or None.
        status: of the answer that the client got, None before it.
        response_headers: of that answer.
        request_size, response_size: body bytes; for an upgrade the tunnel's bytes.
        denied, deny_reason: refused by policy.
        error: what went wrong, or None.
        reason: why nothing was injected; "" where something was.
        violations: what the request tried that it must not.
        request_id: the X-Request-Id that was sent upstream; of a request that was not, the one that its log line has.
        started: seconds since the epoch.
        began: the same moment by the clock that durations are of, which nobody puts forward or back (seconds).
        duration: seconds until it was closed, None before.
        upstream: `host:port` dialled, or None.
        upstream_verified: whether the upstream's certificate was verified; None without TLS.
        cleartext: a credential went to an upstream that is neither TLS nor loopback.
        unscanned: what of it was sent upstream without being looked into for secrets, and why.
        closed: None while it runs, then what ended it.
        folded: it was among the oldest of very many, and has given up its header fields (see `fold`).
        tunnel: the CONNECT it came through, or None for plain HTTP.
    """

    __slots__ = (
        "_was_sent", "began", "cleartext", "closed", "denied", "deny_reason", "duration", "error", "folded",
        "forwarded_headers", "headers", "host", "http_version", "id", "injections", "is_upgrade", "method", "port",
        "reason", "request_id", "request_size", "response_headers", "response_size", "scheme", "started", "status",
        "subprotocol", "target", "tunnel", "unscanned", "upgraded", "upstream", "upstream_verified", "violations",
    )  # fmt: skip

    def __init__(self, id: int, method: str, scheme: str, host: str, port: int, target: str) -> None:
        self.id = id
        self.method = method
        self.scheme = scheme
        self.host = host
        self.port = port
        self.target = target
        self.http_version = "1.1"
        self.headers: Headers = ()
        self.forwarded_headers: Headers = ()
        self.injections: tuple[Injection, ...] = ()
        self.is_upgrade = False
        self.upgraded = False
        self.subprotocol: str | None = None
        self.status: int | None = None
        self.response_headers: Headers = ()
        self.request_size = 0
        self.response_size = 0
        self.denied = False
        self.deny_reason = ""
        self.error: str | None = None
        self.reason = ""
        self.violations: tuple[Violation, ...] = ()
        self.request_id = ""
        self.started = 0.0
        self.began = 0.0
        self.duration: float | None = None
        self.upstream: str | None = None
        self.upstream_verified: bool | None = None
        self.cleartext = False
        self.unscanned: tuple[str, ...] = ()
        self.closed: Closed | None = None
        self.folded = False
        self.tunnel: Tunnel | None = None
        self._was_sent = False

    def fold(self) -> None:
        """Give up the header fields, which are most of its weight; in an order in which `sent` is right throughout."""
        self._was_sent = self.sent
        self.folded = True
        self.headers = self.forwarded_headers = self.response_headers = ()

    @property
    def sent(self) -> bool:
        """Whether it, or a part of it, was sent upstream."""
        return self._was_sent if self.folded else bool(self.forwarded_headers)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def credential_injected(self) -> bool:
        """Whether a credential was sent upstream with this request."""
        return bool(self.injections)

    @property
    def grants(self) -> tuple[str, ...]:
        """The labels of the credentials that were injected, without empty ones."""
        return tuple(injection.grant for injection in self.injections if injection.grant)

    @property
    def url(self) -> str:
        """The whole URL, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.method} {self.url} {self.status or 'pending'}>"


Level = Literal["DEBUG", "INFO", "WARN", "ERROR"]


class LogLine(NamedTuple):
    """One line of the proxy's log: level name, message, and fields in order."""

    level: Level
    message: str
    fields: tuple[tuple[str, str | int | float | bool], ...]


class Late(NamedTuple):
    """A connection that came while no test held the proxy; it was answered 503."""

    client: str


@dataclass(frozen=True)
class Leak:
    """The value of a secret, seen where it does not belong; one for each exchange, direction, place and secret.

    Attributes:
        secret: whose value it is.
        rule: id of its rule.
        grant: label of its rule, or "".
        direction: `upstream` in what was sent, `client` in what came back.
        place: where in the message: `target`, `header X-Token`, `body`, `message 3`.
        offset: of the first time, in bytes from the start of the place.
        exchange: what it was seen in.
        test: the test that the connection belongs to, or "".
        client_held: the client itself sent it in the header that was replaced; recorded, and no failure.
        count: how often so far. A later leak of the same exchange, direction, place and secret takes the place of the
            earlier one.
    """

    secret: Secret
    rule: str
    grant: str
    direction: Literal["upstream", "client"]
    place: str
    offset: int
    exchange: Exchange
    test: str = ""
    client_held: bool = False
    count: int = 1

    @property
    def astray(self) -> bool:
        """Whether it counts: a secret was sent where it does not belong, and not only echoed or held by the client."""
        return self.direction == "upstream" and not self.client_held


class Bypass(NamedTuple):
    """A connection that this process opened past the proxy (or a name it looked up in order to).

    Attributes:
        host, port: where to.
        client: what opened it, as far as that is known, or "".
        cure: what makes that client use the proxy, or "".
    """

    host: str
    port: int
    client: str = ""
    cure: str = ""


Record = Exchange | Tunnel | LogLine | Late | Leak | Bypass
"""Anything that a sink is handed. Exchanges and tunnels come on arrival, and again at each step to wait for."""

Sink = Callable[[Record], None]
