"""Real WebSocket clients through the fixture, as a user's test has them: log lines, heads, and a thousand messages."""

from __future__ import annotations

import contextlib
import logging
import random
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

from pytest_gatekeeper import Gatekeeper, Origin
from tests.conftest import in_a_loop

HOST = "ws.example.com"
TOKEN = "s3cret-of-the-real-clients"
RULE = {"host": HOST, "grant": "ws-api", "source": {"type": "static", "value": TOKEN}}

LIMIT = 60.0

with_rule = pytest.mark.gatekeeper(credentials=[RULE], fail_on="leak,violation")


# ------------------------------------------------------------------ the log


@with_rule
def test_both_lines_of_an_upgrade_are_in_caplog(
    gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    """The CONNECT and the 101, in this order, with what was injected; the lines of another host say nothing of it."""
    caplog.set_level(logging.INFO, "pytest_gatekeeper")
    gatekeeper_origin.serve(HOST, "chat.example.net")
    with connect(f"wss://{HOST}/socket") as client:
        client.send("hello")
        assert client.recv() == "hello"
        mine = [record.getMessage() for record in caplog.records if record.name == "pytest_gatekeeper"]
    caplog.clear()
    with connect("wss://chat.example.net/socket"):
        others = [record.getMessage() for record in caplog.records if record.name == "pytest_gatekeeper"]
    opened, switched = mine
    assert re.search(rf"^msg=request .*http_method=CONNECT http_host={HOST}:443 .*credential_injected=true", opened)
    assert re.search(
        rf"^msg=request .*http_method=GET http_host={HOST} http_path=/socket http_status=101 "
        r".*credential_injected=true injected_headers=authorization grants=ws-api",
        switched,
    )
    assert ["http_method=CONNECT" in line for line in others] == [True, False]
    assert not any("credential_injected" in line or "grants" in line for line in others)
    assert TOKEN not in caplog.text + opened + switched


# ------------------------------------------------------------------ the head

FIELDS = (
    "hOsT: ws.example.com",
    "X-MiXeD-Case: One",
    "authoriZATION: Bearer placeholder",
    "x-mixed-case: Two",
    "SEC-WEBSOCKET-VERSION: 13",
    "Sec-Websocket-KEY: dGhlIHNhbXBsZSBub25jZQ==",
    "UPGRADE: WebSocket",
    "conNECTION: Upgrade",
    "uSER-aGENT: none  of yours",
)


@with_rule
@pytest.mark.parametrize("asks", [True, False], ids=["placeholder", "without"])
def test_a_head_in_mixed_case(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, asks: bool) -> None:
    """Fields arrive in order and case as sent; the client's own Authorization is replaced where it stood."""
    gatekeeper_origin.serve(HOST)
    fields = [field for field in FIELDS if asks or "placeholder" not in field]
    context = gatekeeper_proxy.ca.ssl_context()
    with gatekeeper_proxy.connect(HOST) as raw, context.wrap_socket(raw, server_hostname=HOST) as client:
        client.sendall("\r\n".join(["GET /socket HTTP/1.1", *fields, "", ""]).encode())
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101 ")
    (received,) = gatekeeper_origin.received
    got = [f"{name}: {value}" for name, value in received.headers if name != "X-Request-Id"]
    sent = [field.replace("placeholder", TOKEN) for field in fields]
    assert got == [*sent, *([] if asks else [f"Authorization: Bearer {TOKEN}"])]
    (upgrade,) = gatekeeper_proxy.recorder.assert_upgraded(HOST, grant="ws-api", times=1)
    assert [name for name, _ in upgrade.headers] == [field.partition(":")[0] for field in fields]


# ------------------------------------------------------------------ messages

PATIENT: dict[str, Any] = {
    "max_size": 1 << 21,
    "open_timeout": LIMIT,
    "ping_interval": None,
}  # a busy machine is no fault


def messages(count: int) -> Iterator[str | bytes]:
    """Text and bytes of 1 B to 1 MiB, most of them short; the same each time."""
    dice = random.Random(count)
    for number in range(count):
        size = 1 << 20 if number == count // 2 else dice.choice([1, 2, 100, 125, 126, 1000, 1500])
        if number % 100 == 99:
            size = 65_535 + number // 100
        data = dice.randbytes(size)
        yield data if number % 2 else data.hex()[:size]


def fragments(message: str | bytes) -> Iterable[str] | Iterable[bytes]:
    """A message in three, one of them empty."""
    middle = len(message) // 2
    if isinstance(message, str):
        return iter((message[:middle], "", message[middle:]))
    return iter((message[:middle], b"", message[middle:]))


def talk(url: str, count: int, proxy: str | Literal[True] = True) -> int:
    """Send so many messages with the sync client; how many came back as they were."""
    same = 0
    with connect(url, proxy=proxy, **PATIENT) as client:
        for number, message in enumerate(messages(count)):
            client.send(fragments(message) if number % 7 == 3 else message)
            same += client.recv() == message
            if number % 50 == 0:
                assert client.ping(b"%d" % number).wait(LIMIT)
        client.close(4001, "that was it")
    return same


async def talk_async(url: str, count: int, proxy: str | Literal[True] = True) -> int:
    """The same with the asyncio client."""
    same = 0
    async with connect_async(url, proxy=proxy, **PATIENT) as client:
        for number, message in enumerate(messages(count)):
            await client.send(fragments(message) if number % 7 == 3 else message)
            same += await client.recv() == message
            if number % 50 == 0:
                await (await client.ping(b"%d" % number))
        await client.close(4001, "that was it")
    return same


CLIENTS: dict[str, Callable[..., int]] = {
    "sync": talk,
    "asyncio": lambda *arguments: in_a_loop(talk_async(*arguments), LIMIT),
}


@with_rule
@pytest.mark.parametrize("client", CLIENTS)
def test_a_thousand_messages(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, client: str) -> None:
    """Of 1 B to 1 MiB, text and bytes, whole and in fragments, pings between them: each comes back as it was."""
    gatekeeper_origin.serve(HOST)
    assert CLIENTS[client](f"wss://{HOST}/socket", 1000) == 1000
    (received,) = gatekeeper_origin.received
    assert received.header("Authorization") == f"Bearer {TOKEN}"
    gatekeeper_proxy.recorder.assert_upgraded(HOST, grant="ws-api", times=1)


class Tap:
    """A relay that keeps what passes each way: `sent` of who connects, `back` of who answers."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._far = socket.create_connection(("127.0.0.1", port), LIMIT)
        self._far.settimeout(LIMIT)
        self.port: int = self._server.getsockname()[1]
        self.sent, self.back = bytearray(), bytearray()
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self) -> None:
        with self._far, contextlib.suppress(OSError), self._server.accept()[0] as near:
            near.settimeout(LIMIT)
            self._threads.append(threading.Thread(target=self._pass, args=(self._far, near, self.back), daemon=True))
            self._threads[-1].start()
            self._pass(near, self._far, self.sent)
            self._threads[-1].join(LIMIT)

    def _pass(self, one: socket.socket, other: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                kept += data
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Wait for both ends."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # nobody came
        self._server.close()
        self._threads[0].join(LIMIT)
        assert not self._threads[0].is_alive()


def after_heads(stream: bytearray, heads: int) -> bytes:
    return bytes(stream).split(b"\r\n\r\n", heads)[heads]


@with_rule
@pytest.mark.parametrize("client", CLIENTS)
def test_streams_are_the_same_on_both_sides(
    gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, client: str
) -> None:
    """Behind the heads not one byte differs, either way: frames, masks, pings and the close are the client's own."""
    gatekeeper_origin.serve(HOST)
    with contextlib.ExitStack() as stack:
        far = Tap(gatekeeper_origin.port)
        stack.callback(far.close)
        near = Tap(gatekeeper_proxy.port)
        stack.callback(near.close)
        gatekeeper_proxy.route(HOST, f"http://127.0.0.1:{far.port}")
        assert CLIENTS[client](f"ws://{HOST}/socket", 100, f"http://127.0.0.1:{near.port}") == 100
    assert len(far.sent) > 1 << 19
    assert after_heads(near.sent, 2) == after_heads(far.sent, 1)  # CONNECT and its answer are the proxy's
    assert after_heads(near.back, 2) == after_heads(far.back, 1)
    assert TOKEN.encode() in far.sent and TOKEN.encode() not in near.sent
