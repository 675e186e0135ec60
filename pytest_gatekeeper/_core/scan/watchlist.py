"""Finding the values of secrets in bytes, however those are cut into pieces.

A `Watchlist` knows the secrets of a proxy's rules, which may become more, and finds them in data; a `Probe` does so in
one stream, piece by piece, keeping only the end of what it has seen. Each occurrence is found once, wherever a piece
ends, and the answer does not depend on where. Decoding, framing and judging are not known here; `redact` blanks texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.scan.needles import Encoding, forms, scanned
from pytest_gatekeeper._core.scan.sieve import CORE, Sieve

__all__ = ["Hit", "Probe", "Watched", "Watchlist"]

_SEAM = 8192  # bytes from which on a piece is not joined with what came before it, but for many values


class Watched:
    """A value that is looked for, and the rules that have it as their secret (one at least).

    Attributes:
        rules: in the order given.
        longest: bytes of its longest form.
    """

    __slots__ = ("_forms", "longest", "rules")

    def __init__(self, forms: Mapping[bytes, Encoding], rules: Sequence[Rule]) -> None:
        self._forms = forms
        self.rules = tuple(rules)
        self.longest = max(map(len, forms))

    def __repr__(self) -> str:
        return f"<Watched {self.rules[0].secret!r}>"

    def cores(self) -> Iterator[bytes]:
        """The last bytes of each form."""
        return (form[-CORE:] for form in self._forms)

    def occurrences(self, data: bytes, start: int, fresh: int) -> Iterator[tuple[int, int, Encoding]]:
        """Where the value is in `data`: (start, end, encoding) of what does not overlap, in order of end.

        Args:
            data: to search.
            start: where the first may start.
            fresh: where the first may end is behind this.
        """
        spots: dict[bytes, int] = {}
        for form in self._forms:
            at = data.find(form, max(start, fresh - len(form) + 1, 0))
            if at >= 0:
                spots[form] = at
        while spots:
            form = min(spots, key=lambda form: (spots[form] + len(form), spots[form]))
            at, end = spots[form], spots[form] + len(form)
            yield at, end, self._forms[form]
            for other in [other for other, spot in spots.items() if spot < end]:
                spots[other] = data.find(other, end)
                if spots[other] < 0:
                    del spots[other]


class Hit(NamedTuple):
    """A value that was seen.

    Attributes:
        watched: whose it is.
        offset: of its first byte, from the start of the place; of base64 the first character that the value alone
            settles.
        end: of the byte behind it.
        encoding: what it was seen in.
    """

    watched: Watched
    offset: int
    end: int
    encoding: Encoding


class Watchlist:
    """The secrets that are looked for; for any thread.

    Args:
        rules: whose secrets they are. Rules may share a value; one that is too short (see `scanned`) is left out.

    Attributes:
        longest: bytes of the longest form of all.
        many: a small look takes longer than to copy a large piece.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._watched: dict[str, Watched] = {}
        self.look_for(rules)

    def look_for(self, rules: Iterable[Rule]) -> None:
        """Look for the secrets of these rules from now on, also in streams that are under way.

        A value that was looked for before keeps its `Watched`. One thread at a time may call this.
        """
        by_value: dict[str, list[Rule]] = {}
        for rule in rules:
            if value := scanned(rule):
                by_value.setdefault(value, []).append(rule)
        watched: dict[str, Watched] = {}
        owners: dict[bytes, list[Watched]] = {}
        for value, sharers in by_value.items():
            owner = watched[value] = self._watched.get(value) or Watched(forms(value), sharers)
            owner.rules = tuple(sharers)
            for core in owner.cores():
                owners.setdefault(core, []).append(owner)
        sieve = Sieve(owners)
        self.longest = max([owner.longest for owner in watched.values()], default=0)
        self.many = sieve.many
        self._watched = watched
        self._now = sieve, owners  # each at once, since others are looking

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._watched)

    def suspects(self, data: bytes) -> list[Watched]:
        """The values that may be in `data`, each once: all that are, and hardly ever another."""
        sieve, owners = self._now
        found = sieve.found_in(data)
        if not found:
            return []
        return list(dict.fromkeys(watched for core in found for watched in owners[core]))

    def find_in(self, data: bytes) -> list[Hit]:
        """Every value in `data`, in order of offset."""
        suspects = self.suspects(data)
        if not suspects:
            return []
        hits = [
            Hit(watched, at, end, encoding)
            for watched in suspects
            for at, end, encoding in watched.occurrences(data, 0, 0)
        ]
        hits.sort(key=_offset)
        return hits


def _whole(data: bytes | memoryview) -> bytes:
    """The same as bytes, which is a copy only where it has to be."""
    if isinstance(data, bytes):
        return data
    of = data.obj
    return of if isinstance(of, bytes) and data.c_contiguous and data.nbytes == len(of) else bytes(data)


def _offset(hit: Hit) -> int:
    return hit.offset


class Probe:
    """Looks for values in one stream of bytes. Keeps as many bytes as the longest form has, less one.

    Args:
        watchlist: what to look for.
        offset: of the stream's first byte from the start of its place.
    """

    __slots__ = ("_done", "_fed", "_tail", "_watchlist")

    def __init__(self, watchlist: Watchlist, offset: int = 0) -> None:
        self._watchlist = watchlist
        self._fed = offset
        self._tail = b""
        self._done: dict[Watched, int] = {}  # where the last occurrence of a value ended

    def feed(self, data: bytes | memoryview) -> list[Hit]:
        """The values that end in these bytes, in order of offset; `data` is what follows the bytes fed before."""
        keep = self._watchlist.longest - 1
        fed, tail = self._fed, self._tail
        self._fed += len(data)
        if keep < 0 or not data:
            return []
        data = _whole(data)
        if not tail:
            hits = self._look(data, 0, fed)
        elif len(data) < max(_SEAM, keep) or self._watchlist.many:
            data = tail + data
            hits = self._look(data, len(tail), fed - len(tail))
        else:
            hits = self._look(tail + data[:keep], len(tail), fed - len(tail))
            hits += self._look(data, 0, fed)
        self._tail = data[-keep:]
        return hits

    def _look(self, window: bytes, old: int, base: int) -> list[Hit]:
        """The values that end behind the first `old` bytes of `window`, which itself starts at `base`."""
        suspects = self._watchlist.suspects(window[old - CORE + 1 :] if old >= CORE and len(window) < _SEAM else window)
        if not suspects:
            return []
        hits: list[Hit] = []
        for watched in suspects:
            for at, end, encoding in watched.occurrences(window, self._done.get(watched, 0) - base, old):
                hits.append(Hit(watched, base + at, base + end, encoding))
                self._done[watched] = base + end
        hits.sort(key=_offset)
        return hits
