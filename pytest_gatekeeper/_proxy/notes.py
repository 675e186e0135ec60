"""Noting what happened: records and log lines, made from heads and decisions.

Everything is blanked by value here, when it is made, so nothing that leaves this module can show a secret. When a note
is made, and told, is its caller's matter.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from pytest_gatekeeper._core.framing import BodyError, request_body
from pytest_gatekeeper._core.headers import Malformed, survey, value_of
from pytest_gatekeeper._core.hosts import split_authority
from pytest_gatekeeper._core.logline import connect_line, denial_line, request_level, request_line
from pytest_gatekeeper._core.model import (
    Destination,
    Forward,
    Headers,
    Injection,
    Refused,
    RequestHead,
    Violation,
)
from pytest_gatekeeper._core.records import Closed, Exchange
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.trip import Trip

__all__ = ["blanked", "close", "log_exchange", "log_refusal", "note_forward", "note_refused", "note_response"]


def note_forward(connection: Connection, head: RequestHead, plan: Forward, *, clear: bool) -> Exchange:
    """The record of a request that is going to be sent upstream; without injections, since nothing is sent yet.

    Args:
        connection: the client's.
        head: as the client sent it.
        plan: what is sent.
        clear: the head holds no secret.
    """
    record = _record(connection, head, plan.destination, plan.head.target, plan.upgrade, clear=clear)
    record.reason = connection.lease.shown(plan.reason)  # names the host, which a CONNECT may have brought
    if plan.violations:
        record.violations = blanked(connection, plan.violations)
    record.request_id = plan.request_id if clear else connection.lease.redactor.blank(plan.request_id)
    return record


def note_refused(connection: Connection, head: RequestHead, refused: Refused, request_id: str) -> Exchange:
    """The record of a request that the proxy answers itself."""
    destination = refused.destination or connection.destination or _named(connection, head)
    record = _record(connection, head, destination, _target(head.target), _upgrade(head), clear=False)
    record.status = refused.status
    record.response_headers = refused.headers
    record.response_size = 0 if head.method == "HEAD" else len(refused.body.encode())
    record.denied = bool(refused.deny_reason)
    record.deny_reason = connection.lease.shown(refused.deny_reason)
    record.reason = "" if record.denied else connection.lease.shown(refused.body.strip())
    record.violations = blanked(connection, refused.violations)
    record.request_id = request_id
    return record


def _record(
    connection: Connection, head: RequestHead, destination: Destination, target: str, upgrade: str, *, clear: bool
) -> Exchange:
    lease = connection.lease
    scheme, host, port = destination
    if upgrade.lower() == "websocket":
        scheme = "wss" if scheme == "https" else "ws"
    method, headers = head.method, head.headers
    if connection.tunnel is not None and destination == connection.destination:
        host = connection.tunnel.host  # as it may be told
    elif not clear:
        host = lease.shown(host)
    if not clear:
        method, target = lease.redactor.blank(method), lease.redactor.blank(target)
        headers = lease.redactor.blank_headers(headers)
    record = Exchange(lease.next_exchange(), method, scheme, host, port, target)
    record.http_version = head.version
    record.headers = headers
    record.is_upgrade = bool(upgrade)
    record.started = time.time()
    record.began = connection.now()
    record.tunnel = connection.tunnel
    if connection.tunnel is not None:
        connection.tunnel.exchanges.append(record)
    return record


def blanked(connection: Connection, violations: tuple[Violation, ...]) -> tuple[Violation, ...]:
    """Violations as they may be told: their texts name what the client sent."""
    shown = connection.lease.shown
    return tuple(violation._replace(text=shown(violation.text)) for violation in violations)


def _named(connection: Connection, head: RequestHead) -> Destination:
    """Where a request to the listener itself meant to go, as far as it says so."""
    try:
        host, port = split_authority(value_of(head.headers, "host") or "")
    except ValueError:
        host, port = connection.tcp.local
    return Destination("http", host, port or 80)


def _target(target: str) -> str:
    """Path and query of a target in any form."""
    if "://" in target and not target.startswith("/"):
        rest = target.partition("://")[2]
        at = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
        return rest[at:] if rest[at:].startswith("/") else "/" + rest[at:]
    return target


def _upgrade(head: RequestHead) -> str:
    try:
        return survey(head).upgrade
    except Malformed:
        return ""


def note_response(connection: Connection, record: Exchange, status: int, headers: Headers, *, clear: bool) -> None:
    """The head that the client is about to get; `clear`: it holds no secret."""
    record.status = status
    record.response_headers = headers if clear else connection.lease.redactor.blank_headers(headers)


def close(connection: Connection, record: Exchange, why: Closed, error: str | None = None) -> None:
    """The exchange is over, and everybody may know; once."""
    if record.closed is None:
        if error is not None:
            record.error = connection.lease.redactor.blank(error)
        record.duration = connection.now() - record.began
        record.closed = why
        connection.lease.tell(record)


# ------------------------------------------------------------------ log lines


def log_exchange(trip: Trip, response_size: int | None) -> None:
    """The line of a request that went upstream, or was meant to.

    Args:
        trip: the exchange, its record as the client is going to see it.
        response_size: of the answer's body as the upstream declared it; None where it did not, or did not answer.
    """
    connection, head, plan, record = trip.connection, trip.head, trip.plan, trip.record
    _open(connection, plan.request_id, record.injections)
    lease = connection.lease
    if not lease.wants(request_level(record.status or 0, record.error)):
        return
    lease.tell(
        request_line(
            request_id=plan.request_id,
            method=head.method,
            host=plan.destination.host,
            target=head.target,
            status=record.status or 0,
            duration=connection.now() - record.began,
            proxy_type="http" if connection.destination is None else "connect",
            user_id=plan.user_id or connection.user_id,
            client_ip=connection.client_ip,
            injections=record.injections,
            request_size=trip.body.declared,
            response_size=response_size,
            error=record.error,
            captured=plan.captured,
            blank=lease.redactor.blank,
        )
    )


def log_refusal(connection: Connection, head: RequestHead, refused: Refused, request_id: str) -> None:
    """The lines of a request or a CONNECT that the proxy answered itself."""
    tunnelled = connection.destination is not None
    connect = head.method == "CONNECT" and not tunnelled
    destination = refused.destination or connection.destination or _named(connection, head)
    lease = connection.lease
    if tunnelled:
        _open(connection, request_id, ())
    lease.tell(
        request_line(
            request_id=request_id,
            method=head.method,
            host=destination.host,
            target="" if connect else head.target,
            status=refused.status,
            duration=0.0,
            proxy_type="connect" if connect or tunnelled else "http",
            user_id=refused.user_id or connection.user_id,
            client_ip=connection.client_ip,
            deny_reason=refused.deny_reason,
            request_size=None if connect else _request_size(head),
            captured=refused.captured,
            blank=lease.redactor.blank,
        )
    )
    if refused.deny_reason:
        operation: Literal["http.connect", "http.request"] = "http.connect" if connect else "http.request"
        lease.tell(denial_line(operation, refused.deny_reason, blank=lease.redactor.blank))


def _open(connection: Connection, request_id: str, injections: Sequence[Injection]) -> None:
    """The line of a CONNECT comes before that of the first request through its tunnel."""
    destination = connection.destination
    if destination is None or connection.opening is None:
        return
    duration, connection.opening = connection.opening, None
    if not connection.lease.wants("INFO"):
        return
    connection.lease.tell(
        connect_line(
            request_id=request_id,
            host=destination.host,
            port=destination.port,
            duration=duration,
            client_ip=connection.client_ip,
            user_id=connection.user_id,
            injections=injections,
            blank=connection.lease.redactor.blank,
        )
    )


def _request_size(head: RequestHead) -> int | None:
    """The declared size of a request's body: 0 without one, None where it is not declared."""
    try:
        return request_body(head).declared
    except BodyError:
        return None
