"""Which values are real: `auto`, `real` and `canary`, by option, ini key and marker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

STATIC = "ghp_of0the0secrets0modes0suite"
VARIABLE = "v4lue-of-the-variable"
CONFIG = f"""
credentials:
  - {{host: static.example.com, grant: static, source: {{type: static, value: {STATIC}}}}}
  - {{host: basic.example.com, header: X-Scheme, grant: scheme, source: {{type: static, value: Token {STATIC}}}}}
  - {{host: env.example.com, grant: env, source: {{type: env, var: MODES_TOKEN}}}}
"""
MISSING = "  - {host: missing.example.com, grant: missing, source: {type: env, var: MODES_UNSET}}\n"
HOSTS = ("static", "basic", "env", "missing")
SUITE = f"""
from pathlib import Path
from urllib.request import urlopen
import pytest

HOSTS = {HOSTS!r}

def use(proxy, origin):
    origin.serve("*.example.com")
    for host in HOSTS[: len(proxy.recorder.rules)]:
        urlopen(f"https://{{host}}.example.com/").close()
    values = [
        next(value for name, value in received.headers if name in ("Authorization", "X-Scheme"))
        for received in origin.received
    ]
    with Path("sent.txt").open("a") as file:
        file.writelines(value + "\\n" for value in values)
    for rule in proxy.recorder.rules:
        proxy.recorder.assert_injected(rule.pattern, grant=rule.grant, times=1)

def test_one(gatekeeper_proxy, gatekeeper_origin):
    use(gatekeeper_proxy, gatekeeper_origin)

def test_two(gatekeeper_proxy, gatekeeper_origin):
    use(gatekeeper_proxy, gatekeeper_origin)
"""


@pytest.fixture(autouse=True)
def _files(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.write({"gatekeeper.yaml": CONFIG + MISSING, "complete.yaml": CONFIG, "test_it.py": SUITE})
    monkeypatch.setenv("MODES_TOKEN", VARIABLE)
    monkeypatch.delenv("MODES_UNSET", raising=False)


def sent(suite: Suite, done: pytest.RunResult, passed: int = 2) -> list[str]:
    """What the upstream got, test by test; no real value was printed meanwhile."""
    done.assert_outcomes(passed=passed)
    told = done.stdout.str() + done.stderr.str()
    assert STATIC not in told
    assert VARIABLE not in told
    return (suite.path / "sent.txt").read_text(encoding="utf-8").splitlines()


def test_auto_takes_what_there_is(suite: Suite) -> None:
    """Static values and variables that are set are sent as they are; the one that is missing becomes a canary."""
    values = sent(suite, suite.quick("--gatekeeper-config=gatekeeper.yaml"))
    for test in (values[:4], values[4:]):
        assert test[:3] == [f"token {STATIC}", f"Token {STATIC}", f"Bearer {VARIABLE}"]
        assert re.fullmatch(r"Bearer gatekeeper-canary-[0-9a-f]{32}", test[3])
    assert values[3] != values[7]


def test_canaries_are_made_up_and_look_like_the_family(suite: Suite) -> None:
    """None is real, each keeps family and scheme, and no two of a run or of two runs are equal."""
    (suite.path / "pytest.ini").write_text("[pytest]\ngatekeeper_secrets = canary\n", encoding="utf-8")
    other = suite.run("--gatekeeper-config=gatekeeper.yaml")  # each process is a run of its own
    assert other.returncode == 0, other.stdout
    values = sent(suite, suite.quick("--gatekeeper-config=gatekeeper.yaml"))
    assert len(set(values)) == len(values) == 16
    for static, scheme, variable, missing in (values[index : index + 4] for index in range(0, 16, 4)):
        assert re.fullmatch(r"token ghp_[A-Za-z0-9]{36}", static)
        assert re.fullmatch(r"Token ghp_[A-Za-z0-9]{36}", scheme)
        assert re.fullmatch(r"Bearer gatekeeper-canary-[0-9a-f]{32}", variable)
        assert re.fullmatch(r"Bearer gatekeeper-canary-[0-9a-f]{32}", missing)
    assert not [value for value in values if STATIC in value or VARIABLE in value]


def test_real_sends_everything(suite: Suite) -> None:
    """With every variable set, `real` runs, and sends what production would."""
    values = sent(suite, suite.quick("--gatekeeper-config=complete.yaml", "--gatekeeper-secrets=real"))
    assert values == [f"token {STATIC}", f"Token {STATIC}", f"Bearer {VARIABLE}"] * 2


def test_real_stops_the_run_for_a_missing_one(suite: Suite) -> None:
    """Before the first test, with place, host and variable, and without the value of another."""
    done = suite.quick("--gatekeeper-config=gatekeeper.yaml", "--gatekeeper-secrets=real")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    told = done.stdout.str() + done.stderr.str()
    (line,) = [line for line in done.errlines if line]
    assert line.startswith(
        "ERROR: gatekeeper: gatekeeper.yaml:6: credentials[3]: the credential for missing.example.com: "
    )
    assert "MODES_UNSET" in line
    assert not (suite.path / "sent.txt").exists()
    assert STATIC not in told
    assert VARIABLE not in told


def test_a_marker_says_it_for_one_test(suite: Suite) -> None:
    """`secrets="real"` in a marker beats the command line; where one is missing, that test errs and the run ends."""
    suite.write(
        {
            "test_it.py": SUITE
            + "@pytest.mark.gatekeeper(secrets='real')\ndef test_three(gatekeeper_proxy, gatekeeper_origin):\n"
            "    use(gatekeeper_proxy, gatekeeper_origin)\n\ndef test_never(): pass\n"
        }
    )
    complete = suite.quick("--gatekeeper-config=complete.yaml", "--gatekeeper-secrets=canary")
    values = sent(suite, complete, passed=4)
    assert values[6:] == [f"token {STATIC}", f"Token {STATIC}", f"Bearer {VARIABLE}"]
    assert not set(values[6:]) & set(values[:6])

    done = suite.quick("--gatekeeper-config=gatekeeper.yaml", "--gatekeeper-secrets=canary")
    done.assert_outcomes(passed=2, errors=1)
    told = done.stdout.str()
    assert "the credential for missing.example.com" in told
    done.stdout.fnmatch_lines(["!!!* gatekeeper: gatekeeper.yaml:6: credentials[[]3]: *missing.example.com: * !!!*"])
    assert STATIC not in told
    assert VARIABLE not in told


FACTORY = """
import pytest
from pytest_gatekeeper import SourceError

REAL = {"config": "gatekeeper.yaml", "secrets": "real"}

@pytest.fixture(scope="module")
def wide(gatekeeper_proxy_factory):
    return gatekeeper_proxy_factory(**REAL)

def test_expects_it(gatekeeper_proxy_factory):
    with pytest.raises(SourceError, match="MODES_UNSET"):
        gatekeeper_proxy_factory(**REAL)

def test_fails_by_it(gatekeeper_proxy_factory):
    gatekeeper_proxy_factory(**REAL)

def test_goes_on(gatekeeper_proxy):
    pass
"""
WIDE = "\ndef test_asks_for_it(wide): pass\n\ndef test_never(): pass\n"


def test_a_call_of_the_factory_fails_like_any_other(suite: Suite) -> None:
    """In a test its error can be expected, and where it is not, it fails that test alone; in a fixture the run ends."""
    suite.write({"test_it.py": FACTORY})
    done = suite.quick()
    done.assert_outcomes(passed=2, failed=1)
    assert "!!! gatekeeper" not in done.stdout.str()
    suite.write({"test_it.py": FACTORY + WIDE})
    done = suite.quick()
    done.assert_outcomes(passed=2, failed=1, errors=1)
    done.stdout.fnmatch_lines(["!!!* gatekeeper: *gatekeeper.yaml:6: credentials[[]3]: *missing.example.com: * !!!*"])
    assert STATIC not in done.stdout.str()
