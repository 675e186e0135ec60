"""Whether a record is there each time a client has its response: many exchanges, many threads, one recorder, no sleep.

    python benchmarks/happens_before.py                 # 100,000 exchanges over 16 threads
    python benchmarks/happens_before.py 20000 --threads 4

Ends with 1, and says what was missing, at the first record that was not there, or not complete. The suite makes 5,000.
"""

# ruff: noqa: T201 - a script that prints
from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.proof.test_happens_before import THREADS, hammer

LIMIT = 900.0  # seconds


def main() -> int:
    """Hammer a proxy, and say how often and how fast."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchanges", nargs="?", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    try:
        made, took = hammer(options.exchanges, options.threads, LIMIT)
    except AssertionError as error:
        print(error)
        return 1
    print(f"{made} exchanges over {options.threads} threads in {took:.1f} s: each was there in time, and complete")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
