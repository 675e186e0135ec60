"""Facts about finding values: in every encoding, at the right place, once, however the data is cut."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.scan.needles import forms
from pytest_gatekeeper._core.scan.watchlist import Hit, Probe, Watchlist
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret/to+ken&0123?"


def rule(value: str, id: str = "credentials[0]") -> Rule:
    return Rule(id, "api.example.com", "X-Key", "", Secret(value), Secret(value))


def watchlist(*values: str) -> Watchlist:
    return Watchlist([rule(value, f"credentials[{number}]") for number, value in enumerate(values)])


def hits_of(probe: Probe, pieces: Iterable[bytes | memoryview]) -> list[Hit]:
    return [hit for piece in pieces for hit in probe.feed(piece)]


def cut(data: bytes, *at: int) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


ENCODED = {
    "raw": VALUE.encode(),
    "percent": quote(VALUE, safe="").encode(),
    "percent, lower case": quote(VALUE, safe="").lower().encode(),
    "percent, every character": "".join(f"%{byte:02X}" for byte in VALUE.encode()).encode(),
    "hex": VALUE.encode().hex().encode(),
    "hex, upper case": VALUE.encode().hex().upper().encode(),
    "json": VALUE.replace("/", "\\/").encode(),
    "json, HTML": json.dumps(VALUE)[1:-1].replace("&", "\\u0026").encode(),
    "json, every character": "".join(f"\\u{byte:04x}" for byte in VALUE.encode()).encode(),
}


@pytest.mark.parametrize("around", [b"", b"x", b"\x00" * 100, b"data=" * 9], ids=["bare", "byte", "zeros", "text"])
@pytest.mark.parametrize("name", ENCODED)
def test_a_value_is_found_once_wherever_it_is_cut(name: str, around: bytes) -> None:
    """In each encoding, cut at any one place, into single bytes, and after a long stream."""
    encoded = ENCODED[name]
    data = around + encoded + around
    expected = (len(around), len(around) + len(encoded), name.partition(",")[0])
    known = watchlist(VALUE)
    assert [(hit.offset, hit.end, hit.encoding) for hit in known.find_in(data)] == [expected]
    pieces = [cut(data, at) for at in range(len(data) + 1)]
    pieces.append([data[at : at + 1] for at in range(len(data))])
    for some in pieces:
        assert [hit[1:] for hit in hits_of(Probe(known), some)] == [expected]
        offset = 10_000
        late = hits_of(Probe(known), [b"a" * 3_000, b"b" * 7_000, *some, b"c" * 20_000])
        assert [hit[1:] for hit in late] == [(offset + expected[0], offset + expected[1], expected[2])]
    assert known.find_in(around + encoded[:-1] + around) == []
    assert known.find_in(around + encoded[1:] + around) == []


@pytest.mark.parametrize("urlsafe", [False, True])
@pytest.mark.parametrize("tail", range(3))
@pytest.mark.parametrize("lead", range(7))
def test_base64_is_found_once_at_every_alignment(lead: int, tail: int, urlsafe: bool) -> None:
    """Wherever it is cut; its offset is that of the first character that the value alone settles."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    data = encode(b"u" * lead + VALUE.encode() + b"v" * tail)
    known = watchlist(VALUE)
    for at in range(len(data) + 1):
        (hit,) = hits_of(Probe(known), cut(data, at))
        assert (hit.offset, hit.encoding) == (-(-lead * 8 // 6), "base64")
    assert known.find_in(encode(b"u" * lead + VALUE.encode()[:-1] + b"v" * (tail + 1))) == []


@pytest.mark.parametrize("size", [9_000, 70_000, 300_000])
def test_large_pieces_are_searched_across_their_seams(size: int) -> None:
    """A value at the end, at the start or across the ends of large pieces is found, in binary data and in text."""
    known = watchlist(VALUE, "another-s3cret")
    value = VALUE.encode()
    for filler in (random.Random(1).randbytes(size), b"lorem ipsum dolor " * (size // 18)):
        for at in (0, size // 2, len(filler) - 5, len(filler)):
            data = filler[:at] + value + filler[at:]
            for inside in (0, 1, 10, len(value) - 1, len(value)):
                pieces = cut(filler + data + filler, len(filler), len(filler) + at + inside, len(filler) + len(data))
                assert [hit.offset for hit in hits_of(Probe(known), pieces)] == [len(filler) + at]


def test_the_longest_form_is_found_across_a_seam_of_large_pieces() -> None:
    """With one byte on either side of it, and with a piece that is shorter than the form."""
    known = watchlist(VALUE, "v" * 2000 + "alue")
    for value in (VALUE, "v" * 2000 + "alue"):
        form = max(forms(value), key=len)
        data = bytes(20_000) + form + bytes(20_000)
        for at in (20_001, 20_000 + len(form) - 1):
            assert [hit.offset for hit in hits_of(Probe(known), cut(data, at))] == [20_000]
        assert [hit.offset for hit in hits_of(Probe(known), cut(data, 20_001, 30_000))] == [20_000]


def test_of_forms_that_hold_each_other_the_one_that_ends_first_counts() -> None:
    """Only so can it not matter where the data is cut."""
    value = '"' + "\\" * 8
    data = b"....." + json.dumps(value)[1:-1].encode() + b"....."
    for at in range(len(data)):
        assert [hit[1:] for hit in hits_of(Probe(watchlist(value)), cut(data, at))] == [(6, 15, "raw")]


def test_long_values_are_told_apart_by_all_their_bytes() -> None:
    """Of two long values with the same end only the one that is there is found, in any encoding."""
    one, other = "one-" + "abcd" * 300, "two-" + "abcd" * 300
    known = watchlist(one, other)
    for form in forms(one):
        found = hits_of(Probe(known), cut(b"." * 99 + form, 7, 150, 151, 5000))
        assert [(hit.watched.rules[0].id, hit.offset) for hit in found] == [("credentials[0]", 99)]


def test_several_values_and_repetitions_are_all_found() -> None:
    """In order; values that overlap each other are both there, one value does not overlap itself."""
    known = watchlist("aaaaaaaa", "token-one-two", "one-two-three")
    data = b"token-one-two-three " + b"a" * 20 + b" one-two-three"
    expected = [("token-one-two", 0), ("one-two-three", 6), ("aaaaaaaa", 20), ("aaaaaaaa", 28), ("one-two-three", 41)]
    for pieces in ([data], cut(data, 7, 25, 30), [data[at : at + 1] for at in range(len(data))]):
        found = hits_of(Probe(known), pieces)
        assert [(hit.watched.rules[0].secret.reveal(), hit.offset) for hit in found] == expected


def test_rules_may_share_a_value() -> None:
    """It is found once, and belongs to all of them."""
    known = Watchlist([rule(VALUE, "a"), rule("another-s3cret", "b"), rule(VALUE, "c")])
    (hit,) = known.find_in(VALUE.encode())
    assert [sharer.id for sharer in hit.watched.rules] == ["a", "c"]
    assert VALUE not in repr(hit)


def test_short_values_are_not_looked_for() -> None:
    """Less than eight characters: nothing is found; with eight it is."""
    known = watchlist("s3cret!", "s3cret!!")
    assert [hit.offset for hit in known.find_in(b"s3cret! s3cret!!")] == [8]
    nothing = watchlist("s3cret!")
    assert not nothing and known
    assert nothing.find_in(b"s3cret!") == Probe(nothing).feed(b"s3cret!") == []
    assert not Watchlist([])


def test_what_is_looked_for_may_change() -> None:
    """Also in the middle of a stream, and offsets stay right; a value that stays is the same as before."""
    known = watchlist("another-s3cret")
    (before,) = known.find_in(b"another-s3cret")
    probe, idle = Probe(known), Probe(watchlist())
    assert probe.feed(VALUE.encode()) == idle.feed(VALUE.encode()) == []
    known.look_for([rule(VALUE, "a"), rule("another-s3cret", "b"), rule("another-s3cret", "c")])
    hits = probe.feed(f"..{VALUE}another-s3cret".encode())
    assert [(hit.watched.rules[0].id, hit.offset) for hit in hits] == [("a", len(VALUE) + 2), ("b", 2 * len(VALUE) + 2)]
    assert hits[1].watched is before.watched
    assert [sharer.id for sharer in before.watched.rules] == ["b", "c"]
    idle._watchlist.look_for([rule(VALUE, "a")])
    assert [hit.offset for hit in idle.feed(VALUE.encode())] == [len(VALUE)]
    known.look_for([])
    assert not known and probe.feed(VALUE.encode()) == []


def test_a_view_is_as_good_as_bytes() -> None:
    """Pieces may be memoryviews, empty ones too, and a stream may start at an offset."""
    data = memoryview(b"x" * 5 + VALUE.encode())
    assert [hit.offset for hit in hits_of(Probe(watchlist(VALUE), 100), [data[:9], b"", data[9:]])] == [105]


@settings(max_examples=150)
@given(st.data())
def test_cuts_change_nothing(data: st.DataObject) -> None:
    """For any values (self-similar ones too), any forms of them in any data: any cut gives what no cut gives."""
    alphabet = data.draw(st.sampled_from(["ab", "a%", 'x"\\', "abcdefgh0123456789", "é€😀~? "]))
    values = data.draw(st.lists(st.text(alphabet, min_size=8, max_size=20), min_size=1, max_size=3))
    known = watchlist(*values)
    parts = st.one_of(
        st.sampled_from([form for value in values for form in forms(value)]),
        st.text(alphabet, max_size=20).map(str.encode),
        st.binary(max_size=20),
    )
    stream = b"".join(data.draw(st.lists(parts, max_size=8)))
    whole = sorted(known.find_in(stream), key=lambda hit: (hit.end, id(hit.watched)))
    edges = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    found = hits_of(Probe(known), cut(stream, *edges))
    assert sorted(found, key=lambda hit: (hit.end, id(hit.watched))) == whole


@settings(max_examples=50)
@given(st.data())
def test_every_value_in_random_data_is_found(data: st.DataObject) -> None:
    """As many as were put there, at their places, in streams of large and small pieces."""
    values = ["s3cret-token-0001", "ghp_0123456789abcdefghij", "p@ss w/ords!"]
    known = watchlist(*values)
    rng = random.Random(data.draw(st.integers()))
    stream, places = b"", []
    for _ in range(data.draw(st.integers(1, 5))):
        stream += rng.randbytes(rng.choice([10, 500, 9000, 30_000]))
        value = rng.choice(values)
        form = rng.choice([form for form, encoding in forms(value).items() if encoding != "base64"])
        places.append(len(stream))
        stream += form
    edges = [rng.randrange(len(stream)) for _ in range(data.draw(st.integers(0, 6)))]
    assert [hit.offset for hit in hits_of(Probe(known), cut(stream, *edges))] == places


def test_random_data_holds_nothing() -> None:
    """4 MB of it, with ten secrets, until one of them is put there."""
    rng = random.Random(7)
    known = watchlist(*(rng.randbytes(10).hex() for _ in range(10)), VALUE)
    probe = Probe(known)
    assert hits_of(probe, (rng.randbytes(100_000) for _ in range(40))) == []
    assert [hit.offset for hit in probe.feed(VALUE.encode())] == [4_000_000]


def test_memory_is_bounded() -> None:
    """A probe keeps no more than the longest form has."""
    known = watchlist(VALUE)
    probe = Probe(known)
    for size in (1, 100, 100_000, 3):
        probe.feed(b"z" * size)
        assert len(probe._tail) < known.longest


def test_a_view_is_what_it_shows() -> None:
    """All of an object's bytes, some of them, in another order or of another kind of object."""
    data = b"x" + VALUE.encode()
    backwards = memoryview(data[::-1])[::-1]
    for view in (memoryview(data), memoryview(b"xx" + data + b"x")[2:-1], backwards, memoryview(bytearray(data))):
        assert [hit.offset for hit in hits_of(Probe(watchlist(VALUE)), [view])] == [1]
    assert hits_of(Probe(watchlist(VALUE)), [memoryview(data[::-1])]) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_probe_sees_what_a_plain_search_sees(data: st.DataObject) -> None:
    """In text and in what looks like secrets, for few values and many, whatever the cuts: each form, once, in place."""
    rng = random.Random(data.draw(st.integers()))
    size = data.draw(st.sampled_from([8, 20, 40]))
    count = data.draw(st.sampled_from([1, 30]))
    values = ["".join(rng.choices("ABCXYZabcxyz0123456789", k=size)) for _ in range(count)]
    filler = data.draw(
        st.sampled_from([b"the quick brown fox ", b"0123456789abcdef", b"%41%42", b"\\u0041", b"QUJD", b"\0\xff"])
    )
    stream, places = b"", []
    for _ in range(data.draw(st.integers(1, 4))):
        stream += bytes(rng.choices(filler, k=rng.choice([0, 10, 3000, 30_000])))
        form = rng.choice(list(forms(rng.choice(values))))
        places.append(len(stream))
        stream += form
    edges = [rng.randrange(len(stream)) for _ in range(data.draw(st.integers(0, 5)))]
    found = [hit.offset for hit in hits_of(Probe(watchlist(*values)), cut(stream, *edges))]
    expected = {stream.find(form, at) for value in values for form in forms(value) for at in [0, *places]} - {-1}
    assert len(found) == len(set(found))
    assert set(places) <= set(found) <= expected
