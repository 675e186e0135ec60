"""Which client opened a connection, by the modules on its stack, and what leads that client to the proxy.

Takes names of modules and functions as plain text and gives words. Whoever has a stack, and an idea of what is loaded,
is elsewhere; nothing here looks at a frame. What each client reads was measured client by client; a client is in the
table when a connection of its can pass the proxy by, or when another one's stack leads through it.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

__all__ = ["Call", "Client", "find_client", "guess_client", "until_turn"]


class Call(NamedTuple):
    """One frame of a stack: the dotted name of its module, and of its function."""

    module: str
    function: str = ""


class Client(NamedTuple):
    """Who opened a connection.

    Attributes:
        name: of the library, or of the user's function (`module.function`); `probably …` where it is a guess.
        cure: what makes it use the proxy, in a sentence that begins with the library's name.
        guessed: whether the stack did not show it.
    """

    name: str
    cure: str
    guessed: bool = False


_INSIDE = "make it inside the test, after gatekeeper_proxy"
_KEPT = f"what was made before the proxy does not know it: {_INSIDE}"

_ANY = (
    "give it proxy.url and proxy.ca.ssl_context(), or a socket of proxy.connect(host, port); no_proxy=[…] names hosts"
    " that go direct on purpose"
)

_CURES = {
    "aiohttp": "ClientSession(trust_env=True)",
    "aiobotocore": f"{_KEPT}, or pass config=AioConfig(proxies={{'https': proxy.url}}), verify=proxy.ca.cert_path",
    "anthropic": f"{_KEPT}, or Anthropic(http_client=anthropic.DefaultHttpxClient(**proxy.kwargs('httpx')))",
    "boto3": f"{_KEPT}, or boto3.client(…, **proxy.kwargs('boto3'))",
    "elasticsearch": 'Elasticsearch(url, node_class="requests")',
    "http.client": (
        "c = HTTPSConnection(proxy.host, proxy.port, context=proxy.ca.ssl_context()); c.set_tunnel(host, 443)"
    ),
    "httpcore": "HTTPProxy(proxy.url, ssl_context=proxy.ca.ssl_context()) in the place of ConnectionPool()",
    "httplib2": "pip install PySocks, without which it knows no proxy, and leave proxy_info= at its default",
    "httpx": (
        f"{_KEPT}, or Client(**proxy.kwargs('httpx')); trust_env=False and transport= switch the environment off"
    ),
    "httpx2": (
        f"{_KEPT}, or Client(**proxy.kwargs('httpx')); trust_env=False and transport= switch the environment off"
    ),
    "httpx-ws": f"{_KEPT}, or connect_ws(url, httpx.Client(**proxy.kwargs('httpx')))",
    "kubernetes": f"{_KEPT}, or set Configuration.proxy = proxy.url and .ssl_ca_cert = proxy.ca.cert_path",
    "niquests": "niquests.utils.getproxies.cache_clear(), and leave trust_env=True",
    "openai": f"{_KEPT}, or OpenAI(http_client=openai.DefaultHttpxClient(**proxy.kwargs('httpx')))",
    "python-socketio": "AsyncClient(http_session=aiohttp.ClientSession(trust_env=True))",
    "requests": "leave Session.trust_env=True, or pass **proxy.kwargs('requests')",
    "sentry_sdk": "init(https_proxy=proxy.url, ca_certs=proxy.ca.cert_path)",
    "slack_sdk": f"{_KEPT}, or WebClient(proxy=proxy.url, ssl=proxy.ca.ssl_context())",
    "tornado": (
        "simple_httpclient and websocket_connect know no proxy; curl_httpclient's fetch takes proxy_host=, proxy_port="
    ),
    "trio-websocket": (
        "wrap_client_stream() over a trio.SSLStream with proxy.ca.ssl_context(), over proxy.connect(host, 443)"
    ),
    "twisted": "Agent knows no CONNECT; give it an IAgentEndpointFactory whose endpoints lead through proxy.url",
    "urllib.request": f"install_opener(None), and build_opener() inside the test; {_KEPT}",
    "urllib3": "ProxyManager(proxy.url, ssl_context=proxy.ca.ssl_context())",
    "websocket-client": "leave http_no_proxy= out, or pass **proxy.kwargs('websocket-client')",
    "websockets": (
        "connect() of version 15 or later, without proxy=None; websockets.legacy takes sock=proxy.connect(host, 443),"
        " ssl=proxy.ca.ssl_context(), server_hostname=host"
    ),
}
"""By the name that people know a client by."""

_MODULES = {
    "aiohappyeyeballs": "aiohttp", "aiohttp": "aiohttp", "aiobotocore": "aiobotocore", "anthropic": "anthropic",
    "boto3": "boto3", "botocore": "boto3", "elastic_transport": "elasticsearch", "elasticsearch": "elasticsearch",
    "engineio": "python-socketio", "http.client": "http.client", "httpcore": "httpcore", "httplib2": "httplib2",
    "httpx": "httpx", "httpx_aiohttp": "httpx", "httpx2": "httpx2", "httpcore2": "httpx2", "httpx_ws": "httpx-ws",
    "kubernetes": "kubernetes", "niquests": "niquests", "openai": "openai", "requests": "requests",
    "sentry_sdk.transport": "sentry_sdk", "slack_sdk": "slack_sdk", "socketio": "python-socketio",
    "tornado": "tornado", "treq": "twisted", "trio_websocket": "trio-websocket", "twisted": "twisted",
    "urllib.request": "urllib.request", "urllib3": "urllib3", "urllib3_future": "niquests",
    "websocket": "websocket-client", "websockets": "websockets",
}  # fmt: skip
"""Clients by the beginning of a module's name."""

_PLUMBING = frozenset(
    (*sys.stdlib_module_names, "", "anyio", "curio", "ddtrace", "eventlet", "gevent", "h11", "h2", "newrelic",
     "opentelemetry", "outcome", "sentry_sdk", "sniffio", "socks", "trio", "truststore", "wrapt")
)  # fmt: skip
"""Roots of modules that never are the client: they open connections for others, or stand in between."""

_TURNS = frozenset((Call("asyncio.events", "_run"), Call("trio._core._run", "unrolled_run")))
"""Where an event loop takes its next step: what is further out did not ask for it."""

_SUSPECTS = ("aiohttp", "httpx", "websockets", "tornado", "twisted")
"""Clients that look names up in threads of their own, the ones that pass the proxy by unasked first."""

_TRIO_SUSPECTS = ("httpx", "trio_websocket", "httpx2", "websockets")


def until_turn(calls: Iterable[Call]) -> list[Call]:
    """The calls, innermost first, up to where an event loop took its step."""
    told: list[Call] = []
    for call in calls:
        if call in _TURNS:
            break
        told.append(call)
    return told


def find_client(calls: Iterable[Call]) -> Client | None:
    """Who is at work on a stack, innermost call first; None where nothing but plumbing is on it.

    Libraries call each other: the outermost known one below the first strange frame is the one that the user knows, so
    that a `requests.get` is not blamed on urllib3. Where there is none, the strange function itself did it.
    """
    client = ""
    for module, function in until_turn(calls):
        root, _, rest = module.partition(".")
        known = _MODULES.get(f"{root}.{rest.partition('.')[0]}") or _MODULES.get(root)
        if known:
            client = known
        elif root not in _PLUMBING:
            return _client(client) if client else Client(f"{module}.{function}".rstrip("."), _ANY)
    return _client(client) if client else None


def guess_client(calls: Sequence[Call], loaded: Container[str]) -> Client:
    """Who may be at work where the stack does not show it: a library that is loaded and works in the background.

    Args:
        calls: a stack without a client.
        loaded: names of modules.
    """
    trio = any(call.module.partition(".")[0] == "trio" for call in calls)
    for module in _TRIO_SUSPECTS if trio else _SUSPECTS:
        if module in loaded:
            return Client(f"probably {_MODULES[module]}", _client(_MODULES[module]).cure, guessed=True)
    return Client("", _ANY, guessed=True)


def _client(name: str) -> Client:
    return Client(name, f"{name}: {_CURES[name]}")
