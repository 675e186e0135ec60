"""Many strings found by one rare byte of each: in text, that is several times as fast as a search for each of them.

Secrets have digits, capitals and the like every few bytes, text hardly ever has the rarest of these. `find` of a single
byte passes what lies between at tens of gigabytes a second, and what stands around it settles the rest. A byte that
turns out not to be rare is given up at once: its strings are searched for after all, or found another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Anchors"]

_RARE = b"%\\^~`|QXZJKVqYWUjzHGFBxDLNMPORCESIAT7986543210"
"""What may be an anchor, in about the order of how rare it is in prose, JSON and source code."""

_KEY = 4  # bytes from the anchor on that are looked up
_HIT = 200.0  # nanoseconds to look one up
_FREE = 8  # of a byte that are looked at in any case, before there can be too many


class _Anchor(NamedTuple):
    """A byte, and the strings found by it.

    Attributes:
        byte: itself, of length one.
        known: by the `_KEY` bytes that start with it, strings and where in them that is.
        cores: these strings.
        cost: to search for each of them, in nanoseconds for each byte of data.
    """

    byte: bytes
    known: dict[bytes, list[tuple[bytes, int]]]
    cores: Sequence[bytes]
    cost: float

    def found_in(self, data: bytes, most: float) -> tuple[int, list[bytes]]:
        """How often the byte is in `data`, and those of its strings that are; -1 where there is too much of the byte.

        Args:
            data: to look at.
            most: how often for each byte of data it may be there.
        """
        byte, known = self.byte, self.known
        found: dict[bytes, None] = {}
        count = 0
        at = data.find(byte)
        while at >= 0:
            count += 1
            if count > _FREE + at * most:
                return -1, []
            for core, offset in known.get(data[at : at + _KEY], ()):
                if offset <= at and data.startswith(core, at - offset):
                    found[core] = None
            at = data.find(byte, at + 1)
        return count, list(found)


class Anchors:
    """Finds strings by their rarest bytes.

    Args:
        cores: the strings, longer than `_KEY` bytes each.
        jump: what a search for a string of one byte would cost, in nanoseconds for each byte of data; for one of n
            bytes it is an n-th of that.
        limit: what another way to find all of them costs.
    """

    def __init__(self, cores: Sequence[bytes], jump: float, limit: float) -> None:
        self._limit = limit
        self._anchors: list[_Anchor] = []
        left = list(cores)
        for code in _RARE:
            held = [core for core in left if code in core[: 1 - _KEY]]
            if held:
                left = [core for core in left if code not in core[: 1 - _KEY]]
                self._anchors.append(_anchor(bytes((code,)), held, _cost(held, jump)))
        self._left = left
        self._cost = _cost(left, jump)

    def found_in(self, data: bytes) -> list[bytes] | None:
        """Those of the strings that are in `data`; None where the other way is faster."""
        found: list[bytes] = []
        left = list(self._left)
        cost, spare = self._cost, self._limit / 4
        if cost > self._limit:
            return None
        for anchor in self._anchors:
            count, here = anchor.found_in(data, max(0.0, min(spare, anchor.cost / 2)) / _HIT)
            if count < 0:
                left += anchor.cores
                cost += anchor.cost
            else:
                found += here
                spare -= count * _HIT / (len(data) or 1)
            if cost > self._limit:
                return None
        found.extend([core for core in left if core in data])
        return found


def _cost(cores: Sequence[bytes], jump: float) -> float:
    return sum(jump / len(core) for core in cores)


def _anchor(byte: bytes, cores: Sequence[bytes], cost: float) -> _Anchor:
    known: dict[bytes, list[tuple[bytes, int]]] = {}
    for core in cores:
        at = core.index(byte)
        known.setdefault(core[at : at + _KEY], []).append((core, at))
    return _Anchor(byte, known, cores, cost)
