"""The examples of `exec`: the commands of their README files, run as a stranger runs them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import INSTALL, INSTALLED
from tests.conftest import a_shells_environ, copied, row

PACKAGES = INSTALLED / "node" / "node_modules"
SECRETS = {name: f"{name.lower()}-of-the-examples-test" for name in ("ORDERS_TOKEN", "EVENTS_KEY", "ITEMS_KEY")}
PREFIX = "    python -m pytest_gatekeeper exec "


def commands(folder: Path) -> list[list[str]]:
    """What the README says to run."""
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    return [shlex.split(line.strip())[1:] for line in lines if line.startswith(PREFIX)]


def run(folder: Path, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """A command of a README, with this Python."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**a_shells_environ(), "COLUMNS": "120", **SECRETS, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The Node example, with its packages."""
    if not all(map(shutil.which, ("node", "npm"))):
        pytest.skip("this machine has no node with npm")
    if not (PACKAGES / "undici").exists():
        pytest.skip(INSTALL)
    folder = copied("node", tmp_path)
    (folder / "node_modules").symlink_to(PACKAGES, target_is_directory=True)
    return folder


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """The shell example."""
    if shutil.which("curl") is None:
        pytest.skip("this machine has no curl")
    return copied("shell", tmp_path)


def test_npm_test_runs_with_the_credentials_on_the_way(node: Path) -> None:
    """Both of its tests pass, the table has a request for one rule and an upgrade for the other; no secret shows."""
    (command,) = commands(node)

    done = run(node, command)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"pass 2\b", done.stdout)
    assert row(done.stderr, "orders") == [
        "api.example.com", "Authorization", "orders", "api.example.com", "1", "0", "1",
    ]  # fmt: skip
    assert row(done.stderr, "events") == [
        "events.example.com", "X-Events-Key", "events", "events.example.com", "0", "1", "1",
    ]  # fmt: skip
    assert [value for value in SECRETS.values() if value in done.stdout + done.stderr] == []


def test_npm_test_fails_without_the_rule(node: Path) -> None:
    """Its status is the command's, and the table says that the rule was never used."""
    file = node / "gatekeeper.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("host: api.example.com", "host: www.example.com"))
    (command,) = commands(node)

    done = run(node, command)

    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"fail 1\b", done.stdout)
    assert "never used" in row(done.stderr, "orders")


def test_the_shell_commands_run_with_the_key_on_the_way(shell: Path) -> None:
    """The script made two requests, the one-liner one; the stub echoed the key that curl did not have."""
    script, one_liner = commands(shell)

    done = run(shell, script)
    assert (done.returncode, done.stdout) == (0, "smoke: ok\n"), done.stderr
    assert row(done.stderr, "items") == ["api.example.com", "X-Api-Key", "items", "api.example.com", "2", "0", "1"]

    done = run(shell, one_liner)
    assert done.returncode == 0, done.stderr
    assert dict(json.loads(done.stdout)["headers"])["X-Api-Key"] == SECRETS["ITEMS_KEY"]
    assert row(done.stderr, "items")[-3:] == ["1", "0", "1"]
    assert SECRETS["ITEMS_KEY"] not in done.stderr


def test_a_shell_command_that_fails_is_told(shell: Path) -> None:
    """A host without a route is answered 502, of which curl makes its status 22."""
    _, one_liner = commands(shell)

    done = run(shell, [word.replace("https://api.example.com", "https://www.example.com") for word in one_liner])

    assert done.returncode == 22, done.stdout + done.stderr
    assert "never used" in row(done.stderr, "items")
