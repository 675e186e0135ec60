"""Facts about looking into bodies: what is coded is looked at decoded, and nothing in the data can do harm."""

from __future__ import annotations

import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.scan import codings, inflate
from pytest_gatekeeper._core.scan.codings import _library, decoders
from pytest_gatekeeper._core.scan.inflate import Budget, CodedProbe, body_probe
from pytest_gatekeeper._core.scan.watchlist import Watchlist
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret-token-for-tests"
RULE = Rule("credentials[0]", "api.example.com", "X-Key", "", Secret(VALUE), Secret(VALUE))
WATCHLIST = Watchlist([RULE])
TEXT = "lorem ipsum dolor sit amet, " * 40
DATA = (TEXT + VALUE + TEXT).encode()
AT = len(TEXT)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate ": raw_deflate,
    "identity": bytes,
    "gzip, deflate": lambda data: zlib.compress(gzip.compress(data)),
    "identity, gzip, identity": gzip.compress,
}


def probe(coding: str, name: str = "Content-Encoding") -> CodedProbe:
    return body_probe(WATCHLIST, ((name, coding),))


def offsets(looking: CodedProbe, pieces: Iterable[bytes]) -> list[int]:
    return [hit.offset for piece in pieces for hit in looking.feed(piece)]


def halves(data: bytes, at: int) -> list[bytes]:
    return [data[:at], data[at:]]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_value_in_a_coded_body_is_found_once_wherever_that_is_cut(coding: str) -> None:
    """Cut at any one place and into single bytes; the offset is that in the decoded body."""
    body = CODINGS[coding](DATA)
    for at in range(len(body) + 1):
        assert offsets(probe(coding), halves(body, at)) == [AT]
    assert offsets(probe(coding), [body[at : at + 1] for at in range(len(body))]) == [AT]
    assert offsets(probe(coding), [CODINGS[coding](DATA.replace(b"s3cret", b"secret"))]) == []


def test_several_fields_and_members_are_one_body() -> None:
    """Codings may be spread over fields, and a gzip body may have several members (RFC 1952 section 2.2)."""
    headers = (("content-encoding", "gzip"), ("Content-Type", "text/plain"), ("CONTENT-ENCODING", "deflate"))
    assert offsets(body_probe(WATCHLIST, headers), [zlib.compress(gzip.compress(DATA))]) == [AT]
    for padding in (b"", bytes(9)):  # which Python's and other readers skip
        members = gzip.compress(DATA[: AT + 5]) + padding + gzip.compress(DATA[AT + 5 :]) + padding
        for at in range(len(members)):
            assert offsets(probe("gzip"), halves(members, at)) == [AT]


def test_a_large_body_is_looked_through() -> None:
    """All of it, also what decodes to more than one piece at a time."""
    rng = random.Random(3)
    data = rng.randbytes(700_000) + VALUE.encode() + bytes(3_000_000) + VALUE.encode() + rng.randbytes(100)
    places = [700_000, 3_700_000 + len(VALUE)]
    assert offsets(probe("gzip"), [gzip.compress(data)]) == places
    assert offsets(probe("deflate"), halves(raw_deflate(data), 600_000)) == places


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, deflate", "compress", "nonsense", "gzip, " * 5 + "gzip"])
def test_what_is_not_coded_as_it_says_is_looked_at_as_it_is(coding: str) -> None:
    """Wherever it is cut, from its first byte on."""
    for data, at in ((VALUE.encode() + b" in plain text", 0), (DATA, AT)):
        for cut in [*range(1, 60), AT + 3]:
            assert offsets(probe(coding), halves(data, cut)) == [at]


def test_what_breaks_off_is_looked_at_up_to_there_and_from_there() -> None:
    """Decoded first; what follows the damage, as it is, with its offset in the body as it came."""
    body = gzip.compress(DATA)
    damaged = [body[:-8], b"\0" * 8, b"trailing " + VALUE.encode()]
    assert offsets(probe("gzip"), damaged) == [AT, len(body) + 9]
    assert offsets(probe("deflate"), [zlib.compress(DATA), b"more " + VALUE.encode()]) == [
        AT,
        len(zlib.compress(DATA)) + 5,
    ]
    assert offsets(probe("gzip"), [body[: len(body) // 2]]) in ([], [AT])


def test_a_bomb_is_put_out() -> None:
    """A body that grows beyond all measure is not decoded to its end, in memory or in time; before that, it is."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(VALUE.encode()) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(60))
    bomb += packer.compress(VALUE.encode()) + packer.flush()
    looking = probe("gzip")
    tracemalloc.start()
    found = offsets(looking, [bomb])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [0]
    assert peak < 4 * codings.PIECE
    twice = offsets(probe("gzip, gzip"), [gzip.compress(bomb)])
    assert twice in ([], [0])
    assert offsets(probe("gzip"), [gzip.compress(bytes(Budget.FREE // 2) + VALUE.encode())]) == [Budget.FREE // 2]


def test_a_value_that_is_readable_in_the_coded_body_is_found_once() -> None:
    """Also where the end of the same piece cannot be decoded, or is not decoded any more."""
    stored = gzip.compress(DATA, 0)
    assert DATA in stored
    assert offsets(probe("gzip"), [stored]) == [AT]
    assert offsets(probe("gzip"), [stored + b"damage"]) == [AT]
    assert offsets(probe("gzip"), [stored, b"damage " + DATA]) == [AT, len(stored) + 7 + AT]
    bomb = gzip.compress(bytes(60 << 20), 1)
    assert offsets(probe("gzip"), [stored, bomb + stored, DATA]) == [AT, len(stored + bomb + stored) + AT]


def test_what_is_kept_of_a_body_is_bounded() -> None:
    """A few bytes at its start, until it has shown what it is."""
    looking = probe("gzip")
    body = gzip.compress(random.Random(2).randbytes(100_000))
    for at in range(0, len(body), 1000):
        assert looking.feed(body[at : at + 1000]) == []
        assert len(looking._start) <= inflate._UNPROVEN
    assert looking.failed is False and looking._start == b""


@given(st.sampled_from(sorted(CODINGS)), st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_no_data_raises(coding: str, pieces: list[bytes], coded: bool) -> None:
    """Garbage of any kind holds nothing, and is survived."""
    if coded and pieces:
        pieces[0] = CODINGS[coding](DATA.replace(b"-", b"."))[: len(pieces[0]) * 3] + pieces[0]
    looking = probe(coding)
    assert offsets(looking, pieces) == []
    assert len(looking._start) <= inflate._UNPROVEN


def test_without_secrets_nothing_is_decoded() -> None:
    """A body costs nothing where there is nothing to look for."""
    looking = body_probe(Watchlist([]), (("Content-Encoding", "gzip"),))
    assert looking.feed(b"no gzip at all") == [] and not looking._decoders
    assert len(decoders((("Content-Encoding", "gzip"),))) == 1


# ------------------------------------------------------------------ codings of libraries


class Reversed:
    """A stand-in for a library's decoder: what it gives is the data with each byte turned over; `$` ends a frame."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.eof = False
        self.unused_data = b""
        self._held = b""

    @property
    def needs_input(self) -> bool:
        """Whether nothing is held back."""
        return not self._held

    def can_accept_more_data(self) -> bool:
        """The same, as another library calls it."""
        return not self._held

    def decompress(self, data: bytes, limit: int = -1) -> bytes:
        """Seven bytes at a time, where there is a limit."""
        if b"\0" in data:
            raise ZeroDivisionError("a zero")
        assert not (data and self._held), "fed before it could take more"
        self._held += data
        count = len(self._held) if limit < 0 else 7
        made, self._held = self._held[:count], self._held[count:]
        if b"$" in made:  # the end of a frame
            made, _, rest = made.partition(b"$")
            self.eof, self.unused_data, self._held = True, rest + self._held, b""
        return bytes(255 - byte for byte in made)

    def process(self, data: bytes, output_buffer_limit: int) -> bytes:
        """The same, as another library calls it."""
        return self.decompress(data, output_buffer_limit)


def turned(data: bytes) -> bytes:
    return bytes(255 - byte for byte in data)


def library(**names: Any) -> ModuleType:
    return SimpleNamespace(error=ZeroDivisionError, ZstdError=ZeroDivisionError, **names)  # type: ignore[return-value]


LIBRARIES = {
    "brotli": ("br", library(Decompressor=Reversed)),
    "brotlicffi": ("br", library(Decompressor=Reversed)),
    "compression.zstd": (
        "zstd",
        library(ZstdDecompressor=Reversed, DecompressionParameter=SimpleNamespace(window_log_max=100)),
    ),
    "zstandard": (
        "zstd",
        library(ZstdDecompressor=lambda max_window_size: SimpleNamespace(decompressobj=Reversed)),
    ),
}
ALL = ("brotli", "brotlicffi", "compression", "compression.zstd", "backports.zstd", "zstandard")


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes one of the libraries the only one, and gives its coding."""

    def install(name: str) -> str:
        _library.cache_clear()
        for other in ALL:
            monkeypatch.setitem(sys.modules, other, None)
        if "." in name:
            monkeypatch.setitem(sys.modules, name.partition(".")[0], ModuleType(name.partition(".")[0]))
        monkeypatch.setitem(sys.modules, name, LIBRARIES[name][1])
        return LIBRARIES[name][0]

    return install


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_there_is_used(only: Callable[[str], str], name: str) -> None:
    """Whichever it is, however the body is cut; what it cannot decode is looked at as it is."""
    coding = only(name)
    for at in (1, AT + 5, len(DATA) - 1):
        assert offsets(probe(coding), halves(turned(DATA), at)) == [AT]
    assert offsets(probe(coding), [turned(DATA[: AT + 3]), b"$", turned(DATA[AT + 3 :])]) == [AT]
    assert offsets(probe(coding), [b"\0 " + DATA]) == [AT + 2]
    if coding == "zstd":  # several frames
        assert offsets(probe(coding), [turned(DATA[:AT]) + b"$" + turned(DATA[AT:]) + b"$"]) == [AT]


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_without_a_library_a_body_is_looked_at_as_it_is(monkeypatch: pytest.MonkeyPatch, coding: str) -> None:
    """So it is, too, where the library cannot be kept within bounds."""
    _library.cache_clear()
    for name in ALL:
        monkeypatch.setitem(sys.modules, name, None)
    assert decoders((("Content-Encoding", coding),)) == []
    assert offsets(probe(coding), [DATA]) == [AT]
    _library.cache_clear()
    monkeypatch.setitem(sys.modules, "brotli", library(Decompressor=object))
    assert decoders((("Content-Encoding", "br"),)) == []


BROTLI = "br needs the package brotli 1.2 or later"
ZSTANDARD = "zstd needs the package zstandard, or Python 3.14"


@pytest.mark.parametrize(
    ("coding", "why"),
    [
        ("br", ["br needs the package brotli 1.2 or later"]),
        ("gzip, zstd", ["zstd needs the package zstandard, or Python 3.14"]),
        (
            "zstd, br, br",
            ["br needs the package brotli 1.2 or later and zstd needs the package zstandard, or Python 3.14"],
        ),
        ("s3cret-name, br", ["its Content-Encoding is not known"]),
        ("gzip, gzip, gzip, gzip, gzip", ["it has more than 4 content codings"]),
        ("gzip, identity, deflate", []),
        ("identity", []),
    ],
)
def test_what_cannot_be_looked_into_is_told(monkeypatch: pytest.MonkeyPatch, coding: str, why: list[str]) -> None:
    """With the reason, at once; a name that may be anything is not repeated."""
    _library.cache_clear()
    for name in ALL:
        monkeypatch.setitem(sys.modules, name, None)
    told: list[str] = []
    body_probe(WATCHLIST, (("Content-Encoding", coding),), told.append)
    body_probe(Watchlist([]), (("Content-Encoding", coding),), told.append)  # nothing is looked for
    assert told == why
    _library.cache_clear()


@pytest.mark.parametrize("size", [1 << 20, 100 << 20])
def test_a_bomb_that_is_put_out_is_told(size: int) -> None:
    """Once; a body within the bounds is not."""
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    told: list[str] = []
    looking = body_probe(WATCHLIST, (("Content-Encoding", "gzip"),), told.append)
    for at in range(0, len(body), 1000):
        looking.feed(body[at : at + 1000])
    expected = ["it decodes to more than 16 MiB and 64 times its size, and was left there"]
    assert told == (expected if size > 16 << 20 else [])


def compressed(name: str, data: bytes) -> bytes:
    module = import_module(name)
    packed: bytes = module.ZstdCompressor().compress(data) if name == "zstandard" else module.compress(data)
    return packed


@pytest.mark.parametrize("name", ["brotli", "brotlicffi", "zstandard", "backports.zstd", "compression.zstd"])
def test_real_libraries_do_what_is_expected_of_them(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Where one is installed: any cut, damage, trailing bytes, and a bomb."""
    pytest.importorskip(name)
    for other in ALL:
        if other != name and not name.startswith(other):
            monkeypatch.setitem(sys.modules, other, None)
    coding = "br" if "brotli" in name else "zstd"
    body = compressed(name, DATA)
    for at in range(len(body)):
        assert offsets(probe(coding), halves(body, at)) == [AT]
    if coding == "zstd":  # Brotli has no magic number, and takes text for the start of something long
        assert offsets(probe(coding), [DATA]) == [AT]
    assert offsets(probe(coding), [body, b"more " + VALUE.encode()]) in ([AT], [AT, len(body) + 5])
    bomb = compressed(name, VALUE.encode() + bytes(100 << 20) + VALUE.encode())
    looking = probe(coding)
    tracemalloc.start()
    found = offsets(looking, [bomb])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [0] and peak < 30 << 20
