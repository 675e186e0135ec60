"""Undoing content codings (RFC 9110 section 8.4), a piece at a time.

gzip and deflate are the interpreter's; Brotli and Zstandard are undone where the interpreter or an installed library
can, and never without a bound on what one step may yield. What is looked for in what comes out is `inflate`'s matter.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from pytest_gatekeeper._core.model import Headers

__all__ = ["Decoder", "Inflater", "Undecodable", "codings", "decoders", "why_not"]

PIECE = 256 * 1024
"""Decoded bytes that are made at a time."""

_STEP = 64 * 1024  # coded bytes that are decoded at a time
_MOST_CODINGS = 4
_LIBRARIES = {"br": "the package brotli 1.2 or later", "zstd": "the package zstandard, or Python 3.14"}


class Undecodable(ValueError):
    """The data is not what it claims to be."""


class Decoder(Protocol):
    """Undoes one content coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, in pieces of bounded size. Raises Undecodable."""


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
                if self._wbits > zlib.MAX_WBITS and not (data := data.lstrip(b"\0")):  # padding, which readers skip
                    return
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


def codings(headers: Headers) -> list[str]:
    """The codings of a message, in lower case, the last one first (RFC 9110 section 8.4)."""
    values = [value for name, value in headers if len(name) == 16 and name.lower() == "content-encoding"]
    if not values:
        return []
    named = [item.strip().lower() for item in ",".join(values).split(",")]
    return [coding for coding in reversed(named) if coding not in ("", "identity")]


def decoders(headers: Headers) -> list[Decoder]:
    """What undoes the codings of a message, in that order: the last one first. None at all where one is unknown."""
    named = codings(headers)
    if len(named) > _MOST_CODINGS:
        return []
    known = [decoder for coding in named if (decoder := _decoder(coding)) is not None]
    return known if len(known) == len(named) else []


def why_not(named: Sequence[str]) -> str:
    """Why these codings have no decoders; a name that nobody knows may be anything, so it is not repeated."""
    if len(named) > _MOST_CODINGS:
        return f"it has more than {_MOST_CODINGS} content codings"
    strange = [coding for coding in named if _decoder(coding) is None]
    if not _LIBRARIES.keys() >= set(strange):
        return "its Content-Encoding is not known"
    return " and ".join(f"{coding} needs {_LIBRARIES[coding]}" for coding in dict.fromkeys(strange))
