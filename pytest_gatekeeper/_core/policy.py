"""Network policy: which hosts and ports may be reached.

Reads `network.allow` patterns and answers for one host and port. What a denial looks like is `answers`, when it is
asked is `decide`.
"""

from __future__ import annotations

from pytest_gatekeeper._core.model import NetworkSettings
from pytest_gatekeeper.errors import ConfigError

__all__ = ["Policy", "read_allow"]

_WEB_PORTS = frozenset((80, 443))


def read_allow(pattern: str) -> tuple[str, frozenset[int]]:
    """Take one allow pattern apart: host pattern in lower case, and the ports it covers (80 and 443 where it has none).

    Raises ValueError, with a text that says what to write instead, for a pattern that could never match: empty, with
    a scheme, a path, a user, white space, an IPv6 address, or a port that is no number.
    """
    if not pattern:
        raise ValueError("an empty pattern matches nothing; remove it")
    if "://" in pattern:
        raise ValueError("a pattern has no scheme; write the host alone, or host:port")
    if "/" in pattern:
        raise ValueError("a pattern has no path; write the host alone, or host:port")
    if "@" in pattern:
        raise ValueError("a pattern has no user; write the host alone, or host:port")
    if any(char.isspace() for char in pattern):
        raise ValueError("a pattern has no white space; write each host as an item of its own")
    host, colon, port = pattern.partition(":")
    if ":" in port or "[" in pattern:
        raise ValueError("IPv6 addresses cannot be allowed; give the host a name")
    if not colon:
        return host.lower(), _WEB_PORTS
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError("the port is no number from 1 to 65535; leave it out for ports 80 and 443")
    return host.lower(), frozenset((int(port),))


class Policy:
    """What `network` permits.

    Raises ConfigError when a pattern under `strict` cannot be read.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        self.strict = settings.policy == "strict"
        self._exact: dict[str, frozenset[int]] = {}
        self._below: dict[str, frozenset[int]] = {}
        for index, pattern in enumerate(settings.allow if self.strict else ()):
            try:
                host, ports = read_allow(pattern)
            except ValueError as error:
                raise ConfigError(str(error), key=f"network.allow[{index}]") from None
            below = host.startswith("*.") and host != "*."
            table, name = (self._below, host[2:]) if below else (self._exact, host)
            table[name] = table.get(name, frozenset()) | ports

    def permits(self, host: str, port: int) -> bool:
        """Whether `host`, without brackets, may be reached on `port`."""
        if not self.strict:
            return True
        name = host.lower()
        if port in self._exact.get(name, ()):
            return True
        at = name.find(".", 1)
        while at > 0:
            if port in self._below.get(name[at + 1 :], ()):
                return True
            at = name.find(".", at + 1)
        return False
