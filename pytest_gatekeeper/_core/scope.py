"""The scope table: which credential went where, one row for each rule.

`scope_facts` and `finding_facts` boil what one test saw down to builtins, which worker processes can send and a report
can store; `merge` joins those of many tests; `render` draws the table. Nothing here holds a secret, and nothing judges:
whether a finding fails a run is decided elsewhere.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak
from pytest_gatekeeper._core.scan.needles import scanned
from pytest_gatekeeper._core.telling import (
    Traced,
    clip,
    columns,
    describe,
    numbered,
    plain,
    tell_bypass,
    tell_leak,
    tell_violations,
)

__all__ = [
    "HEADINGS",
    "Fact",
    "RuleUse",
    "finding_facts",
    "merge",
    "merge_findings",
    "render",
    "rows",
    "scope_facts",
]

Fact = dict[str, Any]
"""Text, numbers and lists of texts by name: nothing that a worker process could not send."""

KINDS = {
    "leak": "leaks",
    "violation": "violations",
    "bypass": "bypasses",
    "cleartext": "cleartext injections",
}

_TOLD = (*KINDS, "unscanned")  # the last is not counted: it is nothing that was found

HEADINGS = ("host pattern", "header", "grant", "hosts reached", "requests", "upgrades", "tests")
_UNUSED = "never used"
_HOSTS = 8
_FINDINGS = 10


@dataclass(frozen=True)
class RuleUse:
    """One row: a rule, and what became of it in all tests.

    Attributes:
        pattern, header, grant, id: of the rule.
        hosts: that its credential was sent to, sorted, in lower case.
        requests: that it was sent with, upgrades not counted.
        upgrades: that it was sent with.
        tests: in how many tests it was sent.
        canary: whether its value was made up in any test, since its source was not read.
        real: whether its value was not made up in any test.
        scanned: whether its secret is looked for where it does not belong; one of less than 8 characters is not.
    """

    pattern: str
    header: str
    grant: str
    id: str
    hosts: tuple[str, ...] = ()
    requests: int = 0
    upgrades: int = 0
    tests: int = 0
    scanned: bool = True
    canary: bool = False
    real: bool = True

    @property
    def used(self) -> bool:
        """Whether its credential was sent at all."""
        return bool(self.requests or self.upgrades)


# ------------------------------------------------------------------ facts


def scope_facts(rules: Iterable[Rule], exchanges: Iterable[Exchange], test_id: str) -> list[Fact]:
    """What the rules of one test did, a fact for each rule.

    Args:
        rules: in force during the test.
        exchanges: of the test.
        test_id: its name; facts of one name count as one test.
    """
    facts = {
        (rule.id, rule.header, rule.grant): {
            **_unused(rule.pattern, rule.header, rule.grant, rule.id),
            "scanned": bool(scanned(rule)),
            "canary": rule.canary,
        }
        for rule in rules
    }
    for exchange in exchanges:
        for injection in exchange.injections:
            key = (injection.rule, injection.header, injection.grant)
            if key not in facts:  # the rule is no longer in force
                facts[key] = _unused(exchange.host.lower(), injection.header, injection.grant, injection.rule)
            fact = facts[key]
            fact["upgrades" if exchange.is_upgrade else "requests"] += 1
            fact["hosts"].add(exchange.host.lower())
            fact["tests"].add(test_id)
    return [_settled(fact) for fact in facts.values()]


def _unused(pattern: str, header: str, grant: str, id: str) -> Fact:
    return {
        "pattern": pattern, "header": header, "grant": grant, "id": id,
        "hosts": set(), "requests": 0, "upgrades": 0, "tests": set(), "scanned": True, "canary": False,
    }  # fmt: skip


def _settled(fact: Fact) -> Fact:
    """A fact that is added up: its sets as sorted lists."""
    return {**fact, "hosts": sorted(fact["hosts"]), "tests": sorted(fact["tests"])}


def merge(*facts: Iterable[Fact]) -> list[Fact]:
    """Facts of many tests or workers as one list: a fact for each rule of the same pattern, header, grant and id.

    The order of the arguments does not matter. Linear in all facts: merge once, not after each test.
    """
    merged: dict[tuple[str, str, str, str], Fact] = {}
    for fact in (fact for several in facts for fact in several):
        key = (fact["pattern"], fact["header"], fact["grant"], fact["id"])
        joined = merged.setdefault(key, {**_unused(*key), "real": False})
        joined["requests"] += fact["requests"]
        joined["upgrades"] += fact["upgrades"]
        joined["hosts"].update(fact["hosts"])
        joined["tests"].update(fact["tests"])
        joined["scanned"] &= fact["scanned"]
        joined["canary"] |= fact["canary"]
        joined["real"] |= fact.get("real", not fact["canary"])
    ordered = sorted(merged.items(), key=lambda item: _rank(item[0]))
    return [_settled(fact) for _, fact in ordered]


def _rank(key: tuple[str, str, str, str]) -> tuple[bool, str, int, tuple[str, ...]]:
    """The file's rules in its order, then those that tests added."""
    name, _, number = key[3].partition("[")
    digits = re.match("[0-9]+", number)
    return name != "credentials", name, int(digits[0]) if digits else 0, key


def finding_facts(
    records: Iterable[Traced], leaks: Iterable[Leak], bypasses: Iterable[Bypass], test_id: str
) -> list[Fact]:
    """What one test found beside its rules' use: facts with `kind`, `text`, `test`.

    Args:
        records: the test's exchanges and tunnels.
        leaks: those that a client holds itself are left out, and those that an upstream sent back.
        bypasses: connections past the proxy.
        test_id: the test's name.
    """
    told = [("leak", tell_leak(leak)) for leak in leaks if leak.astray]
    for record in records:
        told.extend(("violation", text) for text in tell_violations(record))
        if isinstance(record, Exchange) and record.cleartext:
            told.append(("cleartext", describe(record)))
        if isinstance(record, Exchange):
            told.extend(("unscanned", f"{record.method} {record.url}, {text}") for text in record.unscanned)
    told.extend(("bypass", tell_bypass(bypass)) for bypass in bypasses)
    return [{"kind": kind, "text": text, "test": test_id} for kind, text in told]


def merge_findings(*facts: Iterable[Fact]) -> list[Fact]:
    """Findings of many tests or workers, in the order of leaks, violations, bypasses, cleartext, and then of tests."""
    kinds = list(_TOLD)
    found = [fact for several in facts for fact in several]
    return sorted(found, key=lambda fact: (kinds.index(fact["kind"]), fact["test"]))


# ------------------------------------------------------------------ the table


def rows(*facts: Iterable[Fact]) -> list[RuleUse]:
    """Facts of many tests or workers as rows of the table."""
    return [
        RuleUse(
            fact["pattern"], fact["header"], fact["grant"], fact["id"], tuple(fact["hosts"]),
            fact["requests"], fact["upgrades"], len(fact["tests"]), fact["scanned"],
            fact["canary"], fact["real"],
        )
        for fact in merge(*facts)
    ]  # fmt: skip


def render(rules: Sequence[RuleUse], width: int, findings: Sequence[Fact] = ()) -> list[str]:
    """The table as lines of at most `width` characters, where `width` is 60 or more.

    Hosts reached are a column where that fits, else lines below their rule. Findings are counted, then told one by one.

    Args:
        rules: see `rows`.
        width: of the terminal.
        findings: see `merge_findings`.
    """
    lines = _wide(rules) if rules else ["no rules"]
    if any(len(line) > width for line in lines):
        lines = _narrow(rules, width)
    return [*lines, *_told(findings, width), *_remarks(rules, width)]


def _remarks(rules: Sequence[RuleUse], width: int) -> list[str]:
    """What is said once for all rules that it is true of."""
    texts = (
        (
            "made up (canary), since the variable is not set or the mode reads no such source",
            [r for r in rules if r.canary and not r.real],
        ),
        ("made up (canary) in some of the tests, and real in others", [r for r in rules if r.canary and r.real]),
        ("not scanned for leaks, since the secret is shorter than 8 characters", [r for r in rules if not r.scanned]),
    )
    lines: list[str] = []
    for text, meant in texts:
        if meant:
            named = ", ".join(rule.id + (f" ({plain(rule.grant)})" if rule.grant else "") for rule in meant)
            lines += textwrap.wrap(f"{text}: {named}", width, subsequent_indent="    ", break_on_hyphens=False)
    return lines


def _names(rule: RuleUse) -> tuple[str, str, str]:
    return plain(rule.pattern), plain(rule.header), plain(rule.grant) or "-"


def _numbers(rules: Sequence[RuleUse]) -> list[str]:
    """The last three columns, numbers to the right."""
    heads = HEADINGS[4:]
    texts = [(str(rule.requests), str(rule.upgrades), str(rule.tests)) for rule in rules]
    widths = [max(map(len, column)) for column in zip(heads, *texts)]
    cells = ["  ".join(cell.rjust(size) for cell, size in zip(row, widths)) for row in (heads, *texts)]
    unused = [False, *(not rule.used for rule in rules)]
    return [_UNUSED.rjust(len(cell)) if never else cell for cell, never in zip(cells, unused)]


def _hosts(rule: RuleUse) -> str:
    shown = list(rule.hosts[:_HOSTS])
    if len(rule.hosts) > _HOSTS:
        shown.append(f"… and {len(rule.hosts) - _HOSTS} more")
    return ", ".join(shown)


def _wide(rules: Sequence[RuleUse]) -> list[str]:
    texts = [HEADINGS[:4], *((*_names(rule), _hosts(rule) or "-") for rule in rules)]
    return columns((*text, numbers) for text, numbers in zip(texts, _numbers(rules)))


def _narrow(rules: Sequence[RuleUse], width: int) -> list[str]:
    numbers = _numbers(rules)
    texts = [HEADINGS[:3], *map(_names, rules)]
    sizes = _fitted([max(map(len, column)) for column in zip(*texts)], width - len(numbers[0]) - 6)
    cells = [[clip(cell, size) for cell, size in zip(row, sizes)] for row in texts]
    lines = columns((*row, number) for row, number in zip(cells, numbers))
    below = [[], *(_below(rule, width) for rule in rules)]
    return [line for first, rest in zip(lines, below) for line in (first, *rest)]


def _fitted(sizes: list[int], space: int) -> list[int]:
    """Widths of the columns with names that fit into a space: the widest gives way first, no heading does."""
    sizes = list(sizes)
    floors = [len(heading) for heading in HEADINGS]
    while sum(sizes) > space and (wider := [at for at, size in enumerate(sizes) if size > floors[at]]):
        sizes[max(wider, key=sizes.__getitem__)] -= 1
    return sizes


def _below(rule: RuleUse, width: int) -> list[str]:
    if not rule.hosts:
        return []
    return textwrap.wrap(
        f"reached {_hosts(rule)}", width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )


def _told(findings: Sequence[Fact], width: int) -> list[str]:
    counts = Counter(fact["kind"] for fact in findings)
    lines = textwrap.wrap(", ".join(f"{name} {counts[kind]}" for kind, name in KINDS.items()), width)
    for kind in _TOLD:
        of_kind = [fact for fact in findings if fact["kind"] == kind]
        for fact in of_kind[:_FINDINGS]:
            where = f" [{fact['test']}]" if fact["test"] else ""
            text = f"{kind}: {fact['text']}{where}"
            lines.extend(textwrap.wrap(text, width, subsequent_indent="    ", break_on_hyphens=False))
        if len(of_kind) > _FINDINGS:
            lines.append(f"{kind}: … and {numbered(len(of_kind) - _FINDINGS, 'other')}")
    return lines
