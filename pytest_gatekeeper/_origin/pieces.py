"""Asking a test's iterable for the next piece of a body, without ever holding up the proxy's thread.

What a test hands in may block: a generator that waits for an event, a queue, a lock. So it runs on a daemon thread of
its own, one piece at a time and only when the piece before it has been sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

from pytest_gatekeeper._origin.answers import Piece, as_bytes, checked_piece

__all__ = ["pull"]

_LOOK = 0.1  # seconds after which a waiting thread sees that nobody wants its piece any more


async def pull(make: Callable[[], Iterable[Piece]]) -> AsyncGenerator[bytes, None]:
    """The pieces of `make()`, each made when it is asked for. Raises whatever making them raises."""
    puller = _Puller(make)
    try:
        while (piece := await puller.next()) is not None:
            yield piece
    finally:
        puller.close()


class _Puller:
    def __init__(self, make: Callable[[], Iterable[Piece]]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._asked = threading.Semaphore(0)
        self._closed = threading.Event()
        self._answer: asyncio.Future[bytes | None] | None = None
        threading.Thread(target=self._main, name="gatekeeper-origin-body", daemon=True).start()

    async def next(self) -> bytes | None:
        self._answer = self._loop.create_future()
        self._asked.release()
        return await self._answer

    def close(self) -> None:
        self._closed.set()
        self._asked.release()

    # ---- the thread

    def _main(self) -> None:
        pieces: Iterator[Piece] | None = None
        while self._asked.acquire() and not self._closed.is_set():
            piece: bytes | None = None
            error: Exception | None = None
            try:
                if pieces is None:
                    pieces = iter(self._make())
                piece = self._step(pieces)
            except Exception as caught:  # noqa: BLE001 - told to whoever sends the body
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(self._tell, piece, error)
        close = getattr(pieces, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                close()

    def _step(self, pieces: Iterator[Piece]) -> bytes | None:
        for piece in map(checked_piece, pieces):
            if not isinstance(piece, threading.Event):
                return as_bytes(piece)
            while not piece.wait(_LOOK):
                if self._closed.is_set():
                    return None
        return None

    # ---- the loop

    def _tell(self, piece: bytes | None, error: Exception | None) -> None:
        answer = self._answer
        if answer is None or answer.done():
            return
        if isinstance(error, StopIteration):  # cannot be put into a future
            error = RuntimeError("StopIteration")
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(piece)
