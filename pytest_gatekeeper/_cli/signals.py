"""Signals while `exec` and `serve` run: who hears them, and how the main thread waits so that it does.

What a signal means is the commands' own.
"""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["hearing", "heeded", "wait"]

_LOOK = 0.5  # seconds


def heeded(*names: str) -> tuple[signal.Signals, ...]:
    """Those of these signals that the system has and that are not ignored, as some are under nohup, say."""
    there = (getattr(signal, name) for name in names if hasattr(signal, name))
    return tuple(number for number in there if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def hearing(numbers: tuple[signal.Signals, ...], heard: Callable[[int], None]) -> Iterator[None]:
    """Call `heard` with the number of each of these signals that comes; then as it was before."""

    def handler(number: int, _: FrameType | None) -> None:
        heard(number)

    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def wait(over: queue.SimpleQueue[int]) -> int:
    """Wait in the main thread, without a limit, for what is put into the queue, by a signal's handler or a thread.

    A signal that comes after the interpreter's last look and before a call blocks does not end that call: a wait
    without an end would never hear it, so this one looks up now and then. And a handler runs in the middle of whatever
    its thread does: an Event that it sets while that thread begins to wait for it is locked; this queue is made for it.
    """
    while True:
        with suppress(queue.Empty):
            return over.get(timeout=_LOOK)
