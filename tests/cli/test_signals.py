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
from pytest_gatekeeper._cli.signals import hearing, wait

over = queue.SimpleQueue()
with hearing(("SIGALRM", "SIGNOTHING"), over.put):
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
