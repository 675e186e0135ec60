"""The environment of a client under test: which variables say where the proxy is and whom to trust.

Names and values alone; whoever applies them (`proxy.env`, the pytest fixture, `exec`) touches the environment, this
module does not. What each variable is for was measured client by client; a variable is here when at least one client
reads nothing else, or when a stale value of it would beat the others.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["CLEARED", "proxy_variables"]

_PROXY = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "WSS_PROXY", "WS_PROXY")
"""Set in both cases: a stale or empty lower-case one beats the upper-case one; gRPC and wget read lower case alone."""

_PROXY_AS_SPELLED = ("grpc_proxy", "GLOBAL_AGENT_HTTP_PROXY")

_SWITCHES = ("NODE_USE_ENV_PROXY", "PERL_LWP_ENV_PROXY", "MOJO_PROXY")
"""Without these Node, LWP and Mojo ignore the proxy variables."""

_AUTHORITY = (
    "SSL_CERT_FILE",  # OpenSSL, Python's ssl, httpx, Go, Ruby, curl, cargo, uv, bun
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS", "npm_config_cafile", "DENO_CERT",
    "GIT_SSL_CAINFO", "PIP_CERT", "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "HTTPLIB2_CA_CERTS", "WEBSOCKET_CLIENT_CA_BUNDLE",
    "PERL_LWP_SSL_CA_FILE", "HTTPS_CA_FILE", "MOJO_CA_FILE",
)  # fmt: skip

CLEARED = (
    "NO_PROXY", "no_proxy", "no_grpc_proxy", "GLOBAL_AGENT_NO_PROXY", "npm_config_noproxy",  # lead past the proxy
    "REQUEST_METHOD",  # urllib takes the process for a CGI script and ignores HTTP_PROXY
    "PIP_PROXY", "CARGO_HTTP_PROXY", "GLOBAL_AGENT_HTTPS_PROXY",  # beat HTTPS_PROXY in their one client
    "npm_config_proxy", "npm_config_https_proxy",
)  # fmt: skip
"""Variables to remove before those of `proxy_variables` are set."""


def proxy_variables(
    url: str, ca_path: str, bundle_path: str | None = None, no_proxy: Iterable[str] = ()
) -> dict[str, str]:
    """Every variable that a client under test needs, by name.

    Args:
        url: of the proxy, ``http://host:port``, with credentials where it asks for them.
        ca_path: a file with the proxy's authority alone: cheap to load, and hermetic.
        bundle_path: a file with that authority and the roots trusted before. Clients get it when `no_proxy` names
            hosts, since these present certificates of their own.
        no_proxy: hosts that clients shall reach directly.
    """
    direct = ",".join(dict.fromkeys(form for host in no_proxy for form in _forms(host)))
    trusted = bundle_path if direct and bundle_path else ca_path
    variables = {name: url for upper in _PROXY for name in (upper, upper.lower())}
    variables.update(dict.fromkeys(_PROXY_AS_SPELLED, url))
    variables.update(dict.fromkeys(_SWITCHES, "1"))
    variables.update(dict.fromkeys(_AUTHORITY, trusted))
    if direct:
        variables.update(dict.fromkeys(("NO_PROXY", "no_proxy", "GLOBAL_AGENT_NO_PROXY"), direct))
    return variables


def _forms(host: str) -> tuple[str, ...]:
    """A host as clients understand it: to some a name covers what is below it, to others only with a dot in front."""
    if host.startswith((".", "*", "[")) or ":" in host or host.replace(".", "").isdigit():
        return (host,)
    return host, f".{host}"
