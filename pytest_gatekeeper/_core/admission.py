"""Who may use the proxy, and which tunnels may be opened.

Authentication comes before policy, so that a client without the token does not learn what the policy says. What goes
through a tunnel is `decide`'s.
"""

from __future__ import annotations

import base64
import binascii

from pytest_gatekeeper._core import answers
from pytest_gatekeeper._core.headers import Malformed, survey, value_of
from pytest_gatekeeper._core.hosts import split_authority
from pytest_gatekeeper._core.model import Admitted, Destination, Refused, RequestHead
from pytest_gatekeeper._core.terms import Terms

__all__ = ["authenticate", "decide_connect"]


def authenticate(authorization: str, terms: Terms) -> str | None:
    """The user name that comes with a right token, "" where there is none; None without the right token.

    Args:
        authorization: the first Proxy-Authorization, "" without one. `Basic` (the token is the password) and `Bearer`
            are known, spelled like this, with one space (production compares them so).
        terms: hold the token; without one everybody is let in, and no name is read.
    """
    if terms.auth_token is None:
        return ""
    if authorization.startswith("Bearer "):
        user, token = "", authorization[7:].encode("latin-1")
    elif authorization.startswith("Basic "):
        try:
            pair = base64.b64decode(authorization[6:].encode("latin-1"), validate=True)
        except binascii.Error:
            return None
        name, colon, token = pair.partition(b":")
        if not colon:
            return None
        user = name.decode("utf-8", "replace")
    else:
        return None
    return user if terms.auth_token == token.decode("utf-8", "surrogateescape") else None


def decide_connect(head: RequestHead, terms: Terms) -> Admitted | Refused:
    """Settle the fate of a CONNECT.

    A refused one leaves the connection usable where the client can go on with it: after 407.
    """
    user_id = authenticate(value_of(head.headers, "proxy-authorization") or "", terms)
    close = _closes(head)
    if user_id is None:
        return answers.auth_required(close)
    try:
        host, port = split_authority(head.target)
    except ValueError as error:
        return answers.malformed(400, f"CONNECT wants HOST:PORT: {error}.")
    if port is None:
        return answers.malformed(400, "CONNECT wants HOST:PORT: the port is missing.")
    if not terms.policy.permits(host, port):
        return answers.denied(Destination("https", host, port), close)._replace(user_id=user_id)
    return Admitted(host, port, user_id)


def _closes(head: RequestHead) -> bool:
    """Whether the connection must end after a refusal; framing fields make it unclear what follows."""
    try:
        found = survey(head)
    except Malformed:
        return True
    return found.close or "content-length" in found.fields or "transfer-encoding" in found.fields
