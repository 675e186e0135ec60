"""Putting credentials into a request head.

The one place that opens secrets in order to send them. A `Plan` holds what may be sent to one host, ready to use;
`inject` writes it into a head, and beside it the head that may be shown. Which plan belongs to a request is `decide`'s
business, and neither a plan nor what it sends may be kept in a record or printed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_gatekeeper._core.model import Headers, Injection, Rule

__all__ = ["Plan", "inject"]


class _Entry:
    """What one rule puts into a head: the field to send, and the same to show."""

    __slots__ = ("injection", "name", "send", "show")

    def __init__(self, rule: Rule) -> None:
        text = rule.header_value.reveal()
        self.name = rule.header
        self.send = text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")
        self.show = _shown(rule, text)
        self.injection = Injection(rule.header, rule.grant, rule.id, rule.secret, rule.header_value, rule.canary)


def _shown(rule: Rule, text: str) -> str:
    """The header's value with the secret blanked; what stands in front of it (a scheme) stays."""
    value = rule.secret.reveal().strip(" \t")
    if value and text.endswith(value):
        return text.removesuffix(value) + repr(rule.secret)
    scheme, space, _ = text.partition(" ")  # format: basic
    return scheme + space + repr(rule.secret) if space else repr(rule.secret)


class Plan:
    """What is injected into requests for one host, by lower-case header name.

    One credential per header: the first rule wins, but one with the grant `claude` loses to any other when the client
    sent none of the headers, and wins where the client sent that header.
    """

    __slots__ = ("_all", "_asked", "_injections", "_shown", "_tail", "empty", "names")

    def __init__(self, rules: Sequence[Rule]) -> None:
        unasked: dict[str, Rule] = {}
        asked: dict[str, Rule] = {}
        for rule in rules:
            name = rule.header.lower()
            claude = rule.grant == "claude"
            if name not in unasked or (unasked[name].grant == "claude" and not claude):
                unasked[name] = rule
            if name not in asked or (claude and asked[name].grant != "claude"):
                asked[name] = rule
        self._all = {name: _Entry(rule) for name, rule in unasked.items()}
        self._asked = {name: _Entry(rule) for name, rule in asked.items()}
        self._tail: Headers = tuple((entry.name, entry.send) for entry in self._all.values())
        self._shown: Headers = tuple((entry.name, entry.show) for entry in self._all.values())
        self._injections = tuple(entry.injection for entry in self._all.values())
        self.names = frozenset(unasked)
        self.empty = not unasked

    def unasked(self, headers: Headers) -> tuple[Headers, Headers, tuple[Injection, ...]]:
        """All credentials at the end of a head that has none of their fields."""
        return headers + self._tail, headers + self._shown, self._injections

    def chosen(self, fields: Sequence[tuple[str, str]]) -> dict[str, _Entry]:
        """The credentials for a client's own fields (lower-case name, value): those it asked for, else all."""
        first = dict(reversed(fields))
        return {name: self._asked[name] for name in first if first[name] and name in self._asked} or self._all


def inject(headers: Headers, plan: Plan) -> tuple[Headers, Headers, tuple[Injection, ...]]:
    """Put credentials into header fields: what to send, the same to show, and the injections in order of field.

    The client's fields are looked at before anything is written: where it sent a value (its first one counts) in a
    header that has a credential, only such headers are replaced; else all credentials are added. The first field of
    the name is replaced in place, further ones are removed, absent ones are added at the end.

    Args:
        headers: the client's, without hop-by-hop fields.
        plan: of the request's host.
    """
    if plan.empty:
        return headers, headers, ()
    names = [name.lower() for name, _ in headers]
    if plan.names.isdisjoint(names):
        return plan.unasked(headers)
    chosen = plan.chosen([(name, value) for name, (_, value) in zip(names, headers) if name in plan.names])
    send: list[tuple[str, str]] = []
    show: list[tuple[str, str]] = []
    left = dict(chosen)
    done: list[Injection] = []
    for name, pair in zip(names, headers):
        if name not in chosen:
            send.append(pair)
            show.append(pair)
        elif name in left:
            entry = left.pop(name)
            send.append((pair[0], entry.send))
            show.append((pair[0], entry.show))
            done.append(entry.injection)
    for entry in left.values():
        send.append((entry.name, entry.send))
        show.append((entry.name, entry.show))
        done.append(entry.injection)
    return tuple(send), tuple(show), tuple(done)
