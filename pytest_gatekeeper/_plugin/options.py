"""Options and ini keys: registered, read once, checked.

Every key is read in `pytest_configure` into one frozen `Options`; what is wrong there is a `UsageError` that names key,
value and place, before anything is collected. The checks of single values are here too, since the marker shares them.
Only pytest and the standard library are imported: this module is loaded in every run of every user.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, cast

import pytest

from pytest_gatekeeper._core.verdict import DEFAULT, read_fail_on

__all__ = ["Options", "SecretsMode", "add_options", "fail_on_list", "host_list", "one_of", "read_options", "seconds"]

T = TypeVar("T")

SecretsMode = Literal["auto", "real", "canary"]
SECRETS = ("auto", "real", "canary")

_PREFIX = "gatekeeper_"
_NUMBER: Literal["float", "string"] = "float" if pytest.version_tuple >= (9, 0) else "string"  # native TOML has numbers


class Options(NamedTuple):
    """What the command line and the ini file say.

    Attributes:
        config: a gatekeeper.yaml, or None.
        config_source: where `config` was said, for messages.
        secrets: which sources are real.
        allow_network: whether upstreams that are neither routed nor loopback may be dialled.
        idle_timeout, upstream_timeout: seconds, above 0.
        no_proxy: hosts that clients shall reach directly.
        report: files to write at the end, `.json` or `.html`.
        report_source: where `report` was said, for messages.
        fail_on: what fails a test or the run: words of `_core.verdict.FAIL_ON`.
    """

    config: Path | None = None
    config_source: str = ""
    secrets: SecretsMode = "auto"
    allow_network: bool = False
    idle_timeout: float = 120.0
    upstream_timeout: float = 60.0
    no_proxy: tuple[str, ...] = ()
    report: tuple[Path, ...] = ()
    report_source: str = ""
    fail_on: tuple[str, ...] = DEFAULT


# ------------------------------------------------------------------ single values


def one_of(*words: str) -> Callable[[object], str]:
    """A check for one of these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return check


def seconds(value: object) -> float:
    """A number of seconds above 0, also as text."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("must be a number of seconds above 0")
    return number


def host_list(value: object) -> tuple[str, ...]:
    """A list of host names."""
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(item, str) for item in value):
        raise TypeError("must be a list of host names")
    for item in value:
        if not item or item != "".join(item.split()) or "," in item or "/" in item:
            raise ValueError(f"must be a list of host names; {item!r} is none")
    return tuple(value)


def fail_on_list(value: object) -> tuple[str, ...]:
    """What fails a test or the run: a text with commas, or a list of such; see `read_fail_on`."""
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, (list, tuple, set, frozenset)) or not all(isinstance(line, str) for line in lines):
        raise TypeError("must be a list of words, such as ['leak', 'violation']")
    return read_fail_on(lines)


def _reports(value: object) -> tuple[str, ...]:
    """Names of reports, each once."""
    names = cast("list[str]", value)
    if names:
        from pytest_gatekeeper.reportfiles import SUFFIXES  # which a run without a report does not load

        for name in names:
            if Path(name).suffix.lower() not in SUFFIXES:
                raise ValueError(f"must be a file whose name ends in {' or '.join(SUFFIXES)}, not {name!r}")
    return tuple(dict.fromkeys(names))


def _words(value: object) -> tuple[str, ...]:
    """Host names, one a line or several, with commas or white space between."""
    lines = cast("list[str]", value)
    return host_list([word for line in lines for word in line.replace(",", " ").split()])


# ------------------------------------------------------------------ registering


def add_options(parser: pytest.Parser) -> None:
    """Register the options and their ini keys."""
    group = parser.getgroup("gatekeeper", "credentials in tests (pytest-gatekeeper)")

    def option(name: str, metavar: str, text: str) -> None:
        group.addoption(f"--gatekeeper-{name}", dest=_PREFIX + name.replace("-", "_"), metavar=metavar, help=text)

    option("config", "PATH", "the gatekeeper.yaml whose rules are in force; without one there are none")
    option("secrets", "MODE", "auto (env and static real, the others made up), real (all fetched) or canary (none)")
    group.addoption(
        "--gatekeeper-allow-network",
        dest="gatekeeper_allow_network",
        action="store_true",
        default=None,
        help="dial upstreams that are neither routed nor loopback",
    )
    option("idle-timeout", "SECONDS", "silence after which the proxy closes a connection (120)")
    option("upstream-timeout", "SECONDS", "time for dial, handshake and response head together (60)")
    group.addoption(
        "--gatekeeper-report",
        dest="gatekeeper_report",
        metavar="PATH",
        action="append",
        default=None,
        help="write a report of what went where, .json or .html; repeatable",
    )
    option("fail-on", "LIST", "what fails a test or the run: leak,unused,bypass,cleartext,violation, or none")
    usual = Options()
    parser.addini("gatekeeper_config", "see --gatekeeper-config; relative to the ini file", "string", "")
    parser.addini("gatekeeper_secrets", "see --gatekeeper-secrets", "string", usual.secrets)
    parser.addini("gatekeeper_allow_network", "see --gatekeeper-allow-network", "bool", default=False)
    parser.addini("gatekeeper_idle_timeout", "see --gatekeeper-idle-timeout", _NUMBER, usual.idle_timeout)
    parser.addini("gatekeeper_upstream_timeout", "see --gatekeeper-upstream-timeout", _NUMBER, usual.upstream_timeout)
    parser.addini("gatekeeper_no_proxy", "hosts that clients under test reach directly", "linelist", [])
    parser.addini(
        "gatekeeper_report", "see --gatekeeper-report, a path a line; relative to the ini file", "linelist", []
    )
    parser.addini("gatekeeper_fail_on", "see --gatekeeper-fail-on", "linelist", list(DEFAULT))


# ------------------------------------------------------------------ reading


def read_options(config: pytest.Config) -> Options:
    """Read and check every key. Raises UsageError that names key, value and place."""
    said, source = _raw(config, "config")
    folder = _folder(config, "config")
    report_folder = _folder(config, "report")
    return Options(
        config=folder / Path(str(said)).expanduser() if said else None,
        config_source=source if said else "",
        secrets=cast("SecretsMode", _read(config, "secrets", one_of(*SECRETS))),
        allow_network=_read(config, "allow_network", bool),
        idle_timeout=_read(config, "idle_timeout", seconds),
        upstream_timeout=_read(config, "upstream_timeout", seconds),
        no_proxy=_read(config, "no_proxy", _words),
        report=tuple(report_folder / Path(name).expanduser() for name in _read(config, "report", _reports)),
        report_source=_raw(config, "report")[1],
        fail_on=_read(config, "fail_on", fail_on_list),
    )


def _folder(config: pytest.Config, name: str) -> Path:
    """What a path is relative to: the ini file, or on the command line where pytest was called."""
    if config.getoption(_PREFIX + name, None) is None and config.inipath is not None:
        return config.inipath.parent
    return config.invocation_params.dir


def _read(config: pytest.Config, name: str, check: Callable[[object], T]) -> T:
    value, source = _raw(config, name)
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{source}: {value!r} {error}") from None


def _raw(config: pytest.Config, name: str) -> tuple[object, str]:
    """The value as said, and where: the command line wins."""
    key = _PREFIX + name
    value = config.getoption(key, None)
    if value is not None:
        return value, f"--{key.replace('_', '-')} on the command line"
    overrides = config.getoption("override_ini", None) or []
    overridden = any(text.partition("=")[0].strip() == key for text in overrides)
    source = f"{key} {'on the command line (-o)' if overridden else f'in {config.inipath}'}"
    try:
        return config.getini(key), source
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise pytest.UsageError(f"{source}: {error}") from None
