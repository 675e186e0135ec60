"""`explain`: what a configuration does with a URL, and why each other rule does not apply.

Reads the file and the names of the environment's variables; fetches nothing. Exit status: 0 where it could be
explained, whatever the outcome; 2 where file or URL cannot be read.
"""

from __future__ import annotations

import argparse
import os

from pytest_gatekeeper._cli.check import columns
from pytest_gatekeeper._cli.output import show
from pytest_gatekeeper._core.explain import Address, explain, read_url, told
from pytest_gatekeeper.config import Config
from pytest_gatekeeper.errors import ProxyError

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        help="say which rule a URL meets, and why the others do not apply",
        description="Say what policy makes of a URL, which rule it meets, what would be injected, and why each other"
        " rule does not apply. Nothing is fetched or sent, and no secret shown.",
    )
    parser.add_argument("file", metavar="FILE", help="the gatekeeper.yaml")
    parser.add_argument("url", metavar="URL", type=_url, help="https, http, wss or ws; or a host, or host:port")
    parser.set_defaults(run=run)


def _url(text: str) -> Address:
    try:
        return read_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(said: argparse.Namespace) -> int:
    """Explain."""
    if "://" in said.file:
        raise ProxyError("explain takes the file first, then the URL: explain FILE URL")
    found = explain(Config.load(said.file), said.url, lambda name: bool(os.environ.get(name)))
    show("\n".join(told(found, columns())))
    return 0
