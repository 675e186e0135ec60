"""One port a process, one recorder a test: connections end with their test, and a run ends whatever clients do."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._proxy.lease import Limits
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

HEAD = """
import http.client
import os
import socket
import threading
import time
from pathlib import Path
from urllib.request import urlopen
import pytest
import requests
import websocket
from pytest_gatekeeper import Config, ProxyError

def rule(host, grant):
    return {"host": host, "grant": grant, "source": {"type": "static", "value": "t0k-of-the-lifecycle"}}
"""

KEPT = (
    HEAD
    + """
KEPT = requests.Session()
SEEN = []

def get(path):
    return KEPT.get("https://api.example.com" + path, timeout=30)

@pytest.mark.parametrize("number", range(3))
def test_one_port_and_one_file(number, gatekeeper_proxy, gatekeeper_ca):
    SEEN.append((gatekeeper_proxy.port, gatekeeper_ca.cert_path, gatekeeper_ca.pem))
    assert len(set(SEEN)) == 1

def test_a_client_begins(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    assert get("/first").status_code == 200
    (SEEN[:]) = [gatekeeper_proxy.recorder, gatekeeper_proxy]

def test_between():
    recorder, proxy = SEEN
    assert recorder.tunnels[0].closed == "test"
    plain = http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)
    plain.request("GET", "http://api.example.com/between")
    answer = plain.getresponse()
    assert answer.status == 503
    assert b"No test holds this proxy" in answer.read()
    plain.close()
    assert [exchange.path for exchange in recorder.exchanges] == ["/first"]

def test_it_goes_on(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    assert len(gatekeeper_proxy.recorder.late) == 1
    assert gatekeeper_proxy.recorder.exchanges == ()
    assert get("/second").status_code == 200
    assert [exchange.path for exchange in gatekeeper_proxy.recorder.exchanges] == ["/second"]
    assert [exchange.path for exchange in SEEN[0].exchanges] == ["/first"]
    assert gatekeeper_origin.received[0].path == "/second"

def test_nothing_was_late(gatekeeper_proxy):
    assert gatekeeper_proxy.recorder.late == ()

def test_rules_and_routes_are_gone(gatekeeper_proxy):
    gatekeeper_proxy.add_credential("api.example.com", "t0k")
    with pytest.raises(requests.RequestException):
        get("/no-route").raise_for_status()

def test_and_again(gatekeeper_proxy):
    assert gatekeeper_proxy.recorder.rules == ()
"""
)


def test_clients_that_are_kept(suite: Suite) -> None:
    """Find the same port and authority in each test, and are recorded by the test in which they connect."""
    suite.write({"test_it.py": KEPT})
    suite.quick().assert_outcomes(passed=9)


OPEN = (
    HEAD
    + """
LEFT = []
BEGAN = []

def leave(proxy, origin, path):
    origin.serve("api.example.com")
    sock = socket.create_connection((proxy.host, proxy.port), timeout=30)
    LEFT.append((sock, proxy.recorder))
    sock.sendall(b"GET http://api.example.com" + path + b" HTTP/1.1\\r\\nHost: api.example.com\\r\\n\\r\\n")
    return sock

def test_idle_connections(gatekeeper_proxy, gatekeeper_origin):
    for _ in range(20):
        LEFT.append((socket.create_connection((gatekeeper_proxy.host, gatekeeper_proxy.port)), None))
    gatekeeper_origin.serve("api.example.com")
    urlopen("https://api.example.com/").close()  # by now the earlier ones have been accepted, too
    BEGAN.append(time.monotonic())

def test_what_became_of_them():
    assert time.monotonic() - BEGAN.pop() < 10
    for sock, _ in LEFT:
        sock.settimeout(30)
        with sock:
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
    LEFT.clear()

def test_an_answer_that_never_ends(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.respond(path="/stream", chunks=["first", threading.Event()])
    sock = leave(gatekeeper_proxy, gatekeeper_origin, b"/stream")
    while b"first" not in sock.recv(65536):
        pass
    gatekeeper_origin.faults.stall(path="/stall")
    leave(gatekeeper_proxy, gatekeeper_origin, b"/stall")
    gatekeeper_origin.wait_for(lambda origin: len(origin.received) == 2)
    BEGAN.append(time.monotonic())

def test_websockets(gatekeeper_proxy, gatekeeper_origin):
    assert time.monotonic() - BEGAN.pop() < 10
    for sock, recorder in LEFT:
        sock.close()
        assert {exchange.closed for exchange in recorder.exchanges} == {"test"}
    LEFT.clear()
    gatekeeper_origin.serve("ws.example.com")
    for _ in range(3):
        client = websocket.create_connection("wss://ws.example.com/open", timeout=30)
        client.send("x")
        assert client.recv() == "x"
        LEFT.append((client, gatekeeper_proxy.recorder))
    BEGAN.append(time.monotonic())

def test_what_became_of_the_websockets(gatekeeper_proxy):
    assert time.monotonic() - BEGAN.pop() < 10
    recorder = LEFT[0][1]
    assert [exchange.closed for exchange in recorder.upgrades] == ["test"] * 3
    assert [tunnel.closed for tunnel in recorder.tunnels] == ["test"] * 3
    for client, _ in LEFT:
        with pytest.raises((OSError, websocket.WebSocketException)) as caught:
            client.recv()
        assert "timed out" not in str(caught.value)
        client.shutdown()
    assert gatekeeper_proxy.recorder.exchanges == ()
    LEFT[:] = [gatekeeper_proxy]

def test_a_proxy_after_its_test():
    proxy = LEFT.pop()
    assert "closed" in repr(proxy)
    with pytest.raises(ProxyError, match="closed"):
        proxy.start()
    proxy.close()
    answer = http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)
    answer.request("GET", "http://api.example.com/")
    assert answer.getresponse().status == 503
    answer.close()
    with pytest.raises(OSError):
        urlopen("https://api.example.com/", timeout=30)
"""
)


def test_what_a_test_leaves_open(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is cut at once, and its records say `test`; a proxy that is over says so."""
    monkeypatch.setattr("pytest_gatekeeper.gatekeeper.Limits", functools.partial(Limits, patience=PATIENCE))
    suite.write({"test_it.py": OPEN})
    suite.quick("-W", "error").assert_outcomes(passed=6)


FACTORY = (
    HEAD
    + """
MADE = []

@pytest.fixture(scope="module")
def wide(gatekeeper_proxy_factory):
    return gatekeeper_proxy_factory(credentials=[rule("wide.example.com", "wide")])

def test_ports_of_their_own(wide, gatekeeper_proxy_factory, gatekeeper_proxy, gatekeeper_origin):
    other = gatekeeper_proxy_factory(config=Config(), secrets="canary")
    assert len({wide.port, other.port, gatekeeper_proxy.port}) == 3
    assert [r.grant for r in wide.recorder.rules] == ["file", "wide"]
    assert [r.grant for r in gatekeeper_proxy.recorder.rules] == ["file"]
    assert other.recorder.rules == ()
    assert os.environ["HTTPS_PROXY"] == gatekeeper_proxy.url
    assert wide.ca is other.ca is gatekeeper_proxy.ca
    gatekeeper_origin.serve("wide.example.com", proxy=wide)
    done = requests.get(
        "https://wide.example.com/", proxies={"https": wide.url}, verify=wide.ca.cert_path, timeout=30
    )
    assert done.status_code == 200
    wide.recorder.assert_injected("wide.example.com", grant="wide", times=1)
    assert gatekeeper_proxy.recorder.exchanges == ()
    MADE.extend([wide, other])

def test_it_lasts(wide, gatekeeper_proxy_factory):
    assert wide is MADE[0]
    assert len(wide.recorder.exchanges) == 1
    assert "HTTPS_PROXY" not in os.environ
    socket.create_connection((wide.host, wide.port), timeout=30).close()

@pytest.mark.parametrize("keywords", [{"polcy": "strict"}, {"idle_timeout": 0}])
def test_misuse(gatekeeper_proxy_factory, keywords):
    with pytest.raises((TypeError, ValueError), match=r"gatekeeper_proxy_factory\\(\\)"):
        gatekeeper_proxy_factory(**keywords)
    with pytest.raises(TypeError, match=r"gatekeeper_proxy_factory\\(\\) takes keywords only: config, credentials, "):
        gatekeeper_proxy_factory("gatekeeper.yaml", **keywords)

def test_a_wrong_call(gatekeeper_proxy_factory):
    gatekeeper_proxy_factory(credentials=[{"host": "a.example.com", "source": {"type": "static", "valu": "hush-hush"}}])
"""
)
FACTORY_CONFTEST = """
import socket
from pathlib import Path
import pytest

@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    import sys
    for proxy in sys.modules["test_it"].MADE:
        try:
            socket.create_connection((proxy.host, proxy.port), timeout=30).close()
        except ConnectionRefusedError:
            with Path("closed.txt").open("a") as file:
                file.write(f"{proxy!r}\\n")
"""


def test_the_factory(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes proxies on ports of their own, which leave the environment alone and are closed with the run."""
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    config = "credentials:\n  - {host: file.example.com, grant: file, source: {type: static, value: t0k}}\n"
    suite.write({"test_it.py": FACTORY, "conftest.py": FACTORY_CONFTEST, "gatekeeper.yaml": config})
    done = suite.quick("--gatekeeper-config=gatekeeper.yaml", "--tb=long", "--showlocals")
    done.assert_outcomes(passed=4, failed=1)
    told = done.stdout.str()
    assert "ConfigError: gatekeeper_proxy_factory(): credentials[0].source.value: a source of type static" in told
    assert "pytest_gatekeeper/" not in told
    (line,) = [line for line in done.outlines if "hush-hush" in line]
    assert "gatekeeper_proxy_factory(credentials=" in line  # the test's own
    assert (suite.path / "closed.txt").read_text().splitlines() == ["<Gatekeeper closed>"] * 2


# ------------------------------------------------------------------ gatekeeper_config


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Config.parse(TEXT)", None),
        ("'deep/gatekeeper.yaml'", None),
        ("Path('gatekeeper.yaml')", None),
        ("None", "assert [] == ['file']"),
        ("3", "ConfigError: gatekeeper_config: the fixture must give a Config or a path, not int"),
        ("{'credentials': []}", "ConfigError: gatekeeper_config: the fixture must give a Config or a path, not dict"),
        ("'nowhere.yaml'", "nowhere.yaml: there is no such file; check the path"),
    ],
    ids=["Config", "path from the root", "path beside the test", "none", "number", "mapping", "missing"],
)
def test_overriding_the_configuration(suite: Suite, value: str, expected: str | None) -> None:
    """The fixture may give a Config or a path, which is looked for beside the test, then from the root."""
    text = "credentials:\n  - {host: file.example.com, grant: file, source: {type: static, value: t0k}}\n"
    suite.write(
        {
            "deep/gatekeeper.yaml": text,
            "deep/conftest.py": f"import pytest\nfrom pathlib import Path\nfrom pytest_gatekeeper import Config\n"
            f"TEXT = {text!r}\n@pytest.fixture(scope='session')\ndef gatekeeper_config():\n    return {value}\n",
            "deep/test_it.py": "def test_it(gatekeeper_recorder):\n"
            "    assert [rule.grant for rule in gatekeeper_recorder.rules] == ['file']\n",
        }
    )
    done = suite.quick(f"--rootdir={suite.path}")
    if expected is None:
        done.assert_outcomes(passed=1)
    else:
        assert done.ret == 1
        assert expected in done.stdout.str()
        assert "pytest_gatekeeper/" not in done.stdout.str()


# ------------------------------------------------------------------ the end of a run


def test_a_run_ends_whatever_threads_do(suite: Suite) -> None:
    """A test that leaves threads in the middle of requests: the run ends in order, without a word of them."""
    suite.write(
        {
            "test_it.py": HEAD
            + """
def test_it(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    gatekeeper_origin.faults.stall(path="/stall")

    def ask():
        with pytest.raises(OSError):
            urlopen("https://api.example.com/stall")

    for _ in range(4):
        threading.Thread(target=ask, daemon=True).start()
    gatekeeper_origin.wait_for(lambda origin: len(origin.received) == 4)

def test_next(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    urlopen("https://api.example.com/").close()
    assert len(gatekeeper_proxy.recorder.exchanges) == 1
"""
        }
    )
    done = suite.run("-W", "error")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert "warning" not in done.stdout.lower()
