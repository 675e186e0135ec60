"""Which of many byte strings may be in a piece of data, found out at several gigabytes a second.

Searching for one string is fast, since `bytes.find` skips; searching for fifty is fifty times slower, and a regular
expression of fifty branches slower still. So cheap necessary conditions come first, and what passes them is confirmed
by a search. Where an occurrence is, and what it means, is `watchlist`'s; nothing here remembers what it was shown.

The figures in the cost model are nanoseconds on one core, taken with `benchmarks/scan.py`; they choose between ways
that give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import inf
from typing import Literal, NamedTuple

__all__ = ["CORE", "Sieve"]

CORE = 80
"""Bytes of a string that are searched for at most: its last ones. A longer search is not faster."""

_JUMP = 4.0  # of `find`, each as long as the string
_WORD = 32.0  # to look one word up
_SAMPLE = 1.6  # to take one byte, classify it and search among its neighbours
_DOUBT = 800.0  # to clear up a run of samples that look like a string
_WIDE = 32  # bytes of the shortest string from which on words have eight bytes, else four, which are met by chance
_LARGE = 4096  # bytes from which on more than searching pays
_OPENING = 32  # bytes
_DOUBTS = 2  # to clear up in _LARGE bytes; where there are more, the data is text


class _Words:
    """Strings of some length, found by the aligned words of which each must hold one whole."""

    def __init__(self, cores: Sequence[bytes]) -> None:
        self._size, self._step = size, step = _word_grid(cores)
        self._format: Literal["I", "Q"] = "Q" if size == 8 else "I"
        self._cores: dict[int, list[bytes]] = {}
        for core in cores:
            for shift in range(size):
                count = min(step, (len(core) - shift) // size)
                for word in memoryview(core)[shift : shift + count * size].cast(self._format):
                    self._cores.setdefault(word, []).append(core)
        self._known = frozenset(self._cores)

    def found_in(self, data: bytes) -> list[bytes]:
        words = memoryview(data)[: len(data) & -self._size].cast(self._format)[:: self._step]
        met = self._known.intersection(words)
        candidates = dict.fromkeys(core for word in met for core in self._cores[word])
        return [core for core in candidates if core in data]


def _word_grid(cores: Sequence[bytes]) -> tuple[int, int]:
    """Bytes of a word, and how many words apart those may be that are looked up."""
    shortest = len(cores[0])
    size = 8 if shortest >= _WIDE else 4
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
        if data[:_LARGE:step].translate(table).count(run) > _DOUBTS:
            return False
        marks = data[::step].translate(table)
        doubts = _DOUBTS * len(data) // _LARGE
        at = marks.find(run)
        while at >= 0:
            end = marks.find(0, at)
            stretch = data[max(0, (at - 1) * step + 1) : end * step if end >= 0 else None]
            doubts -= 1
            if doubts < 0 or self._whole in stretch.translate(table):
                return False
            at = marks.find(run, end) if end >= 0 else -1
        return True


# ------------------------------------------------------------------ what a way costs, in nanoseconds a byte


def _searching(cores: Sequence[bytes]) -> float:
    return sum(_JUMP / len(core) for core in cores)


def _looking_up(cores: Sequence[bytes]) -> float:
    size, step = _word_grid(cores)
    return _WORD / size / step


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


class _Ways(NamedTuple):
    """How large data is sifted.

    Attributes:
        samples: what may rule out all but the strings in `short`; None where that would not pay.
        words: what finds all but the strings in `rest`; None where searching is faster.
    """

    samples: _Samples | None
    short: Sequence[bytes]
    words: _Words | None
    rest: Sequence[bytes]


class Sieve:
    """Finds out which of some byte strings are in data.

    Args:
        cores: the strings, 8 to `CORE` bytes each.
    """

    def __init__(self, cores: Iterable[bytes]) -> None:
        self._cores = sorted(set(cores), key=lambda core: (len(core), core))
        self._percent = tuple(core for core in self._cores if b"%" in core)
        self._escaped = tuple(core for core in self._cores if b"\\" in core and b"%" not in core)
        self._plain = tuple(core for core in self._cores if b"%" not in core and b"\\" not in core)

    def found_in(self, data: bytes) -> list[bytes]:
        """Those of the strings that are in `data`."""
        if len(data) < _LARGE:
            return self._searched(data)
        data = _once(data)
        ways = self._ways
        if ways.samples is not None and ways.samples.clears(data):
            return [core for core in ways.short if core in data]
        if ways.words is None:
            return self._searched(data)
        found = [core for core in ways.rest if core in data]
        found.extend(ways.words.found_in(data))
        return found

    def _searched(self, data: bytes) -> list[bytes]:
        found = [core for core in self._plain if core in data]
        if self._percent and b"%" in data:
            found.extend([core for core in self._percent if core in data])
        if self._escaped and b"\\" in data:
            found.extend([core for core in self._escaped if core in data])
        return found

    @cached_property
    def _ways(self) -> _Ways:
        cores = self._cores
        cost, count = _split(cores, lambda rest: _sampling(rest)[0])
        samples = _Samples(cores[count:]) if cost < _searching(self._plain) else None
        short = cores[:count]
        cost, count = _split(cores, _looking_up)
        words = _Words(cores[count:]) if cost < _searching(self._plain) else None
        return _Ways(samples, short, words, cores[:count])
