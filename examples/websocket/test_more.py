"""The same for an asyncio client, for two hosts in one test, and for a server that refuses the upgrade."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pytest_gatekeeper import Gatekeeper, Origin

URL = "wss://ws.example.com/socket"


def test_the_asyncio_client_needs_nothing_special(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """Its upgrade gets the credential, too; text, bytes and an empty message come back equal."""
    gatekeeper_origin.serve("ws.example.com")
    messages: list[str | bytes] = ["text", b"\x00\xff" * 5000, "", "ünïcödé"]

    async def talk() -> list[str | bytes]:
        async with connect_async(URL) as socket:
            echoed: list[str | bytes] = []
            for message in messages:
                await socket.send(message)
                echoed.append(await socket.recv())
            return echoed

    assert asyncio.run(talk()) == messages
    gatekeeper_proxy.recorder.assert_upgraded("ws.example.com", grant="ws-api", times=1)


def test_of_two_hosts_one_gets_it(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """Both are connected at once: what the scope allows is all that happened."""
    gatekeeper_origin.serve("ws.example.com", "chat.example.net")

    with connect("wss://chat.example.net/socket") as other, connect(URL) as ours:
        for socket in (other, ours):
            socket.send("hello")
            assert socket.recv() == "hello"

    gatekeeper_proxy.recorder.assert_not_injected("chat.example.net")
    gatekeeper_proxy.recorder.assert_scope({"ws-api": ["ws.example.com"]})
    foreign = [received for received in gatekeeper_origin.received if received.host == "chat.example.net"]
    assert [received.header("Authorization") for received in foreign] == [None]


def test_a_refused_upgrade_is_an_ordinary_answer(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """A server that says 403 is heard by the client, status, body and all."""
    gatekeeper_origin.serve("ws.example.com")
    gatekeeper_origin.reject_upgrade(403, "not today")

    with pytest.raises(InvalidStatus) as refused, connect(URL):
        pass  # the upgrade is refused before this

    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"not today"
    (exchange,) = gatekeeper_proxy.recorder.filter("ws.example.com", upgrade=True)
    assert (exchange.upgraded, exchange.status, exchange.grants) == (False, 403, ("ws-api",))
