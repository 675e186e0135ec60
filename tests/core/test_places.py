"""Facts about where keys stand."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.config import read_settings
from pytest_gatekeeper._core.places import keyed, lines_of
from pytest_gatekeeper.errors import ConfigError

POSTGRES = "{host: db.example, postgres: {resolver: static}, source: {type: static, value: x}}"
PLAIN = "{host: HOST.example, source: {type: static, value: x}}"


def test_every_key_and_item_has_its_line() -> None:
    """Dotted keys, list items, flow style, and the first of what is there twice."""
    text = "network:\n  allow:\n    - a.example\n    - b.example\nlog: {level: info,\n  format: text}\n"
    assert lines_of(text) == {
        "network": 1, "network.allow": 2, "network.allow[0]": 3, "network.allow[1]": 4,
        "log": 5, "log.level": 5, "log.format": 6,
    }  # fmt: skip


def test_what_is_merged_in_stands_where_it_is_written() -> None:
    """A merge, a list of merges, an alias; what is written out comes first."""
    text = "a: &a\n  x: 1\n  y: 2\nb: &b\n  z: 3\nc:\n  y: 4\n  <<: [*a, *b]\nd: *a\n"
    lines = lines_of(text)
    assert {key: lines[key] for key in ("c.x", "c.y", "c.z", "d.x")} == {"c.x": 2, "c.y": 7, "c.z": 5, "d.x": 2}


@pytest.mark.parametrize("text", ["", "# nothing\n", "text", "? [a]\n: b\n"])
def test_what_has_no_keys_has_no_lines(text: str) -> None:
    """Empty files, a scalar, and keys that are no text."""
    assert lines_of(text) == {}


def test_what_is_no_yaml_is_refused() -> None:
    """As it is by the reader."""
    with pytest.raises(ConfigError, match="is no YAML"):
        lines_of("a: [")


def test_a_credential_has_the_number_that_it_has_in_the_file() -> None:
    """Postgres credentials count, though they are left out."""
    entries = [POSTGRES, PLAIN.replace("HOST", "a"), POSTGRES, PLAIN.replace("HOST", "b")]
    settings = read_settings("credentials:\n" + "".join(f"  - {entry}\n" for entry in entries))
    assert [(key, credential.host) for key, credential in keyed(settings)] == [
        ("credentials[1]", "a.example"),
        ("credentials[3]", "b.example"),
    ]


def test_an_unknown_key_in_a_postgres_credential_is_no_second_one() -> None:
    """Nor is a null one a Postgres credential."""
    odd = POSTGRES.replace("static}", "static, foo: bar}", 1)
    null = PLAIN.replace("HOST", "a").replace("source", "postgres: null, source")
    settings = read_settings(f"credentials:\n  - {odd}\n  - {null}\n")
    assert [(key, credential.host) for key, credential in keyed(settings)] == [("credentials[1]", "a.example")]
