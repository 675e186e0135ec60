"""An upgrade that was answered 101: passing the answer on and making a tunnel of both connections.

The head goes on byte for byte, and so does everything after it, until both sides have ended. What passes is shown to
the leak scan, which alone knows frames and holds nothing back.
"""

from __future__ import annotations

from pytest_gatekeeper._core.headers import value_of
from pytest_gatekeeper._core.model import ResponseHead
from pytest_gatekeeper._proxy import notes
from pytest_gatekeeper._proxy.relay import Broken, splice
from pytest_gatekeeper._proxy.stream import StreamCut
from pytest_gatekeeper._proxy.trip import Failed, Trip, closed_by, how
from pytest_gatekeeper._proxy.upstream import Upstream

__all__ = ["switch"]


async def switch(trip: Trip, upstream: Upstream, response: ResponseHead, raw: bytes) -> None:
    """See an upgraded exchange through to the end of both connections.

    Args:
        trip: the exchange.
        upstream: where the 101 came from.
        response: that answer.
        raw: its head as it came.

    Raises:
        Failed: the upstream switched to something that was not asked for.
        Broken: the client has gone.
    """
    connection, record = trip.connection, trip.record
    _check(trip, upstream, response)
    record.upgraded = True
    notes.note_response(connection, record, 101, response.headers, clear=False)
    record.subprotocol = value_of(record.response_headers, "sec-websocket-protocol")  # may be a token
    notes.log_exchange(trip, 0)
    connection.lease.tell(record)
    trip.answered = True
    try:
        await trip.client.send(raw)
    except OSError as error:
        raise Broken("client", error) from None

    scans = trip.scan.upgraded(response) if trip.scan is not None else None

    def up(data: bytes) -> None:
        record.request_size += len(data)
        if scans is not None:
            scans[0].feed(data)

    def down(data: bytes) -> None:
        record.response_size += len(data)
        if scans is not None:
            scans[1].feed(data)

    side, failure = await splice(trip.client, upstream.stream, up, down)
    if failure is None:
        connection.upstreams.part(connection.lease.limits.linger)
        notes.close(connection, record, side)
    else:
        cut = isinstance(failure, StreamCut)
        notes.close(connection, record, closed_by(failure, side), None if cut else how(failure))
    connection.closed = record.closed or side


def _check(trip: Trip, upstream: Upstream, response: ResponseHead) -> None:
    """The answer must name exactly the protocol that was asked for, as in production."""
    asked = trip.plan.upgrade
    got = value_of(response.headers, "upgrade") or ""
    if asked and got.lower() == asked.lower() and trip.body.done:
        return
    upstream.stream.abort()
    wish = f"asked for {asked!r}" if asked else "asked for no upgrade"
    raise Failed(f"{trip.host} switched protocols, to {got!r}, although the request {wish}.")
