"""Dialling upstreams, and keeping one connection for the next request.

An `Upstreams` belongs to one client connection: what it dials is never used for another one, so a credential stays on
its connection. Where a destination leads is `routes`' matter; what is sent is `exchange`'s. Failures are `Unreachable`,
whose texts are fit for the answer's body: what could not be reached, why, and the way out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import Any

from pytest_gatekeeper._core.hosts import is_address, is_link_local, is_loopback, join_authority
from pytest_gatekeeper._core.model import Destination, Violation
from pytest_gatekeeper._proxy.routes import NoRoute, Routes, Target
from pytest_gatekeeper._proxy.stream import Stream, StreamCut, TcpStream
from pytest_gatekeeper._proxy.tls import TlsFailure, TlsStream

__all__ = ["Unreachable", "Upstream", "Upstreams"]


class Unreachable(ConnectionError):
    """An upstream could not be reached.

    Attributes:
        violation: set where it was not even tried, for safety.
        address: `host:port` that was tried, or "".
    """

    def __init__(self, text: str, *, address: str = "", violation: Violation | None = None) -> None:
        super().__init__(text)
        self.address = address
        self.violation = violation


class Upstream:
    """One connection to an upstream.

    Attributes:
        stream: TLS taken off.
        tcp: below it.
        target: what was dialled.
        address: `host:port` of the target.
        told: the same as it may be told, None before it was.
        cleartext: whether what is sent can be read on the way: no TLS, and not loopback.
        used: whether it has served a request before.
    """

    def __init__(self, stream: Stream, tcp: TcpStream, target: Target) -> None:
        self.stream = stream
        self.tcp = tcp
        self.target = target
        self.address = target.address
        self.told: str | None = None
        self.cleartext = target.context is None and not is_loopback(tcp.peer[0])
        self.used = False

    @property
    def stale(self) -> bool:
        """Whether it cannot serve another request: it ended, or said something that nobody asked for."""
        try:
            return bool(self.stream.take()) or self.stream.ended
        except OSError:
            return True


class Upstreams:
    """The upstream connections of one client connection: at most one in use, at most one kept.

    Args:
        routes: say where destinations lead.
        limit: seconds for dial and handshake together.
    """

    def __init__(self, routes: Routes, limit: float) -> None:
        self._routes = routes
        self._limit = limit
        self._kept: tuple[Destination, int, Upstream] | None = None
        self._version = 0  # of the routes when the current connection was dialled
        self._current: Upstream | None = None
        self._dialling: asyncio.Future[Upstream] | None = None
        self._cut: StreamCut | None = None

    @property
    def activity(self) -> float:
        """The loop's time at which a byte last passed: now while dialling, which has a limit of its own; 0 without."""
        if self._dialling is not None:
            return asyncio.get_running_loop().time()
        return self._current.stream.activity if self._current is not None else 0.0

    async def get(self, destination: Destination) -> Upstream:
        """A connection to a destination: the kept one where it is still good, else a new one. Raises Unreachable."""
        kept, self._kept = self._kept, None
        if kept is not None:
            known, version, upstream = kept
            if known == destination and version == self._routes.version and not upstream.stale:
                self._current = upstream
                return upstream
            upstream.stream.close()
        return await self.dial(destination)

    async def dial(self, destination: Destination) -> Upstream:
        """A new connection to a destination. Raises Unreachable, or the StreamCut of an `abort` meanwhile."""
        self.drop()  # where it is dialled anew
        self._version = self._routes.version
        try:
            target = self._routes.target(destination)
        except NoRoute as error:
            raise Unreachable(str(error)) from None
        except ssl.SSLError:
            raise Unreachable(f"a CA certificate that was given for {destination.host} cannot be read") from None
        self._dialling = asyncio.ensure_future(_open(destination.host, target))
        try:
            upstream = await asyncio.wait_for(self._dialling, self._limit)
        except asyncio.TimeoutError:
            cause = f"no connection within {self._limit:g} s (see --gatekeeper-upstream-timeout)"
            raise Unreachable(_trouble(destination.host, target, cause), address=target.address) from None
        except asyncio.CancelledError:
            if self._cut is None:
                raise
            raise self._cut from None
        finally:
            self._dialling = None
        if self._cut is not None:  # it came while the connection was being handed over
            upstream.stream.abort(self._cut)
            raise self._cut
        self._current = upstream
        return upstream

    def keep(self, destination: Destination, upstream: Upstream) -> None:
        """The connection may serve another request."""
        upstream.used = True
        self._current = None
        self._kept = destination, self._version, upstream

    def abort(self, error: StreamCut) -> None:
        """Drop everything, what is being dialled included. The first reason counts."""
        if self._cut is None:
            self._cut = error
        if self._dialling is not None:
            self._dialling.cancel()
        if self._current is not None:
            self._current.stream.abort(self._cut)
        self.release()

    def part(self, linger: float) -> None:
        """The connection in use was closed in order: what was written to it is still sent, in `linger` seconds."""
        current, self._current = self._current, None
        if current is not None:
            asyncio.get_running_loop().call_later(linger, current.stream.abort)

    def drop(self) -> None:
        """Drop the connection that is in use; another one may be dialled."""
        if self._current is not None:
            self._current.stream.abort()
            self._current = None

    def release(self) -> None:
        """Close the connection that is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept[2].stream.close()


def _trouble(host: str, target: Target, cause: str, advice: str = "") -> str:
    where = f" at {target.address} (by its route)" if target.routed else ""
    return f"{host} could not be reached{where}: {cause}.{advice and f' {advice}'}"


async def _open(host: str, target: Target) -> Upstream:
    tcp = await _connect(host, target)
    if target.context is None:
        return Upstream(tcp, tcp, target)
    stream = TlsStream(tcp, target.context, server_side=False, server_hostname=target.server_name)
    try:
        await stream.handshake()
    except BaseException as error:
        tcp.abort()
        if isinstance(error, OSError):
            raise Unreachable(_trouble(host, target, *_tls_cause(error, target)), address=target.address) from None
        raise
    return Upstream(stream, tcp, target)


async def _connect(host: str, target: Target) -> TcpStream:
    loop = asyncio.get_running_loop()
    cause = "the name has no address"
    for address in await _addresses(host, target):
        if is_link_local(address.partition("%")[0]):
            kind = f"link-local or cloud-metadata address {address}"
            raise Unreachable(
                _trouble(host, target, f"it leads to the {kind}, which is never dialled"),
                address=join_authority(address, target.port),
                violation=Violation("link-local", f"{host} leads to the {kind}", "not dialled"),
            )
        try:
            _, tcp = await loop.create_connection(TcpStream, address, target.port)
        except OSError as error:
            cause = _tcp_cause(error)
        else:
            return tcp
    advice = "" if target.routed else f'proxy.route("{host}", URL) leads the name somewhere else.'
    raise Unreachable(_trouble(host, target, cause, advice or "Is the upstream running?"), address=target.address)


def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    """A function of this module, so that the stack of a look-up shows whose it is: `_bypass` looks for that."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _addresses(host: str, target: Target) -> list[str]:
    if is_address(target.host):
        return [target.host]
    if is_loopback(target.host):  # RFC 6761 section 6.3: nobody is asked
        return ["127.0.0.1", "::1"]
    try:
        found = await _looked_up(target.host, target.port)
    except OSError as error:
        cause = f"the name does not resolve ({error.strerror or 'unknown'})"
        advice = f'proxy.route("{host}", URL) leads it somewhere.'
        raise Unreachable(_trouble(host, target, cause, advice), address=target.address) from None
    except UnicodeError:
        raise Unreachable(_trouble(host, target, "the name is no host name"), address=target.address) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def _looked_up(host: str, port: int) -> list[tuple[Any, ...]]:
    """What the resolver says. It cannot be interrupted, so it has a daemon thread that nobody waits for at exit."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

    def tell(found: list[tuple[Any, ...]] | Exception) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def work() -> None:
        try:
            found: list[tuple[Any, ...]] | Exception = _look_up(host, port)
        except (OSError, UnicodeError) as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=work, name="gatekeeper-resolver", daemon=True).start()
    return await answer


def _tcp_cause(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    return f"{type(error).__name__}{f': {error.strerror}' if error.strerror else ''}"


def _tls_cause(error: OSError, target: Target) -> tuple[str, str]:
    """Cause and advice for a handshake that failed."""
    if not isinstance(error, TlsFailure):
        return "the connection broke during the TLS handshake", "Does it speak TLS? The route's URL says https or http."
    if error.reason == "CERTIFICATE_VERIFY_FAILED":
        advice = (
            f"The certificate must name {target.server_name} and come from an authority that the proxy trusts:"
            " proxy.route(…, ca=…) or proxy.trust(ca) adds one, verify=False switches the check off for one route."
        )
        return f"its certificate is not accepted ({error})", advice
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "EOF", "HTTP_REQUEST", "UNEXPECTED_EOF"):
        return f"it does not speak TLS ({error})", "A route to http:// or ws:// speaks plain HTTP."
    return f"the TLS handshake failed ({error})", ""
