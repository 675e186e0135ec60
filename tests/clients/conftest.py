"""What the two rosters of clients share: what a client is, the exchange that each makes, and the count at the end.

A roster (`test_python_clients.py`, `test_other_clients.py`) is a list of `Client`; `cells` makes a test case of each
client, scheme and turn. A client is loaded, and used, before the test has the proxy, since that is where caches come
from. Every case is reported with the facts that `scripts/client_table.py` makes the table of docs/clients.md from; with
`GATEKEEPER_CLIENT_RESULTS=PATH` they are written there.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_gatekeeper import Gatekeeper, Origin
from tests.conftest import script

ROOT = Path(__file__).resolve().parents[2]
HOST = "api.clients.test"
"""What all clients talk to: a name in a domain that never resolves (RFC 2606, section 2)."""

INSTALLED = Path(sys.prefix) / "clients"
INSTALL = "not installed; run tests/clients/install.py"
EXTRA = "not installed; it is in the extra `clients`"

LIMIT = 15.0
"""Seconds that a client in this process may take for anything."""
PROCESS_LIMIT = 60.0
"""Seconds that a client's process may take in all."""

PROPERTY = "gatekeeper_client"
RESULTS = "GATEKEEPER_CLIENT_RESULTS"
TURNS = ("first", "again")


# ------------------------------------------------------------------ a client


@dataclass
class Kept:
    """Clients that outlive a test, by name."""

    objects: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The client of this name, made by the first test that asks."""
        if name not in self.objects:
            self.objects[name] = make()
        return self.objects[name]


@dataclass(frozen=True)
class Site:
    """What one case talks to.

    Attributes:
        scheme: `https` or `wss`.
        word: what has to come back.
        folder: empty, for what the client wants to write.
        origin: the stub that answers for `HOST`.
        proxy: only for tools that need more than `proxy.env`.
        kept: clients that outlive the test.
    """

    scheme: str
    word: str
    folder: Path
    origin: Origin
    proxy: Gatekeeper
    kept: Kept

    @property
    def url(self) -> str:
        """Its path is the word."""
        return f"{self.scheme}://{HOST}/{self.word}"

    def run(self, *command: str, tool: str = "", cwd: Path | None = None, script: Path | None = None) -> str:
        """What a command prints: it is told nothing but the environment of this process.

        Args:
            command: with its arguments.
            tool: a tool for which the environment has to be extended (`proxy.env_with`).
            cwd: another folder than `folder`.
            script: a file for standard input, which is silent without one and does not end.
        """
        with ExitStack() as stack:
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            stack.callback(os.close, writer)
            done = subprocess.run(
                command,
                cwd=cwd or self.folder,
                env={**os.environ, **self.proxy.env_with(tool)} if tool else None,
                stdin=reader if script is None else stack.enter_context(script.open("rb")),
                capture_output=True,
                text=True,
                timeout=PROCESS_LIMIT,
                check=False,
            )
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


Action = Callable[[Site], str]
"""One exchange; gives what came back, in which the site's word has to be."""


@dataclass(frozen=True)
class Client:
    """A client and how it is used.

    Attributes:
        name: as its users know it.
        version: finds it out; skips the test where there is no such client.
        https, wss: an exchange over each scheme that the client knows.
        needs: what has to be written for it beside the environment.
        answer: prepares what the client expects, where that is not an echo.
        times: how many requests an https exchange takes.
        loads: modules to import before the test has the proxy.
        before: what a program may have done with the client before the test.
    """

    name: str
    version: Callable[[], str]
    https: Action | None = None
    wss: Action | None = None
    needs: str = "nothing"
    answer: Callable[[Site], None] | None = None
    times: int = 1
    loads: tuple[str, ...] = ()
    before: Callable[[], object] | None = None


class Cell(NamedTuple):
    """One client over one scheme."""

    section: str
    client: Client
    scheme: str

    @property
    def action(self) -> Action | None:
        """The exchange."""
        return {"https": self.client.https, "wss": self.client.wss}[self.scheme]


def cells(section: str, clients: list[Client]) -> list[Any]:
    """Test cases: each client over each scheme that it knows."""
    assert len({client.name for client in clients}) == len(clients)
    found = [Cell(section, client, scheme) for client in clients for scheme in ("https", "wss")]
    return [pytest.param(cell, id=f"{cell.client.name}-{cell.scheme}") for cell in found if cell.action is not None]


def distribution(name: str, hint: str = EXTRA) -> Callable[[], str]:
    """How the version of a Python package is found."""

    def version() -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(hint)

    return version


def on_path(tool: str) -> str:
    """The path of a program; skips the test where the machine has none."""
    return shutil.which(tool) or pytest.skip(f"this machine has no {tool}")


# ------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def kept() -> Iterator[Kept]:
    """Clients that outlive a test, closed at the end of the run."""
    clients = Kept()
    yield clients
    for client in clients.objects.values():
        client.close()


@pytest.fixture
def cell(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Cell:
    """The case's client, loaded and used as a program may have done before its test has the proxy."""
    cell: Cell = request.param
    client = cell.client
    facts = {"section": cell.section, "client": client.name, "scheme": cell.scheme, "needs": client.needs}
    record_property(PROPERTY, facts)
    facts["version"] = client.version()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries do at their import is not ours
        for module in client.loads:
            importlib.import_module(module)
        if client.before is not None:
            client.before()
    return cell


@pytest.fixture
def converse(
    cell: Cell, kept: Kept, gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, tmp_path: Path
) -> Callable[[str], None]:
    """Let the case's client make its exchange, and see that the credential was added on the way."""
    client, scheme, action = cell.client, cell.scheme, cell.action
    assert action is not None

    def converse(turn: str) -> None:
        credential = f"credential-of-{client.name}-{turn}"
        site = Site(scheme, f"word-{turn}", tmp_path, gatekeeper_origin, gatekeeper_proxy, kept)
        gatekeeper_origin.serve(HOST)
        gatekeeper_proxy.add_credential(HOST, credential, header="X-Client-Key", grant="client")
        if client.answer is not None:
            client.answer(site)

        assert site.word in action(site)

        recorder = gatekeeper_proxy.recorder
        upgrade = scheme == "wss"
        times = 1 if upgrade else client.times
        found = recorder.assert_injected(HOST, grant="client", value=credential, upgrade=upgrade, times=times)
        assert len(recorder.exchanges) == times
        assert [exchange.credential_injected for exchange in found] == [True] * times
        if upgrade:
            recorder.assert_upgraded(HOST, grant="client", injected=True, times=1)
        assert [received.header("X-Client-Key") for received in gatekeeper_origin.received] == [credential] * times

    return converse


# ------------------------------------------------------------------ the table


@pytest.fixture(scope="session")
def client_table() -> Any:
    """`scripts/client_table.py` as a module."""
    return script("client_table")


@pytest.fixture
def rows(client_table: Any) -> Callable[[str, list[Client]], tuple[dict[str, Any], dict[str, Any]]]:
    """A section of docs/clients.md as the page tells it, and as its tests show it."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    verdict = {False: client_table.NO_SCHEME, True: "works"}

    def rows(section: str, clients: list[Client]) -> tuple[dict[str, Any], dict[str, Any]]:
        told = {row.client: (row.https, row.wss, row.needs) for row in client_table.table_of(page, section).values()}
        return told, {
            one.name: (verdict[one.https is not None], verdict[one.wss is not None], one.needs) for one in clients
        }

    return rows


# ------------------------------------------------------------------ what ran


class Tally:
    """What the cases showed, gathered from their reports: with pytest-xdist these reach the controller."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str], dict[str, str]] = {}

    def take(self, report: pytest.TestReport) -> None:
        """A report of any test. A client works over a scheme when all its cases passed."""
        facts = dict(report.user_properties).get(PROPERTY)
        if not isinstance(facts, dict) or not (report.when == "call" or not report.passed):
            return
        cell = self.cells.setdefault(
            (facts["section"], facts["client"], facts["scheme"]), {**facts, "verdict": "works"}
        )
        if report.failed:
            cell["verdict"] = "fails"
        elif report.skipped and cell["verdict"] == "works":
            cell["verdict"] = "skipped"
            cell["reason"] = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""

    def line(self) -> str:
        """How many clients ran, and why the others did not."""
        ran = {client for (_, client, _), cell in self.cells.items() if cell["verdict"] != "skipped"}
        skipped = {client: cell["reason"] for (_, client, _), cell in self.cells.items() if client not in ran}
        reasons: dict[str, list[str]] = {}
        for client, reason in skipped.items():
            reasons.setdefault(reason, []).append(client)
        told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        return f"clients: {len(ran)} ran, {len(skipped)} skipped" + (f" ({told})" if told else "")


TALLY = Tally()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A phase of a test has ended."""
    TALLY.take(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The count, and the file with the results."""
    if not TALLY.cells:
        return
    terminalreporter.write_line(TALLY.line())
    if path := os.environ.get(RESULTS):
        cells = [TALLY.cells[key] for key in sorted(TALLY.cells)]
        Path(path).write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")
