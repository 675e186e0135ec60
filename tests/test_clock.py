"""The tests' own clock: time moves on when a test says so, and what was due has happened then."""

from __future__ import annotations

import asyncio
import socket
import time

from pytest_gatekeeper._proxy.thread import LoopThread, proxy_thread
from tests.conftest import Clock

HOUR = 3600.0


def test_what_is_due_has_been_done(clock: Clock) -> None:
    """Timers and waits that are due by then, in their order, and what they lead to; others not."""
    done: list[str] = []

    async def wait_for(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        done.append(name)

    async def begin() -> list[asyncio.Task[None]]:
        waits = [("late", 2 * HOUR), ("second", 0.9 * HOUR), ("first", 0.5 * HOUR)]
        return [asyncio.ensure_future(wait_for(*wait)) for wait in waits]

    tasks = proxy_thread().run(begin)
    assert done == []
    clock.forward(HOUR)
    assert done == ["first", "second"]
    clock.forward(HOUR)
    assert done == ["first", "second", "late"]
    assert all(task.done() for task in tasks)


def test_what_has_arrived_is_read_before_time_passes(clock: Clock) -> None:
    """Bytes that wait in the system's buffer are there in time for a limit."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:

        async def read() -> bytes:
            return await asyncio.wait_for(proxy_thread().loop.sock_recv(near, 9), 0.5 * HOUR)

        async def begin() -> asyncio.Task[bytes]:
            return asyncio.ensure_future(read())

        task = proxy_thread().run(begin)
        far.send(b"x")
        clock.forward(HOUR)
        assert task.result() == b"x"
        task = proxy_thread().run(begin)
        clock.forward(HOUR)
        assert isinstance(task.exception(), asyncio.TimeoutError)


def test_time_never_goes_back(clock: Clock) -> None:
    """It is real time and all that was added; nobody's time but the proxy's is moved."""
    before = proxy_thread().loop.time()
    clock.forward(HOUR)
    between = proxy_thread().loop.time()
    clock.forward(HOUR)
    assert before + HOUR <= between <= proxy_thread().loop.time() - HOUR
    other = LoopThread()
    assert other.loop.time() <= time.monotonic() <= proxy_thread().loop.time() - 2 * HOUR
    other.stop()
