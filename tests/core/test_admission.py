"""Facts about authentication and CONNECT."""

from __future__ import annotations

import base64

import pytest

from pytest_gatekeeper._core.admission import authenticate, decide_connect
from pytest_gatekeeper._core.model import Admitted, Destination, NetworkSettings, Refused, RequestHead
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.rules import RuleBook
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.terms import Terms


def _terms(token: str = "", *allow: str) -> Terms:
    settings = NetworkSettings("strict", allow) if allow else NetworkSettings()
    return Terms(RuleBook([]), Policy(settings), Secret(token))


def _basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _connect(target: str, terms: Terms, *headers: tuple[str, str], version: str = "1.1") -> Admitted | Refused:
    return decide_connect(RequestHead("CONNECT", target, version, (("Host", target), *headers)), terms)


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        ("Bearer tok-123", ""),
        (_basic("user:tok-123"), "user"),
        (_basic(":tok-123"), ""),
        (_basic("us\ner:tok-123"), "us\ner"),
        (_basic("u" * 300 + ":tok-123"), "u" * 300),
        (_basic("\xe4:tok-123"), "\xe4"),
    ],
)
def test_the_right_token_is_let_in(authorization: str, user: str) -> None:
    """As Basic password with any user name, or as Bearer."""
    assert authenticate(authorization, _terms("tok-123")) == user


@pytest.mark.parametrize(
    "authorization",
    [
        "", "tok-123", "Bearer nope", "Bearer  tok-123", "bearer tok-123", "Bearer tok-123 ", "Basic !!!", "Basic \xff",
        _basic("tok-123"), _basic("user:nope"), _basic("tok-123:"), _basic("user:tok-123").replace("B", "b", 1),
        "Basic  " + _basic("user:tok-123")[6:], "Digest tok-123",
    ],
)  # fmt: skip
def test_anything_else_is_not(authorization: str) -> None:
    """Schemes are compared as spelled, with one space, and Basic needs a colon."""
    assert authenticate(authorization, _terms("tok-123")) is None


def test_without_a_token_everybody_is_let_in() -> None:
    """And no user name is read."""
    assert authenticate("", _terms()) == ""
    assert authenticate(_basic("user:x"), _terms()) == ""


def test_a_token_beyond_ascii_is_compared_as_utf_8() -> None:
    """Heads are latin-1 text, the token is not."""
    terms = _terms("t\xf6k")
    assert authenticate(_basic("u:t\xf6k"), terms) == "u"
    assert authenticate("Bearer " + "t\xf6k".encode().decode("latin-1"), terms) == ""
    assert authenticate("Bearer t\xf6k", terms) is None


# ------------------------------------------------------------------ CONNECT


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("api.example.com:443", "api.example.com", 443),
        ("API.example.com:80", "API.example.com", 80),
        ("[::1]:443", "::1", 443),
        ("::1:9443", "::1", 9443),
    ],
)
def test_a_tunnel_is_admitted(target: str, host: str, port: int) -> None:
    """In the client's spelling, IPv6 without brackets."""
    assert _connect(target, _terms()) == Admitted(host, port, "")


def test_host_and_version_of_a_connect_do_not_matter() -> None:
    """HTTP/1.0, no Host at all, or another one."""
    for version, headers in (("1.0", ()), ("1.1", ()), ("1.1", (("Host", "other.example.com:443"),))):
        head = RequestHead("CONNECT", "api.example.com:443", version, headers)
        assert decide_connect(head, _terms()) == Admitted("api.example.com", 443, "")


@pytest.mark.parametrize(
    "target",
    ["api.example.com", "api.example.com:0", ":443", "/a", "https://api.example.com:443/", "u@api.example.com:443"],
)
def test_a_target_that_is_no_host_and_port_is_400(target: str) -> None:
    """The body says what is wanted, and the connection ends."""
    answer = _connect(target, _terms())
    assert isinstance(answer, Refused)
    assert (answer.status, answer.close, answer.logged) == (400, True, False)
    assert answer.body.startswith("CONNECT wants HOST:PORT")


def test_a_denied_tunnel_is_407_and_names_the_host() -> None:
    """With the reason for the log and the user's name; the connection stays usable."""
    terms = _terms("tok", "other.example.com")
    answer = _connect("api.example.com:443", terms, ("Proxy-Authorization", _basic("me:tok")))
    assert isinstance(answer, Refused)
    assert answer.status == 407 and answer.deny_reason == "Host not in allow list: api.example.com"
    assert (answer.user_id, answer.logged, answer.close) == ("me", True, False)
    assert answer.destination == Destination("https", "api.example.com", 443)
    admitted = _connect("other.example.com:443", terms, ("Proxy-Authorization", _basic("me:tok")))
    assert admitted == Admitted("other.example.com", 443, "me")


def test_authentication_comes_before_policy_and_before_the_target() -> None:
    """Without the token a client learns nothing."""
    terms = _terms("tok", "other.example.com")
    for target in ("api.example.com:443", "other.example.com:443", "/nonsense"):
        answer = _connect(target, terms, ("Authorization", "Bearer tok"))
        assert isinstance(answer, Refused)
        assert answer.status == 407 and not answer.deny_reason and not answer.logged
        assert ("Proxy-Authenticate", 'Basic realm="gatekeeper"') in answer.headers


def test_of_several_tokens_the_first_counts() -> None:
    """Right then wrong is right, wrong then right is wrong."""
    right, wrong = ("Proxy-Authorization", "Bearer tok"), ("proxy-authorization", "Bearer nope")
    assert isinstance(_connect("a:443", _terms("tok"), right, wrong), Admitted)
    assert isinstance(_connect("a:443", _terms("tok"), wrong, right), Refused)


@pytest.mark.parametrize(
    ("version", "headers", "close"),
    [
        ("1.1", (), False),
        ("1.0", (), True),
        ("1.1", (("Connection", "close"),), True),
        ("1.1", (("Content-Length", "5"),), True),
        ("1.1", (("Transfer-Encoding", "chunked"),), True),
        ("1.1", (("Transfer-Encoding", "gzip"),), True),
    ],
)
def test_a_client_can_try_again_on_the_same_connection(
    version: str, headers: tuple[tuple[str, str], ...], close: bool
) -> None:
    """Unless it said otherwise, or framing makes it unclear what follows."""
    answer = _connect("api.example.com:443", _terms("tok"), *headers, version=version)
    assert isinstance(answer, Refused) and answer.close is close
