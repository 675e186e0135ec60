"""What the user gets to read: the header line, the section of a failed test, the scope table, the report's files.

Texts come finished from `_core` and the recorder; here they are only put where pytest, or a file, shows them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import pytest

from pytest_gatekeeper._plugin.judge import judge_run
from pytest_gatekeeper._plugin.ledger import UNFINISHED
from pytest_gatekeeper._plugin.session import RUN, Run

__all__ = ["add_section", "finish", "header", "prepare", "print_scope"]

_SECTION = "Captured gatekeeper"
_LINES = 50
_SILENT_FACTORY = (
    "no request reached the proxy: gatekeeper_proxy_factory leaves the environment alone;"
    " hand the client proxy.env or proxy.kwargs(…)"
)
_NARROWEST = 60


def header(run: Run) -> str | None:
    """One line on the configuration; nothing without one. Sources are counted by their kind, none is fetched."""
    if run.config is None:
        return None
    from pytest_gatekeeper._sources.vault import count_real

    options = run.options
    rules = len(run.config.credentials)
    real = count_real(run.config.credentials, options.secrets, os.environ)
    parts = [
        str(run.config.file),
        f"{rules} rule{'' if rules == 1 else 's'}",
        f"secrets {options.secrets} ({real} real, {rules - real} canary)",
        f"policy {run.config.network.policy}",
        f"network {'open' if options.allow_network else 'closed'}",
    ]
    return f"gatekeeper: {', '.join(parts)}"


def add_section(run: Run, report: pytest.TestReport) -> None:
    """Tell a failed phase what went through the proxies that its test may have used."""
    if report.failed and run.followers:
        report.sections.append((_SECTION, "\n".join(_told(run))))


def _told(run: Run) -> Iterator[str]:
    from pytest_gatekeeper._core.telling import SILENCE, is_telling, numbered, table

    told = False
    for follower in run.followers:
        recorder, older = follower.recorder, follower.older
        lines: list[str] = []
        recorder.settle()
        if not older:
            lines = recorder.describe(_LINES).splitlines()
        elif records := recorder.records[older:]:
            before = sum(map(is_telling, recorder.records[:older]))
            lines = [f"after {numbered(before, 'record')} of earlier tests:"]
            lines += table(records, limit=_LINES, latest=True)
        if lines and len(run.followers) > 1:
            yield f"{follower.name}:"
        told = told or bool(lines)
        yield from lines
    if not told:
        yield _SILENT_FACTORY if all(follower.wide for follower in run.followers) else SILENCE


def print_scope(run: Run, reporter: pytest.TerminalReporter) -> None:
    """The scope table, where any test held a proxy; what the run fails for; where the report is."""
    ledger = run.ledger
    if ledger.used or ledger.lost:
        from pytest_gatekeeper._core.scope import merge_findings, render, rows

        width = max(_NARROWEST, reporter.config.get_terminal_writer().fullwidth)
        reporter.section("gatekeeper scope")
        lines: Iterable[str] = render(rows(ledger.facts), width, merge_findings(ledger.findings)) if ledger.used else ()
        for line in lines:
            reporter.write_line(line)
        for worker, test in ledger.lost.items():
            lost = f"what {test} did" if test else "what its test did"
            reporter.write_line(f"incomplete: {worker} crashed, and {lost} is not in here", yellow=True)
    if run.verdict:
        reporter.write_line(run.verdict, red=True)
    for error in run.report_errors:
        reporter.write_line(error, red=True)
    for path in run.reports:
        reporter.write_line(f"gatekeeper report: {path}")


# ------------------------------------------------------------------ files


def prepare(session: pytest.Session) -> None:
    """Before anything is collected: see that reports can be written. Raises UsageError that names key and path."""
    run = session.config.stash[RUN]
    if run.options.report and not hasattr(session.config, "workerinput"):
        from pytest_gatekeeper.errors import ProxyError
        from pytest_gatekeeper.reportfiles import prepare

        try:
            prepare(run.options.report, run.options.report_source)
        except ProxyError as error:
            raise pytest.UsageError(str(error)) from None


def finish(session: pytest.Session) -> None:
    """After the last test: judge the run, and write the reports."""
    run = session.config.stash[RUN]
    batch = run.end_test()  # of an interrupted test
    if batch is not None:
        run.ledger.add(batch, UNFINISHED)
    judge_run(run, session)
    if run.options.report and not session.config.option.collectonly:
        _write_files(run, session)


def _write_files(run: Run, session: pytest.Session) -> None:
    """Write the reports that were asked for; one that cannot be written fails the run."""
    from pytest_gatekeeper import __version__
    from pytest_gatekeeper.reportfiles import about, write_all

    options, config = run.options, run.config
    file = str(config.file) if config is not None else None
    made = run.ledger.document(about(__version__, file, options.secrets, options.fail_on, session.exitstatus))
    for path, error in write_all(options.report, made):
        if error:
            run.report_errors.append(error)
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        else:
            run.reports.append(path)
