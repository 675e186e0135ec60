"""The system's own time, which certificates are judged by.

Tests stop or move their interpreter's clocks (freezegun, time-machine), and OpenSSL asks the system all the same: a
leaf that is dated by the interpreter would be no good to any client. Here the system is asked by way of a pipe, which
has a time at which it was made. Only certificates need that; everything else may live in a test's time.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator

__all__ = ["now", "unpatched_datetime"]


def now() -> datetime.datetime:
    """The system's time, in UTC; the interpreter's where pipes have none."""
    ends = os.pipe()
    try:
        seconds = os.fstat(ends[0]).st_mtime
    finally:
        for end in ends:
            os.close(end)
    utc = datetime.timezone.utc
    return datetime.datetime.fromtimestamp(seconds, utc) if seconds else datetime.datetime.now(utc)


@contextlib.contextmanager
def unpatched_datetime() -> Iterator[None]:
    """For a moment `datetime.datetime` is the class that it was before another one took its place (freezegun).

    cryptography keeps the class that it finds at its first signature, and refuses dates of any other from then on.
    """
    found = datetime.datetime
    original = next(kind for kind in reversed(found.__mro__) if kind.__name__ == "datetime")
    datetime.datetime = original  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        datetime.datetime = found  # type: ignore[misc]
