"""Whom the proxy trusts upstream: the system's roots, what the process trusted before, and what the test adds.

Contexts are kept by what they trust, since reading the system's roots takes 25 ms. Verification is never off here
except in the one context made for routes that say `verify=False`. The authority that clients trust is `ca`'s.
"""

from __future__ import annotations

import functools
import os
import ssl
from pathlib import Path
from typing import Protocol

from pytest_gatekeeper.errors import ProxyError

__all__ = ["Trusted", "pem_of", "remember_roots", "trusted_before", "unverified_context", "upstream_context"]

_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE")
_remembered: bytes | None = None


class Blob(Protocol):
    """What trustme hands out a certificate as."""

    def bytes(self) -> bytes:
        """The PEM."""


class Authority(Protocol):
    """A trustme CA."""

    @property
    def cert_pem(self) -> Blob:
        """Its certificate."""


Trusted = str | os.PathLike[str] | bytes | Authority
"""A CA certificate: the path of a PEM file, PEM bytes, or a trustme CA."""


def pem_of(ca: Trusted) -> bytes:
    """The certificates of an authority (PEM). Raises ProxyError where there is none."""
    if isinstance(ca, bytes):
        pem, what = ca, "the bytes hold"
    elif isinstance(ca, str | os.PathLike):
        what = f"{os.fspath(ca)} holds"
        try:
            pem = Path(ca).read_bytes()
        except OSError as error:
            raise ProxyError(f"the CA certificate {os.fspath(ca)} cannot be read: {error.strerror}") from None
    else:
        pem, what = ca.cert_pem.bytes(), "the authority holds"
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ProxyError(f"{what} no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return pem


def remember_roots(environ: dict[str, str] | None = None) -> bytes:
    """Read what the environment's CA variables name (PEM bytes), once, before they are replaced."""
    global _remembered
    if _remembered is None:
        source = os.environ if environ is None else environ
        paths = dict.fromkeys(source[name] for name in _VARIABLES if source.get(name))
        _remembered = b"".join(_read(path) for path in paths)
    return _remembered


def _read(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError:
        return b""
    return content + b"\n" if b"-----BEGIN CERTIFICATE-----" in content else b""


@functools.lru_cache(maxsize=1)
def trusted_before() -> bytes:
    """Every root that this process trusted before the proxy came (PEM bytes), the system's included."""
    roots = remember_roots()
    if roots:
        return roots
    candidates = (_system()[0], "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/cert.pem")
    return next((text for path in candidates if path and (text := _read(path))), b"")


def _system() -> tuple[str | None, str | None]:
    """File and folder of the system's roots. SSL_CERT_FILE, which may name our own authority by now, is not asked."""
    paths = ssl.get_default_verify_paths()
    return (paths.openssl_cafile if Path(paths.openssl_cafile).is_file() else None), paths.capath


@functools.lru_cache(maxsize=32)
def upstream_context(extra: tuple[bytes, ...]) -> ssl.SSLContext:
    """A client context that trusts the roots from before and `extra` (PEM), and verifies."""
    file, folder = _system()
    context = ssl.create_default_context(cafile=file, capath=folder)  # with neither: whatever the platform has
    for pem in (remember_roots(), *extra):
        if pem:
            _add(context, pem)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _add(context: ssl.SSLContext, pem: bytes) -> None:
    context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))


@functools.lru_cache(maxsize=1)
def unverified_context() -> ssl.SSLContext:
    """A client context for routes that say `verify=False`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
