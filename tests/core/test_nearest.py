"""The nearest miss, word by word."""

from __future__ import annotations

from pytest_gatekeeper._core.model import Injection
from pytest_gatekeeper._core.nearest import nearest_traffic, unreached, why_not
from pytest_gatekeeper._core.query import Traffic, Wanted
from pytest_gatekeeper._core.records import Bypass, Exchange, Tunnel
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.telling import Scene

SECRET = Secret("s3cret-token")


def exchange(host: str = "api.example.com", target: str = "/v1", grant: str | None = None) -> Exchange:
    made = Exchange(1, "GET", "https", host, 443, target)
    made.status = 200
    if grant is not None:
        made.injections = (Injection("Authorization", grant, "credentials[0]", SECRET, SECRET),)
    return made


def tunnel(host: str = "api.example.com", error: str | None = None) -> Tunnel:
    made = Tunnel(1, host, 443)
    made.status = 200
    made.error = error
    return made


class TestSilence:
    def test_nothing_at_all(self) -> None:
        """A silent proxy was probably not used."""
        assert nearest_traffic(Traffic("a.example.com"), Scene()) == (
            "the proxy saw nothing at all: does the client read HTTPS_PROXY?"
        )

    def test_bypass_and_late(self) -> None:
        """What went past the proxy, or came when no test held it, is the likely cause."""
        bypass = Bypass("a.example.com", 443, "aiohttp", "ClientSession(trust_env=True)")
        assert nearest_traffic(Traffic("a.example.com"), Scene(bypasses=(bypass,), late=2)) == (
            "the proxy saw nothing at all: does the client read HTTPS_PROXY?"
            " aiohttp went past the proxy to a.example.com:443; cure: ClientSession(trust_env=True)."
            " 2 connections came while no test held the proxy, and got a 503."
        )


class TestSameHost:
    def test_differences_are_named(self) -> None:
        """Of the exchanges with the host the one with the fewest differences is shown."""
        far, near = exchange(target="/v1"), exchange(target="/v2")
        near.method = "POST"
        assert nearest_traffic(Traffic("api.example.com", method="POST", path="/v3"), Scene((far, near))) == (
            "POST https://api.example.com/v2 200: no credential; but its path is /v2."
        )
        assert nearest_traffic(Traffic("api.example.com:8443", method="PUT"), Scene((far,))) == (
            "GET https://api.example.com/v1 200: no credential; but its port is 443 and its method is GET."
        )

    def test_control_characters_are_escaped(self) -> None:
        """What a client sent cannot reach the terminal as it is."""
        assert "\x1b" not in nearest_traffic(Traffic(path="/x"), Scene((exchange(target="/\x1b[31m"),)))

    def test_failed_tunnel(self) -> None:
        """A CONNECT that failed tells why no exchange came."""
        scene = Scene(
            (exchange("www.example.com"), tunnel(error="the client does not trust the CA: set SSL_CERT_FILE."))
        )
        assert nearest_traffic(Traffic("api.example.com"), scene) == (
            "CONNECT api.example.com:443 200: failed: the client does not trust the CA: set SSL_CERT_FILE."
        )

    def test_failed_tunnel_beside_an_exchange(self) -> None:
        """Where both are there, both are told; a tunnel that went well is not."""
        scene = Scene((exchange(), tunnel(error="reset"), tunnel()))
        assert nearest_traffic(Traffic("api.example.com", path="/v2"), scene) == (
            "GET https://api.example.com/v1 200: no credential; but its path is /v1."
            " Also: CONNECT api.example.com:443 200: failed: reset."
        )

    def test_without_a_host(self) -> None:
        """Where any host would do, the last tunnel is the nearest."""
        last = tunnel("b.example.com")
        last.tls_version = "TLSv1.3"
        scene = Scene((tunnel("a.example.com"), last))
        assert nearest_traffic(Traffic(method="GET"), scene) == (
            "CONNECT b.example.com:443 200: no request came through it yet."
        )


class TestSimilarHost:
    def test_typo(self) -> None:
        """A host that looks alike is probably what was meant."""
        scene = Scene((exchange("zebra.org"), exchange("ws.exmaple.com")))
        assert nearest_traffic(Traffic("ws.example.com"), scene) == (
            "GET https://ws.exmaple.com/v1 200: no credential; but its host is ws.exmaple.com."
        )

    def test_a_tunnel_gives_way_to_its_exchange(self) -> None:
        """Of the records of a host the one that tells most is shown."""
        way = tunnel("ws.exmaple.com")
        inner = exchange("ws.exmaple.com")
        way.exchanges = [inner]
        assert nearest_traffic(Traffic("ws.example.com"), Scene((way, inner))).startswith("GET https://ws.exmaple.com")

    def test_suffix_itself(self) -> None:
        """A wildcard does not match its own suffix."""
        assert nearest_traffic(Traffic("*.example.com"), Scene((exchange("example.com"),))) == (
            "GET https://example.com/v1 200: no credential; but its host is example.com,"
            " and a wildcard does not match its own suffix."
        )

    def test_trailing_dot(self) -> None:
        """A trailing dot makes another name."""
        assert nearest_traffic(Traffic("ws.example.com"), Scene((exchange("ws.example.com."),))) == (
            "GET https://ws.example.com./v1 200: no credential; but its host is ws.example.com.,"
            " and a trailing dot makes another name."
        )

    def test_name_below(self) -> None:
        """An exact pattern does not match the names below it, however unlike they look."""
        host = "a-very-long-label-that-looks-like-nothing.and-another-one.x.io"
        assert nearest_traffic(Traffic("x.io"), Scene((exchange("y.io"), exchange(host)))).endswith(
            f"but its host is {host}, which *.x.io would match."
        )

    def test_nothing_alike(self) -> None:
        """Else the hosts are listed, eight at most."""
        assert nearest_traffic(Traffic("ws.example.com"), Scene((exchange("zzz.zz"), Tunnel(1, "", 0)))) == (
            "nothing like ws.example.com was there; the hosts were zzz.zz, (unreadable)."
        )
        many = Scene(tuple(exchange(f"{number}.zz") for number in range(10)))
        assert nearest_traffic(Traffic("ws.example.com"), many).endswith("5.zz, 6.zz, 7.zz and 2 more.")


class TestWhyNot:
    def test_no_credential(self) -> None:
        """The exchange's own reason is the reason."""
        bare = exchange()
        bare.reason = "no rule for api.example.com"
        assert why_not(bare, Wanted(), Scene()) == (
            "GET https://api.example.com/v1 200: no credential: no rule for api.example.com."
        )

    def test_other_credential(self) -> None:
        """Of several credentials the one with the fewest differences is compared."""
        both = exchange(grant="api")
        both.injections = (Injection("X-Key", "other", "added[0]", SECRET, SECRET), *both.injections)
        assert why_not(both, Wanted(header="X-Api-Key", grant="api"), Scene(grants=("api", "other"))) == (
            "GET https://api.example.com/v1 200: X-Key by added[0] (other), Authorization by credentials[0] (api);"
            " but its header is Authorization."
        )

    def test_a_header_of_the_client(self) -> None:
        """A client that sends one of the headers itself gets no other credential: that is the cause."""
        sent = exchange(grant="api")
        sent.headers = (("Host", "api.example.com"), ("authorization", "Bearer x"))
        said = " (the client sent Authorization itself, so nothing else was put in)."
        assert why_not(sent, Wanted(header="X-Api-Key"), Scene()) == (
            "GET https://api.example.com/v1 200: Authorization by credentials[0] (api); but its header is Authorization"
            f"{said}"
        )
        assert why_not(sent, Wanted(grant="key"), Scene(grants=("api", "key"))).endswith(f"its grant is 'api'{said}")
        for wanted in (Wanted(grant="keyy"), Wanted(header="Authorization", value="other"), Wanted(value="other")):
            assert "itself" not in why_not(sent, wanted, Scene(grants=("api", "key")))

    def test_unknown_grant(self) -> None:
        """A grant that no rule has is named, with those that there are."""
        text = "GET https://api.example.com/v1 200: no credential. No rule has the grant 'apj'"
        assert why_not(exchange(), Wanted(grant="apj"), Scene(grants=("api",))) == f"{text}; there is 'api'."
        assert why_not(exchange(), Wanted(grant="apj"), Scene(grants=("api", "", "ws", "ws"))) == (
            f"{text}; there are 'api', 'ws'."
        )
        assert why_not(exchange(), Wanted(grant="apj"), Scene()) == f"{text}."


class TestUnreached:
    def test_exchange_without_the_credential(self) -> None:
        """The host was reached, the credential was not sent."""
        assert unreached("api.example.com", "api", Scene((exchange(),), ("api",))) == (
            "GET https://api.example.com/v1 200: no credential."
        )

    def test_no_exchange(self) -> None:
        """The host was not reached."""
        assert unreached("ws.example.org", "ws", Scene((exchange("zzz.zz"),), ("api",))) == (
            "nothing like ws.example.org was there; the hosts were zzz.zz. No rule has the grant 'ws'; there is 'api'."
        )
