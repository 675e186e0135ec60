"""The proxy of a benchmark: a `Gatekeeper` on a shared port, as tests hold it one after the other.

Run by `children.Child`. Each `hold` is a new `Gatekeeper` with an empty recorder, as a new test gets one; `usage` says
what the process has used so far. `load` runs the load in this very process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import load
from children import answer

from pytest_gatekeeper import Config, Gatekeeper
from pytest_gatekeeper._plugin.environ import lend
from pytest_gatekeeper._plugin.repairs import repaired
from pytest_gatekeeper.gatekeeper import open_listener

STATUS = Path("/proc/self/status")


class Proxy:
    """One process's port, and who holds it."""

    def __init__(self) -> None:
        self._listener = open_listener()
        self._held: Gatekeeper | None = None

    def hold(self, port: int, ca: str, scan: bool) -> dict[str, Any]:
        """A new test begins, with a rule for the host (whose secret is then looked for) or with no rule at all."""
        self.release()
        rule = {"host": "*.example.com", "source": {"type": "static", "value": secrets.token_hex(20)}}
        proxy = self._held = Gatekeeper(Config(), credentials=[rule] if scan else [], listener=self._listener)
        proxy.start()
        for host in (load.HOST, "*.new.example.com"):
            proxy.route(host, f"https://127.0.0.1:{port}", ca=ca.encode())
        return {"port": proxy.port, "ca": proxy.ca.pem.decode()}

    def release(self) -> dict[str, float]:
        """The test ends; how long that took (seconds), and how many exchanges there were."""
        held, self._held = self._held, None
        if held is None:
            return {"seconds": 0.0, "exchanges": 0}
        began = time.perf_counter()
        held.close()
        taken = time.perf_counter() - began
        if held.recorder.leaks:
            raise RuntimeError("a leak was found where there is none")
        return {"seconds": taken, "exchanges": len(held.recorder.exchanges)}

    def fixtures(self, count: int) -> dict[str, float]:
        """What the fixture does for a test that does nothing: medians of set-up and tear-down, in milliseconds."""
        self.release()
        up, down, both = [], [], []
        config = Config()
        for number in range(count):
            began = time.perf_counter()
            proxy = Gatekeeper(config, listener=self._listener, salt=f"test_{number}")
            proxy.start()
            variables = proxy.env
            with repaired(variables["SSL_CERT_FILE"]), lend(variables):
                ready = time.perf_counter()
            proxy.close()
            ended = time.perf_counter()
            up.append(ready - began)
            down.append(ended - ready)
            both.append(ended - began)
        return {name: statistics.median(times) * 1e3 for name, times in (("up", up), ("down", down), ("both", both))}


def usage() -> dict[str, float]:
    """Processor seconds of this process so far, and its memory now and at most since `forget_peak` (KiB)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    memory = {"VmRSS:": peak, "VmHWM:": peak}
    with contextlib.suppress(OSError):
        for line in STATUS.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition("\t")
            if name in memory:
                memory[name] = float(value.split()[0])
    return {"cpu": used.ru_utime + used.ru_stime, "rss": memory["VmRSS:"], "peak": memory["VmHWM:"]}


def forget_peak() -> None:
    """Count the highest memory anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def run_load(name: str, arguments: dict[str, Any]) -> object:
    """The load, in this process."""
    return load.HANDLERS[name](**arguments)


def main() -> None:
    """Run until the parent has enough."""
    os.environ.pop("SSL_CERT_FILE", None)
    proxy = Proxy()
    answer(
        {
            "hold": proxy.hold, "release": proxy.release, "fixtures": proxy.fixtures, "usage": usage,
            "forget_peak": forget_peak, "load": run_load,
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
