"""The fast lane accepts what nobody could misread, and never what h11 would refuse or read otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.model import RequestHead, ResponseHead
from pytest_gatekeeper._proxy import wire
from pytest_gatekeeper._proxy.lane import fast_request, fast_response
from tests.conftest import script

HEADS = 20_000
fuzz = script("fuzz_heads")


def head(*lines: bytes) -> bytes:
    """A head of these lines."""
    return b"\r\n".join((*lines, b"", b""))


def request(*fields: bytes) -> bytes:
    """A request head with these fields beside its Host."""
    return head(b"GET / HTTP/1.1", b"Host: a.example", *fields)


def response(*fields: bytes) -> bytes:
    """A response head with these fields."""
    return head(b"HTTP/1.1 200 OK", *fields)


# ------------------------------------------------------------------ what it takes


def test_a_plain_request_is_read() -> None:
    """Method, target and fields in order, names as they were spelled, values as latin-1."""
    raw = head(
        b"POST /v1/items?a=1 HTTP/1.1",
        b"host:api.example.com",
        b"X-Empty:",
        b"Cookie: a=1; b=2",
        b"COOKIE: \xe9\xa0x\x85",
        b"Content-Length: 3",
    )
    assert fast_request(raw) == RequestHead(
        "POST",
        "/v1/items?a=1",
        "1.1",
        (
            ("host", "api.example.com"),
            ("X-Empty", ""),
            ("Cookie", "a=1; b=2"),
            ("COOKIE", "\xe9\xa0x\x85"),
            ("Content-Length", "3"),
        ),
    )


def test_a_plain_response_is_read() -> None:
    """Status, reason and fields; the reason may be missing."""
    raw = head(b"HTTP/1.1 200 All right", b"Transfer-Encoding: chunked", b"Set-Cookie: a", b"Set-Cookie: b")
    assert fast_response(raw) == ResponseHead(
        200, "All right", "1.1", (("Transfer-Encoding", "chunked"), ("Set-Cookie", "a"), ("Set-Cookie", "b"))
    )
    assert fast_response(head(b"HTTP/1.1 101")) == ResponseHead(101, "", "1.1", ())
    assert fast_response(head(b"HTTP/1.1 404 ")) == ResponseHead(404, "", "1.1", ())


@pytest.mark.parametrize(
    "field",
    [
        b"Content-Length: 0",
        b"CONTENT-LENGTH: 123456789012345678",
        b"transfer-encoding:chunked",
        b"X: chunked",
        b"Hosts: b",
    ],
)
def test_one_framing_field_is_plain(field: bytes) -> None:
    """A length or chunked, in any case of its name; neighbours of their names are like any other."""
    for found in (fast_request(request(field)), fast_response(response(field))):
        assert found is not None
        name, _, value = field.decode().partition(":")
        assert found.headers[-1] == (name, value.strip())


# ------------------------------------------------------------------ what it leaves to h11


@pytest.mark.parametrize(
    "field",
    [
        b"Content-Length: 3, 3",
        b"Content-Length: +3",
        b"Content-Length: \xb2",
        b"Content-Length:",
        b"Content-Length: 1234567890123456789",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked",
        b"Transfer-Encoding: Chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"X : a",
        b" X: a",
        b"X: a\r\n folded",
        b"X: a\r\n\tfolded",
        b"X: a ",
        b"X:  a",
        b"X:\ta",
        b"X: a\tb",
        b"X: a\x00b",
        b"X: a\x7f",
        b"X: a\rb",
        b"X: a\nY: b",
        b"X: a\n\nY: b",
        b"X: a\r\n\r\nY: b",
        b"X",
        b": a",
        b"X\xe9: a",
        b"X Y: a",
        b"(X): a",
    ],
)
def test_what_is_not_plain_is_left_to_h11(field: bytes) -> None:
    """Repeated or unusual framing, blanks where they could matter, folding, control bytes, other line ends."""
    assert fast_request(request(field)) is None
    assert fast_response(response(field)) is None
    assert fast_request(request(b"X: a")) is not None and fast_response(response(b"X: a")) is not None


@pytest.mark.parametrize(
    "raw",
    [
        head(b"GET / HTTP/1.1"),
        head(b"GET / HTTP/1.1", b"Host: a", b"Host: a"),
        head(b"GET / HTTP/1.1", b"Host: a", b"hOST: b"),
        head(b"GET / HTTP/1.0", b"Host: a"),
        head(b"GET / HTTP/1.10", b"Host: a"),
        head(b"GET / HTTP/2.0", b"Host: a"),
        head(b"GET  / HTTP/1.1", b"Host: a"),
        head(b"GET / HTTP/1.1 ", b"Host: a"),
        head(b"GET /\xe9 HTTP/1.1", b"Host: a"),
        head(b"GET /a b HTTP/1.1", b"Host: a"),
        head(b"G@T / HTTP/1.1", b"Host: a"),
        head(b"", b"GET / HTTP/1.1", b"Host: a"),
        head(b"GET / HTTP/1.1", b"Host: a")[:-1],
        head(b"GET / HTTP/1.1", b"Host: a")[:-2],
        head(b"GET / HTTP/1.1", b"Host: a") + b"x",
        head(b"GET / HTTP/1.1", b"Host: a") * 2,
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"",
    ],
)
def test_requests_that_are_not_plain(raw: bytes) -> None:
    """Another version, no Host or two, a start line that bends the rules, more or less than one head."""
    assert fast_request(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        head(b"HTTP/1.0 200 OK"),
        head(b"HTTP/1.1 099 Low"),
        head(b"HTTP/1.1 20 OK"),
        head(b"HTTP/1.1 2000 OK"),
        head(b"HTTP/1.1 200OK"),
        head(b"HTTP/1.1  200 OK"),
        head(b"HTTP/1.1 200 O\tK"),
        head(b"HTTP/1.1 \xb2\xb2\xb2 OK"),
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"",
    ],
)
def test_responses_that_are_not_plain(raw: bytes) -> None:
    """Another version, a status that is none, a status line that bends the rules, half a head."""
    assert fast_response(raw) is None


# ------------------------------------------------------------------ h11 is the judge

TOKENS = st.text("!#$%&'*+-.^_`|~0aZ", min_size=1, max_size=6).map(str.encode)
NAMES = st.one_of(
    st.sampled_from([b"Host", b"host", b"Content-Length", b"content-lengtH", b"Transfer-Encoding", b"Connection"]),
    TOKENS,
    st.binary(max_size=4),
)
VALUES = st.one_of(
    st.sampled_from([b"a", b"", b"3", b"3, 3", b"chunked", b"close", b"upgrade", b"\xb2"]),
    st.binary(max_size=8),
    st.text(" !~\xa0\xe9", max_size=6).map(lambda text: text.encode("latin-1")),
)
BETWEEN = st.sampled_from([b": ", b": ", b": ", b":", b" : ", b":\t", b":  "])
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b" \r\n", b"\r\n ", b"\x85"])
FIELDS = st.lists(st.tuples(NAMES, BETWEEN, VALUES, ENDS).map(b"".join), max_size=5).map(b"".join)
REQUEST_LINES = st.one_of(
    st.tuples(TOKENS, st.just(b" "), TOKENS, st.just(b" HTTP/1.1"), ENDS).map(b"".join),
    st.sampled_from([b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"]),
)
STATUS_LINES = st.one_of(
    st.tuples(st.just(b"HTTP/1.1 "), st.integers(0, 1100).map(b"%03d".__mod__), st.just(b" "), VALUES, ENDS).map(
        b"".join
    ),
    st.sampled_from([b"HTTP/1.1 200\r\n", b"HTTP/1.0 200 OK\r\n"]),
)
LAST = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"", b"\r\n\r\n"])


@settings(max_examples=2000, deadline=None)
@given(st.tuples(REQUEST_LINES, FIELDS, LAST).map(b"".join))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n")
def test_an_accepted_request_is_accepted_by_h11(raw: bytes) -> None:
    """With the same method, target, version and fields, to the last byte."""
    found = fast_request(raw)
    assert found is None or found == fuzz.judged(raw, RequestHead)


@settings(max_examples=2000, deadline=None)
@given(st.tuples(STATUS_LINES, FIELDS, LAST).map(b"".join))
@example(b"HTTP/1.1 200 \r\n\r\n")
def test_an_accepted_response_is_accepted_by_h11(raw: bytes) -> None:
    """With the same status, reason, version and fields, to the last byte."""
    found = fast_response(raw)
    assert found is None or found == fuzz.judged(raw, ResponseHead)


def test_many_heads_find_no_disagreement() -> None:
    """Plain and mutated ones; enough of them are accepted, and enough declined, for this to count."""
    tally = fuzz.compare(fuzz.heads(HEADS, Random(20240607)))
    assert tally.disagreement is None
    assert tally.total == HEADS
    assert tally.accepted > HEADS * fuzz.LEAST_ACCEPTED and tally.declined > HEADS * fuzz.LEAST_ACCEPTED


def _without_host(raw: bytes) -> RequestHead | None:
    """A lane that forgets to look for Host."""
    found = fast_request(raw.replace(b"\r\n", b"\r\nHost: x\r\n", 1))
    return None if found is None else found._replace(headers=found.headers[1:])


def _any_line_end(raw: bytes) -> ResponseHead | None:
    """A lane that takes a carriage return for a line end."""
    return fast_response(raw.replace(b"\r\r\n", b"\r\n").replace(b"\r\r\n", b"\r\n").replace(b"\rX", b"\r\nX"))


def _stripping(raw: bytes) -> ResponseHead | None:
    """A lane that takes every blank that Python knows for one."""
    found = fast_response(raw)
    return found and found._replace(headers=tuple((name, value.strip()) for name, value in found.headers))


@pytest.mark.parametrize(
    ("requests", "responses"),
    [(_without_host, fast_response), (fast_request, _any_line_end), (fast_request, _stripping)],
)
def test_a_wrong_lane_is_found_out(
    requests: Callable[[bytes], RequestHead | None], responses: Callable[[bytes], ResponseHead | None]
) -> None:
    """The heads that are generated would show a mistake."""
    tally = fuzz.compare(fuzz.heads(HEADS, Random(20240607)), requests, responses)
    assert tally.disagreement is not None
    _, found, verdict = tally.disagreement
    assert found is not None and found != verdict


def test_the_script_fails_where_it_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what it counted, and ends with an error when the lane is wrong or accepts next to nothing."""
    monkeypatch.setattr(sys, "argv", ["fuzz_heads.py", "--heads", "500", "--seed", "3"])
    fuzz.main()
    assert "500 in all" in capsys.readouterr().out
    monkeypatch.setattr(fuzz, "judged", lambda raw, kind: None)
    with pytest.raises(SystemExit, match="disagrees"):
        fuzz.main()
    monkeypatch.setattr(fuzz, "heads", lambda count, random: iter([(RequestHead, b"no head")] * count))
    with pytest.raises(SystemExit, match="proves nothing"):
        fuzz.main()


# ------------------------------------------------------------------ its place in `wire`


@pytest.mark.parametrize("raw", [request(b"Content-Length: 3"), request(b"X: a\r\n folded")])
def test_reading_a_request_gives_the_same_with_and_without_the_lane(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the lane reads, h11 would have read; what it declines, h11 reads."""
    found = wire.parse_request(raw)
    monkeypatch.setattr(wire, "fast_request", lambda raw: None)
    assert wire.parse_request(raw) == found


@pytest.mark.parametrize("raw", [response(b"Content-Length: 3"), response(b"X: a\r\n folded")])
def test_reading_a_response_gives_the_same_with_and_without_the_lane(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the lane reads, h11 would have read; what it declines, h11 reads."""
    found = wire.parse_response(raw)
    monkeypatch.setattr(wire, "fast_response", lambda raw: None)
    assert wire.parse_response(raw) == found


@pytest.mark.parametrize(("parse", "with_field"), [(wire.parse_request, request), (wire.parse_response, response)])
def test_a_plain_head_does_not_reach_h11(
    parse: Callable[[bytes], RequestHead | ResponseHead],
    with_field: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is what the lane is for; any other head does."""
    monkeypatch.setattr(wire, "_judged", lambda connection, raw: pytest.fail("h11 was asked"))
    assert parse(with_field(b"X: a")).headers[-1] == ("X", "a")
    with pytest.raises(pytest.fail.Exception, match="h11 was asked"):
        parse(with_field(b"X: a\r\n b"))
