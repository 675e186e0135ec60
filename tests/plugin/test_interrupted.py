"""Ctrl-C at any moment of a run: it ends with status 2, and no process, no file of ours and no connection stays.

How long that takes is measured by `benchmarks/interrupted.py`, with the moments of this file: the limit here only tells
an end from waiting for a peer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import a_shells_environ

ALONE = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")
TWO = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-n", "2")
START = 60.0
END = 30.0
AGAIN = 0.5
REAPED = 3.0

needs_groups = pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups")

HEAD = """
import contextlib
import os
import socket
import ssl
import threading
import urllib.request
from pathlib import Path

import pytest
import websocket

HERE = Path(__file__).parent
OPEN = []  # what has to stay open

def ready(proxy=None):
    made = HERE / f"made-{os.getpid()}"
    made.write_text(proxy.ca.cert_path if proxy else "")
    made.rename(HERE / f"ready-{os.getpid()}")  # whole, or not there

def wait():
    threading.Event().wait(100)

def silent(proxy, scheme):
    '''An upstream that accepts and says nothing.'''
    server = socket.create_server(("127.0.0.1", 0))
    OPEN.append(server)
    proxy.route("silent.example.com", f"{scheme}://127.0.0.1:{server.getsockname()[1]}")

def last():
    (HERE / "never").touch()
"""


CONFTEST = """
import os
import signal
from pathlib import Path

HEARD = Path(__file__).with_name(f"heard-{os.getpid()}")

def once(number, frame):
    if not HEARD.exists():
        HEARD.touch()
        signal.default_int_handler(number, frame)

signal.signal(signal.SIGINT, once)
"""


class Moment(NamedTuple):
    """What the suite is in the middle of.

    Attributes:
        text: what follows `HEAD` in its file.
        processes: how many of its processes say `ready()`.
        options: of pytest.
    """

    text: str
    processes: int = 1
    options: tuple[str, ...] = ALONE


def in_a_test(body: str) -> Moment:
    """In the middle of a test that has the proxy and the stub."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    head = "def test_it(gatekeeper_proxy, gatekeeper_origin):\n    gatekeeper_origin.serve('*.example.com')\n"
    return Moment(f"{head}{lines}\ndef test_never():\n    last()\n")


WORKERS = """
@pytest.mark.parametrize("number", range(4))  # two for each worker
def test_it(gatekeeper_proxy, gatekeeper_origin, number):
    if number % 2:
        last()
    gatekeeper_origin.serve("ws.example.com")
    client = websocket.create_connection("wss://ws.example.com/")
    ready(gatekeeper_proxy)
    client.recv()
"""

FIXTURE = """
@pytest.fixture
def slow(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve("api.example.com")
    urllib.request.urlopen("https://api.example.com/").close()
    %s
    ready(gatekeeper_proxy)
    wait()

def test_it(slow):
    pass

def test_never():
    last()
"""

SOURCE = """
COMMAND = f"cd '{HERE}'; echo $$ > pid; touch ready-sh; exec sleep 100"
RULE = {"host": "api.example.com", "source": {"type": "process", "command": COMMAND}}

@pytest.mark.gatekeeper(credentials=[RULE], secrets="real")
def test_it(gatekeeper_proxy):
    last()

def test_never():
    last()
"""

ALL_AT_ONCE = """
gatekeeper_origin.faults.stall(path="/stall")
clients = [websocket.create_connection("wss://ws.example.com/") for _ in range(3)]
OPEN.extend(socket.create_connection((gatekeeper_proxy.host, gatekeeper_proxy.port)) for _ in range(3))
def stall():
    with contextlib.suppress(Exception):
        urllib.request.urlopen("https://api.example.com/stall")
threading.Thread(target=stall, daemon=True).start()
gatekeeper_origin.wait_for(lambda origin: len(origin.received) == 4)
ready(gatekeeper_proxy)
"""

MOMENTS = {
    "collection": Moment("ready()\nwait()\n\ndef test_it():\n    last()\n"),
    "a credential is fetched": Moment(SOURCE),
    "set-up of a fixture": Moment(FIXTURE % ""),
    "tear-down of a fixture": Moment(FIXTURE % "yield"),
    "an upgrade without its answer": in_a_test("""
gatekeeper_origin.faults.stall(path="/stall")
threading.Timer(0, lambda: (gatekeeper_origin.wait_for(lambda o: o.received), ready(gatekeeper_proxy))).start()
websocket.create_connection("wss://ws.example.com/stall")
"""),
    "tunnels after their upgrades": in_a_test("""
clients = [websocket.create_connection("wss://ws.example.com/") for _ in range(20)]
ready(gatekeeper_proxy)
clients[0].recv()
"""),
    "all at once": in_a_test(ALL_AT_ONCE + "clients[0].recv()"),
    "all at once, and a lock": in_a_test(ALL_AT_ONCE + "wait()"),
    "a body that comes": in_a_test("""
gatekeeper_origin.respond(path="/stream", chunks=["first", threading.Event()])
answer = urllib.request.urlopen("https://api.example.com/stream")
assert answer.read(5) == b"first"
ready(gatekeeper_proxy)
answer.read()
"""),
    "a body that nobody takes": in_a_test("""
silent(gatekeeper_proxy, "http")
client = socket.create_connection((gatekeeper_proxy.host, gatekeeper_proxy.port))
head = b"POST http://silent.example.com/ HTTP/1.1\\r\\nHost: silent.example.com\\r\\nContent-Length: 999999999"
client.sendall(head + b"\\r\\n\\r\\n" + bytes(1 << 20))
ready(gatekeeper_proxy)
client.sendall(bytes(1 << 27))
"""),
    "a client's handshake": in_a_test("""
client = gatekeeper_proxy.connect("api.example.com")
hello, nothing = ssl.MemoryBIO(), ssl.MemoryBIO()
with pytest.raises(ssl.SSLWantReadError):
    ssl.create_default_context().wrap_bio(nothing, hello, server_hostname="api.example.com").do_handshake()
client.sendall(hello.read()[:100])
ready(gatekeeper_proxy)
client.recv(1)
"""),
    "an upstream's handshake": in_a_test("""
silent(gatekeeper_proxy, "https")
def hello():
    accepted, _ = OPEN[0].accept()
    OPEN.append(accepted)
    assert accepted.recv(1)
    ready(gatekeeper_proxy)
threading.Thread(target=hello, daemon=True).start()
urllib.request.urlopen("https://silent.example.com/")
"""),
    "two workers": Moment(WORKERS, 2, TWO),
}


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
        seconds: from the signal to the end of the last process that shares its output.
        authorities: the CA files that it had.
        running: whether a process was left.
        went_on: whether it did anything after the interruption.
    """

    status: int
    told: str
    seconds: float
    authorities: tuple[str, ...]
    running: bool
    went_on: bool


def interrupt(folder: Path, moment: Moment) -> Ended:
    """Run pytest in a folder, and send what Ctrl-C sends, to all of its processes, when it says it is ready."""
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_it.py").write_text(HEAD + moment.text, encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", *moment.options], cwd=folder, env=a_shells_environ(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        limit = time.monotonic() + START
        while len(ready := list(folder.glob("ready-*"))) < moment.processes:
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < limit, "it was never ready"
            time.sleep(0.01)
        began = time.monotonic()
        press(run, folder / f"heard-{run.pid}")
        told = run.communicate(timeout=END)[0]  # its end, and that of everything that shares its output
        seconds = time.monotonic() - began
        pids = [int(pid.read_text()) for pid in folder.glob("pid")]
        running = stays(os.killpg, run.pid) or any(stays(os.kill, pid) for pid in pids)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait(5)
    authorities = tuple(filter(None, (file.read_text(encoding="utf-8") for file in ready)))
    return Ended(run.returncode, told, seconds, authorities, running, (folder / "never").exists())


def press(run: subprocess.Popen[str], heard: Path) -> None:
    """Ctrl-C, as often as it takes to be heard; what has heard one hears no other.

    A signal that comes between the interpreter's last look and a call that blocks does not end that call.
    """
    limit = time.monotonic() + END
    while run.poll() is None and not heard.exists():
        assert time.monotonic() < limit, "it never heard Ctrl-C"
        os.killpg(run.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(AGAIN)


def stays(kill: Callable[[int, int], None], number: int) -> bool:
    """Whether there still is a process or a group of this number, when the system has had time to take it away."""
    limit = time.monotonic() + REAPED
    while time.monotonic() < limit:
        try:
            kill(number, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.01)
    return True


def wrong(ended: Ended) -> Iterator[str]:
    """What is not as it should be."""
    if ended.status != 2:
        yield f"status {ended.status}"
    if ended.running:
        yield "a process is left"
    if ended.went_on:
        yield "it went on"
    yield from (f"{path} is still there" for path in ended.authorities if Path(path).exists())
    yield from (
        f"it says {word}" for word in ("ResourceWarning", "INTERNALERROR", "never retrieved") if word in ended.told
    )


@needs_groups
@pytest.mark.parametrize("name", MOMENTS)
def test_an_interrupted_run_ends(tmp_path: Path, name: str) -> None:
    """In the middle of anything: with status 2, its connections cut, its files gone, nothing said but where it was."""
    ended = interrupt(tmp_path, MOMENTS[name])
    assert list(wrong(ended)) == [], ended.told
    before, interrupted, _ = ended.told.partition("KeyboardInterrupt")
    assert interrupted and "Traceback (most recent call last)" not in before


@needs_groups
def test_what_is_left_is_seen(tmp_path: Path) -> None:
    """A process that outlives the run, a file that stays, a test that runs after the interruption: each is told."""
    lines = f"""
before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # so will the process
subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
signal.signal(signal.SIGINT, before)
(HERE / "made").write_text({str(tmp_path)!r})
(HERE / "made").rename(HERE / "ready-")
try:
    wait()
except KeyboardInterrupt:
    last()
"""
    ended = interrupt(tmp_path, Moment("import signal\nimport subprocess\n" + in_a_test(lines).text))
    assert list(wrong(ended)) == ["status 0", "a process is left", "it went on", f"{tmp_path} is still there"]
