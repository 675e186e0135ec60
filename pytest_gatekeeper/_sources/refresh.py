"""Fetching again what expires, on one thread.

A `Refresher` knows when each source is due and nothing about what is done with a value. A source is due at three
quarters of its time to live, half a minute or later; where fetching fails the old value stays, and it is tried again
after a second, then after twice as long each time, up to a minute.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from pytest_gatekeeper._core.model import SourceSpec

__all__ = ["Clock", "Refresher", "SystemClock", "after_failure", "after_success"]

_SHARE = 0.75  # of the time to live
_SOONEST = 30.0  # seconds
_FIRST_RETRY = 1.0  # seconds
_LAST_RETRY = 60.0  # seconds
_LONGEST_WAIT = 86_400.0  # seconds at a time; what expires in a thousand years is beyond what threads can wait
_PATIENCE = 1.0  # seconds that closing waits for the thread


class Clock(Protocol):
    """Time, and waiting that can be ended."""

    def now(self) -> float:
        """Seconds since some moment; they never go back."""

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until `stop`; says whether it was stopped."""

    def stop(self) -> None:
        """End all waiting, now and later."""

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""

    def jitter(self) -> float:
        """A number from 0 to 1 by chance."""


class SystemClock:
    """The clock of this machine."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until `stop`; says whether it was stopped."""
        return self._stop.wait(seconds)

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stop.is_set()

    def jitter(self) -> float:
        """A number from 0 to 1 by chance."""
        return secrets.randbelow(1001) / 1000


def after_success(lifetime: float) -> float:
    """Seconds until a value that is good for `lifetime` seconds is fetched again."""
    return max(_SOONEST, _SHARE * lifetime)


def after_failure(failures: int, jitter: float) -> float:
    """Seconds until the next try after so many failures in a row; `jitter`, 0 to 1, adds up to a quarter."""
    pause = min(_LAST_RETRY, _FIRST_RETRY * 2.0 ** min(failures - 1, 10))
    return pause * (1 + jitter / 4)


class Refresher:
    """Fetches sources again when they are due, from `start` to `close`.

    Args:
        lifetimes: seconds for which the value of each source is good, now.
        fetch: fetches a source and keeps its value; gives whether that worked, and the new lifetime (None: the value
            does not expire any more).
        clock: time and waiting.
    """

    def __init__(
        self,
        lifetimes: Mapping[SourceSpec, float],
        fetch: Callable[[SourceSpec], tuple[bool, float | None]],
        clock: Clock,
    ) -> None:
        now = clock.now()
        self._due = {source: now + after_success(lifetime) for source, lifetime in lifetimes.items()}
        self._failures = dict.fromkeys(lifetimes, 0)
        self._fetch = fetch
        self._clock = clock
        self._thread = threading.Thread(target=self.run, name="gatekeeper-secrets", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End; waits at most a second for the thread. What is fetched later than this is thrown away."""
        self._clock.stop()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def run(self) -> None:
        """Wait for the source that is due first and fetch it, until the clock is stopped or nothing expires."""
        while self._due:
            source = min(self._due, key=self._due.__getitem__)
            left = max(0.0, self._due[source] - self._clock.now())
            if self._clock.wait(min(left, _LONGEST_WAIT)):
                return
            if left > _LONGEST_WAIT:
                continue
            done, lifetime = self._fetch(source)
            if not done:
                self._failures[source] += 1
                self._due[source] = self._clock.now() + after_failure(self._failures[source], self._clock.jitter())
            elif lifetime is None:
                del self._due[source]
            else:
                self._failures[source] = 0
                self._due[source] = self._clock.now() + after_success(lifetime)
