"""Faults of the stub: how a test makes an upstream misbehave, so that it sees what its own client does about it.

`Faults` is what users touch as `origin.faults`; it checks what they ask for. Which connection or request a fault
happens to is `fault_table`'s, doing it is done where connections, requests and answers are served.
"""

from __future__ import annotations

from pytest_gatekeeper._core.hosts import is_host
from pytest_gatekeeper._origin.fault_table import Fault, FaultTable
from pytest_gatekeeper._origin.journal import Applied, Journal

__all__ = ["Applied", "Faults"]

_GARBAGE = b"\xff\xff this is no WebSocket frame\r\n"  # RFC 6455 section 5.2: reserved bits, reserved opcode, unmasked


class Faults:
    """What goes wrong at a stub, to whom and how often. Each call sets one fault; the last one that fits wins.

    A fault is in force until the test ends, until `clear`, or until it has happened `times` times. One fault at most
    happens to a connection, and one to each request; whatever none fits is served as ever.

    Arguments that most of them share:

    - ``host``: host pattern (exact or ``*.suffix``); None fits every host. A request's host is in its Host header, a
      connection's in its ClientHello; a client that names none there has asked for 127.0.0.1.
    - ``path``: glob for the path without its query, such as ``/v1/*``; None fits every path. Faults of connections
      have none: they happen before there is a request.
    - ``times``: how many requests (or connections) it happens to; None for all that come.
    - ``after``: bytes of the answer, counted behind its head, framing included: of the body, of chunks, or of the
      frames behind a 101.

    All raise ValueError for what cannot be, and TypeError for a path where there is none.
    """

    def __init__(self, table: FaultTable, journal: Journal, *, idle_limit: float) -> None:
        self._table = table
        self._journal = journal
        self._idle_limit = idle_limit

    def __repr__(self) -> str:
        return f"<Faults applied={len(self.applied)}>"

    @property
    def applied(self) -> tuple[Applied, ...]:
        """The faults that have happened, in order: `fault` (the method's name), `host` and `path`.

        Each is there before the client can see it. What sets a fault should look here, too: a client that was never
        disturbed has shown nothing.
        """
        return self._journal.faults

    def clear(self) -> None:
        """Forget every fault. What is under way goes on; what has happened stays in `applied`."""
        self._table.clear()

    # ---- of a connection

    def refuse(self, *, host: str | None = None, times: int | None = None, path: None = None) -> None:
        """Reset new connections before anything is served.

        The port is shared by all names, so it stays open. Without a host the reset comes right after the connection
        was accepted (some clients see it while they connect, others when they read); with one it comes as soon as the
        name is known: after the ClientHello, or after the head of the first request where there is no TLS.
        Connections that are open already are left alone.
        """
        self._connection(Fault("refuse"), host, path, times)

    def untrusted(self, *, host: str | None = None, times: int | None = None, path: None = None) -> None:
        """Show a certificate from an authority that nobody trusts; all else about it is right."""
        self._connection(Fault("untrusted"), host, path, times)

    def expired(self, *, host: str | None = None, times: int | None = None, path: None = None) -> None:
        """Show a certificate that ended a day ago; all else about it is right."""
        self._connection(Fault("expired"), host, path, times)

    def wrong_name(self, *, host: str | None = None, times: int | None = None, path: None = None) -> None:
        """Show a certificate for `wrong-name.invalid`; all else about it is right."""
        self._connection(Fault("wrong_name"), host, path, times)

    # ---- of a request

    def reset(
        self, *, host: str | None = None, path: str | None = None, times: int | None = None, after: int | None = None
    ) -> None:
        """Reset the connection (RST) once a request's head is there, or after that many bytes of its answer.

        A client that reads slowly may get fewer bytes: a reset overtakes what it has not read yet.
        """
        self._request(Fault("reset", after=_count(after)), host, path, times)

    def stall(
        self, *, host: str | None = None, path: str | None = None, times: int | None = None, after: int | None = None
    ) -> None:
        """Take a request and never answer it, or fall silent after that many bytes of the answer.

        It lasts until the client gives up, until the idle limit has passed or until the test ends, and holds up
        nothing else.
        """
        self._request(Fault("stall", after=_count(after)), host, path, times)

    def slow(
        self,
        *,
        host: str | None = None,
        path: str | None = None,
        times: int | None = None,
        size: int = 16,
        delay: float = 0.05,
    ) -> None:
        """Send the whole answer, head included, in pieces of `size` bytes with `delay` seconds between them."""
        if size < 1:
            raise ValueError("size is a number of bytes from 1")
        if not 0 < delay < self._idle_limit:
            raise ValueError(f"delay is above 0 and below the idle limit, which is {self._idle_limit:g} s")
        self._request(Fault("slow", size=size, delay=delay), host, path, times)

    def truncate(
        self, *, host: str | None = None, path: str | None = None, times: int | None = None, after: int | None = None
    ) -> None:
        """End the connection in the middle of an answer, but in good order (FIN, and close_notify in TLS).

        The cut is after that many bytes; without `after` in the middle of the first part: of a body, of a streamed
        body's first chunk or piece, of the first WebSocket frame. An answer that is shorter goes out whole before the
        connection ends, and `errors` says so.
        """
        self._request(Fault("truncate", after=_count(after)), host, path, times)

    def early(self, *, host: str | None = None, path: str | None = None, times: int | None = None) -> None:
        """Answer a request that has a body before reading it, and close (``Connection: close``).

        The answer is the one that `respond` has prepared, such as a 413, else an echo without the body. A client that
        waits for ``100 Continue`` gets the answer instead.
        """
        self._request(Fault("early"), host, path, times)

    def ragged(
        self, *, host: str | None = None, path: str | None = None, times: int | None = None, after: int | None = None
    ) -> None:
        """End a TLS connection without close_notify (RFC 8446 section 6.1), as an attacker who truncates would.

        After the answer (or the WebSocket), or after that many bytes of it. Requests without TLS are left alone.
        """
        self._request(Fault("ragged", after=_count(after)), host, path, times)

    # ---- of a WebSocket upgrade that is accepted

    def bad_accept(self, *, host: str | None = None, path: str | None = None, times: int | None = None) -> None:
        """Answer 101 with a Sec-WebSocket-Accept that belongs to another key (RFC 6455 section 4.1)."""
        self._request(Fault("bad_accept"), host, path, times)

    def garbage(
        self, *, host: str | None = None, path: str | None = None, times: int | None = None, data: bytes = _GARBAGE
    ) -> None:
        """Send bytes that are no WebSocket frame right behind the 101, in the same write; `data` takes their place."""
        if not data:
            raise ValueError("data is at least one byte")
        self._request(Fault("garbage", data=bytes(data)), host, path, times)

    # ---- setting them

    def _connection(self, fault: Fault, host: str | None, path: object, times: int | None) -> None:
        if path is not None:
            raise TypeError(f"{fault.name}() happens to a connection, before any path is known: give it a host instead")
        self._add(fault, host, None, times)

    def _request(self, fault: Fault, host: str | None, path: str | None, times: int | None) -> None:
        if path is not None and path[:1] not in ("/", "*", "?", "["):
            raise ValueError("path is a glob for what follows the host, such as /v1/*")
        self._add(fault, host, path, times)

    def _add(self, fault: Fault, host: str | None, path: str | None, times: int | None) -> None:
        if host is not None and not is_host(host.removeprefix("*.").removeprefix("[").removesuffix("]")):
            raise ValueError("host is a name, an address or *.suffix, without scheme and port")
        if times is not None and times < 1:
            raise ValueError("times is at least 1")
        self._table.add(fault, host=host, path=path, times=times)


def _count(after: int | None) -> int | None:
    if after is not None and after < 0:
        raise ValueError("after is a number of bytes from 0")
    return after
