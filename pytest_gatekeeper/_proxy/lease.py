"""A lease: the time during which somebody (a test) holds the proxy, with all that applies to it.

Every connection belongs to the lease in which it was accepted and is cut when that ends. A lease knows by what to
decide, where names lead, how long things may take, and whom to tell what happened. How a connection is served is
`serving`'s matter, where it comes from the listener's.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import NamedTuple

from pytest_gatekeeper._core.records import Exchange, Level, Record, Sink
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.scan.leaks import LeakScan
from pytest_gatekeeper._core.scan.watchlist import Watchlist
from pytest_gatekeeper._core.terms import Terms
from pytest_gatekeeper._proxy.ca import CertificateAuthority
from pytest_gatekeeper._proxy.routes import Routes
from pytest_gatekeeper._proxy.stream import StreamCut

__all__ = ["Lease", "Limits"]

_log = logging.getLogger("pytest_gatekeeper")


class Limits(NamedTuple):
    """How long things may take (seconds), and how many there may be.

    Attributes:
        idle: silence, of a connection without a request as of a tunnel.
        upstream: dial, handshake and response head together.
        head: from the first byte that may come to the end of a request's head.
        handshake: the client's TLS handshake, from the answer to CONNECT on.
        linger: for a client to take a last answer before its connection is closed.
        patience: for connections that the lease's end cuts to close their records, before they are dropped.
        connections: how many clients may be connected at once.
    """

    idle: float = 120.0
    upstream: float = 60.0
    head: float = 10.0
    handshake: float = 10.0
    linger: float = 2.0
    patience: float = 1.0
    connections: int = 4096


class Lease:
    """What applies to the connections of one holder.

    Args:
        terms: to decide by; may be replaced at any time, by any thread.
        routes: where names lead.
        redactor: hides the secrets of `terms`; replaced together with them.
        watchlist: the same secrets, to be found where they do not belong; it learns of further ones.
        authority: what clients trust.
        sink: is told what happened, on the proxy's thread.
        label: of the holder, for what is told of leaks: a test's name.
        wants: whether anybody would read a log line of a level; else none is made.
        limits: how long things may take.
        proxy_protocol: whether each connection opens with a PROXY header.
    """

    def __init__(
        self,
        terms: Terms,
        routes: Routes,
        redactor: Redactor,
        authority: CertificateAuthority,
        sink: Sink,
        *,
        watchlist: Watchlist | None = None,
        label: str = "",
        wants: Callable[[Level], bool] = lambda _: True,
        limits: Limits | None = None,
        proxy_protocol: bool = False,
    ) -> None:
        self.terms = terms
        self.routes = routes
        self.redactor = redactor
        self.watchlist = Watchlist(()) if watchlist is None else watchlist  # an empty one may get more
        self.label = label
        self.authority = authority
        self.wants = wants
        self.limits = limits or Limits()
        self.proxy_protocol = proxy_protocol
        self._sink = sink
        self._exchanges = itertools.count(1)
        self._tunnels = itertools.count(1)
        self._open: dict[asyncio.Task[None], Callable[[StreamCut], None]] = {}

    def tell(self, record: Record) -> None:
        """Tell what happened. A sink that fails must not break a connection, so that is logged, by its kind alone."""
        try:
            self._sink(record)
        except Exception as error:  # noqa: BLE001 - a sink may be anything
            _log.error("a record was lost: the sink raised %s", type(error).__name__)

    def shown(self, host: str) -> str:
        """A host that a client named, as it may be told: with what is looked for blanked.

        Short secrets are not, since names like `api` are found in any host.
        """
        if not host or not self.watchlist.suspects(host.encode("latin-1", "replace")):
            return host
        return self.redactor.blank(host)

    def suspects(self, raw: bytes) -> bool:
        """Whether a message head, as it came, may hold a secret: looked at once, instead of field by field.

        A folded field (RFC 9112 section 5.2) is suspect, since its value is put together only when it is read.
        """
        return (
            b"\n " in raw
            or b"\n\t" in raw
            or self.redactor.suspects(raw.decode("latin-1"))
            or bool(self.watchlist.suspects(raw))
        )

    def scan(self, record: Exchange) -> LeakScan | None:
        """Looks for secrets in one exchange; None where there are none, but for an upgrade: it may live to see some."""
        if not self.watchlist and not record.is_upgrade:
            return None
        return LeakScan(self.watchlist, record, self.tell, self.label, self.terms.rules.for_host(record.host))

    def next_exchange(self) -> int:
        """The number of the next exchange, from 1."""
        return next(self._exchanges)

    def next_tunnel(self) -> int:
        """The number of the next tunnel, from 1."""
        return next(self._tunnels)

    # ---- connections, on the proxy's thread

    @property
    def crowded(self) -> bool:
        """Whether as many clients are connected as may be."""
        return len(self._open) >= self.limits.connections

    def admit(self, task: asyncio.Task[None], cut: Callable[[StreamCut], None]) -> None:
        """A connection belongs to this lease: the task that serves it, and how to cut it."""
        self._open[task] = cut
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)

    async def end(self) -> None:
        """Cut every connection, and wait for their records to be closed; where patience ends, they are dropped."""
        tasks = set(self._open)
        for cut in list(self._open.values()):
            cut(StreamCut("test", "the test ended"))
        if tasks:
            patience = self.limits.patience
            _, late = await asyncio.wait(tasks, timeout=patience)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=patience / 2)
