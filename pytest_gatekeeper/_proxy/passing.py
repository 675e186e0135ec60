"""The final answer's way to the client: its head, then its body as it comes.

The record is closed before the last byte is sent, so whoever has the answer finds it complete. What an answer means for
the two connections is settled here, too: which may serve another request, which must end.
"""

from __future__ import annotations

from pytest_gatekeeper._core.framing import Body, BodyError, OpenBody, response_body
from pytest_gatekeeper._core.headers import returned
from pytest_gatekeeper._core.model import Headers, ResponseHead
from pytest_gatekeeper._core.scan.leaks import BodyScan
from pytest_gatekeeper._proxy import notes
from pytest_gatekeeper._proxy.relay import Broken, Incomplete, look, payload, piece, relay_body
from pytest_gatekeeper._proxy.trip import Failed, Trip
from pytest_gatekeeper._proxy.upstream import Upstream
from pytest_gatekeeper._proxy.wire import response_bytes

__all__ = ["pass_on"]


async def pass_on(trip: Trip, upstream: Upstream, response: ResponseHead, *, clear: bool) -> bool:
    """Pass the final answer on; whether the client's connection can take another request.

    Args:
        trip: the exchange.
        upstream: where the answer comes from.
        response: its head.
        clear: the head holds no secret.

    Raises:
        Failed: the answer cannot be used, and nothing of it has been passed on.
        Broken: one side failed in the middle of it.
    """
    head = trip.head
    try:
        body = response_body(response, head.method)
        dechunk = head.version == "1.0" and body.declared is None and not (body.done or isinstance(body, OpenBody))
        body_scan = trip.scan.response_body(response.headers) if trip.scan and not body.done else None
        first = _first(upstream, body, body_scan, payload_only=dechunk)
    except BodyError as error:
        raise Failed(f"{trip.host} sent an answer that cannot be used: {error}.") from None
    keep = trip.body.done and not (trip.plan.close or dechunk or isinstance(body, OpenBody))
    fields = _fields(trip, response, keep=keep, dechunk=dechunk)
    _tell(trip, response, fields, body, clear=clear)
    try:
        await trip.client.send(response_bytes(response.status, response.reason, fields) + first)
    except OSError as error:
        raise Broken("client", error) from None
    if not body.done:
        await _rest(trip, upstream, body, body_scan, payload_only=dechunk)
    _part(trip, upstream, response, body)
    return keep


def _first(upstream: Upstream, body: Body, body_scan: BodyScan | None, *, payload_only: bool) -> bytes:
    """What of the body has come with the head, so that a short answer goes out in one piece. Raises BodyError."""
    try:
        data = b"" if body.done else upstream.stream.take()
    except OSError:
        return b""  # it comes again at the next read
    if data:
        data = piece(upstream.stream, body, data)
        look(body_scan, body, data)
    return payload(body, data) if payload_only else data


def _fields(trip: Trip, response: ResponseHead, *, keep: bool, dechunk: bool) -> Headers:
    """The header fields that the client gets."""
    fields = returned(response.headers)
    if dechunk:
        fields = tuple([pair for pair in fields if pair[0].lower() != "transfer-encoding"])
    if trip.connection.tunnel is None and all(name.lower() != "x-request-id" for name, _ in fields):
        fields += (("X-Request-Id", trip.plan.request_id),)
    if not keep:
        fields += (("Connection", "close"),)
    elif trip.head.version == "1.0":
        fields += (("Connection", "keep-alive"),)
    return fields


def _tell(trip: Trip, response: ResponseHead, fields: Headers, body: Body, *, clear: bool) -> None:
    """Record and log the answer before the client gets any of it."""
    connection, record = trip.connection, trip.record
    clear = clear and trip.clear  # the request's id may be among the fields
    notes.note_response(connection, record, response.status, fields, clear=clear)
    record.response_size = body.size
    notes.log_exchange(trip, 0 if response.status in (204, 304) else body.declared)
    trip.answered = True
    if body.done:
        _settle(trip)
    else:
        connection.lease.tell(record)


async def _rest(trip: Trip, upstream: Upstream, body: Body, body_scan: BodyScan | None, *, payload_only: bool) -> None:
    record = trip.record

    def count(data: bytes) -> None:
        record.response_size = body.size
        look(body_scan, body, data)
        if body.done:
            _settle(trip)

    try:
        await relay_body(upstream.stream, trip.client, body, of="upstream", before=count, payload_only=payload_only)
    except BodyError as error:
        raise Broken("upstream", Incomplete(str(error))) from None
    _settle(trip)


def _settle(trip: Trip) -> None:
    """The last of the answer is about to be sent: sizes are final."""
    trip.record.request_size = trip.body.size
    notes.close(trip.connection, trip.record, "upstream")


def _part(trip: Trip, upstream: Upstream, response: ResponseHead, body: Body) -> None:
    """Keep the upstream's connection where it can be used again (RFC 9112 section 9.3), else close it."""
    tokens: set[str] = set()
    for name, value in response.headers:
        if len(name) == 10 and name.lower() == "connection":
            tokens.update(token.strip().lower() for token in value.split(","))
    lasting = response.version != "1.0" or "keep-alive" in tokens
    if lasting and "close" not in tokens and trip.body.done and not isinstance(body, OpenBody):
        trip.connection.upstreams.keep(trip.plan.destination, upstream)
        return
    if isinstance(body, OpenBody):
        trip.connection.closed = "upstream"
        if upstream.stream.ragged:
            trip.client.cut()  # what may have been cut short must not look whole
    upstream.stream.close()
