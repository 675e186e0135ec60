"""Cases beside the recorded ones: the same kinds, with facts that follow from how production is known to behave.

Each is told as what differs from the usual: `GET /v1/items` to api.example.com through a tunnel, answered `ok`, with
the credential of `API` injected. Form and comparison are those of the recorded cases (see `test_conformance.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import pytest

Case = dict[str, Any]
ABSENT: Any = object()

VALUE = "s3cret-token-0123456789"
API = f'credentials:\n  - {{host: api.example.com, grant: api, source: {{type: static, value: "{VALUE}"}}}}\n'
KEYS = (
    "credentials:\n"
    '  - {host: api.example.com, grant: one, source: {type: static, value: "value-one"}}\n'
    '  - {host: api.example.com, header: X-Api-Key, grant: two, source: {type: static, value: "value-two"}}\n'
)
AUTH = "proxy: {auth_token: tok-123}\n" + API
CAPTURE = API + "log: {format: json, capture_headers: [X-Tenant, x-trace-id]}\n"
DENY = "network: {policy: strict}\n"
STRICT = API + "network: {policy: strict, allow: [api.example.com]}\n"
URL, OTHER = "http://api.example.com/v1", "http://other.example.com/1"
SOCKET = "Connection: Upgrade\r\nUpgrade: websocket"
SWITCH = f"HTTP/1.1 101 Switching Protocols\r\n{SOCKET}\r\n\r\n"
CHUNKED = "POST /v1/items HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n"
WIKI = "4\r\nwiki\r\n0\r\n"

SENT = {"authorization": f"Bearer {VALUE}"}
BOTH = {"authorization": "Bearer value-one", "x-api-key": "value-two"}
SOCKETS = {**SENT, "connection": "Upgrade", "upgrade": "websocket"}
PLAIN: Case = {"port": 80, "tls": False, "target": "/v1"}
PLAIN_LINE: Case = {"proxy_type": "http", "http_path": "/v1"}
OK: Case = {"status": 200, "headers": [["content-type", "application/octet-stream"]], "body": "ok"}
EMPTY: Case = {"status": 200, "headers": [], "body": ""}
BLOCKED: Case = {"connect": 407, "blocked": "request-rule", "challenge": "Moat-Policy", "responses": [], "upstream": []}
BLOCKED_PLAIN: Case = {"status": 407, "x-moat-blocked": "request-rule", "proxy-authenticate": "Moat-Policy"}
CHALLENGE = 'Basic realm="gatekeeper"'
CHALLENGED: Case = {"status": 407, "x-moat-blocked": None, "proxy-authenticate": CHALLENGE}
NOTHING: Case = {"responses": [], "upstream": [], "log": []}


def get(*fields: str, target: str = "/v1/items", host: str = "api.example.com", method: str = "GET") -> str:
    """A request with these fields beside its Host."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""])


def seen(sent: Mapping[str, str] = SENT, **other: Any) -> Case:
    """A request that arrived: its fields beside Host and X-Request-Id, and what is unusual."""
    fields = {"host": "api.example.com", "x-request-id": "*", **sent}
    usual = {"port": 443, "tls": True, "method": "GET", "target": "/v1/items", "version": "HTTP/1.1", "body": ""}
    return {**usual, "headers": sorted([name, value] for name, value in fields.items()), **other}


def line(injected: str | None = "authorization", grants: str | None = "api", **other: Any) -> Case:
    """A log line: what was injected, and what is unusual."""
    usual = {
        "level": "INFO", "msg": "request", "http_method": "GET", "http_host": "api.example.com", "error": False,
        "http_path": "/v1/items", "http_status": 200, "proxy_type": "connect", "request_size": 0, "response_size": 2,
    }  # fmt: skip
    if injected is not None:
        usual |= {"credential_injected": True, "injected_headers": injected}
        usual |= {"grants": grants} if grants is not None else {}
    return {key: value for key, value in {**usual, **other}.items() if value is not ABSENT}


def bad(injected: str | None = "authorization", **other: Any) -> Case:
    """The line of an exchange that ended in a 502."""
    return line(injected, level="ERROR", http_status=502, response_size=ABSENT, error=True, **other)


def denied(host: str = "api.example.com", method: str = "CONNECT", **other: Any) -> list[Case]:
    """The two lines of a denial."""
    reason = f"Host not in allow list: {host}"
    connect = {"http_path": "", "request_size": ABSENT} if method == "CONNECT" else {"proxy_type": "http"}
    operation = "http.connect" if method == "CONNECT" else "http.request"
    common = {"level": "WARN", "http_method": method, "http_host": host, "http_status": 407, "response_size": ABSENT}
    return [
        line(None, denied=True, deny_reason=reason, **common, **{**connect, **other}),
        {"level": "WARN", "msg": "policy denial", "scope": "network", "operation": operation, "message": reason,
         "error": False},
    ]  # fmt: skip


def case(
    id: str, config: str = API, *requests: str, to: str | None = "api.example.com:443", facts: Case | None = None,
    responses: list[Case] | None = None, upstream: list[Case] | None = None, log: list[Case] | None = None,
    **other: Any,
) -> Case:  # fmt: skip
    """A case; what is not said is as usual."""
    expected: Case = {"starts": True}
    if to is not None:
        expected |= {"connect": 200, "blocked": None, "challenge": None}
        other["connect"] = {"target": to, **other.get("connect", {})}
    expected["responses"] = [OK] if responses is None else responses
    expected["upstream"] = [seen()] if upstream is None else upstream
    expected["log"] = [line()] if log is None else log
    return {"id": id, "config": config, "requests": requests or (get(),), **other,
            "production": expected | (facts or {})}  # fmt: skip


def refused(id: str, config: str) -> Case:
    """A configuration that does not start."""
    return {"id": id, "config": config, "requests": [], "production": {"starts": False}}


def entry(id: str, keys: str, sent: Mapping[str, str], *requests: str, grants: str | None = None) -> Case:
    """One credential entry for api.example.com, and what it sends."""
    config = "credentials:\n  - {host: api.example.com, " + keys + "}\n"
    return case(id, config, *requests, upstream=[seen(sent)], log=[line(",".join(sorted(sent)), grants)])


def static(id: str, value: str, sent: str, keys: str = "") -> Case:
    """A value as it is written, and the Authorization that becomes of it."""
    return entry(f"value/{id}", f"{keys}source: {{type: static, value: {value}}}", {"authorization": sent})


def token(written: str, sent: str) -> Case:
    """A value as it is written, and what is sent of it."""
    return entry(f"typing/{written}", f"header: X-Token, source: {{type: static, value: {written}}}", {"x-token": sent})


def hosted(id: str, pattern: str, target: str, injected: bool, port: int = 443) -> Case:
    """A pattern against the target of a CONNECT."""
    host = target.strip("[]")
    return case(
        f"hosts/{id}", API.replace("api.example.com", f'"{pattern}"'), get(host=target), to=f"{target}:{port}",
        upstream=[seen({"host": target, **(SENT if injected else {})}, port=port)],
        log=[line("authorization" if injected else None, http_host=host)],
    )  # fmt: skip


def tie(id: str, first: str, second: str, winner: int, *fields: str) -> Case:
    """Two credentials for one header."""
    config = KEYS.replace("header: X-Api-Key, ", "").replace("one,", f"{first},").replace("two,", f"{second},")
    value, grant = [("value-one", first), ("value-two", second)][winner]
    sent = {"authorization": f"Bearer {value}"}
    return case(f"inject/{id}", config, get(*fields), upstream=[seen(sent)], log=[line(grants=grant)])


def both(id: str, *fields: str) -> Case:
    """Two credentials that are both injected."""
    log = [line("authorization,x-api-key", "one,two")]
    return case(f"inject/{id}", KEYS, get(*fields), upstream=[seen(BOTH)], log=log)


def asked(id: str, raw: str, status: int = 400) -> Case:
    """A request in the tunnel that is refused, before anything is sent or logged."""
    return case(f"exchange/{id}", API, raw, responses=[{"status": status}], upstream=[], log=[])


def answered(id: str, raw: str, response: Case, logged: Case, **do: str) -> Case:
    """An answer of the upstream, and what becomes of it."""
    return case(f"response/{id}", API, answers=[{"raw": raw, **do}], responses=[response], log=[logged])


def plain(id: str, request: str, arrived: Case | None = None, logged: Case | None = None) -> Case:
    """A request to the listener itself."""
    upstream = [seen(**PLAIN) if arrived is None else arrived]
    return case(f"plain/{id}", API, request, to=None, upstream=upstream, log=[logged or line(**PLAIN_LINE)])


def upgraded(id: str, *fields: str, arrived: Case | None = None, logged: Case | None = None, **other: Any) -> Case:
    """An upgrade that is answered 101, and a tunnel."""
    switched = {"status": 101, "headers": [["upgrade", "websocket"]], "body": "", "interim": other.pop("interim", [])}
    return case(
        f"upgrade/{id}", API, other.pop("request", get(SOCKET, *fields)), tunnel="x", responses=[switched],
        answers=[{"raw": other.pop("answer", SWITCH)}], upstream=[{**(arrived or seen(SOCKETS)), "tunnel": "x"}],
        facts={"tunnel": other.get("glued", "") + "x"}, log=[logged or line(http_status=101, response_size=0)], **other,
    )  # fmt: skip


def tried(id: str, allow: str, target: str, permitted: bool) -> Case:
    """A CONNECT under an allow list."""
    config = f"network: {{policy: strict, allow: [{allow}]}}\n"
    host, _, port = target.rpartition(":")
    if not permitted:
        return case(f"policy/{id}", config, to=target, facts=BLOCKED, log=denied(host.strip("[]")))
    arrived = [seen({"host": host}, port=int(port))]
    return case(f"policy/{id}", config, get(host=host), to=target, upstream=arrived, log=[line(None, http_host=host)])


def basic(text: str) -> str:
    """Basic credentials of the proxy."""
    return "Basic " + base64.b64encode(text.encode()).decode()


def bearing(*credentials: str) -> Case:
    """A CONNECT with these credentials for the proxy."""
    return {"headers": [["Proxy-Authorization", text] for text in credentials]}


def admitted(id: str, *credentials: str, user: Any = ABSENT) -> Case:
    """A CONNECT that authenticates itself."""
    return case(f"auth/{id}", AUTH, connect=bearing(*credentials), log=[line(user_id=user)])


def challenged(id: str, *credentials: str, config: str = AUTH) -> Case:
    """A CONNECT that does not."""
    facts = {"connect": 407, "challenge": CHALLENGE, **NOTHING}
    return case(f"auth/{id}", config, connect=bearing(*credentials), facts=facts)


def captured(id: str, fields: list[str], kept: Mapping[str, str]) -> Case:
    """What is logged of captured headers, none of which is sent."""
    return case(f"capture/{id}", CAPTURE, get(*fields), log=[line(captured=kept or ABSENT)])


TYPING = [
    *[token(text, text) for text in ("0o17", "0b11", "1e3", "yes", "off", "2026-01-02", "1:30", "-0", "+1", ".nan")],
    token("!!binary aGVsbG8=", "hello"), token("'it''s'", "it's"), token('"\\x41"', "A"), token("&a tok", "tok"),
    token("!!int 5", "5"), static("prefix-bool", "abc", "true abc", "prefix: true, "),
    entry("typing/grant", "grant: 007, source: {type: static, value: a}", {"authorization": "Bearer a"}, grants="007"),
    *[refused(f"typing/value-{text}", f"credentials:\n  - {{host: a, source: {{type: static, value: {text}}}}}\n")
      for text in ("~", "{a: b}", "Null")],
    *[refused(f"typing/{text}", text + "\n") for text in (
        'proxy: {port: "9080"}', "proxy: {proxy_protocol: 1}", "- a", "hello", "network: {allow: a}",
        "proxy:\n  port: 0\n  port: 0", "credentials: [~]", "network: {policy: strict, allow: [~]}",
        "network: {policy: STRICT}", "network: {policy: strickt}", "log: {capture_headers: [proxy-authorization]}",
        f"log: {{capture_headers: [{', '.join(f'X-{at}' for at in range(11))}]}}")],
    *[case(f"typing/{text}", text + "\n" + API) for text in (
        "proxy: {port: 1_0}", "proxy: {port: 9080.5}", "proxy: {proxy_protocol: no}", "Network: {policy: strict}",
        "network: {policy: }", "network: {policy: ''}", "log: {format: JSON, level: verbose}", "tls: {ca_cert: none}")],
]  # fmt: skip

VALUES = [
    static("ghp-alone", "ghp_", "token ghp_"), static("ghp-upper", "GHP_a", "Bearer GHP_a"),
    static("ghp-prefix", "ghp_a", "Token ghp_a", "prefix: Token, "), static("scheme-and-nothing", "'tok '", "tok"),
    static("basic-of-scheme", "'Basic x'", basic("u:Basic x"), "format: Basic, prefix: u, "),
    static("format-empty", "abc", "Bearer abc", "format: '', "),
    entry("value/prefix-other", "header: X-Key, prefix: P, source: {type: static, value: abc}", {"x-key": "abc"}),
    entry("value/cookie", "header: Cookie, source: {type: static, value: a=1}", {"cookie": "a=1"}, get("Cookie: b=2")),
    *[refused(f"value/header-{name}", f"credentials: [{{host: a, header: {name}, source: {{type: static, value: x}}}}]")
      for name in ("host", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Keep-Alive",
                   "Proxy-Authorization", "Proxy-Connection", "'X Y'", "X(Y)", "'Ä'")],
    *[refused(f"value/{code}", f'credentials: [{{host: a, source: {{type: static, value: "ab\\x{code}c"}}}}]')
      for code in ("01", "0a", "7f")],
]  # fmt: skip

HOSTS = [
    hosted("apex", "*.example.com", "example.com", False), hosted("case", "*.EXAMPLE.com", "API.example.COM", True),
    hosted("dot", "api.example.com.", "api.example.com", False), hosted("top", "*.com", "api.example.com", True),
    hosted("ip-port", "127.0.0.1", "127.0.0.1", True, 8443), hosted("below", "example.com", "api.example.com", False),
    hosted("underscore", "*.example.com", "a_b.example.com", True), hosted("ipv6", "localhost", "[::1]", False),
    *[refused(f"hosts/{host}", f'credentials: [{{host: "{host}", source: {{type: static, value: x}}}}]')
      for host in ("a b.example.com", "u@api.example.com", "api.example.com/", "fe80::1", "*.example.com:1", " a ")],
]  # fmt: skip

INJECT = [
    tie("tie", "a", "b", 0), tie("claude-first", "claude", "b", 1), tie("claude-second", "a", "claude", 0),
    tie("claude-asked", "a", "claude", 1, "Authorization: p"), tie("claude-case", "Claude", "b", 0),
    tie("claude-empty", "a", "claude", 0, "Authorization:"), both("auto"),
    both("asked", "X-API-KEY: p", "authorization: q"),
    both("hidden-by-connection", "Connection: x-api-key", "X-Api-Key: p"), both("blank", "X-Api-Key:    "),
    case("inject/equal-grants", KEYS.replace("two,", "one,"), upstream=[seen(BOTH)],
         log=[line("authorization,x-api-key", "one,one")]),
    case("inject/twice", API, get("Authorization: a", "X: y", "AUTHORIZATION: b"), upstream=[seen({**SENT, "x": "y"})]),
    case("inject/connection-names", API, get("Connection: authorization")),
    entry("inject/request-id", f"header: X-Request-Id, source: {{type: static, value: {VALUE}}}",
          {"x-request-id": VALUE}, get("X-Request-Id: mine")),
]  # fmt: skip

POSTED: Case = {"upstream": [seen(method="POST", body="wiki")], "log": [line(http_method="POST", request_size=ABSENT)]}
CLOSED: Case = {"status": "closed"}
EXCHANGE = [
    case("exchange/id", API, get("x-request-id: mine"), upstream=[seen({**SENT, "x-request-id": "mine"})]),
    case("exchange/folded", API, get("X-A: a", "  b", "\tc"), upstream=[seen({**SENT, "x-a": "a b c"})]),
    case("exchange/high-bytes", API, get("X-A: \xe4\xff"), upstream=[seen({**SENT, "x-a": "\xe4\xff"})]),
    case("exchange/high-target", API, get(target="/\xc3\xa4(b)?\xc3\xa4"),
         upstream=[seen(target="/%C3%A4%28b%29?\xc3\xa4")], log=[line(http_path="/\xe4(b)")]),
    case("exchange/chunked", API, f"{CHUNKED}\r\n{WIKI}\r\n", **POSTED),
    case("exchange/trailers", API, f"{CHUNKED}Trailer: X-T\r\n\r\n{WIKI}X-T: 1\r\n\r\n", **POSTED),
    case("exchange/both-framings", API, f"{CHUNKED}Content-Length: 3\r\n\r\n{WIKI}\r\n", get(), **POSTED,
         responses=[OK, CLOSED]),
    *[case(f"exchange/{method}", API, get("Content-Length: 0", method=method), upstream=[seen(method=method)],
           log=[line(http_method=method)]) for method in ("PUT", "PATCH", "get", "M-SEARCH")],
    case("exchange/absolute", API, get(target="https://api.example.com:443/a?b", host="x"),
         upstream=[seen({**SENT, "host": "api.example.com:443"}, target="/a?b")], log=[line(http_path="/a")]),
    case("exchange/absolute-other", API, get(target="https://other.example.com/a"),
         upstream=[seen({"host": "other.example.com"}, target="/a")], log=[line(None, http_path="/a")]),
    case("exchange/host-port", API, get(host="API.example.com:443"),
         upstream=[seen({**SENT, "host": "API.example.com:443"})]),
    case("exchange/host-other", API, get(host="other.example.com"), log=[line(None)],
         upstream=[seen({"host": "other.example.com"})]),
    case("exchange/forwarded", API, get("X-Forwarded-Host: a", "X-Forwarded-Proto: b", "X-Forwarded-Port: c"),
         upstream=[seen({**SENT, "x-forwarded-port": "c"})]),
    case("exchange/te", API, get("TE: deflate;q=0.5")), case("exchange/1.2", API, get().replace("/1.1", "/1.2")),
    case("exchange/close", API, get("Connection: close"), get(), responses=[OK, CLOSED]),
    case("exchange/http10-kept", API, get("Connection: keep-alive").replace("/1.1", "/1.0"), get(),
         responses=[OK, OK], upstream=[seen(), seen()], log=[line(), line()]),
    case("exchange/http10", API, get().replace("/1.1", "/1.0"), get(), responses=[OK, CLOSED]),
    case("exchange/large", API, get("Cookie: " + "x" * 100_000), upstream=[seen({**SENT, "cookie": "x" * 100_000})]),
    asked("too-large", get(*["Cookie: " + "x" * 100_000] * 11), 431), asked("hosts", get("Host: api.example.com")),
    asked("lengths", get("Content-Length: 3", "Content-Length: 4") + "abcd"), asked("no-name", get(": b")),
    *[asked(f"control-{code:02x}", get(f"X-A: a{chr(code)}b")) for code in (0, 1, 13, 31, 127)],
    asked("no-colon", get("X-A")), asked("name", get("X(A): b")), asked("length-text", get("Content-Length: x")),
    asked("length-sign", get("Content-Length: +1") + "a"), asked("coding", get("Transfer-Encoding: identity"), 501),
    asked("chunked-in-10", CHUNKED.replace("/1.1", "/1.0") + "\r\n"), asked("no-version", "GET /\r\n\r\n"),
    asked("two-spaces", get().replace(" /", "  /", 1)), asked("version-2", get().replace("P/1.1", "P/2.0"), 505),
    *[asked(f"host-{host}", get(host=host)) for host in ("[api.example.com]", "a.example.com:1:2", "a.example.com%00")],
    *[case(f"exchange/{text}", API, text, responses=[{"status": 400}], upstream=[], facts={"log": {"ignore": True}})
      for text in (get(target="v1"), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
]  # fmt: skip

RESPONSE = [
    answered("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
             {**EMPTY, "body": "ok"}, line(response_size=ABSENT)),
    answered("not-modified", 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n',
             {"status": 304, "headers": [["etag", '"a"']], "body": ""}, line(http_status=304, response_size=0)),
    answered("early-hints", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
             {**EMPTY, "interim": [103]}, line(response_size=0)),
    answered("cookies", "HTTP/1.1 200 OK\r\nSet-Cookie: b=2\r\nSET-COOKIE: a=1\r\nContent-Length: 0\r\n\r\n",
             {**EMPTY, "headers": [["set-cookie", "a=1"], ["set-cookie", "b=2"]]}, line(response_size=0)),
    answered("lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", {**EMPTY, "body": "ok"},
             line()),
    answered("lengths-differ", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", {"status": 502},
             bad()),
    answered("upgrade-offered", "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
             EMPTY, line(response_size=0)),
    answered("open", "HTTP/1.1 418 I'm a teapot\r\nX-A: \xc4\r\n\r\n",
             {"status": 418, "headers": [["x-a", "\xc4"]], "body": ""},
             line(level="WARN", http_status=418, response_size=ABSENT), then="close"),
    answered("cut", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", {**EMPTY, "body": "abc"},
             line(response_size=10), then="close"),
    answered("garbage", "garbage\r\n\r\n", {"status": 502}, bad(), then="close"),
    answered("silent", "", {"status": 502}, bad(), then="close"),
    answered("reset", "", {"status": 502}, bad(), fault="reset"),
    answered("unasked-switch", SWITCH, {"status": 502}, bad()),
    case("response/head-length", API, get(method="HEAD"), upstream=[seen(method="HEAD")], responses=[EMPTY],
         answers=[{"raw": "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"}],
         log=[line(http_method="HEAD", response_size=99)]),
    case("response/close-then-again", API, get(), get(), responses=[EMPTY, EMPTY], upstream=[seen(), seen()],
         answers=[{"raw": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "then": "close"}],
         log=[line(response_size=0)] * 2),
    case("response/502-then-again", API, get(), get(), answers=[{"fault": "close"}, {}], log=[bad(), line()],
         responses=[{"status": 502}, OK], upstream=[seen(), seen()]),
    case("response/wrong-name", API.replace("api.", "wrongname."), get(host="wrongname.example.com"), upstream=[],
         to="wrongname.example.com:443", responses=[{"status": 502}],
         log=[bad(None, http_host="wrongname.example.com")]),
]  # fmt: skip

CONNECT = [
    *[case(f"connect/{target}", API, connect={"raw": f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n"},
           facts={"connect": 400, **NOTHING})
      for target in ("api.example.com:", "api.example.com:abc", "example.com:65536", "[::1:443", "example.com:443/")],
    case("connect/sni-dot", API, connect={"sni": "api.example.com."}, facts={"tls": "failed", **NOTHING}),
    case("connect/plain-inside", API, to="api.example.com:80", connect={"tls": False},
         upstream=[seen(port=80, tls=False)]),
    case("connect/healthz", API, get(target="/healthz"), to=None, responses=[{"status": 200}], upstream=[], log=[]),
    case("connect/healthz-inside", API, get(target="/healthz"), upstream=[seen(target="/healthz")],
         log=[line(http_path="/healthz")]),
]  # fmt: skip

PLAINS = [
    plain("port", get(target="http://api.example.com:8080/v1", host="x"),
          seen({**SENT, "host": "api.example.com:8080"}, **{**PLAIN, "port": 8080})),
    plain("query", get(target="http://api.example.com?a=;b&c", host="x"), seen(**{**PLAIN, "target": "/?a=;b&c"}),
          line(**{**PLAIN_LINE, "http_path": ""})),
    plain("scheme-upper", get(target="HTTP://api.example.com/v1")), plain("http10", f"GET {URL} HTTP/1.0\r\n\r\n"),
    plain("forwarded", get("X-Forwarded-For: a", "Forwarded: for=b", "X-Request-Id: c", target=URL),
          seen({**SENT, "x-forwarded-for": "a", "forwarded": "for=b", "x-request-id": "c"}, **PLAIN)),
    plain("options", get(target="http://api.example.com", method="OPTIONS"),
          seen(method="OPTIONS", **{**PLAIN, "target": "/"}),
          line(http_method="OPTIONS", **{**PLAIN_LINE, "http_path": ""})),
    case("plain/https-upper", API, get(target="HTTPS://api.example.com/v1"), to=None, responses=[{"status": 400}],
         upstream=[], facts={"log": {"ignore": True}}),
    case("plain/two", API, get(target=URL), get(target=OTHER), to=None, responses=[OK, OK],
         upstream=[seen(**PLAIN), seen({"host": "other.example.com"}, **{**PLAIN, "target": "/1"})],
         log=[line(**PLAIN_LINE), line(None, http_host="other.example.com", proxy_type="http", http_path="/1")]),
]  # fmt: skip

SWITCHED: Case = {"http_status": 101, "response_size": 0}
UPGRADES = [
    upgraded("auto"), upgraded("glued", glued="early "),
    upgraded("h2c-too", request=get(SOCKET.replace(": w", ": h2c, w"))),
    upgraded("hints", answer="HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SWITCH, interim=[103]),
    upgraded("protocol", "Sec-WebSocket-Protocol: a, b", arrived=seen({**SOCKETS, "sec-websocket-protocol": "a, b"})),
    upgraded("host", request=get(SOCKET, host="other.example.com"), logged=line(None, **SWITCHED),
             arrived=seen({"connection": "Upgrade", "upgrade": "websocket", "host": "other.example.com"})),
    upgraded("wss-target", request=get(SOCKET, target="wss://api.example.com/v1/items", host="x")),
    upgraded("plain-inside", to="api.example.com:80", connect={"tls": False},
             arrived=seen(SOCKETS, port=80, tls=False)),
    upgraded("plain-ws", to=None, request=get(SOCKET, target="ws://api.example.com/v1"),
             arrived=seen(SOCKETS, **PLAIN), logged=line(**SWITCHED, **PLAIN_LINE)),
    case("upgrade/no-token", API, get("Upgrade: websocket", "Connection: keep-alive")),
    case("upgrade/no-protocol", API, get("Connection: Upgrade")),
    case("upgrade/busy", API, get(SOCKET), upstream=[seen(SOCKETS)], responses=[{**EMPTY, "status": 503}],
         answers=[{"raw": "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"}],
         log=[line(level="ERROR", http_status=503, response_size=0)]),
]  # fmt: skip

POLICY = [
    tried("port", "api.example.com", "api.example.com:8443", False), tried("ipv6", "a", "[::1]:443", False),
    tried("own-port", "'api.example.com:8443'", "api.example.com:8443", True),
    tried("upper-target", "api.example.com", "API.example.com:443", True),
    tried("wildcard-upper", "'*.EXAMPLE.com'", "api.example.com:443", True),
    tried("several", "a, '*.example.com', b", "x.y.example.com:443", True),
    tried("union", "'api.example.com:8443', api.example.com", "api.example.com:443", True),
    tried("dot", "api.example.com", "api.example.com.:443", False), tried("ip", "127.0.0.1", "127.0.0.2:443", False),
    *[refused(f"policy/{allow}", f'network: {{policy: strict, allow: ["{allow}"]}}\n')
      for allow in ("", "a b", "http://a", "a/", "::1", "[::1]", "a:b", "a:", "*.a:99999")],
    case("policy/port-80", STRICT, to="api.example.com:80", connect={"tls": False},
         upstream=[seen(port=80, tls=False)]),
    case("policy/plain-port", STRICT.replace("[api.example.com]", "['api.example.com:8080']"),
         get(target="http://api.example.com:8080/v1"), to=None, log=[line(**PLAIN_LINE)],
         upstream=[seen({**SENT, "host": "api.example.com:8080"}, **{**PLAIN, "port": 8080})]),
    case("policy/plain-post", STRICT, get("Content-Length: 2", target=OTHER, method="POST") + "ab", get(target=URL),
         to=None, responses=[BLOCKED_PLAIN, OK], upstream=[seen(**PLAIN)],
         log=[*denied("other.example.com", "POST", http_path="/1", request_size=2), line(**PLAIN_LINE)]),
    case("policy/plain-upgrade", STRICT, get(SOCKET, target="ws://other.example.com/1"), to=None,
         responses=[BLOCKED_PLAIN], upstream=[], log=denied("other.example.com", "GET", http_path="/1")),
]  # fmt: skip

AUTHS = [
    admitted("basic", basic("me:tok-123"), user="me"), admitted("no-user", basic(":tok-123")),
    admitted("bearer", "Bearer tok-123"), admitted("first", "Bearer tok-123", "x"), challenged("none"),
    challenged("empty", ""), challenged("bearer-alone", "Bearer"), challenged("longer", "Bearer tok-1234"),
    challenged("unpadded", basic("me:tok-123").rstrip("=")), challenged("user-alone", basic("tok-123:")),
    challenged("two-spaces", basic("user:tok-123").replace(" ", "  ")), challenged("second", "x", "Bearer tok-123"),
    challenged("colon", basic("a:b:tok-123")), challenged("upper", "BEARER tok-123"),
    challenged("before-policy", config=AUTH + DENY),
    case("auth/number", AUTH.replace("tok-123", "0123"), connect={"headers": [["proxy-authorization", "Bearer 0123"]]}),
    case("auth/denied", AUTH + DENY, connect=bearing(basic("me:tok-123")), facts=BLOCKED, log=denied(user_id="me")),
    case("auth/plain-again", AUTH, get(target=URL), get("Proxy-Authorization: Bearer tok-123", target=URL), to=None,
         responses=[CHALLENGED, OK], upstream=[seen(**PLAIN)], log=[line(**PLAIN_LINE)]),
    case("auth/not-inside", AUTH, get("Proxy-Authorization: Bearer x"), connect=bearing("Bearer tok-123")),
]  # fmt: skip

CAPTURES = [
    captured("cut", ["X-Tenant: x" + "\xc3\xa4" * 200], {"x_tenant": "x" + "\xe4" * 127}),
    captured("case", ["X-TRACE-ID: 1"], {"x_trace_id": "1"}),
    captured("utf8", ["X-Tenant: \xc3\xa4"], {"x_tenant": "\xe4"}),
    captured("not-utf8", ["X-Tenant: a\xffb"], {"x_tenant": "ab"}),
    captured("first-empty", ["X-Tenant:", "X-Tenant: b"], {}),
    case("capture/user-agent", CAPTURE.replace("X-Tenant", "User-Agent"), get("User-Agent: me"),
         log=[line(captured={"user_agent": "me"})]),
    case("capture/framing", CAPTURE.replace("X-Tenant", "Host, Content-Length"), get("Content-Length: 2") + "ab",
         upstream=[seen(body="ab")], log=[line(request_size=2, captured={"content_length": "2"})]),
    case("capture/chunked", CAPTURE.replace("X-Tenant", "Transfer-Encoding"), f"{CHUNKED}\r\n{WIKI}\r\n", **POSTED),
    case("capture/plain", CAPTURE, get("X-Tenant: t", target=URL), to=None, upstream=[seen(**PLAIN)],
         log=[line(captured={"x_tenant": "t"}, **PLAIN_LINE)]),
]  # fmt: skip

LOGS = [
    case("log/percent", API, get(target="/caf%C3%A9/100%25?q=%41"), log=[line(http_path="/caf\xe9/100%")],
         upstream=[seen(target="/caf%C3%A9/100%25?q=%41")]),
    case("log/text-percent", API + "log: {format: text}\n", get(target="/caf%C3%A9%22"),
         log=[line(http_path='/caf\xe9"')], upstream=[seen(target="/caf%C3%A9%22")]),
    case("log/level-error", API + "log: {format: json, level: ERROR}\n", log=[]),
    case("log/level-warn-ok", API + "log: {format: text, level: warn}\n", log=[]),
    case("log/redirect", API, answers=[{"raw": "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"}],
         responses=[{**EMPTY, "status": 302}], log=[line(http_status=302, response_size=0)]),
    case("log/denied-at-error", DENY + "log: {format: text, level: error}\n", log=[], facts=BLOCKED),
]  # fmt: skip

CASES = [
    *TYPING, *VALUES, *HOSTS, *INJECT, *EXCHANGE, *RESPONSE, *CONNECT, *PLAINS, *UPGRADES, *POLICY, *AUTHS, *CAPTURES,
    *LOGS,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_proxy_does_what_production_would(
    case: Case, play: Callable[[Case], dict[str, Any]], differences: Callable[[Case, dict[str, Any]], list[str]]
) -> None:
    """The facts of a case are those that follow from production's rules and from where ours differ."""
    assert differences(case, play(case)) == []
