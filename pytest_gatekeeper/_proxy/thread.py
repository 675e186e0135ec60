"""The one background thread of a process and its event loop.

Started on first use, never joined while anybody waits for the network: it is a daemon, is stopped at exit, and is made
anew in a forked child. Everything that runs on it is handed in; nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pytest_gatekeeper.errors import ProxyError

__all__ = ["LoopThread", "proxy_thread"]

_RETAINED = 8 * 1024 * 1024

T = TypeVar("T")
_log = logging.getLogger("pytest_gatekeeper")


class _Poll(selectors.DefaultSelector):
    """Asks the system for events only when nothing is ready to run, or after `SKIPPED` rounds without asking.

    The loop polls before each round, also when the last one has made work: a stream that wakes its reader costs a
    system call more for each piece of data.
    """

    SKIPPED = 8
    _left = SKIPPED

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and self._left:
            self._left -= 1
            return []
        self._left = self.SKIPPED
        return super().select(timeout)


class _Loop(asyncio.SelectorEventLoop):
    """Goes by the system's time: a test may stop or move its interpreter's (freezegun), and no limit is over for that.

    What asks the system by name of a clock is not among what such a library replaces.
    """

    if hasattr(time, "CLOCK_MONOTONIC"):

        def time(self) -> float:
            return time.clock_gettime(time.CLOCK_MONOTONIC)


class LoopThread:
    """A daemon thread that runs an event loop."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = _Loop(_Poll())
        self.loop.set_exception_handler(_report)
        self._thread = threading.Thread(target=self._main, name="gatekeeper-proxy", daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int | None:
        """The thread's identifier, to tell its work from the test's."""
        return self._thread.ident

    def _main(self) -> None:
        _keep_pages()
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self._wind_up()
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    def _wind_up(self) -> None:
        """Let what still runs clean up, for a second at most: a task left over would be reported when it goes."""
        self.loop.run_until_complete(_turns())
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
            self.loop.run_until_complete(_turns())

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], *, limit: float = 10.0) -> T:
        """Run a coroutine function on the thread and wait for its result, `limit` seconds at most.

        Raises ProxyError when the time runs out or the thread has ended, and whatever the coroutine raised.
        """
        if threading.get_ident() == self.ident:
            raise ProxyError("the proxy's own thread must not wait for itself")
        if self.loop.is_closed():
            raise ProxyError("the proxy's thread has ended")
        future = asyncio.run_coroutine_threadsafe(work(), self.loop)
        try:
            return future.result(limit)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise ProxyError(f"the proxy's thread did not answer within {limit:g} s") from None

    def stop(self) -> None:
        """End the loop; wait 2 s at most."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(2.0)


_lock = threading.Lock()
_current: tuple[int, LoopThread] | None = None


def proxy_thread() -> LoopThread:
    """The process's proxy thread, started at the first call."""
    global _current
    with _lock:
        if _current is None or _current[0] != os.getpid():
            _current = os.getpid(), LoopThread()
            atexit.register(_current[1].stop)
        return _current[1]


async def _turns() -> None:
    """What has begun gets on: what was accepted becomes a connection, which its task closes; what was closed goes."""
    for _ in range(3):
        await asyncio.sleep(0)


def _keep_pages() -> None:
    """Have the allocator keep the memory that a relay frees: glibc's gives back more than it has seen freed at once.

    A relay frees pieces of 256 KiB all the time, and would get the same pages anew from the system for each: bulk data
    went half as fast. One large block, which is never touched, moves that bound; other allocators do not care.
    """
    bytes(_RETAINED)


def _report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody caught by kind alone: its text could hold a credential."""
    error = context.get("exception")
    if not isinstance(error, OSError):
        _log.error("the proxy's event loop met %s", type(error).__name__ if error else context.get("message"))
