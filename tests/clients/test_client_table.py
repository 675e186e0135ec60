"""Facts about `scripts/client_table.py`: what it writes, and what it finds wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ROOT, Tally

PAGE = """# Clients

<!-- clients: python -->
| client | version | https | wss | what was needed |
|---|---|---|---|---|
| bee | 1.0 | works | works | nothing |
| cow | 2.0 | - | works | `moo=True` |
<!-- end -->

<!-- clients: other -->
| client | version | https | wss | what was needed |
|---|---|---|---|---|
| ant | 3.0 | works | - | nothing |
<!-- end -->
"""


def cell(section: str, client: str, scheme: str, needs: str = "nothing", **more: str) -> dict[str, str]:
    """What a client's tests left."""
    facts = {"section": section, "client": client, "scheme": scheme, "needs": needs, "version": "9", "verdict": "works"}
    return {**facts, **more}


RESULTS = [
    cell("python", "bee", "https"),
    cell("python", "bee", "wss"),
    cell("python", "cow", "wss", "`moo=True`"),
    cell("other", "ant", "https"),
]


def test_a_table_that_tells_what_ran_agrees_whatever_the_versions(client_table: Any) -> None:
    """Versions are the machine's."""
    assert client_table.disagreements(PAGE, RESULTS) == []


def test_a_client_that_was_skipped_keeps_its_row(client_table: Any) -> None:
    """A machine that lacks it neither contradicts the table nor loses the row."""
    skipped = [*RESULTS[:2], {**RESULTS[2], "verdict": "skipped"}, RESULTS[3]]
    assert client_table.disagreements(PAGE, skipped) == []
    assert "| cow | 2.0 | - | works | `moo=True` |" in client_table.written(PAGE, skipped)


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ([*RESULTS, cell("other", "dog", "https")], "dog: was tested, and the table has no row for it"),
        (RESULTS[:3], "ant: has a row, and no test ran it or skipped it"),
        ([cell("python", "bee", "https", verdict="fails"), *RESULTS[1:]], "bee: the table says"),
        ([*RESULTS[:2], cell("python", "cow", "wss"), RESULTS[3]], "cow: the table says"),
        ([*RESULTS[1:]], "bee: the table says"),
        ([*RESULTS, cell("other", "ant", "wss")], "ant: the table says"),
    ],
    ids=["a client more", "a client less", "another verdict", "another need", "a scheme less", "a scheme more"],
)
def test_what_disagrees_is_named(client_table: Any, results: list[dict[str, str]], told: str) -> None:
    """One line says which client, and after writing the page anew there is none."""
    (line,) = client_table.disagreements(PAGE, results)
    assert line.startswith(told)
    assert client_table.disagreements(client_table.written(PAGE, results), results) == []


def test_nothing_tested_is_no_agreement(client_table: Any) -> None:
    """An empty run must not pass for a good one."""
    assert "no client was tested" in client_table.disagreements(PAGE, [])


def test_a_page_without_a_table_is_told(client_table: Any) -> None:
    """The comment that is missing is named."""
    with pytest.raises(client_table.PageError, match="clients: other"):
        client_table.written(PAGE.replace("clients: other", "other"), RESULTS)


def test_the_command_checks_and_writes(tmp_path: Path) -> None:
    """It exits with 1 where the page disagrees, writes it, and is content."""
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(PAGE.replace("| bee | 1.0 | works |", "| bee | 1.0 | fails |"), encoding="utf-8")
    results.write_text(json.dumps(RESULTS), encoding="utf-8")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        script = str(ROOT / "scripts" / "client_table.py")
        command = [sys.executable, script, str(results), "--page", str(page), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    refused = run("--check")
    assert (refused.returncode, refused.stdout.count("\n")) == (1, 1)
    assert refused.stdout.startswith("bee: ")
    assert run().returncode == 0
    content = run("--check")
    assert (content.returncode, content.stdout) == (0, "page.md: the tables agree with the tests of 3 clients\n")


# ------------------------------------------------------------------ what the table is made from


def report(outcome: str, client: str, when: str = "call", longrepr: object = None) -> pytest.TestReport:
    """A report as pytest hands it out."""
    facts = {"section": "python", "client": client, "scheme": "https", "needs": "nothing", "version": "1"}
    properties = [("gatekeeper_client", facts)]
    made: Any = pytest.TestReport("a::b", ("a", 1, "b"), {}, outcome, longrepr, when, user_properties=properties)  # type: ignore[arg-type]
    return made  # type: ignore[no-any-return]


def test_a_client_works_when_all_its_tests_passed() -> None:
    """One that failed counts, whatever passed before or after, and so does what a fixture found at the end."""
    tally = Tally()
    for one in (
        report("passed", "bee", "setup"), report("passed", "bee"), report("passed", "bee"),
        report("passed", "cow"), report("failed", "cow"), report("passed", "cow"),
        report("passed", "dog"), report("failed", "dog", "teardown"),
        report("skipped", "eel", "setup", ("file", 1, "Skipped: it is not here")),
    ):  # fmt: skip
        tally.take(one)

    verdicts = {cell["client"]: cell["verdict"] for cell in tally.cells.values()}
    assert verdicts == {"bee": "works", "cow": "fails", "dog": "fails", "eel": "skipped"}
    assert tally.line() == "clients: 3 ran, 1 skipped (eel: it is not here)"


def test_other_tests_do_not_count() -> None:
    """A test that tells of no client leaves the count alone."""
    tally = Tally()
    tally.take(pytest.TestReport("a::b", ("a", 1, "b"), {}, "passed", None, "call"))
    assert tally.cells == {}
