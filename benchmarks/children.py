"""Processes that a benchmark starts and asks: one JSON object a line, over their standard input and output.

The load, the upstream and the proxy each get an interpreter of their own, so that a figure of one is not shaped by what
the others do with theirs. What is asked is the matter of whoever starts them.
"""

# ruff: noqa: ANN401, S101, S603 - JSON is anything; it runs scripts of this folder
from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Child", "answer"]

HERE = Path(__file__).resolve().parent
LIMIT = 300.0  # seconds that an answer may take


class Child:
    """A script of this folder in a process of its own.

    Args:
        script: its file's name; it has to call `answer`.
    """

    def __init__(self, script: str) -> None:
        self.name = script
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, what: str, **arguments: Any) -> Any:
        """Ask for something. Raises RuntimeError where the answer is an error, or does not come within `LIMIT`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=LIMIT)
        except queue.Empty:
            raise RuntimeError(f"{self.name} did not answer within {LIMIT:g} s") from None
        if not line:
            raise RuntimeError(f"{self.name} has ended")
        found = json.loads(line)
        if "error" in found:
            raise RuntimeError(f"{self.name}: {found['error']}")
        return found["result"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # which `answer` takes as the end
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._reader.join(5)
        self._process.stdout.close()


def answer(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """In the child: answer until nobody asks any more."""
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            reply: dict[str, Any] = {"result": handlers[arguments.pop("what")](**arguments)}
        except Exception as error:  # noqa: BLE001 - the parent is told
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)  # noqa: T201 - what the parent reads
