"""Facts about injection into a head."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.inject import Plan, inject
from pytest_gatekeeper._core.model import Credential, Headers, Rule, SourceSpec
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.secret import Secret


def _rule(value: str, header: str = "Authorization", grant: str = "", format: Literal["", "basic"] = "") -> Rule:
    credential = Credential("api.example.com", SourceSpec("static"), header, "user" if format else "", format, grant)
    return make_rule(f"rule-{value}", credential, Secret(value))


ONE = _rule("value-one", grant="one")
TWO = _rule("value-two", "X-Api-Key", "two")
HOST = ("Host", "api.example.com")


def _sent(rules: list[Rule], *headers: tuple[str, str]) -> Headers:
    return inject(headers, Plan(rules))[0]


def test_without_rules_nothing_changes() -> None:
    """The same fields come back, and no injection."""
    headers = (HOST, ("Authorization", "mine"))
    assert inject(headers, Plan([])) == (headers, headers, ())


def test_all_credentials_are_added_at_the_end_when_the_client_sent_none() -> None:
    """Auto-injection: every header once, in the order and spelling of the file."""
    sent, shown, injections = inject((HOST, ("X-Mine", "1")), Plan([ONE, TWO]))
    assert sent == (HOST, ("X-Mine", "1"), ("Authorization", "Bearer value-one"), ("X-Api-Key", "value-two"))
    assert [name for name, _ in shown] == [name for name, _ in sent]
    assert [(it.header, it.grant, it.rule) for it in injections] == [
        ("Authorization", "one", "rule-value-one"), ("X-Api-Key", "two", "rule-value-two"),
    ]  # fmt: skip
    assert injections[0].secret == "value-one" and injections[0].header_value == "Bearer value-one"


def test_a_placeholder_selects_its_credential_alone() -> None:
    """Only headers that the client sent are replaced, in place and in the client's spelling."""
    sent, _, injections = inject((("x-API-key", "p"), HOST), Plan([ONE, TWO]))
    assert sent == (("x-API-key", "value-two"), HOST)
    assert [it.header for it in injections] == ["X-Api-Key"]


def test_replacing_leaves_exactly_one_value() -> None:
    """The first of the client's values is replaced, the others are removed."""
    assert _sent([ONE], ("authorization", "a"), HOST, ("Authorization", "b")) == (
        ("authorization", "Bearer value-one"), HOST,
    )  # fmt: skip


def test_an_empty_value_is_no_placeholder() -> None:
    """It asks for nothing, so all credentials are injected; where it stood, the credential stands."""
    sent, _, injections = inject((("X-Api-Key", ""), HOST), Plan([ONE, TWO]))
    assert sent == (("X-Api-Key", "value-two"), HOST, ("Authorization", "Bearer value-one"))
    assert [it.header for it in injections] == ["X-Api-Key", "Authorization"]


def test_the_first_of_several_values_is_the_one_that_asks() -> None:
    """An empty value before another one makes no placeholder; the other order does."""
    assert len(inject((("X-Api-Key", ""), ("X-Api-Key", "p")), Plan([ONE, TWO]))[2]) == 2
    assert len(inject((("X-Api-Key", "p"), ("X-Api-Key", "")), Plan([ONE, TWO]))[2]) == 1


def test_of_two_credentials_for_one_header_the_first_wins() -> None:
    """One credential per header name, ignoring case, added or asked for."""
    rules = [_rule("value-a", "X-Key"), _rule("value-b", "x-key")]
    assert _sent(rules, HOST) == (HOST, ("X-Key", "value-a"))
    assert _sent(rules, ("x-key", "p")) == (("x-key", "value-a"),)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_grant_claude_is_injected_only_when_asked_for(swapped: bool) -> None:
    """In auto-injection it loses a tie, in placeholder selection it wins it, wherever it stands in the file."""
    rules = [
        _rule("value-claude", grant="claude"),
        _rule("value-plain", grant="plain"),
        _rule("value-third", grant="z"),
    ]
    if swapped:
        rules[:2] = rules[1::-1]
    assert _sent(rules, HOST) == (HOST, ("Authorization", "Bearer value-plain"))
    assert _sent(rules, ("Authorization", "p")) == (("Authorization", "Bearer value-claude"),)


def test_the_grant_claude_alone_is_injected_always() -> None:
    """Without a tie there is nothing to lose, and of two the first wins."""
    rules = [_rule("value-claude", grant="claude"), _rule("value-second", grant="claude")]
    assert _sent(rules, HOST) == (HOST, ("Authorization", "Bearer value-claude"))
    assert _sent(rules, ("Authorization", "p")) == (("Authorization", "Bearer value-claude"),)


def test_values_beyond_ascii_are_sent_as_utf_8() -> None:
    """Heads are latin-1 text, so the value's UTF-8 bytes stand there as characters."""
    ((_, value),) = _sent([_rule("t\xf6k\u20ac", "X-Token")])
    assert value.encode("latin-1") == "t\xf6k\u20ac".encode()


@pytest.mark.parametrize(
    ("rule", "front"),
    [
        (_rule("value-one"), "Bearer "),
        (_rule("ghp_value"), "token "),
        (_rule("value-one", format="basic"), "Basic "),
        (_rule("value-one", "X-Key"), ""),
        (_rule("Token value-one"), ""),
        (_rule("value-one ", "X-Key"), ""),
        (_rule("", "X-Key"), ""),
        (_rule(" ", format="basic"), "Basic "),
    ],
)
def test_what_is_shown_has_the_fingerprint_in_the_place_of_the_secret(rule: Rule, front: str) -> None:
    """A scheme in front may be read, the value may not."""
    _, shown, _ = inject((HOST,), Plan([rule]))
    assert shown == (HOST, (rule.header, front + repr(rule.secret)))
    _, shown, _ = inject(((rule.header, "p"), HOST), Plan([rule]))
    assert shown == ((rule.header, front + repr(rule.secret)), HOST)


def test_a_plan_does_not_print_what_it_sends() -> None:
    """Neither do its entries."""
    plan = Plan([ONE])
    assert "value-one" not in repr(plan) + repr(plan.chosen([("authorization", "p")]))


_fields = st.lists(
    st.tuples(
        st.sampled_from(["Host", "X-A", "x-b", "Authorization", "authorization", "X-API-KEY"]),
        st.sampled_from(["", "v"]),
    )
).map(tuple)


@given(_fields)
def test_every_other_field_survives_in_order(headers: Headers) -> None:
    """Whatever the client sent, only fields with a credential change, and each of those ends up with one value."""
    sent, shown, injections = inject(headers, Plan([ONE, TWO]))
    mine = {it.header.lower() for it in injections}
    assert mine
    assert [pair for pair in sent if pair[0].lower() not in mine] == [p for p in headers if p[0].lower() not in mine]
    assert sorted(name.lower() for name, _ in sent if name.lower() in mine) == sorted(mine)
    assert [name for name, _ in shown] == [name for name, _ in sent]
    assert not any("value-" in value for _, value in shown)
