"""Connections of nobody's test, and credentials that can be read on the way."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gatekeeper._proxy.port import open_listener
from tests.proof.conftest import API, TIMEOUT, VALUE, WEB, Bench, Way, Wire, is_secure, is_upgrade, other_address, ways

# ------------------------------------------------------------------ late


@ways
def test_late_connections_are_told_to_the_next_and_to_nobody_else(make_bench: Callable[..., Bench], way: Way) -> None:
    """503 while nobody holds the port; counted for the next holder, whose own connections are not late."""
    listener = open_listener()
    try:
        first = make_bench(listener=listener, salt="first")
        assert first.visit(way).request.all("x-token") == [VALUE]
        assert first.recorder.late == ()
        first.proxy.close()
        for _ in range(2):
            assert first.refused(way, API).status == 503
        second = make_bench(listener=listener, salt="second")
        assert second.visit(way).request.all("x-token") == [VALUE]
        assert len(second.recorder.late) == 2
        assert (len(first.recorder.exchanges), len(second.recorder.exchanges)) == (1, 1)
        assert (first.recorder.late, "2 connections came while no test held" in second.recorder.describe()) == (
            (),
            True,
        )
    finally:
        listener.close()


@ways
def test_late_connections_prove_nothing(make_bench: Callable[..., Bench], way: Way) -> None:
    """The next test has no exchange by them, and is told why it has none."""
    listener = open_listener()
    try:
        make_bench(listener=listener).proxy.close()
        with socket.create_connection((listener.host, listener.port), TIMEOUT) as sock:
            wire = Wire(sock)
            wire.send(Bench.head(way, API))
            assert wire.message().status == 503
        bench = make_bench(listener=listener)
        for assertion in (bench.recorder.assert_no_leaks, bench.recorder.assert_not_injected):
            with pytest.raises(AssertionError, match="this proves nothing") as caught:
                assertion()
            assert "1 connection came while no test held the proxy" in str(caught.value)
        bench.visit(way, WEB)
        bench.recorder.assert_not_injected(WEB)
    finally:
        listener.close()


@ways
def test_what_was_open_is_cut_and_stays_with_its_test(make_bench: Callable[..., Bench], way: Way) -> None:
    """A connection of the test before gets nowhere, and what it sends reaches no other recorder."""
    listener = open_listener()
    try:
        first = make_bench(listener=listener)
        visit = first.visit(way)
        first.proxy.close()
        second = make_bench(listener=listener)
        assert visit.client.rest() == b""
        assert (second.recorder.records, second.recorder.late) == ((), ())
        assert visit.record.closed == ("test" if is_upgrade(way) else "upstream")
        second.visit(way, WEB)
        assert [exchange.host for exchange in second.recorder.exchanges] == [WEB]
    finally:
        listener.close()


# ------------------------------------------------------------------ cleartext


@ways
def test_a_credential_in_cleartext_is_a_finding(make_bench: Callable[..., Bench], way: Way) -> None:
    """To an upstream that is neither TLS nor loopback; without a credential, over TLS or on loopback it is none."""
    bench = make_bench(address=other_address())
    sent_openly = not is_secure(way)  # the upstream talks what the client does
    assert bench.visit(way).request.all("x-token") == [VALUE]
    assert bench.recorder.cleartext == (bench.recorder.exchanges if sent_openly else ())
    bench.visit(way, WEB)
    assert len(bench.recorder.cleartext) == sent_openly
    assert (bench.recorder.violations, bench.recorder.leaks) == ((), ())
    assert ("in cleartext to" in bench.recorder.describe()) is sent_openly
    loopback = make_bench()
    assert loopback.visit(way).request.all("x-token") == [VALUE]
    assert loopback.recorder.cleartext == ()


@pytest.mark.parametrize("way", ["tunnel", "upgrade"])
def test_a_tunnel_that_ends_at_the_proxy(make_bench: Callable[..., Bench], way: Way) -> None:
    """TLS up to the proxy and none behind it is cleartext, too: what counts is the way of the credential."""
    bench = make_bench(address=(address := other_address()))
    bench.proxy.route(API, f"http://{address}:{bench.port}")
    client = bench.client(way)
    client.send(bench.head(way, API))
    server = bench.accept("plain")
    assert server.message().all("x-token") == [VALUE]
    server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.message().status == 204
    (exchange,) = bench.recorder.exchanges
    assert bench.recorder.cleartext == (exchange,)
    assert (exchange.upstream, exchange.upstream_verified) == (f"{address}:{bench.port}", None)
    assert bench.visit(way).record.cleartext is False


SUITE = """
import os, urllib.request
import pytest
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

RULE = {"host": "api.example.com", "header": "X-Token", "source": {"type": "static", "value": "k7Q-s3cr3t_f9c2"}}

class Silent(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass

def reach(proxy, address):
    server = HTTPServer((address, 0), Silent)
    thread = Thread(target=server.handle_request)
    thread.start()
    proxy.route("api.example.com", f"http://{address}:{server.server_port}")
    urllib.request.urlopen("http://api.example.com/", timeout=10).close()
    thread.join(10)
    server.server_close()

@pytest.mark.gatekeeper(credentials=[RULE], fail_on=["cleartext"])
def test_fails(gatekeeper_proxy):
    reach(gatekeeper_proxy, os.environ["ADDRESS"])

@pytest.mark.gatekeeper(credentials=[RULE])
def test_by_default_it_does_not(gatekeeper_proxy):
    reach(gatekeeper_proxy, os.environ["ADDRESS"])
    assert len(gatekeeper_proxy.recorder.cleartext) == 1

@pytest.mark.gatekeeper(credentials=[RULE], fail_on=["cleartext"])
def test_loopback_does_not(gatekeeper_proxy):
    reach(gatekeeper_proxy, "127.0.0.1")
    gatekeeper_proxy.recorder.assert_injected("api.example.com")

@pytest.mark.gatekeeper(fail_on=["cleartext"])
def test_without_a_credential_it_does_not(gatekeeper_proxy):
    reach(gatekeeper_proxy, os.environ["ADDRESS"])
    gatekeeper_proxy.recorder.assert_not_injected("api.example.com")
"""


def test_fail_on_cleartext(run_pytest: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """A test that says so fails for it; one that does not has it in the table."""
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    done = run_pytest(tmp_path, ADDRESS=other_address())
    assert "4 passed, 1 error" in done.stdout, done.stdout
    assert "ERROR test_suite.py::test_fails" in done.stdout
    assert "1 cleartext injection in this test" in done.stdout
    assert "cleartext injections 2" in done.stdout
