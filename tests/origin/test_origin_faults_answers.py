"""Faults of answers: resets, silence, dribbling, answers that end too soon or come too early, TLS that just stops."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, IncompleteRead
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import pytest

from pytest_gatekeeper.origin import Applied, Origin
from tests.conftest import Clock
from tests.origin.conftest import TIMEOUT, at_rest, end_of

Dial = Callable[[Origin], socket.socket]
Ask = Callable[..., HTTPResponse]
Open = Callable[[Origin], socket.socket]
ReadAll = Callable[[socket.socket], bytes]

GET = b"GET /v1/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
OTHER = b"GET /other HTTP/1.1\r\nHost: a.example\r\n\r\n"
BODY = b"0123456789" * 100


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


@pytest.fixture
def open_(dial: Dial, dial_tls: Dial, tls: bool) -> Dial:
    """Open a connection, plain or TLS."""
    return dial_tls if tls else dial


@pytest.fixture
def client(origin: Origin, trusting: ssl.SSLContext, tls: bool) -> Iterator[HTTPConnection]:
    """A usual client of the stub."""
    with contextlib.closing(
        HTTPSConnection(origin.host, origin.port, timeout=TIMEOUT, context=trusting)
        if tls
        else HTTPConnection(origin.host, origin.port, timeout=TIMEOUT)
    ) as client:
        yield client


def body_of(data: bytes) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return body


# ---- reset


def test_a_reset_comes_behind_the_head_of_the_request(origin: Origin, open_: Open, ask: Ask) -> None:
    """Its body is not waited for; other paths are answered on a connection that goes on."""
    origin.faults.reset(path="/v1/*")
    hit, other = open_(origin), open_(origin)
    for _ in range(2):
        ask(other, OTHER).read()
    hit.sendall(b"POST /v1/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\n")
    assert end_of(hit) == (b"", "reset")
    assert origin.faults.applied == (Applied("reset", "a.example", "/v1/x"),)
    assert [request.complete for request in origin.received] == [True, True, False]
    assert origin.errors == ()


@pytest.mark.parametrize("after", [0, 1, 500, 1000, 5000])
def test_a_reset_comes_after_so_many_bytes_of_a_body(origin: Origin, open_: Open, after: int) -> None:
    """At the end of the answer where that is shorter."""
    origin.respond(body=BODY)
    origin.faults.reset(after=after)
    sock = open_(origin)
    sock.sendall(GET)
    data, how = end_of(sock)
    assert (body_of(data), how) == (BODY[:after], "reset")
    assert origin.errors == ()


def test_a_reset_client_can_try_again(origin: Origin, client: HTTPConnection) -> None:
    """http.client says ConnectionResetError, then gets its answer."""
    origin.faults.reset(times=1)
    client.request("GET", "/")
    with pytest.raises(ConnectionResetError):
        client.getresponse()
    client.close()
    client.request("GET", "/")
    assert client.getresponse().status == 200


# ---- stall


@pytest.mark.parametrize("after", [None, 0, 7])
def test_a_stalled_answer_never_comes(origin: Origin, open_: Open, ask: Ask, after: int | None) -> None:
    """Nothing of it, or no more than its first bytes; the request is received to its end, others are answered."""
    origin.respond(path="/v1/*", body=BODY)
    origin.faults.stall(path="/v1/*", after=after)
    sock = open_(origin)
    sock.sendall(b"POST /v1/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nab")
    if after is not None:
        data = b""
        while len(data) < len(data.partition(b"\r\n\r\n")[0]) + 4 + after:
            data += sock.recv(65536)
        assert body_of(data) == BODY[:after]
    assert origin.wait_for(lambda o: o.received and o.received[0].complete)
    assert ask(open_(origin), OTHER).status == 200
    sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    assert origin.received[0].body == b"ab"
    assert origin.errors == ()


def test_a_client_times_out_and_tries_again(origin: Origin, client: HTTPConnection) -> None:
    """The stub makes no fuss of the connection that was given up."""
    origin.faults.stall(times=1)
    client.connect()
    client.sock.settimeout(0.1)
    client.request("GET", "/")
    with pytest.raises(TimeoutError):
        client.getresponse()
    origin.wait_for(lambda o: o.faults.applied)
    client.close()
    client.request("GET", "/")
    assert client.getresponse().status == 200
    assert origin.errors == ()


def test_a_stall_ends_with_the_idle_limit(clock: Clock, dial: Dial) -> None:
    """And the journal names that."""
    with Origin(idle_limit=60) as origin:
        origin.faults.stall()
        sock = dial(origin)
        sock.sendall(GET)
        origin.wait_for(lambda o: o.faults.applied)
        clock.forward(60)
        assert end_of(sock)[0] == b""
        assert origin.errors == ("a connection was cut after 60 s without a byte",)


def test_a_stall_does_not_hold_up_the_end(dial: Dial) -> None:
    """Neither does an answer that dribbles."""
    with Origin() as origin:
        origin.faults.stall(path="/v1/*")
        origin.faults.slow(path="/other", delay=30)
        stalled, slow = dial(origin), dial(origin)
        stalled.sendall(GET)
        slow.sendall(OTHER)
        origin.wait_for(lambda o: len(o.faults.applied) == 2)
        origin.close()
        assert at_rest(origin)
        assert end_of(stalled)[0] == b""
        assert end_of(slow)[0] in (b"", b"HTTP/1.1 200 OK\r")
    assert origin.errors == ()


# ---- slow


def test_a_slow_answer_comes_in_pieces(origin: Origin, open_: Open) -> None:
    """Head and body, with a delay between any two pieces; the connection goes on, and the next answer is the same."""
    origin.respond(path="/v1/*", body=b"x" * 40)
    origin.faults.slow(path="/v1/*", size=10, delay=0.01, times=1)
    sock = open_(origin)

    def answer() -> bytes:
        sock.sendall(GET)
        data = b""
        while not data.endswith(b"x" * 40):
            data += sock.recv(65536)
        return data

    started = time.monotonic()
    slow = answer()
    assert time.monotonic() - started >= 0.01 * (len(slow) // 10 - 1)
    assert answer() == slow
    assert origin.faults.applied == (Applied("slow", "a.example", "/v1/x"),)
    assert origin.errors == ()


def test_the_pieces_of_a_slow_answer_are_records_of_their_own(
    origin: Origin, dial: Dial, trusting: ssl.SSLContext
) -> None:
    """So a client reads no more than one of them at a time, whatever its buffer."""
    origin.faults.slow(size=10, delay=0.001)
    with trusting.wrap_socket(dial(origin), server_hostname="a.example") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        sizes = []
        while part := sock.recv(65536):
            sizes.append(len(part))
    assert set(sizes[:-1]) == {10}
    assert 0 < sizes[-1] <= 10


def test_a_usual_client_gets_a_slow_answer_whole(origin: Origin, client: HTTPConnection) -> None:
    """In chunks, too."""
    origin.respond(chunks=["one", "two"])
    origin.faults.slow(size=3, delay=0.001)
    client.request("GET", "/")
    assert client.getresponse().read() == b"onetwo"


# ---- truncate


@pytest.mark.parametrize(("after", "length"), [(None, 500), (0, 0), (1, 1), (999, 999)])
def test_a_body_ends_before_its_length(origin: Origin, open_: Open, after: int | None, length: int) -> None:
    """In good order: FIN, and close_notify in TLS."""
    origin.respond(path="/v1/*", body=BODY)
    origin.faults.truncate(path="/v1/*", after=after)
    sock = open_(origin)
    sock.sendall(GET)
    data, how = end_of(sock)
    assert b"Content-Length: 1000\r\n" in data
    assert (body_of(data), how) == (BODY[:length], "clean")
    assert origin.errors == ()


@pytest.mark.parametrize(
    ("after", "sent"),
    [(None, b"8\r\nabc"), (3, b"8\r\n"), (13, b"8\r\nabcdefgh\r\n"), (18, b"8\r\nabcdefgh\r\n3\r\nij")],
)
def test_a_chunk_ends_before_its_size(origin: Origin, open_: Open, after: int | None, sent: bytes) -> None:
    """Framing counts; without `after` the first chunk is cut in its middle."""
    origin.respond(chunks=["abcdefgh", "ijk"])
    origin.faults.truncate(after=after)
    sock = open_(origin)
    sock.sendall(GET)
    data, how = end_of(sock)
    assert (body_of(data), how) == (sent, "clean")
    assert origin.errors == ()


def test_a_large_body_is_cut_in_its_first_part(origin: Origin, open_: Open) -> None:
    """Or far behind it."""
    whole = bytes(1_000_000)
    for after, length in ((None, 32 * 1024), (999_999, 999_999)):
        origin.respond(body=whole)
        origin.faults.truncate(after=after)
        sock = open_(origin)
        sock.sendall(GET)
        data, how = end_of(sock)
        assert (len(body_of(data)), how) == (length, "clean")


@pytest.mark.parametrize("chunked", [False, True])
def test_usual_clients_see_that_an_answer_is_incomplete(origin: Origin, client: HTTPConnection, chunked: bool) -> None:
    """And get it whole the next time."""
    if chunked:
        origin.respond(chunks=[b"abc", b"def"])
    else:
        origin.respond(body=b"abcdef")
    origin.faults.truncate(times=1)
    client.request("GET", "/")
    with pytest.raises(IncompleteRead):
        client.getresponse().read()
    client.close()
    client.request("GET", "/")
    assert client.getresponse().read() == b"abcdef"


def test_an_answer_that_cannot_be_cut_goes_out_whole(origin: Origin, open_: Open, ask: Ask) -> None:
    """The connection ends, and the errors say that the fault came to nothing."""
    origin.respond(body=BODY)
    origin.faults.truncate(after=1001)
    sock = open_(origin)
    sock.sendall(GET)
    data, how = end_of(sock)
    assert (body_of(data), how) == (BODY, "clean")
    head = open_(origin)
    head.sendall(GET.replace(b"GET", b"HEAD"))
    assert end_of(head)[0].endswith(b"Content-Length: 1000\r\n\r\n")
    assert origin.errors == ("a truncate fault had nothing to cut: the answer was no longer than that",) * 2


# ---- early


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_an_early_answer_does_not_wait_for_the_body(origin: Origin, open_: Open, expect: bytes) -> None:
    """It is the one that was prepared; the connection ends when the client has finished. Nothing is interim."""
    origin.respond(path="/v1/*", status=413)
    origin.faults.early(path="/v1/*")
    sock = open_(origin)
    sock.sendall(b"POST /v1/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n%b\r\n" % expect)
    data, how = end_of(sock)
    assert data.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in data
    assert how == "clean"
    sock.sendall(b"later")
    assert (origin.received[0].complete, origin.errors) == (False, ())


def test_an_early_echo_has_no_body_in_it(origin: Origin, client: HTTPConnection) -> None:
    """Other paths are read to their end first."""
    origin.faults.early(path="/v1/*")
    for path, body in (("/v1/x", ""), ("/other", "abc")):
        client.request("POST", path, b"abc")
        assert json.loads(client.getresponse().read())["body"] == body
    assert [request.complete for request in origin.received] == [False, True]


def test_an_early_answer_to_a_sink_has_counted_nothing(origin: Origin, client: HTTPConnection) -> None:
    """The sink is there, the body is not."""
    origin.sink()
    origin.faults.early(times=1)
    for size in (0, 3):
        client.request("POST", "/", b"abc")
        assert json.loads(client.getresponse().read())["size"] == size


def test_a_client_that_is_still_sending_gets_the_early_answer(origin: Origin, open_: Open) -> None:
    """What it sends is read and thrown away, so that nothing is reset."""
    origin.faults.early()
    sock = open_(origin)
    sock.sendall(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 8000000\r\n\r\n")
    origin.wait_for(lambda o: o.received)
    for _ in range(8):
        sock.sendall(bytes(1_000_000))
    data, _ = end_of(sock)
    assert json.loads(body_of(data))["body_size"] == 0
    assert origin.errors == ()


# ---- ragged


@pytest.mark.parametrize("after", [None, 0, 500])
def test_a_ragged_end_has_no_close_notify(
    origin: Origin, dial: Dial, trusting: ssl.SSLContext, after: int | None
) -> None:
    """Behind the whole answer, or in it; an ordinary end has one."""
    origin.respond(headers={"Connection": "close"}, body=BODY)
    origin.faults.ragged(path="/v1/*", after=after)
    for request, length, how in ((GET, len(BODY) if after is None else after, "ragged"), (OTHER, len(BODY), "clean")):
        with trusting.wrap_socket(dial(origin), server_hostname="a.example", suppress_ragged_eofs=False) as sock:
            sock.sendall(request)
            data, ended = end_of(sock)
            assert (body_of(data), ended) == (BODY[:length], how)
    assert origin.faults.applied == (Applied("ragged", "a.example", "/v1/x"),)
    assert origin.errors == ()


def test_a_ragged_end_is_announced(origin: Origin, trusting: ssl.SSLContext) -> None:
    """`Connection: close` makes clients that keep connections come back on a new one."""
    origin.faults.ragged(times=1)
    with contextlib.closing(HTTPSConnection(origin.host, origin.port, timeout=TIMEOUT, context=trusting)) as client:
        for closing in ("close", None):
            client.request("GET", "/")
            answer = client.getresponse()
            answer.read()
            assert answer.getheader("Connection") == closing


def test_plain_connections_cannot_be_ragged(origin: Origin, dial: Dial, ask: Ask) -> None:
    """They go on as ever."""
    origin.faults.ragged()
    sock = dial(origin)
    for _ in range(2):
        assert ask(sock, GET).read()
    assert origin.faults.applied == ()


# ---- streams, records, urllib


@pytest.mark.parametrize(("name", "how"), [("reset", "reset"), ("truncate", "clean")])
def test_a_streamed_answer_is_cut_where_its_source_waits(origin: Origin, open_: Open, name: str, how: str) -> None:
    """The bytes that were asked for are there, so nobody waits for more; its source is let go."""
    closed = threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            yield b"data: 1\n\n"
            yield b"data: 2\n\n"
        finally:
            closed.set()

    origin.respond(body=pieces, headers={"Connection": "close"})
    getattr(origin.faults, name)(after=9)
    sock = open_(origin)
    sock.sendall(GET)
    data, ended = end_of(sock)
    assert (body_of(data), ended) == (b"data: 1\n\n", how)
    sock.close()
    assert closed.wait(TIMEOUT)


def test_raw_streams_show_what_was_sent(dial: Dial, read_all: ReadAll) -> None:
    """Not what would have been without the fault."""
    with Origin(record_raw=True) as origin:
        origin.respond(body=BODY)
        origin.faults.truncate(after=4)
        sock = dial(origin)
        sock.sendall(GET)
        data = read_all(sock)
        assert body_of(data) == b"0123"
        assert origin.streams[0].sent == data


def test_urllib_meets_faults(origin: Origin, trusting: ssl.SSLContext) -> None:
    """Each in its own words, and the next request is answered."""
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trusting))
    origin.respond(body=BODY)
    origin.faults.reset(times=1)
    with pytest.raises((ConnectionResetError, urllib.error.URLError)):
        opener.open(origin.url, timeout=TIMEOUT)
    origin.faults.stall()
    while origin.faults.applied[-1].fault != "stall":  # it may give up before it has asked
        with pytest.raises((TimeoutError, urllib.error.URLError), match="timed out"):
            opener.open(origin.url, timeout=0.1)
    origin.faults.clear()
    origin.faults.truncate(times=1)
    with pytest.raises(IncompleteRead), opener.open(origin.url, timeout=TIMEOUT) as answer:
        answer.read()
    with opener.open(origin.url, timeout=TIMEOUT) as answer:
        assert answer.read() == BODY
    assert list(dict.fromkeys(applied.fault for applied in origin.faults.applied)) == ["reset", "stall", "truncate"]
