"""Fail when the measured coverage is below its floors: 90 % overall, 95 % of the branches of `_core`.

Reads the data that `coverage combine` left. `coverage report --fail-under` knows one floor for lines and branches
together; this is for the two that the project promises. Run it with the environment's Python; coverage is all it needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OVERALL = 90.0
CORE_BRANCHES = 95.0


def measured() -> dict[str, Any]:
    """What coverage knows, as its JSON report has it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True)
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return content


def core_branches(files: dict[str, Any]) -> tuple[int, int]:
    """Branches taken and branches there are in `_core`."""
    core = [file["summary"] for name, file in files.items() if "_core" in Path(name).parts]
    return sum(one["covered_branches"] for one in core), sum(one["num_branches"] for one in core)


def main() -> None:
    """Print both figures; exit with 1 when one is below its floor."""
    report = measured()
    overall = report["totals"]["percent_covered"]
    taken, branches = core_branches(report["files"])
    if not branches:
        raise SystemExit("coverage: nothing of pytest_gatekeeper/_core was measured")
    core = 100 * taken / branches
    print(f"coverage: {overall:.1f} % overall (floor {OVERALL:g})")
    print(f"coverage: {core:.1f} % of _core's branches (floor {CORE_BRANCHES:g})")
    if overall < OVERALL or core < CORE_BRANCHES:
        raise SystemExit("coverage: below its floor")


if __name__ == "__main__":
    main()
