"""Facts about explanations: which rule a URL meets, and why nothing else applies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.config import read_settings
from pytest_gatekeeper._core.explain import Address, Explanation, explain, read_url, told
from pytest_gatekeeper._core.model import Settings

SOURCE = "source: {type: env, var: TOKEN}"


def rules(*entries: str, allow: str = "") -> Settings:
    """Credentials, one a line from line 2 on, and a strict policy where `allow` is given."""
    lines = "".join(f"  - {{{entry}{'' if 'source:' in entry else ', ' + SOURCE}}}\n" for entry in entries)
    policy = f"network: {{policy: strict, allow: [{allow}]}}\n" if allow else ""
    return read_settings(f"credentials:\n{lines}{policy}")


def explained(settings: Settings, url: str, *, width: int = 80, there: bool = False) -> tuple[Explanation, str]:
    """The explanation, and its text."""
    found = explain(settings, read_url(url), lambda _: there)
    lines = told(found, width)
    assert "s3cret" not in repr(found) + "\n".join(lines)
    assert [line for line in lines if len(line) > width or line != line.rstrip()] == []
    return found, "\n".join(lines)


# ------------------------------------------------------------------ URLs


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://api.example.com", ("https", "api.example.com", 443)),
        ("http://api.example.com/", ("http", "api.example.com", 80)),
        ("wss://ws.example.com/socket?x=1#f", ("wss", "ws.example.com", 443)),
        ("ws://ws.example.com:8080", ("ws", "ws.example.com", 8080)),
        ("HTTPS://API.example.com:443", ("https", "API.example.com", 443)),
        ("api.example.com", ("https", "api.example.com", 443)),
        ("api.example.com:8443", ("https", "api.example.com", 8443)),
        ("api.example.com:8443/path", ("https", "api.example.com", 8443)),
        ("https://user:s3cret@api.example.com?q", ("https", "api.example.com", 443)),
        ("user:s3cret@api.example.com", ("https", "api.example.com", 443)),
        ("https://[::1]:8443/", ("https", "::1", 8443)),
        ("127.0.0.1:80", ("https", "127.0.0.1", 80)),
        ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443)),
        (" https://a.example. ", ("https", "a.example.", 443)),
    ],
)
def test_of_a_url_scheme_host_and_port_count(text: str, address: tuple[str, str, int]) -> None:
    """Defaults as the scheme has them; https where there is none; user, path and query are dropped."""
    assert read_url(text) == Address(*address)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ftp://s3cret.example", "the scheme must be one of https, wss, http, ws"),
        ("s3cret://a", "the scheme must be one of"),
        ("", "it names no host"),
        ("https://", "it names no host"),
        ("https:///s3cret", "it names no host"),
        ("https://user:s3cret/@a.example", "it names no host"),
        ("https://a.example:s3cret", "no port from 1 to 65535"),
        ("https://a.example:0", "no port from 1 to 65535"),
        ("a.example:70000", "no port from 1 to 65535"),
        ("https://a b", "it names no host"),
        ("https://ü..s3cret", "it names no host"),
        ("https://[s3cret]/", "it names no host"),
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(text: str, hint: str) -> None:
    """The text says what to write."""
    with pytest.raises(ValueError, match=hint) as raised:
        read_url(text)
    assert "s3cret" not in str(raised.value)


# ------------------------------------------------------------------ what is injected


@pytest.mark.parametrize(
    ("entry", "field", "source"),
    [
        ("header: X-Key", "X-Key: <value of env TOKEN>", "env TOKEN (not set)"),
        (SOURCE, "Authorization: Bearer <value of env TOKEN>", "env TOKEN (not set)"),
        ("prefix: Token", "Authorization: Token <value of env TOKEN>", "env TOKEN (not set)"),
        ("prefix: s3cret-s3cret-s3cret", "Authorization: <prefix> <value of env TOKEN>", "env TOKEN (not set)"),
        ("format: basic, prefix: s3cret", "Authorization: Basic <base64 of prefix, ':' and value of env TOKEN>",
         "env TOKEN (not set)"),
        ("format: basic", "Authorization: Basic <base64 of ':' and value of env TOKEN>", "env TOKEN (not set)"),
        ("source: {type: static, value: s3cret}", "Authorization: Bearer <static value>", "static source"),
        ("source: {type: static, value: ghp_s3cret}", "Authorization: token <static value>", "static source"),
        ("source: {type: static, value: Key s3cret}",
         "Authorization: <static value, which opens with a scheme of its own>", "static source"),
        ("prefix: Key, source: {type: static, value: s3cret}", "Authorization: Key <static value>", "static source"),
        ("header: X-Key, source: {type: static, value: Key s3cret}", "X-Key: <static value>", "static source"),
        ("source: {type: process, command: echo s3cret}", "Authorization: Bearer <value of process>", "process"),
        ("source: {type: aws-secretsmanager, secret: s3cret}", "Authorization: Bearer <value of aws-secretsmanager>",
         "aws-secretsmanager"),
        ("source: {type: env, var: $s3cret}", "Authorization: Bearer <value of env>",
         "env, with what is no name of a variable"),
    ],
)  # fmt: skip
def test_the_header_is_told_with_a_name_in_the_place_of_the_value(entry: str, field: str, source: str) -> None:
    """Scheme, prefix and source, as far as they are known without the value."""
    found, _ = explained(rules(f"host: a.example, {entry}"), "https://a.example")
    (use,) = found.added
    assert (use.field, use.source, use.line) == (field, source, 2)


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        ("header: X-Key", ""),
        ("format: basic", ""),
        ("source: {type: static, value: s3cret}", ""),
        (SOURCE, "a value with a scheme in front is sent as it is, ghp_ and ghs_ tokens with 'token'"),
        ("prefix: Key", "a value with a scheme in front is sent as it is, without the prefix"),
    ],
)
def test_what_else_a_value_decides_is_told(entry: str, note: str) -> None:
    """Only where the value is not known, and only in Authorization."""
    assert explained(rules(f"host: a.example, {entry}"), "a.example")[0].added[0].note == note


def test_a_variable_that_is_there_is_told_to_be() -> None:
    """Its value is not asked for."""
    settings = rules("host: a.example")
    assert explained(settings, "a.example", there=True)[0].added[0].source == "env TOKEN (set)"


def test_a_client_may_ask_for_a_header() -> None:
    """Two headers: the one that it sends is replaced alone; the grant claude waits for that."""
    settings = rules("host: a.example, header: X-Key", "host: a.example, grant: x", "host: a.example, grant: claude")
    found, text = explained(settings, "https://a.example")
    assert [use.key for use in found.added] == ["credentials[0]", "credentials[1]"]
    assert [use.key for use in found.asked] == ["credentials[2]"]
    assert found.others == ()
    assert "a client that sends one of these headers itself gets that one" in text
    assert "instead   of a header that the client sends itself:" in text
    alone = explained(rules("host: a.example"), "https://a.example")[1]
    assert "itself" not in alone


# ------------------------------------------------------------------ why not


@pytest.mark.parametrize(
    ("winner", "other", "why"),
    [
        ("host: a.example.com", "host: b.example.com", "another host"),
        ("host: a.example.com", 'host: "*.a.example.com"', "a wildcard does not match its own suffix"),
        ("host: a.example.com", "host: example.com",
         "an exact pattern does not match names below it; *.example.com would"),
        ("host: a.example.com", 'host: "*.ple.com"', "a wildcard matches whole labels only"),
        ("host: a.example.com", 'host: "*.example.com"',
         "matches, but the exact name a.example.com wins, and only its credentials are sent"),
        ('host: "*.example.com"', 'host: "*.com"',
         "matches, but the longer suffix *.example.com wins, and only its credentials are sent"),
        ("host: a.example.com", "host: A.example.com",
         "matches, but a.example.com comes before this spelling, and only its credentials are sent"),
        ("host: a.example.com", 'host: "a.*.com"',
         "matches nothing, only *.suffix is a wildcard; write each name, or '*.com' for all names below com"),
        ("host: a.example.com", "host: a.example.com, header: authorization, grant: g",
         "credentials[0] comes first, and a request gets one authorization"),
    ],
)  # fmt: skip
def test_each_other_rule_has_its_reason(winner: str, other: str, why: str) -> None:
    """Patterns that do not match, that match and lose, and credentials that another one of the host beats."""
    found, text = explained(rules(winner, other), "https://a.example.com")
    assert [use.key for use in found.added] == ["credentials[0]"]
    assert [(rule.key, rule.line, rule.why) for rule in found.others] == [("credentials[1]", 3, why)]
    assert "(credentials[1], line 3" in text


def test_an_equal_rule_is_replaced_by_the_later_one() -> None:
    """And told so."""
    found, _ = explained(rules("host: a.example", "host: a.example"), "a.example")
    assert [use.key for use in found.added] == ["credentials[1]"]
    assert found.others[0].why == "credentials[1] has the same host, header and grant, and replaces it"


@given(
    st.lists(st.sampled_from(["a.example.com", "A.example.com", "*.example.com", "*.com", "*", "b.org"]), max_size=5)
)
def test_every_credential_is_told_of_once(hosts: list[str]) -> None:
    """Injected, or with a reason why not."""
    settings = rules(*(f'host: "{host}"' for host in hosts))
    found, _ = explained(settings, "https://a.example.com")
    keys = [use.key for use in (*found.added, *found.asked)] + [other.key for other in found.others]
    assert sorted(keys) == [f"credentials[{number}]" for number in range(len(hosts))]
    assert all(rule.why for rule in found.others)


# ------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("url", "permitted", "policy"),
    [
        ("https://a.example", True, "strict, and network.allow[0] 'a.example' allows it"),
        ("http://A.example", True, "strict, and network.allow[0] 'a.example' allows it"),
        ("a.example:8443", False,
         "strict, and denies port 8443: network.allow[0] 'a.example' is for 80 and 443; add 'a.example:8443'"),
        ("x.b.example:9000", True, "strict, and network.allow[1] '*.b.example:9000' allows it"),
        ("wss://x.b.example", False,
         "strict, and denies port 443: network.allow[1] '*.b.example:9000' is for 9000; add 'x.b.example'"),
        ("https://b.example", False,
         "strict, and denies b.example: no pattern of network.allow matches it; add 'b.example'"),
        ("b.example:9000", False,
         "strict, and denies b.example: no pattern of network.allow matches it; add 'b.example:9000'"),
        ("https://[::1]/", False,
         "strict, and denies ::1: IPv6 addresses cannot be allowed; give the host a name"),
    ],
)  # fmt: skip
def test_policy_says_why(url: str, permitted: bool, policy: str) -> None:
    """The pattern that allows it, or what is missing."""
    found, _ = explained(rules("host: a.example", allow='a.example, "*.b.example:9000"'), url)
    assert (found.permitted, found.policy) == (permitted, policy)


def test_a_permissive_policy_lets_everything_pass() -> None:
    """Whatever `allow` says."""
    found, _ = explained(rules("host: a.example"), "https://b.example:1")
    assert (found.permitted, found.policy) == (True, "permissive, everything passes")


# ------------------------------------------------------------------ the text


def test_the_text_of_a_rule_that_applies() -> None:
    """Policy, rule, what is injected and where that stands, the others."""
    settings = rules("host: a.example, header: X-Key, grant: api", "host: b.example", allow="a.example")
    assert (
        explained(settings, "https://user:s3cret@a.example/s3cret?s3cret")[1]
        == """\
https://a.example:443

policy    strict, and network.allow[0] 'a.example' allows it
rule      a.example, the exact name
injected  X-Key: <value of env TOKEN>
            credentials[0], line 2, grant api, env TOKEN (not set)
others    b.example (credentials[1], line 3): another host"""
    )


def test_the_text_of_a_denied_url() -> None:
    """Nothing is injected; what would be is told all the same."""
    text = explained(rules('host: "*.example.com", header: X-Key', allow="a.example"), "ws://B.example.com", width=60)[
        1
    ]
    assert (
        text
        == """\
ws://B.example.com:80

policy    strict, and denies B.example.com: no pattern of
            network.allow matches it; add 'B.example.com'
rule      *.example.com, the wildcard with the longest
            suffix that matches
injected  nothing, the answer is 407; if policy allowed it:
          X-Key: <value of env TOKEN>
            credentials[0], line 2, env TOKEN (not set)
note      ws is not encrypted: the credential travels in
            clear text"""
    )


def test_the_text_where_no_rule_applies() -> None:
    """With rules, and without any."""
    assert explained(rules("host: A.example"), "https://b.example")[1].splitlines()[3:] == [
        "rule      none matches", "injected  nothing", "others    A.example (credentials[0], line 2): another host",
    ]  # fmt: skip
    assert explained(Settings(), "https://b.example")[1].splitlines()[3:] == [
        "rule      none matches", "injected  nothing", "others    the file has no rules",
    ]  # fmt: skip
    denied = explained(rules("host: a.example", allow="a.example"), "https://b.example")[1]
    assert "injected  nothing, the answer is 407\n" in denied


def test_what_is_special_about_an_address_is_told() -> None:
    """Another case of the name; clear text, but not on this machine; link-local addresses."""
    settings = rules("host: A.example", "host: localhost", "host: 169.254.169.254")
    assert "rule      A.example, the exact name, case aside" in explained(settings, "https://a.example")[1]
    assert "clear text" in explained(settings, "http://a.example")[1]
    assert "clear text" not in explained(settings, "https://a.example")[1]
    assert "clear text" not in explained(settings, "http://localhost:8080")[1]
    assert "link-local" in explained(settings, "https://169.254.169.254")[1]
    assert "link-local" not in explained(settings, "http://localhost:8080")[1]


def test_control_characters_do_not_reach_the_terminal() -> None:
    """A grant may hold an escape sequence."""
    settings = rules(r'host: a.example, grant: "\e[31mred"')
    text = explained(settings, "https://a.example")[1]
    assert "\x1b" not in text
    assert r"grant \x1b[31mred" in text
