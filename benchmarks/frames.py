"""WebSocket messages as the clients of benchmarks send them."""

from __future__ import annotations

__all__ = ["frame"]


def frame(payload: bytes, mask: bytes) -> bytes:
    """A binary message, masked (RFC 6455 section 5.2)."""
    size = len(payload)
    width = 0 if size < 126 else 2 if size < 1 << 16 else 8
    length = bytes((128 | (size if not width else 126 if width == 2 else 127),))
    length += size.to_bytes(width, "big") if width else b""
    body = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return b"\x82" + length + mask + body.to_bytes(size, "big")
