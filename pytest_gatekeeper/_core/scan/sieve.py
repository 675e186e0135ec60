"""Which of many byte strings may be in a piece of data, found out at several gigabytes a second.

Searching for one string is fast, since `bytes.find` skips; searching for fifty is fifty times slower, and a regular
expression of fifty branches slower still. So cheap necessary conditions come first: runs of samples rule out binary
data, rare bytes (`anchors`) text, and words find the strings in what is left. What passes is confirmed by a search.
Where an occurrence is, and what it means, is `watchlist`'s; nothing here remembers what it was shown.

The figures in the cost model are nanoseconds on one core, taken with `benchmarks/scan.py`; they choose between ways
that give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import inf
from typing import Literal

from pytest_gatekeeper._core.scan.anchors import Anchors

__all__ = ["CORE", "Sieve"]

CORE = 80
"""Bytes of a string that are searched for at most: its last ones. A longer search is not faster."""

_JUMP = 4.0  # of `find`, each as long as the string
_WORD = 22.0  # to look one word up
_DROP = 0.6  # to leave bytes out
_SAMPLE = 1.4  # to take one byte, classify it and search among its neighbours
_DOUBT = 350.0  # to clear up a run of samples that look like a string
_LONG = 15  # bytes of the shortest string from which on words can have eight bytes, else they have four
_WIDE = 32  # bytes of the shortest string from which on that is faster, too; four are met by chance
_LARGE = 4096  # bytes from which on more than searching pays
_OPENING = 32  # bytes
_MANY = 50  # strings, of which it takes long to search for each
_PATIENCE = 500  # small pieces of data, by when it would have taken less time to look words up
_CROWD = 100  # strings with escapes whose words are too much alike to tell them apart
_HEX = frozenset(b"0123456789abcdefABCDEF")
_DOUBTS = 2  # to clear up in _LARGE bytes; where there are more, the data is text
_GLANCE = 0.25  # of a doubt, to see that most are none
_MOST_DOUBTS = 6  # to clear up before that is found


class _Words:
    """Strings found by the aligned words of which each must hold one whole.

    Args:
        cores: the strings, in order of length, without `drop` as long as its words at least.
        alike: words of four bytes would be met by chance all the time in data of the same kind.
        drop: bytes that are left out of strings and data before they are compared.
    """

    def __init__(self, cores: Sequence[bytes], alike: bool, drop: bytes) -> None:
        thin = [core.translate(None, drop) for core in cores]
        self._drop = drop
        self._size, self._step = size, step = _word_grid(thin, alike)
        self._format: Literal["I", "Q"] = "Q" if size == 8 else "I"
        self._cores: dict[int, list[bytes]] = {}
        for core, some in zip(cores, thin):
            for shift in range(size):
                count = min(step, (len(some) - shift) // size)
                for word in memoryview(some)[shift : shift + count * size].cast(self._format):
                    self._cores.setdefault(word, []).append(core)
        self._known = frozenset(self._cores)

    def found_in(self, data: bytes) -> list[bytes]:
        thin = data.translate(None, self._drop) if self._drop else data
        words = memoryview(thin)[: len(thin) & -self._size].cast(self._format)[:: self._step]
        met = self._known.intersection(words)
        candidates = dict.fromkeys(core for word in met for core in self._cores[word])
        return [core for core in candidates if core in data]


def _word_grid(cores: Sequence[bytes], alike: bool) -> tuple[int, int]:
    """Bytes of a word, and how many words apart those may be that are looked up."""
    shortest = min(map(len, cores))
    size = 8 if shortest >= (_LONG if alike else _WIDE) else 4
    return size, (shortest - size + 1) // size


class _Samples:
    """Strings of some length, ruled out where there is no run of their characters: binary data hardly ever has one.

    Only every `step`-th byte is looked at first.
    """

    def __init__(self, cores: Sequence[bytes]) -> None:
        shortest = len(cores[0])
        members = frozenset(b"".join(cores))
        self._step = _sampling(cores)[1]
        self._table = bytes(byte in members for byte in range(256))
        self._run = b"\1" * (shortest // self._step)
        self._whole = b"\1" * shortest

    def clears(self, data: bytes) -> bool:
        """Whether `data` holds none of the strings for certain."""
        step, table, run = self._step, self._table, self._run
        if data[:_LARGE].isascii() or data[:_LARGE:step].translate(table).count(run) > _MOST_DOUBTS:
            return False
        marks = data[::step].translate(table)
        doubts = 0.0
        at = marks.find(run)
        while at >= 0:
            place = at * step
            doubts += _GLANCE
            if table[data[place + 1]] and table[data[place + step // 2]]:  # a run has a second sample behind these
                doubts += 1
                end = marks.find(0, at)
                stretch = data[max(0, place - step + 1) : end * step if end >= 0 else None]
                if self._whole in stretch.translate(table):
                    return False
                at = marks.find(run, end) if end >= 0 else -1
            else:
                at = marks.find(run, at + 1)
            if doubts > _MOST_DOUBTS + place * _DOUBTS / _LARGE:
                return False
        return True


# ------------------------------------------------------------------ what a way costs, in nanoseconds a byte


def _searching(cores: Sequence[bytes]) -> float:
    return sum(_JUMP / (len(core) or 1) for core in cores)


def _looking_up(cores: Sequence[bytes], alike: bool) -> float:
    size, step = _word_grid(cores, alike)
    return _WORD / size / step if step > 0 else inf


def _sampling(cores: Sequence[bytes]) -> tuple[float, int]:
    """The cost with the best step, and that step."""
    shortest = len(cores[0])
    share = len(frozenset(b"".join(cores))) / 256
    return min(((_SAMPLE + _DOUBT * share ** (shortest // step)) / step, step) for step in range(1, shortest // 2 + 1))


def _split(cores: Sequence[bytes], way: Callable[[Sequence[bytes]], float]) -> tuple[float, int]:
    """The least cost of searching for the shortest strings and treating the others another way, and how many those are.

    Strings are in order of length.
    """
    best = (inf, len(cores))
    for count, core in enumerate(cores):
        if count == 0 or len(core) > len(cores[count - 1]):
            best = min(best, (_searching(cores[:count]) + way(cores[count:]), count))
    return best


def _once(data: bytes) -> bytes:
    """All there is in data that goes on repeating its first bytes (padding, a test's filler); else the data itself."""
    period = data.find(data[:_OPENING], 1, _LARGE)
    if period > 0 and len(data) > period + CORE and data[period:] == data[:-period]:
        return data[: period + CORE]
    return data


class _Group:
    """Strings of one alphabet, in data of some size; false without any.

    Args:
        cores: the strings.
        alike, drop: as for `_Words`.
    """

    def __init__(self, cores: Iterable[bytes], alike: bool = False, drop: bytes = b"") -> None:
        self._alike = alike
        self.cores = sorted(cores, key=lambda core: len(core.translate(None, drop)))
        self.drop = drop

    def __bool__(self) -> bool:
        return bool(self.cores)

    def anchored(self, data: bytes) -> list[bytes] | None:
        """Those of the strings that are in `data`, by rare bytes; None where looking words up is faster."""
        return self._anchors.found_in(data)

    def looked_up(self, data: bytes) -> list[bytes]:
        """Those of the strings that are in `data`, by looking words up, which is best where they are many."""
        found = [core for core in self.cores[: self._split[1]] if core in data]
        if self._words is not None:
            found.extend(self._words.found_in(data))
        return found

    @cached_property
    def _split(self) -> tuple[float, int]:
        """What it costs to look words up, and how many strings are too short for it."""
        thin = [core.translate(None, self.drop) for core in self.cores]
        return _split(thin, lambda rest: _looking_up(rest, self._alike) + (_DROP if self.drop else 0))

    @cached_property
    def _anchors(self) -> Anchors:
        return Anchors(self.cores, _JUMP, self._split[0])

    @cached_property
    def _words(self) -> _Words | None:
        rest = self.cores[self._split[1] :]
        return _Words(rest, self._alike, self.drop) if rest else None


class Sieve:
    """Finds out which of some byte strings are in data.

    Args:
        cores: the strings, 8 to `CORE` bytes each.

    Attributes:
        many: there are so many that it takes long to go through small data.
    """

    def __init__(self, cores: Iterable[bytes]) -> None:
        self._small = 0  # pieces of data that were too small for more than a search
        self._cores = sorted(set(cores), key=lambda core: (len(core), core))
        self.many = len(self._cores) > _MANY
        self._percent = [core for core in self._cores if b"%" in core]
        self._escaped = [core for core in self._cores if b"\\" in core and b"%" not in core]
        self._plain = [core for core in self._cores if b"%" not in core and b"\\" not in core]

    def found_in(self, data: bytes) -> list[bytes]:
        """Those of the strings that are in `data`."""
        if len(data) < _LARGE:
            self._small += 1
            if not self.many or self._small < _PATIENCE:
                return self._searched(data)
            return self._looked_up(data, self._groups)
        data = _once(data)
        samples, short = self._sampled
        if samples is not None and samples.clears(data):
            return [core for core in short if core in data]
        found: list[bytes] = []
        left: list[_Group] = []
        for group in self._groups:
            here = group.anchored(data)
            if here is None:
                left.append(group)
            else:
                found += here
        return list(dict.fromkeys(found + self._looked_up(data, left)))

    def _searched(self, data: bytes) -> list[bytes]:
        found = [core for core in self._plain if core in data]
        if self._percent and b"%" in data:
            found.extend([core for core in self._percent if core in data])
        if self._escaped and b"\\" in data:
            found.extend([core for core in self._escaped if core in data])
        return found

    @cached_property
    def _groups(self) -> list[_Group]:
        """By alphabet: what is full of one group's strings, or of what looks like them, rarely is so of another's."""
        digits = [core for core in self._plain if len(core) >= _LONG and _HEX.issuperset(core)]
        others = [core for core in self._plain if len(core) < _LONG or not _HEX.issuperset(core)]
        groups = [_Group(others), _Group(digits, alike=True)]
        for cores, filling in ((self._percent, b"%"), (self._escaped, b"\\u0")):
            groups.append(_Group(cores, alike=True, drop=filling if len(cores) > _CROWD else b""))
        return [group for group in groups if group]

    def _looked_up(self, data: bytes, groups: Sequence[_Group]) -> list[bytes]:
        """Those of these groups' strings that are in `data`, and maybe others; in as few goes as can be."""
        apart = [group for group in groups if group.drop]
        if len(groups) - len(apart) > 1 and self._joint is not None:
            groups = [self._joint, *apart]
        return [core for group in groups for core in group.looked_up(data)]

    @cached_property
    def _joint(self) -> _Group | None:
        """The strings of all groups that are not apart, None where they would be met by chance."""
        cores = [core for group in self._groups if not group.drop for core in group.cores]
        return _Group(cores) if min(map(len, cores), default=0) >= _WIDE else None

    @cached_property
    def _sampled(self) -> tuple[_Samples | None, Sequence[bytes]]:
        """What may rule out all strings in large data but some, and these; None where that would not pay."""
        cost, count = _split(self._cores, lambda rest: _sampling(rest)[0])
        samples = _Samples(self._cores[count:]) if cost < _searching(self._plain) else None
        return samples, self._cores[:count]
