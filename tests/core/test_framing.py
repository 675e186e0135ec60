"""Where bodies end: every way of framing, in every split, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.framing import (
    Body,
    BodyError,
    ChunkedBody,
    LengthBody,
    OpenBody,
    no_body,
    request_body,
    response_body,
)
from pytest_gatekeeper._core.model import Headers, RequestHead, ResponseHead

CHUNKED = ("Transfer-Encoding", "chunked")


def fed(body: Body, *pieces: bytes) -> tuple[bytes, bytes, bytes]:
    """Feed pieces: what belongs to the body, its data, and what is left after it."""
    raw = data = rest = b""
    before = body.size
    for piece in pieces:
        count = body.feed(piece)
        assert 0 <= count <= len(piece) and (over(body) or count == len(piece))
        spans = body.payload()
        assert spans == sorted(spans) and all(0 <= start <= end <= count for start, end in spans)
        raw += piece[:count]
        data += b"".join(piece[start:end] for start, end in spans)
        rest += piece[count:]
        assert body.size == before + len(data)
    return raw, data, rest


def over(body: Body) -> bool:
    """Whether all of it has been fed."""
    return body.done


def every_split(data: bytes) -> list[list[bytes]]:
    """Whole, in two at every place, and byte by byte."""
    halves = [[data[:at], data[at:]] for at in range(1, len(data))]
    return [[data], *halves, [data[at : at + 1] for at in range(len(data))]]


# ------------------------------------------------------------------ a declared length, and none


@pytest.mark.parametrize("rest", [b"", b"next"])
def test_a_body_of_a_declared_length_ends_there(rest: bytes) -> None:
    """In every split; what follows is not its own."""
    for pieces in every_split(b"hello" + rest):
        body = LengthBody(5)
        assert body.declared == 5 and not over(body)
        assert fed(body, *pieces) == (b"hello", b"hello", rest)
        assert over(body) and body.size == 5 and body.end()


def test_a_body_that_is_too_short_may_not_end() -> None:
    """The connection that ended cut it off."""
    body = LengthBody(5)
    body.feed(b"hell")
    assert not over(body) and not body.end()
    body.feed(b"o")
    assert over(body) and body.end()


def test_no_body_is_over_at_once() -> None:
    """It takes nothing."""
    body = no_body()
    assert over(body) and body.declared == 0 and body.end()
    assert fed(body, b"next") == (b"", b"", b"next")


def test_a_body_without_framing_ends_with_its_connection() -> None:
    """Everything belongs to it until then (RFC 9112 section 6.3, rule 8)."""
    body = OpenBody()
    assert body.declared is None and not over(body)
    assert fed(body, b"one", b"two") == (b"onetwo", b"onetwo", b"")
    assert not over(body)
    assert body.end() and over(body) and body.size == 6


# ------------------------------------------------------------------ chunks

ONE = b"5\r\nhello\r\n"


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"0\r\n\r\n", b""),
        (ONE + b"0\r\n\r\n", b"hello"),
        (b"1\r\na\r\n2\r\nbc\r\n000\r\n\r\n", b"abc"),
        (b"A\r\n0123456789\r\n0a\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5 \t \r\nhello\r\n0 \r\n\r\n", b"hello"),
        (b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        (b'5 ; a="b;c\t\xe9"\r\nhello\r\n0\r\n\r\n', b"hello"),
        (ONE + b"0\r\nX-Checksum: abc\r\nY:\r\n\r\n", b"hello"),
        (b"8\r\n\r\n0\r\n\r\n\r\r\n0\r\n\r\n", b"\r\n0\r\n\r\n\r"),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"\r\n0\r\n\r\n"])
def test_chunks_end_with_their_trailers_in_every_split(raw: bytes, data: bytes, rest: bytes) -> None:
    """Sizes in hex of either case, with extensions, trailers, and data that looks like framing."""
    for pieces in every_split(raw + rest):
        body = ChunkedBody()
        assert body.declared is None and not over(body)
        assert fed(body, *pieces) == (raw, data, rest)
        assert over(body) and body.size == len(data) and body.end()


def test_chunk_extensions_are_there_with_what_ended_them() -> None:
    """Those of the piece that was fed last, joined; other bodies have none."""
    body = ChunkedBody()
    body.feed(b"1;a=1\r\nx\r\n1 ;b\r\ny\r\n1;c")
    assert body.extensions == b";a=1;b"
    body.feed(b"=3\r\nz\r\n")
    assert body.extensions == b";c=3"
    body.feed(b"0\r\n\r\n")
    assert body.extensions == LengthBody(1).extensions == OpenBody().extensions == b""


@pytest.mark.parametrize("cut", range(len(ONE + b"0\r\nX: y\r\n\r\n")))
def test_chunks_may_not_end_before_their_last(cut: int) -> None:
    """Wherever the connection ends, the missing rest shows; what did come is counted."""
    raw = ONE + b"0\r\nX: y\r\n\r\n"
    body = ChunkedBody()
    assert fed(body, raw[:cut])[0] == raw[:cut]
    assert not over(body) and not body.end()
    assert fed(body, raw[cut:])[0] == raw[cut:]
    assert over(body) and body.end() and body.size == 5


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\r\n", "no readable size"),
        (b"x\r\n", "no readable size"),
        (b"-5\r\n", "no readable size"),
        (b"+5\r\n", "no readable size"),
        (b"0x5\r\n", "no readable size"),
        (b"5_0\r\n", "no readable size"),
        (b" 5\r\n", "no readable size"),
        (b"5 5\r\n", "no readable size"),
        (b"\xb2\r\n", "no readable size"),
        (b"5\n", "no readable size"),
        (b"5\r\r\n", "no readable size"),
        (b"5;a\rb\r\n", "no readable size"),
        (b"5;a\x00b\r\n", "no readable size"),
        (b"5;a\n", "no readable size"),
        (b"0000000000000005\r\n", "no readable size"),
        (b"fffffffffffffffff\r\n", "no readable size"),
        (b"5\r\nhello0", "does not end where its size says"),
        (b"5\r\nhello\n", "does not end where its size says"),
        (b"5\r\nhello\r\r", "does not end where its size says"),
        (b"5\r\nhell\r\n0\r\n", "does not end where its size says"),
        (ONE + b"\r\n", "no readable size"),
        (ONE + b"0\n", "no readable size"),
        (ONE + b"0\r\n\n", "is no header field"),
        (ONE + b"0\r\nX: y\n", "is no header field"),
        (b"5" * 4096 + b"\r", "too long"),
        (b"5;" + b"x" * 5000, "too long"),
        (b"0\r\nX: " + b"y" * 5000, "too long"),
        (b"0\r\n" + b"X: y\r\n" * 11_000, "trailers of the body are too long"),
    ],
)
def test_broken_chunks_are_refused_in_every_split(raw: bytes, words: str) -> None:
    """Where servers could disagree on what is data; without a byte of it in the message."""
    splits = every_split(raw) if len(raw) < 50 else [[raw], [raw[:4000], raw[4000:]]]
    for pieces in splits:
        body = ChunkedBody()
        with pytest.raises(BodyError, match=words) as caught:
            fed(body, *pieces)
        assert not over(body) and not body.end()
        assert "hell" not in str(caught.value) and "X:" not in str(caught.value)


def test_lines_and_trailers_may_be_as_long_as_their_limits() -> None:
    """4096 bytes a line, its end included, and 65536 of trailers; one more is too many."""
    for extra, accepted in ((0, True), (1, False)):
        line = b"5;" + b"x" * (4096 - 4 + extra) + b"\r\n"
        assert _accepts(line + b"hello\r\n0\r\n\r\n") is accepted
        trailers = b"X:" + b"x" * 1020 + b"\r\n"
        assert _accepts(b"0\r\n" + trailers * 63 + b"X:" + b"x" * (1018 + extra) + b"\r\n\r\n") is accepted


def _accepts(raw: bytes) -> bool:
    body = ChunkedBody()
    try:
        return body.feed(raw) == len(raw) and over(body)
    except BodyError:
        return False


def test_a_huge_chunk_costs_no_memory() -> None:
    """Its size is counted down, nothing is kept."""
    body = ChunkedBody()
    body.feed(b"fffffffffffffff\r\n")
    for _ in range(3):
        assert body.feed(bytes(100_000)) == 100_000
        assert body.payload() == [(0, 100_000)]
    assert body.size == 300_000 and not over(body)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    upper=st.booleans(),
    trailers=st.lists(st.sampled_from([b"X: y\r\n", b"Digest: \xe9\r\n"]), max_size=2),
    rest=st.binary(max_size=10),
    data=st.data(),
)
def test_any_chunks_in_any_pieces(
    chunks: list[bytes], upper: bool, trailers: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    """The data is what was chunked, and every byte is either the body's or the rest's."""
    sizes = (b"%X" if upper else b"%x").__mod__
    raw = b"".join(b"%b\r\n%b\r\n" % (sizes(len(chunk)), chunk) for chunk in chunks)
    raw += b"0\r\n" + b"".join(trailers) + b"\r\n"
    whole = raw + rest
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[at:end] for at, end in zip([0, *cuts], [*cuts, len(whole)])]
    assert fed(ChunkedBody(), *pieces) == (raw, b"".join(chunks), rest)


@given(st.lists(st.sampled_from([b"0", b"5", b"\r", b"\n", b"\r\n", b";", b"x", b"hello", b"5\r\nhello\r\n", b" "])))
def test_any_bytes_mean_the_same_in_any_pieces(parts: list[bytes]) -> None:
    """Accepted, refused or unfinished: whole or byte by byte."""

    def outcome(pieces: list[bytes]) -> object:
        body = ChunkedBody()
        try:
            return fed(body, *pieces), over(body)
        except BodyError as error:
            return str(error)

    raw = b"".join(parts)
    assert outcome([raw]) == outcome([raw[at : at + 1] for at in range(len(raw))] or [b""])


# ------------------------------------------------------------------ which framing a head means


def body_of_request(*headers: tuple[str, str]) -> Body:
    """The body after a POST with these headers."""
    return request_body(RequestHead("POST", "/", "1.1", (("Host", "a"), *headers)))


def body_of_response(status: int, method: str, *headers: tuple[str, str]) -> Body:
    """The body after such an answer to such a request."""
    return response_body(ResponseHead(status, "", "1.1", headers), method)


@pytest.mark.parametrize(
    ("headers", "kind", "declared"),
    [
        ([], LengthBody, 0),
        ([("Content-Length", "0")], LengthBody, 0),
        ([("CONTENT-LENGTH", " 12 ")], LengthBody, 12),
        ([("Content-Length", "3, 3")], LengthBody, 3),
        ([("Content-Lengths", "12"), ("X-Content-Length", "12")], LengthBody, 0),
        ([CHUNKED], ChunkedBody, None),
        ([("transfer-encoding", " Chunked ")], ChunkedBody, None),
        ([("Content-Length", "12"), CHUNKED], ChunkedBody, None),
        ([CHUNKED, ("Content-Length", "12")], ChunkedBody, None),
    ],
)
def test_a_request_has_the_body_that_it_declares(
    headers: list[tuple[str, str]], kind: type[Body], declared: int | None
) -> None:
    """Chunked beats a length, and without either there is none (RFC 9112 section 6.3)."""
    body = body_of_request(*headers)
    assert isinstance(body, kind) and body.declared == declared
    assert over(body) is (declared == 0)


@pytest.mark.parametrize("make", [body_of_request, lambda *headers: body_of_response(200, "GET", *headers)])
@pytest.mark.parametrize(
    "header",
    [
        ("Transfer-Encoding", "gzip, chunked"),
        ("Transfer-Encoding", "identity"),
        ("Transfer-Encoding", ""),
        ("Content-Length", "x"),
        ("Content-Length", "-1"),
        ("Content-Length", "+1"),
        ("Content-Length", ""),
        ("Content-Length", "1 2"),
        ("Content-Length", "\xb2"),
        ("Content-Length", "\u0663"),
    ],
)
def test_framing_that_is_not_understood_is_refused(make: Callable[..., Body], header: tuple[str, str]) -> None:
    """Nobody guesses where such a body ends; its neighbours are read."""
    with pytest.raises(BodyError):
        make(header)
    assert make(("Content-Length", "1")).declared == 1


@pytest.mark.parametrize(
    ("status", "method", "headers", "kind", "declared"),
    [
        (200, "GET", (), OpenBody, None),
        (404, "POST", (), OpenBody, None),
        (200, "GET", (CHUNKED,), ChunkedBody, None),
        (200, "GET", (("Content-Length", "5"), CHUNKED), ChunkedBody, None),
        (200, "GET", (("Content-Length", "5"),), LengthBody, 5),
        (200, "head", (("Content-Length", "5"),), LengthBody, 5),
        (200, "GET", (("Content-Length", "0"),), LengthBody, 0),
        (205, "GET", (("Content-Length", "5"),), LengthBody, 5),
    ],
)
def test_a_response_has_the_body_that_it_declares(
    status: int, method: str, headers: Headers, kind: type[Body], declared: int | None
) -> None:
    """Without framing it ends with its connection (RFC 9112 section 6.3)."""
    body = body_of_response(status, method, *headers)
    assert isinstance(body, kind) and body.declared == declared
    assert over(body) is (declared == 0)


@pytest.mark.parametrize(
    ("status", "method"), [(200, "HEAD"), (404, "HEAD"), (204, "GET"), (304, "GET"), (100, "GET"), (101, "GET")]
)
@pytest.mark.parametrize(
    ("headers", "declared"),
    [((), None), ((CHUNKED,), None), ((("Content-Length", "5"),), 5), ((CHUNKED, ("Content-Length", "5")), 5)],
)
def test_some_responses_have_none_whatever_they_declare(
    status: int, method: str, headers: Headers, declared: int | None
) -> None:
    """Answers to HEAD, 1xx, 204 and 304 (RFC 9112 section 6.3, rule 1); the length they name is still known."""
    body = body_of_response(status, method, *headers)
    assert over(body) and body.declared == declared and body.end()
    assert body.feed(b"next") == 0
