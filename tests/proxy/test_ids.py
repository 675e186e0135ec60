"""Request ids look as production's do and sort by the time they were made."""

from __future__ import annotations

import random
import re
import time

import pytest

from pytest_gatekeeper._proxy import ids
from pytest_gatekeeper._proxy.ids import new_request_id

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's


def number(id: str) -> int:
    """The 128 bits of an id."""
    value = 0
    for character in id.removeprefix("req_"):
        value = value * 32 + ALPHABET.index(character)
    return value


def test_an_id_is_a_type_id() -> None:
    """`req_` and 26 characters, of which the first holds three bits."""
    for _ in range(1000):
        assert re.fullmatch(rf"req_[0-7][{ALPHABET}]{{25}}", new_request_id())


def test_an_id_holds_a_uuid_of_version_7() -> None:
    """Version and variant are where RFC 9562 section 5.7 has them, the milliseconds since 1970 in front."""
    before = time.time_ns() // 1_000_000
    value = number(new_request_id())
    after = time.time_ns() // 1_000_000
    assert value < 1 << 128
    assert (value >> 76) & 0xF == 7
    assert (value >> 62) & 0b11 == 0b10
    assert before <= value >> 80 <= after


def test_random_bits_do_not_reach_the_fixed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """All zeros and all ones leave version, variant and time alone, and fill the 74 bits that are theirs."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_123_456)
    monkeypatch.setattr(ids._chance, "getrandbits", lambda count: 0)
    low = number(new_request_id())
    monkeypatch.setattr(ids._chance, "getrandbits", lambda count: (1 << count) - 1)
    high = number(new_request_id())
    assert low >> 80 == high >> 80 == 1_700_000_000_000
    assert low == 1_700_000_000_000 << 80 | 0x7 << 76 | 0b10 << 62
    assert high - low == (0xFFF << 64) | (1 << 62) - 1


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, from one millisecond to the next, in this century and the next ones."""
    times = [*range(1_700_000_000_000, 1_700_000_000_100), 2_000_000_000_000, 4_000_000_000_000]
    made = []
    for now in times:
        monkeypatch.setattr(time, "time_ns", lambda now=now: now * 1_000_000)
        made.append(new_request_id())
    assert made == sorted(made)


def test_ids_are_unique() -> None:
    """Also those of one millisecond."""
    assert len({new_request_id() for _ in range(20_000)}) == 20_000


def test_a_tests_random_numbers_stay_what_they_are() -> None:
    """Seeded numbers are not used up by ids."""
    random.seed(7)
    expected = random.random()
    random.seed(7)
    new_request_id()
    assert random.random() == expected
