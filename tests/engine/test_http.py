"""HTTP/1.1 through the proxy: heads, framing, interim answers, keep-alive, and older versions on either side."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.engine.conftest import BEARER, HOST, OK, TIMEOUT, ways

if TYPE_CHECKING:
    from tests.engine.conftest import Wire, World


# ---- heads


@ways
@pytest.mark.parametrize("tls", [False, True])
def test_request_and_answer(world: World, way: str, tls: bool) -> None:
    """A request goes up with the credential and its answer comes back, over plain and TLS upstreams alike."""
    stub = world.serve(OK, tls=tls)
    answer = world.client(way).do("POST", "/v1/x?q=1;2#f", "X-A: b", body=b"hello")
    assert (answer.status, answer.body) == (200, b"ok")
    got = stub.heads[0]
    assert got.start == "POST /v1/x?q=1;2#f HTTP/1.1"
    assert got.get("authorization") == BEARER
    assert got.body == b"hello"
    (record,) = world.exchanges
    assert (record.scheme, record.host, record.target) == ("https" if way == "tls" else "http", HOST, "/v1/x?q=1;2#f")
    assert (record.status, record.request_size, record.response_size, record.closed) == (200, 5, 2, "upstream")
    assert (record.grants, record.upstream) == (("ws-api",), f"127.0.0.1:{stub.port}")
    assert record.upstream_verified is (True if tls else None)


@ways
def test_order_and_case_are_kept(world: World, way: str) -> None:
    """Fields go on in order and case both ways; the credential takes the place of the client's own."""
    stub = world.serve(b"HTTP/1.1 200 Fine\r\nzz-LOW: 1\r\nContent-length: 0\r\nAA-up: 2\r\nzz-LOW: 3\r\n\r\n")
    answer = world.client(way).do("GET", "/", "zEBRA: 1", "aUTHORIZATION: Bearer mine", "apple: 2", "zEBRA: 3")
    names = [pair for pair in stub.heads[0].headers if pair[0] != "X-Request-Id"]
    assert names == [
        ("Host", HOST), ("zEBRA", "1"), ("aUTHORIZATION", BEARER), ("apple", "2"), ("zEBRA", "3"),
    ]  # fmt: skip
    assert answer.start == "HTTP/1.1 200 Fine"
    assert answer.headers[:4] == (("zz-LOW", "1"), ("Content-length", "0"), ("AA-up", "2"), ("zz-LOW", "3"))
    assert [name for name, _ in answer.headers[4:]] == (["X-Request-Id"] if way == "plain" else [])
    assert world.exchanges[0].headers[2] == ("aUTHORIZATION", "Bearer mine")
    assert "secret" in dict(world.exchanges[0].forwarded_headers)["aUTHORIZATION"]


@ways
def test_folded_fields_are_joined(world: World, way: str) -> None:
    """A folded field is one line upstream, joined by one space."""
    stub = world.serve(OK)
    assert world.client(way).do("GET", "/", "X-Fold: one\r\n   two").status == 200
    assert stub.heads[0].get("x-fold") == "one two"


@ways
def test_a_thousand_fields(world: World, way: str) -> None:
    """A head of 1,000 fields is carried in both directions."""
    fields = [f"X-{index}: {'v' * 20}" for index in range(1000)]
    lines = "\r\n".join(fields).encode()
    stub = world.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n\r\n")
    answer = world.client(way).do("GET", "/", *fields)
    assert [f"{name}: {value}" for name, value in answer.headers[1:1001]] == fields
    assert [f"{name}: {value}" for name, value in stub.heads[0].headers[1:1001]] == fields


@ways
def test_connection_cannot_remove_the_credential(world: World, way: str) -> None:
    """`Connection: close, authorization` removes the client's own field, not the injected one."""
    stub = world.serve(OK)
    answer = world.client(way).do("GET", "/", "Connection: close, authorization, x-mine", "X-Mine: 1", "Keep-Alive: 3")
    assert stub.heads[0].get("authorization") == BEARER
    assert not stub.heads[0].get("x-mine") + stub.heads[0].get("keep-alive") + stub.heads[0].get("connection")
    assert answer.get("connection") == "close"


# ---- one connection, many requests


@ways
def test_keep_alive(world: World, way: str) -> None:
    """Requests follow each other on one client and one upstream connection, with bodies or without."""
    stub = world.serve(OK)
    client = world.client(way)
    for body in (None, b"12345", None, b""):
        assert client.do("POST" if body is not None else "GET", body=body).body == b"ok"
    assert stub.count == 1
    assert [message.body for message in stub.heads] == [b"", b"12345", b"", b""]
    assert [exchange.request_size for exchange in world.exchanges] == [0, 5, 0, 0]


@ways
def test_pipelined_requests_are_answered_in_order(world: World, way: str) -> None:
    """Requests that come in one piece, bodies included, are each carried, in order."""
    world.origin()
    client = world.client(way)
    chunked = client.request("POST", "/2", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
    client.send(client.request("POST", "/1", body=b"x" * 1000), chunked, client.request("GET", "/3"))
    for path in (b"/1", b"/2", b"/3"):
        assert b'"target": "%s"' % path in client.message().body.replace(b'":"', b'": "')
    assert [exchange.request_size for exchange in world.exchanges] == [1000, 3, 0]


@ways
def test_client_asks_to_close(world: World, way: str) -> None:
    """`Connection: close` of the client closes its connection after the answer; without it the connection stays."""
    world.serve(OK)
    client = world.client(way)
    assert client.do().get("connection") == ""
    assert client.do("GET", "/", "Connection: close").get("connection") == "close"
    assert client.rest() == b""


@ways
def test_upstream_closes(world: World, way: str) -> None:
    """`Connection: close` of the upstream is its own affair: the client's connection stays, a new one is dialled."""
    stub = world.serve(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    client = world.client(way)
    assert [client.do().get("connection") for _ in range(2)] == ["", ""]
    assert stub.count == 2


# ---- interim answers


@ways
@pytest.mark.parametrize("upgrade", [False, True])
def test_interim_answers_are_passed_on(world: World, way: str, upgrade: bool) -> None:
    """102 and 103 arrive before the final answer is sent, and before a 101 too."""
    go = threading.Event()

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        assert go.wait(TIMEOUT)
        wire.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi" if upgrade else OK)
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    client.upgrade() if upgrade else client.ask()
    assert [client.message().status, client.message().get("link")] == [102, "</a.css>"]
    assert world.exchanges[0].status is None
    go.set()
    assert client.message().status == (101 if upgrade else 200)
    if upgrade:
        assert client.exactly(2) == b"hi"
    assert world.exchanges[0].upgraded is upgrade


@ways
def test_interim_answer_comes_first(world: World, way: str) -> None:
    """After the interim answers the final one is the record's, and the connection goes on."""
    world.serve(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK)
    client = world.client(way)
    for _ in range(2):
        client.ask()
        assert [client.message().status, client.message().status] == [103, 200]
    assert [exchange.status for exchange in world.exchanges] == [200, 200]


@ways
def test_old_client_gets_no_interim_answer(world: World, way: str) -> None:
    """HTTP/1.0 knows no interim answers, so none is passed on."""
    world.serve(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert world.client(way).do(version="1.0").status == 200


@ways
def test_continue_is_the_upstreams(world: World, way: str) -> None:
    """With `Expect: 100-continue` the upstream says 100, then gets the body."""

    def script(wire: Wire) -> None:
        assert b"Expect: 100-continue" in wire.until(b"\r\n\r\n")
        assert wire.silent()
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert wire.exactly(5) == b"hello"
        wire.send(OK)
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    client.ask("POST", "/", "Expect: 100-continue", "Content-Length: 5")
    assert client.message().status == 100
    client.send(b"hello")
    assert client.message().status == 200
    assert world.exchanges[0].request_size == 5


@ways
def test_expectation_failed(world: World, way: str) -> None:
    """An upstream that refuses an expectation at once has its answer passed on; the body never comes."""

    def script(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    client.ask("POST", "/", "Expect: 100-continue", "Content-Length: 5")
    answer = client.message()
    assert (answer.status, answer.get("connection")) == (417, "close")
    assert client.rest() == b""
    assert (world.exchanges[0].status, world.exchanges[0].request_size) == (417, 0)


# ---- answers without a body, and with


@ways
@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
    ],
)
def test_answers_without_a_body(world: World, way: str, method: str, answer: bytes) -> None:
    """An answer that has no body, whatever its fields say, ends with its head; the connection goes on."""
    world.serve(answer, OK, OK)
    client = world.client(way)
    got = client.do(method)
    assert got.raw.startswith(answer[:-2])
    assert client.do("GET").body == b"ok"
    assert [exchange.response_size for exchange in world.exchanges] == [0, 2]


@ways
def test_chunks_and_trailers(world: World, way: str) -> None:
    """Chunked bodies go on as they are framed, extensions and trailers included, in both directions."""
    body = b"5;ext=1\r\nhello\r\n0B\r\n, wonderful\r\n0\r\nX-Sum: 16\r\nX-Two: 2\r\n\r\n"

    def script(wire: Wire) -> None:
        assert b"Trailer" not in wire.until(b"\r\n\r\n")
        assert wire.exactly(len(body)) == body
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert wire.message().start.startswith("GET")
        wire.send(OK)
        wire.recv()

    world.upstream(script)
    client = world.client(way)
    client.ask("POST", "/", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    for at in range(0, len(body), 7):
        client.send(body[at : at + 7])
    head = client.until(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in head
    assert client.exactly(len(body)) == body
    assert client.do().body == b"ok"
    assert (world.exchanges[0].request_size, world.exchanges[0].response_size) == (16, 16)


@ways
@pytest.mark.parametrize("tls", [False, True])
def test_body_up_to_the_end(world: World, way: str, tls: bool) -> None:
    """A body that ends with its connection ends with the client's, too."""
    script_body = b"x" * 100_000

    def script(wire: Wire) -> None:
        wire.message()
        wire.send(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n" + script_body)
        wire.finish()
        wire.recv()

    world.upstream(script, tls=tls)
    client = world.client(way)
    answer = client.do()
    client.close()
    assert (answer.get("connection"), answer.body) == ("close", script_body)
    assert (world.exchanges[0].response_size, world.exchanges[0].closed) == (100_000, "upstream")
    if way != "plain":
        world.wait_for(lambda: world.tunnels[0].closed == "upstream")


# ---- HTTP/1.0


@ways
def test_old_client(world: World, way: str) -> None:
    """An HTTP/1.0 request goes up as HTTP/1.1, and its connection ends with the answer."""
    stub = world.serve(OK)
    client = world.client(way)
    answer = client.do(version="1.0")
    assert (answer.get("connection"), answer.body, client.rest()) == ("close", b"ok", b"")
    assert stub.heads[0].start == "GET / HTTP/1.1"
    assert world.exchanges[0].http_version == "1.0"


@ways
def test_old_client_that_keeps_its_connection(world: World, way: str) -> None:
    """An HTTP/1.0 client that says keep-alive is told so, and goes on."""
    world.serve(OK)
    client = world.client(way)
    for _ in range(2):
        assert client.do("GET", "/", "Connection: keep-alive", version="1.0").get("connection") == "keep-alive"


@ways
def test_old_client_without_host(world: World, way: str) -> None:
    """HTTP/1.0 needs no Host; upstream it is the URL's, or the tunnel's authority."""
    stub = world.serve(OK)
    client = world.client(way)
    client.send(client.request(version="1.0").replace(b"Host: ws.example.com\r\n", b""))
    assert client.message().status == 200
    port = {"plain": "", "tls": ":443", "inner": ":80"}[way]
    assert stub.heads[0].headers[0] == ("Host", HOST + port)
    assert stub.heads[0].get("authorization") == BEARER


@ways
def test_old_client_without_host_has_hop_by_hop_fields(world: World, way: str) -> None:
    """What its Connection names stays behind, as it does with a Host; what it does not name is sent."""
    stub = world.serve(OK)
    for fields in (b"Connection: X-Own\r\nX-Own: mine\r\n", b"X-Own: mine\r\n"):
        client = world.client(way)
        client.send(client.request(version="1.0").replace(b"Host: ws.example.com\r\n", fields))
        assert client.message().status == 200
    assert [head.get("x-own") for head in stub.heads] == ["", "mine"]
    assert [head.get("authorization") for head in stub.heads] == [BEARER, BEARER]


@ways
def test_chunks_are_taken_off_for_an_old_client(world: World, way: str) -> None:
    """HTTP/1.0 knows no chunks: the data comes without them, up to the end of the connection."""
    world.serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    answer = world.client(way).do("GET", "/", "Connection: keep-alive", version="1.0")
    assert (answer.get("transfer-encoding"), answer.get("connection")) == ("", "close")
    assert answer.body == b"hello world"
    assert world.exchanges[0].response_size == 11


@ways
def test_old_upstream(world: World, way: str) -> None:
    """An HTTP/1.0 upstream's connection is used once, unless it says keep-alive; the client's goes on."""
    old = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n%s\r\nok"
    stub = world.serve(old % b"", old % b"Connection: Keep-Alive\r\n")
    client = world.client(way)
    answer = client.do()
    assert (answer.start, answer.body) == ("HTTP/1.1 200 OK", b"ok")
    assert client.do().body == b"ok"
    assert stub.count == 2


# ---- refusals


@ways
def test_bad_gateway_keeps_the_connection(world: World, way: str) -> None:
    """After a 502 the same connection carries the next request."""
    client = world.client(way)
    for body in (None, b"hello"):
        refused = client.do("POST", body=body)
        assert (refused.status, refused.get("connection")) == (502, "")
        assert HOST in refused.body.decode()
    world.serve(OK)
    assert client.do().status == 200
    assert [exchange.status for exchange in world.exchanges] == [502, 502, 200]


@ways
def test_bad_gateway_for_head_has_no_body(world: World, way: str) -> None:
    """A 502 to HEAD is a head alone."""
    client = world.client(way)
    assert client.do("HEAD").status == 502
    assert client.do("HEAD").status == 502
    assert [exchange.response_size for exchange in world.exchanges] == [0, 0]


@ways
@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET {} HTTP/1.1\r\n\r\n", 400),
        (b"GET {} HTTP/1.1\r\nHost: ws.example.com\r\nHost: ws.example.com\r\n\r\n", 400),
        (b"GET {} HTTP/1.1\r\nHost: ws.example.com\r\nX : y\r\n\r\n", 400),
        (b"GET {} HTTP/1.1\r\nHost: ws.example.com\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST {} HTTP/1.0\r\nHost: ws.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"TRACE {} HTTP/1.1\r\nHost: ws.example.com\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"\x00\x01\x02", 400),
    ],
)
def test_unusable_requests(world: World, way: str, request_head: bytes, status: int) -> None:
    """What no server would accept is answered and recorded, never forwarded, and ends the connection."""
    stub = world.serve(OK)
    client = world.client(way)
    assert client.do().status == 200
    client.send(request_head.replace(b"{}", b"http://ws.example.com/" if way == "plain" else b"/"))
    answer = client.message()
    assert (answer.status, answer.get("connection"), client.rest()) == (status, "close", b"")
    assert len(stub.heads) == 1
    noted = [exchange.status for exchange in world.exchanges[1:]]
    assert noted == [status] or str(status) in str(world.tunnels[-1].error)
