"""Serving HTTP/1.1 on one connection: reading requests, echoing them or sending what was prepared.

Heads are read and written by `_proxy.wire`, bodies counted by `_core.framing`. Which answer and which fault a request
gets is the script's decision; what a WebSocket does after its 101 is `websocket`'s, how an answer breaks `breaking`'s.
"""

from __future__ import annotations

import base64
import hashlib
import json
from asyncio import sleep
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple, NoReturn

from pytest_gatekeeper._core import framing
from pytest_gatekeeper._core.headers import values_of
from pytest_gatekeeper._core.model import Headers, RequestHead
from pytest_gatekeeper._origin import websocket
from pytest_gatekeeper._origin.answers import Answer, make_answer
from pytest_gatekeeper._origin.breaking import CutStream, Ended, broken
from pytest_gatekeeper._origin.fault_table import Fault
from pytest_gatekeeper._origin.journal import Journal, Received
from pytest_gatekeeper._origin.pieces import pull
from pytest_gatekeeper._origin.script import Script
from pytest_gatekeeper._origin.streams import StubTcp
from pytest_gatekeeper._proxy.stream import Stream
from pytest_gatekeeper._proxy.wire import BadHead, parse_request, read_head, response_bytes

__all__ = ["HttpServer", "echo_of"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SLICE = 64 * 1024  # bytes of a large body that are handed to the stream at once


def echo_of(received: Received) -> bytes:
    """The JSON that a request is answered with by default."""
    body = received.body
    try:
        text, encoding = body.decode(), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(body).decode(), "base64"
    echo: dict[str, object] = {
        "method": received.method,
        "target": received.target,
        "headers": received.headers,
        "body": text,
        "body_encoding": encoding,
        "body_size": received.body_size,
        "body_truncated": received.body_truncated,
    }
    return json.dumps(echo).encode()


class _Plan(NamedTuple):
    """How an answer's body goes out (RFC 9112 section 6)."""

    headers: Headers
    body: bool
    chunked: bool
    close: bool


def _plan(answer: Answer, head: RequestHead) -> _Plan:
    fields = list(answer.headers)
    last = head.version == "1.0" or _has_token(head.headers, "close")
    closing = _has_token(answer.headers, "close")
    body = head.method != "HEAD" and answer.status not in (204, 304)
    chunked = False
    framed = values_of(answer.headers, "content-length") or values_of(answer.headers, "transfer-encoding")
    if answer.source is None:
        if not framed and answer.status not in (204, 304):
            fields.append(("Content-Length", str(len(answer.content))))
    elif head.version == "1.1" and (answer.source.chunked or not (framed or closing)):
        chunked = True
        fields.append(("Transfer-Encoding", "chunked"))
    if last and not closing:
        fields.append(("Connection", "close"))
    return _Plan(tuple(fields), body, chunked, last or closing)


def _last(head: RequestHead, fault: Fault | None) -> RequestHead:
    """A request's head, which asks for the connection's end where its fault does."""
    if fault is None or fault.name not in ("early", "ragged"):
        return head
    return head._replace(headers=(*head.headers, ("Connection", "close")))


def _has_token(headers: Headers, token: str) -> bool:
    values = values_of(headers, "connection")
    return any(part.strip().lower() == token for value in values for part in value.split(","))


class HttpServer:
    """One connection's requests, one after the other."""

    def __init__(
        self, stream: Stream, tcp: StubTcp, script: Script, journal: Journal, *, tls: bool, sni: str | None
    ) -> None:
        self._whole = self._stream = stream  # the second one breaks what is sent, where a fault wants that
        self._tcp = tcp
        self._script = script
        self._journal = journal
        self._tls = tls
        self._sni = sni
        self._first = True

    async def serve(self) -> None:
        """Serve until either side is done. Raises the stream's errors, what a body's making raised, and Ended."""
        while await self._one():
            pass

    async def _one(self) -> bool:
        """Serve one request; whether another may follow."""
        try:
            raw = await read_head(self._stream)
            if not raw:
                return False
            head = parse_request(raw)
            body = framing.request_body(head)
        except BadHead as error:
            return await self._refuse(error.status, str(error))
        received = Received(head, tls=self._tls, sni=self._sni, upgrade=websocket.is_upgrade(head))
        first, self._first = self._first, False
        if first and not self._tls and self._script.refused_first(received):
            self._reset()
        fault = self._script.broken(received, body=not body.done)
        answer = None if fault is not None and fault.silent else self._script.answer(received)
        self._journal.arrived(received)
        if fault is not None and fault.name == "reset" and fault.silent:
            self._reset()
        digest = hashlib.sha256()
        if fault is None or fault.name != "early":
            try:
                await self._take(head, body, received, digest if answer is not None and answer.sink else None)
            except framing.BodyError as error:
                return await self._refuse(400, str(error))
        if answer is not None and answer.sink:
            content = {"size": received.body_size, "sha256": digest.hexdigest()}
            answer = replace(make_answer(answer.status, answer.headers, content), delay=answer.delay)
        return await self._answer(answer, head, received, fault)

    def _reset(self) -> NoReturn:
        self._tcp.reset()
        raise Ended

    async def _answer(self, answer: Answer | None, head: RequestHead, received: Received, fault: Fault | None) -> bool:
        """Answer a request, as well as its fault allows; whether another may follow."""
        self._stream = broken(self._whole, fault, self._tcp, self._journal)
        if answer is None:
            more = await self._default(head, received, fault)
        else:
            if answer.delay:
                await sleep(answer.delay)
            more = await self._send(answer, _last(head, fault))
        if isinstance(self._stream, CutStream):
            await self._stream.over()
        self._stream = self._whole
        return more

    async def _refuse(self, status: int, text: str) -> bool:
        self._journal.failed(f"a request was answered {status}: {text}")
        answer = make_answer(status, {"Connection": "close"}, text + "\n")
        return await self._send(answer, RequestHead("GET", "/", "1.1", ()))

    async def _take(
        self, head: RequestHead, body: framing.Body, received: Received, digest: hashlib._Hash | None
    ) -> None:
        """Take a request's body to its end; a sink hashes it, else it is kept as far as it may be."""
        if not body.done and "100-continue" in [value.lower() for value in values_of(head.headers, "expect")]:
            await self._stream.send(_CONTINUE)
        while not body.done:
            data = await self._stream.receive()
            if not data:
                raise ConnectionError("the connection was finished in the middle of a request's body")
            count = body.feed(data)
            view = memoryview(data)
            for start, end in body.payload():
                received.grow(view[start:end], keep=digest is None)
                if digest is not None:
                    digest.update(view[start:end])
            self._stream.unread(data[count:])
        self._journal.completed(received)

    async def _default(self, head: RequestHead, received: Received, fault: Fault | None) -> bool:
        if head.method == "CONNECT":
            text = "this is an upstream, not a proxy: it opens no tunnels\n"
            return await self._send(make_answer(405, {"Connection": "close"}, text), head)
        if not received.upgrade:
            answer = make_answer(200, {"Content-Type": "application/json"}, echo_of(received))
            return await self._send(answer, _last(head, fault))
        try:
            connection, accepted = websocket.accept(head, badly=fault is not None and fault.name == "bad_accept")
        except websocket.BadUpgrade as error:
            self._journal.failed(f"an upgrade was answered {error.status}: {error}")
            fields = {"Sec-WebSocket-Version": "13"}
            return await self._send(make_answer(error.status, fields, f"{error}\n"), head)
        await self._stream.send(accepted if fault is None else accepted + fault.data)
        await websocket.echo(self._stream, connection, received, self._journal)
        return False

    async def _send(self, answer: Answer, head: RequestHead) -> bool:
        """Send an answer; whether the connection can go on."""
        plan = _plan(answer, head)
        start = response_bytes(answer.status, answer.reason, plan.headers)
        if not plan.body:
            await self._stream.send(start)
            return not plan.close
        if answer.source is None and len(answer.content) <= _SLICE:
            await self._stream.send(start + answer.content)
            sent = len(answer.content)
        else:
            await self._stream.send(start)
            sent = await self._send_pieces(answer, plan.chunked)
        lengths = values_of(plan.headers, "content-length")
        return not plan.close and (not lengths or lengths[0] == str(sent))

    async def _send_pieces(self, answer: Answer, chunked: bool) -> int:
        sent = 0
        async with aclosing(_pieces(answer)) as pieces:
            async for piece in pieces:
                sent += len(piece)
                framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece
                await self._stream.send(framed)
        if chunked:
            await self._stream.send(b"0\r\n\r\n")
        return sent


async def _pieces(answer: Answer) -> AsyncGenerator[bytes, None]:
    source = answer.source
    if source is None:
        for at in range(0, len(answer.content), _SLICE):
            yield answer.content[at : at + _SLICE]
    elif source.ready is not None:
        for piece in source.ready:
            yield piece
    else:
        async with aclosing(pull(source.make)) as pulled:
            async for piece in pulled:
                yield piece
