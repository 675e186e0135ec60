"""Which exchanges, and which credentials: what a query of the recorder asks for.

A `Traffic` picks exchanges by what the client asked for and what became of it, a `Wanted` picks credentials among those
that an exchange got. Both can say in words what they ask for and in what an exchange differs. Nothing is kept or
formatted into tables here, and a value to compare with is never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from fnmatch import fnmatchcase

from pytest_gatekeeper._core.hosts import host_matches, join_authority, split_authority
from pytest_gatekeeper._core.model import Injection
from pytest_gatekeeper._core.records import Exchange, Tunnel
from pytest_gatekeeper._core.secret import Secret

__all__ = ["HostPattern", "Status", "Traffic", "Value", "Wanted"]

Status = int | Container[int]
"""A status code, or several: a set, a range."""

Value = str | Secret
"""A value to compare with."""


class HostPattern:
    """A host to look for: a name or `*.suffix`, either with `:port`.

    Raises ValueError for a text that could never match, such as a URL.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        wildcard = "*." if text.startswith("*.") else ""
        try:
            host, self.port = split_authority(text.removeprefix(wildcard))
        except ValueError as error:
            shown = text.rpartition("@")[2]
            raise ValueError(
                f"{shown!r} matches no host: {error}; write a name or *.suffix, and :port where it matters"
            ) from None
        self.name = wildcard + host

    def matches(self, host: str, port: int) -> bool:
        """Whether it matches a host at a port."""
        return self.port in (None, port) and host_matches(self.name, host)

    def __str__(self) -> str:
        return self.text


_Test = Callable[[Exchange], bool]
_Words = Callable[[Exchange], str]


class Traffic:
    """Exchanges to look for; a criterion that is None does not matter.

    Args:
        host: see `HostPattern`.
        method: ignoring case.
        path: the path without its query, or a glob (`/v1/*`, where `*` matches slashes too).
        upgrade: whether another protocol was asked for.
        websocket: whether that protocol was WebSocket.
        upgraded: whether the answer was 101.
        status: of the answer.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        method: str | None = None,
        path: str | None = None,
        upgrade: bool | None = None,
        websocket: bool | None = None,
        upgraded: bool | None = None,
        status: Status | None = None,
    ) -> None:
        _need_text(host=host, method=method, path=path)
        self.host = None if host is None else HostPattern(host)
        self._criteria: list[tuple[_Test, _Words]] = []
        if self.host is not None:
            pattern = self.host
            self._criteria.append((lambda e: pattern.matches(e.host, e.port), lambda e: _elsewhere(pattern, e)))
        if method is not None:
            verb = method.upper()
            self._criteria.append((lambda e: e.method.upper() == verb, lambda e: f"its method is {e.method}"))
        if path is not None:
            glob = path
            self._criteria.append((lambda e: _path_matches(glob, e.path), lambda e: f"its path is {e.path}"))
        if upgrade is not None:
            self._criteria.append((lambda e: e.is_upgrade is upgrade, _upgrade_words))
        if websocket is not None:
            self._criteria.append((lambda e: _is_websocket(e) is websocket, _websocket_words))
        if upgraded is not None:
            self._criteria.append((lambda e: e.upgraded is upgraded, _upgraded_words))
        if status is not None:
            codes = _codes(status)
            self._criteria.append((lambda e: e.status is not None and e.status in codes, _status_words))
        self._tunnels = path is None and upgrade is None and (method is None or method.upper() == "CONNECT")
        self._noun = "WebSocket upgrade" if websocket else "upgrade" if upgrade else "exchange"
        self._before = f"{method.upper()} " if method else ""
        self._after = "".join(
            (
                f" to {host}" if host else "",
                f" with path {path}" if path else "",
                " without upgrade" if upgrade is False else "",
            )
        )

    def matches(self, exchange: Exchange) -> bool:
        """Whether an exchange is what is looked for."""
        return all(test(exchange) for test, _ in self._criteria)

    def matches_tunnel(self, tunnel: Tunnel) -> bool:
        """Whether a CONNECT, by itself, is what is looked for."""
        return self._tunnels and (self.host is None or self.host.matches(tunnel.host, tunnel.port))

    def misses(self, exchange: Exchange) -> list[str]:
        """In what an exchange differs from what is looked for, in words."""
        return [words(exchange) for test, words in self._criteria if not test(exchange)]

    def counted(self, count: int) -> str:
        """`1 upgrade to ws.example.com`, `no exchange`, `2 POST exchanges with path /v1/*`."""
        plural = "s" if count > 1 else ""
        return f"{count or 'no'} {self._before}{self._noun}{plural}{self._after}"

    def __str__(self) -> str:
        return f"{self._before}{self._noun}{self._after}"


def _need_text(**given: object) -> None:
    """Raise TypeError for an argument that is neither None nor text; a value is not repeated."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} is text, not {type(value).__name__}")


def _codes(status: Status) -> Container[int]:
    """Status codes. Raises TypeError for what can hold none."""
    if isinstance(status, int):
        return (status,)
    if isinstance(status, (str, bytes)) or not isinstance(status, Container):
        raise TypeError(f"status is a number, or several as in range(400, 500), not {type(status).__name__}")
    return status


def _path_matches(glob: str, path: str) -> bool:
    return glob == path or fnmatchcase(path, glob)


def _elsewhere(pattern: HostPattern, exchange: Exchange) -> str:
    if host_matches(pattern.name, exchange.host):
        return f"its port is {exchange.port}"
    return f"its host is {join_authority(exchange.host, exchange.port) if pattern.port else exchange.host}"


def _is_websocket(exchange: Exchange) -> bool:
    return exchange.is_upgrade and exchange.scheme in ("ws", "wss")


def _upgrade_words(exchange: Exchange) -> str:
    return "it asked for an upgrade" if exchange.is_upgrade else "it asked for no upgrade"


def _websocket_words(exchange: Exchange) -> str:
    if _is_websocket(exchange):
        return "it asked for a WebSocket"
    return "it asked for another protocol than WebSocket" if exchange.is_upgrade else "it asked for no upgrade"


def _upgraded_words(exchange: Exchange) -> str:
    return "it was upgraded" if exchange.upgraded else "it was not upgraded"


def _status_words(exchange: Exchange) -> str:
    return "it has no answer" if exchange.status is None else f"its status is {exchange.status}"


class Wanted:
    """Credentials to look for; a criterion that is None does not matter.

    Args:
        header: name of the header that it was put in, ignoring case.
        grant: its label.
        value: what its source gave.
        header_value: the whole value of the header, scheme included.
    """

    def __init__(
        self,
        *,
        header: str | None = None,
        grant: str | None = None,
        value: Value | None = None,
        header_value: Value | None = None,
    ) -> None:
        _need_text(header=header, grant=grant)
        self.header = header
        self.grant = grant
        self.value = _secret("value", value)
        self.header_value = _secret("header_value", header_value)

    @property
    def described(self) -> bool:
        """Whether any criterion was given."""
        return any(given is not None for given in (self.header, self.grant, self.value, self.header_value))

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The values to compare with, which no text may show."""
        return tuple(secret for secret in (self.value, self.header_value) if secret is not None)

    def among(self, exchange: Exchange) -> tuple[Injection, ...]:
        """The credentials of an exchange that are what is looked for."""
        return tuple(injection for injection in exchange.injections if not self.misses(injection))

    def misses(self, injection: Injection) -> list[str]:
        """In what a credential differs from what is looked for, in words."""
        found = []
        if self.header is not None and injection.header.lower() != self.header.lower():
            found.append(f"its header is {injection.header}")
        if self.grant is not None and injection.grant != self.grant:
            found.append(f"its grant is {injection.grant!r}")
        made_up = "expected; a canary took its place, see --gatekeeper-secrets" if injection.canary else ""
        if self.value is not None and injection.secret != self.value:
            hint = "the header's; compare it with header_value=" if injection.header_value == self.value else made_up
            found.append(_unequal("value", injection.secret, self.value, hint))
        if self.header_value is not None and injection.header_value != self.header_value:
            hint = "the source's; compare it with value=" if injection.secret == self.header_value else made_up
            found.append(_unequal("header value", injection.header_value, self.header_value, hint))
        return found

    def __str__(self) -> str:
        parts = (
            f"header {self.header}" if self.header is not None else "",
            f"grant {self.grant!r}" if self.grant is not None else "",
            f"value {self.value}" if self.value is not None else "",
            f"header value {self.header_value}" if self.header_value is not None else "",
        )
        details = ", ".join(part for part in parts if part)
        return f"a credential ({details})" if details else "a credential"


def _secret(name: str, value: Value | None) -> Secret | None:
    if value is not None and not isinstance(value, (str, Secret)):
        raise TypeError(f"{name} is text or a Secret, not {type(value).__name__}")
    return value if value is None or isinstance(value, Secret) else Secret(value)


def _unequal(what: str, got: Secret, wanted: Secret, hint: str) -> str:
    return f"its {what} is {got}, not {wanted}" + (f" (which is {hint})" if hint else "")
