"""What `--full-trace` may show: every frame but our own, whose arguments and locals are the credentials.

pytest leaves out frames with `__tracebackhide__` by itself; with `--full-trace` it shows them all, and their arguments
with them. So there they are taken out of the exception before pytest looks at it.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pytest

__all__ = ["leave_out"]

_OURS = str(Path(__file__).resolve().parent.parent) + "/"


def leave_out(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Take our frames out of an exception, and out of those that it came from."""
    kept = _without(excinfo.tb)
    if kept is not None:
        excinfo.traceback = type(excinfo.traceback)(kept)
    seen: set[int] = set()
    waiting: list[BaseException | None] = [excinfo.value]
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = _without(error.__traceback__)
            waiting += [error.__cause__, error.__context__]


def _without(trace: TracebackType | None) -> TracebackType | None:
    entries = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            entries.append(trace)
        trace = trace.tb_next
    rest = None
    for entry in reversed(entries):
        rest = TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest
