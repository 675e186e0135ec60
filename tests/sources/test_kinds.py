"""Facts about the kinds of sources that need no process: env, static, and those that are not built yet."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.model import SourceSpec
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._sources import cloud, env, static
from pytest_gatekeeper._sources.fetched import Fetched, Request
from pytest_gatekeeper.errors import SourceError

TOKEN = SourceSpec("env", (("var", "A_TOKEN"),))


@pytest.mark.parametrize("value", ["t0k", " t0k ", "t0k\n", "\udcff"])
def test_a_variable_is_taken_as_it_is(value: str) -> None:
    """Nothing is trimmed, and it does not expire."""
    assert env.fetch(Request(TOKEN, {"A_TOKEN": value})) == Fetched(Secret(value), None)
    assert env.is_set(Request(TOKEN, {"A_TOKEN": value}))


@pytest.mark.parametrize(
    ("environ", "state"), [({}, "not set"), ({"A_TOKEN": ""}, "empty"), ({"a_token": "x"}, "not set")]
)
def test_a_variable_without_a_value_is_an_error(environ: dict[str, str], state: str) -> None:
    """It names the variable and the ways out."""
    said = f"^the environment variable A_TOKEN is {state}; export it, or use secrets auto or canary$"
    with pytest.raises(SourceError, match=said):
        env.fetch(Request(TOKEN, environ))
    assert not env.is_set(Request(TOKEN, environ))


@pytest.mark.parametrize("value", ["sk-live-4f1c09", "ghp_Zx81LmN0pQ7rS5tU3vW9yA2bC4dE6fG8hI0j", "$A_TOKEN"])
def test_what_is_no_name_of_a_variable_does_not_show(value: str) -> None:
    """It may be the value, written in the place of the name; the message says what to write. A name is shown."""
    said = r"^'var' holds what is no name of a variable; write the name alone, .* never the value$"
    with pytest.raises(SourceError, match=said):
        env.fetch(Request(SourceSpec("env", (("var", value),)), {}))
    with pytest.raises(SourceError, match="variable A_TOKEN is not set"):
        env.fetch(Request(TOKEN, {}))


def test_a_static_value_is_what_the_file_says() -> None:
    """The very same secret."""
    spec = SourceSpec("static", (), (("value", Secret("s3cret")),))
    assert static.fetch(Request(spec, {})) == Fetched(Secret("s3cret"), None)


@pytest.mark.parametrize("type", ["aws-secretsmanager", "github-app", "token-exchange"])
def test_what_is_not_built_says_so(type: str) -> None:
    """With the name of the kind, and the way out."""
    with pytest.raises(SourceError, match=f"^fetching from {type} is not built yet; use secrets auto or canary$"):
        cloud.fetch(Request(SourceSpec(type), {}))


def test_what_was_fetched_does_not_show() -> None:
    """Neither the value nor a static one in the request is in a repr."""
    spec = SourceSpec("static", (), (("value", Secret("s3cret")),))
    assert "s3cret" not in repr(static.fetch(Request(spec, {})))
    assert "s3cret" not in repr(Request(spec, {}))
