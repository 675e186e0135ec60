"""The proxy's log, carried to where `log` of the configuration says.

In a test run a line goes through Python logging: logger `pytest_gatekeeper`, one `LogRecord` a line, so that `caplog`
and `--log-level` work. The record's message is the line without time and level (`msg=request request_id=… …`, or the
JSON object); the fields are attributes of the record as well (`record.http_host`), under `gatekeeper_` and their name
where `LogRecord` has that name for itself: a denial's `message` is `record.gatekeeper_message`. `stderr` and `stdout`
mean the logger alone; a path gets the whole line, too. `serve` and `exec` have no test to tell and write to the stream
or path alone. Nothing is configured: no handler is added, no level set, and after `close` nothing is left behind. What
a line says and how it is written is `_core.logline`'s.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from functools import partial
from io import FileIO
from pathlib import Path

from pytest_gatekeeper._core.logline import json_text, text
from pytest_gatekeeper._core.model import LogSettings
from pytest_gatekeeper._core.records import Level, LogLine
from pytest_gatekeeper.errors import ConfigError

__all__ = ["LogWriter"]

_log = logging.getLogger("pytest_gatekeeper")
_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}
_THRESHOLDS = {
    "debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
}  # fmt: skip
_STREAMS = {"": "stderr", "stderr": "stderr", "stdout": "stdout"}
_TAKEN = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime"}


class LogWriter:
    """Writes log lines, from any thread. Whatever goes wrong with one never reaches the proxy.

    Args:
        settings: `log` of the configuration.
        streams: write to the stream or path that is named, and not to the logger: for `serve` and `exec`.
        file: the configuration's name, for messages.

    Raises ConfigError when `log.output` is a path that cannot be opened for append.
    """

    def __init__(self, settings: LogSettings, *, streams: bool = False, file: str | None = None) -> None:
        self._form = json_text if settings.format == "json" else text
        self._threshold = _THRESHOLDS[settings.level]
        self._output = settings.output
        self._to_logger = not streams
        stream = _STREAMS.get(settings.output.lower())
        self._file = _opened(settings.output, file) if stream is None else None
        self._put: Callable[[str], None] | None = None
        if self._file is not None:
            self._put = partial(_write_file, self._file)
        elif stream is not None and streams:
            self._put = partial(_write_stream, stream)
        self._lock = threading.Lock()
        self._closed = False
        self._told: set[str] = set()

    def wants(self, level: Level) -> bool:
        """Whether anybody would see a line of this level; where nobody would, it need not be made."""
        number = _LEVELS[level]
        if self._closed or number < self._threshold:
            return False
        return self._put is not None or _log.isEnabledFor(number)

    def write(self, line: LogLine) -> None:
        """Write a line now: to the path or stream, then to the logger. Dropped after `close`."""
        if not self.wants(line.level):
            return
        if self._put is not None:
            self._append(line, self._put)
        number = _LEVELS[line.level]
        if self._to_logger and _log.isEnabledFor(number):
            self._hand_over(_record(number, self._form(line), line))

    def close(self) -> None:
        """Write no more, and close the file. Closing twice is fine."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def _append(self, line: LogLine, put: Callable[[str], None]) -> None:
        """Write the whole line with its time; lines of several threads, or processes with one file, do not mix."""
        try:
            with self._lock:
                if not self._closed:
                    put(self._form(line, datetime.now().astimezone()) + "\n")
        except Exception as error:  # noqa: BLE001 - a full disk, a closed stream, a stream of somebody else's making
            self._tell_lost(error)

    def _hand_over(self, record: logging.LogRecord) -> None:
        """Give a record to the handlers that others have set up.

        One that raises (also `pytest.fail`, which is no Exception) is told on stderr, once, as logging itself does.
        """
        try:
            _log.handle(record)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - a handler of somebody else must not end the proxy
            if logging.raiseExceptions and sys.stderr and self._first("handler"):
                with contextlib.suppress(OSError, ValueError):
                    traceback.print_exc()

    def _tell_lost(self, error: Exception) -> None:
        """Say once that lines are lost."""
        if not self._first("lost") or not _log.isEnabledFor(logging.ERROR):
            return
        why = (error.strerror if isinstance(error, OSError) else None) or error
        message = f"a line of the log could not be written to {self._output} (log.output): {why}; this is said once"
        self._hand_over(_record(logging.ERROR, message))

    def _first(self, what: str) -> bool:
        """Whether this kind of trouble has not been told yet."""
        with self._lock:
            new = what not in self._told
            self._told.add(what)
        return new


def _opened(path: str, file: str | None) -> FileIO:
    """The file at `path`, open for append and unbuffered."""
    try:
        return FileIO(path, "a")
    except (OSError, ValueError) as error:  # ValueError: a path with NUL
        raise ConfigError(_cannot_open(path, error), file=file, key="log.output") from None


def _cannot_open(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, IsADirectoryError):
        return f"{path!r} is a folder: name a file in it, or write stderr"
    if isinstance(error, FileNotFoundError):
        folder = str(Path(path).parent)
        return f"{path!r} cannot be created, there is no folder {folder!r}: create it, or write stderr"
    why = error.strerror if isinstance(error, OSError) else str(error)
    return f"{path!r} cannot be opened for append ({why}): name a file that can be written, or write stderr"


def _write_file(file: FileIO, whole: str) -> None:
    data = whole.encode("utf-8", "backslashreplace")
    if file.write(data) != len(data):
        raise OSError("only a part of it was written")


def _write_stream(name: str, whole: str) -> None:
    """Write to `sys.stderr` or `sys.stdout` as it is now, with escapes for what its encoding lacks."""
    stream = getattr(sys, name)
    if stream is None:  # pythonw
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(whole.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _record(level: int, message: str, line: LogLine | None = None) -> logging.LogRecord:
    """A record with a line's fields as attributes; of two fields with one name the first counts.

    Set on the finished record, and not handed over as `extra`, which raises where a record factory of the user's has
    given the record an attribute like `request_id`.
    """
    code = LogWriter.write.__code__
    record = _log.makeRecord(_log.name, level, __file__, code.co_firstlineno, message, (), None, code.co_name)
    for key, value in reversed(line.fields if line else ()):
        clean = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value
        record.__dict__[f"gatekeeper_{key}" if key in _TAKEN else key] = clean
    return record
