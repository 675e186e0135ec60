"""The load of a benchmark: a client of blocking sockets, directly or through a proxy, and how long things took.

Run by `children.Child` in a process of its own, or imported by the proxy's process, where it shares the interpreter as
a test does. Each function takes where to go (`Way`) as its first argument and gives figures.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

from children import answer
from frames import frame

HOST = "bench.example.com"
PIECE = 1 << 20
LIMIT = 60.0
FIELDS = "User-Agent: bench/1.0\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
GET = f"GET /v1/items?page=2 HTTP/1.1\r\nHost: {HOST}\r\n{FIELDS}\r\n".encode()


class Way(TypedDict):
    """How to reach the upstream: its port, the CA to trust (PEM), and the proxy's port, 0 for directly."""

    port: int
    ca: str
    proxy: int


@functools.cache
def context(pem: str) -> ssl.SSLContext:
    """What a client trusts, made once as a client does."""
    return ssl.create_default_context(cadata=pem)


class Line:
    """One connection that is ready for requests."""

    def __init__(self, way: Way, host: str = HOST) -> None:
        raw = socket.create_connection(("127.0.0.1", way["proxy"] or way["port"]), LIMIT)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if way["proxy"]:
            raw.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
            said = b""
            while b"\r\n\r\n" not in said:
                said += raw.recv(4096)
            if b" 200 " not in said:
                raise ConnectionError("the proxy refused")
        self.sock = context(way["ca"]).wrap_socket(raw, server_hostname=host)

    def get(self, request: bytes = GET) -> None:
        """One request with a short answer."""
        self.sock.sendall(request)
        self.answer()

    def answer(self) -> tuple[int, int]:
        """Read an answer's head, and its body where that is short: body bytes in all, and how many came already."""
        data = self.sock.recv(1 << 16)
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"answered {head[:40]!r}")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0])
        while len(body) < size < PIECE:
            body += self._more()
        return size, len(body)

    def _more(self) -> bytes:
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("ended early")
        return data

    def upgrade(self) -> None:
        """Ask for a WebSocket."""
        self.sock.sendall(
            f"GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n".encode()
        )
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            said += self._more()
        if b" 101 " not in said:
            raise ConnectionError("no upgrade")

    def echo(self, frame: bytes, count: int) -> None:
        """Send a message and wait for its echo of `count` bytes."""
        self.sock.sendall(frame)
        while count > 0:
            count -= len(self.sock.recv(1 << 18) or self._more())

    def close(self) -> None:
        """End it."""
        self.sock.close()


def each(count: int, seconds: float, worker: Callable[[], Iterator[None]]) -> dict[str, Any]:
    """Run a worker on so many threads; each yields when it is ready, then after each operation.

    Returns operations (`count`), `rate` (a second) and the median time of one (`p50`, in microseconds).
    """
    ready = threading.Barrier(count + 1)
    times: list[list[float]] = [[] for _ in range(count)]
    errors: list[Exception] = []

    def work(mine: list[float]) -> None:
        steps = worker()
        try:
            next(steps)
            ready.wait(LIMIT)
            end = time.perf_counter() + seconds
            before = time.perf_counter()
            while before < end:
                next(steps)
                now = time.perf_counter()
                mine.append(now - before)
                before = now
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)
            ready.abort()
        finally:
            steps.close()  # type: ignore[attr-defined]

    threads = [threading.Thread(target=work, args=(mine,), daemon=True) for mine in times]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):  # an error is told below
        ready.wait(LIMIT)
    began = time.perf_counter()
    for thread in threads:
        thread.join(seconds + LIMIT)
    taken = time.perf_counter() - began
    if errors:
        raise errors[0]
    everything = [value for mine in times for value in mine]
    done = len(everything)
    return {"count": done, "rate": done / taken, "p50": statistics.median(everything) * 1e6}


def requests(way: Way, count: int, seconds: float) -> dict[str, Any]:
    """Requests on connections that are kept."""

    def worker() -> Iterator[None]:
        line = Line(way)
        try:
            line.get()
            while True:
                yield
                line.get()
        finally:
            line.close()

    return each(count, seconds, worker)


def tunnels(way: Way, count: int, seconds: float) -> dict[str, Any]:
    """A new connection for each request."""

    def worker() -> Iterator[None]:
        while True:
            yield
            line = Line(way)
            try:
                line.get()
            finally:
                line.close()

    return each(count, seconds, worker)


_hosts = iter(range(1 << 30))


def new_hosts(way: Way, count: int) -> dict[str, Any]:
    """The first request to hosts that were never asked before, one after the other."""
    times = []
    context(way["ca"])
    for _ in range(count):
        host = f"h{os.getpid()}-{next(_hosts)}.new.example.com"
        request = GET.replace(HOST.encode(), host.encode())
        before = time.perf_counter()
        line = Line(way, host)
        line.get(request)
        times.append(time.perf_counter() - before)
        line.close()
    return {"count": count, "rate": count / sum(times), "p50": statistics.median(times) * 1e6}


def masked(size: int) -> bytes:
    """A binary message of data, masked."""
    return frame(random.Random(2).randbytes(size), b"\x37\xfa\x21\x3d")  # noqa: S311 - data, no secret


def echoes(way: Way, count: int, size: int, seconds: float) -> dict[str, Any]:
    """WebSocket messages and their echoes."""
    frame = masked(size)

    def worker() -> Iterator[None]:
        line = Line(way)
        try:
            line.upgrade()
            while True:
                yield
                line.echo(frame, len(frame) - 4)
        finally:
            line.close()

    return each(count, seconds, worker)


def messages(way: Way, size: int, turns: int) -> dict[str, Any]:
    """So many WebSocket messages, one after the other, each with its echo; `rate` is a second."""
    frame = masked(size)
    line = Line(way)
    try:
        line.upgrade()
        began = time.perf_counter()
        for _ in range(turns):
            line.echo(frame, len(frame) - 4)
        taken = time.perf_counter() - began
    finally:
        line.close()
    return {"count": turns, "rate": turns / taken, "p50": taken / turns * 1e6}


def download(way: Way, size: int, kind: str) -> dict[str, Any]:
    """One body from the upstream; `rate` is in MiB a second."""
    line = Line(way)
    try:
        room = bytearray(1 << 18)
        began = time.perf_counter()
        line.sock.sendall(f"GET /bytes/{size}/{kind} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        total, got = line.answer()
        while got < total:
            count = line.sock.recv_into(room)
            if not count:
                raise ConnectionError("ended early")
            got += count
        taken = time.perf_counter() - began
    finally:
        line.close()
    return {"count": size / 2**20, "rate": size / 2**20 / taken, "p50": taken * 1e6}


def upload(way: Way, size: int, kind: str) -> dict[str, Any]:
    """One body to the upstream; `rate` is in MiB a second."""
    from upstream import material

    piece = memoryview(material()[kind])
    line = Line(way)
    try:
        began = time.perf_counter()
        line.sock.sendall(f"POST /take HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n".encode())
        left = size
        while left > 0:
            line.sock.sendall(piece[: min(left, PIECE)])
            left -= PIECE
        line.answer()
        taken = time.perf_counter() - began
    finally:
        line.close()
    return {"count": size / 2**20, "rate": size / 2**20 / taken, "p50": taken * 1e6}


_idle: list[Line] = []


def idle_open(way: Way, count: int) -> dict[str, Any]:
    """Open WebSockets that are silent after one message each."""
    frame = masked(20)
    began = time.perf_counter()
    for _ in range(count):
        line = Line(way)
        line.upgrade()
        line.echo(frame, len(frame) - 4)
        _idle.append(line)
    return {"count": len(_idle), "rate": count / (time.perf_counter() - began), "p50": 0.0}


def idle_ended() -> dict[str, Any]:
    """How many of them have been ended from the other side."""
    ended = 0
    for line in _idle:
        line.sock.settimeout(2)
        try:
            ended += not line.sock.recv(1)
        except TimeoutError:
            pass
        except OSError:
            ended += 1
        line.close()
    _idle.clear()
    return {"count": ended}


HANDLERS: dict[str, Callable[..., Any]] = {
    "requests": requests, "tunnels": tunnels, "new_hosts": new_hosts, "echoes": echoes, "messages": messages,
    "download": download, "upload": upload, "idle_open": idle_open, "idle_ended": idle_ended,
}  # fmt: skip

if __name__ == "__main__":
    answer(HANDLERS)
