"""Run a production gatekeeper.yaml inside a test suite, and prove which credential went where.

The public names below are loaded on first use (PEP 562), so that importing this package costs nothing: a suite that
installs the plugin and does not use it must not pay for a proxy. No logic lives here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gatekeeper._core.records import Exchange, Tunnel
    from pytest_gatekeeper._core.secret import Secret
    from pytest_gatekeeper.config import Config
    from pytest_gatekeeper.errors import (
        ConfigError,
        ConfigWarning,
        GatekeeperError,
        GatekeeperWarning,
        ProxyError,
        SourceError,
    )  # fmt: skip
    from pytest_gatekeeper.gatekeeper import Gatekeeper
    from pytest_gatekeeper.origin import Origin
    from pytest_gatekeeper.recorder import Recorder

    __version__: str

__all__ = [
    "Config", "ConfigError", "ConfigWarning", "Exchange", "Gatekeeper", "GatekeeperError", "GatekeeperWarning",
    "Origin", "ProxyError", "Recorder", "Secret", "SourceError", "Tunnel", "__version__",
]  # fmt: skip

_HOMES = {
    "Config": "config",
    "ConfigError": "errors",
    "ConfigWarning": "errors",
    "Exchange": "_core.records",
    "Gatekeeper": "gatekeeper",
    "GatekeeperError": "errors",
    "GatekeeperWarning": "errors",
    "Origin": "origin",
    "ProxyError": "errors",
    "Recorder": "recorder",
    "Secret": "_core.secret",
    "SourceError": "errors",
    "Tunnel": "_core.records",
}


def __getattr__(name: str) -> object:
    import importlib

    if name == "__version__":
        value: object = _version()
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _version() -> str:
    """What is installed; its one source is pyproject.toml."""
    from importlib import metadata

    try:
        return metadata.version("pytest-gatekeeper")
    except metadata.PackageNotFoundError:
        return "0+uninstalled"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
