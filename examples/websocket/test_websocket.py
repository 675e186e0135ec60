"""A WebSocket client gets its credential on the upgrade, its messages pass untouched, and nobody else gets it."""

from __future__ import annotations

import asyncio
import os

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pytest_gatekeeper import Gatekeeper, Origin, Recorder

URL = "wss://ws.example.com/socket"


def test_the_upgrade_gets_the_credential(gatekeeper_origin: Origin, gatekeeper_recorder: Recorder) -> None:
    """The client sends no token; the server sees it, once, on the upgrade."""
    token = os.environ["WS_API_TOKEN"]
    gatekeeper_origin.serve("ws.example.com")

    with connect(URL) as socket:
        socket.send("hello")
        assert socket.recv() == "hello"

    (upgrade,) = gatekeeper_recorder.assert_upgraded("ws.example.com", path="/socket", grant="ws-api", times=1)
    assert "authorization" not in {name.lower() for name, _ in upgrade.headers}
    gatekeeper_recorder.assert_injected("ws.example.com", grant="ws-api", value=token, upgrade=True)
    assert gatekeeper_origin.received[0].header("Authorization") == f"Bearer {token}"


def test_messages_arrive_as_they_were_sent(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """Text, bytes and an empty message come back equal; the asyncio client needs nothing special either."""
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


def test_another_host_does_not_get_it(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """Both hosts are reached, one gets the token: the credential is bound to its host."""
    gatekeeper_origin.serve("ws.example.com", "chat.example.net")

    with connect("wss://chat.example.net/socket") as other, connect(URL) as ours:
        for socket in (other, ours):
            socket.send("hello")
            assert socket.recv() == "hello"

    recorder = gatekeeper_proxy.recorder
    recorder.assert_not_injected("chat.example.net")
    recorder.assert_scope({"ws-api": ["ws.example.com"]})
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
