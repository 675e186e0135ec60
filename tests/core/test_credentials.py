"""Facts about credentials that a test hands over as mappings; those of a file are in test_config.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.credentials import read_credential
from pytest_gatekeeper._core.model import Credential, SourceSpec
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.errors import ConfigError

STATIC = {"type": "static", "value": "s3cret"}
SPEC = SourceSpec("static", (), (("value", Secret("s3cret")),))


def refused(mapping: Any) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        read_credential(mapping, "credentials[3]")
    assert "s3cret" not in str(raised.value)
    assert (raised.value.file, raised.value.line) == (None, None)
    return raised.value


def test_a_mapping_becomes_a_credential() -> None:
    """With the keys, defaults and types of the file, and without a line."""
    assert read_credential({"host": "api.example.com", "source": STATIC}, "c") == Credential("api.example.com", SPEC)
    full = {"host": "*.x.example", "prefix": "u", "format": "BASIC", "grant": "g", "header": "", "source": STATIC}
    found = read_credential(full, "c")
    assert found == Credential("*.x.example", SPEC, "Authorization", "u", "basic", "g")
    assert (found.line, found.source.line) == (None, None)


@pytest.mark.parametrize(
    ("value", "text"), [(12345, "12345"), (1.5, "1.5"), ("true", "true"), ("null", "null"), ("~", "~")]
)
def test_numbers_stand_for_their_text_and_texts_for_themselves(value: object, text: str) -> None:
    """A text is never taken for null or a number."""
    found = read_credential({"host": "api.example.com", "source": {"type": "static", "value": value}}, "c")
    assert found.source.secret("value") == text


@pytest.mark.parametrize(
    ("mapping", "key", "said"),
    [
        ({}, "credentials[3].host", "is required"),
        ({"host": "api.example.com"}, "credentials[3].source.type", "a source needs a type"),
        ({"host": "api.example.com", "source": "s3cret"}, "credentials[3].source", "must be a mapping, not text"),
        ({"host": "api.example.com:443", "source": STATIC}, "credentials[3].host", "write 'api.example.com'"),
        ({"host": ["a"], "source": STATIC}, "credentials[3].host", "must be text, not a list"),
        ({"host": None, "source": STATIC}, "credentials[3].host", "must be text, not None; leave the key out"),
        ({"host": True, "source": STATIC}, "credentials[3].host", "must be text, not bool"),
        ({"host": b"x", "source": STATIC}, "credentials[3].host", "must be text, not bytes"),
        ({"host": "x", "source": {"type": "static", "value": None}}, "credentials[3].source.value", "not None"),
        ({"host": "x", "source": {"type": "static", "value": "a\nb"}}, "credentials[3].source.value", "U\\+000A"),
        ({"host": "x", "source": {"type": "static", "value": "\ud800"}}, "credentials[3].source.value", "half"),
        ({"host": "x", "source": {**STATIC, "var": "A"}}, "credentials[3].source.var", "it uses value"),
        ({"host": "x", "source": STATIC, "header": "X Key"}, "credentials[3].header", "no white space"),
        ({"host": "x", "source": STATIC, "header": "Host"}, "credentials[3].header", "belongs to the connection"),
        ({"host": "x", "source": STATIC, "format": "digest"}, "credentials[3].format", "no such format"),
        ({"host": "x", "source": STATIC, 1: "x"}, "credentials[3]", "a key must be text, not int"),
        ({"host": "x", "source": {"s3cret-1234567": 1}}, "credentials[3].source.type", "a source needs a type"),
        ("s3cret", "credentials[3]", "must be a mapping, not str"),
        ([STATIC], "credentials[3]", "must be a mapping, not list"),
    ],
)
def test_what_a_file_could_not_hold_is_refused(mapping: object, key: str, said: str) -> None:
    """With the dotted key, and neither file nor line."""
    error = refused(mapping)
    assert error.key == key
    assert said.replace("\\", "") in error.problem


@pytest.mark.parametrize(
    ("mapping", "key", "said"),
    [
        ({"host": "x", "source": STATIC, "heade": "X"}, "credentials[3].heade", "did you mean 'header'?"),
        (
            {"host": "x", "source": {**STATIC, "vlaue": "s3cret"}},
            "credentials[3].source.vlaue",
            "did you mean 'value'?",
        ),
        ({"host": "*", "source": STATIC}, "credentials[3].host", "matches nothing"),
        ({"host": "x", "source": STATIC, "postgres": {"resolver": "neon"}}, "credentials[3].postgres", "not emulated"),
    ],
)
def test_what_would_be_a_warning_in_a_file_is_an_error(mapping: object, key: str, said: str) -> None:
    """A test's own mapping is not shared with production, so nothing in it may be without effect."""
    error = refused(mapping)
    assert error.key == key
    assert said in error.problem


def test_values_that_escape_bytes_are_kept() -> None:
    """As os.environ gives bytes that are no UTF-8."""
    found = read_credential({"host": "x", "source": {"type": "static", "value": "a\udcffb"}}, "c")
    assert found.source.secret("value") == "a\udcffb"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["host", "source", "type", "value", "header", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(VALUES)
def test_any_value_is_a_credential_or_refused(value: Any) -> None:
    """Nothing but a ConfigError comes of any value."""
    try:
        found = read_credential(value, "credentials[0]").host
    except ConfigError as error:
        found = str(error.key)
    assert found.startswith("credentials[0]") or found in value.values()
