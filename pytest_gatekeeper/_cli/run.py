"""`exec`: any command with its clients led to the proxy, and the scope table at its end.

The command keeps the terminal and gets the signals. Exit status: the command's, 128 + n where signal n ended it, 1
where it succeeded and `--fail-on` found something, 2 for misuse.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_gatekeeper._cli.output import flush
from pytest_gatekeeper._cli.session import add_options, finish, running
from pytest_gatekeeper._cli.signals import hearing, heeded, wait
from pytest_gatekeeper._core.variables import CLEARED
from pytest_gatekeeper.errors import ProxyError

__all__ = ["add_parser"]

_HANDED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "exec",
        help="run a command whose clients go through the proxy",
        usage="%(prog)s [options] -- COMMAND [ARGUMENT ...]",
        description="Run a command in the environment that leads clients to the proxy; ends with the scope table.",
    )
    add_options(parser)
    parser.add_argument("arguments", metavar="COMMAND", nargs=argparse.REMAINDER, help="what to run, after --")
    parser.set_defaults(run=execute)


def execute(said: argparse.Namespace) -> int:
    """Run the command."""
    command = said.arguments[1:] if said.arguments[:1] == ["--"] else said.arguments
    if not command:
        raise ProxyError("exec needs a command: exec [options] -- COMMAND [ARGUMENT ...]")
    with running(said) as proxy:
        variables = proxy.env_with(*said.tools)
        lowered = {name.lower() for name in (*CLEARED, *variables)}
        kept = {name: value for name, value in os.environ.items() if name.lower() not in lowered}
        status = _run(command, {**kept, **variables})
        proxy.recorder.settle()  # a client that does not trust the proxy ends before the proxy knows of it
    return finish(said, proxy, f"exec: {command[0]}", status)


def _run(command: list[str], environ: dict[str, str]) -> int:
    """The exit status of the command, as shells have it."""
    flush()
    with _signals() as handed_on:
        try:
            child = subprocess.Popen(command, env=environ)  # noqa: S603 - what the user asked for
        except (FileNotFoundError, PermissionError) as error:
            raise ProxyError(f"exec: {command[0]}: {error.strerror}") from None
        except (OSError, ValueError) as error:
            raise ProxyError(f"exec: {command[0]} cannot be run: {error}") from None
        handed_on(child)
        status = wait(_end_of(child))
    return 128 - status if status < 0 else status


def _end_of(child: subprocess.Popen[bytes]) -> queue.SimpleQueue[int]:
    """Gets the child's status when it has ended: a thread waits for it, and the main one hears signals."""
    over: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=lambda: over.put(child.wait()), name="gatekeeper-exec", daemon=True).start()
    return over


@contextmanager
def _signals() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Signals go to the command, those that come before it is there as well.

    Ctrl-C at a terminal reaches it anyhow, with the whole foreground group. What is ignored (nohup, the background of
    a script) stays so for both: the command would not inherit it from one that listens.
    """
    shared = _at_terminal()
    early: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int) -> None:
        if children and not (number == signal.SIGINT and shared):
            children[0].send_signal(number)
        elif not children:
            early.append(number)

    def started(child: subprocess.Popen[bytes]) -> None:
        children.append(child)
        for number in early:
            child.send_signal(number)

    with hearing(heeded(*_HANDED_ON), hand_on):
        yield started


def _at_terminal() -> bool:
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
