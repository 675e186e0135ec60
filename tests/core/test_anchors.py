"""Facts about finding strings by their rarest bytes: what is found is what a plain search finds, or nothing is said."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.scan.anchors import Anchors

CORES = [b"Xk3QmPq8", b"lower7case", b"only-letters-here", b"%73%33%63", b"\\u0073\\u0033"]
TEXT = b"the quick brown fox jumps over the lazy dog, and so on; " * 200


def anchors(cores: list[bytes], limit: float = 10.0) -> Anchors:
    return Anchors(cores, 4.0, limit)


def test_each_string_is_found_wherever_it_stands_in_text() -> None:
    """At the start, at the end and in between; what lacks its first or its last byte is not."""
    looking = anchors(CORES)
    assert looking.found_in(TEXT) == []
    for core in CORES:
        for at in (0, 1, 3, 4096, len(TEXT)):
            assert looking.found_in(TEXT[:at] + core + TEXT[at:]) == [core]
            assert looking.found_in(TEXT[:at] + core[:-1] + TEXT[at:]) == []
            assert looking.found_in(core[1:] + TEXT) == []
    assert set(looking.found_in(b"".join(CORES) + TEXT) or ()) == set(CORES)


def test_a_string_in_data_full_of_its_rarest_byte_is_found_by_a_search() -> None:
    """So it is where the other way would cost more; where that costs less nothing is said."""
    full = b"QX%\\7" * 4000
    for core in CORES:
        assert anchors(CORES).found_in(full + core + full) == [core]
        assert anchors(CORES).found_in(full) == []
        assert anchors(CORES, limit=0.1).found_in(full + core + full) is None
    assert anchors(CORES[2:3], limit=0.1).found_in(TEXT) is None
    assert anchors(CORES[:2], limit=0.1).found_in(TEXT) == []


def test_nothing_is_found_without_strings() -> None:
    """In any data."""
    assert anchors([]).found_in(TEXT) == anchors([]).found_in(b"") == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_anchors_say_what_a_plain_search_says(data: st.DataObject) -> None:
    """For any strings, cut from the data or not, over alphabets with many rare bytes and with none."""
    alphabet = data.draw(st.sampled_from([b"ab", b"abcdeQ", b"%3456", bytes(range(256)), b"etaoinshrdlu QX7"]))
    rng = random.Random(data.draw(st.integers()))
    text = bytes(rng.choices(alphabet, k=data.draw(st.integers(0, 6000))))
    cores = []
    for _ in range(data.draw(st.integers(1, 20))):
        size, at = rng.randint(8, 80), rng.randrange(max(1, len(text)))
        cut = text[at : at + size]
        cores.append(cut if len(cut) >= 8 and rng.random() < 0.4 else bytes(rng.choices(alphabet, k=size)))
    found = anchors(cores, data.draw(st.sampled_from([0.3, 1.0, 100.0]))).found_in(text)
    assert found is None or set(found) == {core for core in cores if core in text}
