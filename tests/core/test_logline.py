"""Facts about the lines of the log: fields, levels, and how they are written."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.logline import connect_line, denial_line, dropped_line, json_text, request_line, text
from pytest_gatekeeper._core.model import Injection
from pytest_gatekeeper._core.records import LogLine
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret-token-0123456789"
WHEN = datetime(2026, 1, 2, 3, 4, 5, 120000, timezone.utc)
USUAL: dict[str, Any] = {
    "request_id": "req_01",
    "method": "GET",
    "host": "api.example.com",
    "target": "/v1/items",
    "status": 200,
    "duration": 0.0123,
    "proxy_type": "connect",
    "client_ip": "127.0.0.1",
}
CONNECT: dict[str, Any] = {
    "request_id": "req_01",
    "host": "ws.example.com",
    "port": 443,
    "duration": 0.001,
    "client_ip": "127.0.0.1",
}


def _line(**changes: Any) -> LogLine:
    return request_line(**{**USUAL, **changes})


def _injection(header: str = "Authorization", grant: str = "api") -> Injection:
    return Injection(header, grant, "credentials[0]", Secret(VALUE), Secret(f"Bearer {VALUE}"))


def _keys(line: LogLine) -> list[str]:
    return [key for key, _ in line.fields]


def _written(value: str | float | bool) -> str:
    """One value as the text format writes it."""
    return text(LogLine("INFO", "m", (("v", value),))).removeprefix("msg=m v=")


# ------------------------------------------------------------------ the request line


def test_a_request_without_anything_special() -> None:
    """Seven fields and the client, in production's order; what does not apply is not there."""
    assert _line() == LogLine(
        "INFO",
        "request",
        (
            ("request_id", "req_01"),
            ("http_method", "GET"),
            ("http_host", "api.example.com"),
            ("http_path", "/v1/items"),
            ("http_status", 200),
            ("duration_ms", 12.3),
            ("proxy_type", "connect"),
            ("client_ip", "127.0.0.1"),
        ),
    )


def test_a_request_with_everything() -> None:
    """Every field has its place, captured headers the last."""
    line = _line(
        proxy_type="http",
        user_id="alice",
        injections=(_injection(),),
        deny_reason="Host not in allow list: api.example.com",
        request_size=5,
        response_size=0,
        error="upstream refused",
        captured=(("x_tenant", "t-1"), ("x_trace_id", "")),
    )
    assert _keys(line)[6:] == [
        "proxy_type", "user_id", "client_ip", "credential_injected", "injected_headers", "grants", "denied",
        "deny_reason", "request_size", "response_size", "error", "x_tenant", "x_trace_id",
    ]  # fmt: skip
    fields = dict(line.fields)
    assert fields["proxy_type"] == "http" and fields["user_id"] == "alice" and fields["error"] == "upstream refused"
    assert (fields["denied"], fields["deny_reason"]) == (True, "Host not in allow list: api.example.com")
    assert (fields["request_size"], fields["response_size"]) == (5, 0)
    assert (fields["x_tenant"], fields["x_trace_id"]) == ("t-1", "")


def test_empty_fields_that_stay() -> None:
    """A host and a path that are not known are empty, while an unknown client has no field."""
    line = _line(host="", target="", client_ip="")
    assert line.fields[2:4] == (("http_host", ""), ("http_path", ""))
    assert "client_ip" not in _keys(line) and "client_ip" in _keys(_line())


def test_injected_headers_are_sorted_names() -> None:
    """Lower case, sorted, joined by commas; so are the grants, of which equal ones stay and empty ones do not."""
    injections = (_injection("X-Api-Key", "two"), _injection("Authorization", "one"), _injection("X-B", "two"))
    assert _line(injections=injections).fields[8:] == (
        ("credential_injected", True),
        ("injected_headers", "authorization,x-api-key,x-b"),
        ("grants", "one,two,two"),
    )
    assert _line(injections=(_injection(grant=""),)).fields[8:] == (
        ("credential_injected", True),
        ("injected_headers", "authorization"),
    )
    assert "credential_injected" not in _keys(_line(injections=()))


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"status": 101}, "INFO"),
        ({"status": 204}, "INFO"),
        ({"status": 302}, "INFO"),
        ({"status": 399}, "INFO"),
        ({"status": 400}, "WARN"),
        ({"status": 499}, "WARN"),
        ({"status": 407, "deny_reason": "no"}, "WARN"),
        ({"status": 200, "deny_reason": "no"}, "WARN"),
        ({"status": 500}, "ERROR"),
        ({"status": 503}, "ERROR"),
        ({"status": 502, "error": "refused"}, "ERROR"),
        ({"status": 200, "error": "cut short"}, "ERROR"),
        ({"status": 404, "error": ""}, "ERROR"),
        ({"status": 407, "deny_reason": "no", "error": "cut short"}, "ERROR"),
    ],
)
def test_the_level_follows_from_the_outcome(changes: dict[str, Any], level: str) -> None:
    """An error or a status from 500 on is ERROR, a denial or one from 400 on WARN, all else INFO."""
    assert _line(**changes).level == level


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [(0.0, 0), (1.0, 1000), (0.00000123, 0.00123), (0.0000000014, 0.000001), (1 / 3, 333.333333)],
)
def test_the_duration_is_milliseconds_to_the_nanosecond(duration: float, milliseconds: float) -> None:
    """A number with a fraction, as production has it."""
    assert dict(_line(duration=duration).fields)["duration_ms"] == milliseconds


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1?q=1", "/v1"),
        ("/v1?a?b", "/v1"),
        ("/", "/"),
        ('/a"b=c%20d', '/a"b=c d'),
        ("/a%20b/%00/%0A", "/a b/\x00/\n"),
        ("/p%20q/../x;y?a=1&b=%2F&c=;d&&e", "/p q/../x;y"),
        ("/%2525", "/%25"),
        ("/a+b", "/a+b"),
        ("/a#b", "/a#b"),
        ("//x/y", "//x/y"),
        ("/%zz%4", "/%zz%4"),
        ("/%C3%A9/\xc3\xa9", "/é/é"),
        ("/%e9\xe9", "/\udce9\udce9"),
        ("*", "*"),
        ("http://api.example.com", ""),
        ("http://api.example.com?q=1", ""),
        ("HTTP://user@api.example.com:8080/v1%2Fx?u=http://y/z", "/v1/x"),
        ("ws://[::1]:80/socket", "/socket"),
        ("api.example.com:443", ""),
        ("", ""),
    ],
)
def test_the_path_is_decoded_and_without_the_query(target: str, path: str) -> None:
    """Of each form of a request target."""
    assert dict(_line(target=target).fields)["http_path"] == path


# ------------------------------------------------------------------ the other lines


def test_the_line_of_a_connect() -> None:
    """The line that the WebSocket guide promises: the host with its port, and the credential of the first request."""
    line = connect_line(**CONNECT, user_id="alice", injections=(_injection(grant="ws-api"),))
    assert text(line) == (
        'msg=request request_id=req_01 http_method=CONNECT http_host=ws.example.com:443 http_path="" http_status=200'
        " duration_ms=1 proxy_type=connect user_id=alice client_ip=127.0.0.1 credential_injected=true"
        " injected_headers=authorization grants=ws-api"
    )
    assert line.level == "INFO"


def test_the_line_of_a_connect_without_a_credential() -> None:
    """It says nothing of one; an IPv6 address is in brackets."""
    line = connect_line(**{**CONNECT, "host": "::1", "port": 8443})
    assert _keys(line)[6:] == ["proxy_type", "client_ip"]
    assert dict(line.fields)["http_host"] == "[::1]:8443"


def test_the_line_of_a_denial() -> None:
    """The fields that production has, also those that are always empty."""
    assert text(denial_line("http.connect", "Host not in allow list: x.example.com"), WHEN) == (
        'time=2026-01-02T03:04:05.120Z level=WARN msg="policy denial" run_id="" scope=network operation=http.connect'
        ' rule="" message="Host not in allow list: x.example.com"'
    )
    assert dict(denial_line("http.request", "no").fields)["operation"] == "http.request"


def test_the_line_of_a_malformed_proxy_header() -> None:
    """A connection that is cut before its first byte counts has a line for whoever debugs."""
    line = dropped_line("35.191.12.34:51422", "the PROXY line must end with CR LF")
    assert text(line, WHEN).split(" ", 1)[1] == (
        'level=DEBUG msg="dropping connection: malformed PROXY protocol header" peer=35.191.12.34:51422'
        ' err="the PROXY line must end with CR LF"'
    )


# ------------------------------------------------------------------ text

# What slog's TextHandler (Go 1.26) was seen to write for each value.
SLOG_TEXT = [
    ("", '""'),
    ("plain", "plain"),
    ("a b", '"a b"'),
    ("a=b", '"a=b"'),
    ('a"b', '"a\\"b"'),
    ("a\\b", "a\\b"),
    ("a\\ b", '"a\\\\ b"'),
    ("tab\t", '"tab\\t"'),
    ("\v\f\r\a\b\n", '"\\v\\f\\r\\a\\b\\n"'),
    ("\x00\x1b", '"\\x00\\x1b"'),
    ("\x7f", "\x7f"),
    ("\x7f z", '"\\x7f z"'),
    ("é", "é"),
    ("日本😀", "日本😀"),
    ("a\x7fé", "a\x7fé"),
    ("\x85", '"\\u0085"'),
    ("\xa0", '"\\u00a0"'),
    ("\xad", '"\\u00ad"'),
    ("a\u2009b", '"a\\u2009b"'),
    ("\u200b", '"\\u200b"'),
    ("\u2028", '"\\u2028"'),
    ("\ufeff", '"\\ufeff"'),
    ("\ue000", '"\\ue000"'),
    ("\U000e0001", '"\\U000e0001"'),
    ("\ufffd", '"\ufffd"'),
    ("a\udcffé", '"a\\xffé"'),
    ("a:b,c'd{}<&>", "a:b,c'd{}<&>"),
    (True, "true"),
    (False, "false"),
    (5, "5"),
    (0.0, "0"),
    (1.0, "1"),
    (12.345678, "12.345678"),
    (0.001, "0.001"),
    (0.0001, "0.0001"),
    (0.00001, "1e-05"),
    (0.000001, "1e-06"),
    (999999.0, "999999"),
    (1e6, "1e+06"),
    (1234567.5, "1.2345675e+06"),
    (1e20, "1e+20"),
]


@pytest.mark.parametrize(("value", "written"), SLOG_TEXT)
def test_values_are_written_as_slog_does(value: str | float | bool, written: str) -> None:
    """Quoted where they are empty or hold a space, `=`, `"` or what cannot be printed, and bare else."""
    assert _written(value) == written


@pytest.mark.parametrize(
    ("when", "written"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 0, timezone.utc), ("05.000Z", "05Z")),
        (datetime(2026, 1, 2, 3, 4, 5, 999999, timezone.utc), ("05.999Z", "05.999999Z")),
        (datetime(2026, 1, 2, 3, 4, 5, 120000, timezone.utc), ("05.120Z", "05.12Z")),
        (
            datetime(2026, 1, 2, 3, 4, 5, 1000, timezone(timedelta(hours=1, minutes=30))),
            ("05.001+01:30", "05.001+01:30"),
        ),
        (datetime(2026, 1, 2, 3, 4, 5, 0, timezone(-timedelta(hours=8))), ("05.000-08:00", "05-08:00")),
    ],
)
def test_times_are_written_as_slog_does(when: datetime, written: tuple[str, str]) -> None:
    """RFC 3339: milliseconds in the text format, in JSON as many digits as there are."""
    prefix = "2026-01-02T03:04:"
    assert text(_line(), when).startswith(f"time={prefix}{written[0]} level=INFO msg=request request_id=")
    assert json.loads(json_text(_line(), when))["time"] == prefix + written[1]


def test_a_line_without_a_time_has_no_level_either() -> None:
    """What is handed to a logger that has both of its own."""
    assert text(_line()) == text(_line(), WHEN).removeprefix("time=2026-01-02T03:04:05.120Z level=INFO ")
    assert list(json.loads(json_text(_line())))[:2] == ["msg", "request_id"]
    assert list(json.loads(json_text(_line(), WHEN)))[:4] == ["time", "level", "msg", "request_id"]


_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |$)')


def _unquoted(value: str) -> str:
    """A value of the text format read back by other means than it was written with."""
    if not value.startswith('"'):
        return value
    escaped = re.sub(r"\\(?!x[89a-f])", r"\\", value[1:-1])
    plain = re.sub(r"\\x([89a-f][0-9a-f])", lambda match: chr(0xDC00 + int(match[1], 16)), escaped)
    return re.sub(
        r'\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[abfnrtv"\\])',
        lambda match: match[0].encode().decode("unicode_escape"),
        plain,
    )


_ANY_TEXT = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape")) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=30
)


@given(_ANY_TEXT, _ANY_TEXT)
def test_any_value_can_be_read_back_from_the_text(one: str, other: str) -> None:
    """Whatever a client sends, a line stays one line, and no field can pass for another."""
    written = text(LogLine("INFO", "m", (("one", one), ("other", other), ("last", 1))))
    assert not re.search(r"[\x00-\x1f\x80-\x9f\ud800-\udfff]", written)
    pairs = [(match[1], match[2]) for match in _PAIR.finditer(written)]
    assert [key for key, _ in pairs] == ["msg", "one", "other", "last"]
    if "\\x" not in one + other:  # which reads like an escaped byte
        assert (_unquoted(pairs[1][1]), _unquoted(pairs[2][1])) == (one, other)


# ------------------------------------------------------------------ JSON

SLOG_JSON = [
    ("a b", '"a b"'),
    ('a"b\\', '"a\\"b\\\\"'),
    ("\n\r\t", '"\\n\\r\\t"'),
    ("\x00\v\f\a\b", '"\\u0000\\u000b\\u000c\\u0007\\u0008"'),
    ("<&>é😀\x7f", '"<&>é😀\x7f"'),
    ("\u2028\u2029", '"\\u2028\\u2029"'),
    ("bad\udcff", '"bad\\ufffd"'),
    (True, "true"),
    (False, "false"),
    (5, "5"),
    (0.0, "0"),
    (12.345678, "12.345678"),
    (0.00001, "0.00001"),
    (1234567.5, "1234567.5"),
    (1e20, "100000000000000000000"),
]


@pytest.mark.parametrize(("value", "written"), SLOG_JSON)
def test_json_values_are_written_as_slog_does(value: str | float | bool, written: str) -> None:
    """Only what JSON and JavaScript need is escaped, nothing of HTML."""
    assert json_text(LogLine("INFO", "m", (("v", value),))) == f'{{"msg":"m","v":{written}}}'


@given(_ANY_TEXT)
def test_any_value_can_be_read_back_from_json(value: str) -> None:
    """One object on one line; bytes that are no UTF-8 are U+FFFD."""
    written = json_text(LogLine("WARN", value, ((value, value),)), WHEN)
    assert "\n" not in written and not re.search("[\ud800-\udfff]", written)
    read = json.loads(written)
    clean = re.sub("[\ud800-\udfff]", "\ufffd", value)
    assert (read["msg"], read[clean], read["level"]) == (clean, clean, "WARN")


def test_a_whole_line_as_json() -> None:
    """Time, level and message first, then the fields in their order; numbers and truths are bare."""
    line = _line(injections=(_injection(),), request_size=0, response_size=2)
    assert json_text(line, WHEN) == (
        '{"time":"2026-01-02T03:04:05.12Z","level":"INFO","msg":"request","request_id":"req_01","http_method":"GET",'
        '"http_host":"api.example.com","http_path":"/v1/items","http_status":200,"duration_ms":12.3,'
        '"proxy_type":"connect","client_ip":"127.0.0.1","credential_injected":true,"injected_headers":"authorization",'
        '"grants":"api","request_size":0,"response_size":2}'
    )


# ------------------------------------------------------------------ secrets


def test_an_injected_credential_shows_by_name_alone() -> None:
    """Neither the value nor the header's value is in a line, in any form."""
    line = _line(injections=(_injection(),))
    connect = connect_line(**CONNECT, injections=(_injection(),))
    for written in (text(line), json_text(line), repr(line), text(connect), json_text(connect), repr(connect)):
        assert "authorization" in written
        assert VALUE not in written and "Bearer" not in written


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\tb", "ab"),
        ('say "hi" = yes', 'say "hi" = yes'),
        ("x" * 300, "x" * 256),
        (("\xe4" * 200).encode().decode("latin-1"), "\xe4" * 128),
        ("x" + ("\xe4" * 200).encode().decode("latin-1"), "x" + "\xe4" * 127),
        ("a\xffb", "ab"),
        ("a\xc2\x85b", "ab"),
    ],
)
def test_captured_values_are_fit_for_a_log(value: str, expected: str) -> None:
    """Control characters and broken UTF-8 go, and the cut at 256 bytes never splits a character."""
    assert _line(captured=(("x_tenant", value),)).fields[-1] == ("x_tenant", expected)


@pytest.mark.parametrize("before", range(256 - len(VALUE), 257))
def test_a_secret_is_blanked_before_a_captured_value_is_cut(before: int) -> None:
    """Wherever the cut falls, no part of it is left; what stands in front of it is."""
    captured = (("x_tenant", "p" * before + VALUE),)
    _, shown = _line(captured=captured, blank=Redactor([Secret(VALUE)]).blank).fields[-1]
    assert re.fullmatch(f"p{{{before}}}(<secret [0-9a-f]{{8}}>|<[secret0-9a-f ]*)?", str(shown))
    _, shown = _line(captured=captured).fields[-1]
    assert shown == ("p" * before + VALUE)[:256]


@pytest.mark.parametrize("mark", ["\t", "\xff", "\xc2\x85"])
def test_a_secret_that_comes_together_in_a_captured_value_is_blanked(mark: str) -> None:
    """What a line leaves out may have stood in the middle of it, or be a part of it."""
    for secret in (VALUE, VALUE[:8] + mark + VALUE[8:]):
        captured = (("x_tenant", VALUE[:8] + mark + VALUE[8:]),)
        _, shown = _line(captured=captured, blank=Redactor([Secret(secret)]).blank).fields[-1]
        assert VALUE not in str(shown) and "<secret " in str(shown)


def test_a_secret_in_what_the_client_words_is_blanked() -> None:
    """Also percent-encoded twice in the path: what a line shows is decoded once."""
    blank = Redactor([Secret(VALUE)]).blank
    twice = "".join(f"%25{ord(char):02X}" for char in VALUE)
    wild: dict[str, Any] = {
        "request_id": VALUE, "method": VALUE, "host": f"{VALUE}.example.com", "target": f"/{VALUE}/{twice}",
        "user_id": VALUE, "deny_reason": f"Host not in allow list: {VALUE}", "error": f"no {VALUE}",
        "captured": (("x_tenant", VALUE),),
    }  # fmt: skip
    lines = [
        _line(**wild, blank=blank),
        connect_line(**{**CONNECT, "request_id": VALUE, "host": VALUE}, user_id=VALUE, blank=blank),
        denial_line("http.request", f"Host not in allow list: {VALUE}", blank=blank),
    ]
    for line, marks in zip(lines, (9, 3, 1)):
        written = text(line)
        assert VALUE not in written and written.count("<secret ") == marks
    assert VALUE in text(_line(**wild))
    assert _line(blank=blank) == _line()
