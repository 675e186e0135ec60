"""What a configuration does with a URL: policy, the rule that it meets, what is injected, and why nothing else is.

Nothing is fetched: a value stands for itself by the name of its source. Of a URL only scheme, host and port are kept,
since the rest plays no part and may hold a secret.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pytest_gatekeeper._core.contest import Outcome, book_of, contest
from pytest_gatekeeper._core.hints import dead_pattern
from pytest_gatekeeper._core.hosts import (
    PORTS,
    host_matches,
    is_link_local,
    is_loopback,
    join_authority,
    same_host,
    split_authority,
)
from pytest_gatekeeper._core.lint import allowed
from pytest_gatekeeper._core.model import Credential, Settings, SourceSpec
from pytest_gatekeeper._core.places import keyed
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.rules import SCHEME, header_value
from pytest_gatekeeper._core.source_spec import is_variable
from pytest_gatekeeper._core.telling import plain

__all__ = ["Address", "Explanation", "Other", "Use", "explain", "read_url", "told"]

_END = re.compile(r"[/?#\\]")
_SCHEME_WORD = re.compile(r"[A-Za-z][A-Za-z-]{0,15}")  # what a prefix may be to be shown; longer ones may be secrets
_LABEL = 10  # columns in front of what is told


class Address(NamedTuple):
    """What counts of a URL. The host is without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{join_authority(self.host, self.port)}"


class Use(NamedTuple):
    """A credential that is injected.

    Attributes:
        key, line: where it stands in the file.
        field: the header as it is sent, with a name in the place of the value.
        grant: its label, or "".
        source: where the value comes from, and whether it is there.
        note: what else the value decides, or "".
    """

    key: str
    line: int | None
    field: str
    grant: str
    source: str
    note: str


class Other(NamedTuple):
    """A credential that is not injected, and why."""

    key: str
    line: int | None
    pattern: str
    header: str
    grant: str
    why: str


@dataclass(frozen=True)
class Explanation:
    """What becomes of requests to an address.

    Attributes:
        address: the one that was asked about.
        permitted: whether policy lets them pass; when not, nothing is injected.
        policy: what it says, as a sentence.
        pattern: of the rules that apply, "" where none does.
        rule: how it matches, as a sentence.
        added: what is injected when the client sends none of these headers itself.
        asked: what replaces a header that the client sends, where that is another credential.
        others: every other credential, in the order of the file.
    """

    address: Address
    permitted: bool
    policy: str
    pattern: str
    rule: str
    added: tuple[Use, ...]
    asked: tuple[Use, ...]
    others: tuple[Other, ...]


def read_url(text: str) -> Address:
    """What counts of a URL: `https`, `http`, `wss` or `ws`, a host alone, or host:port, which are taken for https.

    Raises ValueError, with a text that never repeats what was given, for anything else.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "https", scheme
    if scheme.lower() not in PORTS:
        raise ValueError(f"the scheme must be one of {', '.join(PORTS)}, as in https://api.example.com")
    authority = _END.split(rest)[0].rpartition("@")[2]
    try:
        if not authority.isascii():  # as clients send it (RFC 5890)
            authority = authority.encode("idna").decode("ascii")
        host, port = split_authority(authority)
    except (ValueError, UnicodeError):
        raise ValueError(
            "it names no host, or no port from 1 to 65535; write it as in wss://ws.example.com:8443/"
        ) from None
    return Address(scheme.lower(), host, port or PORTS[scheme.lower()])


def explain(settings: Settings, address: Address, is_set: Callable[[str], bool]) -> Explanation:
    """What a configuration does with requests to an address.

    Args:
        settings: as read.
        address: see `read_url`.
        is_set: whether an environment variable has a value.
    """
    named = keyed(settings)
    by_key = dict(named)
    outcome = contest(named, address.host)
    used = (*outcome.added, *outcome.asked)
    return Explanation(
        address,
        Policy(settings.network).permits(address.host, address.port),
        _policy(settings, address),
        outcome.pattern,
        _rule(outcome.pattern, address.host),
        tuple(_use(key, by_key[key], is_set) for key in outcome.added),
        tuple(_use(key, by_key[key], is_set) for key in outcome.asked),
        tuple(_other(item, outcome, address.host) for item in named if item[0] not in used),
    )


# ------------------------------------------------------------------ policy


def _policy(settings: Settings, address: Address) -> str:
    if settings.network.policy != "strict":
        return "permissive, everything passes"
    host, port = address.host, address.port
    matching = [pattern for pattern in allowed(settings.network) if host_matches(pattern.host, host)]
    for pattern in matching:
        if port in pattern.ports:
            return f"strict, and {pattern.key} {pattern.pattern!r} allows it"
    wanted = host if port in (80, 443) else join_authority(host, port)
    if ":" in host:
        return f"strict, and denies {host}: IPv6 addresses cannot be allowed; give the host a name"
    if not matching:
        return f"strict, and denies {host}: no pattern of network.allow matches it; add {wanted!r}"
    ports = " and ".join(str(number) for number in sorted(matching[0].ports))
    return f"strict, and denies port {port}: {matching[0].key} {matching[0].pattern!r} is for {ports}; add {wanted!r}"


# ------------------------------------------------------------------ what is injected


def _rule(pattern: str, host: str) -> str:
    if not pattern:
        return "none matches"
    if pattern.startswith("*."):
        return f"{pattern}, the wildcard with the longest suffix that matches"
    return f"{pattern}, the exact name" + ("" if pattern == host else ", case aside")


def _use(key: str, credential: Credential, is_set: Callable[[str], bool]) -> Use:
    header = credential.header or "Authorization"
    value, source = _source(credential.source, is_set)
    shape, note = _shape(credential, value)
    return Use(key, credential.line, f"{header}: {shape}", credential.grant, source, note)


def _source(source: SourceSpec, is_set: Callable[[str], bool]) -> tuple[str, str]:
    """What stands for the value, and where it comes from."""
    if source.type == "env":
        name = source.get("var")
        if not is_variable(name):
            return "<value of env>", "env, with what is no name of a variable"
        return f"<value of env {name}>", f"env {name} ({'set' if is_set(name) else 'not set'})"
    if source.type == "static":
        return "<static value>", "static source"
    return f"<value of {source.type}>", source.type


def _shape(credential: Credential, value: str) -> tuple[str, str]:
    """What the header holds, `value` in the place of the value; and what a value that is not known may change."""
    if (credential.header or "Authorization").lower() != "authorization":
        return value, ""
    if credential.format == "basic":
        return f"Basic <base64 of {'prefix, ' if credential.prefix else ''}':' and {value.strip('<>')}>", ""
    known = credential.source.secret("value")
    if known and SCHEME.match(known.reveal()):
        return f"{value[:-1]}, which opens with a scheme of its own>", ""
    scheme, space, _ = header_value(credential, known.reveal() if known else "value").partition(" ")
    if credential.prefix:
        scheme = credential.prefix if _SCHEME_WORD.fullmatch(credential.prefix) else "<prefix>"
    note = "a value with a scheme in front is sent as it is"
    note += ", without the prefix" if credential.prefix else ", ghp_ and ghs_ tokens with 'token'"
    return f"{scheme} {value}" if space or credential.prefix else value, "" if known else note


# ------------------------------------------------------------------ why not


def _other(item: tuple[str, Credential], outcome: Outcome, host: str) -> Other:
    key, credential = item
    header = credential.header or "Authorization"
    return Other(key, credential.line, credential.host, header, credential.grant, _why(item, outcome, host))


def _why(item: tuple[str, Credential], outcome: Outcome, host: str) -> str:
    key, credential = item
    if key in outcome.replaced:
        return f"{outcome.replaced[key]} has the same host, header and grant, and replaces it"
    if key in outcome.beaten:
        return f"{outcome.beaten[key]} comes first, and a request gets one {credential.header or 'Authorization'}"
    if dead := dead_pattern(credential.host):
        return dead
    if not host_matches(credential.host, host):
        reason = book_of([item]).reason(host)
        return reason.partition(" (")[2].removesuffix(")") or "another host"
    if same_host(credential.host, outcome.pattern):
        return f"matches, but {outcome.pattern} comes before this spelling, and only its credentials are sent"
    kind = "the longer suffix" if outcome.pattern.startswith("*.") else "the exact name"
    return f"matches, but {kind} {outcome.pattern} wins, and only its credentials are sent"


# ------------------------------------------------------------------ lines


def told(found: Explanation, width: int) -> list[str]:
    """An explanation as lines of at most `width` characters."""
    lines = [str(found.address), ""]
    for label, paragraphs in _paragraphs(found):
        for index, (text, depth) in enumerate(paragraphs):
            lines.extend(_wrapped("" if index else label, text, depth, width))
    return lines


def _wrapped(label: str, text: str, depth: int, width: int) -> list[str]:
    first = label.ljust(_LABEL + depth)
    return textwrap.wrap(
        plain(text), width, initial_indent=first, subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


_Paragraphs = list[tuple[str, int]]


def _paragraphs(found: Explanation) -> Iterator[tuple[str, _Paragraphs]]:
    yield "policy", [(found.policy, 0)]
    yield "rule", [(found.rule, 0)]
    uses = [line for use in found.added for line in _told_use(use)]
    if found.permitted:
        yield "injected", uses or [("nothing", 0)]
    else:
        answer = "nothing, the answer is 407"
        yield "injected", [(f"{answer}; if policy allowed it:" if uses else answer, 0), *uses]
    if len(found.added) + len(found.asked) > 1:
        yield "", [("a client that sends one of these headers itself gets that one replaced, and no other", 0)]
    if found.asked:
        yield "instead", [
            ("of a header that the client sends itself:", 0), *(line for use in found.asked for line in _told_use(use)),
        ]  # fmt: skip
    if found.added and found.address.scheme in ("http", "ws") and not is_loopback(found.address.host):
        yield "note", [(f"{found.address.scheme} is not encrypted: the credential travels in clear text", 0)]
    if is_link_local(found.address.host):
        yield (
            "note",
            [("a link-local or cloud-metadata address is never dialled: 502, unless a route leads elsewhere", 0)],
        )
    if found.others:
        yield "others", [(_told_other(other), 0) for other in found.others]
    elif not found.added:
        yield "others", [("the file has no rules", 0)]


def _told_use(use: Use) -> _Paragraphs:
    parts = [_at(use.key, use.line), f"grant {use.grant}" if use.grant else "", use.source]
    return [(use.field, 0), (", ".join(part for part in parts if part), 2), *([(use.note, 2)] if use.note else ())]


def _told_other(other: Other) -> str:
    grant = f", grant {other.grant}" if other.grant else ""
    return f"{other.pattern} ({_at(other.key, other.line)}{grant}): {other.why}"


def _at(key: str, line: int | None) -> str:
    return f"{key}, line {line}" if line is not None else key
