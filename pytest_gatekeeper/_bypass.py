"""Seeing what this process connects to past the proxy: an audit hook that is armed while somebody watches.

Names that are looked up count as much as connections, since a client that fails on a name never gets as far as a
connection. Who did it, and what cures it, is worded in `_core.cures`; here are the event, the stack and the sinks.

Out of sight are subprocesses and forked children, code in C that opens sockets of its own (gRPC, pycurl, uvloop, a
resolver such as aiodns), datagrams, and a connection that was open before. What follows a look-up is told from it by
client and port alone: an address without a name counts as the name that the same client asked for at the same port.

The hook cannot be removed again. It never raises, logs or blocks, and takes no lock of its own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from itertools import islice
from threading import get_ident
from typing import Any

from pytest_gatekeeper._core.cures import Call, Client, find_client, guess_client, until_turn
from pytest_gatekeeper._core.hosts import PORTS, host_matches, is_address, is_loopback, same_host, split_authority
from pytest_gatekeeper._core.records import Bypass

__all__ = ["Watching", "goes_direct", "watch"]

_CONNECT, _LOOK_UP = "socket.connect", "socket.getaddrinfo"
_EVENTS = frozenset((_CONNECT, _LOOK_UP))
_OURS = ("pytest_gatekeeper._proxy.", "pytest_gatekeeper._sources.")
_DEPTH = 300  # frames of a stack that are looked at
_REMEMBERED = 256  # look-ups
_HERE = frozenset(("", "0.0.0.0", "::", "ip6-localhost", "localhost.localdomain"))  # noqa: S104 - nothing is bound
_EMPTIED = "; HTTPS_PROXY is not set now, so put proxy.env back into the environment"


class Watching:
    """One who watches, until `stop`."""

    def __init__(
        self, sink: Callable[[Bypass], None], own_thread: Callable[[], int | None], exempt: Iterable[str]
    ) -> None:
        self._sink = sink
        self._own_thread = own_thread
        self._exempt = tuple(exempt)

    def stop(self) -> None:
        """Watch no longer; twice is no error."""
        _watching.pop(self, None)

    def owns(self, thread: int) -> bool:
        """Whether a thread is the proxy's."""
        return self._own_thread() == thread

    def tell(self, host: str, port: int, client: Client) -> None:
        """Hand a bypass to the sink, where the host is not meant to be reached directly."""
        if not goes_direct(host, port, self._exempt):
            emptied = "HTTPS_PROXY" not in os.environ and "https_proxy" not in os.environ
            self._sink(Bypass(host, port, client.name, client.cure + (_EMPTIED if emptied else "")))


_watching: dict[Watching, None] = {}
_hooked: dict[str, object] = {}
_at_work: set[int] = set()  # threads inside the hook
_looked_up: dict[tuple[str, int], None] = {}  # client ("" where it is a guess) and port
_own_names: frozenset[str] = frozenset()


def watch(
    sink: Callable[[Bypass], None], *, own_thread: Callable[[], int | None], exempt: Iterable[str] = ()
) -> Watching:
    """Report what this process connects to, or looks up, and is neither loopback nor the proxy's doing.

    Several may watch at once; each is told everything. A forked child has nobody who watches.

    Args:
        sink: is called on the thread that connects, before it does; quick, and safe on any thread at any time.
        own_thread: gives the identifier of the proxy's thread. It must not take a lock that is held elsewhere.
        exempt: hosts that go direct on purpose, as in NO_PROXY; see `goes_direct`.
    """
    global _own_names
    name = socket.gethostname().lower()
    _own_names = frozenset((name, name.partition(".")[0]))
    _looked_up.clear()
    watching = Watching(sink, own_thread, exempt)
    _watching[watching] = None
    token = object()
    if _hooked.setdefault("hook", token) is token:  # one of several threads, without a lock
        sys.addaudithook(_hook)
    return watching


def goes_direct(host: str, port: int, exempt: Iterable[str]) -> bool:
    """Whether a host is one of those that NO_PROXY names.

    An entry is a name, which means those below it too (so do `.name` and `*.name`), an address, a network
    (`10.0.0.0/8`), each of the first two with `:port` or without, or `*`.
    """
    bare = host.partition("%")[0]
    return any(_names(entry.strip(), bare, port) for entry in exempt)


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        name, only = split_authority(entry.removeprefix("*").removeprefix("."))
    except ValueError:
        return "/" in entry and _is_inside(host, entry)
    if only not in (None, port):
        return False
    return same_host(name, host) or host_matches(f"*.{name}", host.removesuffix("."))


def _is_inside(address: str, network: str) -> bool:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False


# ------------------------------------------------------------------ the hook


def _hook(event: str, args: tuple[Any, ...]) -> None:
    """Every audit event of the process comes by here."""
    if _watching and event in _EVENTS:
        _notice(event, args)


def _notice(event: str, args: tuple[Any, ...]) -> None:
    """Judge an event, unless this thread is about to do so already. Only a signal handler can raise here."""
    thread = get_ident()
    if thread in _at_work:
        return
    try:
        _at_work.add(thread)
        with suppress(Exception):
            _judge(event, args, thread)
    finally:
        _at_work.discard(thread)


def _judge(event: str, args: tuple[Any, ...], thread: int) -> None:
    place = _connected(*args) if event == _CONNECT else _asked(*args)
    if place is None or _is_here(place[0]):
        return
    watching = list(_watching)
    calls = until_turn(_calls(sys._getframe(1)))  # noqa: SLF001 - documented, and the only way to a stack
    if any(one.owns(thread) for one in watching) or any(call.module.startswith(_OURS) for call in calls):
        return
    host, port = place
    client = _client(event, host, calls)
    key = ("" if client.guessed else client.name, port)
    if is_address(host.partition("%")[0]):
        if event == _LOOK_UP:
            _looked_up.pop(key, None)  # an address that the client was given: no name is behind it
            return
        if _is_known(*key):
            return
    else:
        if len(_looked_up) >= _REMEMBERED:
            _looked_up.clear()
        _looked_up[key] = None
    for one in watching:
        one.tell(host, port, client)


def _is_known(client: str, port: int) -> bool:
    """Whether a connection to an address follows a look-up: of the same client, as far as clients are known."""
    asked = {one for one, at in list(_looked_up) if at in (port, 0)}
    return bool(asked) if not client else not asked.isdisjoint((client, ""))


def _client(event: str, host: str, calls: list[Call]) -> Client:
    client = find_client(calls)
    if client is None and event == _LOOK_UP:
        with suppress(Exception):  # other threads go on meanwhile
            client = find_client(_askers(host))
    return client or guess_client(calls, sys.modules)


# ------------------------------------------------------------------ where to


def _connected(sock: socket.socket, address: object) -> tuple[str, int] | None:
    """Where a TCP connection leads, None for other sockets. A datagram socket that connects sends nothing."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        return None
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[:2]
    return _place(host, port)


def _asked(host: object, port: object, _family: int, type: int, _protocol: int) -> tuple[str, int] | None:
    """What a look-up asks for, None for datagrams."""
    return None if type == socket.SOCK_DGRAM else _place(host, port)


def _place(host: object, port: object) -> tuple[str, int] | None:
    if isinstance(host, bytes | bytearray):
        host = host.decode("latin-1")
    if isinstance(port, bytes | bytearray):
        port = port.decode("latin-1")
    if isinstance(port, str):
        port = int(port) if port.isdecimal() else PORTS.get(port, 0)
    if not isinstance(host, str):
        return None
    return host, port if isinstance(port, int) else 0


def _is_here(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    name = host.lower().partition("%")[0].removesuffix(".")
    return name in _HERE or name in _own_names or is_loopback(name)


# ------------------------------------------------------------------ who


def _calls(frame: types.FrameType | None) -> Iterator[Call]:
    """The stack from a frame outwards, this module's own frames left out."""
    for one in islice(_frames(frame), _DEPTH):
        module = one.f_globals.get("__name__")
        if module != __name__:
            yield Call(module if isinstance(module, str) else "", one.f_code.co_name)


def _askers(host: str) -> list[Call]:
    """The stack behind a look-up that asyncio does in a worker thread: that of the task which waits for it.

    The task may still be about to wait, when the worker is quick: then it is on the stack of its loop's thread.
    """
    loops = []
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 - documented, and the only way to other stacks
        if thread == get_ident():
            continue
        for one in islice(_frames(frame), _DEPTH):
            if _is_waiting(one, host):
                return until_turn(_calls(one))
            if one.f_code.co_name == "run_forever":
                loops.append(one.f_locals.get("self"))
    for loop in loops:
        for task in asyncio.all_tasks(loop) if isinstance(loop, asyncio.AbstractEventLoop) else ():
            stack = list(islice(_suspended(task.get_coro()), _DEPTH))
            if any(_is_waiting(one, host) for one in stack):
                return [call for one in reversed(stack) for call in islice(_calls(one), 1)]
    return []


def _frames(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_waiting(frame: types.FrameType, host: str) -> bool:
    """Whether a frame is an event loop's look-up of a host."""
    code = frame.f_code
    return (
        code.co_name == "getaddrinfo"
        and str(frame.f_globals.get("__name__")).startswith("asyncio.")
        and frame.f_locals.get("host") in (host, host.encode("latin-1", "replace"))
    )


def _suspended(awaited: object) -> Iterator[types.FrameType]:
    """The frames of a suspended coroutine and of what it awaits, outermost first."""
    while awaited is not None:
        if isinstance(awaited, types.CoroutineType):
            frame, awaited = awaited.cr_frame, awaited.cr_await
        elif isinstance(awaited, types.AsyncGeneratorType):
            frame, awaited = awaited.ag_frame, awaited.ag_await
        elif isinstance(awaited, types.GeneratorType):
            frame, awaited = awaited.gi_frame, awaited.gi_yieldfrom
        else:  # what wraps one of them: the steps of an asynchronous generator, `coroutine.__await__()`
            kinds = (types.CoroutineType, types.AsyncGeneratorType, types.GeneratorType)
            awaited = next((one for one in gc.get_referents(awaited) if isinstance(one, kinds)), None)
            continue
        if frame is not None:
            yield frame


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watching.clear)
