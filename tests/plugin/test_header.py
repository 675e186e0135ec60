"""What pytest shows of us without a test being run: the header line, options, fixtures, markers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

VALUE = "s3cret-of-the-header"
CONFIG = f"""
credentials:
  - {{host: a.example.com, source: {{type: static, value: {VALUE}}}}}
  - {{host: b.example.com, source: {{type: env, var: SET_TOKEN}}}}
  - {{host: c.example.com, source: {{type: env, var: UNSET_TOKEN}}}}
  - {{host: d.example.com, source: {{type: process, command: 'false'}}}}
network: {{policy: strict, allow: [a.example.com]}}
"""
FIXTURES = {
    "gatekeeper_proxy": "A running `Gatekeeper` for this test",
    "gatekeeper_recorder": "What went through this test's proxy",
    "gatekeeper_origin": "A stub upstream whose certificates the proxy already trusts",
    "gatekeeper_ca": "The ephemeral CA that clients under test trust",
    "gatekeeper_config": "The configuration in force",
    "gatekeeper_proxy_factory": "running proxies on ports of their own",
}
WIDE = {"gatekeeper_ca", "gatekeeper_config", "gatekeeper_proxy_factory"}


def header(suite: Suite, *arguments: str) -> list[str]:
    """Our lines in the header."""
    suite.write({"gatekeeper.yaml": CONFIG})
    done = suite.quick("--gatekeeper-config=gatekeeper.yaml", *arguments)
    assert VALUE not in done.stdout.str() + done.stderr.str()
    return [line for line in done.outlines if line.startswith("gatekeeper:")]


@pytest.mark.parametrize(("mode", "real", "canaries"), [("auto", 2, 2), ("real", 4, 0), ("canary", 0, 4)])
def test_the_header_counts_real_values_and_canaries(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, mode: str, real: int, canaries: int
) -> None:
    """With `auto` a static value and a variable that is set are real; nothing is fetched in order to count."""
    monkeypatch.setenv("SET_TOKEN", VALUE)
    monkeypatch.delenv("UNSET_TOKEN", raising=False)
    assert header(suite, f"--gatekeeper-secrets={mode}", "--collect-only") == [
        f"gatekeeper: gatekeeper.yaml, 4 rules, secrets {mode} ({real} real, {canaries} canary), "
        "policy strict, network closed"
    ]


def test_an_empty_variable_is_not_real(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no value in production either."""
    monkeypatch.setenv("SET_TOKEN", "")
    (line,) = header(suite, "--gatekeeper-allow-network")
    assert "(1 real, 3 canary)" in line
    assert line.endswith("network open")


def test_without_a_configuration_there_is_no_line(suite: Suite) -> None:
    """A suite that does not use the plugin does not hear of it; with `-q` nobody does."""
    suite.write({"test_it.py": "def test_it(): pass\n"})
    done = suite.quick()
    done.assert_outcomes(passed=1)
    assert not [line for line in done.outlines if "gatekeeper" in line and not line.startswith("plugins:")]
    assert header(suite, "-q") == []


def test_fixtures_are_told(suite: Suite) -> None:
    """`pytest --fixtures` shows what each is for, and which live for the session."""
    shown = suite.quick("--fixtures").stdout.str()
    found = re.findall(r"^(gatekeeper_\w+)( \[session scope\])?[^\n]*\n((?: {4}.*\n| *\n)+)", shown, re.MULTILINE)
    assert {name for name, _, _ in found} == set(FIXTURES)
    for name, scope, docstring in found:
        assert FIXTURES[name] in docstring
        assert bool(scope) == (name in WIDE)


def test_markers_are_told(suite: Suite) -> None:
    """`pytest --markers` shows every keyword, and the marker is known under --strict-markers."""
    shown = suite.quick("--markers").stdout.str()
    (line,) = [line for line in shown.splitlines() if line.startswith("@pytest.mark.gatekeeper(")]
    keywords = re.findall(r"(\w+)=…", line)
    assert keywords == [
        "config", "credentials", "policy", "allow", "secrets", "allow_network", "idle_timeout", "upstream_timeout",
        "no_proxy", "fail_on",
    ]  # fmt: skip
    suite.write({"test_it.py": "import pytest\n@pytest.mark.gatekeeper(policy='strict')\ndef test_it(): pass\n"})
    suite.quick("--strict-markers").assert_outcomes(passed=1)


def test_options_are_told(suite: Suite) -> None:
    """`pytest --help` has a group of ours, and every ini key."""
    shown = suite.quick("--help").stdout.str()
    assert "credentials in tests (pytest-gatekeeper):" in shown
    for name in ("config", "secrets", "allow-network", "idle-timeout", "upstream-timeout", "report", "fail-on"):
        assert f"--gatekeeper-{name}" in shown
        assert re.search(rf"gatekeeper_{name.replace('-', '_')} \(\w+\):", shown)
    assert "gatekeeper_no_proxy (linelist):" in shown
