"""The hand-over between the processes of one run.

A worker leaves its facts in `workeroutput`, as builtins; the controller adds them to its own. A worker that crashed
leaves nothing, which is noted. xdist itself is never imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pytest

    from pytest_gatekeeper._plugin.session import Run

__all__ = ["WorkerNode", "equip", "hand_over", "receive", "take_over"]

_KEY = "gatekeeper"


class Gateway(Protocol):
    """What xdist talks to a worker through."""

    id: str


class WorkerNode(Protocol):
    """A worker as the controller's hooks see it. `workeroutput` is there once it has ended in order."""

    config: pytest.Config
    gateway: Gateway
    workerinput: dict[str, Any]


def equip(run: Run, workerinput: dict[str, Any]) -> None:
    """Controller: what a worker needs to know. With one key, equal secrets have equal fingerprints everywhere."""
    if not run.fingerprint_key:
        run.fingerprint_key = os.urandom(16).hex()
    workerinput[_KEY] = {"fingerprint_key": run.fingerprint_key}


def receive(run: Run, workerinput: dict[str, Any]) -> None:
    """Worker: take what the controller said."""
    run.fingerprint_key = workerinput.get(_KEY, {}).get("fingerprint_key", "")


def hand_over(run: Run, workeroutput: dict[str, Any]) -> None:
    """Worker: leave the facts for the controller."""
    facts: list[Any] = run.facts
    if run.used:
        from pytest_gatekeeper._core.scope import merge

        facts = merge(facts)
    workeroutput[_KEY] = {"used": run.used, "facts": facts, "findings": run.findings}


def take_over(run: Run, worker: str, workeroutput: dict[str, Any] | None) -> None:
    """Controller: add a worker's facts to the run's; None is what a crash leaves."""
    output = (workeroutput or {}).get(_KEY)
    if output is None:
        run.lost.append(worker)
    elif output["used"]:
        run.add_facts(output["facts"], output["findings"])
