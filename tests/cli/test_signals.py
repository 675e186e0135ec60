"""Facts about the wait that hears signals, whenever they come."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

ROUNDS = 500
LATEST = 2e-4  # seconds: a signal comes while the wait begins

SCRIPT = f"""
import queue, random, signal
from pytest_gatekeeper._cli.signals import hearing, heeded, wait

over = queue.SimpleQueue()
with hearing(heeded("SIGALRM", "SIGNOTHING"), over.put):
    for _ in range({ROUNDS}):
        signal.setitimer(signal.ITIMER_REAL, random.random() * {LATEST} + 1e-6)
        wait(over)
assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
print(over.qsize())
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no such timers")
def test_a_signal_at_any_moment_is_heard() -> None:
    """Also while the wait itself holds what it waits with: each of hundreds, once."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


HEEDED = """
from pytest_gatekeeper._cli.signals import heeded
print(*(number.name for number in heeded("SIGHUP", "SIGTERM", "SIGNOTHING")))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no such signal")
@pytest.mark.parametrize(("trap", "told"), [("trap '' HUP; ", "SIGTERM\n"), ("", "SIGHUP SIGTERM\n")])
def test_what_is_ignored_is_not_heeded(trap: str, told: str) -> None:
    """As a process finds it when it starts; one that the system lacks is not there."""
    done = subprocess.run(
        ["sh", "-c", f'{trap}exec "$0" -c "$1"', sys.executable, HEEDED],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == told, done.stderr
