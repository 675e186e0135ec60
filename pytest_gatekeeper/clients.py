"""Values for clients that read no variable: ready arguments, and a socket past CONNECT.

Which client needs what was measured client by client. Libraries are imported only when their arguments are asked for.
Files for tools that need some are `toolfiles`' matter, the variables that suffice for all others `_core.variables`'.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from pytest_gatekeeper._core.hosts import is_host, join_authority
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.telling import plain
from pytest_gatekeeper.errors import ProxyError

__all__ = ["CLIENTS", "Authority", "Proxy", "client_kwargs", "connect"]

_HEAD = 65536  # bytes of an answer's head
_BODY = 4096  # bytes of its body that are shown
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")


class Authority(Protocol):
    """What is needed of the proxy's authority."""

    pem: bytes

    @property
    def cert_path(self) -> str:
        """A file with its certificate."""

    def ssl_context(self) -> ssl.SSLContext:
        """A client context that trusts it."""


class Proxy(Protocol):
    """What is needed of a running proxy."""

    @property
    def host(self) -> str:
        """Its address."""

    @property
    def port(self) -> int:
        """Its port."""

    @property
    def url_with_auth(self) -> str:
        """Its URL, with the token that it asks for."""

    @property
    def ca(self) -> Authority:
        """Its authority."""


# ------------------------------------------------------------------ a socket


def connect(
    proxy_host: str, proxy_port: int, host: str, port: int, *, timeout: float = 10.0, token: Secret | None = None
) -> socket.socket:
    """A blocking socket past CONNECT: what is written now reaches `host`. TLS is the caller's.

    Args:
        proxy_host: of the proxy.
        proxy_port: of the proxy.
        host: a name or an address, IPv6 without brackets.
        port: 1 to 65535.
        timeout: seconds for connection and answer together.
        token: what the proxy asks for (`proxy.auth_token`).

    Raises:
        ValueError: `host` and `port` are no place to connect to.
        ProxyError: the proxy did not open the tunnel; the text holds its answer.
    """
    __tracebackhide__ = True
    authority = _authority(host, port)
    end = time.monotonic() + timeout
    try:
        sock = socket.create_connection((proxy_host, proxy_port), timeout)
    except OSError as error:
        cause = error.strerror or str(error)
        raise ProxyError(f"the proxy at {join_authority(proxy_host, proxy_port)} cannot be reached: {cause}") from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what follows a handshake must not wait for its ACK
        sock.sendall(_request(authority, token))
        refusal = _refusal(sock, end)
        sock.settimeout(None)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise ProxyError(f"the proxy did not answer CONNECT {authority} within {timeout:g} s") from None
        if isinstance(error, OSError):
            raise ProxyError(f"the proxy broke the connection at CONNECT {authority}") from None
        raise
    if refusal:
        sock.close()
        raise ProxyError(f"the proxy opened no tunnel to {authority}: {refusal}")
    return sock


def _authority(host: str, port: int) -> str:
    name = host if host.isascii() else host.encode("idna").decode("ascii")
    if not is_host(name) or not 1 <= port <= 65535:
        raise ValueError(f"{host!r}, {port!r} is no host and port to connect to, such as 'api.example.com', 443")
    return join_authority(name, port)


def _request(authority: str, token: Secret | None) -> bytes:
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode("ascii")
    if token:
        pair = base64.b64encode(b"gatekeeper:" + token.reveal().encode("utf-8", "surrogateescape"))
        head += b"Proxy-Authorization: Basic " + pair + b"\r\n"  # RFC 7617 section 2
    return head + b"\r\n"


def _refusal(sock: socket.socket, end: float) -> str:
    """Read the answer to CONNECT, and not a byte of what follows: "" where the tunnel is open, else what it says."""
    head = b""
    while not head.endswith((b"\r\n\r\n", b"\n\n")):
        byte = _receive(sock, 1, end)
        if not byte or len(head) >= _HEAD:
            return "it closed the connection" if not byte else "its answer has no end"
        head += byte
    status = _STATUS.match(head)
    if status is None:
        return "its answer is no HTTP"
    if status[1].startswith(b"2"):
        return ""
    length = re.search(rb"(?im)^content-length:[ \t]*([0-9]{1,9})[ \t]*\r?$", head)
    left = min(int(length[1]), _BODY) if length else _BODY
    body = b""
    while len(body) < left and (data := _receive(sock, left - len(body), end)):
        body += data
    words, text = (part.decode("utf-8", "replace").strip() for part in (b" ".join(filter(None, status.groups())), body))
    return plain(f"{words}: {text}" if text else words)


def _receive(sock: socket.socket, size: int, end: float) -> bytes:
    sock.settimeout(max(end - time.monotonic(), 0.001))
    return sock.recv(size)


# ------------------------------------------------------------------ arguments


def client_kwargs(name: str, proxy: Proxy) -> dict[str, Any]:
    """Arguments that lead one client through the proxy and let it trust the proxy's authority.

    | name | for |
    |---|---|
    | `httpx` | `Client`, `AsyncClient`, `httpx.get`; the clients of openai, anthropic and httpx2 take the same |
    | `aiohttp` | `ClientSession` of aiohttp 3.11 or later; ask inside a running event loop |
    | `requests` | `requests.get`, `Session.request` |
    | `urllib3` | `ProxyManager` |
    | `websocket-client` | `websocket.create_connection`, `WebSocketApp.run_forever` |
    | `boto3` | `boto3.client`, `Session.client` |
    | `grpc` | `grpc.secure_channel`, `grpc.aio.secure_channel` |

    Raises:
        ValueError: no such client.
        ImportError: the client is not installed.
    """
    __tracebackhide__ = True
    make = CLIENTS.get(name)
    if make is None:
        raise ValueError(
            f"no arguments are known for {name!r}, only for {', '.join(sorted(CLIENTS))}; any client that takes a proxy"
            " and an SSLContext is served by proxy.url and proxy.ca.ssl_context()"
        )
    return make(proxy)


def _httpx(proxy: Proxy) -> dict[str, Any]:
    return {"proxy": proxy.url_with_auth, "verify": proxy.ca.ssl_context()}


def _aiohttp(proxy: Proxy) -> dict[str, Any]:
    from aiohttp import TCPConnector

    return {"proxy": proxy.url_with_auth, "connector": TCPConnector(ssl=proxy.ca.ssl_context())}


def _requests(proxy: Proxy) -> dict[str, Any]:
    return {"proxies": dict.fromkeys(("http", "https"), proxy.url_with_auth), "verify": proxy.ca.cert_path}


def _urllib3(proxy: Proxy) -> dict[str, Any]:
    pair = _user(proxy)
    headers = {"proxy-authorization": f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}"} if pair else None
    url = f"http://{join_authority(proxy.host, proxy.port)}"
    return {"proxy_url": url, "ssl_context": proxy.ca.ssl_context(), "proxy_headers": headers}


def _websocket_client(proxy: Proxy) -> dict[str, Any]:
    where = {"http_proxy_host": proxy.host, "http_proxy_port": proxy.port, "http_proxy_auth": _user(proxy)}
    return {**where, "proxy_type": "http", "sslopt": {"context": proxy.ca.ssl_context()}}


def _boto3(proxy: Proxy) -> dict[str, Any]:
    config = import_module("botocore.config")
    proxies = dict.fromkeys(("http", "https"), proxy.url_with_auth)
    return {"verify": proxy.ca.cert_path, "config": config.Config(proxies=proxies)}


def _grpc(proxy: Proxy) -> dict[str, Any]:
    grpc = import_module("grpc")
    options = [("grpc.http_proxy", proxy.url_with_auth)]
    return {"credentials": grpc.ssl_channel_credentials(proxy.ca.pem), "options": options}


def _user(proxy: Proxy) -> tuple[str, str] | None:
    """Name and token of the proxy's URL."""
    url = urlsplit(proxy.url_with_auth)
    return (unquote(url.username or ""), unquote(url.password)) if url.password is not None else None


CLIENTS: Mapping[str, Callable[[Proxy], dict[str, Any]]] = {
    "aiohttp": _aiohttp, "boto3": _boto3, "grpc": _grpc, "httpx": _httpx, "requests": _requests, "urllib3": _urllib3,
    "websocket-client": _websocket_client,
}  # fmt: skip
"""By the name that `client_kwargs` takes."""
