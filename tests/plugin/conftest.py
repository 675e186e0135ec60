"""What the tests of pytest's side share: a suite in a folder of its own, run as its user would run it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import pytest_gatekeeper

# What an inner run in this process imports is forgotten after it, and must not be imported twice: so import it now.
_ours = pkgutil.walk_packages(pytest_gatekeeper.__path__, "pytest_gatekeeper.")
_theirs = ("http.client", "requests", "urllib.request", "websocket", "yaml")
for _name in (*(module.name for module in _ours if not module.name.endswith("__main__")), *_theirs):
    importlib.import_module(_name)

Finished = subprocess.CompletedProcess[str]

PLAIN = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")
QUICKER = ("-p", "no:hypothesispytest", "-p", "no:xdist", "-p", "no:timeout")


class Suite:
    """A folder with files, and pytest in it."""

    def __init__(self, pytester: pytest.Pytester, run_pytest: Callable[..., Finished]) -> None:
        self._pytester = pytester
        self._run_pytest = run_pytest
        self.path: Path = pytester.path

    def write(self, files: Mapping[str, str]) -> None:
        """Files by their names."""
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def quick(self, *arguments: str, plugins: tuple[object, ...] = ()) -> pytest.RunResult:
        """A run in this process, for what needs no process of its own."""
        return self._pytester.runpytest_inprocess(*PLAIN, *arguments, plugins=plugins, no_reraise_ctrlc=True)

    def run(self, *arguments: str, **environ: str) -> Finished:
        """A run in a process of its own."""
        return self._run_pytest(self.path, *QUICKER, *arguments, **environ)


@pytest.fixture
def suite(pytester: pytest.Pytester, run_pytest: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> Suite:
    """An empty suite. The terminal is wide enough for each line."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return Suite(pytester, run_pytest)
