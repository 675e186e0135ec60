"""Facts about rules in force: what was a secret stays one, and what is no value is refused without showing it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_gatekeeper._core.model import Credential, Settings, SourceSpec
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.secret import Secret
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
