"""Several processes, one run: one table, one report, right counts, whatever the processes are started by."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

CONFIG = """
credentials:
  - {host: api.example.com, header: X-Api-Key, grant: api, source: {type: static, value: s3cret-of-this-suite}}
  - {host: idle.example.com, grant: idle, source: {type: static, value: another-of-this-suite}}
"""

SUITE = """
import os
import pytest
from urllib.request import Request, urlopen


@pytest.mark.parametrize("number", range(6))
def test_it(gatekeeper_proxy, gatekeeper_origin, number):
    gatekeeper_origin.serve("api.example.com")
    for _ in range(number + 1):
        urlopen("https://api.example.com/").close()


def test_violates(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    urlopen(Request("https://api.example.com/", headers={"Host": "evil.example.com"})).close()


@pytest.fixture(scope="session")
def wide(gatekeeper_proxy_factory):
    return gatekeeper_proxy_factory()


@pytest.mark.parametrize("number", range(2))
def test_wide(wide, number):
    assert wide.recorder.exchanges == ()


def test_plain():
    pass
"""

CRASH = """
def test_crashes(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    urlopen("https://api.example.com/").close()
    os._exit(3)
"""

FORKING = """
import json
import os
import pytest
from _pytest.runner import runtestprotocol


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    '''Each test in a child, its reports through a pipe: what pytest-forked does.'''
    hook, config = item.config.hook, item.config
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        reports = runtestprotocol(item, log=False)
        with open(writer, "w") as pipe:
            json.dump([hook.pytest_report_to_serializable(config=config, report=report) for report in reports], pipe)
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        reports = json.load(pipe)
    os.waitpid(child, 0)
    for data in reports:
        report = hook.pytest_report_from_serializable(config=config, data=data)
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""

ROW = re.compile(r"^api\.example\.com +X-Api-Key +api +api\.example\.com +(\d+) +0 +(\d+)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a configuration and a suite of 21 requests with a credential, in six tests."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (pytester.path / "gatekeeper.yaml").write_text(CONFIG, encoding="utf-8")
    pytester.makeini("[pytest]\ngatekeeper_config = gatekeeper.yaml\n")
    pytester.makepyfile(test_suite=SUITE)


def run(pytester: pytest.Pytester, *arguments: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    """A run in a process of its own, and its report."""
    plain = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:timeout")
    done = pytester.runpytest_subprocess(*plain, "--gatekeeper-report", "out.json", *arguments, timeout=100)
    report = json.loads((pytester.path / "out.json").read_text(encoding="utf-8"))
    assert isinstance(report, dict)
    assert done.stdout.str().count("gatekeeper scope") == 1
    assert done.stdout.str().count("gatekeeper report: ") == 1
    return done, report


def counted(done: pytest.RunResult) -> tuple[int, int]:
    """Requests and tests in the table's row."""
    ((requests, tests),) = ROW.findall(done.stdout.str())
    return int(requests), int(tests)


@pytest.mark.parametrize(
    "arguments",
    [("-n", "2"), ("-n", "2", "--dist", "loadscope"), ("-n", "0"), ("-p", "no:xdist"), ("-p", "no:anyio")],
    ids=" ".join,
)
def test_the_counts_are_right(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """However many processes there are: one table and one report, which agree; the violation fails its test alone."""
    done, report = run(pytester, *arguments)
    done.assert_outcomes(passed=10, errors=1)
    assert counted(done) == (21, 6)
    assert report["complete"] is True
    assert {test["id"].partition("::")[2]: test["injected"] for test in report["tests"]} == {
        **{f"test_it[{number}]": number + 1 for number in range(6)}, "test_violates": 0,
    }  # fmt: skip
    assert {test["outcome"] for test in report["tests"]} == {"passed", "error"}
    summary = report["summary"]
    assert (summary["exchanges"], summary["injected"], summary["violations"]) == (22, 21, 1)
    (used, idle) = report["rules"]
    assert (used["requests"], len(used["tests"]), idle["used"]) == (21, 6, False)
    secrets = {done["secret"] for exchange in report["exchanges"] for done in exchange["injections"]}
    assert len(secrets) == 1  # one fingerprint in all processes
    assert "s3cret-of-this-suite" not in done.stdout.str() + json.dumps(report)


def test_a_crashed_worker_costs_its_running_test_only(pytester: pytest.Pytester) -> None:
    """What it had done before is there; the table and the report name what is missing."""
    pytester.makepyfile(test_suite=SUITE.replace("def test_violates", "def _violates") + CRASH)
    done, report = run(pytester, "-n", "2")
    done.assert_outcomes(passed=9, failed=1)
    assert counted(done) == (21, 6)
    lines = [line for line in done.stdout.lines if line.startswith("incomplete: ")]
    assert [re.sub(r"gw\d", "gw", line) for line in lines] == [
        "incomplete: gw crashed, and what test_suite.py::test_crashes did is not in here"
    ]
    assert report["complete"] is False
    assert [one["test"] for one in report["lost"]] == ["test_suite.py::test_crashes"]
    assert report["summary"]["injected"] == 21


def test_without_a_crash_it_is_complete(pytester: pytest.Pytester) -> None:
    """The same suite, where that test ends in order."""
    pytester.makepyfile(
        test_suite=SUITE.replace("def test_violates", "def _violates") + CRASH.replace("os._exit", "int")
    )
    done, report = run(pytester, "-n", "2")
    done.assert_outcomes(passed=10)
    assert counted(done) == (22, 7)
    assert (report["complete"], report["lost"]) == (True, [])
    assert "incomplete" not in done.stdout.str()


def test_a_crash_keeps_unused_rules_from_failing_the_run(pytester: pytest.Pytester) -> None:
    """Who knows what that test would have used: the run fails for the crash, and the table still says what it saw."""
    pytester.makepyfile(test_suite=SUITE.replace("def test_violates", "def _violates") + CRASH)
    done, _ = run(pytester, "-n", "2", "--gatekeeper-fail-on", "unused")
    done.assert_outcomes(passed=9, failed=1)
    assert "never used" in done.stdout.str()
    assert "unused: " not in done.stdout.str()


def test_forked_children(pytester: pytest.Pytester) -> None:
    """What each did in a process of its own comes back with its reports."""
    pytester.makeconftest(FORKING)
    pytester.makepyfile(test_suite=SUITE.replace("def test_violates", "def _violates"))
    done, report = run(pytester, "-p", "no:xdist")
    done.assert_outcomes(passed=9)
    assert counted(done) == (21, 6)
    assert [test["outcome"] for test in report["tests"]] == ["passed"] * 6


def test_junit_properties_cross(pytester: pytest.Pytester) -> None:
    """They are on the report that the controller gets."""
    run(pytester, "-n", "2", "--junit-xml", "out.xml")
    text = (pytester.path / "out.xml").read_text(encoding="utf-8")
    assert sorted(re.findall(r'name="gatekeeper.injected" value="(\d)"', text)) == ["0", *"123456"]
