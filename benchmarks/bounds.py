"""Two bounds at their full size, with client, proxy and upstream in a process each and TLS on both sides of the proxy.

    python benchmarks/bounds.py memory   # 256 MiB down, up and as messages: the proxy grows by 16 MiB at most
    python benchmarks/bounds.py idle     # 1,000 idle WebSockets: all served, all cut by the end of the test within 2 s

Secrets are looked for in everything, as in a test that has rules. Ends with 1 where a bound does not hold.
"""

# ruff: noqa: T201 - a script that prints
from __future__ import annotations

import argparse
from collections.abc import Iterator

from bench import Bench, Scenario
from children import Child
from soak import allow_files

GROWTH = 16.0  # MiB
END = 2.0  # seconds
FILES = 4  # that an idle WebSocket takes in one process, at most
WARM = 16 << 20


def memory(bench: Bench, mebibytes: int) -> Iterator[str]:
    """Bodies both ways, after one of each that brings in what is loaded once."""
    for kind in ("binary", "text"):
        for what in ("download", "upload"):
            bench.once(Scenario("", "", what, {"size": WARM, "kind": kind}), "on")
            found = bench.once(Scenario("", "", what, {"size": mebibytes << 20, "kind": kind}), "on")
            print(f"{what} of {mebibytes} MiB, {kind}: grew by {max(found['grown'], 0):.1f} MiB at most", flush=True)
            if found["grown"] > GROWTH:
                yield f"{what}, {kind}: {found['grown']:.1f} MiB, more than {GROWTH:g}"
    messages = {"size": 1 << 20, "turns": mebibytes}
    bench.once(Scenario("", "", "messages", {**messages, "turns": 16}), "on")
    found = bench.once(Scenario("", "", "messages", messages), "on")
    print(f"{mebibytes} messages of 1 MiB and their echoes: grew by {max(found['grown'], 0):.1f} MiB at most")
    if found["grown"] > GROWTH:
        yield f"messages: {found['grown']:.1f} MiB, more than {GROWTH:g}"


def idle(bench: Bench, count: int) -> Iterator[str]:
    """Open them, end the test, and ask the clients."""
    found = bench.idle(count)
    served, cut = found["served"], found["cut"]
    print(f"{served:g} idle WebSockets served, {found['each']:.0f} KiB each; {cut:g} cut, in {found['end']:.2f} s")
    if (served, cut) != (count, count):
        yield f"of {count} {served:g} were served and {cut:g} cut"
    if found["end"] > END:
        yield f"the end took {found['end']:.2f} s, more than {END:g}"


def main() -> int:
    """Either of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "idle"])
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="of a body (256)")
    parser.add_argument("--count", type=int, default=1000, help="of WebSockets (1000)")
    said = parser.parse_args()
    allow_files(FILES * said.count + 256)
    with Child("proxy.py") as proxy, Child("upstream.py") as upstream, Child("load.py") as load:
        bench = Bench(proxy, upstream, load)
        wrong = list(memory(bench, said.size) if said.what == "memory" else idle(bench, said.count))
    for text in wrong:
        print(f"too much: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
