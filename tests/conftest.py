"""What tests of several rooms share."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from pytest_gatekeeper import origin
from pytest_gatekeeper._core.secret import fingerprint_key, share_fingerprint_key
from pytest_gatekeeper._proxy import listener, port
from pytest_gatekeeper._proxy.thread import LoopThread, proxy_thread
from pytest_gatekeeper.recorder import Recorder

T = TypeVar("T")
Finished = subprocess.CompletedProcess[str]

ROOT = Path(__file__).resolve().parent.parent
OWN = ("PYTEST_", "PY_COLORS", "NODE_TEST_")

PATIENCE = 20.0
"""Seconds for what happens at once on a quiet machine, before it is given up, dropped or left to a limit."""

SOON = 10.0
"""Seconds that tell what was done at once, however busy the machine, from what a limit of `PATIENCE` had to end."""


def a_shells_environ() -> dict[str, str]:
    """The environment without what this run set for itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN)}


def copied(name: str, folder: Path) -> Path:
    """An example, away from the checkout."""
    skipped = shutil.ignore_patterns("node_modules", "__pycache__")
    return Path(shutil.copytree(ROOT / "examples" / name, folder / name, ignore=skipped))


def row(output: str, grant: str) -> list[str]:
    """The cells of a grant's row in the scope table, columns being two blanks apart."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in output.splitlines()]
    (found,) = [cells for cells in rows if len(cells) > 3 and cells[2] == grant]
    return found


def script(name: str) -> ModuleType:
    """One of `scripts/` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_a_loop(work: Coroutine[Any, Any, T], limit: float = PATIENCE) -> T:
    """Run an asynchronous client in a loop of its own, for so many seconds at most.

    aiohttp does not wait for the end of a tunnelled TLS connection when it closes: what is left of it is collected
    here, and not in another test, which would have to answer for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return asyncio.run(asyncio.wait_for(work, limit))
        finally:
            gc.collect()


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: object) -> ModuleType:
    """A module in the place of one that is not installed, or of another version."""
    module = ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)
    return module


# ---- HTTP/1.1 as it is on the wire

CHUNK = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")


class Ended(ConnectionError):
    """The other end finished too early."""


class Message(NamedTuple):
    """A message as it came: its head's bytes, its start line, its fields in order, its body without framing."""

    raw: bytes
    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, head: bytes) -> Message:
        """A head with the empty line that ends it; the body is another matter."""
        start, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        return cls(head, start, headers, b"")

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.start.split(" ")[1])

    @property
    def target(self) -> str:
        """Of a request."""
        return self.start.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str:
        """The values of a field, comma-joined."""
        return ", ".join(self.all(name))


# ---- signals

# What is ignored (SIGINT in a shell's background, SIGHUP under nohup) would be so for all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# ---- time

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


async def turns(count: int = 100) -> None:
    """Let the loop go on for a while: in some of its turns only it asks the system for events."""
    for _ in range(count):
        await asyncio.sleep(0)


CLOSE_LIMITS = port.CLOSE_LIMIT, origin.CLOSE_LIMIT
"""As our users have them: `_no_hurry` changes them."""


class Clock:
    """The time of a loop, which a test moves on, so that limits elapse without being waited for. It never goes back."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self._ahead = 0.0
        real = thread.loop.time
        thread.loop.time = lambda: real() + self._ahead  # type: ignore[method-assign]

    def forward(self, seconds: float) -> None:
        """Let so much time pass at once, after what has arrived was read; what is due has been done on return."""

        async def pass_by() -> None:
            await turns()
            self._ahead += seconds
            await turns()

        self._thread.run(pass_by, limit=60)


@functools.cache
def _clock_of(thread: LoopThread) -> Clock:
    return Clock(thread)


@pytest.fixture
def clock() -> Clock:
    """The clock of the proxy's thread."""
    return _clock_of(proxy_thread())


@pytest.fixture(scope="session", autouse=True)
def _no_hurry() -> Iterator[None]:
    """What our users are promised within seconds may take longer here: a busy machine is no error of the package."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (port, origin):
            patch.setattr(module, "CLOSE_LIMIT", 2 * PATIENCE)
        patch.setattr(listener, "LATE_LIMIT", PATIENCE)
        for method in (Recorder.wait_for, origin.Origin.wait_for):
            patch.setattr(method, "__defaults__", (PATIENCE,))
        yield


@pytest.fixture(autouse=True)
def _one_fingerprint_key() -> Iterator[None]:
    """A pytest run inside this process may take another run's key: equal secrets must look equal to the next test."""
    key = fingerprint_key()
    yield
    share_fingerprint_key(key)


@pytest.fixture
def run_pytest() -> Callable[..., Finished]:
    """Run pytest in a folder as a stranger would: a process of its own, without what this run set for itself."""

    def run(folder: Path, *arguments: str, **environ: str) -> Finished:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
            cwd=folder,
            env={**a_shells_environ(), "COLUMNS": "120", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )

    return run
