"""A gatekeeper.yaml as `Settings`: every key read in production's types and checked.

What production refuses is a ConfigError, and so is what it accepts although it can never do what it says; what it
ignores silently and is probably a mistake becomes a finding. Opening files is `pytest_gatekeeper.config`'s, taking YAML
apart `document`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pytest_gatekeeper._core.credentials import ENTRY, credential_of
from pytest_gatekeeper._core.document import Scalar, Table, read_document
from pytest_gatekeeper._core.hints import dead_pattern, is_header_name
from pytest_gatekeeper._core.model import (
    Credential,
    LogSettings,
    NetworkSettings,
    PostgresSettings,
    ProxySettings,
    Settings,
    TlsSettings,
)
from pytest_gatekeeper._core.policy import read_allow
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.section import Notes, Section, nearest
from pytest_gatekeeper._core.source_spec import FIELDS
from pytest_gatekeeper.errors import ConfigError

__all__ = ["read_settings"]

_PROXY = ("host", "port", "auth_token", "proxy_protocol")
_TLS = ("ca_cert", "ca_key")
_NETWORK = ("policy", "allow")
_LOG = ("level", "format", "output", "capture_headers")
_POSTGRES = ("port", "host", "proxy_protocol")
_TOP = ("proxy", "tls", "credentials", "network", "log", "postgres")

_PLACES = {
    "at the top level": _TOP,
    "under proxy": _PROXY,
    "under tls": _TLS,
    "under credentials": ENTRY,
    "under source": FIELDS,
    "under network": _NETWORK,
    "under log": _LOG,
    "under postgres": _POSTGRES,
}

_LEVELS: Mapping[str, Literal["debug", "info", "warning", "error"]] = {
    "debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error",
}  # fmt: skip
_SENSITIVE = frozenset(("authorization", "proxy-authorization", "cookie"))
_MOST_CAPTURED = 10


def _homes(own: str) -> Mapping[str, str]:
    """Where keys belong that are not known in a place."""
    homes: dict[str, str] = {}
    for place, keys in _PLACES.items():
        for key in keys if place != own else ():
            homes[key] = f"{homes[key]} or {place}" if key in homes else place
    return homes


def read_settings(text: str, file: str | None = None) -> Settings:
    """Read a whole configuration.

    Args:
        text: YAML; empty text is an empty configuration.
        file: the name that messages give it.

    Raises:
        ConfigError: with file, line and key, for whatever cannot be used. Its text never holds a credential.
    """
    notes = Notes(file)
    try:
        document = read_document(text)
    except ConfigError as error:
        raise ConfigError(error.problem, file=file, line=error.line) from None
    root = document.root
    if isinstance(root, Scalar) and root.kind == "null":
        root = None
    if root is not None and not isinstance(root, Table):
        notes.fail(f"a configuration is a mapping with the keys {', '.join(_TOP)}", root.line, None)
    top = Section(root, "", _TOP, notes, _homes("at the top level"))
    settings = Settings(
        proxy=_proxy(top.section("proxy", _PROXY, _homes("under proxy"))),
        tls=_tls(top.section("tls", _TLS, _homes("under tls"))),
        credentials=_credentials(top),
        network=_network(top.section("network", _NETWORK, _homes("under network"))),
        log=_log(top.section("log", _LOG, _homes("under log"))),
        postgres=_postgres(top),
        file=file,
    )
    if document.further is not None:
        problem = "only the first document is read; what begins here has no effect, remove it"
        notes.note("several-documents", problem, document.further, None)
    findings = sorted(notes.findings, key=lambda finding: finding.line or 0)
    return replace(settings, findings=tuple(findings))


def _port(section: Section) -> int:
    port = section.number("port")
    if not 0 <= port <= 65535:
        section.fail("must be from 0 to 65535; 0 is any free port", "port")
    return port


def _proxy(section: Section) -> ProxySettings:
    token = section.text("auth_token")
    return ProxySettings(
        host=section.text("host") or "127.0.0.1",
        port=_port(section),
        auth_token=Secret(token) if token else None,
        proxy_protocol=section.flag("proxy_protocol"),
    )


def _tls(section: Section) -> TlsSettings:
    cert, key = section.text("ca_cert"), section.text("ca_key")
    if bool(cert) != bool(key):
        missing = "ca_key" if cert else "ca_cert"
        problem = f"without {missing} production intercepts nothing and injects only into plain HTTP; give both"
        section.note("tls-half", problem)
    return TlsSettings(cert, key)


def _credentials(top: Section) -> tuple[Credential, ...]:
    homes, source_homes = _homes("under credentials"), _homes("under source")
    found = []
    for key, node in top.items("credentials"):
        if isinstance(node, Scalar) and node.kind == "null":
            top.notes.fail("is null, no credential; remove the item", node.line, key)
        if not isinstance(node, Table):
            top.notes.fail("must be a mapping with the keys host and source", node.line, key)
        credential = credential_of(Section(node, key, ENTRY, top.notes, homes), source_homes)
        if credential is not None:
            found.append(credential)
    return tuple(found)


def _network(section: Section) -> NetworkSettings:
    policy: Literal["permissive", "strict"] = "permissive"
    word = section.text("policy")
    if word == "strict":
        policy = "strict"
    elif word not in ("", "permissive"):
        problem = "there is no such policy, and production would let everything pass"
        section.fail(f"{problem}; {nearest(word, ('permissive', 'strict'))}", "policy")
    allow = section.texts("allow")
    for pattern, key, line in allow:
        try:
            host, _ = read_allow(pattern)
        except ValueError as error:
            if policy == "strict":
                section.notes.fail(str(error), line, key)
            section.notes.note("never-matches", str(error), line, key)
        else:
            if problem := dead_pattern(host):
                section.notes.note("never-matches", problem, line, key)
    if allow and not word:
        problem = "has no effect under the permissive policy, which is the default; add 'policy: strict'"
        section.note("allow-ignored", problem, "allow")
    return NetworkSettings(policy, tuple(pattern for pattern, _, _ in allow))


def _log(section: Section) -> LogSettings:
    level, format, output = (section.text(name) for name in ("level", "format", "output"))
    if level and level.lower() not in _LEVELS:
        section.note("log-word", f"unknown level, info in production; {nearest(level, list(_LEVELS))}", "level")
    if format.lower() not in ("", "text", "json"):
        section.note("log-word", f"unknown format, text in production; {nearest(format, ('text', 'json'))}", "format")
    return LogSettings(
        level=_LEVELS.get(level.lower(), "info"),
        format="json" if format.lower() == "json" else "text",
        output=output.lower() if output.lower() in ("stderr", "stdout") else output or "stderr",
        capture_headers=_captured(section),
    )


def _captured(section: Section) -> tuple[str, ...]:
    names = section.texts("capture_headers")
    if len(names) > _MOST_CAPTURED:
        section.fail(f"at most {_MOST_CAPTURED} headers can be captured, here are {len(names)}", "capture_headers")
    seen: set[str] = set()
    for name, key, line in names:
        if name.lower() in _SENSITIVE:
            section.notes.fail("is sensitive and cannot be captured; remove it", line, key)
        if name.lower() in seen:
            section.notes.fail("is there twice, case does not matter; remove one", line, key)
        seen.add(name.lower())
        if not is_header_name(name):
            problem = "is no header name (RFC 9110 section 5.1) and captures nothing; remove it"
            section.notes.note("no-header", problem, line, key)
    return tuple(name for name, _, _ in names)


def _postgres(top: Section) -> PostgresSettings | None:
    section = top.section("postgres", _POSTGRES, _homes("under postgres"))
    fields = (("host", section.text("host")), ("port", str(_port(section))))
    protocol = "true" if section.flag("proxy_protocol") else "false"
    if not top.has("postgres"):
        return None
    top.note("postgres", "the Postgres listener is not emulated here; this section has no effect", "postgres")
    return PostgresSettings((*fields, ("proxy_protocol", protocol)))
