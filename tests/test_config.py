"""Facts about `Config`: loading, parsing, and what an error shows."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper import Config, Gatekeeper
from pytest_gatekeeper._core.model import Settings
from pytest_gatekeeper.errors import ConfigError

TEXT = "credentials:\n  - {host: api.example.com, source: {type: static, value: s3cret}}\nfoo: 1\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join('*' + before for _ in range(10))}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)


def test_an_empty_configuration_needs_no_file() -> None:
    """It is what empty text is, and settings like any other."""
    assert Config() == Config.parse("") == Config.parse(b"")
    assert isinstance(Config(), Settings)
    assert Config().network.policy == "permissive"


def test_a_file_is_loaded(tmp_path: Path) -> None:
    """From a path of any kind; its name is kept as given, and its findings are there."""
    path = tmp_path / "gatekeeper.yaml"
    path.write_text(TEXT, encoding="utf-8")
    for given_path in (path, str(path)):
        config = Config.load(given_path)
        assert type(config) is Config
        assert config == Config.parse(TEXT)
        assert config.file == str(path)
        assert [str(found) for found in config.findings] == [
            f"{path}:3: foo: unknown key, ignored in production;"
            " there are proxy, tls, credentials, network, log, postgres"
        ]


def test_text_is_parsed_with_or_without_a_name() -> None:
    """Text and bytes alike; without a name, messages say `<string>` where they have a line."""
    assert Config.parse(TEXT.encode(), "x.yaml").credentials == Config.parse(TEXT).credentials
    assert Config.parse("\ufefffoo: 1".encode("utf-16-le"), "x.yaml").findings[0].file == "x.yaml"
    with pytest.raises(ConfigError, match=r"^<string>:2: network.policy: there is no such policy"):
        Config.parse("network:\n  policy: none")
    assert str(Config.parse("foo: 1").findings[0]).startswith("<string>:1: foo: unknown key")
    assert Config.parse("foo: 1").findings[0].file is None
    assert str(ConfigError("is no list", key="allow")) == "allow: is no list"
    with pytest.raises(ConfigError, match=r"^x.yaml:2: network.policy: there is no such policy"):
        Config.parse("network:\n  policy: none", "x.yaml")


@pytest.mark.parametrize(
    "text", [TEXT, "credentials: [{host: a, source: {type: static, value: s3cret}}]", TEXT + "# " + "x" * 5000]
)
def test_text_in_the_place_of_a_path_is_told_apart_and_not_shown(text: str) -> None:
    """YAML where a path is meant may hold a value; the error names the call that reads it."""
    said = r"^is text and no path; it is read by Config\.parse\(text\)$"
    for call in (Config.load, Gatekeeper):
        with pytest.raises(ConfigError, match=said) as caught:
            call(text)
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_path_that_looks_like_text_is_a_path_where_there_is_a_file(tmp_path: Path) -> None:
    """What is there is read, whatever its name."""
    file = tmp_path / "stage: two.yaml"
    file.write_text(TEXT)
    assert Config.load(file) == Config.parse(TEXT, str(file))


def test_a_mapping_is_no_configuration() -> None:
    """The error names the call that makes one."""
    mapping: Any = {"credentials": []}
    with pytest.raises(TypeError, match=r"a Config or a path, not dict; YAML text is read by Config\.parse\(text\)"):
        Gatekeeper(mapping)


def test_a_changed_copy_is_a_config() -> None:
    """It is a frozen dataclass."""
    config = Config.parse(TEXT)
    assert type(replace(config, credentials=())) is Config
    with pytest.raises(AttributeError):
        config.credentials = ()  # type: ignore[misc]


def test_a_config_does_not_show_its_secrets() -> None:
    """Its repr holds fingerprints."""
    config = Config.parse("proxy: {auth_token: s3cret-2}\n" + TEXT)
    assert "s3cret" not in repr(config)
    assert "<secret " in repr(config)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files are POSIX")
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    """Not there, a directory, forbidden, in a file, too large, with a null in its name."""
    plain = tmp_path / "plain.yaml"
    plain.write_text("")
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(100 << 20)
    told = {
        str(tmp_path / "none.yaml"): "there is no such file; check the path",
        str(tmp_path): "is a directory; name the file in it",
        str(plain / "x.yaml"): "cannot be read: Not a directory",
        str(large): "is larger than 1 MiB, which no configuration is; check the path",
        "a\0b": "cannot be read: the path holds a null character",
    }
    if os.geteuid() != 0:
        locked = tmp_path / "locked.yaml"
        locked.touch(0o000)
        told[str(locked)] = "cannot be read: Permission denied"
    for path, problem in told.items():
        with pytest.raises(ConfigError) as raised:
            Config.load(path)
        assert (raised.value.file, raised.value.problem) == (path, problem)
        assert raised.value.__cause__ is None
    assert Config.load(plain) == Config()


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b"network: {}\nnetwork: {}\n", 2, "the key is there twice; it is also on line 1"),
        (b"network: []", 1, "must be a mapping, not a list"),
        (b"proxy:\n  host: \xff\xfe\n", 2, "is no UTF-8 text"),
        (BOMB.encode(), None, "unfolds to more than 100000 nodes"),
        (BOMB.encode() + b"credentials: *i\n", None, "unfolds to more than 100000 nodes"),
        (b"a: " + b"[" * 100_000, None, "nested deeper than 64 levels|is no YAML"),
        (b"x" * (1 << 20) + b"y", None, "is larger than 1 MiB"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, data: bytes, line: int | None, said: str) -> None:
    """Duplicate keys, wrong types, undecodable bytes, bombs: each names the file, and the line where there is one."""
    path = tmp_path / "gatekeeper.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=said) as raised:
        Config.load(path)
    assert raised.value.file == str(path)
    assert line is None or raised.value.line == line


def test_an_error_is_told_without_the_text_of_the_file() -> None:
    """No frame that holds it is in the traceback, and no other exception behind it."""
    with pytest.raises(ConfigError) as raised:
        Config.parse(TEXT + "network: []\n")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert names[1:] == ["parse"]


def test_importing_config_loads_no_yaml() -> None:
    """Only reading does."""
    code = "import sys, pytest_gatekeeper.config; assert 'yaml' not in sys.modules, 'yaml'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def outcome(text: str | bytes, name: str | None) -> Config | ConfigError:
    """What comes of reading a text."""
    try:
        return Config.parse(text, name)
    except ConfigError as error:
        return error


@settings(deadline=None)
@given(st.binary() | st.text().map(lambda text: text.encode("utf-16")) | st.text().map(str.encode))
def test_any_bytes_are_a_config_or_refused(data: bytes) -> None:
    """Nothing but a ConfigError comes of any bytes."""
    assert outcome(data, "x.yaml").file == "x.yaml"


@settings(deadline=None)
@given(st.text(alphabet=st.characters()))
def test_any_text_is_a_config_or_refused(text: str) -> None:
    """Surrogates, too."""
    assert outcome(text, None).file is None
