"""What the proxy and its fixture cost, beside a direct connection in the same run.

    python benchmarks/bench.py                        # everything; some minutes
    python benchmarks/bench.py --quick                # whether it works, in half a minute
    python benchmarks/bench.py --only bulk,requests --repeat 5 --json bench.json

The load, the upstream and the proxy are three processes; in the scenarios that say `in the test's process` the load
shares the proxy's interpreter, as a test does. Each repeat takes every scenario directly, then through the proxy, so a
ratio is of neighbours in time; what is printed are medians over the repeats. Absolute figures move by tens of per cent
on a shared machine: read the ratios and the processor time. `off` is a proxy without rules; `on` has one with a secret
of 40 characters for the host, which is injected and looked for in everything that passes.
"""

# ruff: noqa: T201 - a script that prints
from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from children import Child
from suites import median, plugin_costs, plugin_lines

MIB = 1 << 20
GROUPS = ("fixture", "requests", "tunnels", "hosts", "websocket", "bulk", "idle")


# ------------------------------------------------------------------ what is measured


@dataclass
class Scenario:
    """One thing that is done directly and through the proxy.

    Attributes:
        group: for `--only`.
        name: for the table.
        what: the load's function, with its `arguments`.
        rate, p50: the units of its figures (`p50` is divided by `scale`); "" leaves one out.
        modes: what it is done with, in turn.
        inside: the load runs in the proxy's process.
    """

    group: str
    name: str
    what: str
    arguments: dict[str, Any]
    rate: str = ""
    p50: str = ""
    scale: float = 1.0
    modes: tuple[str, ...] = ("direct", "on")
    inside: bool = False
    samples: list[dict[str, dict[str, float]]] = field(default_factory=list)


def scenarios(seconds: float, size: int, hosts: int) -> list[Scenario]:
    """All of them."""
    found = []
    for count in (1, 16):
        kept = {"count": count, "seconds": seconds}
        tunnel = "tunnel" if count == 1 else "tunnels"
        found += [
            Scenario("requests", f"requests, {count} kept {tunnel}", "requests", kept, "req/s", "p50 µs"),
            Scenario("tunnels", f"new {tunnel}, {count} at once", "tunnels", kept, "conn/s", "p50 µs"),
            Scenario("websocket", f"echo, {count} WebSocket{'s' * (count > 1)}", "echoes",
                     {**kept, "size": 40}, "msg/s", "p50 µs"),
            Scenario("websocket", f"echo of 64 KiB, {count} WebSocket{'s' * (count > 1)}", "echoes",
                     {**kept, "size": 65536}, "msg/s"),
        ]  # fmt: skip
    inside = {"count": 1, "seconds": seconds}
    found += [
        Scenario("requests", "requests in the test's process", "requests", inside, "req/s", "p50 µs", inside=True),
        Scenario("tunnels", "new tunnels in the test's process", "tunnels", inside, "conn/s", "p50 µs", inside=True),
        Scenario("hosts", "first request to a new host", "new_hosts", {"count": hosts}, p50="p50 ms", scale=1e3),
    ]
    for what in ("download", "upload"):
        found += [
            Scenario("bulk", f"{what}, {kind}", what, {"size": size, "kind": kind}, "MiB/s",
                     modes=("direct", "off", "on"))
            for kind in ("binary", "text")
        ]  # fmt: skip
    return found


class Bench:
    """The three processes, and what they measured."""

    def __init__(self, proxy: Child, upstream: Child, load: Child) -> None:
        self._proxy = proxy
        self._load = load
        self._upstream = upstream.ask("where")

    def way(self, mode: str) -> dict[str, Any]:
        """Where the load goes; a proxy is held for it."""
        if mode == "direct":
            self._proxy.ask("release")
            return {**self._upstream, "proxy": 0}
        held = self._proxy.ask("hold", **self._upstream, scan=mode == "on")
        return {"port": self._upstream["port"], "ca": held["ca"], "proxy": held["port"]}

    def once(self, scenario: Scenario, mode: str) -> dict[str, float]:
        """One scenario in one mode: the load's figures, and what the proxy's process used."""
        way = self.way(mode)
        self._proxy.ask("forget_peak")
        before = self._proxy.ask("usage")
        arguments = {"way": way, **scenario.arguments}
        if scenario.inside:
            found = self._proxy.ask("load", name=scenario.what, arguments=arguments)
        else:
            found = self._load.ask(scenario.what, **arguments)
        after = self._proxy.ask("usage")
        return {
            "rate": found["rate"],
            "p50": found["p50"] / scenario.scale,
            "cpu": (after["cpu"] - before["cpu"]) / found["count"] * 1e6,
            "grown": (after["peak"] - before["rss"]) / 1024,
        }

    def repeat(self, scenario: Scenario) -> None:
        """One scenario in all its modes, every other time in reverse: what comes first is not at an advantage."""
        order = reversed(scenario.modes) if len(scenario.samples) % 2 else scenario.modes
        scenario.samples.append({mode: self.once(scenario, mode) for mode in order})

    def idle(self, count: int) -> dict[str, float]:
        """Silent WebSockets: how many were served, what each takes, and how long the end of the test takes."""
        way = self.way("on")
        before = self._proxy.ask("usage")
        opened = self._load.ask("idle_open", way=way, count=count)
        after = self._proxy.ask("usage")
        ended = self._proxy.ask("release")
        cut = self._load.ask("idle_ended")
        return {
            "served": opened["count"],
            "each": (after["rss"] - before["rss"]) / count,
            "end": ended["seconds"],
            "cut": cut["count"],
        }


# ------------------------------------------------------------------ what is printed


def short(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def row(scenario: Scenario, unit: str, figure: str) -> list[str]:
    """A line of the table: one figure in all modes."""
    one = {mode: median(sample[mode][figure] for sample in scenario.samples) for mode in scenario.modes}

    def ratio(upper: str, lower: str) -> str:
        if not {upper, lower} <= set(scenario.modes):
            return ""
        return f"{median(sample[upper][figure] / (sample[lower][figure] or 1) for sample in scenario.samples):.2f}"

    used = median(sample["on"]["cpu"] for sample in scenario.samples)
    if scenario.inside:  # what the client takes, too, is not the proxy's
        used -= median(sample["direct"]["cpu"] for sample in scenario.samples)
    grown = median(max(0.0, sample["on"]["grown"]) for sample in scenario.samples)
    figures = [short(one[mode]) if mode in one else "" for mode in ("direct", "off", "on")]
    return [scenario.name, unit, *figures, ratio("on", "direct"), ratio("on", "off"), short(used), f"{grown:.1f}"]


HEADER = ["", "unit", "direct", "off", "on", "on/direct", "on/off", "CPU µs", "MiB"]
"""CPU: of the proxy's process, for each operation (or MiB) with `on`; MiB: how much it grew at most meanwhile."""


def table(rows: list[list[str]]) -> str:
    """Aligned: text to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    lines = []
    for cells in rows:
        parts = [
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def figures(done: list[Scenario]) -> list[list[str]]:
    """The table's lines."""
    rows = [HEADER]
    for scenario in done:
        for unit, figure in ((scenario.rate, "rate"), (scenario.p50, "p50")):
            if unit:
                rows.append(row(scenario, unit, figure))
        if "off" in scenario.modes:  # what looking for secrets costs, where the clock is too rough to tell
            cells = row(scenario, "CPU µs/MiB", "cpu")
            rows.append([*cells[:2], "", *cells[3:5], "", cells[6], "", ""])
    return rows


# ------------------------------------------------------------------ the command


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(GROUPS), help=f"comma list of {', '.join(GROUPS)}")
    parser.add_argument("--repeat", type=int, default=5, help="how often everything is measured (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (2)")
    parser.add_argument("--size", type=float, default=1024, metavar="MIB", help="of a body (1024)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every sample")
    parser.add_argument("--quick", action="store_true", help="little of everything, once; the figures mean nothing")
    said = parser.parse_args()
    said.only = [word.strip() for word in said.only.split(",")]
    if unknown := set(said.only) - set(GROUPS):
        parser.error(f"--only knows {', '.join(GROUPS)}, not {', '.join(sorted(unknown))}")
    said.tests, said.hosts, said.idle = 200, 60, 1000
    if said.quick:
        said.repeat, said.seconds, said.size = 1, 0.3, min(said.size, 32)
        said.tests, said.hosts, said.idle = 20, 10, 100
    return said


def measure(said: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Everything that was asked for; the result is what `--json` writes."""
    planned = scenarios(said.seconds, int(said.size * MIB), said.hosts)
    done = [scenario for scenario in planned if scenario.group in said.only]
    found: dict[str, Any] = {"load_before": os.getloadavg()}
    with Child("upstream.py") as upstream, Child("load.py") as load, Child("proxy.py") as proxy:
        bench = Bench(proxy, upstream, load)
        for number in range(said.repeat):
            for scenario in done:
                tell(f"repeat {number + 1} of {said.repeat}: {scenario.name}")
                bench.repeat(scenario)
        if "idle" in said.only:
            tell("idle WebSockets")
            found["idle"] = []
            for _ in range(min(said.repeat, 3)):
                with Child("proxy.py") as fresh:  # one that has no memory to spare
                    found["idle"].append(Bench(fresh, upstream, load).idle(said.idle))
        if "fixture" in said.only:
            tell("pytest runs")
            found["plugin"] = plugin_costs(proxy, said.repeat, said.tests)
    found["load_after"] = os.getloadavg()
    found["scenarios"] = [
        {"group": one.group, "name": one.name, "arguments": one.arguments, "rate": one.rate, "p50": one.p50,
         "samples": one.samples}
        for one in done
    ]  # fmt: skip
    if done:
        print(table(figures(done)))
    return found


def main() -> None:
    """Measure, print, and write."""
    said = options()
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {line}", file=sys.stderr, flush=True)

    found = measure(said, tell)
    if "idle" in found:
        one = {name: median(sample[name] for sample in found["idle"]) for name in found["idle"][0]}
        print(
            f"\n{said.idle} idle WebSockets: {one['served']:.0f} served, {one['each']:.0f} KiB each;"
            f" the end of the test took {one['end']:.2f} s and cut {one['cut']:.0f}"
        )
    if "plugin" in found:
        print(
            "\n"
            + table(
                [
                    ["", "", "", "goal"],
                    *([name, "", value, goal] for name, value, goal in plugin_lines(found["plugin"])),
                ]
            )
        )
    load = found["load_before"][0], found["load_after"][0]
    machine = {
        "python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count(),
        "load": load,
    }  # fmt: skip
    print(
        f"\nPython {machine['python']}, {machine['cpus']} processors, load average"
        f" {load[0]:.1f} before and {load[1]:.1f} after; {time.monotonic() - began:.0f} s"
    )
    if said.json:
        said.json.write_text(json.dumps({"machine": machine, **found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
