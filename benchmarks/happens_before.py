"""Whether a record is there each time a client has its response: many exchanges, many threads, no sleep.

    python benchmarks/happens_before.py                 # 100,000 exchanges over 16 threads
    python benchmarks/happens_before.py 20000 --threads 4

They are made in rounds of 10,000, a recorder each, since looking for one of a million takes a while. Ends with 1, and
says what was missing, at the first record that was not there, or not complete. The suite makes 5,000.
"""

# ruff: noqa: T201 - a script that prints
from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.proof.test_happens_before import THREADS, hammer

ROUND = 10_000
LIMIT = 600.0  # seconds for all of it


def main() -> int:
    """Hammer a proxy, and say how often and how fast."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchanges", nargs="?", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    began, done = time.monotonic(), 0
    while done < options.exchanges:
        left = LIMIT - (time.monotonic() - began)
        try:
            made, took = hammer(min(ROUND, options.exchanges - done), options.threads, left)
        except AssertionError as error:
            print(f"after {done} exchanges: {error}")
            return 1
        done += made
        print(f"{done} exchanges, each of them there and complete; {made / took:.0f} a second", flush=True)
    print(f"{done} exchanges over {options.threads} threads in {time.monotonic() - began:.1f} s: nothing was missing")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
