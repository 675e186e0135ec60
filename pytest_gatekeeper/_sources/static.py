"""The kind `static`: a value that stands in the configuration itself. It never expires."""

from __future__ import annotations

from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._sources.fetched import Fetched, Request

__all__ = ["fetch"]


def fetch(request: Request) -> Fetched:
    """What the configuration says; that it says something has been checked when it was read."""
    return Fetched(request.source.secret("value") or Secret(""))
