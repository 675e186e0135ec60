"""The `gatekeeper` marker: its keywords, checked and merged into the `Plan` of one test.

Markers are merged from the farthest to the nearest; credentials add up, every other keyword replaces. Misuse is a
`TypeError` (or a `ValueError` for a bad value) that names the keyword. What a plan leads to is `session`'s matter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest

from pytest_gatekeeper._core.secret import frameless
from pytest_gatekeeper._core.verdict import DEFAULT
from pytest_gatekeeper._plugin.options import SECRETS, Options, SecretsMode, fail_on_list, host_list, one_of, seconds

if TYPE_CHECKING:
    from pytest_gatekeeper._core.model import Settings

__all__ = ["KEYWORDS", "LINE", "Plan", "make_plan", "plan_of", "said_fail_on"]


class Plan(NamedTuple):
    """What one proxy shall be: the options, and what a marker or a call of the factory changed.

    Attributes:
        config: a path or a configuration that takes the place of the run's, or None.
        credentials: mappings as in the file, added to those of the configuration.
        policy, allow: take the place of the configuration's; None where nothing was said.
        secrets, allow_network, idle_timeout, upstream_timeout, no_proxy, fail_on: see `Options`.
    """

    config: Settings | str | os.PathLike[str] | None = None
    credentials: tuple[Mapping[str, Any], ...] = ()
    policy: Literal["permissive", "strict"] | None = None
    allow: tuple[str, ...] | None = None
    secrets: SecretsMode = "auto"
    allow_network: bool = False
    idle_timeout: float = 120.0
    upstream_timeout: float = 60.0
    no_proxy: tuple[str, ...] = ()
    fail_on: tuple[str, ...] = DEFAULT

    def __repr__(self) -> str:
        return f"<Plan, {len(self.credentials)} credentials of its own>"  # a mapping may hold a value


# ------------------------------------------------------------------ keywords


def _config(value: object) -> object:
    from pytest_gatekeeper._core.model import Settings

    if not isinstance(value, (str, os.PathLike, Settings)):
        raise TypeError("must be a path or a Config")
    return value


def _credentials(value: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, Mapping) for item in value):
        raise TypeError("must be a list of mappings as under `credentials` in a gatekeeper.yaml")
    return tuple(value)


def _allow(value: object) -> tuple[str, ...]:
    try:
        return host_list(value)
    except TypeError:
        raise TypeError("must be a list of host patterns") from None


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be True or False")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, str):
        raise TypeError("must be a number of seconds above 0")
    return seconds(value)


def _fail_on(value: object) -> tuple[str, ...]:
    empty = isinstance(value, (list, tuple, set, frozenset)) and not value
    return () if empty else fail_on_list(value)


_CHECKS: dict[str, Callable[[object], object]] = {
    "config": _config,
    "credentials": _credentials,
    "policy": one_of("permissive", "strict"),
    "allow": _allow,
    "secrets": one_of(*SECRETS),
    "allow_network": _flag,
    "idle_timeout": _seconds,
    "upstream_timeout": _seconds,
    "no_proxy": host_list,
    "fail_on": _fail_on,
}

KEYWORDS = ", ".join(_CHECKS)
"""The known ones, for messages."""

LINE = (
    f"gatekeeper({', '.join(f'{key}=…' for key in _CHECKS)}): "
    "what this test's gatekeeper_proxy shall be; of several markers the nearest wins, and credentials add up"
)
"""What `pytest --markers` shows."""


# ------------------------------------------------------------------ merging


@frameless
def plan_of(item: pytest.Item, options: Options) -> Plan:
    """The plan of a test's proxy: the options, changed by its markers from the farthest to the nearest.

    Raises TypeError or ValueError, without a frame of this package in what pytest shows, for a marker that is misused.
    """
    said = []
    for marker in reversed(list(item.iter_markers("gatekeeper"))):
        if marker.args:
            raise TypeError(f"the gatekeeper marker takes keywords only: {KEYWORDS}")
        said.append(marker.kwargs)
    return make_plan(options, said, "the gatekeeper marker")


def said_fail_on(item: pytest.Item) -> tuple[str, ...] | None:
    """What the nearest marker with `fail_on` says, for proxies that the test did not plan itself; None without one."""
    said = (marker.kwargs["fail_on"] for marker in item.iter_markers("gatekeeper") if "fail_on" in marker.kwargs)
    return next((_fail_on(value) for value in said), None)


def make_plan(options: Options, said: Iterable[Mapping[str, object]], who: str) -> Plan:
    """The options, changed by each of `said` in turn.

    Args:
        options: of the run.
        said: keywords and values.
        who: was called with them, for messages.

    Raises:
        TypeError, ValueError: a keyword or a value that there is not; a credential's value is never shown.
    """
    __tracebackhide__ = True
    plan = Plan(
        secrets=options.secrets,
        allow_network=options.allow_network,
        idle_timeout=options.idle_timeout,
        upstream_timeout=options.upstream_timeout,
        no_proxy=options.no_proxy,
        fail_on=options.fail_on,
    )
    for keywords in said:
        checked: dict[str, Any] = {}
        for key, value in keywords.items():  # no comprehension: before Python 3.12 it has a frame, which pytest shows
            checked[key] = _checked(key, value, who)
        if "credentials" in checked:
            checked["credentials"] = plan.credentials + checked["credentials"]
        plan = plan._replace(**checked)
    return plan


def _checked(key: str, value: object, who: str) -> object:
    __tracebackhide__ = True
    if key not in _CHECKS:
        import difflib  # for a mistake alone: no run needs it else

        near = difflib.get_close_matches(key, _CHECKS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise TypeError(f"{who} has no keyword {key!r}{hint}; it takes {KEYWORDS}")
    try:
        return _CHECKS[key](value)
    except (TypeError, ValueError) as error:
        mistaken = key == "secrets" and len(str(value)) > 8  # for a credential's value, perhaps
        shown = "" if mistaken or key in ("config", "credentials") else f"={value!r}"
        raise type(error)(f"{who}: {key}{shown} {error}") from None
