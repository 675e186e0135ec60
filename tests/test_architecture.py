"""The house keeps its shape: modules open with what they are for and stay small, and tests say what they show.

Which module may import which is import-linter's business (`make lint`).
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pytest_gatekeeper"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))

MODULE_LINES = 330
FUNCTION_LINES = 45
OUTSIDE = re.compile("/wo" + r"rk/|\.\./sha" + "red")  # in two parts, so that this file does not name them
TEXT_FILES = {".cfg", ".ini", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ".json", ""}
NOT_OURS = {".git"}  # beside what .gitignore names

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """A path as test ids show it."""
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.AST) -> Iterator[Function]:
    """All functions and methods, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def lines_of(function: Function) -> int:
    """Lines of a function without its docstring, decorators left out."""
    first = function.body[0]
    docstring = ast.get_docstring(function, clean=False) is not None
    about = (first.end_lineno or 0) - first.lineno + 1 if docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - about


# ------------------------------------------------------------------ the gates


def without_docstring(source: str) -> list[str]:
    """What is wrong with how a module opens."""
    return [] if ast.get_docstring(ast.parse(source)) else ["it does not open with a docstring"]


def too_long(source: str) -> list[str]:
    """Modules and functions past their limits."""
    lines = source.count("\n")
    wrong = [f"it has {lines} lines, more than {MODULE_LINES}"] if lines > MODULE_LINES else []
    long = [function for function in functions(ast.parse(source)) if lines_of(function) > FUNCTION_LINES]
    return wrong + [f"line {function.lineno}: {function.name} has {lines_of(function)} lines" for function in long]


def untold_tests(source: str) -> list[str]:
    """Test functions without a docstring."""
    tests = (function for function in functions(ast.parse(source)) if function.name.startswith("test_"))
    return [f"line {test.lineno}: {test.name} states no fact" for test in tests if not ast.get_docstring(test)]


def strays(source: str) -> list[str]:
    """Paths that exist on one machine only."""
    return [f"line {number}" for number, line in enumerate(source.splitlines(), 1) if OUTSIDE.search(line)]


def ours(folder: Path, ignored: Iterable[str]) -> list[Path]:
    """The text files below a folder; left out is what lies in or is a name that fits one of `ignored`."""
    patterns = [*NOT_OURS, *(line.rstrip("/") for line in ignored if line)]

    def counts(path: Path) -> bool:
        return not any(fnmatch(part, pattern) for part in path.relative_to(folder).parts for pattern in patterns)

    return [path for path in folder.rglob("*") if path.suffix in TEXT_FILES and counts(path) and path.is_file()]


def strays_below(folder: Path) -> dict[str, list[str]]:
    """Where files of a checkout name a path of one machine, by the file's path in it."""
    files = ours(folder, (folder / ".gitignore").read_text(encoding="utf-8").splitlines())
    found = {path: strays(path.read_text(encoding="utf-8", errors="replace")) for path in files}
    return {path.relative_to(folder).as_posix(): lines for path, lines in found.items() if lines}


# ------------------------------------------------------------------ the house


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_opens_with_a_docstring(path: Path) -> None:
    """Each module says what it is for."""
    assert without_docstring(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_small(path: Path) -> None:
    """No module has more than 330 lines, no function more than 45 beside its docstring. There are no exceptions."""
    assert too_long(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_exist(path: Path) -> None:
    """What a module lists in `__all__` can be imported from it, and each name is listed once."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__main__":
        return  # importing it would run it
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    listed = list(getattr(module, "__all__", ()))
    assert [name for name in listed if not hasattr(module, name)] == []
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("path", TEST_FILES, ids=name_of)
def test_each_test_states_its_fact(path: Path) -> None:
    """Each test has a docstring."""
    assert untold_tests(path.read_text(encoding="utf-8")) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    """Everything in the repository stands on its own."""
    files = ours(ROOT, (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())
    assert {ROOT / "pyproject.toml", ROOT / "Makefile", PACKAGE / "errors.py"} <= set(files)
    assert strays_below(ROOT) == {}


# ------------------------------------------------------------------ the gates can fail

LONG_FUNCTION = "def f():\n" + "    x = 1\n" * FUNCTION_LINES


@pytest.mark.parametrize(
    ("gate", "bad", "good"),
    [
        (without_docstring, "x = 1\n", '"""What for."""\n'),
        (too_long, "x = 1\n" * (MODULE_LINES + 1), "x = 1\n" * MODULE_LINES),
        (too_long, LONG_FUNCTION, LONG_FUNCTION.replace("    x = 1\n", '    """A\n    b."""\n', 1)),
        (untold_tests, "def test_it(): ...\n", 'def test_it():\n    """It."""\n'),
        (strays, "see /wo" + "rk/main\n", "see work/main\n"),
        (strays, "see ../sha" + "red/x\n", "see shared/x\n"),
    ],
)
def test_each_gate_can_fail(gate: Callable[[str], list[str]], bad: str, good: str) -> None:
    """What breaks a rule is found, what keeps it is not."""
    assert len(gate(bad)) == 1
    assert gate(good) == []


def test_only_files_that_count_are_searched(tmp_path: Path) -> None:
    """What .gitignore names may hold paths of this machine, as coverage's data does; every other file may not."""
    ignored = [".git/config", ".coverage", ".coverage.h.1", ".venv/x.cfg", "a/__pycache__/x.json", "a.egg-info/x.txt"]
    counted = [".gitignore", "Makefile", "a/coverage.md", "a/venv/x.py", "b.sh"]
    for name in (*ignored, *counted):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# see /wo" + "rk/main\n")
    with (tmp_path / ".gitignore").open("a") as file:
        file.write((ROOT / ".gitignore").read_text())
    assert strays_below(tmp_path) == {name: ["line 1"] for name in counted}
