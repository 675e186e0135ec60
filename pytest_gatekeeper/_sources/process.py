"""The kind `process`: the output of a command, run with `sh -c`.

The command gets ten seconds, a process group of its own, which is ended with it, and no input. Its standard output is
the value and never stands in a message; of what it writes to standard error the first 256 characters do where it fails,
with all secrets blanked that are known by then.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pytest_gatekeeper._core.duration import parse_duration
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._sources.fetched import Fetched, Request
from pytest_gatekeeper.errors import SourceError

if TYPE_CHECKING:
    import subprocess
    from datetime import datetime

__all__ = ["LIMIT", "fetch"]

LIMIT = 10.0
"""Seconds that a command has."""

_LIFETIME = 300.0  # seconds, without a ttl
_LARGEST = 1 << 20  # bytes of output
_SHOWN = 256  # characters of stderr
_KEPT = 1 << 16  # bytes of it: where a secret is cut here, what is shown has ended long before
_SHORTEST = 3  # characters of a value that is looked for in it
_LINE = 8  # characters of a line of the output that is
_POLL = 0.05  # seconds between looks at whether anybody still waits
_PATIENCE = 1.0  # seconds for the end of a command that nobody waits for
_REMOVED = bytes((*range(0x09), *range(0x0A, 0x20), 0x7F))  # what no header may hold
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)")  # RFC 3339 section 5.6


def fetch(request: Request, *, limit: float = LIMIT) -> Fetched:
    """Run the command; control characters and white space at the ends of its output are removed.

    Raises SourceError where it fails, is late, prints nothing, or credentials that have expired.
    """
    code, output, errors = _run(request, limit)
    value = output.translate(None, _REMOVED).decode("utf-8", "surrogateescape").strip()
    if code:
        said = request.blank(_without(output, value, errors.decode("utf-8", "surrogateescape").strip()))
        said = said.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        said = said if len(said) <= _SHOWN else said[:_SHOWN] + "…"
        raise SourceError(f"the command ended with status {code}{': ' + said if said else ''}")
    if not value:
        raise SourceError("the command printed nothing; what it prints to standard output is the value")
    expires = _expiration(value)
    if expires is None:
        ttl = request.source.get("ttl")
        return Fetched(Secret(value), parse_duration(ttl) if ttl else _LIFETIME)
    left = expires.timestamp() - time.time()
    if left < 0:
        raise SourceError(f"the command printed credentials that expired at {expires.isoformat()}; log in again")
    return Fetched(Secret(value), left)


def _without(output: bytes, value: str, said: str) -> str:
    """What a command says, without what it has put out: as it is and encoded, whole and line by line."""
    if len(value) >= _SHORTEST:
        said = said.replace(value, "…")
    lines = (line.strip() for line in output.decode("utf-8", "surrogateescape").splitlines())
    return Redactor(map(Secret, (value, *(line for line in lines if len(line) >= _LINE)))).blank(said)


def _expiration(value: str) -> datetime | None:
    """When AWS `credential_process` output expires; None for any other value."""
    from datetime import datetime

    if not value.startswith("{"):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not {"Version", "AccessKeyId", "Expiration"} <= found.keys() or not isinstance(found["Expiration"], str):
        return None
    match = _TIME.fullmatch(found["Expiration"])
    if match is None:
        return None
    fraction = (match[3] or "0")[:6].ljust(6, "0")
    zone = "+00:00" if match[4] == "Z" else match[4]
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}.{fraction}{zone}")
    except ValueError:
        return None


# ------------------------------------------------------------------ running


class _Done(NamedTuple):
    """How a command ended."""

    code: int
    output: bytes
    errors: bytes

    def __repr__(self) -> str:
        return f"<command ended with status {self.code}>"


class _Late(Exception):
    """The command's time is over."""


def _run(request: Request, limit: float) -> _Done:
    """Run the command on a thread of its own, and wait for it.

    Ctrl-C is the main thread's: where it came in the middle of starting a process, nobody would know of the process.
    """
    # Not what a join tells: one that Ctrl-C interrupts takes the thread for over.
    ends: queue.SimpleQueue[_Done | Exception] = queue.SimpleQueue()
    left = threading.Event()
    waited_for = request._replace(stopped=lambda: left.is_set() or request.stopped())

    def work() -> None:
        try:
            ends.put(_execute(waited_for, limit))
        except Exception as error:  # noqa: BLE001 - raised below
            ends.put(error)

    end: _Done | Exception | None = None
    try:
        threading.Thread(target=work, name="gatekeeper-process", daemon=True).start()
        while end is None:
            with suppress(queue.Empty):
                end = ends.get(timeout=_POLL)
    finally:
        left.set()
        if end is None:
            with suppress(queue.Empty):
                ends.get(timeout=_PATIENCE)
    if isinstance(end, Exception):
        raise end
    return end


def _execute(request: Request, limit: float) -> _Done:
    """Run the command, for `limit` seconds at most."""
    import subprocess

    deadline = time.monotonic() + limit
    try:
        process = subprocess.Popen(  # noqa: S603 - a command of the configuration is what is asked for
            ["sh", "-c", request.source.get("command")],  # noqa: S607 - as in production
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(request.environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it holds a null character"
        raise SourceError(f"the command cannot be run: {problem}") from None
    try:
        output, errors = _collect(process, request, deadline)
        return _Done(process.wait(max(_POLL, deadline - time.monotonic())), output, errors)
    except (_Late, subprocess.TimeoutExpired):
        raise SourceError(f"the command did not end within {limit:g} s; make it quicker") from None
    finally:
        _end(process)


def _collect(process: subprocess.Popen[bytes], request: Request, deadline: float) -> tuple[bytes, bytes]:
    """What the command writes until both its outputs are closed."""
    import selectors

    parts = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in parts:
            selector.register(stream, selectors.EVENT_READ, stream)  # type: ignore[arg-type]
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise _Late
            if request.stopped():
                raise SourceError("the command was ended, since nobody waits for it any more")
            for key, _ in selector.select(min(left, _POLL)):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                parts[key.data] += chunk
            if len(parts[process.stdout]) > _LARGEST:
                raise SourceError(f"the command prints more than {_LARGEST >> 20} MiB, which no credential is")
            del parts[process.stderr][_KEPT:]
    return bytes(parts[process.stdout]), bytes(parts[process.stderr])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let go of a command; one that still runs is killed with all that it started."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads its group, and is not reaped yet
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
