"""What header fields say about the connection, and which of them travel on.

Reads framing, Host, Connection and Upgrade of a request head, refuses what is ambiguous, and removes what belongs to
one hop (RFC 9110 section 7.6.1). Order and case of what stays are kept. `value_of` and `values_of` look fields up for
everybody. Where a request goes, and what is added to it, is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pytest_gatekeeper._core.model import Headers, RequestHead

__all__ = ["Malformed", "Survey", "captured", "forwarded", "returned", "survey", "value_of", "values_of"]

_FRAMING = frozenset(("host", "content-length", "transfer-encoding"))  # what Connection cannot remove
_HOP_BY_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "upgrade",
))  # fmt: skip
_FORWARDED = frozenset(("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"))
_HOP_BY_HOP_IN_TUNNEL = _HOP_BY_HOP | _FORWARDED
_WATCHED = frozenset((
    "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "x-request-id",
    "proxy-authorization",
))  # fmt: skip
_NONE: Mapping[str, list[str]] = {}
_APART = frozenset(("host", "transfer-encoding", "trailer"))
_DIGITS = re.compile(r"[0-9]+")


class Malformed(ValueError):
    """A head that must be refused: `status` is what to answer, the text is fit for the answer's body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Survey(NamedTuple):
    """What a request head says about its connection.

    Attributes:
        names: the field names in lower case, in order.
        fields: the values of the fields that matter here, by lower-case name.
        host: the value of Host, None without one.
        tokens: what Connection lists, in lower case.
        upgrade: the protocols asked for, h2c left out; "" for none.
        length: the Content-Length to send; "" where it stays as it is.
        doubled: both Content-Length and Transfer-Encoding are there.
        close: the client wants the connection closed after the answer.
    """

    names: list[str]
    fields: Mapping[str, list[str]]
    host: str | None
    tokens: frozenset[str]
    upgrade: str
    length: str
    doubled: bool
    close: bool

    def first(self, name: str) -> str:
        """The first value of one of the fields that matter here, "" without one."""
        return self.fields[name][0] if name in self.fields else ""


def values_of(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Every value of a header field, in order; `name` in lower case."""
    return [value for key, value in headers if key.lower() == name]


def value_of(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first value of a header field, None without one; `name` in lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


def survey(head: RequestHead) -> Survey:
    """Read a head's framing and connection fields. Raises Malformed for one that is ambiguous or not understood."""
    names = [name.lower() for name, _ in head.headers]
    fields = _NONE
    if not _WATCHED.isdisjoint(names):
        fields = _collect(names, head.headers)
    hosts = fields.get("host")
    if hosts is None and head.version != "1.0":
        raise Malformed(400, "An HTTP/1.1 request needs a Host header (RFC 9112 section 3.2).")
    if hosts is not None and len(hosts) > 1:
        raise Malformed(400, "The request has more than one Host header (RFC 9112 section 3.2).")
    host = None if hosts is None else hosts[0]
    if len(fields) == (host is not None):  # the usual head: none of the others
        return Survey(names, fields, host, frozenset(), "", "", False, head.version == "1.0")
    length = _length(fields.get("content-length"))
    chunked = _chunked(fields.get("transfer-encoding"), head.version)
    tokens = frozenset(_tokens(fields["connection"])) if "connection" in fields else frozenset()
    close = "close" in tokens or (head.version == "1.0" and "keep-alive" not in tokens)
    doubled = chunked and "content-length" in fields
    upgrade = _protocols(fields["upgrade"][0]) if "upgrade" in tokens and "upgrade" in fields else ""
    return Survey(names, fields, host, tokens, upgrade, length, doubled, close or doubled)


def _collect(names: list[str], headers: Headers) -> Mapping[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, (_, value) in zip(names, headers):
        if name in _WATCHED:
            fields.setdefault(name, []).append(value)
    return fields


def _length(values: list[str] | None) -> str:
    """The one Content-Length of several equal ones; "" where there is one field that can stay."""
    if values is None:
        return ""
    lengths = {value.strip(" \t") for value in values}
    if not all(_DIGITS.fullmatch(length) for length in lengths):
        raise Malformed(400, "The Content-Length is no number (RFC 9112 section 6.3).")
    if len(lengths) > 1:
        raise Malformed(400, "The request has Content-Lengths that differ (RFC 9112 section 6.3).")
    return "" if len(values) == 1 else lengths.pop()


def _chunked(values: list[str] | None, version: str) -> bool:
    if values is None:
        return False
    if len(values) > 1 or values[0].strip(" \t").lower() != "chunked":
        raise Malformed(501, "The only transfer coding understood here is chunked, given once (RFC 9112 section 6.1).")
    if version == "1.0":
        raise Malformed(400, "HTTP/1.0 has no transfer codings: send a Content-Length (RFC 9112 section 6.1).")
    return True


def _tokens(values: list[str]) -> list[str]:
    return [token for value in values for item in value.split(",") if (token := item.strip(" \t").lower())]


def _protocols(value: str) -> str:
    """An Upgrade field without h2c, which would put the connection out of sight."""
    if "h2c" not in value.lower():
        return value
    return ", ".join(
        item for part in value.split(",") if (item := part.strip(" \t")) and item.lower().partition("/")[0] != "h2c"
    )


def forwarded(headers: Headers, found: Survey, host: str | None, in_tunnel: bool) -> Headers:
    """The header fields that travel on, in order.

    Args:
        headers: the client's.
        found: their survey.
        host: the value of Host to send; None keeps the client's.
        in_tunnel: whether the forwarding fields (`X-Forwarded-For` and the like) are removed, too.
    """
    drop = _HOP_BY_HOP_IN_TUNNEL if in_tunnel else _HOP_BY_HOP
    put: dict[str, str] = {}
    if host is not None:
        put["host"] = host
    if len(found.fields) > (found.host is not None):
        if found.tokens:
            drop = drop | (found.tokens - _FRAMING)
        if found.upgrade:
            put.update(connection="Upgrade", upgrade=found.upgrade)
        if "te" in found.fields and "trailers" in _tokens(found.fields["te"]):
            put["te"] = "trailers"
        if found.doubled:
            drop = drop | {"content-length"}
        elif found.length:
            put["content-length"] = found.length
    if not put:
        return tuple([pair for name, pair in zip(found.names, headers) if name not in drop])
    return _rewritten(headers, found.names, drop, put)


def _rewritten(headers: Headers, names: list[str], drop: frozenset[str], put: dict[str, str]) -> Headers:
    kept: list[tuple[str, str]] = []
    left = dict(put)
    for name, pair in zip(names, headers):
        if name in left:
            kept.append((pair[0], left.pop(name)))
        elif name not in put and name not in drop:
            kept.append(pair)
    if "host" in left:  # HTTP/1.0 without one
        kept.insert(0, ("Host", left["host"]))
    return tuple(kept)


def returned(headers: Headers) -> Headers:
    """The header fields of an answer that travel on to the client, in order; framing stays, what is one hop's goes.

    Of Content-Length beside chunked only the latter is kept (RFC 9112 section 6.3), of several equal ones the first.
    """
    names = [name.lower() for name, _ in headers]
    drop = _HOP_BY_HOP
    if names.count("content-length") > 1:  # equal ones, the head would have been refused otherwise
        first = names.index("content-length")
        headers = tuple([pair for at, pair in enumerate(headers) if names[at] != "content-length" or at == first])
        names = [name.lower() for name, _ in headers]
    if drop.isdisjoint(names) and "transfer-encoding" not in names:
        return headers
    tokens = _tokens([value for name, (_, value) in zip(names, headers) if name == "connection"])
    drop = drop | (frozenset(tokens) - _FRAMING)
    if "transfer-encoding" in names:
        drop = drop | {"content-length"}
    return tuple([pair for name, pair in zip(names, headers) if name not in drop])


def captured(headers: Headers, names: list[str], wanted: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The values to log of captured headers, as (key, value): the first of each, where it is not empty.

    Host and the framing of a chunked body are not among them: production keeps those apart from the headers. Values are
    whole: `logline` cuts them, once secrets have been blanked.

    Args:
        headers: the client's.
        names: their names in lower case.
        wanted: log keys by lower-case header name.
    """
    first: dict[str, str] = {}
    for name, (_, value) in zip(names, headers):
        if name in wanted and name not in _APART:
            first.setdefault(name, value)
    return tuple((key, first[name]) for name, key in wanted.items() if first.get(name))
