"""Each expectation: when it holds, when it does not, when it would prove nothing; texts word by word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gatekeeper._core import expect
from pytest_gatekeeper._core.folding import Folding
from pytest_gatekeeper._core.model import Injection
from pytest_gatekeeper._core.query import Traffic, Wanted
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak, Tunnel
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.telling import Scene, Traced

SECRET = Secret("s3cret-token")
SILENCE = "Nearest miss: the proxy saw nothing at all: does the client read HTTPS_PROXY?\nWhat happened: nothing."
PLAIN_ROW = "1  GET  https://api.example.com/v1  200  no credential"
CARRIER_ROW = "2  GET  https://api.example.com/v1  200  Authorization by credentials[0] (api)"
UPGRADE_ROW = "3  GET  wss://ws.example.com/socket  101  Authorization by credentials[1] (ws)"


def plain(host: str = "api.example.com") -> Exchange:
    made = Exchange(1, "GET", "https", host, 443, "/v1")
    made.status = 200
    made.forwarded_headers = (("Host", host),)
    return made


def carrier(host: str = "api.example.com", grant: str = "api") -> Exchange:
    made = plain(host)
    made.id = 2
    made.injections = (Injection("Authorization", grant, "credentials[0]", SECRET, SECRET),)
    return made


def upgrade(status: int = 101, grant: str | None = "ws") -> Exchange:
    made = Exchange(3, "GET", "wss", "ws.example.com", 443, "/socket")
    made.status = status
    made.is_upgrade = True
    made.upgraded = status == 101
    if grant is not None:
        made.injections = (Injection("Authorization", grant, "credentials[1]", SECRET, SECRET),)
    return made


def unreached(reason: str = "") -> Exchange:
    """One whose upstream could not be reached; a `reason` says that it would have got no credential anyway."""
    made = plain()
    made.forwarded_headers = ()
    made.status, made.error, made.reason = 502, "could not be reached", reason
    return made


def denied() -> Exchange:
    """One that policy refused inside a tunnel."""
    made = plain()
    made.forwarded_headers = ()
    made.status, made.denied = 407, True
    return made


def refused(host: str = "evil.example.com") -> Tunnel:
    made = Tunnel(1, host, 443)
    made.status = 407
    made.denied = True
    return made


def scene(
    *records: Traced,
    grants: tuple[str, ...] = ("api", "ws"),
    leaks: tuple[Leak, ...] = (),
    bypasses: tuple[Bypass, ...] = (),
) -> Scene:
    return Scene(records, grants, leaks, bypasses)


def text_of(call: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


API = Traffic("api.example.com")
SOCKET = Traffic("ws.example.com", websocket=True)


class TestInjected:
    def test_holds(self) -> None:
        """All matching exchanges got it; others do not matter."""
        one, two = carrier(), carrier()
        assert expect.injected(scene(one, plain("www.example.com"), two), API, Wanted(grant="api"), 2) == (one, two)
        assert expect.injected(scene(one), API, Wanted(), None) == (one,)

    def test_no_exchange(self) -> None:
        """Without traffic nothing was injected."""
        assert text_of(lambda: expect.injected(scene(), API, Wanted(), None)) == (
            "there was no exchange to api.example.com, so nothing was injected\n"
            f"Expected: every exchange to api.example.com gets a credential.\n{SILENCE}"
        )

    def test_one_without(self) -> None:
        """One exchange without the credential is enough to fail, and is pointed at."""
        assert text_of(lambda: expect.injected(scene(plain(), carrier()), API, Wanted(grant="api"), None)) == (
            "1 of 2 exchanges to api.example.com did not get a credential (grant 'api')\n"
            "Expected: every exchange to api.example.com gets a credential (grant 'api').\n"
            "Nearest miss: GET https://api.example.com/v1 200: no credential.\n"
            f"What happened:\n  >{PLAIN_ROW}\n   {CARRIER_ROW}"
        )

    def test_times(self) -> None:
        """The number counts exactly."""
        assert text_of(lambda: expect.injected(scene(carrier()), API, Wanted(), 2)) == (
            "1 exchange to api.example.com got a credential\n"
            "Expected: every exchange to api.example.com gets a credential, exactly 2 times.\n"
            f"What happened:\n  >{CARRIER_ROW}"
        )

    def test_never_is_another_assertion(self) -> None:
        """`times=0` would hold without any traffic."""
        with pytest.raises(ValueError, match="times is 1 or more"):
            expect.injected(scene(), API, Wanted(), 0)

    @pytest.mark.parametrize("times", ["1", 1.0, True])
    def test_times_is_a_whole_number(self, times: Any) -> None:
        """What is none is said to be none, and not compared."""
        with pytest.raises(TypeError, match=f"times is a whole number, not {type(times).__name__}"):
            expect.injected(scene(carrier()), API, Wanted(), times)


class TestNotInjected:
    def test_holds(self) -> None:
        """There was traffic, and it got no credential, or none of those asked for."""
        one, two = plain(), carrier()
        assert expect.not_injected(scene(one), API, Wanted()) == (one,)
        assert expect.not_injected(scene(two), API, Wanted(grant="ws")) == (two,)
        assert expect.not_injected(scene(one, upgrade()), API, Wanted()) == (one,)

    def test_one_with(self) -> None:
        """One exchange with the credential is enough to fail."""
        assert text_of(lambda: expect.not_injected(scene(plain(), carrier()), API, Wanted())) == (
            "1 of 2 exchanges to api.example.com got a credential\n"
            "Expected: there is at least one exchange to api.example.com, and none gets a credential.\n"
            f"What happened:\n   {PLAIN_ROW}\n  >{CARRIER_ROW}"
        )

    def test_vacuous(self) -> None:
        """Without traffic nothing is proved."""
        assert text_of(lambda: expect.not_injected(scene(), API, Wanted())) == (
            "this proves nothing: there was no exchange to api.example.com\n"
            f"Expected: there is at least one exchange to api.example.com, and none gets a credential.\n{SILENCE}"
        )

    def test_vacuous_by_a_grant_that_no_rule_has(self) -> None:
        """It could not be given to anybody; the grant of a rule, or one that was carried, could."""
        assert text_of(lambda: expect.not_injected(scene(carrier()), API, Wanted(grant="apj"))) == (
            "this proves nothing: no rule has the grant 'apj'\n"
            "Expected: there is at least one exchange to api.example.com, and none gets a credential (grant 'apj').\n"
            "Nearest miss: did you mean 'api'? There are 'api', 'ws'.\n"
            f"What happened:\n   {CARRIER_ROW}"
        )
        past = carrier(grant="past")
        text = text_of(lambda: expect.not_injected(scene(past), API, Wanted(grant="past")))
        assert text.startswith("1 of 1 exchange to api.example.com got a credential")
        with pytest.raises(AssertionError, match="no rule has the grant 'apj'"):
            expect.upgraded(scene(upgrade()), SOCKET, Wanted(grant="apj"), False, None)
        with pytest.raises(AssertionError, match="no rule has the grant 'apj'"):
            expect.scope(scene(upgrade()), {"ws": "ws.example.com", "apj": []})
        assert expect.scope(scene(upgrade()), {"ws": "ws.example.com", "api": []})

    def test_vacuous_beside_other_traffic(self) -> None:
        """Traffic to another host proves nothing either."""
        text = text_of(lambda: expect.not_injected(scene(plain("api.exmaple.com")), API, Wanted()))
        assert text.splitlines()[2] == (
            "Nearest miss: GET https://api.exmaple.com/v1 200: no credential; but its host is api.exmaple.com."
        )


class TestUpgraded:
    def test_holds(self) -> None:
        """A 101, with or without the credential."""
        with_it, without = upgrade(), upgrade(grant=None)
        both = scene(with_it, without, upgrade(403))
        assert expect.upgraded(both, SOCKET, Wanted(), None, 2) == (with_it, without)
        assert expect.upgraded(both, SOCKET, Wanted(grant="ws"), True, 1) == (with_it,)
        assert expect.upgraded(both, SOCKET, Wanted(), False, None) == (without,)

    def test_no_upgrade(self) -> None:
        """Nothing asked for one."""
        assert text_of(lambda: expect.upgraded(scene(plain("ws.example.com")), SOCKET, Wanted(), None, None)) == (
            "there was no WebSocket upgrade to ws.example.com\n"
            "Expected: a WebSocket upgrade to ws.example.com is answered 101.\n"
            "Nearest miss: GET https://ws.example.com/v1 200: no credential; but it asked for no upgrade.\n"
            "What happened:\n   1  GET  https://ws.example.com/v1  200  no credential"
        )

    def test_refused(self) -> None:
        """It was asked for, and answered with something else."""
        assert text_of(lambda: expect.upgraded(scene(upgrade(403)), SOCKET, Wanted(), None, None)) == (
            "no WebSocket upgrade to ws.example.com was answered 101\n"
            "Expected: a WebSocket upgrade to ws.example.com is answered 101.\n"
            "Nearest miss: GET wss://ws.example.com/socket 403: Authorization by credentials[1] (ws).\n"
            f"What happened:\n  >{UPGRADE_ROW.replace('101', '403')}"
        )

    def test_without_the_credential(self) -> None:
        """It was answered 101, but the credential is missing."""
        text = text_of(lambda: expect.upgraded(scene(upgrade(grant=None)), SOCKET, Wanted(grant="ws"), True, None))
        assert text.splitlines()[:3] == [
            "no WebSocket upgrade to ws.example.com was answered 101 with a credential (grant 'ws')",
            "Expected: a WebSocket upgrade to ws.example.com is answered 101 with a credential (grant 'ws').",
            "Nearest miss: GET wss://ws.example.com/socket 101: no credential.",
        ]

    def test_with_a_credential_too_many(self) -> None:
        """It was answered 101, but with a credential."""
        assert text_of(lambda: expect.upgraded(scene(upgrade()), SOCKET, Wanted(), False, None)) == (
            "no WebSocket upgrade to ws.example.com was answered 101 without a credential\n"
            "Expected: a WebSocket upgrade to ws.example.com is answered 101 without a credential.\n"
            f"What happened:\n  >{UPGRADE_ROW}"
        )

    def test_times(self) -> None:
        """The number counts exactly."""
        once = text_of(lambda: expect.upgraded(scene(upgrade()), SOCKET, Wanted(), None, 2))
        assert once.splitlines()[:2] == [
            "1 WebSocket upgrade to ws.example.com was answered 101",
            "Expected: a WebSocket upgrade to ws.example.com is answered 101, exactly 2 times.",
        ]
        twice = text_of(lambda: expect.upgraded(scene(upgrade(), upgrade()), SOCKET, Wanted(), None, 1))
        assert twice.startswith("2 WebSocket upgrades to ws.example.com were answered 101\n")


class TestDenied:
    def test_holds(self) -> None:
        """A CONNECT or a request was refused."""
        way, request = refused(), plain("evil.example.com")
        request.denied, request.forwarded_headers = True, ()
        assert expect.denied(scene(way, plain(), request), Traffic("evil.example.com"), 2) == (way, request)
        assert expect.denied(scene(way, request), Traffic("evil.example.com", method="CONNECT"), None) == (way,)
        assert expect.denied(scene(way, request), Traffic("evil.example.com", path="/v1"), None) == (request,)

    def test_not_refused(self) -> None:
        """It failed for another reason."""
        broken = refused()
        broken.denied, broken.error = False, "reset"
        assert text_of(lambda: expect.denied(scene(broken), Traffic("evil.example.com"), None)) == (
            "policy refused no exchange to evil.example.com\n"
            "Expected: policy refuses every exchange to evil.example.com.\n"
            "Nearest miss: CONNECT evil.example.com:443 407: failed: reset.\n"
            "What happened:\n  >  CONNECT  evil.example.com:443  407  failed: reset"
        )

    def test_no_traffic(self) -> None:
        """Nothing came."""
        text = text_of(lambda: expect.denied(scene(), Traffic("evil.example.com"), None))
        assert text.startswith("policy refused no exchange to evil.example.com\n")
        assert text.endswith(SILENCE)

    def test_let_through(self) -> None:
        """A refusal does not count beside a request that went through."""
        assert text_of(lambda: expect.denied(scene(refused("api.example.com"), plain()), API, None)) == (
            "policy let 1 exchange to api.example.com through\n"
            "Expected: policy refuses every exchange to api.example.com.\n"
            "What happened:\n"
            "      CONNECT  api.example.com:443         407  denied by policy\n"
            "  >1  GET      https://api.example.com/v1  200  no credential"
        )

    def test_times(self) -> None:
        """The number counts exactly."""
        text = text_of(lambda: expect.denied(scene(refused()), Traffic("evil.example.com"), 2))
        assert text.splitlines()[:2] == [
            "policy refused 1 exchange to evil.example.com",
            "Expected: policy refuses every exchange to evil.example.com, exactly 2 times.",
        ]


class TestScope:
    @pytest.mark.parametrize("scope", [["api.example.com"], "api.example.com", {"api"}])
    def test_of_no_mapping(self, scope: Any) -> None:
        """Hosts without their grants are refused with the form that is meant."""
        with pytest.raises(
            TypeError, match=r"the hosts of each grant, as in \{'api': \['api\.example\.com'\]\}, not a"
        ):
            expect.scope(Scene(), scope)

    def test_holds(self) -> None:
        """Each grant reached its patterns and no other host; hosts without a credential do not matter."""
        one, two = carrier(), upgrade()
        records = scene(one, plain("www.example.com"), two)
        assert expect.scope(records, {"api": ["*.example.com"], "ws": "ws.example.com:443"}) == (one, two)
        assert expect.scope(scene(plain()), {"api": []}) == ()
        assert expect.scope(scene(plain()), {}) == ()

    def test_unlabelled_credentials(self) -> None:
        """A credential without a grant is looked at where the empty grant is listed."""
        bare = carrier(grant="")
        assert expect.scope(scene(bare), {}) == ()
        assert expect.scope(scene(bare), {"": ["api.example.com"]}) == (bare,)
        assert text_of(lambda: expect.scope(scene(bare), {"": []})).startswith(
            "grant '' reached api.example.com, outside its scope\n"
        )

    def test_all_problems_are_told(self) -> None:
        """Strays, grants that are not listed and patterns that were not reached, each once."""
        listed = {"api": ["api.example.com", "x.example.org"], "no": []}
        records = scene(carrier(), carrier("b.example.com"), carrier("b.example.com"), upgrade())
        assert text_of(lambda: expect.scope(records, listed)) == (
            "grant 'api' reached b.example.com, outside its scope\n"
            "grant 'ws' reached ws.example.com, and is not listed\n"
            "grant 'api' never reached x.example.org\n"
            "Expected: grant 'api' reaches api.example.com, x.example.org alone; grant 'no' reaches no host.\n"
            "Nearest miss: GET https://b.example.com/v1 200: Authorization by credentials[0] (api);"
            " but its host is b.example.com.\n"
            "What happened:\n"
            "   2  GET  https://api.example.com/v1   200  Authorization by credentials[0] (api)\n"
            "  >2  GET  https://b.example.com/v1     200  Authorization by credentials[0] (api)\n"
            "  >2  GET  https://b.example.com/v1     200  Authorization by credentials[0] (api)\n"
            "  >3  GET  wss://ws.example.com/socket  101  Authorization by credentials[1] (ws)"
        )

    def test_only_a_stray(self) -> None:
        """Without a missing host there is no miss to tell."""
        assert text_of(lambda: expect.scope(scene(carrier()), {})) == (
            "grant 'api' reached api.example.com, and is not listed\n"
            f"Expected: no grant is used.\nWhat happened:\n  >{CARRIER_ROW}"
        )

    def test_vacuous(self) -> None:
        """Without an exchange nothing is proved."""
        assert text_of(lambda: expect.scope(scene(), {"api": []})) == (
            f"this proves nothing: there was no exchange\nExpected: grant 'api' reaches no host.\n{SILENCE}"
        )


def leak(direction: str = "upstream", held: bool = False) -> Leak:
    way = "upstream" if direction == "upstream" else "client"
    return Leak(SECRET, "credentials[0]", "api", way, "body", 3, plain(), client_held=held)  # type: ignore[arg-type]


class TestNoLeaks:
    def test_holds(self) -> None:
        """There was traffic and no leak in that direction; a placeholder that the client holds is none."""
        one = plain()
        assert expect.no_leaks(scene(one), "any") == (one,)
        assert expect.no_leaks(scene(one, leaks=(leak("client"), leak(held=True))), "upstream") == (one,)
        assert expect.no_leaks(scene(one, leaks=(leak(),)), "client") == (one,)

    def test_leak(self) -> None:
        """Each leak is told, its exchange pointed at."""
        found = leak()
        assert text_of(lambda: expect.no_leaks(scene(found.exchange, leaks=(found,)), "upstream")) == (
            "1 leak sent upstream:\n"
            f"  {SECRET} of credentials[0] (api) in body of GET https://api.example.com/v1, offset 3\n"
            "What to do: the client holds the secret, so look for the variable, the file or the answer that it has it "
            "from and take it away there, or give it a placeholder; where the host is meant to get it, add a rule for "
            "it.\n"
            "Expected: no secret is sent upstream outside its scope, and there is an exchange that could do it.\n"
            f"What happened:\n  >{PLAIN_ROW}"
        )

    @pytest.mark.parametrize(
        ("direction", "first"),
        [("client", "1 leak sent to a client:"), ("any", "2 leaks:"), ("upstream", "1 leak sent upstream:")],
    )
    def test_direction(self, direction: str, first: str) -> None:
        """Only the leaks of the direction asked for count."""
        text = text_of(lambda: expect.no_leaks(scene(plain(), leaks=(leak(), leak("client"))), direction))
        assert text.splitlines()[0] == first
        assert ("What to do: the client holds the secret" in text) is (direction != "client")
        assert ("What to do: the upstream sends the secret back" in text) is (direction != "upstream")

    def test_vacuous_without_traffic(self) -> None:
        """Without an exchange nothing is proved."""
        assert text_of(lambda: expect.no_leaks(scene(), "any")) == (
            "this proves nothing: there was no exchange\n"
            "Expected: no secret is seen outside its scope, and there is an exchange that could do it.\n"
            f"{SILENCE}"
        )

    def test_vacuous_without_rules(self) -> None:
        """Without a secret to look for nothing is proved."""
        text = text_of(lambda: expect.no_leaks(scene(plain(), grants=()), "upstream"))
        assert text.startswith("this proves nothing: the proxy has no rule, so no secret to look for\n")

    def test_unknown_direction(self) -> None:
        """A typo must not pass."""
        with pytest.raises(ValueError, match="direction is upstream, client or any, not 'down'"):
            expect.no_leaks(scene(plain()), "down")


class TestNoBypass:
    def test_holds(self) -> None:
        """There was traffic through the proxy and none past it."""
        one = plain()
        assert expect.no_bypass(scene(one)) == (one,)

    def test_bypass(self) -> None:
        """Each bypass is told with its cure, also when no exchange was seen."""
        past = Bypass("api.example.com", 443, "aiohttp", "ClientSession(trust_env=True)")
        assert text_of(lambda: expect.no_bypass(scene(bypasses=(past,)))) == (
            "1 connection went past the proxy:\n"
            "  aiohttp went past the proxy to api.example.com:443; cure: ClientSession(trust_env=True)\n"
            "Expected: all connections of this process go through the proxy, and there is an exchange.\n"
            "What happened: nothing."
        )

    def test_vacuous(self) -> None:
        """Without an exchange nothing is proved."""
        assert text_of(lambda: expect.no_bypass(scene())) == (
            "this proves nothing: there was no exchange\n"
            f"Expected: all connections of this process go through the proxy, and there is an exchange.\n{SILENCE}"
        )


class TestHappened:
    def test_nothing(self) -> None:
        """A wait that ran out over a silent proxy names the likely cause."""
        assert text_of(lambda: expect.happened(scene(), 0.5)) == (
            f"what was waited for did not happen within 0.5 s\nExpected: the predicate becomes true.\n{SILENCE}"
        )

    def test_something(self) -> None:
        """Else it shows what was there."""
        assert text_of(lambda: expect.happened(scene(plain()), 5)) == (
            "what was waited for did not happen within 5 s\n"
            f"Expected: the predicate becomes true.\nWhat happened:\n   {PLAIN_ROW}"
        )


class TestNothingReachedAnUpstream:
    """Where a credential would have been sent, had the upstream been there, nothing is known of where it goes."""

    def test_not_injected(self) -> None:
        """This proves nothing; one exchange that was sent does, and so does one that had no rule."""
        assert text_of(lambda: expect.not_injected(scene(unreached(), unreached()), API, Wanted())) == (
            "this proves nothing: no exchange to api.example.com reached an upstream, so nothing was sent\n"
            "Expected: there is at least one exchange to api.example.com, and none gets a credential.\n"
            "Nearest miss: GET https://api.example.com/v1 502: no credential; failed: could not be reached.\n"
            "What happened:\n"
            "  >1  GET  https://api.example.com/v1  502  no credential; failed: could not be reached\n"
            "  >1  GET  https://api.example.com/v1  502  no credential; failed: could not be reached"
        )
        assert len(expect.not_injected(scene(unreached(), plain()), API, Wanted())) == 2
        assert len(expect.not_injected(scene(unreached("no rule for api.example.com")), API, Wanted())) == 1
        assert len(expect.not_injected(scene(denied()), API, Wanted())) == 1

    def test_scope(self) -> None:
        """That a grant went nowhere is shown by what was sent, denied, or had no rule."""
        with pytest.raises(AssertionError, match="this proves nothing: no exchange reached an upstream"):
            expect.scope(scene(unreached()), {"api": []})
        with pytest.raises(AssertionError, match=r"^grant 'api' never reached api\.example\.com"):
            expect.scope(scene(unreached()), {"api": ["api.example.com"]})
        for shown in (plain(), denied(), unreached("no rule for api.example.com")):
            expect.scope(scene(unreached(), shown), {"api": []})

    def test_no_leaks(self) -> None:
        """What was not sent was not looked at, rule or not; what policy held back was held back."""
        for reason in ("", "no rule for api.example.com"):
            with pytest.raises(AssertionError, match="this proves nothing: no exchange reached an upstream"):
                expect.no_leaks(scene(unreached(reason)), "any")
        for shown in (plain(), denied()):
            expect.no_leaks(scene(unreached(), shown), "any")

    def test_no_bypass(self) -> None:
        """Whatever became of it, the client went through the proxy."""
        assert expect.no_bypass(scene(unreached()))

    def test_one_that_was_folded(self) -> None:
        """It has no header fields any more, and it was sent, or it was not."""
        sent, unsent = carrier(), unreached()
        for number, one in enumerate((sent, unsent)):
            one.closed = "client"
            folding = Folding(whole=0)
            folding.arrived(one)
            assert (one.forwarded_headers, one.folded, one.sent) == ((), True, number == 0)
        sent.injections = ()
        sent.error = "broken in the middle of its answer"
        assert expect.not_injected(scene(sent), API, Wanted()) == (sent,)
        with pytest.raises(AssertionError, match="policy let 1 exchange"):
            expect.denied(scene(sent, refused("api.example.com")), API, None)
