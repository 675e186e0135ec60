"""Facts about blanking secrets."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.scan.needles import forms
from pytest_gatekeeper._core.scan.watchlist import Watchlist
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret/to+ken&0123?"
SECRET = Secret(VALUE)
MARK = repr(SECRET)


def test_a_text_without_secrets_comes_back_as_it_is() -> None:
    """Texts and header fields that hold nothing are the same objects, also with percent signs in them."""
    redactor = Redactor([SECRET])
    for text in ("GET /v1?q=1", "100%25 of /a%20b", ""):
        assert redactor.blank(text) is text
    headers = (("Host", "api.example.com"), ("X-Path", "/a%20b"))
    assert redactor.blank_headers(headers) is headers
    assert Redactor([]).blank("50%") == "50%"


def test_a_secret_in_header_fields_is_blanked() -> None:
    """In values and in names, while the other fields stay."""
    redactor = Redactor([Secret("top-s3cret")])
    blanked = redactor.blank_headers((("Host", "x"), ("Cookie", "a=top-s3cret; b=1"), ("X-top-s3cret", "1")))
    mark = repr(Secret("top-s3cret"))
    assert blanked == (("Host", "x"), ("Cookie", f"a={mark}; b=1"), (f"X-{mark}", "1"))


def _base64(data: str, lead: int, tail: int) -> str:
    return base64.b64encode(b"x" * lead + data.encode() + b"y" * tail).decode()


ENCODINGS = {
    "raw": VALUE,
    "percent": quote(VALUE, safe=""),
    "percent, lower case": quote(VALUE, safe="").lower(),
    "percent, slash kept": quote(VALUE),
    "percent, every character": "".join(f"%{ord(char):02X}" for char in VALUE),
    "form": quote_plus(VALUE),
    "hex": VALUE.encode().hex(),
    "hex, upper case": VALUE.encode().hex().upper(),
    "base64, URL-safe": base64.urlsafe_b64encode(VALUE.encode()).decode(),
    "JSON": json.dumps(VALUE)[1:-1],
    "JSON, slash escaped": VALUE.replace("/", "\\/"),
    "JSON, HTML escaped": VALUE.replace("&", "\\u0026"),
    "JSON, every character": "".join(f"\\u{ord(char):04X}" for char in VALUE),
    "JSON, HTML escaped, upper case": VALUE.replace("&", "\\u0026").replace("/", "\\/"),
}


@pytest.mark.parametrize("encoded", ENCODINGS.values(), ids=ENCODINGS)
def test_a_secret_is_blanked_in_every_encoding(encoded: str) -> None:
    """What standard encoders write is found, and the text around it stays."""
    assert Redactor([SECRET]).blank(f"before={encoded}, after") == f"before={MARK}, after"


@pytest.mark.parametrize("lead", range(4))
@pytest.mark.parametrize("tail", range(4))
def test_base64_is_found_at_every_alignment(lead: int, tail: int) -> None:
    """No character that depends on the secret is left, whatever stands before and after it."""
    for alphabet in (str, lambda text: text.replace("+", "-").replace("/", "_")):
        text = alphabet(_base64(VALUE, lead, tail))
        other = alphabet(_base64("\x00" * len(VALUE), lead, tail))
        blanked = Redactor([SECRET]).blank(text)
        before, _, after = blanked.partition(MARK)
        assert MARK in blanked
        assert other.startswith(before) and other.endswith(after)


@pytest.mark.parametrize(
    "value", ["t\xf6k\u20acn", "two words", 'quo"te\\d', "a%41b%", "tab\there", "<it's> & more", "smile\U0001f600d"]
)
def test_unusual_values_are_blanked_in_every_encoding(value: str) -> None:
    """Characters beyond ASCII (as text and as UTF-8 bytes read as latin-1), spaces, quotes, percent signs."""
    redactor = Redactor([Secret(value)])
    mark = repr(Secret(value))
    wire = value.encode().decode("latin-1")
    forms = {value, wire, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], value.encode().hex()}
    forms |= {json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1].replace("<", "\\u003C")}
    for form in forms:
        assert redactor.blank(f"[{form}]") == f"[{mark}]"


@pytest.mark.parametrize(
    "value",
    [
        VALUE,
        "p\xe4ssw\xf6rd-geheim",
        "p%41ss%zz<w/rd>%",
        'say "\u20ac\U0001f600" or \\u0041',
        "a b+c d&e",
        "\xe9GV DKikc'yKK",
    ],
)
def test_whatever_the_scan_finds_is_blanked(value: str) -> None:
    """Every form that a leak is seen in, latin-1 among them: blanked, there is nothing left to be seen."""
    secret = Secret(value)
    watchlist = Watchlist([Rule("r", "api.example.com", "X-Key", "", secret, secret)])
    blank = Redactor([secret]).blank
    for form in forms(value):
        text = f"k={form.decode('latin-1')}&x"
        assert watchlist.find_in(text.encode("latin-1")), form
        assert not watchlist.find_in(blank(text).encode("latin-1")), form


def test_a_value_with_a_scheme_is_found_without_it() -> None:
    """`Bearer abc...` leaks when the token alone does; a rest that is too short is found with its scheme only."""
    redactor = Redactor([Secret("Bearer top-s3cret")])
    mark = repr(Secret("Bearer top-s3cret"))
    assert redactor.blank("a top-s3cret b") == f"a {mark} b"
    assert redactor.blank("a Bearer top-s3cret b") == f"a {mark} b"
    redactor = Redactor([Secret("Bearer abc")])
    assert redactor.blank("abc") == "abc"
    assert redactor.blank("Bearer abc") == repr(Secret("Bearer abc"))


def test_basic_credentials_are_blanked() -> None:
    """The base64 of `user:value` holds the value."""
    redactor = Redactor([SECRET])
    text = "Basic " + base64.b64encode(f"user:{VALUE}".encode()).decode()
    assert MARK in redactor.blank(text)
    assert text[-8:] not in redactor.blank(text)


def test_overlapping_secrets_leave_no_rest() -> None:
    """Where two secrets share characters, or one holds the other, all of both is blanked."""
    redactor = Redactor([Secret("abcdef"), Secret("defghi"), Secret("cd")])
    assert redactor.blank("<abcdefghi>") == f"<{Secret('abcdef')!r}>"
    redactor = Redactor([Secret("value"), Secret("value-two")])
    assert redactor.blank("value-two value") == f"{Secret('value-two')!r} {Secret('value')!r}"


def test_values_of_one_or_two_characters_are_not_looked_for() -> None:
    """They occur in any text; three characters are found as they are, but not encoded."""
    assert Redactor([Secret("ab")]).blank("about") == "about"
    assert Redactor([Secret("abo")]).blank("about") == f"{Secret('abo')!r}ut"
    assert Redactor([Secret("abo")]).blank("61626f") == "61626f"


@given(st.text(min_size=4, max_size=20), st.text(max_size=10), st.text(max_size=10))
def test_no_blanked_text_holds_the_value(value: str, before: str, after: str) -> None:
    """Whatever stands around it; white space at the ends of a value is no part of it."""
    value = value.strip(" \t")
    assume(len(value) >= 3 and value not in repr(Secret(value)))
    blanked = Redactor([Secret(value)]).blank(before + value + after)
    assert repr(Secret(value)) in blanked
    assert value not in blanked.replace(repr(Secret(value)), "\x00\x01")


@given(
    st.sampled_from(["", "Bearer ", "Basic  ", "token   "]),
    st.text(alphabet='abXY09+/= %"\\é', min_size=2, max_size=12),
    st.integers(0, 3),
)
def test_a_value_with_a_scheme_is_found_whole_and_without_it(scheme: str, token: str, lead: int) -> None:
    """In each encoding, however short what follows the scheme is."""
    assume(len(f"{scheme}{token}".strip()) >= 4)
    redactor = Redactor([Secret(scheme + token)])
    value = (scheme + token).strip(" \t")
    data = value.encode()
    assert redactor.suspects(f"<{value}>")
    assert redactor.suspects(f"<{quote(value)}>")
    assert redactor.suspects(f"<{json.dumps(value)[1:-1]}>")
    assert redactor.suspects(f"<{data.hex()}>")
    assert redactor.suspects(f"<{base64.b64encode(b'x' * lead + data).decode()}>")
