"""A port as everybody's thread sees it: opened, held, released and closed, each within a limit.

The listener itself lives on the proxy's thread (`listener`); here its steps are run there and waited for.
"""

from __future__ import annotations

import os

from pytest_gatekeeper._proxy.lease import Lease
from pytest_gatekeeper._proxy.listener import Listener as _Inner
from pytest_gatekeeper._proxy.thread import proxy_thread

__all__ = ["Listener", "open_listener"]

CLOSE_LIMIT = 2.0  # seconds: `listener.SETTLE_LIMIT`, then `Limits.patience` and half of it again, and some to spare


class Listener:
    """A port that several proxies may hold one after the other, so that clients can keep its URL.

    It belongs to the process that opened it: in a forked child, nothing of it is left to release or to close.

    Attributes:
        host, port: where it listens.
    """

    def __init__(self, inner: _Inner) -> None:
        self._inner = inner
        self._owner = os.getpid()
        self.host = inner.host
        self.port = inner.port

    def hold(self, lease: Lease) -> None:
        """Connections belong to `lease` from now on. Raises ProxyError while another one holds the port."""
        proxy_thread().run(lambda: self._inner.hold(lease))

    def release(self, lease: Lease) -> None:
        """The lease is over, its connections are cut; in 2 s at most, else ProxyError."""
        if os.getpid() == self._owner:
            proxy_thread().run(lambda: self._inner.release(lease), limit=CLOSE_LIMIT)

    def close(self) -> None:
        """Give the port up; in 2 s at most, else ProxyError."""
        if os.getpid() == self._owner:
            proxy_thread().run(self._inner.close, limit=CLOSE_LIMIT)


def open_listener(host: str = "127.0.0.1", port: int = 0) -> Listener:
    """Listen, on a free port where it is 0. Raises ProxyError where that is not possible."""
    inner = _Inner(host, port)
    proxy_thread().run(inner.open)
    return Listener(inner)
