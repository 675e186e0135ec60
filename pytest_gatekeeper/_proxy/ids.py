"""Request ids as production makes them: a TypeID, `req_` and 26 characters over a UUIDv7 (RFC 9562 section 5.7).

The clock and the random numbers that `_core.decide` must not touch are read here.
"""

from __future__ import annotations

import os
import random
import time

__all__ = ["new_request_id"]

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, in lower case
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)  # 10 bits each
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM = (1 << 80) - 1 ^ (0xF << 76) ^ (0b11 << 62)


_chance = random.Random()  # noqa: S311 - ids are told apart, not guessed; of our own: a test's seeded random numbers must stay what they are
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chance.seed)


def new_request_id() -> str:
    """`req_` and 26 lower-case characters that sort by time: 2 empty bits, 48 of time, 80 of version and chance."""
    now = time.time_ns() // 1_000_000
    tail = _chance.getrandbits(80) & _RANDOM | _VERSION | _VARIANT
    head = [_PAIRS[now >> shift & 1023] for shift in (40, 30, 20, 10, 0)]
    return "req_" + "".join(head + [_PAIRS[tail >> shift & 1023] for shift in (70, 60, 50, 40, 30, 20, 10, 0)])
