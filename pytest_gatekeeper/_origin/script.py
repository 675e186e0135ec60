"""What the stub does, and to whom: the one object that is asked once for each connection and once for each request.

Whoever wants the stub to behave badly does it here: `context` decides which certificate a connection gets, `answer`
what a request gets. Nothing is read or sent here.
"""

from __future__ import annotations

import functools
import ssl
import threading

from pytest_gatekeeper._core.hosts import is_host
from pytest_gatekeeper._origin.answers import Answer, Answers
from pytest_gatekeeper._origin.journal import Received
from pytest_gatekeeper._proxy.ca import CertificateAuthority

__all__ = ["Script", "origin_authority"]


_lock = threading.Lock()


def origin_authority() -> CertificateAuthority:
    """The authority of this process's stub upstreams; it is not the proxy's."""
    with _lock:
        return _authority()


@functools.lru_cache(maxsize=1)
def _authority() -> CertificateAuthority:
    return CertificateAuthority()


class Script:
    """How one stub behaves. Its methods are called on the proxy's thread.

    Attributes:
        answers: the answers that the test has prepared.
    """

    def __init__(self) -> None:
        self.answers = Answers()

    def context(self, sni: str | None) -> ssl.SSLContext:
        """The server context for a connection: a leaf for the name in its ClientHello, or for this address."""
        if sni is None:
            return origin_authority().server_context("127.0.0.1", "localhost")
        if not is_host(sni):
            raise ValueError("the name in the ClientHello is no host name")
        return origin_authority().server_context(sni)

    def answer(self, request: Received) -> Answer | None:
        """The prepared answer for a request, None for the echo."""
        return self.answers.pick(request.method, request.host, request.path, request.upgrade)
