"""Fail when what the suite puts out shows a secret that one of its tests used.

    python scripts/secrets_shown.py .venv/bin/python -m pytest -q -n 4
    python scripts/secrets_shown.py --loud .venv/bin/python -m pytest -q -n 4

Runs the command, passes its output on, and keeps every value that a `Secret` was made of in any of its processes
(as a pytest plugin, by PYTEST_PLUGINS). Then the output is searched for each of them, in the encodings of
`tests/proof/test_nothing_shows.py`. With --loud that is all that pytest captured of every test, at level DEBUG, the
output of the pytest runs that tests start among it, and the JUnit file with the same.

Looked for are values that do not show by chance: of eight characters, with five different ones and a digit among them,
in ASCII, and not made up by Hypothesis. What is left out is what is not ours to show: the names of parametrised tests,
and lines that client libraries log.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "GATEKEEPER_SECRETS_USED"
UNLIKE_LOUD = (  # what these test is a run in which the root logger has no level
    "tests/plugin/test_reports.py::test_no_value_is_in_any_output",
    "tests/test_log.py::test_a_path_gets_the_whole_line",
)
LOUD = ("-rA", "--log-level=DEBUG", "-o", "junit_logging=all", *(f"--deselect={name}" for name in UNLIKE_LOUD))
LATER = ("s3cret-of-the-path",)  # values that a test sends before any rule has them: nobody can know that then

NAMES = re.compile(
    r"<testcase [^>]*>|^ *(?:<|&lt;)Function .*$|^_{3,} .* _{3,}$"
    r"|^(?:PASSED|SKIPPED|XFAIL|XPASS) .*$|^(?:FAILED|ERROR) \S+::[^\n]*?(?= - |$)",
    re.MULTILINE,
)
LIBRARIES = re.compile(r"^[A-Z]+ +(?!pytest_gatekeeper\b)[\w.]+:\w+\.py:\d+ .*$", re.MULTILINE)
FAILURES = re.compile(r"^=+ (?:ERRORS|FAILURES) =+\n.*?(?=^=+ PASSES =+$|\Z)", re.MULTILINE | re.DOTALL)

used: set[str] = set()


# ------------------------------------------------------------------ in the suite


def keep() -> None:
    """Keep every value from now on."""
    from hypothesis import currently_in_test_context

    from pytest_gatekeeper._core.secret import Secret

    make = Secret.__init__

    def making(self: Secret, value: str) -> None:
        if not currently_in_test_context():
            used.add(value)
        make(self, value)

    Secret.__init__ = making  # type: ignore[method-assign]


def pytest_unconfigure() -> None:
    """Leave them for the script."""
    if FOLDER in os.environ:
        file = Path(os.environ[FOLDER]) / f"{os.getpid()}.json"
        file.write_text(json.dumps(sorted(used)), encoding="utf-8")


# ------------------------------------------------------------------ around it


def telling(value: str) -> bool:
    """Whether a value does not show by chance."""
    return len(value) >= 8 and len(set(value)) >= 5 and value.isascii() and any(char.isdigit() for char in value)


def ours(text: str) -> str:
    """What we, and not a test's author or a client library, put there."""
    return LIBRARIES.sub("", NAMES.sub("", text))


def run(command: list[str], folder: Path, *, loud: bool) -> tuple[int, dict[str, str]]:
    """Run the command; its exit status and all that it put out."""
    junit = folder / "junit.xml"
    options = [*LOUD, f"--junitxml={junit}"] if loud else []
    environ = {**os.environ, FOLDER: str(folder), "PYTEST_PLUGINS": "scripts.secrets_shown"}
    lines = []
    with subprocess.Popen(
        [*command, *options], env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not loud:
                print(line, end="", flush=True)
    texts = {"output": "".join(lines)}
    if loud:
        failures = FAILURES.search(texts["output"]) if process.returncode else None
        print(failures[0] if failures else "", *lines[-5:], sep="", end="")
    if junit.exists():
        texts["JUnit"] = junit.read_text(encoding="utf-8")
    return process.returncode, texts


def main(arguments: list[str]) -> int:
    """The command's status, or 1 where a secret shows."""
    sys.path.insert(0, str(ROOT))
    from tests.proof.test_nothing_shows import hits

    loud = arguments[0] == "--loud"
    with tempfile.TemporaryDirectory() as folder:
        status, texts = run(arguments[loud:], Path(folder), loud=loud)
        values = {value for file in Path(folder).glob("*.json") for value in json.loads(file.read_text("utf-8"))}
    known = {repr(value): value for value in sorted(values) if telling(value) and value not in LATER}
    found = hits({name: ours(text) for name, text in texts.items()}, known)
    size = sum(map(len, texts.values()))
    for hit in found:
        print(f"a secret shows: {hit}")
    print(f"secrets looked for: {len(known)}, in {size:,} characters of output; found: {len(found)}")
    return 1 if found or not known else status


if os.environ.get(FOLDER) and __name__ != "__main__":
    keep()
if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
