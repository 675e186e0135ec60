"""`--full-trace`: all frames, none of which has a credential among its arguments or variables; of causes, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

VALUE = "s3cret-of-the-full-trace"

TESTS = """
def value():
    return "s3cret-" + "of-the-full-trace"

def test_asserts(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_proxy.recorder.assert_injected("api.example.com", value=value())

def test_adds(gatekeeper_proxy):
    gatekeeper_proxy.add_credential("api.example.com", value(), header="Bad Header")

def test_has_a_cause(gatekeeper_proxy):
    try:
        gatekeeper_proxy.add_credential("api.example.com", value(), header="Bad Header")
    except Exception as error:
        raise RuntimeError("of the test") from error

def test_of_its_own():
    assert str("of-the-test-itself") == 1 + len("2")
"""


@pytest.mark.parametrize("options", [(), ("--showlocals",), ("--tb=native",)], ids=["plain", "locals", "native"])
def test_no_frame_holds_a_value(suite: Suite, options: tuple[str, ...]) -> None:
    """What pytest and the test did is there, the message as well, and no value."""
    suite.write({"test_it.py": TESTS})
    done = suite.quick("--full-trace", "-k", "not own", *options)
    done.assert_outcomes(failed=3, deselected=1)
    told = done.stdout.str()
    assert "no exchange to api.example.com" in told
    assert told.count("header: a header's name has no white space") >= 2
    assert "of the test" in told
    assert "_pytest/runner.py" in told and "test_it.py" in told
    assert VALUE not in told


def test_a_value_of_the_test_s_own_is_its_own_affair(suite: Suite) -> None:
    """A test that fails by itself shows all there is, its own values among it."""
    suite.write({"test_it.py": TESTS})
    done = suite.quick("--full-trace", "-k", "own")
    done.assert_outcomes(failed=1, deselected=3)
    assert "_pytest/runner.py" in done.stdout.str()
    assert "of-the-test-itself" in done.stdout.str()
