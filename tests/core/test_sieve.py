"""Facts about the search for many strings: whatever way is taken, it says what a plain search says."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.scan.needles import forms
from pytest_gatekeeper._core.scan.sieve import CORE, Sieve

SIZE = 20_000
ALNUM = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def made(rng: random.Random, alphabet: bytes, size: int) -> bytes:
    return bytes(rng.choices(alphabet, k=size))


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "random": lambda rng: rng.randbytes(SIZE),
    "zeros": lambda rng: bytes(SIZE),
    "letters": lambda rng: made(rng, ALNUM, SIZE),
    "one letter": lambda rng: b"x" * SIZE,
    "prose": lambda rng: b" ".join(made(rng, b"etaoinshrdlu", rng.randint(1, 9)) for _ in range(SIZE // 6))[:SIZE],
    "base64": lambda rng: base64.b64encode(rng.randbytes(SIZE)),
    "letters among random": lambda rng: rng.randbytes(9000) + made(rng, ALNUM, 3000) + rng.randbytes(9000),
    "some letters": lambda rng: b"".join(rng.randbytes(30) + made(rng, ALNUM, 14) for _ in range(500)),
    "a line again and again": lambda rng: (made(rng, ALNUM, 500) + b"\n") * 40,
}
SHAPES = {"one": [12], "short": [8, 9, 10, 12], "long": [40, 52, 80] * 2, "many": [8, 20, 20, 27, 40, 80] * 8}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_string_is_found_wherever_it_stands(kind: str, shape: str) -> None:
    """At the start, at the end and in between, in all kinds of data, and only those that are there."""
    rng = random.Random(f"{kind} {shape}")
    cores = [made(rng, ALNUM + b"%\\", size) for size in SHAPES[shape]]
    sieve = Sieve(cores)
    data = KINDS[kind](rng)
    assert sieve.found_in(data) == []
    for core in cores[:12]:
        for at in (0, 1, 2, 3, len(data) // 2, rng.randrange(len(data)), len(data)):
            assert sieve.found_in(data[:at] + core + data[at:]) == [core]
            assert sieve.found_in(data[:at] + core[:-1] + b"\n" + data[at:]) == []
    data = data[:100] + b"".join(cores) + data[100:]
    assert set(sieve.found_in(data)) == set(cores)


def test_strings_in_data_that_repeats_itself_are_found() -> None:
    """Also where a string spans two rounds, and where the last round is not whole."""
    line = b"0123456789abcdefghij" * 3 + b"the quick brown fox\n"
    data = line * 300 + line[:50]
    cores = [line[70:] + line[:60], line[:40], line[40:60], b"not in the line"]
    assert set(Sieve(cores).found_in(data)) == set(cores[:3])
    assert Sieve([b"\0" * CORE]).found_in(bytes(5000)) == [b"\0" * CORE]
    assert Sieve([b"\0" * CORE]).found_in(b"\0" * (CORE - 1) + b"\1" * 5000) == []


@pytest.mark.parametrize("size", [12, 20, 40])
def test_a_string_right_behind_something_like_it_is_found(size: int) -> None:
    """In binary data, with a few bytes between them, at every distance from the start."""
    rng = random.Random(size)
    core, *others = [made(rng, ALNUM, size) for _ in range(12)]
    sieve = Sieve([core, *others])
    for at in range(size):
        for gap in range(1, 9):
            before = bytes(9000 + at) + core[1:] + bytes(gap)
            assert sieve.found_in(before + core + bytes(9000)) == [core]
            assert sieve.found_in(before + core[:-1] + bytes(9000)) == []


def test_nothing_is_found_by_a_sieve_without_strings() -> None:
    """In any data."""
    assert Sieve([]).found_in(b"") == Sieve([]).found_in(bytes(10_000)) == []


@settings(max_examples=50)
@given(st.data())
def test_a_sieve_says_what_a_plain_search_says(data: st.DataObject) -> None:
    """For any strings over small and large alphabets, cut from the data or not."""
    alphabet = data.draw(st.sampled_from([b"ab", ALNUM, bytes(range(256)), b"%\\u01aB"]))
    rng = random.Random(data.draw(st.integers()))
    text = made(rng, alphabet, data.draw(st.integers(0, 9000)))
    if data.draw(st.booleans()):
        text += rng.randbytes(6000)
    cores = []
    for _ in range(data.draw(st.integers(1, 20))):
        size = data.draw(st.integers(8, CORE))
        at = rng.randrange(max(1, len(text) - size))
        cores.append(text[at : at + size] if rng.random() < 0.3 and len(text) > size else made(rng, alphabet, size))
    assert set(Sieve(cores).found_in(text)) == {core for core in cores if core in text}


SENTENCE = "The quick brown fox, who jumps over 7 lazy dogs; Quebec is \\cold\\. "
FULL_OF: dict[str, Callable[[random.Random], bytes]] = {
    "binary": lambda rng: rng.randbytes(SIZE),
    "prose": lambda rng: SENTENCE.encode() * 100 + rng.randbytes(5).hex().encode() + SENTENCE.encode() * 100,
    "letters and digits": lambda rng: made(rng, ALNUM, SIZE),
    "hexadecimal": lambda rng: rng.randbytes(SIZE // 2).hex().encode(),
    "capital hexadecimal": lambda rng: rng.randbytes(SIZE // 2).hex().upper().encode(),
    "percent": lambda rng: b"".join(b"%%%02X" % byte for byte in rng.randbytes(SIZE // 3)),
    "escapes": lambda rng: b"".join(b"\\u%04x" % byte for byte in rng.randbytes(SIZE // 6)),
}
VALUES: dict[str, Callable[[random.Random], str]] = {
    "hexadecimal": lambda rng: rng.randbytes(20).hex(),
    "letters and digits": lambda rng: made(rng, ALNUM, 24).decode(),
    "short": lambda rng: made(rng, ALNUM, 8).decode(),
    "signs": lambda rng: made(rng, ALNUM + b'/+"%&=? \\', 30).decode(),
}


@pytest.mark.parametrize("count", [1, 20, 120])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", FULL_OF)
def test_every_form_is_found_in_data_full_of_its_like(kind: str, value: str, count: int) -> None:
    """For few secrets and for many, in data of each form's own alphabet, and only what is there."""
    rng = random.Random(f"{kind} {value} {count}")
    cores = sorted({form[-CORE:] for _ in range(count) for form in forms(VALUES[value](rng))})
    sieve = Sieve(cores)
    data = FULL_OF[kind](rng)
    assert sieve.found_in(data) == []
    for core in rng.sample(cores, min(len(cores), 12)):
        at = rng.randrange(len(data))
        there = data[:at] + core + data[at:]
        assert set(sieve.found_in(there)) == {core for core in cores if core in there} >= {core}
        there = data[:at] + core[:-1] + b"\n" + data[at:]
        assert set(sieve.found_in(there)) == {core for core in cores if core in there}


@pytest.mark.parametrize("count", [1, 20, 120])
def test_small_data_is_searched_rightly_however_much_comes(count: int) -> None:
    """The way taken changes after a while where there are many strings; what is found does not."""
    rng = random.Random(count)
    cores = sorted({form[-CORE:] for _ in range(count) for form in forms(made(rng, ALNUM, 24).decode())})
    sieve = Sieve(cores)
    for number in range(700):
        core = rng.choice(cores)
        data = b"GET /%7Eme HTTP/1.1\r\nX: " + (core if number % 7 == 0 else core[1:]) + b"\r\n\r\n"
        assert set(sieve.found_in(data)) == {core for core in cores if core in data}
    assert sieve.found_in(b"") == []
