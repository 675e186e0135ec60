"""The scope table: facts as builtins, their sum, and the drawing word by word."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from pytest_gatekeeper._core.model import Injection, Rule, Violation
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak, Tunnel
from pytest_gatekeeper._core.scope import (
    RuleUse,
    finding_facts,
    merge,
    merge_findings,
    render,
    rows,
    scope_facts,
)
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret-token"
SECRET = Secret(VALUE)


def rule(id: str, pattern: str, grant: str = "", header: str = "Authorization") -> Rule:
    return Rule(id, pattern, header, grant, SECRET, Secret(f"Bearer {VALUE}"))


WS = rule("credentials[0]", "ws.example.com", "ws-api")
API = rule("credentials[1]", "*.internal.example.com", header="X-Api-Key")
NONE = "leaks 0, violations 0, bypasses 0, cleartext injections 0"


def exchange(host: str, *rules: Rule, upgrade: bool = False) -> Exchange:
    made = Exchange(1, "GET", "wss" if upgrade else "https", host, 443, "/")
    made.status = 101 if upgrade else 200
    made.is_upgrade = upgrade
    made.injections = tuple(Injection(r.header, r.grant, r.id, r.secret, r.header_value) for r in rules)
    return made


def use(pattern: str, *hosts: str, requests: int = 0, upgrades: int = 0, tests: int = 0, grant: str = "g") -> RuleUse:
    return RuleUse(pattern, "Authorization", grant, "credentials[0]", hosts, requests, upgrades, tests)


class TestScopeFacts:
    def test_counts(self) -> None:
        """A fact for each rule: hosts, requests, upgrades, test."""
        exchanges = [
            exchange("WS.example.com", WS, upgrade=True),
            exchange("ws.example.com", WS),
            exchange("ws.example.com"),
        ]
        assert scope_facts([WS, API], exchanges, "test_a") == [
            {
                "pattern": "ws.example.com", "header": "Authorization", "grant": "ws-api", "id": "credentials[0]",
                "hosts": ["ws.example.com"], "requests": 1, "upgrades": 1, "tests": ["test_a"],
                "scanned": True, "canary": False,
            },
            {
                "pattern": "*.internal.example.com", "header": "X-Api-Key", "grant": "", "id": "credentials[1]",
                "hosts": [], "requests": 0, "upgrades": 0, "tests": [],
                "scanned": True, "canary": False,
            },
        ]  # fmt: skip

    def test_a_rule_that_is_gone_still_counts(self) -> None:
        """What was injected by a rule that is in force no more is told under the host."""
        (fact,) = scope_facts([], [exchange("ws.example.com", WS)], "test_a")
        assert (fact["pattern"], fact["id"], fact["requests"]) == ("ws.example.com", "credentials[0]", 1)

    def test_builtins_without_secrets(self) -> None:
        """Facts survive JSON unchanged, and no secret is in them."""
        facts = scope_facts([WS, API], [exchange("ws.example.com", WS)], "test_a")
        text = json.dumps(facts)
        assert json.loads(text) == facts
        assert VALUE not in text


class TestMerge:
    def test_same_rule_is_one_row(self) -> None:
        """Rules of one configuration are one row over all tests, and a test counts once."""
        first = scope_facts([WS, API], [exchange("ws.example.com", WS, upgrade=True)], "test_a")
        again = scope_facts([WS, API], [exchange("ws.example.com", WS)], "test_a")
        other = scope_facts([WS], [exchange("ws.example.com", WS)], "test_b")
        assert rows(first, again, other) == [
            RuleUse("ws.example.com", "Authorization", "ws-api", "credentials[0]", ("ws.example.com",), 2, 1, 2),
            RuleUse("*.internal.example.com", "X-Api-Key", "", "credentials[1]"),
        ]

    def test_another_pattern_header_or_grant_is_another_row(self) -> None:
        """Two tests that each add a rule of their own have the same id for different rules."""
        one = [rule("added[0]", "a.example.com"), rule("added[0]", "b.example.com")]
        assert len(rows(*(scope_facts([added], [], "test") for added in one))) == 2

    def test_order(self) -> None:
        """The file's rules come first and in its order, whatever order the workers answer in."""
        ids = ["credentials[2]", "credentials[10]", "added[0]", "added[1]", "other"]
        facts = [scope_facts([rule(id, "a.example.com")], [], "test") for id in ids]
        random.Random(7).shuffle(facts)
        assert [row.id for row in rows(*facts)] == ids

    def test_sums_do_not_depend_on_grouping(self) -> None:
        """Merging in steps gives what merging at once does, and the arguments stay as they were."""
        facts = [scope_facts([WS], [exchange(f"{n}.example.com", WS)], f"test_{n}") for n in range(4)]
        before = json.dumps(facts)
        assert merge(merge(facts[3], facts[1]), merge(facts[0], facts[2])) == merge(*facts)
        assert json.dumps(facts) == before

    def test_nothing(self) -> None:
        """No facts, no rows."""
        assert merge() == []
        assert rows() == []


class TestFindings:
    def test_all_kinds(self) -> None:
        """Each finding is a kind, a text and a test, in a fixed order of kinds."""
        clear, bad, way = exchange("a.example.com", WS), exchange("b.example.com"), Tunnel(1, "c.example.com", 443)
        clear.cleartext, clear.upstream = True, "10.0.0.5:80"
        bad.violations = (Violation("trace", "TRACE reflects credentials", "refused"),)
        way.violations = (Violation("sni", "SNI names d.example.com", "ignored"),)
        leak = Leak(SECRET, "credentials[0]", "ws-api", "upstream", "body", 0, bad)
        held = Leak(SECRET, "credentials[0]", "ws-api", "upstream", "header A", 0, bad, client_held=True)
        facts = finding_facts([clear, bad, way], [leak, held], [Bypass("e.example.com", 443)], "test_a")
        assert merge_findings(facts) == [
            {"kind": kind, "text": text, "test": "test_a"}
            for kind, text in [
                ("leak", f"{SECRET} of credentials[0] (ws-api) in body of GET https://b.example.com/, offset 0"),
                ("violation", "trace: TRACE reflects credentials; refused (GET https://b.example.com/)"),
                ("violation", "sni: SNI names d.example.com; ignored (CONNECT c.example.com:443)"),
                ("bypass", "a client went past the proxy to e.example.com:443"),
                (
                    "cleartext",
                    "GET https://a.example.com/ 200: Authorization by credentials[0] (ws-api);"
                    " in cleartext to 10.0.0.5:80",
                ),
            ]
        ]
        assert json.loads(json.dumps(facts)) == facts

    def test_nothing(self) -> None:
        """A clean test has no findings."""
        assert finding_facts([exchange("a.example.com", WS), Tunnel(1, "a", 1)], [], [], "test_a") == []


class TestRender:
    def test_the_example_fits_80_columns(self) -> None:
        """One row for each rule; `never used` stands in the place of numbers."""
        facts = scope_facts([WS, rule("credentials[1]", "x.org")], [exchange("ws.example.com", WS, upgrade=True)], "t")
        assert render(rows(facts), 80) == [
            "host pattern    header         grant   hosts reached   requests  upgrades  tests",
            "ws.example.com  Authorization  ws-api  ws.example.com         0         1      1",
            "x.org           Authorization  -       -                              never used",
            NONE,
        ]

    def test_narrow(self) -> None:
        """Where the hosts do not fit beside the rule they stand below it."""
        facts = scope_facts([WS, API], [exchange("b.internal.example.com", API)], "test_a")
        assert render(rows(facts), 80) == [
            "host pattern            header         grant   requests  upgrades  tests",
            "ws.example.com          Authorization  ws-api                 never used",
            "*.internal.example.com  X-Api-Key      -              1         0      1",
            "    reached b.internal.example.com",
            NONE,
        ]

    def test_too_narrow_for_names(self) -> None:
        """The longest names give way, in their midst."""
        long = use(
            "*.a-very-long-name.internal.corp.example.com", "b.example.com", requests=1, tests=1, grant="some-grant"
        )
        assert render([long], 60)[:3] == [
            "host pattern  header    grant      requests  upgrades  tests",
            "*.a-ve…e.com  Auth…ion  some…rant         1         0      1",
            "    reached b.example.com",
        ]

    @pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 200])
    def test_no_line_is_wider_than_asked(self, width: int) -> None:
        """Whatever the names, the table keeps to its width."""
        uses = [
            use("*." + "x" * 60 + ".example.com", *(f"{n}.example.com" for n in range(20)), requests=10**10, tests=7),
            use("y.example.com", "z" * 150, upgrades=1, tests=1, grant="g" * 50),
            use("never.example.com"),
        ]  # fmt: skip
        findings = [
            {"kind": "leak", "text": "word " * 60, "test": "t"},
            {"kind": "bypass", "text": "x" * 300, "test": ""},
        ]
        assert max(map(len, render(uses, width, findings))) <= width

    def test_many_hosts_are_counted(self) -> None:
        """Eight hosts are named at most."""
        line = render([use("*.x.y", *(f"{n}.x.y" for n in range(11)), requests=11, tests=1)], 200)[1]
        assert "6.x.y, 7.x.y, … and 3 more" in line
        assert "8.x.y" not in line

    def test_no_rules(self) -> None:
        """Without rules it says so."""
        assert render([], 80) == ["no rules", NONE]

    def test_findings(self) -> None:
        """Findings are counted, then told with their test, ten of a kind at most."""
        findings = [{"kind": "leak", "text": f"leak {n}", "test": "test_a.py::test_x"} for n in range(12)]
        findings.append({"kind": "bypass", "text": "past the proxy", "test": ""})
        assert render([], 80, findings)[1:] == [
            "leaks 12, violations 0, bypasses 1, cleartext injections 0",
            *(f"leak: leak {n} [test_a.py::test_x]" for n in range(10)),
            "leak: … and 2 others",
            "bypass: past the proxy",
        ]

    def test_control_characters_are_escaped(self) -> None:
        """A grant cannot reach the terminal as it is."""
        assert "\x1b" not in "\n".join(render([use("a", grant="\x1b[31m")], 80))


def test_a_secret_that_is_too_short_to_be_scanned_is_said_once() -> None:
    """All such rules in one line, the others not; one short value of several tests is enough."""
    rules = [
        _valued("credentials[0]", "a.example.com", "short7x"),
        _valued("credentials[1]", "b.example.com", "eight-chars"),
    ]
    facts = scope_facts(rules, [], "test_a")
    lines = render(rows(facts, facts), 120)
    assert lines[-1] == "not scanned for leaks, since the secret is shorter than 8 characters: credentials[0] (api)"
    assert not any("not scanned" in line for line in render(rows(scope_facts(rules[1:], [], "test_a")), 120))


def _valued(id: str, pattern: str, value: str) -> Rule:
    return Rule(id, pattern, "X-Key", "api", Secret(value), Secret(value))


def test_a_canary_is_said_to_be_one() -> None:
    """In the place of a value that was not read; a real one is not mentioned."""
    made_up = replace(_valued("credentials[0]", "a.example.com", "eight-chars"), canary=True)
    real = _valued("credentials[1]", "b.example.com", "nine-chars")
    lines = render(rows(scope_facts([made_up, real], [], "test_a")), 120)
    assert (
        lines[-1]
        == "made up (canary), since the variable is not set or the mode reads no such source: credentials[0] (api)"
    )
    assert not any("canary" in line for line in render(rows(scope_facts([real], [], "test_a")), 120))


def test_a_canary_of_some_tests_is_said_to_be_one_of_some() -> None:
    """Where one test made the value up and another one read it, the rule is not called a canary altogether."""
    real = _valued("credentials[0]", "a.example.com", "eight-chars")
    made_up, read = (scope_facts([rule], [], test) for rule, test in ((replace(real, canary=True), "a"), (real, "b")))
    said = "made up (canary) in some of the tests, and real in others: credentials[0] (api)"
    for order in ((made_up, read), (read, made_up), (merge(made_up, read), read), (merge(read), made_up)):
        assert [line for line in render(rows(*order), 120) if "canary" in line] == [said]
    assert "the mode reads no such source" in render(rows(made_up, merge(made_up)), 120)[-1]
