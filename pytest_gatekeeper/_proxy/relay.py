"""Passing bytes from one stream to another: a body up to its end (or to nowhere), or both directions until they end.

Bytes go on as they came, counted and never re-serialised, at the pace of the slower side. `Broken` says which side
failed. Whose bytes they are, and what is recorded of them, is the caller's matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from pytest_gatekeeper._core.framing import Body, BodyError
from pytest_gatekeeper._core.scan.leaks import BodyScan
from pytest_gatekeeper._proxy.stream import Stream

__all__ = ["Broken", "Incomplete", "Side", "discard", "look", "payload", "piece", "relay_body", "splice"]

Side = Literal["client", "upstream"]

Watcher = Callable[[bytes], None]
"""Sees bytes before they are passed on."""

_MOST_DISCARDED = 256 * 1024  # bytes of a body, read for nothing but to keep its connection


class Broken(ConnectionError):
    """One side of a relay failed; `error` is how."""

    def __init__(self, side: Side, error: OSError) -> None:
        super().__init__(f"{side}: {error}")
        self.side = side
        self.error = error


class Incomplete(ConnectionError):
    """A connection ended before the message that it carried: in the middle of a body, or before an answer."""


async def relay_body(
    source: Stream,
    sink: Stream,
    body: Body,
    *,
    of: Side,
    before: Watcher,
    payload_only: bool = False,
) -> None:
    """Pass a body on until it has ended.

    Args:
        source: where it comes from; what follows the body stays there.
        sink: where it goes.
        body: counts it.
        of: which side the source is.
        before: called with each piece, counted in already, before it is sent.
        payload_only: leave chunk framing out.

    Raises:
        Broken: one side failed; its `error` is Incomplete where the source ended before its body did.
        BodyError: the body's framing is broken.
    """
    other: Side = "upstream" if of == "client" else "client"
    failure: Broken | BodyError | None = None

    def into(data: bytes) -> bool:
        nonlocal failure
        try:
            data = piece(source, body, data)
            before(data)
            sink.write(payload(body, data) if payload_only else data)
        except BodyError as error:
            failure = error
        except OSError as error:
            failure = Broken(other, error)
        return failure is None and sink.writable and not body.done

    while not body.done:
        try:
            ended = await source.pour(into)
        except OSError as error:
            raise Broken(of, error) from None
        if failure is not None:
            raise failure from None
        if ended:
            if not body.end():
                raise Broken(of, Incomplete("the connection ended in the middle of a body"))
            before(b"")
        try:
            await sink.drain()
        except OSError as error:
            raise Broken(other, error) from None


def piece(source: Stream, body: Body, data: bytes) -> bytes:
    """The part of `data` that belongs to the body; what follows goes back to its stream. Raises BodyError."""
    count = body.feed(data)
    if count < len(data):
        source.unread(data[count:])
        return data[:count]
    return data


def discard(source: Stream, body: Body) -> bool:
    """Read what has come of a body that nobody wants; False where that is not its end, too much, or broken."""
    try:
        while not body.done:
            data = source.take()
            if not data or body.size > _MOST_DISCARDED:
                return False
            piece(source, body, data)
    except (BodyError, OSError):
        return False
    return True


def look(scan: BodyScan | None, body: Body, data: bytes) -> None:
    """Have the piece that was counted last looked at for secrets: its data, its chunk extensions, its trailers."""
    if scan is None:
        return
    spans = body.payload()
    if len(spans) == 1:
        start, end = spans[0]
        scan.data.feed(memoryview(data)[start:end])
    elif spans:
        scan.data.feed(b"".join([data[start:end] for start, end in spans]))
    if extensions := body.extensions:
        scan.extensions(extensions)
    if body.done and body.trailers:
        scan.trailers(body.trailers)


def payload(body: Body, data: bytes) -> bytes:
    """The data bytes of the piece that was counted last, framing left out."""
    return b"".join([data[start:end] for start, end in body.payload()])


async def splice(client: Stream, upstream: Stream, up: Watcher, down: Watcher) -> tuple[Side, OSError | None]:
    """Pass bytes in both directions, untouched, until both have ended; a side that has finished may still receive.

    Args:
        client: one side; closed afterwards.
        upstream: the other side; closed afterwards.
        up: sees what goes to the upstream, before it is sent.
        down: sees what goes to the client, before it is sent.

    Returns:
        Which side ended first, and its error where it did not end in order.
    """
    ended: list[tuple[Side, OSError | None]] = []

    def note(side: Side, error: OSError | None) -> None:
        ended.append((side, error))
        if error is not None:
            client.abort(error)
            upstream.abort(error)

    pumping = asyncio.ensure_future(_pump(client, upstream, "client", up, note))
    try:
        await _pump(upstream, client, "upstream", down, note)
        await pumping
    finally:
        if not pumping.done():
            pumping.cancel()
        client.close()
        upstream.close()
    return ended[0]


async def _pump(
    source: Stream, sink: Stream, side: Side, watcher: Watcher, note: Callable[[Side, OSError | None], None]
) -> None:
    other: Side = "upstream" if side == "client" else "client"
    failure: OSError | None = None

    def into(data: bytes) -> bool:
        nonlocal failure
        watcher(data)
        try:
            sink.write(data)
        except OSError as error:
            failure = error
        return failure is None and sink.writable

    try:
        while not await source.pour(into):
            try:
                if failure is not None:
                    raise failure
                await sink.drain()
            except OSError as error:
                note(other, error)
                return
        note(side, None)
        await sink.finish()
    except OSError as error:
        note(side, error)
