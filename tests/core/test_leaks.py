"""Facts about leaks: what is one, where, whose, and how often."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from urllib.parse import quote

import pytest

from pytest_gatekeeper._core.model import Credential, Headers, Injection, RequestHead, ResponseHead, Rule, SourceSpec
from pytest_gatekeeper._core.records import Exchange, Leak
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.scan.frames import unmasked
from pytest_gatekeeper._core.scan.leaks import LeakScan
from pytest_gatekeeper._core.scan.watchlist import Watchlist
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret/to+ken&0123?"
OTHER = "another-s3cret-value"


def rule(value: str = VALUE, host: str = "api.example.com", id: str = "credentials[0]", **more: str) -> Rule:
    credential = Credential(host, SourceSpec("static"), **more)  # type: ignore[arg-type]
    return make_rule(id, credential, Secret(value))


API = rule(grant="api")
OTHERS = rule(OTHER, "*.example.org", "credentials[1]", grant="other", header="X-Key")
EXCHANGE = Exchange(1, "POST", "https", "evil.example.net", 443, "/v1")


BOTH = Watchlist((API, OTHERS))  # made once: what it looks for takes longer to make than to find


class Scene:
    """A scan and the leaks that came of it, the newest of each place."""

    def __init__(self, *rules: Rule, covering: tuple[Rule, ...] = ()) -> None:
        self.told: list[Leak] = []
        watchlist = Watchlist(rules) if rules else BOTH
        self.scan = LeakScan(watchlist, EXCHANGE, self.told.append, "test_it", covering)

    @property
    def leaks(self) -> dict[tuple[str, str, str], Leak]:
        """The newest of each place."""
        return {(leak.direction, leak.place, leak.rule): leak for leak in self.told}

    @property
    def seen(self) -> list[tuple[str, str, int, int]]:
        """Their direction, place, offset and count."""
        return [(leak.direction, leak.place, leak.offset, leak.count) for leak in self.leaks.values()]


def request(*headers: tuple[str, str], target: str = "/v1") -> RequestHead:
    return RequestHead("POST", target, "1.1", (("Host", "evil.example.net"), *headers))


def response(*headers: tuple[str, str], status: int = 200, reason: str = "OK") -> ResponseHead:
    return ResponseHead(status, reason, "1.1", (("Server", "stub"), *headers))


def injection(rule: Rule) -> Injection:
    return Injection(rule.header, rule.grant, rule.id, rule.secret, rule.header_value)


# ------------------------------------------------------------------ places and encodings

ENCODED = {
    "raw": VALUE,
    "percent": quote(VALUE, safe=""),
    "percent, lower case": quote(VALUE, safe="").lower(),
    "base64": base64.b64encode(VALUE.encode()).decode(),
    "base64, shifted": base64.b64encode(b"u:" + VALUE.encode()).decode()[3:],
    "base64, URL-safe": base64.urlsafe_b64encode(b"?" + VALUE.encode()).decode()[2:],
    "hex": VALUE.encode().hex(),
    "hex, upper case": VALUE.encode().hex().upper(),
    "JSON": json.dumps(VALUE)[1:-1].replace("/", "\\/"),
    "JSON, escaped": "".join(f"\\u{ord(char):04x}" for char in VALUE),
}


def in_target(scene: Scene, text: str) -> None:
    scene.scan.request_head(request(target=f"/?q={text}"))


def in_header(scene: Scene, text: str) -> None:
    scene.scan.request_head(request(("X-Debug", f"?q={text}")))


def in_body(scene: Scene, text: str) -> None:
    watch = scene.scan.request_body(()).data
    for char in f"/?q={text}.":
        watch.feed(char.encode())


def in_coded_body(scene: Scene, text: str) -> None:
    body = gzip.compress(f"/?q={text}.".encode())
    watch = scene.scan.request_body((("Content-Encoding", "gzip"),)).data
    for at in range(0, len(body), 5):
        watch.feed(memoryview(body)[at : at + 5])


def in_trailer(scene: Scene, text: str) -> None:
    scene.scan.request_trailers((("X-Sum", "0"), ("X-Late", text)))


def in_message(scene: Scene, text: str) -> None:
    upstream, _ = scene.scan.upgraded(response(("Upgrade", "WebSocket"), status=101))
    upstream.feed(b"\x81\x85abcd" + unmasked(b"hello", b"abcd"))
    payload = f"?q={text}".encode()
    upstream.feed(b"\x81\xfe" + len(payload).to_bytes(2, "big") + b"abcd" + unmasked(payload, b"abcd"))


def in_tunnel(scene: Scene, text: str) -> None:
    upstream, _ = scene.scan.upgraded(response(("Upgrade", "tcp"), status=101))
    upstream.feed(b"\x16\x03" + text.encode())


def in_answer_header(scene: Scene, text: str) -> None:
    scene.scan.response_head(response(("X-Echo", text)))


def in_answer_reason(scene: Scene, text: str) -> None:
    scene.scan.response_head(response(reason=text))


def in_answer_body(scene: Scene, text: str) -> None:
    watch = scene.scan.response_body((("Content-Encoding", "gzip"),)).data
    watch.feed(gzip.compress(b"0123456789" + text.encode()))


def in_answer_trailer(scene: Scene, text: str) -> None:
    scene.scan.response_trailers((("X-Late", text),))


def in_answer_message(scene: Scene, text: str) -> None:
    _, client = scene.scan.upgraded(response(("Upgrade", "websocket"), status=101))
    payload = text.encode()
    frame = b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
    client.feed(frame[:20])
    client.feed(frame[20:])


def in_answer_tunnel(scene: Scene, text: str) -> None:
    _, client = scene.scan.upgraded(response(status=101))
    client.feed(text.encode())


PLACES = {
    in_target: ("upstream", "target", 4),
    in_header: ("upstream", "header X-Debug", 3),
    in_body: ("upstream", "body", 4),
    in_coded_body: ("upstream", "body", 4),
    in_trailer: ("upstream", "trailer X-Late", 0),
    in_message: ("upstream", "message 2", 3),
    in_tunnel: ("upstream", "tunnel", 2),
    in_answer_header: ("client", "header X-Echo", 0),
    in_answer_reason: ("client", "reason phrase", 0),
    in_answer_body: ("client", "body", 10),
    in_answer_trailer: ("client", "trailer X-Late", 0),
    in_answer_message: ("client", "message 1", 0),
    in_answer_tunnel: ("client", "tunnel", 0),
}


@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize("put", PLACES, ids=lambda put: put.__name__)
def test_a_value_is_one_leak_in_each_place_and_encoding(put: object, encoded: str) -> None:
    """With its place and offset, whose it is, and how often; a part of it is none."""
    assert callable(put)
    scene = Scene()
    put(scene, encoded)
    direction, place, offset = PLACES[put]
    assert scene.told == [
        Leak(API.secret, "credentials[0]", "api", direction, place, offset, EXCHANGE, "test_it")  # type: ignore[arg-type]
    ]
    scene = Scene()
    put(scene, encoded[:-4])
    assert scene.told == []


def test_nothing_is_found_without_secrets() -> None:
    """No place costs anything then."""
    for put in PLACES:
        scene = Scene(rule("short", header="X-Key"))
        put(scene, "short " + VALUE)
        assert scene.told == []


# ------------------------------------------------------------------ what is a leak


def test_the_client_should_not_have_it_on_a_covered_host_either() -> None:
    """A value that the client itself sends is a leak on every host."""
    for covering in ((), (API,)):
        scene = Scene(covering=covering)
        scene.scan.request_head(request(("X-Debug", VALUE)), [injection(API)] if covering else [])
        assert scene.seen == [("upstream", "header X-Debug", 0, 1)]
        assert not scene.told[0].client_held


def test_a_value_in_a_header_that_is_replaced_is_held_by_the_client() -> None:
    """It does not get upstream; in any other place of the same request it is a leak."""
    scene = Scene(covering=(API,))
    head = request(("authorization", f"Bearer {VALUE}"), ("X-Debug", VALUE))
    scene.scan.request_head(head, [injection(API)])
    assert scene.seen == [("upstream", "header authorization", 7, 1), ("upstream", "header X-Debug", 0, 1)]
    assert [leak.client_held for leak in scene.told] == [True, False]
    scene = Scene()
    scene.scan.request_head(head)
    assert [leak.client_held for leak in scene.told] == [False, False]


def test_what_comes_back_is_never_held_by_the_client() -> None:
    """Its direction is `client`, in the same header, too."""
    scene = Scene(covering=(API,))
    scene.scan.request_head(request(("Authorization", f"Bearer {VALUE}")), [injection(API)])
    scene.scan.response_head(response(("Authorization", f"Bearer {VALUE}")))
    assert [(leak.direction, leak.client_held) for leak in scene.told] == [("upstream", True), ("client", False)]


def test_the_password_of_basic_is_found_in_the_header() -> None:
    """It is the base64 of more than the value."""
    scene = Scene(rule(OTHER, format="basic", prefix="user"))
    scene.scan.request_head(request(("Authorization", "Basic " + base64.b64encode(f"me:{OTHER}".encode()).decode())))
    assert scene.seen == [("upstream", "header Authorization", 10, 1)]


# ------------------------------------------------------------------ one leak with a count


def test_one_leak_a_place_and_secret_with_a_count() -> None:
    """Each place and each secret has its own; the offset is that of the first time."""
    scene = Scene()
    scene.scan.request_head(
        request(("X-A", f"{VALUE} {VALUE}"), ("x-b", OTHER), ("X-A", f"{OTHER} {VALUE}"), target=f"/{VALUE}")
    )
    watch = scene.scan.request_body(()).data
    for _ in range(3):
        watch.feed(f"..{VALUE}".encode() * 2)
    watch.feed(b"and nothing else")
    assert sorted(scene.seen) == [
        ("upstream", "body", 2, 6),
        ("upstream", "header X-A", 0, 1),
        ("upstream", "header X-A", 0, 3),
        ("upstream", "header x-b", 0, 1),
        ("upstream", "target", 1, 1),
    ]
    assert [leak.count for leak in scene.told if leak.place == "body"] == [2, 4, 6]


def test_a_long_conversation_does_not_fill_the_memory() -> None:
    """After a thousand places, the others are told together."""
    scene = Scene()
    _, client = scene.scan.upgraded(response(("Upgrade", "websocket"), status=101))
    frame = bytes([0x81, len(VALUE)]) + VALUE.encode()
    client.feed(frame * 999)
    assert len(scene.leaks) == 999 and scene.seen[-1] == ("client", "message 999", 0, 1)
    client.feed(frame * 10)
    assert len(scene.leaks) == 1001 and scene.seen[-1] == ("client", "further places", 0, 9)


def test_of_several_rules_with_one_value_a_covering_one_is_named() -> None:
    """The first one, where none covers the host."""
    first, second = rule(host="a.example.com", id="a"), rule(host="b.example.com", id="b", grant="b")
    for covering, named in (((), "a"), ((second,), "b"), ((first,), "a")):
        scene = Scene(first, second, covering=covering)
        scene.scan.request_head(request(("X-Debug", VALUE)))
        assert [leak.rule for leak in scene.told] == [named]


def test_no_place_shows_a_value() -> None:
    """A header whose name holds one is not named, and its value is looked at all the same."""
    scene = Scene()
    headers: Headers = ((f"X-{OTHER}", f"= {VALUE}"), ("X-Last", OTHER))
    scene.scan.response_head(response(*headers))
    scene.scan.request_trailers(headers)
    assert scene.seen == [
        ("client", "header name", 2, 1),
        ("client", "header value", 2, 1),
        ("client", "header X-Last", 0, 1),
        ("upstream", "trailer name", 2, 1),
        ("upstream", "trailer value", 2, 1),
        ("upstream", "trailer X-Last", 0, 1),
    ]
    assert not any(value in repr(scene.told) for value in (VALUE, OTHER))


@pytest.mark.parametrize("side", ["client", "server"])
def test_compressed_messages_are_read_as_the_response_agreed(side: str) -> None:
    """Each direction with its own parameters, taken from the head of the 101."""
    agreed = ("Sec-WebSocket-Extensions", f"permessage-deflate; {side}_no_context_takeover")
    scene = Scene()
    upstream, client = scene.scan.upgraded(response(("Upgrade", "websocket"), agreed, status=101))
    for watch, sender in ((upstream, "client"), (client, "server")):
        packer = zlib.compressobj(wbits=-15)
        for _ in range(2):
            if sender == side:
                packer = zlib.compressobj(wbits=-15)
            payload = (packer.compress(VALUE.encode() * 3) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            watch.feed(bytes([0xC1, len(payload)]) + payload)
    assert scene.seen == [
        ("upstream", "message 1", 0, 3),
        ("upstream", "message 2", 0, 3),
        ("client", "message 1", 0, 3),
        ("client", "message 2", 0, 3),
    ]
