"""Heads on the wire: where they end, what is refused with which status, and that no value gets into a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import combinations, pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.model import RequestHead, ResponseHead
from pytest_gatekeeper._proxy.stream import Stream
from pytest_gatekeeper._proxy.wire import (
    BadHead,
    parse_request,
    parse_response,
    read_head,
    request_bytes,
    response_bytes,
)

T = TypeVar("T")
Scripted = Callable[..., Stream]

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SECRET = "s3cr3t-value"  # latin-1 text that no message may hold


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, for 20 seconds at most."""
    return asyncio.run(asyncio.wait_for(work, 20))


async def taken(stream: Stream, limit: int = 1000) -> tuple[bytes, bytes]:
    """The head at the front of a stream, and what is left after it."""
    found, rest = await read_head(stream, limit=limit), b""
    while data := await stream.receive():
        rest += data
    return found, rest


def head_of(make: Scripted, *pieces: bytes, limit: int = 1000) -> tuple[bytes, bytes]:
    """The head at the front of a stream that comes in these pieces, and what is left after it."""

    async def read() -> tuple[bytes, bytes]:
        return await taken(make(*pieces), limit)

    return run(read())


def refused(make: Scripted, *pieces: bytes, limit: int = 1000) -> BadHead:
    """How a stream in these pieces is refused."""
    with pytest.raises(BadHead) as caught:
        head_of(make, *pieces, limit=limit)
    return caught.value


# ------------------------------------------------------------------ where a head ends


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (HEAD, b""),
        (HEAD, b"body"),
        (HEAD, HEAD),
        (HEAD, b"\r\n\r\n"),
        (HEAD, b"\n\n"),
        (b"GET / HTTP/1.1\nHost: a\n\n", b"body\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", b"X: y\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", b"\r\n\r\n"),
        (b"GET / HTTP/1.1\n\n", b"Host: a\r\n\r\n"),
        (b"GET / HTTP/1.1\n\r\n", b"\n\n"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n", b"\r\n\r\n\n\r"])
def test_a_head_ends_at_its_empty_line_in_every_split(
    scripted_stream: Scripted, before: bytes, head: bytes, rest: bytes
) -> None:
    """After CRLF or LF, with what is glued to it left in the stream, and without the empty lines before it."""
    data = before + head + rest
    splits = [(0, cut, other, len(data)) for cut, other in combinations(range(1, len(data) + 1), 2)]

    async def read() -> None:
        for split in [*splits, tuple(range(len(data) + 1)), (0, len(data))]:
            pieces = [piece for at, end in pairwise(split) if (piece := data[at:end])]
            assert await taken(scripted_stream(*pieces)) == (head, rest), pieces

    run(read())


def test_one_stream_gives_one_head_after_another(scripted_stream: Scripted) -> None:
    """Two that came together are two, and then there is no more."""

    async def read() -> list[bytes]:
        stream = scripted_stream(HEAD + HEAD.replace(b"/", b"/2", 1))
        return [await read_head(stream) for _ in range(3)]

    assert run(read()) == [HEAD, HEAD.replace(b"/", b"/2", 1), b""]


def test_a_head_that_comes_alone_is_not_copied(scripted_stream: Scripted) -> None:
    """The usual case costs nothing: the very bytes that were received are handed on."""
    data = bytes(bytearray(HEAD))
    found, _ = head_of(scripted_stream, data)
    assert found is data


@pytest.mark.parametrize("pieces", [(), (b"\r\n",), (b"\r", b"\n", b"\n\n")])
def test_a_peer_may_finish_instead(scripted_stream: Scripted, pieces: tuple[bytes, ...]) -> None:
    """Nothing, or empty lines only, is the end and no error."""
    assert head_of(scripted_stream, *pieces) == (b"", b"")


@settings(deadline=None)
@given(st.data())
def test_any_split_of_any_bytes_gives_the_same(scripted_stream: Scripted, data: st.DataObject) -> None:
    """Head, rest and refusal depend on the bytes, not on how they come."""
    parts = data.draw(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"\r\n", b"X: y"]), max_size=12))
    raw = b"".join((data.draw(st.sampled_from([b"", b"\r", b"G"])), *parts, b"!"))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw)), max_size=8)))

    def outcome(*pieces: bytes) -> object:
        try:
            return head_of(scripted_stream, *pieces, limit=20)
        except BadHead as error:
            return error.status, str(error)

    pieces = [raw[at:end] for at, end in zip([0, *cuts], [*cuts, len(raw)]) if raw[at:end]]
    assert outcome(*pieces) == outcome(raw)


# ------------------------------------------------------------------ what cannot become a head


@pytest.mark.parametrize(
    "start", [b"\x16\x03\x01\x02\x00", b" GET / HTTP/1.1\r\n", b"\x00", b"(", b"\xe9", b"\r\n \r\n"]
)
def test_what_is_no_http_is_refused_at_its_first_byte(scripted_stream: Scripted, start: bytes) -> None:
    """TLS where a head should be, and the like; nothing more is waited for."""
    found = refused(scripted_stream, start)
    assert (found.status, str(found)) == (400, "this is not HTTP: a request starts with a method")
    assert head_of(scripted_stream, b"!" + HEAD) == (b"!" + HEAD, b"")


@pytest.mark.parametrize("cut", range(1, len(HEAD)))
def test_a_peer_that_finishes_in_the_middle_is_refused(scripted_stream: Scripted, cut: int) -> None:
    """A part of a head is none."""
    found = refused(scripted_stream, HEAD[:cut])
    assert (found.status, str(found)) == (400, "the connection was finished in the middle of a message head")


def test_a_head_may_be_as_long_as_the_limit(scripted_stream: Scripted) -> None:
    """At the limit it is read; one byte more is 431, whole, in pieces, or without an end in sight."""
    for pieces in ([HEAD], [HEAD[:5], HEAD[5:]], [bytes((byte,)) for byte in HEAD]):
        assert head_of(scripted_stream, *pieces, limit=len(HEAD)) == (HEAD, b"")
        assert head_of(scripted_stream, *pieces, b"x" * 9, limit=len(HEAD)) == (HEAD, b"x" * 9)
        assert refused(scripted_stream, *pieces, limit=len(HEAD) - 1).status == 431
    endless = [b"GET / HTTP/1.1\r\nCookie: "] + [SECRET.encode()] * 100
    found = refused(scripted_stream, *endless, limit=100)
    assert (found.status, str(found)) == (431, "the message head is larger than 100 bytes")
    assert refused(scripted_stream, b"".join(endless), limit=100).status == 431


def test_the_limit_counts_the_head_and_not_what_follows(scripted_stream: Scripted) -> None:
    """Empty lines before it and a body glued to it do not make it longer."""
    assert head_of(scripted_stream, b"\r\n" * 50 + HEAD + b"x" * 100, limit=len(HEAD)) == (HEAD, b"x" * 100)


def test_the_streams_own_errors_pass(memory_pair: Callable[[int | None], tuple[Stream, Stream]]) -> None:
    """A connection that breaks is no bad head."""

    async def broken(before: bytes) -> None:
        one, other = memory_pair(None)
        if before:
            other.write(before)
        reading = asyncio.ensure_future(read_head(one))
        await asyncio.sleep(0)
        other.abort()
        with pytest.raises(ConnectionResetError):
            await reading

    run(broken(b""))
    run(broken(HEAD[:5]))


# ------------------------------------------------------------------ reading requests


def request(*lines: bytes, end: bytes = b"\r\n") -> bytes:
    """A request head of these lines."""
    return end.join((*lines, b"", b""))


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_request_head_is_read(end: bytes) -> None:
    """Also with bare line feeds; names keep their case, values lose the blanks around them."""
    raw = request(b"POST /p?q HTTP/1.1", b"hOST:  a.example \t", b"X-\x60: \xe9 b", b"X:", end=end)
    assert parse_request(raw) == RequestHead(
        "POST", "/p?q", "1.1", (("hOST", "a.example"), ("X-`", "\xe9 b"), ("X", ""))
    )


def test_a_folded_field_becomes_one_line() -> None:
    """A line that starts with a blank continues the one before (RFC 9112 section 5.2)."""
    raw = request(b"GET / HTTP/1.1", b"Host: a", b"X: one", b" two", b"\tthree")
    assert parse_request(raw).headers == (("Host", "a"), ("X", "one two three"))


def test_http_1_0_needs_no_host() -> None:
    """An HTTP/1.1 request does."""
    assert parse_request(request(b"GET / HTTP/1.0")) == RequestHead("GET", "/", "1.0", ())
    with pytest.raises(BadHead, match="needs a Host header"):
        parse_request(request(b"GET / HTTP/1.1"))


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_connect_may_leave_out_its_host(version: bytes, end: bytes) -> None:
    """Its target names it; two are too many still."""
    line = b"CONNECT a:443 HTTP/" + version
    assert parse_request(request(line, end=end)) == RequestHead("CONNECT", "a:443", version.decode(), ())
    assert parse_request(request(line, b"X: y", b" Host: z", end=end)).headers == (("X", "y Host: z"),)
    assert parse_request(request(line, b"host: a", end=end)).headers == (("host", "a"),)
    with pytest.raises(BadHead, match="more than one Host header"):
        parse_request(request(line, b"Host: a", b"Host: a", end=end))


def test_a_target_may_hold_bytes_that_should_be_encoded() -> None:
    """As latin-1, for clients that leave them as they are."""
    raw = request(b"GET /caf\xc3\xa9?\xff HTTP/1.1", b"Host: a")
    assert parse_request(raw) == RequestHead("GET", "/caf\xc3\xa9?\xff", "1.1", (("Host", "a"),))


@pytest.mark.parametrize(("version", "accepted"), [(b"1.0", True), (b"1.1", True), (b"2.0", False), (b"0.9", False)])
def test_another_version_is_told_that_it_is_not_spoken(version: bytes, accepted: bool) -> None:
    """505 for a version other than 1."""
    raw = request(b"GET / HTTP/" + version, b"Host: a")
    if accepted:
        assert parse_request(raw).version == version.decode()
    else:
        with pytest.raises(BadHead) as caught:
            parse_request(raw)
        assert caught.value.status == 505


@pytest.mark.parametrize("control", [b"\x01", b"\x1f", b"\x7f"])
def test_a_control_character_in_a_value_is_refused(control: bytes) -> None:
    """Though h11 lets most of them through; a tab is none, and obs-text is not either."""
    with pytest.raises(BadHead, match=r"RFC 9110|not allowed") as caught:
        parse_request(request(LINE, HOST, b"X: " + S + control + b"b"))
    assert caught.value.status == 400
    _tells_nothing(caught.value)
    assert parse_request(request(LINE, HOST, b"X: a\tb\xff")).headers[1] == ("X", "a\tb\xff")


def test_connect_and_upgrade_are_read_like_others() -> None:
    """What they ask for is not decided here."""
    assert parse_request(request(b"CONNECT a:443 HTTP/1.1", b"Host: a:443"))[:3] == ("CONNECT", "a:443", "1.1")
    upgrade = parse_request(request(b"GET / HTTP/1.1", b"Host: a", b"Connection: Upgrade", b"Upgrade: websocket"))
    assert upgrade.headers[1:] == (("Connection", "Upgrade"), ("Upgrade", "websocket"))


S = SECRET.encode()
HOST = b"Host: a"
LINE = b"GET / HTTP/1.1"


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        ((LINE, b"X: " + S), 400, "needs a Host header"),
        ((LINE, HOST, b"Host: " + S), 400, "more than one Host header"),
        ((LINE, HOST, b"Content-Length: 3", b"Content-Length: 4"), 400, "Content-Length headers that differ"),
        ((LINE, HOST, b"Content-Length: 3, 4"), 400, "Content-Length headers that differ"),
        ((LINE, HOST, b"Content-Length: " + S), 400, "a Content-Length that is no number"),
        ((LINE, HOST, b"Content-Length: +3"), 400, "a Content-Length that is no number"),
        ((LINE, HOST, b"Content-Length: "), 400, "a Content-Length that is no number"),
        ((LINE, HOST, b"Content-Length: " + b"9" * 5000), 400, "a Content-Length that is no number"),
        ((LINE, HOST, b"Transfer-Encoding: " + S), 501, "a transfer coding other than chunked"),
        ((LINE, HOST, b"Transfer-Encoding: gzip, chunked"), 501, "a transfer coding other than chunked"),
        (
            (LINE, HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
            501,
            "more than one Transfer-Encoding",
        ),
        ((LINE, HOST, b"X: " + S + b"\x00"), 400, "a header field that is not allowed"),
        ((LINE, HOST, b"X: " + S + b"\x0b"), 400, "a header field that is not allowed"),
        ((LINE, HOST, b"X: " + S + b"\rb"), 400, "a header field that is not allowed"),
        ((LINE, HOST, b"X : " + S), 400, "a header field that is not allowed"),
        ((LINE, HOST, b"Authorization " + S), 400, "a header field that is not allowed"),
        ((LINE, HOST, b"X\xe9: " + S), 400, "a header field that is not allowed"),
        ((LINE, HOST, b": " + S), 400, "a header field that is not allowed"),
        ((LINE, b" X: " + S, HOST), 400, "malformed"),
        ((b"GET /" + S, HOST), 400, "the request line is not"),
        ((b"GET /" + S + b" HTTP/1.1 x", HOST), 400, "the request line is not"),
        ((b"GET  /" + S + b" HTTP/1.1", HOST), 400, "the request line is not"),
        ((b"GET /" + S + b"\x7f HTTP/1.1", HOST), 400, "the request line is not"),
        ((b"GET /\xe9" + S + b"\x7f HTTP/1.1", HOST), 400, "the request line is not"),
        ((b"G@T /" + S + b" HTTP/1.1", HOST), 400, "the request line is not"),
        ((b"HTTP/1.1 200 " + S,), 400, "the request line is not"),
        ((b"",), 400, "the request line is not"),
    ],
)
def test_a_bad_request_head_is_refused_without_its_values(lines: tuple[bytes, ...], status: int, words: str) -> None:
    """With the status to answer, the section that was broken, and nothing that the client sent."""
    with pytest.raises(BadHead) as caught:
        parse_request(request(*lines))
    assert caught.value.status == status
    assert words in str(caught.value) and ("RFC 9112" in str(caught.value) or status == 501)
    _tells_nothing(caught.value)


def _tells_nothing(error: BaseException) -> None:
    """Neither an error nor what it came from, as a traceback would show it, holds the secret."""
    seen: BaseException | None = error
    while seen is not None:
        assert SECRET not in str(seen) and SECRET not in repr(seen)
        seen = None if seen.__suppress_context__ else seen.__cause__ or seen.__context__


@pytest.mark.parametrize("parse", [parse_request, parse_response])
@pytest.mark.parametrize("raw", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 200 OK\r\n", b"\x16\x03\x01"])
def test_half_a_head_is_refused(parse: Callable[[bytes], object], raw: bytes) -> None:
    """Nothing is waited for here."""
    with pytest.raises(BadHead, match="RFC 9112") as caught:
        parse(raw)
    assert caught.value.status == 400


# ------------------------------------------------------------------ reading responses


@pytest.mark.parametrize("status", [100, 101, 103, 200, 204, 301, 304, 407, 500, 999])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_response_head_is_read(status: int, end: bytes) -> None:
    """Interim answers, switched protocols and final ones, whatever was asked."""
    raw = request(b"HTTP/1.1 %d Fi\xe9ne" % status, b"X: \xe9", b"x: b", end=end)
    assert parse_response(raw) == ResponseHead(status, "Fi\xe9ne", "1.1", (("X", "\xe9"), ("x", "b")))


def test_old_and_terse_servers_are_understood() -> None:
    """HTTP/1.0, and a status line without a reason."""
    assert parse_response(request(b"HTTP/1.0 200 OK", b"X: a")) == ResponseHead(200, "OK", "1.0", (("X", "a"),))
    assert parse_response(request(b"HTTP/1.0 200")) == ResponseHead(200, "", "1.0", ())
    assert parse_response(request(b"HTTP/1.1 200")) == ResponseHead(200, "", "1.1", ())


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((b"HTTP/1.1 2000 " + S,), "the status line is not"),
        ((b"HTTP/1.1 20 " + S,), "the status line is not"),
        ((b"HTTP/1.1 200 " + S + b"\x00",), "the status line is not"),
        ((b"GET /" + S + b" HTTP/1.1", HOST), "the status line is not"),
        ((b"HTTP/1.1 099 " + S,), "malformed"),
        ((b"HTTP/1.1 200 OK", b"X: " + S + b"\x00"), "a header field that is not allowed"),
        ((b"HTTP/1.1 200 OK", b"Content-Length: " + S), "a Content-Length that is no number"),
        ((b"HTTP/1.1 200 OK", b"Content-Length: " + b"9" * 5000), "a Content-Length that is no number"),
        ((b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Content-Length: 4"), "Content-Length headers that differ"),
        ((b"HTTP/1.1 200 OK", b"Transfer-Encoding: " + S), "a transfer coding other than chunked"),
    ],
)
def test_a_bad_response_head_is_refused_without_its_values(lines: tuple[bytes, ...], words: str) -> None:
    """An upstream's secrets do not get into messages either."""
    with pytest.raises(BadHead, match=words) as caught:
        parse_response(request(*lines))
    _tells_nothing(caught.value)


# ------------------------------------------------------------------ writing


def test_a_request_is_written_as_it_was_read() -> None:
    """In HTTP/1.1, with its fields in order."""
    head = RequestHead("GET", "/p?q", "1.0", (("Host", "a"), ("x", "\xe9"), ("X", "")))
    raw = request_bytes(head)
    assert raw == b"GET /p?q HTTP/1.1\r\nHost: a\r\nx: \xe9\r\nX: \r\n\r\n"
    assert parse_request(raw) == head._replace(version="1.1")


def test_a_response_is_written_as_it_was_read() -> None:
    """In HTTP/1.1, with its fields in order; the reason may be empty."""
    raw = response_bytes(200, "All \xe9", (("x", "\xe9"), ("X", "")))
    assert raw == b"HTTP/1.1 200 All \xe9\r\nx: \xe9\r\nX: \r\n\r\n"
    assert parse_response(raw) == ResponseHead(200, "All \xe9", "1.1", (("x", "\xe9"), ("X", "")))
    assert parse_response(response_bytes(200, "", ())) == ResponseHead(200, "", "1.1", ())
