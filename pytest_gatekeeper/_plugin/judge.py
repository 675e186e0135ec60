"""What fails: a test for what was found in it, a run for rules that no test used.

What is found comes from `takings` and the ledger, the words and texts from `_core.verdict`; here these are put where
pytest counts them. Whether a kind of finding fails is the nearest marker's word, then that of whoever made the proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gatekeeper._core.verdict import failing, tell_findings, tell_unused
from pytest_gatekeeper._plugin.marker import said_fail_on

if TYPE_CHECKING:
    from pytest_gatekeeper._plugin.session import Run

__all__ = ["add_properties", "insist", "judge_run", "judge_test"]

_INJECTED, _LEAKS = "gatekeeper.injected", "gatekeeper.leaks"


def add_properties(run: Run, item: pytest.Item) -> None:
    """Properties of a test that used a proxy, for JUnit's XML and other readers: how many injections and leaks."""
    used = [taken for _, taken in run.taken if taken.touched]
    if not used:
        return
    kept = [(name, value) for name, value in item.user_properties if name not in (_INJECTED, _LEAKS)]
    numbers = [(_INJECTED, sum(taken.injected for taken in used)), (_LEAKS, sum(taken.leaks for taken in used))]
    item.user_properties[:] = [*kept, *numbers]  # in place of those of an earlier attempt


def judge_test(run: Run, item: pytest.Item) -> None:
    """Fail a test in which something was found that fails it, with a finished text and without a frame."""
    found: list[Any] = []
    words: tuple[str, ...] = ()
    for follower, taken in run.taken:
        if not taken.findings:
            continue
        said = said_fail_on(item) if follower.wide else None
        fail_on = follower.fail_on if said is None else said
        if mine := failing(taken.findings, fail_on):
            found.extend(mine)
            words = words or fail_on
    if found:
        run.failure = pytest.fail.Exception(tell_findings(found, words), pytrace=False)
        raise run.failure


def insist(run: Run, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Have a finding fail a test also where it is marked `xfail`, which is about failures of its own."""
    if call.excinfo is not None and call.excinfo.value is run.failure and hasattr(report, "wasxfail"):
        report.outcome = "failed"
        del report.wasxfail


def judge_run(run: Run, session: pytest.Session) -> None:
    """Fail a run that otherwise passed for rules that no test used; a part of a suite proves nothing about them."""
    if session.exitstatus != pytest.ExitCode.OK:
        return
    unused = [(use.id, use.pattern, use.header, use.grant) for use in run.ledger.unused()]
    if not unused:
        return
    why_not = _part(run, session.config)
    run.verdict = tell_unused(unused, why_not)
    if not why_not:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _part(run: Run, config: pytest.Config) -> str:
    """Why a run is a part of its suite; "" where it is the whole."""
    if run.ledger.deselected:
        return f"tests were deselected ({run.ledger.deselected})"
    if config.getoption("lf", default=False):
        return "only the last failures ran (--lf)"
    if any("::" in str(argument) for argument in config.args):
        return "single tests were asked for"
    return "a worker crashed" if run.ledger.lost else ""
