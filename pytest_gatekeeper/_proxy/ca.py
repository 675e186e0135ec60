"""The ephemeral certificate authority: one a process, leaves on demand.

EC keys, a subject of its own, leaves of 30 days that pass `openssl verify -x509_strict`. The authority's key stays in
memory; of everything made here only certificates are written to disk, into a folder that goes with the process. A leaf
and its key reach OpenSSL through memory where the system has memfd. Whom the proxy itself trusts is `trust`'s matter.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import ipaddress
import os
import shutil
import ssl
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pytest_gatekeeper._proxy.systemtime import now, unpatched_datetime

__all__ = ["CertificateAuthority", "load_chain", "process_authority", "serving"]

LEAF_DAYS = 30
BACKDATED = datetime.timedelta(hours=1)  # clocks differ
MAX_CONTEXTS = 1024  # hosts whose context is kept


def serving() -> ssl.SSLContext:
    """A context for a server of HTTP/1.1, without tickets; its certificate is still to come."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a context its key and certificates without leaving them on disk."""
    with _as_path(pem) as path:
        context.load_cert_chain(path)


@contextlib.contextmanager
def _as_path(content: bytes) -> Iterator[str]:
    """A path that holds `content` while it is needed: in memory where the system can, else a private temporary file."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gatekeeper", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:  # pragma: no cover - not on Linux
        with trustme.Blob(content).tempfile() as path:
            yield path


class CertificateAuthority:
    """An authority that lives as long as its process.

    Attributes:
        pem: the authority's certificate (PEM bytes). Its private key is not to be had.
    """

    def __init__(self) -> None:
        with unpatched_datetime():
            self._authority = trustme.CA(organization_name="pytest-gatekeeper ephemeral CA")
        self.pem: bytes = self._authority.cert_pem.bytes()
        self._certificate = x509.load_pem_x509_certificate(self.pem)
        key = serialization.load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):  # pragma: no cover - trustme's documented default
            raise TypeError("the authority's key is not an elliptic-curve key")
        self._key = key
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key_pem = self._leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self._tunnels: dict[str, ssl.SSLContext] = {}
        self._names: weakref.WeakKeyDictionary[ssl.SSLObject, str] = weakref.WeakKeyDictionary()
        self._folder: Path | None = None
        self._writing = threading.Lock()  # tests may ask for a file on any thread, and get none that is half written

    # ---- for clients

    @property
    def cert_path(self) -> str:
        """A file that holds the authority's certificate alone; it stays until the process ends."""
        return self._kept("ca.pem", lambda: self.pem)

    @property
    def bundle_path(self) -> str:
        """A file that holds the authority's certificate, then every root that was trusted before."""
        from pytest_gatekeeper._proxy.trust import trusted_before

        return self._kept("bundle.pem", lambda: self.pem + trusted_before())

    def ssl_context(self) -> ssl.SSLContext:
        """A client context that trusts this authority and nobody else."""
        context = ssl.create_default_context(cadata=self.pem.decode("ascii"))
        context.set_alpn_protocols(["http/1.1"])
        return context

    def write(self, name: str, content: bytes) -> str:
        """Put certificates, or what leads to them, into a file beside the authority's; its path, until the end."""
        with self._writing:
            path = self._place(name)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
        return str(path)

    def _kept(self, name: str, make: Callable[[], bytes]) -> str:
        with self._writing:
            path = self._place(name)
            if not path.exists():
                path.write_bytes(make())
        return str(path)

    def _place(self, name: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pytest-gatekeeper-"))
            atexit.register(_remove, str(self._folder), os.getpid())
        return self._folder / name

    # ---- for the proxy

    def server_context(self, *hosts: str) -> ssl.SSLContext:
        """A context that presents a leaf for `hosts` (names or addresses), kept for the next time."""
        context = self._contexts.get(hosts)
        if context is None:
            if len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.clear()
            context = self._contexts[hosts] = self._context(*hosts)
        return context

    def tunnel_context(self, host: str) -> ssl.SSLContext:
        """A context for clients that asked for `host` by CONNECT; `sni_of` knows afterwards what their hello named.

        A ClientHello without a name gets a leaf for `localhost`, too: some clients verify the proxy's own name then.
        One whose name ends with a dot is rejected, as by production (RFC 6066 section 3 forbids it).
        """
        context = self._tunnels.get(host)
        if context is None:
            if len(self._tunnels) >= MAX_CONTEXTS:
                self._tunnels.clear()
            context = self._tunnels[host] = self._context(host)

            def choose(session: ssl.SSLObject, sni: str | None, _: ssl.SSLContext) -> int | None:
                if sni is None:
                    session.context = self.server_context(host, "localhost")
                    return None
                self._names[session] = sni
                return ssl.AlertDescription.ALERT_DESCRIPTION_DECODE_ERROR if sni.endswith(".") else None

            context.sni_callback = choose
        return context

    def sni_of(self, session: ssl.SSLObject) -> str | None:
        """The name in the ClientHello of a session (RFC 6066 section 3), None without one."""
        return self._names.get(session)

    def _context(
        self, *hosts: str, not_before: datetime.datetime | None = None, not_after: datetime.datetime | None = None
    ) -> ssl.SSLContext:
        leaf = self.issue(*hosts, not_before=not_before, not_after=not_after)
        context = serving()
        load_chain(context, self._leaf_key_pem + leaf + self.pem)
        return context

    def issue(
        self, *hosts: str, not_before: datetime.datetime | None = None, not_after: datetime.datetime | None = None
    ) -> bytes:
        """A leaf certificate (PEM) for `hosts`, signed by this authority, for the one key that all its leaves share.

        Profile: RFC 5280 section 4.2, with what Python 3.13's strict verification asks for.
        """
        today = now()
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pytest-gatekeeper leaf")])
        ski = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        usage = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only",
             "decipher_only", "key_encipherment"), False,
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or today - BACKDATED)
            .not_valid_after(not_after or today + datetime.timedelta(days=LEAF_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._leaf_key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False
            )
        )  # fmt: skip
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    name = host.lower()
    return x509.DNSName(name if name.isascii() else name.encode("idna").decode("ascii"))


def _remove(folder: str, owner: int) -> None:
    """Delete the folder at exit, in the process that made it (a fork has its own)."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


_lock = threading.Lock()
_process: CertificateAuthority | None = None


def process_authority() -> CertificateAuthority:
    """The authority of this process's proxies, made at the first call; a forked child keeps its parent's."""
    global _process
    with _lock:
        if _process is None:
            _process = CertificateAuthority()
        return _process
