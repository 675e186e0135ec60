"""Rules: credentials with their values, found by host.

Turns a source's value into the value of a header, and picks the rules of a host. Nothing is put into a request here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from pytest_gatekeeper._core.hints import header_problem, host_problem
from pytest_gatekeeper._core.hosts import HostTable, is_address, same_host
from pytest_gatekeeper._core.model import Credential, Rule
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.errors import ConfigError

__all__ = ["SCHEME", "RuleBook", "header_value", "make_rule"]

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_-]* ")
"""An authentication scheme in front of a value (RFC 9110 section 11.1, with `_`)."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REMEMBERED = 1024  # hosts whose reason is kept


def header_value(credential: Credential, value: str) -> str:
    """The value of the credential's header for a source's `value`.

    For `Authorization`: `format: basic` gives `Basic base64(prefix:value)`; a value that starts with a scheme is kept;
    else the prefix and the value; else `token` for GitHub's ghp_ and ghs_ tokens and `Bearer` for all others. For any
    other header the value itself. White space at both ends is removed, as it cannot be sent.
    """
    if (credential.header or "Authorization").lower() != "authorization":
        text = value
    elif credential.format == "basic":
        pair = f"{credential.prefix}:{value}".encode("utf-8", "surrogateescape")
        text = "Basic " + base64.b64encode(pair).decode("ascii")
    elif SCHEME.match(value):
        text = value
    elif credential.prefix:
        text = f"{credential.prefix} {value}"
    elif value.startswith(("ghp_", "ghs_")):
        text = "token " + value
    else:
        text = "Bearer " + value
    return text.strip(" \t")


def make_rule(id: str, credential: Credential, value: Secret, canary: bool = False) -> Rule:
    """A rule of a credential and its value.

    Raises ConfigError, whose key begins with `id` and whose text never holds the value, for a host or a header name
    that could never match or be sent, and for a control character in the header's value.
    """
    header = credential.header or "Authorization"
    for field, problem in (("host", _host_problem(credential.host)), ("header", header_problem(header))):
        if problem:
            raise ConfigError(problem, line=credential.line, key=f"{id}.{field}")
    text = header_value(credential, value.reveal())
    if _CONTROL.search(text):
        raise ConfigError(_control_problem(credential, header, value.reveal()), line=credential.line, key=id)
    return Rule(id, credential.host, header, credential.grant, value, Secret(text), canary)


def _host_problem(host: str) -> str:
    """As for a file, where an IPv6 address cannot be written; a test may, in brackets."""
    in_brackets = host.startswith("[") and host.endswith("]") and is_address(host[1:-1])
    return "" if in_brackets else host_problem(host)


def _control_problem(credential: Credential, header: str, value: str) -> str:
    match = _CONTROL.search(value)
    if match is None:
        return f"the prefix for {credential.host} has a control character, which no header may hold"
    return (
        f"the value for {credential.host} (header {header}) has a control character, U+{ord(match[0]):04X}, at position"
        f" {match.start() + 1}, which no header may hold: remove it at its source"
    )


class RuleBook:
    """All rules of a proxy, looked up by host.

    As in production, of two rules with the same host, header and grant (all spelled alike) the later one takes the
    place of the earlier; `rules` still holds both.

    Attributes:
        rules: in the order given.
        secrets: their values, each once.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.secrets = tuple({rule.secret: None for rule in self.rules})
        latest = {(rule.pattern, rule.header, rule.grant): rule for rule in self.rules}
        self._table = HostTable([(rule.pattern, rule) for rule in latest.values()])
        self._reasons: dict[str, str] = {}

    def for_host(self, host: str) -> tuple[Rule, ...]:
        """The rules that apply to a host: those of the one pattern that wins (see `HostTable`)."""
        return self._table.lookup(host)[1]

    def reason(self, host: str) -> str:
        """Why no rule applies to `host`, naming the nearest pattern; empty where one does."""
        reason = self._reasons.get(host)
        if reason is None:
            if len(self._reasons) >= _REMEMBERED:
                self._reasons.clear()
            reason = self._reasons[host] = "" if self.for_host(host) else self._why_not(host)
        return reason

    def _why_not(self, host: str) -> str:
        patterns = dict.fromkeys(rule.pattern for rule in self.rules)
        if not patterns:
            return f"no rule for {host}: there are no rules at all"
        from difflib import SequenceMatcher  # for a miss alone

        name = host.lower()
        nearest = max(patterns, key=lambda pattern: SequenceMatcher(None, name, pattern.lower()).ratio())
        return f"no rule for {host}; nearest is {nearest}{_mismatch(nearest.lower(), name)}"


def _mismatch(pattern: str, name: str) -> str:
    """Why a pattern that looks like a name does not match it, both in lower case; empty where nothing is special."""
    suffix = pattern.removeprefix("*.")
    if same_host(suffix, name) and name.endswith("."):
        return " (the host has a trailing dot)"
    if same_host(suffix, name) and pattern.endswith("."):
        return " (the pattern has a trailing dot)"
    if suffix == name:
        return " (a wildcard does not match its own suffix)"
    if "*" in suffix:
        return " (only *.suffix is a wildcard)"
    if pattern.startswith("*.") and name.endswith(suffix):
        return " (a wildcard matches whole labels only)"
    if name.endswith("." + pattern):
        return f" (an exact pattern does not match names below it; *.{pattern} would)"
    return ""
