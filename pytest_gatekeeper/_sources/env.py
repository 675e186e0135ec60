"""The kind `env`: a value from a variable, as it is. Nothing is trimmed, and nothing is remembered."""

from __future__ import annotations

from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.source_spec import is_variable
from pytest_gatekeeper._sources.fetched import Fetched, Request
from pytest_gatekeeper.errors import SourceError

__all__ = ["fetch", "is_set"]


def is_set(request: Request) -> bool:
    """Whether the variable has a value."""
    return bool(request.environ.get(request.source.get("var")))


def fetch(request: Request) -> Fetched:
    """The variable's value. Raises SourceError where it is unset or empty; a text that is no name is not repeated."""
    if not is_set(request):
        name = request.source.get("var")
        if not is_variable(name):  # somebody may have written the value itself
            cure = "write the name alone, without $ and braces, and never the value"
            raise SourceError(f"'var' holds what is no name of a variable; {cure}")
        state = "empty" if name in request.environ else "not set"
        raise SourceError(f"the environment variable {name} is {state}; export it, or use secrets auto or canary")
    return Fetched(Secret(request.environ[request.source.get("var")]))
