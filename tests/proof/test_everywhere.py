"""For each encoding, place and chunking: a secret that passes is found once, at the right place, and nothing changes.

Every place of a message in both directions, over the open and in a tunnel. Where a message may be cut, it goes piece by
piece: the next one is sent when the other end has got the one before, byte for byte, so nothing was held back. (That
every single cut of a value is found is shown in `tests/core/test_watchlist.py`, by the scanner itself.)
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests.proof.conftest import (
    API,
    BINARY,
    CLOSE,
    KEY,
    PING,
    SWITCHED,
    TEST,
    TEXT,
    VALUE,
    WEB,
    Bench,
    Way,
    Wire,
    deflated,
    facts,
    fragments,
    frame,
    pieces,
)


class Form(NamedTuple):
    """What an encoder makes of the value, and where that begins to show it."""

    text: bytes
    start: int = 0


def at_alignment(lead: bytes, encode: Callable[[bytes], bytes]) -> Form:
    """Base64 of something in front of the value: its first characters belong to both."""
    return Form(encode(lead + VALUE.encode()), -(-8 * len(lead) // 6))


IN_JSON = json.dumps(VALUE)[1:-1]
FORMS = {
    "raw": Form(VALUE.encode()),
    "percent": Form(quote(VALUE, safe="").encode()),
    "percent, lower": Form("".join(c if c.isalnum() else f"%{ord(c):02x}" for c in VALUE).encode()),
    "base64 at 0": at_alignment(b"", base64.b64encode),
    "base64 at 1": at_alignment(b"u", base64.b64encode),
    "base64 at 2": at_alignment(b"u:", base64.b64encode),
    "base64url at 0": at_alignment(b"", base64.urlsafe_b64encode),
    "base64url at 1": at_alignment(b"u", base64.urlsafe_b64encode),
    "base64url at 2": at_alignment(b"u:", base64.urlsafe_b64encode),
    "hex": Form(VALUE.encode().hex().encode()),
    "HEX": Form(VALUE.encode().hex().upper().encode()),
    "json": Form(IN_JSON.encode()),
    "json, slashes": Form(IN_JSON.replace("/", "\\/").encode()),
    "json, html": Form(IN_JSON.replace("&", "\\u0026").encode()),
    "json, all": Form("".join(f"\\u{ord(c):04x}" for c in VALUE).encode()),
}


class Seen(NamedTuple):
    """Where the value should have been found: the place, and how many bytes of it come before the text."""

    place: str
    before: int


Cuts = Callable[[bytes], Iterable[int]]
Carrier = Callable[[Bench, Way, bytes, Cuts], Seen]

BEFORE, AFTER = b'{"note": "', b'", "more": true}\n'
CUTS: dict[str, Cuts] = {
    "whole": lambda _: (),
    "in pieces": lambda data: (1, len(data) // 2, len(data) - 1),
}


def relay(sender: Wire, receiver: Wire, data: Iterable[bytes]) -> None:
    """Each piece arrives as it is, before the next one is sent."""
    for piece in data:
        sender.send(piece)
        assert receiver.exactly(len(piece)) == piece
        assert receiver.waiting() == b""


# ------------------------------------------------------------------ what a client sends


def answered(client: Wire, server: Wire) -> None:
    server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.message().status == 204


def target(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    path = "/search?q=" + text.decode()
    head = bench.head(way, WEB, path)
    client, server = bench.asked(way, WEB, *pieces(head, cuts(head)))
    assert server.message().target == path
    answered(client, server)
    return Seen("target", len("/search?q=") if way == "tunnel" else len(f"http://{WEB}/search?q="))


def header(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    head = bench.head(way, WEB, fields=["Cookie: a=1; id=" + text.decode()])
    client, server = bench.asked(way, WEB, *pieces(head, cuts(head)))
    assert server.message().all("cookie") == ["a=1; id=" + text.decode()]
    answered(client, server)
    return Seen("header Cookie", len("a=1; id="))


def body(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    data = BEFORE + text + AFTER
    head = bench.head(way, WEB, fields=[f"Content-Length: {len(data)}"], method="POST")
    client, server = bench.asked(way, WEB, head)
    server.until(b"\r\n\r\n")
    relay(client, server, pieces(data, cuts(data)))
    answered(client, server)
    return Seen("body", len(BEFORE))


def chunked(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    data = BEFORE + text + AFTER
    head = bench.head(way, WEB, fields=["Transfer-Encoding: chunked"], method="POST")
    client, server = bench.asked(way, WEB, head)
    server.until(b"\r\n\r\n")
    relay(client, server, [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(data, cuts(data))])
    relay(client, server, [b"0\r\n\r\n"])
    answered(client, server)
    return Seen("body", len(BEFORE))


def trailer(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    end = b"0\r\nX-Check: sum=" + text + b"\r\n\r\n"
    head = bench.head(way, WEB, fields=["Transfer-Encoding: chunked", "Trailer: X-Check"], method="POST")
    client, server = bench.asked(way, WEB, head)
    server.until(b"\r\n\r\n")
    relay(client, server, [b"2\r\nok\r\n", *pieces(end, cuts(end))])
    answered(client, server)
    return Seen("trailer X-Check", len("sum="))


def extension(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    end = b"2;id=" + text + b"\r\nok\r\n0\r\n\r\n"
    client, server = bench.asked(way, WEB, bench.head(way, WEB, fields=["Transfer-Encoding: chunked"], method="POST"))
    server.until(b"\r\n\r\n")
    relay(client, server, pieces(end, cuts(end)))
    answered(client, server)
    return Seen("chunk extension", len(";id="))


# ------------------------------------------------------------------ what comes back


def asking(bench: Bench, way: Way) -> tuple[Wire, Wire]:
    """A client that waits, and the upstream that has its request, with the credential in it."""
    client, server = bench.asked(way, API, bench.head(way, API))
    assert server.message().all("x-token") == [VALUE]
    return client, server


def reason(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    client, server = asking(bench, way)
    head = b"HTTP/1.1 401 Not " + text + b"\r\nContent-Length: 0\r\n\r\n"
    server.send(*pieces(head, cuts(head)))
    assert client.message().start == "HTTP/1.1 401 Not " + text.decode()
    return Seen("reason phrase", len("Not "))


def answer_header(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    client, server = asking(bench, way)
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=" + text + b"; Secure\r\nContent-Length: 0\r\n\r\n"
    server.send(*pieces(head, cuts(head)))
    assert client.message().all("set-cookie") == [f"id={text.decode()}; Secure"]
    return Seen("header Set-Cookie", len("id="))


def answer_of(client: Wire, server: Wire, fields: bytes, data: Iterable[bytes]) -> None:
    server.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n")
    client.until(b"\r\n\r\n")
    relay(server, client, data)


def answer_body(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    data = BEFORE + text + AFTER
    answer_of(*asking(bench, way), b"Content-Length: %d" % len(data), pieces(data, cuts(data)))
    return Seen("body", len(BEFORE))


def answer_chunked(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    data = BEFORE + text + AFTER
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(data, cuts(data))]
    answer_of(*asking(bench, way), b"Transfer-Encoding: chunked", [*chunks, b"0\r\n\r\n"])
    return Seen("body", len(BEFORE))


def answer_open(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    data = BEFORE + text + AFTER
    client, server = asking(bench, way)
    answer_of(client, server, b"Connection: close", pieces(data, cuts(data)))
    server.close()
    assert client.rest() == b""
    return Seen("body", len(BEFORE))


def answer_trailer(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    end = b"0\r\nX-Check: sum=" + text + b"\r\n\r\n"
    answer_of(*asking(bench, way), b"Transfer-Encoding: chunked", [b"2\r\nok\r\n", *pieces(end, cuts(end))])
    return Seen("trailer X-Check", len("sum="))


def answer_extension(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    end = b"2\r\nok\r\n0;id=" + text + b"\r\n\r\n"
    answer_of(*asking(bench, way), b"Transfer-Encoding: chunked", pieces(end, cuts(end)))
    return Seen("chunk extension", len(";id="))


def coded(coding: str, code: Callable[[bytes], bytes]) -> Carrier:
    def carry(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
        data = code(BEFORE + text + AFTER)
        fields = f"Content-Encoding: {coding}\r\nContent-Length: {len(data)}".encode()
        answer_of(*asking(bench, way), fields, pieces(data, cuts(data)))
        return Seen("body", len(BEFORE))

    return carry


def uploaded(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    data = gzip.compress(BEFORE + text + AFTER)
    fields = ["Content-Encoding: gzip", f"Content-Length: {len(data)}"]
    client, server = bench.asked(way, WEB, bench.head(way, WEB, fields=fields, method="PUT"))
    server.until(b"\r\n\r\n")
    relay(client, server, pieces(data, cuts(data)))
    answered(client, server)
    return Seen("body", len(BEFORE))


# ------------------------------------------------------------------ WebSocket messages, both ways

Framing = Callable[[bytes, Cuts, bool], Iterable[bytes]]


def cut_up(data: bytes, cuts: Cuts) -> list[bytes]:
    return pieces(data, cuts(data))


def as_close(text: bytes, cuts: Cuts, mask: bool) -> Iterable[bytes]:
    return cut_up(frame(CLOSE, (4000).to_bytes(2, "big") + text, mask=mask), cuts)


def compressed(text: bytes, cuts: Cuts, mask: bool) -> Iterable[bytes]:
    return cut_up(frame(TEXT, deflated(BEFORE + text + AFTER), rsv1=True, mask=mask), cuts)


def compressed_fragments(text: bytes, cuts: Cuts, mask: bool) -> Iterable[bytes]:
    packed = deflated(BEFORE + text + AFTER)
    first, *others = [packed[:7], packed[7:19], packed[19:]]
    yield frame(TEXT, first, fin=False, rsv1=True, mask=mask)
    yield frame(PING, b"between", mask=mask)
    yield from (frame(0, part, fin=at == 1, mask=mask) for at, part in enumerate(others))


FRAMINGS: dict[str, tuple[Framing, str, int]] = {
    "text": (lambda t, c, m: cut_up(frame(TEXT, BEFORE + t + AFTER, mask=m), c), "message 2", len(BEFORE)),
    "binary": (lambda t, c, m: cut_up(frame(BINARY, b"\0\xff" + t + b"\xfe", mask=m), c), "message 2", 2),
    "long": (lambda t, c, m: cut_up(frame(BINARY, b"\7" * 70000 + t, mask=m), c), "message 2", 70000),
    "fragments": (lambda t, c, m: fragments(TEXT, cut_up(BEFORE + t, c), mask=m), "message 2", len(BEFORE)),
    "deflate": (compressed, "message 2", len(BEFORE)),
    "deflate, fragments": (compressed_fragments, "message 2", len(BEFORE)),
    "ping": (lambda t, c, m: cut_up(frame(PING, t, mask=m), c), "ping", 0),
    "close": (as_close, "close", 2),
}


def framed(name: str, *, up: bool) -> Carrier:
    """In a WebSocket, after a message that holds nothing."""
    framing, place, before = FRAMINGS[name]

    def carry(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
        upgrade: Way = "upgrade" if way == "tunnel" else "plain upgrade"
        extension = ["Sec-WebSocket-Extensions: permessage-deflate"] if name.startswith("deflate") else []
        visit = bench.visit(upgrade, WEB, "/socket", *extension, reply=extension)
        sender, receiver = (visit.client, visit.server) if up else (visit.server, visit.client)
        relay(sender, receiver, [frame(TEXT, b"hello", mask=up), *framing(text, cuts, up)])
        return Seen(place, before)

    return carry


def not_websocket(bench: Bench, way: Way, text: bytes, cuts: Cuts) -> Seen:
    upgrade: Way = "upgrade" if way == "tunnel" else "plain upgrade"
    client, server = bench.asked(upgrade, WEB, bench.head(upgrade, WEB).replace(b"websocket", b"chat/2"))
    server.message()
    server.send(SWITCHED.replace(b"websocket", b"chat/2") + b"\r\n")
    assert client.message().status == 101
    relay(client, server, cut_up(BEFORE + text + AFTER, cuts))
    return Seen("tunnel", len(BEFORE))


UPSTREAM: dict[str, Carrier] = {
    "target": target, "header": header, "body": body, "chunked body": chunked, "gzip body": uploaded,
    "trailer": trailer, "extension": extension,
    "tunnel": not_websocket, **{f"message, {name}": framed(name, up=True) for name in FRAMINGS},
}  # fmt: skip
CLIENT: dict[str, Carrier] = {
    "reason": reason, "header": answer_header, "body": answer_body, "chunked body": answer_chunked,
    "open body": answer_open, "trailer": answer_trailer, "extension": answer_extension,
    "gzip body": coded("gzip", gzip.compress),
    "deflate body": coded("deflate", zlib.compress), "raw deflate body": coded("deflate", deflated),
    **{f"message, {name}": framed(name, up=False) for name in FRAMINGS},
}  # fmt: skip
BOTH_WAYS = pytest.mark.parametrize("way", ["plain", "tunnel"])
IN_THE_OPEN = ("raw", "percent", "base64 at 1", "HEX", "json, all")  # a tunnel carries all of them
forms = pytest.mark.parametrize(
    ("form", "way"), [*((form, "plain") for form in IN_THE_OPEN), *((form, "tunnel") for form in FORMS)]
)


def check(bench: Bench, way: Way, carry: Carrier, form: Form, direction: str) -> None:
    """For each way to cut: found once, at once, with everything that is told of it right."""
    for number, cuts in enumerate(CUTS.values(), 1):
        seen = carry(bench, way, form.text, cuts)
        assert len(bench.recorder.leaks) == number
        leak = bench.recorder.leaks[-1]
        assert facts(leak) == {
            "rule": "credentials[0]",
            "grant": "api",
            "direction": direction,
            "place": seen.place,
            "offset": seen.before + form.start,
            "test": TEST,
            "count": 1,
            "client_held": False,
        }
        assert leak.secret == VALUE
        assert leak.exchange is bench.recorder.exchanges[-1]
    assert VALUE not in repr(bench.recorder.leaks)


@forms
@pytest.mark.parametrize("place", UPSTREAM)
def test_a_secret_that_is_sent(bench: Bench, place: str, form: str, way: Way) -> None:
    """To a host that its rule does not cover: found in every place, in every encoding, however it is cut."""
    check(bench, way, UPSTREAM[place], FORMS[form], "upstream")


@forms
@pytest.mark.parametrize("place", CLIENT)
def test_a_secret_that_comes_back(bench: Bench, place: str, form: str, way: Way) -> None:
    """From any host, that of its rule included: found as well, and told apart from one that is sent."""
    check(bench, way, CLIENT[place], FORMS[form], "client")


@BOTH_WAYS
@pytest.mark.parametrize("place", [*UPSTREAM, *(f"back: {name}" for name in CLIENT)])
def test_another_value_is_no_leak(bench: Bench, place: str, way: Way) -> None:
    """The same traffic with a value that differs in one character, and with one of another proxy, shows nothing."""
    carry = CLIENT[place[6:]] if place.startswith("back: ") else UPSTREAM[place]
    for form in (VALUE[:-1] + "w", VALUE[:7] + VALUE[8:]):
        for cuts in CUTS.values():
            carry(bench, way, form.encode(), cuts)
    assert bench.recorder.leaks == ()
    assert len(bench.recorder.assert_no_leaks("any")) == 2 * len(CUTS)


def test_the_mask_matters() -> None:
    """What is sent masked does not show the value on the wire: so finding it means unmasking it."""
    assert VALUE.encode() not in frame(TEXT, VALUE.encode(), mask=True)
    assert VALUE.encode() in frame(TEXT, VALUE.encode())
    assert len(set(KEY)) == 4
