"""The report: what a run did, as one document of builtins.

`*_fact` boil records down to what a report keeps: no body, no secret but its fingerprint, every text blanked by value.
`document` puts the facts of all tests together; docs/report.md describes it field by field and changes with `VERSION`.
How it is drawn is `page`'s, where it is written the plugin's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytest_gatekeeper._core.model import Headers
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak, Tunnel
from pytest_gatekeeper._core.scope import Fact, merge
from pytest_gatekeeper._core.telling import Traced, clip, tell_bypass, tell_leak

__all__ = [
    "DETAILS", "SCHEMA", "VERSION", "bypass_fact", "cleartext_fact", "document", "exchange_fact", "leak_fact",
    "to_json", "tunnel_fact", "violation_fact", "went_astray",
]  # fmt: skip

SCHEMA = "pytest-gatekeeper/report"
VERSION = 1
"""Goes up when a field is renamed or removed, or changes its meaning; not for a new one."""

DETAILS = ("exchanges", "tunnels", "leaks", "violations", "bypasses", "cleartext")
"""The lists of a document that are one fact for each record."""

Blank = Callable[[str], str]

_HIDDEN = "<hidden>"
_HEADERS = 64
_VALUE = 300
_FIELDS = (
    "id", "method", "scheme", "host", "port", "target", "http_version", "status", "reason", "is_upgrade", "upgraded",
    "subprotocol", "request_size", "response_size", "denied", "deny_reason", "error", "upstream", "upstream_verified",
    "cleartext", "unscanned", "started", "duration", "closed", "request_id",
)  # fmt: skip
_SHOWN = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]* )?<secret [0-9a-f]{8}>")
_PRIVATE = re.compile(r"auth|cookie|token|secret|passw|credential|signature|session|api-?key|[-_]key$", re.IGNORECASE)
_NONCE = re.compile(r"sec-websocket-(?:key|accept)$", re.IGNORECASE)


# ------------------------------------------------------------------ facts of one test


def _headers(headers: Headers, private: Iterable[str], blank: Blank) -> list[list[str]]:
    """Header fields for a file that others read: of what usually is a credential, the fingerprint or nothing."""
    names = {name.lower() for name in private}
    shown = []
    for name, value in headers[:_HEADERS]:
        text = blank(value)
        hidden = name.lower() in names or (_PRIVATE.search(name) and not _NONCE.match(name))
        shown.append([blank(name), _HIDDEN if hidden and not _SHOWN.fullmatch(text) else clip(text, _VALUE)])
    return shown


def _violations(record: Traced, blank: Blank) -> list[Fact]:
    return [
        {"kind": violation.kind, "text": blank(violation.text), "action": blank(violation.action)}
        for violation in record.violations
    ]


def exchange_fact(exchange: Exchange, test: str, proxy: str, blank: Blank, *, headers: bool = True) -> Fact:
    """An exchange without bodies; see docs/report.md.

    Args:
        exchange: what happened.
        test: during which.
        proxy: through which; an exchange is known by test, proxy and id.
        blank: hides values in text.
        headers: whether to keep the header fields.
    """
    private = [injection.header for injection in exchange.injections]
    fact: Fact = {"test": test, "proxy": proxy}
    for name in _FIELDS:
        value = getattr(exchange, name)
        fact[name] = blank(value) if isinstance(value, str) else list(value) if isinstance(value, tuple) else value
    fact["url"] = blank(exchange.url)
    fact["injections"] = [
        {"header": done.header, "grant": done.grant, "rule": done.rule, "secret": done.secret.fingerprint}
        for done in exchange.injections
    ]
    fact["violations"] = _violations(exchange, blank)
    if headers:
        fact["request_headers"] = _headers(exchange.headers, private, blank)
        fact["forwarded_headers"] = _headers(exchange.forwarded_headers, private, blank)
        fact["response_headers"] = _headers(exchange.response_headers, private, blank)
    return fact


def tunnel_fact(tunnel: Tunnel, test: str, proxy: str, blank: Blank) -> Fact:
    """A CONNECT that says more than its exchanges do; see docs/report.md."""
    return {
        "test": test, "proxy": proxy, "id": tunnel.id, "host": blank(tunnel.host), "port": tunnel.port,
        "status": tunnel.status, "tls_version": tunnel.tls_version, "sni": blank(tunnel.sni) if tunnel.sni else None,
        "denied": tunnel.denied, "error": blank(tunnel.error) if tunnel.error else None,
        "exchanges": len(tunnel.exchanges), "closed": tunnel.closed, "violations": _violations(tunnel, blank),
    }  # fmt: skip


def leak_fact(leak: Leak, test: str, proxy: str, blank: Blank) -> Fact:
    """A secret where it does not belong; see docs/report.md."""
    return {
        "test": test, "proxy": proxy, "exchange": leak.exchange.id, "url": blank(leak.exchange.url),
        "secret": leak.secret.fingerprint, "rule": leak.rule, "grant": leak.grant, "direction": leak.direction,
        "place": blank(leak.place), "offset": leak.offset, "count": leak.count, "client_held": leak.client_held,
        "text": blank(tell_leak(leak)),
    }  # fmt: skip


def went_astray(leak: Fact) -> bool:
    """Whether a leak, as a fact, is one that counts; see `Leak.astray`."""
    return leak["direction"] == "upstream" and not leak["client_held"]


def violation_fact(record: Traced, number: int, text: str, test: str, proxy: str) -> Fact:
    """A violation of an exchange or a tunnel; see docs/report.md.

    Args:
        record: what was tried.
        number: of the violation in it, from 0.
        text: the violation told, blanked.
        test: during which.
        proxy: through which.
    """
    exchange = record.id if isinstance(record, Exchange) else None
    tunnel = record.id if isinstance(record, Tunnel) else None
    kind = record.violations[number].kind
    return {"test": test, "proxy": proxy, "exchange": exchange, "tunnel": tunnel, "kind": kind, "text": text}


def bypass_fact(bypass: Bypass, test: str, proxy: str, blank: Blank) -> Fact:
    """A connection past the proxy; see docs/report.md."""
    return {
        "test": test, "proxy": proxy, "host": blank(bypass.host), "port": bypass.port, "client": blank(bypass.client),
        "cure": blank(bypass.cure), "text": blank(tell_bypass(bypass)),
    }  # fmt: skip


def cleartext_fact(exchange: Exchange, text: str, test: str, proxy: str) -> Fact:
    """A credential that went in cleartext; see docs/report.md."""
    return {"test": test, "proxy": proxy, "exchange": exchange.id, "upstream": exchange.upstream, "text": text}


# ------------------------------------------------------------------ the document


def document(
    about: Mapping[str, Any], rules: Iterable[Fact], tests: Iterable[Fact], details: Mapping[str, Iterable[Fact]]
) -> Fact:
    """All of a run as builtins that JSON can hold.

    Args:
        about: the run: `generator`, `created`, `config`, `secrets`, `fail_on`, `exit_status`, `lost`.
        rules: see `scope.scope_facts`.
        tests: facts with `id`, `outcome` and numbers.
        details: facts by the names of `DETAILS`; a name without facts may be absent.
    """
    merged = merge(rules)
    known = sorted(tests, key=lambda fact: fact["id"])
    lists = {name: sorted(details.get(name, ()), key=_place) for name in DETAILS}
    summary = {
        "rules": len(merged),
        "unused": sum(not _used(rule) for rule in merged),
        "tests": len(known),
        "exchanges": sum(fact["exchanges"] for fact in known),
        "injected": sum(fact["injected"] for fact in known),
        "leaks": sum(map(went_astray, lists["leaks"])),
        "violations": len(lists["violations"]),
        "bypasses": len(lists["bypasses"]),
        "cleartext": len(lists["cleartext"]),
    }
    return {
        "schema": SCHEMA,
        "version": VERSION,
        **about,
        "complete": not about["lost"],
        "summary": summary,
        "rules": [_rule(rule) for rule in merged],
        "tests": known,
        **lists,
    }


def _place(fact: Fact) -> tuple[str, str]:
    """What facts are sorted by; those of one test and proxy keep their order."""
    return fact["test"], fact["proxy"]


def _used(rule: Fact) -> bool:
    return bool(rule["requests"] or rule["upgrades"])


def _rule(rule: Fact) -> Fact:
    first = {name: rule[name] for name in ("id", "pattern", "header", "grant")}
    rest = {name: rule[name] for name in ("hosts", "requests", "upgrades", "tests", "scanned", "canary")}
    return {**first, "used": _used(rule), **rest}


def to_json(report: Fact) -> str:
    """The document as a file's text: ASCII, indented, one newline at its end."""
    return json.dumps(report, indent=1) + "\n"
