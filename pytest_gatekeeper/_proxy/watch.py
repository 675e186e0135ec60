"""The clock of one client connection: no wait of it is without a limit.

Two limits: one for the step that is under way (a head, a handshake, an answer), set and lifted by whoever takes that
step, and silence, which ends a connection that no such limit guards. One timer serves both and is looked at when it
rings, so that setting a limit costs next to nothing. What a connection does is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pytest_gatekeeper._proxy.stream import Stream, StreamCut

__all__ = ["TimedOut", "Watch"]


class TimedOut(ConnectionError):
    """A step took longer than it may; the text says which and how long."""


class Watch:
    """Aborts streams whose time is up.

    Args:
        idle: seconds without a byte after which the connection is cut.
        activity: the loop's time at which a byte last passed.
        cut: called when silence has lasted too long.
    """

    def __init__(self, idle: float, activity: Callable[[], float], cut: Callable[[StreamCut], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._activity = activity
        self._cut = cut
        self._due: float | None = None
        self._guarded: Stream | None = None
        self._text = ""
        self._wake_at = self._loop.time() + idle
        self._timer = self._loop.call_at(self._wake_at, self._look)

    def limit(self, seconds: float, stream: Stream, text: str) -> None:
        """Abort `stream` with a `TimedOut` unless `lift` comes within `seconds`; replaces an earlier limit."""
        self._guarded = stream
        self._text = text
        self._due = due = self._loop.time() + seconds
        if due < self._wake_at:
            self._schedule(due)

    def lift(self) -> None:
        """The step has been taken."""
        self._due = self._guarded = None

    def stop(self) -> None:
        """The connection is gone."""
        self.lift()
        self._timer.cancel()

    def _schedule(self, when: float) -> None:
        self._timer.cancel()
        self._wake_at = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self._due is None:
            end = self._activity() + self._idle
            if now >= end:
                self._cut(StreamCut("idle", f"no byte passed for {self._idle:g} s"))
                end = now + self._idle
        else:
            end = self._due
            if now >= end and self._guarded is not None:
                stream, text = self._guarded, self._text
                self.lift()
                stream.abort(TimedOut(text))
                end = now + self._idle
        self._schedule(min(end, now + self._idle))  # a long limit may be lifted early, and silence begin
