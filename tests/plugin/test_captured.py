"""The section *Captured gatekeeper*: one line for each exchange of a test that failed, and never a value."""

from __future__ import annotations

import re
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper import Recorder
from pytest_gatekeeper._core.records import Tunnel
from pytest_gatekeeper._plugin.options import Options
from pytest_gatekeeper._plugin.report import add_section
from pytest_gatekeeper._plugin.session import Run

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

VALUES = ("s3cret-of-the-file", "s3cret-of-the-test", "s3cret-of-the-marker")
CONFIG = """
credentials:
  - {host: file.example.com, header: X-Api-Key, grant: file, source: {type: static, value: s3cret-of-the-file}}
"""
HEAD = """
from urllib.error import HTTPError
from urllib.request import Request, urlopen
import pytest

def ask(url, **headers):
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:
            return answer.read()
    except OSError as error:
        return error
"""

WIDE = (
    HEAD
    + """
import requests

@pytest.fixture(scope="module")
def wide(gatekeeper_proxy_factory):
    return gatekeeper_proxy_factory()

"""
)

PHASES = (
    HEAD
    + """
@pytest.fixture
def in_setup(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("*.example.com")
    ask("https://file.example.com/in-setup?q=1")
    raise RuntimeError("meant, in setup")

@pytest.fixture
def in_teardown(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("*.example.com")
    yield
    ask("https://file.example.com/in-teardown")
    raise RuntimeError("meant, in teardown")

def test_setup(in_setup):
    pass

@pytest.mark.gatekeeper(policy="strict", allow=["file.example.com", "none.example.com"])
def test_call(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("file.example.com")
    ask("https://file.example.com/in-call")
    ask("https://none.example.com/no-route")
    ask("https://denied.example.com/never")
    raise RuntimeError("meant, in call")

def test_teardown(in_teardown):
    ask("https://none.example.com/before")

def test_nothing_sent(gatekeeper_proxy):
    raise RuntimeError("meant, silent")

def test_passes(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("file.example.com")
    ask("https://file.example.com/passes")

def test_without_us():
    raise RuntimeError("meant, without us")

@pytest.mark.xfail(reason="meant")
def test_expected(gatekeeper_proxy):
    raise RuntimeError("meant, expected")
"""
)


def sections(told: str) -> list[list[str]]:
    """The lines of each section, in order; what the stub echoed is left out."""
    found = re.findall(r"^-+ Captured gatekeeper -+\n((?:(?![-=_]{10}).*\n)+)", told, re.MULTILINE)
    return [[line for line in section.splitlines() if not line.startswith(" leak: ")] for section in found]


def test_a_line_for_each_exchange(suite: Suite) -> None:
    """In setup, call and teardown: method, URL, status, and what was injected by which rule, or why not."""
    suite.write({"gatekeeper.yaml": CONFIG, "test_it.py": PHASES})
    done = suite.quick("--gatekeeper-config=gatekeeper.yaml", "--tb=short")
    done.assert_outcomes(passed=2, failed=3, errors=2, xfailed=1)
    setup, teardown, call, silent = sections(done.stdout.str())
    (line,) = setup
    injected = r"200 +X-Api-Key by credentials\[0\] \(file\)"
    assert re.fullmatch(rf" *\d+ +GET +https://file\.example\.com/in-setup\?q=1 +{injected}", line)
    assert [line[4:].split()[:3] for line in call] == [
        ["GET", "https://file.example.com/in-call", "200"],
        ["GET", "https://none.example.com/no-route", "502"],
        ["CONNECT", "denied.example.com:443", "407"],
    ]
    assert re.search(injected, call[0])
    assert "502  no credential: no rule for none.example.com; nearest is file.example.com" in re.sub(
        " {3,}", "  ", call[1]
    )
    assert "denied by policy" in call[2]
    assert [line.split()[2] for line in teardown] == [
        "https://none.example.com/before", "https://file.example.com/in-teardown",
    ]  # fmt: skip
    assert silent == ["no request reached the proxy: does the client read HTTPS_PROXY?"]


def test_a_section_is_bounded(suite: Suite) -> None:
    """A test with very many exchanges shows as many as can be read, and how many there were."""
    suite.write(
        {
            "test_it.py": HEAD
            + """
from http.client import HTTPConnection
def test_it(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("file.example.com")
    kept = HTTPConnection(gatekeeper_proxy.host, gatekeeper_proxy.port)
    for number in range(130):
        kept.request("GET", f"http://file.example.com/{number}")
        kept.getresponse().read()
    kept.close()
    raise RuntimeError
"""
        }
    )
    (lines,) = sections(suite.quick().stdout.str())
    assert 50 <= len(lines) <= 55
    assert lines[0] == " … 80 before"
    assert "/129 " in lines[-1]


def test_proxies_of_a_wider_scope_are_told(suite: Suite) -> None:
    """A factory's proxy belongs to several tests: each shows its own exchanges, after how many of earlier ones."""
    suite.write(
        {
            "test_it.py": WIDE
            + """
def through(proxy, path):
    requests.get("http://wide.example.com" + path, proxies={"http": proxy.url}, timeout=30)

def test_first(wide):
    through(wide, "/first")
    raise RuntimeError

def test_second(wide):
    through(wide, "/second")
    raise RuntimeError
"""
        }
    )
    first, second = sections(suite.quick().stdout.str())
    assert len(first) == 1
    assert "/first" in first[0]
    assert second[0] == "after 1 record of earlier tests:"
    assert "/second" in second[1]
    assert "/first" not in "".join(second)


def test_silence_of_wider_proxies_is_told_with_its_cause(suite: Suite) -> None:
    """The factory leaves the environment alone, so HTTPS_PROXY is not what to look at."""
    suite.write(
        {
            "test_it.py": "def test_it(gatekeeper_proxy_factory):\n    gatekeeper_proxy_factory()\n"
            "    raise RuntimeError\n\n"
            "def test_both(gatekeeper_proxy):\n    raise RuntimeError\n"
        }
    )
    wide, both = sections(suite.quick().stdout.str())
    assert wide == [
        "no request reached the proxy: gatekeeper_proxy_factory leaves the environment alone; hand the client proxy.env"
        " or proxy.kwargs(…)"
    ]
    assert both == ["no request reached the proxy: does the client read HTTPS_PROXY?"]


def test_a_tunnel_that_tells_no_more_than_its_exchange_is_not_counted(suite: Suite) -> None:
    """The records of earlier tests are counted as they would be shown."""
    suite.write(
        {
            "test_it.py": WIDE
            + """
@pytest.mark.parametrize("number", [1, 2])
def test_it(wide, number):
    requests.get(f"https://wide.example.com/{number}", **wide.kwargs("requests"), timeout=30)
    raise RuntimeError
"""
        }
    )
    first, second = sections(suite.quick().stdout.str())
    assert [len(first), len(second)] == [1, 2]
    assert second[0] == "after 1 record of earlier tests:"
    assert "/2 " in second[1]


# ------------------------------------------------------------------ secrets

HIDING = (
    HEAD
    + """
@pytest.fixture
def broken(gatekeeper_proxy, gatekeeper_origin):
    yield
    ask("https://test.example.com/teardown")
    raise RuntimeError("meant, in teardown")

@pytest.mark.gatekeeper(
    credentials=[{"host": "marker.example.com", "source": {"type": "env", "var": "MARKER_TOKEN"}}], fail_on=[]
)
def test_it(gatekeeper_proxy, gatekeeper_origin, broken):
    import os
    proxy, recorder, origin = gatekeeper_proxy, gatekeeper_proxy.recorder, gatekeeper_origin
    origin.serve("*.example.com")
    rule = proxy.add_credential("test.example.com", os.environ["TEST_TOKEN"], grant="test")
    ask("https://test.example.com/?token=" + os.environ["TEST_TOKEN"], **{"X-Echo": os.environ["MARKER_TOKEN"]})
    ask("https://marker.example.com/", Authorization="Bearer " + os.environ["MARKER_TOKEN"])
    ask("https://nowhere.invalid/" + os.environ["MARKER_TOKEN"])
    exchanges, rules, received, leaks = recorder.exchanges, recorder.rules, origin.received, recorder.leaks
    secrets = [injection.secret for exchange in exchanges for injection in exchange.injections]
    assert len(secrets) == 2
    assert {"one", "two", "three"} == {"one"}, (proxy, recorder, exchanges, rules, secrets, received, leaks)
"""
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-l", "-vv", "--tb=long"),
        ("--showlocals", "--tb=short", "--capture=no", "-rA"),
        ("--full-trace", "--showlocals", "-o", "log_cli=true", "--log-level=DEBUG"),
        ("--tb=native", "--junitxml=junit.xml", "-o", "junit_logging=all", "-o", "junit_family=xunit1"),
    ],
    ids=["locals", "no capture", "full trace", "junit"],
)
def test_no_value_is_shown(suite: Suite, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    """Whatever pytest is asked to show of the proxy, its rules, records and secrets, and of the stub's requests."""
    monkeypatch.setenv("TEST_TOKEN", VALUES[1])
    monkeypatch.setenv("MARKER_TOKEN", VALUES[2])
    suite.write({"gatekeeper.yaml": CONFIG, "test_it.py": HIDING})
    done = suite.quick("--gatekeeper-config=gatekeeper.yaml", *arguments)
    done.assert_outcomes(failed=1, errors=1)
    told = done.stdout.str() + done.stderr.str()
    junit = suite.path / "junit.xml"
    if "--tb=native" in arguments:
        told += junit.read_text(encoding="utf-8")
    assert told.count("Captured gatekeeper") >= 2
    assert "Authorization by added[0] (test)" in told
    assert "meant, in teardown" in told
    assert [value for value in VALUES if value in told] == []


def test_the_section_waits_for_what_an_open_tunnel_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sees its handshake fail before the proxy does; the section has what the tunnel ended by."""
    monkeypatch.setattr("pytest_gatekeeper.recorder._PATIENCE", 60.0)
    tunnel = Tunnel(1, "api.example.com", 443)
    tunnel.status = 200
    recorder = Recorder()
    recorder.accept(tunnel)
    run = Run(Options())
    run.follow(recorder, "gatekeeper_proxy", ())

    def end() -> None:
        tunnel.error, tunnel.closed = "the client does not trust the proxy's CA", "error"
        recorder.accept(tunnel)

    soon = threading.Timer(0.2, end)  # without a wait the section would be there first
    soon.start()
    report = SimpleNamespace(failed=True, sections=[])
    add_section(run, report)  # type: ignore[arg-type]
    soon.join()
    ((_, text),) = report.sections
    assert "failed: the client does not trust the proxy's CA" in text
