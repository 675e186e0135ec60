"""`check`: errors and findings of a configuration, as text or JSON.

Reads the file; fetches and sends nothing. Exit status: 0 where there is nothing to tell, 1 with findings, 2 where the
file cannot be used.
"""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from pathlib import Path

from pytest_gatekeeper._cli.output import show
from pytest_gatekeeper._core.document import decode
from pytest_gatekeeper._core.hosts import is_host, split_authority
from pytest_gatekeeper._core.lint import CODES, examine
from pytest_gatekeeper._core.model import Finding
from pytest_gatekeeper._core.places import lines_of
from pytest_gatekeeper._core.telling import numbered, plain
from pytest_gatekeeper.config import Config
from pytest_gatekeeper.errors import ConfigError

__all__ = ["add_parser", "columns"]

_WIDTHS = (60, 100)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="tell what is wrong with a gatekeeper.yaml, or probably a mistake in it",
        description="Tell what is wrong with a gatekeeper.yaml, or probably a mistake in it. Nothing is fetched or"
        " sent, and no secret shown. Exit status: 0 nothing found, 1 findings, 2 the file cannot be used.",
    )
    parser.add_argument("file", metavar="FILE", help="the gatekeeper.yaml")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to tell it (text)")
    parser.add_argument(
        "--route", metavar="HOST[:PORT]", action="append", default=[], type=_route,
        help="a name to which your tests lead their clients; policy has to allow it. As given to exec, =URL may follow;"
        " repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--ignore", metavar="LIST", action="extend", default=[], type=_codes,
        help="kinds of findings to leave out, a comma list; see the documentation for their names",
    )  # fmt: skip
    parser.set_defaults(run=run)


def _route(text: str) -> tuple[str, int | None]:
    authority = text.partition("=")[0]
    star = "*." if authority.startswith("*.") else ""
    try:
        host, port = split_authority(authority.removeprefix(star))
    except ValueError:
        host, port = "", None
    if not is_host(host):
        raise argparse.ArgumentTypeError(
            "a route begins with a host, or *.suffix, either with :port where one is meant"
        )
    return star + host, port


def _codes(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or set(words) - set(CODES):
        raise argparse.ArgumentTypeError(f"{text!r} is no comma list of {', '.join(CODES)}")
    return words


def run(said: argparse.Namespace) -> int:
    """Check."""
    errors: list[Finding] = []
    found: list[Finding] = []
    config = Config()
    try:
        config = Config.load(said.file)
        findings = examine(config, said.route, _lines(said.file))
        found = [finding for finding in findings if finding.code not in said.ignore]
    except ConfigError as error:
        code = "unreadable" if error.line is None and error.key is None else "invalid"
        errors = [Finding(error.problem, error.file, error.line, error.key, code)]
    lines = _json(said.file, errors, found) if said.format == "json" else _text(said.file, config, errors, found)
    show("\n".join(lines))
    return 2 if errors else 1 if found else 0


def _lines(file: str) -> dict[str, int]:
    """The lines of the keys; none for a pipe, which has been read by now."""
    path = Path(file)
    return lines_of(decode(path.read_bytes())) if path.is_file() else {}


def _json(file: str, errors: list[Finding], found: list[Finding]) -> list[str]:
    facts = {"file": file, "errors": [_fact(one) for one in errors], "findings": [_fact(one) for one in found]}
    return [json.dumps(facts, indent=2)]


def _fact(finding: Finding) -> dict[str, str | int | None]:
    return {
        "file": finding.file, "line": finding.line, "key": finding.key,
        "problem": finding.problem, "code": finding.code,
    }  # fmt: skip


def _text(file: str, config: Config, errors: list[Finding], found: list[Finding]) -> list[str]:
    lines = [line for finding in (*errors, *found) for line in _wrapped(f"{finding} [{finding.code}]")]
    if errors:
        return [*lines, plain(f"{file}: cannot be used")]
    patterns = f" with {numbered(len(config.network.allow), 'pattern')}" if config.network.policy == "strict" else ""
    read = f"{numbered(len(config.credentials), 'rule')}, policy {config.network.policy}{patterns}"
    return [*lines, plain(f"{file}: {read}: {numbered(len(found), 'finding') if found else 'no findings'}")]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        plain(text), columns(), subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def columns() -> int:
    """How wide text may be: as the terminal is, within what reads well."""
    narrowest, widest = _WIDTHS
    return max(narrowest, min(widest, shutil.get_terminal_size().columns))
