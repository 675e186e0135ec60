"""The value of a header, against a second implementation that follows reference-behaviour word by word.

It is naive on purpose: no regular expression, no code shared with the package, one clause of the reference a line.
"""

from __future__ import annotations

import binascii

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_gatekeeper._core.decide import decide
from pytest_gatekeeper._core.model import Credential, Destination, Forward, NetworkSettings, RequestHead, SourceSpec
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.rules import RuleBook, make_rule
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.terms import Terms
from pytest_gatekeeper.errors import ConfigError

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def starts_with_a_scheme(value: str) -> bool:
    """Letters, digits, `-`, `_`, starting with a letter, then one space."""
    word, space, _ = value.partition(" ")
    return bool(space and word) and word[0] in LETTERS and all(char in LETTERS + "0123456789-_" for char in word)


def oracle(header: str, prefix: str, basic: bool, value: str) -> bytes | None:
    """The bytes of the field's value; None where no request could carry it."""
    name = header or "Authorization"  # `header: ""` is Authorization
    if name.upper() != "AUTHORIZATION":
        said = value  # for any other header the value is used as it is, `prefix` ignored
    elif basic:
        said = "Basic " + binascii.b2a_base64((prefix + ":" + value).encode(), newline=False).decode()
    elif starts_with_a_scheme(value):
        said = value
    elif prefix != "":
        said = prefix + " " + value
    elif value[:4] in ("ghp_", "ghs_"):
        said = "token " + value
    else:
        said = "Bearer " + value
    while said[:1] in (" ", "\t") and said:
        said = said[1:]  # sent without leading and trailing white space
    while said[-1:] in (" ", "\t") and said:
        said = said[:-1]
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in said):
        return None  # a control character other than tab
    return said.encode()


def sent(header: str, prefix: str, basic: bool, value: str) -> bytes | None:
    """The same by the package, for a request that is settled by it; None where the rule is refused."""
    credential = Credential("api.example.com", SourceSpec("static"), header, prefix, "basic" if basic else "", "grant")
    try:
        rule = make_rule("credentials[0]", credential, Secret(value))
    except ConfigError:
        return None
    terms = Terms(RuleBook([rule]), Policy(NetworkSettings()), Secret(""), ())
    head = RequestHead("GET", "/", "1.1", (("Host", "api.example.com"),))
    answer = decide(head, Destination("https", "api.example.com", 443), terms, "req_1")
    assert isinstance(answer, Forward)
    name = (header or "Authorization").lower()
    (text,) = [text for field, text in answer.head.headers if field.lower() == name]
    return text.encode("latin-1")  # as a head is written


PIECES = st.sampled_from(
    ["ghp_", "ghs_", "gho_", "GHP_", "Bearer ", "token ", "Basic ", "x-y_z1 ", "1x ", "-x ", "a:b ", " ", "  ", "\t",
     "abc", "s3cret", ":", "=", "é", "€", "\x7f", "\x01", "\n", "_ ", "A ", "\u00a0"]
)  # fmt: skip
VALUES = st.one_of(st.lists(PIECES, max_size=5).map("".join), st.text(st.characters(codec="utf-8"), max_size=12))
HEADERS = st.sampled_from(["", "Authorization", "authorization", "AUTHORIZATION", "X-Api-Key", "Authorization-2"])


@given(HEADERS, st.one_of(st.just(""), VALUES), VALUES)
@example("", "", "Token abc")
@example("", "", " Token abc")
@example("", "Custom", "ghp_abc")
@example("", "", "ghp_abc def")
@example("X-Api-Key", "Custom", "ghp_abc")
def test_any_value_in_any_header(header: str, prefix: str, value: str) -> None:
    """What is sent for it, or that it is refused, is what the reference says."""
    assert sent(header, prefix, False, value) == oracle(header, prefix, False, value)


@given(st.sampled_from(["", "Authorization", "AUTHORIZATION"]), st.text("abcé: _", max_size=6), VALUES)
def test_any_pair_of_basic(header: str, prefix: str, value: str) -> None:
    """The same for `format: basic`, whose base64 carries everything."""
    assert sent(header, prefix, True, value) == oracle(header, prefix, True, value)


@pytest.mark.parametrize(
    ("header", "prefix", "basic", "value", "expected"),
    [
        ("", "", False, "abc", b"Bearer abc"),
        ("authorization", "", False, "ghs_abc", b"token ghs_abc"),
        ("", "", False, "gho_abc", b"Bearer gho_abc"),
        ("", "Custom", False, "ghs_abc", b"Custom ghs_abc"),
        ("", "Custom", False, "Token abc", b"Token abc"),
        ("", "", False, "1x abc", b"Bearer 1x abc"),
        ("", "user", True, "Token abc", b"Basic dXNlcjpUb2tlbiBhYmM="),
        ("X-Api-Key", "Custom", False, " abc ", b"abc"),
        ("X-Api-Key", "", False, "a\nb", None),
    ],
)
def test_both_are_right(header: str, prefix: str, basic: bool, value: str, expected: bytes | None) -> None:
    """Examples by hand: the oracle itself says what the reference says."""
    assert oracle(header, prefix, basic, value) == expected == sent(header, prefix, basic, value)
