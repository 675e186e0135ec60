"""Ten minutes of tunnels that open, talk and break, in the process of the proxy: nothing may grow.

    python -W error::ResourceWarning benchmarks/soak.py                  # 10 minutes, 500 tunnels
    python -W error::ResourceWarning benchmarks/soak.py --minutes 2 --tunnels 100 --seed 7

Time goes by in rounds of a few seconds. Each is a test: a `Gatekeeper` on the port that all rounds share, a stub of its
own, and as many clients as `--tunnels` at once that go through `acts` at random until the end of the round cuts what is
still open. Between rounds, when everybody has left, open files, threads, tasks on the proxy's loop and memory are
counted. Before the first round and after the last one, silent WebSockets (`--idle`) are opened and cut by the end of
their test. Ends with 1 when something grew, when a round took more than 2 s to end, when an act never succeeded, or
when an exception or a warning was seen that nobody caught.
"""

# ruff: noqa: S311, T201 - a script that prints, and throws dice
from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import ctypes
import gc
import logging
import os
import random
import secrets
import statistics
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import NamedTuple

from acts import ACTS, HOSTS, Act
from peers import Peer, Road, silent_websocket

from pytest_gatekeeper import Config, Gatekeeper
from pytest_gatekeeper._proxy.thread import proxy_thread
from pytest_gatekeeper.gatekeeper import Listener, open_listener
from pytest_gatekeeper.origin import Origin

ACT_LIMIT = 20.0  # seconds that one act may take
END_LIMIT = 2.0
WARM = 3  # rounds after which nothing may grow any more
MEMORY = 8.0  # MiB that the process may grow from the middle third of the rounds to the last
OBJECTS = 2000  # objects, the same
SPARE = 2  # files, threads and tasks that may come and go


class Sample(NamedTuple):
    """What there is when everybody has left: `objects` are those that the collector knows, `memory` is in MiB."""

    files: int
    threads: int
    tasks: int
    objects: int
    memory: float


class Troubles(logging.Handler):
    """What nobody caught, wherever it shows."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: collections.Counter[str] = collections.Counter()

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen everywhere."""
        logging.getLogger("pytest_gatekeeper").addHandler(self)
        logging.getLogger("asyncio").addHandler(self)
        loop.set_exception_handler(lambda _, context: self.note(f"client loop: {context}"))
        sys.unraisablehook = lambda found: self.note(f"unraisable: {found.exc_value!r} in {found.object!r}")
        threading.excepthook = lambda found: self.note(f"thread: {found.exc_value!r}")

    def note(self, text: str) -> None:
        """Remember one."""
        self.seen[text[:300]] += 1

    def emit(self, record: logging.LogRecord) -> None:
        """What a logger says."""
        text = record.getMessage()
        if not text.startswith("msg="):  # the proxy's own lines, on upstreams that fail as they should
            self.note(f"log: {text}")


async def _tasks() -> int:
    return len(asyncio.all_tasks()) - 1


def files() -> int:
    """Open file descriptors of this process."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(os.listdir(folder)) - 1  # noqa: PTH208 - the folder itself is one of them
    raise SystemExit("this system does not tell how many files are open")


def memory() -> float:
    """Resident MiB."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def give_back() -> None:
    """Free what nobody holds, to the system where the C library can: what is left is then held by somebody."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def quiet() -> Sample:
    """What there is, once connections that were just cut have gone."""
    sample = Sample(0, 0, 0, 0, 0.0)
    for _ in range(20):
        await asyncio.sleep(0.05)
        give_back()
        tasks = await asyncio.to_thread(proxy_thread().run, _tasks)
        last, sample = sample, Sample(files(), threading.active_count(), tasks, len(gc.get_objects()), memory())
        if sample[:3] == last[:3]:
            break
    return sample


class Soak:
    """The rounds."""

    def __init__(self, said: argparse.Namespace, troubles: Troubles) -> None:
        self._said = said
        self._random = random.Random(said.seed)
        self._troubles = troubles
        self._listener: Listener = open_listener()
        self.done: collections.Counter[str] = collections.Counter()
        self.broken: collections.Counter[str] = collections.Counter()
        self.cut: collections.Counter[str] = collections.Counter()
        self.ends: list[float] = []
        self.samples: list[Sample] = []
        self.peak = 0
        self.exchanges = 0

    def start(self) -> tuple[Gatekeeper, Origin]:
        """A test begins."""
        rule = {"host": "api.soak.example", "source": {"type": "static", "value": secrets.token_hex(20)}}
        proxy = Gatekeeper(Config(), credentials=[rule], listener=self._listener, upstream_timeout=5.0)
        origin = Origin()
        origin.start()
        proxy.start()
        proxy.trust(origin.ca_pem)
        origin.serve(*HOSTS, proxy=proxy)
        Act.prepare(origin)
        return proxy, origin

    async def stop(self, proxy: Gatekeeper, origin: Origin) -> float:
        """The test ends; how long that took (seconds)."""
        began = time.monotonic()
        await asyncio.to_thread(proxy.close)
        taken = time.monotonic() - began
        await asyncio.to_thread(origin.close)
        open_ones = [record for record in proxy.recorder.records if record.closed is None]
        if open_ones:
            self._troubles.note(f"{len(open_ones)} records were left open")
        self.exchanges += len(proxy.recorder.exchanges)
        self.ends.append(taken)
        return taken

    async def round(self, seconds: float) -> None:
        """One test."""
        proxy, origin = await asyncio.to_thread(self.start)
        over = asyncio.Event()
        road = Road(proxy.port, proxy.ca.ssl_context(), self._random, over)
        workers = [asyncio.create_task(self._work(road)) for _ in range(self._said.tunnels)]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.25)
            self.peak = max(self.peak, files())
        over.set()
        await self.stop(proxy, origin)
        _, late = await asyncio.wait(workers, timeout=ACT_LIMIT)
        for worker in late:
            worker.cancel()
            self._troubles.note("a client was not cut by the end of its test")
        for worker in workers:
            if not worker.cancelled() and worker.done() and worker.exception() is not None:
                self._troubles.note(f"a client failed: {worker.exception()!r}")
        del proxy, origin, road, workers
        self.samples.append(await quiet())

    async def _work(self, road: Road) -> None:
        """One client: act after act until the round is over."""
        while not road.over.is_set():
            act = road.random.choice(ACTS)
            try:
                await asyncio.wait_for(act.run(road), ACT_LIMIT)
            except asyncio.TimeoutError:
                self._troubles.note(f"{act.name}: did not end within {ACT_LIMIT:g} s")
            except AssertionError as error:
                self._troubles.note(f"{act.name}: {error}")
            except OSError as error:
                if road.over.is_set():
                    self.cut[act.name] += 1
                else:
                    self.broken[act.name] += 1
                    if act.sound:
                        self._troubles.note(f"{act.name}: {error!r} in the middle of its test")
            else:
                self.done[act.name] += 1

    async def idle(self, count: int) -> str:
        """Silent WebSockets, and the end of their test."""
        proxy, origin = await asyncio.to_thread(self.start)
        road = Road(proxy.port, proxy.ca.ssl_context(), self._random, asyncio.Event())
        before = memory()
        sockets: list[Peer] = []
        for _ in range(0, count, 50):
            sockets += await asyncio.gather(*(silent_websocket(road) for _ in range(min(50, count - len(sockets)))))
        each = (memory() - before) * 1024 / count
        taken = await self.stop(proxy, origin)
        upgrades = proxy.recorder.upgrades
        ends = [asyncio.create_task(one.until_end()) for one in sockets]
        ended, late = await asyncio.wait(ends, timeout=ACT_LIMIT)
        for one in late:
            one.cancel()
        if len(upgrades) != count or any(one.closed != "test" for one in upgrades) or late:
            self._troubles.note(f"of {count} idle WebSockets {len(ended)} were cut")
        return f"{count} idle WebSockets, {each:.0f} KiB each with both ends: all cut in {taken:.2f} s"

    def close(self) -> None:
        """Give the port up."""
        self._listener.close()


# ------------------------------------------------------------------ the verdict


def growth(samples: list[Sample]) -> list[str]:
    """What is larger at the end than it was when warm; memory, which goes up and down, in the last third."""
    warm, last = samples[WARM : WARM + 3], samples[-3:]
    found = []
    for name in ("files", "threads", "tasks"):
        before, after = (max(getattr(one, name) for one in group) for group in (warm, last))
        if after > before + SPARE:
            found.append(f"{name}: {before} when warm, {after} at the end")
    third = max(1, (len(samples) - WARM) // 3)
    for name, spare in (("objects", OBJECTS), ("memory", MEMORY)):
        middle, end = (
            statistics.median(getattr(one, name) for one in group)
            for group in (samples[-2 * third : -third], samples[-third:])
        )
        if end > middle + spare:
            found.append(f"{name}: {middle:,.1f} in the middle third, {end:,.1f} in the last (median)")
    return found


def verdict(soak: Soak, troubles: Troubles) -> list[str]:
    """What is wrong."""
    wrong = growth(soak.samples)
    if max(soak.ends) > END_LIMIT:
        wrong.append(f"the end of a test took {max(soak.ends):.2f} s")
    never = sorted({act.name for act in ACTS if not soak.done[act.name]})
    if never:
        wrong.append(f"never succeeded: {', '.join(never)}")
    return wrong + [f"{count} times: {text}" for text, count in troubles.seen.most_common(20)]


async def run(said: argparse.Namespace) -> list[str]:
    """Everything; the result is what is wrong."""
    troubles = Troubles()
    troubles.install(asyncio.get_running_loop())
    soak = Soak(said, troubles)
    began = time.monotonic()
    print(f"seed {said.seed}; {await soak.idle(said.idle)}", flush=True)
    print(f"{'seconds':>8}{'round':>7}{'acts':>9}{'cut':>9}{'files':>7}{'peak':>7}{'threads':>9}{'tasks':>7}"
          f"{'objects':>9}{'MiB':>8}{'end s':>7}", flush=True)  # fmt: skip
    end = began + said.minutes * 60
    step, shown = max(10.0, said.minutes * 3), 0.0
    while time.monotonic() < end or len(soak.samples) < WARM + 3:
        await soak.round(said.round)
        if time.monotonic() - shown >= step or len(soak.samples) <= WARM or time.monotonic() >= end:
            shown = time.monotonic()
            one = soak.samples[-1]
            print(f"{shown - began:8.0f}{len(soak.samples):7}{soak.done.total():9,}{soak.cut.total():9,}"
                  f"{one.files:7}{soak.peak:7}{one.threads:9}{one.tasks:7}{one.objects:9,}{one.memory:8.1f}{soak.ends[-1]:7.2f}",
                  flush=True)  # fmt: skip
    print(await soak.idle(said.idle))
    soak.samples.append(await quiet())
    soak.close()
    print(f"{soak.exchanges:,} exchanges in {len(soak.samples) - 1} tests; their ends took"
          f" {statistics.median(soak.ends):.2f} s (median), {max(soak.ends):.2f} s at most")  # fmt: skip
    for name in sorted({act.name for act in ACTS}):
        print(f"  {name:28}{soak.done[name]:8,} as planned{soak.broken[name]:6,} broken"
              f"{soak.cut[name]:8,} cut by the end of the test")  # fmt: skip
    return verdict(soak, troubles)


def main() -> None:
    """Run, print, and say whether it grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tunnels", type=int, default=500, help="clients at once (500)")
    parser.add_argument("--round", type=float, default=8.0, metavar="SECONDS", help="of one test (8)")
    parser.add_argument("--idle", type=int, default=1000, help="silent WebSockets (1000)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    said = parser.parse_args()
    allow_files(8 * max(said.tunnels, said.idle))
    warnings.simplefilter("error", ResourceWarning)
    wrong = asyncio.run(run(said))
    if wrong:
        raise SystemExit("soak: FAILED\n  " + "\n  ".join(wrong))
    print("soak: flat")


def allow_files(count: int) -> None:
    """Ask the system for as many open files. Each tunnel takes four in this process."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


if __name__ == "__main__":
    main()
