"""Nothing is no proof: every assertion fails, and says so, where there was nothing that it could be about.

Through the fixture, as users have it. Each situation without traffic stands beside the same assertion with it.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.sync.client import connect

from tests.proof.conftest import API, WEB, rule

if TYPE_CHECKING:
    from pytest_gatekeeper import Gatekeeper, Origin, Recorder

SECRET = "k7Q-s3cr3t_f9c2.xJ5v"
OTHER = "quiet.example.com"

managed = pytest.mark.gatekeeper(credentials=[rule(SECRET)])
Check = Callable[["Recorder"], object]

NEGATIVE: dict[str, Check] = {
    "not_injected": lambda recorder: recorder.assert_not_injected(),
    "not_injected host": lambda recorder: recorder.assert_not_injected(WEB),
    "not_injected path": lambda recorder: recorder.assert_not_injected(WEB, path="/*", method="GET"),
    "not_injected grant": lambda recorder: recorder.assert_not_injected(grant="api"),
    "not_injected upgrade": lambda recorder: recorder.assert_not_injected(WEB, upgrade=True),
    "no_leaks": lambda recorder: recorder.assert_no_leaks(),
    "no_leaks client": lambda recorder: recorder.assert_no_leaks("client"),
    "no_leaks any": lambda recorder: recorder.assert_no_leaks("any"),
    "no_bypass": lambda recorder: recorder.assert_no_bypass(),
    "scope of nothing": lambda recorder: recorder.assert_scope({}),
    "scope that is never used": lambda recorder: recorder.assert_scope({"api": []}),
}
POSITIVE: dict[str, Check] = {
    "injected": lambda recorder: recorder.assert_injected(API),
    "upgraded": lambda recorder: recorder.assert_upgraded(WEB),
    "upgraded without": lambda recorder: recorder.assert_upgraded(WEB, injected=False),
    "denied": lambda recorder: recorder.assert_denied(WEB),
    "scope": lambda recorder: recorder.assert_scope({"api": [API]}),
}
negative = pytest.mark.parametrize("check", NEGATIVE.values(), ids=NEGATIVE)
positive = pytest.mark.parametrize("check", POSITIVE.values(), ids=POSITIVE)


@managed
@negative
def test_no_traffic(gatekeeper_recorder: Recorder, check: Check) -> None:
    """A negative assertion says that it proves nothing, and what is missing."""
    with pytest.raises(AssertionError) as caught:
        check(gatekeeper_recorder)
    text = str(caught.value)
    assert text.startswith(("this proves nothing: there was no ", "this proves nothing: there was 0 "))
    assert "What happened: nothing." in text


@managed
@positive
def test_no_traffic_is_no_event(gatekeeper_recorder: Recorder, check: Check) -> None:
    """Nor did anything happen that a positive assertion asks for."""
    with pytest.raises(AssertionError, match=r"What happened: nothing\.$"):
        check(gatekeeper_recorder)


@managed
@negative
def test_a_tunnel_without_a_request(gatekeeper_proxy: Gatekeeper, check: Check) -> None:
    """A CONNECT alone is no traffic: the client may have failed in its handshake. The table shows it."""
    gatekeeper_proxy.connect(WEB).close()
    recorder = gatekeeper_proxy.recorder
    recorder.wait_for(lambda seen: [tunnel for tunnel in seen.tunnels if tunnel.closed])
    with pytest.raises(AssertionError, match="this proves nothing") as caught:
        check(recorder)
    assert f"CONNECT  {WEB}:443" in str(caught.value)


@managed
@pytest.mark.parametrize("name", ["not_injected host", "not_injected path", "not_injected upgrade"])
def test_traffic_of_somebody_else(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, name: str) -> None:
    """Another host's requests say nothing about this one."""
    gatekeeper_origin.serve(OTHER)
    assert httpx.get(f"https://{OTHER}/", timeout=10).status_code == 200
    with pytest.raises(AssertionError, match="this proves nothing: there was no"):
        NEGATIVE[name](gatekeeper_proxy.recorder)


@managed
@negative
def test_traffic_is_what_they_need(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, check: Check) -> None:
    """The twin: with a request and an upgrade to a host without a credential each of them holds."""
    gatekeeper_origin.serve(WEB)
    assert httpx.get(f"https://{WEB}/", timeout=10).status_code == 200
    with connect(f"wss://{WEB}/", open_timeout=10):
        pass
    check(gatekeeper_proxy.recorder)


@managed
@pytest.mark.parametrize("name", [name for name in POSITIVE if name != "denied"])
def test_events_are_what_they_need(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin, name: str) -> None:
    """The twin of the positive ones."""
    gatekeeper_origin.serve(WEB, API)
    assert httpx.get(f"https://{API}/", timeout=10).status_code == 200
    with connect(f"wss://{WEB}/", open_timeout=10):
        pass
    POSITIVE[name](gatekeeper_proxy.recorder)


@pytest.mark.gatekeeper(credentials=[rule(SECRET)], policy="strict", allow=[API])
def test_a_refusal_is_what_denied_needs(gatekeeper_proxy: Gatekeeper) -> None:
    """The twin: a host that policy refuses."""
    with pytest.raises(httpx.ProxyError):
        httpx.get(f"https://{WEB}/", timeout=10)
    POSITIVE["denied"](gatekeeper_proxy.recorder)


def test_no_rule_no_leak(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """Without a secret to look for there is traffic, and no proof; with one there is."""
    gatekeeper_origin.serve(WEB)
    assert httpx.get(f"https://{WEB}/?token={SECRET}", timeout=10).status_code == 200
    with pytest.raises(AssertionError, match="this proves nothing: the proxy has no rule"):
        gatekeeper_proxy.recorder.assert_no_leaks()
    gatekeeper_proxy.add_credential(API, SECRET)
    gatekeeper_proxy.recorder.assert_no_leaks()


def test_secrets_that_are_too_short_to_be_looked_for(gatekeeper_proxy: Gatekeeper, gatekeeper_origin: Origin) -> None:
    """Where no secret is long enough nothing was looked for, and that is said; one that is makes the difference."""
    gatekeeper_origin.serve(WEB)
    gatekeeper_proxy.add_credential(API, "s3cr3t7")
    assert httpx.get(f"https://{WEB}/?token=s3cr3t7", timeout=10).status_code == 200
    for direction in ("upstream", "client", "any"):
        with pytest.raises(AssertionError, match="this proves nothing: no secret has the 8 characters"):
            gatekeeper_proxy.recorder.assert_no_leaks(direction)
    gatekeeper_proxy.add_credential(OTHER, SECRET)
    gatekeeper_proxy.recorder.assert_no_leaks()


@managed
def test_what_was_waited_for(gatekeeper_recorder: Recorder) -> None:
    """A wait that ends without anything fails and says that nothing was there; what is there ends it at once."""
    with pytest.raises(AssertionError, match="What happened: nothing"):
        gatekeeper_recorder.wait_for(lambda recorder: recorder.exchanges, timeout=0.01)
    assert gatekeeper_recorder.wait_for(lambda recorder: [recorder], timeout=0.01) == [gatekeeper_recorder]


@managed
def test_a_request_to_the_proxy_itself_is_traffic_that_is_shown(gatekeeper_proxy: Gatekeeper) -> None:
    """A client that takes the proxy for the server gets a 400: in the table, and as nobody's host."""
    connection = http.client.HTTPConnection(gatekeeper_proxy.host, gatekeeper_proxy.port, timeout=10)
    connection.request("GET", "/v1", headers={"Host": WEB})
    assert connection.getresponse().status == 400
    connection.close()
    with pytest.raises(AssertionError, match=r"GET +http://www.example.org/v1 +400"):
        gatekeeper_proxy.recorder.assert_injected(API)
