"""Where a name leads: routes, and what may be dialled without one.

A `Routes` turns the destination that a client named into the `Target` to dial: address, TLS or not, the name to verify,
whom to trust. Nothing is resolved or dialled here (see `upstream`).
"""

from __future__ import annotations

import ssl
import threading
from typing import NamedTuple

from pytest_gatekeeper._core.hosts import (
    HostTable,
    is_address,
    is_host,
    is_loopback,
    join_authority,
    split_authority,
)
from pytest_gatekeeper._core.model import Destination
from pytest_gatekeeper._proxy.trust import unverified_context, upstream_context
from pytest_gatekeeper.errors import ProxyError

__all__ = ["NoRoute", "Routes", "Target"]

_REMEMBERED = 1024  # destinations whose target is kept
_SCHEMES = {"http": (False, 80), "ws": (False, 80), "https": (True, 443), "wss": (True, 443)}


class NoRoute(ConnectionError):
    """A destination that must not be dialled; the text says what to do."""


class _Route(NamedTuple):
    host: str
    port: int
    tls: bool
    ca: bytes
    verify: bool


class Target(NamedTuple):
    """What to dial.

    Attributes:
        host, port: where, a name or an address.
        context: of TLS, None for plain.
        server_name: the name that the certificate must have; also the SNI.
        verified: whether the certificate is verified; None without TLS.
        routed: whether a route led here.
    """

    host: str
    port: int
    context: ssl.SSLContext | None
    server_name: str
    verified: bool | None
    routed: bool

    @property
    def address(self) -> str:
        """`host:port`."""
        return join_authority(self.host, self.port)


class Routes:
    """The routes of one proxy; set by its test, read by its thread.

    Args:
        allow_network: whether destinations that are neither routed nor loopback may be dialled.

    Attributes:
        version: changes whenever a destination may lead elsewhere than before.
    """

    def __init__(self, *, allow_network: bool = False) -> None:
        self._allow_network = allow_network
        self._lock = threading.Lock()
        self._routes: dict[tuple[int | None, str], _Route] = {}
        self._tables: dict[int | None, HostTable[_Route]] = {}
        self._trusted: tuple[bytes, ...] = ()
        self._known: dict[Destination, Target] = {}
        self.version = 0

    def add(self, pattern: str, url: str, *, ca: bytes = b"", verify: bool = True) -> None:
        """Lead a host pattern (with or without `:port`) to a URL; it takes the place of an earlier route.

        Args:
            pattern: `name`, `*.suffix`, either with `:port`; IPv6 in brackets.
            url: http, https, ws or wss, with host and port, without path, query and user.
            ca: PEM of an authority that vouches for the upstream.
            verify: whether its certificate is verified.

        Raises:
            ProxyError: either cannot be read.
            TypeError: the pattern is no text.
        """
        if not isinstance(pattern, str):
            raise TypeError(f"a route is for one host pattern, a text, not for a {type(pattern).__name__}")
        wildcard = "*." if pattern.startswith("*.") else ""
        try:
            name, port = split_authority(pattern.removeprefix(wildcard))
        except ValueError as error:
            raise ProxyError(
                f"route({pattern!r}, …): {error}; write a name or *.suffix, and :port where it matters"
            ) from None
        route = _read_url(url)._replace(ca=ca, verify=verify)
        with self._lock:
            self._routes[port, wildcard + name] = route
            tables: dict[int | None, list[tuple[str, _Route]]] = {}
            for (at, key), item in self._routes.items():
                tables.setdefault(at, []).append((key, item))
            self._tables = {at: HostTable(items) for at, items in tables.items()}
            self._changed()

    def trust(self, pem: bytes) -> None:
        """Trust another authority (PEM) for all upstreams."""
        with self._lock:
            if pem not in self._trusted:
                self._trusted += (pem,)
                self._changed()

    def _changed(self) -> None:
        self._known = {}
        self.version += 1

    def target(self, destination: Destination) -> Target:
        """What to dial for a destination. Raises NoRoute."""
        known = self._known  # a change puts another one in its place
        found = known.get(destination)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = known[destination] = self._find(destination)
        return found

    def _find(self, destination: Destination) -> Target:
        scheme, host, port = destination
        route = self._route(host, port)
        if route is not None:
            name = host if is_loopback(route.host) or is_address(route.host) else route.host
            return self._target(route.host, route.port, route.tls, name, route.ca, route.verify, routed=True)
        if not self._allow_network and not is_loopback(host):
            raise NoRoute(
                f"{host} {self._missed(host, port)}, and the network is closed. Lead it somewhere with"
                f' gatekeeper_origin.serve("{host}") or proxy.route("{host}", URL), or open the network with'
                " --gatekeeper-allow-network (exec and serve: --origin, --route, --allow-network)."
            )
        return self._target(host, port, scheme == "https", host, b"", verify=True, routed=False)

    def _route(self, host: str, port: int) -> _Route | None:
        for at in (port, None):
            if at in self._tables:
                _, found = self._tables[at].lookup(host)
                if found:
                    return found[0]
        return None

    def _missed(self, host: str, port: int) -> str:
        """That a host has no route, and which one just misses it."""
        ports = sorted(at for at, table in self._tables.items() if at is not None and table.lookup(host)[1])
        if ports:
            return f"has a route for port {', '.join(map(str, ports))}, and none for {port}"
        below = next((name for _, name in self._routes if name.lower() == f"*.{host.lower()}"), "")
        return f"has no route ({below} covers only names below it)" if below else "has no route"

    def _target(self, host: str, port: int, tls: bool, name: str, ca: bytes, verify: bool, *, routed: bool) -> Target:
        name = name.removesuffix(".")
        if not tls:
            return Target(host, port, None, name, None, routed)
        if not verify:
            return Target(host, port, unverified_context(), name, verified=False, routed=routed)
        extra = (*self._trusted, ca) if ca and ca not in self._trusted else self._trusted
        return Target(host, port, upstream_context(extra), name, verified=True, routed=routed)


def _read_url(url: str) -> _Route:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise ProxyError(f"route(…, {_shown(url)!r}): the URL must begin with http://, https://, ws:// or wss://")
    authority, _, path = rest.partition("/")
    if "@" in rest or "?" in rest or "#" in rest or path:
        raise ProxyError(
            f"route(…, {_shown(url)!r}): the URL names a host and a port alone;"
            " user, path and query come from the client"
        )
    try:
        host, port = split_authority(authority)
    except ValueError as error:
        raise ProxyError(f"route(…, {_shown(url)!r}): {error}") from None
    if not is_host(host):
        raise ProxyError(f"route(…, {_shown(url)!r}): this is no host name")
    tls, default = _SCHEMES[scheme.lower()]
    return _Route(host, port or default, tls, b"", verify=True)


def _shown(url: str) -> str:
    """The URL without what could be a credential: user, path and query."""
    scheme, separator, rest = url.partition("://")
    authority = (rest if separator else url).partition("?")[0].partition("/")[0].rpartition("@")[2]
    return f"{scheme}://{authority}" if separator else authority
