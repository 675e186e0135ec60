"""Faults as a test sets them: what can be asked for, whom they happen to, how often, and what is told of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any

import pytest

from pytest_gatekeeper._origin.fault_table import Fault, FaultTable
from pytest_gatekeeper.origin import Applied, Origin

Dial = Callable[[Origin], socket.socket]

REQUEST: dict[str, Any] = {"host": "a.example", "path": "/v1/x", "traits": frozenset()}


def status(origin: Origin, host: str = "a.example", path: str = "/v1/x", body: bytes | None = None) -> int | None:
    """The status that a request of its own connection gets, None where the connection was reset."""
    with contextlib.closing(HTTPConnection(origin.host, origin.port, timeout=10)) as client:
        try:
            client.request("GET" if body is None else "POST", path, body, headers={"Host": host})
            return client.getresponse().status
        except (ConnectionResetError, BrokenPipeError, RemoteDisconnected):
            return None


# ---- whom


def test_a_fault_without_host_and_path_happens_to_all(origin: Origin) -> None:
    """Until it is cleared."""
    origin.faults.reset()
    assert [status(origin), status(origin, "b.example", "/")] == [None, None]
    origin.faults.clear()
    assert status(origin) == 200


@pytest.mark.parametrize(
    ("host", "path"),
    [("a.example", None), ("*.example", None), (None, "/v1/*"), (None, "/v1/x"), ("A.EXAMPLE", "/v?/[xy]")],
)
def test_a_fault_leaves_other_hosts_and_paths_alone(origin: Origin, host: str | None, path: str | None) -> None:
    """Host is a pattern, path a glob that the query is no part of."""
    origin.faults.reset(host=host, path=path)
    assert status(origin, path="/v1/x?q=/v2") is None
    assert status(origin, "a.invalid", "/v2/x?q=/v1/x") == 200


def test_a_fault_happens_so_many_times(origin: Origin) -> None:
    """What does not fit is not counted."""
    origin.faults.reset(path="/v1/*", times=2)
    assert [status(origin, path=path) for path in ("/v1/a", "/v2", "/v1/b", "/v1/c")] == [None, 200, None, 200]


def test_the_last_fault_that_fits_wins(origin: Origin) -> None:
    """And what it hid comes back when it is used up."""
    origin.faults.reset()
    origin.faults.slow(path="/v1/*", times=1, size=4096)
    assert [status(origin), status(origin), status(origin, path="/")] == [200, None, None]
    assert [applied.fault for applied in origin.faults.applied] == ["slow", "reset", "reset"]


def test_clear_of_the_stub_clears_its_faults_too(origin: Origin) -> None:
    """Everything is echoed again; what has happened stays told."""
    origin.respond(status=418)
    origin.faults.reset(times=1)
    assert [status(origin), status(origin)] == [None, 418]
    origin.faults.reset()
    origin.clear()
    assert status(origin) == 200
    assert len(origin.faults.applied) == 1


def test_a_stub_has_faults_of_its_own(origin: Origin) -> None:
    """Another one in the same process is as ever."""
    with Origin() as other:
        origin.faults.refuse()
        assert (status(origin), status(other)) == (None, 200)
        assert (len(origin.faults.applied), len(other.faults.applied)) == (1, 0)


def test_a_prepared_answer_is_not_used_up_by_silence(origin: Origin) -> None:
    """A client that tries again after a reset gets what was prepared for once."""
    origin.respond(status=201, times=1)
    origin.faults.reset(times=1)
    assert [status(origin), status(origin), status(origin)] == [None, 201, 200]


def test_an_early_answer_is_for_requests_with_a_body(origin: Origin) -> None:
    """Others neither get it nor use it up."""
    origin.faults.early(times=1)
    assert [status(origin), status(origin, body=b"x"), status(origin, body=b"x")] == [200, 200, 200]
    assert [request.complete for request in origin.received] == [True, False, True]


# ---- the table by itself


def test_the_table_gives_what_fits_and_counts_it() -> None:
    """Requests get faults of requests, connections those of connections."""
    table = FaultTable()
    table.add(Fault("expired"), host="a.example", path=None, times=1)
    table.add(Fault("stall"), host="a.example", path="/v1/*", times=1)
    assert table.at_request(**REQUEST) == Fault("stall")
    assert table.at_request(**REQUEST) is None
    assert [table.at_hello(name) for name in ("b.example", "a.example", "a.example")] == [None, Fault("expired"), None]


@pytest.mark.parametrize(
    ("name", "trait"), [("early", "body"), ("ragged", "tls"), ("bad_accept", "upgrade"), ("garbage", "upgrade")]
)
def test_some_faults_need_a_trait(name: Any, trait: str) -> None:
    """They pass over requests without it."""
    table = FaultTable()
    table.add(Fault(name), host=None, path=None, times=None)
    others = {"body", "tls", "upgrade"} - {trait}
    assert table.at_request(**REQUEST | {"traits": frozenset(others)}) is None
    assert table.at_request(**REQUEST | {"traits": frozenset({trait})}) == Fault(name)


def test_a_connection_is_refused_at_once_only_where_its_name_does_not_matter() -> None:
    """A fault for a name that was set later has to be looked at first."""
    table = FaultTable()
    table.add(Fault("refuse"), host=None, path=None, times=None)
    table.add(Fault("reset"), host="a.example", path=None, times=None)
    assert table.at_accept() == Fault("refuse")
    table.add(Fault("expired"), host="a.example", path=None, times=None)
    assert table.at_accept() is None
    assert (table.at_hello("a.example"), table.at_hello("b.example")) == (Fault("expired"), Fault("refuse"))
    assert table.at_first("a.example") == Fault("refuse")
    table.clear()
    table.add(Fault("untrusted"), host=None, path=None, times=None)
    assert (table.at_accept(), table.at_first("a.example")) == (None, None)
    assert table.at_hello(None) == Fault("untrusted")


def test_a_client_that_names_nobody_has_asked_for_the_address() -> None:
    """That is what it had to dial."""
    table = FaultTable()
    table.add(Fault("expired"), host="127.0.0.1", path=None, times=None)
    assert (table.at_hello(None), table.at_hello("localhost")) == (Fault("expired"), None)


# ---- what can be asked for


@pytest.mark.parametrize("name", ["refuse", "untrusted", "expired", "wrong_name"])
def test_a_fault_of_a_connection_has_no_path(origin: Origin, name: str) -> None:
    """The text says why and what to give instead; a host is fine."""
    set_fault = getattr(origin.faults, name)
    with pytest.raises(TypeError, match=rf"{name}\(\) happens to a connection, .* give it a host"):
        set_fault(path="/v1/*")
    set_fault(host="a.example")
    assert status(origin, "b.example") == 200


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("refuse", {"times": 0}, "times is at least 1"),
        ("reset", {"times": 0}, "times is at least 1"),
        ("reset", {"host": "https://a.example"}, "without scheme and port"),
        ("expired", {"host": "a.example:443"}, "without scheme and port"),
        ("stall", {"path": "v1"}, "such as /v1/"),
        ("reset", {"after": -1}, "from 0"),
        ("truncate", {"after": -1}, "from 0"),
        ("slow", {"size": 0}, "from 1"),
        ("slow", {"delay": 0}, "below the idle limit, which is 60 s"),
        ("slow", {"delay": 60}, "below the idle limit, which is 60 s"),
        ("garbage", {"data": b""}, "at least one byte"),
    ],
)
def test_what_cannot_be_is_refused(origin: Origin, name: str, arguments: dict[str, Any], says: str) -> None:
    """And nothing is set."""
    with pytest.raises(ValueError, match=says):
        getattr(origin.faults, name)(**arguments)
    assert status(origin) == 200


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("reset", {"host": "*.example", "path": "/*", "times": 1, "after": 0}),
        ("reset", {"host": "[::1]", "path": "*"}),
        ("stall", {"host": "127.0.0.1", "path": "[/]v1"}),
        ("slow", {"size": 1, "delay": 59.9}),
        ("garbage", {"data": b"x"}),
    ],
)
def test_what_can_be_is_taken(origin: Origin, name: str, arguments: dict[str, Any]) -> None:
    """The twin of the refusals."""
    getattr(origin.faults, name)(**arguments)
    assert len(origin._script.faults._entries) == 1


# ---- what is told


def test_what_has_happened_is_told(origin: Origin) -> None:
    """By name, host and path, without the query; the request is there as well."""
    assert repr(origin.faults) == "<Faults applied=0>"
    origin.faults.reset(path="/v1/*", times=1)
    assert status(origin, path="/v1/x?q=s3cret") is None
    origin.faults.refuse(times=1)
    assert status(origin) is None
    assert origin.faults.applied == (Applied("reset", "a.example", "/v1/x"), Applied("refuse"))
    assert repr(origin.faults) == "<Faults applied=2>"
    assert [request.path for request in origin.received] == ["/v1/x"]
    assert origin.errors == ()


def test_a_test_can_wait_for_a_fault(origin: Origin, dial: Dial) -> None:
    """`wait_for` looks again when one happens, and its failure lists those that did."""
    origin.faults.stall(path="/v1/*")
    dial(origin).sendall(b"GET /v1/x HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert origin.wait_for(lambda o: o.faults.applied) == (Applied("stall", "a.example", "/v1/x"),)
    with pytest.raises(AssertionError, match=r"faults: 1\n  stall a\.example/v1/x"):
        origin.wait_for(lambda _: False, timeout=0.01)


def test_a_fault_does_not_show_what_it_sends() -> None:
    """Its repr could reach a report."""
    assert "s3cret" not in repr(Fault("garbage", data=b"s3cret"))


def test_nothing_has_happened_before_a_connection_comes(origin: Origin) -> None:
    """Setting a fault is not doing it."""
    origin.faults.untrusted(host="a.example")
    assert origin.faults.applied == ()
