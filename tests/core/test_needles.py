"""Facts about what a secret's value looks like on the wire."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.model import Credential, Rule, SourceSpec
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.scan.needles import forms, scanned
from pytest_gatekeeper._core.secret import Secret

VALUE = 's3cret/to+ken&01?é<€>"~'


def rule(value: str, header: str = "Authorization", **more: str) -> Rule:
    credential = Credential("api.example.com", SourceSpec("static"), header, **more)  # type: ignore[arg-type]
    return make_rule("credentials[0]", credential, Secret(value))


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        ("raw", VALUE.encode()),
        ("hex", VALUE.encode().hex().encode()),
        ("hex", VALUE.encode().hex().upper().encode()),
        ("percent", quote(VALUE).encode()),
        ("percent", quote(VALUE, safe="").encode()),
        ("percent", quote_plus(VALUE).lower().encode()),
        ("percent", urlencode({"": VALUE})[1:].encode()),
        ("percent", b"s3cret%2Fto%2Bken%2601%3F%C3%A9%3C%E2%82%AC%3E%22~"),  # encodeURIComponent
        ("percent", b"s3cret/to+ken&01?%C3%A9%3C%E2%82%AC%3E%22~"),  # encodeURI
        ("percent", b"s3cret%2Fto%2Bken%2601%3F%C3%A9%3C%E2%82%AC%3E%22%7E"),  # a form, as browsers send it
        ("percent", b"s3cret/to+ken&01%3F%C3%A9%3C%E2%82%AC%3E%22~"),  # a path, as browsers send it
        ("percent", "".join(f"%{byte:02X}" for byte in VALUE.encode()).encode()),
        ("percent", "".join(f"%{byte:02x}" for byte in VALUE.encode()).encode()),
        ("json", json.dumps(VALUE)[1:-1].encode()),
        ("json", json.dumps(VALUE, ensure_ascii=False)[1:-1].encode()),
        ("json", json.dumps(VALUE)[1:-1].replace("/", "\\/").encode()),  # PHP
        ("json", 's3cret/to+ken\\u002601?é\\u003c€\\u003e\\"~'.encode()),  # Go
        ("json", b"s3cret/to\\u002Bken\\u002601?\\u00E9\\u003C\\u20AC\\u003E\\u0022~"),  # .NET
        ("json", "".join(f"\\u{ord(char):04x}" for char in VALUE).encode()),
        ("json", "".join(f"\\u{ord(char):04X}" for char in VALUE).encode()),
    ],
)
def test_what_standard_encoders_write_is_a_form(encoding: str, form: bytes) -> None:
    """Percent-encoding, hexadecimal and JSON, in the dialects of common libraries, with capitals and without."""
    assert forms(VALUE)[form] == encoding


def test_what_depends_on_more_than_the_value_is_none() -> None:
    """A part of a value, another value and the empty string are no forms of it."""
    others = {b"", VALUE.encode()[:-1], VALUE.upper().encode(), VALUE.encode() + b"=", base64.b32encode(VALUE.encode())}
    assert forms(VALUE).keys().isdisjoint(others)
    assert forms(VALUE).keys().isdisjoint(forms(VALUE + "x"))


def test_an_ordinary_token_has_few_forms() -> None:
    """Where there is nothing to escape, only those that escape everything are added, and one base64 alphabet does."""
    found = list(forms("ghp_0123456789abcdefABCDEF").values())
    assert found == ["raw", "hex", "hex", "base64", "base64", "base64", "percent", "percent", "json", "json"]


@given(st.text(min_size=8), st.binary(max_size=7), st.binary(max_size=7))
def test_base64_holds_a_form_at_every_alignment(value: str, before: bytes, after: bytes) -> None:
    """Whatever stands around the value, in both alphabets."""
    value = value.encode("utf-8", "replace").decode()
    data = before + value.encode() + after
    cores = [form for form, encoding in forms(value).items() if encoding == "base64"]
    for text in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
        assert any(core in text for core in cores)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=8))
def test_forms_are_those_of_this_interpreter(value: str) -> None:
    """What urllib, json and bytes make of any value is among them, and each is eight bytes at least."""
    found = forms(value)
    texts = {quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], value.encode().hex()}
    texts.add(json.dumps(value, ensure_ascii=False)[1:-1])
    assert {text.encode() for text in texts} <= found.keys()
    assert min(map(len, found)) >= 8


def test_latin_1_is_taken_into_account() -> None:
    """A value beyond ASCII may be sent as UTF-8 or as latin-1; bytes that are no UTF-8 stay what they were."""
    assert {"pässw0rd".encode(), "pässw0rd".encode("latin-1"), "pässw0rd".encode("latin-1").hex().encode()} <= forms(
        "pässw0rd"
    ).keys()
    assert forms("t\udcffken-01")[b"t\xffken-01"] == "raw"
    assert forms("pässw0€d")["pässw0€d".encode()] == "raw"


@pytest.mark.parametrize(
    ("value", "header", "text"),
    [
        ("s3cret-token", "Authorization", "s3cret-token"),
        ("Bearer s3cret-token", "Authorization", "s3cret-token"),
        ("Bearer s3cret", "Authorization", "Bearer s3cret"),  # the token alone is too short
        ("Hello s3cret-token", "X-Passphrase", "Hello s3cret-token"),  # a scheme is Authorization's
        (" s3cret-token\t", "X-Key", "s3cret-token"),
        ("8 chars!", "X-Key", "8 chars!"),
        ("7 chars", "X-Key", ""),
        ("", "X-Key", ""),
    ],
)
def test_what_is_looked_for(value: str, header: str, text: str) -> None:
    """The value without scheme and white space; nothing where that has less than eight characters."""
    assert scanned(rule(value, header)) == text


def test_the_password_of_basic_is_looked_for() -> None:
    """What looks like a scheme in it is a part of it."""
    assert scanned(rule("two words-long", format="basic", prefix="user")) == "two words-long"
