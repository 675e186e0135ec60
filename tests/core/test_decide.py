"""Facts about a request's fate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.decide import decide
from pytest_gatekeeper._core.model import (
    Credential,
    Destination,
    Forward,
    Headers,
    NetworkSettings,
    Refused,
    RequestHead,
    SourceSpec,
)
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.rules import RuleBook, make_rule
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.terms import Terms

VALUE = "s3cret-token-0123456789"
BEARER = ("Authorization", f"Bearer {VALUE}")
HOST = ("Host", "api.example.com")
ID = ("X-Request-Id", "req_1")
TLS = Destination("https", "api.example.com", 443)


def _terms(
    *hosts: str,
    header: str = "Authorization",
    allow: tuple[str, ...] = (),
    token: str = "",
    capture: tuple[str, ...] = (),
) -> Terms:
    rules = [
        make_rule(f"rule-{host}", Credential(host, SourceSpec("static"), header, grant="api"), Secret(VALUE))
        for host in hosts or ("api.example.com",)
    ]
    settings = NetworkSettings("strict", allow) if allow else NetworkSettings()
    return Terms(RuleBook(rules), Policy(settings), Secret(token), capture)


def _head(target: str = "/v1", *headers: tuple[str, str], method: str = "GET", version: str = "1.1") -> RequestHead:
    return RequestHead(method, target, version, headers)


def _forward(head: RequestHead, tunnel: Destination | None = TLS, terms: Terms | None = None) -> Forward:
    answer = decide(head, tunnel, terms or _terms(), "req_1")
    assert isinstance(answer, Forward), answer
    return answer


def _refused(head: RequestHead, tunnel: Destination | None = TLS, terms: Terms | None = None) -> Refused:
    answer = decide(head, tunnel, terms or _terms(), "req_1")
    assert isinstance(answer, Refused), answer
    assert VALUE not in answer.body
    return answer


# ------------------------------------------------------------------ in a tunnel


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_request_in_a_tunnel_is_forwarded_with_the_credential(scheme: str) -> None:
    """To the tunnel's host, everything else as it came; what may be shown has no secret."""
    tunnel = Destination(scheme, "api.example.com", 8443)
    answer = _forward(_head("/v1?x=1", HOST, ("x-MINE", "1"), method="FOO"), tunnel)
    assert answer.destination == tunnel
    assert answer.head == RequestHead("FOO", "/v1?x=1", "1.1", (HOST, ("x-MINE", "1"), BEARER, ID))
    assert answer.clean_headers[:2] == (HOST, ("x-MINE", "1")) and VALUE not in str(answer.clean_headers)
    assert [(it.header, it.grant, it.rule) for it in answer.injections] == [
        ("Authorization", "api", "rule-api.example.com")
    ]
    assert (answer.reason, answer.violations, answer.captured, answer.upgrade) == ("", (), (), "")
    assert (answer.request_id, answer.user_id, answer.close) == ("req_1", "", False)


def test_a_request_for_a_host_without_a_rule_goes_without_and_says_why() -> None:
    """The client's own header stays."""
    answer = _forward(_head("/", HOST, ("Authorization", "mine")), terms=_terms("*.api.example.com"))
    assert answer.head.headers == (HOST, ("Authorization", "mine"), ID)
    assert answer.injections == ()
    assert answer.reason == (
        "no rule for api.example.com; nearest is *.api.example.com (a wildcard does not match its own suffix)"
    )


@pytest.mark.parametrize(
    "named", ["api.example.com", "API.example.com", "api.example.com:443", "api.example.com:8080", "api.example.com."]
)
def test_the_tunnels_own_host_is_known_in_every_spelling(named: str) -> None:
    """Case, port and trailing dot do not make it another host; the field is sent as it came."""
    answer = _forward(_head("/", ("Host", named)))
    assert answer.head.headers == (("Host", named), BEARER, ID)
    assert answer.violations == ()


def test_an_ipv6_tunnel_knows_its_host() -> None:
    """With brackets, in any form of the address."""
    terms = _terms("[::1]")
    answer = _forward(_head("/", ("Host", "[0:0:0:0:0:0:0:1]:443")), Destination("https", "::1", 443), terms)
    assert answer.injections and not answer.violations


@pytest.mark.parametrize("named", ["other.example.com", "other.example.com:443", "evilapi.example.com", "::2"])
def test_a_host_header_that_names_another_host_gets_no_credential(named: str) -> None:
    """It is forwarded to the tunnel's host as it came, and recorded; also when that other host has a rule."""
    answer = _forward(_head("/", ("Host", named)), terms=_terms("api.example.com", "other.example.com"))
    assert answer.destination == TLS
    assert answer.head.headers == (("Host", named), ID)
    assert [it.kind for it in answer.violations] == ["inner-host"]
    assert answer.violations[0].text == answer.reason
    assert "the tunnel leads to api.example.com" in answer.reason


@pytest.mark.parametrize(
    "named", ["[api.example.com]", "api.example.com:443:80", "api.example.com%00other", "a b", "u@api.example.com"]
)
def test_a_host_header_that_names_no_host_is_400(named: str) -> None:
    """Someone tries to be two hosts at once: refused, recorded, and the connection ends."""
    answer = _refused(_head("/", ("Host", named)))
    assert (answer.status, answer.close, answer.logged, answer.destination) == (400, True, False, TLS)
    assert [it.kind for it in answer.violations] == ["inner-host"]
    assert named not in answer.body


def test_a_missing_or_doubled_host_is_400() -> None:
    """Without a violation: it is a mistake."""
    for headers in ((), (HOST, HOST)):
        answer = _refused(_head("/", *headers))
        assert (answer.status, answer.violations) == (400, ())


def test_http_1_0_gets_the_tunnels_host() -> None:
    """It is forwarded as HTTP/1.1, and ends the connection; an empty Host is filled in place."""
    answer = _forward(_head("/", ("X", "1"), version="1.0"))
    assert answer.head == RequestHead("GET", "/", "1.1", (("Host", "api.example.com:443"), ("X", "1"), BEARER, ID))
    assert answer.close
    answer = _forward(_head("/", ("X", "1"), ("host", "")), Destination("https", "::1", 443))
    assert answer.head.headers[:2] == (("X", "1"), ("host", "[::1]:443"))


@pytest.mark.parametrize("scheme", ["https", "http", "wss", "WS"])
def test_an_absolute_target_that_names_the_tunnels_host_is_sent_in_origin_form(scheme: str) -> None:
    """With its own host as Host, whatever the Host header said."""
    head = _head(f"{scheme}://API.example.com:8443/v1?x=1", ("Host", "other.example.com"))
    answer = _forward(head)
    assert answer.head.target == "/v1?x=1"
    assert answer.head.headers == (("Host", "API.example.com:8443"), BEARER, ID)
    assert answer.violations == ()


def test_an_absolute_target_that_names_another_host_gets_no_credential() -> None:
    """It is sent in origin form with its own host as Host, to the tunnel's host."""
    answer = _forward(_head("https://other.example.com?x", HOST), terms=_terms("api.example.com", "other.example.com"))
    assert (answer.destination, answer.head.target) == (TLS, "/?x")
    assert answer.head.headers == (("Host", "other.example.com"), ID)
    assert [it.kind for it in answer.violations] == ["absolute-form"]


@pytest.mark.parametrize(
    "target",
    ["ftp://api.example.com/", "api.example.com", "*", "https://u:p@api.example.com/", "https:///x", "https://a:x/"],
)
def test_a_target_that_leads_nowhere_is_400(target: str) -> None:
    """Other schemes, users, no host, `*` with another method than OPTIONS."""
    answer = _refused(_head(target, HOST))
    assert answer.status == 400 and answer.close
    assert "u:p" not in answer.body


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/p%20q/../x;y?a=1&b=%2F&c=;d&&e", "/p%20q/../x;y?a=1&b=%2F&c=;d&&e"),
        ("/a#b", "/a#b"),
        ("/a?", "/a?"),
        ("//other.example.com/", "//other.example.com/"),
        ("/[a]!*'()?\"", "/[a]!*'()?\""),
        ('/a"b=c%20d', "/a%22b=c%20d"),
        ("/<a>#|?<b>", "/%3Ca%3E#%7C?<b>"),
        ("/?%zz", "/?%zz"),
        ("/\xc3\xa4(b)", "/%C3%A4%28b%29"),
    ],
)
def test_the_target_is_sent_as_it_came(target: str, sent: str) -> None:
    """But for characters that no path may hold: then the path is percent-encoded as production does it."""
    assert _forward(_head(target, HOST)).head.target == sent


@pytest.mark.parametrize("path", ["/%zz", "/a%", "/%4"])
def test_a_percent_sign_that_begins_no_escape_is_refused(path: str) -> None:
    """In a path, as in production; a whole escape is forwarded."""
    assert _refused(_head(path, HOST)).status == 400
    assert _refused(_head(f"http://api.example.com{path}", HOST), None).status == 400
    assert _forward(_head("/%7a", HOST)).head.target == "/%7a"


def test_options_of_the_whole_server_is_forwarded() -> None:
    """`OPTIONS *` goes to the tunnel's host."""
    assert _forward(_head("*", HOST, method="OPTIONS")).head.target == "*"


@pytest.mark.parametrize(
    ("method", "target", "status", "kinds"),
    [
        ("TRACE", "/", 405, ["trace"]),
        ("CONNECT", "other.example.com:443", 405, ["connect-inside"]),
        ("connect", "other.example.com:443", 405, ["connect-inside"]),
        ("PRI", "*", 400, []),
    ],
)
def test_methods_that_escape_the_rules_are_refused(method: str, target: str, status: int, kinds: list[str]) -> None:
    """TRACE reflects the credential, CONNECT escapes every rule, PRI is another protocol."""
    answer = _refused(_head(target, HOST, method=method))
    assert (answer.status, [it.kind for it in answer.violations], answer.destination) == (status, kinds, TLS)
    assert ("Allow" in dict(answer.headers)) == (status == 405)


def test_both_framings_are_smuggling() -> None:
    """Content-Length goes, a violation is recorded, and the connection ends after the answer."""
    answer = _forward(_head("/", HOST, ("Content-Length", "3"), ("Transfer-Encoding", "chunked"), method="POST"))
    assert answer.head.headers == (HOST, ("Transfer-Encoding", "chunked"), BEARER, ID)
    assert [it.kind for it in answer.violations] == ["smuggling"]
    assert answer.close
    assert not _forward(_head("/", HOST, ("Transfer-Encoding", "chunked"), method="POST")).close


def test_other_transfer_codings_are_501() -> None:
    """And HTTP/1.0 has none at all."""
    head = _head("/", HOST, ("Transfer-Encoding", "gzip, chunked"))
    assert _refused(head).status == 501
    assert _refused(_head("/", HOST, ("Transfer-Encoding", "chunked"), version="1.0")).status == 400


def test_connection_cannot_remove_the_injected_header() -> None:
    """What it names is gone before injection, so the placeholder is, too, and all credentials are added."""
    answer = _forward(_head("/", HOST, ("Connection", "close, authorization"), ("Authorization", "p")))
    assert answer.head.headers == (HOST, BEARER, ID)
    assert answer.close


def test_an_upgrade_is_forwarded_with_the_credential() -> None:
    """Connection says Upgrade alone, Upgrade says what the client wrote."""
    answer = _forward(_head("/s", HOST, ("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")))
    assert answer.head.headers == (HOST, ("upgrade", "WebSocket"), ("connection", "Upgrade"), BEARER, ID)
    assert answer.upgrade == "WebSocket"
    answer = _forward(
        _head("/s", HOST, ("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "A"))
    )
    assert answer.head.headers == (HOST, BEARER, ID)
    assert answer.upgrade == ""


def test_expect_is_forwarded() -> None:
    """100-continue is between client and upstream."""
    assert ("Expect", "100-continue") in _forward(_head("/", HOST, ("Expect", "100-continue"))).head.headers


# ------------------------------------------------------------------ straight to the listener


@pytest.mark.parametrize(
    ("target", "port", "sent", "host"),
    [
        ("http://api.example.com/v1?q=1", 80, "/v1?q=1", "api.example.com"),
        ("http://api.example.com", 80, "/", "api.example.com"),
        ("HTTP://api.example.com?q", 80, "/?q", "api.example.com"),
        ("http://api.example.com:8080/", 8080, "/", "api.example.com:8080"),
        ("ws://api.example.com/s", 80, "/s", "api.example.com"),
    ],
)
def test_a_plain_request_goes_where_its_target_says(target: str, port: int, sent: str, host: str) -> None:
    """In origin form, with the target's host as Host, in the place of the client's."""
    answer = _forward(_head(target, ("X", "1"), ("host", "other.example.com")), None)
    assert answer.destination == Destination("http", "api.example.com", port)
    assert answer.head.target == sent
    assert answer.head.headers == (("X", "1"), ("host", host), BEARER, ID)
    assert answer.violations == ()


def test_a_plain_request_keeps_forwarding_fields_and_loses_its_proxy_fields() -> None:
    """Hop-by-hop fields go as in tunnels."""
    head = _head(
        "http://api.example.com/", HOST, ("Proxy-Authorization", "Basic eDp5"), ("X-Forwarded-For", "a"), ("TE", "x")
    )
    assert _forward(head, None).head.headers == (HOST, ("X-Forwarded-For", "a"), BEARER, ID)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "https://api.example.com/", 400),
        ("GET", "wss://api.example.com/", 400),
        ("GET", "ftp://api.example.com/", 400),
        ("GET", "http://user:pass@api.example.com/", 400),
        ("GET", "http:///v1", 400),
        ("GET", "/v1", 400),
        ("POST", "/healthz", 400),
        ("GET", "/healthzz", 400),
        ("OPTIONS", "*", 400),
        ("connect", "api.example.com:443", 400),
        ("PRI", "*", 400),
        ("TRACE", "http://api.example.com/", 405),
        ("TRACE", "/", 405),
        ("CONNECT", "http://api.example.com/", 405),
    ],
)
def test_a_plain_request_that_cannot_be_forwarded_is_refused(method: str, target: str, status: int) -> None:
    """The body says what to do, and repeats no user information."""
    answer = _refused(_head(target, HOST, method=method), None)
    assert answer.status == status
    assert "pass" not in answer.body


def test_a_plain_request_with_a_host_that_is_none_is_400() -> None:
    """RFC 9112 section 3.2 wants that, although the field would be replaced."""
    answer = _refused(_head("http://api.example.com/", ("Host", "a:b:c")), None)
    assert (answer.status, answer.violations) == (400, ())


@pytest.mark.parametrize("target", ["/healthz", "/healthz?x=1"])
def test_the_health_check_needs_no_token(target: str) -> None:
    """It is answered by the proxy itself."""
    answer = _refused(_head(target, HOST), None, _terms(token="tok"))
    assert (answer.status, answer.body, answer.logged, answer.close) == (200, '{"status":"ok"}', False, False)


def test_a_plain_request_needs_the_token() -> None:
    """Before anything else is said; its user name goes into the log. In a tunnel nobody is asked again."""
    terms = _terms(token="tok")
    for target in ("http://api.example.com/", "/v1", "https://api.example.com/"):
        answer = _refused(_head(target, HOST), None, terms)
        assert (answer.status, answer.logged, answer.close, answer.deny_reason) == (407, False, False, "")
    head = _head("http://api.example.com/", HOST, ("Proxy-Authorization", "Basic bWU6dG9r"))
    assert _forward(head, None, terms).user_id == "me"
    assert _forward(_head("/", HOST), TLS, terms).injections
    trace = _head("http://api.example.com/", HOST, ("Proxy-Authorization", "Basic bWU6dG9r"), method="TRACE")
    assert _refused(trace, None, terms).user_id == "me"


# ------------------------------------------------------------------ policy


def test_policy_is_asked_for_plain_and_for_inner_requests() -> None:
    """A denial names the host, carries what is captured, and leaves the connection usable."""
    terms = _terms(allow=("other.example.com",), capture=("X-Tenant",))
    for head, tunnel in (
        (_head("http://api.example.com/?q", HOST, ("X-Tenant", "t")), None),
        (_head("/", HOST, ("X-Tenant", "t")), TLS),
    ):
        answer = _refused(head, tunnel, terms)
        assert answer.status == 407 and answer.deny_reason == "Host not in allow list: api.example.com"
        assert (answer.logged, answer.close, answer.captured) == (True, False, (("x_tenant", "t"),))
        assert answer.destination is not None and answer.destination.host == "api.example.com"
    assert _forward(_head("http://other.example.com/", HOST), None, terms).injections == ()


def test_policy_looks_at_the_tunnels_host_not_at_the_header() -> None:
    """A forbidden inner Host is a violation; a permitted one does not open a forbidden tunnel."""
    terms = _terms(allow=("api.example.com",))
    assert _forward(_head("/", ("Host", "other.example.com")), TLS, terms).violations
    tunnel = Destination("https", "other.example.com", 443)
    refused = _refused(_head("/", HOST), tunnel, terms)
    assert refused.status == 407 and [it.kind for it in refused.violations] == ["inner-host"]


# ------------------------------------------------------------------ captured headers and request ids


def test_captured_headers_are_logged_and_not_forwarded() -> None:
    """Also empty ones, which are not logged."""
    terms = _terms(capture=("X-Tenant", "X-Trace"))
    answer = _forward(_head("/", HOST, ("x-tenant", "t-1"), ("X-Trace", ""), ("X-Kept", "1")), terms=terms)
    assert answer.captured == (("x_tenant", "t-1"),)
    assert answer.head.headers == (HOST, ("X-Kept", "1"), BEARER, ID)
    assert [name for name, _ in answer.clean_headers] == [name for name, _ in answer.head.headers]
    assert _forward(_head("/", HOST), terms=terms).head.headers == (HOST, BEARER, ID)


def test_a_captured_header_with_a_credential_is_forwarded() -> None:
    """The client's placeholder is logged, the credential is sent in its place."""
    terms = _terms(header="X-Tenant", capture=("X-Tenant",))
    answer = _forward(_head("/", ("X-Tenant", "placeholder"), HOST), terms=terms)
    assert answer.captured == (("x_tenant", "placeholder"),)
    assert answer.head.headers == (("X-Tenant", VALUE), HOST, ID)
    assert _forward(_head("/", HOST), terms=terms).head.headers == (HOST, ("X-Tenant", VALUE), ID)


def test_captured_headers_of_a_refused_request_are_logged() -> None:
    """Where there is a log line."""
    terms = _terms(capture=("X-Tenant",), token="tok")
    assert _refused(_head("/", HOST, ("X-Tenant", "t"), method="TRACE"), TLS, terms).captured == (("x_tenant", "t"),)
    assert _refused(_head("http://a/", HOST, ("X-Tenant", "t")), None, terms).captured == ()


def test_the_clients_request_id_is_kept() -> None:
    """The first one counts; an empty one is replaced."""
    answer = _forward(_head("/", ("x-request-id", "mine"), HOST))
    assert answer.head.headers == (("x-request-id", "mine"), HOST, BEARER)
    assert answer.request_id == "mine"
    answer = _forward(_head("/", ("X-Request-Id", ""), HOST, ("X-Request-Id", "late")))
    assert answer.head.headers == (HOST, BEARER, ID)
    assert answer.request_id == "req_1"


def test_a_captured_request_id_does_not_reach_the_upstream_of_a_tunnel() -> None:
    """Another one does; a plain request keeps the client's, as its answer carries it, too."""
    terms = _terms(capture=("X-Request-Id",))
    answer = _forward(_head("/", HOST, ("X-Request-Id", "mine")), terms=terms)
    assert answer.head.headers == (HOST, BEARER, ID) and answer.captured == (("x_request_id", "mine"),)
    answer = _forward(_head("http://api.example.com/", HOST, ("X-Request-Id", "mine")), None, terms)
    assert answer.head.headers == (HOST, BEARER, ("X-Request-Id", "mine")) and answer.request_id == "mine"


def test_a_credential_can_be_the_request_id() -> None:
    """It is sent, and is not what the log calls the request."""
    answer = _forward(_head("/", HOST), terms=_terms(header="X-Request-Id"))
    assert answer.head.headers == (HOST, ("X-Request-Id", VALUE))
    assert answer.request_id == "req_1"


# ------------------------------------------------------------------ whatever comes

_hosts = st.sampled_from(
    ["a.example.com", "b.example.com", "A.EXAMPLE.com", "x.a.example.com", "a.example.com.evil.com", "::1"]
)
_names = st.sampled_from(
    [
        "Host",
        "Authorization",
        "X-Key",
        "Connection",
        "Upgrade",
        "X-Tenant",
        "X-Request-Id",
        "Content-Length",
        "Cookie",
        "TE",
    ]
)
_values = st.one_of(
    _hosts,
    st.sampled_from(["", "p", "close, x-key", "upgrade", "authorization", "3", "b.example.com:443", "[b.example.com]"]),
)
_requests = st.builds(
    RequestHead,
    st.sampled_from(["GET", "POST", "OPTIONS", "TRACE"]),
    st.one_of(
        st.sampled_from(["/", "*", "/healthz"]),
        st.builds(lambda scheme, host: f"{scheme}://{host}/x", st.sampled_from(["http", "https", "ws"]), _hosts),
    ),
    st.sampled_from(["1.0", "1.1"]),
    st.lists(st.tuples(_names, _values), max_size=6).map(lambda fields: (("Host", "a.example.com"), *fields)),
)
_tunnels = st.one_of(st.none(), st.builds(Destination, st.sampled_from(["http", "https"]), _hosts, st.just(443)))


def _book() -> Terms:
    entries = [
        ("a.example.com", "Authorization", "value-of-a"),
        ("b.example.com", "X-Key", "value-of-b"),
        ("*.a.example.com", "Cookie", "value-below"),
    ]
    rules = [
        make_rule(host, Credential(host, SourceSpec("static"), header), Secret(value))
        for host, header, value in entries
    ]
    return Terms(RuleBook(rules), Policy(NetworkSettings()), capture_headers=("X-Tenant",))


_TERMS = _book()


@given(_requests, _tunnels)
def test_no_secret_reaches_a_host_that_its_rule_does_not_cover(head: RequestHead, tunnel: Destination | None) -> None:
    """Whatever head comes through whatever tunnel, only the values of the destination's rules are in what is sent."""
    answer = decide(head, tunnel, _TERMS, "req_1")
    if isinstance(answer, Refused):
        assert "value-" not in str(answer)
        return
    covered = {rule.secret.reveal() for rule in _TERMS.rules.for_host(answer.destination.host)}
    text = str(answer.head)
    assert {value for value in ("value-of-a", "value-of-b", "value-below") if value in text} <= covered
    assert ("value-" in text) == bool(answer.injections)
    assert "value-" not in str(answer.clean_headers)
    if tunnel is not None:
        assert answer.destination == tunnel
    named = {name.lower(): value for name, value in answer.head.headers}["host"]
    assert not answer.injections or named.lower().startswith((answer.destination.host.lower(), "["))


@given(
    st.lists(st.tuples(st.sampled_from(["X-A", "x-a", "Accept", "COOKIE", "Via"]), st.text("ab ", max_size=3))).map(
        tuple
    )
)
def test_every_end_to_end_field_survives_in_order_and_case(fields: Headers) -> None:
    """Only the credential and the request id are added."""
    assert _forward(_head("/", HOST, *fields)).head.headers == (HOST, *fields, BEARER, ID)
