"""`clients`: what is handed to clients that read no variable leads them through the proxy."""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
import websocket
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from pytest_gatekeeper import Config, Gatekeeper
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.clients import CLIENTS, client_kwargs, connect
from pytest_gatekeeper.errors import ProxyError
from pytest_gatekeeper.origin import Origin
from pytest_gatekeeper.toolfiles import TOOLS, java_variables, tool_variables, wget_variables
from tests.conftest import in_a_loop, stand_in

writes_stores = pytest.mark.skipif(
    not hasattr(pkcs12, "serialize_java_truststore"), reason="this cryptography writes no Java trust store"
)

NAME = "api.nowhere.invalid"
URL = f"https://{NAME}/"
TOKEN = "t0ken of/the:proxy"
LIMIT = 30.0
RESET = b"reset"


@pytest.fixture(params=["open", "token"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Gatekeeper]:
    """A proxy that leads one name to a stub; the second one asks for a token."""
    config = Config() if request.param == "open" else Config.parse(f'proxy: {{auth_token: "{TOKEN}"}}\n')
    with Gatekeeper(config) as running, Origin() as origin:
        running.route(NAME, origin.url, ca=origin.ca_pem)
        yield running


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Puts files where the test can see them."""

    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def token(proxy: Gatekeeper) -> Secret | None:
    return proxy.config.proxy.auth_token


# ------------------------------------------------------------------ arguments


def with_httpx(proxy: Gatekeeper) -> int:
    with httpx.Client(trust_env=False, timeout=LIMIT, **client_kwargs("httpx", proxy)) as client:
        return client.get(URL).status_code


def with_requests(proxy: Gatekeeper) -> int:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(URL, timeout=LIMIT, **client_kwargs("requests", proxy)).status_code


def with_urllib3(proxy: Gatekeeper) -> int:
    with urllib3.ProxyManager(**client_kwargs("urllib3", proxy)) as pool:
        return pool.request("GET", URL, timeout=LIMIT).status


def with_aiohttp(proxy: Gatekeeper) -> int:
    async def main() -> int:
        async with aiohttp.ClientSession(**client_kwargs("aiohttp", proxy)) as session, session.get(URL) as answer:
            return answer.status

    return in_a_loop(main())


@pytest.mark.parametrize(
    "fetch",
    [
        with_httpx,
        with_requests,
        with_urllib3,
        pytest.param(
            with_aiohttp,
            marks=pytest.mark.skipif(
                "proxy" not in inspect.signature(aiohttp.ClientSession).parameters, reason="aiohttp is older than 3.11"
            ),
        ),
    ],
)
def test_a_client_with_the_arguments_gets_through(proxy: Gatekeeper, fetch: Callable[[Gatekeeper], int]) -> None:
    """Without a variable, with the proxy's token where it asks for one."""
    assert fetch(proxy) == 200
    assert [exchange.host for exchange in proxy.recorder.exchanges] == [NAME]


def test_a_websocket_with_the_arguments_gets_through(proxy: Gatekeeper) -> None:
    """websocket-client takes the proxy apart, and a context among its options."""
    kwargs = client_kwargs("websocket-client", proxy)
    connection = websocket.create_connection(f"wss://{NAME}/", timeout=LIMIT, **kwargs)
    try:
        connection.send("hello")
        assert connection.recv() == "hello"
    finally:
        connection.close()
    assert len(proxy.recorder.upgrades) == 1


def test_boto3_and_grpc_get_what_they_document(monkeypatch: pytest.MonkeyPatch, proxy: Gatekeeper) -> None:
    """botocore: `verify=` and `Config(proxies=)`; grpcio: root certificates and the option `grpc.http_proxy`."""
    stand_in(monkeypatch, "botocore.config", Config=lambda **given: ("config", given))
    stand_in(monkeypatch, "grpc", ssl_channel_credentials=lambda roots: ("credentials", roots))
    assert client_kwargs("boto3", proxy) == {
        "verify": proxy.ca.cert_path,
        "config": ("config", {"proxies": {"http": proxy.url_with_auth, "https": proxy.url_with_auth}}),
    }
    assert client_kwargs("grpc", proxy) == {
        "credentials": ("credentials", proxy.ca.pem),
        "options": [("grpc.http_proxy", proxy.url_with_auth)],
    }


def test_an_unknown_client_is_told_the_known_ones() -> None:
    """With what serves any other client; each known name is in the documentation."""
    with pytest.raises(ValueError, match="'htpx'") as caught:
        client_kwargs("htpx", SimpleNamespace())
    assert all(name in str(caught.value) for name in CLIENTS)
    assert "proxy.ca.ssl_context()" in str(caught.value)
    assert all(f"`{name}`" in str(client_kwargs.__doc__) for name in CLIENTS)


# ------------------------------------------------------------------ a socket past CONNECT


def test_a_socket_past_connect_reaches_the_host(proxy: Gatekeeper) -> None:
    """It blocks; TLS goes on it, and HTTP on that."""
    sock = connect(proxy.host, proxy.port, NAME, 443, token=token(proxy))
    assert sock.gettimeout() is None
    sock.settimeout(LIMIT)
    with sock, proxy.ca.ssl_context().wrap_socket(sock, server_hostname=NAME) as secure:
        secure.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        assert secure.recv(12) == b"HTTP/1.1 200"
    assert [tunnel.host for tunnel in proxy.recorder.tunnels] == [NAME]


def test_a_refusal_is_told_with_the_proxys_words() -> None:
    """Status and body: here the policy's; an allowed host gets its tunnel."""
    config = Config.parse('network: {policy: strict, allow: ["api.nowhere.invalid"]}\n')
    with Gatekeeper(config) as proxy:
        connect(proxy.host, proxy.port, NAME, 443).close()
        with pytest.raises(ProxyError, match=r"no tunnel to other\.invalid:443: 407 .*: .*other\.invalid"):
            connect(proxy.host, proxy.port, "other.invalid", 443)


def test_a_wrong_token_is_refused_and_never_shown() -> None:
    """Nor is the right one."""
    with Gatekeeper(Config.parse(f'proxy: {{auth_token: "{TOKEN}"}}\n')) as proxy:
        for wrong in (None, Secret("wr0ng")):
            with pytest.raises(ProxyError, match="407") as caught:
                connect(proxy.host, proxy.port, NAME, 443, token=wrong)
            assert "wr0ng" not in str(caught.value) and TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "port"), [("", 443), ("a b", 443), ("a\r\nX: y", 443), ("a.invalid", 0), ("a.invalid", 65536)]
)
def test_what_is_no_place_is_refused_before_anything_is_sent(host: str, port: int) -> None:
    """Nothing of it could get into a header."""
    with pytest.raises(ValueError, match=r"no host and port to connect to, such as 'api\.example\.com', 443"):
        connect("127.0.0.1", 1, host, port)


@pytest.fixture
def scripted() -> Iterator[Callable[[bytes], tuple[int, list[bytes]]]]:
    """A proxy that says one thing and closes, or resets the connection, or says nothing: its port, and what it got."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = []

        def scripted(answer: bytes) -> tuple[int, list[bytes]]:
            got: list[bytes] = []

            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(LIMIT)
                    got.append(connection.recv(4096))
                    if answer is RESET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    connection.sendall(answer)
                    if not answer or answer.endswith(b"more"):
                        connection.recv(1)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return server.getsockname()[1], got

        yield scripted
    for thread in threads:
        thread.join(LIMIT)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nno!\n", "502 Bad Gateway: no!"),
        (b"HTTP/1.0 403\r\n\r\nup to the end", "403: up to the end"),
        (b"HTTP/1.1 503 \x1b[31m\r\n\r\n", r"503 \x1b[31m"),
        (b"SSH-2.0-x\r\n\r\n", "its answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "it closed the connection"),
        (b"HTTP/1.1 200 " + b"x" * 70000 + b"\r\n\r\n", "its answer has no end"),
    ],
)
def test_any_other_answer_is_told(
    scripted: Callable[[bytes], tuple[int, list[bytes]]], answer: bytes, told: str
) -> None:
    """In one line of printable text."""
    port, _ = scripted(answer)
    with pytest.raises(ProxyError) as caught:
        connect("127.0.0.1", port, NAME, 443)
    assert str(caught.value) == f"the proxy opened no tunnel to {NAME}:443: {told}"


@pytest.mark.parametrize(
    ("host", "authority"),
    [(NAME, f"{NAME}:443"), ("2001:db8::1", "[2001:db8::1]:443"), ("bücher.invalid", "xn--bcher-kva.invalid:443")],
)
def test_what_comes_after_the_answer_is_the_callers(
    scripted: Callable[[bytes], tuple[int, list[bytes]]], host: str, authority: str
) -> None:
    """Not a byte of it is lost; the request names the place as RFC 9110 section 9.3.6 wants."""
    port, got = scripted(b"HTTP/1.1 200 Connection Established\r\n\r\nmore")
    with connect("127.0.0.1", port, host, 443, token=Secret("s3cret")) as sock:
        sock.settimeout(LIMIT)
        assert sock.recv(10) == b"more"
    lines = [
        f"CONNECT {authority} HTTP/1.1",
        f"Host: {authority}",
        "Proxy-Authorization: Basic Z2F0ZWtlZXBlcjpzM2NyZXQ=",
    ]
    assert got == ["\r\n".join([*lines, "", ""]).encode()]


def test_a_proxy_that_says_nothing_or_is_not_there_is_told(
    scripted: Callable[[bytes], tuple[int, list[bytes]]],
) -> None:
    """Within the time that was given, or at once; so is one that goes away."""
    port, _ = scripted(b"")
    with pytest.raises(ProxyError, match=r"did not answer CONNECT .* within 0\.2 s"):
        connect("127.0.0.1", port, NAME, 443, timeout=0.2)
    port, _ = scripted(RESET)
    with pytest.raises(ProxyError, match=f"broke the connection at CONNECT {NAME}:443"):
        connect("127.0.0.1", port, NAME, 443)
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    with pytest.raises(ProxyError, match=f"the proxy at 127.0.0.1:{closed} cannot be reached: .*refused"):
        connect("127.0.0.1", closed, NAME, 443)


# ------------------------------------------------------------------ files


@writes_stores
def test_java_gets_a_store_and_options(proxy: Gatekeeper, write: Callable[[str, bytes], str]) -> None:
    """What JAVA_TOOL_OPTIONS held stays in front; the store holds the authority alone."""
    variables = java_variables(proxy.host, proxy.port, proxy.ca.pem, write, existing="-Xmx64m")
    options = variables["JAVA_TOOL_OPTIONS"].split(" ")
    assert list(variables) == ["JAVA_TOOL_OPTIONS"] and options[0] == "-Xmx64m"
    given = dict(option.removeprefix("-D").split("=") for option in options[1:])
    assert given["https.proxyHost"] == given["http.proxyHost"] == proxy.host
    assert given["https.proxyPort"] == given["http.proxyPort"] == str(proxy.port)
    assert given["http.nonProxyHosts"] == ""
    store = Path(given["javax.net.ssl.trustStore"]).read_bytes()
    held = pkcs12.load_pkcs12(store, given["javax.net.ssl.trustStorePassword"].encode())
    assert [entry.certificate for entry in held.additional_certs] == [x509.load_pem_x509_certificate(proxy.ca.pem)]


@writes_stores
def test_java_gets_hosts_to_reach_directly_in_its_own_spelling(proxy: Gatekeeper) -> None:
    """Names with those below them; an address as it is; a network cannot be said. A path with a space is quoted."""
    direct = ["x.invalid", ".y.invalid", "10.0.0.1", "10.0.0.0/8"]
    variables = java_variables("127.0.0.1", 1, proxy.ca.pem, lambda name, _: f"/a b/{name}", no_proxy=direct)
    options = variables["JAVA_TOOL_OPTIONS"]
    assert "-Dhttp.nonProxyHosts=x.invalid|*.x.invalid|y.invalid|*.y.invalid|10.0.0.1 " in options
    assert '"-Djavax.net.ssl.trustStore=/a b/truststore.p12" ' in options


@writes_stores
def test_a_certificate_that_cannot_be_read_is_left_out(proxy: Gatekeeper, write: Callable[[str, bytes], str]) -> None:
    """Bundles hold such ones; the others are in the store."""
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    write_path = java_variables(proxy.host, proxy.port, broken + proxy.ca.pem, write)["JAVA_TOOL_OPTIONS"]
    path = next(option for option in write_path.split() if "trustStore=" in option).partition("=")[2]
    held = pkcs12.load_pkcs12(Path(path).read_bytes(), b"changeit")
    assert len(held.additional_certs) == 1


def test_an_old_cryptography_is_told(monkeypatch: pytest.MonkeyPatch, write: Callable[[str, bytes], str]) -> None:
    """With the way out."""
    monkeypatch.delattr(pkcs12, "serialize_java_truststore", raising=False)
    with pytest.raises(ProxyError, match="pip install -U cryptography"):
        java_variables("127.0.0.1", 1, b"", write)


def test_wget_gets_a_copy_of_the_users_file(tmp_path: Path, write: Callable[[str, bytes], str]) -> None:
    """WGETRC before ~/.wgetrc, with or without one; the user's own file is not touched."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home)}

    def lines(environ: dict[str, str]) -> list[str]:
        path = wget_variables("/ca.pem", write, environ)["WGETRC"]
        return Path(path).read_text(encoding="utf-8").splitlines()

    assert lines(environ) == ["ca_certificate = /ca.pem"]
    (home / ".wgetrc").write_text("tries = 1", encoding="utf-8")
    assert lines(environ) == ["tries = 1", "ca_certificate = /ca.pem"]
    own = home / "own"
    own.write_text("timeout = 5\n", encoding="utf-8")
    assert lines({**environ, "WGETRC": str(own)}) == ["timeout = 5", "ca_certificate = /ca.pem"]
    assert own.read_text(encoding="utf-8") == "timeout = 5\n"


def run(command: list[str], proxy: Gatekeeper, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **proxy.env, **variables}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(shutil.which("wget") is None, reason="there is no wget")
def test_wget_gets_through(proxy: Gatekeeper, write: Callable[[str, bytes], str]) -> None:
    """Also one that is built with GnuTLS, which reads no other variable."""
    done = run(["wget", "-qO-", "--tries=1", URL], proxy, **wget_variables(proxy.ca.cert_path, write, os.environ))
    assert done.returncode == 0, done.stderr
    assert '"method"' in done.stdout
    assert [exchange.status for exchange in proxy.recorder.exchanges] == [200]


FETCH = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

class Fetch {
    public static void main(String[] args) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(args[0])).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
"""


def compiles() -> bool:
    """Whether there is a Java that runs a source file."""
    java = shutil.which("java")
    if java is None:
        return False
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, timeout=60, check=False)
    return "jdk.compiler" in modules.stdout and "java.net.http" in modules.stdout


@writes_stores
@pytest.mark.parametrize("proxy", ["open"], indirect=True)  # Java has no place for the token
def test_java_gets_through(proxy: Gatekeeper, write: Callable[[str, bytes], str], tmp_path: Path) -> None:
    """Its own HttpClient, by the variable alone."""
    if not compiles():
        pytest.skip("there is no Java that runs a source file")
    source = tmp_path / "Fetch.java"
    source.write_text(FETCH, encoding="utf-8")
    variables: Any = java_variables(proxy.host, proxy.port, proxy.ca.pem, write)
    done = run(["java", str(source), URL], proxy, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["200"]


@writes_stores
def test_the_proxys_variables_come_with_those_of_tools(proxy: Gatekeeper) -> None:
    """`env_with` adds to `env`, in files that can be read; a tool that there is not is refused by name."""
    variables = proxy.env_with(*TOOLS)
    assert variables.items() >= proxy.env.items()
    assert f"ca_certificate = {proxy.env['SSL_CERT_FILE']}" in Path(variables["WGETRC"]).read_text()
    assert f"-Dhttps.proxyPort={proxy.port}" in variables["JAVA_TOOL_OPTIONS"]
    assert proxy.env_with() == proxy.env
    with pytest.raises(ValueError, match="there is no tool 'perl'; there are java, wget"):
        tool_variables(["perl"], proxy, proxy.ca.write, {}, ())


def test_the_object_hands_out_sockets_and_arguments(proxy: Gatekeeper) -> None:
    """`connect` and `kwargs` are those of this proxy."""
    assert proxy.kwargs("requests")["proxies"]["https"] == proxy.url_with_auth
    with proxy.connect("api.example.com") as sock:
        assert sock.getpeername() == (proxy.host, proxy.port)
    with pytest.raises(ValueError, match="httpx"):
        proxy.kwargs("netscape")
