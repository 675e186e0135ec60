"""What the stub does, and to whom: the one object that is asked once for each connection and once for each request.

`context` decides which certificate a connection gets, `answer` what a request gets, `refused`, `greeted` and `broken`
which of them goes wrong. Nothing is read or sent here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from pytest_gatekeeper._origin.answers import Answer, Answers
from pytest_gatekeeper._origin.certificates import expired_context, good_context, untrusted_context, wrong_context
from pytest_gatekeeper._origin.fault_table import Fault, FaultTable
from pytest_gatekeeper._origin.journal import Applied, Journal, Received

__all__ = ["Script"]

_BAD_CONTEXTS: dict[str, Callable[[str | None], ssl.SSLContext]] = {
    "untrusted": untrusted_context,
    "expired": expired_context,
    "wrong_name": wrong_context,
}


class Script:
    """How one stub behaves. Its methods are called on the proxy's thread.

    Attributes:
        answers: the answers that the test has prepared.
        faults: the faults that the test has set.
    """

    def __init__(self, journal: Journal) -> None:
        self.answers = Answers()
        self.faults = FaultTable()
        self._journal = journal

    # ---- connections

    def refused(self) -> bool:
        """Whether a connection is refused before anything is known of it."""
        return self._noted(self.faults.at_accept()) is not None

    def greeted(self, sni: str | None) -> Fault | None:
        """The fault of a TLS connection, once the name in its ClientHello is known."""
        return self._noted(self.faults.at_hello(sni), sni)

    def context(self, sni: str | None, fault: Fault | None) -> ssl.SSLContext:
        """The server context for a connection: a leaf for the name in its ClientHello, or for this address."""
        return good_context(sni) if fault is None else _BAD_CONTEXTS[fault.name](sni)

    # ---- requests

    def refused_first(self, request: Received) -> bool:
        """Whether a connection without TLS is refused, once its first request has named a host."""
        return self._noted(self.faults.at_first(request.host), request.host) is not None

    def broken(self, request: Received, *, body: bool) -> Fault | None:
        """The fault of a request, None for none; `body` says whether a body follows its head."""
        traits = {"body": body, "tls": request.tls, "upgrade": request.upgrade and self._answer(request) is None}
        fault = self.faults.at_request(
            request.host, request.path, traits=frozenset(name for name, has in traits.items() if has)
        )
        return self._noted(fault, request.host, request.path)

    def answer(self, request: Received) -> Answer | None:
        """The prepared answer for a request, None for the echo."""
        return self._answer(request, use=True)

    def _answer(self, request: Received, *, use: bool = False) -> Answer | None:
        return self.answers.pick(request.method, request.host, request.path, request.upgrade, use=use)

    def _noted(self, fault: Fault | None, host: str | None = None, path: str | None = None) -> Fault | None:
        if fault is not None:
            self._journal.applied(Applied(fault.name, host, path))
        return fault
