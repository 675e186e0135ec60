"""Facts about the terms of a proxy."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core import terms
from pytest_gatekeeper._core.model import Credential, NetworkSettings, SourceSpec
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.rules import RuleBook, make_rule
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.terms import Terms

BOOK = RuleBook([make_rule("r", Credential("*.example.com", SourceSpec("static")), Secret("value-one"))])
POLICY = Policy(NetworkSettings())


def test_an_empty_token_asks_for_nothing() -> None:
    """Like none at all."""
    assert Terms(BOOK, POLICY).auth_token is None
    assert Terms(BOOK, POLICY, Secret("")).auth_token is None
    assert Terms(BOOK, POLICY, Secret("tok")).auth_token == "tok"


def test_captured_headers_have_log_keys() -> None:
    """In lower case, with underscores, in order."""
    made = Terms(BOOK, POLICY, capture_headers=("X-Tenant", "x-trace-id"))
    assert list(made.captures.items()) == [("x-tenant", "x_tenant"), ("x-trace-id", "x_trace_id")]


def test_the_plan_of_a_host_is_made_once() -> None:
    """It holds the host's rules, and is empty for other hosts."""
    made = Terms(BOOK, POLICY)
    assert made.plan("api.example.com") is made.plan("api.example.com")
    assert made.plan("api.example.com").names == {"authorization"}
    assert made.plan("example.com").empty


def test_the_memory_of_plans_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting changes no answer."""
    monkeypatch.setattr(terms, "_REMEMBERED", 2)
    made = Terms(BOOK, POLICY)
    for letter in "abcd":
        assert not made.plan(f"{letter}.example.com").empty
        assert len(made._plans) <= 2
