"""The ephemeral authority: certificates that the strictest verifiers accept, and a key that never touches the disk."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from pytest_gatekeeper._proxy import ca as ca_module
from pytest_gatekeeper._proxy.ca import CertificateAuthority, load_chain, process_authority
from tests.conftest import PATIENCE
from tests.proxy.conftest import shake

HOST = "api.example.com"
STRICT = getattr(ssl, "VERIFY_X509_STRICT", 0) | getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0)  # as in Python 3.13
OPENSSL = shutil.which("openssl")

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command on this machine")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """One authority for all these tests."""
    return CertificateAuthority()


def certificate(pem: bytes) -> x509.Certificate:
    """The certificate in a PEM."""
    return x509.load_pem_x509_certificate(pem)


def extension(pem: bytes, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    """One of its extensions."""
    return certificate(pem).extensions.get_extension_for_class(kind)


def presented(session: ssl.SSLObject) -> x509.Certificate:
    """The leaf that a server presented."""
    der = session.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def names_of(leaf: x509.Certificate) -> list[str]:
    """The names and addresses that a leaf is for."""
    return [str(name.value) for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


# ------------------------------------------------------------------ what a leaf is


def test_a_leaf_is_for_its_hosts(authority: CertificateAuthority) -> None:
    """Names in lower case and as IDNA, addresses as addresses, in order."""
    leaf = authority.issue("API.example.com", "127.0.0.1", "::1", "b\xfccher.example", "a_b.example", "localhost")
    names = extension(leaf, x509.SubjectAlternativeName).value
    assert isinstance(names, x509.SubjectAlternativeName)
    assert list(names) == [
        x509.DNSName("api.example.com"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.DNSName("xn--bcher-kva.example"),
        x509.DNSName("a_b.example"),
        x509.DNSName("localhost"),
    ]


def test_a_leaf_follows_the_profile(authority: CertificateAuthority) -> None:
    """No authority itself, for signatures of servers only, keys identified, on P-256 (RFC 5280 section 4.2)."""
    leaf = authority.issue(HOST)
    basic = extension(leaf, x509.BasicConstraints)
    assert basic.critical and basic.value == x509.BasicConstraints(ca=False, path_length=None)
    usage = extension(leaf, x509.KeyUsage)
    assert isinstance(usage.value, x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    assert list(extension(leaf, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]  # type: ignore[call-overload]
    issuer = extension(authority.pem, x509.SubjectKeyIdentifier).value
    named = extension(leaf, x509.AuthorityKeyIdentifier).value
    assert isinstance(issuer, x509.SubjectKeyIdentifier) and isinstance(named, x509.AuthorityKeyIdentifier)
    assert named.key_identifier == issuer.digest
    key = certificate(leaf).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    assert certificate(leaf).issuer == certificate(authority.pem).subject != certificate(leaf).subject


def test_a_leaf_lives_long_enough_and_not_too_long(authority: CertificateAuthority) -> None:
    """At most 45 days, as clients demand; from a minute ago or earlier, since clocks differ."""
    leaf = certificate(authority.issue(HOST))
    now = datetime.datetime.now(datetime.timezone.utc)
    assert leaf.not_valid_before_utc <= now - datetime.timedelta(minutes=1)
    assert leaf.not_valid_after_utc >= now + datetime.timedelta(days=1)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= datetime.timedelta(days=45)


def test_a_leafs_time_can_be_chosen(authority: CertificateAuthority) -> None:
    """For upstreams whose certificate has expired."""
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    leaf = certificate(authority.issue(HOST, not_before=start, not_after=start + datetime.timedelta(days=1)))
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (start, start + datetime.timedelta(days=1))


def test_each_authority_and_leaf_is_its_own() -> None:
    """Subjects of authorities differ, so that a client never mixes up two; so do keys and serial numbers."""
    one, other = CertificateAuthority(), CertificateAuthority()
    ours, theirs = certificate(one.pem), certificate(other.pem)
    assert ours.subject != theirs.subject
    assert ours.public_key() != theirs.public_key()
    leaves = [certificate(authority.issue(HOST)) for authority in (one, one, other)]
    assert len({leaf.serial_number for leaf in leaves}) == 3
    assert leaves[0].public_key() == leaves[1].public_key() != leaves[2].public_key()
    leaves[0].verify_directly_issued_by(ours)
    with pytest.raises(ValueError, match=r"[Ii]ssuer"):
        leaves[0].verify_directly_issued_by(theirs)


# ------------------------------------------------------------------ verifiers


def openssl_verify(folder: Path, ca: bytes, leaf: bytes, *options: str) -> str:
    """What `openssl verify` says."""
    (folder / "ca.pem").write_bytes(ca)
    (folder / "leaf.pem").write_bytes(leaf)
    command = [str(OPENSSL), "verify", "-x509_strict", *options, "-CAfile", "ca.pem", "leaf.pem"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return found.stdout + found.stderr


@needs_openssl
@pytest.mark.parametrize("host", [HOST, "a_b.example", "x" * 63 + ".example", "localhost", "127.0.0.1", "::1"])
def test_openssl_verifies_a_leaf_strictly(authority: CertificateAuthority, tmp_path: Path, host: str) -> None:
    """For its own name or address, as a server's certificate; not for another."""
    kind = "-verify_ip" if host in ("127.0.0.1", "::1") else "-verify_hostname"
    leaf = authority.issue(host)
    assert openssl_verify(tmp_path, authority.pem, leaf, "-purpose", "sslserver", kind, host) == "leaf.pem: OK\n"
    assert "mismatch" in openssl_verify(tmp_path, authority.pem, leaf, "-verify_hostname", "other.example")


@needs_openssl
def test_openssl_refuses_what_it_should(authority: CertificateAuthority, tmp_path: Path) -> None:
    """An expired leaf, a leaf as a client's certificate, and one of another authority."""
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    old = authority.issue(HOST, not_before=start, not_after=start + datetime.timedelta(days=1))
    assert "expired" in openssl_verify(tmp_path, authority.pem, old)
    leaf = authority.issue(HOST)
    assert "purpose" in openssl_verify(tmp_path, authority.pem, leaf, "-purpose", "sslclient")
    assert "unable to get" in openssl_verify(tmp_path, CertificateAuthority().pem, leaf)


@pytest.mark.skipif(not STRICT, reason="this Python knows no strict verification")
@pytest.mark.parametrize("host", [HOST, "a_b.example", "localhost", "127.0.0.1", "::1"])
def test_python_verifies_a_leaf_strictly(authority: CertificateAuthority, host: str) -> None:
    """As Python 3.13 does by default, the name included; another name or authority is refused."""
    client = authority.ssl_context()
    client.verify_flags |= ssl.VerifyFlags(STRICT)
    ours, _ = shake(client, authority.server_context(host), host)
    assert ours.version() == "TLSv1.3" and names_of(presented(ours)) == [host]
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(client, authority.server_context(host), "other.example")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get|self-signed"):
        shake(CertificateAuthority().ssl_context(), authority.server_context(host), host)


def test_clients_trust_nobody_else(authority: CertificateAuthority) -> None:
    """The context for clients holds one authority, and speaks HTTP/1.1."""
    context = authority.ssl_context()
    assert context.get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(authority.pem.decode())]
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    ours, theirs = shake(context, authority.server_context(HOST), HOST)
    assert ours.selected_alpn_protocol() == theirs.selected_alpn_protocol() == "http/1.1"


def test_the_chain_that_is_presented_includes_the_authority(authority: CertificateAuthority) -> None:
    """Some clients pin it, others show it."""
    server = authority.server_context(HOST)
    client = authority.ssl_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # certificates are not encrypted in TLS 1.2
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=HOST)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for session in (ours, theirs):
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
    flight = to_client.read()
    assert ssl.PEM_cert_to_DER_cert(authority.pem.decode()) in flight


# ------------------------------------------------------------------ contexts


def test_contexts_are_kept(authority: CertificateAuthority) -> None:
    """The same hosts get the same context, others, or others in another order, another one; none gives tickets."""
    context = authority.server_context(HOST)
    assert authority.server_context(HOST) is context
    assert authority.server_context(HOST, "localhost") is not context
    assert authority.tunnel_context(HOST) is authority.tunnel_context(HOST) is not context
    assert context.num_tickets == authority.tunnel_context(HOST).num_tickets == 0


def test_not_more_contexts_are_kept_than_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for ever new hosts does not fill the memory."""
    monkeypatch.setattr(ca_module, "MAX_CONTEXTS", 2)
    authority = CertificateAuthority()
    kept = {host: authority.server_context(host) for host in ("a", "b")}
    assert all(authority.server_context(host) is context for host, context in kept.items())
    for host in "cdefgh":
        authority.server_context(host)
        authority.tunnel_context(host)
        assert len(authority._contexts) <= 2 and len(authority._tunnels) <= 2
    assert authority.server_context("a") is not kept["a"]


@pytest.mark.parametrize("sni", [HOST, "other.example"])
def test_a_tunnels_leaf_is_for_its_host_whatever_the_hello_names(authority: CertificateAuthority, sni: str) -> None:
    """The name in the hello is known afterwards, in lower or upper case as it came."""
    client = authority.ssl_context()
    client.check_hostname = False
    ours, theirs = shake(client, authority.tunnel_context(HOST), sni)
    assert names_of(presented(ours)) == [HOST]
    assert authority.sni_of(theirs) == sni


def test_a_name_that_ends_with_a_dot_is_refused(authority: CertificateAuthority) -> None:
    """With an alert, as by production (RFC 6066 section 3); a dot in the middle is what names have."""
    with pytest.raises(ssl.SSLError, match="ALERT_DECODE_ERROR"):
        shake(authority.ssl_context(), authority.tunnel_context(HOST), HOST + ".")
    assert shake(authority.ssl_context(), authority.tunnel_context(HOST), HOST)[0].version() == "TLSv1.3"


def test_a_hello_without_a_name_gets_localhost_too(authority: CertificateAuthority) -> None:
    """Some clients verify the proxy's own name then."""
    client = authority.ssl_context()
    client.check_hostname = False
    ours, theirs = shake(client, authority.tunnel_context(HOST), None)
    assert names_of(presented(ours)) == [HOST, "localhost"]
    assert authority.sni_of(theirs) is None


# ------------------------------------------------------------------ the disk

LIFE = """
import json, os, ssl, sys, tempfile
tempfile.gettempdir()  # which tries out the folder
wrote = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path, mode, flags = arguments
        if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+"):
            wrote.append(os.fsdecode(path))
sys.addaudithook(watch)
from pytest_gatekeeper._proxy.ca import CertificateAuthority
authority = CertificateAuthority()
before = sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
for host in ("a.example", "b.example", "127.0.0.1"):
    authority.server_context(host)
    authority.tunnel_context(host)
after = sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
assert before == after, (before, after)
paths = [authority.cert_path, authority.bundle_path]
assert paths == [authority.cert_path, authority.bundle_path]
texts = {path: open(path).read() for path in paths}
every = {os.path.join(top, name): open(os.path.join(top, name)).read()
         for top, _, names in os.walk(os.environ["TMPDIR"]) for name in names}
own = authority.pem.decode()
"""
TELL = "print(json.dumps({'wrote': wrote, 'texts': texts, 'every': every, 'own': own, 'paths': paths}))\n"


def live(folder: Path, script: str) -> dict[str, object]:
    """Run a script in a process of its own whose temporary files go to `folder`, and read what it tells."""
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIFE + script],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def test_only_certificates_are_written(tmp_path: Path) -> None:
    """Two files, opened once each; no private key is in them or anywhere else, and no descriptor stays open."""
    told = live(tmp_path, TELL)
    paths, texts, every = told["paths"], told["texts"], told["every"]
    assert isinstance(paths, list) and isinstance(texts, dict) and isinstance(every, dict)
    assert told["wrote"] == paths and every == texts
    assert all("PRIVATE KEY" not in text for text in texts.values())
    assert texts[paths[0]] == told["own"]
    assert texts[paths[1]].startswith(texts[paths[0]])


FROZEN = """
import datetime
real = datetime.datetime
class Kind(type):
    def __instancecheck__(self, thing):
        return isinstance(thing, real)
    def __subclasscheck__(self, kind):
        return issubclass(kind, real)
class Frozen(real, metaclass=Kind):  # what freezegun puts there
    @classmethod
    def now(cls, tz=None):
        return cls(2001, 2, 3, tzinfo=tz)
datetime.datetime = Frozen
"""
SHAKE = """
from pytest_gatekeeper._proxy.ca import CertificateAuthority
from tests.proxy.conftest import shake
authority, told = CertificateAuthority(), []
for host in ("frozen.example.com", "thawed.example.com"):
    shake(authority.ssl_context(), authority.tunnel_context(host), host)
    told.append(str(datetime.datetime.now().year))
    datetime.datetime = real
print(*told)
"""


def test_a_test_may_stop_the_clock() -> None:
    """Clients accept leaves that are made while the interpreter's date is another one, and after that."""
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", FROZEN + SHAKE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    before, after = found.stdout.split()
    assert before == "2001" < after


def test_the_files_go_with_the_process(tmp_path: Path) -> None:
    """They were there while it ran, and nothing is left of them."""
    told = live(tmp_path, TELL)
    assert told["every"]
    assert list(tmp_path.iterdir()) == []


def test_no_thread_gets_half_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for the file while another thread writes it gets it when it is whole."""
    authority = CertificateAuthority()
    read: list[bytes] = []
    write = Path.write_bytes
    other = threading.Thread(target=lambda: read.append(Path(authority.cert_path).read_bytes()))

    def slowly(path: Path, content: bytes) -> int:
        write(path, content[:100])
        other.start()
        other.join(0.1)
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", slowly)
        assert Path(authority.cert_path).read_bytes() == authority.pem
        other.join(PATIENCE)
    assert read == [authority.pem]


@needs_fork
def test_a_child_that_ends_leaves_its_parents_files(tmp_path: Path) -> None:
    """A forked child runs the same exit handlers; the files belong to the process that made them."""
    fork = """
child = os.fork()
if not child:
    assert authority.cert_path == paths[0]
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert all(open(path).read() == text for path, text in texts.items())
"""
    live(tmp_path, fork + TELL)
    assert list(tmp_path.iterdir()) == []


@needs_fork
def test_a_childs_own_files_go_with_the_child(tmp_path: Path) -> None:
    """An authority that it made itself is its own."""
    fork = """
child = os.fork()
if not child:
    own = CertificateAuthority()
    assert open(own.cert_path).read() == own.pem.decode()
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert len(os.listdir(os.environ["TMPDIR"])) == 1
"""
    live(tmp_path, fork + TELL)
    assert list(tmp_path.iterdir()) == []


def test_a_chain_reaches_openssl_without_memory_files(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the system has none, by a private file that is gone at once."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_chain(context, authority._leaf_key_pem + authority.issue(HOST) + authority.pem)
    assert list(tmp_path.iterdir()) == []
    assert names_of(presented(shake(authority.ssl_context(), context, HOST)[0])) == [HOST]


def test_a_process_has_one_authority() -> None:
    """Every proxy of it presents leaves of the same one."""
    assert process_authority() is process_authority()
    assert process_authority().pem != CertificateAuthority().pem
