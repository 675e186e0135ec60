"""Facts about made-up values."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.canary import _FAMILIES, canary
from pytest_gatekeeper._core.model import Credential, SourceSpec
from pytest_gatekeeper._core.rules import header_value, make_rule
from pytest_gatekeeper._core.secret import Secret

KEY = b"k" * 16


def static(value: str, header: str = "Authorization") -> Credential:
    return Credential("api.example.com", SourceSpec("static", (), (("value", Secret(value)),)), header)


def made(value: str) -> str:
    return canary(static(value), KEY, "test_it", "credentials[0]")


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("ghp_abc", r"ghp_[A-Za-z0-9]{36}"),
        ("gho_abc", r"gho_[A-Za-z0-9]{36}"),
        ("ghu_abc", r"ghu_[A-Za-z0-9]{36}"),
        ("ghs_abc", r"ghs_[A-Za-z0-9]{36}"),
        ("ghr_abc", r"ghr_[A-Za-z0-9]{36}"),
        ("github_pat_abc", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
        ("glpat-abc", r"glpat-[A-Za-z0-9_-]{20}"),
        ("sk-abc", r"sk-[A-Za-z0-9]{48}"),
        ("sk-ant-api03-abc", r"sk-ant-api03-[A-Za-z0-9_-]{93}AA"),
        ("sk-ant-oat01-abc", r"sk-ant-oat01-[A-Za-z0-9_-]{93}AA"),
        ("sk-ant-abc", r"sk-ant-api03-[A-Za-z0-9_-]{93}AA"),
        ("sk-proj-abc", r"sk-proj-[A-Za-z0-9_-]{74}T3BlbkFJ[A-Za-z0-9_-]{74}"),
        ("xoxb-1", r"xoxb-\d{12}-\d{13}-[A-Za-z0-9]{24}"),
        ("xoxp-1", r"xoxp-\d{12}-\d{12}-\d{13}-[0-9a-f]{32}"),
        ("AKIAIOSFODNN7EXAMPLE", r"AKIA[A-Z2-7]{16}"),
        ("eyJhbGciOi.J9.abc-_", r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}"),
        ("Token ghp_abc", r"Token ghp_[A-Za-z0-9]{36}"),
        ("Token abc", r"Token gatekeeper-canary-[0-9a-f]{32}"),
        ("bearer  sk-abc", r"bearer sk-[A-Za-z0-9]{48}"),
        ("abc", r"gatekeeper-canary-[0-9a-f]{32}"),
        ("", r"gatekeeper-canary-[0-9a-f]{32}"),
        (" ghp_abc ", r"ghp_[A-Za-z0-9]{36}"),
        ("2fa abc", r"gatekeeper-canary-[0-9a-f]{32}"),
        ("xghp_abc", r"gatekeeper-canary-[0-9a-f]{32}"),
    ],
)
def test_a_canary_keeps_the_shape_of_a_static_value(value: str, shape: str) -> None:
    """The token's family with its length and alphabet, and the scheme in front; anything else is recognisable."""
    assert re.fullmatch(shape, made(value))


@pytest.mark.parametrize("start", _FAMILIES)
def test_each_family_is_kept(start: str) -> None:
    """A canary begins like the token it replaces, is long enough and another one than the token."""
    value = start + "abc"
    assert made(value).startswith(start)
    assert len(made(value)) >= 20
    assert made(value) != value


@pytest.mark.parametrize(
    ("type", "header"),
    [
        ("github-app", "token ghs_"),
        ("gcp-service-account", "Bearer ya29."),
        ("process", "Bearer gatekeeper-canary-"),
        ("env", "Bearer gatekeeper-canary-"),
    ],
)
def test_a_kind_that_mints_tokens_of_one_family_keeps_it(type: str, header: str) -> None:
    """So that the header is what production would send; of others nothing is known."""
    credential = Credential("api.example.com", SourceSpec(type))
    assert header_value(credential, canary(credential, KEY, "", "credentials[0]")).startswith(header)


def test_a_canary_is_unique_to_run_test_and_rule() -> None:
    """The same three give the same value, any other one another value."""
    arguments = [(key, salt, rule) for key in (KEY, b"l" * 16) for salt in ("a", "ab", "") for rule in ("r", "br", "")]
    values = {canary(static("x"), *three) for three in arguments}
    assert len(values) == len(arguments)
    assert values == {canary(static("y"), *three) for three in arguments}


def test_a_canary_does_not_follow_from_the_value() -> None:
    """Two values of a family get the same canary, so it tells nothing about them."""
    assert made("ghp_" + "a" * 36) == made("ghp_" + "b" * 36)


@settings(deadline=None)
@given(st.text(), st.text(), st.text(min_size=1), st.sampled_from(["Authorization", "X-Api-Key"]))
def test_any_canary_can_be_sent(value: str, salt: str, rule_id: str, header: str) -> None:
    """Twenty characters or more, printable ASCII, nothing to trim, and the value is not in it."""
    credential = static(value.encode("utf-8", "replace").decode(), header)
    found = canary(credential, KEY, salt, rule_id)
    assert len(found) >= 20
    assert found.isascii() and found.isprintable() and found == found.strip()
    assert make_rule("credentials[0]", credential, Secret(found), canary=True).secret == found
