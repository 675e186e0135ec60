"""`explain` over every configuration of the examples and every broken one: told, or refused, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_gatekeeper.cli import main
from tests.conftest import ROOT

FILES = sorted([*ROOT.glob("examples/*/gatekeeper.yaml"), *ROOT.glob("tests/data/broken/*.yaml")])
UNREADABLE = {"dropped-host.yaml", "not-yaml.yaml"}
SECRETS = ("battery-staple", "correct-horse")
URLS = (
    "https://api.example.com/",
    "wss://ws.example.com/socket",
    "http://reports.example.com",
    "billing.example.com:8443",
    "https://[::1]:8443/",
    "https://bücher.example/",
)


def test_all_files_are_here() -> None:
    """Four examples and ten broken files; the secrets are really in one of them."""
    assert len(FILES) == 14
    texts = "".join(file.read_text(encoding="utf-8") for file in FILES)
    assert all(secret in texts for secret in SECRETS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_file_is_explained_or_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0 with an answer for each URL, or 2 with a line that names file and place; no secret, no warning."""
    for url in URLS:
        status = main(["explain", str(file), url])
        told, error = capsys.readouterr()
        assert not any(secret in told + error for secret in SECRETS)
        assert "Traceback" not in told + error
        if file.name in UNREADABLE:
            assert (status, told) == (2, "")
            assert error.startswith(f"gatekeeper: {file}:3: ") and error.count("\n") == 1
        else:
            assert (status, error) == (0, "")
            assert [line.split()[0] for line in told.splitlines()[2:] if line[:1] != " "][:2] == ["policy", "rule"]
