"""The port: accepting connections and giving each to whoever holds the proxy.

A listener stays open between holders, so that clients may keep the proxy's URL. What comes while nobody holds it is
answered 503 and told to the next holder. How a connection is served is `serving`'s matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket

from pytest_gatekeeper._core.hosts import join_authority
from pytest_gatekeeper._core.records import Late, Tunnel
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.forks import forget, keep_from_children
from pytest_gatekeeper._proxy.lease import Lease
from pytest_gatekeeper._proxy.local import answer_text
from pytest_gatekeeper._proxy.serving import serve
from pytest_gatekeeper._proxy.stream import StreamCut, TcpStream
from pytest_gatekeeper._proxy.wire import BadHead, read_head
from pytest_gatekeeper.errors import ProxyError

__all__ = ["Listener", "stop_listening"]

BACKLOG = 1024
SETTLE_LIMIT = 0.25  # seconds for connections that are being accepted when a holder changes
SETTLE_TURNS = 50  # of the loop at least, where the machine has no time; it polls in every ninth (see `thread`)
LATE_LIMIT = 2.0  # seconds that a connection without a holder may take
MAX_LATE = 1000  # that are remembered
_LATE = (
    "No test holds this proxy at the moment: the request came before its test began or after it ended. Close clients"
    " before the test ends, or make them in it.\n"
)


class Listener:
    """A listening port. Everything but the constructor runs on the proxy's thread.

    Attributes:
        host, port: where it listens.
    """

    def __init__(self, host: str, port: int) -> None:
        """Bind; raises ProxyError where that is not possible."""
        if not 0 <= port <= 65535:
            raise ProxyError(f"the proxy cannot listen on port {port}: a port is a number from 0 to 65535")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise ProxyError(f"the proxy cannot listen on {host}:{port}: {error.strerror or error}") from None
        self._socket.setblocking(False)
        keep_from_children(self._socket.fileno())
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._lease: Lease | None = None
        self._server: asyncio.Server | None = None
        self._late: list[Late] = []
        self._in_flight = 0  # accepted, and not yet a connection
        self._strays: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accepted, sock=self._socket, backlog=BACKLOG)

    async def hold(self, lease: Lease) -> None:
        """From now on connections belong to `lease`. Raises ProxyError while another one holds the port."""
        await self._settle()  # what came before is late
        if self._lease is not None:
            raise ProxyError("another Gatekeeper holds this port")
        self._lease = lease
        late, self._late = self._late, []
        for record in late:
            lease.tell(record)

    async def release(self, lease: Lease) -> None:
        """The lease is over: cut its connections, those that wait to be accepted as well. Later ones are late."""
        if self._lease is lease:
            await self._settle()
            self._lease = None
        await lease.end()

    async def close(self) -> None:
        """Stop listening, and cut what is there."""
        server, self._server = self._server, None
        if server is None:
            forget(self._socket.fileno())
            self._socket.close()
            return
        await stop_listening(server)
        if self._lease is not None:
            await self.release(self._lease)
        for task in list(self._strays):
            task.cancel()
        if self._strays:
            await asyncio.wait(set(self._strays), timeout=1.0)

    async def _settle(self) -> None:
        """Take in every connection that is there by now, so that it counts for whoever holds the port now."""
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLE_LIMIT
        turns = quiet = 0
        while quiet < 3 and (turns < SETTLE_TURNS or loop.time() < end):
            waiting = self._in_flight > 0 or _readable(self._socket)
            quiet = 0 if waiting else quiet + 1  # one turn from being accepted to being made, one more to be sure
            turns += 1
            await asyncio.sleep(0)

    # ---- connections

    def _accepted(self) -> TcpStream:
        self._in_flight += 1
        return TcpStream(self._admit)

    def _admit(self, tcp: TcpStream) -> None:
        self._in_flight -= 1
        loop = asyncio.get_running_loop()
        lease = self._lease
        if self._server is None:
            tcp.abort()
        elif lease is None or lease.crowded:
            task = loop.create_task(self._turn_away(tcp, lease))
            self._strays.add(task)
            task.add_done_callback(self._strays.discard)
        else:
            connection = Connection(tcp, lease)
            lease.admit(loop.create_task(serve(connection)), connection.cut)

    async def _turn_away(self, tcp: TcpStream, lease: Lease | None) -> None:
        """Answer 503 to whoever comes while nobody holds the proxy, or while too many are there."""
        text = _LATE
        if lease is not None:
            text = f"There are {lease.limits.connections} connections at once; more are not taken.\n"
            refused = Tunnel(lease.next_tunnel(), "", 0)
            refused.status, refused.error, refused.closed = 503, text.strip(), "error"
            lease.tell(refused)
        elif len(self._late) < MAX_LATE:
            self._late.append(Late(join_authority(*tcp.peer)))
        timer = asyncio.get_running_loop().call_later(LATE_LIMIT, tcp.abort, StreamCut("test"))
        try:
            with contextlib.suppress(OSError, BadHead):
                await read_head(tcp)
                await answer_text(tcp, 503, text)
                await tcp.finish()
                while await tcp.receive():
                    pass
        finally:
            timer.cancel()
            tcp.close()


async def stop_listening(server: asyncio.Server) -> None:
    """Close a listener without dropping a connection that is being accepted.

    asyncio makes an accepted connection's transport one turn of the loop later, and fails, leaving the socket open, if
    its server has been closed meanwhile; so stop accepting, let that turn pass, then close.
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        with contextlib.suppress(NotImplementedError):  # a loop without readers has no such turn
            loop.remove_reader(sock.fileno())
    await asyncio.sleep(0)
    for sock in server.sockets:
        forget(sock.fileno())
    server.close()


def _readable(sock: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))
