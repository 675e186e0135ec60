"""`credentials`: entries of a file, and mappings that a test hands over, as `Credential`s.

Both go through the same checks. A file is shared with production, so what production ignores silently is a finding
there; a mapping is not, so it is an error. Values are looked at only to see whether they can be sent.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_gatekeeper._core.document import Listing, Node, Scalar, Table
from pytest_gatekeeper._core.hints import dead_pattern, header_problem, host_problem
from pytest_gatekeeper._core.model import Credential
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.section import Notes, Section
from pytest_gatekeeper._core.source_spec import FIELDS, read_source
from pytest_gatekeeper.errors import ConfigError

__all__ = ["ENTRY", "POSTGRES_ENTRY", "credential_of", "read_credential"]

ENTRY = ("host", "header", "prefix", "format", "grant", "source", "postgres")
"""All keys that production reads in a credential."""

POSTGRES_ENTRY = ("resolver", "project")


def credential_of(section: Section, source_homes: Mapping[str, str] | None = None) -> Credential | None:
    """Read and check one entry; None for a Postgres credential, which is checked and noted, not used.

    Raises ConfigError, never with a value, for one that production refuses or that could not do what it says.
    """
    host, header, prefix, grant = (section.text(name) for name in ("host", "header", "prefix", "grant"))
    format = section.text("format").lower()
    if problem := host_problem(host):
        section.fail(problem, "host")
    if problem := dead_pattern(host):
        section.note("never-matches", problem, "host")
    source_section = section.section("source", FIELDS, source_homes)
    source = read_source(source_section)
    if section.has("postgres"):
        _check_postgres(section)
        return None
    if format not in ("", "basic"):
        section.fail("there is no such format; write basic, or leave it out", "format")
    header = header or "Authorization"
    if format and header.lower() != "authorization":
        section.fail("the format basic is for the header Authorization only; remove one of the two", "format")
    credential = Credential(host, source, header, prefix, "basic" if format else "", grant, section.line)
    _check_sendable(section, source_section, credential)
    return credential


def _check_postgres(section: Section) -> None:
    inner = section.section("postgres", POSTGRES_ENTRY)
    inner.text("project")
    if inner.text("resolver").lower() not in ("neon", "static"):
        inner.fail("must be neon or static", "resolver")
    section.note("postgres", "a Postgres credential, which is not emulated here: it is never injected", "postgres")


def _check_sendable(section: Section, source: Section, credential: Credential) -> None:
    """Raise for a header that cannot carry a credential, and for a value that no header can."""
    if problem := header_problem(credential.header):
        section.fail(problem, "header")
    try:
        make_rule(section.path, credential, Secret("x"))
    except ConfigError as error:
        section.fail(error.problem, "prefix")
    value = credential.source.secret("value")
    try:
        make_rule(section.path, credential, value or Secret("x"))
    except ConfigError as error:
        source.fail(error.problem, "value")


# ------------------------------------------------------------------ credentials of a test


def read_credential(mapping: Mapping[str, object], key: str) -> Credential:
    """Read a credential given as a mapping, with the keys of the file.

    Args:
        mapping: texts by key, `source` a mapping itself; numbers stand for their text.
        key: what to call it in messages, `credentials[0]`.

    Raises:
        ConfigError: for all that is an error in a file, and for what is a finding there: an unknown key, a host that
            can never match.
    """
    notes = Notes()
    node = _node_of(mapping, key)
    if not isinstance(node, Table):
        raise ConfigError(f"must be a mapping, not {type(mapping).__name__}", key=key)
    credential = credential_of(Section(node, key, ENTRY, notes))
    if credential is None or notes.findings:  # a Postgres credential is a finding, too
        raise ConfigError(notes.findings[0].problem, key=notes.findings[0].key)
    return credential


def _node_of(value: object, key: str) -> Node:
    """A Python value as the nodes of a file."""
    if isinstance(value, str):
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ConfigError("holds half a character, which cannot be sent", key=key) from None
        return Scalar(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Scalar(str(value))
    if isinstance(value, Mapping):
        pairs = []
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ConfigError(f"a key must be text, not {type(name).__name__}", key=key)
            pairs.append((Scalar(name), _node_of(inner, f"{key}.{name}")))
        return Table(tuple(pairs))
    if isinstance(value, (list, tuple)):
        return Listing(tuple(_node_of(item, f"{key}[{index}]") for index, item in enumerate(value)))
    kind = "None" if value is None else type(value).__name__
    raise ConfigError(f"must be text, not {kind}; leave the key out where there is nothing to say", key=key)
