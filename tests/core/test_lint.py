"""Facts about findings: what is probably a mistake, and what is none."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.config import read_settings
from pytest_gatekeeper._core.lint import CODES, examine
from pytest_gatekeeper._core.model import Credential, Finding, NetworkSettings, Settings, SourceSpec
from pytest_gatekeeper._core.places import lines_of
from pytest_gatekeeper._core.source_spec import is_variable

SOURCE = "source: {type: env, var: TOKEN}"
Found = list[tuple[str, str | None]]


def remarks(text: str, *routes: tuple[str, int | None]) -> tuple[Finding, ...]:
    return examine(read_settings(text, "g.yaml"), routes, lines_of(text))


def found(text: str, *routes: tuple[str, int | None]) -> Found:
    """Code and key of every finding."""
    assert all("s3cret" not in str(remark) for remark in remarks(text, *routes))
    return [(remark.code, remark.key) for remark in remarks(text, *routes)]


def rules(*entries: str, allow: str = "") -> str:
    """A file with a credential a line, from line 2 on, and with a strict policy where `allow` is given."""
    lines = "".join(f"  - {{{entry}{'' if 'source:' in entry else ', ' + SOURCE}}}\n" for entry in entries)
    policy = f"network: {{policy: strict, allow: [{allow}]}}\n" if allow else ""
    return f"credentials:\n{lines}{policy}" if entries else policy


# ------------------------------------------------------------------ clean files


@pytest.mark.parametrize(
    "text",
    [
        "",
        rules("host: api.example.com"),
        rules("host: api.example.com", 'host: "*.example.com"', "host: b.example.com, header: X-Key"),
        rules("host: api.example.com, header: X-A", "host: api.example.com, header: X-B"),
        rules("host: api.example.com, grant: a", "host: api.example.com, grant: claude"),
        rules('host: "*.example.internal"', "host: 10.0.0.1", 'host: "*.internal"'),
        rules("host: api.example.com", allow="api.example.com"),
        rules("host: API.example.com", allow="api.Example.com"),
        rules('host: "*.example.com"', allow="api.example.com"),
        rules("host: api.example.com", allow='"*.example.com:8443"'),
        rules('host: "*.api.example.com"', allow='"*.example.com"'),
        rules('host: "*.example.com"', "host: api.example.com", allow="api.example.com, b.example.com"),
        rules("host: localhost", allow='"localhost:8080"'),
        rules('host: a.example, source: {type: token-exchange, endpoint: "https://a.example", client_id: x,'
              " client_secret_env: Y, subject_from: proxy-auth}"),
    ],
)  # fmt: skip
def test_what_does_what_it_says_has_no_findings(text: str) -> None:
    """The positive twin of all that follows."""
    assert found(text) == []


# ------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("host", "allow"),
    [
        ("api.example.com", "b.example.com"),
        ("example.com", '"*.example.com"'),
        ('"*.example.com"', "example.com"),
        ('"*.example.com"', '"*.example.org", notexample.com'),
    ],
)
def test_a_credential_host_that_policy_denies_is_found(host: str, allow: str) -> None:
    """No pattern of `network.allow` has a host in common with it; the way out names it."""
    text = rules(f"host: {host}", allow=allow)
    (remark,) = remarks(text)
    assert (remark.code, remark.key, remark.file, remark.line) == ("denied", "credentials[0].host", "g.yaml", 2)
    assert f"add {host.strip(chr(34))!r} to network.allow" in remark.problem
    assert found(text.replace("strict", "permissive")) == []


def test_a_strict_policy_without_patterns_denies_all() -> None:
    """An empty list is a list."""
    assert found(rules("host: a.example") + "network: {policy: strict}\n") == [("denied", "credentials[0].host")]


@pytest.mark.parametrize("pattern", ["localhost", "127.0.0.1", "app.localhost", '"*.localhost"'])
def test_a_stub_on_this_machine_has_another_port(pattern: str) -> None:
    """80 and 443 are all that a pattern without a port covers."""
    text = rules(allow=f"api.example.com, {pattern}")
    (remark,) = remarks(text)
    assert (remark.code, remark.key, remark.line) == ("port", "network.allow[1]", 1)
    assert f"write '{pattern.strip(chr(34))}:PORT'" in remark.problem


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (("api.example.com", None), []),
        (("api.example.com", 443), []),
        (("api.example.com", 80), []),
        (("API.example.com", 8443), [("port", "network.allow[0]")]),
        (("b.example.org", 8443), []),
        (("b.example.org", 443), [("port", "network.allow[1]")]),
        (("b.example.org", None), []),
        (("*.example.org", None), []),
        (("c.example.com", None), [("denied", "network.allow")]),
        (("c.example.com", 8443), [("denied", "network.allow")]),
    ],
)
def test_a_route_has_to_be_allowed_with_its_port(route: tuple[str, int | None], expected: Found) -> None:
    """The port that the client names counts, not the stub's."""
    text = rules(allow='api.example.com, "*.example.org:8443"')
    assert found(text, route) == expected
    assert found(text.replace("strict", "permissive"), route) == []


def test_the_way_out_of_a_route_names_the_pattern_to_add() -> None:
    """With the port where one is meant."""
    text = rules(allow="api.example.com")
    (port,) = remarks(text, ("api.example.com", 8443))
    assert port.problem == (
        "covers ports 80 and 443 only, and the route for api.example.com has port 8443; add 'api.example.com:8443'"
    )
    (denied,) = remarks(text, ("ws.example.com", None))
    assert denied.problem == "policy strict denies the route for ws.example.com; add 'ws.example.com' here"


# ------------------------------------------------------------------ rules that are never used


def test_of_equal_rules_the_earlier_one_is_found() -> None:
    """Host, header and grant are spelled alike; another spelling or grant is no equal one."""
    equal = rules("host: a.example, grant: g", "host: a.example, header: Authorization, grant: g")
    (remark,) = remarks(equal)
    assert (remark.code, remark.key, remark.line) == ("equal-rules", "credentials[0]", 2)
    assert "credentials[1], which replaces it" in remark.problem


@pytest.mark.parametrize("second", ["header: x-key, grant: one", "header: X-Key, grant: two", "header: X-Key"])
def test_a_second_credential_for_a_header_is_never_used(second: str) -> None:
    """The first in the file always wins."""
    text = rules("host: a.example, header: X-Key, grant: one", f"host: a.example, {second}")
    (remark,) = remarks(text)
    assert (remark.code, remark.key, remark.line) == ("shadowed", "credentials[1]", 3)
    assert "credentials[0] comes first" in remark.problem


def test_the_grant_claude_shadows_nothing_and_is_not_shadowed() -> None:
    """It wins where it is asked for, and loses elsewhere; a third one has no use."""
    text = rules("host: a.example, grant: x", "host: a.example, grant: claude", "host: a.example, grant: y")
    assert found(text) == [("shadowed", "credentials[2]")]


def test_of_two_spellings_of_a_wildcard_one_is_never_used() -> None:
    """Capitals come first in the alphabet."""
    text = rules('host: "*.example.com", grant: a', 'host: "*.EXAMPLE.com", grant: b')
    (remark,) = remarks(text)
    assert (remark.code, remark.key) == ("shadowed", "credentials[0]")
    assert "spell both alike" in remark.problem


def test_two_spellings_of_a_name_are_found() -> None:
    """Each of them is used, but never both."""
    text = rules("host: api.example.com, grant: a", "host: API.example.com, header: X-Key")
    (remark,) = remarks(text)
    assert (remark.code, remark.key) == ("host-case", "credentials[1].host")
    assert "credentials[0] spells it 'api.example.com'" in remark.problem


@pytest.mark.parametrize(
    ("other", "allow"),
    [
        ("host: api.example.com", "api.example.com"),
        ('host: "*.api.example.com"', '"*.api.example.com"'),
        ('host: "*.api.example.com"', '"*.v1.api.example.com", x.api.example.com'),
    ],
)
def test_a_wildcard_that_policy_leaves_nothing_is_never_used(other: str, allow: str) -> None:
    """Every host below it that may be reached has a nearer rule."""
    text = rules('host: "*.example.com"', other, allow=allow)
    (remark,) = remarks(text)
    assert (remark.code, remark.key) == ("shadowed", "credentials[0]")
    assert found(rules('host: "*.example.com"', other, allow=f"{allow}, c.example.com")) == []


# ------------------------------------------------------------------ what should not be written


@pytest.mark.parametrize("pattern", ["*.com", "*.CO.uk", "*.github.io"])
def test_a_wildcard_over_strangers_is_found(pattern: str) -> None:
    """In a rule, and in a policy that is in force."""
    assert found(rules(f'host: "{pattern}"')) == [("public-suffix", "credentials[0].host")]
    assert found(rules(allow=f'"{pattern}"')) == [("public-suffix", "network.allow[0]")]
    assert found(rules(allow=f'"{pattern}:8443"')) == [("public-suffix", "network.allow[0]")]
    assert found(rules(allow=f'"{pattern[2:]}"')) == []
    assert found(f'network: {{policy: permissive, allow: ["{pattern}"]}}') == []


EXCHANGE = 'type: token-exchange, endpoint: "https://a.example", client_id: x, subject_from: proxy-auth'


@pytest.mark.parametrize(
    ("text", "code", "key", "cure"),
    [
        (rules("host: a.example, source: {type: static, value: s3cret}"),
         "static-secret", "credentials[0].source.value", "{type: env, var: NAME}"),
        (rules(f"host: a.example, source: {{{EXCHANGE}, client_secret: s3cret}}"),
         "static-secret", "credentials[0].source.client_secret", "client_secret_env: NAME"),
        ("proxy: {auth_token: s3cret}", "auth-token", "proxy.auth_token", "keep the file private"),
    ],
)  # fmt: skip
def test_a_secret_in_the_file_is_found(text: str, code: str, key: str, cure: str) -> None:
    """It is not repeated, and the way out is told."""
    assert found(text) == [(code, key)]
    assert cure in remarks(text)[0].problem


TOKEN = "ghp_Zx81LmN0pQ7rS5tU3vW9yA2bC4dE6fG8hI0j"
NO_NAMES = ["$API_TOKEN", "${API_TOKEN}", "s3cret-token", "9LIVES", "A B", "tök", TOKEN, f"x_{TOKEN}"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_of_a_variable_is_found(name: str) -> None:
    """It may be the value itself, and is not repeated."""
    text = rules(f'host: a.example, source: {{type: env, var: "{name}"}}')
    assert found(text) == [("env-name", "credentials[0].source.var")]
    assert name not in str(remarks(text)[0])
    assert not is_variable(name)


@pytest.mark.parametrize("name", ["API_TOKEN", "_x9", "token", "OAUTH2CLIENTSECRET", "X1_Y2_AN_API_TOKEN"])
def test_a_name_of_a_variable_is_one(name: str) -> None:
    """Letters, digits and `_`; several digits are no token."""
    assert is_variable(name)


# ------------------------------------------------------------------ kinds and places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Log: {}", ("unknown-key", "Log")),
        ("log: {postgres: 1}", ("unknown-key", "log.postgres")),
        ("{}\n---\na: b", ("several-documents", None)),
        (rules('host: "*"'), ("never-matches", "credentials[0].host")),
        (rules(allow='"a*.example"'), ("never-matches", "network.allow[0]")),
        ("network: {policy: permissive, allow: ['https://a.example']}", ("never-matches", "network.allow[0]")),
        ("network: {allow: [a.example]}", ("allow-ignored", "network.allow")),
        ("tls: {ca_cert: ca.crt}", ("tls-half", "tls")),
        ("log: {level: loud}", ("log-word", "log.level")),
        ("log: {format: xml}", ("log-word", "log.format")),
        ('log: {capture_headers: ["a b"]}', ("no-header", "log.capture_headers[0]")),
        ("postgres: {port: 5432}", ("postgres", "postgres")),
        (rules("host: a, postgres: {resolver: neon}"), ("postgres", "credentials[0].postgres")),
    ],
)
def test_what_reading_found_has_a_kind(text: str, expected: tuple[str, str | None]) -> None:
    """Each finding of the reader is told, with its code."""
    assert found(text) == [expected]
    assert expected[0] in CODES


def test_a_pattern_that_cannot_match_is_told_once() -> None:
    """It is neither denied, nor shadowed, nor over strangers."""
    text = rules('host: "*", grant: a', 'host: "*", grant: b', 'host: "*.x.com."', allow="api.example.com")
    assert found(text) == [("never-matches", f"credentials[{number}].host") for number in range(3)]


def test_findings_come_in_the_order_of_the_file() -> None:
    """Whoever found them; a key that is not there has the line of what it would be in."""
    text = "network:\n  policy: strict\nLog: {}\n" + rules("host: a.example, source: {type: static, value: s3cret}")
    assert [(remark.line, remark.code) for remark in remarks(text, ("b.example", None))] == [
        (1, "denied"), (3, "unknown-key"), (5, "denied"), (5, "static-secret"),
    ]  # fmt: skip


def test_without_the_text_credentials_know_their_lines() -> None:
    """And the rest has none; settings made by hand have none at all."""
    settings = read_settings("credentials:\n  - host: a.example\n    source: {type: static,\n      value: x}\n")
    assert [(remark.line, remark.key) for remark in examine(settings)] == [(3, "credentials[0].source.value")]
    made = Settings(
        credentials=(Credential("a.example", SourceSpec("process")),),
        network=NetworkSettings("strict", ("https://a.example", "b.example")),
    )
    assert [str(remark).partition(",")[0] for remark in examine(made)] == [
        "credentials[0].host: policy strict denies it"
    ]
