"""How a case is played: raw clients, the real proxy, upstreams that answer by script, and the facts that come of it.

A case and its facts have the form of `tests/data/conformance.json`: what a client, an upstream and a reader of the log
can see, without what differs from run to run. Nothing here knows what is right; that is said in the cases.
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pytest_gatekeeper import Config, Gatekeeper
from pytest_gatekeeper._proxy.ca import CertificateAuthority
from pytest_gatekeeper.errors import GatekeeperError

LIMIT = 15.0
Facts = dict[str, Any]
Pairs = list[tuple[str, str]]

_HEAD_END = re.compile(rb"\n\r?\n")
_FRAMING = {"content-length", "transfer-encoding", "trailer"}
_MADE_ID = re.compile(r"req_[0-9a-hjkmnp-tv-z]{26}")

# ------------------------------------------------------------------ bytes of one connection


class Wire:
    """A connection that is read message by message; whatever breaks it is its end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLError):
            return False
        self._buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def head(self) -> str:
        """The next message head as latin-1 text, "" at the end."""
        while (match := _HEAD_END.search(self._buffer)) is None:
            if not self._more():
                return ""
        return self._take(match.end()).decode("latin-1")

    def exactly(self, count: int) -> bytes:
        """So many bytes, fewer at the end."""
        while len(self._buffer) < count and self._more():
            pass
        return self._take(count)

    def rest(self) -> bytes:
        """What comes until the end."""
        while self._more():
            pass
        return self._take(len(self._buffer))

    def some(self) -> bytes:
        """What is there, or comes next; b"" at the end."""
        if not self._buffer:
            self._more()
        return self._take(len(self._buffer))

    def _line(self) -> bytes:
        while b"\n" not in self._buffer and self._more():
            pass
        return self._take(self._buffer.find(b"\n") + 1)

    def body(self, fields: Pairs, *, until_end: bool) -> str:
        """The body that follows a head with these fields, its data alone."""
        named = {name.lower(): value for name, value in fields}
        if "chunked" in named.get("transfer-encoding", "").lower():
            data = b""
            while size := int(self._line().partition(b";")[0] or b"0", 16):
                data += self.exactly(size)
                self._line()
            while self._line().strip():
                pass
        elif "content-length" in named:
            data = self.exactly(int(named["content-length"].partition(",")[0]))
        else:
            data = self.rest() if until_end else b""
        return data.decode("latin-1")

    def send(self, text: str) -> None:
        """Send latin-1 text, to a peer that may be gone."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.sock.sendall(text.encode("latin-1"))


def read_head(head: str) -> tuple[list[str], Pairs]:
    """The words of the first line, and the fields."""
    first, *lines = re.split(r"\r?\n", head.strip("\r\n"))
    pairs = [line.partition(":") for line in lines]
    return first.split(" ", 2), [(name, value.strip(" \t")) for name, _, value in pairs]


# ------------------------------------------------------------------ upstreams


@dataclass
class Script:
    """What the upstreams do during one case, and what arrived, in order."""

    answers: list[Mapping[str, Any]]
    glued: str
    arrived: list[Facts] = field(default_factory=list)
    served: list[Future[None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, request: Facts) -> Mapping[str, Any]:
        """Note a request; what to do about it."""
        with self.lock:
            self.arrived.append(request)
            at = min(len(self.arrived), len(self.answers))
        return self.answers[at - 1] if self.answers else {}


class Upstreams:
    """Servers on loopback, one for each port that a case can name, and those that fail."""

    def __init__(self) -> None:
        self.trusted = CertificateAuthority()
        stranger = CertificateAuthority()
        self.urls: dict[str, str] = {}
        self._script = Script([], "")
        self._pool = ThreadPoolExecutor(32, "upstream")
        self._listeners: list[socket.socket] = []
        self._closing = False
        for port in (80, 8080):
            self.urls[str(port)] = f"http://127.0.0.1:{self._open(port, None)}"
        for port in (443, 8443):
            self.urls[str(port)] = f"https://127.0.0.1:{self._open(port, self._by_name(self.trusted))}"
        self.urls["untrusted"] = f"https://127.0.0.1:{self._open(443, self._by_name(stranger))}"
        elsewhere = self.trusted.server_context("elsewhere.example.com")
        self.urls["wrongname"] = f"https://127.0.0.1:{self._open(443, elsewhere)}"
        self._closed = socket.socket()
        self._closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        self.urls["refused"] = f"https://127.0.0.1:{self._closed.getsockname()[1]}"

    @staticmethod
    def _by_name(authority: CertificateAuthority) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0

        def choose(session: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            session.context = authority.server_context(*([name] if name else ["127.0.0.1", "::1"]))

        context.sni_callback = choose
        return context

    def _open(self, port: int, context: ssl.SSLContext | None) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listeners.append(listener)
        self._pool.submit(self._accept, listener, port, context)
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, port: int, context: ssl.SSLContext | None) -> None:
        while True:
            sock, _ = listener.accept()
            if self._closing:
                sock.close()
                return
            script = self._script
            script.served.append(self._pool.submit(self._serve, sock, port, context, script))

    def _serve(self, sock: socket.socket, port: int, context: ssl.SSLContext | None, script: Script) -> None:
        sock.settimeout(LIMIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            wire = Wire(sock)
            while _exchange(wire, port, context is not None, script):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            sock.close()

    def begin(self, answers: list[Mapping[str, Any]], glued: str) -> None:
        """Follow another script from now on."""
        self._script = Script(answers, glued)

    def finish(self) -> list[Facts]:
        """What arrived, once every connection of the case has ended."""
        done = wait(self._script.served, LIMIT)
        assert not done.not_done, "an upstream connection stayed open after its proxy was closed"
        for served in done.done:
            served.result()
        return self._script.arrived

    def close(self) -> None:
        """Stop; a last connection wakes each listener."""
        self._closing = True
        for listener in self._listeners:
            socket.create_connection(listener.getsockname(), LIMIT).close()
        self._pool.shutdown()
        for listener in (*self._listeners, self._closed):
            listener.close()


def _exchange(wire: Wire, port: int, tls: bool, script: Script) -> bool:
    """Serve one request by script; whether another may follow."""
    head = wire.head()
    if not head:
        return False
    (method, target, version), fields = read_head(head)
    seen: Facts = {"port": port, "tls": tls, "method": method, "target": target, "version": version, "fields": fields}
    do = script.next(seen)
    if "early" in do:
        wire.send(do["early"])
    if do.get("continue"):
        wire.send("HTTP/1.1 100 Continue\r\n\r\n")
    seen["body"] = wire.body(fields, until_end=False)
    if do.get("fault") == "reset":
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if "fault" in do or "early" in do:
        return False
    content = "" if method == "HEAD" else "ok"
    usual = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n{content}"
    answer = do.get("raw", usual)
    switched = re.search(r"^HTTP/1\.1 101 ", answer, re.MULTILINE) is not None
    wire.send(answer + script.glued if switched else answer)
    if switched:
        seen["tunnel"] = _echo(wire)
        return False
    return do.get("then") != "close"


def _echo(wire: Wire) -> str:
    """Send back what comes, to the end."""
    text = ""
    while part := wire.some().decode("latin-1"):
        text += part
        wire.send(part)
    return text


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Upstreams]:
    """The upstreams of all cases."""
    servers = Upstreams()
    yield servers
    servers.close()


# ------------------------------------------------------------------ the client


def _answer(wire: Wire, method: str) -> Facts:
    """The facts of the next answer."""
    interim: list[int] = []
    while True:
        head = wire.head()
        if not head:
            return {"status": "closed"}
        words, fields = read_head(head)
        status = int(words[1])
        if status >= 200 or status == 101:
            break
        interim += [status] if status != 100 else []
    body = "" if method == "HEAD" or status in (101, 204, 304) else wire.body(fields, until_end=True)
    left_out = _FRAMING | {"connection", "date", "keep-alive", "x-request-id"}
    headers = sorted([name.lower(), value] for name, value in fields if name.lower() not in left_out)
    named = dict(reversed(headers))
    return {
        "status": status, "interim": interim, "headers": headers, "body": body,
        "x-moat-blocked": named.get("x-moat-blocked"), "proxy-authenticate": named.get("proxy-authenticate"),
    }  # fmt: skip


def _connect(wire: Wire, connect: Mapping[str, Any], context: ssl.SSLContext, facts: Facts) -> Wire | None:
    """Open the tunnel: what to send requests on, None where there is none."""
    target = connect["target"]
    fields = "".join(f"{name}: {value}\r\n" for name, value in connect.get("headers", ()))
    wire.send(connect.get("raw", f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n"))
    head = wire.head()
    words, answered = read_head(head) if head else (["", "0"], [])
    named = {name.lower(): value for name, value in answered}
    facts["connect"] = int(words[1]) or "closed"
    facts["blocked"], facts["challenge"] = named.get("x-moat-blocked"), named.get("proxy-authenticate")
    if facts["connect"] != 200:
        return None
    if connect.get("tls") is False:
        return wire
    name = connect.get("sni", target.rpartition(":")[0].strip("[]"))
    try:
        return Wire(context.wrap_socket(wire.sock, server_hostname=name))
    except (ssl.SSLError, ConnectionError):
        facts["tls"] = "failed"
        return None


def _talk(wire: Wire, case: Mapping[str, Any], facts: Facts) -> None:
    """Send the requests, each after the answer to the one before, and the tunnel's bytes."""
    for raw in case.get("requests", ()):
        wire.send(raw)
        answer = _answer(wire, raw.partition(" ")[0])
        facts["responses"].append(answer)
        if answer["status"] == 101:
            sent, glued = case.get("tunnel", ""), case.get("glued", "")
            wire.send(sent)
            facts["tunnel"] = wire.exactly(len(sent) + len(glued)).decode("latin-1")
        if answer["status"] in ("closed", 101):
            return


# ------------------------------------------------------------------ facts


def _seen_upstream(request: Facts) -> Facts:
    """A request that arrived, without its framing; nothing else is left out, since this proxy adds nothing else."""
    left_out = _FRAMING | {"expect"}
    headers = sorted(
        [name.lower(), "*" if name.lower() == "x-request-id" and _MADE_ID.fullmatch(value) else value]
        for name, value in request["fields"]
        if name.lower() not in left_out
    )
    return {key: request.get(key, "") for key in (*request, "tunnel") if key != "fields"} | {"headers": headers}


_NUMBERS = {"http_status", "request_size", "response_size"}
_TEXTS = {
    "msg", "http_method", "http_host", "http_path", "proxy_type", "user_id", "injected_headers", "grants",
    "deny_reason", "scope", "operation", "message",
}  # fmt: skip
_FLAGS = {"credential_injected", "denied"}
_RUNS = {"request_id", "duration_ms", "client_ip", "run_id", "rule", "error"}
_PAIR = re.compile(r'([^\s="]+)=("(?:[^"\\]|\\.)*"|\S*)')


def _fields(line: str) -> Facts:
    """The fields of a line in either format."""
    if line.startswith("{"):
        return dict(json.loads(line))
    pairs = {key: ast.literal_eval(value) if value[:1] == '"' else value for key, value in _PAIR.findall(line)}
    numbers = {key: int(pairs[key]) for key in _NUMBERS & pairs.keys()}
    return pairs | numbers | {key: pairs[key] == "true" for key in _FLAGS & pairs.keys()}


def _logged(record: logging.LogRecord) -> Facts | None:
    """The facts of a line, None for one that is not compared."""
    fields = _fields(record.getMessage())
    if fields.get("msg") not in ("request", "policy denial"):
        assert record.levelno < logging.ERROR, f"the proxy failed: {record.getMessage()}"
        return None
    if fields.get("http_method") == "CONNECT" and fields["http_status"] == 200:
        return None
    level = {"WARNING": "WARN"}.get(record.levelname, record.levelname)
    facts = {"level": level, "error": "error" in fields}
    facts |= {key: fields[key] for key in fields if key in _TEXTS | _NUMBERS | _FLAGS}
    own = {key: value for key, value in fields.items() if key not in _TEXTS | _NUMBERS | _FLAGS | _RUNS}
    for key, value in {**facts, **own}.items():
        if key not in ("level", "error", "msg", "message"):
            assert getattr(record, key) == value, f"the record's attribute {key} is not what the line says"
    return facts | ({"captured": own} if own else {})


# ------------------------------------------------------------------ playing

ROUTED = (
    "example.com", "*.example.com", "*.example", "evilexample.com", "127.0.0.1", "[::1]",
)  # fmt: skip


def _lead(proxy: Gatekeeper, upstreams: Upstreams) -> None:
    proxy.trust(upstreams.trusted.pem)
    for host in ROUTED:
        for port in ("80", "443", "8080", "8443"):
            proxy.route(f"{host}:{port}", upstreams.urls[port])
    for name in ("untrusted", "wrongname", "refused"):
        for port in ("80", "443"):
            proxy.route(f"{name}.example.com:{port}", upstreams.urls[name])


def _configured(text: str) -> Config:
    config = Config.parse(text.replace("PORT", "19080"))
    own = re.search(r"^log:", text, re.MULTILINE) is not None
    return config if own else replace(config, log=replace(config.log, format="json"))


@pytest.fixture
def play(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[Mapping[str, Any]], Facts]:
    """Play a case and tell its facts."""

    def play(case: Mapping[str, Any]) -> Facts:
        for name, value in case.get("environ", {}).items():
            monkeypatch.setenv(name, value)
        caplog.set_level(logging.DEBUG, "pytest_gatekeeper")
        try:
            proxy = Gatekeeper(_configured(case["config"]), secrets="real")
            proxy.start()
        except GatekeeperError as error:
            return {"starts": not str(error)}
        upstreams.begin(case.get("answers", []), case.get("glued", ""))
        facts: Facts = {"starts": True, "responses": []}
        with contextlib.closing(proxy), socket.create_connection((proxy.host, proxy.port), LIMIT) as sock:
            _lead(proxy, upstreams)
            wire: Wire | None = Wire(sock)
            if "connect" in case:
                wire = _connect(Wire(sock), case["connect"], proxy.ca.ssl_context(), facts)
            if wire is not None:
                _talk(wire, case, facts)
                wire.sock.close()
        facts["upstream"] = [_seen_upstream(request) for request in upstreams.finish()]
        records = [record for record in caplog.records if record.name == "pytest_gatekeeper"]
        facts["log"] = [line for record in records if (line := _logged(record)) is not None]
        return facts

    return play


# ------------------------------------------------------------------ comparing


def _expected(case: Mapping[str, Any]) -> Facts:
    """The facts to expect of this proxy.

    Where an upstream's answer has no Content-Type, production may add one that Go's server guesses from the body. It
    comes and goes with the time at which the body is flushed (upgrade/refused has none, upgrade/refused-then-request
    has one, for the same answer), so it is no fact. This proxy adds none, which is what is compared.
    """
    facts = json.loads(json.dumps(case["ours"] if "ours" in case else case["production"]))
    answers = case.get("answers") or [{}]
    for at, response in enumerate(facts.get("responses", ())):
        answer = answers[min(at, len(answers) - 1)]
        raw = answer.get("raw", answer.get("early", "\nContent-Type:"))
        if "\ncontent-type:" not in raw.lower() and isinstance(response.get("headers"), list):
            response["headers"] = [pair for pair in response["headers"] if pair[0] != "content-type"]
    return dict(facts)


def _differ(path: str, expected: Any, actual: Any) -> list[str]:
    """Where two facts differ: `any` accepts each of a list, `ignore` everything."""
    if isinstance(expected, dict) and expected.get("ignore"):
        return []
    if isinstance(expected, dict) and "any" in expected:
        found = [_differ(path, one, actual) for one in expected["any"]]
        return [] if [] in found else [f"{path}: {actual!r} is none of {expected['any']!r}"]
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            line
            for key in sorted({*expected, *actual})
            for line in _differ(f"{path}.{key}", expected.get(key, _USUAL.get(key)), actual.get(key, _USUAL.get(key)))
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [line for at, pair in enumerate(zip(expected, actual)) for line in _differ(f"{path}[{at}]", *pair)]
    return [] if expected == actual else [f"{path}: {actual!r}, expected {expected!r}"]


_USUAL: Facts = {"interim": [], "tunnel": ""}
_OF_ANSWERS = {"headers", "body", "x-moat-blocked", "proxy-authenticate"}  # those of the proxy's own have no words


@pytest.fixture(scope="session")
def differences() -> Callable[[Mapping[str, Any], Facts], list[str]]:
    """Where the facts of a case are not what they should be."""

    def differences(case: Mapping[str, Any], facts: Facts) -> list[str]:
        expected = _expected(case)
        wanted = expected.get("responses", ())
        told = facts | {"responses": list(facts.get("responses", ()))} if facts["starts"] else facts
        for at, (want, got) in enumerate(zip(wanted, told.get("responses", ()))):
            if isinstance(want, dict):
                told["responses"][at] = {key: got[key] for key in got if key in want or key not in _OF_ANSWERS}
        return _differ("", expected, told)

    return differences
