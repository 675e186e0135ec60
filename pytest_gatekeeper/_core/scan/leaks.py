"""What is a leak: secrets that an exchange shows where they do not belong.

A `LeakScan` is handed one exchange's heads and bodies as they pass, has them searched, and makes a `Leak` of each
exchange, direction, place and secret. It holds nothing back and changes nothing. How values are found is `watchlist`'s
business, how bodies and frames are read that of `inflate` and `frames`; what a leak means for a test is the recorder's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Literal, NamedTuple

from pytest_gatekeeper._core.headers import value_of
from pytest_gatekeeper._core.model import Headers, Injection, RequestHead, ResponseHead, Rule
from pytest_gatekeeper._core.records import Exchange, Leak
from pytest_gatekeeper._core.scan.frames import TUNNEL, Sighting, WebSocketProbe, deflate_parameters
from pytest_gatekeeper._core.scan.inflate import CodedProbe, body_probe
from pytest_gatekeeper._core.scan.watchlist import Hit, Probe, Watched, Watchlist

__all__ = ["BodyScan", "Direction", "LeakScan", "StreamScan"]

Direction = Literal["upstream", "client"]
"""Whom the bytes were for: `upstream` got what the client sent, `client` what came back."""

_MOST_PLACES = 1000  # of one exchange that are told apart, so that a long conversation does not fill the memory
_ELSEWHERE = "further places"


class StreamScan:
    """Looks at one stream of an exchange and reports what it sees. Made by `LeakScan`."""

    __slots__ = ("_feed", "_report")

    def __init__(
        self,
        feed: Callable[[bytes | memoryview], Sequence[Sighting]],
        report: Callable[[Iterable[Sighting]], None],
    ) -> None:
        self._feed = feed
        self._report = report

    def feed(self, data: bytes | memoryview) -> None:
        """Look at the next bytes. Quick; never raises, whatever they are."""
        seen = self._feed(data)
        if seen:
            self._report(seen)


class BodyScan(NamedTuple):
    """Looks at one body: at its data, and at what a chunked one has beside them. Made by `LeakScan`."""

    data: StreamScan
    extensions: Callable[[bytes], None]
    trailers: Callable[[Headers], None]


class LeakScan:
    """Looks at one exchange.

    What the client sends upstream is a leak wherever a value shows in it: on a host that the value's rule does not
    cover because it may not go there, on one that it covers because the client should not have it. Only the credential
    that the proxy itself injects is none, so this is given the client's own head. A value in a header that the proxy
    replaces never gets upstream: it is recorded as held by the client. Whatever shows in an answer came back.

    Args:
        watchlist: what to look for.
        exchange: what is looked at.
        sink: takes each leak, and the same again with a higher count.
        test: the test that the connection belongs to.
        covering: the rules that apply to the exchange's host; of several rules with one value, one of these is named.
    """

    def __init__(
        self,
        watchlist: Watchlist,
        exchange: Exchange,
        sink: Callable[[Leak], None],
        test: str = "",
        covering: Collection[Rule] = (),
    ) -> None:
        self._watchlist = watchlist
        self._exchange = exchange
        self._sink = sink
        self._test = test
        self._covering = covering
        self._leaks: dict[tuple[Direction, str, Watched], Leak] = {}

    # ------------------------------------------------------------------ heads

    def request_head(self, head: RequestHead, injections: Iterable[Injection] = ()) -> None:
        """Look at the client's own head.

        Args:
            head: as the client sent it.
            injections: what the proxy put into the head that it sent instead.
        """
        if self._clear(head.headers, f"{head.method}\n{head.target}"):
            return
        self._text("upstream", "method", head.method)
        self._text("upstream", "target", head.target)
        self._fields("upstream", "header", head.headers, {injection.header.lower() for injection in injections})

    def response_head(self, head: ResponseHead) -> None:
        """Look at the head of an answer, interim ones included."""
        if self._clear(head.headers, head.reason):
            return
        self._text("client", "reason phrase", head.reason)
        self._fields("client", "header", head.headers)

    def request_trailers(self, trailers: Headers) -> None:
        """Look at the trailer fields of the request's body."""
        if not self._clear(trailers):
            self._fields("upstream", "trailer", trailers)

    def response_trailers(self, trailers: Headers) -> None:
        """Look at the trailer fields of the answer's body."""
        if not self._clear(trailers):
            self._fields("client", "trailer", trailers)

    def extensions(self, direction: Direction, data: bytes) -> None:
        """Look at the chunk extensions of a body (RFC 9112 section 7.1.1), which are no part of what it means."""
        self._report(direction, [Sighting("chunk extension", hit) for hit in self._watchlist.find_in(data)])

    def _clear(self, headers: Headers, text: str = "") -> bool:
        """Whether no text of a head holds anything."""
        if not self._watchlist:
            return True
        return not self._watchlist.suspects(_wire("\n".join(chain((text,), chain.from_iterable(headers)))))

    def _fields(self, direction: Direction, kind: str, headers: Headers, replaced: Collection[str] = ()) -> None:
        for name, value in headers:
            shown = "value" if self._text(direction, f"{kind} name", name) else name  # a place is no place for secrets
            self._text(direction, f"{kind} {shown}", value, held=name.lower() in replaced)

    def _text(self, direction: Direction, place: str, text: str, *, held: bool = False) -> bool:
        hits = self._watchlist.find_in(_wire(text))
        self._report(direction, [Sighting(place, hit) for hit in hits], held=held)
        return bool(hits)

    # ------------------------------------------------------------------ streams

    def request_body(self, headers: Headers) -> BodyScan:
        """What looks at the request's body: feed it the data bytes, framing left out. `headers` are the request's."""
        probe = body_probe(self._watchlist, headers, partial(self._unscanned, "body"))
        data = self._stream("upstream", _placed("body", probe))
        return BodyScan(data, partial(self.extensions, "upstream"), self.request_trailers)

    def response_body(self, headers: Headers) -> BodyScan:
        """What looks at the answer's body: feed it the data bytes, framing left out. `headers` are the answer's."""
        data = self._stream("client", _placed("body", body_probe(self._watchlist, headers)))
        return BodyScan(data, partial(self.extensions, "client"), self.response_trailers)

    def upgraded(self, head: ResponseHead) -> tuple[StreamScan, StreamScan]:
        """What looks at what follows a 101: at what the client sends, and at what the upstream does."""
        if (value_of(head.headers, "upgrade") or "").strip().lower() != "websocket":
            plain = [_placed(TUNNEL, Probe(self._watchlist)) for _ in range(2)]
            return self._stream("upstream", plain[0]), self._stream("client", plain[1])
        tell = partial(self._unscanned, "message")
        client = WebSocketProbe(self._watchlist, deflate_parameters(head.headers, client=True), tell)
        upstream = WebSocketProbe(self._watchlist, deflate_parameters(head.headers, client=False))
        return self._stream("upstream", client.feed), self._stream("client", upstream.feed)

    def _unscanned(self, place: str, why: str) -> None:
        """Note what was sent upstream and cannot be looked into."""
        text = f"{place}: {why}"
        if text not in self._exchange.unscanned:
            self._exchange.unscanned += (text,)

    def _stream(self, direction: Direction, feed: Callable[[bytes | memoryview], Sequence[Sighting]]) -> StreamScan:
        return StreamScan(feed, lambda seen: self._report(direction, seen))

    # ------------------------------------------------------------------ leaks

    def _report(self, direction: Direction, seen: Iterable[Sighting], *, held: bool = False) -> None:
        changed: dict[tuple[Direction, str, Watched], None] = {}
        for place, hit in seen:
            key = direction, place, hit.watched
            if key not in self._leaks and len(self._leaks) >= _MOST_PLACES:
                key = direction, _ELSEWHERE, hit.watched
            leak = self._leaks.get(key)
            if leak is None:
                self._leaks[key] = self._leak(direction, key[1], hit, held)
            else:
                self._leaks[key] = replace(leak, count=leak.count + 1)
            changed[key] = None
        for key in changed:
            self._sink(self._leaks[key])

    def _leak(self, direction: Direction, place: str, hit: Hit, held: bool) -> Leak:
        rules = hit.watched.rules
        rule = next((rule for rule in rules if rule in self._covering), rules[0])
        return Leak(
            rule.secret, rule.id, rule.grant, direction, place, hit.offset, self._exchange, self._test, client_held=held
        )


def _wire(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _placed(place: str, probe: Probe | CodedProbe) -> Callable[[bytes | memoryview], Sequence[Sighting]]:
    return lambda data: [Sighting(place, hit) for hit in probe.feed(data)]
