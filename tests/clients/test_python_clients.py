"""Python's clients, in this process: each reaches its host by the environment alone, and again with another credential.

They are imported, and where they remember the environment used, before the test has the proxy: the state in which a
program under test finds them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
import urllib.request
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients.conftest import HOST, INSTALL, INSTALLED, LIMIT, TURNS, Cell, Client, Site, cells, distribution
from tests.conftest import in_a_loop

SECTION = "python"


def optional(name: str) -> Any:
    """A module of the extra `clients`; that it is there has been seen to."""
    return importlib.import_module(name)


Chat = Callable[[Site], Awaitable[str]]


def waiting(chat: Chat) -> Callable[[Site], str]:
    """An action that runs in a loop of its own."""

    def action(site: Site) -> str:
        async def chatting() -> str:
            return await chat(site)

        return in_a_loop(chatting())

    return action


# ------------------------------------------------------------------ requests, urllib3, urllib, niquests, httplib2


def with_requests(site: Site) -> str:
    import requests

    return requests.get(site.url, timeout=LIMIT).text


def with_a_kept_session(site: Site) -> str:
    import requests

    session = site.kept.get("requests", requests.Session)
    return str(session.get(site.url, timeout=LIMIT).text)


def with_urllib(site: Site) -> str:
    with urllib.request.urlopen(site.url, timeout=LIMIT) as answer:
        return str(answer.read().decode())


def with_urllib3(site: Site) -> str:
    import urllib3

    with urllib3.ProxyManager(os.environ["HTTPS_PROXY"]) as manager:
        return manager.request("GET", site.url, timeout=LIMIT, retries=False).data.decode()


def with_a_kept_manager(site: Site) -> str:
    import urllib3

    manager = site.kept.get("urllib3", lambda: Closing(urllib3.ProxyManager(os.environ["HTTPS_PROXY"])))
    return str(manager.request("GET", site.url, timeout=LIMIT, retries=False).data.decode())


class Closing:
    """A ProxyManager with a `close`."""

    def __init__(self, manager: Any) -> None:
        self.request = manager.request
        self.close = manager.clear


def httplib2_version() -> str:
    """httplib2, where PySocks is there as well."""
    distribution("PySocks")()
    return distribution("httplib2")()


def with_httplib2(site: Site) -> str:
    client = optional("httplib2").Http(timeout=LIMIT)
    try:
        return str(client.request(site.url)[1].decode())
    finally:
        client.close()


def niquests_version() -> str:
    """The version in the folder that `install.py` filled."""
    folder = INSTALLED / "niquests"
    found = list(importlib.metadata.distributions(name="niquests", path=[str(folder)]))
    if not found:
        pytest.skip(INSTALL)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # the last place: urllib3 is the environment's own
    return found[0].version


def with_niquests(site: Site) -> str:
    return str(optional("niquests").get(site.url, timeout=LIMIT).text)


def with_niquests_websocket(site: Site) -> str:
    with optional("niquests").Session() as session:
        socket = session.get(site.url, timeout=LIMIT).extension
        socket.send_payload(site.word)
        echo = socket.next_payload()
        socket.close()
        return str(echo)


# ------------------------------------------------------------------ httpx, httpx-ws


def with_httpx(site: Site) -> str:
    import httpx

    return httpx.get(site.url, timeout=LIMIT).text


def with_a_kept_client(site: Site) -> str:
    import httpx

    client = site.kept.get("httpx", lambda: httpx.Client(timeout=LIMIT))
    return str(client.get(site.url).text)


def with_httpx_and_http2(site: Site) -> str:
    import httpx

    with httpx.Client(http2=True, timeout=LIMIT) as client:
        return client.get(site.url).text


async def with_async_httpx(site: Site) -> str:
    import httpx

    async with httpx.AsyncClient(timeout=LIMIT) as client:
        return (await client.get(site.url)).text


async def with_httpx_ws(site: Site) -> str:
    import httpx

    chat = optional("httpx_ws").aconnect_ws
    async with httpx.AsyncClient(timeout=LIMIT) as client, chat(site.url, client) as socket:
        await socket.send_text(site.word)
        return str(await socket.receive_text())


def http2_version() -> str:
    """httpx, where h2 is there as well."""
    distribution("h2")()
    return distribution("httpx")()


# ------------------------------------------------------------------ aiohttp, websockets, websocket-client


async def with_aiohttp(site: Site) -> str:
    import aiohttp

    async with aiohttp.ClientSession(trust_env=True) as session, session.get(site.url) as answer:
        return await answer.text()


async def with_aiohttp_websocket(site: Site) -> str:
    import aiohttp

    async with aiohttp.ClientSession(trust_env=True) as session, session.ws_connect(site.url) as socket:
        await socket.send_str(site.word)
        return str(await socket.receive_str())


def with_websockets(site: Site) -> str:
    from websockets.sync.client import connect

    with connect(site.url, open_timeout=LIMIT, close_timeout=LIMIT) as socket:
        socket.send(site.word)
        return str(socket.recv(timeout=LIMIT))


async def with_async_websockets(site: Site) -> str:
    from websockets.asyncio.client import connect

    async with connect(site.url) as socket:
        await socket.send(site.word)
        return str(await socket.recv())


def with_websocket_client(site: Site) -> str:
    import websocket

    socket = websocket.create_connection(site.url, timeout=LIMIT)
    try:
        socket.send(site.word)
        return str(socket.recv())
    finally:
        socket.close()


# ------------------------------------------------------------------ botocore


def sts(site: Site) -> Any:
    return (
        optional("botocore.session")
        .Session()
        .create_client(
            "sts",
            region_name="eu-central-1",
            endpoint_url=f"https://{HOST}",
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="none",
        )
    )


def as_sts(site: Site) -> None:
    body = f"<Response><GetCallerIdentityResult><UserId>{site.word}</UserId></GetCallerIdentityResult></Response>"
    site.origin.respond(headers={"Content-Type": "text/xml"}, body=body)


def with_botocore(site: Site) -> str:
    client = sts(site)
    try:
        return str(client.get_caller_identity()["UserId"])
    finally:
        client.close()


def with_a_kept_botocore_client(site: Site) -> str:
    return str(site.kept.get("botocore", lambda: sts(site)).get_caller_identity()["UserId"])


# ------------------------------------------------------------------ openai


def settings(site: Site) -> dict[str, Any]:
    """Arguments of both clients. The key is one that the proxy replaces in production."""
    return {"api_key": "none", "base_url": f"https://{HOST}/v1", "timeout": LIMIT, "max_retries": 0}


def as_openai(site: Site) -> None:
    answer = {"id": "1", "object": "model", "created": 0, "owned_by": site.word}
    if site.scheme == "https":
        site.origin.respond(path="/v1/models/m", body=answer)


def with_openai(site: Site) -> str:
    with optional("openai").OpenAI(**settings(site)) as client:
        return str(client.models.retrieve("m").owned_by)


async def with_async_openai(site: Site) -> str:
    async with optional("openai").AsyncOpenAI(**settings(site)) as client:
        return str((await client.models.retrieve("m")).owned_by)


def with_openai_realtime(site: Site) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # how it calls websockets 17 is its own business
        with optional("openai").OpenAI(**settings(site)) as client, client.realtime.connect(model="m") as connection:
            connection.send({"type": "response.cancel", "event_id": site.word})
            return str(connection.recv_bytes())


async def with_async_openai_realtime(site: Site) -> str:
    async with (
        optional("openai").AsyncOpenAI(**settings(site)) as client,
        client.realtime.connect(model="m") as connection,
    ):
        await connection.send({"type": "response.cancel", "event_id": site.word})
        return str(await connection.recv_bytes())


# ------------------------------------------------------------------ the roster

PROXY_MANAGER = '`ProxyManager(os.environ["HTTPS_PROXY"])`'

CLIENTS = [
    Client("requests", distribution("requests"), with_requests, loads=("requests",)),
    Client(
        "requests (kept Session)", distribution("requests"), with_a_kept_session, loads=("requests",)
    ),
    Client(
        "urllib.request", platform.python_version, with_urllib, before=lambda: urllib.request.urlopen("data:,").close()
    ),
    Client("urllib3 ProxyManager", distribution("urllib3"), with_urllib3, needs=PROXY_MANAGER, loads=("urllib3",)),
    Client(
        "urllib3 ProxyManager (kept)", distribution("urllib3"), with_a_kept_manager, needs=PROXY_MANAGER,
        loads=("urllib3",),
    ),
    Client("httplib2", httplib2_version, with_httplib2, needs="PySocks installed", loads=("httplib2",)),
    Client(
        "niquests", niquests_version, with_niquests, with_niquests_websocket, loads=("niquests",),
        before=lambda: optional("niquests").utils.get_environ_proxies("https://example.test"),
    ),
    Client("httpx", distribution("httpx"), with_httpx, loads=("httpx",)),
    Client("httpx (AsyncClient)", distribution("httpx"), waiting(with_async_httpx), loads=("httpx",)),
    Client("httpx (HTTP/2 offered)", http2_version, with_httpx_and_http2, loads=("httpx", "h2")),
    Client("httpx (kept Client)", distribution("httpx"), with_a_kept_client, loads=("httpx",)),
    Client("httpx-ws", distribution("httpx-ws"), wss=waiting(with_httpx_ws), loads=("httpx_ws",)),
    Client(
        "aiohttp", distribution("aiohttp"), waiting(with_aiohttp), waiting(with_aiohttp_websocket),
        needs="`ClientSession(trust_env=True)`", loads=("aiohttp",),
    ),
    Client("websockets (sync)", distribution("websockets"), wss=with_websockets, loads=("websockets.sync.client",)),
    Client(
        "websockets (asyncio)", distribution("websockets"), wss=waiting(with_async_websockets),
        loads=("websockets.asyncio.client",),
    ),
    Client(
        "websocket-client", distribution("websocket-client"), wss=with_websocket_client, loads=("websocket",)
    ),
    Client("botocore", distribution("botocore"), with_botocore, answer=as_sts, loads=("botocore.session",)),
    Client(
        "botocore (kept client)", distribution("botocore"), with_a_kept_botocore_client, answer=as_sts,
        loads=("botocore.session",),
    ),
    Client(
        "openai (OpenAI)", distribution("openai"), with_openai, with_openai_realtime, answer=as_openai,
        loads=("openai",),
    ),
    Client(
        "openai (AsyncOpenAI)", distribution("openai"), waiting(with_async_openai), waiting(with_async_openai_realtime),
        answer=as_openai, loads=("openai",),
    ),
]  # fmt: skip


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("cell", cells(SECTION, CLIENTS), indirect=True)
def test_a_python_client_needs_what_the_table_says(cell: Cell, turn: str, converse: Callable[[str], None]) -> None:
    """It reaches a name that does not resolve, what comes back is the upstream's, and the credential was added."""
    converse(turn)


def test_the_table_has_these_clients(rows: Callable[..., Any]) -> None:
    """It names each with its schemes and needs, no other, and says that all work: the tests above are the proof."""
    told, shown = rows(SECTION, CLIENTS)
    assert told == shown
