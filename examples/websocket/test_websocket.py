"""A WebSocket client gets its credential on the upgrade, its messages pass untouched, and nobody else gets it."""

from __future__ import annotations

import os

from websockets.sync.client import connect

from pytest_gatekeeper import Gatekeeper, Origin, Recorder


def test_the_upgrade_gets_the_credential(gatekeeper_origin: Origin, gatekeeper_recorder: Recorder) -> None:
    """The client sends no token; the server sees it, once, on the upgrade."""
    token = os.environ["WS_API_TOKEN"]
    gatekeeper_origin.serve("ws.example.com")

    with connect("wss://ws.example.com/socket") as socket:
        for message in ("hello", b"\x00\xff" * 5000, "", "ünïcödé"):
            socket.send(message)
            assert socket.recv() == message

    (upgrade,) = gatekeeper_recorder.assert_upgraded("ws.example.com", path="/socket", grant="ws-api", times=1)
    assert "authorization" not in {name.lower() for name, _ in upgrade.headers}
    gatekeeper_recorder.assert_injected("ws.example.com", grant="ws-api", value=token, upgrade=True)
    gatekeeper_recorder.assert_scope({"ws-api": ["ws.example.com"]})
    (received,) = gatekeeper_origin.received
    assert received.header("Authorization") == f"Bearer {token}"


def test_another_host_does_not_get_it(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """It is reached in the same way and gets no token: the credential is bound to its host."""
    gatekeeper_origin.serve("chat.example.net")

    with connect("wss://chat.example.net/socket") as socket:
        socket.send("hello")
        assert socket.recv() == "hello"

    gatekeeper_proxy.recorder.assert_not_injected("chat.example.net")
    assert gatekeeper_origin.received[0].header("Authorization") is None
