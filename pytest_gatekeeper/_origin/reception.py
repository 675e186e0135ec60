"""Taking connections in: TLS or plain by the first byte, a certificate by name, and an end to each of them.

Every connection is a task that catches what goes wrong and tells the journal by kind; one that is idle too long is
cut, so nothing here waits without a limit. What is served on a connection is `http`'s.
"""

from __future__ import annotations

import asyncio
import ssl
import traceback
import weakref
from pathlib import Path

from pytest_gatekeeper._origin.breaking import Ended
from pytest_gatekeeper._origin.http import HttpServer
from pytest_gatekeeper._origin.journal import Journal
from pytest_gatekeeper._origin.script import Script
from pytest_gatekeeper._origin.streams import RecordedStream, StubTcp, part
from pytest_gatekeeper._proxy.ca import serving
from pytest_gatekeeper._proxy.forks import keep_from_children
from pytest_gatekeeper._proxy.listener import stop_listening
from pytest_gatekeeper._proxy.stream import Stream, StreamCut
from pytest_gatekeeper._proxy.tls import TlsFailure, TlsStream
from pytest_gatekeeper._proxy.watch import Watch

__all__ = ["Reception"]

BACKLOG = 1024
_TLS_HANDSHAKE = 0x16  # RFC 8446 section 5.1


def describe(error: Exception) -> str:
    """What went wrong, without anything that was sent: only our own and the system's texts are kept."""
    if isinstance(error, TlsFailure):
        return f"TLS failed: {error}"
    if isinstance(error, OSError):
        return f"a connection broke: {type(error).__name__}: {error.strerror or error}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"an answer failed: {type(error).__name__}{place}"


class Reception:
    """The connections of one stub. Everything here runs on the proxy's thread.

    Attributes:
        port: of the listener, 0 before `open`.
    """

    def __init__(self, script: Script, journal: Journal, *, idle_limit: float, record_raw: bool) -> None:
        self._script = script
        self._journal = journal
        self._idle_limit = idle_limit
        self._record_raw = record_raw
        self._names: weakref.WeakKeyDictionary[ssl.SSLObject, str] = weakref.WeakKeyDictionary()
        self._unnamed: weakref.WeakKeyDictionary[ssl.SSLObject, StubTcp] = weakref.WeakKeyDictionary()
        self._open: dict[asyncio.Task[None], Watch] = {}
        self._streams: weakref.WeakSet[StubTcp] = weakref.WeakSet()  # the tasks may be done, the bytes on their way
        self._server: asyncio.Server | None = None
        self._shut = False
        self._context = serving()  # without a certificate: `_choose` brings it
        self._context.sni_callback = self._choose
        self.port = 0

    async def open(self) -> None:
        """Listen on a free port of the loopback address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: StubTcp(self._admit), "127.0.0.1", 0, backlog=BACKLOG)
        (sock,) = self._server.sockets
        keep_from_children(sock.fileno())
        self.port = sock.getsockname()[1]

    async def shut(self) -> None:
        """Stop listening and cut every connection; returns when the tasks have ended, or after a second.

        Once begun it goes on, even when whoever asked for it has no time left.
        """
        self._closing = asyncio.ensure_future(self._shut_down())
        await asyncio.shield(self._closing)

    async def _shut_down(self) -> None:
        self._shut = True
        if self._server is not None:
            await stop_listening(self._server)
        for tcp in list(self._streams):
            tcp.abort(StreamCut("test"))
        tasks = set(self._open)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    # ---- one connection

    def _admit(self, tcp: StubTcp) -> None:
        if self._shut:  # asyncio had it accepted already
            tcp.abort()
            return
        if self._script.refused():
            tcp.reset()
            return
        self._streams.add(tcp)
        task = asyncio.get_running_loop().create_task(self._attend(tcp))

        def cut(cause: StreamCut) -> None:
            self._journal.failed(f"a connection was cut after {self._idle_limit:g} s without a byte")
            tcp.abort(cause)
            task.cancel()

        self._open[task] = Watch(self._idle_limit, lambda: tcp.activity, cut)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).stop()

    async def _attend(self, tcp: StubTcp) -> None:
        try:
            await self._serve(tcp)
        except Ended:
            pass
        except Exception as error:  # noqa: BLE001 - the loop must never see it
            if not tcp.was_reset:
                self._journal.failed(describe(error))
            tcp.abort()
        finally:
            tcp.close()

    async def _serve(self, tcp: StubTcp) -> None:
        first = await tcp.receive()
        if not first:
            return
        tcp.unread(first)
        stream: Stream = tcp
        tls, sni = first[0] == _TLS_HANDSHAKE, None
        if tls:
            stream = session = TlsStream(tcp, self._context, server_side=True)
            self._unnamed[session.session] = tcp
            await session.handshake()
            sni = self._names.get(session.session)
        if self._record_raw:
            stream = RecordedStream(stream, self._journal.stream())
        await HttpServer(stream, tcp, self._script, self._journal, tls=tls, sni=sni).serve()
        await part(stream)

    def _choose(self, session: ssl.SSLObject, sni: str | None, _: ssl.SSLContext) -> int | None:
        """OpenSSL's question for a certificate (RFC 6066 section 3); nothing may be raised here."""
        tcp = self._unnamed.pop(session, None)
        if tcp is None:  # OpenSSL asks again after a HelloRetryRequest (RFC 8446 section 4.1.4)
            return None
        try:
            fault = self._script.greeted(sni)
            if fault is not None and fault.name == "refuse":
                tcp.reset()
                return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR  # which nobody gets
            session.context = self._script.context(sni, fault)
        except Exception as error:  # noqa: BLE001 - OpenSSL has no use for it
            self._journal.failed(f"no certificate could be made: {type(error).__name__}")
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        if sni is not None:
            self._names[session] = sni
        return None
