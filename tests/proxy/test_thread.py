"""The proxy's thread: it runs what it is handed, keeps to limits, survives forks, and is silent about values."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_gatekeeper._proxy.thread import LoopThread, proxy_thread
from pytest_gatekeeper.errors import ProxyError
from tests.conftest import SOON

SECRET = "s3cret-value"
TIMEOUT = 30.0


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """A thread of the test's own; to stop it waits as long as a busy machine takes."""
    thread = LoopThread()
    join = thread._thread.join
    thread._thread.join = lambda timeout=None: join(TIMEOUT)  # type: ignore[method-assign]
    yield thread
    thread.stop()


# ------------------------------------------------------------------ running


def test_work_runs_on_the_thread(loop_thread: LoopThread) -> None:
    """Its result comes back; the caller waits elsewhere."""

    async def work() -> tuple[int, object]:
        await asyncio.sleep(0)
        return threading.get_ident(), asyncio.get_running_loop()

    assert loop_thread.run(work) == (loop_thread.ident, loop_thread.loop)
    assert loop_thread.ident != threading.get_ident()


@pytest.mark.skipif(not hasattr(time, "CLOCK_MONOTONIC"), reason="the system has no clock of that name")
@pytest.mark.parametrize("moved", [0.0, 1893456000.0])
def test_a_test_may_move_its_interpreters_clock(
    loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch, moved: float
) -> None:
    """No limit is over for that (freezegun does it), and those that are over end all the same."""

    async def begin() -> asyncio.Task[None]:
        return asyncio.ensure_future(asyncio.sleep(3600))

    long = loop_thread.run(begin)
    monkeypatch.setattr(time, "monotonic", lambda: moved)
    loop_thread.run(lambda: asyncio.wait_for(asyncio.sleep(0.01), 3600))
    assert not long.done()
    assert abs(loop_thread.loop.time() - time.clock_gettime(time.CLOCK_MONOTONIC)) < SOON


@pytest.mark.parametrize("error", [KeyError("x"), TimeoutError("its own"), asyncio.TimeoutError(), OSError(1, "x")])
def test_what_work_raises_comes_back(loop_thread: LoopThread, error: Exception) -> None:
    """As it is, a time-out of its own included; the thread goes on."""

    async def work() -> None:
        raise error

    async def after() -> int:
        return 1

    with pytest.raises(type(error)):
        loop_thread.run(work)
    assert loop_thread.run(after) == 1


def test_work_that_takes_too_long_is_given_up(loop_thread: LoopThread) -> None:
    """It is cancelled, the caller told how long it waited, and the thread goes on."""
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ProxyError, match=r"did not answer within 0\.05 s"):
        loop_thread.run(work, limit=0.05)
    assert ended.wait(TIMEOUT)

    async def after() -> int:
        return 1

    assert loop_thread.run(after) == 1


def test_the_thread_does_not_wait_for_itself(loop_thread: LoopThread) -> None:
    """That would be for ever; it is an error at once."""

    async def nothing() -> None: ...

    async def work() -> None:
        loop_thread.run(nothing)

    with pytest.raises(ProxyError, match="wait for itself"):
        loop_thread.run(work)


def test_many_threads_may_use_it(loop_thread: LoopThread) -> None:
    """Each gets its own result."""
    results: dict[int, int] = {}

    def use(number: int) -> None:
        async def work() -> int:
            await asyncio.sleep(0)
            return number

        results[number] = loop_thread.run(work)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert results == {number: number for number in range(20)}


# ------------------------------------------------------------------ stopping


def test_a_stopped_thread_is_gone_and_says_so(loop_thread: LoopThread) -> None:
    """Twice without harm; work for it is refused rather than left waiting."""

    async def work() -> None: ...

    loop_thread.run(work)
    loop_thread.stop()
    loop_thread.stop()
    assert loop_thread.ident not in {thread.ident for thread in threading.enumerate()}
    assert loop_thread.loop.is_closed()
    with pytest.raises(ProxyError, match="has ended"):
        loop_thread.run(work)
    gc.collect()  # a coroutine that was never awaited would show here


def test_stopping_ends_what_runs(loop_thread: LoopThread, caplog: pytest.LogCaptureFixture) -> None:
    """Tasks get to clean up, and nobody is bothered with them."""
    cleaned = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async def work() -> None:
        loop_thread.loop.create_task(endless())
        await asyncio.sleep(0)

    loop_thread.run(work)
    loop_thread.stop()
    gc.collect()
    assert cleaned.is_set()
    assert caplog.records == []


def test_stopping_does_not_wait_for_a_thread_that_is_stuck(loop_thread: LoopThread) -> None:
    """Two seconds at most."""
    go_on = threading.Event()
    waits: list[float] = []
    join, loop_thread._thread.join = loop_thread._thread.join, waits.append  # type: ignore[method-assign, assignment]
    loop_thread.loop.call_soon_threadsafe(go_on.wait, TIMEOUT)
    loop_thread.stop()
    assert waits == [2.0]
    assert loop_thread._thread.is_alive()
    go_on.set()
    join()
    assert loop_thread.loop.is_closed()


# ------------------------------------------------------------------ one a process


def test_a_process_has_one_thread() -> None:
    """Made at the first call, a daemon, of a name that shows in stack dumps."""
    thread = proxy_thread()
    assert proxy_thread() is thread
    named = [one for one in threading.enumerate() if one.ident == thread.ident]
    assert [(one.name, one.daemon) for one in named] == [("gatekeeper-proxy", True)]


def python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, for a minute at most."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_gets_a_thread_of_its_own() -> None:
    """The parent's did not come along; it goes on in the parent."""
    found = python("""
import os
from pytest_gatekeeper._proxy.thread import proxy_thread
async def work():
    return os.getpid()
parents = proxy_thread()
assert parents.run(work) == os.getpid()
child = os.fork()
assert proxy_thread().run(work) == os.getpid()
assert (proxy_thread() is parents) == bool(child)
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
""")
    assert (found.returncode, found.stdout, found.stderr) == (0, "both\n", "")


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "import threading; threading.Thread(target=print).start()"])
def test_a_process_ends_with_work_under_way(end: str) -> None:
    """At once, and without a word: neither tasks nor connections are reported as they go."""
    found = python(f"""
import asyncio, socket
from pytest_gatekeeper._proxy.stream import TcpStream
from pytest_gatekeeper._proxy.thread import proxy_thread
streams = []
async def work():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TcpStream(streams.append), "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    while not streams:
        await asyncio.sleep(0.001)
    loop.create_task(streams[0].receive())
    loop.create_task(asyncio.sleep(100))
    await asyncio.sleep(0)
    return server, client
server, client = proxy_thread().run(work)
client.detach()
{end}
""")
    assert found.stderr == ""
    assert found.returncode == (3 if "SystemExit" in end else 0)


# ------------------------------------------------------------------ what nobody caught


def test_what_nobody_caught_is_logged_by_kind_alone(
    loop_thread: LoopThread, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither its text nor its traceback, which could hold a credential."""

    def fail() -> None:
        raise ValueError(SECRET)

    async def work() -> None:
        loop_thread.loop.call_soon(fail)
        task = loop_thread.loop.create_task(_failing(ValueError(SECRET)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    with caplog.at_level(logging.DEBUG):
        loop_thread.run(work)
        loop_thread.stop()
    messages = [record.getMessage() for record in caplog.records if record.name == "pytest_gatekeeper"]
    assert messages == ["the proxy's event loop met ValueError"] * 2
    assert all(record.exc_info is None for record in caplog.records)
    assert SECRET not in caplog.text + "".join(capfd.readouterr())


async def _failing(error: Exception) -> None:
    raise error


def test_what_a_network_does_is_not_logged(loop_thread: LoopThread, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that resets is everyday life; a message without an error is logged."""

    def fail() -> None:
        raise ConnectionResetError(SECRET)

    async def work() -> None:
        loop_thread.loop.call_soon(fail)
        loop_thread.loop.call_exception_handler({"message": "something of asyncio's own"})
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop_thread.run(work)
    messages = [record.getMessage() for record in caplog.records if record.name == "pytest_gatekeeper"]
    assert messages == ["the proxy's event loop met something of asyncio's own"]
