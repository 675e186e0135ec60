"""What the tests of a run did, in all its processes: their facts, added up.

Facts come as builtins, in a `Batch` for each test; a ledger keeps them and makes the report's document of them. Only
the process that tells the user has one that fills: pytest's own, or the controller of pytest-xdist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_gatekeeper.takings import NUMBERS

if TYPE_CHECKING:
    import pytest

    from pytest_gatekeeper._core.scope import Fact, RuleUse
    from pytest_gatekeeper.takings import Taken

__all__ = ["UNFINISHED", "Batch", "Ledger", "batch_of"]

Batch = dict[str, Any]
"""Facts as they travel: nothing but builtins, by `facts`, `findings`, `required`, `details` and `test`."""

UNFINISHED = "unfinished"
"""The outcome of a test that an interruption cut short."""

_MERGED_FROM = 2000  # facts, before they are joined for the first time


def batch_of(taken: Iterable[Taken], test: str) -> Batch | None:
    """What was taken from the proxies of a test as one batch; None where there is nothing.

    Args:
        taken: one for each proxy that the test may have used.
        test: its name.
    """
    taken = [part for part in taken if part.touched or part.facts]
    if not taken:
        return None
    details: dict[str, list[Fact]] = {}
    for part in taken:
        for name, facts in part.details.items():
            details.setdefault(name, []).extend(facts)
    numbers = {name: sum(getattr(part, name) for part in taken) for name in NUMBERS}
    return {
        "facts": [fact for part in taken for fact in part.facts],
        "findings": [fact for part in taken for fact in part.findings],
        "required": [key for part in taken for key in part.required],
        "details": details,
        "test": {"id": test if any(part.touched for part in taken) else "", **numbers},
    }


class Ledger:
    """The facts of a run.

    Attributes:
        facts, findings: see `_core.scope`.
        used: whether any test held a proxy.
        lost: workers that crashed, each with the test that it ran, or "".
        deselected: how many tests were collected and not run.
    """

    def __init__(self, *, detailed: bool = False) -> None:
        self.facts: list[Fact] = []
        self.findings: list[Fact] = []
        self.used = False
        self.lost: dict[str, str] = {}
        self.deselected = 0
        self._detailed = detailed
        self._required: set[tuple[str, ...]] = set()
        self._tests: dict[str, Fact] = {}
        self._details: dict[str, list[Fact]] = {}
        self._outcomes: dict[str, list[str]] = {}  # of the tests that run now
        self._merge_at = _MERGED_FROM

    # ---- tests

    def note(self, report: pytest.TestReport) -> None:
        """A phase of a test has been reported."""
        if self._detailed:
            self._outcomes.setdefault(report.nodeid, []).append(_phase(report))

    def close_test(self, nodeid: str, batch: Batch | None) -> None:
        """A test has ended. With a batch: it may have used a proxy."""
        phases = self._outcomes.pop(nodeid, [])
        if batch is not None:
            self.add(batch, _outcome(phases))

    def add(self, batch: Batch, outcome: str) -> None:
        """Keep facts; they are joined whenever they have doubled, so that a long run does not grow with its tests.

        Args:
            batch: see `batch_of`.
            outcome: of its test.
        """
        self.used = True
        self.facts.extend(batch["facts"])
        self.findings.extend(batch["findings"])
        self._required.update(map(tuple, batch["required"]))
        for name, facts in batch["details"].items():
            self._details.setdefault(name, []).extend(facts)
        test = batch["test"]
        if self._detailed and test["id"]:
            before = self._tests.get(test["id"], {})  # a plugin may run a test again
            numbers = {name: test[name] + before.get(name, 0) for name in NUMBERS}
            self._tests[test["id"]] = {"id": test["id"], "outcome": outcome, **numbers}
        if len(self.facts) >= self._merge_at:
            from pytest_gatekeeper._core.scope import merge

            self.facts = merge(self.facts)
            self._merge_at = max(_MERGED_FROM, 2 * len(self.facts))

    # ---- the end

    def unused(self) -> list[RuleUse]:
        """The rules that some test has to use, and none did."""
        if not self._required:
            return []
        from pytest_gatekeeper._core.scope import rows

        uses = rows(self.facts)
        return [use for use in uses if not use.used and (use.pattern, use.header, use.grant, use.id) in self._required]

    def document(self, about: Mapping[str, Any]) -> Fact:
        """The report; see `_core.report.document`."""
        from pytest_gatekeeper._core.report import document

        lost = [{"worker": worker, "test": test or None} for worker, test in self.lost.items()]
        return document({**about, "lost": lost}, self.facts, self._tests.values(), self._details)


def _phase(report: pytest.TestReport) -> str:
    """What one phase says of its test; "" where it says nothing."""
    expected = hasattr(report, "wasxfail")
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if expected else "skipped"
    return ("xpassed" if expected else "passed") if report.when == "call" else ""


def _outcome(phases: Iterable[str]) -> str:
    """The word for a test of these phases."""
    said = set(phases)
    order = ("failed", "error", "xfailed", "xpassed", "skipped", "passed")
    return next((word for word in order if word in said), UNFINISHED)
