"""The lines of the proxy's log: which fields one has, in which order, and how it is written down.

Lines are those of the production gatekeeper, so that whoever reads its log can read this one: one line a request, one
for a policy denial, and here also one for a CONNECT whose tunnel was used. Texts are written as Go's `log/slog` does.
What was injected shows by header name and grant alone: no secret is opened here. Where a line goes, and at which time
it was written, is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal
from urllib.parse import unquote_to_bytes

from pytest_gatekeeper._core.hosts import join_authority
from pytest_gatekeeper._core.model import Injection
from pytest_gatekeeper._core.records import Level, LogLine

__all__ = ["connect_line", "denial_line", "dropped_line", "json_text", "request_level", "request_line", "text"]

Blank = Callable[[str], str]
Value = str | int | float | bool
Field = tuple[str, Value]

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_NEEDS_QUOTES = re.compile('[\x00-\x20"=\ufffd]')
_NAMED = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
    "\v": "\\v",
}  # fmt: skip
_JSON_NAMED = {char: _NAMED[char] for char in '"\\\n\r\t'}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_CAPTURE = 256  # bytes
_JSON_SPECIAL = re.compile('["\\\\\x00-\x1f\u2028\u2029\ud800-\udfff]')


def _same(text: str) -> str:
    return text


# ------------------------------------------------------------------ lines


def request_line(
    *,
    request_id: str,
    method: str,
    host: str,
    target: str,
    status: int,
    duration: float,
    proxy_type: Literal["http", "connect"],
    client_ip: str,
    user_id: str = "",
    injections: Sequence[Injection] = (),
    deny_reason: str = "",
    request_size: int | None = None,
    response_size: int | None = None,
    error: str | None = None,
    captured: Sequence[tuple[str, str]] = (),
    blank: Blank = _same,
) -> LogLine:
    """The line of one request, or of a CONNECT that was refused.

    Args:
        request_id: the X-Request-Id that was sent upstream.
        method: of the request.
        host: as the client spelled it, without brackets and port.
        target: the request target as the client sent it (latin-1); the line has its path, percent-decoded.
        status: of the answer that the client got.
        duration: seconds.
        proxy_type: `connect` for what came through a tunnel, `http` for a plain request to the listener.
        client_ip: the client's address without a port.
        user_id: of proxy authentication, or "".
        injections: the credentials that were sent upstream.
        deny_reason: why policy denied the request; "" where it did not.
        request_size: the declared Content-Length, 0 without a body; None for a chunked one and for a CONNECT.
        response_size: the same of the answer; 0 for a 101, None where it is chunked or ends with the connection.
        error: what went wrong, or None.
        captured: (log key, value) pairs of `log.capture_headers`, as the client sent them (latin-1).
        blank: hides secrets in what the client and the upstream worded (`Redactor.blank`).
    """
    fields = _opening(request_id, method, host, _path(target), status, duration, proxy_type, blank)
    fields.extend(_client(user_id, client_ip, blank))
    fields.extend(_credentials(injections))
    if deny_reason:
        fields += ("denied", True), ("deny_reason", blank(deny_reason))
    if request_size is not None:
        fields.append(("request_size", request_size))
    if response_size is not None:
        fields.append(("response_size", response_size))
    if error is not None:
        fields.append(("error", blank(error)))
    fields.extend((key, _captured(value, blank)) for key, value in captured)
    return LogLine(request_level(status, error, deny_reason), "request", tuple(fields))


def request_level(status: int, error: str | None, deny_reason: str = "") -> Level:
    """The level of a request's line."""
    if error is not None or status >= 500:
        return "ERROR"
    return "WARN" if deny_reason or status >= 400 else "INFO"


def connect_line(
    *,
    request_id: str,
    host: str,
    port: int,
    duration: float,
    client_ip: str,
    user_id: str = "",
    injections: Sequence[Injection] = (),
    blank: Blank = _same,
) -> LogLine:
    """The line of a CONNECT that succeeded; it comes before that of the first request in the tunnel.

    Production's WebSocket guide shows it, with the credential that the first request got.

    Args:
        request_id: of that request.
        host: of CONNECT, without brackets.
        port: of CONNECT; `http_host` has both.
        duration: seconds until the tunnel was open.
        client_ip: as in `request_line`.
        user_id: as in `request_line`.
        injections: the credentials that were sent upstream with the first request.
        blank: as in `request_line`.
    """
    fields = _opening(request_id, "CONNECT", join_authority(host, port), "", 200, duration, "connect", blank)
    return LogLine("INFO", "request", (*fields, *_client(user_id, client_ip, blank), *_credentials(injections)))


def denial_line(
    operation: Literal["http.connect", "http.request"], deny_reason: str, *, blank: Blank = _same
) -> LogLine:
    """The second line of what policy denied; it comes after that of the request."""
    return LogLine(
        "WARN",
        "policy denial",
        (
            ("run_id", ""),
            ("scope", "network"),
            ("operation", operation),
            ("rule", ""),
            ("message", blank(deny_reason)),
        ),
    )


def dropped_line(peer: str, error: str) -> LogLine:
    """The line of a connection that was cut because its PROXY protocol header is malformed; `peer` is `host:port`."""
    return LogLine("DEBUG", "dropping connection: malformed PROXY protocol header", (("peer", peer), ("err", error)))


def _opening(
    request_id: str, method: str, host: str, path: str, status: int, duration: float, proxy_type: str, blank: Blank
) -> list[Field]:
    """The fields that every line of a request has."""
    return [
        ("request_id", blank(request_id)),
        ("http_method", blank(method)),
        ("http_host", blank(host)),
        ("http_path", blank(path)),
        ("http_status", status),
        ("duration_ms", round(duration * 1000, 6)),
        ("proxy_type", proxy_type),
    ]


def _client(user_id: str, client_ip: str, blank: Blank) -> list[Field]:
    fields: list[Field] = [("user_id", blank(user_id))] if user_id else []
    return [*fields, ("client_ip", client_ip)] if client_ip else fields


def _credentials(injections: Sequence[Injection]) -> list[Field]:
    """What was injected, by name; equal grants of several headers stay."""
    if not injections:
        return []
    headers = sorted({injection.header.lower() for injection in injections})
    grants = sorted(injection.grant for injection in injections if injection.grant)
    fields: list[Field] = [("credential_injected", True), ("injected_headers", ",".join(headers))]
    return [*fields, ("grants", ",".join(grants))] if grants else fields


def _path(target: str) -> str:
    """The path of a request target in any form (RFC 9112 section 3.2), percent-decoded, without the query.

    Bytes that are no UTF-8 are lone surrogates (PEP 383), as they can be written down only with an escape.
    """
    path = target.partition("?")[0]
    if not path.startswith(("/", "*")):
        absolute = _ABSOLUTE.match(path)
        path = path[absolute.end() :] if absolute else ""
    if "%" not in path and path.isascii():
        return path
    return unquote_to_bytes(path.encode("latin-1")).decode("utf-8", "surrogateescape")


def _captured(value: str, blank: Blank) -> str:
    """A captured header's value without control characters and bytes that are no UTF-8, cut at 256 bytes.

    It is blanked as it came, since of a secret that the cut falls into a part would be left, and as it is shown.
    """
    text = blank(_CONTROLS.sub("", blank(value).encode("latin-1", "replace").decode("utf-8", "ignore")))
    return text.encode("utf-8")[:_LONGEST_CAPTURE].decode("utf-8", "ignore")


# ------------------------------------------------------------------ logfmt


def text(line: LogLine, when: datetime | None = None) -> str:
    """A line as slog's TextHandler writes it, without the line's end.

    Args:
        line: what to write.
        when: the time to put in front of it, with the level; needs a zone. None leaves both out.
    """
    pairs = [("msg", line.message), *line.fields]
    if when is not None:
        pairs[:0] = ("time", _rfc3339(when.isoformat(timespec="milliseconds"))), ("level", line.level)
    return " ".join([f"{key}={_text_value(value)}" for key, value in pairs])


def _text_value(value: Value) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number(value) if isinstance(value, float) else str(value)


def _quoted(value: str) -> str:
    """A text, in quotes where it is empty or holds a space, `=`, `"` or what cannot be printed.

    DEL alone needs none: slog's table of safe characters has it.
    """
    if value and not _NEEDS_QUOTES.search(value) and value.replace("\x7f", "").isprintable():
        return value
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(char: str) -> str:
    """A character as Go's strconv.Quote writes it."""
    if char in _NAMED:
        return _NAMED[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _number(value: float) -> str:
    """A number as Go's strconv.FormatFloat writes it with `g`: the shortest digits, an exponent from 1e6 on."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{mantissa}e{int(exponent):+03d}"


# ------------------------------------------------------------------ JSON


def json_text(line: LogLine, when: datetime | None = None) -> str:
    """A line as slog's JSONHandler writes it: one object, without the line's end. `when` as in `text`."""
    pairs = [("msg", line.message), *line.fields]
    if when is not None:
        pairs[:0] = ("time", _rfc3339(_trimmed(when))), ("level", line.level)
    return f"{{{','.join([f'{_string(key)}:{_json_value(value)}' for key, value in pairs])}}}"


def _json_value(value: Value) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    digits = repr(value).removesuffix(".0")
    return f"{Decimal(digits):f}" if "e" in digits else digits


def _string(value: str) -> str:
    """A JSON string (RFC 8259 section 7) with the escapes that slog uses; bytes that are no UTF-8 are U+FFFD."""
    return f'"{_JSON_SPECIAL.sub(_json_escaped, value)}"'


def _json_escaped(match: re.Match[str]) -> str:
    char = match[0]
    code = 0xFFFD if "\ud800" <= char <= "\udfff" else ord(char)
    return _JSON_NAMED.get(char) or f"\\u{code:04x}"


# ------------------------------------------------------------------ time


def _trimmed(when: datetime) -> str:
    """A time to the microsecond, without zeros at the end of the fraction."""
    whole, dot, fraction = when.isoformat(timespec="microseconds").partition(".")
    digits = fraction[:6].rstrip("0")
    return whole + (dot + digits if digits else "") + fraction[6:]


def _rfc3339(when: str) -> str:
    return when[:-6] + "Z" if when.endswith("+00:00") else when
