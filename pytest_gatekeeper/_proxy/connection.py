"""One client connection: request after request, in the open or inside a tunnel, and its end.

Reads heads and hands each to `connect` (a CONNECT) or `exchange` (every other request). It holds what these share: the
client's stream, the lease, the clock, the upstream connections, the tunnel. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import logging

from pytest_gatekeeper._core import proxy_protocol
from pytest_gatekeeper._core.hosts import join_authority
from pytest_gatekeeper._core.logline import dropped_line
from pytest_gatekeeper._core.model import Destination
from pytest_gatekeeper._core.records import Closed, Tunnel
from pytest_gatekeeper._proxy.connect import distrust, open_tunnel
from pytest_gatekeeper._proxy.exchange import carry
from pytest_gatekeeper._proxy.lease import Lease
from pytest_gatekeeper._proxy.local import answer_text
from pytest_gatekeeper._proxy.stream import Stream, StreamCut, TcpStream
from pytest_gatekeeper._proxy.tls import TlsFailure
from pytest_gatekeeper._proxy.upstream import Upstreams
from pytest_gatekeeper._proxy.watch import TimedOut, Watch
from pytest_gatekeeper._proxy.wire import BadHead, parse_request, read_head

__all__ = ["Connection"]

_log = logging.getLogger("pytest_gatekeeper")


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
        self._kept = False  # alive after a request, so that silence may last
        self.watch = Watch(lease.limits.idle, self._activity, self.cut)

    def _activity(self) -> float:
        return max(self.tcp.activity, self.upstreams.activity)

    def cut(self, cause: StreamCut) -> None:
        """End it now, whatever it does."""
        self.tcp.abort(cause)
        self.upstreams.abort(cause)

    async def serve(self) -> None:
        """Serve it to its end. Raises nothing but CancelledError."""
        try:
            if self.lease.proxy_protocol and not await self._introduced():
                return
            while await self._one():
                pass
            await self._part()
        except OSError as error:
            self._ended(error)
        except asyncio.CancelledError:
            self._ended(StreamCut("test"))
            raise
        except Exception as error:  # noqa: BLE001 - the loop must never see it
            self.closed = "error"
            _log.error("a connection failed: %s", type(error).__name__)
        finally:
            self.watch.stop()
            self.upstreams.abort(StreamCut("error"))
            if self.tunnel is not None and self.tunnel.closed is None:
                self.tunnel.closed = self.closed
                self.lease.tell(self.tunnel)
            self.stream.close()

    async def _introduced(self) -> bool:
        """Take the PROXY header off, which names the client; False where the connection is dropped for it."""
        limit = self.lease.limits.head
        self.watch.limit(limit, self.tcp, f"no complete PROXY header came within {limit:g} s")
        try:
            source = await self._source()
        except ValueError as error:
            self.lease.tell(dropped_line(join_authority(*self.tcp.peer), str(error)))
            self.tcp.abort()
            return False
        finally:
            self.watch.lift()
        if source is not None:
            self.client_ip = source.host
        return True

    async def _source(self) -> proxy_protocol.Source | None:
        """Whom the PROXY header names, None where it means the peer. Raises ValueError for a malformed one."""
        data = b""
        while (preface := proxy_protocol.read(data)) is None:
            more = await self.tcp.receive()
            if not more:
                if data:
                    raise ValueError("the connection was finished in the middle of its PROXY header")
                return None
            data += more
        self.tcp.unread(data[preface.consumed :])
        return preface.source

    # ---- one request

    async def _one(self) -> bool:
        """Serve one request; whether another may follow."""
        try:
            raw = await self._next_head()
            if not raw:
                return False
            head = parse_request(raw)
        except BadHead as error:
            return await self._malformed(error)
        if head.method == "CONNECT" and self.tunnel is None:
            more = await open_tunnel(self, head)
        else:
            more = await carry(self, head, raw)
        self._kept = self.tunnel is None or bool(self.tunnel.exchanges)
        return more

    async def _next_head(self) -> bytes:
        """The next request's head as it came, b"" where the client has finished. Raises BadHead."""
        if self._kept:
            data = await self.stream.receive()
            if not data:
                return b""
            self.stream.unread(data)
        limit = self.lease.limits.head
        self.watch.limit(limit, self.tcp, f"no complete request head came within {limit:g} s")
        try:
            return await read_head(self.stream)
        finally:
            self.watch.lift()

    async def _malformed(self, error: BadHead) -> bool:
        """Answer a head that cannot be used, and record it."""
        tunnel = self.tunnel
        if tunnel is None:
            tunnel = self.tunnel = Tunnel(self.lease.next_tunnel(), "", 0)
            tunnel.status = error.status
        tunnel.error = f"the client sent a request that was refused with {error.status}: {error}"
        self.closed = "error"
        self.lease.tell(tunnel)
        await answer_text(self.stream, error.status, f"{error}\n")
        return False

    # ---- the end

    async def _part(self) -> None:
        """Finish, and let the client take the last answer and finish too: a close before that would reset it."""
        self.watch.limit(self.lease.limits.linger, self.tcp, "the client did not finish")
        try:
            await self.stream.finish()
            while await self.stream.receive():
                pass
        except OSError:
            pass  # everything was sent; how the client leaves is its own affair
        finally:
            self.watch.lift()

    def _ended(self, error: BaseException) -> None:
        """Note what ended the connection, where that was no exchange's doing."""
        if isinstance(error, StreamCut):
            self.closed = error.why
        elif isinstance(error, TimedOut):
            self.closed = "error"
            if self.tunnel is not None and not self.tunnel.exchanges and self.tunnel.error is None:
                self.tunnel.error = str(error)
        elif isinstance(error, TlsFailure) and self.tunnel is not None and not self.tunnel.exchanges:
            self.closed = "error"
            self.tunnel.error = distrust(error, self.tunnel.sni)
