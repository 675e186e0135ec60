"""Make the tables of docs/clients.md from what the tests of the clients showed, or see that both agree.

    GATEKEEPER_CLIENT_RESULTS=results.json python -m pytest tests/clients
    python scripts/client_table.py results.json            # write the tables
    python scripts/client_table.py results.json --check    # exit with 1 where they and the tests disagree

Clients, schemes, verdicts and what was needed are compared; versions differ from machine to machine. A client that this
machine lacks keeps the row that it has. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parent.parent / "docs" / "clients.md"
SECTIONS = ("python", "other")
HEAD = ("| client | version | https | wss | what was needed |", "|---|---|---|---|---|")
NO_SCHEME = "-"

Results = Iterable[Mapping[str, str]]
"""What the tests left: of each client and scheme its section, client, scheme, needs, version and verdict."""


class Row(NamedTuple):
    """A client in a table.

    `https` and `wss` are verdicts: `works`, `fails`, or `-` where it does not know the scheme.
    """

    client: str
    version: str
    https: str
    wss: str
    needs: str

    def line(self) -> str:
        """As the page has it."""
        return f"| {' | '.join(self)} |"


class PageError(Exception):
    """The page has no such table."""


def _span(page: str, section: str) -> tuple[int, int]:
    """Where the content of a section's table is: between two comments."""
    found = re.search(rf"(?<=<!-- clients: {section} -->\n).*?(?=<!-- end -->)", page, re.DOTALL)
    if found is None:
        raise PageError(f"the page has no '<!-- clients: {section} -->' with an '<!-- end -->' after it")
    return found.span()


def table_of(page: str, section: str) -> dict[str, Row]:
    """The rows of a section, by client.

    Raises:
        PageError: there is no such table.
    """
    start, end = _span(page, section)
    lines = (line for line in page[start:end].splitlines() if line.startswith("|") and line not in HEAD)
    rows = [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]
    return {row.client: row for row in rows}


def rows_of(results: Results, section: str) -> dict[str, Row]:
    """A row for each client of a section that ran."""
    rows: dict[str, Row] = {}
    for cell in results:
        if cell["section"] != section or cell["verdict"] == "skipped":
            continue
        client = cell["client"]
        row = rows.get(client, Row(client, cell["version"], NO_SCHEME, NO_SCHEME, cell["needs"]))
        verdict = cell["verdict"]
        rows[client] = row._replace(https=verdict) if cell["scheme"] == "https" else row._replace(wss=verdict)
    return rows


def written(page: str, results: Results) -> str:
    """The page with tables of what ran, and the old rows of what was skipped."""
    results = list(results)
    skipped = {(cell["section"], cell["client"]) for cell in results if cell["verdict"] == "skipped"}
    for section in SECTIONS:
        kept = {client: row for client, row in table_of(page, section).items() if (section, client) in skipped}
        rows = sorted({**kept, **rows_of(results, section)}.values(), key=lambda row: row.client.casefold())
        start, end = _span(page, section)
        page = page[:start] + "\n".join((*HEAD, *(row.line() for row in rows))) + "\n" + page[end:]
    return page


def disagreements(page: str, results: Results) -> list[str]:
    """What the tables and the tests tell differently, one line each."""
    results = list(results)
    found = [] if results else ["no client was tested"]
    for section in SECTIONS:
        told, ran = table_of(page, section), rows_of(results, section)
        known = {cell["client"] for cell in results if cell["section"] == section}
        for client, row in ran.items():
            if client not in told:
                found.append(f"{client}: was tested, and the table has no row for it")
            elif told[client]._replace(version="") != row._replace(version=""):
                found.append(f"{client}: the table says {told[client].line()!r}, the tests {row.line()!r}")
        found += [f"{client}: has a row, and no test ran it or skipped it" for client in told if client not in known]
    return found


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, help="what GATEKEEPER_CLIENT_RESULTS named")
    parser.add_argument("--page", type=Path, default=PAGE, help="another page than docs/clients.md")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    try:
        results: list[dict[str, str]] = json.loads(arguments.results.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SystemExit(
            f"{arguments.results} is not there: no test of a client ran, or none was told to write it"
        ) from None
    page = arguments.page.read_text(encoding="utf-8")
    if not arguments.check:
        arguments.page.write_text(written(page, results), encoding="utf-8")
        return
    wrong = disagreements(page, results)
    for line in wrong:
        print(line)
    if wrong:
        raise SystemExit(f"{arguments.page.name} and the tests disagree; to write it anew, leave out --check")
    ran = {cell["client"] for cell in results if cell["verdict"] != "skipped"}
    print(f"{arguments.page.name}: the tables agree with the tests of {len(ran)} clients")


if __name__ == "__main__":
    main()
