"""Which configuration a proxy gets: what a fixture, a marker or the factory gave, with the policy that these ask for.

A path is read here; what is wrong is a ConfigError, of what has no effect a ConfigWarning tells. Making the proxy is
`proxies`' matter.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gatekeeper._plugin.marker import Plan

if TYPE_CHECKING:
    from pytest_gatekeeper._core.model import Settings

__all__ = ["networked", "settings_of", "warn_of"]


def settings_of(config: object, folders: tuple[Path, ...]) -> Settings:
    """A configuration from what a fixture or a marker gave; a path is looked for in `folders`, one after the other."""
    from pytest_gatekeeper._core.model import Settings
    from pytest_gatekeeper.config import Config
    from pytest_gatekeeper.errors import ConfigError

    if config is None:
        return Config()
    if isinstance(config, Settings):
        return config
    if not isinstance(config, (str, os.PathLike)):
        raise ConfigError(
            f"the fixture must give a Config or a path, not {type(config).__name__}", key="gatekeeper_config"
        )
    paths = [folder / Path(config).expanduser() for folder in folders]
    return Config.load(next((path for path in paths if path.exists()), paths[0]))


def warn_of(settings: Settings, warned: set[str]) -> None:
    """Warn of what has no effect in a configuration, once for each text; `warned` holds those that were told."""
    from pytest_gatekeeper.errors import ConfigWarning

    for text in map(str, settings.findings):
        if text not in warned:
            warnings.warn(ConfigWarning(text), stacklevel=2)
            warned.add(text)  # not where the warning is an error, which the next test meets as well


def networked(plan: Plan, settings: Settings) -> Settings:
    """The configuration with the policy that the plan asks for."""
    if plan.policy is None and plan.allow is None:
        return settings
    if plan.policy is None and settings.network.policy != "strict":
        from pytest_gatekeeper.errors import ConfigError

        raise ConfigError(
            "has no effect under the permissive policy of the configuration; add policy='strict'", key="allow"
        )
    policy = plan.policy or settings.network.policy
    allow = settings.network.allow if plan.allow is None else plan.allow
    return replace(settings, network=replace(settings.network, policy=policy, allow=allow))
