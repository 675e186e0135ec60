"""The environment of a test: what clients and subprocesses need while it runs, and afterwards what was before."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pytest_gatekeeper._core.variables import CLEARED, proxy_variables
from pytest_gatekeeper._plugin.environ import lend

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

CONFTEST = """
import json
import os
from pathlib import Path
import pytest

AT_START = dict(os.environ)
SEEN = {}

def snapshot():
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}

@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    before = snapshot()
    yield
    after = snapshot()
    SEEN[item.name] = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))

@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    at_end = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    names = {**AT_START, **at_end}
    end = sorted(n for n in names if n != "PYTEST_CURRENT_TEST" and AT_START.get(n) != at_end.get(n))
    Path("seen.json").write_text(json.dumps({"tests": SEEN, "end": end}))
"""

# What a machine behind a corporate proxy has, and what leads clients astray.
INHERITED = {
    "HTTP_PROXY": "http://corporate.example:3128",
    "https_proxy": "",
    "ALL_PROXY": "socks5://corporate.example:1080",
    "NO_PROXY": "*.corp.example,::1",
    "No_Proxy": "mixed.example",
    "Https_Proxy": "http://mixed.example:1",
    "REQUEST_METHOD": "GET",
    "GLOBAL_AGENT_NO_PROXY": "*",
    "REQUESTS_CA_BUNDLE": "/gone/ca.pem",
    "NODE_USE_ENV_PROXY": "0",
    "UNRELATED": "stays",
}


def changed(suite: Suite) -> dict[str, Any]:
    """By test, the variables that it left changed; and those of the whole run."""
    seen: dict[str, Any] = json.loads((suite.path / "seen.json").read_text(encoding="utf-8"))
    return seen


def corporate(folder: Path) -> dict[str, str]:
    """The inherited environment, with a CA file that really holds an authority."""
    file = folder / "corporate.pem"
    trustme.CA(organization_name="Corporate").cert_pem.write_to_path(str(file))
    return {**INHERITED, "SSL_CERT_FILE": str(file)}


# ------------------------------------------------------------------ during a test

DURING = """
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.request import getproxies, urlopen
import pytest

SET = %r
CLEARED = %r

def test_variables(gatekeeper_proxy):
    environ = dict(os.environ)
    proxies = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "WSS_PROXY", "WS_PROXY"}
    for name in [*proxies, *map(str.lower, proxies), "grpc_proxy", "GLOBAL_AGENT_HTTP_PROXY"]:
        assert environ.pop(name) == gatekeeper_proxy.url
    for name in ("NODE_USE_ENV_PROXY", "PERL_LWP_ENV_PROXY", "MOJO_PROXY"):
        assert environ.pop(name) == "1"
    authority = gatekeeper_proxy.ca.cert_path
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE"):
        assert environ.pop(name) == authority
    assert Path(authority).read_bytes() == gatekeeper_proxy.ca.pem
    assert not [name for name in environ if name.lower().endswith("_proxy")]
    assert not {*CLEARED} & {*environ}
    assert {name: os.environ[name] for name in SET} == gatekeeper_proxy.env
    assert os.environ["UNRELATED"] == "stays"

@pytest.mark.parametrize("command", [
    ["curl", "--silent", "--show-error", "--max-time", "60", "https://api.example.com/from-curl"],
    [sys.executable, "-c", "import urllib.request as u; print(u.urlopen('https://api.example.com/from-urllib').read())"],
    [sys.executable, "-c", "import requests as r; print(r.get('http://api.example.com/from-requests').text)"],
], ids=["curl", "urllib", "requests"])
def test_subprocesses(command, gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    gatekeeper_proxy.add_credential("api.example.com", "t0k")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Bearer t0k" in done.stdout, done.stderr
    gatekeeper_proxy.recorder.assert_injected("api.example.com", path="/from-*", times=1)

@pytest.mark.gatekeeper(no_proxy=["127.0.0.1", "localhost"])
def test_direct(gatekeeper_proxy, gatekeeper_origin):
    bundle = gatekeeper_proxy.ca.bundle_path
    assert {os.environ["SSL_CERT_FILE"], os.environ["REQUESTS_CA_BUNDLE"]} == {bundle}
    text = Path(bundle).read_text()
    assert gatekeeper_proxy.ca.pem.decode() in text
    corporate = Path("corporate.pem").read_text().strip()
    assert corporate in text
    assert text.index(corporate) > text.index(gatekeeper_proxy.ca.pem.decode().strip())
    assert len(ssl.create_default_context(cafile=bundle).get_ca_certs()) >= 2
    assert {"127.0.0.1", "localhost"} <= set(os.environ["NO_PROXY"].split(","))
    urlopen(gatekeeper_origin.url_for("http") + "/direct").close()
    assert [received.path for received in gatekeeper_origin.received] == ["/direct"]
    assert gatekeeper_proxy.recorder.exchanges == ()

def test_loopback_is_not_direct(gatekeeper_proxy, gatekeeper_origin):
    urlopen(gatekeeper_origin.url_for("http") + "/through").close()
    (exchange,) = gatekeeper_proxy.recorder.exchanges
    assert exchange.host == "127.0.0.1"

def test_between(pytestconfig):
    assert os.environ["HTTP_PROXY"] == "http://corporate.example:3128"
    assert os.environ["https_proxy"] == ""
"""


def test_what_a_test_has(suite: Suite, tmp_path: Path) -> None:
    """Every variable in each case, whatever was inherited; subprocesses go through, hosts in `no_proxy` do not.

    The CA file then holds the roots from before. Afterwards each variable is what it was, empty ones among them.
    """
    names = sorted(proxy_variables("http://127.0.0.1:1", "ca.pem"))
    environ = corporate(suite.path)
    suite.write({"conftest.py": CONFTEST, "test_it.py": DURING % (names, CLEARED)})
    done = suite.run("-W", "error", **environ)
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
    seen = changed(suite)
    assert list(seen["tests"].values()) == [[]] * 7
    assert seen["end"] == []


# ------------------------------------------------------------------ afterwards

AFTER = """
import os
import pytest

def meddle(setenv, delenv):
    setenv("HTTPS_PROXY", "http://mine.example")
    delenv("http_proxy")
    setenv("NO_PROXY", "mine.example")
    setenv("REQUEST_METHOD", "POST")
    delenv("SSL_CERT_FILE")
    setenv("https_proxy", "")

@pytest.fixture
def broken():
    raise RuntimeError("setup")

@pytest.fixture
def broken_later():
    yield
    raise RuntimeError("teardown")

@pytest.fixture
def patched_before(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://before.example")
    monkeypatch.setenv("NO_PROXY", "before.example")
    monkeypatch.delenv("HTTP_PROXY", raising=False)

@pytest.fixture
def patched_after(gatekeeper_proxy, monkeypatch):
    meddle(monkeypatch.setenv, monkeypatch.delenv)

@pytest.fixture
def patched_and_set_back(monkeypatch, gatekeeper_proxy):
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTPS_PROXY", "http://mine.example")
    os.environ["SSL_CERT_FILE"] = gatekeeper_proxy.ca.cert_path
    os.environ["HTTPS_PROXY"] = gatekeeper_proxy.url

def test_passing(gatekeeper_proxy):
    assert os.environ["HTTPS_PROXY"] == gatekeeper_proxy.url

def test_failing(gatekeeper_proxy):
    assert os.environ["HTTPS_PROXY"] == "fails"

def test_skipping(gatekeeper_proxy):
    pytest.skip("in the middle")

@pytest.mark.xfail(reason="meant")
def test_expected(gatekeeper_proxy):
    raise RuntimeError

def test_error_after_ours(gatekeeper_proxy, broken):
    raise AssertionError

def test_error_before_ours(broken, gatekeeper_proxy):
    raise AssertionError

def test_error_at_teardown(gatekeeper_proxy, broken_later):
    pass

def test_meddling(gatekeeper_proxy):
    meddle(os.environ.__setitem__, os.environ.__delitem__)

def test_clearing(gatekeeper_proxy):
    for name in gatekeeper_proxy.env:
        os.environ.pop(name)

def test_monkeypatch_before(monkeypatch, gatekeeper_proxy):
    meddle(monkeypatch.setenv, monkeypatch.delenv)
    assert os.environ["HTTPS_PROXY"] == "http://mine.example"

def test_monkeypatch_after(gatekeeper_proxy, monkeypatch):
    meddle(monkeypatch.setenv, monkeypatch.delenv)

def test_monkeypatch_undone(monkeypatch, gatekeeper_proxy):
    meddle(monkeypatch.setenv, monkeypatch.delenv)
    monkeypatch.undo()
    assert os.environ["HTTPS_PROXY"] == os.environ["http_proxy"] == gatekeeper_proxy.url
    assert "NO_PROXY" not in os.environ

def test_patched_before(patched_before, gatekeeper_proxy):
    assert os.environ["HTTPS_PROXY"] == gatekeeper_proxy.url
    assert "NO_PROXY" not in os.environ

def test_patched_before_and_meddled(patched_before, gatekeeper_proxy, monkeypatch):
    meddle(monkeypatch.setenv, monkeypatch.delenv)

@pytest.fixture(scope="class")
def of_a_class():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "class.example")
        yield

class TestInAClass:
    def test_first(self, of_a_class, gatekeeper_proxy):
        assert "NO_PROXY" not in os.environ

    def test_between(self):
        assert os.environ["NO_PROXY"] == "class.example"

    def test_last(self, monkeypatch, gatekeeper_proxy):
        monkeypatch.setenv("HTTPS_PROXY", "http://mine.example")

def test_patched_after(patched_after):
    assert os.environ["HTTPS_PROXY"] == "http://mine.example"

def test_patched_and_set_back(patched_and_set_back):
    pass

def test_a_context(gatekeeper_proxy):
    with pytest.MonkeyPatch.context() as patch:
        meddle(patch.setenv, patch.delenv)
    assert os.environ["HTTPS_PROXY"] == gatekeeper_proxy.url

def test_without_us():
    pass
"""


@pytest.mark.parametrize("inherited", [False, True], ids=["clean", "corporate"])
def test_what_a_test_leaves(suite: Suite, inherited: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable as it was, however the test ended and whatever it or its `monkeypatch` did to them."""
    for name in {*INHERITED} | {*CLEARED} | {*proxy_variables("http://127.0.0.1:1", "ca.pem")}:
        monkeypatch.delenv(name, raising=False)
    for name, value in (corporate(suite.path) if inherited else {}).items():
        monkeypatch.setenv(name, value)
    suite.write({"conftest.py": CONFTEST, "test_it.py": AFTER})
    done = suite.quick()
    done.assert_outcomes(passed=16, failed=1, skipped=1, xfailed=1, errors=3)
    seen = changed(suite)
    left = {name: left for name, left in seen["tests"].items() if left}
    assert left == {"test_first": ["NO_PROXY"], "test_last": ["NO_PROXY"]}  # of its class, then gone with it
    assert len(seen["tests"]) == 21
    assert seen["end"] == []


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("raise KeyboardInterrupt", 2),
        ("pytest.exit('enough', 7)", 7),
        ("raise SystemExit(3)", 1),
        ("request.session.shouldstop = 'enough'", 2),
        ("monkeypatch.setenv('HTTPS_PROXY', 'x'); raise KeyboardInterrupt", 2),
    ],
)
def test_a_run_that_is_cut_short(suite: Suite, statement: str, status: int) -> None:
    """At its end the environment is that of its start, and the test did have ours."""
    test = f"""
import os
import pytest

def test_it(request, monkeypatch, gatekeeper_proxy):
    print("URL", os.environ["https_proxy"] == gatekeeper_proxy.url)
    {statement}

def test_next():
    pass
"""
    suite.write({"conftest.py": CONFTEST, "test_it.py": test})
    done = suite.quick("-s")
    assert "URL True" in done.stdout.str()
    assert done.ret == status
    assert changed(suite)["end"] == []


# ------------------------------------------------------------------ `lend` alone


def test_lend_gives_back_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its block raises; a value that is ours by chance is left as it is."""
    monkeypatch.setenv("HTTPS_PROXY", "http://ours")
    monkeypatch.setenv("No_Proxy", "astray")
    monkeypatch.delenv("https_proxy", raising=False)
    environ = os.environ
    during: dict[str, str] = {}

    def fail() -> None:
        with lend({"HTTPS_PROXY": "http://ours", "https_proxy": "http://ours"}):
            during.update(environ)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert during["https_proxy"] == "http://ours"
    assert "No_Proxy" not in during
    assert environ["HTTPS_PROXY"] == "http://ours"
    assert environ["No_Proxy"] == "astray"
    assert "https_proxy" not in environ


def test_settle_undoes_a_late_undo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a patch that was made inside is undone outside, our values do not come back to stay; it is done once."""
    environ = os.environ
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    patch = pytest.MonkeyPatch()
    with lend({"HTTPS_PROXY": "http://ours"}) as lent:
        patch.setenv("HTTPS_PROXY", "http://test")
    patch.undo()
    assert environ["HTTPS_PROXY"] == "http://ours"
    lent.settle()
    assert "HTTPS_PROXY" not in environ
    environ["HTTPS_PROXY"] = "http://later"
    lent.settle()
    assert environ.pop("HTTPS_PROXY") == "http://later"


def test_the_authority_is_a_certificate(suite: Suite) -> None:
    """`gatekeeper_ca` is what the variables name; its context trusts it alone, and its key is in no file."""
    suite.write(
        {
            "test_it.py": """
import os
import ssl
from pathlib import Path

def test_it(gatekeeper_ca, gatekeeper_proxy):
    assert os.environ["SSL_CERT_FILE"] == gatekeeper_ca.cert_path
    assert gatekeeper_ca is gatekeeper_proxy.ca
    assert len(gatekeeper_ca.ssl_context().get_ca_certs()) == 1
    for file in Path(gatekeeper_ca.cert_path).parent.iterdir():
        assert b"PRIVATE KEY" not in file.read_bytes()
"""
        }
    )
    suite.quick().assert_outcomes(passed=1)
