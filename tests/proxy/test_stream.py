"""TCP behind the stream port: half-close, flow control both ways, cuts that wake whoever waits, keep-alive."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from pytest_gatekeeper._proxy import stream as stream_module
from pytest_gatekeeper._proxy.stream import READ_SIZE, WRITE_LIMIT, StreamCut, TcpStream, tune

LIMIT = 20.0
MUCH = 8 * 1024 * 1024  # more than the kernel keeps for a connection
SMALL_BUFFER = 64 * 1024


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine, for 20 seconds at most."""
    asyncio.run(asyncio.wait_for(work, LIMIT))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname(), LIMIT)
        far, _ = server.accept()
    for sock in (near, far):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    return near, far


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[TcpStream, socket.socket]]:
    """A stream, and the bare socket at its other end."""
    near, far = tcp_pair()
    with far:
        _, stream = await asyncio.get_running_loop().create_connection(TcpStream, sock=near)
        try:
            yield stream, far
        finally:
            stream.abort()
            await asyncio.sleep(0)  # connection_lost


async def receive_all(sock: socket.socket) -> bytes:
    """Everything until the peer finishes."""
    parts = []
    while part := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds; the caller limits the time."""
    while not condition():  # noqa: ASYNC110 # what is waited for has no event
        await asyncio.sleep(0.001)


def pattern(size: int) -> bytes:
    """Bytes that show when some are lost, doubled or moved."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4))


# ------------------------------------------------------------------ bytes both ways


def test_bytes_go_both_ways() -> None:
    """What was sent is received, in order."""

    async def work() -> None:
        async with connected() as (stream, far):
            await stream.send(b"one")
            stream.write(b"two")
            await stream.drain()
            loop = asyncio.get_running_loop()
            received = b""
            while len(received) < 6:
                received += await loop.sock_recv(far, 100)
            assert received == b"onetwo"
            await loop.sock_sendall(far, b"three")
            assert await stream.receive() == b"three"
            assert (stream.peer, stream.local) == (far.getsockname(), far.getpeername())

    run(work())


def test_take_does_not_wait() -> None:
    """It gives what has arrived and nothing when nothing has."""

    async def work() -> None:
        async with connected() as (stream, far):
            assert stream.take() == b""
            await asyncio.get_running_loop().sock_sendall(far, b"x")
            await until(lambda: bool(stream._inbox))
            assert stream.take() == b"x"
            assert stream.take() == b""

    run(work())


def test_unread_bytes_come_first() -> None:
    """The last put back is the next received, also where the peer has finished; putting back nothing does nothing."""

    async def work() -> None:
        async with connected() as (stream, far):
            await asyncio.get_running_loop().sock_sendall(far, b"cd")
            assert await stream.receive() == b"cd"
            far.shutdown(socket.SHUT_WR)
            assert await stream.receive() == b""
            stream.unread(b"cd")
            stream.unread(b"")
            stream.unread(b"ab")
            assert await stream.receive() == b"ab"
            assert stream.take() == b"cd"
            assert await stream.receive() == b""

    run(work())


def test_pouring_hands_over_what_arrives() -> None:
    """What was there and what comes, in order, until it is refused; the rest waits, and the end is told."""

    async def work() -> None:
        async with connected() as (stream, far):
            loop = asyncio.get_running_loop()
            got = bytearray()

            def until_full(data: bytes) -> bool:
                got.extend(data)
                return len(got) < MUCH // 2

            await loop.sock_sendall(far, b"early ")
            assert await stream.receive() == b"early "
            stream.unread(b"early ")
            sending = asyncio.ensure_future(loop.sock_sendall(far, pattern(MUCH)))
            assert await stream.pour(until_full) is False
            assert MUCH // 2 <= len(got) < MUCH // 2 + 2 * READ_SIZE

            def keep(data: bytes) -> bool:
                got.extend(data)
                return True

            pouring = asyncio.ensure_future(stream.pour(keep))
            await sending
            far.shutdown(socket.SHUT_WR)
            assert await pouring is True
            assert bytes(got) == b"early " + pattern(MUCH)
            assert await stream.pour(lambda _: False) is True

    run(work())


def test_pouring_ends_with_the_stream_s_error() -> None:
    """A cut reaches whoever pours; what was handed over before stays so."""

    async def work() -> None:
        async with connected() as (stream, far):
            got: list[bytes] = []

            def keep(data: bytes) -> bool:
                got.append(data)
                return True

            pouring = asyncio.ensure_future(stream.pour(keep))
            await asyncio.get_running_loop().sock_sendall(far, b"x")
            await until(lambda: bool(got))
            stream.abort(StreamCut("idle"))
            with pytest.raises(StreamCut, match="idle"):
                await pouring
            assert got == [b"x"]

    run(work())


def test_pouring_that_is_cancelled_leaves_the_stream_usable() -> None:
    """What comes later is received as ever."""

    async def work() -> None:
        async with connected() as (stream, far):
            pouring = asyncio.ensure_future(stream.pour(lambda _: True))
            await asyncio.sleep(0)
            pouring.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pouring
            await asyncio.get_running_loop().sock_sendall(far, b"later")
            assert await stream.receive() == b"later"

    run(work())


def test_activity_follows_both_directions() -> None:
    """Bytes that come and bytes that go move it; waiting does not."""

    async def work() -> None:
        async with connected() as (stream, far):
            loop = asyncio.get_running_loop()
            start = stream.activity
            await until(lambda: loop.time() > start)
            assert stream.activity == start
            await loop.sock_sendall(far, b"x")
            await until(lambda: stream.activity > start)
            received = stream.activity
            await until(lambda: loop.time() > received)
            await stream.send(b"x")
            assert stream.activity > received

    run(work())


# ------------------------------------------------------------------ half-close


def test_a_peer_that_finished_can_still_be_sent_to() -> None:
    """Its end is b"", again and again, and closes nothing on our side."""

    async def work() -> None:
        async with connected() as (stream, far):
            await asyncio.get_running_loop().sock_sendall(far, b"last")
            far.shutdown(socket.SHUT_WR)
            assert await stream.receive() == b"last"
            assert [await stream.receive() for _ in range(3)] == [b""] * 3
            await stream.send(b"answer")
            await stream.finish()
            assert await receive_all(far) == b"answer"

    run(work())


def test_finishing_sends_everything_first_and_goes_on_receiving() -> None:
    """Also what the kernel had no room for yet."""

    async def work() -> None:
        async with connected() as (stream, far):
            data = pattern(MUCH)
            stream.write(data)
            await stream.finish()
            await stream.finish()
            assert await receive_all(far) == data
            await asyncio.get_running_loop().sock_sendall(far, b"answer")
            assert await stream.receive() == b"answer"

    run(work())


def test_closing_sends_everything_first() -> None:
    """It returns at once; the peer gets what was written, then the end."""

    async def work() -> None:
        async with connected() as (stream, far):
            data = pattern(MUCH)
            stream.write(data)
            stream.close()
            assert await receive_all(far) == data

    run(work())


@pytest.mark.parametrize("end", ["finish", "close", "abort"])
def test_writing_after_the_end_is_an_os_error(end: str) -> None:
    """Like every error of a stream; before the end it is none."""

    async def work() -> None:
        async with connected() as (stream, _):
            stream.write(b"x")
            if end == "finish":
                await stream.finish()
            else:
                getattr(stream, end)()
                await until(lambda: stream._lost)
            with pytest.raises(ConnectionResetError):
                stream.write(b"y")
            with pytest.raises(ConnectionResetError):
                await stream.send(b"y")
            await stream.finish()

    run(work())


# ------------------------------------------------------------------ flow control


def test_a_slow_reader_here_slows_the_peer() -> None:
    """What waits unread stays bounded; once it is read, everything arrives in order."""

    async def work() -> None:
        async with connected() as (stream, far):
            data = pattern(MUCH)
            sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(far, data))
            await until(lambda: not stream._reading)
            for _ in range(20):
                await asyncio.sleep(0)
            assert READ_SIZE <= stream._waiting < 2 * READ_SIZE
            assert not sending.done()
            received = bytearray()
            while len(received) < len(data):
                received += await stream.receive()
                assert stream._waiting < 2 * READ_SIZE
            await sending
            assert received == data and stream._reading

    run(work())


def test_a_slow_peer_slows_the_sender_here() -> None:
    """`drain` waits while much is unsent, for all who call it, and goes on when the peer has read."""

    async def work() -> None:
        async with connected() as (stream, far):
            data = pattern(MUCH)
            senders = [asyncio.ensure_future(stream.send(data)), asyncio.ensure_future(stream.drain())]
            await until(lambda: len(stream._drainers) == 2)
            assert stream._transport.get_write_buffer_size() > WRITE_LIMIT
            reading = asyncio.ensure_future(receive_all(far))
            await asyncio.gather(*senders)
            assert stream._transport.get_write_buffer_size() <= WRITE_LIMIT
            await stream.finish()
            assert await reading == data

    run(work())


def test_a_cancelled_wait_leaves_the_stream_usable() -> None:
    """Receivers and drainers that gave up are forgotten; no byte is lost."""

    async def work() -> None:
        async with connected() as (stream, far):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.receive(), 0.01)
            data = pattern(MUCH)
            stream.write(data)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.drain(), 0.01)
            await asyncio.get_running_loop().sock_sendall(far, b"x")
            assert await stream.receive() == b"x"
            await stream.finish()
            assert await receive_all(far) == data

    run(work())


def test_two_loops_do_not_share_what_they_read() -> None:
    """Streams of two threads that receive at the same time each get their own bytes."""
    wrong: list[str] = []

    async def work(byte: bytes) -> None:
        async with connected() as (stream, far):
            data = byte * MUCH * 4
            sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(far, data))
            left = len(data)
            while left:
                part = await stream.receive()
                left -= len(part)
                if part.count(byte) != len(part):
                    wrong.append("foreign bytes")
                    break
            sending.cancel()

    threads = [threading.Thread(target=run, args=(work(byte),)) for byte in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


# ------------------------------------------------------------------ ends that are no ends


def test_a_cut_wakes_a_receiver_with_its_reason() -> None:
    """So that it can be recorded why; what had arrived is dropped, the peer sees a reset or an end."""

    async def work() -> None:
        async with connected() as (stream, _):
            receiving = asyncio.ensure_future(stream.receive())
            await until(lambda: stream._receiver is not None)
            stream.abort(StreamCut("idle"))
            with pytest.raises(StreamCut, match="cut: idle") as caught:
                await receiving
            assert caught.value.why == "idle"
            with pytest.raises(StreamCut):
                await stream.receive()
            stream.abort(StreamCut("test"))
            with pytest.raises(StreamCut, match="idle"):
                await stream.receive()

    run(work())


def test_a_cut_wakes_drainers_with_its_reason() -> None:
    """All of them, and writing fails from then on."""

    async def work() -> None:
        async with connected() as (stream, _):
            stream.write(bytes(MUCH))
            drainers = [asyncio.ensure_future(stream.drain()) for _ in range(2)]
            await until(lambda: len(stream._drainers) == 2)
            stream.abort(StreamCut("test", "the test has ended"))
            for drainer in drainers:
                with pytest.raises(StreamCut, match="the test has ended"):
                    await drainer
            with pytest.raises(StreamCut):
                stream.write(b"x")
            with pytest.raises(StreamCut):
                await stream.drain()

    run(work())


def test_a_cut_drops_what_was_not_read() -> None:
    """Nobody reads on after it; without a reason it is an end."""

    async def work() -> None:
        async with connected() as (stream, far):
            await asyncio.get_running_loop().sock_sendall(far, b"x")
            await until(lambda: bool(stream._inbox))
            stream.abort()
            assert stream.take() == b""
            assert await stream.receive() == b""
            with pytest.raises(ConnectionResetError):
                await stream.drain()

    run(work())


def test_a_reset_by_the_peer_is_an_os_error() -> None:
    """What arrived before it is received first."""

    async def work() -> None:
        async with connected() as (stream, far):
            await asyncio.get_running_loop().sock_sendall(far, b"before")
            await until(lambda: bool(stream._inbox))
            reset(far)
            await until(lambda: stream._lost)
            assert await stream.receive() == b"before"
            for _ in range(2):
                with pytest.raises(ConnectionResetError):
                    await stream.receive()
            with pytest.raises(ConnectionResetError):
                await stream.send(b"x")

    run(work())


def test_an_error_that_is_none_of_the_network_keeps_its_kind_only() -> None:
    """Whatever asyncio reports becomes an OSError without its text, which could hold a value."""

    async def work() -> None:
        async with connected() as (stream, _):
            stream.connection_lost(ValueError("s3cret"))
            stream._transport.abort()
            with pytest.raises(ConnectionError) as caught:
                await stream.receive()
            assert str(caught.value) == "ValueError"

    run(work())


# ------------------------------------------------------------------ on_end


@pytest.mark.parametrize("end", ["finish", "reset", "abort"])
def test_the_end_is_told_once(end: str) -> None:
    """Also while nobody receives, whoever ended it and however."""

    async def work() -> None:
        told: list[str] = []
        async with connected() as (stream, far):
            stream.on_end(lambda: told.append(end))
            await asyncio.get_running_loop().sock_sendall(far, b"unread")
            await until(lambda: bool(stream._inbox))
            assert told == []
            if end == "finish":
                far.close()
            elif end == "reset":
                reset(far)
            else:
                stream.abort()
            await until(lambda: bool(told))
        await asyncio.sleep(0)
        assert told == [end]

    run(work())


def test_an_end_that_came_before_is_told_too() -> None:
    """Soon, but not while `on_end` runs; a callback that was taken back is not called."""

    async def work() -> None:
        told: list[str] = []
        async with connected() as (stream, far):
            stream.on_end(lambda: told.append("taken back"))
            stream.on_end(None)
            far.shutdown(socket.SHUT_WR)
            assert await stream.receive() == b""
            stream.on_end(lambda: told.append("late"))
            assert told == []
            await until(lambda: bool(told))
            stream.on_end(lambda: told.append("taken back"))
            stream.on_end(None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert told == ["late"]

    run(work())


# ------------------------------------------------------------------ set-up


def test_a_new_connection_is_handed_over_with_its_options() -> None:
    """An accepted connection sends small writes at once and notices a dead peer."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        accepted: list[TcpStream] = []

        def made() -> TcpStream:
            return TcpStream(accepted.append)

        server = await loop.create_server(made, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname(), LIMIT):
            await until(lambda: bool(accepted))
            stream = accepted[0]
            sock = stream._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            stream.abort()
        server.close()
        await server.wait_closed()

    run(work())


@pytest.mark.parametrize("missing", [(), ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL")])
def test_keep_alive_times_are_set_where_the_system_has_them(
    missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty seconds until the first probe and between probes; where that cannot be said, keep-alive is on still."""
    names = [name for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL") if hasattr(socket, name)]
    options = [getattr(socket, name) for name in names]
    for name in missing:
        monkeypatch.delattr(socket, name, raising=False)
    near, far = tcp_pair()
    with near, far:
        untouched = [far.getsockopt(socket.IPPROTO_TCP, option) for option in options]
        tune(near)
        times = [near.getsockopt(socket.IPPROTO_TCP, option) for option in options]
        assert times == (untouched if missing else [stream_module.KEEP_ALIVE_SECONDS] * len(options))
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_cut_says_why() -> None:
    """In its text, unless it has one of its own."""
    assert (StreamCut("idle").why, str(StreamCut("idle"))) == ("idle", "cut: idle")
    assert (StreamCut("test", "over").why, str(StreamCut("test", "over"))) == ("test", "over")
    assert issubclass(StreamCut, OSError)
