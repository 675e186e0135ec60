"""What was found fails the test that caused it, at its teardown; rules that no test used fail the run."""

from __future__ import annotations

import re

import pytest

VALUE = "s3cret-of-this-suite"

CONFTEST = f"""
import pytest
from pytest_gatekeeper._core.model import Injection
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak
from pytest_gatekeeper._core.secret import Secret

SECRET = Secret({VALUE!r})


def happen(recorder, kind):
    '''One finding, made by hand.'''
    exchange = Exchange(1, "GET", "https", "other.example.com", 443, "/")
    exchange.status, exchange.closed = 200, "client"
    if kind == "cleartext":
        exchange.injections = (Injection("X-Api-Key", "api", "credentials[0]", SECRET, SECRET),)
        exchange.cleartext, exchange.upstream = True, "192.0.2.7:80"
    recorder.accept(exchange)
    if kind in ("leak", "echo", "held"):
        direction = "client" if kind == "echo" else "upstream"
        recorder.accept(
            Leak(SECRET, "credentials[0]", "api", direction, "header X-Debug", 7, exchange, client_held=kind == "held")
        )
    if kind == "bypass":
        recorder.accept(Bypass("192.0.2.7", 443, "http.client", "use urllib.request"))


@pytest.fixture
def recorder(gatekeeper_recorder):
    return gatekeeper_recorder


@pytest.fixture(scope="session")
def wide(gatekeeper_proxy_factory):
    return gatekeeper_proxy_factory().recorder


@pytest.fixture(scope="session")
def lenient(gatekeeper_proxy_factory):
    return gatekeeper_proxy_factory(fail_on=[]).recorder
"""

VIOLATION = """
from urllib.error import HTTPError
from urllib.request import Request, urlopen

def test_it(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    gatekeeper_proxy.add_credential("api.example.com", "s3cret-of-this-suite", grant="api")
    urlopen(Request("https://api.example.com/", headers={"Host": "%s"})).close()

def test_next(gatekeeper_proxy):
    assert gatekeeper_proxy.recorder.violations == ()
"""

RULES = """
credentials:
  - {host: used.example.com, header: X-Api-Key, grant: used, source: {type: static, value: s3cret-of-this-suite}}
  - {host: idle.example.com, grant: idle, source: {type: static, value: another-of-this-suite}}
"""

USING = """
from urllib.request import urlopen

def test_using(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("used.example.com", "idle.example.com")
    urlopen("https://used.example.com/").close()

def test_other():
    pass
"""

IDLE_TOO = """
def test_idle_too(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("idle.example.com")
    urlopen("https://idle.example.com/").close()
"""

UNUSED = (
    "unused: the run fails, since 1 rule was never used: credentials[1] (idle.example.com, Authorization, grant idle)"
)


@pytest.fixture(autouse=True)
def _suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with findings on demand, and a terminal that is wide enough for each line."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(CONFTEST)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """A run within this process, with our plugin and no other but xdist: what else is installed costs time."""
    plugins = ["pytest_gatekeeper.plugin", "xdist", "no:cacheprovider"]
    return pytester.runpytest_inprocess(*(f"-p{name}" for name in plugins), *arguments)


def one_test(kind: str, marker: str = "") -> str:
    """A suite of one test in which one thing happens."""
    opening = f"import pytest\nfrom conftest import happen\n{marker}\n"
    return f"{opening}def test_it(recorder):\n    happen(recorder, {kind!r})\n"


# ------------------------------------------------------------------ per test


@pytest.mark.parametrize("body", ["", "    assert False\n"], ids=["that passes", "that fails as expected"])
@pytest.mark.parametrize("kind", ["leak", "echo"])
def test_xfail_hides_no_finding(pytester: pytest.Pytester, kind: str, body: str) -> None:
    """The mark is about the test's own failure: a leak is an error all the same; what is none changes nothing."""
    pytester.makepyfile(one_test(kind, "@pytest.mark.xfail") + body)
    done = run(pytester)
    expected = {"xpassed": 1} if not body else {"xfailed": 1}
    done.assert_outcomes(**expected, errors=int(kind == "leak"))
    assert done.ret == (pytest.ExitCode.TESTS_FAILED if kind == "leak" else pytest.ExitCode.OK)
    assert ("gatekeeper: 1 leak in this test" in done.stdout.str()) is (kind == "leak")


def test_a_violation_fails_its_test(pytester: pytest.Pytester) -> None:
    """By default, as an error at teardown with the whole text; the next test is clean, and no value is shown."""
    pytester.makepyfile(VIOLATION % "evil.example.com")
    done = run(pytester)
    done.assert_outcomes(passed=2, errors=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_it*",
            "gatekeeper: 1 violation in this test",
            "  violation: inner-host: the Host header names evil.example.com, the tunnel leads to api.example.com;*",
            "A violation: *",
            'Where a test means to do this: @pytest.mark.gatekeeper(fail_on=[[]"leak"]) on it; for a whole run: *',
            "*Captured gatekeeper*",
        ]
    )
    assert VALUE not in done.stdout.str()


def test_without_a_violation_it_passes(pytester: pytest.Pytester) -> None:
    """The same test with the right Host."""
    pytester.makepyfile(VIOLATION % "api.example.com")
    run(pytester).assert_outcomes(passed=2)


def test_a_leak_fails_its_test(pytester: pytest.Pytester) -> None:
    """By default; the text names fingerprint, rule, grant, place and URL, and no value."""
    pytester.makepyfile(one_test("leak"))
    done = run(pytester)
    done.assert_outcomes(passed=1, errors=1)
    told = done.stdout.str()
    assert re.search(
        r"  leak: <secret [0-9a-f]{8}> of credentials\[0\] \(api\) in header X-Debug of GET https://other", told
    )
    assert VALUE not in told


@pytest.mark.parametrize("kind", ["echo", "held", "bypass", "cleartext", "nothing"])
def test_what_fails_no_test_by_default(pytester: pytest.Pytester, kind: str) -> None:
    """An upstream that echoes, a secret that the client itself holds, a bypass, cleartext."""
    pytester.makepyfile(one_test(kind))
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.parametrize("way", ["command line", "ini", "-o", "marker", "marker text"])
@pytest.mark.parametrize("kind", ["bypass", "cleartext"])
def test_all_ways_of_asking_agree(pytester: pytest.Pytester, kind: str, way: str) -> None:
    """Option, ini key and marker do the same."""
    marker = {"marker": f"[{kind!r}, 'violation']", "marker text": f"'violation, {kind}'"}.get(way)
    pytester.makepyfile(one_test(kind, f"@pytest.mark.gatekeeper(fail_on={marker})" if marker else ""))
    if way == "ini":
        pytester.makeini(f"[pytest]\ngatekeeper_fail_on =\n    violation,\n    {kind}\n")
    arguments = {
        "command line": [f"--gatekeeper-fail-on=violation, {kind}"],
        "-o": ["-o", f"gatekeeper_fail_on={kind}"],
    }
    done = run(pytester, *arguments.get(way, []))
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines([f"gatekeeper: 1 {kind}* in this test"])


@pytest.mark.parametrize("way", ["command line", "ini", "marker", "empty marker"])
def test_none_switches_all_off(pytester: pytest.Pytester, way: str) -> None:
    """`none`, and a marker's empty list."""
    marker = {"marker": "['none']", "empty marker": "[]"}.get(way)
    pytester.makepyfile(one_test("leak", f"@pytest.mark.gatekeeper(fail_on={marker})" if marker else ""))
    if way == "ini":
        pytester.makeini("[pytest]\ngatekeeper_fail_on = none\n")
    run(pytester, *(["--gatekeeper-fail-on", "none"] if way == "command line" else [])).assert_outcomes(passed=1)


@pytest.mark.parametrize(("asked", "said", "errors"), [("none", "['leak']", 1), ("leak", "[]", 0)])
def test_the_marker_beats_the_command_line(pytester: pytest.Pytester, asked: str, said: str, errors: int) -> None:
    """Either way; and the command line beats the ini file."""
    pytester.makeini("[pytest]\ngatekeeper_fail_on = bypass\n")
    pytester.makepyfile(
        one_test("leak", f"@pytest.mark.gatekeeper(fail_on={said})")
        + "def test_unmarked(recorder):\n    happen(recorder, 'bypass')\n"
    )
    run(pytester, "--gatekeeper-fail-on", asked).assert_outcomes(passed=2, errors=errors)


def test_the_way_out_that_is_told_works(pytester: pytest.Pytester) -> None:
    """The marker that the text proposes makes the test pass, and only for what was found."""
    pytester.makepyfile(one_test("leak"))
    (marker,) = set(re.findall(r"@pytest\.mark\.gatekeeper\(.*?\)", run(pytester).stdout.str()))  # CI shows it twice
    pytester.makepyfile(one_test("leak", marker))
    run(pytester).assert_outcomes(passed=1)
    pytester.makepyfile(VIOLATION.replace("def test_it", f"import pytest\n{marker}\ndef test_it") % "evil.example.com")
    run(pytester).assert_outcomes(passed=2, errors=1)


@pytest.mark.parametrize(
    ("ini", "arguments", "named"),
    [
        ("", ["--gatekeeper-fail-on", "leak,typo"], "--gatekeeper-fail-on on the command line: 'leak,typo' must be"),
        ("", ["--gatekeeper-fail-on", ""], "--gatekeeper-fail-on on the command line: '' must be a list of leak"),
        ("gatekeeper_fail_on = typo", [], "tox.ini: ['typo'] must be a list of leak, unused, bypass, cleartext,"),
        ("gatekeeper_fail_on =", [], "tox.ini: [] must be a list of"),
        ("", ["-o", "gatekeeper_fail_on=typo"], "gatekeeper_fail_on on the command line (-o): ['typo'] must be"),
    ],
)
def test_a_bad_value_ends_the_run_at_once(
    pytester: pytest.Pytester, ini: str, arguments: list[str], named: str
) -> None:
    """Before anything is collected, naming key, value and file."""
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile("raise SystemExit('collected')")
    done = run(pytester, *arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert named in done.stderr.str()
    assert "collected" not in done.stdout.str()


@pytest.mark.parametrize(("value", "error"), [("['typo']", "ValueError"), ("7", "TypeError"), ("[7]", "TypeError")])
def test_a_bad_marker_fails_its_test(pytester: pytest.Pytester, value: str, error: str) -> None:
    """Also where the test uses no proxy."""
    pytester.makepyfile(f"import pytest\n@pytest.mark.gatekeeper(fail_on={value})\ndef test_it(): pass\n")
    done = run(pytester)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([f"*{error}: the gatekeeper marker: fail_on=*must be a list of*"])


def test_another_error_at_teardown_is_not_hidden(pytester: pytest.Pytester) -> None:
    """It is told as it is, and the leak stands beside it in the section."""
    pytester.makepyfile(
        """
        import pytest
        from conftest import happen

        @pytest.fixture
        def breaking():
            yield
            raise RuntimeError("of the fixture itself")

        def test_it(breaking, recorder):
            happen(recorder, "leak")
        """
    )
    done = run(pytester)
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*RuntimeError: of the fixture itself", "*Captured gatekeeper*", " leak: <secret *"])


# ------------------------------------------------------------------ proxies of the factory

WIDE = """
import pytest
from conftest import happen

def test_before(wide, lenient):
    assert wide.exchanges == lenient.exchanges == ()

{marker}
def test_it(wide, lenient):
    happen({recorder}, "leak")

def test_after(wide):
    assert len(wide.leaks) <= 1
"""


@pytest.mark.parametrize(
    ("recorder", "marker", "errors"),
    [
        ("wide", "", 1),
        ("wide", "@pytest.mark.gatekeeper(fail_on=[])", 0),
        ("lenient", "", 0),
        ("lenient", "@pytest.mark.gatekeeper(fail_on='leak')", 1),
    ],
)
def test_a_wide_proxy_fails_the_test_in_which_it_happened(
    pytester: pytest.Pytester, recorder: str, marker: str, errors: int
) -> None:
    """That one alone; what its marker says beats what the factory was called with."""
    pytester.makepyfile(WIDE.format(recorder=recorder, marker=marker))
    done = run(pytester)
    done.assert_outcomes(passed=3, errors=errors)
    assert ("ERROR at teardown of test_it " in done.stdout.str()) is bool(errors)
    done.stdout.fnmatch_lines(["leaks 1, *", "leak: <secret *test_it[]]"])


# ------------------------------------------------------------------ unused rules


@pytest.fixture
def unused(pytester: pytest.Pytester) -> list[str]:
    """A suite that uses one of two rules, and the arguments that let it fail."""
    (pytester.path / "gatekeeper.yaml").write_text(RULES, encoding="utf-8")
    pytester.makepyfile(test_unused=USING)
    return ["--gatekeeper-config", "gatekeeper.yaml", "--gatekeeper-fail-on", "unused"]


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_unused_rules_fail_a_run_that_passed(pytester: pytest.Pytester, unused: list[str], workers: list[str]) -> None:
    """With status 1 and a line that names them; the tests themselves pass."""
    done = run(pytester, *unused, *workers)
    done.assert_outcomes(passed=2)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert f"\n{UNUSED}; let a test use " in done.stdout.str()


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_a_rule_that_any_test_uses_is_used(pytester: pytest.Pytester, unused: list[str], workers: list[str]) -> None:
    """Also when each is used in another worker."""
    pytester.makepyfile(test_unused=USING + IDLE_TOO)
    done = run(pytester, *unused, *workers)
    assert done.ret == pytest.ExitCode.OK
    assert "unused:" not in done.stdout.str()


def test_unused_rules_fail_nothing_by_default(pytester: pytest.Pytester, unused: list[str]) -> None:
    """The table says it, and that is all."""
    done = run(pytester, *unused[:2])
    assert done.ret == pytest.ExitCode.OK
    assert "never used" in done.stdout.str()
    assert "unused:" not in done.stdout.str()


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        (["-k", "using"], "tests were deselected (1)"),
        (["-k", "using", "-n", "2"], "tests were deselected (1)"),
        (["--deselect", "test_unused.py::test_other"], "tests were deselected (1)"),
        (["test_unused.py::test_using"], "single tests were asked for"),
    ],
)
def test_a_part_of_a_suite_does_not_fail(
    pytester: pytest.Pytester, unused: list[str], selection: list[str], why: str
) -> None:
    """It is said that rules were not used, and why that does not count."""
    done = run(pytester, *unused, *selection)
    assert done.ret == pytest.ExitCode.OK
    assert f"; that fails no run in which {why}" in done.stdout.str()


def test_a_file_is_a_suite(pytester: pytest.Pytester, unused: list[str]) -> None:
    """To name a file or a folder selects nothing within it."""
    assert run(pytester, *unused, "test_unused.py").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("files", "arguments", "status"),
    [
        ({"test_broken": "def test_broken():\n    assert 0\n"}, [], pytest.ExitCode.TESTS_FAILED),
        ({"test_broken": "raise ValueError\n"}, [], pytest.ExitCode.INTERRUPTED),
        ({"test_unused": USING}, ["--collect-only"], pytest.ExitCode.OK),
        ({"test_unused": "def test_other():\n    pass\n"}, [], pytest.ExitCode.OK),
    ],
    ids=["a test failed", "collection failed", "collected only", "no test held a proxy"],
)
def test_unused_rules_are_judged_after_a_whole_good_run_only(
    pytester: pytest.Pytester, unused: list[str], files: dict[str, str], arguments: list[str], status: int
) -> None:
    """Else the status is what it would have been, and nothing is said."""
    pytester.makepyfile(**files)
    done = run(pytester, *unused, *arguments)
    assert done.ret == status
    assert "unused:" not in done.stdout.str()


def test_a_marker_takes_its_rules_out(pytester: pytest.Pytester, unused: list[str]) -> None:
    """Rules count that were in force in a test whose own words have `unused`."""
    pytester.makepyfile(test_unused=f"import pytest\npytestmark = pytest.mark.gatekeeper(fail_on=[])\n{USING}")
    assert run(pytester, *unused).ret == pytest.ExitCode.OK
    pytester.makepyfile(test_unused=f"import pytest\npytestmark = pytest.mark.gatekeeper(fail_on=['unused'])\n{USING}")
    assert run(pytester, *unused[:2]).ret == pytest.ExitCode.TESTS_FAILED
