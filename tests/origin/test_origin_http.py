"""HTTP at the stub: the echo, prepared answers, framing in every shape, and connections that go on or end."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

import pytest

from pytest_gatekeeper.origin import Origin
from tests.origin.conftest import TIMEOUT

Dial = Callable[[Origin], socket.socket]
Ask = Callable[..., HTTPResponse]
ReadAll = Callable[[socket.socket], bytes]

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def echoed(response: HTTPResponse) -> Any:
    assert (response.status, response.getheader("Content-Type")) == (200, "application/json")
    return json.loads(response.read())


# ---- the echo


def test_a_request_comes_back_as_json(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Method, target, header fields in order and case, and the body."""
    head = b"POST /a/b?c=d%20e HTTP/1.1\r\nhOST: a.example:81\r\nX-Two: 1\r\nx-two:  2 \r\ncontent-length: 3\r\n\r\n"
    assert echoed(ask(dial(origin), head + b"\xc3\xa9!")) == {
        "method": "POST",
        "target": "/a/b?c=d%20e",
        "headers": [["hOST", "a.example:81"], ["X-Two", "1"], ["x-two", "2"], ["content-length", "3"]],
        "body": "é!",
        "body_encoding": "utf-8",
        "body_size": 3,
        "body_truncated": False,
    }


def test_what_is_no_text_comes_back_in_base64(origin: Origin, dial: Dial, ask: Ask) -> None:
    """`body_encoding` says so."""
    echo = echoed(ask(dial(origin), b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n\xff\xfe"))
    assert (base64.b64decode(echo["body"]), echo["body_encoding"]) == (b"\xff\xfe", "base64")


def test_a_request_is_received_before_it_is_answered(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Whoever has the answer finds the request, complete."""
    ask(dial(origin), b"POST /p?token=x HTTP/1.1\r\nHost: A.example\r\nX-Key: s3cret\r\nContent-Length: 2\r\n\r\nhi")
    (request,) = origin.received
    assert (request.method, request.target, request.path, request.version) == ("POST", "/p?token=x", "/p", "1.1")
    assert (request.host, request.body, request.complete, request.body_truncated) == ("A.example", b"hi", True, False)
    assert (request.tls, request.sni, request.upgrade) == (False, None, False)
    assert request.headers[1] == ("X-Key", "s3cret")
    assert (request.header("x-KEY"), request.header("missing")) == ("s3cret", None)
    assert repr(request) == "<Received POST A.example/p>"


def test_a_target_in_absolute_form_has_a_path(origin: Origin, dial: Dial, ask: Ask) -> None:
    """RFC 9112 section 3.2.2; the target stays as it was sent."""
    sock = dial(origin)
    echoed(ask(sock, b"GET http://a.example:80/x/y?z HTTP/1.1\r\nHost: a.example:80\r\n\r\n"))
    echoed(ask(sock, b"GET /x?u=http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert [(request.target, request.path) for request in origin.received] == [
        ("http://a.example:80/x/y?z", "/x/y"),
        ("/x?u=http://b/", "/x"),
    ]


def test_a_host_that_cannot_be_read_is_nobody(origin: Origin, dial: Dial, ask: Ask) -> None:
    """It is still in the header fields."""
    ask(dial(origin), b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
    assert (origin.received[0].host, origin.received[0].header("host")) == ("", "a b")


def test_a_body_is_kept_up_to_one_mebibyte(origin: Origin, dial: Dial, ask: Ask) -> None:
    """The rest is counted and discarded, and the echo says so."""
    body = b"x" * (3 * 1024 * 1024)
    echo = echoed(ask(dial(origin), b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)))
    assert (len(echo["body"]), echo["body_size"], echo["body_truncated"]) == (1024 * 1024, len(body), True)
    assert (origin.received[0].body_truncated, origin.received[0].body_size) == (True, len(body))


def test_http_client_over_tls(origin: Origin, trusting: ssl.SSLContext) -> None:
    """A usual client, twice on one connection."""
    client = http.client.HTTPSConnection(origin.host, origin.port, context=trusting, timeout=10)
    for number in range(2):
        client.request("POST", f"/{number}", body=b"hey", headers={"X-N": str(number)})
        assert echoed(client.getresponse())["target"] == f"/{number}"
    client.close()
    assert [(request.tls, request.sni) for request in origin.received] == [(True, None)] * 2


# ---- requests in every shape


def test_head_gets_the_head_alone(origin: Origin, dial: Dial, ask: Ask, read_all: ReadAll) -> None:
    """The length is the GET's; the connection goes on."""
    sock = dial(origin)
    response = ask(sock, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", method="HEAD")
    assert int(response.getheader("Content-Length") or 0) > 100
    assert echoed(ask(sock, GET))["method"] == "GET"
    sock.shutdown(socket.SHUT_WR)
    assert read_all(sock) == b""


def test_pipelined_requests_are_answered_in_order(origin: Origin, dial: Dial, read_all: ReadAll) -> None:
    """Three requests in one segment, the second with a body, the last one closing."""
    sock = dial(origin)
    sock.sendall(
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
        b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    answers = read_all(sock)
    places = [answers.index(b'"target": "/%d"' % number) for number in (1, 2, 3)]
    assert places == sorted(places)
    assert answers.count(b"Connection: close") == 1
    assert [request.body for request in origin.received] == [b"", b"hi", b""]


def test_a_chunked_body_byte_by_byte_with_extension_and_trailers(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Only data is body, however it is cut."""
    sock = dial(origin)
    request = (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n"
    )
    for at in range(len(request)):
        sock.sendall(request[at : at + 1])
    assert echoed(ask(sock, b""))["body"] == "abcde"
    assert echoed(ask(sock, GET))["body"] == ""


def test_100_continue_comes_before_the_body(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Who expects it gets it at once."""
    sock = dial(origin)
    sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert echoed(ask(sock, b"hi"))["body"] == "hi"


@pytest.mark.parametrize("fields", [b"Content-Length: 2\r\n\r\nhi", b"Expect: 100-continue\r\n\r\n"])
def test_no_100_continue_without_an_expectation_or_a_body(
    origin: Origin, dial: Dial, fields: bytes, read_all: ReadAll
) -> None:
    """The answer is the first thing that comes."""
    sock = dial(origin)
    sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields)
    assert read_all(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_http_1_0_is_answered_and_closed(origin: Origin, dial: Dial, read_all: ReadAll) -> None:
    """Without a Host too."""
    sock = dial(origin)
    sock.sendall(b"GET /old HTTP/1.0\r\n\r\n")
    answer = read_all(sock)
    assert b"Connection: close\r\n" in answer
    assert b'"target": "/old"' in answer
    assert origin.received[0].version == "1.0"


def test_connect_is_not_for_an_upstream(origin: Origin, dial: Dial, ask: Ask) -> None:
    """It gets 405 and the connection ends."""
    response = ask(dial(origin), b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
    assert (response.status, response.getheader("Connection")) == (405, "close")
    assert b"no tunnels" in response.read()


@pytest.mark.parametrize(
    ("request_bytes", "status", "word"),
    [
        (b"\x01\x02\x03\x04\r\n\r\n", 400, "not HTTP"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "transfer coding"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "size"),
    ],
)
def test_what_is_broken_is_refused_and_noted(
    origin: Origin, dial: Dial, ask: Ask, read_all: ReadAll, request_bytes: bytes, status: int, word: str
) -> None:
    """An answer that says why, a closed connection, and a line in `errors`."""
    sock = dial(origin)
    response = ask(sock, request_bytes)
    assert (response.status, response.getheader("Connection")) == (status, "close")
    assert word in response.read().decode()
    assert read_all(sock) == b""
    assert word in origin.errors[0]


def test_a_head_over_the_limit_is_431(origin: Origin, dial: Dial, ask: Ask) -> None:
    """One mebibyte is read at most."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"s3cret" * 200_000
    assert ask(dial(origin), request).status == 431
    assert "s3cret" not in "".join(origin.errors)


def test_a_body_that_stops_short_is_noted(origin: Origin, dial: Dial) -> None:
    """The request is there, and is not complete."""
    sock = dial(origin)
    sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhi")
    sock.shutdown(socket.SHUT_WR)
    assert "in the middle of a request's body" in origin.wait_for(lambda o: o.errors)[0]
    assert (origin.received[0].body, origin.received[0].complete) == (b"hi", False)


# ---- prepared answers


def test_a_prepared_answer_is_sent_as_prepared(origin: Origin, dial: Dial, read_all: ReadAll) -> None:
    """Status, fields in order and case, length and body."""
    origin.respond(status=418, headers=[("x-B", "1"), ("Connection", "close")], body=b"tea")
    sock = dial(origin)
    sock.sendall(GET)
    expected = b"HTTP/1.1 418 I'm a Teapot\r\nx-B: 1\r\nConnection: close\r\nContent-Length: 3\r\n\r\ntea"
    assert read_all(sock).replace(b"I'm a teapot", b"I'm a Teapot") == expected


def test_answers_are_found_by_host_path_and_method(origin: Origin, dial: Dial, ask: Ask) -> None:
    """All three, with the port and the query left out; the rest is echoed."""
    origin.respond(host="*.example", path="/v1/*", method="DELETE", status=204)
    sock = dial(origin)
    for line, host, status in (
        (b"DELETE /v1/x?q", b"a.example:444", 204),
        (b"GET /v1/x", b"a.example", 200),
        (b"DELETE /v2/x", b"a.example", 200),
        (b"DELETE /v1/x", b"example", 200),
    ):
        response = ask(sock, b"%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (line, host))
        response.read()
        assert response.status == status


def test_an_answer_for_some_times_gives_way(origin: Origin, dial: Dial, ask: Ask) -> None:
    """`times` requests get it, `clear` ends the rest."""
    origin.respond(body="always")
    origin.respond(status=503, times=1)
    sock = dial(origin)
    assert [ask(sock, GET).read() for _ in range(3)] == [b"", b"always", b"always"]
    origin.clear()
    assert echoed(ask(sock, GET))["method"] == "GET"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_none(origin: Origin, dial: Dial, ask: Ask, status: int) -> None:
    """RFC 9110 section 6.4.1: neither body nor length, and the connection goes on."""
    origin.respond(status=status, body=b"never", times=1)
    origin.respond(path="/2", status=status, chunks=[b"never"])
    sock = dial(origin)
    for path in (b"/1", b"/2"):
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += sock.recv(1000)
        assert data.startswith(b"HTTP/1.1 %d " % status)
        assert b"Content-Length" not in data
    assert echoed(ask(sock, GET))["method"] == "GET"


def test_a_delay_is_waited_for(origin: Origin, dial: Dial, ask: Ask) -> None:
    """The request is there meanwhile; the answer comes after the time."""
    origin.respond(delay=0.05, body="late")
    started = time.monotonic()
    assert ask(dial(origin), GET).read() == b"late"
    assert time.monotonic() - started >= 0.05


def test_a_delay_beyond_the_idle_limit_is_refused() -> None:
    """The connection would be cut before it."""
    origin = Origin(idle_limit=2)
    with pytest.raises(ValueError, match="idle limit, which is 2 s"):
        origin.respond(delay=2)
    origin.respond(delay=1.9)


def test_a_body_larger_than_a_slice_arrives_whole(origin: Origin, dial: Dial, ask: Ask) -> None:
    """In several writes, with its length."""
    body = bytes(range(256)) * 2000
    origin.respond(body=body)
    sock = dial(origin)
    for _ in range(2):
        response = ask(sock, GET)
        assert (response.getheader("Content-Length"), response.read() == body) == (str(len(body)), True)


# ---- streamed bodies


def test_chunks_are_sent_as_they_are_cut(origin: Origin, dial: Dial, read_all: ReadAll) -> None:
    """Each piece is one chunk; an empty one is none, since it would end the body."""
    origin.respond(chunks=["a", b"", b"bc"])
    sock = dial(origin)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answers = read_all(sock).split(b"HTTP/1.1 200 OK\r\n")[1:]
    body = b"\r\n\r\n" + chunk(b"a") + chunk(b"bc") + chunk(b"")
    assert [answer.endswith(body) for answer in answers] == [True, True]
    assert b"Transfer-Encoding: chunked\r\n" in answers[0]


def test_http_1_0_gets_chunks_without_their_framing(origin: Origin, dial: Dial, read_all: ReadAll) -> None:
    """It knows no chunks, so the end of the connection ends the body."""
    origin.respond(chunks=["a", "bc"])
    sock = dial(origin)
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert read_all(sock) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"


def test_an_event_holds_back_what_follows(origin: Origin, dial: Dial, ask: Ask) -> None:
    """The first server-sent event is there while the second has not been sent; one prepared list serves twice."""
    go = threading.Event()
    origin.respond(headers={"Content-Type": "text/event-stream"}, chunks=["data: 1\n\n", go, "data: 2\n\n"])
    sock = dial(origin)
    first = ask(sock, GET)
    assert first.read(9) == b"data: 1\n\n"
    assert not go.is_set()
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(TIMEOUT)
    go.set()
    second = ask(dial(origin), GET)
    assert second.read() == b"data: 1\n\ndata: 2\n\n"


def test_a_generator_may_block_and_the_stub_goes_on(origin: Origin, dial: Dial, ask: Ask) -> None:
    """It runs on a thread of its own: others are served meanwhile, and its pieces are made one at a time."""
    asked: list[int] = []
    go = threading.Event()

    def events() -> Iterator[bytes]:
        for number in (1, 2):
            asked.append(number)
            yield b"%d" % number
            assert go.wait(10)

    origin.respond(path="/events", chunks=events())
    response = ask(dial(origin), b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.read(1) == b"1"
    assert echoed(ask(dial(origin), GET))["method"] == "GET"
    assert asked == [1]
    go.set()
    assert response.read() == b"2"


def test_an_iterator_serves_one_request_and_a_callable_all(origin: Origin, dial: Dial, ask: Ask) -> None:
    """After its one request the iterator's answer is gone; the callable is called anew."""
    origin.respond(body=lambda: ["call", "ed"])
    origin.respond(body=iter(["once"]))
    sock = dial(origin)
    assert [ask(sock, GET).read() for _ in range(3)] == [b"once", b"called", b"called"]


def test_a_streamed_body_with_a_length_has_no_chunks(origin: Origin, dial: Dial, ask: Ask) -> None:
    """The Content-Length that is given is sent, and the connection goes on where it was right."""
    origin.respond(headers={"Content-Length": "4"}, body=lambda: iter([b"ab", b"cd"]))
    sock = dial(origin)
    for _ in range(2):
        response = ask(sock, GET)
        assert (response.getheader("Transfer-Encoding"), response.read()) == (None, b"abcd")


def test_a_length_that_was_wrong_ends_the_connection(origin: Origin, dial: Dial, ask: Ask) -> None:
    """The client can see that its body is short."""
    origin.respond(headers={"Content-Length": "5"}, body=lambda: iter([b"ab"]))
    response = ask(dial(origin), GET)
    with pytest.raises(http.client.IncompleteRead):
        response.read()


def test_a_streamed_body_can_end_with_its_connection(origin: Origin, dial: Dial, read_all: ReadAll) -> None:
    """With `Connection: close` and no length (RFC 9112 section 6.3, rule 8)."""
    origin.respond(headers={"Connection": "close"}, body=lambda: iter([b"ab", b"cd"]))
    sock = dial(origin)
    sock.sendall(GET)
    assert read_all(sock) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcd"


def test_head_does_not_touch_the_pieces(origin: Origin, dial: Dial, ask: Ask) -> None:
    """The head is that of the GET."""
    calls: list[int] = []
    origin.respond(chunks=lambda: calls.append(1) or [])  # type: ignore[func-returns-value]
    response = ask(dial(origin), b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", method="HEAD")
    assert response.getheader("Transfer-Encoding") == "chunked"
    assert calls == []


def broken() -> Iterator[Any]:
    yield b"first"
    raise RuntimeError("s3cret")


def stopping() -> list[bytes]:
    raise StopIteration("s3cret")


def wrong() -> Iterator[Any]:
    yield b"first"
    yield 3


@pytest.mark.parametrize(
    ("source", "kind"), [(broken, "RuntimeError"), (stopping, "RuntimeError"), (wrong, "TypeError")]
)
def test_a_body_that_cannot_be_made_cuts_the_connection(
    origin: Origin, dial: Dial, ask: Ask, source: Callable[[], Any], kind: str
) -> None:
    """The client does not take it for whole; what failed is noted by kind and place, never by its text."""
    origin.respond(chunks=source)
    response = ask(dial(origin), GET)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    (error,) = origin.wait_for(lambda o: o.errors)
    assert kind in error
    assert "s3cret" not in error


def test_a_body_nobody_takes_is_not_made(origin: Origin, dial: Dial, ask: Ask) -> None:
    """Pieces are made while they are taken: a client that leaves ends the generator."""
    made: list[int] = []
    ended = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                made.append(1)
                yield bytes(1024 * 1024)
        finally:
            ended.set()
            raise RuntimeError("nobody hears this")

    origin.respond(chunks=endless())
    sock = dial(origin)
    response = ask(sock, GET)
    assert len(response.read(100)) == 100
    response.close()
    sock.close()
    assert ended.wait(10)
    assert len(made) < 100


# ---- uploads


def test_a_sink_counts_and_hashes_and_keeps_nothing(origin: Origin, trusting: ssl.SSLContext) -> None:
    """32 MiB in chunks over TLS."""
    block = bytes(range(256)) * 256
    origin.sink(path="/up", method="POST", status=201, headers={"X-Sink": "1"})
    client = http.client.HTTPSConnection(origin.host, origin.port, context=trusting, timeout=30)
    client.request("POST", "/up", body=(block for _ in range(512)), encode_chunked=True)
    response = client.getresponse()
    taken = json.loads(response.read())
    client.close()
    assert (response.status, response.getheader("X-Sink")) == (201, "1")
    assert taken == {"size": 32 * 1024 * 1024, "sha256": hashlib.sha256(block * 512).hexdigest()}
    (request,) = origin.received
    assert (request.body, request.body_size, request.body_truncated) == (b"", 32 * 1024 * 1024, True)
