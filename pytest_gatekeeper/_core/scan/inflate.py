"""Bodies as their reader sees them: content codings undone, a piece at a time, within bounds.

A `CodedProbe` looks for secrets in what a body means, which needs decoding where its head says so (RFC 9110 section
8.4). What cannot be decoded is looked at as it is: nothing that is in the data raises here. gzip and deflate are the
interpreter's; Brotli and Zstandard are undone where the interpreter or an installed library can, and never without a
bound on what one step may yield.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from pytest_gatekeeper._core.model import Headers
from pytest_gatekeeper._core.scan.watchlist import Hit, Probe, Watchlist

__all__ = ["Budget", "CodedProbe", "Decoder", "Inflater", "TooMuch", "Undecodable", "body_probe", "decoders"]

PIECE = 256 * 1024
"""Decoded bytes that are made at a time."""

_STEP = 64 * 1024  # coded bytes that are decoded at a time
_MOST_CODINGS = 4
_UNPROVEN = 4096  # coded bytes at the start of a body that are kept, in case they are not what they claim to be


class Undecodable(ValueError):
    """The data is not what it claims to be."""


class TooMuch(Undecodable):
    """The data would become more than there is time for."""


class Decoder(Protocol):
    """Undoes one content coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, in pieces of bounded size. Raises Undecodable."""


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


class Inflater:
    """gzip, zlib and raw deflate (RFC 1952, 1950, 1951).

    Args:
        wbits: as for `zlib.decompressobj`; 0 tells zlib from raw by the first bytes, as browsers do.
        members: whether another stream may follow the first.
    """

    def __init__(self, wbits: int, *, members: bool = False) -> None:
        self._wbits = wbits
        self._members = members
        self._start: bytes | None = None if wbits else b""  # what is too short to tell zlib from raw
        self._zlib = zlib.decompressobj(wbits or zlib.MAX_WBITS)

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._start is not None:
            data = self._start + data
            self._start = data if len(data) < 2 else None
            if self._start is not None:
                return
            if data[0] & 15 != 8 or int.from_bytes(data[:2], "big") % 31:  # RFC 1950 section 2.2
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        for at in range(0, len(data), _STEP):
            yield from self._inflated(data[at : at + _STEP])

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        made = b""
        while data or len(made) == PIECE:
            if self._zlib.eof:
                if not self._members:
                    raise Undecodable("something follows the end")
                self._zlib = zlib.decompressobj(self._wbits)
            try:
                made = self._zlib.decompress(data, PIECE)
            except zlib.error as error:
                raise Undecodable("not deflate") from error
            if made:
                yield made
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail


class _Brotli:
    """Brotli (RFC 7932), by a library that can be bounded."""

    def __init__(self, library: ModuleType) -> None:
        self._error: type[Exception] = library.error
        self._object: Any = library.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _STEP):
            step = data[at : at + _STEP]
            while True:
                try:
                    made: bytes = self._object.process(step, output_buffer_limit=PIECE)
                except self._error as error:
                    raise Undecodable("not Brotli") from error
                if made:
                    yield made
                step = b""
                if self._object.can_accept_more_data():
                    break


class _Zstandard:
    """Zstandard (RFC 8878) by `compression.zstd`; windows to 8 MiB (RFC 9659)."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._object = self._new()

    def _new(self) -> Any:  # noqa: ANN401 - of a library that may be absent
        return self._library.ZstdDecompressor(options={self._library.DecompressionParameter.window_log_max: 23})

    def decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._object.eof:
                if not data:
                    return
                self._object = self._new()
            try:
                made: bytes = self._object.decompress(data, PIECE)
            except self._library.ZstdError as error:
                raise Undecodable("not Zstandard") from error
            if made:
                yield made
            data = self._object.unused_data if self._object.eof else b""
            if not self._object.eof and self._object.needs_input:
                return


class _ZstandardByBlocks:
    """Zstandard by the library `zstandard`, which cannot be bounded: so it is fed little at a time.

    A block is four bytes or more and becomes 128 KiB at most (RFC 8878 section 3.1.1.2).
    """

    _STEP = 64

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._object = self._new()

    def _new(self) -> Any:  # noqa: ANN401 - of a library that may be absent
        return self._library.ZstdDecompressor(max_window_size=8 * 1024 * 1024).decompressobj()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), self._STEP):
            step = data[at : at + self._STEP]
            while step:
                if self._object.eof:
                    self._object = self._new()
                try:
                    made: bytes = self._object.decompress(step)
                except self._library.ZstdError as error:
                    raise Undecodable("not Zstandard") from error
                if made:
                    yield made
                step = self._object.unused_data if self._object.eof else b""


@cache
def _library(*names: str) -> ModuleType | None:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _brotli() -> Decoder | None:
    library = _library("brotli", "brotlicffi")
    bounded = library is not None and hasattr(library.Decompressor, "can_accept_more_data")  # from version 1.2 on
    return _Brotli(library) if library is not None and bounded else None


def _zstandard() -> Decoder | None:
    library = _library("compression.zstd", "backports.zstd")
    if library is not None:
        return _Zstandard(library)
    library = _library("zstandard")
    return None if library is None else _ZstandardByBlocks(library)


def _decoder(coding: str) -> Decoder | None:
    if coding in ("gzip", "x-gzip"):
        return Inflater(zlib.MAX_WBITS | 16, members=True)
    if coding == "deflate":
        return Inflater(0)
    if coding == "br":
        return _brotli()
    return _zstandard() if coding == "zstd" else None


def decoders(headers: Headers) -> list[Decoder]:
    """What undoes the codings of a message, in that order: the last one first. None at all where one is unknown."""
    values = [value for name, value in headers if len(name) == 16 and name.lower() == "content-encoding"]
    if not values:
        return []
    codings = [coding for item in ",".join(values).split(",") if (coding := item.strip().lower())]
    found = [_decoder(coding) for coding in reversed(codings) if coding != "identity"]
    if len(found) > _MOST_CODINGS:
        return []
    known = [decoder for decoder in found if decoder is not None]
    return known if len(known) == len(found) else []


class CodedProbe:
    """Looks for values in one stream of bytes that is coded.

    Offsets are those of what it decodes to. Where decoding fails, what came last and what follows is looked at as it
    is, with offsets in the stream as it came; a value that has just shown in what could be decoded is not reported for
    it again, since some codings leave a value readable. Where decoding is given up, that holds for what follows.

    Args:
        watchlist: what to look for.
        decoders: what undoes the codings, in this order; without one the stream is looked at as it is.

    Attributes:
        failed: it could not be decoded to its end.
    """

    __slots__ = ("_budget", "_decoders", "_fed", "_probe", "_start", "_watchlist", "failed")

    def __init__(self, watchlist: Watchlist, decoders: Sequence[Decoder] = ()) -> None:
        self._watchlist = watchlist
        self._decoders = decoders if watchlist else ()
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


def body_probe(watchlist: Watchlist, headers: Headers) -> CodedProbe:
    """What looks at the body of a message with these header fields, its framing left out."""
    return CodedProbe(watchlist, decoders(headers) if watchlist else ())
