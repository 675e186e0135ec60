"""Facts about rules: a value's header, and the rules of a host."""

from __future__ import annotations

import base64
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core import rules
from pytest_gatekeeper._core.model import Credential, Rule, SourceSpec
from pytest_gatekeeper._core.rules import RuleBook, header_value, make_rule
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.errors import ConfigError


def _credential(
    host: str = "api.example.com",
    header: str = "Authorization",
    prefix: str = "",
    format: Literal["", "basic"] = "",
    grant: str = "",
) -> Credential:
    return Credential(host, SourceSpec("static"), header, prefix, format, grant, line=7)


def _rule(host: str, value: str = "s3cret-token", header: str = "Authorization", grant: str = "", id: str = "") -> Rule:
    return make_rule(id or host, _credential(host, header, grant=grant), Secret(value))


# ------------------------------------------------------------------ value to header


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ghp_abc", "token ghp_abc"),
        ("ghs_abc", "token ghs_abc"),
        ("gho_abc", "Bearer gho_abc"),
        ("github_pat_abc", "Bearer github_pat_abc"),
        ("abc", "Bearer abc"),
        ("Bearer abc", "Bearer abc"),
        ("bearer abc", "bearer abc"),
        ("My-Scheme_2 abc", "My-Scheme_2 abc"),
        ("a b c", "a b c"),
        ("2fa abc", "Bearer 2fa abc"),
        (" abc def", "Bearer  abc def"),
        ("abc ", "abc"),
        ("Bearer\tabc", "Bearer Bearer\tabc"),
        ("YWJj==", "Bearer YWJj=="),
    ],
)
def test_a_value_becomes_an_authorization_header(value: str, expected: str) -> None:
    """A scheme in front is kept, GitHub's tokens get `token`, everything else gets `Bearer`; the ends are trimmed."""
    assert header_value(_credential(), value) == expected
    assert header_value(_credential(header="AUTHORIZATION"), value) == expected
    assert header_value(_credential(header=""), value) == expected


def test_a_prefix_is_the_scheme_unless_the_value_has_one() -> None:
    """The prefix beats the guess by token family, and a scheme in the value beats the prefix."""
    assert header_value(_credential(prefix="Token"), "ghp_abc") == "Token ghp_abc"
    assert header_value(_credential(prefix="Token"), "Bearer abc") == "Bearer abc"


@pytest.mark.parametrize(("prefix", "value"), [("user", "abc"), ("u", "a:b"), ("u", "p\xe4ss"), ("", "Bearer abc")])
def test_basic_encodes_prefix_and_value(prefix: str, value: str) -> None:
    """`format: basic` encodes `prefix:value` as UTF-8, whatever the value looks like."""
    text = header_value(_credential(prefix=prefix, format="basic"), value)
    scheme, _, encoded = text.partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(encoded).decode() == f"{prefix}:{value}"


@given(st.text(max_size=30), st.text(max_size=5))
def test_any_other_header_takes_the_value_as_it_is(value: str, prefix: str) -> None:
    """Only white space at the ends goes; the prefix is ignored."""
    assert header_value(_credential(header="X-Api-Key", prefix=prefix), value) == value.strip(" \t")


@given(st.text(st.characters(codec="ascii", exclude_characters=" \t"), min_size=1, max_size=30))
def test_a_value_without_spaces_always_gets_a_scheme(value: str) -> None:
    """An Authorization header is one scheme, one space and the value."""
    assert header_value(_credential(), value).split(" ", 1)[1] == value


# ------------------------------------------------------------------ make_rule


def test_a_rule_joins_credential_and_value() -> None:
    """Everything of the credential is in the rule; value and header are secrets of their own."""
    rule = make_rule("credentials[3]", _credential("*.example.com", grant="api"), Secret("abc"), canary=True)
    assert (rule.id, rule.pattern, rule.header, rule.grant) == (
        "credentials[3]",
        "*.example.com",
        "Authorization",
        "api",
    )
    assert rule.secret == "abc" and rule.header_value == "Bearer abc" and rule.canary
    assert "abc" not in repr(rule)


def test_an_empty_header_name_is_authorization() -> None:
    """`header: ""` means the default."""
    assert make_rule("r", _credential(header=""), Secret("abc")).header == "Authorization"


def test_an_ipv6_host_is_written_in_brackets() -> None:
    """A rule for an address in brackets applies to that address."""
    rule = _rule("[::1]")
    assert RuleBook([rule]).for_host("::1") == (rule,)


@pytest.mark.parametrize(
    "value", ["top-s3cret\n", "top-s3\r\ncret", "top-s3\x00cret", "top-s3cret\x7f", "\x1btop-s3cret"]
)
def test_a_control_character_in_a_value_is_an_error_that_does_not_show_it(value: str) -> None:
    """The error names rule, header and position, never the value; in `basic` the character is encoded and fine."""
    with pytest.raises(ConfigError) as caught:
        make_rule("credentials[0]", _credential(header="X-Key"), Secret(value))
    assert caught.value.key == "credentials[0]" and caught.value.line == 7
    position = next(index for index, char in enumerate(value, 1) if char < " " or char == "\x7f")
    assert f"position {position}," in str(caught.value) and "X-Key" in str(caught.value)
    assert "s3cret" not in str(caught.value) and "top" not in str(caught.value)
    assert make_rule("credentials[0]", _credential(format="basic"), Secret(value)).secret == value


def test_a_tab_in_a_value_is_fine() -> None:
    """Tabs may stand in a header's value."""
    assert make_rule("r", _credential(header="X-Key"), Secret("a\tb")).header_value == "a\tb"


def test_a_control_character_in_a_prefix_is_an_error() -> None:
    """It would reach the header, too."""
    with pytest.raises(ConfigError, match=r"prefix for api\.example\.com"):
        make_rule("r", _credential(prefix="To\nken"), Secret("abc"))


@pytest.mark.parametrize(
    "header", ["X Key", "X:Key", "Schl\xfcssel", "Host", "connection", "TE", "Proxy-Authorization"]
)
def test_a_header_that_cannot_carry_a_credential_is_an_error(header: str) -> None:
    """No token, or a field that the proxy itself writes."""
    with pytest.raises(ConfigError, match=r": r\.header: "):
        make_rule("r", _credential(header=header), Secret("abc"))


@pytest.mark.parametrize("host", ["", "a:443", "https://a", "a/b", "u@a", "a b", "::1", "[::g]", "[a.example.com]:443"])
def test_a_host_that_can_never_match_is_an_error(host: str) -> None:
    """Production drops such a rule silently."""
    with pytest.raises(ConfigError, match=r": r\.host: "):
        make_rule("r", _credential(host), Secret("abc"))


# ------------------------------------------------------------------ RuleBook


def test_a_host_gets_the_rules_of_one_pattern_in_order() -> None:
    """The exact pattern's rules apply, all of them, and none of the wildcard's."""
    wild = _rule("*.example.com")
    one, two = _rule("api.example.com", header="X-One"), _rule("api.example.com", header="X-Two")
    book = RuleBook([wild, one, two])
    assert book.rules == (wild, one, two)
    assert book.for_host("api.example.com") == (one, two)
    assert book.for_host("other.example.com") == (wild,)
    assert book.for_host("example.org") == ()


def test_a_later_rule_replaces_one_with_the_same_host_header_and_grant() -> None:
    """It takes the earlier one's place in the order; another grant, or the header in another case, is another rule."""
    first = _rule("api.example.com", "value-1", id="first")
    other = _rule("api.example.com", "value-2", grant="other", id="other")
    lower = _rule("api.example.com", "value-3", header="authorization", id="lower")
    last = _rule("api.example.com", "value-4", id="last")
    book = RuleBook([first, other, lower, last])
    assert [rule.id for rule in book.for_host("api.example.com")] == ["last", "other", "lower"]
    assert book.rules == (first, other, lower, last)


def test_a_book_knows_each_secret_once() -> None:
    """Equal values of several rules are one secret."""
    book = RuleBook([_rule("a.example.com", "one"), _rule("b.example.com", "two"), _rule("c.example.com", "one")])
    assert [secret.reveal() for secret in book.secrets] == ["one", "two"]


@pytest.mark.parametrize(
    ("patterns", "host", "expected"),
    [
        ([], "api.example.com", "no rule for api.example.com: there are no rules at all"),
        (["*.example.com", "api.example.org"], "evilexample.com",
         "no rule for evilexample.com; nearest is *.example.com (a wildcard matches whole labels only)"),
        (["*.example.com"], "example.com",
         "no rule for example.com; nearest is *.example.com (a wildcard does not match its own suffix)"),
        (["api.example.com"], "api.example.com.",
         "no rule for api.example.com.; nearest is api.example.com (the host has a trailing dot)"),
        (["api.example.com."], "api.example.com",
         "no rule for api.example.com; nearest is api.example.com. (the pattern has a trailing dot)"),
        (["a*.example.com"], "api.example.com",
         "no rule for api.example.com; nearest is a*.example.com (only *.suffix is a wildcard)"),
        (["example.com"], "api.Example.com",
         "no rule for api.Example.com; nearest is example.com"
          " (an exact pattern does not match names below it; *.example.com would)"),
        (["ws.example.com", "other.test"], "api.example.com",
         "no rule for api.example.com; nearest is ws.example.com"),
    ],
)  # fmt: skip
def test_the_reason_names_the_nearest_pattern_and_why_it_does_not_match(
    patterns: list[str], host: str, expected: str
) -> None:
    """A reader sees the typo at once."""
    book = RuleBook([_rule(pattern) for pattern in patterns])
    assert book.reason(host) == expected
    assert book.reason(host) == expected


def test_there_is_no_reason_where_a_rule_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is empty then, and the memory of reasons is bounded."""
    monkeypatch.setattr(rules, "_REMEMBERED", 2)
    book = RuleBook([_rule("*.example.com")])
    for letter in "abcd":
        assert book.reason(f"{letter}.example.com") == ""
        assert book.reason(f"{letter}.example.org").startswith("no rule for")
        assert len(book._reasons) <= 2
