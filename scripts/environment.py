"""Make a virtual environment with this project in it, or leave it alone when it is as it should be.

    python scripts/environment.py .venv --extras test,lint          # editable, newest dependencies
    python scripts/environment.py .venvs/lowest --extras test --lowest

The environment belongs to the Python that runs this. A stamp in it says what it was made from; when that has changed it
is made anew, and when only extras are missing they are added. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "gatekeeper-stamp.json"


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def lower_bounds() -> list[str]:
    """The run-time dependencies, each pinned to its lower bound.

    Raises:
        SystemExit: a dependency has none.
    """
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(r'^\s*"(.+?)"', block[1], re.MULTILINE) if block else []
    pins = [line.replace(">=", "==") for line in lines if ">=" in line]
    if not pins or len(pins) != len(lines):
        raise SystemExit("pyproject.toml: every run-time dependency needs a lower bound")
    return pins


def make(folder: Path, extras: set[str], *, lowest: bool = False) -> Path:
    """Bring the environment in `folder` up to date and return its interpreter."""
    project, _, _ = (ROOT / "pyproject.toml").read_bytes().partition(b"\n[tool.")  # settings of tools change nothing
    recipe = project + Path(__file__).read_bytes()
    made_from = {"recipe": hashlib.sha256(recipe).hexdigest(), "python": sys.version, "lowest": lowest}
    stamp = folder / STAMP
    before = json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else {}
    present = set(before.pop("extras", ()))
    if before != made_from:
        present = set()
        print(f"{folder}: a new environment for Python {sys.version.split()[0]}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
    if not extras <= present or not stamp.exists():
        stamp.unlink(missing_ok=True)  # an installation that is cut short leaves no stamp
        install(python_of(folder), extras | present, lower_bounds() if lowest else [])
        stamp.write_text(json.dumps({**made_from, "extras": sorted(extras | present)}), encoding="utf-8")
    return python_of(folder)


def install(python: Path, extras: set[str], pins: list[str]) -> None:
    """Install the project, editable, with these extras and pins; what is imported is compiled then."""
    project = f"{ROOT}[{','.join(sorted(extras))}]" if extras else str(ROOT)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*command, "--editable", project, *pins], check=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="", help="comma list of the project's extras")
    parser.add_argument("--lowest", action="store_true", help="run-time dependencies at their lower bounds")
    arguments = parser.parse_args()
    extras = {extra for extra in arguments.extras.split(",") if extra}
    try:
        make(arguments.folder, extras, lowest=arguments.lowest)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"could not install into {arguments.folder} (pip's reason is above)") from error


if __name__ == "__main__":
    main()
