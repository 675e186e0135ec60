"""Clients that the environment cannot reach, and what docs/clients.md says to do instead.

Each is tried twice: as it is nothing of it reaches the proxy, with what the page says it gets through.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import httpx
import pytest
import requests
import urllib3
from websockets.sync.client import connect

from pytest_gatekeeper import Gatekeeper, Origin
from tests.clients.conftest import HOST, LIMIT
from tests.conftest import in_a_loop

URL = f"https://{HOST}/word"


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name resolves, without asking anybody."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if host not in {"127.0.0.1", b"127.0.0.1"}:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


# ------------------------------------------------------------------ as they are, and cured


def read(connection: http.client.HTTPSConnection) -> str:
    try:
        connection.request("GET", "/word")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def http_client(proxy: Gatekeeper) -> str:
    return read(http.client.HTTPSConnection(HOST, timeout=LIMIT))


def cured_http_client(proxy: Gatekeeper) -> str:
    context = proxy.ca.ssl_context()
    connection = http.client.HTTPSConnection(proxy.host, proxy.port, context=context, timeout=LIMIT)
    connection.set_tunnel(HOST, 443)
    return read(connection)


def pool_manager(proxy: Gatekeeper) -> str:
    with urllib3.PoolManager() as manager:
        return manager.request("GET", URL, timeout=LIMIT, retries=False).data.decode()


def cured_pool_manager(proxy: Gatekeeper) -> str:
    with urllib3.ProxyManager(**proxy.kwargs("urllib3")) as manager:
        return manager.request("GET", URL, timeout=LIMIT, retries=False).data.decode()


def untrusting_session(_: Gatekeeper, **arguments: Any) -> str:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(URL, timeout=LIMIT, **arguments).text


def cured_session(proxy: Gatekeeper) -> str:
    return untrusting_session(proxy, **proxy.kwargs("requests"))


def own_transport(_: Gatekeeper, **arguments: Any) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(**arguments), timeout=LIMIT) as client:
        return client.get(URL).text


def cured_transport(proxy: Gatekeeper) -> str:
    return own_transport(proxy, **proxy.kwargs("httpx"))


def plain_aiohttp(proxy: Gatekeeper, *, cured: bool = False) -> str:
    async def fetched() -> str:
        arguments = proxy.kwargs("aiohttp") if cured else {}
        async with aiohttp.ClientSession(**arguments) as session, session.get(URL) as answer:
            return await answer.text()

    return in_a_loop(fetched())


def cured_aiohttp(proxy: Gatekeeper) -> str:
    return plain_aiohttp(proxy, cured=True)


def proxyless_websockets(proxy: Gatekeeper, **arguments: Any) -> str:
    with connect(f"wss://{HOST}/word", proxy=None, open_timeout=LIMIT, **arguments) as chat:
        chat.send("word")
        return str(chat.recv(timeout=LIMIT))


def cured_websockets(proxy: Gatekeeper) -> str:
    context = proxy.ca.ssl_context()
    return proxyless_websockets(proxy, sock=proxy.connect(HOST), ssl=context, server_hostname=HOST)


class Case(NamedTuple):
    """A client, as it is and with what it needs."""

    name: str
    alone: Callable[[Gatekeeper], str]
    cured: Callable[[Gatekeeper], str]


CASES = [
    Case("http.client", http_client, cured_http_client),
    Case("urllib3.PoolManager", pool_manager, cured_pool_manager),
    Case("requests, trust_env=False", untrusting_session, cured_session),
    Case("httpx, a transport of its own", own_transport, cured_transport),
    Case("aiohttp, default", plain_aiohttp, cured_aiohttp),
    Case("websockets, no proxy", proxyless_websockets, cured_websockets),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_client_that_ignores_the_environment_is_led_by_hand(
    case: Case, gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin
) -> None:
    """As it is nothing reaches the proxy; with what the page says it does, and gets the credential."""
    gatekeeper_origin.serve(HOST)
    gatekeeper_proxy.add_credential(HOST, "credential-by-hand", header="X-Client-Key", grant="client")

    with pytest.raises(Exception, match=r"(?i)name or service not known|resolve"):
        case.alone(gatekeeper_proxy)
    assert gatekeeper_proxy.recorder.exchanges == ()
    assert gatekeeper_proxy.recorder.tunnels == ()

    assert "word" in case.cured(gatekeeper_proxy)
    gatekeeper_proxy.recorder.assert_injected(HOST, grant="client", value="credential-by-hand", times=1)
