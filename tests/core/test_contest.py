"""Facts about who wins at a host, held against what the proxy's own decision does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.contest import Outcome, contest
from pytest_gatekeeper._core.inject import Plan, inject
from pytest_gatekeeper._core.model import Credential, SourceSpec
from pytest_gatekeeper._core.rules import RuleBook, make_rule
from pytest_gatekeeper._core.secret import Secret

HOST = "api.example.com"


def named(*entries: tuple[str, str, str]) -> list[tuple[str, Credential]]:
    """Credentials of (host, header, grant), numbered."""
    return [
        (str(number), Credential(host, SourceSpec("static"), header, "", "", grant))
        for number, (host, header, grant) in enumerate(entries)
    ]


def test_nobody_wins_where_nothing_matches() -> None:
    """Neither without rules nor with others only."""
    assert contest([], HOST) == Outcome("")
    assert contest(named(("*.other.example", "X", "")), HOST) == Outcome("")


def test_the_first_of_a_header_wins_and_an_equal_one_takes_the_place_of_the_earlier() -> None:
    """Each header once; hosts, headers and grants that are spelled alike are one rule."""
    found = contest(named((HOST, "X", "a"), (HOST, "Y", ""), (HOST, "x", "b"), (HOST, "Y", "")), HOST)
    assert found == Outcome(HOST, ("0", "3"), (), {"1": "3"}, {"2": "0"})


def test_the_grant_claude_waits_until_it_is_asked_for() -> None:
    """Another one is added; the client that sends the header gets claude's."""
    found = contest(named((HOST, "X", "claude"), (HOST, "X", "a"), (HOST, "X", "b")), HOST)
    assert found == Outcome(HOST, ("1",), ("0",), {}, {"2": "1"})
    assert contest(named((HOST, "X", "claude")), HOST) == Outcome(HOST, ("0",))


def test_only_one_pattern_wins() -> None:
    """The exact name before the longer suffix before the shorter; the others are neither replaced nor beaten."""
    entries = named(("*.com", "X", ""), ("*.example.com", "X", ""), (HOST, "Y", ""))
    assert contest(entries, HOST) == Outcome(HOST, ("2",))
    assert contest(entries, "b.example.com") == Outcome("*.example.com", ("1",))
    assert contest(entries, "*.example.com") == Outcome("*.example.com", ("1",))


@given(
    st.lists(
        st.tuples(
            st.sampled_from((HOST, "API.example.com", "*.example.com", "*.com")),
            st.sampled_from(("X", "x", "Authorization", "")),
            st.sampled_from(("", "a", "claude")),
        ),
        max_size=6,
    )
)
def test_what_is_told_is_what_is_done(entries: list[tuple[str, str, str]]) -> None:
    """With real rules the same ones are injected, unasked and asked; every other one of the pattern has a reason."""
    credentials = named(*entries)
    found = contest(credentials, HOST)
    rules = RuleBook([make_rule(key, credential, Secret(f"value-{key}")) for key, credential in credentials])
    plan = Plan(rules.for_host(HOST))
    unasked = {injection.rule for injection in inject((), plan)[2]}
    asked = {injection.rule for name in plan.names for injection in inject(((name, "x"),), plan)[2]}
    assert set(found.added) == unasked
    assert set(found.added) | set(found.asked) == unasked | asked
    told = [*found.added, *found.asked, *found.replaced, *found.beaten]
    assert sorted(told) == [key for key, credential in credentials if credential.host == found.pattern]
