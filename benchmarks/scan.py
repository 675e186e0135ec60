"""How fast data without a secret is scanned, and whether random data ever looks like one.

    python benchmarks/scan.py            # figures for kinds of data, numbers and lengths of secrets
    python benchmarks/scan.py --soak 100 # that many MB of random data; ends with 1 where anything was found

Absolute figures move by tens of per cent on a shared machine: read the ratios. `one find` is what a search for a
single string costs, the limit of all this.
"""

# ruff: noqa: S311, T201 - a script that prints, and makes up data
from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
import secrets
import string
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.scan.frames import Deflate, WebSocketProbe, unmasked
from pytest_gatekeeper._core.scan.inflate import body_probe
from pytest_gatekeeper._core.scan.watchlist import Probe, Watchlist
from pytest_gatekeeper._core.secret import Secret

PIECE = 256 * 1024
PIECES = 16
ALNUM = string.ascii_letters + string.digits
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "near",
    "Riverbank",
    "2024",
    "user_id",
    "OK",
    "null",
]


def rules(count: int, length: int) -> list[Rule]:
    """Rules with made-up secrets."""
    made = []
    for number in range(count):
        value = Secret("".join(secrets.choice(ALNUM) for _ in range(length)))
        made.append(Rule(f"credentials[{number}]", "api.example.com", "X-Key", "", value, value))
    return made


def kinds() -> dict[str, list[bytes]]:
    """Pieces of each kind of data."""
    random.seed(1)
    prose = " ".join(random.choice(WORDS) for _ in range(PIECE // 3)).encode()
    rows = [{"id": n, "name": random.choice(WORDS), "token": secrets.token_hex(8), "on": True} for n in range(6000)]
    return {
        "random": [secrets.token_bytes(PIECE) for _ in range(PIECES)],
        "zeros": [bytes(PIECE)] * PIECES,
        "x": [b"x" * PIECE] * PIECES,
        "prose": [prose[:PIECE]] * PIECES,
        "JSON": [json.dumps(rows).encode()[:PIECE]] * PIECES,
        "docs": [_docs()] * PIECES,
        "base64": [base64.b64encode(secrets.token_bytes(PIECE))[:PIECE] for _ in range(PIECES)],
        "hex": [secrets.token_hex(PIECE // 2).encode() for _ in range(PIECES)],
        "percent": [b"".join(b"%%%02X" % byte for byte in secrets.token_bytes(PIECE // 3)) for _ in range(PIECES)],
    }


def _docs() -> bytes:
    """The documentation of this package, again and again."""
    files = sorted((Path(__file__).resolve().parents[1] / "docs").glob("*.md"))
    text = b"".join(file.read_bytes() for file in files)
    return (text * (PIECE // len(text) + 1))[:PIECE]


def rate(work: Callable[[], object], size: int, least: float = 0.3) -> float:
    """MiB/s, of the best of several runs."""
    best = float("inf")
    end = time.perf_counter() + least
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return size / best / 2**20


class Looking(Protocol):
    """A probe of any kind."""

    def feed(self, data: bytes) -> Sequence[object]:
        """What is seen in `data`."""


def feed(probe: Looking, pieces: Sequence[bytes]) -> None:
    """Feed all pieces; they hold nothing."""
    for piece in pieces:
        if probe.feed(piece):
            sys.exit("something was found in data that holds nothing")


def through(make: Callable[[Watchlist], Looking], watchlist: Watchlist, pieces: Sequence[bytes]) -> None:
    """Feed all pieces to a new probe."""
    feed(make(watchlist), pieces)


def ungzipped(watchlist: Watchlist) -> Looking:
    """A probe for a body in gzip."""
    return body_probe(watchlist, (("Content-Encoding", "gzip"),))


def size(pieces: Sequence[bytes]) -> int:
    """Bytes of all pieces."""
    return sum(map(len, pieces))


def row(label: str, figures: Sequence[float]) -> None:
    """Print one line."""
    print(f"{label:>28}" + "".join(f"{figure:9.0f}" for figure in figures), flush=True)


def frame(payload: bytes, masked: bool) -> bytes:
    """A whole message in one frame (RFC 6455 section 5.2)."""
    count = len(payload)
    if count < 126:
        length = bytes((count,))
    else:
        length = b"\x7e" + count.to_bytes(2, "big") if count < 1 << 16 else b"\x7f" + count.to_bytes(8, "big")
    if not masked:
        return b"\x82" + length + payload
    key = secrets.token_bytes(4)
    return b"\x82" + bytes((length[0] | 128,)) + length[1:] + key + unmasked(payload, key)


def bulk() -> None:
    """Bodies as they are."""
    data = kinds()
    print(f"{'bodies, MiB/s':>28}" + "".join(f"{kind:>9}" for kind in data))
    row("one find of 40 bytes", [rate(partial(search, pieces), size(pieces)) for pieces in data.values()])
    for count, length in ((1, 12), (1, 20), (1, 40), (3, 20), (3, 40), (20, 20), (20, 40), (201, 40), (1, 400)):
        watchlist = Watchlist(rules(count, length))
        figures = [rate(partial(through, Probe, watchlist, pieces), size(pieces)) for pieces in data.values()]
        row(f"{count} x {length} characters", figures)


def search(pieces: Sequence[bytes]) -> None:
    """What a search for one string does."""
    for piece in pieces:
        piece.find(b"\1" * 40)


def coded() -> None:
    """What has to be decoded, in MiB/s of what it becomes, beside what decoding alone takes."""
    watchlist = Watchlist(rules(1, 40))
    print(f"{'decoded, MiB/s':>28}{'alone':>9}{'scanned':>9}")
    for kind, pieces in kinds().items():
        if kind in ("random", "JSON", "base64"):
            body = gzip.compress(b"".join(pieces), 6)
            parts = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
            alone = rate(partial(zlib.decompress, body, 31), size(pieces))
            scanned = rate(partial(through, ungzipped, watchlist, parts), size(pieces))
            row(f"gzip, {kind}", [alone, scanned])


def messages() -> None:
    """WebSocket messages, in microseconds each."""
    watchlist = Watchlist(rules(1, 40))
    print(f"{'messages, us each':>28}{'server':>9}{'client':>9}")
    for count in (40, 125, 1000, 65536):
        times = []
        for masked in (False, True):
            frames = [frame(secrets.token_bytes(count), masked) for _ in range(100)]
            done = rate(partial(through, WebSocketProbe, watchlist, frames), 100)
            times.append(1 / (done * 2**20) * 1e6)
        print(f"{count:>22} bytes{times[0]:9.2f}{times[1]:9.2f}")


def soak(megabytes: int) -> None:
    """Random data, as it is, in frames, and in what pretends to be compressed; ends with 1 where anything is found."""
    watchlist = Watchlist([*rules(5, 8), *rules(5, 20), *rules(10, 40)])
    plain, framed, packed = Probe(watchlist), WebSocketProbe(watchlist), WebSocketProbe(watchlist, Deflate(True, 15))
    start = time.perf_counter()
    for _ in range(megabytes * 10):
        data = secrets.token_bytes(100_000)
        feed(plain, [data])
        feed(framed, [frame(data, masked=True)])
        feed(packed, [b"\xc2" + frame(data, masked=False)[1:]])
        feed(body_probe(watchlist, (("Content-Encoding", "deflate"),)), [data])
    taken = time.perf_counter() - start
    print(f"{megabytes} MB of random data, four ways, {taken:.1f} s: nothing was found")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soak", type=int, metavar="MB", help="look for false positives in that much random data")
    wanted = parser.parse_args()
    if wanted.soak:
        soak(wanted.soak)
    else:
        bulk()
        coded()
        messages()
