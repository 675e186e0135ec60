"""How long a run takes to end after Ctrl-C, in the middle of everything: at most 3 s, and nothing is left running.

    python benchmarks/interrupted.py             # each moment of tests/plugin/test_interrupted.py, three times
    python benchmarks/interrupted.py --repeat 10

The time is from the signal, which all processes of the run get as from a terminal, to the end of the last of them.
Ends with 1 where the median of a moment is over the limit, or anything was not as it should be.
"""

# ruff: noqa: T201 - a script that prints
from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.plugin.test_interrupted import MOMENTS, Moment, interrupt, wrong

LIMIT = 3.0  # seconds


def measured(name: str, moment: Moment, repeat: int) -> bool:
    """Interrupt a moment so often, and tell; whether all went well."""
    seconds, faults = [], []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            ended = interrupt(Path(folder), moment)
        seconds.append(ended.seconds)
        faults.extend(wrong(ended))
    middle = statistics.median(seconds)
    print(f"{name:<30} {middle:5.2f} s, {max(seconds):5.2f} at most  {'; '.join(dict.fromkeys(faults))}", flush=True)
    return not faults and middle <= LIMIT


def main() -> int:
    """Each moment in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    went = [measured(name, moment, repeat) for name, moment in MOMENTS.items()]
    print(f"{sum(went)} of {len(went)} moments ended within {LIMIT:g} s with nothing left")
    return 0 if all(went) else 1


if __name__ == "__main__":
    raise SystemExit(main())
