"""Facts about `explain`: what a shell is told of a URL."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

Finished = subprocess.CompletedProcess[str]
Gatekeeper = Callable[..., Finished]

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_rule_of_a_url_is_told_and_its_secret_is_not(gatekeeper: Gatekeeper, config: Path) -> None:
    """The variable is named, and known to be set; nothing else of the URL than what counts is shown."""
    done = gatekeeper("explain", config, "wss://user:s3cret@api.example.com/s3cret?key=s3cret")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == """\
wss://api.example.com:443

policy    permissive, everything passes
rule      api.example.com, the exact name
injected  X-Api-Key: <value of env API_KEY>
            credentials[0], line 3, grant api, env API_KEY (set)
"""
    )


def test_a_variable_that_is_empty_is_not_set(gatekeeper: Gatekeeper, config: Path) -> None:
    """As the source has it."""
    assert "env API_KEY (not set)" in gatekeeper("explain", config, "api.example.com", API_KEY="").stdout


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("cdn.example.com", "api.example.com (credentials[0], line 3, grant api): another host"),
        ("http://api.example.com", "travels in clear text"),
        ("example.com:8080", "https://example.com:8080\n"),
    ],
)
def test_what_does_not_apply_is_explained_as_well(gatekeeper: Gatekeeper, config: Path, url: str, told: str) -> None:
    """Status 0, whatever the outcome."""
    done = gatekeeper("explain", config, url)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


@pytest.mark.parametrize(
    ("example", "url", "told"),
    [
        ("websocket", "wss://ws.example.com/socket", "Authorization: Bearer <value of env WS_API_TOKEN>"),
        ("scoping", "https://billing.example.com/", "X-Api-Key: <value of env BILLING_KEY>"),
        ("scoping", "https://eu.reports.example.com/", "rule      *.reports.example.com, the wildcard"),
        ("scoping", "https://reports.example.com/", "a wildcard does not match its own suffix"),
        ("scoping", "https://files.example.com/", "injected  nothing\n"),
        ("scoping", "https://evil.example.com/", "the answer is 407"),
    ],
)
def test_the_examples_are_explained(gatekeeper: Gatekeeper, example: str, url: str, told: str) -> None:
    """Each URL of their tests, and some that they forbid; in 80 columns."""
    done = gatekeeper("explain", ROOT / "examples" / example / "gatekeeper.yaml", url, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert told in done.stdout or told in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_static_secrets_are_not_told(gatekeeper: Gatekeeper) -> None:
    """Neither a source's nor the proxy's own."""
    file = ROOT / "tests/data/broken/written-secret.yaml"
    done = gatekeeper("explain", file, "api.example.com")
    assert "Authorization: Bearer <static value>" in done.stdout
    assert "battery-staple" not in done.stdout
    assert "correct-horse" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("g.yaml",), "the following arguments are required: URL"),
        (("g.yaml", "ftp://s3cret"), "the scheme must be one of https, wss, http, ws"),
        (("g.yaml", "https://u:s3cret/@a.example"), "it names no host, or no port from 1 to 65535"),
        (("https://u:s3cret@a.example", "g.yaml"), "explain takes the file first, then the URL"),
        (("nope.yaml", "a.example"), "nope.yaml: there is no such file"),
        ((ROOT / "tests/data/broken/not-yaml.yaml", "a.example"), "not-yaml.yaml:3: is no YAML"),
    ],
)
def test_misuse_is_told_in_a_line(gatekeeper: Gatekeeper, arguments: tuple[str | Path, ...], text: str) -> None:
    """Status 2, nothing on standard output, no traceback, and nothing of a URL."""
    done = gatekeeper("explain", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr


def test_the_version_is_told(gatekeeper: Gatekeeper) -> None:
    """The installed one, for a report of a mistake."""
    done = gatekeeper("--version")
    assert (done.returncode, done.stdout) == (0, f"pytest-gatekeeper {version('pytest-gatekeeper')}\n")
