"""What pytest prints for us: the header line, the section of a failed test, the scope table.

Texts come finished from `_core.scope` and the recorder; here they are only put where pytest shows them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gatekeeper._core.model import Credential
    from pytest_gatekeeper._plugin.session import Run

__all__ = ["add_section", "header", "print_scope"]

_SECTION = "Captured gatekeeper"
_LINES = 50
_NARROWEST = 60


def header(run: Run) -> str | None:
    """One line on the configuration; nothing without one. Sources are counted by their kind, none is fetched."""
    if run.config is None:
        return None
    options = run.options
    rules = len(run.config.credentials)
    real = sum(_is_real(credential, options.secrets, os.environ) for credential in run.config.credentials)
    parts = [
        str(run.config.file),
        f"{rules} rule{'' if rules == 1 else 's'}",
        f"secrets {options.secrets} ({real} real, {rules - real} canary)",
        f"policy {run.config.network.policy}",
        f"network {'open' if options.allow_network else 'closed'}",
    ]
    return f"gatekeeper: {', '.join(parts)}"


def _is_real(credential: Credential, mode: str, environ: Mapping[str, str]) -> bool:
    source = credential.source
    if mode == "auto":
        return source.type == "static" or (source.type == "env" and bool(environ.get(source.get("var"))))
    return mode == "real"


def add_section(run: Run, report: pytest.TestReport) -> None:
    """Tell a failed phase what went through the proxies that its test may have used."""
    if report.failed and run.watched:
        report.sections.append((_SECTION, "\n".join(_told(run))))


def _told(run: Run) -> Iterator[str]:
    from pytest_gatekeeper._core.telling import numbered, table

    for recorder, older in run.watched:
        if not older:
            yield recorder.describe(_LINES) or "no request reached the proxy: does the client read HTTPS_PROXY?"
        elif records := recorder.records[older:]:
            yield f"after {numbered(older, 'record')} of earlier tests:"
            yield from table(records, limit=_LINES)


def print_scope(run: Run, reporter: pytest.TerminalReporter) -> None:
    """The scope table, where any test held a proxy."""
    if not run.used and not run.lost:
        return
    from pytest_gatekeeper._core.scope import merge_findings, render, rows

    width = max(_NARROWEST, reporter.config.get_terminal_writer().fullwidth)
    reporter.section("gatekeeper scope")
    lines: Iterable[str] = render(rows(run.facts), width, merge_findings(run.findings)) if run.used else ()
    for line in lines:
        reporter.write_line(line)
    if run.lost:
        reporter.write_line(f"incomplete: {', '.join(run.lost)} ended before reporting what its tests did")
