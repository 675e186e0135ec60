"""Two services, two credentials, a strict policy: each credential stays with its own host, and strangers stay out."""

from __future__ import annotations

import os

import httpx
import pytest
import requests

from pytest_gatekeeper import Gatekeeper, Origin

TIMEOUT = 10


@pytest.fixture
def upstream(gatekeeper_origin: Origin) -> Origin:
    """All the names that the tests talk to, allowed or not, lead to the stub."""
    gatekeeper_origin.serve("billing.example.com", "*.reports.example.com", "files.example.com", "tracker.example.net")
    return gatekeeper_origin


def test_each_host_gets_its_own_credential(gatekeeper_proxy: Gatekeeper, upstream: Origin) -> None:
    """Billing sees the key, reports the token, and neither sees the other's."""
    requests.get("https://billing.example.com/v1/invoices", timeout=TIMEOUT).raise_for_status()
    httpx.get("https://eu.reports.example.com/daily", timeout=TIMEOUT).raise_for_status()

    billing, reports = upstream.received
    assert billing.header("X-Api-Key") == os.environ["BILLING_KEY"]
    assert billing.header("Authorization") is None
    assert reports.header("Authorization") == f"Bearer {os.environ['REPORTS_TOKEN']}"
    assert reports.header("X-Api-Key") is None
    gatekeeper_proxy.recorder.assert_scope({"billing": ["billing.example.com"], "reports": ["*.reports.example.com"]})


def test_an_allowed_host_without_a_rule_gets_nothing(gatekeeper_proxy: Gatekeeper, upstream: Origin) -> None:
    """To be allowed is not to be trusted with a credential; billing, asked next to it, gets its own."""
    requests.get("https://files.example.com/logo.svg", timeout=TIMEOUT).raise_for_status()
    requests.get("https://billing.example.com/v1/invoices", timeout=TIMEOUT).raise_for_status()

    gatekeeper_proxy.recorder.assert_not_injected("files.example.com")
    gatekeeper_proxy.recorder.assert_injected("billing.example.com", grant="billing", times=1)


def test_a_redirect_does_not_carry_the_credential_along(gatekeeper_proxy: Gatekeeper, upstream: Origin) -> None:
    """Billing sends the client on to the file server: the first request has the key, the second has not."""
    upstream.respond(
        host="billing.example.com", path="/download", status=302,
        headers={"Location": "https://files.example.com/invoice.pdf"},
    )  # fmt: skip

    requests.get("https://billing.example.com/download", timeout=TIMEOUT).raise_for_status()

    billing, files = upstream.received
    assert billing.header("X-Api-Key") == os.environ["BILLING_KEY"]
    assert (files.target, files.header("X-Api-Key")) == ("/invoice.pdf", None)
    gatekeeper_proxy.recorder.assert_scope({"billing": ["billing.example.com"]})


def test_the_policy_keeps_strangers_out(gatekeeper_proxy: Gatekeeper, upstream: Origin) -> None:
    """What the file does not allow is refused at CONNECT: nothing reaches the server. What it allows does."""
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://tracker.example.net/pixel", timeout=TIMEOUT)
    requests.get("https://files.example.com/logo.svg", timeout=TIMEOUT).raise_for_status()

    gatekeeper_proxy.recorder.assert_denied("tracker.example.net", times=1)
    assert [received.host for received in upstream.received] == ["files.example.com"]
