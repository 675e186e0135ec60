"""Routes: what leads where, which name is verified, and what cannot be a route."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gatekeeper._core.model import Destination
from pytest_gatekeeper._proxy import routes as routes_module
from pytest_gatekeeper._proxy.routes import NoRoute, Routes
from pytest_gatekeeper.errors import ProxyError


def led(routes: Routes, host: str, port: int = 443, scheme: str = "https") -> str:
    return routes.target(Destination(scheme, host, port)).address


def test_the_nearest_route_wins() -> None:
    """A route for the port beats one for any port, an exact name beats a wildcard, a longer suffix a shorter one."""
    routes = Routes()
    for number, pattern in enumerate(
        ["*.example.com", "*.b.example.com", "a.b.example.com", "a.b.example.com:81", "*.example.com:82"], 1
    ):
        routes.add(pattern, f"http://127.0.0.1:{number}")
    assert led(routes, "x.example.com") == "127.0.0.1:1"
    assert led(routes, "x.b.example.com") == "127.0.0.1:2"
    assert led(routes, "A.b.Example.com") == "127.0.0.1:3"
    assert led(routes, "a.b.example.com", 81) == "127.0.0.1:4"
    assert led(routes, "a.b.example.com", 82) == "127.0.0.1:5"
    with pytest.raises(NoRoute, match=r"example\.com has no route"):
        led(routes, "example.com")


def test_a_later_route_takes_the_place_of_an_earlier_one() -> None:
    """The same pattern leads where it was led last, and the version tells that something changed."""
    routes = Routes()
    routes.add("a.example.com", "http://127.0.0.1:1")
    assert led(routes, "a.example.com") == "127.0.0.1:1"
    version = routes.version
    routes.add("a.example.com", "http://127.0.0.1:2")
    assert (led(routes, "a.example.com"), routes.version > version) == ("127.0.0.1:2", True)


def test_not_every_destination_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that makes up names without end costs no memory; each leads where it should, again as well."""
    monkeypatch.setattr(routes_module, "_REMEMBERED", 3)
    routes = Routes()
    routes.add("*.example.com", "http://127.0.0.1:1")
    for number in (*range(10), *range(10)):
        assert led(routes, f"{number}.example.com") == "127.0.0.1:1"
        assert len(routes._known) <= 3


@pytest.mark.parametrize(
    ("url", "address", "name"),
    [
        ("https://127.0.0.1:8443", "127.0.0.1:8443", "a.example.com"),
        ("wss://localhost", "localhost:443", "a.example.com"),
        ("HTTPS://[::1]:1/", "[::1]:1", "a.example.com"),
        ("https://10.0.0.7", "10.0.0.7:443", "a.example.com"),
        ("https://staging.example.net", "staging.example.net:443", "staging.example.net"),
        ("https://staging.example.net.", "staging.example.net.:443", "staging.example.net"),
    ],
)
def test_which_name_is_verified(url: str, address: str, name: str) -> None:
    """The production name where the route leads to localhost or an address, else the route's own host."""
    routes = Routes()
    routes.add("a.example.com", url)
    target = routes.target(Destination("https", "a.example.com", 443))
    assert (target.address, target.server_name, target.verified, target.routed) == (address, name, True, True)


@pytest.mark.parametrize(("url", "port"), [("http://127.0.0.1", 80), ("ws://127.0.0.1", 80), ("ws://127.0.0.1:7", 7)])
def test_plain_routes(url: str, port: int) -> None:
    """A route to http or ws has no TLS, whatever the client speaks."""
    routes = Routes()
    routes.add("a.example.com", url)
    target = routes.target(Destination("https", "a.example.com", 443))
    assert (target.port, target.context, target.verified) == (port, None, None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("api.example.com:9000", r"api\.example\.com has a route for port 9000, and none for 443"),
        ("*.example.com:9000", r"api\.example\.com has a route for port 9000, and none for 443"),
        ("*.api.example.com", r"api\.example\.com has no route \(\*\.api\.example\.com covers only names below it\)"),
        ("cdn.example.com", r"^api\.example\.com has no route, and the network is closed"),
    ],
)
def test_a_route_that_just_misses_is_named(pattern: str, words: str) -> None:
    """One for another port, or for the names below; whatever the host's case."""
    routes = Routes()
    routes.add(pattern, "http://127.0.0.1:1")
    with pytest.raises(NoRoute, match=words) as caught:
        led(routes, "api.example.com")
    assert "the network is closed. Lead it somewhere with" in str(caught.value)
    with pytest.raises(NoRoute, match=f"(?i){words}"):
        led(routes, "API.example.com")


def test_without_a_route() -> None:
    """Loopback may be dialled as it is; everything else only where the network is open."""
    assert led(Routes(), "127.0.0.1", 8080, "http") == "127.0.0.1:8080"
    assert led(Routes(), "localhost", 81) == "localhost:81"
    for host in ("api.example.com", "10.0.0.1", "localhost.example.com"):
        with pytest.raises(NoRoute, match="the network is closed"):
            led(Routes(), host)
        target = Routes(allow_network=True).target(Destination("https", host, 443))
        assert (target.address, target.verified, target.routed) == (f"{host}:443", True, False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:80", "must begin with"),
        ("ftp://127.0.0.1", "must begin with"),
        ("https://user:hunter2@127.0.0.1", "a host and a port alone"),
        ("https://127.0.0.1/path", "a host and a port alone"),
        ("https://127.0.0.1?key=hunter2", "a host and a port alone"),
        ("https://127.0.0.1#x", "a host and a port alone"),
        ("https://127.0.0.1:99999", "port"),
        ("https://", "host"),
        ("https://[::1", "bracket|host|port"),
        ("https://a b", "host"),
    ],
)
def test_urls_that_are_none(url: str, words: str) -> None:
    """A URL that says more than scheme, host and port, or less, is refused in words that show no credential."""
    routes = Routes()
    with pytest.raises(ProxyError, match=words) as caught:
        routes.add("a.example.com", url)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(NoRoute):
        led(routes, "a.example.com")


@pytest.mark.parametrize("pattern", ["a.example.com:0", "a.example.com:x", "https://a.example.com", "", "a/b", "u@a"])
def test_patterns_that_are_none(pattern: str) -> None:
    """A pattern is a name or *.suffix, with a port where it matters; what is neither is refused with the way out."""
    with pytest.raises(ProxyError, match=r"write a name or \*\.suffix"):
        Routes().add(pattern, "http://127.0.0.1:1")


def test_a_pattern_is_text() -> None:
    """A list of names is refused as such."""
    names: Any = ["a.example.com"]
    with pytest.raises(TypeError, match="a route is for one host pattern, a text, not for a list"):
        Routes().add(names, "http://127.0.0.1:1")


def test_an_authority_that_cannot_be_read() -> None:
    """A CA that is no certificate is an error when it is used, of a kind that the dialler tells."""
    import ssl

    routes = Routes()
    routes.add("a.example.com", "https://127.0.0.1:1", ca=b"-----BEGIN CERTIFICATE-----\nnonsense\n")
    with pytest.raises(ssl.SSLError):
        led(routes, "a.example.com")
