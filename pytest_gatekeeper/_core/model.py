"""The values that the rest of the house hands around: configuration, rules, heads and decisions.

Plain, immutable data with no behaviour beyond what follows from the fields. Reading, matching, deciding and recording
live in modules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.errors import ConfigError

__all__ = [
    "Admitted", "Credential", "Destination", "Finding", "Forward", "Headers", "Injection", "LogSettings",
    "NetworkSettings", "PostgresSettings", "ProxySettings", "Refused", "RequestHead", "ResponseHead", "Rule",
    "Settings", "SourceSpec", "TlsSettings", "Violation",
]  # fmt: skip

Headers = tuple[tuple[str, str], ...]
"""Header fields in order and case as on the wire, each a (name, value) pair of latin-1 text."""


# ------------------------------------------------------------------ what a gatekeeper.yaml says


@dataclass(frozen=True)
class SourceSpec:
    """Where a credential's value comes from: `credentials[].source`.

    Attributes:
        type: `env`, `static`, `process`, or one of the cloud and exchange kinds.
        fields: the other keys, sorted, as (key, text) pairs; a static `value` and a `client_secret` are in `hidden`.
        hidden: the keys whose text is itself a secret.
        line: 1-based line in the file. Two sources are equal when all but the line is.
    """

    type: str
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # a value may be where a name belongs
    hidden: tuple[tuple[str, Secret], ...] = ()
    line: int | None = field(default=None, compare=False)

    def get(self, key: str) -> str:
        """The text of a key that is no secret; empty where it is absent."""
        return next((text for name, text in self.fields if name == key), "")

    def secret(self, key: str) -> Secret | None:
        """The value of a hidden key, or None."""
        return next((value for name, value in self.hidden if name == key), None)


@dataclass(frozen=True)
class Credential:
    """One entry of `credentials`: which header of which hosts gets which source's value."""

    host: str
    source: SourceSpec
    header: str = "Authorization"
    prefix: str = ""
    format: Literal["", "basic"] = ""
    grant: str = ""
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ProxySettings:
    """`proxy`: the listener."""

    host: str = "127.0.0.1"
    port: int = 0
    auth_token: Secret | None = None
    proxy_protocol: bool = False


@dataclass(frozen=True)
class TlsSettings:
    """`tls`: paths of the production CA. Kept for the record; this package never opens them."""

    ca_cert: str = ""
    ca_key: str = ""


@dataclass(frozen=True)
class NetworkSettings:
    """`network`: what may be reached."""

    policy: Literal["permissive", "strict"] = "permissive"
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogSettings:
    """`log`: the canonical request lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    output: str = "stderr"
    capture_headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class PostgresSettings:
    """`postgres`: read and kept, not emulated."""

    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something about a configuration that is worth a warning: place, key and what to do about it.

    Attributes:
        problem: what it is, and the way out.
        file, line, key: where; None where it has none.
        code: of what kind, one of `lint.CODES`.
    """

    problem: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    code: str = ""

    def __str__(self) -> str:
        return str(ConfigError(self.problem, file=self.file, line=self.line, key=self.key))


@dataclass(frozen=True)
class Settings:
    """A whole gatekeeper.yaml, typed and checked.

    Attributes:
        file: the name it was read from, for messages; None for text.
        findings: what production ignores silently (unknown keys, second documents, patterns that never match).
    """

    proxy: ProxySettings = ProxySettings()
    tls: TlsSettings = TlsSettings()
    credentials: tuple[Credential, ...] = ()
    network: NetworkSettings = NetworkSettings()
    log: LogSettings = LogSettings()
    postgres: PostgresSettings | None = None
    file: str | None = field(default=None, compare=False)
    findings: tuple[Finding, ...] = field(default=(), compare=False)


# ------------------------------------------------------------------ what is injected


@dataclass(frozen=True)
class Rule:
    """A credential with its value: what the proxy injects where.

    Attributes:
        id: stable name within a run, `credentials[0]` for the file's first entry, `added[0]` for the first one added
            by a test.
        pattern: host pattern, exact or `*.suffix`.
        header: header name as written in the file.
        grant: label, or "".
        secret: the source's value (leak scanning and `value=` mean this one).
        header_value: the whole value of the header, scheme included.
        canary: whether the value was made up in the place of the source's.
    """

    id: str
    pattern: str
    header: str
    grant: str
    secret: Secret
    header_value: Secret
    canary: bool = False


class Injection(NamedTuple):
    """A credential that was put into one request; `canary`: its value is made up."""

    header: str
    grant: str
    rule: str
    secret: Secret
    header_value: Secret
    canary: bool = False


class Violation(NamedTuple):
    """A request that tried to get a credential where it does not belong, and what was done about it."""

    kind: str  # "inner-host", "sni", "absolute-form", "trace", "smuggling", "link-local", "connect-inside"
    text: str
    action: str


# ------------------------------------------------------------------ heads and decisions


class RequestHead(NamedTuple):
    """A request line and its header fields (RFC 9112 sections 3 and 5). All text is latin-1."""

    method: str
    target: str
    version: str  # "1.0" or "1.1"
    headers: Headers


class ResponseHead(NamedTuple):
    """A status line and its header fields (RFC 9112 sections 4 and 5). All text is latin-1."""

    status: int
    reason: str
    version: str
    headers: Headers


class Destination(NamedTuple):
    """Where a request goes: `scheme` is http or https; `host` is as the client spelled it, without brackets."""

    scheme: str
    host: str
    port: int


class Admitted(NamedTuple):
    """A CONNECT that may open a tunnel."""

    host: str
    port: int
    user_id: str


class Forward(NamedTuple):
    """A request that goes upstream.

    Attributes:
        destination: where to.
        head: what to send, credentials included. Send it; never keep or print it.
        clean_headers: the same header fields with every injected value blanked: what the recorder shows.
        injections: the credentials in `head`, in order of header.
        reason: why nothing was injected; "" where something was.
        violations: what the request tried that it must not.
        captured: (log key, value) pairs of `log.capture_headers`.
        upgrade: the protocol of an Upgrade request, as the client spelled it, or "".
        request_id: the X-Request-Id that is sent upstream.
        user_id: of proxy authentication, or "".
        close: whether the client's connection must be closed after the answer.
    """

    destination: Destination
    head: RequestHead
    clean_headers: Headers
    injections: tuple[Injection, ...]
    reason: str
    violations: tuple[Violation, ...]
    captured: tuple[tuple[str, str], ...]
    upgrade: str
    request_id: str
    user_id: str
    close: bool


class Refused(NamedTuple):
    """A request (or a CONNECT) that the proxy answers itself.

    Attributes:
        status: HTTP status code of the answer.
        headers: its header fields, without framing.
        body: its text/plain body.
        destination: whom it was for, where that is known.
        deny_reason: set when policy denied it; the text of the log line.
        logged: whether a log line is written (not for missing proxy authentication and the health check).
        close: whether the connection is closed after the answer.
        violations, captured, user_id: as in `Forward`.
    """

    status: int
    headers: Headers
    body: str
    destination: Destination | None = None
    deny_reason: str = ""
    logged: bool = True
    close: bool = True
    violations: tuple[Violation, ...] = ()
    captured: tuple[tuple[str, str], ...] = ()
    user_id: str = ""
