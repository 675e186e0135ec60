"""One client connection: what all that serves it shares.

The client's stream, the lease, the clock, the upstream connections, the tunnel. `serving` reads requests from it and
hands each on; nothing is read, decided or told here.
"""

from __future__ import annotations

import asyncio

from pytest_gatekeeper._core.model import Destination
from pytest_gatekeeper._core.records import Closed, Tunnel
from pytest_gatekeeper._proxy.lease import Lease
from pytest_gatekeeper._proxy.stream import Stream, StreamCut, TcpStream
from pytest_gatekeeper._proxy.upstream import Upstreams
from pytest_gatekeeper._proxy.watch import Watch

__all__ = ["Connection"]


class Connection:
    """A client's connection while it is served.

    Attributes:
        tcp: the client's TCP stream; `stream` is what requests are read from, TLS taken off.
        lease: what applies.
        watch: its clock.
        upstreams: its upstream connections.
        tunnel: the record of its CONNECT, None before one.
        destination: where the tunnel leads, None without one.
        user_id: of proxy authentication, "" without.
        client_ip: the client's address, as the PROXY header tells it where there is one.
        opening: how long opening the tunnel took (seconds), until its log line is written with the first request's.
        closed: what is going to end it.
        kept: alive after a request, so that silence may last.
        now: the time by the loop's clock (seconds), which nobody puts forward or back.
    """

    def __init__(self, tcp: TcpStream, lease: Lease) -> None:
        self.tcp = tcp
        self.stream: Stream = tcp
        self.lease = lease
        self.upstreams = Upstreams(lease.routes, lease.limits.upstream)
        self.tunnel: Tunnel | None = None
        self.destination: Destination | None = None
        self.user_id = ""
        self.client_ip = tcp.peer[0]
        self.opening: float | None = None
        self.closed: Closed = "client"
        self.kept = False
        self.now = asyncio.get_running_loop().time
        self.watch = Watch(lease.limits.idle, self._activity, self.cut)

    def _activity(self) -> float:
        return max(self.tcp.activity, self.upstreams.activity)

    def cut(self, cause: StreamCut) -> None:
        """End it now, whatever it does."""
        self.tcp.abort(cause)
        self.upstreams.abort(cause)
