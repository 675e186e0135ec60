"""The stub upstream: a server on a free port that echoes, or answers what a test has prepared.

`Origin` is what users touch; how it reads, answers and remembers is in `_origin`. It runs on the proxy's thread but
knows no proxy: routing a name here is done by a callback, or by the proxy that is handed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar

from pytest_gatekeeper._origin.answers import Answer, Body, HeaderFields, Pieces, make_answer, uses
from pytest_gatekeeper._origin.certificates import origin_authority
from pytest_gatekeeper._origin.faults import Applied, Faults
from pytest_gatekeeper._origin.journal import Journal, RawStream, Received
from pytest_gatekeeper._origin.reception import Reception
from pytest_gatekeeper._origin.script import Script
from pytest_gatekeeper._proxy.running import Running
from pytest_gatekeeper._proxy.thread import proxy_thread
from pytest_gatekeeper.errors import ProxyError

__all__ = ["Applied", "Faults", "Origin", "RawStream", "Received"]

T = TypeVar("T")

IDLE_LIMIT = 60.0
CLOSE_LIMIT = 2.0
_FORM = 'serve("a.example.com", "b.example.com")'


class Router(Protocol):
    """Whatever can lead a name to a URL: a `Gatekeeper`."""

    def route(self, host: str, url: str, *, ca: bytes) -> object:
        """Lead `host` (a host pattern) to `url`, whose certificate `ca` (PEM) vouches for."""


class Origin(Running):
    """A stub upstream on 127.0.0.1: TLS and plain, HTTP/1.1 and WebSocket on one port.

    What no prepared answer fits is echoed: an HTTP request as JSON (`method`, `target`, `headers` as a list of pairs,
    `body`, `body_encoding` (`utf-8`, or `base64` for what is not), `body_size`, `body_truncated`), a WebSocket message
    as it is. The first WebSocket subprotocol offered is selected and permessage-deflate negotiated.

    Use it as a context manager, sync or async, or call `start` and `close`.

    Args:
        route: called as ``route(pattern, url, ca_pem)`` by `serve` for each name.
        record_raw: keep every connection's bytes, TLS taken off, in `streams`.
        idle_limit: seconds without a byte after which a connection is cut.
    """

    def __init__(
        self,
        route: Callable[[str, str, bytes], object] | None = None,
        *,
        record_raw: bool = False,
        idle_limit: float = IDLE_LIMIT,
    ) -> None:
        if idle_limit <= 0:
            raise ValueError("idle_limit is a number of seconds above 0")
        self._route = route
        self._idle_limit = idle_limit
        self._journal = Journal()
        self._script = Script(self._journal)
        self._faults = Faults(self._script.faults, self._journal, idle_limit=idle_limit)
        self._reception = Reception(self._script, self._journal, idle_limit=idle_limit, record_raw=record_raw)
        self._state = "new"
        self._owner = 0  # the process that listens

    def __repr__(self) -> str:
        return f"<Origin {self.url if self._state == 'running' else self._state}>"

    # ---- life

    def start(self) -> None:
        """Listen. Raises ProxyError when it has been started before."""
        if self._state != "new":
            raise ProxyError(f"this Origin is {self._state}; make another one")
        origin_authority()
        proxy_thread().run(self._reception.open)
        self._state, self._owner = "running", os.getpid()

    def close(self) -> None:
        """Stop listening and cut every connection, in 2 s at most. What was received stays; twice is no error."""
        if self._state == "running":
            self._state = "closed"
            if os.getpid() != self._owner:  # a forked child, where nothing of it is left
                return
            try:
                proxy_thread().run(self._reception.shut, limit=CLOSE_LIMIT)
            except ProxyError as error:
                self._journal.failed(str(error))

    # ---- where it is

    @property
    def host(self) -> str:
        """The address it listens on."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The port it listens on. Raises ProxyError before `start`."""
        if not self._reception.port:
            raise ProxyError("this Origin has not been started; use it as a context manager or call start()")
        return self._reception.port

    @property
    def url(self) -> str:
        """`https://127.0.0.1:PORT`."""
        return self.url_for("https")

    def url_for(self, scheme: str) -> str:
        """The URL with another scheme (http, https, ws, wss); all are served on the one port."""
        if scheme not in ("http", "https", "ws", "wss"):
            raise ValueError("the scheme is http, https, ws or wss")
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def ca_pem(self) -> bytes:
        """The certificate (PEM) of the authority that vouches for this process's stubs."""
        return origin_authority().pem

    def serve(self, *hosts: str, proxy: Router | None = None) -> None:
        """Lead these names (host patterns) here, over TLS.

        Args:
            hosts: names, or patterns such as ``*.example.com``.
            proxy: whose routes to set; the fixture's own proxy where it is left out.

        Raises:
            ProxyError: there is no proxy to set a route in.
            TypeError: a host is no text.
        """
        for host in hosts:
            if not isinstance(host, str):
                raise TypeError(f"names are given one by one, as in {_FORM}, not a {type(host).__name__}")
        if proxy is None and self._route is None:
            raise ProxyError(
                "this Origin belongs to no proxy: call proxy.route(host, origin.url, ca=origin.ca_pem), "
                "or serve(host, proxy=proxy)"
            )
        for host in hosts:
            if proxy is not None:
                proxy.route(host, self.url, ca=self.ca_pem)
            elif self._route is not None:
                self._route(host, self.url, self.ca_pem)

    # ---- what it answers

    def respond(
        self,
        host: str | None = None,
        path: str | None = None,
        method: str | None = None,
        status: int = 200,
        headers: HeaderFields = (),
        body: Body = b"",
        chunks: Pieces | None = None,
        delay: float = 0.0,
        times: int | None = None,
    ) -> None:
        r"""Prepare an answer. Of the answers that fit a request, the one prepared last wins.

        A WebSocket upgrade that fits gets it too, so it is refused.

        A streamed body is made of pieces: bytes, text, or a `threading.Event` that holds back what follows until it is
        set. A list serves any number of requests, a callable is called for each, an iterator serves one request.
        Iterators and callables run on a thread of their own and may block; each piece is asked for when the one before
        it has been sent, so a test decides when the next event of a stream goes out::

            go = threading.Event()
            origin.respond(chunks=["data: 1\n\n", go, "data: 2\n\n"], headers={"Content-Type": "text/event-stream"})

        Args:
            host: host pattern (exact or ``*.suffix``); None fits every host.
            path: glob for the path without its query, such as ``/v1/*``.
            method: of the request, such as ``POST``.
            status: 200 to 599.
            headers: a mapping or (name, value) pairs. Framing fields that are given are sent as they are.
            body: bytes, text, a mapping or a list (sent as JSON), or an iterator or callable that streams it: with
                the Content-Length that `headers` give, up to the end of the connection when they hold
                ``Connection: close``, in chunks otherwise.
            chunks: a streamed body each piece of which is sent as a chunk of its own.
            delay: seconds to wait before answering, less than the idle limit.
            times: how many requests it is for; None for all that come.

        Raises:
            TypeError, ValueError: the answer cannot be sent.
        """
        self._check_delay(delay)
        answer = make_answer(status, headers, body, chunks, delay)
        left = uses(body if chunks is None else chunks, times)
        self._script.answers.add(answer, host=host, path=path, method=method, times=left)

    def reject_upgrade(
        self,
        status: int = 403,
        body: Body = b"",
        *,
        headers: HeaderFields = (),
        host: str | None = None,
        path: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer WebSocket upgrades with an ordinary response, other requests as ever. Arguments as `respond`."""
        answer = make_answer(status, headers, body)
        self._script.answers.add(answer, host=host, path=path, upgrades=True, times=uses(body, times))

    def sink(
        self,
        host: str | None = None,
        path: str | None = None,
        method: str | None = None,
        status: int = 200,
        headers: HeaderFields = (),
        times: int | None = None,
    ) -> None:
        """Take bodies of any size, keep none of them, and answer with JSON: `size` (bytes) and `sha256` (hex).

        Arguments as `respond`.
        """
        fields = make_answer(status, headers).headers
        answer = Answer(status, fields, sink=True)
        self._script.answers.add(answer, host=host, path=path, method=method, times=times)

    def clear(self) -> None:
        """Forget every prepared answer and every fault: everything is echoed again. What was received stays."""
        self._script.answers.clear()
        self._script.faults.clear()

    @property
    def faults(self) -> Faults:
        """What is to go wrong here, to test a client's resilience: ``origin.faults.reset(path="/v1/*", times=1)``."""
        return self._faults

    def _check_delay(self, delay: float) -> None:
        if delay >= self._idle_limit:
            raise ValueError(f"a delay must be shorter than the idle limit, which is {self._idle_limit:g} s")

    # ---- what it saw

    @property
    def received(self) -> tuple[Received, ...]:
        """The requests that reached it, in order of arrival; each is there before its answer is sent."""
        return self._journal.received

    @property
    def errors(self) -> tuple[str, ...]:
        """What went wrong on its connections, in words that hold nothing of what was sent."""
        return self._journal.errors

    @property
    def streams(self) -> tuple[RawStream, ...]:
        """With `record_raw`: the bytes of each connection, `received` and `sent`, in order of arrival."""
        return self._journal.streams

    def wait_for(self, predicate: Callable[[Origin], T], timeout: float = 5) -> T:
        """Wait until ``predicate(origin)`` gives something true, and return that.

        Raises:
            AssertionError: it did not within `timeout` seconds; the text shows what reached it.
        """
        __tracebackhide__ = True
        return self._journal.wait_for(lambda: predicate(self), timeout)
