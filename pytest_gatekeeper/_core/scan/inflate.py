"""Bodies as their reader sees them: content codings undone, a piece at a time, within bounds.

A `CodedProbe` looks for secrets in what a body means, which needs decoding where its head says so (RFC 9110 section
8.4). What cannot be decoded is looked at as it is: nothing that is in the data raises here. How a coding is undone is
`codings`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pytest_gatekeeper._core.model import Headers
from pytest_gatekeeper._core.scan.codings import Decoder, Undecodable, codings, decoders, why_not
from pytest_gatekeeper._core.scan.watchlist import Hit, Probe, Watchlist

__all__ = ["Budget", "CodedProbe", "TooMuch", "body_probe"]

_UNPROVEN = 4096  # coded bytes at the start of a body that are kept, in case they are not what they claim to be


class TooMuch(Undecodable):
    """The data would become more than there is time for."""


class Budget:
    """Bounds what is decoded of one message: `FREE` bytes and `RATIO` times what arrived.

    A body that grows more than that is a bomb (or holds nothing worth the time): the rest is not decoded.
    """

    FREE = 16 * 1024 * 1024
    RATIO = 64

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = self.FREE

    def arrived(self, count: int) -> None:
        """So many coded bytes have arrived."""
        self._left += count * self.RATIO

    def spend(self, count: int) -> None:
        """So many bytes have been made of them. Raises TooMuch."""
        self._left -= count
        if self._left < 0:
            raise TooMuch


_TOO_MUCH = f"it decodes to more than {Budget.FREE >> 20} MiB and {Budget.RATIO} times its size, and was left there"


class CodedProbe:
    """Looks for values in one stream of bytes that is coded.

    Offsets are those of what it decodes to. Where decoding fails, what came last and what follows is looked at as it
    is, with offsets in the stream as it came; a value that has just shown in what could be decoded is not reported for
    it again, since some codings leave a value readable. Where decoding is given up, that holds for what follows.

    Args:
        watchlist: what to look for.
        decoders: what undoes the codings, in this order; without one the stream is looked at as it is.
        tell: called with the reason when decoding is given up, though the reader may go on.

    Attributes:
        failed: it could not be decoded to its end.
    """

    __slots__ = ("_budget", "_decoders", "_fed", "_probe", "_start", "_tell", "_watchlist", "failed")

    def __init__(
        self, watchlist: Watchlist, decoders: Sequence[Decoder] = (), tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._tell = tell
        self._watchlist = watchlist
        self._decoders = decoders
        self._probe = Probe(watchlist)
        self._budget = Budget()
        self._fed = 0
        self.failed = False
        self._start = b""  # the first coded bytes: what is not coded at all may take a while to show it

    def feed(self, data: bytes | memoryview) -> list[Hit]:
        """The values that end in these bytes; they follow those fed before."""
        if not self._decoders or not data:
            return self._probe.feed(data)
        data = bytes(data)
        last = data
        if self._fed == len(self._start):
            last = self._start = self._start + data
        self._fed += len(data)
        self._budget.arrived(len(data))
        hits: list[Hit] = []
        try:
            for piece in self._decoded(data, self._decoders):
                hits += self._probe.feed(piece)
        except TooMuch:
            self._tell(_TOO_MUCH)
            self._as_it_is(self._fed)
        except Undecodable:
            shown = {hit.watched for hit in hits}
            self._as_it_is(self._fed - len(last))
            hits += [hit for hit in self._probe.feed(last) if hit.watched not in shown]
        if hits or self._fed > _UNPROVEN:
            self._start = b""
        return hits

    def _as_it_is(self, offset: int) -> None:
        self.failed = True
        self._decoders = ()
        self._probe = Probe(self._watchlist, offset)

    def _decoded(self, data: bytes, left: Iterable[Decoder]) -> Iterator[bytes]:
        first, *others = left
        for piece in first.decode(data):
            self._budget.spend(len(piece))
            if others:
                yield from self._decoded(piece, others)
            else:
                yield piece


def body_probe(watchlist: Watchlist, headers: Headers, tell: Callable[[str], None] = lambda _: None) -> CodedProbe:
    """What looks at the body of a message with these header fields, its framing left out.

    `tell` is called with the reason where it is looked at as it is, though its reader may decode it.
    """
    if not watchlist:
        return CodedProbe(watchlist)
    found = decoders(headers)
    if not found and (coded := codings(headers)):
        tell(why_not(coded))
    return CodedProbe(watchlist, found, tell)
