"""Hold the fast lane against its judge: whatever `_proxy.lane` accepts, h11 accepts with the same meaning.

    python scripts/fuzz_heads.py                     # a million heads, another million each time
    python scripts/fuzz_heads.py --heads 20000 --seed 7

Half of the heads are plain, the others are mutated one to three times, by line or by byte. Ends with 1 at the first
disagreement, which is printed, and when the lane accepts so few heads that the run would prove nothing. Needs the
environment of the tests.
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from random import Random
from typing import NamedTuple

import h11

from pytest_gatekeeper._core.model import Headers, RequestHead, ResponseHead
from pytest_gatekeeper._proxy.lane import fast_request, fast_response

Head = RequestHead | ResponseHead
LEAST_ACCEPTED = 0.2
"""The share of heads that the lane has to accept for a run to count."""

METHODS = (
    b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"CONNECT", b"OPTIONS", b"get", b"M-SEARCH", b"!#$%&'*+-.^_`|~",
)  # fmt: skip
TARGETS = (
    b"/", b"*", b"/v1/items?a=1&b=%20", b"http://a.example/x", b"a.example:443", b"/" + b"x" * 300, b'/"<>\\^`{|}',
)  # fmt: skip
STATUSES = (
    b"100", b"101", b"103", b"200", b"204", b"206", b"301", b"304", b"404", b"500", b"599", b"999",
)  # fmt: skip
REASONS = (
    b"OK", b"", b"Not Found", b"a  b", b"\xe9t\xe9", b"(:,;)", b" OK ",
)  # fmt: skip
NAMES = (
    b"Accept", b"X-Y", b"Cookie", b"Connection", b"Upgrade", b"Expect", b"TE", b"Trailer", b"Date", b"x_y.z", b"Hos",
    b"Hosts", b"Content-Lengths", b"X-Content-Length", b"Transfer_Encoding", b"1", b"!#$%&'*+-.^_`|~",
)  # fmt: skip
VALUES = (
    b"*/*", b"", b"a", b"a b", b"a  b: c", b"keep-alive", b"close", b"upgrade", b"websocket", b"100-continue",
    b"\xe9\xff\x80\x85\xa0", b'"q\\"', b":", b"x" * 200, b"chunked", b"12", b"a,b , c",
)  # fmt: skip
HOSTS = (b"Host: a.example", b"host:a", b"HOST: [::1]:8")
FRAMING = (
    b"Content-Length: 0", b"content-length: 12", b"CONTENT-LENGTH:007", b"Content-Length: 123456789012345678",
    b"Transfer-Encoding: chunked", b"transfer-encoding:chunked",
)  # fmt: skip
ODD_FIELDS = (
    b"Content-Length: 3, 3", b"Content-Length: 3, 4", b"Content-Length: +3", b"Content-Length: -0",
    b"Content-Length:", b"Content-Length: 0x10", b"Content-Length: 1_0", b"Content-Length: \xb2",
    b"Content-Length: 3;", b"Content-Length: 1 2", b"Content-Length: 1234567890123456789",
    b"Content-Length: 123456789012345678901", b"Content-Length : 3", b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding:", b"Transfer-Encoding : chunked", b"Host: b.example",
    b"host:c", b"HOST:", b"Host : a", b" Host: a", b"Ho\xf8st: a", b"Host\x00: a", b"Host", b": a", b":",
    b"X: a\x00b", b"X: a\x7fb", b"X: a\x1fb", b"X: a\x0bb", b"X: \x0ca", b"X: a\tb", b"X:\ta", b"X: a ", b"X: a\t",
    b"X:  a", b"X:", b"X: ", b" folded", b"\tfolded", b"\xa0X: a", b"X\xa0: a", b"X: \xa0", b"X:\x85", b"(X): a",
    b"X Y: a", b"",
)  # fmt: skip
ENDINGS = (
    b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\r\n", b" \r\n", b"\t\r\n", b"\r\n ", b"\x0b\r\n", b"\x85", b"\x1c\r\n",
    b"",
)  # fmt: skip
START_LINES = (
    b"GET / HTTP/1.0", b"GET / HTTP/0.9", b"GET / HTTP/2.0", b"GET / HTTP/1.10", b"GET / http/1.1", b"GET /",
    b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET / x HTTP/1.1",
    b"GET /\xe9 HTTP/1.1", b"G@T / HTTP/1.1", b"GET /\x7f HTTP/1.1", b"HTTP/1.0 200 OK", b"HTTP/1.1 200",
    b"HTTP/1.1 200 ", b"HTTP/1.1 20 OK", b"HTTP/1.1 099 Low", b"HTTP/1.1 000 Zero", b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 200OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 200 O\tK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 \xb2\xb2\xb2 OK",
    b"HTTP/2.0 200 OK", b"HTTP/1.1 200\tOK", b"",
)  # fmt: skip
ODD_BYTES = b'\x00\x01\t\n\x0b\x0c\r\x1c\x1f :,;="()@/AZaz09\x7f\x80\x85\xa0\xb2\xff'


class Tally(NamedTuple):
    """What a run came to."""

    total: int
    accepted: int
    disagreement: tuple[bytes, Head, Head | None] | None  # the head, what the lane made of it, what h11 did

    @property
    def declined(self) -> int:
        """Heads that the lane left to h11."""
        return self.total - self.accepted


def judged(raw: bytes, kind: type[Head]) -> Head | None:
    """What h11 makes of a head, None when it refuses it or does not use all of it."""
    connection = h11.Connection(h11.SERVER if kind is RequestHead else h11.CLIENT, max_incomplete_event_size=1 << 20)
    if kind is ResponseHead:
        asked = [("Host", "x"), ("Connection", "upgrade"), ("Upgrade", "x")]
        connection.send(h11.Request(method="GET", target="/", headers=asked))
    try:
        connection.receive_data(raw)
        event = connection.next_event()
    except h11.ProtocolError:
        return None
    if connection.trailing_data != (b"", False):
        return None
    if isinstance(event, h11.Request):
        start = event.method.decode("latin-1"), event.target.decode("latin-1")
        return RequestHead(*start, event.http_version.decode(), _pairs(event))
    if isinstance(event, h11.Response | h11.InformationalResponse):
        reason = event.reason.decode("latin-1")
        return ResponseHead(event.status_code, reason, event.http_version.decode(), _pairs(event))
    return None


def _pairs(event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers.raw_items())


def plain(random: Random, kind: type[Head]) -> list[bytes]:
    """The lines of a head that nobody could misread."""
    if kind is RequestHead:
        lines = [b"%b %b HTTP/1.1" % (random.choice(METHODS), random.choice(TARGETS))]
    else:
        lines = [b"HTTP/1.1 %b %b" % (random.choice(STATUSES), random.choice(REASONS))]
    for _ in range(random.randrange(7)):
        lines.append(random.choice(NAMES) + random.choice((b": ", b": ", b":")) + random.choice(VALUES))
    if kind is RequestHead:
        lines.insert(random.randrange(1, len(lines) + 1), random.choice(HOSTS))
    if random.random() < 0.4:
        lines.insert(random.randrange(1, len(lines) + 1), random.choice(FRAMING))
    return lines


def bend_lines(random: Random, lines: list[bytes]) -> None:
    """One change to the lines of a head."""
    at = random.randrange(len(lines))
    change = random.randrange(7)
    if change == 0:
        lines.insert(at, random.choice(ODD_FIELDS))
    elif change == 1:
        lines.append(random.choice(ODD_FIELDS))
    elif change == 2:
        lines.insert(random.randrange(1, len(lines) + 1), lines[at])
    elif change == 3 and len(lines) > 1:
        del lines[at]
    elif change == 4:
        lines[0] = random.choice(START_LINES)
    elif change == 5:
        lines[at] += random.choice(ENDINGS) + random.choice((b"", random.choice(ODD_FIELDS)))
    else:
        lines[at] = random.choice((bytes.upper, bytes.lower, bytes.swapcase, bytes.title))(lines[at])


def bend_bytes(random: Random, raw: bytes) -> bytes:
    """One change to the bytes of a head."""
    at = random.randrange(len(raw) + 1)
    change = random.randrange(6)
    odd = bytes((random.choice(ODD_BYTES) if random.random() < 0.8 else random.randrange(256),))
    if change == 0:
        return raw[:at] + odd + raw[at:]
    if change == 1:
        return raw[:at] + odd + raw[at + 1 :]
    if change == 2:
        return raw[:at] + raw[at + random.randrange(1, 4) :]
    if change == 3:
        return raw[:at] + raw[max(0, at - random.randrange(1, 60)) :]
    if change == 4:
        end = raw.find(b"\r\n", at)
        return raw if end < 0 else raw[:end] + random.choice(ENDINGS) + raw[end + 2 :]
    return raw[:at]


def heads(count: int, random: Random) -> Iterator[tuple[type[Head], bytes]]:
    """`count` heads, plain ones and mutated ones."""
    for _ in range(count):
        kind: type[Head] = random.choice((RequestHead, ResponseHead))
        lines = plain(random, kind)
        bends = random.randrange(1, 4) if random.random() < 0.5 else 0
        line_bends = random.randrange(bends + 1)
        for _ in range(line_bends):
            bend_lines(random, lines)
        raw = b"\r\n".join((*lines, b"", b""))
        for _ in range(bends - line_bends):
            raw = bend_bytes(random, raw)
        yield kind, raw


def compare(
    material: Iterator[tuple[type[Head], bytes]],
    request_lane: Callable[[bytes], RequestHead | None] = fast_request,
    response_lane: Callable[[bytes], ResponseHead | None] = fast_response,
) -> Tally:
    """Show each head to the lane, and to h11 what the lane accepts. Ends at the first disagreement."""
    total = accepted = 0
    for kind, raw in material:
        total += 1
        found = request_lane(raw) if kind is RequestHead else response_lane(raw)
        if found is not None:
            accepted += 1
            verdict = judged(raw, kind)
            if verdict != found:
                return Tally(total, accepted, (raw, found, verdict))
    return Tally(total, accepted, None)


def main() -> None:
    """Run and print the counts; exit with 1 when the lane is wrong, or too idle to tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--heads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    options = parser.parse_args()
    started = time.monotonic()
    tally = compare(heads(options.heads, Random(options.seed)))
    print(
        f"fuzz_heads: seed {options.seed}: {tally.accepted} accepted by the lane, {tally.declined} declined, "
        f"{tally.total} in all, in {time.monotonic() - started:.1f} s"
    )
    if tally.disagreement is not None:
        raw, found, verdict = tally.disagreement
        raise SystemExit(f"fuzz_heads: h11 {version('h11')} disagrees\nhead: {raw!r}\nlane: {found}\nh11:  {verdict}")
    if tally.accepted < LEAST_ACCEPTED * tally.total:
        raise SystemExit(f"fuzz_heads: the lane accepted less than {LEAST_ACCEPTED:.0%}: this proves nothing")


if __name__ == "__main__":
    main()
