"""What fetching gives, and the request for it. Data only: how to fetch is the business of the modules of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pytest_gatekeeper._core.model import SourceSpec
from pytest_gatekeeper._core.secret import Secret

__all__ = ["Fetched", "Request"]


class Fetched(NamedTuple):
    """A value, and the seconds for which it is good; None for one that does not expire."""

    value: Secret
    lifetime: float | None = None


def _never() -> bool:
    return False


def _same(text: str) -> str:
    return text


class Request(NamedTuple):
    """What is to be fetched.

    Attributes:
        source: where from.
        environ: the variables to look up, and to run commands with.
        stopped: asked now and then; where it says yes, nobody waits for the value any more.
        blank: hides the secrets that are known so far in a text that is going to be shown.
    """

    source: SourceSpec
    environ: Mapping[str, str]
    stopped: Callable[[], bool] = _never
    blank: Callable[[str], str] = _same
