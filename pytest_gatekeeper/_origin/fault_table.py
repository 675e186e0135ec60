"""What can go wrong at the stub on purpose, and which connection or request it happens to.

A fault of the connection is looked for when it is accepted, when its name is known (ClientHello, or the first request
where there is no TLS), one of the request when its head is there. Values only: nothing is broken here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from pytest_gatekeeper._core.hosts import host_matches

__all__ = ["ADDRESS", "Fault", "FaultName", "FaultTable"]

FaultName = Literal[
    "refuse", "untrusted", "expired", "wrong_name",
    "reset", "stall", "slow", "truncate", "early", "ragged", "bad_accept", "garbage",
]  # fmt: skip

ADDRESS = "127.0.0.1"
"""What a client without a name in its ClientHello is taken to have asked for."""

_OF_CONNECTIONS = frozenset(("refuse", "untrusted", "expired", "wrong_name"))

_NEEDS: dict[FaultName, str] = {"early": "body", "ragged": "tls", "bad_accept": "upgrade", "garbage": "upgrade"}


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: the method of `Faults` that made it.
        after: bytes behind the answer's head at which it happens; None for the fault's own moment.
        size: bytes of a piece (slow).
        delay: seconds between two pieces (slow).
        data: what is sent behind the 101 (garbage).
    """

    name: FaultName
    after: int | None = None
    size: int = 1
    delay: float = 0.0
    data: bytes = field(default=b"", repr=False)

    @property
    def of_connection(self) -> bool:
        """Whether it happens to a connection, before there is a request."""
        return self.name in _OF_CONNECTIONS

    @property
    def silent(self) -> bool:
        """Whether a request that it happens to gets no part of an answer."""
        return self.name in ("reset", "stall") and self.after is None


@dataclass
class _Entry:
    fault: Fault
    host: str | None
    path: str | None
    left: int | None

    def fits(self, host: str, path: str = "") -> bool:
        return (self.host is None or host_matches(self.host, host)) and (
            self.path is None or fnmatchcase(path, self.path)
        )


class FaultTable:
    """The faults that a test has set; the last one that fits wins. Any thread may use it.

    Each look-up counts what it gives as used.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault, *, host: str | None, path: str | None, times: int | None) -> None:
        """Set a fault for what fits: host pattern, path glob; None fits all. `times` is how often it happens."""
        with self._lock:
            self._entries.append(_Entry(fault, host, path, times))

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._entries.clear()

    def at_accept(self) -> Fault | None:
        """A refusal that needs no name, unless a fault that was set later has to be looked at first."""
        last = True

        def fits(entry: _Entry) -> bool:
            nonlocal last
            if not (entry.fault.of_connection and last):
                return False
            last = False
            return entry.fault.name == "refuse" and entry.host is None

        return self._pick(fits)

    def at_hello(self, sni: str | None) -> Fault | None:
        """The fault of a TLS connection, by the name in its ClientHello."""
        host = ADDRESS if sni is None else sni
        return self._pick(lambda entry: entry.fault.of_connection and entry.fits(host))

    def at_first(self, host: str) -> Fault | None:
        """The refusal of a connection without TLS, by the host of its first request."""
        return self._pick(lambda entry: entry.fault.name == "refuse" and entry.fits(host))

    def at_request(self, host: str, path: str, *, traits: frozenset[str]) -> Fault | None:
        """The fault of a request; its traits are `body`, `tls` and `upgrade` (one that will be accepted)."""

        def fits(entry: _Entry) -> bool:
            need = _NEEDS.get(entry.fault.name)
            return not entry.fault.of_connection and (need is None or need in traits) and entry.fits(host, path)

        return self._pick(fits)

    def _pick(self, fits: Callable[[_Entry], bool]) -> Fault | None:
        with self._lock:
            for entry in reversed(self._entries):
                if entry.left != 0 and fits(entry):
                    if entry.left is not None:
                        entry.left -= 1
                    return entry.fault
        return None
