"""The upstream of a benchmark: a lean TLS server, one thread a connection, HTTP/1.1 and WebSocket.

It is much simpler than the stub of this package, so that what is measured is the proxy. `GET /bytes/SIZE/KIND` sends
that many bytes, a body is counted and thrown away, an upgrade is echoed message by message, everything else gets a
short answer. Run by `children.Child`.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import ssl
import threading
from typing import Any

import trustme
from children import answer

NAMES = ("bench.example.com", "*.new.example.com")
SMALL = b'{"status": "ok", "items": [1, 2, 3], "next": null, "text": "the quick brown fox"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(SMALL) + SMALL
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
PIECE = 1 << 20
LENGTH = re.compile(rb"\ncontent-length: *([0-9]+)", re.IGNORECASE)


def material() -> dict[str, bytes]:
    """A piece of each kind of body."""
    source = random.Random(1)  # noqa: S311 - data, no secret
    words = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "Riverbank", "2024", "user_id", "null"]
    rows = [{"id": n, "name": source.choice(words), "note": " ".join(source.choices(words, k=8))} for n in range(9000)]
    return {"binary": source.randbytes(PIECE), "text": json.dumps(rows).encode()[:PIECE].ljust(PIECE)}


class Server:
    """Listens on loopback and serves every connection on a thread."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.pem = authority.cert_pem.bytes().decode()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.num_tickets = 0
        authority.issue_cert(*NAMES).configure_cert(self._context)
        self._pieces = material()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        threading.stack_size(256 * 1024)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.settimeout(60)
            with self._context.wrap_socket(raw, server_side=True) as sock:
                data = b""
                while True:
                    while b"\r\n\r\n" not in data:
                        more = sock.recv(65536)
                        if not more:
                            return
                        data += more
                    head, _, data = data.partition(b"\r\n\r\n")
                    if b"pgrade: websocket" in head:
                        self._echo(sock, data)
                        return
                    data = self._one(sock, head, data)

    def _one(self, sock: ssl.SSLSocket, head: bytes, data: bytes) -> bytes:
        target = head.split(b" ", 2)[1]
        length = LENGTH.search(head)
        if length is not None:
            _drop(sock, int(length[1]) - len(data))
            data = b""
        if target.startswith(b"/bytes/"):
            size, kind = target.decode().split("/")[2:]
            self._send(sock, int(size), memoryview(self._pieces[kind]))
        else:
            sock.sendall(ANSWER)
        return data

    def _send(self, sock: ssl.SSLSocket, size: int, piece: memoryview) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while size > 0:
            sock.sendall(piece[: min(size, PIECE)])
            size -= PIECE

    def _echo(self, sock: ssl.SSLSocket, data: bytes) -> None:
        """Send every masked frame back without its mask (RFC 6455 section 5.3)."""
        sock.settimeout(600)
        sock.sendall(SWITCHED)
        buffer = bytearray(data)
        while True:
            while (frame := _unframed(buffer)) is not None:
                sock.sendall(frame)
            more = sock.recv(1 << 18)
            if not more:
                return
            buffer += more


def _drop(sock: ssl.SSLSocket, left: int) -> None:
    room = bytearray(1 << 18)
    while left > 0:
        count = sock.recv_into(room, min(left, len(room)))
        if not count:
            raise ConnectionError
        left -= count


def _unframed(buffer: bytearray) -> bytes | None:
    """Take one frame off and make its echo."""
    if len(buffer) < 6:
        return None
    count, at = buffer[1] & 127, 2
    if count > 125:
        width = 2 if count == 126 else 8
        count, at = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
    end = at + 4 + count
    if len(buffer) < end:
        return None
    mask = bytes(buffer[at : at + 4]) * (count // 4 + 1)
    payload = int.from_bytes(buffer[at + 4 : end], "big") ^ int.from_bytes(mask[:count], "big")
    frame = bytes((buffer[0], buffer[1] & 127)) + buffer[2:at] + payload.to_bytes(count, "big")
    del buffer[:end]
    return frame


def main() -> None:
    """Serve until the parent has enough."""
    server = Server()

    def where() -> dict[str, Any]:
        return {"port": server.port, "ca": server.pem}

    answer({"where": where})


if __name__ == "__main__":
    main()
