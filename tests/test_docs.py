"""The documentation says what is: its code runs as pasted, its links lead somewhere, its names are the plugin's."""

from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gatekeeper import Recorder
from pytest_gatekeeper._core.config import _PLACES
from pytest_gatekeeper._core.credentials import ENTRY
from pytest_gatekeeper._core.source_spec import KINDS

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")))
KEY = re.compile(r"`([a-z][a-z_.\[\]-]*)`")
REFERENCE = (ROOT / "docs" / "fixtures-and-options.md").read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    """A page as test ids show it."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_the_code_of_a_page_runs_as_pasted(page: Path, tmp_path: Path, run_pytest: Run) -> None:
    """Each Python block is a file of its own with at least one test, and all pass with warnings as errors."""
    blocks = blocks_of(page)
    assert [block for block in blocks if "def test_" not in block] == []
    for number, block in enumerate(blocks):
        (tmp_path / f"test_block_{number}.py").write_text(block, encoding="utf-8")

    done = run_pytest(tmp_path, "-W", "error")

    assert done.returncode == 0, done.stdout
    assert f"{sum(block.count('def test_') for block in blocks)} passed" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the repository leads to one that exists."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_options_and_ini_keys_are_the_documented_ones(tmp_path: Path, run_pytest: Run) -> None:
    """What `pytest --help` lists is in the reference, and the other way round."""
    shown = run_pytest(tmp_path, "--help").stdout
    pattern = r"--gatekeeper-[a-z-]+|\bgatekeeper_[a-z_]+(?= \()"
    keys = {f"gatekeeper_{key}" for key in re.findall(r"\| `gatekeeper_([a-z_]+)` \|", _section("Options"))}
    options = set(re.findall(r"--gatekeeper-[a-z-]+", _section("Options")))
    assert options
    assert set(re.findall(pattern, shown)) == options | keys


def test_fixtures_are_the_documented_ones(tmp_path: Path, run_pytest: Run) -> None:
    """What `pytest --fixtures` lists is in the reference, and the other way round."""
    shown = run_pytest(tmp_path, "--fixtures").stdout
    documented = set(re.findall(r"^\| `(gatekeeper_[a-z_]+)`", _section("Fixtures"), re.MULTILINE))
    assert documented
    assert set(re.findall(r"^(gatekeeper_[a-z_]+)", shown, re.MULTILINE)) == documented


def test_every_key_of_a_configuration_is_documented() -> None:
    """The keys of the table are those that the reader knows, and the other way round."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    shown = {key for line in page.splitlines() if line.startswith("| `") for key in KEY.findall(line.split("|")[1])}
    places = {place.rpartition(" ")[2]: keys for place, keys in _PLACES.items()}
    known = {f"credentials[].{key}" for key in ENTRY}
    known |= {f"{place}.{key}" for place in ("proxy", "tls", "network", "log", "postgres") for key in places[place]}
    assert {key for key in shown if "." in key} == known
    assert {key.partition(".")[0].removesuffix("[]") for key in known} == set(_PLACES["at the top level"])


def test_every_kind_of_source_is_documented() -> None:
    """Which fields each needs, and which it may have."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").partition("## Sources")[2]
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `") and "`type`" not in line]
    shown = {KEY.findall(kind)[0]: (KEY.findall(needs), KEY.findall(may)) for kind, needs, may in rows}
    assert shown == {
        type: ([*kind.required, *(name for group in kind.one_of for name in group)], list(kind.optional))
        for type, kind in KINDS.items()
    }


ASSERTIONS = ["injected", "not_injected", "upgraded", "scope", "no_leaks", "no_bypass", "denied"]


@pytest.mark.parametrize("name", ["filter", "wait_for", *(f"assert_{name}" for name in ASSERTIONS)])
def test_the_arguments_of_a_recorder_are_documented(name: str) -> None:
    """The page has each call with the arguments that it takes, in their order."""
    page = " ".join((ROOT / "docs" / "recorder.md").read_text(encoding="utf-8").split())
    _, *arguments = inspect.signature(getattr(Recorder, name)).parameters
    calls = re.findall(rf"`(?:recorder\.)?{name}\(([^`]*)\)`", page)
    assert calls
    assert re.findall(r"[a-z_]+(?=[=,]|$)", calls[0]) == arguments


def _section(title: str) -> str:
    """A section of the reference, found by the first word of its heading."""
    (section,) = re.findall(rf"^## {title}.*?(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    return str(section)
