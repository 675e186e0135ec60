"""Facts about reading a gatekeeper.yaml: types, checks, findings, and that no secret is told."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.config import read_settings
from pytest_gatekeeper._core.model import (
    Credential,
    LogSettings,
    NetworkSettings,
    PostgresSettings,
    ProxySettings,
    Settings,
    SourceSpec,
    TlsSettings,
)
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.errors import ConfigError

FULL = """\
proxy: {host: 0.0.0.0, port: 9080, auth_token: s3cret-0, proxy_protocol: yes}
tls:
  ca_cert: ca.crt
  ca_key: ca.key
credentials:
  - host: api.example.com
    grant: api
    source:
      type: static
      value: s3cret-1
  - host: "*.example.com"
    header: X-Api-Key
    source: {type: env, var: A_TOKEN}
  - {host: git.example, format: Basic, prefix: u, source: {type: static, value: s3cret-2}}
network:
  policy: strict
  allow: [api.example.com, "*.example.com:8443"]
log: {level: WARN, format: JSON, output: STDOUT, capture_headers: [X-Tenant, x-trace]}
"""


def read(text: str) -> Settings:
    return read_settings(text, "gatekeeper.yaml")


def static(value: str) -> SourceSpec:
    return SourceSpec("static", (), (("value", Secret(value)),))


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert raised.value.file == "gatekeeper.yaml"
    assert "s3cret" not in str(raised.value)
    return raised.value


def credential(fields: str) -> str:
    """A file with one credential, on line 2."""
    return f"credentials:\n  - {{{fields}}}\n"


SOURCE = "source: {type: static, value: s3cret}"


def findings(text: str) -> list[tuple[int | None, str | None, str]]:
    return [(found.line, found.key, found.problem) for found in read(text).findings]


# ------------------------------------------------------------------ the whole file


def test_a_file_is_read_whole() -> None:
    """Every key has its typed value, every credential its line, and nothing is left to warn of."""
    found = read(FULL)
    assert found == Settings(
        ProxySettings("0.0.0.0", 9080, Secret("s3cret-0"), True),
        TlsSettings("ca.crt", "ca.key"),
        (
            Credential("api.example.com", static("s3cret-1"), grant="api"),
            Credential("*.example.com", SourceSpec("env", (("var", "A_TOKEN"),)), "X-Api-Key"),
            Credential("git.example", static("s3cret-2"), prefix="u", format="basic"),
        ),
        NetworkSettings("strict", ("api.example.com", "*.example.com:8443")),
        LogSettings("warning", "json", "stdout", ("X-Tenant", "x-trace")),
    )
    assert [credential.line for credential in found.credentials] == [6, 11, 14]
    assert [credential.source.line for credential in found.credentials] == [9, 13, 14]
    assert found.file == "gatekeeper.yaml"
    assert found.findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing\n", "~", "{}", "\ufeff", "---\n", "%YAML 1.1\n---\n{}",
        "proxy:\ntls:\ncredentials:\nnetwork:\nlog:\npostgres:\n", "credentials: []", "log: {level: '', format: ~}",
        "proxy: {host: , port: ~, auth_token: , proxy_protocol: null}", "network: {policy: , allow: }",
        "log: {output: '', capture_headers: []}",
    ],
)  # fmt: skip
def test_nothing_is_the_default(text: str) -> None:
    """An empty file, empty sections and nulls all mean what leaving them out means."""
    assert read(text) == Settings()
    assert read(text).findings == ()


def test_settings_do_not_show_secrets() -> None:
    """Neither a static value nor the proxy's token is in a repr."""
    shown = repr(read(FULL))
    assert "s3cret" not in shown
    assert "api.example.com" in shown


@pytest.mark.parametrize("text", ["abc", "s3cret", "[a]", "5", '""'])
def test_a_configuration_is_a_mapping(text: str) -> None:
    """Anything else is refused."""
    assert "a configuration is a mapping with the keys proxy, tls" in refused(text).problem


# ------------------------------------------------------------------ types


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12345", "12345"), ("007", "007"), ("0o17", "0o17"), ("0x10", "0x10"), ("1.50", "1.50"), ("1e3", "1e3"),
        ("1_000", "1_000"), ("true", "true"), ("yes", "yes"), (".inf", ".inf"), ("2026-01-02", "2026-01-02"),
        ("1:30", "1:30"), ("'null'", "null"), ("!!str null", "null"), ("!!binary YWJj", "abc"), ("!!int 5", "5"),
        ("a:b", "a:b"), ("two words", "two words"), ("'tok '", "tok "),
        ('"t\\u00f6k"', "tök"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_a_scalar_in_a_text_field_is_kept_as_written(written: str, value: str) -> None:
    """Whatever YAML would make of it elsewhere."""
    (found,) = read(credential(f"host: api.example.com, source: {{type: static, value: {written}}}")).credentials
    assert found.source.secret("value") == value


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("proxy: {port: '9080'}", 1, "proxy.port", "must be a whole number without quotes, as in 9080, not text"),
        ("proxy:\n  port: true", 2, "proxy.port", "not a yes or no"),
        ("proxy: {port: abc}", 1, "proxy.port", "not text"),
        ("proxy: {port: [1]}", 1, "proxy.port", "not a list"),
        ("proxy: {port: -1}", 1, "proxy.port", "must be from 0 to 65535"),
        ("proxy: {port: 65536}", 1, "proxy.port", "must be from 0 to 65535"),
        (
            "proxy: {proxy_protocol: 1}",
            1,
            "proxy.proxy_protocol",
            "must be true or false, without quotes, not a number",
        ),
        ("proxy: {proxy_protocol: 'true'}", 1, "proxy.proxy_protocol", "without quotes, not text"),
        ("proxy: {proxy_protocol: [yes]}", 1, "proxy.proxy_protocol", "not a list"),
        ("proxy: {host: [a]}", 1, "proxy.host", "must be text, not a list"),
        ("proxy: {auth_token: {s3cret: 1}}", 1, "proxy.auth_token", "must be text, not a mapping"),
        ("tls: {ca_cert: [a]}", 1, "tls.ca_cert", "must be text"),
        ("network: [strict]", 1, "network", "must be a mapping, not a list"),
        ("network: strict", 1, "network", "must be a mapping, not text"),
        ("network: ''", 1, "network", "must be a mapping, not text"),
        ("network: {allow: a}", 1, "network.allow", "must be a list, as in [one, two], not text"),
        ("network: {allow: {a: b}}", 1, "network.allow", "must be a list"),
        ("network: {allow: [a: b]}", 1, "network.allow[0]", "must be text, not a mapping"),
        ("network:\n  allow:\n    - a\n    - [b]", 4, "network.allow[1]", "must be text, not a list"),
        ("credentials: {host: a}", 1, "credentials", "must be a list"),
        ("credentials: s3cret", 1, "credentials", "must be a list, as in [one, two], not text"),
        ("credentials: [s3cret]", 1, "credentials[0]", "must be a mapping with the keys host and source"),
        ("credentials:\n-", 2, "credentials[0]", "is null, no credential; remove the item"),
        ("log: {capture_headers: X-A}", 1, "log.capture_headers", "must be a list"),
        ("postgres: 5432", 1, "postgres", "must be a mapping, not a number"),
        ("postgres: {port: abc}", 1, "postgres.port", "must be a whole number"),
        ("postgres: {proxy_protocol: 1}", 1, "postgres.proxy_protocol", "must be true or false"),
        ("network: {[a]: b}", 1, "network", "a key must be text, not a list"),
        ("{{a: b}: c}", 1, None, "a key must be text, not a mapping"),
    ],
)
def test_a_value_of_another_type_is_refused(text: str, line: int, key: str | None, said: str) -> None:
    """With line, dotted key, and what to write."""
    error = refused(text)
    assert (error.line, error.key) == (line, key)
    assert said in error.problem


@pytest.mark.parametrize(
    ("written", "port"),
    [("9080", 9080), ("9080.0", 9080), ("1_0", 10), ("~", 0), ("0x10", 16), ("010", 8), ("65535", 65535)],
)
def test_numbers_are_read_as_production_reads_them(written: str, port: int) -> None:
    """Any base, underscores, fractions, null."""
    assert read(f"proxy: {{port: {written}}}").proxy.port == port


@pytest.mark.parametrize(
    ("written", "flag"),
    [("true", True), ("FALSE", False), ("yes", True), ('"yes"', True), ("on", True), ("'Y'", True), ("no", False),
     ("'n'", False), ("OFF", False), ("~", False)],
)  # fmt: skip
def test_flags_take_the_words_of_yaml_1_1(written: str, flag: bool) -> None:
    """Also in quotes; true and false only without."""
    assert read(f"proxy: {{proxy_protocol: {written}}}").proxy.proxy_protocol is flag


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("network: {policy: strict}\nnetwork: {policy: permissive}", 2, "network"),
        ("network: ~\nnetwork: {policy: strict}", 2, "network"),
        ('network: {policy: strict, "policy": strict}', 1, "network.policy"),
        ("x: 1\nx: 2", 2, "x"),
        (
            "credentials:\n- host: a\n  source: {type: static, value: s3cret, value: s3cret}",
            3,
            "credentials[0].source.value",
        ),
        ("a: &n {policy: strict}\nnetwork: {<<: *n, <<: *n}", 2, "network.<<"),
        ("network: {<<: {policy: strict, policy: strict}}", 1, "network.policy"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(text: str, line: int, key: str) -> None:
    """Production refuses it, too; which of them would count is no question then."""
    error = refused(text)
    assert (error.line, error.key) == (line, key.replace("<<", "…"))
    assert "the key is there twice" in error.problem


@pytest.mark.parametrize(
    "text",
    [
        "x: &n {policy: strict}\nnetwork: *n",
        "x: &n {policy: strict}\nnetwork: {<<: *n}",
        "x: &n {policy: permissive}\nnetwork: {<<: *n, policy: strict}",
        "x: &n {policy: permissive}\nnetwork: {policy: strict, <<: *n}",
        "x: &n {policy: strict}\ny: &m {policy: permissive}\nnetwork: {<<: [*n, *m]}",
        "x: &n {policy: strict}\ny: &m {<<: *n}\nnetwork: {<<: *m}",
        "network: {<<: {policy: strict}}",
        "<<: {network: {policy: strict}}",
        "x: &k policy\nnetwork: {*k : strict}",
        "? network\n: {policy: strict}",
        "\ufeffnetwork: {policy: strict}",
        "network:\r\n  policy: strict\r\n",
        "network: !own {policy: !!str strict}",
        "network: {!!binary cG9saWN5: strict}",
    ],
)
def test_anchors_merges_and_tags_work(text: str) -> None:
    """What is written out wins over what is merged in, the first merge over the later ones."""
    assert read(text).network.policy == "strict"


@pytest.mark.parametrize("merged", ["s3cret", "~", "[s3cret]", "[[{}]]"])
def test_only_mappings_can_be_merged_in(merged: str) -> None:
    """As in production."""
    assert "only mappings can be merged in" in refused(f"network: {{<<: {merged}}}").problem


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("Network: {policy: strict}", 1, "Network", "keys are lower case, write 'network'"),
        ("netwrok: {policy: strict}", 1, "netwrok", "did you mean 'network'?"),
        ("network:\n  polcy: strict", 2, "network.polcy", "did you mean 'policy'?"),
        ("policy: strict", 1, "policy", "it belongs under network"),
        ("var: A", 1, "var", "it belongs under source"),
        ("network: {credentials: []}", 1, "network.credentials", "it belongs at the top level"),
        ("network: {level: info}", 1, "network.level", "it belongs under log"),
        (credential(f"host: a, value: s3cret, {SOURCE}"), 2, "credentials[0].value", "it belongs under source"),
        (credential(f"host: a, heder: X, {SOURCE}"), 2, "credentials[0].heder", "did you mean 'header'?"),
        (
            credential("host: a, source: {type: static, value: x, vlaue: s3cret}"),
            2,
            "credentials[0].source.vlaue",
            "did you mean 'value'?",
        ),
        (
            credential("host: a, source: {type: static, value: x, header: y}"),
            2,
            "credentials[0].source.header",
            "under credentials",
        ),
        ("x: 1", 1, "x", "there are proxy, tls, credentials, network, log, postgres"),
        ("qwertyqwerty: 1", 1, "qwertyqwerty", "there are proxy"),
        ("~: 1", 1, "…", "there are proxy"),
        ("s3cret-abc-123456: 1", 1, "…", "there are proxy"),
        ("tls: {ca_crt: x}", 1, "tls.ca_crt", "did you mean 'ca_cert'?"),
        ("proxy: {auth_token_env: X}", 1, "proxy.auth_token_env", "did you mean 'auth_token'?"),
        ("log: {outptu: x}", 1, "log.outptu", "did you mean 'output'?"),
    ],
)
def test_an_unknown_key_is_a_finding(text: str, line: int, key: str, said: str) -> None:
    """With its line, and the key that was probably meant or the place where it belongs."""
    ((found_line, found_key, problem),) = findings(text)
    assert (found_line, found_key) == (line, key)
    assert problem.startswith("unknown key, ignored in production; ")
    assert said in problem
    assert "s3cret" not in str(read(text).findings)


def test_a_missing_space_behind_a_colon_is_found_and_what_follows_not_shown() -> None:
    """In a flow mapping `value:s3cret` is a key."""
    error = refused(credential("host: a, source: {type: static, value:s3cret-123}"))
    assert error.key == "credentials[0].source.value"
    ((_, key, problem),) = findings("proxy: {auth_token:s3cret-123}")
    assert key == "proxy.auth_token:…"
    assert "a space is missing behind the colon: write 'auth_token: …'" in problem


def test_a_second_document_is_a_finding() -> None:
    """With the line where it begins."""
    assert findings("network: {policy: strict}\n---\nnetwork: {policy: permissive}\n") == [
        (2, None, "only the first document is read; what begins here has no effect, remove it")
    ]
    assert read("network: {policy: strict}\n---\nnetwork: {policy: permissive}\n").network.policy == "strict"


def test_findings_come_in_the_order_of_lines() -> None:
    """Whatever is looked at first."""
    text = "x: 1\n" + credential(f"host: '*', {SOURCE}") + "log: {level: loud}\nproxy: {y: 1}\n---\n"
    assert [line for line, _, _ in findings(text)] == [1, 3, 4, 5, 6]


# ------------------------------------------------------------------ credentials


@pytest.mark.parametrize(
    ("fields", "key", "said"),
    [
        (SOURCE, "host", "is required"),
        (f"host: '', {SOURCE}", "host", "is required"),
        (f"host: ~, {SOURCE}", "host", "is required"),
        (f"host: api.example.com:443, {SOURCE}", "host", "write 'api.example.com'"),
        (f"host: 'https://u:s3cret@api.example.com/', {SOURCE}", "host", "write 'api.example.com'"),
        (f"host: '::1', {SOURCE}", "host", "give the host a name"),
        (f"host: '[::1]', {SOURCE}", "host", "give the host a name"),
        (f"host: 'a b', {SOURCE}", "host", "it would never match"),
        ("host: a", "source.type", "a source needs a type"),
        ("host: a, source: ~", "source.type", "a source needs a type"),
        ("host: a, source: s3cret", "source", "must be a mapping, not text"),
        (f"host: a, header: X Key, {SOURCE}", "header", "no white space"),
        (f"host: a, header: 'X-Key:', {SOURCE}", "header", "no colon"),
        (f"host: a, header: 'Authorization: Bearer s3cret', {SOURCE}", "header", "the value in the source"),
        (f"host: a, header: 'X(s3cret)', {SOURCE}", "header", "is no header name"),
        (f"host: a, header: connection, {SOURCE}", "header", "belongs to the connection"),
        (f"host: a, header: Proxy-Authorization, {SOURCE}", "header", "belongs to the connection"),
        (f"host: a, header: TE, {SOURCE}", "header", "belongs to the connection"),
        (f"host: a, format: digest, {SOURCE}", "format", "there is no such format; write basic"),
        (f"host: a, format: basic, header: X-Key, {SOURCE}", "format", "for the header Authorization only"),
        (f'host: a, prefix: "a\\nb", {SOURCE}', "prefix", "the prefix for a has a control character"),
        ('host: a, source: {type: static, value: "s3cret\\r\\nb"}', "source.value", "U+000D, at position 7"),
        ('host: a, header: X, source: {type: static, value: "a\\0s3cret"}', "source.value", "U+0000, at position 2"),
        ('host: a, source: {type: static, value: "a\\x7f"}', "source.value", "U+007F, at position 2"),
        (f"host: a, postgres: {{resolver: x}}, {SOURCE}", "postgres.resolver", "must be neon or static"),
        (f"host: a, postgres: {{}}, {SOURCE}", "postgres.resolver", "must be neon or static"),
        (f"host: a, postgres: s3cret, {SOURCE}", "postgres", "must be a mapping"),
        (f"host: 'a:1', postgres: {{resolver: neon}}, {SOURCE}", "host", "write 'a'"),
    ],
)
def test_a_credential_that_cannot_work_is_refused(fields: str, key: str, said: str) -> None:
    """What production refuses, and what it accepts and never sends."""
    error = refused(credential(fields))
    assert error.key == f"credentials[0].{key}"
    assert error.line == 2
    assert said in error.problem


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (f"host: a, header: '', {SOURCE}", Credential("a", static("s3cret"))),
        (
            f"host: a, header: authorization, format: BASIC, {SOURCE}",
            Credential("a", static("s3cret"), "authorization", format="basic"),
        ),
        (f'host: a, header: X, prefix: "\\n", {SOURCE}', Credential("a", static("s3cret"), "X", "\n")),
        (
            'host: a, format: basic, source: {type: static, value: "a\\nb"}',
            Credential("a", static("a\nb"), format="basic"),
        ),
        ('host: a, source: {type: static, value: "a\\tb"}', Credential("a", static("a\tb"))),
        ("host: a, source: {type: static, value: ' '}", Credential("a", static(" "))),
        (f"host: a, grant: 5, postgres: ~, {SOURCE}", Credential("a", static("s3cret"), grant="5")),
    ],
)
def test_a_credential_that_can_be_sent_is_accepted(fields: str, expected: Credential) -> None:
    """Control characters are no harm where base64 hides them or the prefix is not used."""
    assert read(credential(fields)).credentials == (expected,)


def test_errors_name_the_entry() -> None:
    """Its index counts from 0, its line is the key's."""
    error = refused(
        "credentials:\n  - host: a\n    source: {type: env, var: A}\n  - host: b\n    source:\n      type: env\n"
    )
    assert (error.line, error.key) == (6, "credentials[1].source.var")
    assert str(error) == "gatekeeper.yaml:6: credentials[1].source.var: a source of type env needs 'var'"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("'*'", "write each name"), ("'a*.example.com'", "'*.example.com'"), ("'*example.com'", "'*.example.com'"),
        ("'api.*.com'", "'*.com'"), (".example.com", "'*.example.com'"), ("api.example.com.", "'api.example.com'"),
        ("bücher.example", "'xn--bcher-kva.example'"),
    ],
)  # fmt: skip
def test_a_host_that_never_matches_is_a_finding(host: str, said: str) -> None:
    """The credential is kept, and the spelling that works is named."""
    text = credential(f"host: {host}, {SOURCE}")
    ((line, key, problem),) = findings(text)
    assert (line, key) == (2, "credentials[0].host")
    assert said in problem
    assert len(read(text).credentials) == 1


def test_a_postgres_credential_is_checked_and_left_out() -> None:
    """It is never injected into HTTP, as in production; a finding says so."""
    text = credential(f"host: '*.db.example', postgres: {{resolver: NEON, project: p}}, {SOURCE}")
    assert read(text).credentials == ()
    ((line, key, problem),) = findings(text)
    assert (line, key) == (2, "credentials[0].postgres")
    assert "is not emulated here: it is never injected" in problem


def test_a_postgres_listener_is_read_and_noted() -> None:
    """Its fields are kept as text."""
    text = "postgres: {port: 5432, host: '::1', proxy_protocol: on}"
    assert read(text).postgres == PostgresSettings((("host", "::1"), ("port", "5432"), ("proxy_protocol", "true")))
    ((line, key, problem),) = findings(text)
    assert (line, key) == (1, "postgres")
    assert "not emulated" in problem
    assert read("postgres: {}").postgres == PostgresSettings((("host", ""), ("port", "0"), ("proxy_protocol", "false")))


# ------------------------------------------------------------------ network, tls, log


@pytest.mark.parametrize(
    ("word", "said"),
    [("STRICT", "did you mean 'strict'?"), ("stric", "did you mean 'strict'?"), ("no", "there are permissive, strict")],
)
def test_an_unknown_policy_is_refused(word: str, said: str) -> None:
    """Production would let everything pass."""
    error = refused(f"network:\n  policy: {word}")
    assert (error.line, error.key) == (2, "network.policy")
    assert said in error.problem


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("'[::1]:443'", "IPv6"), ("'::1'", "IPv6"), ("'https://a'", "no scheme"), ("a/v1", "no path"),
        ("u@a", "no user"),
        ("a b", "no white space"), ("'a:b'", "the port is no number"), ("'a:'", "the port is no number"),
        ("'a:0'", "the port"), ("''", "an empty pattern"), ("~", "an empty pattern"),
    ],
)  # fmt: skip
def test_an_allow_pattern_that_cannot_be_read(pattern: str, said: str) -> None:
    """It is refused under strict; under permissive, which does not look at it, it is worth a warning."""
    error = refused(f"network:\n  policy: strict\n  allow:\n    - ok.example\n    - {pattern}\n")
    assert (error.line, error.key) == (5, "network.allow[1]")
    assert said in error.problem
    ((line, key, problem),) = findings(f"network:\n  policy: permissive\n  allow:\n    - ok.example\n    - {pattern}\n")
    assert (line, key, problem) == (error.line, error.key, error.problem)


@pytest.mark.parametrize(
    ("pattern", "said"), [("'*'", "matches nothing"), ("'*:443'", "matches nothing"), ("a.b.", "'a.b'")]
)
def test_an_allow_pattern_that_matches_nothing_is_a_finding(pattern: str, said: str) -> None:
    """As a credential's host is."""
    ((line, key, problem),) = findings(f"network: {{policy: strict, allow: [{pattern}]}}")
    assert (line, key) == (1, "network.allow[0]")
    assert said in problem


def test_allow_patterns_are_kept_as_written() -> None:
    """Numbers and words are host names, too."""
    found = read("network: {policy: strict, allow: [1, 2.5, true, 'API.example.com', '*.x:8443']}")
    assert found.network.allow == ("1", "2.5", "true", "API.example.com", "*.x:8443")
    assert found.findings == ()


def test_allow_without_a_policy_is_a_finding() -> None:
    """It reads as if it protected something; with a policy that says permissive it is meant."""
    ((_, key, problem),) = findings("network: {allow: [a.example]}")
    assert key == "network.allow"
    assert "add 'policy: strict'" in problem
    assert findings("network: {policy: permissive, allow: [a.example]}") == []
    assert findings("network: {allow: []}") == []


@pytest.mark.parametrize(
    ("text", "missing"), [("tls: {ca_cert: a}", "ca_key"), ("tls: {ca_key: a, ca_cert: ''}", "ca_cert")]
)
def test_half_a_ca_is_a_finding(text: str, missing: str) -> None:
    """Production then tunnels blindly; here all is intercepted."""
    ((_, key, problem),) = findings(text)
    assert key == "tls"
    assert f"without {missing}" in problem


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("level: debug", LogSettings(level="debug")),
        ("level: Warning", LogSettings(level="warning")),
        ("level: warn", LogSettings(level="warning")),
        ("level: ERROR", LogSettings(level="error")),
        ("format: Text", LogSettings(format="text")),
        ("output: StdErr", LogSettings(output="stderr")),
        ("output: Log.txt", LogSettings(output="Log.txt")),
    ],
)
def test_words_for_logging_ignore_case(written: str, expected: LogSettings) -> None:
    """A path keeps its case."""
    assert read(f"log: {{{written}}}").log == expected
    assert findings(f"log: {{{written}}}") == []


@pytest.mark.parametrize(
    ("written", "key", "said"),
    [("level: wran", "log.level", "did you mean 'warn'?"), ("format: xml", "log.format", "there are text, json")],
)
def test_an_unknown_word_for_logging_is_the_default_and_a_finding(written: str, key: str, said: str) -> None:
    """Production says nothing."""
    assert read(f"log: {{{written}}}").log == LogSettings()
    ((_, found_key, problem),) = findings(f"log: {{{written}}}")
    assert found_key == key
    assert said in problem


@pytest.mark.parametrize(
    ("names", "key", "said"),
    [
        ("Authorization", "log.capture_headers[0]", "is sensitive"),
        ("X-A, cookie", "log.capture_headers[1]", "is sensitive"),
        ("PROXY-authorization", "log.capture_headers[0]", "is sensitive"),
        ("X-A, x-a", "log.capture_headers[1]", "is there twice, case does not matter"),
        (", ".join(f"X-{number}" for number in range(11)), "log.capture_headers", "at most 10 headers"),
        ("[X-A]", "log.capture_headers[0]", "must be text"),
    ],
)
def test_captured_headers_are_bounded(names: str, key: str, said: str) -> None:
    """Ten at most, none twice, none that holds credentials."""
    error = refused(f"log: {{capture_headers: [{names}]}}")
    assert error.key == key
    assert said in error.problem


def test_ten_headers_can_be_captured() -> None:
    """In the order of the file; a name that no header has is a finding."""
    names = [f"X-{number}" for number in range(9)]
    found = read(f"log: {{capture_headers: [{', '.join(names)}, X Y]}}")
    assert found.log.capture_headers == (*names, "X Y")
    (finding,) = found.findings
    assert finding.key == "log.capture_headers[9]"
    assert "captures nothing" in finding.problem


# ------------------------------------------------------------------ anything at all

WORDS = st.sampled_from(
    ["proxy", "port", "credentials", "host", "source", "type", "static", "value", "env", "var", "network", "policy",
     "strict", "allow", "log", "level", "capture_headers", "postgres", "<<", "~", "true", "9080", "'x'", '"\\n"', "&a",
     "*a", "a.b", "[", "]", "{", "}", ": ", ", ", "\n", "\n  ", "\n    ", "\n  - ", "- ", "!!int ", "!!binary ",
     "---\n",
     "#", "\t", "|\n "]
)  # fmt: skip


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(WORDS).map("".join)))
@example("credentials:\n  - host: a\n    source: *a\n")
@example("&a {*a: x}")
def test_any_text_is_settings_or_refused(text: str) -> None:
    """Nothing but a ConfigError, which names the file, comes of any text."""
    found: Settings | ConfigError
    try:
        found = read(text)
    except ConfigError as error:
        found = error
    assert found.file == "gatekeeper.yaml"


SECRETS = """\
proxy:
  auth_token: s3cr3t-aaaaaaaa-1
credentials:
  - host: api.example.com
    source: {type: static, value: s3cr3t-bbbbbbbb-2}
  - host: "*.example.com"
    header: X-Api-Key
    source:
      type: token-exchange
      endpoint: https://sts.example.com
      client_id: me
      client_secret: "s3cr3t-cccccccc-3"
      subject_from: proxy-auth
network: {policy: strict, allow: [api.example.com]}
"""


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_damaged_file_never_tells_its_secrets(chance: random.Random, times: int) -> None:
    """Whatever is left out, doubled or put in: no message, finding or repr holds what was a secret."""
    text = SECRETS
    for _ in range(times):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice([0, 1, 1, 2, 5, 10]))
        text = (
            text[:start]
            + chance.choice(["", "", "\n", " ", ":", "'", "[", "}", "*", "&", "!", "- ", "\x00", "\t"])
            + text[end:]
        )
    try:
        found = read(text)
    except ConfigError as error:
        shown = f"{error} {error!r}"
    else:
        shown = f"{found.findings} {found.proxy!r} {[item.source for item in found.credentials]}"
    assert "aaaaaa" not in shown
    assert "bbbbbb" not in shown
    assert "cccccc" not in shown
