"""Build the wheel, install it where nothing else is, and run the WebSocket example with it, outside the checkout.

    python scripts/check_wheel.py

What this catches and the suite cannot: a module or py.typed that is not packaged, a dependency that is not declared, an
entry point that pytest does not find. Standard library only; everything is made in a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = ("ws.example.com", "ws-api", "Authorization")
PROBE = """
import pathlib, sys, pytest_gatekeeper
home = pathlib.Path(pytest_gatekeeper.__file__).parent
assert home.is_relative_to(sys.prefix), home
assert (home / "py.typed").exists(), "py.typed is not packaged"
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The standard output of a command that must succeed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        command, cwd=cwd, env={**environ, "WS_API_TOKEN": "t0k"}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nwheel: failed: {' '.join(map(str, command))}")
    return done.stdout


def main() -> None:
    """Exit with 1, and with what was printed, when a step fails."""
    with tempfile.TemporaryDirectory(prefix="gatekeeper-wheel-") as name:
        folder = Path(name)
        pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
        run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
        (wheel,) = folder.glob("pytest_gatekeeper-*.whl")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        run(python, *pip, "install", f"{wheel}[examples]", cwd=folder)
        run(python, "-c", PROBE, cwd=folder)
        example = folder / "websocket"
        shutil.copytree(ROOT / "examples" / "websocket", example, ignore=shutil.ignore_patterns("__pycache__"))
        output = run(python, "-m", "pytest", cwd=example)
        missing = [text for text in EXPECTED if text not in output]
        if missing:
            raise SystemExit(f"{output}\nwheel: the scope table does not show {', '.join(missing)}")
        print(f"wheel: {wheel.name} installs, and the WebSocket example passes with it")


if __name__ == "__main__":
    main()
