"""What tests of several rooms share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_gatekeeper._core.secret import fingerprint_key, share_fingerprint_key

Finished = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def _one_fingerprint_key() -> Iterator[None]:
    """A pytest run inside this process may take another run's key: equal secrets must look equal to the next test."""
    key = fingerprint_key()
    yield
    share_fingerprint_key(key)


@pytest.fixture
def run_pytest() -> Callable[..., Finished]:
    """Run pytest in a folder as a stranger would: a process of its own, without what this run set for itself."""

    def run(folder: Path, *arguments: str, **environ: str) -> Finished:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PY_COLORS"))}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
            cwd=folder,
            env={**own, "COLUMNS": "120", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )

    return run
