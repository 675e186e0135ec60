"""Facts about names below which strangers have names."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.suffixes import is_public_suffix


@pytest.mark.parametrize(
    "suffix",
    [
        "com", "DEV", "de", "co.uk", "com.au", "or.jp", "github.io", "GitHub.io", "herokuapp.com", "vercel.app",
        "amazonaws.com", "s3.amazonaws.com", "eu-west-1.amazonaws.com", "execute-api.us-gov-east-1.amazonaws.com",
        "run.app", "a.run.app", "us-central1.run.app", "azure.com", "core.windows.net", "railway.app",
    ],
)  # fmt: skip
def test_strangers_have_names_there(suffix: str) -> None:
    """Top-level labels, a country's second ones, hosting, a cloud's regions and services, and what is above them."""
    assert is_public_suffix(suffix)


@pytest.mark.parametrize(
    "suffix",
    [
        "example.com", "example.co.uk", "uk.com", "acme.github.io", "acme.s3.amazonaws.com", "api-7.eu-west-1.example",
        "internal", "local", "test", "localhost", "example", "svc", "cluster.local", "1", "0.0.1", "mygithub.io",
        "notamazonaws.com", "acme-prod.a.run.app",
    ],
)  # fmt: skip
def test_somebody_owns_the_names_there(suffix: str) -> None:
    """Registered names, customers' names, labels that nobody can register, and parts of addresses."""
    assert not is_public_suffix(suffix)
