"""The certificates that a stub shows: good ones, and those that a client must not accept.

One authority a process vouches for all its stubs; a second one, which nobody trusts, is there for a fault. Which
certificate a connection gets is the script's decision; how leaves are made is `_proxy.ca`'s.
"""

from __future__ import annotations

import datetime
import functools
import ssl
import threading

from pytest_gatekeeper._core.hosts import is_host
from pytest_gatekeeper._proxy.ca import CertificateAuthority
from pytest_gatekeeper._proxy.systemtime import now

__all__ = ["WRONG_NAME", "expired_context", "good_context", "origin_authority", "untrusted_context", "wrong_context"]

WRONG_NAME = "wrong-name.invalid"
"""What a certificate for the wrong name is made out to (`.invalid`: RFC 2606 section 2)."""

_EXPIRED_FOR = datetime.timedelta(days=1)
_LIFE = datetime.timedelta(days=30)

_lock = threading.Lock()


class _StubAuthority(CertificateAuthority):
    def expired_context(self, *hosts: str) -> ssl.SSLContext:
        """A context whose leaf for `hosts` is right in everything but its time: it ended a day ago."""
        end = now() - _EXPIRED_FOR
        return self._context(*hosts, not_before=end - _LIFE, not_after=end)


def origin_authority() -> CertificateAuthority:
    """The authority of this process's stub upstreams; it is not the proxy's."""
    return _authority("trusted")


def _authority(name: str) -> _StubAuthority:
    with _lock:
        return _made(name)


@functools.cache
def _made(_: str) -> _StubAuthority:
    return _StubAuthority()


def _names(sni: str | None) -> tuple[str, ...]:
    """The names of a leaf: the one in the ClientHello, or this address. Raises ValueError for what is no name."""
    if sni is None:
        return "127.0.0.1", "localhost"
    if not is_host(sni):
        raise ValueError("the name in the ClientHello is no host name")
    return (sni,)


def good_context(sni: str | None) -> ssl.SSLContext:
    """A leaf for the name in the ClientHello, from the authority that clients of the stub trust."""
    return _authority("trusted").server_context(*_names(sni))


def untrusted_context(sni: str | None) -> ssl.SSLContext:
    """The same leaf from an authority that nobody knows."""
    return _authority("untrusted").server_context(*_names(sni))


def expired_context(sni: str | None) -> ssl.SSLContext:
    """The same leaf, which ended a day ago."""
    return _authority("trusted").expired_context(*_names(sni))


def wrong_context(_: str | None) -> ssl.SSLContext:
    """A leaf from the trusted authority for `WRONG_NAME`."""
    return _authority("trusted").server_context(WRONG_NAME)
