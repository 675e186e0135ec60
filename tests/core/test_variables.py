"""The variables of a client under test."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.variables import CLEARED, proxy_variables

URL = "http://127.0.0.1:41234"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "WSS_PROXY", "WS_PROXY"])
def test_each_proxy_variable_is_set_in_both_cases(name: str) -> None:
    """A stale or empty lower-case variable cannot beat ours."""
    variables = proxy_variables(URL, "/ca.pem")
    assert variables[name] == variables[name.lower()] == URL


def test_clients_with_variables_of_their_own_are_served() -> None:
    """gRPC and global-agent read their own names; Node, LWP and Mojo need a switch."""
    variables = proxy_variables(URL, "/ca.pem")
    assert variables["grpc_proxy"] == variables["GLOBAL_AGENT_HTTP_PROXY"] == URL
    assert [variables[name] for name in ("NODE_USE_ENV_PROXY", "PERL_LWP_ENV_PROXY", "MOJO_PROXY")] == ["1"] * 3


@pytest.mark.parametrize(
    "name",
    [
        "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
        "npm_config_cafile", "GIT_SSL_CAINFO", "PIP_CERT", "CARGO_HTTP_CAINFO", "DENO_CERT",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "HTTPLIB2_CA_CERTS", "WEBSOCKET_CLIENT_CA_BUNDLE",
        "PERL_LWP_SSL_CA_FILE", "HTTPS_CA_FILE", "MOJO_CA_FILE",
    ],
)  # fmt: skip
def test_the_authority_is_named_for_every_family_of_clients(name: str) -> None:
    """Our authority alone, and the bundle as soon as some hosts are reached directly."""
    assert proxy_variables(URL, "/ca.pem", "/bundle.pem")[name] == "/ca.pem"
    assert proxy_variables(URL, "/ca.pem", "/bundle.pem", ["direct.example"])[name] == "/bundle.pem"


def test_what_goes_direct_is_said_in_both_cases() -> None:
    """NO_PROXY is set only where the test asks for it."""
    assert "NO_PROXY" not in proxy_variables(URL, "/ca.pem", "/bundle.pem")
    variables = proxy_variables(URL, "/ca.pem", "/bundle.pem", ("a.example", "b.example"))
    assert variables["NO_PROXY"] == variables["no_proxy"] == "a.example,.a.example,b.example,.b.example"


def test_no_variable_is_both_set_and_cleared_unless_asked_for() -> None:
    """Clearing comes first, so only NO_PROXY may be in both, and only with `no_proxy`."""
    assert not set(CLEARED) & set(proxy_variables(URL, "/ca.pem"))
    assert set(CLEARED) & set(proxy_variables(URL, "/ca.pem", None, ["a"])) == {
        "NO_PROXY", "no_proxy", "GLOBAL_AGENT_NO_PROXY",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy", "REQUEST_METHOD", "npm_config_noproxy"])
def test_what_would_lead_clients_past_the_proxy_is_cleared(name: str) -> None:
    """An inherited exception or urllib's CGI rule would make a test pass for the wrong reason."""
    assert name in CLEARED


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "NODE_TLS_REJECT_UNAUTHORIZED", "JAVA_TOOL_OPTIONS", "WGETRC"])
def test_what_is_the_users_own_stays(name: str) -> None:
    """Neither set nor removed."""
    assert name not in {*CLEARED, *proxy_variables(URL, "/ca.pem", "/bundle.pem", ["a"])}
