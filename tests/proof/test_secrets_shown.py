"""`scripts/secrets_shown.py`, which searches the suite's own output: that it finds, and what it leaves out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, a_shells_environ, script

SUITE = """
import logging
import pytest
from pytest_gatekeeper import Secret

@pytest.mark.parametrize("value", ["t0k-in-the-name-of-a-test"])
def test_it(value, request):
    Secret(value)
    Secret("t0k-" + "that-is-kept")
    logging.getLogger("httpx").debug(value)
    shown = Secret("t0k-" + "that-shows")
    %s
"""


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("print(shown)", 0),
        ("print(shown.reveal())", 1),
        ("logging.getLogger('pytest_gatekeeper').info(shown.reveal())", 1),
    ],
    ids=["fingerprint", "printed", "logged"],
)
def test_a_value_in_the_output_is_found(tmp_path: Path, line: str, status: int) -> None:
    """Status 1 and where, for a value that is printed or logged; a test's name and a library's log are others'."""
    file = tmp_path / "test_it.py"
    file.write_text(SUITE % line, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "scripts/secrets_shown.py", "--loud", sys.executable, "-m", "pytest", "-q",
         "-p", "no:cacheprovider", "-p", "no:randomly", f"--rootdir={tmp_path}", "-c", "/dev/null", str(file)],
        cwd=ROOT, env=a_shells_environ(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "secrets looked for: 3, in " in done.stdout and f"; found: {2 * status}\n" in done.stdout
    assert ("a secret shows: 't0k-that-shows' in output" in done.stdout) == bool(status)


def test_what_shows_by_chance_is_not_looked_for() -> None:
    """Short, of few characters, a word, or beyond ASCII; all others are."""
    telling = script("secrets_shown").telling
    assert [value for value in ("s3cr3t7", "00000000", "two words", "gehéim-01") if telling(value)] == []
    assert telling("s3cr3t78")
