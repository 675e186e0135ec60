"""Facts about header fields: framing, what belongs to one hop, what is captured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.headers import Malformed, Survey, captured, forwarded, survey
from pytest_gatekeeper._core.model import Headers, RequestHead

HOST = ("Host", "api.example.com")


def _survey(*headers: tuple[str, str], version: str = "1.1") -> Survey:
    return survey(RequestHead("GET", "/", version, headers))


def _forwarded(*headers: tuple[str, str], host: str | None = None, in_tunnel: bool = True) -> Headers:
    return forwarded(headers, _survey(*headers), host, in_tunnel)


# ------------------------------------------------------------------ survey


def test_a_plain_head_says_nothing_special() -> None:
    """Host alone, no framing: the connection stays open."""
    found = _survey(HOST, ("Accept", "*/*"))
    assert found.names == ["host", "accept"]
    assert (found.host, found.upgrade, found.length, found.doubled, found.close) == (
        "api.example.com",
        "",
        "",
        False,
        False,
    )


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([], "1.1", 400),
        ([("Accept", "*/*")], "1.1", 400),
        ([HOST, HOST], "1.1", 400),
        ([HOST, HOST], "1.0", 400),
        ([HOST, ("Content-Length", "3"), ("Content-Length", "4")], "1.1", 400),
        ([HOST, ("Content-Length", "3, 4")], "1.1", 400),
        ([HOST, ("Content-Length", "3, 3")], "1.1", 400),
        ([HOST, ("Content-Length", "+3")], "1.1", 400),
        ([HOST, ("Content-Length", "")], "1.1", 400),
        ([HOST, ("Content-Length", "\xb2")], "1.1", 400),
        ([HOST, ("Transfer-Encoding", "gzip, chunked")], "1.1", 501),
        ([HOST, ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], "1.1", 501),
        ([HOST, ("Transfer-Encoding", "identity")], "1.1", 501),
        ([HOST, ("Transfer-Encoding", "chunked")], "1.0", 400),
    ],
)
def test_an_ambiguous_head_is_refused(headers: list[tuple[str, str]], version: str, status: int) -> None:
    """Servers could disagree on what it means, so nobody gets it."""
    with pytest.raises(Malformed, match="RFC 9112") as caught:
        _survey(*headers, version=version)
    assert caught.value.status == status


def test_equal_lengths_are_one_length() -> None:
    """Given twice, or as a list, they are sent once."""
    headers = [("Content-Length", "3"), ("content-length", "3")]
    assert _survey(HOST, *headers).length == "3"
    assert _forwarded(HOST, *headers) == (HOST, ("Content-Length", "3"))
    assert _survey(HOST, ("Content-Length", "3")).length == ""


def test_a_length_beside_chunked_is_dropped_and_ends_the_connection() -> None:
    """Chunked wins (RFC 9112 section 6.1)."""
    headers = (HOST, ("Content-Length", "3"), ("Transfer-Encoding", "Chunked"))
    found = _survey(*headers)
    assert found.doubled and found.close
    assert _forwarded(*headers) == (HOST, ("Transfer-Encoding", "Chunked"))
    assert not _survey(HOST, ("Transfer-Encoding", "chunked")).doubled


@pytest.mark.parametrize(
    ("version", "headers", "close"),
    [
        ("1.1", [], False),
        ("1.1", [("Connection", "keep-alive")], False),
        ("1.1", [("Connection", "x, Close")], True),
        ("1.1", [("Connection", "x"), ("Connection", "close")], True),
        ("1.0", [], True),
        ("1.0", [("Connection", "Keep-Alive")], False),
        ("1.0", [("Connection", "x")], True),
        ("1.0", [("Content-Length", "0")], True),
    ],
)
def test_the_client_says_whether_the_connection_ends(version: str, headers: list[tuple[str, str]], close: bool) -> None:
    """By `Connection: close`, or by HTTP/1.0 without keep-alive."""
    assert _survey(HOST, *headers, version=version).close is close


def test_http_1_0_may_come_without_a_host() -> None:
    """Its Host is made up later."""
    assert _survey(version="1.0").host is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("websocket", "websocket"),
        ("WebSocket", "WebSocket"),
        ("websocket, my-proto", "websocket, my-proto"),
        ("h2c", ""),
        ("H2C,websocket", "websocket"),
        ("h2cx", "h2cx"),
    ],
)
def test_an_upgrade_is_kept_as_written_but_for_h2c(value: str, expected: str) -> None:
    """h2c would put the connection out of sight."""
    headers = (HOST, ("upgrade", value), ("connection", "keep-alive, UPGRADE"))
    assert _survey(*headers).upgrade == expected
    kept = [("upgrade", expected), ("connection", "Upgrade")] if expected else []
    assert list(_forwarded(*headers)) == [HOST, *kept]


def test_an_upgrade_takes_both_fields() -> None:
    """Upgrade without Connection naming it, and Connection without Upgrade, ask for nothing."""
    assert _survey(HOST, ("Upgrade", "websocket")).upgrade == ""
    assert _survey(HOST, ("Connection", "Upgrade")).upgrade == ""
    assert _forwarded(HOST, ("Connection", "Upgrade")) == (HOST,)


def test_the_first_of_several_values_is_found() -> None:
    """For fields that matter here; others are not kept."""
    found = _survey(HOST, ("X-Request-Id", "a"), ("X-Request-Id", "b"))
    assert found.first("x-request-id") == "a"
    assert found.first("proxy-authorization") == ""


# ------------------------------------------------------------------ forwarded


def test_what_belongs_to_one_hop_is_removed() -> None:
    """With what Connection names; order and case of the rest stay."""
    headers = (
        HOST, ("Proxy-Connection", "keep-alive"), ("Proxy-Authorization", "Basic eDp5"), ("Keep-Alive", "timeout=5"),
        ("TE", "gzip, trailers"), ("x-KEPT", "1"), ("Connection", "keep-alive, X-Dropped, "), ("X-Dropped", "1"),
        ("Trailer", "X-T"), ("Proxy-Authenticate", "x"), ("Upgrade", "nothing"), ("x-kept", "2"),
    )  # fmt: skip
    assert _forwarded(*headers) == (HOST, ("TE", "trailers"), ("x-KEPT", "1"), ("x-kept", "2"))


def test_what_belongs_to_one_hop_is_removed_without_a_host_too() -> None:
    """HTTP/1.0 can come without one: what Connection names goes all the same, equal lengths are one, the rest stays."""
    for headers, sent in (
        ((("Connection", "X-Dropped"), ("X-Dropped", "1"), ("X-Kept", "1")), (("X-Kept", "1"),)),
        ((("Content-Length", "1"), ("Content-Length", "1")), (("Content-Length", "1"),)),
        ((("X-Dropped", "1"), ("X-Kept", "1")), (("X-Dropped", "1"), ("X-Kept", "1"))),
    ):
        found = survey(RequestHead("GET", "/", "1.0", headers))
        assert forwarded(headers, found, "a:443", True) == (("Host", "a:443"), *sent)


def test_te_without_trailers_is_removed() -> None:
    """Only `trailers` can be answered for by a proxy."""
    assert _forwarded(HOST, ("TE", "gzip")) == (HOST,)


def test_connection_cannot_remove_framing() -> None:
    """Host and the framing fields stay, whatever Connection names."""
    headers = (HOST, ("Content-Length", "3"), ("Connection", "host, content-length, x"), ("X", "1"))
    assert _forwarded(*headers) == (HOST, ("Content-Length", "3"))


def test_forwarding_fields_are_removed_in_tunnels_alone() -> None:
    """Via stays everywhere."""
    fields = [
        ("Forwarded", "a"),
        ("X-Forwarded-For", "b"),
        ("X-Forwarded-Host", "c"),
        ("X-Forwarded-Proto", "d"),
        ("Via", "e"),
    ]
    assert _forwarded(HOST, *fields) == (HOST, ("Via", "e"))
    assert _forwarded(HOST, *fields, in_tunnel=False) == (HOST, *fields)


def test_host_is_replaced_in_place_or_put_first() -> None:
    """In the client's spelling of the name; HTTP/1.0 can come without one."""
    assert _forwarded(("X", "1"), ("hOST", "other"), host="a:80") == (("X", "1"), ("hOST", "a:80"))
    headers = (("X", "1"),)
    found = survey(RequestHead("GET", "/", "1.0", headers))
    assert forwarded(headers, found, "a:443", True) == (("Host", "a:443"), ("X", "1"))


_names = st.sampled_from(["X-A", "x-b", "Accept", "Cookie", "Via", "X-Forwarded-For", "Keep-Alive", "TE", "Connection"])
_lists = st.lists(st.tuples(_names, st.sampled_from(["1", "trailers", "close", "x-a, keep-alive"])))


@given(_lists, st.booleans(), st.sampled_from([None, "other.example.com"]))
def test_every_field_that_is_not_of_one_hop_survives_in_order(
    fields: list[tuple[str, str]], in_tunnel: bool, host: str | None
) -> None:
    """Compared with a naive second implementation."""
    named = {token.strip().lower() for name, value in fields if name == "Connection" for token in value.split(",")}
    gone = named | {"connection", "keep-alive", "te"} | ({"x-forwarded-for"} if in_tunnel else set())
    sent = forwarded((HOST, *fields), _survey(HOST, *fields), host, in_tunnel)
    rest = [pair for pair in sent if pair[0] not in ("Host", "TE")]
    assert rest == [pair for pair in fields if pair[0].lower() not in gone]
    assert sent[0] == ("Host", host or "api.example.com")
    assert [value for name, value in sent if name == "TE"] == ["trailers"] * (("TE", "trailers") in fields)


# ------------------------------------------------------------------ captured


def _captured(*headers: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    wanted = {"x-tenant": "x_tenant", "x-trace-id": "x_trace_id"}
    return captured(headers, [name.lower() for name, _ in headers], wanted)


def test_captured_values_come_in_the_order_of_the_configuration() -> None:
    """Under their log keys, whatever their case and order in the request."""
    assert _captured(("x-TRACE-id", "abc"), ("X-Other", "1"), ("X-Tenant", "t-1")) == (
        ("x_tenant", "t-1"), ("x_trace_id", "abc"),
    )  # fmt: skip


def test_the_first_value_is_captured_unless_it_is_empty() -> None:
    """An empty one counts as the first."""
    assert _captured(("X-Tenant", "a"), ("X-Tenant", "b")) == (("x_tenant", "a"),)
    assert _captured(("X-Tenant", ""), ("X-Tenant", "b")) == ()
    assert _captured() == ()
