"""Facts about rules in force: what was a secret stays one, and what is no value is refused without showing it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_gatekeeper._core.model import Credential, Settings, SourceSpec
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.errors import ConfigError
from pytest_gatekeeper.inforce import InForce

OLD, NEW = "the-old-value-0123", "the-new-value-4567"


@pytest.fixture
def in_force() -> Iterator[InForce]:
    """The rules of a proxy without a configuration."""
    made = InForce(Settings(), [], "auto", "")
    yield made
    made.close()


def test_a_value_that_was_refreshed_stays_a_secret(in_force: InForce) -> None:
    """It is blanked and looked for as before, beside the new one; only the new one is injected."""
    credential = Credential("api.example.com", SourceSpec("process"), grant="api")
    for value in (OLD, NEW):
        in_force._refreshed((make_rule("credentials[0]", credential, Secret(value)),))
    terms, redactor, watchlist = in_force.made()
    assert "the-" not in redactor.blank(f"{OLD} {NEW}")
    assert len(watchlist.find_in(f"{OLD} {NEW}".encode())) == 2
    assert [rule.secret.reveal() for rule in terms.rules.for_host("api.example.com")] == [NEW]


@pytest.mark.parametrize("value", [OLD.encode(), None, 7, [OLD]])
def test_what_is_no_text_is_refused_by_its_type(in_force: InForce, value: object) -> None:
    """The message has the type's name, and not the value; text is taken."""
    with pytest.raises(TypeError) as refused:
        in_force.add("api.example.com", value, "X-Key", "api", "", "")  # type: ignore[arg-type]
    assert type(value).__name__ in str(refused.value)
    assert OLD not in str(refused.value)
    assert in_force.add("api.example.com", OLD, "X-Key", "api", "", "").secret == OLD


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("X-Key: hunter2", "has no colon and no value behind it"),
        ("Bad Header", "has no white space"),
        ("hunter(2)", "is no header name"),
        ("host", "belongs to the connection"),
        ("Proxy-Authorization", "belongs to the connection"),
    ],
)
def test_a_header_that_cannot_carry_a_credential_is_refused(in_force: InForce, header: str, said: str) -> None:
    """As in a file, and nothing of it is repeated, for it may be a whole field; a name is taken, and none is one."""
    with pytest.raises(ConfigError) as refused:
        in_force.add("api.example.com", OLD, header, "api", "", "")
    assert str(refused.value).startswith("header: ")
    assert said in str(refused.value)
    assert "hunter" not in str(refused.value)
    for good in ("X-Key", "authorization", ""):
        in_force.add("api.example.com", OLD, good, "api", "", "")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("https://api.example.com/v1", "write 'api.example.com'"),
        ("api.example.com:8443", "write 'api.example.com'"),
        ("user:hunter2@api.example.com", "write 'api.example.com'"),
        ("", "is required"),
        ("api.*.com", "write each name"),
        ("api example", "write a name, or"),
    ],
)
def test_a_host_that_cannot_match_is_refused_with_what_to_write(in_force: InForce, host: str, said: str) -> None:
    """As in a file; only the name that works is repeated. A name, a wildcard and an IPv6 address are taken."""
    with pytest.raises(ConfigError) as refused:
        in_force.add(host, OLD, "X-Key", "api", "", "")
    assert str(refused.value).startswith("host: ")
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)
    for good in ("api.example.com", "*.example.com", "[::1]"):
        in_force.add(good, OLD, "X-Key", "api", "", "")
