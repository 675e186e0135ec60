"""Durations as Go writes them: `90s`, `5m`, `1h30m`.

Text to seconds and nothing else; which durations make sense is for the reader of a configuration to say.
"""

from __future__ import annotations

import re

__all__ = ["parse_duration"]

_UNITS = {  # nanoseconds
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9,
}  # fmt: skip
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = (1 << 63) - 1  # nanoseconds
_DIGITS = 30  # more of them overflow, or are beyond any unit


def parse_duration(text: str) -> float:
    """The seconds of a Go duration (package `time`, ParseDuration): `1h30m` is 5400.0, `-1.5s` is -1.5.

    Raises ValueError, without the text, for anything else, and beyond 2**63 - 1 nanoseconds.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total = 0
    at = 0
    while at < len(rest) or not at:
        match = _PART.match(rest, at)
        if match is None or not (match[1] or match[2]):
            raise ValueError("this is no duration; write it as 90s, 5m or 1h30m")
        unit = _UNITS[match[3]]
        whole, fraction = match[1].lstrip("0") or "0", (match[2] or "")[:_DIGITS]
        total += int(whole[:_DIGITS]) * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        if len(whole) > _DIGITS or total > _LONGEST:
            raise ValueError("this duration is too long; write it as 90s, 5m or 1h30m")
        at = match.end()
    return (-total if text.startswith("-") else total) / 10**9
