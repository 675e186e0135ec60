"""Facts about the fields of sources."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.document import Table, read_document
from pytest_gatekeeper._core.model import SourceSpec
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.section import Notes, Section
from pytest_gatekeeper._core.source_spec import FIELDS, KINDS, read_source
from pytest_gatekeeper.errors import ConfigError

COMPLETE = {
    "env": "var: A_TOKEN",
    "static": "value: s3cret",
    "process": "command: print-token, ttl: 90s",
    "aws-secretsmanager": "secret: app/key, region: eu-central-1",
    "gcp-secretmanager": "secret: key, project: p, version: 3",
    "gcp-service-account": "secret: key, project: p, version: 3, scopes: a b",
    "github-app": "app_id: 1, installation_id: 2, private_key_path: key.pem",
    "token-exchange": (
        "endpoint: 'https://sts.example.com', client_id: me, client_secret: s3cret, subject_from: proxy-auth,"
        " resource: r, subject_token_type: t, actor_token_from: proxy-auth-password, actor_token_type: t"
    ),
}


def read(fields: str) -> SourceSpec:
    root = read_document(f"{{{fields}}}").root
    assert isinstance(root, Table)
    notes = Notes("gatekeeper.yaml")
    spec = read_source(Section(root, "credentials[0].source", FIELDS, notes))
    assert notes.findings == []
    return spec


def refused(fields: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        read(fields)
    assert "s3cret" not in str(raised.value)
    assert raised.value.file == "gatekeeper.yaml"
    assert raised.value.line == 1
    return raised.value


@pytest.mark.parametrize("type", KINDS)
def test_each_kind_is_read_with_all_its_fields(type: str) -> None:
    """Texts are in `fields` in order of their names; what is itself secret is hidden."""
    spec = read(f"type: {type}, {COMPLETE[type]}")
    assert spec.type == type
    given = {part.split(":")[0].strip() for part in COMPLETE[type].split(", ")}
    assert {name for name, _ in spec.fields} | {name for name, _ in spec.hidden} == {
        name for name in given if name in FIELDS
    }
    assert list(spec.fields) == sorted(spec.fields)
    assert "s3cret" not in repr(spec)


def test_secrets_are_hidden() -> None:
    """A static value, and a client's secret."""
    assert read("type: static, value: s3cret").secret("value") == Secret("s3cret")
    assert read(f"type: token-exchange, {COMPLETE['token-exchange']}").secret("client_secret") == "s3cret"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("type: env, var: A", "var: A, type: env", True),
        ("type: env, var: A", "type: env, var: A, value: ''", True),
        ("type: env, var: A", "type: env, var: A, value: ~", True),
        ("type: env, var: A", "type: env, var: B", False),
        ("type: static, value: a", "type: static, value: b", False),
        ("type: static, value: a", "type: static, value: a", True),
    ],
)
def test_sources_are_equal_when_their_texts_are(one: str, other: str, equal: bool) -> None:
    """Order and empty fields do not matter; equal ones share a fetch."""
    assert (read(one) == read(other)) is equal
    assert (len({read(one), read(other)}) == 1) is equal


@pytest.mark.parametrize(
    ("fields", "key", "said"),
    [
        ("", "type", "a source needs a type; there are env, static, process"),
        ("type: ''", "type", "a source needs a type"),
        ("value: s3cret", "type", "a source needs a type"),
        ("type: STATIC, value: s3cret", "type", "did you mean 'static'"),
        ("type: vault, value: s3cret", "type", "there are env, static"),
        ("type: proces, command: x", "type", "did you mean 'process'"),
        ("type: env", "var", "a source of type env needs 'var'"),
        ("type: env, var: ''", "var", "needs 'var'"),
        ("type: static", "value", "needs 'value'; null and ~ are no value, quote them"),
        ("type: static, value: null", "value", "needs 'value'"),
        ("type: static, value: ''", "value", "needs 'value'"),
        ("type: static, value: [s3cret]", "value", "must be text, not a list"),
        ("type: static, value: {s3cret: x}", "value", "must be text, not a mapping"),
        ("type: [env]", "type", "must be text, not a list"),
        ("type: process", "command", "needs 'command'"),
        ("type: aws-secretsmanager", "secret", "needs 'secret'"),
        ("type: gcp-secretmanager, secret: x", "project", "needs 'project'"),
        ("type: gcp-secretmanager, project: x", "secret", "needs 'secret'"),
        ("type: github-app, installation_id: 2, private_key_env: K", "app_id", "needs 'app_id'"),
        ("type: github-app, app_id: 1, private_key_env: K", "installation_id", "needs 'installation_id'"),
        ("type: token-exchange, client_id: me", "endpoint", "needs 'endpoint'"),
        ("type: token-exchange, endpoint: e", "client_id", "needs 'client_id'"),
    ],
)
def test_a_missing_field_is_named(fields: str, key: str, said: str) -> None:
    """With its dotted key, and where it helps with what to write."""
    error = refused(fields)
    assert error.key == f"credentials[0].source.{key}"
    assert said in error.problem


@pytest.mark.parametrize(
    ("fields", "key", "said"),
    [
        ("type: static, valeu: s3cret", "value", "; here is 'valeu', did you mean 'value'?"),
        ("type: env, Var: X", "var", "; here is 'Var', did you mean 'var'?"),
        ("typ: env, var: X", "type", "; here is 'typ', did you mean 'type'?"),
        ("type: github-app, app_id: 1, installation_id: 2, private_key_evn: K", "private_key_env",
         "here is none; here is 'private_key_evn', did you mean 'private_key_env'?"),
    ],
)  # fmt: skip
def test_a_misspelt_field_is_named(fields: str, key: str, said: str) -> None:
    """Beside the one that it was meant to be; one that looks like nothing, or like a value, is not."""
    error = refused(fields)
    assert error.key == f"credentials[0].source.{key}"
    assert error.problem.endswith(said)
    assert "here is" not in refused("type: static, other: x").problem
    assert "valu3s3cret0" not in refused("type: static, valu3s3cret0: x").problem


@pytest.mark.parametrize(
    ("fields", "key", "uses"),
    [
        ("type: static, value: s3cret, var: Y", "var", "it uses value"),
        ("type: env, var: Y, value: s3cret", "value", "it uses var"),
        ("type: env, var: Y, region: x", "region", "it uses var"),
        ("type: process, command: x, value: s3cret", "value", "it uses command, ttl"),
        ("type: env, var: Y, ttl: 5m", "ttl", "it uses var"),
        ("type: aws-secretsmanager, secret: x, project: y", "project", "it uses secret, region"),
        ("type: gcp-secretmanager, secret: x, project: y, region: z", "region", "it uses secret, project, version"),
        ("type: github-app, app_id: 1, installation_id: 2, private_key_env: K, scopes: s", "scopes", "app_id"),
        ("type: token-exchange, endpoint: e, client_id: c, var: x", "var", "it uses endpoint, client_id"),
    ],
)
def test_a_field_of_another_kind_is_refused(fields: str, key: str, uses: str) -> None:
    """The message names the type and the fields that it uses."""
    error = refused(fields)
    assert error.key == f"credentials[0].source.{key}"
    assert uses in error.problem
    assert fields.partition(",")[0].removeprefix("type: ") in error.problem


APP = "type: github-app, app_id: 1, installation_id: 2"
EXCHANGE = "type: token-exchange, endpoint: e, client_id: c"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (APP, "exactly one of private_key_path and private_key_env; here is none"),
        (f"{APP}, private_key_path: a, private_key_env: B", "here are private_key_path and private_key_env"),
        ("type: gcp-service-account", "exactly one of private_key_path, private_key_env and secret; here is none"),
        ("type: gcp-service-account, private_key_path: a, private_key_env: B", "private_key_path and private_key_env"),
        ("type: gcp-service-account, secret: a, private_key_env: B, project: p", "private_key_env and secret"),
        (f"{EXCHANGE}, subject_header: X", "client_secret and client_secret_env; here is none"),
        (f"{EXCHANGE}, client_secret: s3cret, client_secret_env: B, subject_header: X", "client_secret_env"),
        (f"{EXCHANGE}, client_secret: s3cret", "subject_header and subject_from; here is none"),
        (f"{EXCHANGE}, client_secret: s3cret, subject_header: X, subject_from: proxy-auth", "here are subject_header"),
    ],
)
def test_of_some_fields_exactly_one_is_needed(fields: str, said: str) -> None:
    """Neither none nor two."""
    assert said in refused(fields).problem


@pytest.mark.parametrize(
    "fields",
    [
        f"{APP}, private_key_path: a",
        f"{APP}, private_key_env: B",
        "type: gcp-service-account, private_key_path: a",
        "type: gcp-service-account, private_key_env: B, scopes: s",
        "type: gcp-service-account, secret: a, project: p",
        f"{EXCHANGE}, client_secret_env: B, subject_header: X",
        f"{EXCHANGE}, client_secret: s3cret, subject_from: proxy-auth",
        "type: process, command: x, ttl: 1h30m",
        "type: aws-secretsmanager, secret: x",
        "type: static, value: 007",
    ],
)
def test_one_of_them_is_enough(fields: str) -> None:
    """Each choice is accepted alone."""
    assert read(fields).type in KINDS


@pytest.mark.parametrize(
    ("fields", "key", "said"),
    [
        ("type: process, command: x, ttl: 5 minutes", "ttl", "this is no duration; write it as 90s, 5m or 1h30m"),
        ("type: process, command: x, ttl: 300", "ttl", "this is no duration"),
        ("type: process, command: x, ttl: 0s", "ttl", "must be above 0"),
        ("type: process, command: x, ttl: -5m", "ttl", "must be above 0"),
        ("type: gcp-service-account, secret: a", "secret", "needs 'project' beside 'secret'"),
        ("type: gcp-service-account, private_key_path: a, project: p", "project", "only beside 'secret'"),
        ("type: gcp-service-account, private_key_path: a, version: 3", "version", "only beside 'secret'"),
        (f"{EXCHANGE}, client_secret: s3cret, subject_from: header", "subject_from", "the only value is proxy-auth"),
        (
            f"{EXCHANGE}, client_secret: s3cret, subject_from: proxy-auth, actor_token_from: x",
            "actor_token_from",
            "the only value is proxy-auth-password",
        ),
        (
            f"{EXCHANGE}, client_secret: s3cret, subject_header: X, actor_token_from: proxy-auth-password",
            "actor_token_from",
            "needs 'subject_from: proxy-auth'",
        ),
    ],
)
def test_values_of_some_fields_are_checked(fields: str, key: str, said: str) -> None:
    """Durations, and fields that go together."""
    error = refused(fields)
    assert error.key == f"credentials[0].source.{key}"
    assert said in error.problem
