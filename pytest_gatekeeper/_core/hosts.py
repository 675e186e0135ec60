"""Host names: reading them, comparing them, matching them against patterns.

Names are text as a client spelled it, addresses are without brackets. A pattern is a name or `*.suffix`, which matches
any depth below the suffix and never the suffix itself; case does not matter, ports are no part of it. Nothing is
resolved here, and nothing here knows what is looked up by host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Generic, TypeVar

__all__ = [
    "PORTS", "HostTable", "host_matches", "is_address", "is_host", "is_link_local", "is_loopback", "join_authority",
    "same_host", "split_authority",
]  # fmt: skip

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_PORT = re.compile(r"[0-9]{1,5}")
_MAX_NAME = 254  # RFC 1035 section 3.1, with a trailing dot
PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
"""The port of each scheme that the proxy carries (RFC 9110 section 4.2, RFC 6455 section 3)."""

_CACHED = 4096  # hosts that a table remembers
_WRAPPING = tuple(  # IPv6 networks whose last 32 bits are an IPv4 address
    map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))
)  # RFC 6052, RFC 8215, RFC 4291 section 2.5.5.1, RFC 2765 section 2.1
_METADATA = frozenset(  # where clouds serve metadata beside 169.254.169.254: AWS, Google, Alibaba, Oracle, Azure
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return "%" not in text


def is_address(host: str) -> bool:
    """Whether `host` is an IP address in its usual form, IPv6 without brackets."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def is_host(text: str) -> bool:
    """Whether `text` can name a host: a name of letters, digits, `-`, `_` and dots, or an address without brackets."""
    if ":" in text:
        return _is_ipv6(text)
    return len(text) <= _MAX_NAME and _NAME.fullmatch(text) is not None


def _port(text: str) -> int | None:
    if not text:  # an empty port is the default one (RFC 3986 section 3.2.3)
        return None
    port = int(text) if _PORT.fullmatch(text) else 0
    if not 1 <= port <= 65535:
        raise ValueError("the port is no number from 1 to 65535")
    return port


def split_authority(text: str) -> tuple[str, int | None]:
    """Take `host:port` apart (RFC 3986 section 3.2); the host without brackets, None where there is no port.

    An IPv6 address without brackets is read with a port where that is possible: `::1:443` is port 443 of `::1`.
    Raises ValueError for what is no host: an empty one, a user, a scheme, a percent sign, a port out of range.
    """
    if "/" in text:
        raise ValueError("a host has no scheme and no path")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or rest[:1] not in ("", ":"):
            raise ValueError("the brackets hold no IPv6 address")
        return host, _port(rest[1:])
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not (_is_ipv6(host) and _PORT.fullmatch(port))):
        host, port = text, ""
    if not is_host(host):
        raise ValueError("this is no host name")
    return host, _port(port)


def join_authority(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _plain(name: str) -> str:
    """A pattern or host in the form that is compared: lower case, an IPv6 address compressed and without brackets."""
    if ":" in name:
        bare = name.removeprefix("[").removesuffix("]")
        return str(IPv6Address(bare)) if _is_ipv6(bare) else bare.lower()
    return name.lower()


def same_host(one: str, other: str) -> bool:
    """Whether two names mean the same host: case, a trailing dot and the form of an IPv6 address do not matter."""
    return one == other or _plain(one).removesuffix(".") == _plain(other).removesuffix(".")


def host_matches(pattern: str, host: str) -> bool:
    """Whether a pattern, exact or `*.suffix`, matches a host."""
    if pattern.startswith("*."):
        suffix = pattern[1:].lower()
        return len(host) > len(suffix) > 1 and host.lower().endswith(suffix)
    return _plain(pattern) == _plain(host)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, the IPv4 one where it is wrapped in IPv6 (RFC 4291 section 2.5.5.2, RFC 6052)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if any(address in network for network in _WRAPPING) and int(address) > 1:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine: `localhost` and names below it, 127.0.0.0/8, ::1."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_link_local(address: str) -> bool:
    """Whether an address is in 169.254.0.0/16 or fe80::/10, or one where clouds serve metadata; a name never is."""
    found = _address(address)
    return found is not None and (found.is_link_local or found in _METADATA)


class HostTable(Generic[T]):
    """Items by host pattern, of which one key wins per host.

    The winner is the key spelled like the host, else the one that equals it ignoring case, else the wildcard with the
    longest suffix; between keys that differ in case only, the first in alphabetical order. Its items keep their order.
    """

    def __init__(self, entries: Sequence[tuple[str, T]]) -> None:
        items: dict[str, list[T]] = {}
        for pattern, item in entries:
            items.setdefault(pattern, []).append(item)
        self._items = {pattern: tuple(found) for pattern, found in items.items()}
        self._exact: dict[str, str] = {}
        self._suffixes: dict[str, str] = {}
        for pattern in sorted(self._items):
            if pattern.startswith("*."):
                if pattern != "*.":
                    self._suffixes.setdefault(pattern[2:].lower(), pattern)
            else:
                self._exact.setdefault(_plain(pattern), pattern)
        self._known: dict[str, tuple[str | None, tuple[T, ...]]] = {}

    def lookup(self, host: str) -> tuple[str | None, tuple[T, ...]]:
        """The winning pattern and its items; None and nothing where no pattern matches."""
        found = self._known.get(host)
        if found is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            pattern = self._winner(host)
            found = self._known[host] = (pattern, () if pattern is None else self._items[pattern])
        return found

    def _winner(self, host: str) -> str | None:
        if host in self._items and not host.startswith("*"):
            return host
        name = _plain(host)
        if name in self._exact:
            return self._exact[name]
        at = name.find(".", 1)
        while at > 0:
            if name[at + 1 :] in self._suffixes:
                return self._suffixes[name[at + 1 :]]
            at = name.find(".", at + 1)
        return None
