"""Install what `tests/clients` talks with and no extra of the package can bring: npm packages, niquests, a Go program.

    .venv/bin/python tests/clients/install.py

All of it goes below the environment of the Python that runs this, in `clients/`, and is left alone when it is as it
should be. What the machine has no tool for is left out, with a line that says so; its tests are skipped. niquests has a
folder of its own because its urllib3-future would overwrite the urllib3 of the others. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(sys.prefix) / "clients"
NIQUESTS = "niquests>=3.9"
LIMIT = 240


def tell(text: str) -> None:
    """Say what is done."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*command: str, cwd: Path = HERE, **environ: str) -> None:
    """Run a command to its end."""
    subprocess.run(command, cwd=cwd, env={**os.environ, **environ}, check=True, timeout=LIMIT)


def node_packages(folder: Path) -> None:
    """What the lock file names, into `node_modules`."""
    for file in (HERE / "node").glob("package*.json"):
        shutil.copy(file, folder)
    run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", cwd=folder)


def niquests(folder: Path) -> None:
    """niquests and what it needs."""
    quiet = ("--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "install", *quiet, "--target", str(folder), NIQUESTS)


def go_program(folder: Path) -> None:
    """The Go client: compiling net/http for the first time takes longer than a test may."""
    run("go", "build", "-o", str(folder / "fetch"), str(HERE / "go" / "fetch.go"), CGO_ENABLED="0")


PARTS: dict[str, tuple[str, Callable[[Path], None], tuple[str, ...]]] = {
    "node": ("npm", node_packages, ("node/package.json", "node/package-lock.json")),
    "niquests": (sys.executable, niquests, ()),
    "go": ("go", go_program, ("go/fetch.go",)),
}
"""By folder: the tool, what it does, and the files that it depends on."""


def main() -> None:
    """Bring every part up to date."""
    for name, (tool, make, sources) in PARTS.items():
        folder = TARGET / name
        if shutil.which(tool) is None:
            tell(f"{name}: left out, this machine has no {tool}")
            continue
        recipe = b"".join((HERE / source).read_bytes() for source in ("install.py", *sources))
        stamp, made_from = folder / "stamp", hashlib.sha256(recipe).hexdigest()
        if stamp.exists() and stamp.read_text(encoding="utf-8") == made_from:
            continue
        tell(f"{name}: into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            make(folder)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise SystemExit(f"{name}: could not be installed (the tool's reason is above): {error}") from error
        stamp.write_text(made_from, encoding="utf-8")


if __name__ == "__main__":
    main()
