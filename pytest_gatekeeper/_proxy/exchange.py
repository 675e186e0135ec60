"""One request and its answer: the way of every request, in the open, in a tunnel, and of every upgrade.

`carry` has the request's fate settled, then answers it, or sends it upstream and waits for the answer's head. The
record is told before the client gets a byte of what it records. The request's body goes on as it comes, also while the
answer is on its way back (`passing`); a 101 makes a tunnel of the two connections (`tunnel`).
"""

from __future__ import annotations

import asyncio
import contextlib

from pytest_gatekeeper._core.answers import TEXT
from pytest_gatekeeper._core.decide import decide
from pytest_gatekeeper._core.framing import BodyError, request_body
from pytest_gatekeeper._core.headers import returned
from pytest_gatekeeper._core.model import Refused, RequestHead, ResponseHead
from pytest_gatekeeper._proxy import notes
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.ids import new_request_id
from pytest_gatekeeper._proxy.local import answer
from pytest_gatekeeper._proxy.passing import pass_on
from pytest_gatekeeper._proxy.relay import Broken, Incomplete, discard, look, piece, relay_body
from pytest_gatekeeper._proxy.stream import StreamCut
from pytest_gatekeeper._proxy.trip import Failed, Trip, closed_by, how
from pytest_gatekeeper._proxy.tunnel import switch
from pytest_gatekeeper._proxy.upstream import Unreachable, Upstream
from pytest_gatekeeper._proxy.watch import TimedOut
from pytest_gatekeeper._proxy.wire import BadHead, parse_response, read_head, request_bytes, response_bytes

__all__ = ["carry"]

_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS"))  # may be sent again where a kept connection had ended
_MAX_INTERIM = 100


async def carry(connection: Connection, head: RequestHead, raw: bytes) -> bool:
    """See a request through; whether the client's connection can take another one. Raises the stream's errors.

    Args:
        connection: the client's.
        head: of the request.
        raw: the same as it came.
    """
    request_id = new_request_id()
    plan = decide(head, connection.destination, connection.lease.terms, request_id)
    if isinstance(plan, Refused):
        return await _refuse(connection, head, plan, request_id)
    clear = not connection.lease.suspects(raw)  # after `terms` were read: it knows their secrets, and later ones
    record = notes.note_forward(connection, head, plan, clear=clear)
    return await _Carrier(Trip(connection, head, plan, request_body(head), record, clear)).run()


async def _refuse(connection: Connection, head: RequestHead, refused: Refused, request_id: str) -> bool:
    if refused.status != 200:  # the health check leaves no trace
        record = notes.note_refused(connection, head, refused, request_id)
        if refused.logged:
            notes.log_refusal(connection, head, refused, request_id)
        notes.close(connection, record, "error")
    closing = refused.close or not discard(connection.stream, request_body(head))
    if closing:
        connection.closed = "error"
    await answer(
        connection.stream, refused.status, refused.headers, refused.body, close=closing, head_only=head.method == "HEAD"
    )
    return not closing


class _Carrier:
    """Carries one request upstream and brings its answer."""

    def __init__(self, trip: Trip) -> None:
        self._trip = trip
        self._limit = trip.connection.lease.limits.upstream
        self._due = asyncio.get_running_loop().time() + self._limit
        self._waiting = False  # for the answer's head
        self._upload: asyncio.Future[None] | None = None
        self._upload_failure: Failed | None = None
        self._body_scan = trip.scan.request_body(trip.head.headers) if trip.scan and not trip.body.done else None
        self._raw = b""  # the final response head as it came
        self._clear = False  # it holds no secret

    async def run(self) -> bool:
        trip = self._trip
        trip.connection.lease.tell(trip.record)
        trip.client.on_end(self._client_left)
        try:
            return await self._exchange()
        except Failed as error:
            return await self._fail(error)
        except Broken as error:
            self._broken(error)
            return False
        finally:
            trip.client.on_end(None)
            trip.connection.watch.lift()
            await self._stop_upload()
            notes.close(trip.connection, trip.record, "error")

    async def _stop_upload(self) -> None:
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            await asyncio.wait([self._upload])  # not by awaiting it: its own end is no error, the end of this task is

    def _client_left(self) -> None:
        """The client ended its side with nothing left to read from it: it wants no answer any more."""
        trip = self._trip
        if trip.record.upgraded or not (self._upload is None or self._upload.done()):
            return
        with contextlib.suppress(OSError):
            if waiting := trip.client.take():
                trip.client.unread(waiting)
                return
        trip.connection.upstreams.abort(StreamCut("client", "the client left"))

    async def _exchange(self) -> bool:
        trip = self._trip
        upstream = await self._reach(again=False)
        if trip.scan is not None and not trip.clear:  # once, also where it is sent again
            trip.scan.request_head(trip.head, trip.plan.injections)
        try:
            response = await self._ask(upstream)
        except OSError as error:
            if not self._may_repeat(upstream, error):
                raise self._trouble(upstream, error) from None
            upstream = await self._reach(again=True)
            try:
                response = await self._ask(upstream)
            except OSError as second:
                raise self._trouble(upstream, second) from None
        if response.status == 101:
            await switch(trip, upstream, response, self._raw)
            return False
        return await pass_on(trip, upstream, response, clear=self._clear)

    # ---- the request

    async def _reach(self, *, again: bool) -> Upstream:
        """A connection to where the request goes."""
        record, shown = self._trip.record, self._trip.connection.lease.shown
        upstreams, destination = self._trip.connection.upstreams, self._trip.plan.destination
        try:
            upstream = await (upstreams.dial(destination) if again else upstreams.get(destination))
        except Unreachable as error:
            record.upstream = shown(error.address) or None
            if error.violation is not None:
                record.violations += notes.blanked(self._trip.connection, (error.violation,))
            raise Failed(str(error)) from None
        except StreamCut as error:
            raise Failed(str(error), closed=error.why) from None
        if upstream.told is None:
            upstream.told = shown(upstream.address)
        record.upstream = upstream.told
        record.upstream_verified = upstream.target.verified
        return upstream

    async def _ask(self, upstream: Upstream) -> ResponseHead:
        """Send the request, or begin to, and wait for the answer's head. Raises the upstream's errors."""
        await self._send(upstream)
        return await self._response(upstream)

    async def _send(self, upstream: Upstream) -> None:
        """Send the head with what is there of the body; the rest follows on its own."""
        trip, record, body = self._trip, self._trip.record, self._trip.body
        first = b""
        if not body.done:
            try:
                first = piece(trip.client, body, trip.client.take())
            except BodyError as error:
                raise _unreadable(error) from None
            except OSError as error:
                raise _client_broke(error) from None
            look(self._body_scan, body, first)
        upstream.stream.write(request_bytes(trip.plan.head) + first)
        record.request_size = body.size
        record.injections = trip.plan.injections
        shown = trip.plan.clean_headers
        record.forwarded_headers = shown if trip.clear else trip.connection.lease.redactor.blank_headers(shown)
        record.cleartext = bool(record.injections) and upstream.cleartext
        await upstream.stream.drain()
        if not body.done:
            self._upload = asyncio.ensure_future(self._send_body(upstream))
        elif first:
            trip.client.on_end(self._client_left)  # it may have ended while this was unread

    async def _send_body(self, upstream: Upstream) -> None:
        """Pass the request's body on. What fails on the client's side ends the exchange; the other side is heard."""
        record, body = self._trip.record, self._trip.body

        def count(data: bytes) -> None:
            record.request_size = body.size
            look(self._body_scan, body, data)
            if self._waiting:  # the upstream has been given something to wait for
                self._due = asyncio.get_running_loop().time() + self._limit
                self._bound(upstream)

        try:
            await relay_body(self._trip.client, upstream.stream, body, of="client", before=count)
            self._trip.client.on_end(self._client_left)  # it may have ended while some was unread
        except Broken as error:
            if error.side == "client":
                self._upload_failure = _client_broke(error.error)
                upstream.stream.abort(StreamCut("client"))
        except BodyError as error:
            self._upload_failure = _unreadable(error)
            upstream.stream.abort(StreamCut("client"))

    def _may_repeat(self, upstream: Upstream, error: OSError) -> bool:
        """Whether a request can be sent again: a kept connection had ended before it, and no answer had begun."""
        gone = isinstance(error, Incomplete | ConnectionResetError | BrokenPipeError)
        fresh = self._upload is None and self._trip.body.size == 0
        return upstream.used and gone and fresh and self._trip.head.method in _REPEATABLE

    # ---- the answer's head

    async def _response(self, upstream: Upstream) -> ResponseHead:
        """The final response head, or a 101; others are passed on."""
        trip = self._trip
        self._waiting = True
        self._bound(upstream)
        try:
            for _ in range(_MAX_INTERIM):
                raw = await read_head(upstream.stream)
                if not raw:
                    raise Incomplete("the connection was closed without an answer")
                response = parse_response(raw)
                self._clear = not trip.connection.lease.suspects(raw)
                if trip.scan is not None and not self._clear:
                    trip.scan.response_head(response)
                if response.status >= 200 or response.status == 101:
                    self._raw = raw
                    return response
                await self._interim(response)
        except BadHead as error:
            raise Failed(f"{trip.host} ({upstream.address}) sent an answer that cannot be used: {error}.") from None
        finally:
            self._waiting = False
            trip.connection.watch.lift()
        raise Failed(f"{trip.host} ({upstream.address}) sent more than {_MAX_INTERIM} interim answers.")

    def _bound(self, upstream: Upstream) -> None:
        """End the wait for the answer's head when the upstream's time is up."""
        left = max(0.0, self._due - asyncio.get_running_loop().time())
        text = f"no answer came within {self._limit:g} s (see --gatekeeper-upstream-timeout)"
        self._trip.connection.watch.limit(left, upstream.stream, text)

    async def _interim(self, response: ResponseHead) -> None:
        if self._trip.head.version == "1.0":  # knows none (RFC 9110 section 15.2)
            return
        try:
            await self._trip.client.send(response_bytes(response.status, response.reason, returned(response.headers)))
        except OSError as error:
            raise Broken("client", error) from None

    # ---- failures

    def _trouble(self, upstream: Upstream, error: OSError) -> OSError:
        """What an error before the final answer means for the exchange."""
        if self._upload_failure is not None:
            return self._upload_failure
        if isinstance(error, Failed | Broken):
            return error
        where = f"{self._trip.host} ({upstream.address})"
        if isinstance(error, StreamCut):
            return Failed(f"the exchange was cut: {error}", closed=error.why)
        if isinstance(error, TimedOut | Incomplete):
            return Failed(f"{where}: {error}.")
        detail = "" if not error.strerror else f" ({error.strerror})"
        return Failed(f"{where} broke the connection before it answered{detail}.")

    async def _fail(self, error: Failed) -> bool:
        """Answer what cannot be completed, where the client has no part of an answer and is still there."""
        trip, connection, record = self._trip, self._trip.connection, self._trip.record
        connection.upstreams.drop()
        text = connection.lease.redactor.blank(str(error))
        if error.closed != "error" or trip.answered:
            connection.closed = error.closed
            notes.close(connection, record, error.closed, None if error.closed == "test" else text)
            return False
        head_only = trip.head.method == "HEAD"
        uploading = self._upload is not None and not self._upload.done()
        keep = error.status == 502 and not (trip.plan.close or uploading) and discard(trip.client, trip.body)
        record.error = text
        record.response_size = 0 if head_only else len(text.encode()) + 1
        notes.note_response(connection, record, error.status, TEXT, clear=True)
        notes.log_exchange(trip, None)
        notes.close(connection, record, "error")
        if not keep:
            connection.closed = "error"
        await answer(trip.client, error.status, TEXT, text + "\n", close=not keep, head_only=head_only)
        return keep

    def _broken(self, error: Broken) -> None:
        """Note an answer that ended before its end; the client must see that, so its connection is cut."""
        trip, connection = self._trip, self._trip.connection
        connection.closed = closed_by(error.error, error.side)
        cut = isinstance(error.error, StreamCut)
        notes.close(connection, trip.record, connection.closed, None if cut else how(error.error))
        trip.client.cut()


def _client_broke(error: OSError) -> Failed:
    return Failed("the client left in the middle of its request's body", closed=closed_by(error, "client"))


def _unreadable(error: BodyError) -> Failed:
    return Failed(f"The request's body cannot be read: {error}.", status=400)
