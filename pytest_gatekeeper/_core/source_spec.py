"""`credentials[].source`: the kinds of sources and the fields of each.

Reads a section into a `SourceSpec`, or says which field is missing, foreign or one too many, and what stands where the
name of a variable belongs. Fetching is `_sources`'.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NamedTuple

from pytest_gatekeeper._core.duration import parse_duration
from pytest_gatekeeper._core.model import SourceSpec
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.section import Section, nearest

__all__ = ["FIELDS", "KINDS", "is_variable", "read_source"]


class _Kind(NamedTuple):
    """The fields of a kind of source.

    Attributes:
        required: each of them.
        one_of: of each group exactly one.
        optional: what may be left out.
    """

    required: tuple[str, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        return (*self.required, *(name for group in self.one_of for name in group), *self.optional)


KINDS = {
    "env": _Kind(("var",)),
    "static": _Kind(("value",)),
    "process": _Kind(("command",), (), ("ttl",)),
    "aws-secretsmanager": _Kind(("secret",), (), ("region",)),
    "gcp-secretmanager": _Kind(("secret", "project"), (), ("version",)),
    "gcp-service-account": _Kind(
        (), (("private_key_path", "private_key_env", "secret"),), ("project", "version", "scopes")
    ),
    "github-app": _Kind(("app_id", "installation_id"), (("private_key_path", "private_key_env"),)),
    "token-exchange": _Kind(
        ("endpoint", "client_id"),
        (("client_secret", "client_secret_env"), ("subject_header", "subject_from")),
        ("resource", "subject_token_type", "actor_token_from", "actor_token_type"),
    ),
}
"""The kinds of sources, by `type`."""

FIELDS = ("type", *dict.fromkeys(name for kind in KINDS.values() for name in kind.fields))
"""All keys that production reads in a source."""

_HIDDEN = ("value", "client_secret")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9][A-Za-z]*[0-9])[A-Za-z0-9]{16,}")  # two digits in a long word


def is_variable(name: str) -> bool:
    """Whether a text is the name of a variable that a shell can export (POSIX.1-2017, XBD 3.235), and may be shown.

    One that looks like a token is none: `ghp_` and 36 letters and digits could be exported, and is somebody's secret.
    """
    return _VARIABLE.fullmatch(name) is not None and _VALUE.search(name) is None


def read_source(section: Section) -> SourceSpec:
    """Read and check a source. Raises ConfigError, never with a value, for one that production would refuse."""
    texts = {name: text for name in FIELDS if (text := section.text(name))}
    type = texts.pop("type", "")
    if not type:
        section.fail(f"a source needs a type; there are {', '.join(KINDS)}", "type")
    if type not in KINDS:
        section.fail(f"there is no such type of source; {nearest(type, list(KINDS))}", "type")
    _check_fields(section, type, texts)
    if "ttl" in texts:
        _check_ttl(section, texts["ttl"])
    if type == "gcp-service-account":
        _check_service_account(section, texts)
    if type == "token-exchange":
        _check_exchange(section, texts)
    return SourceSpec(
        type,
        tuple(sorted((name, text) for name, text in texts.items() if name not in _HIDDEN)),
        tuple((name, Secret(texts[name])) for name in _HIDDEN if name in texts),
        section.line,
    )


def _check_fields(section: Section, type: str, texts: dict[str, str]) -> None:
    kind = KINDS[type]
    for name in kind.required:
        if name not in texts:
            hint = "; null and ~ are no value, quote them where they are meant" if name == "value" else ""
            section.fail(f"a source of type {type} needs {name!r}{hint}", name)
    for name in texts:
        if name not in kind.fields:
            section.fail(f"a source of type {type} has no {name!r}, it uses {', '.join(kind.fields)}; remove it", name)
    for group in kind.one_of:
        given = [name for name in group if name in texts]
        if len(given) != 1:
            choices = ", ".join(group[:-1]) + f" and {group[-1]}"
            got = f"here are {' and '.join(given)}" if given else "here is none"
            typo = next(filter(None, map(section.typo_of, group)), "")
            meant = next(iter(given[-1:] or get_close_matches(typo, group, 1)), None)
            section.fail(f"a source of type {type} needs exactly one of {choices}; {got}", meant)


def _check_ttl(section: Section, text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        section.fail(str(error), "ttl")
    if seconds <= 0:
        section.fail("must be above 0, as in 90s, 5m or 1h30m", "ttl")


def _check_service_account(section: Section, texts: dict[str, str]) -> None:
    if "secret" in texts and "project" not in texts:
        section.fail("a source of type gcp-service-account needs 'project' beside 'secret'", "secret")
    for name in ("project", "version"):
        if name in texts and "secret" not in texts:
            section.fail(f"a source of type gcp-service-account uses {name!r} only beside 'secret'; remove it", name)


def _check_exchange(section: Section, texts: dict[str, str]) -> None:
    if texts.get("subject_from", "proxy-auth") != "proxy-auth":
        section.fail("the only value is proxy-auth; for a header use subject_header", "subject_from")
    if "actor_token_from" not in texts:
        return
    if texts["actor_token_from"] != "proxy-auth-password":  # noqa: S105 - the name of a place
        section.fail("the only value is proxy-auth-password", "actor_token_from")
    if "subject_from" not in texts:
        section.fail("proxy-auth-password needs 'subject_from: proxy-auth'", "actor_token_from")
