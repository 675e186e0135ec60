"""The page about the command line says what is: what it shows of a shell comes out as pasted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from pytest_gatekeeper._core.lint import CODES
from pytest_gatekeeper.cli import parser

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FILES = {name: text for text, name in re.findall(r"^```yaml\n(# (\S+)\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)}
COMMAND = re.compile(r"^\$ ((?:.*\\\n> )*.*)\n", re.MULTILINE)


def scripted(shown: str) -> tuple[str, str]:
    """A block as a script, and as an expression for what the script puts out; `…` stands for anything."""
    script = "\n".join(command.replace("\n> ", "\n") for command in COMMAND.findall(shown))
    expected = re.escape(COMMAND.sub("", shown)).replace("…", ".*")
    return script, expected


def named(shown: str) -> str:
    """A block as test ids show it."""
    return " ".join(word for word in COMMAND.findall(shown)[0].split()[3:6] if not word.startswith("-"))


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    """The environment of the page: its files around, `python` this one, one of the two variables set."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    unset = {name: value for name, value in environ.items() if not name.endswith("_TOKEN")}
    path = f"{python.parent}{os.pathsep}{environ['PATH']}"
    return {**unset, "PATH": path, "COLUMNS": "80", "BILLING_KEY": "a-key-to-bill"}


@pytest.mark.parametrize("shown", SHOWN, ids=named)
def test_a_shell_puts_out_what_is_shown(shell: dict[str, str], tmp_path: Path, shown: str) -> None:
    """Each block, run as a script."""
    if "curl" in shown and shutil.which("curl") is None:
        pytest.skip("there is no curl")
    if "not-yaml" in shown and not yaml.__with_libyaml__:
        pytest.skip("without libyaml the parser has other words")
    script, expected = scripted(shown)
    with subprocess.Popen(
        ["sh", "-c", script], cwd=tmp_path, env=shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        try:
            told, _ = running.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    assert re.fullmatch(expected, told), told


def test_something_else_is_told_apart() -> None:
    """The comparison can fail: another word, a line less, a line more."""
    script, expected = scripted("$ a \\\n>   b\none …\ntwo\n$ c\n3.\n")
    assert script == "a \\\n  b\nc"
    assert re.fullmatch(expected, "one or more\ntwo\n3.\n")
    assert [bad for bad in ("one or more\nto\n3.\n", "two\n3.\n", "one x\ntwo\n3.\n4\n", "one x\ntwo\n3x\n")
            if re.fullmatch(expected, bad)] == []  # fmt: skip


def test_the_broken_files_are_those_of_the_page() -> None:
    """All of them, word by word, each with what check says."""
    broken = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests/data/broken").iterdir()}
    assert {name: text for name, text in FILES.items() if name != "gatekeeper.yaml"} == broken
    commands = [command for shown in SHOWN for command in COMMAND.findall(shown)]
    assert {f"python -m pytest_gatekeeper check {name}" for name in FILES} <= set(commands)


def test_the_codes_are_those_of_the_page() -> None:
    """In their order, with what they mean."""
    assert re.findall(r"^\| `([a-z][a-z-]*)` \| (.*) \|$", PAGE, re.MULTILINE) == list(CODES.items())


@pytest.mark.parametrize("command", ["exec", "serve", "check", "explain"])
def test_the_options_of_a_command_are_on_the_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What `--help` lists is told."""
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    options = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    documented = set(re.findall(r"^\| `(--[a-z-]+)", PAGE, re.MULTILINE))
    assert options <= documented
    assert f"python -m pytest_gatekeeper {command}" in PAGE
