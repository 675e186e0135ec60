"""The door for shells: `python -m pytest_gatekeeper exec | serve | check | explain`.

Reads the command line and hands over; each command is a module of `_cli`. Exit status 2 is misuse, as argparse has it;
what else a status means is said by each command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pytest_gatekeeper import __version__
from pytest_gatekeeper._cli import check, explain, run, serve
from pytest_gatekeeper._cli.output import tell
from pytest_gatekeeper.errors import GatekeeperError

__all__ = ["main"]


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m pytest_gatekeeper",
        description="Run a gatekeeper.yaml around any command, by hand, or just look at it.",
    )
    top.add_argument("--version", action="version", version=f"pytest-gatekeeper {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (run, serve, check, explain):
        module.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    said = parser().parse_args(arguments)
    try:
        status: int = said.run(said)
    except GatekeeperError as error:
        tell(f"gatekeeper: {error}")
        return 2
    return status
