"""The marker: merged from module, class and function, the nearest first, and misuse that says what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

HUSH = "hush-of-the-marker"
KNOWN = "config, credentials, policy, allow, secrets, allow_network, idle_timeout, upstream_timeout, no_proxy, fail_on"

HEAD = """
import os
from http.client import HTTPConnection
from urllib.error import HTTPError
from urllib.request import urlopen
import pytest
from pytest_gatekeeper import Config

def rule(host, grant, value="made-by-the-marker", **more):
    return {"host": host, "grant": grant, "source": {"type": "static", "value": value}, **more}

def grants(proxy):
    return [rule.grant for rule in proxy.recorder.rules]
"""

MERGED = (
    HEAD
    + """
pytestmark = [
    pytest.mark.gatekeeper(credentials=[rule("module.example.com", "module")], policy="permissive"),
    pytest.mark.gatekeeper(secrets="canary", no_proxy=["module.example.com"]),
]

@pytest.mark.gatekeeper(credentials=[rule("class.example.com", "class")], policy="strict", allow=["class.example.com"])
class TestMerged:
    @pytest.mark.gatekeeper(
        credentials=[rule("function.example.com", "function")], allow=["function.example.com"], no_proxy=[]
    )
    def test_all(self, gatekeeper_proxy, gatekeeper_origin):
        assert grants(gatekeeper_proxy) == ["file", "module", "class", "function"]
        assert "NO_PROXY" not in os.environ
        gatekeeper_origin.serve("*.example.com")
        urlopen("https://function.example.com/").close()
        assert "made-by" not in gatekeeper_origin.received[0].header("Authorization")  # a canary
        with pytest.raises(OSError, match="403|407"):
            urlopen("https://class.example.com/")
        gatekeeper_proxy.recorder.assert_denied("class.example.com")

    def test_class(self, gatekeeper_proxy, gatekeeper_origin):
        assert grants(gatekeeper_proxy) == ["file", "module", "class"]
        assert "module.example.com" in os.environ["NO_PROXY"].split(",")
        gatekeeper_origin.serve("*.example.com")
        urlopen("https://class.example.com/").close()

def test_module(gatekeeper_proxy, gatekeeper_origin):
    assert grants(gatekeeper_proxy) == ["file", "module"]
    gatekeeper_origin.serve("*.example.com")
    urlopen("https://anything.example.com/").close()

@pytest.mark.gatekeeper(secrets="auto")
@pytest.mark.gatekeeper(secrets="real", credentials=[rule("outer.example.com", "outer")])
@pytest.mark.parametrize("host", [
    pytest.param("a", marks=pytest.mark.gatekeeper(credentials=[rule("parameter.example.com", "parameter")])), "b"
])
def test_function(gatekeeper_proxy, gatekeeper_origin, host):
    assert {*grants(gatekeeper_proxy)} == {"file", "module", "outer"} | ({"parameter"} if host == "a" else set())
    gatekeeper_origin.serve("*.example.com")
    urlopen("https://outer.example.com/").close()
    assert gatekeeper_origin.received[0].header("Authorization") == "Bearer made-by-the-marker"
"""
)

KEYWORDS = (
    HEAD
    + """
import time
from pathlib import Path

@pytest.mark.gatekeeper(config="beside.yaml")
def test_a_path_beside_the_test(gatekeeper_proxy):
    assert grants(gatekeeper_proxy) == ["beside"]

@pytest.mark.gatekeeper(config="gatekeeper.yaml")
def test_a_path_from_the_root(gatekeeper_proxy):
    assert grants(gatekeeper_proxy) == ["file"]

@pytest.mark.gatekeeper(config=Path("beside.yaml"), credentials=[rule("b.example.com", "b")])
def test_a_pathlike_and_credentials(gatekeeper_proxy):
    assert grants(gatekeeper_proxy) == ["beside", "b"]

@pytest.mark.gatekeeper(config=Config())
def test_a_config(gatekeeper_proxy):
    assert grants(gatekeeper_proxy) == []

@pytest.mark.gatekeeper(policy="strict", allow=["api.example.com"])
def test_policy(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("*.example.com")
    urlopen("https://api.example.com/").close()
    with pytest.raises(OSError, match="403|407"):
        urlopen("https://other.example.com/")

@pytest.mark.gatekeeper(secrets="auto")
def test_secrets(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("file.example.com")
    urlopen("https://file.example.com/").close()
    assert gatekeeper_origin.received[0].header("Authorization") == "Bearer made-by-the-file"

@pytest.mark.gatekeeper(allow_network=True, upstream_timeout=0.1)
def test_network(gatekeeper_proxy):
    began = time.monotonic()
    with pytest.raises(HTTPError) as caught:
        urlopen("http://192.0.2.1/")
    assert "allow_network" not in caught.value.read().decode()
    assert time.monotonic() - began < 30  # the limit is 60 where nothing is said

@pytest.mark.gatekeeper(upstream_timeout=0.1)
def test_upstream_timeout(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    gatekeeper_origin.faults.stall(path="/")
    with pytest.raises(HTTPError) as caught:
        urlopen("https://api.example.com/")
    assert caught.value.code in (502, 504)
    assert "0.1 s" in caught.value.read().decode()

@pytest.mark.gatekeeper(idle_timeout=0.1)
def test_idle_timeout(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("file.example.com")
    kept = HTTPConnection(gatekeeper_proxy.host, gatekeeper_proxy.port, timeout=30)
    kept.request("GET", "http://file.example.com/")
    kept.getresponse().read()
    assert kept.sock.recv(1) == b""
    kept.close()

@pytest.mark.gatekeeper(no_proxy=["direct.example.com"])
def test_no_proxy(gatekeeper_proxy):
    assert "direct.example.com" in os.environ["no_proxy"].split(",")

@pytest.mark.gatekeeper(fail_on=["leak"])
def test_fail_on(gatekeeper_proxy, gatekeeper_origin):
    from urllib.request import Request
    gatekeeper_origin.serve("file.example.com")
    urlopen(Request("https://file.example.com/", headers={"Host": "evil.example.com"})).close()
    assert gatekeeper_proxy.recorder.violations

@pytest.mark.gatekeeper()
def test_nothing_said(gatekeeper_proxy):
    assert grants(gatekeeper_proxy) == ["file"]
"""
)

CONFIG = "credentials:\n  - {host: %s.example.com, grant: %s, source: {type: static, value: made-by-the-file}}\n"


def test_markers_are_merged(suite: Suite) -> None:
    """From module, class and function and parameter: credentials add up, of the rest the nearest counts."""
    suite.write({"gatekeeper.yaml": CONFIG % ("file", "file"), "test_it.py": MERGED})
    suite.quick("--gatekeeper-config=gatekeeper.yaml").assert_outcomes(passed=5)


def test_each_keyword_does_what_it_says(suite: Suite) -> None:
    """And beats the command line: the marker is nearer."""
    suite.write(
        {
            "gatekeeper.yaml": CONFIG % ("file", "file"),
            "deep/beside.yaml": CONFIG % ("beside", "beside"),
            "deep/test_it.py": KEYWORDS,
        }
    )
    done = suite.quick(
        "--gatekeeper-config=gatekeeper.yaml", "--gatekeeper-secrets=canary", "--gatekeeper-idle-timeout=50",
        "--gatekeeper-upstream-timeout=50", "--gatekeeper-fail-on=violation", f"--rootdir={suite.path}",
    )  # fmt: skip
    done.assert_outcomes(passed=12)


# ------------------------------------------------------------------ misuse


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("polcy='strict'", f"MARKER has no keyword 'polcy' (did you mean 'policy'?); it takes {KNOWN}"),
        ("xyz=1", f"TypeError: MARKER has no keyword 'xyz'; it takes {KNOWN}"),
        ("'strict'", f"TypeError: MARKER takes keywords only: {KNOWN}"),
        ("config=3", "TypeError: MARKER: config must be a path or a Config"),
        (f"credentials={{'value': '{HUSH}'}}", "TypeError: MARKER: credentials must be a list of mappings"),
        (f"credentials=['{HUSH}']", "TypeError: MARKER: credentials must be a list of mappings"),
        ("policy='open'", "ValueError: MARKER: policy='open' must be one of permissive, strict"),
        ("allow='a.example.com'", "TypeError: MARKER: allow='a.example.com' must be a list of host patterns"),
        ("secrets='al'", "ValueError: MARKER: secrets='al' must be one of auto, real, canary"),
        ("allow_network='yes'", "TypeError: MARKER: allow_network='yes' must be True or False"),
        ("allow_network=1", "TypeError: MARKER: allow_network=1 must be True or False"),
        ("idle_timeout='7'", "TypeError: MARKER: idle_timeout='7' must be a number of seconds above 0"),
        ("idle_timeout=0", "ValueError: MARKER: idle_timeout=0 must be a number of seconds above 0"),
        ("idle_timeout=True", "ValueError: MARKER: idle_timeout=True must be a number of seconds above 0"),
        ("upstream_timeout=-1", "ValueError: MARKER: upstream_timeout=-1 must be a number of seconds"),
        ("no_proxy='localhost'", "TypeError: MARKER: no_proxy='localhost' must be a list of host names"),
        ("no_proxy=['a b']", "ValueError: MARKER: no_proxy=['a b'] must be a list of host names; 'a b' is none"),
        ("fail_on=['leaks']", "ValueError: MARKER: fail_on=['leaks'] must be a list of leak"),
        ("fail_on=3", "TypeError: MARKER: fail_on=3 must be a list of words"),
    ],
)  # fmt: skip
def test_misuse_of_the_marker(suite: Suite, arguments: str, text: str) -> None:
    """Is an error of the test, whether it uses the proxy or not; it shows no frame of ours and no value."""
    suite.write(
        {
            "test_it.py": f"import pytest\n@pytest.mark.gatekeeper({arguments})\ndef test_wrong():\n    pass\n"
            "@pytest.mark.gatekeeper(policy='strict')\ndef test_right():\n    pass\n"
        }
    )
    done = suite.quick("--tb=short")
    done.assert_outcomes(passed=1, errors=1)
    told = done.stdout.str()
    assert text.replace("MARKER", "the gatekeeper marker") in told
    assert "pytest_gatekeeper/" not in told
    assert "def " not in told
    assert HUSH not in told


SAID = "ConfigError: the gatekeeper marker of test_it.py::test_wrong: "


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        (f"credentials=[{{'host': 'a', 'source': {{'type': 'static', 'valu': '{HUSH}'}}}}]", f"{SAID}credentials[0]."),
        (f"credentials=[{{'host': 'a.example.com', 'source': '{HUSH}'}}]", f"{SAID}credentials[0].source"),
        (
            "credentials=[{'host': 'a.example.com', 'source': {'type': 'static', 'value': 'x'}}, "
            f"{{'host': 'b.example.com', 'source': {{'type': 'static', 'value': '{HUSH}\\r\\nX: 1'}}}}]",
            f"{SAID}credentials[1]",
        ),
        ("policy='strict', allow=['a.example.com:99999']", "network.allow[0]"),
        ("allow=['a.example.com']", "allow: has no effect under the permissive policy of the configuration; add"),
        ("config='nowhere.yaml'", "nowhere.yaml: there is no such file; check the path"),
    ],
)  # fmt: skip
def test_what_a_marker_says_cannot_be_used(suite: Suite, keywords: str, text: str) -> None:
    """Is a ConfigError at setup that names the key, without a frame of ours and without a value."""
    suite.write(
        {
            "test_it.py": "import pytest\n@pytest.fixture\ndef marked(request):\n"
            f"    request.applymarker(pytest.mark.gatekeeper({keywords}))\n\n"
            "def test_wrong(marked, gatekeeper_proxy):\n    pass\n\ndef test_right(gatekeeper_proxy):\n    pass\n"
        }
    )
    done = suite.quick("--tb=long", "-l", "-vv")
    done.assert_outcomes(passed=1, errors=1)
    told = done.stdout.str()
    assert "ConfigError: " in told
    assert text in told
    assert "pytest_gatekeeper/" not in told
    assert HUSH not in told.replace(keywords, "")


def test_a_marker_may_be_added_while_a_test_is_set_up(suite: Suite) -> None:
    """By a fixture that runs before ours: `request.applymarker` is pytest's own way."""
    suite.write(
        {
            "test_it.py": HEAD
            + """
@pytest.fixture
def marked(request):
    request.applymarker(pytest.mark.gatekeeper(credentials=[rule("late.example.com", "late")]))

def test_it(marked, gatekeeper_proxy):
    assert grants(gatekeeper_proxy) == ["late"]
"""
        }
    )
    suite.quick().assert_outcomes(passed=1)
