"""The hand-over between the processes of one run.

What a test did travels on its last report, as builtins: within a process, from a worker of pytest-xdist to the
controller, and from a forked child to its parent all the same. What came after the last report a worker leaves in
`workeroutput`. One that crashed leaves nothing: the test that it ran is missing, and that is noted. xdist itself is
never imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_gatekeeper._plugin.ledger import UNFINISHED

if TYPE_CHECKING:
    from pytest_gatekeeper._plugin.session import Run

__all__ = ["Intake", "WorkerNode", "equip", "hand_over", "put", "receive", "take_over"]

_KEY = "gatekeeper"


class Gateway(Protocol):
    """What xdist talks to a worker through."""

    id: str


class WorkerNode(Protocol):
    """A worker as the controller's hooks see it. `workeroutput` is there once it has ended in order."""

    config: pytest.Config
    gateway: Gateway
    workerinput: dict[str, Any]


class Intake:
    """Takes what comes on reports, in the process that tells the user. A plugin, since these hooks get no config."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the facts; the report is then as pytest made it."""
        ledger = self._run.ledger
        ledger.note(report)
        if report.when == "teardown":
            ledger.close_test(report.nodeid, report.__dict__.pop(_KEY, None))

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        """The worker that crashed last ran this test."""
        lost = self._run.ledger.lost
        if lost:
            lost[next(reversed(lost))] = crashitem


def put(report: pytest.TestReport, run: Run) -> None:
    """A test has ended: its facts go with its last report."""
    batch = run.end_test()
    if batch is not None:
        report.__dict__[_KEY] = batch


# ------------------------------------------------------------------ pytest-xdist


def equip(run: Run, workerinput: dict[str, Any]) -> None:
    """Controller: what a worker needs to know. With one key, equal secrets have equal fingerprints everywhere."""
    if not run.fingerprint_key:
        run.fingerprint_key = os.urandom(16).hex()
    workerinput[_KEY] = {"fingerprint_key": run.fingerprint_key}


def receive(run: Run, workerinput: dict[str, Any]) -> None:
    """Worker: take what the controller said."""
    run.fingerprint_key = workerinput.get(_KEY, {}).get("fingerprint_key", "")


def hand_over(run: Run, workeroutput: dict[str, Any]) -> None:
    """Worker: leave what no report took along."""
    workeroutput[_KEY] = {"batch": run.end_test(), "deselected": run.ledger.deselected}


def take_over(run: Run, worker: str, workeroutput: dict[str, Any] | None) -> None:
    """Controller: a worker has ended; None is what a crash leaves."""
    output = (workeroutput or {}).get(_KEY)
    if output is None:
        run.ledger.lost[worker] = ""
        return
    if output["batch"] is not None:
        run.ledger.add(output["batch"], UNFINISHED)
    run.ledger.deselected = max(run.ledger.deselected, output["deselected"])  # each worker collects all tests
