"""Whom the proxy trusts upstream: what was trusted before, what a test adds, never what clients were given."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from pytest_gatekeeper._proxy import trust
from pytest_gatekeeper._proxy.ca import CertificateAuthority
from pytest_gatekeeper._proxy.trust import (
    pem_of,
    remember_roots,
    trusted_before,
    unverified_context,
    upstream_context,
)
from pytest_gatekeeper.errors import ProxyError
from tests.proxy.conftest import shake

HOST = "api.example.com"


@pytest.fixture
def fresh_trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Nothing has been remembered yet, and the system has no roots of its own."""
    monkeypatch.setattr(trust, "_remembered", None)
    monkeypatch.setattr(trust, "_system", lambda: (None, str(tmp_path)))
    for name in trust._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for cached in (trusted_before, upstream_context, unverified_context):
        cached.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for cached in (trusted_before, upstream_context, unverified_context):
        cached.cache_clear()


def authority(folder: Path, name: str) -> tuple[trustme.CA, str, bytes]:
    """An authority, the path of its certificate, and the certificate."""
    made = trustme.CA()
    path = folder / f"{name}.pem"
    path.write_bytes(made.cert_pem.bytes())
    return made, str(path), made.cert_pem.bytes()


def accepts(context: ssl.SSLContext, made: trustme.CA, *, leaf: str = HOST, name: str = HOST) -> bool:
    """Whether a client with this context accepts a server with a leaf by this authority."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert(leaf).configure_cert(server)
    try:
        ours, _ = shake(context, server, name)
    except ssl.SSLCertVerificationError:
        return False
    return ours.version() is not None


# ------------------------------------------------------------------ what was trusted before


def test_the_environments_roots_are_remembered_once(fresh_trust: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each file once, in the order of the variables; what the variables say later changes nothing."""
    _, one, one_pem = authority(tmp_path, "one")
    _, two, two_pem = authority(tmp_path, "two")
    environ = {"CURL_CA_BUNDLE": two, "SSL_CERT_FILE": one, "REQUESTS_CA_BUNDLE": one, "AWS_CA_BUNDLE": ""}
    assert remember_roots(environ) == one_pem + b"\n" + two_pem + b"\n"
    assert remember_roots({}) == remember_roots() == one_pem + b"\n" + two_pem + b"\n"
    assert trusted_before() == remember_roots()


def test_the_process_environment_is_asked(fresh_trust: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no other is given."""
    _, path, pem = authority(tmp_path, "corporate")
    fresh_trust.setenv("NODE_EXTRA_CA_CERTS", path)
    assert remember_roots() == pem + b"\n"


def test_files_that_hold_no_certificate_are_passed_over(fresh_trust: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Missing ones, folders and others; the good one beside them counts."""
    (tmp_path / "other").write_text("nothing of the kind")
    _, path, pem = authority(tmp_path, "good")
    environ = {
        "SSL_CERT_FILE": str(tmp_path / "missing"),
        "REQUESTS_CA_BUNDLE": str(tmp_path),
        "CURL_CA_BUNDLE": str(tmp_path / "other"),
        "AWS_CA_BUNDLE": path,
    }
    assert remember_roots(environ) == pem + b"\n"


def test_without_variables_the_systems_roots_count(fresh_trust: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As one text, for clients that need a bundle."""
    _, path, pem = authority(tmp_path, "system")
    fresh_trust.setattr(trust, "_system", lambda: (path, None))
    assert remember_roots({}) == b""
    assert trusted_before() == pem + b"\n"


def test_a_variable_that_names_our_authority_by_now_is_not_asked(
    fresh_trust: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Clients under test trust it; upstream it stays a stranger, and the system's roots stay trusted."""
    system, path, pem = authority(tmp_path, "system")
    ours, our_path, _ = authority(tmp_path, "ours")
    fresh_trust.undo()
    fresh_trust.setattr(trust, "_remembered", b"")
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile=path, cafile=our_path, capath=str(tmp_path))
    fresh_trust.setattr(ssl, "get_default_verify_paths", lambda: paths)
    fresh_trust.setenv("SSL_CERT_FILE", our_path)
    for cached in (trusted_before, upstream_context):
        cached.cache_clear()
    assert trusted_before() == pem + b"\n"
    assert accepts(upstream_context(()), system)
    assert not accepts(upstream_context(()), ours)


# ------------------------------------------------------------------ contexts


def test_an_upstream_is_verified_against_all_that_is_trusted(fresh_trust: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was trusted before and what a test adds, each for itself; nobody else."""
    before, path, _ = authority(tmp_path, "before")
    added, _, added_pem = authority(tmp_path, "added")
    stranger = trustme.CA()
    remember_roots({"SSL_CERT_FILE": path})
    plain, more = upstream_context(()), upstream_context((added_pem, b""))
    assert [accepts(plain, one) for one in (before, added, stranger)] == [True, False, False]
    assert [accepts(more, one) for one in (before, added, stranger)] == [True, True, False]
    assert not accepts(more, added, leaf="other.example"), "the name is verified, too"
    assert accepts(more, added, leaf="*.example.com")


def test_contexts_are_kept_by_what_they_trust(fresh_trust: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same additions give the same context, others another."""
    _, _, pem = authority(tmp_path, "added")
    assert upstream_context((pem,)) is upstream_context((pem,))
    assert upstream_context((pem,)) is not upstream_context(())
    assert unverified_context() is unverified_context()


def test_a_certificate_file_may_hold_comments(fresh_trust: pytest.MonkeyPatch) -> None:
    """In any encoding, as the bundles of distributions do."""
    made = trustme.CA()
    assert accepts(upstream_context(("# Türktrust ½\n".encode("latin-1") + made.cert_pem.bytes(),)), made)


def test_nothing_is_verified_where_a_route_says_so(fresh_trust: pytest.MonkeyPatch) -> None:
    """Neither the authority nor the name; every other context does both."""
    made = trustme.CA()
    assert accepts(unverified_context(), made, leaf="other.example")
    assert not accepts(upstream_context(()), made)
    context = upstream_context(())
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


@pytest.mark.parametrize("verify", [True, False])
def test_upstreams_are_asked_for_http_1_1(fresh_trust: pytest.MonkeyPatch, verify: bool) -> None:
    """By ALPN, so that none answers in HTTP/2."""
    authority = CertificateAuthority()
    context = upstream_context((authority.pem,)) if verify else unverified_context()
    ours, theirs = shake(context, authority.server_context(HOST), HOST)
    assert ours.selected_alpn_protocol() == theirs.selected_alpn_protocol() == "http/1.1"


# ------------------------------------------------------------------ what users hand over


def test_an_authority_may_be_given_in_four_ways(tmp_path: Path) -> None:
    """A path as text or object, PEM bytes, or trustme's CA."""
    made, path, pem = authority(tmp_path, "one")
    assert pem_of(path) == pem_of(Path(path)) == pem_of(pem) == pem_of(made) == pem


def test_what_is_no_authority_is_told(tmp_path: Path) -> None:
    """With the path, and without what the file holds."""
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY----- s3cret")
    with pytest.raises(ProxyError, match=r"key\.pem holds no certificate") as caught:
        pem_of(tmp_path / "key.pem")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ProxyError, match=r"missing\.pem cannot be read: No such file"):
        pem_of(str(tmp_path / "missing.pem"))
    with pytest.raises(ProxyError, match="the bytes hold no certificate"):
        pem_of(b"s3cret")
