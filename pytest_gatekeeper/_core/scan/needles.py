"""What the value of a secret looks like on the wire, in every encoding that standard encoders write.

A form is a run of bytes which, wherever it stands, shows the whole value: the value itself, and what percent-encoding,
base64, hexadecimal and JSON make of it. Encoders differ in what they leave alone, so there are several forms of most
kinds. Nothing is searched here, and nothing here keeps a value.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.rules import SCHEME

__all__ = ["SHORTEST", "Encoding", "base64_cores", "forms", "scanned"]

Encoding = Literal["raw", "percent", "base64", "hex", "json"]
"""What made a form of a value."""

SHORTEST = 8
"""Characters of a value that is looked for; shorter ones would be seen where they are not."""

_URL_SAFE = str.maketrans("+/", "-_")
_ALNUM = string.ascii_letters + string.digits
_PLAIN = frozenset(_ALNUM + "-._")  # what only an encoder that escapes everything escapes

# Characters beside letters and digits that an encoder leaves alone, and what it makes of a space.
_PERCENT = (
    ("-._~", "%20"),  # RFC 3986's unreserved ones: quote(safe=""), PHP's rawurlencode
    ("-._~", "+"),  # quote_plus, Go's QueryEscape
    ("-._~/", "%20"),  # quote
    ("-._", "+"),  # PHP's urlencode
    ("-._*", "+"),  # application/x-www-form-urlencoded (WHATWG URL section 5), Java's URLEncoder
    ("-._~!*'()", "%20"),  # encodeURIComponent
    ("-._~!*'();/?:@&=+$,#", "%20"),  # encodeURI
    ("-._~$&+=:@", "%20"),  # Go's PathEscape
    ("-._~$&+,/:;=@", "%20"),  # Go's URL paths
    ("-._~!#$%&'()*+,/:;=?@[]", "%20"),  # requests
    ("-._~!$%&'()*+,/:;=@[]|\\", "%20"),  # WHATWG URL: path
    ("-._~!$%&()*+,/:;=?@[]|\\^`{}", "%20"),  # WHATWG URL: query
)

_JSON_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SLASH = {**_JSON_SHORT, "/": "\\/"}
_BACKSLASH = {"\\": "\\\\"}
_HTML = "<>&\u2028\u2029"

# What is written as \u: all beyond ASCII, or these characters; and the short escapes that are used.
_JSON: tuple[tuple[bool, str, dict[str, str]], ...] = (
    (False, "", _JSON_SHORT),  # JSON.stringify, ensure_ascii=False
    (True, "", _JSON_SHORT),
    (True, "\x7f", _JSON_SHORT),  # json.dumps
    (False, "", _SLASH),
    (True, "", _SLASH),  # PHP's json_encode
    (False, _HTML, _JSON_SHORT),  # Go's encoding/json
    (True, _HTML, _JSON_SHORT),  # Django's json_script
    (True, "<>&'", _JSON_SHORT),
    (True, "<>&'=", _JSON_SHORT),  # Gson
    (True, "<>&'\"+`\x7f", _BACKSLASH | {key: text for key, text in _JSON_SHORT.items() if key < " "}),  # .NET
)


def scanned(rule: Rule) -> str:
    """The text of a rule's secret that is looked for; "" where it is too short.

    White space at both ends is left out, as it cannot be sent, and so is a scheme that stands in front of the value of
    Authorization, so that the bare token is found, too.
    """
    value = rule.secret.reveal().strip(" \t")
    scheme = SCHEME.match(value)
    if scheme is not None and rule.header.lower() == "authorization" and rule.header_value == value:
        token = value[scheme.end() :].strip(" \t")
        if len(token) >= SHORTEST:
            return token
    return value if len(value) >= SHORTEST else ""


def forms(value: str) -> dict[bytes, Encoding]:
    """Everything a value may look like, each once, the value itself first.

    A value that has characters beyond ASCII is taken as UTF-8 and as latin-1, both of which headers carry.
    """
    found: dict[bytes, Encoding] = {}
    datas = [value.encode("utf-8", "surrogateescape")]
    if not value.isascii():
        datas.extend(_latin1(value))
    makers: tuple[tuple[Encoding, Callable[[bytes], Iterator[bytes]]], ...] = (
        ("raw", lambda data: iter((data,))),
        ("hex", _hexadecimal),
        ("base64", _base64),
        ("percent", _percent),
    )
    for encoding, make in makers:
        for data in datas:
            for form in make(data):
                found.setdefault(form, encoding)
    for form in _json(value):
        found.setdefault(form, "json")
    return found


def _latin1(value: str) -> Iterator[bytes]:
    try:
        yield value.encode("latin-1")
    except UnicodeEncodeError:
        return


def _hexadecimal(data: bytes) -> Iterator[bytes]:
    text = data.hex()
    yield text.encode()
    yield text.upper().encode()


def _base64(data: bytes) -> Iterator[bytes]:
    """What base64 makes of it, in both alphabets (RFC 4648 sections 4 and 5)."""
    for core, _, _ in base64_cores(data):
        yield core.encode()
        yield core.translate(_URL_SAFE).encode()


def base64_cores(data: bytes) -> Iterator[tuple[str, bool, bool]]:
    """For each alignment the characters that `data` alone settles, and whether it shares one more at either side."""
    for lead in range(3):
        text = base64.b64encode(bytes(lead) + data).decode("ascii")
        start, end = -(-8 * lead // 6), 8 * (lead + len(data)) // 6
        yield text[start:end], lead > 0, 8 * (lead + len(data)) % 6 > 0


def _percent(data: bytes) -> Iterator[bytes]:
    """RFC 3986 section 2.1, with capitals and without; also every byte escaped."""
    if not _PLAIN.issuperset(data.decode("latin-1")):
        for table in _percent_tables():
            yield b"".join([table[byte] for byte in data])
    every = "%" + data.hex("%")
    yield every.encode()
    yield every.upper().encode()


@cache
def _percent_tables() -> tuple[tuple[bytes, ...], ...]:
    """What each encoder makes of each byte, with capital digits and with small ones."""
    return tuple(
        tuple(
            space.encode() if byte == 0x20 else bytes((byte,)) if byte in keep else (digits % byte).encode()
            for byte in range(256)
        )
        for digits in ("%%%02X", "%%%02x")
        for space, keep in ((space, frozenset((_ALNUM + left).encode())) for left, space in _PERCENT)
    )


def _json(value: str) -> Iterator[bytes]:
    r"""RFC 8259 section 7, with `\u` for what needs it, for what some encoders add, and for every character."""
    if not _PLAIN.issuperset(value):
        for table in _json_tables():
            yield value.translate(table).encode("utf-8", "surrogateescape")
    every = "\\" + value.encode("utf-16-be", "surrogatepass").hex("\\", 2)
    yield every.replace("\\", "\\u").encode()
    yield every.upper().replace("\\", "\\u").encode()


class _Escapes(dict[int, str]):
    """What one encoder makes of a character (its code point), worked out when it is asked for the first time."""

    def __init__(self, digits: str, ascii_only: bool, extra: str, short: dict[str, str]) -> None:
        super().__init__()
        self._digits, self._ascii_only, self._extra, self._short = digits, ascii_only, extra, short

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char in self._extra or (self._ascii_only and char > "\x7f") or (char < " " and char not in self._short):
            units = char.encode("utf-16-be", "surrogatepass")
            made = "".join(self._digits % int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
        else:
            made = self._short.get(char, char)
        self[code] = made
        return made


@cache
def _json_tables() -> tuple[_Escapes, ...]:
    """With small digits and with capital ones."""
    return tuple(_Escapes(digits, *encoder) for digits in ("\\u%04x", "\\u%04X") for encoder in _JSON)
