"""The object without pytest: its life, what it refuses, several at once, threads, forks, loops, and large traffic."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

import pytest
import websocket

from pytest_gatekeeper import (
    Config,
    ConfigError,
    Gatekeeper,
    GatekeeperError,
    Origin,
    ProxyError,
    Secret,
    SourceError,
)  # fmt: skip
from pytest_gatekeeper._proxy.lease import Limits
from pytest_gatekeeper._proxy.listener import SETTLE_LIMIT
from tests.conftest import CLOSE_LIMITS, PATIENCE, SOON, Clock

HUSH = "hush-of-the-object"
LIMIT = 30.0
RULE = f"credentials:\n  - {{host: api.example.com, grant: api, source: {{type: static, value: {HUSH}}}}}\n"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A stub that belongs to no proxy."""
    with Origin(record_raw=True) as origin:
        yield origin


def opener(proxy: Gatekeeper) -> OpenerDirector:
    """A client of a proxy that does not look at the environment."""
    handler = ProxyHandler({"http": proxy.url_with_auth, "https": proxy.url_with_auth})
    return build_opener(handler, HTTPSHandler(context=proxy.ca.ssl_context()))


def get(proxy: Gatekeeper, url: str = "https://api.example.com/") -> str:
    """The body of the answer. Raises HTTPError and OSError."""
    with opener(proxy).open(url, timeout=LIMIT) as answer:
        return str(answer.read().decode())


# ------------------------------------------------------------------ life


def test_the_life_of_a_proxy(origin: Origin) -> None:
    """Before, during, after: where it is, what its repr says, and that the recorder stays."""
    proxy = Gatekeeper(Config.parse(RULE))
    assert repr(proxy) == "<Gatekeeper new>"
    for attribute in ("url", "port", "host", "env", "url_with_auth"):
        with pytest.raises(ProxyError, match="has not been started; use it as a context manager or call start"):
            getattr(proxy, attribute)
    assert proxy.recorder.exchanges == ()
    with proxy as same:
        assert same is proxy
        assert repr(proxy) == f"<Gatekeeper http://127.0.0.1:{proxy.port}>"
        assert proxy.env["HTTPS_PROXY"] == proxy.url == f"http://{proxy.host}:{proxy.port}"
        assert proxy.env["SSL_CERT_FILE"] == proxy.ca.cert_path
        origin.serve("api.example.com", proxy=proxy)
        assert f"Bearer {HUSH}" in get(proxy)
        with pytest.raises(ProxyError, match="this Gatekeeper is running; make another one"):
            proxy.start()
    assert repr(proxy) == "<Gatekeeper closed>"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port), timeout=LIMIT).close()
    proxy.recorder.assert_injected("api.example.com", grant="api", value=HUSH, times=1)
    proxy.close()
    with pytest.raises(ProxyError, match="this Gatekeeper is closed; make another one"):
        proxy.start()


def test_closed_before_it_was_started() -> None:
    """Is no error, and final."""
    proxy = Gatekeeper()
    proxy.close()
    proxy.close()
    with pytest.raises(ProxyError, match="closed"), proxy:
        raise AssertionError


def test_settings_may_be_made_before_the_start(origin: Origin) -> None:
    """Routes and credentials of a proxy that does not run yet are in force when it does."""
    proxy = Gatekeeper()
    origin.serve("api.example.com", proxy=proxy)
    rule = proxy.add_credential("api.example.com", HUSH, header="X-Api-Key", grant="early")
    assert (rule.pattern, rule.header, rule.grant) == ("api.example.com", "X-Api-Key", "early")
    with proxy:
        assert HUSH in get(proxy)
        proxy.add_credential("api.example.com", "another-" + HUSH, header="X-Second")
        get(proxy)
    assert origin.received[0].header("X-Second") is None
    assert origin.received[1].header("X-Second") == "another-" + HUSH


def test_an_error_in_the_block_passes(origin: Origin) -> None:
    """And the port is given up all the same."""
    with pytest.raises(ZeroDivisionError), Gatekeeper() as proxy:
        raise ZeroDivisionError
    assert repr(proxy) == "<Gatekeeper closed>"


def test_a_port_that_is_given() -> None:
    """Is the one that it listens on; one that is taken is a ProxyError, after which it can be had."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proxy = Gatekeeper(port=port)
        with pytest.raises(ProxyError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            proxy.start()
    with Gatekeeper(port=port) as other:
        assert other.port == port
    proxy.close()


def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    """No file of the log, no thread that fetches values anew; the proxy is closed."""
    config = Config.parse(
        "credentials:\n  - {host: api.example.com, source: {type: process, command: echo v4lue-1, ttl: 1h}}\n"
        f"log: {{output: {tmp_path / 'log'}}}\n"
    )
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        proxy = Gatekeeper(config, secrets="real", port=taken.getsockname()[1])
        assert "gatekeeper-secrets" in {thread.name for thread in threading.enumerate()}
        with pytest.raises(ProxyError, match="cannot listen"):
            proxy.start()
    assert repr(proxy) == "<Gatekeeper closed>"
    assert {thread.name for thread in set(threading.enumerate()) - before} <= {"gatekeeper-proxy"}
    assert proxy._log is not None and proxy._log._file is not None and proxy._log._file.closed


def test_leaving_takes_moments(origin: Origin) -> None:
    """With idle connections, an answer under way and an open tunnel, which say that they were cut."""
    proxy = Gatekeeper()
    proxy._limits = proxy._limits._replace(patience=PATIENCE)
    with proxy:
        origin.serve("api.example.com", proxy=proxy)
        origin.respond(path="/stream", chunks=["first", threading.Event()])
        answer = opener(proxy).open("https://api.example.com/stream", timeout=LIMIT)
        tunnel = websocket.create_connection(
            "wss://api.example.com/", timeout=LIMIT, **proxy.kwargs("websocket-client")
        )
        idle = [socket.create_connection((proxy.host, proxy.port)) for _ in range(10)]
        began = time.monotonic()
    assert time.monotonic() - began < SOON
    assert [exchange.closed for exchange in proxy.recorder.exchanges] == ["test", "test"]
    assert [record.closed for record in proxy.recorder.tunnels] == ["test", "test"]
    with pytest.raises((OSError, HTTPException)), answer:
        answer.read(100_000)
    tunnel.close(timeout=1)
    for sock in idle:
        sock.close()


def test_leaving_takes_two_seconds_at_most() -> None:
    """What is not cut in moments is dropped before the two seconds are over that closing may take."""
    assert CLOSE_LIMITS == (2.0, 2.0)
    cut = SETTLE_LIMIT + Limits().patience * 1.5  # what is coming in, to be cut, and half as long to be dropped
    assert cut < min(CLOSE_LIMITS)


# ------------------------------------------------------------------ async


def test_in_a_loop_of_asyncio(origin: Origin) -> None:
    """`async with` works; the loop has no task, reader or policy more than before, and does not wait for the proxy."""

    async def main() -> None:
        tasks = asyncio.all_tasks()
        loop = asyncio.get_running_loop()
        async with Gatekeeper() as proxy:
            origin.serve("api.example.com", proxy=proxy)
            assert asyncio.get_running_loop() is loop
            assert asyncio.all_tasks() == tasks
            bodies = await asyncio.gather(*(loop.run_in_executor(None, get, proxy) for _ in range(4)))
            assert len(bodies) == 4
            assert threading.current_thread() is threading.main_thread()
            get(proxy)  # blocks this loop, and is served by the proxy's own
        assert asyncio.all_tasks() == tasks
        proxy.recorder.assert_not_injected("api.example.com")
        assert len(proxy.recorder.exchanges) == 5

    asyncio.run(main(), debug=True)


def test_a_task_that_is_cancelled_closes_it() -> None:
    """Leaving the block cannot be cancelled halfway: the port is given up."""
    made: list[Gatekeeper] = []

    async def hold() -> None:
        async with Gatekeeper() as proxy:
            made.append(proxy)
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(hold())
        while not made:  # noqa: ASYNC110 - set by the task
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert repr(made[0]) == "<Gatekeeper closed>"


def test_in_a_loop_of_trio() -> None:
    """The same under trio, where it is installed."""
    trio = pytest.importorskip("trio")

    async def main() -> str:
        async with Gatekeeper() as proxy:
            return proxy.url

    assert trio.run(main).startswith("http://127.0.0.1:")


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:1"),
        ("a b", "http://127.0.0.1:1"),
        ("https://api.example.com", "http://127.0.0.1:1"),
        ("api.example.com:0", "http://127.0.0.1:1"),
        ("api.example.com:99999", "http://127.0.0.1:1"),
        ("api.example.com", ""),
        ("api.example.com", "127.0.0.1:1"),
        ("api.example.com", "ftp://127.0.0.1:1"),
        ("api.example.com", "http://"),
        ("api.example.com", "http://127.0.0.1:99999"),
        pytest.param("api.example.com", f"http://user:{HUSH}@127.0.0.1:1", id="password"),
        pytest.param("api.example.com", f"http://127.0.0.1:1/{HUSH}?x", id="query"),
    ],
)
def test_routes_that_cannot_be_read(host: str, url: str) -> None:
    """Are a ProxyError that shows what was given, without a password."""
    with pytest.raises(ProxyError) as caught:
        Gatekeeper().route(host, url)
    assert "route(" in str(caught.value) or "URL" in str(caught.value)
    assert f":{HUSH}@" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["api.example.com", "*.example.com", "api.example.com:8443", "[::1]", "[::1]:80", "API."]
)
def test_routes_that_can_be_read(host: str) -> None:
    """Names, suffixes, ports and IPv6 in brackets."""
    Gatekeeper().route(host, "wss://127.0.0.1:1")


def test_authorities_that_are_none(tmp_path: Path, origin: Origin) -> None:
    """A file that is not there, one without a certificate, bytes without one; those that hold one count."""
    file = tmp_path / "ca.pem"
    file.write_bytes(b"nothing")
    proxy = Gatekeeper()
    for bad in (tmp_path / "gone.pem", str(file), file, b"", b"nothing", tmp_path):
        with pytest.raises(ProxyError, match="certificate"):
            proxy.trust(bad)
        with pytest.raises(ProxyError, match="certificate"):
            proxy.route("api.example.com", origin.url, ca=bad)
    file.write_bytes(origin.ca_pem)
    with proxy:
        proxy.route("api.example.com", origin.url)
        with pytest.raises(HTTPError) as caught:
            get(proxy)
        assert "certificate" in caught.value.read().decode()
        proxy.trust(file)
        get(proxy)
    assert [exchange.upstream_verified for exchange in proxy.recorder.exchanges][-1] is True


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("", HUSH), {}),
        (("https://api.example.com", HUSH), {}),
        (("api.example.com/x", HUSH), {}),
        (("a b", HUSH), {}),
        (("api.example.com", ""), {}),
        (("api.example.com", Secret("")), {}),
        (("api.example.com", HUSH + "\r\nX-Evil: 1"), {}),
        (("api.example.com", HUSH + "\x00"), {}),
        (("api.example.com", HUSH), {"header": "X Api"}),
        (("api.*.example.com", HUSH), {}),
        (("api.example.com:443", HUSH), {}),
        (("api.example.com", HUSH), {"header": "Connection"}),
        (("api.example.com", HUSH), {"header": "X-Api-Key", "format": "basic"}),
        (("api.example.com", HUSH), {"format": "digest"}),
        (("api.example.com", HUSH), {"prefix": "user\n"}),
    ],
)
def test_credentials_that_cannot_be_used(arguments: tuple[str, str], keywords: dict[str, str]) -> None:
    """Are a ConfigError that does not hold the value, neither in its text nor in its traceback's locals' repr."""
    proxy = Gatekeeper()
    with pytest.raises(ConfigError) as caught:
        proxy.add_credential(*arguments, **keywords)  # type: ignore[arg-type]
    assert str(caught.value)
    assert HUSH not in str(caught.value) + repr(caught.value)
    assert caught.value.__context__ is None or HUSH not in repr(caught.value.__context__)
    assert proxy.recorder.rules == ()


def test_credentials_for_an_address(origin: Origin) -> None:
    """IPv6 stands in brackets, in rules as in routes; a port is any."""
    with Gatekeeper() as proxy:
        proxy.route("[::1]", origin.url_for("http"))
        proxy.add_credential("[::1]", HUSH, grant="six")
        assert HUSH in get(proxy, "http://[::1]:8080/")
        proxy.recorder.assert_injected("::1", grant="six", times=1)


@pytest.mark.parametrize(
    "keywords",
    [
        {"idle_timeout": 0},
        {"idle_timeout": -1},
        {"upstream_timeout": float("nan")},
        {"secrets": "al"},
        {"no_proxy": "localhost"},
        {"credentials": {"host": "api.example.com"}},
        {"config": 3},
    ],
    ids=str,
)
def test_arguments_that_cannot_be_used(keywords: dict[str, object]) -> None:
    """Are refused when it is made, by name."""
    with pytest.raises((TypeError, ValueError, ConfigError), match="|".join(keywords)):
        Gatekeeper(**keywords)  # type: ignore[arg-type]


def test_configurations_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that is not there, a folder, what cannot be read; the messages name the file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "bad.yaml").write_text("network: [\n")
    for path, problem in [("gone.yaml", "no such file"), ("folder", "is a directory"), ("bad.yaml", "bad.yaml:2")]:
        for given in (str(tmp_path / path), tmp_path / path):
            with pytest.raises(ConfigError, match=problem) as caught:
                Gatekeeper(given)
            assert caught.value.file == str(tmp_path / path)
    with pytest.raises(ConfigError, match=r"network\.allow\[0\]"):
        Gatekeeper(Config.parse("network: {policy: strict, allow: ['a.example.com:99999']}"))
    with pytest.raises(SourceError, match="NOWHERE_TOKEN"):
        Gatekeeper(
            Config.parse("credentials:\n - {host: a.example.com, source: {type: env, var: NOWHERE_TOKEN}}"),
            secrets="real",
        )


def test_each_form_of_a_configuration(tmp_path: Path) -> None:
    """A path as text or object, a Config, or none."""
    file = tmp_path / "gatekeeper.yaml"
    file.write_text(RULE)
    for given in (str(file), file, Config.load(file), Config.load(str(file))):
        (rule,) = Gatekeeper(given).recorder.rules
        assert rule.grant == "api"
    assert Gatekeeper().recorder.rules == ()


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a problem", file="gatekeeper.yaml", line=3, key="credentials[0]"),
        SourceError("the variable is not set"),
        ProxyError("no such route"),
        GatekeeperError("what"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: GatekeeperError) -> None:
    """With text and attributes: workers hand them over."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


# ------------------------------------------------------------------ several, threads, forks


def test_two_at_once_stay_apart(origin: Origin) -> None:
    """The same host with different credentials, at the same time from many threads."""
    with Gatekeeper() as one, Gatekeeper() as two, ThreadPoolExecutor(8) as pool:
        assert one.port != two.port
        assert one.ca is two.ca
        for proxy, value in ((one, "value-of-one"), (two, "value-of-two")):
            origin.serve("api.example.com", proxy=proxy)
            proxy.add_credential("api.example.com", value)
        bodies = list(pool.map(lambda number: get((one, two)[number % 2]), range(40)))
    assert all("value-of-one" in body and "value-of-two" not in body for body in bodies[::2])
    assert all("value-of-two" in body and "value-of-one" not in body for body in bodies[1::2])
    for proxy, value in ((one, "value-of-one"), (two, "value-of-two")):
        assert len(proxy.recorder.assert_injected("api.example.com", value=value, times=20)) == 20


def test_one_thread_serves_all() -> None:
    """However many there are, and none is left over by one that is closed."""
    with Gatekeeper():
        before = {thread.name for thread in threading.enumerate()}
        proxies = [Gatekeeper() for _ in range(5)]
        for proxy in proxies:
            proxy.start()
        assert {thread.name for thread in threading.enumerate()} == before
        assert [thread.name for thread in threading.enumerate()].count("gatekeeper-proxy") == 1
        for proxy in proxies:
            proxy.close()


def script(text: str, **environ: str) -> str:
    """What a script prints; it must end well within a minute."""
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        env={**plain, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_a_thread_of_its_own() -> None:
    """It can make a proxy and use it, and its end does not disturb its parent's."""
    told = script("""
import os, ssl, sys, threading, warnings
from urllib.request import HTTPSHandler, ProxyHandler, build_opener
from pytest_gatekeeper import Gatekeeper, Origin
warnings.simplefilter("ignore", DeprecationWarning)  # of os.fork, since Python 3.12

def use(name):
    with Gatekeeper() as proxy, Origin() as origin:
        origin.serve("api.example.com", proxy=proxy)
        handler = HTTPSHandler(context=proxy.ca.ssl_context())
        build_opener(ProxyHandler({"https": proxy.url}), handler).open("https://api.example.com/", timeout=10).close()
        proxy.recorder.assert_not_injected("api.example.com")
        print(name, [t.name for t in threading.enumerate()].count("gatekeeper-proxy"), flush=True)

use("parent")
with Gatekeeper() as kept:
    path = kept.ca.cert_path
    child = os.fork()
    if child == 0:
        use("child")
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert os.path.exists(path)
use("parent again")
""")
    assert told.splitlines() == ["parent 1", "child 1", "parent again 1"]


FORKED = """
import os, socket, ssl, sys, warnings
from pytest_gatekeeper import Gatekeeper, Origin
warnings.simplefilter("ignore", DeprecationWarning)  # of os.fork, since Python 3.12
UPGRADE = b"GET /s HTTP/1.1\\r\\nHost: api.example.com\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n" \\
    b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\\r\\n\\r\\n"
PING, PONG = b"\\x89\\x80\\0\\0\\0\\0", b"\\x8a\\0"

def upgraded(proxy):
    sock = proxy.ca.ssl_context().wrap_socket(proxy.connect("api.example.com"), server_hostname="api.example.com")
    sock.sendall(UPGRADE)
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        byte = sock.recv(1)
        assert byte, head
        head += byte
    assert head.startswith(b"HTTP/1.1 101 "), head
    return sock
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_that_closes_a_proxy_leaves_its_parents_alone() -> None:
    """Its copies of proxy and stub end with it, and the parent's serve on: who is connected, and who comes."""
    told = script(
        FORKED
        + """
with Gatekeeper() as proxy, Origin() as origin:
    origin.serve("api.example.com", proxy=proxy)
    before = upgraded(proxy)
    child = os.fork()
    if child == 0:
        before.close()
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    for sock in (before, upgraded(proxy)):
        sock.sendall(PING)
        print(sock.recv(2) == PONG)
        sock.close()
"""
    )
    assert told.split() == ["7", "True", "True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_a_parent_closes_is_closed_while_its_child_lives() -> None:
    """A forked child holds neither the connections that were open nor the ports; its own to the proxy is one."""
    told = script(
        FORKED
        + """
wait, go = os.pipe()
ready, done = os.pipe()
with Gatekeeper() as proxy, Origin() as origin:
    origin.serve("api.example.com", proxy=proxy)
    open_ones = [upgraded(proxy), socket.create_connection((origin.host, origin.port))]
    child = os.fork()
    if child == 0:
        os.close(go)
        for sock in open_ones:
            sock.close()
        upgraded(proxy).close()
        os.write(done, b"x")
        os.read(wait, 1)
        os._exit(7)
    ports = proxy.port, origin.port
    os.read(ready, 1)
    print(len(proxy.recorder.upgrades))
for sock in open_ones:
    sock.settimeout(20)
    try:
        print(sock.recv(1) == b"")
    except (ConnectionError, ssl.SSLError):
        print(True)
for port in ports:
    try:
        socket.create_connection(("127.0.0.1", port), 20)
    except ConnectionRefusedError:
        print(True)
os.close(go)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for sock in open_ones:
    sock.close()
"""
    )
    assert told.split() == ["2", *["True"] * 4, "7"]


def test_a_program_may_end_while_a_connection_comes_in() -> None:
    """One that has been accepted and is not yet served is closed as well: nothing is printed."""
    script("""
import socket
from pytest_gatekeeper import Gatekeeper
from pytest_gatekeeper._proxy import thread
thread._Poll.SKIPPED = thread._Poll._left = 0  # it polls in each turn
proxy = Gatekeeper()
proxy.start()
loop, clients = thread.proxy_thread().loop, []

def connect_and_end():
    clients.append(socket.create_connection((proxy.host, proxy.port)))
    loop.call_soon(loop.stop)  # in the next turn, which accepts it, too

loop.call_soon_threadsafe(connect_and_end)
thread.proxy_thread()._thread.join(30)
clients[0].close()
""")


def test_a_program_may_end_with_open_proxies() -> None:
    """Nothing is waited for, nothing is printed, no file stays."""
    path = script("""
import socket
from pytest_gatekeeper import Gatekeeper
proxy = Gatekeeper()
proxy.start()
client = socket.create_connection((proxy.host, proxy.port))
print(proxy.ca.cert_path)
client.close()
""").strip()
    assert path.endswith("ca.pem")
    assert not Path(path).exists()


# ------------------------------------------------------------------ arguments


def test_limits_of_time(origin: Origin, clock: Clock) -> None:
    """`idle_timeout` ends a silent tunnel, `upstream_timeout` a request that gets no answer."""
    with ThreadPoolExecutor(1) as pool, Gatekeeper(idle_timeout=50, upstream_timeout=20) as proxy:
        origin.serve("api.example.com", proxy=proxy)
        silent = websocket.create_connection(
            "wss://api.example.com/", timeout=LIMIT, **proxy.kwargs("websocket-client")
        )
        origin.faults.stall(path="/stall")
        waiting = pool.submit(get, proxy, "https://api.example.com/stall")
        origin.wait_for(lambda origin: origin.faults.applied)
        clock.forward(20)
        with pytest.raises(HTTPError) as caught:
            waiting.result(LIMIT)
        assert caught.value.code in (502, 504)
        assert "20 s" in caught.value.read().decode()
        assert proxy.recorder.upgrades[0].closed is None
        clock.forward(30)
        with pytest.raises((OSError, websocket.WebSocketException)):
            silent.recv()
        proxy.recorder.wait_for(lambda recorder: recorder.upgrades[0].closed == "idle")
        silent.close(timeout=1)


def test_secrets_and_their_salt() -> None:
    """`canary` makes values up that differ by salt; `auto` and `real` take the static one."""
    config = Config.parse(RULE)
    values = [
        Gatekeeper(config, secrets="canary", salt=salt).recorder.rules[0].secret.reveal() for salt in ("a", "b", "a")
    ]
    assert values[0] == values[2] != values[1]
    assert HUSH not in values
    assert Gatekeeper(config).recorder.rules[0].secret == HUSH
    assert Gatekeeper(config, secrets="real").recorder.rules[0].secret == HUSH


def test_hosts_that_go_direct() -> None:
    """`no_proxy` shows in `env`, with the bundle in place of the one authority."""
    with Gatekeeper(no_proxy=["direct.example.com"]) as proxy:
        assert "direct.example.com" in proxy.env["NO_PROXY"].split(",")
        assert proxy.env["SSL_CERT_FILE"] == proxy.ca.bundle_path
    with Gatekeeper() as other:
        assert "NO_PROXY" not in other.env
        assert other.env["SSL_CERT_FILE"] == other.ca.cert_path


TOKEN = "t:o/k%40@n #?&+'"
USERS = {
    "urllib": "import urllib.request as u; print(u.urlopen('https://api.example.com/x').read())",
    "requests": "import requests as r; print(r.get('https://api.example.com/x').text, r.get('http://api.example.com/').text)",
}


def test_a_token_of_the_proxy_itself(origin: Origin, tmp_path: Path) -> None:
    """Is in `env` and `url_with_auth`, quoted so that clients understand it; without it they get 407."""
    file = tmp_path / "gatekeeper.yaml"
    file.write_text(f'proxy: {{auth_token: "{TOKEN}"}}\n')
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    curl = ["curl", "--silent", "--show-error", "--max-time", "60", "https://api.example.com/x"]
    with Gatekeeper(file) as proxy:
        origin.serve("api.example.com", proxy=proxy)
        assert TOKEN not in repr(proxy) + proxy.url
        for command in (curl, *([sys.executable, "-c", text] for text in USERS.values())):
            done = subprocess.run(
                command, env={**plain, **proxy.env}, capture_output=True, text=True, timeout=60, check=False
            )
            assert '"target"' in done.stdout, done.stderr
            assert "gatekeeper:" not in done.stdout.replace(proxy.ca.cert_path, "")
        assert [exchange.status for exchange in proxy.recorder.exchanges] == [200] * 4
        assert TOKEN not in repr([exchange.headers for exchange in proxy.recorder.exchanges])
        environ = {**plain, **{name: value.replace("gatekeeper:", "other:x") for name, value in proxy.env.items()}}
        done = subprocess.run(curl, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert "407" in done.stderr
        assert len(proxy.recorder.exchanges) == 4


# ------------------------------------------------------------------ WebSocket, byte for byte


class RawSocket:
    """A WebSocket client by hand (RFC 6455) that keeps the bytes of both directions."""

    def __init__(self, proxy: Gatekeeper, host: str) -> None:
        raw = proxy.connect(host, 443, timeout=LIMIT)
        self.sock = proxy.ca.ssl_context().wrap_socket(raw, server_hostname=host)
        self.sent = bytearray()
        self.received = bytearray()
        self._random = random.Random(455)
        self._reader = threading.Thread(target=self._read)
        head = (
            f"GET /socket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.sock.sendall(head.encode())
        self._reader.start()

    def _read(self) -> None:
        while data := self.sock.recv(65536):
            self.received += data

    def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """Send a masked frame."""
        size, mask = len(payload), self._random.randbytes(4)
        wide = 0 if size < 126 else 2 if size <= 0xFFFF else 8
        length = bytes([{0: size, 2: 126, 8: 127}[wide]]) + (size.to_bytes(wide, "big") if wide else b"")
        pattern = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(payload, "big") ^ pattern).to_bytes(size, "big")
        data = bytes([opcode | fin << 7, length[0] | 0x80]) + length[1:] + mask + masked
        self.sent += data
        self.sock.sendall(data)

    def message(self, payload: str | bytes, pieces: int) -> None:
        """Send a message in so many fragments, a ping between them."""
        data = payload.encode() if isinstance(payload, str) else payload
        opcode = 1 if isinstance(payload, str) else 2
        step = max(1, -(-len(data) // pieces))
        parts = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
        for number, part in enumerate(parts):
            self.frame(0 if number else opcode, part, fin=number == len(parts) - 1)
            if number < len(parts) - 1:
                self.frame(9, b"ping %d" % number)

    def finish(self) -> None:
        """Read to the end."""
        self._reader.join(LIMIT)
        assert not self._reader.is_alive()
        self.sock.close()


def messages_of(data: bytes) -> tuple[list[str | bytes], list[bytes], bytes]:
    """The messages, the pongs and the close payload in a server's frames."""
    messages: list[str | bytes] = []
    pongs: list[bytes] = []
    close, parts, kind, at = b"", b"", 0, 0
    while at < len(data):
        opcode, fin, size = data[at] & 15, data[at] >> 7, data[at + 1]
        at += 2
        if size > 125:
            wide = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + wide], "big"), at + wide
        payload, at = data[at : at + size], at + size
        if opcode == 10:
            pongs.append(payload)
        elif opcode == 8:
            close = payload
        else:
            kind, parts = opcode or kind, parts + payload
            if fin:
                messages.append(parts.decode() if kind == 1 else parts)
                parts = b""
    return messages, pongs, close


def test_a_thousand_messages_arrive_as_they_were_sent(origin: Origin) -> None:
    """Text and binary, 1 B to 1 MiB, in fragments with pings between, a close with code and reason.

    Both streams are the same bytes on either side of the proxy, and the recorded sizes are their lengths.
    """
    chance = random.Random(1000)
    sizes = [1, 2, 125, 126, 127, 0xFFFF, 0x10000, 1 << 20, 1 << 20]
    sizes += [int(2 ** chance.uniform(0, 14)) for _ in range(1000 - len(sizes))]
    sent: list[str | bytes] = []
    with Gatekeeper() as proxy:
        origin.serve("ws.example.com", proxy=proxy)
        proxy.add_credential("ws.example.com", HUSH, grant="ws-api")
        client = RawSocket(proxy, "ws.example.com")
        for number, size in enumerate(sizes):
            text = "é" * (size // 2) + "x" * (size % 2)
            sent.append(text if number % 2 else chance.randbytes(size))
            client.message(sent[-1], 1 + number % 3)
        client.frame(8, (4001).to_bytes(2, "big") + "done, é".encode())
        client.finish()
        proxy.recorder.wait_for(lambda recorder: recorder.upgrades[0].closed)
    head, _, answer = bytes(client.received).partition(b"\r\n\r\n")
    (stream,) = origin.streams
    assert head.startswith(b"HTTP/1.1 101 ")
    assert stream.received.partition(b"\r\n\r\n")[2] == client.sent
    assert stream.sent == client.received
    assert HUSH.encode() in stream.received.partition(b"\r\n\r\n")[0]

    echoed, pongs, close = messages_of(answer)
    assert echoed == sent
    assert pongs
    assert close[:2] == (4001).to_bytes(2, "big")
    assert (origin.received[0].message_count, origin.received[0].close_code) == (1000, 4001)
    (exchange,) = proxy.recorder.assert_upgraded("ws.example.com", path="/socket", grant="ws-api", times=1)
    assert (exchange.request_size, exchange.response_size) == (len(client.sent), len(answer))
    assert exchange.error is None


def test_many_websockets_at_once(origin: Origin) -> None:
    """Sixty-four are open at the same time, each with its own messages, and each is recorded."""
    with Gatekeeper() as proxy:
        origin.serve("ws.example.com", proxy=proxy)
        arguments = proxy.kwargs("websocket-client")
        with ThreadPoolExecutor(8) as pool:
            url = "wss://ws.example.com/{}"
            clients = list(
                pool.map(lambda n: websocket.create_connection(url.format(n), timeout=LIMIT, **arguments), range(64))
            )
        for number, client in enumerate(clients):
            client.send(f"message of {number}")
        assert [client.recv() for client in clients] == [f"message of {number}" for number in range(64)]
        assert [upgrade.closed for upgrade in proxy.recorder.upgrades] == [None] * 64
        for client in clients:
            client.close()
        proxy.recorder.wait_for(lambda recorder: all(upgrade.closed for upgrade in recorder.upgrades))
    proxy.recorder.assert_upgraded("ws.example.com", times=64)
    assert {upgrade.path for upgrade in proxy.recorder.upgrades} == {f"/{number}" for number in range(64)}


# ------------------------------------------------------------------ memory

MEMORY = """
import itertools, json, os, ssl, threading
from http.client import HTTPConnection
from pathlib import Path
from pytest_gatekeeper import Gatekeeper, Origin

PIECE = bytes(64 * 1024)
PAGE = os.sysconf("SC_PAGE_SIZE")
peak = 0

def look():
    global peak
    peak = max(peak, int(Path("/proc/self/statm").read_text().split()[1]) * PAGE)

def pieces(count):
    for number in range(count):
        if number % 64 == 0:
            look()
        yield PIECE

def traffic(count):
    connection = HTTPConnection(proxy.host, proxy.port, timeout=30)
    size = str(count * len(PIECE))
    connection.request("POST", "http://api.example.com/up", body=pieces(count), headers={"Content-Length": size})
    assert json.load(connection.getresponse())["size"] == int(size)
    origin.respond(path="/down", body=pieces(count), headers={"Content-Length": size})
    connection.request("GET", "http://api.example.com/down")
    answer, got = connection.getresponse(), 0
    room = bytearray(len(PIECE))
    while more := answer.readinto(room):
        got += more
    assert got == int(size)
    connection.close()
    look()

with Gatekeeper() as proxy, Origin() as origin:
    proxy.route("api.example.com", origin.url_for("https"), ca=origin.ca_pem)
    proxy.add_credential("api.example.com", "t0k-of-the-memory-test")
    origin.sink(path="/up")
    traffic(64)
    before, peak = peak, 0
    traffic(4096)
    assert [e.response_size for e in proxy.recorder.exchanges][-1] == 4096 * len(PIECE)
    print((peak - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the process's memory is read from /proc")
def test_large_bodies_take_no_memory() -> None:
    """256 MiB up and 256 MiB down let the process grow by less than 16 MiB."""
    assert int(script(MEMORY)) < 16 * 1024


def test_the_ssl_context_of_the_authority_verifies(origin: Origin) -> None:
    """It trusts the proxy alone: the stub's own certificate is refused by it."""
    with Gatekeeper() as proxy, socket.create_connection((origin.host, origin.port), timeout=LIMIT) as raw:
        with pytest.raises(ssl.SSLCertVerificationError):
            proxy.ca.ssl_context().wrap_socket(raw, server_hostname="localhost")
        origin.serve("api.example.com", proxy=proxy)
        get(proxy)


def test_a_client_that_does_not_trust_is_told_of_at_once() -> None:
    """20 times: whoever has the client's error finds the cause in the failed assertion, or what it may be."""
    stranger = ssl.create_default_context()
    for _ in range(20):
        with Gatekeeper() as proxy:
            with pytest.raises(ssl.SSLCertVerificationError), proxy.connect("api.example.com") as way:
                stranger.wrap_socket(way, server_hostname="api.example.com")
            with pytest.raises(AssertionError, match="does not trust the proxy's CA"):
                proxy.recorder.assert_injected("api.example.com")


def test_a_host_that_cannot_be_reached_is_silence_where_a_rule_applies() -> None:
    """A 502 says nothing of where the credential goes; without a rule for the host it says enough."""
    with Gatekeeper() as proxy:
        proxy.add_credential("api.example.com", HUSH, grant="api")
        for host in ("none.example.com", "api.example.com"):
            with pytest.raises(HTTPError, match="502"):
                get(proxy, f"https://{host}/")
        proxy.recorder.assert_not_injected("none.example.com")
        with pytest.raises(AssertionError, match=r"no exchange to api\.example\.com reached an upstream"):
            proxy.recorder.assert_not_injected("api.example.com")
        with pytest.raises(AssertionError, match="this proves nothing: no exchange reached an upstream"):
            proxy.recorder.assert_no_leaks()
        assert not any(exchange.sent for exchange in proxy.recorder.exchanges)
