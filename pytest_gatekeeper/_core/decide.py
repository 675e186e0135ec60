"""The one place where a request's fate is settled: from its head, the tunnel it came through, and the terms.

`decide` gives a `Forward`, which says what to send where, or a `Refused`, which is the answer. It reads nothing else
and remembers nothing. The steps: is the head sound (`headers`), where does it lead, may it go there (`policy`), what
travels on (`headers`), which credentials are added (`inject`). A credential belongs to the host that the client
connected to, never to one that a header names.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from pytest_gatekeeper._core import answers
from pytest_gatekeeper._core.admission import authenticate
from pytest_gatekeeper._core.headers import Malformed, Survey, captured, forwarded, survey, value_of
from pytest_gatekeeper._core.hosts import PORTS, join_authority, same_host, split_authority
from pytest_gatekeeper._core.inject import Plan, inject
from pytest_gatekeeper._core.model import Destination, Forward, Headers, Injection, Refused, RequestHead, Violation
from pytest_gatekeeper._core.terms import Terms

__all__ = ["decide"]

_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_SENT_AS_IS = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@/\[\]%#]*(?:\?.*)?", re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNESCAPED = "-_.~$&+,/:;=@"
_NO_PLAN = Plan(())
_REQUEST_ID = "x-request-id"
_NEEDED = frozenset(("host", "content-length", "transfer-encoding", "connection", "upgrade"))  # the last two to upgrade
_NO_HOST = Violation("inner-host", "the Host header names no host", "refused with 400")


class _NoHost(Malformed):
    """The Host header names no host."""


class _Aim(NamedTuple):
    """Where a sound request leads.

    Attributes:
        target: what is asked for, in origin form or `*`.
        host: the Host to send; None keeps the client's.
        violation: names another host; no credential goes with it.
        user_id: of proxy authentication.
        in_tunnel: it came through one.
    """

    destination: Destination
    target: str
    host: str | None = None
    violation: Violation | None = None
    user_id: str = ""
    in_tunnel: bool = True


def decide(head: RequestHead, tunnel: Destination | None, terms: Terms, request_id: str) -> Forward | Refused:
    """Settle the fate of a request.

    Args:
        head: as the client sent it.
        tunnel: whom the tunnel that it came through leads to, TLS or plain; None for a request to the listener.
        terms: what to decide by.
        request_id: the X-Request-Id to send where the client sent none.
    """
    try:
        found = survey(head)
        aim = _in_tunnel(head, found, tunnel) if tunnel is not None else _at_listener(head, found, terms)
    except Malformed as error:
        violations = (_NO_HOST,) if isinstance(error, _NoHost) and tunnel is not None else ()
        return answers.malformed(error.status, str(error), violations)._replace(destination=tunnel)
    log = captured(head.headers, found.names, terms.captures) if terms.captures else ()
    if isinstance(aim, Refused):
        return aim._replace(captured=log) if aim.logged else aim
    if not terms.policy.permits(aim.destination.host, aim.destination.port):
        refusal = answers.denied(aim.destination, found.close)
        return refusal._replace(captured=log, user_id=aim.user_id, violations=_violations(aim, found))
    return _forward(head, found, aim, terms, request_id, log)


def _violations(aim: _Aim, found: Survey) -> tuple[Violation, ...]:
    violations: tuple[Violation, ...] = () if aim.violation is None else (aim.violation,)
    if found.doubled:
        text = "the request has both Content-Length and Transfer-Encoding, by which two servers can disagree on its end"
        violations += (Violation("smuggling", text, "Content-Length dropped, connection closed after the answer"),)
    return violations


# ------------------------------------------------------------------ where a request leads


def _in_tunnel(head: RequestHead, found: Survey, tunnel: Destination) -> _Aim | Refused:
    if refusal := _method_refused(head.method, tunnel):
        return refusal
    named = _named_host(found.host)
    if head.target.startswith("/") or (head.target == "*" and head.method == "OPTIONS"):
        target = head.target if head.target == "*" else _origin_form(head.target)
        if not named:
            return _Aim(tunnel, target, join_authority(tunnel.host, tunnel.port))
        if named == tunnel.host or same_host(named, tunnel.host):
            return _Aim(tunnel, target)
        return _Aim(tunnel, target, violation=_elsewhere("inner-host", "the Host header", named, tunnel))
    absolute = _ABSOLUTE.fullmatch(head.target)
    if absolute is None or absolute[1].lower() not in PORTS:
        return answers.bad_request(
            "The request target is neither a path nor an http, https, ws or wss URL (RFC 9112 section 3.2).", tunnel
        )
    named, _ = _authority(absolute[2])
    aim = _Aim(tunnel, _origin_form(absolute[3]), absolute[2])
    if same_host(named, tunnel.host):
        return aim
    return aim._replace(violation=_elsewhere("absolute-form", "the request target", named, tunnel))


def _at_listener(head: RequestHead, found: Survey, terms: Terms) -> _Aim | Refused:
    if head.method == "GET" and (head.target == "/healthz" or head.target.startswith("/healthz?")):
        return answers.healthy(found.close)
    user_id = authenticate(found.first("proxy-authorization"), terms)
    if user_id is None:
        return answers.auth_required(found.close)
    absolute = _ABSOLUTE.fullmatch(head.target)
    if absolute is None:
        if refusal := _method_refused(head.method, None):
            return refusal
        return answers.bad_request(
            "This is a proxy, not a server: name it in HTTP_PROXY and HTTPS_PROXY and request the production URL, or"
            " send the whole URL as request target (RFC 9112 section 3.2.2)."
        )
    scheme = absolute[1].lower()
    if scheme not in ("http", "ws"):
        return answers.bad_request(
            "A plain request to the proxy can be for an http or ws URL only: open a tunnel with CONNECT for https and"
            " wss, so that TLS is not stripped."
        )
    _named_host(found.host)
    host, port = _authority(absolute[2])
    destination = Destination("http", host, port or PORTS[scheme])
    if refusal := _method_refused(head.method, destination):
        return refusal._replace(user_id=user_id)
    return _Aim(destination, _origin_form(absolute[3]), absolute[2], user_id=user_id, in_tunnel=False)


def _method_refused(method: str, destination: Destination | None) -> Refused | None:
    """The answer to a method that must not be forwarded."""
    if method.upper() in ("TRACE", "TRACK"):
        violation = Violation("trace", "TRACE would have the upstream send the credential back", "refused with 405")
        return answers.not_allowed("TRACE is refused: it reflects injected credentials.", destination, violation)
    if method == "PRI":
        return answers.bad_request("The proxy speaks HTTP/1.1; this is an HTTP/2 preface (RFC 9113).", destination)
    if method.upper() != "CONNECT":
        return None
    if destination is None:
        return answers.bad_request("The method is spelled CONNECT, in capitals (RFC 9110 section 9.1).")
    violation = Violation("connect-inside", "a tunnel in a tunnel escapes every rule", "refused with 405")
    return answers.not_allowed("CONNECT inside a tunnel is refused.", destination, violation)


def _named_host(value: str | None) -> str:
    """The host that a Host field names; "" where it is absent or empty."""
    if not value:
        return ""
    try:
        return split_authority(value)[0]
    except ValueError as error:
        raise _NoHost(400, f"The Host header names no host (RFC 9110 section 7.2): {error}.") from None


def _authority(text: str) -> tuple[str, int | None]:
    if "@" in text:
        raise Malformed(400, "The request target has a user in its URL: remove it (RFC 9110 section 4.2.4).")
    try:
        return split_authority(text)
    except ValueError as error:
        raise Malformed(400, f"The URL in the request target names no host: {error}.") from None


def _origin_form(rest: str) -> str:
    target = rest if rest.startswith("/") else "/" + rest
    if "%" in target and _BAD_ESCAPE.search(target.partition("?")[0]):
        raise Malformed(400, "The path has a percent sign that begins no escape (RFC 3986 section 2.1).")
    return target


def _escaped(target: str) -> str:
    """The target as it is sent: as it came, but for a path with characters that no path may hold (RFC 3986).

    Of such a path all but a few characters are percent-encoded anew, as production does; a `#` stays.
    """
    if _SENT_AS_IS.fullmatch(target):
        return target
    path, mark, query = target.partition("?")
    parts = [quote(unquote_to_bytes(part.encode("latin-1")), _UNESCAPED) for part in path.split("#")]
    return "#".join(parts) + mark + query


def _elsewhere(kind: str, what: str, named: str, tunnel: Destination) -> Violation:
    return Violation(kind, f"{what} names {named}, the tunnel leads to {tunnel.host}", "forwarded without credentials")


# ------------------------------------------------------------------ what is sent


def _forward(
    head: RequestHead, found: Survey, aim: _Aim, terms: Terms, request_id: str, log: tuple[tuple[str, str], ...]
) -> Forward:
    host = aim.destination.host
    plan = _NO_PLAN if aim.violation is not None else terms.plan(host)
    sent, shown, injections = inject(forwarded(head.headers, found, aim.host, aim.in_tunnel), plan)
    if terms.captures:
        sent, shown = _without_captured(sent, shown, injections, terms)
    if _REQUEST_ID in found.fields or _REQUEST_ID in plan.names:
        if not aim.in_tunnel:
            request_id = found.first(_REQUEST_ID) or request_id
        sent, shown, request_id = _identified(sent, shown, injections, request_id)
    else:
        sent += (("X-Request-Id", request_id),)
        shown += (("X-Request-Id", request_id),)
    if injections:
        reason = ""
    else:
        reason = terms.rules.reason(host) if aim.violation is None else aim.violation.text
    return Forward(
        aim.destination,
        RequestHead(head.method, _escaped(aim.target), "1.1", sent),
        shown,
        injections,
        reason,
        _violations(aim, found),
        log,
        found.upgrade,
        request_id,
        aim.user_id,
        found.close,
    )


def _without_captured(
    sent: Headers, shown: Headers, injections: tuple[Injection, ...], terms: Terms
) -> tuple[Headers, Headers]:
    """Both heads without the captured fields, but for those that carry a credential or that the message needs."""
    drop = terms.captures.keys() - {injection.header.lower() for injection in injections} - _NEEDED
    if drop.isdisjoint([name.lower() for name, _ in sent]):
        return sent, shown
    kept = [index for index, (name, _) in enumerate(sent) if name.lower() not in drop]
    return tuple([sent[index] for index in kept]), tuple([shown[index] for index in kept])


def _identified(
    sent: Headers, shown: Headers, injections: tuple[Injection, ...], request_id: str
) -> tuple[Headers, Headers, str]:
    """Both heads with a request id, and that id: the client's own where its first one is not empty."""
    if any(injection.header.lower() == _REQUEST_ID for injection in injections):
        return sent, shown, request_id
    own = value_of(sent, _REQUEST_ID)
    if own:
        return sent, shown, own
    return _set_request_id(sent, request_id), _set_request_id(shown, request_id), request_id


def _set_request_id(headers: Headers, request_id: str) -> Headers:
    fields = [pair for pair in headers if pair[0].lower() != _REQUEST_ID]
    return (*fields, ("X-Request-Id", request_id))
