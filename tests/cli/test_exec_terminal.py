"""`exec` at a terminal and on the network: who gets the screen, the keys and Ctrl-C, and what may be dialled."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proof.conftest import other_address

pty = pytest.importorskip("pty", reason="no terminals here")

Finished = subprocess.CompletedProcess[str]
Gatekeeper = Callable[..., Finished]
LIMIT = 60.0


FOREGROUND = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A terminal with `exec` in its foreground."""

    def __init__(self, environ: dict[str, str], folder: Path, *arguments: str | Path) -> None:
        exec_ = [sys.executable, "-m", "pytest_gatekeeper", "exec", *map(str, arguments)]
        self._fd, other = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", FOREGROUND, *exec_], cwd=folder, env=environ, start_new_session=True,
            stdin=other, stdout=other, stderr=other,
        )  # fmt: skip
        os.close(other)
        self.screen = ""

    def until(self, mark: str) -> str:
        """What the screen shows up to a mark, which has to come."""
        end = time.monotonic() + LIMIT
        while mark not in self.screen:
            assert time.monotonic() < end, self.screen
            assert self._more(), f"it ended without {mark!r}: {self.screen}"
        return self.screen

    def _more(self) -> bool:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux: everybody has left
            return False
        self.screen += data.decode().replace("\r\n", "\n")
        return bool(data)

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._fd, keys)

    def status(self) -> int:
        """Its exit status, once the screen has everything."""
        while self._more():
            pass
        return self._process.wait(LIMIT)

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(LIMIT)
        os.close(self._fd)


@pytest.fixture
def terminal(tmp_path: Path, environ: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Start `exec …` at a terminal of its own."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str | Path) -> Terminal:
            made = Terminal(environ, tmp_path, *arguments)
            stack.callback(made.close)
            return made

        yield start


def test_the_command_has_the_terminal(terminal: Callable[..., Terminal], config: Path) -> None:
    """All three of its streams are the terminal, it reads what is typed, and the table comes after it."""
    script = 'test -t 0 && test -t 1 && test -t 2 && echo at a terminal; read word; echo "got $word"; exit 7'
    shown = terminal("--config", config, "--", "sh", "-c", script)
    shown.until("at a terminal")
    shown.press(b"hello\n")
    assert shown.status() == 7
    assert re.search(r"got hello\n(?:.*\n)*=+ gatekeeper scope =+\n", shown.screen)
    assert "never used" in shown.screen
    assert "\x1b" not in shown.screen and "k3y-" not in shown.screen


def test_ctrl_c_reaches_the_command_once(terminal: Callable[..., Terminal], config: Path) -> None:
    """From the terminal, not a second time from us; it may end in its own way, and the table still comes."""
    script = "trap 'echo one more; n=x$n' INT; echo ready; while [ -z \"$n\" ]; do sleep 0.05; done; read rest; exit 5"
    shown = terminal("--config", config, "--", "sh", "-c", script)
    shown.until("ready")
    shown.press(b"\x03")
    shown.until("one more")
    shown.press(b"over\n")
    assert shown.status() == 5
    assert shown.screen.count("one more") == 1
    assert "gatekeeper scope" in shown.screen and "Traceback" not in shown.screen


def test_ctrl_c_ends_a_command_that_minds_it(terminal: Callable[..., Terminal], config: Path) -> None:
    """128 + 2, as a shell has it."""
    shown = terminal("--config", config, "--", "sh", "-c", "echo ready; exec sleep 60")
    shown.until("ready")
    shown.press(b"\x03")
    assert shown.status() == 128 + signal.SIGINT
    assert "gatekeeper scope" in shown.screen and "Traceback" not in shown.screen


# ------------------------------------------------------------------ --allow-network

FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"


@pytest.fixture
def far() -> Iterator[str]:
    """A server of one answer at an address of this machine that is not loopback: its URL."""
    with socket.create_server((other_address(), 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = server.accept()
                    with sock:
                        sock.recv(65536)
                        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfar")

        threading.Thread(target=serve, daemon=True).start()
        host, port = server.getsockname()
        yield f"http://{host}:{port}/"
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def test_the_network_is_closed_until_it_is_opened(gatekeeper: Gatekeeper, far: str) -> None:
    """Without --allow-network the client is told 502 and which option it was; with it the answer comes."""
    command = ("--", sys.executable, "-c", FETCH, far)
    closed = gatekeeper("exec", *command)
    opened = gatekeeper("exec", "--allow-network", *command)
    assert (closed.returncode, closed.stdout) == (1, "")
    assert "HTTP Error 502" in closed.stderr
    assert (opened.returncode, opened.stdout) == (0, "far\n"), opened.stderr


def test_serve_has_the_same_option(gatekeeper: Gatekeeper) -> None:
    """And both say so in their help."""
    for command in ("exec", "serve"):
        assert "--allow-network" in gatekeeper(command, "--help").stdout
