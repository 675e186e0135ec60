"""Doing a fault to an answer: the streams that it goes through on its way out.

They know bytes and where an answer's head ends, no HTTP beyond that. Which answer a fault happens to is the script's
decision; certificates and refusals are `reception`'s, the two that change a 101 `http`'s.
"""

from __future__ import annotations

import asyncio
import contextlib

from pytest_gatekeeper._origin.fault_table import Fault
from pytest_gatekeeper._origin.journal import Journal
from pytest_gatekeeper._origin.streams import ForwardedStream, StubTcp, exhaust, part
from pytest_gatekeeper._proxy.stream import Stream

__all__ = ["CutStream", "Ended", "SlowStream", "broken"]

_HEAD_END = b"\r\n\r\n"
_CUTS = frozenset(("reset", "stall", "truncate", "ragged"))


class Ended(Exception):
    """A fault has ended its connection, as it was meant to: there is nothing more to serve."""


def broken(stream: Stream, fault: Fault | None, tcp: StubTcp, journal: Journal) -> Stream:
    """The stream that an answer is sent on so that the fault happens to it; `stream` where it needs none."""
    if fault is None:
        return stream
    if fault.name == "slow":
        return SlowStream(stream, fault)
    return CutStream(stream, fault, tcp, journal) if fault.name in _CUTS else stream


class SlowStream(ForwardedStream):
    """Sends in small pieces, with a delay between any two of them."""

    def __init__(self, lower: Stream, fault: Fault) -> None:
        super().__init__(lower)
        self._fault = fault
        self._begun = False

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), self._fault.size):
            if self._begun:
                await asyncio.sleep(self._fault.delay)
            self._begun = True
            await self._lower.send(data[at : at + self._fault.size])


class CutStream(ForwardedStream):
    """Sends one answer up to the byte at which its fault ends the connection, then raises Ended."""

    def __init__(self, lower: Stream, fault: Fault, tcp: StubTcp, journal: Journal) -> None:
        super().__init__(lower)
        self._fault = fault
        self._tcp = tcp
        self._journal = journal
        self._left = fault.after  # None before it is known
        self._in_head = True

    async def send(self, data: bytes) -> None:
        if self._fault.silent:
            await self._end()
        start = 0
        if self._in_head:
            end = data.find(_HEAD_END)
            start = len(data) if end < 0 else end + len(_HEAD_END)
            self._in_head = end < 0
        behind = len(data) - start
        if self._left is None and behind and self._fault.name == "truncate":
            self._left = behind // 2
        if self._left is None or self._in_head or behind < self._left:
            await self._lower.send(data)
            self._left = None if self._left is None else self._left - behind
            return
        await self._lower.send(data[: start + self._left])
        await self._end()

    async def over(self) -> None:
        """The answer has gone out and nothing was cut; end the connection. Raises Ended."""
        if self._fault.name == "truncate":
            self._journal.failed("a truncate fault had nothing to cut: the answer was no longer than that")
        await self._end()

    async def _end(self) -> None:
        if self._fault.name == "reset":
            await self._tcp.flush()
            self._tcp.reset()
        elif self._fault.name == "stall":
            with contextlib.suppress(OSError):  # the client, the idle limit or the end of the test has ended it
                await exhaust(self._lower)
        elif self._fault.name == "truncate":
            await part(self._lower)
        else:
            self._lower.cut()
        raise Ended
