"""What the plugin costs a suite: real pytest runs of empty tests, without the plugin, with it, and with its fixture.

Each run is a process of its own, with no other plugin that was installed, and with compiled modules, as an installed
package has them: call `Suites` as a context manager, which keeps them in a temporary folder. A run's conftest.py writes
down how long the phases of its tests took.
"""

# ruff: noqa: S603 - it runs Python
from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from children import Child

__all__ = ["Run", "Suites", "median", "plugin_costs", "plugin_lines"]

KINDS = ("without", "loaded", "used")
CONFTEST = """
import json, os

phases = []

def pytest_runtest_logreport(report):
    phases.append((report.when, report.duration))

def pytest_sessionfinish():
    with open(os.environ["BENCH_PHASES"], "w") as file:
        json.dump(phases, file)
"""
TESTS = """
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_nothing(number{fixture}):
    pass
"""
IMPORT = """
import json, sys, time
import pytest
before = set(sys.modules)
wall, cpu = time.perf_counter(), time.process_time()
import pytest_gatekeeper.plugin
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
new = sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
print(json.dumps({"wall": wall * 1e3, "cpu": cpu * 1e3, "modules": len(set(sys.modules) - before), "packages": new}))
"""
FIRST = """
import json, time
import pytest
import pytest_gatekeeper.plugin
def now(): return time.perf_counter(), time.process_time()
began = now()
import pytest_gatekeeper._plugin.repairs
from pytest_gatekeeper.gatekeeper import Gatekeeper, open_listener
from pytest_gatekeeper.config import Config
imported = now()
with Gatekeeper(Config(), listener=open_listener()) as proxy:
    proxy.env
ended = now()
names = ("import_wall", "import_cpu", "wall", "cpu")
figures = [imported[0] - began[0], imported[1] - began[1], ended[0] - imported[0], ended[1] - imported[1]]
print(json.dumps({name: figure * 1e3 for name, figure in zip(names, figures)}))
"""


class Run(NamedTuple):
    """One pytest run.

    Attributes:
        wall, cpu: seconds of the whole process.
        first: milliseconds of the first test's set-up.
        later: median milliseconds of set-up and tear-down together in the tests after it.
    """

    wall: float
    cpu: float
    first: float
    later: float


class Suites:
    """Suites in a temporary folder; a context manager."""

    def __enter__(self) -> Suites:
        self._folder = tempfile.TemporaryDirectory(prefix="gatekeeper-bench-")
        self._path = Path(self._folder.name)
        drop = ("PYTEST_", "PYTHONDONTWRITEBYTECODE")
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
        self._environ["PYTHONPYCACHEPREFIX"] = str(self._path / "compiled")
        self._environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        self.imported()  # compiles
        self.first()
        for kind in KINDS:
            self.run(kind, 2)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def imported(self) -> dict[str, Any]:
        """What importing the plugin adds to pytest: `wall` and `cpu` (ms), `modules` and third-party `packages`."""
        return self._script(IMPORT)

    def first(self) -> dict[str, Any]:
        """The first proxy of a process (ms): its imports, then making, starting and closing it."""
        return self._script(FIRST)

    def _script(self, source: str) -> dict[str, Any]:
        command = [sys.executable, "-c", source]
        done = subprocess.run(command, env=self._environ, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run(self, kind: str, count: int) -> Run:
        """Run `count` empty tests; with 0 one is collected only."""
        folder = self._path / kind
        folder.mkdir(exist_ok=True)
        (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        fixture = ", gatekeeper_proxy" if kind == "used" else ""
        (folder / "test_nothing.py").write_text(TESTS.format(count=count or 1, fixture=fixture), encoding="utf-8")
        plugin = [] if kind == "without" else ["-p", "pytest_gatekeeper.plugin"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, "."]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            command if count else [*command, "--collect-only"],
            cwd=folder,
            env={**self._environ, "BENCH_PHASES": str(folder / "phases.json")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"a pytest run failed:\n{done.stdout}{done.stderr}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(wall, cpu, *_phases(json.loads((folder / "phases.json").read_text(encoding="utf-8"))))


def _phases(phases: list[tuple[str, float]]) -> tuple[float, float]:
    up = [seconds * 1e3 for when, seconds in phases if when == "setup"]
    down = [seconds * 1e3 for when, seconds in phases if when == "teardown"]
    if not up:
        return 0.0, 0.0
    later = [sum(pair) for pair in list(zip(up, down))[1:]]
    return up[0], statistics.median(later) if later else 0.0


# ------------------------------------------------------------------ the figures


def median(values: Iterable[float]) -> float:
    """Of any numbers; 0 of none."""
    found = list(values)
    return statistics.median(found) if found else 0.0


def plugin_costs(proxy: Child, repeat: int, tests: int) -> dict[str, Any]:
    """What the fixture costs a test, and the plugin a suite that does not use it."""
    runs: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    collections: dict[str, list[Any]] = {"without": [], "loaded": []}
    with Suites() as suites:
        imports = [suites.imported() for _ in range(repeat * 3)]
        firsts = [suites.first() for _ in range(repeat * 3)]
        for _ in range(repeat):
            for kind, found in runs.items():
                found.append(suites.run(kind, tests)._asdict())
            for kind, found in collections.items():
                found.append(suites.run(kind, 0)._asdict())
    inside = [proxy.ask("fixtures", count=tests) for _ in range(repeat)]
    return {
        "import": imports, "firsts": firsts, "runs": runs, "collections": collections, "inside": inside, "tests": tests,
    }  # fmt: skip


def plugin_lines(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What was measured, its figure, and the goal."""
    runs, collections, tests = found["runs"], found["collections"], found["tests"]

    def of(kind: str, what: str) -> float:
        return median(run[what] for run in runs[kind])

    def per_test(kind: str, other: str) -> float:
        return median((a["cpu"] - b["cpu"]) / tests * 1e3 for a, b in zip(runs[kind], runs[other]))

    def one(group: str, what: str) -> str:
        wall, cpu = median(sample[what] for sample in found[group]), what.replace("wall", "cpu")
        return f"{wall:.1f} ms, {median(sample[cpu] for sample in found[group]):.1f} of processor time"

    packages = sorted({name for sample in found["import"] for name in sample["packages"]} - {"pytest_gatekeeper"})
    collected = median((a["cpu"] - b["cpu"]) * 1e3 for a, b in zip(collections["loaded"], collections["without"]))
    return [
        ("import of the plugin", one("import", "wall"), "5 ms"),
        ("  third-party packages it loads", ", ".join(packages) or "none", "none"),
        ("pytest --collect-only, processor time, more", f"{collected:.1f} ms", ""),
        ("a test that does not use the fixture, processor time, more", f"{per_test('loaded', 'without'):.2f} ms", ""),
        ("first fixture of a run, its set-up phase", f"{of('used', 'first'):.1f} ms", "60 ms"),
        ("  of that, imports", one("firsts", "import_wall"), ""),
        ("  of that, all else", one("firsts", "wall"), ""),
        ("fixture after the first, set-up + tear-down phases", f"{of('used', 'later'):.2f} ms", "1.5 ms"),
        ("  the same phases of a test without it", f"{of('without', 'later'):.2f} ms", ""),
        ("  the proxy and the environment alone", f"{median(it['both'] for it in found['inside']):.2f} ms", ""),
    ]
