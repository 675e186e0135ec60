"""The fast lane: message heads so plain that they can mean one thing only, read by two expressions.

It exists for speed alone. h11 stays the judge (see `wire`): the lane answers None for whatever it does not recognise,
never with an error, and what it accepts h11 accepts with the same meaning, which `tests/proxy/test_lane.py` proves on
generated heads and `scripts/fuzz_heads.py` on a million. It may accept a head only if all of this holds:

- HTTP/1.1, every line ended by CRLF and by nothing else, one empty line, at the end;
- method and field names are tokens, a target is visible ASCII, a status is 100 to 999;
- a field is `name:value` or `name: value`, the value printable (obs-text included), no blanks around it, never folded;
- a request has exactly one Host;
- at most one framing field: a Content-Length of up to 18 digits, or a Transfer-Encoding spelled `chunked`.

To widen it, show first that h11 agrees. Nothing else may live here: no errors, no streams, no decisions.
"""

from __future__ import annotations

import re

from pytest_gatekeeper._core.model import Headers, RequestHead, ResponseHead

__all__ = ["fast_request", "fast_response"]

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # a token, RFC 9110 section 5.6.2
_REQUEST_LINE = re.compile(rf"({_NAME}) ([!-~]+) HTTP/1\.1(?=\r\n)")
_STATUS_LINE = re.compile(r"HTTP/1\.1 ([1-9][0-9][0-9])(?: ([ -~\x80-\xff]*))?(?=\r\n)")
_FIELD = re.compile(rf"\r\n({_NAME}): ?((?! )[ -~\x80-\xff]*)(?=\r\n)")
_FRAMING = {  # what the value of a framing field has to match
    "content-length": re.compile(r"[0-9]{1,18}").fullmatch,
    "transfer-encoding": re.compile(r"chunked").fullmatch,
}


def fast_request(raw: bytes) -> RequestHead | None:
    """Read a plain request head; None where h11 has to look at it."""
    text = raw.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    if line is None:
        return None
    headers = _fields(text, line.end(), True)
    return None if headers is None else RequestHead(line[1], line[2], "1.1", headers)


def fast_response(raw: bytes) -> ResponseHead | None:
    """Read a plain response head, interim ones included; None where h11 has to look at it."""
    text = raw.decode("latin-1")
    line = _STATUS_LINE.match(text)
    if line is None:
        return None
    headers = _fields(text, line.end(), False)
    return None if headers is None else ResponseHead(int(line[1]), line[2] or "", "1.1", headers)


def _fields(text: str, at: int, in_request: bool) -> Headers | None:
    """The fields after a start line that ends at `at`.

    A match of `_FIELD` starts at a line end and stops before the next one. So when there are as many as lines, between
    the start line and the empty line at the end, they cover every byte.
    """
    if not text.endswith("\r\n\r\n") or text.find(" \r\n", at) >= 0:
        return None
    headers = _FIELD.findall(text, at)
    if len(headers) != text.count("\n", at) - 2:
        return None
    hosts = framings = 0
    for name, value in headers:
        length = len(name)
        if length == 4:
            hosts += name.lower() == "host"
        elif length in (14, 17):
            plain = _FRAMING.get(name.lower())
            if plain is not None:
                framings += 1
                if plain(value) is None:
                    return None
    return None if framings > 1 or (in_request and hosts != 1) else tuple(headers)
