"""The kinds that ask a cloud or an exchange for a value: read and checked with the file, not fetched yet.

Fetching them needs each provider's client and credentials, which a test run seldom has; canaries take their place.
"""

from __future__ import annotations

from typing import NoReturn

from pytest_gatekeeper._sources.fetched import Request
from pytest_gatekeeper.errors import SourceError

__all__ = ["fetch"]


def fetch(request: Request) -> NoReturn:
    """Raise SourceError that names the kind."""
    raise SourceError(f"fetching from {request.source.type} is not built yet; use secrets auto or canary")
