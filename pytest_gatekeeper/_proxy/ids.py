"""Request ids as production makes them: a TypeID, `req_` and 26 characters over a UUIDv7 (RFC 9562 section 5.7).

The clock and the random numbers that `_core.decide` must not touch are read here.
"""

from __future__ import annotations

import base64
import os
import time

__all__ = ["new_request_id"]

_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz")


def new_request_id() -> str:
    """`req_` and 26 lower-case characters that sort by time."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    packed = (value << 6).to_bytes(17, "big")  # 26 characters of 5 bits: 2 empty bits, the 128, and 6 more
    return "req_" + base64.b32encode(packed)[:26].translate(_CROCKFORD).decode("ascii")
