"""Run the rooms' tests on the other Pythons that the package supports, each in an environment of its own.

    python scripts/other_pythons.py             # each supported version but the one that runs this, and the oldest
    python scripts/other_pythons.py --lowest    # the oldest version, with every dependency at its lower bound

A version that this machine lacks is skipped, with a line that says so; not so with ``GATEKEEPER_ALL_PYTHONS=1``, where
it is a failure. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
ROOMS = ("core", "proxy", "engine", "sources", "origin", "plugin")  # the others run commands and real clients
FILES = sorted(path.name for path in (ROOT / "tests").glob("test_*.py") if path.name != "test_docs.py")
SUITE = ("-m", "pytest", "-q", "-n", "4", *(f"tests/{name}" for name in (*ROOMS, *FILES)))


def find(version: str) -> str | None:
    """The path of a Python of this version, or None."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    command = ["sh", str(ROOT / "scripts" / "find_python.sh"), version]
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def run_suite(version: str, folder: Path, *options: str) -> bool:
    """Whether the suite passes on this version. True where the version is missing and may be."""
    python = find(version)
    if python is None:
        print(f"Python {version}: SKIPPED, not found on PATH or among pyenv's versions", flush=True)
        return os.environ.get("GATEKEEPER_ALL_PYTHONS") != "1"
    print(f"Python {version} {' '.join(options)}: {folder.relative_to(ROOT)}", flush=True)
    set_up = [python, str(ROOT / "scripts" / "environment.py"), str(folder), "--extras", "test", *options]
    suite = [str(folder / "bin" / "python"), *SUITE]
    return all(subprocess.run(command, cwd=ROOT, check=False).returncode == 0 for command in (set_up, suite))


def main() -> None:
    """Run what was asked for; exit with 1 when something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lowest", action="store_true")
    if parser.parse_args().lowest:
        passed = [run_suite(SUPPORTED[0], ROOT / ".venvs" / "lowest", "--lowest")]
    else:
        this = "{}.{}".format(*sys.version_info)
        passed = [run_suite(version, ROOT / ".venvs" / version) for version in SUPPORTED[1:] if version != this]
    if not all(passed):
        raise SystemExit("the suite failed on another Python (see above)")


if __name__ == "__main__":
    main()
