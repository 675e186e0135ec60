"""A recorder beyond its bound: the oldest exchanges give up their header fields, and nothing that is evidence.

`Folding` by itself is in `tests/engine/test_limits.py`.
"""

from __future__ import annotations

import pytest

from pytest_gatekeeper import Exchange, Recorder
from pytest_gatekeeper._core.folding import Folding
from pytest_gatekeeper._core.model import Credential, Injection, SourceSpec, Violation
from pytest_gatekeeper._core.records import Leak
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.secret import Secret

HOST = "api.example.com"
VALUE = "s3cret-of-the-folded"
RULE = make_rule("credentials[0]", Credential(HOST, SourceSpec("static"), grant="api"), Secret(VALUE))
INJECTION = Injection(RULE.header, RULE.grant, RULE.id, RULE.secret, RULE.header_value)
WHOLE = 10
COUNT = 100


def exchange(number: int) -> Exchange:
    """Of ten one is an injected request, one an injected upgrade, one a violation, one leaks; the rest are plain."""
    kind = number % 10
    host = HOST if kind < 2 else "cdn.example.com"
    made = Exchange(number, "GET", "wss" if kind == 1 else "https", host, 443, f"/{number}")
    made.headers = made.forwarded_headers = made.response_headers = (("X-Field", "of much weight"),)
    made.status, made.closed = (101 if kind == 1 else 200), "upstream"
    made.is_upgrade = made.upgraded = kind == 1
    made.injections = (INJECTION,) if kind < 2 else ()
    made.violations = (Violation("inner-host", "it names another host", "forwarded"),) if kind == 2 else ()
    return made


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A hundred exchanges in a recorder that keeps ten of them whole."""
    recorder = Recorder([RULE])
    monkeypatch.setattr(recorder, "_folding", Folding(WHOLE))
    for number in range(COUNT):
        made = exchange(number)
        recorder.accept(made)
        if number % 10 == 3:
            recorder.accept(Leak(RULE.secret, RULE.id, RULE.grant, "upstream", "body", 7, made, "test_it"))
    return recorder


def test_the_oldest_are_folded(recorder: Recorder) -> None:
    """All but the newest ten, and only their fields are gone."""
    folded = [made.folded for made in recorder.exchanges]
    assert folded == [True] * (COUNT - WHOLE) + [False] * WHOLE
    assert {made.headers for made in recorder.exchanges if made.folded} == {()}
    assert {len(made.headers) for made in recorder.exchanges if not made.folded} == {1}
    assert [(made.id, made.path) for made in recorder.exchanges] == [(number, f"/{number}") for number in range(COUNT)]


def test_what_was_sent_is_known_at_every_moment() -> None:
    """A test may ask while the proxy's thread folds: no step of that makes it look as if nothing had been sent."""
    told: list[bool] = []

    class Asked(Exchange):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if hasattr(self, "_was_sent"):
                told.append(self.sent)

    made = Asked(1, "GET", "https", HOST, 443, "/")
    made.forwarded_headers = (("X-Field", "sent"),)
    told.clear()
    made.fold()
    assert told
    assert all(told)


def test_injections_are_never_folded(recorder: Recorder) -> None:
    """Each is found by value, rule, header and kind of request, and counts in every assertion."""
    assert len(recorder.assert_injected(HOST, grant="api", value=VALUE, times=20)) == 20
    assert len(recorder.assert_injected(HOST, header="Authorization", header_value=f"Bearer {VALUE}", times=20)) == 20
    assert len(recorder.assert_upgraded(HOST, grant="api", injected=True, times=10)) == 10
    recorder.assert_scope({"api": [HOST]})
    with pytest.raises(AssertionError, match="20"):
        recorder.assert_injected(HOST, times=2)
    with pytest.raises(AssertionError):
        recorder.assert_not_injected(HOST)
    oldest = recorder.exchanges[0]
    assert oldest.folded and oldest.injections == (INJECTION,) and oldest.injections[0].secret == VALUE


def test_what_is_wrong_is_never_folded(recorder: Recorder) -> None:
    """Leaks and violations of folded exchanges are all there, and still fail."""
    assert [leak.exchange.id for leak in recorder.leaks] == list(range(3, COUNT, 10))
    assert len(recorder.violations) == 10
    with pytest.raises(AssertionError, match="leak"):
        recorder.assert_no_leaks()


def test_a_report_counts_all_of_them(recorder: Recorder) -> None:
    """The table of what happened shows the injections of the folded ones as of any other."""
    lines = recorder.describe(COUNT).splitlines()
    assert sum("Authorization by credentials[0] (api)" in line for line in lines) == 20
    assert VALUE not in "\n".join(lines)
