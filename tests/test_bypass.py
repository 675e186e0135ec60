"""`_bypass`: connections past the proxy are seen, with the client's name, and nothing else is.

No name here resolves, and no address is anybody's: what is seen is the attempt.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from pytest_gatekeeper import Gatekeeper, _bypass
from pytest_gatekeeper._bypass import goes_direct, watch
from pytest_gatekeeper._core.cures import find_client
from pytest_gatekeeper._core.records import Bypass
from tests.conftest import in_a_loop

NAME = "api.nowhere.invalid"  # RFC 6761 section 6.4
ADDRESS = "192.0.2.1"  # RFC 5737
URL = f"https://{NAME}/"
LIMIT = 10.0


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit hooks are not traced by default; coverage has to see this one."""
    monkeypatch.setattr(_bypass._hook, "__cantrace__", True, raising=False)


@pytest.fixture
def seen() -> Iterator[list[Bypass]]:
    """What one who watches is told."""
    told: list[Bypass] = []
    watching = watch(told.append, own_thread=lambda: None, exempt=["direct.nowhere.invalid"])
    yield told
    watching.stop()


def look_up(host: str = NAME, port: int | None = 443) -> None:
    """Look a name up."""
    with suppress(OSError):
        socket.getaddrinfo(host, port)


def knock(host: str = ADDRESS, port: int = 443) -> None:
    """Begin to connect."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock, suppress(OSError):
        sock.setblocking(False)
        sock.connect((host, port))


def reach(host: str | None, port: int | None, *, at: int) -> None:
    """Look a name up and connect to its address, as far as the hook can see."""
    sys.audit("socket.getaddrinfo", host, port, 0, 0, 0)
    with socket.socket() as sock:
        sys.audit("socket.connect", sock, (ADDRESS, at))


async def fetch(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url, timeout=aiohttp.ClientTimeout(LIMIT)):
        pass


async def with_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        with suppress(aiohttp.ClientError):
            await fetch(session, url)


async def with_httpx(url: str) -> None:
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        with suppress(httpx.TransportError):
            async with client.stream("GET", url):
                pass


async def with_streams(host: str, port: int) -> None:
    with suppress(OSError):
        await asyncio.open_connection(host, port)


def with_http_client() -> None:
    connection = http.client.HTTPSConnection(NAME, timeout=LIMIT)
    with suppress(OSError):
        connection.request("GET", "/")


def with_urllib3() -> None:
    with urllib3.PoolManager() as pool, suppress(urllib3.exceptions.HTTPError):
        pool.request("GET", URL, retries=False, timeout=LIMIT)


def with_requests() -> None:
    with requests.Session() as session, suppress(requests.RequestException):
        session.trust_env = False
        session.get(URL, timeout=LIMIT)


# ------------------------------------------------------------------ who is named


@pytest.mark.parametrize(
    ("attempt", "client"),
    [
        (with_http_client, "http.client"),
        (with_urllib3, "urllib3"),
        (with_requests, "requests"),
        (lambda: in_a_loop(with_aiohttp(URL)), "aiohttp"),
        (lambda: in_a_loop(with_httpx(URL)), "httpx"),
    ],
    ids=["http.client", "urllib3", "requests", "aiohttp", "httpx"],
)
def test_a_client_that_knows_no_proxy_is_named(seen: list[Bypass], attempt: Callable[[], None], client: str) -> None:
    """Once, with the name that it asked for and the cure of that library."""
    attempt()
    (bypass,) = set(seen)
    assert bypass[:3] == (NAME, 443, client)
    assert bypass.cure.startswith(f"{client}: ")


def test_a_client_made_before_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, seen: list[Bypass]) -> None:
    """It goes past the proxy; one that is made afterwards does not."""
    with Gatekeeper() as proxy, httpx.Client(trust_env=True) as before:
        for name, value in proxy.env.items():
            monkeypatch.setenv(name, value)
        with suppress(httpx.TransportError):
            before.get(URL, timeout=LIMIT)
        (bypass,) = seen
        assert bypass[:3] == (NAME, 443, "httpx") and "inside the test" in bypass.cure
        seen.clear()
        with httpx.Client() as after:
            assert after.get(URL, timeout=LIMIT).status_code == 502
        assert seen == []
        assert [exchange.host for exchange in proxy.recorder.exchanges] == [NAME]


def test_an_environment_that_was_emptied_is_part_of_the_cure(
    monkeypatch: pytest.MonkeyPatch, seen: list[Bypass]
) -> None:
    """As `patch.dict(os.environ, clear=True)` does: no setting of the client helps then."""
    said = "; HTTPS_PROXY is not set now, so put proxy.env back into the environment"
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with_requests()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with_requests()
    assert [(bypass.client, said in bypass.cure) for bypass in seen] == [("requests", True), ("requests", False)]


def test_a_function_of_the_user_is_named_by_its_module(seen: list[Bypass]) -> None:
    """A socket of its own, to a name or to an address."""
    look_up()
    knock(port=8443)
    assert [bypass[:3] for bypass in seen] == [
        (NAME, 443, f"{__name__}.look_up"),
        (ADDRESS, 8443, f"{__name__}.knock"),
    ]
    assert all("proxy.connect(host, port)" in bypass.cure for bypass in seen)


def test_asyncio_is_seen_through(seen: list[Bypass]) -> None:
    """The look-up happens in a worker thread, the name is of the coroutine that waits for it."""
    in_a_loop(with_streams(NAME, 8443))
    assert [bypass[:3] for bypass in seen] == [(NAME, 8443, f"{__name__}.with_streams")]


def test_a_loop_in_another_thread_is_seen_through(seen: list[Bypass]) -> None:
    """What waits for the look-up is found in whichever thread it is."""
    thread = threading.Thread(target=in_a_loop, args=(with_aiohttp(URL),))
    thread.start()
    thread.join(LIMIT)
    assert {bypass[:3] for bypass in seen} == {(NAME, 443, "aiohttp")}


def test_a_worker_that_nobody_waits_for_is_a_guess(seen: list[Bypass]) -> None:
    """The text says so."""
    with ThreadPoolExecutor(1) as pool, suppress(OSError):
        pool.submit(socket.getaddrinfo, NAME, 443).result(LIMIT)
    assert [bypass.client for bypass in seen] == ["probably aiohttp"]


class Wrapped:
    """An awaitable that is no coroutine."""

    def __init__(self, inner: Awaitable[None]) -> None:
        self._inner = inner

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._inner.__await__()


@asynccontextmanager
async def opened(host: str) -> AsyncIterator[None]:
    await Wrapped(with_streams(host, 443))
    yield


async def deeply(host: str) -> None:
    async with opened(host):
        pass


@pytest.mark.parametrize("work", [deeply, lambda host: with_streams(host, 443)], ids=["deeply", "directly"])
def test_a_suspended_task_is_followed_to_the_look_up(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[str], Awaitable[None]]
) -> None:
    """Through generators and awaitables of any kind; another host's look-up is not taken for it."""
    asked, suspended, answer = threading.Event(), threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def slow(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait(LIMIT)
        raise OSError

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await work(NAME)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert asked.wait(LIMIT)
        loops[0].call_soon_threadsafe(suspended.set)
        assert suspended.wait(LIMIT)
        found = find_client(_bypass._askers(NAME))
        other = _bypass._askers("other.invalid")
    finally:
        answer.set()
        thread.join(LIMIT)
    assert found is not None and found.name == f"{__name__}.with_streams"
    assert other == []


class Eager(ThreadPoolExecutor):
    """A pool whose worker is done before the caller goes on."""

    def submit(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - told above
        future = super().submit(*args, **kwargs)
        with suppress(OSError):
            future.result(LIMIT)
        return future


def test_a_task_that_is_about_to_wait_is_found_on_its_stack(seen: list[Bypass]) -> None:
    """A worker can look up before the task that asked is suspended."""

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(Eager(1))
        await with_aiohttp(URL)

    in_a_loop(main())
    assert {bypass[:3] for bypass in seen} == {(NAME, 443, "aiohttp")}


# ------------------------------------------------------------------ one bypass, not two


def test_a_connection_after_its_look_up_is_no_second_bypass(seen: list[Bypass]) -> None:
    """The same client at the same port; another port, or another client, is one of its own."""
    reach(NAME, 443, at=443)
    assert [bypass[:2] for bypass in seen] == [(NAME, 443)]
    reach(NAME, 443, at=444)
    assert [bypass[:2] for bypass in seen[1:]] == [(NAME, 443), (ADDRESS, 444)]
    knock()
    assert [bypass[:3] for bypass in seen[3:]] == [(ADDRESS, 443, f"{__name__}.knock")]


def test_a_look_up_without_a_port_is_for_any_port(seen: list[Bypass]) -> None:
    """The client gives the port when it connects."""
    reach(NAME, None, at=443)
    assert [bypass[:2] for bypass in seen] == [(NAME, 0)]


def test_an_address_that_was_given_is_reported(seen: list[Bypass]) -> None:
    """It is looked up, too, and then means itself, whatever name came before."""
    with_http_client()
    connection = http.client.HTTPConnection(ADDRESS, 443, timeout=0.05)
    with suppress(OSError):
        connection.request("GET", "/")
    assert [bypass[:3] for bypass in seen] == [(NAME, 443, "http.client"), (ADDRESS, 443, "http.client")]


def test_what_follows_an_exempt_look_up_is_exempt(seen: list[Bypass]) -> None:
    """Its address is nothing that a list of names could say; the same address without the look-up is reported."""
    reach("www.direct.nowhere.invalid", 443, at=443)
    assert seen == []
    knock()
    assert [bypass[:2] for bypass in seen] == [(ADDRESS, 443)]


def test_a_new_watch_knows_no_look_up(seen: list[Bypass]) -> None:
    """What one test looked up does not excuse what the next one connects to."""
    reach("direct.nowhere.invalid", 443, at=443)
    watch(seen.append, own_thread=lambda: None).stop()
    reach(None, 443, at=443)
    assert [bypass[0] for bypass in seen] == [ADDRESS]


def test_look_ups_are_remembered_up_to_a_limit(seen: list[Bypass], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for many ports does not fill the memory; each is reported."""
    monkeypatch.setattr(_bypass, "_REMEMBERED", 3)
    for port in range(1, 6):
        sys.audit("socket.getaddrinfo", NAME, port, 0, 0, 0)
    assert [bypass.port for bypass in seen] == [1, 2, 3, 4, 5]
    assert len(_bypass._looked_up) == 2


# ------------------------------------------------------------------ what does not count


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "0.0.0.0", "localhost", "LocalHost.", "x.localhost",
     socket.gethostname(), ""],
)  # fmt: skip
def test_this_machine_does_not_count(seen: list[Bypass], host: str) -> None:
    """Neither as a name nor as an address; a name of somebody else does."""
    look_up(host, 9)
    with socket.socket() as sock:
        sys.audit("socket.connect", sock, (host, 9))
    assert seen == []
    look_up(NAME, 9)
    assert len(seen) == 1


def test_sockets_that_are_not_tcp_do_not_count(seen: list[Bypass], tmp_path: Any) -> None:
    """A datagram socket that connects sends nothing, a Unix socket leads nowhere else; TCP to the same place counts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(OSError):
        sock.connect((ADDRESS, 443))
    with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
        sock.connect(str(tmp_path / "none"))
    with suppress(OSError):
        socket.getaddrinfo(NAME, 443, type=socket.SOCK_DGRAM)
    with socket.socket() as sock:
        sys.audit("socket.connect", sock, ADDRESS)  # no address of TCP
    look_up(None)  # type: ignore[arg-type]
    assert seen == []
    knock(ADDRESS, 443)
    knock("2001:db8::1", 443)
    assert [bypass.host for bypass in seen] == [ADDRESS, "2001:db8::1"]


def test_the_proxy_and_its_thread_do_not_count() -> None:
    """Not a request through it, not its own look-up of an upstream; the same look-up by anybody else does."""
    with Gatekeeper(allow_network=True) as proxy:
        thread = proxy_thread_ident()
        told: list[Bypass] = []
        watching = watch(told.append, own_thread=lambda: thread)
        try:
            pool = urllib3.ProxyManager(proxy.url, ssl_context=proxy.ca.ssl_context())
            with pool:
                assert pool.request("GET", URL, retries=False, timeout=LIMIT).status == 502
                assert pool.request("GET", f"http://{ADDRESS}:9/", retries=False, timeout=LIMIT).status == 502
            assert told == []
            look_up()
            assert [bypass.host for bypass in told] == [NAME]
        finally:
            watching.stop()
        assert [exchange.host for exchange in proxy.recorder.exchanges] == [NAME, ADDRESS]


def proxy_thread_ident() -> int | None:
    from pytest_gatekeeper._proxy.thread import proxy_thread

    return proxy_thread().ident


@pytest.mark.parametrize(
    ("entry", "host", "direct"),
    [
        ("example.com", "example.com", True), ("example.com", "Example.COM.", True),
        ("example.com", "a.example.com", True), ("example.com", "badexample.com", False),
        (".example.com", "a.example.com", True), ("*.example.com", "a.example.com", True),
        ("example.com:443", "example.com", True), ("example.com:80", "example.com", False),
        ("192.0.2.1", "192.0.2.1", True), ("192.0.2.1", "192.0.2.10", False),
        ("192.0.2.0/24", "192.0.2.9", True), ("192.0.2.0/24", "192.0.3.9", False),
        ("192.0.2.0/24", "example.com", False), ("192.0.2.0/99", "192.0.2.9", False),
        ("2001:db8::1", "2001:db8:0::1", True), ("[2001:db8::1]:443", "2001:db8::1", True),
        ("[2001:db8::1]:80", "2001:db8::1", False), ("2001:db8::/32", "2001:db8::1%eth0", True),
        ("*", "example.com", True), ("", "example.com", False), (" example.com ", "example.com", True),
    ],
)  # fmt: skip
def test_who_goes_direct(entry: str, host: str, direct: bool) -> None:
    """What NO_PROXY's clients understand: names and those below them, addresses, networks, ports, everything."""
    assert goes_direct(host, 443, [entry]) is direct
    assert goes_direct(host, 443, ["other.invalid", entry]) is direct


# ------------------------------------------------------------------ the hook's manners


def test_each_of_several_who_watch_is_told_by_its_own_list() -> None:
    """What one of them exempts the other one hears; who has stopped hears nothing, and the hook is there once."""
    one: list[Bypass] = []
    other: list[Bypass] = []
    first = watch(one.append, own_thread=lambda: None, exempt=[NAME])
    second = watch(other.append, own_thread=lambda: None)
    look_up()
    assert (len(one), len(other)) == (0, 1)
    look_up("other.invalid")
    assert (len(one), len(other)) == (1, 2)
    first.stop()
    first.stop()
    look_up("third.invalid")
    second.stop()
    look_up("fourth.invalid")
    assert (len(one), len(other)) == (1, 3)


def test_a_sink_that_fails_does_not_disturb_the_client() -> None:
    """The client meets the error of its own look-up alone."""
    called = []

    def sink(bypass: Bypass) -> None:
        called.append(bypass)
        raise ValueError("not the client's")

    watching = watch(sink, own_thread=lambda: None)
    try:
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo(NAME, 443)
    finally:
        watching.stop()
    assert len(called) == 1


def test_an_interrupt_comes_through_and_leaves_the_hook_working() -> None:
    """Control-C while the hook is at work ends the client's call; the next one is seen again."""
    told: list[Bypass] = []

    def sink(bypass: Bypass) -> None:
        told.append(bypass)
        raise KeyboardInterrupt

    watching = watch(sink, own_thread=lambda: None)
    try:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                socket.getaddrinfo(NAME, 443)
    finally:
        watching.stop()
    assert len(told) == 2


def test_what_a_sink_itself_does_is_not_seen() -> None:
    """So nothing recurses."""
    told: list[Bypass] = []

    def sink(bypass: Bypass) -> None:
        told.append(bypass)
        look_up("deeper.invalid")

    watching = watch(sink, own_thread=lambda: None)
    try:
        look_up()
    finally:
        watching.stop()
    assert [bypass.host for bypass in told] == [NAME]


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        (NAME, 443, (NAME, 443)), (NAME.encode(), b"8443", (NAME, 8443)),
        (bytearray(NAME.encode()), "https", (NAME, 443)),
        (NAME, "unknown", (NAME, 0)), (NAME, None, (NAME, 0)), (7, 443, None),
    ],
)  # fmt: skip
def test_what_was_asked_for_is_read_in_all_its_forms(
    seen: list[Bypass], host: object, port: object, expected: tuple[str, int] | None
) -> None:
    """Bytes, service names and no port at all; what is no name is left alone."""
    sys.audit("socket.getaddrinfo", host, port, 0, 0, 0)
    assert [bypass[:2] for bypass in seen] == ([expected] if expected else [])


def test_a_forked_child_has_nobody_who_watches() -> None:
    """It must not wait for a lock that a thread of its parent held; the parent is told of its own."""
    script = f"""
        import os, socket
        from pytest_gatekeeper._bypass import watch
        told = []
        watch(told.append, own_thread=lambda: None)
        def look_up():
            try:
                socket.getaddrinfo({NAME!r}, 443)
            except OSError:
                pass
        child = os.fork()
        look_up()
        if child == 0:
            os._exit(len(told))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(told))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["0", "1"]
