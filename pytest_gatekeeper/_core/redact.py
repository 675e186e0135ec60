"""Blanking secrets in text that is going to be shown.

A `Redactor` knows the values of a proxy's secrets and replaces each, in any encoding that standard encoders write, by
the secret's fingerprint. Most texts hold none, and finding that out costs a few substring searches. Finding leaks, with
their place and direction, is `leaks`'; nothing here keeps what it was shown.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from urllib.parse import unquote

from pytest_gatekeeper._core.model import Headers
from pytest_gatekeeper._core.rules import SCHEME
from pytest_gatekeeper._core.scan.needles import base64_cores
from pytest_gatekeeper._core.secret import Secret

__all__ = ["Redactor"]

_SHORTEST_PLAIN = 3  # characters; shorter values occur in any text
_SHORTEST_ENCODED = 4  # bytes; shorter ones have encodings that do
_BASE64_CHAR = "[A-Za-z0-9+/_-]"
_JSON_SHORT = {'"': '"', "\\": "\\", "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_JSON_LONG = {short: char for char, short in _JSON_SHORT.items()}
_JSON_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)")


def _wire(value: str) -> str:
    """A value as it stands in latin-1 text that was read from the wire."""
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def _datas(value: str) -> list[bytes]:
    """A value's bytes: UTF-8, and latin-1 where that is another one and can be (RFC 7617 section 2 leaves it open)."""
    datas = [value.encode("utf-8", "surrogateescape")]
    if not value.isascii():
        with contextlib.suppress(UnicodeEncodeError):
            datas.append(value.encode("latin-1"))
    return datas


def _char_pattern(char: str) -> str:
    """An expression for one character: as it is, percent-encoded (RFC 3986), or escaped in JSON (RFC 8259)."""
    units = char.encode("utf-16-be", "surrogatepass")
    escape = "".join(rf"\\u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2))
    forms = [re.escape(char), escape]
    if ord(char) < 256:
        forms.append(f"%(?i:{ord(char):02x})")
    if char in _JSON_SHORT:
        forms.append(re.escape("\\" + _JSON_SHORT[char]))
    if char == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(sorted(forms, key=len, reverse=True))})"


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) == 5 else _JSON_LONG.get(code, code)


def _from_json(text: str) -> str:
    """A text with JSON's escapes undone; halves of one character (RFC 8259 section 7) put together."""
    halves = _JSON_ESCAPE.sub(_unescaped, text)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Needle:
    """How to find one form of a secret.

    Attributes:
        plain: strings of which one is in any text that holds the form unescaped.
        decoded: the same, for a text whose escapes have been undone.
        encoded: whether it is long enough to be looked for in hexadecimal and base64.
    """

    def __init__(self, secret: Secret, value: str) -> None:
        self.secret = secret
        self._value = value
        wire = _wire(value)
        decoded = [value, wire, value.replace(" ", "+"), wire.replace(" ", "+")]
        if "%" in value:  # which some encoders leave alone: undone with the rest, it looks like an escape
            decoded.append(unquote(wire, "latin-1"))
        self.decoded = self.plain = tuple(dict.fromkeys(decoded))
        self._datas = _datas(value)
        self.encoded = min(map(len, self._datas)) >= _SHORTEST_ENCODED
        for data in self._datas if self.encoded else ():
            self.plain += (data.hex(), data.hex().upper())
            self.plain += tuple(form for core, _, _ in base64_cores(data) for form in _alphabets(core))

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """All that the form looks like; made when a text has raised suspicion for the first time."""
        patterns = ["".join(map(_char_pattern, text)) for text in dict.fromkeys((self._value, _wire(self._value)))]
        for data in self._datas if self.encoded else ():
            patterns.append(f"(?i:{data.hex()})")
            for core, before, after in base64_cores(data):
                ends = (f"{_BASE64_CHAR}?" if before else "", f"{_BASE64_CHAR}?" if after else "")
                patterns.extend(ends[0] + re.escape(form) + ends[1] + "={0,2}" for form in _alphabets(core))
        return re.compile("|".join(patterns))


def _alphabets(core: str) -> set[str]:
    """Base64 text in both alphabets (RFC 4648 sections 4 and 5)."""
    return {core, core.replace("+", "-").replace("/", "_")}


def _forms(secret: Secret) -> list[str]:
    """The texts to look for: the whole value, and without the scheme in front of it."""
    whole = secret.reveal().strip(" \t")
    forms = [whole]
    scheme = SCHEME.match(whole)
    if scheme is not None and len(whole) - scheme.end() >= _SHORTEST_ENCODED:
        forms.append(whole[scheme.end() :].strip())
    return [form for form in forms if len(form) >= _SHORTEST_PLAIN]


def _seeds(needles: list[_Needle]) -> list[_Needle]:
    """Those of a secret's forms of which one is in whatever holds any: the last, which the others end with.

    All of them where that one is too short to be looked for encoded.
    """
    return needles[-1:] if needles and needles[-1].encoded else needles


class Redactor:
    """Blanks the values of secrets: `Bearer s3cret-token` becomes `Bearer <secret 1a2b3c4d>`.

    Found are a value itself and what percent-encoding, base64 at any alignment (both alphabets), hexadecimal and JSON
    make of it; a value that starts with a scheme is found without it, too. Values of one or two characters are not.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        by_secret = [[_Needle(secret, form) for form in _forms(secret)] for secret in dict.fromkeys(secrets)]
        self._needles = [needle for needles in by_secret for needle in needles]
        seeds = [needle for needles in by_secret for needle in _seeds(needles)]
        self._plain = tuple(dict.fromkeys(plain for needle in seeds for plain in needle.plain))
        self._decoded = tuple(dict.fromkeys(plain for needle in seeds for plain in needle.decoded))

    def suspects(self, text: str) -> bool:
        """Whether a text may hold a secret; quicker than blanking its parts one by one."""
        for plain in self._plain:
            if plain in text:
                return True
        if "%" in text and self._holds(unquote(text, "latin-1")):
            return True
        return "\\" in text and self._holds(_from_json(text))

    def _holds(self, decoded: str) -> bool:
        return any(plain in decoded for plain in self._decoded)

    def blank(self, text: str) -> str:
        """The text with every secret in it blanked."""
        if not self.suspects(text):
            return text
        views = [text]
        if "%" in text:
            views.append(unquote(text, "latin-1"))
        if "\\" in text:
            views.append(_from_json(text))
        there = [needle for needle in self._needles if any(form in view for view in views for form in needle.plain)]
        found = [(*match.span(), needle) for needle in there for match in needle.expression.finditer(text)]
        found.sort(key=lambda span: (span[0], -span[1]))
        parts = []
        done = 0
        for start, end, needle in found:
            if start >= done:
                parts.append(text[done:start] + repr(needle.secret))
            done = max(done, end)
        return "".join(parts) + text[done:]

    def blank_headers(self, headers: Headers) -> Headers:
        """The header fields with every secret blanked; the same object where there is none."""
        if not self.suspects("\n".join(chain.from_iterable(headers))):
            return headers
        return tuple((self.blank(name), self.blank(value)) for name, value in headers)
