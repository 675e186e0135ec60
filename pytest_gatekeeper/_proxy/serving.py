"""Serving a client connection: request after request, in the open or inside a tunnel, and its end.

Reads heads and hands each to `connect` (a CONNECT) or `exchange` (every other request). What these share is the
`Connection`'s. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import logging

from pytest_gatekeeper._core import proxy_protocol
from pytest_gatekeeper._core.hosts import join_authority
from pytest_gatekeeper._core.logline import dropped_line
from pytest_gatekeeper._core.records import Tunnel
from pytest_gatekeeper._proxy.connect import distrust, open_tunnel
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.exchange import carry
from pytest_gatekeeper._proxy.local import answer_text
from pytest_gatekeeper._proxy.stream import StreamCut
from pytest_gatekeeper._proxy.tls import TlsFailure
from pytest_gatekeeper._proxy.watch import TimedOut
from pytest_gatekeeper._proxy.wire import BadHead, parse_request, read_head

__all__ = ["serve"]

_log = logging.getLogger("pytest_gatekeeper")


async def serve(connection: Connection) -> None:
    """Serve a connection to its end. Raises nothing but CancelledError."""
    try:
        if connection.lease.proxy_protocol and not await _introduced(connection):
            return
        while await _one(connection):
            pass
        await _part(connection)
    except OSError as error:
        _ended(connection, error)
    except asyncio.CancelledError:
        _ended(connection, StreamCut("test"))
        raise
    except Exception as error:  # noqa: BLE001 - the loop must never see it
        connection.closed = "error"
        _log.error("a connection failed: %s", type(error).__name__)
    finally:
        connection.watch.stop()
        connection.upstreams.abort(StreamCut("error"))
        if connection.tunnel is not None and connection.tunnel.closed is None:
            connection.tunnel.closed = connection.closed
            connection.lease.tell(connection.tunnel)
        connection.stream.close()


async def _introduced(connection: Connection) -> bool:
    """Take the PROXY header off, which names the client; False where the connection is dropped for it."""
    limit = connection.lease.limits.head
    connection.watch.limit(limit, connection.tcp, f"no complete PROXY header came within {limit:g} s")
    try:
        source = await _source(connection)
    except ValueError as error:
        connection.lease.tell(dropped_line(join_authority(*connection.tcp.peer), str(error)))
        connection.tcp.abort()
        return False
    finally:
        connection.watch.lift()
    if source is not None:
        connection.client_ip = source.host
    return True


async def _source(connection: Connection) -> proxy_protocol.Source | None:
    """Whom the PROXY header names, None where it means the peer. Raises ValueError for a malformed one."""
    data = b""
    while (preface := proxy_protocol.read(data)) is None:
        more = await connection.tcp.receive()
        if not more:
            if data:
                raise ValueError("the connection was finished in the middle of its PROXY header")
            return None
        data += more
    connection.tcp.unread(data[preface.consumed :])
    return preface.source


# ------------------------------------------------------------------ one request


async def _one(connection: Connection) -> bool:
    """Serve one request; whether another may follow."""
    try:
        raw = await _next_head(connection)
        if not raw:
            return False
        head = parse_request(raw)
    except BadHead as error:
        return await _malformed(connection, error)
    if head.method == "CONNECT" and connection.tunnel is None:
        more = await open_tunnel(connection, head)
    else:
        more = await carry(connection, head, raw)
    connection.kept = connection.tunnel is None or bool(connection.tunnel.exchanges)
    return more


async def _next_head(connection: Connection) -> bytes:
    """The next request's head as it came, b"" where the client has finished. Raises BadHead."""
    if connection.kept:
        data = await connection.stream.receive()
        if not data:
            return b""
        connection.stream.unread(data)
    limit = connection.lease.limits.head
    connection.watch.limit(limit, connection.tcp, f"no complete request head came within {limit:g} s")
    try:
        return await read_head(connection.stream)
    finally:
        connection.watch.lift()


async def _malformed(connection: Connection, error: BadHead) -> bool:
    """Answer a head that cannot be used, and record it."""
    tunnel = connection.tunnel
    if tunnel is None:
        tunnel = connection.tunnel = Tunnel(connection.lease.next_tunnel(), "", 0)
        tunnel.status = error.status
    tunnel.error = f"the client sent a request that was refused with {error.status}: {error}"
    connection.closed = "error"
    connection.lease.tell(tunnel)
    await answer_text(connection.stream, error.status, f"{error}\n")
    return False


# ------------------------------------------------------------------ the end


async def _part(connection: Connection) -> None:
    """Finish, and let the client take the last answer and finish too: a close before that would reset it."""
    connection.watch.limit(connection.lease.limits.linger, connection.tcp, "the client did not finish")
    try:
        await connection.stream.finish()
        while await connection.stream.receive():
            pass
    except OSError:
        pass  # everything was sent; how the client leaves is its own affair
    finally:
        connection.watch.lift()


def _ended(connection: Connection, error: BaseException) -> None:
    """Note what ended the connection, where that was no exchange's doing."""
    if isinstance(error, StreamCut):
        connection.closed = error.why
    elif isinstance(error, TimedOut):
        connection.closed = "error"
        if connection.tunnel is not None and not connection.tunnel.exchanges and connection.tunnel.error is None:
            connection.tunnel.error = str(error)
    elif isinstance(error, TlsFailure) and connection.tunnel is not None and not connection.tunnel.exchanges:
        connection.closed = "error"
        connection.tunnel.error = distrust(error, connection.tunnel.sni)
