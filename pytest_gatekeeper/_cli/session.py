"""What `exec` and `serve` share: their options, the proxy that these describe, and what is told at the end.

What is told comes finished from `_core`. A command line and a child process are the commands' own.
"""

from __future__ import annotations

import argparse
import math
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_gatekeeper import __version__
from pytest_gatekeeper._cli.output import tell
from pytest_gatekeeper._core.report import document
from pytest_gatekeeper._core.scope import merge_findings, render, rows
from pytest_gatekeeper._core.telling import SILENCE, tell_denial, tell_failure
from pytest_gatekeeper._core.verdict import DEFAULT, FAIL_ON, failing, read_fail_on
from pytest_gatekeeper.errors import ConfigWarning
from pytest_gatekeeper.gatekeeper import Gatekeeper
from pytest_gatekeeper.origin import Origin
from pytest_gatekeeper.reportfiles import SUFFIXES, about, prepare, write_all
from pytest_gatekeeper.takings import Follower, Taken
from pytest_gatekeeper.toolfiles import TOOLS

__all__ = ["add_options", "finish", "running"]

_NARROWEST = 60
_TOLD = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of both commands."""
    parser.add_argument("--config", metavar="FILE", help="the gatekeeper.yaml whose rules are in force")
    parser.add_argument(
        "--route", metavar="HOST=URL", action="append", default=[], type=_route,
        help="lead a name (or *.suffix, either with :port) to an http, https, ws or wss URL; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--origin", metavar="HOST", action="append", default=[],
        help="the built-in stub, which echoes, answers for this name; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--trust", metavar="PEM", action="append", default=[],
        help="a file with another CA for upstreams; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--allow-network", action="store_true", help="dial upstreams that are neither routed nor loopback"
    )
    parser.add_argument(
        "--secrets", choices=("auto", "real", "canary"), default="auto",
        help="auto (env and static real, the others made up), real (all fetched) or canary (none)",
    )  # fmt: skip
    parser.add_argument(
        "--with", metavar="TOOL", action="append", default=[], choices=TOOLS, dest="tools",
        help="also what this tool needs: java (JAVA_TOOL_OPTIONS), wget (WGETRC); repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--report",
        metavar="PATH",
        action="append",
        default=[],
        type=_report,
        help="write a .json or .html report; repeatable",
    )
    parser.add_argument(
        "--fail-on", metavar="LIST", type=_fail_on, default=DEFAULT,
        help=f"what makes the exit status 1, a comma list of {', '.join(FAIL_ON)}; or none (default: leak,violation)",
    )  # fmt: skip
    parser.add_argument(
        "--idle-timeout", metavar="SECONDS", type=_seconds, default=120.0,
        help="silence after which the proxy closes a connection (120)",
    )  # fmt: skip
    parser.add_argument(
        "--upstream-timeout", metavar="SECONDS", type=_seconds, default=60.0,
        help="time for dial, handshake and response head together (60)",
    )  # fmt: skip


def _route(text: str) -> tuple[str, str]:
    host, separator, url = text.partition("=")
    if not (host and separator and url):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST=URL, such as api.example.com=http://127.0.0.1:8000")
    return host, url


def _fail_on(text: str) -> tuple[str, ...]:
    try:
        return read_fail_on([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _report(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(SUFFIXES)}")
    return path


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number


@contextmanager
def running(said: argparse.Namespace, *, port: int = 0) -> Iterator[Gatekeeper]:
    """A running proxy with the routes, authorities and stub names that were asked for.

    Raises:
        GatekeeperError: something that was asked for cannot be had.
    """
    proxy = Gatekeeper(
        said.config,
        secrets=said.secrets,
        allow_network=said.allow_network,
        idle_timeout=said.idle_timeout,
        upstream_timeout=said.upstream_timeout,
        port=port,
        watch_bypass=False,  # this process opens no connection of its own
        log_streams=True,
    )
    for finding in proxy.config.findings:
        tell(f"{ConfigWarning.__name__}: {finding}")
    for host, url in said.route:
        proxy.route(host, url)
    for path in said.trust:
        proxy.trust(path)
    prepare(said.report, "--report")
    with Origin() as origin, proxy:
        for host in said.origin:
            origin.serve(host, proxy=proxy)
        yield proxy


def finish(said: argparse.Namespace, proxy: Gatekeeper, what: str, status: int = 0) -> int:
    """Tell what happened and write the reports; the exit status.

    Args:
        said: the command line.
        proxy: closed.
        what: was run, the table's one test.
        status: of what was run; where it is 0, what `--fail-on` names makes it 1.
    """
    taken = Follower(proxy.recorder, what, said.fail_on, detailed=bool(said.report)).take(what, last=True)
    used = rows(taken.facts)
    width = max(_NARROWEST, shutil.get_terminal_size().columns)
    tell(" gatekeeper scope ".center(width, "="))
    for line in render(used, width, merge_findings([{**finding, "test": ""} for finding in taken.findings])):
        tell(line)
    for line in (*_denied(proxy, width), *_failed(proxy, width)):
        tell(line)
    if not proxy.recorder.records:
        tell(SILENCE)
    kinds = {str(finding["kind"]) for finding in failing(taken.findings, said.fail_on)}
    if "unused" in said.fail_on and not all(rule.used for rule in used):
        kinds.add("unused")
    if kinds:
        tell(f"gatekeeper: failed on {', '.join(word for word in FAIL_ON if word in kinds)} (see --fail-on)")
        status = status or 1
    return _reported(said, proxy, what, taken, status)


def _denied(proxy: Gatekeeper, width: int) -> list[str]:
    """What policy refused, each host and URL once, and why."""
    counts = Counter(tell_denial(record) for record in proxy.recorder.denied)
    return _counted("denied", [(what, count, why) for (what, why), count in counts.items()], width)


def _failed(proxy: Gatekeeper, width: int) -> list[str]:
    """What went wrong, each cause once with the first request that met it."""
    failed: dict[str, tuple[str, int]] = {}
    for record in proxy.recorder.records:
        if record.error and not record.denied:
            what, why = tell_failure(record)
            first, count = failed.get(why, (what, 0))
            failed[why] = first, count + 1
    return _counted("failed", [(what, count, why) for why, (what, count) in failed.items()], width)


def _counted(word: str, told: list[tuple[str, int, str]], width: int) -> list[str]:
    """Lines on what happened, how often and why."""
    lines = []
    for what, count, why in told[:_TOLD]:
        times = f", {count} times" if count > 1 else ""
        text = f"{word}: {what}{times}: {why}"
        lines += textwrap.wrap(text, width, subsequent_indent="    ", break_on_hyphens=False)
    return [*lines, f"{word}: … and {len(told) - _TOLD} more"] if len(told) > _TOLD else lines


def _reported(said: argparse.Namespace, proxy: Gatekeeper, what: str, taken: Taken, status: int) -> int:
    """Write the reports; one that cannot be written fails the run."""
    if not said.report:
        return status
    run = about(__version__, proxy.config.file, said.secrets, said.fail_on, status)
    test = {"id": what, "outcome": "failed" if status else "passed", **taken.numbers}
    made = document({**run, "lost": []}, taken.facts, [test], taken.details)
    for path, error in write_all(said.report, made):
        tell(error or f"gatekeeper report: {path}")
        status = status or bool(error)
    return int(status)
