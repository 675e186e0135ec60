"""What the commands put out: results on standard output, words for whoever sits at the shell on standard error.

Either may be closed, or its reader may have left (`| head`): what nobody wants is dropped, and the exit status says all
the same what a command found. What is said is the commands' own matter.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from pytest_gatekeeper.errors import ProxyError

__all__ = ["flush", "show", "tell"]


def show(text: str) -> None:
    """A result. Raises ProxyError where it is wanted and cannot be written."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        raise ProxyError(f"standard output cannot be written: {error.strerror or error}") from None


def tell(line: str) -> None:
    """A line for whoever sits at the shell."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, line)


def flush() -> None:
    """What was written stands before what a command of another process writes."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it is, where it was closed when the interpreter started
            with contextlib.suppress(OSError):
                stream.flush()


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # the interpreter would try again at its end, and complain
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            raise
