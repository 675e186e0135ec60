"""What the tests of the command line share: running it as a shell does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from pytest_gatekeeper.cli import main
from tests.conftest import a_shells_environ

Finished = subprocess.CompletedProcess[str]

CONFIG = """
credentials:
  - host: api.example.com
    header: X-Api-Key
    grant: api
    source: {type: env, var: API_KEY}
log: {level: info}
"""
STARTS_NOTHING = {"check", "explain", "--version"}
KEY = "k3y-of-the-command-line-tests"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with one rule, whose value the environment has."""
    file = tmp_path / "gatekeeper.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


@pytest.fixture
def environ() -> dict[str, str]:
    """The environment of a shell: without what this test run set for itself, with the rule's value."""
    return {**a_shells_environ(), "API_KEY": KEY, "COLUMNS": "120"}


@pytest.fixture
def gatekeeper(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """`python -m pytest_gatekeeper …`, to its end. The rule's value must never be printed by it.

    What starts nothing (`check`, `explain`) runs in this process: that takes a hundredth of the time.
    """

    def run(*arguments: str | Path, hides: bool = True, **more: str) -> Finished:
        command = [str(argument) for argument in arguments]
        if STARTS_NOTHING.intersection(command[:1]):
            with monkeypatch.context() as patch:
                patch.chdir(tmp_path)
                patch.setattr(os, "environ", {**environ, **more})
                done = here(command)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "pytest_gatekeeper", *command],
                cwd=tmp_path, env={**environ, **more}, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert KEY not in done.stderr
        assert not hides or KEY not in done.stdout
        return done

    return run


def here(command: list[str]) -> Finished:
    """A command run by this interpreter."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as told:
        try:
            status = main(command)
        except SystemExit as error:  # argparse's
            status = int(error.code or 0)
    return Finished(command, status, out.getvalue(), told.getvalue())


UNWOKEN = """
import signal, sys, threading
from pytest_gatekeeper.cli import main

def deliver():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))

threading.Thread(target=deliver, daemon=True).start()
raise SystemExit(main(sys.argv[2:]))
"""


@pytest.fixture
def unwoken() -> Callable[[signal.Signals], tuple[str, ...]]:
    """`python -m pytest_gatekeeper`, which gets a signal at the first line of its standard input, and is not woken.

    A signal that comes between the interpreter's last look and a call that blocks does not end that call. So does one
    that another thread gets: the main thread, whose matter it is, goes on waiting.
    """
    if not hasattr(signal, "pthread_kill"):
        pytest.skip("no signals to threads on this system")
    return lambda number: (sys.executable, "-c", UNWOKEN, str(int(number)))
