"""Reports as files: what is asked for is written, whole, once, and without a secret."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

VALUES = ("s3cret-of-the-api", "s3cret-of-a-test", "s3cret-of-the-path")

CONFIG = """
credentials:
  - {host: api.example.com, header: X-Api-Key, grant: api, source: {type: static, value: s3cret-of-the-api}}
  - {host: idle.example.com, grant: idle, source: {type: static, value: s3cret-of-nobody}}
"""

SUITE = """
import pytest
from urllib.request import Request, urlopen

from pytest_gatekeeper._core.records import Leak

API, TEST, PATH = ("s3cret-of-" + rest for rest in ("the-api", "a-test", "the-path"))  # no line shows one of them


def test_two(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com", "cdn.example.com")
    urlopen("https://api.example.com/v1?page=2").close()
    urlopen(Request("https://cdn.example.com/logo.svg", headers={"Cookie": "of-nobody-we-know"})).close()


@pytest.mark.parametrize("value", [TEST])
def test_leaks(gatekeeper_proxy, gatekeeper_origin, value):
    gatekeeper_origin.serve("api.example.com", "cdn.example.com")
    rule = gatekeeper_proxy.add_credential("added.example.com", value, grant="added")
    urlopen("https://cdn.example.com/" + PATH).close()
    gatekeeper_proxy.add_credential("later.example.com", PATH, grant="later")
    (exchange,) = gatekeeper_proxy.recorder.exchanges
    gatekeeper_proxy.recorder.accept(Leak(rule.secret, rule.id, rule.grant, "upstream", "header X", 7, exchange))


def test_fails(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    urlopen("https://api.example.com/").close()
    gatekeeper_proxy.recorder.assert_injected("cdn.example.com", value=API)


@pytest.mark.skip
def test_skipped(gatekeeper_proxy):
    pass


@pytest.mark.xfail
def test_xfails(gatekeeper_proxy):
    assert 0


def test_plain():
    pass
"""


@pytest.fixture(autouse=True)
def _suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a configuration and a suite in which everything happens."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (pytester.path / "gatekeeper.yaml").write_text(CONFIG, encoding="utf-8")
    pytester.makeini("[pytest]\ngatekeeper_config = gatekeeper.yaml\n")
    pytester.makepyfile(test_suite=SUITE)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """A run within this process, with our plugin and no other: what else is installed costs time."""
    plugins = ["-ppytest_gatekeeper.plugin", "-pno:cacheprovider"]
    return pytester.runpytest_inprocess(*plugins, *arguments, no_reraise_ctrlc=True)


def read(path: Path) -> dict[str, Any]:
    """A report."""
    made = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(made, dict)
    return made


# ------------------------------------------------------------------ what is in it


def test_json(pytester: pytest.Pytester) -> None:
    """Rules, tests with outcomes, exchanges, leaks; nothing of tests without a proxy."""
    done = run(pytester, "--gatekeeper-report", "out.json")
    done.assert_outcomes(passed=3, failed=1, errors=1, skipped=1, xfailed=1)
    made = read(pytester.path / "out.json")
    assert (made["schema"], made["version"], made["config"]) == ("pytest-gatekeeper/report", 1, "gatekeeper.yaml")
    assert (made["fail_on"], made["exit_status"], made["complete"]) == (["leak", "violation"], 1, True)
    assert [(rule["id"], rule["grant"], rule["requests"], len(rule["tests"])) for rule in made["rules"]] == [
        ("credentials[0]", "api", 2, 2), ("credentials[1]", "idle", 0, 0), ("added[0]", "added", 0, 0),
        ("added[1]", "later", 0, 0),
    ]  # fmt: skip
    tests = {test["id"].partition("::")[2].partition("[")[0]: test for test in made["tests"]}
    shown = {name: [test[key] for key in ("outcome", "exchanges", "injected", "leaks")] for name, test in tests.items()}
    assert shown == {
        "test_two": ["passed", 2, 1, 0], "test_leaks": ["error", 1, 0, 1], "test_fails": ["failed", 1, 1, 0],
        "test_xfails": ["xfailed", 0, 0, 0],
    }  # fmt: skip
    assert {fact["test"] for fact in made["exchanges"]} < {test["id"] for test in made["tests"]}
    two = [fact for fact in made["exchanges"] if fact["test"] == tests["test_two"]["id"]]
    assert [(fact["id"], fact["url"], fact["status"], bool(fact["injections"])) for fact in two] == [
        (1, "https://api.example.com/v1?page=2", 200, True), (2, "https://cdn.example.com/logo.svg", 200, False),
    ]  # fmt: skip
    assert ["Cookie", "<hidden>"] in two[1]["request_headers"]
    (leak,) = [leak for leak in made["leaks"] if leak["direction"] == "upstream"]
    assert (leak["test"], leak["exchange"], leak["place"]) == (tests["test_leaks"]["id"], 1, "header X")


def test_no_value_is_in_any_output(pytester: pytest.Pytester) -> None:
    """Not on the terminal, nor in JSON, HTML or JUnit's XML; but for what pytest itself prints of a test's name."""
    done = run(
        pytester, "--gatekeeper-report", "out.json", "--gatekeeper-report", "out.html", "--junit-xml", "out.xml", "-rA"
    )
    assert (pytester.path / "out.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    outputs = [(pytester.path / name).read_text(encoding="utf-8") for name in ("out.json", "out.html", "out.xml")]
    assert [(value, text) for text in outputs[:2] for value in VALUES if value in text] == []
    for text in (outputs[2], done.stdout.str(), done.stderr.str()):
        rest = text.replace("[s3cret-of-a-test]", "")
        assert [line for line in rest.splitlines() if any(value in line for value in VALUES)] == []
    assert "<hidden>" in outputs[0] and "of-nobody-we-know" not in "".join(outputs)


def test_html(pytester: pytest.Pytester) -> None:
    """The same run as a page: rules, the leak, the exchanges."""
    run(pytester, "--gatekeeper-report", "out.HTML")
    page = (pytester.path / "out.HTML").read_text(encoding="utf-8")
    for told in ("Found: 1 leak.", "never used", "https://cdn.example.com/logo.svg", "X-Api-Key · api", "xfailed"):
        assert told in page


def test_an_interrupted_run_is_reported(pytester: pytest.Pytester) -> None:
    """What happened until then is there, and that test is called unfinished."""
    pytester.makepyfile(
        test_suite=SUITE.replace("    gatekeeper_proxy.recorder.assert", "    raise KeyboardInterrupt #")
    )
    done = run(pytester, "--gatekeeper-report", "out.json", "-k", "test_two or test_fails")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    tests = read(pytester.path / "out.json")["tests"]
    assert [(test["outcome"], test["exchanges"]) for test in tests] == [("unfinished", 1), ("passed", 2)]


# ------------------------------------------------------------------ where it is


def test_ini_paths_are_relative_to_the_ini_file(pytester: pytest.Pytester) -> None:
    """One a line; folders are made; the terminal says where."""
    pytester.makeini("[pytest]\ngatekeeper_report =\n    deep/er/a.json\n    b.html\n    b.html\n")
    folder = pytester.mkdir("sub")
    (folder / "test_sub.py").write_text("def test_it(): pass\n", encoding="utf-8")
    done = pytester.run(
        sys.executable,
        "-m",
        "pytest",
        "-ppytest_gatekeeper.plugin",
        "-c",
        "tox.ini",
        f"--rootdir={folder}",
        str(folder),
    )
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines([f"gatekeeper report: {pytester.path}/deep/er/a.json", "gatekeeper report: */b.html"])
    assert read(pytester.path / "deep" / "er" / "a.json")["tests"] == []
    assert sorted(path.name for path in pytester.path.glob("b*")) == ["b.html"]


def test_the_command_line_wins(pytester: pytest.Pytester) -> None:
    """Only what it names is written."""
    pytester.makeini("[pytest]\ngatekeeper_report = ini.json\n")
    run(pytester, "--gatekeeper-report", "line.json", "-k", "plain")
    assert [path.name for path in pytester.path.glob("*.json")] == ["line.json"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("out.xml", "must be a file whose name ends in .json or .html, not 'out.xml'"),
        ("out", "must be a file whose name ends in .json or .html, not 'out'"),
        ("tox.ini/out.json", "tox.ini/out.json': "),
        ("folder.json", "folder.json': it is a folder; name a file in it"),
    ],
)
@pytest.mark.parametrize("way", ["--gatekeeper-report on the command line", "gatekeeper_report in"])
def test_a_path_that_cannot_be_written_ends_the_run_at_once(
    pytester: pytest.Pytester, path: str, named: str, way: str
) -> None:
    """Before anything is collected, naming key, path and file."""
    pytester.mkdir("folder.json")
    pytester.makepyfile(test_suite="raise SystemExit('collected')")
    if way.startswith("--"):
        done = run(pytester, "--gatekeeper-report", path)
    else:
        pytester.makeini(f"[pytest]\ngatekeeper_report = {path}\n")
        done = run(pytester)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    said = done.stderr.str() + done.stdout.str()
    assert way in said and named in said
    assert "collected" not in done.stdout.str()


def test_nothing_is_written_when_nothing_ran(pytester: pytest.Pytester) -> None:
    """A run that only collects leaves the report of an earlier one."""
    (pytester.path / "out.json").write_text("{}", encoding="utf-8")
    assert run(pytester, "--gatekeeper-report", "out.json", "--collect-only").ret == pytest.ExitCode.OK
    assert (pytester.path / "out.json").read_text(encoding="utf-8") == "{}"


def test_a_report_that_cannot_be_written_at_the_end_fails_the_run(pytester: pytest.Pytester) -> None:
    """With a line that says so; the other report is written."""
    pytester.makepyfile(test_suite="import os\ndef test_it():\n    os.rmdir('gone')\n    open('gone', 'w').close()\n")
    done = run(pytester, "--gatekeeper-report", "gone/out.json", "--gatekeeper-report", "out.json")
    done.assert_outcomes(passed=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["gatekeeper report: cannot write */gone/out.json: *", "gatekeeper report: */out.json"])
    assert read(pytester.path / "out.json")["tests"] == []


def test_a_report_is_written_whole_and_through_a_link(pytester: pytest.Pytester) -> None:
    """A link stays one, its target is replaced, and no other file is left behind."""
    real = pytester.mkdir("real")
    (pytester.path / "out.json").symlink_to(real / "target.json")
    run(pytester, "--gatekeeper-report", "out.json", "-k", "plain")
    assert (pytester.path / "out.json").is_symlink()
    assert read(real / "target.json")["schema"] == "pytest-gatekeeper/report"
    assert [path.name for path in pytester.path.glob(".gatekeeper*")] + [path.name for path in real.iterdir()] == [
        "target.json"
    ]


# ------------------------------------------------------------------ JUnit


def test_junit_properties(pytester: pytest.Pytester) -> None:
    """How many injections and leaks, for tests that used a proxy and no other."""
    run(pytester, "--junit-xml", "out.xml")
    found = {
        str(case.get("name")).partition("[")[0]: {
            str(one.get("name")): one.get("value") for one in case.iter("property")
        }
        for case in ET.parse(pytester.path / "out.xml").iter("testcase")
    }
    assert found == {
        "test_two": {"gatekeeper.injected": "1", "gatekeeper.leaks": "0"},
        "test_leaks": {"gatekeeper.injected": "0", "gatekeeper.leaks": "1"},
        "test_fails": {"gatekeeper.injected": "1", "gatekeeper.leaks": "0"},
        "test_xfails": {"gatekeeper.injected": "0", "gatekeeper.leaks": "0"},
        "test_skipped": {},
        "test_plain": {},
    }


# ------------------------------------------------------------------ a run and the process it is in


def test_two_runs_in_one_process(pytester: pytest.Pytester) -> None:
    """The second knows nothing of the first: not its tests, its rules, its environment or its options."""
    pytester.makepyfile(
        both="""
        import os
        import pytest

        before = dict(os.environ)
        common = ["-ppytest_gatekeeper.plugin", "-pno:cacheprovider", "test_suite.py", "-k"]
        print(pytest.main([*common, "test_fails or test_leaks", "--gatekeeper-report", "one.json"]))
        print(pytest.main([*common, "test_two", "--gatekeeper-report", "two.json", "--gatekeeper-fail-on", "none"]))
        names = [name for name in {*before, *os.environ} if not name.startswith("PYTEST_")]
        print("environment", {name for name in names if before.get(name) != os.environ.get(name)})
        """
    )
    done = pytester.runpython(pytester.path / "both.py")
    done.stdout.fnmatch_lines(["*1 failed, 1 passed*1 error*", "*1 passed, 5 deselected*", "environment set()"])
    one, two = read(pytester.path / "one.json"), read(pytester.path / "two.json")
    assert [test["id"] for test in one["tests"]] != [test["id"] for test in two["tests"]] == ["test_suite.py::test_two"]
    assert [(rule["id"], rule["requests"]) for rule in two["rules"]] == [("credentials[0]", 1), ("credentials[1]", 0)]
    assert (one["summary"]["leaks"], two["summary"]["leaks"], two["fail_on"]) == (1, 0, [])


def test_who_does_not_use_the_proxy_pays_nothing(pytester: pytest.Pytester) -> None:
    """Without a fixture and a report, none of our heavy halves is loaded, nor what they need."""
    pytester.makeini("[pytest]\n")
    pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            ours = {name for name in sys.modules if name.startswith("pytest_gatekeeper")}
            print("loaded", sorted(ours))
            print("heavy", sorted({"anyio", "trustme", "cryptography", "h11", "wsproto", "yaml"} & set(sys.modules)))
        """
    )
    pytester.makepyfile(test_suite="def test_it(): pass\n")
    done = pytester.run(sys.executable, "-m", "pytest", "-s", "-ppytest_gatekeeper.plugin")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["heavy [[]]"])
    (loaded,) = [line for line in done.stdout.lines if line.startswith("loaded")]
    for name in (
        "_core.report",
        "_core.page",
        "reportfiles",
        "_proxy",
        "_core.scope",
        "recorder'",
        "gatekeeper.gatekeeper",
    ):
        assert name not in loaded
