"""Run the rooms' tests on the other Pythons that the package supports, each in an environment of its own.

    python scripts/other_pythons.py             # each supported version but the oldest and the one that runs this
    python scripts/other_pythons.py --lowest    # the oldest version, with every dependency at its lower bound
    python scripts/other_pythons.py --set-up    # the environments of both, and no tests

A version that this machine lacks is skipped, with a line that says so; not so with ``GATEKEEPER_ALL_PYTHONS=1``, where
it is a failure. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
ROOMS = ("core", "proxy", "engine", "sources", "origin", "plugin")  # the others run commands and real clients
TEXTS = ("test_docs.py", "test_architecture.py")  # what they read is the same to every Python
FILES = sorted(path.name for path in (ROOT / "tests").glob("test_*.py") if path.name not in TEXTS)
SUITE = ("-m", "pytest", "-q", "-n", "4", *(f"tests/{name}" for name in (*ROOMS, *FILES)))


def find(version: str) -> str | None:
    """The path of a Python of this version, or None."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    command = ["sh", str(ROOT / "scripts" / "find_python.sh"), version]
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


class Environment(NamedTuple):
    """A Python, and where its environment is; `lowest`: with every dependency at its lower bound."""

    version: str
    folder: Path
    lowest: bool = False

    def set_up(self) -> bool:
        """Make it as it should be; whether it is, or the version is missing."""
        python = find(self.version)
        return python is None or self._made_from(python)

    def _made_from(self, python: str) -> bool:
        options = ["--lowest"] if self.lowest else []
        script = str(ROOT / "scripts" / "environment.py")
        return succeeds(python, script, str(self.folder), "--extras", "test", *options)

    def run_suite(self) -> bool:
        """Whether the suite passes in it. True where the version is missing and may be."""
        python = find(self.version)
        if python is None:
            print(f"Python {self.version}: SKIPPED, not found on PATH or among pyenv's versions", flush=True)
            return os.environ.get("GATEKEEPER_ALL_PYTHONS") != "1"
        print(f"Python {self.version}: {self.folder.relative_to(ROOT)}", flush=True)
        return self._made_from(python) and succeeds(str(self.folder / "bin" / "python"), *SUITE)


def succeeds(*command: str) -> bool:
    """Run a command to its end."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


THIS = "{}.{}".format(*sys.version_info)
LOWEST = Environment(SUPPORTED[0], ROOT / ".venvs" / "lowest", lowest=True)
OTHERS = [Environment(version, ROOT / ".venvs" / version) for version in SUPPORTED[1:] if version != THIS]


def main() -> None:
    """Do what was asked for; exit with 1 when something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lowest", action="store_true")
    parser.add_argument("--set-up", action="store_true")
    said = parser.parse_args()
    if said.set_up:
        passed = [environment.set_up() for environment in (*OTHERS, LOWEST)]
    else:
        passed = [environment.run_suite() for environment in ([LOWEST] if said.lowest else OTHERS)]
    if not all(passed):
        raise SystemExit("failed on another Python (see above)")


if __name__ == "__main__":
    main()
