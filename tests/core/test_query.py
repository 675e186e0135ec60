"""Which exchanges and which credentials a query picks, and how it words what it asks for."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.model import Injection
from pytest_gatekeeper._core.query import HostPattern, Traffic, Wanted
from pytest_gatekeeper._core.records import Exchange, Tunnel
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret-token"


def exchange(url: str = "https://api.example.com/v1/things", method: str = "GET", status: int | None = 200) -> Exchange:
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    host, _, port = authority.partition(":")
    made = Exchange(1, method, scheme, host, int(port or {"https": 443, "wss": 443}[scheme]), f"/{path}")
    made.status = status
    made.is_upgrade = scheme == "wss"
    made.upgraded = status == 101
    return made


def injection(header: str = "Authorization", grant: str = "api") -> Injection:
    return Injection(header, grant, "credentials[0]", Secret(VALUE), Secret(f"Bearer {VALUE}"))


class TestHostPattern:
    @pytest.mark.parametrize(
        ("pattern", "host", "port"),
        [
            ("api.example.com", "api.example.com", 443),
            ("api.example.com", "API.Example.com", 8443),
            ("*.example.com", "a.b.example.com", 443),
            ("api.example.com:8443", "api.example.com", 8443),
            ("*.example.com:8443", "api.example.com", 8443),
            ("[::1]:443", "::1", 443),
            ("::1", "0:0::1", 80),
        ],
    )
    def test_matches(self, pattern: str, host: str, port: int) -> None:
        """A name or *.suffix matches whatever the case, at the port that it names or at all of them."""
        assert HostPattern(pattern).matches(host, port)

    @pytest.mark.parametrize(
        ("pattern", "host", "port"),
        [
            ("api.example.com", "www.example.com", 443),
            ("*.example.com", "example.com", 443),
            ("*.example.com", "evilexample.com", 443),
            ("api.example.com:8443", "api.example.com", 443),
            ("*.example.com:8443", "api.example.com", 443),
        ],
    )
    def test_does_not_match(self, pattern: str, host: str, port: int) -> None:
        """Another name, the suffix itself, a longer label and another port are no match."""
        assert not HostPattern(pattern).matches(host, port)

    def test_url_is_refused(self) -> None:
        """A text that could never match is refused with the way out."""
        with pytest.raises(ValueError, match=r"'https://x' matches no host: .*; write a name or \*\.suffix"):
            HostPattern("https://x")

    @pytest.mark.parametrize("name", ["host", "method", "path"])
    def test_what_is_no_text_is_refused_by_name(self, name: str) -> None:
        """The message has the argument and the type, and not the thing; text is taken."""
        with pytest.raises(TypeError, match=f"^{name} is text, not bytes$"):
            Traffic(**{name: b"x.example"})  # type: ignore[arg-type]
        Traffic(**{name: "x.example"})  # type: ignore[arg-type]

    @pytest.mark.parametrize("status", ["200", b"200", 2.5])
    def test_a_status_is_a_number(self, status: object) -> None:
        """Or several; the message says how these are written."""
        with pytest.raises(TypeError, match=r"^status is a number, or several as in range\(400, 500\), not "):
            Traffic(status=status)  # type: ignore[arg-type]
        for several in (200, {200, 204}, range(200, 300), [200]):
            Traffic(status=several)

    @pytest.mark.parametrize(
        ("name", "what"), [("value", "text or a Secret"), ("header_value", "text or a Secret"), ("grant", "text")]
    )
    def test_a_value_is_text(self, name: str, what: str) -> None:
        """What is none is refused by its type, and does not show."""
        with pytest.raises(TypeError, match=f"^{name} is {what}, not bytes$"):
            Wanted(**{name: b"s3cret"})  # type: ignore[arg-type]
        Wanted(**{name: "s3cret"})

    def test_userinfo_is_not_shown(self) -> None:
        """A password in a URL that was given as host is not in the error."""
        with pytest.raises(ValueError, match="matches no host") as caught:
            HostPattern("https://user:hunter2@x")
        assert "hunter2" not in str(caught.value)

    def test_str_is_the_text(self) -> None:
        """It prints as it was written."""
        assert str(HostPattern("*.example.com:8443")) == "*.example.com:8443"


class TestTraffic:
    def test_nothing_given_matches_all(self) -> None:
        """Without a criterion every exchange matches."""
        assert Traffic().matches(exchange())

    @pytest.mark.parametrize(
        ("traffic", "words"),
        [
            (Traffic("www.example.com"), "its host is api.example.com"),
            (Traffic("www.example.com:8443"), "its host is api.example.com:443"),
            (Traffic("api.example.com:8443"), "its port is 443"),
            (Traffic(method="post"), "its method is GET"),
            (Traffic(path="/v2/*"), "its path is /v1/things"),
            (Traffic(upgrade=True), "it asked for no upgrade"),
            (Traffic(websocket=True), "it asked for no upgrade"),
            (Traffic(upgraded=True), "it was not upgraded"),
            (Traffic(status=404), "its status is 200"),
            (Traffic(status=range(400, 500)), "its status is 200"),
        ],
    )
    def test_miss(self, traffic: Traffic, words: str) -> None:
        """What does not match is named in words."""
        assert not traffic.matches(exchange())
        assert traffic.misses(exchange()) == [words]

    @pytest.mark.parametrize(
        "traffic",
        [
            Traffic("*.example.com"),
            Traffic("api.example.com:443"),
            Traffic(method="get"),
            Traffic(path="/v1/*"),
            Traffic(path="/v1/things"),
            Traffic(upgrade=False),
            Traffic(websocket=False),
            Traffic(upgraded=False),
            Traffic(status=200),
            Traffic(status=range(200, 300)),
            Traffic(status={200, 204}),
        ],
    )
    def test_match(self, traffic: Traffic) -> None:
        """The twin of each miss."""
        assert traffic.matches(exchange())
        assert traffic.misses(exchange()) == []

    def test_query_is_no_part_of_the_path(self) -> None:
        """The query does not matter for `path`."""
        assert Traffic(path="/v1/things").matches(exchange("https://api.example.com/v1/things?q=1"))

    def test_path_with_brackets_matches_itself(self) -> None:
        """A path that happens to be a glob is also compared as it is."""
        assert Traffic(path="/v1/[a]").matches(exchange("https://api.example.com/v1/[a]"))

    @pytest.mark.parametrize(
        ("traffic", "words"),
        [
            (Traffic(upgrade=False), "it asked for an upgrade"),
            (Traffic(websocket=False), "it asked for a WebSocket"),
            (Traffic(upgraded=False), "it was upgraded"),
        ],
    )
    def test_upgrade_is_a_miss(self, traffic: Traffic, words: str) -> None:
        """An upgrade is no plain request."""
        assert traffic.misses(exchange("wss://api.example.com/socket", status=101)) == [words]

    def test_other_protocol_is_no_websocket(self) -> None:
        """An upgrade to something else is told from a WebSocket."""
        other = exchange()
        other.is_upgrade = True
        assert Traffic(upgrade=True).matches(other)
        assert Traffic(websocket=True).misses(other) == ["it asked for another protocol than WebSocket"]

    def test_no_answer_has_no_status(self) -> None:
        """An exchange without an answer matches no status."""
        assert Traffic(status=range(1000)).misses(exchange(status=None)) == ["it has no answer"]

    def test_tunnel(self) -> None:
        """A CONNECT by itself is traffic to its host, but has neither path nor another method."""
        tunnel = Tunnel(1, "api.example.com", 443)
        assert Traffic().matches_tunnel(tunnel)
        assert Traffic("*.example.com", method="connect").matches_tunnel(tunnel)
        assert not Traffic("www.example.com").matches_tunnel(tunnel)
        assert not Traffic("*.example.com", path="/").matches_tunnel(tunnel)
        assert not Traffic("*.example.com", method="GET").matches_tunnel(tunnel)
        assert not Traffic("*.example.com", upgrade=True).matches_tunnel(tunnel)

    @pytest.mark.parametrize(
        ("traffic", "count", "words"),
        [
            (Traffic(), 0, "no exchange"),
            (Traffic("a.example.com"), 1, "1 exchange to a.example.com"),
            (Traffic("a.io", method="post", path="/v1/*"), 2, "2 POST exchanges to a.io with path /v1/*"),
            (Traffic(upgrade=True), 3, "3 upgrades"),
            (Traffic(upgrade=False), 0, "no exchange without upgrade"),
            (Traffic("a.example.com", websocket=True), 0, "no WebSocket upgrade to a.example.com"),
        ],
    )  # fmt: skip
    def test_counted(self, traffic: Traffic, count: int, words: str) -> None:
        """Traffic is worded with its number."""
        assert traffic.counted(count) == words

    def test_str(self) -> None:
        """Traffic is worded without a number too."""
        assert str(Traffic("a.example.com", method="get", path="/x")) == "GET exchange to a.example.com with path /x"


class TestWanted:
    @pytest.mark.parametrize(
        "wanted",
        [
            Wanted(),
            Wanted(header="AUTHORIZATION"),
            Wanted(grant="api"),
            Wanted(value=VALUE),
            Wanted(value=Secret(VALUE)),
            Wanted(header_value=f"Bearer {VALUE}"),
            Wanted(header="authorization", grant="api", value=VALUE, header_value=f"Bearer {VALUE}"),
        ],
    )
    def test_match(self, wanted: Wanted) -> None:
        """A credential that is what was asked for."""
        carrier = exchange()
        carrier.injections = (injection("X-Other", "other"), injection())
        assert wanted.misses(injection()) == []
        assert injection() in wanted.among(carrier)

    @pytest.mark.parametrize(
        ("wanted", "words"),
        [
            (Wanted(header="X-Api-Key"), "its header is Authorization"),
            (Wanted(grant="ws"), "its grant is 'api'"),
            (Wanted(grant=""), "its grant is 'api'"),
            (Wanted(value="wrong"), f"its value is {Secret(VALUE)}, not {Secret('wrong')}"),
            (
                Wanted(value=f"Bearer {VALUE}"),
                f"its value is {Secret(VALUE)}, not {Secret('Bearer ' + VALUE)}"
                " (which is the header's; compare it with header_value=)",
            ),
            (
                Wanted(header_value="wrong"),
                f"its header value is {Secret('Bearer ' + VALUE)}, not {Secret('wrong')}",
            ),
            (
                Wanted(header_value=VALUE),
                f"its header value is {Secret('Bearer ' + VALUE)}, not {Secret(VALUE)}"
                " (which is the source's; compare it with value=)",
            ),
        ],
        ids=["header", "grant", "no grant", "value", "whole header as value", "header value", "value as whole header"],
    )
    def test_miss(self, wanted: Wanted, words: str) -> None:
        """What differs is named in words, a value by its fingerprint alone."""
        carrier = exchange()
        carrier.injections = (injection(),)
        assert wanted.misses(injection()) == [words]
        assert wanted.among(carrier) == ()
        assert VALUE not in words

    def test_str(self) -> None:
        """A credential is worded without its value."""
        assert str(Wanted()) == "a credential"
        assert str(Wanted(header="X-Api-Key", grant="api")) == "a credential (header X-Api-Key, grant 'api')"
        assert str(Wanted(value=VALUE)) == f"a credential (value {Secret(VALUE)})"
        assert str(Wanted(header_value=VALUE)) == f"a credential (header value {Secret(VALUE)})"

    def test_secrets_are_those_given(self) -> None:
        """The values to compare with are known, so that texts can hide them."""
        assert Wanted(value="one", header_value="two").secrets == (Secret("one"), Secret("two"))
        assert Wanted(grant="api").secrets == ()


def test_a_canary_is_named_as_the_cause() -> None:
    """A value that differs since it was made up says so; a real one that differs does not."""
    real = Injection("X-Api-Key", "api", "credentials[0]", Secret("one-value"), Secret("one-value"))
    for wanted in (Wanted(value="another"), Wanted(header_value="another")):
        assert not any("canary" in text for text in wanted.misses(real))
        assert any("a canary took its place" in text for text in wanted.misses(real._replace(canary=True)))
