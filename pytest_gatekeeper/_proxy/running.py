"""What is started and closed: as a context manager, sync and async.

Starting and closing wait for the proxy's thread. An event loop must not wait, so there a worker thread does, and a
cancellation does not cut closing short. What is started, and what closing means, is the subclass's matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # typing's is younger than Python 3.10

__all__ = ["Running"]


class Running(ABC):
    """Whatever has a `start` and a `close` that block."""

    @abstractmethod
    def start(self) -> None:
        """Begin; may block."""

    @abstractmethod
    def close(self) -> None:
        """End; may block."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        from anyio import to_thread  # slow to load, and most tests are sync

        await to_thread.run_sync(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from anyio import CancelScope, to_thread

        with CancelScope(shield=True):
            await to_thread.run_sync(self.close)
