"""The examples and the README's first test run as a stranger runs them: pytest in a process of its own.

What they print is looked at, too: a suite that skips everything also ends with status 0.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, copied, row

Run = Callable[..., subprocess.CompletedProcess[str]]

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SECRETS = {"WS_API_TOKEN": "t0k-of-the-examples-test"}


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_the_websocket_example(tmp_path: Path, run_pytest: Run, arguments: tuple[str, ...]) -> None:
    """All its tests pass, and one table tells of the grant, its host, and four upgrades in four tests."""
    done = run_pytest(copied("websocket", tmp_path), "-Werror", *arguments, **SECRETS)

    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    assert row(done.stdout, "ws-api") == [
        "ws.example.com", "Authorization", "ws-api", "ws.example.com", "0", "4", "4",
    ]  # fmt: skip
    assert SECRETS["WS_API_TOKEN"] not in done.stdout


def test_what_make_demo_shows(tmp_path: Path, run_pytest: Run) -> None:
    """The table names the host, the grant and one upgrade, of one test."""
    (command,) = re.findall(r"^\tcd examples/websocket && .* -m pytest -v (.*)$", MAKEFILE, re.MULTILINE)
    done = run_pytest(copied("websocket", tmp_path), "-Werror", *command.split(), **SECRETS)

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert row(done.stdout, "ws-api") == [
        "ws.example.com", "Authorization", "ws-api", "ws.example.com", "0", "1", "1",
    ]  # fmt: skip
    assert SECRETS["WS_API_TOKEN"] not in done.stdout


def test_the_websocket_example_by_command_line(tmp_path: Path, run_pytest: Run) -> None:
    """The option does what the ini file does."""
    folder = copied("websocket", tmp_path)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    done = run_pytest(folder, "-Werror", "--gatekeeper-config", "gatekeeper.yaml", **SECRETS)

    assert done.returncode == 0, done.stdout
    assert row(done.stdout, "ws-api")[-2:] == ["4", "4"]


def test_the_websocket_example_can_fail(tmp_path: Path, run_pytest: Run) -> None:
    """Without the rule the same tests fail, and say which host got no credential."""
    folder = copied("websocket", tmp_path)
    file = folder / "gatekeeper.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("ws.example.com", "ws.example.org"), encoding="utf-8")

    done = run_pytest(folder, "-Werror", "-k", "the_upgrade_gets", **SECRETS)

    assert done.returncode == 1, done.stdout
    assert "no rule for ws.example.com; nearest is ws.example.org" in done.stdout
    assert "Captured gatekeeper" in done.stdout
    assert "never used" in row(done.stdout, "ws-api")
    assert SECRETS["WS_API_TOKEN"] not in done.stdout


def test_the_scoping_example(tmp_path: Path, run_pytest: Run) -> None:
    """All its tests pass without any variable set, and the table has a row for each of the two rules."""
    done = run_pytest(copied("scoping", tmp_path), "-Werror")

    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    assert row(done.stdout, "billing") == [
        "billing.example.com", "X-Api-Key", "billing", "billing.example.com", "3", "0", "3",
    ]  # fmt: skip
    assert row(done.stdout, "reports") == [
        "*.reports.example.com", "Authorization", "reports", "eu.reports.example.com", "1", "0", "1",
    ]  # fmt: skip
    assert "of-the-example" not in done.stdout


def test_the_first_test_of_the_readme(tmp_path: Path, run_pytest: Run) -> None:
    """Its table names the grant, the host and one request; the key is nowhere. `test_docs` runs it, too."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_first.py").write_text(block, encoding="utf-8")

    done = run_pytest(tmp_path)

    assert done.returncode == 0, done.stdout
    assert row(done.stdout, "api") == ["api.example.com", "X-Api-Key", "api", "api.example.com", "1", "0", "1"]
    assert "s3cret" not in done.stdout
