"""One request and its answer: the way of every request, in the open, in a tunnel, and of every upgrade.

`carry` has the request's fate settled, then answers it, or sends it upstream and relays what comes back. The record is
told before the client gets a byte of what it records. Bodies go on as they come, in both directions at once; a 101 makes
a tunnel of the two connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pytest_gatekeeper._core.decide import decide
from pytest_gatekeeper._core.framing import Body, BodyError, OpenBody, request_body, response_body
from pytest_gatekeeper._core.headers import returned
from pytest_gatekeeper._core.model import Forward, Refused, RequestHead, ResponseHead
from pytest_gatekeeper._core.records import Closed
from pytest_gatekeeper._proxy import notes
from pytest_gatekeeper._proxy.ids import new_request_id
from pytest_gatekeeper._proxy.local import TEXT, answer
from pytest_gatekeeper._proxy.relay import Broken, Incomplete, payload, piece, relay_body, splice
from pytest_gatekeeper._proxy.stream import StreamCut
from pytest_gatekeeper._proxy.upstream import Unreachable, Upstream
from pytest_gatekeeper._proxy.watch import TimedOut
from pytest_gatekeeper._proxy.wire import BadHead, parse_response, read_head, request_bytes, response_bytes

if TYPE_CHECKING:
    from pytest_gatekeeper._proxy.connection import Connection

__all__ = ["carry"]

_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS"))  # may be sent again where a kept connection had ended
_MAX_INTERIM = 100
_UNREAD = 256 * 1024  # bytes of a refused request's body that are read to keep its connection


class _Failed(ConnectionError):
    """The exchange cannot be completed: `status` and text are the answer, `closed` is what ended it."""

    def __init__(self, text: str, *, status: int = 502, closed: Closed = "error") -> None:
        super().__init__(text)
        self.status = status
        self.closed = closed


async def carry(connection: Connection, head: RequestHead) -> bool:
    """See a request through; whether the client's connection can take another one. Raises the stream's errors."""
    request_id = new_request_id()
    plan = decide(head, connection.destination, connection.lease.terms, request_id)
    if isinstance(plan, Refused):
        return await _refuse(connection, head, plan, request_id)
    return await _Carrier(connection, head, plan).run()


async def _refuse(connection: Connection, head: RequestHead, refused: Refused, request_id: str) -> bool:
    if refused.status != 200:  # the health check leaves no trace
        record = notes.note_refused(connection, head, refused, request_id)
        if refused.logged:
            notes.log_refusal(connection, head, refused, request_id)
        notes.close(connection, record, "error")
    closing = refused.close or not await _discard(connection, head)
    if closing:
        connection.closed = "error"
    await answer(
        connection.stream, refused.status, refused.headers, refused.body, close=closing, head_only=head.method == "HEAD"
    )
    return not closing


async def _discard(connection: Connection, head: RequestHead) -> bool:
    """Read the body of a request that is not sent; False where it is too long, or broken, to do so."""
    try:
        body = request_body(head)
        while not body.done:
            data = connection.stream.take()
            if not data or body.size > _UNREAD:
                return False
            piece(connection.stream, body, data)
    except BodyError:
        return False
    return True


class _Carrier:
    """Carries one request upstream and its answer back."""

    def __init__(self, connection: Connection, head: RequestHead, plan: Forward) -> None:
        self._connection = connection
        self._client = connection.stream
        self._head = head
        self._plan = plan
        self._asked = request_body(head)  # `decide` has read its framing
        self._record = notes.note_forward(connection, head, plan)
        self._due = asyncio.get_running_loop().time() + connection.lease.limits.upstream
        self._upload: asyncio.Future[None] | None = None
        self._upload_failure: _Failed | None = None
        self._head_sent = False
        self._raw = b""  # the final response head as it came
        self._answered = False  # the client has got something of the final answer

    async def run(self) -> bool:
        connection, record = self._connection, self._record
        connection.lease.tell(record)
        self._client.on_end(self._client_left)
        try:
            return await self._exchange()
        except _Failed as error:
            return await self._fail(error)
        except Broken as error:
            self._broken(error)
            return False
        finally:
            self._client.on_end(None)
            connection.watch.lift()
            if self._upload is not None and not self._upload.done():
                self._upload.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._upload
            if record.closed is None:
                notes.close(connection, record, "error")

    def _client_left(self) -> None:
        """The client ended its side with nothing left to read from it: it wants no answer any more."""
        if self._record.upgraded or not self._upload_done:
            return
        with contextlib.suppress(OSError):
            if waiting := self._client.take():
                self._client.unread(waiting)
                return
        self._connection.upstreams.abort(StreamCut("client", "the client left"))

    @property
    def _upload_done(self) -> bool:
        return self._upload is None or self._upload.done()

    # ---- the request

    async def _exchange(self) -> bool:
        body = self._asked
        upstream = await self._reach(again=False)
        try:
            await self._send(upstream, body)
            response = await self._response(upstream)
        except OSError as error:
            if not self._may_repeat(upstream, body, error):
                raise self._trouble(upstream, error) from None
            upstream = await self._reach(again=True)
            try:
                await self._send(upstream, body)
                response = await self._response(upstream)
            except OSError as second:
                raise self._trouble(upstream, second) from None
        if response.status == 101:
            return await self._switch(upstream, response)
        return await self._relay(upstream, body, response)

    async def _reach(self, *, again: bool) -> Upstream:
        """A connection to where the request goes."""
        upstreams, destination = self._connection.upstreams, self._plan.destination
        try:
            upstream = await (upstreams.dial(destination) if again else upstreams.get(destination))
        except Unreachable as error:
            if error.address:
                self._record.upstream = error.address
            if error.violation is not None:
                self._record.violations += (error.violation,)
            raise _Failed(str(error)) from None
        except StreamCut as error:
            raise _Failed(str(error), closed=_closed(error, "upstream")) from None
        self._record.upstream = upstream.address
        self._record.upstream_verified = upstream.target.verified
        return upstream

    async def _send(self, upstream: Upstream, body: Body) -> None:
        """Send the head with what is there of the body; the rest follows on its own. Raises the upstream's errors."""
        record, first = self._record, b""
        if not body.done and not self._head_sent:
            try:
                first = self._count(body, self._client.take())
            except BodyError as error:
                raise _Failed(f"the request's body cannot be read: {error}", status=400) from None
        upstream.stream.write(request_bytes(self._plan.head) + first)
        self._head_sent = True
        record.injections = self._plan.injections
        record.forwarded_headers = self._connection.lease.redactor.blank_headers(self._plan.clean_headers)
        record.cleartext = bool(record.injections) and upstream.cleartext
        await upstream.stream.drain()
        if not body.done:
            self._upload = asyncio.ensure_future(self._send_body(upstream, body))

    def _count(self, body: Body, data: bytes) -> bytes:
        data = piece(self._client, body, data)
        self._record.request_size = body.size
        return data

    async def _send_body(self, upstream: Upstream, body: Body) -> None:
        """Pass the request's body on. What fails on the client's side ends the exchange, the other side is heard."""
        record = self._record

        def count(_: bytes) -> None:
            record.request_size = body.size

        try:
            await relay_body(self._client, upstream.stream, body, of="client", before=count)
        except Broken as error:
            if error.side == "client":
                self._upload_failure = _Failed(
                    "the client left in the middle of its request's body", closed=_closed(error.error, "client")
                )
                upstream.stream.abort(StreamCut("client"))
        except BodyError as error:
            self._upload_failure = _Failed(f"the request's body cannot be read: {error}", status=400)
            upstream.stream.abort(StreamCut("client"))

    # ---- the answer's head

    async def _response(self, upstream: Upstream) -> ResponseHead:
        """The final response head, or a 101; others are passed on. Raises the upstream's errors."""
        watch, limit = self._connection.watch, self._connection.lease.limits.upstream
        left = max(0.0, self._due - asyncio.get_running_loop().time())
        watch.limit(left, upstream.stream, f"no answer came within {limit:g} s (see --gatekeeper-upstream-timeout)")
        try:
            for _ in range(_MAX_INTERIM):
                raw = await read_head(upstream.stream)
                if not raw:
                    raise Incomplete("the connection was closed without an answer")
                response = parse_response(raw)
                if response.status >= 200 or response.status == 101:
                    self._raw = raw
                    return response
                await self._interim(response)
        except BadHead as error:
            raise _Failed(f"{self._plan.destination.host} sent an answer that cannot be used: {error}") from None
        finally:
            watch.lift()
        raise _Failed(f"{self._plan.destination.host} sent more than {_MAX_INTERIM} interim answers")

    async def _interim(self, response: ResponseHead) -> None:
        if self._head.version == "1.0":  # knows none (RFC 9110 section 15.2)
            return
        try:
            await self._client.send(response_bytes(response.status, response.reason, returned(response.headers)))
        except OSError as error:
            raise Broken("client", error) from None

    def _may_repeat(self, upstream: Upstream, body: Body, error: OSError) -> bool:
        """Whether a request can be sent again: a kept connection had ended before it, and no answer had begun."""
        gone = isinstance(error, Incomplete | ConnectionResetError | BrokenPipeError)
        return upstream.used and gone and self._upload is None and body.size == 0 and self._head.method in _REPEATABLE

    def _trouble(self, upstream: Upstream, error: OSError) -> OSError:
        """What an error before the final answer means for the exchange."""
        if self._upload_failure is not None:
            return self._upload_failure
        if isinstance(error, _Failed | Broken):
            return error
        host = self._plan.destination.host
        if isinstance(error, StreamCut):
            return _Failed(f"the exchange was cut: {error}", closed=_closed(error, "error"))
        if isinstance(error, TimedOut | Incomplete):
            return _Failed(f"{host} ({upstream.address}): {error}")
        detail = "" if not error.strerror else f" ({error.strerror})"
        return _Failed(f"{host} ({upstream.address}) broke the connection before it answered{detail}")

    # ---- the answer's body

    async def _relay(self, upstream: Upstream, asked: Body, response: ResponseHead) -> bool:
        """Pass the final answer on; whether the client's connection can take another request."""
        connection, record, head = self._connection, self._record, self._head
        try:
            body = response_body(response, head.method)
        except BodyError as error:
            raise _Failed(f"{self._plan.destination.host} sent an answer that cannot be used: {error}") from None
        dechunk = head.version == "1.0" and not isinstance(body, OpenBody) and body.declared is None and not body.done
        keep = not (self._plan.close or isinstance(body, OpenBody) or dechunk or not asked.done)
        fields = self._returned(response, keep=keep, dechunk=dechunk)
        notes.note_response(connection, record, response.status, fields)
        notes.log_exchange(connection, head, self._plan, record, notes.response_size(response, head.method))
        raw = response_bytes(response.status, response.reason, fields)
        first = self._first(upstream, body, payload_only=dechunk)
        if body.done:
            self._settle(asked)
        else:
            connection.lease.tell(record)
        self._answered = True
        await self._to_client(raw + first)
        if not body.done:
            await self._relay_body(upstream, asked, body, payload_only=dechunk)
        self._after(upstream, asked, response, body)
        return keep

    def _returned(self, response: ResponseHead, *, keep: bool, dechunk: bool) -> tuple[tuple[str, str], ...]:
        """The header fields that the client gets."""
        fields = returned(response.headers)
        if dechunk:
            fields = tuple([pair for pair in fields if pair[0].lower() != "transfer-encoding"])
        if self._connection.tunnel is None and all(name.lower() != "x-request-id" for name, _ in fields):
            fields += (("X-Request-Id", self._plan.request_id),)
        if not keep:
            fields += (("Connection", "close"),)
        elif self._head.version == "1.0":
            fields += (("Connection", "keep-alive"),)
        return fields

    def _first(self, upstream: Upstream, body: Body, *, payload_only: bool) -> bytes:
        """What of the body has come with the head, so that a short answer goes out in one piece."""
        try:
            data = b"" if body.done else upstream.stream.take()
            data = data and piece(upstream.stream, body, data)
        except BodyError as error:
            raise _Failed(f"{self._plan.destination.host} sent an answer that cannot be used: {error}") from None
        except OSError:
            return b""  # comes again at the next read
        self._record.response_size = body.size
        return payload(body, data) if payload_only else data

    async def _to_client(self, data: bytes) -> None:
        try:
            await self._client.send(data)
        except OSError as error:
            raise Broken("client", error) from None

    async def _relay_body(self, upstream: Upstream, asked: Body, body: Body, *, payload_only: bool) -> None:
        record = self._record

        def count(_: bytes) -> None:
            record.response_size = body.size
            if body.done:
                self._settle(asked)

        try:
            await relay_body(
                upstream.stream, self._client, body, of="upstream", before=count, payload_only=payload_only
            )
        except BodyError as error:
            raise Broken("upstream", Incomplete(str(error))) from None
        self._settle(asked)

    def _settle(self, asked: Body) -> None:
        """The last of the answer is about to be sent: sizes are final."""
        self._record.request_size = asked.size
        notes.close(self._connection, self._record, "upstream")

    def _after(self, upstream: Upstream, asked: Body, response: ResponseHead, body: Body) -> None:
        """Keep the upstream's connection where it can be used again."""
        tokens = {
            token.strip().lower()
            for name, value in response.headers
            if name.lower() == "connection"
            for token in value.split(",")
        }
        lasting = response.version != "1.0" or "keep-alive" in tokens
        if lasting and "close" not in tokens and asked.done and not isinstance(body, OpenBody):
            self._connection.upstreams.keep(self._plan.destination, upstream)
            return
        if isinstance(body, OpenBody):
            self._connection.closed = "upstream"
            if upstream.stream.ragged:
                self._client.cut()
        upstream.stream.close()

    # ---- an upgrade

    async def _switch(self, upstream: Upstream, response: ResponseHead) -> bool:
        """Pass a 101 on and make a tunnel of both connections, until they have ended."""
        connection, record, plan = self._connection, self._record, self._plan
        answered = next((value for name, value in response.headers if name.lower() == "upgrade"), "")
        if not plan.upgrade or answered.lower() != plan.upgrade.lower() or not self._upload_done:
            asked = f"asked for {plan.upgrade}" if plan.upgrade else "asked for no upgrade"
            upstream.stream.abort()
            raise _Failed(f"{plan.destination.host} switched protocols although the request {asked}")
        record.upgraded = True
        record.subprotocol = next(
            (value for name, value in response.headers if name.lower() == "sec-websocket-protocol"), None
        )
        notes.note_response(connection, record, 101, response.headers)
        notes.log_exchange(connection, self._head, plan, record, 0)
        connection.lease.tell(record)
        self._answered = True
        await self._to_client(self._raw)
        side, error = await splice(self._client, upstream.stream, self._up, self._down)
        if error is None:
            notes.close(connection, record, side)
        else:
            notes.close(connection, record, _closed(error, side), None if isinstance(error, StreamCut) else _how(error))
        connection.closed = record.closed or side
        return False

    def _up(self, data: bytes) -> None:
        self._record.request_size += len(data)

    def _down(self, data: bytes) -> None:
        self._record.response_size += len(data)

    # ---- failures

    async def _fail(self, error: _Failed) -> bool:
        """Answer what cannot be completed, where the client has no part of an answer and is still there."""
        connection, record = self._connection, self._record
        connection.upstreams.drop()
        text = connection.lease.redactor.blank(str(error))
        if error.closed != "error" or self._answered:
            connection.closed = error.closed
            notes.close(connection, record, error.closed, None if error.closed == "test" else text)
            return False
        head_only = self._head.method == "HEAD"
        keep = error.status == 502 and not self._plan.close and self._asked.done
        record.error = text
        record.response_size = 0 if head_only else len(text.encode()) + 1
        notes.note_response(connection, record, error.status, TEXT)
        notes.log_exchange(connection, self._head, self._plan, record, None)
        notes.close(connection, record, "error", text)
        if not keep:
            connection.closed = "error"
        await answer(self._client, error.status, TEXT, text + "\n", close=not keep, head_only=head_only)
        return keep

    def _broken(self, error: Broken) -> None:
        """Note an answer that ended before its end; the client must see that, so its connection is cut."""
        connection = self._connection
        connection.closed = _closed(error.error, error.side)
        cut = isinstance(error.error, StreamCut)
        notes.close(connection, self._record, connection.closed, None if cut else _how(error.error))
        self._client.cut()


def _closed(error: OSError, otherwise: Closed) -> Closed:
    return error.why if isinstance(error, StreamCut) else otherwise  # type: ignore[return-value]


def _how(error: OSError) -> str:
    if isinstance(error, Incomplete):
        return str(error)
    return f"the connection broke ({error.strerror or type(error).__name__})"
