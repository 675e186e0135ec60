"""The test that passes for the wrong reason: clients that bypass the proxy, environments that lead past it.

Each client fails to reach a name that does not exist, as its request, its request over TLS and its WebSocket would; the
recorder has nothing, and says so instead of agreeing. The twin is the same client, told of the proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import httpx
import pytest
import requests
import trustme
import urllib3
import websockets
from websockets.sync.client import connect as ws_connect

from tests.conftest import run_aiohttp
from tests.proof.conftest import other_address, rule

if TYPE_CHECKING:
    from pytest_gatekeeper import Gatekeeper, Origin

NAME = "api.nowhere.invalid"  # RFC 6761 section 6.4: it never resolves
SECRET = "k7Q-s3cr3t_f9c2.xJ5v"
LIMIT = 10.0

managed = pytest.mark.gatekeeper(credentials=[rule(SECRET, NAME)])


# ------------------------------------------------------------------ clients, past the proxy and through it


def with_http_client(url: str, proxy: Gatekeeper | None) -> None:
    secure = url.startswith("https")
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(NAME, timeout=LIMIT)
    if proxy is not None:
        raw = proxy.connect(NAME, 443 if secure else 80)
        connection.sock = proxy.ca.ssl_context().wrap_socket(raw, server_hostname=NAME) if secure else raw
    with contextlib.closing(connection):
        connection.request("GET", "/")
        connection.getresponse().read()


def with_urllib3(url: str, proxy: Gatekeeper | None) -> None:
    with urllib3.PoolManager() if proxy is None else urllib3.ProxyManager(**proxy.kwargs("urllib3")) as pool:
        pool.request("GET", url, retries=False, timeout=LIMIT)


def with_requests(url: str, proxy: Gatekeeper | None) -> None:
    with requests.Session() as session:
        session.trust_env = proxy is not None
        session.get(url, timeout=LIMIT)


def with_httpx(url: str, proxy: Gatekeeper | None) -> None:
    with httpx.Client(trust_env=proxy is not None, timeout=LIMIT) as client:
        client.get(url)


def with_aiohttp(url: str, proxy: Gatekeeper | None) -> None:
    async def fetch() -> None:
        timeout = aiohttp.ClientTimeout(LIMIT)
        async with aiohttp.ClientSession(trust_env=proxy is not None, timeout=timeout) as session:
            if url.startswith("ws"):
                async with session.ws_connect(url) as opened:
                    await opened.close()
            else:
                await session.get(url)

    run_aiohttp(fetch())


def with_websockets(url: str, proxy: Gatekeeper | None) -> None:
    with ws_connect(url, proxy=True if proxy else None, open_timeout=LIMIT, close_timeout=LIMIT):
        pass


def with_a_socket(url: str, proxy: Gatekeeper | None) -> None:
    place = (NAME, 80)
    sock = proxy.connect(*place) if proxy else socket.create_connection(place, LIMIT)
    with sock:
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        fields = upgrade + key if url.startswith("ws") else ""
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n{fields}\r\n".encode())
        sock.settimeout(LIMIT)
        assert sock.recv(12) in {b"HTTP/1.1 200", b"HTTP/1.1 101"}


class Case(NamedTuple):
    """A client, the schemes that it speaks, and the name it is told by."""

    call: Callable[[str, Gatekeeper | None], None]
    schemes: tuple[str, ...]
    name: str


CASES = [
    Case(with_http_client, ("http", "https"), "http.client"),
    Case(with_urllib3, ("http", "https"), "urllib3"),
    Case(with_requests, ("http", "https"), "requests"),
    Case(with_httpx, ("http", "https"), "httpx"),
    Case(with_aiohttp, ("http", "https", "ws", "wss"), "aiohttp"),
    Case(with_websockets, ("ws", "wss"), "websockets"),
    Case(with_a_socket, ("http", "ws"), f"{__name__}.with_a_socket"),
]
EACH = [
    pytest.param(case, scheme, id=f"{case.name.rpartition('.')[2]} {scheme}")
    for case in CASES
    for scheme in case.schemes
]
FAILURES = (OSError, httpx.TransportError, requests.RequestException, urllib3.exceptions.HTTPError, aiohttp.ClientError,
            websockets.WebSocketException)  # fmt: skip


@managed
@pytest.mark.parametrize(("case", "scheme"), EACH)
def test_a_client_that_bypasses_the_proxy(gatekeeper_proxy: Gatekeeper, case: Case, scheme: str) -> None:
    """Nothing is recorded, so nothing is proved; and the connection is told, with the client and the cure."""
    with pytest.raises(FAILURES):
        case.call(f"{scheme}://{NAME}/", None)
    recorder = gatekeeper_proxy.recorder
    assert recorder.exchanges == ()
    for nothing in (recorder.assert_no_leaks, recorder.assert_not_injected):
        with pytest.raises(AssertionError, match="this proves nothing: there was"):
            nothing()
    with pytest.raises(AssertionError) as caught:
        recorder.assert_no_bypass()
    text = str(caught.value)
    assert "went past the proxy" in text and NAME in text and case.name in text and "cure:" in text
    ports = {"http": 80, "ws": 80, "https": 443, "wss": 443}
    assert {(bypass.host, bypass.port) for bypass in recorder.bypasses} == {(NAME, ports[scheme])}


@managed
@pytest.mark.parametrize(("case", "scheme"), EACH)
def test_the_same_client_through_the_proxy(
    gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, case: Case, scheme: str
) -> None:
    """The twin: it reaches the name that does not exist, gets the credential, and no bypass is seen."""
    gatekeeper_origin.serve(NAME)
    case.call(f"{scheme}://{NAME}/", gatekeeper_proxy)
    recorder = gatekeeper_proxy.recorder
    recorder.assert_injected(NAME, value=SECRET, upgrade=scheme.startswith("ws"), times=1)
    assert len(recorder.assert_no_bypass()) == 1
    recorder.assert_no_leaks()


@managed
def test_a_client_built_before_the_environment_was_set(request: pytest.FixtureRequest) -> None:
    """It knows of no proxy for the rest of its life; one that is built in the test does."""
    with httpx.Client(timeout=LIMIT) as before:
        proxy: Gatekeeper = request.getfixturevalue("gatekeeper_proxy")
        request.getfixturevalue("gatekeeper_origin").serve(NAME)
        with pytest.raises(httpx.TransportError):
            before.get(f"https://{NAME}/")
        with pytest.raises(AssertionError, match="httpx went past the proxy"):
            proxy.recorder.assert_no_bypass()
        assert proxy.recorder.exchanges == ()
    with httpx.Client(timeout=LIMIT) as after:
        assert after.get(f"https://{NAME}/").status_code == 200
    proxy.recorder.assert_injected(NAME, times=1)


@managed
def test_a_secret_that_really_gets_past(gatekeeper_proxy: Gatekeeper) -> None:
    """A server on this machine's own address gets the value directly: no leak can be seen, so none is denied."""
    address = other_address()
    got: list[bytes] = []
    with socket.create_server((address, 0)) as server:
        server.settimeout(LIMIT)

        def serve() -> None:
            with server.accept()[0] as sock:
                sock.settimeout(LIMIT)
                got.append(sock.recv(65536))
                sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        connection = http.client.HTTPConnection(address, server.getsockname()[1], timeout=LIMIT)
        with contextlib.closing(connection):
            connection.request("GET", f"/?token={SECRET}")
            assert connection.getresponse().status == 204
        thread.join(LIMIT)
    assert SECRET.encode() in got[0]
    recorder = gatekeeper_proxy.recorder
    assert recorder.leaks == ()
    with pytest.raises(AssertionError, match="this proves nothing"):
        recorder.assert_no_leaks()
    with pytest.raises(AssertionError, match=f"http.client went past the proxy to {address}"):
        recorder.assert_no_bypass()


@managed
def test_a_process_out_of_sight(gatekeeper_proxy: Gatekeeper) -> None:
    """What a subprocess (gRPC in C, Node's fetch) does past the proxy is not seen: then nothing is claimed of it."""
    script = (
        f"import http.client as h\ntry: h.HTTPConnection({NAME!r}).request('GET', '/')\nexcept OSError: print('no')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "no\n"
    recorder = gatekeeper_proxy.recorder
    assert recorder.bypasses == ()
    for assertion in (recorder.assert_no_bypass, recorder.assert_no_leaks, recorder.assert_not_injected):
        with pytest.raises(AssertionError, match="this proves nothing: there was"):
            assertion()


# ------------------------------------------------------------------ environments that lead past it

INHERITED = {
    "NO_PROXY": "*,localhost,[::1],10.0.0.0/8",
    "no_proxy": ".invalid",
    "HTTP_PROXY": "http://corporate.nowhere.invalid:3128",
    "HTTPS_PROXY": "http://corporate.nowhere.invalid:3128",
    "ALL_PROXY": "socks5://corporate.nowhere.invalid:1080",
    "https_proxy": "",
    "http_proxy": "",
    "REQUEST_METHOD": "GET",
}

ASTRAY = """
import asyncio, http.server, os, ssl, threading, urllib.request
import aiohttp, httpx, pytest, requests
from websockets.sync.client import connect

NAME = "api.nowhere.invalid"
AT_START = dict(os.environ)
RULE = {"host": NAME, "header": "X-Token", "source": {"type": "static", "value": "k7Q-s3cr3t_f9c2.xJ5v"}}
pytestmark = pytest.mark.gatekeeper(credentials=[RULE])

class Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"direct")

def with_urllib(url):
    urllib.request.urlopen(url, timeout=10).read()

def with_requests(url):
    requests.get(url, timeout=10)

def with_httpx(url):
    httpx.get(url, timeout=10)

def with_websockets(url):
    with connect(url, open_timeout=10):
        pass

def with_aiohttp(url):
    async def fetch():
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:
            await answer.read()
    asyncio.run(fetch())

CASES = [(client, scheme) for client in (with_urllib, with_requests, with_httpx, with_aiohttp) for scheme in
         ("http", "https")] + [(with_websockets, "ws"), (with_websockets, "wss")]

@pytest.mark.parametrize(("client", "scheme"), CASES)
def test_led_to_the_proxy(gatekeeper_proxy, gatekeeper_origin, client, scheme):
    gatekeeper_origin.serve(NAME)
    client(f"{scheme}://{NAME}/")
    gatekeeper_proxy.recorder.assert_injected(NAME, times=1)
    gatekeeper_proxy.recorder.assert_no_bypass()

@pytest.mark.parametrize(("client", "scheme"), CASES)
def test_led_astray_without_its_environment(gatekeeper_proxy_factory, client, scheme):
    proxy = gatekeeper_proxy_factory()
    with pytest.raises(Exception) as caught:
        client(f"{scheme}://{NAME}/")
    assert isinstance(caught.value, (OSError, httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ImportError))
    with pytest.raises(AssertionError, match="this proves nothing"):
        proxy.recorder.assert_no_leaks()

@pytest.mark.gatekeeper(no_proxy=["localhost"])
def test_authorities_are_added_where_hosts_go_direct(gatekeeper_proxy, gatekeeper_origin):
    gatekeeper_origin.serve(NAME)
    server = http.server.HTTPServer(("127.0.0.1", 0), Greeting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    assert httpx.get(f"https://localhost:{server.server_port}/", timeout=10).text == "direct"
    thread.join(10)
    server.server_close()
    assert gatekeeper_proxy.recorder.exchanges == ()
    httpx.get(f"https://{NAME}/", timeout=10)
    gatekeeper_proxy.recorder.assert_injected(NAME, times=1)

def test_authorities_are_replaced_where_none_does(gatekeeper_proxy):
    (only,) = ssl.create_default_context().get_ca_certs()
    (inherited,) = ssl.create_default_context(cafile=AT_START["SSL_CERT_FILE"]).get_ca_certs()
    assert only["serialNumber"] != inherited["serialNumber"]

def test_everything_is_as_it_was():
    assert {**os.environ, "PYTEST_CURRENT_TEST": ""} == {**AT_START, "PYTEST_CURRENT_TEST": ""}
"""


def test_environments_that_lead_astray(
    run_pytest: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """NO_PROXY, a corporate proxy, REQUEST_METHOD, empty lower-case variables, CA files: cleared, set, and put back.

    Without the environment of the fixture each of the same clients misses the proxy: the twin.
    """
    authority = tmp_path / "corporate.pem"
    corporate = trustme.CA(organization_name="Corporate")
    corporate.cert_pem.write_to_path(str(authority))
    corporate.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    (tmp_path / "test_astray.py").write_text(ASTRAY, encoding="utf-8")
    done = run_pytest(tmp_path, "-q", SSL_CERT_FILE=str(authority), **INHERITED)
    assert done.returncode == 0, done.stdout
    assert "23 passed" in done.stdout
