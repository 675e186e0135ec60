"""`serve`: the proxy in the foreground until it is interrupted, for trying things by hand.

Standard output has the lines with which a shell points its clients at the proxy, and can be sourced; then the log lines
of the configuration go where that says, and the table comes at the end. Exit status: 0, or 1 by `--fail-on`.
"""

from __future__ import annotations

import argparse
import queue
import shlex
import signal
from pathlib import Path

from pytest_gatekeeper._cli.output import show, tell
from pytest_gatekeeper._cli.session import add_options, finish, running
from pytest_gatekeeper._cli.signals import hearing, heeded, wait
from pytest_gatekeeper._core.variables import CLEARED
from pytest_gatekeeper.errors import ProxyError
from pytest_gatekeeper.gatekeeper import Gatekeeper

__all__ = ["add_parser", "export_lines"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="run the proxy in the foreground",
        description="Run the proxy until Ctrl-C. Prints `export` lines that lead a second shell's clients to it.",
    )
    parser.add_argument("--port", metavar="N", type=_port, default=0, help="the port to listen on (a free one)")
    parser.add_argument("--ca-out", metavar="PATH", help="write the CA certificate that clients have to trust")
    add_options(parser)
    parser.set_defaults(run=serve)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port, a number from 0 to 65535")
    return int(text)


def export_lines(variables: dict[str, str]) -> list[str]:
    """What a POSIX shell has to source."""
    lines = [f"unset {' '.join(name for name in CLEARED if name not in variables)}"]
    return lines + [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def serve(said: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM, or until its terminal goes."""
    over: queue.SimpleQueue[int] = queue.SimpleQueue()
    with hearing((signal.SIGINT, signal.SIGTERM, *heeded("SIGHUP")), over.put), running(said, port=said.port) as proxy:
        if said.ca_out:
            _write(said.ca_out, proxy)
        show("\n".join(export_lines(proxy.env_with(*said.tools))))
        tell(f"gatekeeper: listening on {proxy.url}; Ctrl-C ends it")
        wait(over)
    return finish(said, proxy, "serve")


def _write(path: str, proxy: Gatekeeper) -> None:
    try:
        Path(path).write_bytes(proxy.ca.pem)
    except OSError as error:
        raise ProxyError(f"--ca-out {path}: cannot be written: {error.strerror}") from None
