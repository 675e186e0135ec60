"""Each record of a proxy is taken once, by the test during which it arrived; findings by the one that saw them."""

from __future__ import annotations

import json

from pytest_gatekeeper._core.model import Injection, Rule, Violation
from pytest_gatekeeper._core.page import to_html
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak, Tunnel
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._plugin.ledger import Ledger, batch_of
from pytest_gatekeeper.recorder import Recorder
from pytest_gatekeeper.takings import Follower

VALUE = "s3cret-of-this-watch"
SECRET = Secret(VALUE)
ABOUT: dict[str, object] = {
    "generator": "pytest-gatekeeper 0.1.0", "created": "2026-01-02T03:04:05+00:00", "config": None,
    "secrets": "auto", "fail_on": [], "exit_status": 0,
}  # fmt: skip
RULE = Rule("credentials[0]", "api.example.com", "X-Api-Key", "api", SECRET, SECRET)


def exchange(id: int, *, injected: bool = False, closed: bool = True) -> Exchange:
    """One exchange."""
    made = Exchange(id, "GET", "https", "api.example.com", 443, f"/{id}")
    made.status = 200
    if injected:
        made.injections = (Injection("X-Api-Key", "api", "credentials[0]", SECRET, SECRET),)
    if closed:
        made.closed = "client"
    return made


def followed(*, wide: bool = False, detailed: bool = True) -> tuple[Recorder, Follower]:
    """A recorder, and who follows it."""
    recorder = Recorder([RULE])
    return recorder, Follower(recorder, "gatekeeper_proxy", ("leak",), wide=wide, detailed=detailed)


def counted(follower: Follower, *tests: str) -> list[tuple[int, int, list[str]]]:
    """Exchanges, injections and names of tests in the facts, test after test."""
    taken = [follower.take(test, last=test == tests[-1]) for test in tests]
    return [(part.exchanges, part.injected, [name for fact in part.facts for name in fact["tests"]]) for part in taken]


class TestOwners:
    def test_each_record_once(self) -> None:
        """What one test took is not there for the next."""
        recorder, follower = followed(wide=True)
        recorder.accept(exchange(1, injected=True))
        assert counted(follower, "test_a") == [(1, 1, ["test_a"])]
        recorder.accept(exchange(2))
        assert counted(follower, "test_b", "test_c") == [(1, 0, []), (0, 0, [])]

    def test_an_exchange_that_outlives_its_test(self) -> None:
        """Its facts come when it is final, and belong to the test during which it arrived."""
        recorder, follower = followed(wide=True)
        running = exchange(1, injected=True, closed=False)
        recorder.accept(running)
        first = follower.take("test_a")
        assert (first.exchanges, first.facts, first.details) == (1, [], {})
        running.closed = "client"
        second = follower.take("test_b")
        assert [fact["tests"] for fact in second.facts if fact["requests"]] == [["test_a"]]
        assert [fact["test"] for fact in second.details["exchanges"]] == ["test_a"]
        assert (second.exchanges, second.touched) == (0, False)

    def test_the_last_time_takes_all(self) -> None:
        """What is never final is told when its proxy is closed."""
        recorder, follower = followed()
        recorder.accept(exchange(1, injected=True, closed=False))
        assert counted(follower, "test_a") == [(1, 1, ["test_a"])]

    def test_a_finding_belongs_to_who_saw_it(self) -> None:
        """A tunnel that misbehaves in a later test fails that one, and once."""
        recorder, follower = followed(wide=True)
        tunnel = Tunnel(1, "api.example.com", 443)
        tunnel.violations = (Violation("sni", "first", "ignored"),)
        recorder.accept(tunnel)
        told = [[fact["text"].split("; ")[0] for fact in follower.take("test_a").findings]]
        tunnel.violations += (Violation("inner-host", "second", "ignored"),)
        told += [[fact["text"].split("; ")[0] for fact in follower.take(test).findings] for test in ("b", "c")]
        assert told == [["sni: first"], ["inner-host: second"], []]

    def test_leaks_and_bypasses_once(self) -> None:
        """A leak that is seen again with a higher count is the same one."""
        recorder, follower = followed(wide=True)
        made = exchange(1)
        recorder.accept(made)
        recorder.accept(Leak(SECRET, "credentials[0]", "api", "upstream", "body", 0, made))
        recorder.accept(Bypass("b.example.com", 443))
        first = follower.take("test_a")
        recorder.accept(Leak(SECRET, "credentials[0]", "api", "upstream", "body", 0, made, count=2))
        second = follower.take("test_b")
        assert ([fact["kind"] for fact in first.findings], first.leaks) == (["leak", "bypass"], 1)
        assert (second.findings, second.leaks, second.touched) == ([], 0, False)

    def test_what_could_not_be_looked_into_is_told_once(self) -> None:
        """By the test that saw it; a reason that comes later is one more, and neither fails anything."""
        recorder, follower = followed(wide=True)
        made = exchange(1, closed=False)
        made.unscanned = ("body: one reason",)
        recorder.accept(made)
        told = [[(fact["kind"], fact["text"]) for fact in follower.take(test).findings] for test in ("test_a", "b")]
        made.status, made.unscanned = 204, ("body: one reason", "message: another")
        told.append([(fact["kind"], fact["text"]) for fact in follower.take("c").findings])
        url = "GET https://api.example.com/1"
        assert told == [[("unscanned", f"{url}, body: one reason")], [], [("unscanned", f"{url}, message: another")]]

    def test_a_leak_of_an_exchange_that_arrived_in_an_earlier_test(self) -> None:
        """It belongs to the test that saw it, and says where its exchange is found; the page marks that as well."""
        pages = []
        for seen in ("test_a", "test_b"):
            recorder, follower = followed(wide=True)
            made = exchange(1, closed=False)
            recorder.accept(made)
            ledger = Ledger(detailed=True)
            batches = [batch_of([follower.take("test_a")], "test_a")] if seen == "test_b" else []
            recorder.accept(Leak(SECRET, "credentials[0]", "api", "upstream", "message 1", 0, made))
            made.closed = "client"
            taken = follower.take(seen, last=True)
            (leak,) = taken.details["leaks"]
            assert (leak["test"], leak.get("arrived")) == (seen, "test_a" if seen == "test_b" else None)
            for batch in [*batches, batch_of([taken], seen)]:
                assert batch is not None
                ledger.add(batch, "passed")
            pages.append(to_html(ledger.document(ABOUT)))
        assert [page.count('<span class="badge bad">leak</span>') for page in pages] == [
            2,
            2,
        ]  # among the findings, and at the exchange


class TestBounds:
    def test_details_are_bounded(self) -> None:
        """A hundred exchanges whole, then those with a credential without headers; the others are counted."""
        recorder, follower = followed()
        for number in range(1, 301):
            recorder.accept(exchange(number, injected=number % 2 == 0))
        taken = follower.take("test_a", last=True)
        kept = taken.details["exchanges"]
        assert len([fact for fact in kept if "request_headers" in fact]) == 100
        assert [fact["id"] for fact in kept[100:]] == list(range(102, 301, 2))
        assert (taken.exchanges, taken.injected, taken.left_out) == (300, 150, 100)

    def test_echoes_are_bounded_and_leaks_are_not(self) -> None:
        """What an upstream sent back is told a hundred times, what went astray always."""
        recorder, follower = followed()
        made = exchange(1)
        recorder.accept(made)
        for number in range(150):
            recorder.accept(Leak(SECRET, "credentials[0]", "api", "client", f"message {number}", 0, made))
            recorder.accept(Leak(SECRET, "credentials[0]", "api", "upstream", f"message {number}", 0, made))
        taken = follower.take("test_a", last=True)
        directions = [fact["direction"] for fact in taken.details["leaks"]]
        assert directions.count("upstream") == 150
        assert taken.left_out == 150 - directions.count("client") > 0

    def test_without_a_report_there_are_no_details(self) -> None:
        """Nothing is kept that nobody asked for; the rest is the same."""
        recorder, follower = followed(detailed=False)
        recorder.accept(exchange(1, injected=True))
        taken = follower.take("test_a", last=True)
        assert taken.details == {}
        assert (taken.exchanges, taken.injected, len(taken.facts)) == (1, 1, 1)


class TestSecrets:
    def test_facts_are_builtins_without_a_value(self) -> None:
        """Also where the value is in a parameter of the test, or in a record that is older than its rule."""
        recorder = Recorder()
        follower = Follower(recorder, "gatekeeper_proxy", ("leak",), detailed=True)
        made = exchange(1, injected=True)
        made.target, made.violations = f"/{VALUE}", (Violation("trace", VALUE, "refused"),)
        recorder.accept(made)
        recorder.add_rule(RULE)
        name = follower.label(f"test_s3cret.py::test_it[{VALUE}]")
        batch = batch_of([follower.take(name, last=True)], name)
        text = json.dumps(batch)
        assert json.loads(text) == batch
        assert name == f"test_s3cret.py::test_it[{SECRET}]"
        assert VALUE not in text and text.count(SECRET.fingerprint) > 3

    def test_a_value_that_was_replaced(self) -> None:
        """A test's name or a record may still show what a rule had before its source was asked again."""
        recorder, follower = followed()
        fresh = Secret("s3cret-after-the-refresh")
        recorder.set_rules([Rule("credentials[0]", "api.example.com", "X-Api-Key", "api", fresh, fresh)])
        made = exchange(1)
        made.target = f"/{VALUE}/s3cret-after-the-refresh"
        recorder.accept(made)
        (fact,) = follower.take("test_a", last=True).details["exchanges"]
        assert fact["target"] == f"/{SECRET}/{fresh}"
        assert follower.label(f"test_it[{VALUE}]") == f"test_it[{SECRET}]"


class TestLedger:
    def test_a_test_that_runs_again(self) -> None:
        """Its numbers add up, and its last outcome counts."""
        ledger = Ledger(detailed=True)
        for outcome in ("failed", "passed"):
            recorder, follower = followed()
            recorder.accept(exchange(1, injected=True))
            batch = batch_of([follower.take("test_a", last=True)], "test_a")
            assert batch is not None
            ledger.add(batch, outcome)
        made = ledger.document({})
        assert made["tests"] == [
            {"id": "test_a", "outcome": "passed", "exchanges": 2, "injected": 2, "leaks": 0, "left_out": 0}
        ]
        assert (made["rules"][0]["requests"], made["rules"][0]["tests"]) == (2, ["test_a"])

    def test_facts_do_not_grow_with_tests(self) -> None:
        """Ten thousand tests of one rule are a few thousand facts at most, and every request counts."""
        ledger = Ledger()
        fact = {
            "pattern": "a",
            "header": "H",
            "grant": "",
            "id": "added[0]",
            "hosts": ["a"],
            "requests": 1,
            "upgrades": 0,
            "scanned": True,
            "canary": False,
        }
        for number in range(10_000):
            facts = [{**fact, "tests": [f"test_{number}"]}]
            test = {"id": "", "exchanges": 1, "injected": 1, "leaks": 0, "left_out": 0}
            ledger.add({"facts": facts, "findings": [], "required": [], "details": {}, "test": test}, "passed")
        assert len(ledger.facts) <= 4000
        (rule,) = ledger.document({})["rules"]
        assert (rule["requests"], len(rule["tests"])) == (10_000, 10_000)
