"""What a suite pays that has the plugin and does not use it: a handful of small modules, and nothing of the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Suite

HEAVY = {"anyio", "asyncio", "cryptography", "h11", "ssl", "trustme", "wsproto", "yaml"}
CONFTEST = """
import sys
from pathlib import Path

def pytest_unconfigure():
    Path("modules.txt").write_text("\\n".join(sorted(sys.modules)))
"""
TESTS = "import pytest\n@pytest.mark.parametrize('number', range(3))\ndef test_it(number): pass\n"
USING = "def test_it(gatekeeper_proxy): pass\n"


def modules(suite: Suite, *arguments: str) -> set[str]:
    """What was loaded when the run ended."""
    done = suite.run("-p", "no:anyio", *arguments)
    assert done.returncode == 0, done.stdout
    return set((suite.path / "modules.txt").read_text(encoding="utf-8").split())


def packages(names: set[str]) -> set[str]:
    """The top-level packages."""
    return {name.partition(".")[0] for name in names}


def test_an_unused_plugin_is_light(suite: Suite) -> None:
    """Collecting or running: no library of the proxy is loaded because of us, and few modules of ours are."""
    suite.write({"conftest.py": CONFTEST, "test_it.py": TESTS})
    without = modules(suite, "-p", "no:gatekeeper")
    assert not {name for name in without if name.startswith("pytest_gatekeeper")}
    for arguments in (["--collect-only"], ["-W", "error"]):
        with_us = modules(suite, *arguments) - without
        assert not packages(with_us) & HEAVY
        ours = {name for name in with_us if name.startswith("pytest_gatekeeper")}
        assert "pytest_gatekeeper.plugin" in ours
        assert len(ours) <= 20, sorted(ours)
        assert not {name for name in ours if "_proxy" in name or "_origin" in name or name.endswith(".gatekeeper")}
    suite.write({"test_it.py": USING})
    assert not packages(modules(suite, "--collect-only") - without) & HEAVY  # its fixture was not asked for yet


def test_a_configuration_costs_its_reading_alone(suite: Suite) -> None:
    """With a file, YAML is read for the header; cryptography, the network and their like still wait."""
    suite.write({"conftest.py": CONFTEST, "test_it.py": TESTS, "gatekeeper.yaml": "network: {policy: permissive}\n"})
    loaded = modules(suite, "--gatekeeper-config=gatekeeper.yaml")
    without = modules(suite, "-p", "no:gatekeeper")
    assert packages(loaded - without) & HEAVY == {"yaml"}


def test_a_test_that_uses_it_loads_it(suite: Suite) -> None:
    """The positive twin, which also shows that anyio's own plugin is not needed; what few tests need still waits."""
    suite.write({"conftest.py": CONFTEST, "test_it.py": USING})
    without = modules(suite, "-p", "no:gatekeeper", "--collect-only")
    assert packages(modules(suite) - without) & HEAVY == HEAVY - {"anyio", "h11", "wsproto", "yaml"}


def test_importing_the_package_is_free(suite: Suite) -> None:
    """Public names are loaded on first use, and all of them are there."""
    suite.write(
        {
            "conftest.py": CONFTEST,
            "test_it.py": """
import sys
import pytest_gatekeeper

def test_it():
    before = {name for name in sys.modules if name.startswith("pytest_gatekeeper")}
    assert "Gatekeeper" in dir(pytest_gatekeeper)
    assert "pytest_gatekeeper.gatekeeper" not in before
    for name in pytest_gatekeeper.__all__:
        assert getattr(pytest_gatekeeper, name) is not None
    assert "pytest_gatekeeper.gatekeeper" in sys.modules
    assert not hasattr(pytest_gatekeeper, "Nonsense")
""",
        }
    )
    assert "pytest_gatekeeper.gatekeeper" in modules(suite)


@pytest.mark.parametrize("plugin", ["no:anyio", "anyio"])
def test_anyio_has_no_say(suite: Suite, plugin: str) -> None:
    """An async test of anyio's plugin works with the proxy; without that plugin the proxy works all the same."""
    asynchronous = """
import pytest
from anyio import to_thread
from urllib.request import urlopen

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_async(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    await to_thread.run_sync(lambda: urlopen("https://api.example.com/").close())
    gatekeeper_proxy.recorder.assert_not_injected("api.example.com")
"""
    synchronous = """
from urllib.request import urlopen
def test_sync(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    urlopen("https://api.example.com/").close()
"""
    suite.write({"test_sync.py": synchronous} | ({"test_async.py": asynchronous} if plugin == "anyio" else {}))
    done = suite.quick("-p", plugin) if plugin.startswith("no:") else suite.quick()
    done.assert_outcomes(passed=1 if plugin.startswith("no:") else 2)
