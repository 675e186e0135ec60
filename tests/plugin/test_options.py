"""Options and ini keys: read once, the command line first; what is wrong ends the run before collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._plugin.options import Options
from pytest_gatekeeper._plugin.session import RUN

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

NEVER = "raise RuntimeError('collected')\n"
CONFIG = "credentials:\n  - {host: api.example.com, source: {type: static, value: s3cret-of-the-file}}\n"

INI = """
gatekeeper_config = conf/gatekeeper.yaml
gatekeeper_secrets = canary
gatekeeper_allow_network = true
gatekeeper_idle_timeout = 7
gatekeeper_upstream_timeout = 2.5
gatekeeper_no_proxy =
    localhost, 127.0.0.1
    *.corp.example
gatekeeper_report =
    out/a.json
    out/b.html
gatekeeper_fail_on = unused leak
"""
LEGACY_TOML = """
gatekeeper_config = "conf/gatekeeper.yaml"
gatekeeper_secrets = "canary"
gatekeeper_allow_network = true
gatekeeper_idle_timeout = %s
gatekeeper_upstream_timeout = %s
gatekeeper_no_proxy = ["localhost", "127.0.0.1", "*.corp.example"]
gatekeeper_report = ["out/a.json", "out/b.html"]
gatekeeper_fail_on = ["unused", "leak"]
"""
FILES = {
    "pytest.ini": "[pytest]" + INI,
    "tox.ini": "[pytest]" + INI,
    "setup.cfg": "[tool:pytest]" + INI,
    "pyproject.toml": "[tool.pytest.ini_options]" + LEGACY_TOML % ('"7"', '"2.5"'),
}
NATIVE = LEGACY_TOML % ("7", "2.5")
if pytest.version_tuple >= (9, 0):
    FILES |= {"pytest.toml": "[pytest]" + NATIVE, "native pyproject.toml": "[tool.pytest]" + NATIVE}

native = pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="native TOML came with pytest 9")


class Probe:
    """What the run made of its options."""

    options: Options | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Look, once they have been read."""
        self.options = session.config.stash[RUN].options


def said(suite: Suite, *arguments: str) -> Options:
    """The options in force in a run that went well."""
    probe = Probe()
    done = suite.quick(*arguments, plugins=(probe,))
    assert done.ret == pytest.ExitCode.NO_TESTS_COLLECTED, done.stderr.str()
    assert probe.options is not None
    return probe.options


def refused(suite: Suite, *arguments: str) -> str:
    """The one line of a run that ended with status 4 before anything was collected."""
    suite.write({"test_never.py": NEVER})
    done = suite.quick(*arguments)
    told = done.stderr.str()
    assert done.ret == pytest.ExitCode.USAGE_ERROR, done.stdout.str()
    assert "collected" not in done.stdout.str()
    (line,) = [line for line in told.splitlines() if line]
    assert line.startswith("ERROR: ")
    return line.removeprefix("ERROR: ")


# ------------------------------------------------------------------ what is said counts


def test_without_a_word_the_defaults_hold(suite: Suite) -> None:
    """As the reference lists them."""
    assert said(suite) == Options(
        config=None, secrets="auto", allow_network=False, idle_timeout=120, upstream_timeout=60, no_proxy=(),
        report=(), fail_on=("leak", "violation"), report_source=f"gatekeeper_report in {None}",
    )  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_each_ini_key_counts_in_each_kind_of_file(suite: Suite, file: str) -> None:
    """Paths are relative to the file, whatever folder pytest is called from."""
    suite.write({file.rpartition(" ")[2]: FILES[file], "conf/gatekeeper.yaml": CONFIG, "deep/down/x.txt": ""})
    options = said(suite, "deep/down")
    assert options.config == suite.path / "conf" / "gatekeeper.yaml"
    assert options.report == (suite.path / "out" / "a.json", suite.path / "out" / "b.html")
    assert (options.secrets, options.allow_network) == ("canary", True)
    assert (options.idle_timeout, options.upstream_timeout) == (7.0, 2.5)
    assert options.no_proxy == ("localhost", "127.0.0.1", "*.corp.example")
    assert options.fail_on == ("leak", "unused")


def test_the_command_line_wins(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over every ini key at once; its paths are relative to where pytest is called, and `~` is known."""
    suite.write({"pytest.ini": FILES["pytest.ini"], "deep/mine.yaml": CONFIG})
    monkeypatch.setenv("HOME", str(suite.path / "home"))
    monkeypatch.chdir(suite.path / "deep")
    options = said(
        suite, "--gatekeeper-config=mine.yaml", "--gatekeeper-secrets", "real", "--gatekeeper-idle-timeout=0.5",
        "--gatekeeper-upstream-timeout=1e1", "--gatekeeper-report=c.json", "--gatekeeper-report", "~/d.HTML",
        "--gatekeeper-report=c.json", "--gatekeeper-fail-on=none",
    )  # fmt: skip
    assert options.config == suite.path / "deep" / "mine.yaml"
    assert options.report == (suite.path / "deep" / "c.json", suite.path / "home" / "d.HTML")
    assert (options.secrets, options.idle_timeout, options.upstream_timeout) == ("real", 0.5, 10.0)
    assert options.fail_on == ()


def test_the_flag_opens_the_network(suite: Suite) -> None:
    """`--gatekeeper-allow-network`, also where the ini file says no."""
    suite.write({"pytest.ini": "[pytest]\ngatekeeper_allow_network = no\n"})
    assert said(suite).allow_network is False
    assert said(suite, "--gatekeeper-allow-network").allow_network is True


def test_ini_keys_can_be_overridden(suite: Suite) -> None:
    """`-o` counts as pytest's own users expect: over the file, below the option."""
    suite.write({"pytest.ini": "[pytest]\ngatekeeper_secrets = real\ngatekeeper_idle_timeout = 7\n"})
    options = said(
        suite, "-o", "gatekeeper_secrets=canary", "-o", "gatekeeper_idle_timeout=8", "--gatekeeper-idle-timeout=9"
    )
    assert (options.secrets, options.idle_timeout) == ("canary", 9.0)


# ------------------------------------------------------------------ what cannot be used


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("secrets", "al", "must be one of auto, real, canary"),
        ("idle-timeout", "0", "must be a number of seconds above 0"),
        ("idle-timeout", "-1", "must be a number of seconds above 0"),
        ("idle-timeout", "soon", "must be a number of seconds above 0"),
        ("upstream-timeout", "nan", "must be a number of seconds above 0"),
        ("upstream-timeout", "inf", "must be a number of seconds above 0"),
        ("fail-on", "leaks", "'leaks' is none of them"),
        ("fail-on", "none,leak", "none, which stands alone"),
        ("fail-on", "", "must be a list of leak"),
    ],
)
def test_a_bad_value_on_the_command_line(suite: Suite, option: str, value: str, problem: str) -> None:
    """Names the option and the value."""
    line = refused(suite, f"--gatekeeper-{option}={value}")
    assert line.startswith(f"--gatekeeper-{option} on the command line: {value!r} ")
    assert problem in line


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("secrets", "al", "'al' must be one of auto, real, canary"),
        ("allow_network", "maybe", "maybe"),
        ("idle_timeout", "soon", "'soon'"),
        ("idle_timeout", "0", "0"),
        ("upstream_timeout", "", "''"),
        (
            "no_proxy",
            "https://localhost",
            "['https://localhost'] must be a list of host names; 'https://localhost' is none",
        ),
        ("report", "out.txt", "must be a file whose name ends in .json or .html, not 'out.txt'"),
        ("fail_on", "leak,unsued", "'unsued' is none of them"),
    ],
)
@pytest.mark.parametrize("way", ["file", "-o"])
def test_a_bad_value_in_a_file(suite: Suite, key: str, value: str, problem: str, way: str) -> None:
    """Names the key, the value, and the file or `-o`."""
    if way == "file":
        suite.write({"tox.ini": f"[pytest]\ngatekeeper_{key} = {value}\n"})
        line = refused(suite)
        assert line.startswith(f"gatekeeper_{key} in {suite.path / 'tox.ini'}: ")
    else:
        line = refused(suite, "-o", f"gatekeeper_{key}={value}")
        assert line.startswith(f"gatekeeper_{key} on the command line (-o): ")
    assert problem in line


@native
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", "3"),
        ("secrets", "3"),
        ("allow_network", '"yes"'),
        ("idle_timeout", '"7"'),
        ("upstream_timeout", "true"),
        ("no_proxy", '"localhost"'),
        ("report", "[1]"),
        ("fail_on", '["leak", 3]'),
    ],
)
def test_a_wrong_type_in_native_toml(suite: Suite, key: str, value: str) -> None:
    """Is refused like a bad value: key and file are named."""
    suite.write({"pytest.toml": f"[pytest]\ngatekeeper_{key} = {value}\n"})
    assert refused(suite).startswith(f"gatekeeper_{key} in {suite.path / 'pytest.toml'}: ")


def test_a_report_that_cannot_be_written(suite: Suite) -> None:
    """Is found out before collection; a folder that is missing is made."""
    suite.write({"taken": "", "test_it.py": "def test_it(): pass\n"})
    assert suite.quick("--gatekeeper-report=new/folder/r.json", "test_it.py").ret == 0
    assert (suite.path / "new" / "folder" / "r.json").exists()
    done = suite.quick("--gatekeeper-report=taken/r.json", "test_it.py")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: --gatekeeper-report on the command line: cannot write *taken/r.json*"])


# ------------------------------------------------------------------ the configuration's file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot read 'gatekeeper.yaml': No such file or directory"),
        ("", "cannot read 'gatekeeper.yaml': Is a directory"),
        ("credentials: [\n", "gatekeeper.yaml:2: "),
        ("- a list\n", "gatekeeper.yaml:1: "),
        ("credentials:\n  - {host: a.example.com, source: {type: static}}\n", "gatekeeper.yaml:2: credentials[0]"),
        (
            "credentials:\n  - {host: a.example.com, source: {type: static, value: 'hush-hush\\n'}}\n"
            "    what: hush-hush\n",
            "gatekeeper.yaml:3: ",
        ),
        ("network: {policy: strikt}\n", "gatekeeper.yaml:1: network.policy: "),
    ],
    ids=["missing", "directory", "broken", "list", "no value", "broken beside a secret", "bad policy"],
)
def test_a_configuration_that_cannot_be_used(suite: Suite, text: str | None, problem: str) -> None:
    """Ends the run with file, line and key, and shows no credential; so does the ini key, which is named."""
    if text == "":
        (suite.path / "gatekeeper.yaml").mkdir()
    elif text is not None:
        suite.write({"gatekeeper.yaml": text})
    line = refused(suite, "--gatekeeper-config=gatekeeper.yaml")
    assert problem in line
    assert "hush" not in line
    suite.write({"pytest.ini": "[pytest]\ngatekeeper_config = gatekeeper.yaml\n"})
    by_key = refused(suite)
    assert problem in by_key
    if "cannot read" in problem:
        assert line.startswith("--gatekeeper-config on the command line: ")
        assert by_key.startswith(f"gatekeeper_config in {suite.path / 'pytest.ini'}: ")


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ("surprise: 1\n", "surprise"),
        ("---\ncredentials: []\n", "document"),
    ],
    ids=["unknown key", "several documents"],
)
def test_what_has_no_effect_is_warned_of_once(suite: Suite, more: str, warned: str) -> None:
    """One ConfigWarning that names file and line, an error under `-W error`; the rest of the file counts."""
    suite.write({"gatekeeper.yaml": CONFIG + more, "test_it.py": USES_THE_RULE})
    done = suite.quick("--gatekeeper-config=gatekeeper.yaml", "test_it.py")
    done.assert_outcomes(passed=1, warnings=1)
    (line,) = [line for line in done.outlines if ": ConfigWarning: " in line]
    assert "gatekeeper.yaml:3" in line
    assert warned in line
    strict = refused(suite, "--gatekeeper-config=gatekeeper.yaml", "-W", "error")
    assert strict in line or strict.split(": ", 1)[1] in line
    assert "s3cret" not in line + strict


OVERRIDDEN = """
import pytest
from pytest_gatekeeper import Config

@pytest.fixture(scope="session")
def gatekeeper_config():
    return Config.parse("credential: []")

def test_first(gatekeeper_proxy):
    pass

def test_second(gatekeeper_proxy, gatekeeper_proxy_factory):
    gatekeeper_proxy_factory()

@pytest.mark.gatekeeper(config="marked.yaml")
def test_marked(gatekeeper_proxy):
    pass
"""


def test_what_has_no_effect_in_another_configuration_is_warned_of_once(suite: Suite) -> None:
    """In what the fixture, a marker or the factory brings, too; under `-W error` each test that uses it fails."""
    suite.write({"test_it.py": OVERRIDDEN, "marked.yaml": "surprise: 1\n"})
    done = suite.quick("test_it.py", "-W", "default")  # the run around this one makes warnings errors
    done.assert_outcomes(passed=3, warnings=2)
    warned = [line for line in done.outlines if "ConfigWarning: " in line]
    assert "<string>:1: credential: unknown key, ignored in production; did you mean 'credentials'?" in warned[0]
    assert "marked.yaml:1: surprise: unknown key" in warned[1]
    strict = suite.quick("test_it.py", "-W", "error", "--tb=short")
    strict.assert_outcomes(errors=3)
    assert "pytest_gatekeeper/" not in strict.stdout.str()


def test_a_sound_file_warns_of_nothing(suite: Suite) -> None:
    """Also with warnings as errors; an empty file is the empty configuration."""
    suite.write({"gatekeeper.yaml": CONFIG, "empty.yaml": "", "test_it.py": USES_THE_RULE})
    suite.quick("--gatekeeper-config=gatekeeper.yaml", "-W", "error").assert_outcomes(passed=1)
    done = suite.quick("--gatekeeper-config=empty.yaml", "-W", "error")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["gatekeeper: empty.yaml, 0 rules, *"])


USES_THE_RULE = """
def test_it(gatekeeper_recorder):
    (rule,) = gatekeeper_recorder.rules
    assert (rule.id, rule.pattern) == ("credentials[0]", "api.example.com")
"""


def test_a_file_elsewhere_is_shown_as_it_is(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A path outside of the folder is not made relative."""
    file = Path(tmp_path_factory.mktemp("elsewhere")) / "gatekeeper.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    done = suite.quick(f"--gatekeeper-config={file}")
    done.stdout.fnmatch_lines([f"gatekeeper: {file}, 1 rule, *"])


def test_values_reach_the_proxy(suite: Suite) -> None:
    """What was said is what the test's proxy does: the network opens, limits hold, hosts go direct."""
    suite.write(
        {
            "pytest.ini": "[pytest]\ngatekeeper_no_proxy = direct.example.com\n",
            "test_it.py": """
import os
from urllib.error import HTTPError
from urllib.request import urlopen
import pytest

def test_it(gatekeeper_proxy):
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert "direct.example.com" in os.environ["NO_PROXY"].split(",")
    with pytest.raises(HTTPError) as caught:
        urlopen("http://192.0.2.1/")
    print("SAID", caught.value.code, caught.value.read().decode())
""",
        }
    )
    closed = suite.quick("-s").stdout.str()
    assert "SAID 502" in closed
    assert "allow-network" in closed
    opened = suite.quick("-s", "--gatekeeper-allow-network", "--gatekeeper-upstream-timeout=0.2").stdout.str()
    assert "SAID 502" in opened or "SAID 504" in opened
    assert "allow-network" not in opened
