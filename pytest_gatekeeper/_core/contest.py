"""The contest between credentials of one host: which are ever injected, and to which the others lose.

Asks the rule book and the injection themselves, with a stand-in for every value, so that what is told of a file is what
the proxy does with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pytest_gatekeeper._core.inject import Plan, inject
from pytest_gatekeeper._core.model import Credential, Rule
from pytest_gatekeeper._core.rules import RuleBook
from pytest_gatekeeper._core.secret import Secret

__all__ = ["Outcome", "book_of", "contest"]

_STAND_IN = Secret("stand-in")


class Outcome(NamedTuple):
    """What the credentials of a host come to; each stands for its key.

    Attributes:
        pattern: the one that wins, "" where none matches.
        added: those that a request gets when its client sends none of their headers.
        asked: those, not among `added`, that replace a header which the client sends itself.
        replaced: those with an equal one behind them, by key; the equal one.
        beaten: those that are never injected, as another one comes before them; that one.
    """

    pattern: str
    added: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    replaced: Mapping[str, str] = {}
    beaten: Mapping[str, str] = {}


def book_of(named: Sequence[tuple[str, Credential]]) -> RuleBook:
    """The rules of credentials, under their keys, with a stand-in for every value."""
    return RuleBook([_rule(key, credential) for key, credential in named])


def _rule(key: str, credential: Credential) -> Rule:
    header = credential.header or "Authorization"
    return Rule(key, credential.host, header, credential.grant, _STAND_IN, _STAND_IN)


def contest(named: Sequence[tuple[str, Credential]], host: str) -> Outcome:
    """Who wins at `host`.

    Args:
        named: all credentials with their keys, in the order of the file.
        host: a name or address; a wildcard stands for a host below it that no other pattern names.
    """
    rules = book_of(named).for_host(host)
    if not rules:
        return Outcome("")
    plan = Plan(rules)
    first = {injection.header.lower(): injection.rule for injection in plan.unasked(())[2]}
    added = tuple(first.values())
    asked = tuple(
        injection.rule
        for name in first
        for injection in inject(((name, "placeholder"),), plan)[2]
        if injection.rule not in added
    )
    there = {(rule.pattern, rule.header, rule.grant): rule.id for rule in rules}
    mine = [_rule(key, credential) for key, credential in named if credential.host == rules[0].pattern]
    replaced = {
        rule.id: there[rule.pattern, rule.header, rule.grant]
        for rule in mine
        if there[rule.pattern, rule.header, rule.grant] != rule.id
    }
    beaten = {rule.id: first[rule.header.lower()] for rule in rules if rule.id not in (*added, *asked)}
    return Outcome(rules[0].pattern, added, asked, replaced, beaten)
