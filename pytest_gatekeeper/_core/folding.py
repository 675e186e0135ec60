"""Keeping the memory of a long test within bounds: the oldest exchanges give up their header fields.

What an exchange was, what became of it, its injections and what is wrong with it stay for as long as the record does;
header fields are most of its weight. Nothing is counted or forgotten here.
"""

from __future__ import annotations

from collections import deque

from pytest_gatekeeper._core.records import Exchange

__all__ = ["WHOLE", "Folding"]

WHOLE = 10_000
"""Exchanges of one recorder that keep their header fields."""


class Folding:
    """Folds the oldest exchanges that have ended, once there are more than `whole`."""

    def __init__(self, whole: int = WHOLE) -> None:
        self._whole = whole
        self._unfolded: deque[Exchange] = deque()

    def arrived(self, exchange: Exchange) -> None:
        """One more exchange."""
        self._unfolded.append(exchange)
        if len(self._unfolded) > self._whole:
            oldest = self._unfolded.popleft()
            if oldest.closed is None:
                self._unfolded.append(oldest)  # still running: its turn comes again
            else:
                oldest.fold()
