"""Values of the wrong type, or in the wrong place: the error names the argument, and no frame of ours shows the value.

With `--full-trace` and `--showlocals` pytest shows every frame with its locals, also those that hide themselves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

VALUE = "wr0ng-s3cret-7f8e9d0c1b2a"

HELPER = f"""
import pytest

def value():
    return {VALUE[:9]!r} + {VALUE[9:]!r}

@pytest.fixture(scope="session")
def gatekeeper_config():
    from pytest_gatekeeper import Config
    return Config()
"""
SUITE = """
import pytest
from conftest import value
from pytest_gatekeeper import Gatekeeper

HOST = "api.example.com"
CALLS = {
    "add bytes": lambda proxy, factory: proxy.add_credential(HOST, value().encode()),
    "add list": lambda proxy, factory: proxy.add_credential(HOST, [value()]),
    "add host": lambda proxy, factory: proxy.add_credential(7, value()),
    "add header": lambda proxy, factory: proxy.add_credential(HOST, value(), header=None),
    "add line": lambda proxy, factory: proxy.add_credential(HOST, value() + "\\n"),
    "injected bytes": lambda proxy, factory: proxy.recorder.assert_injected(HOST, value=value().encode()),
    "injected header": lambda proxy, factory: proxy.recorder.assert_injected(HOST, header_value=[value()]),
    "injected text": lambda proxy, factory: proxy.recorder.assert_injected(HOST, value=value()),
    "not injected bytes": lambda proxy, factory: proxy.recorder.assert_not_injected(HOST, value=value().encode()),
    "not injected text": lambda proxy, factory: proxy.recorder.assert_not_injected(HOST, value=value()),
    "filter bytes": lambda proxy, factory: proxy.recorder.filter(HOST, value=value().encode()),
    "made bytes": lambda proxy, factory: Gatekeeper(credentials=[static(value().encode())]),
    "made line": lambda proxy, factory: Gatekeeper(credentials=[static(value() + "\\n")]),
    "made mapping": lambda proxy, factory: Gatekeeper(credentials=static(value())),
    "factory bytes": lambda proxy, factory: factory(credentials=[static(value().encode())]),
    "factory mapping": lambda proxy, factory: factory(credentials=static(value())),
    "factory word": lambda proxy, factory: factory(credential=[static(value())]),
    "factory line": lambda proxy, factory: factory(credentials=[static(value() + "\\n")]),
    "route": lambda proxy, factory: proxy.route(HOST, "https://" + value() + "@127.0.0.1:99999"),
}

def static(text):
    return {"host": HOST, "source": {"type": "static", "value": text}}

@pytest.mark.parametrize("name", CALLS)
def test_it(name, gatekeeper_proxy, gatekeeper_proxy_factory):
    CALLS[name](gatekeeper_proxy, gatekeeper_proxy_factory)

@pytest.mark.gatekeeper(credentials=[static(value().encode())])
def test_marker_bytes(gatekeeper_proxy): pass

@pytest.mark.gatekeeper(credentials=static(value()))
def test_marker_mapping(gatekeeper_proxy): pass

@pytest.mark.gatekeeper(credential=[static(value())])
def test_marker_word(gatekeeper_proxy): pass

@pytest.mark.gatekeeper(credentials=[static(value() + "\\n")])
def test_marker_line(gatekeeper_proxy): pass

@pytest.mark.gatekeeper(credentials=[{**static(value()), "hosts": "x"}])
def test_marker_key(gatekeeper_proxy): pass

@pytest.mark.gatekeeper(credentials=[{"host": "b.example.com", "source": {"type": "env", "var": value()}}],
                        secrets="real")
def test_real_variable(gatekeeper_proxy): pass
"""


def test_no_frame_shows_a_value(suite: Suite) -> None:
    """Not one of all calls that fail, each of which has failed; and the value would have been found."""
    suite.write({"conftest.py": HELPER, "test_it.py": SUITE, "test_own.py": "from conftest import value\n"
                 "def test_own():\n    mine = value()\n    assert not mine\n"})  # fmt: skip
    done = suite.run("test_it.py", "--full-trace", "--showlocals", "--tb=long", "-vv")
    assert re.search(r"= 19 failed, 6 errors in ", done.stdout), done.stdout[-2000:]
    lines = done.stdout.splitlines()
    shown = [at for at, line in enumerate(lines) if VALUE in line]
    assert not shown, "\n".join(lines[shown[0] - 40 : shown[0] + 1])
    assert VALUE in suite.run("test_own.py", "--full-trace", "--showlocals").stdout
