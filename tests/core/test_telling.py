"""What happened, in words: compared word by word."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.model import Injection, Violation
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak, Tunnel
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.telling import (
    Scene,
    clip,
    columns,
    describe,
    failure,
    fate,
    is_telling,
    numbered,
    plain,
    sentence,
    story,
    table,
    tell_bypass,
    tell_leak,
    tell_violations,
)

SECRET = Secret("s3cret-token")
VIOLATION = Violation("inner-host", "the Host header names evil.example", "forwarded without a credential")


def exchange(id: int = 1, host: str = "api.example.com", target: str = "/v1", grant: str | None = None) -> Exchange:
    made = Exchange(id, "GET", "https", host, 443, target)
    made.status = 200
    if grant is not None:
        made.injections = (Injection("Authorization", grant, "credentials[0]", SECRET, SECRET),)
    return made


def tunnel(error: str | None = None, denied: bool = False) -> Tunnel:
    made = Tunnel(1, "other.example.com", 443)
    made.status = 407 if denied else 200
    made.error = error
    made.denied = denied
    return made


class TestText:
    def test_plain_escapes_what_a_terminal_would_obey(self) -> None:
        """Control characters are escaped, white space becomes one space, other text stays."""
        assert plain("a\x1b[31m\x9b\n  b é") == "a\\x1b[31m\\x9b b é"
        assert plain("a b") == "a b"

    def test_clip(self) -> None:
        """The middle is left out, both ends stay, the width is kept."""
        assert clip("abcdefghij", 10) == "abcdefghij"
        assert clip("abcdefghijk", 10) == "abcde…hijk"
        assert clip("abcdefghijk", 9) == "abcd…hijk"

    def test_columns(self) -> None:
        """Cells are aligned, and no line ends with white space."""
        assert columns([("a", "bb", "c"), ("aaa", "b", "")]) == ["a    bb  c", "aaa  b"]
        assert columns([]) == []

    def test_numbered(self) -> None:
        """The noun agrees with its number."""
        assert [numbered(count, "leak") for count in (0, 1, 2)] == ["0 leaks", "1 leak", "2 leaks"]

    def test_sentence(self) -> None:
        """A sentence ends with one full stop."""
        assert sentence("so") == sentence("so.") == "so."


class TestFate:
    def test_injected(self) -> None:
        """What was injected by which rule; a grant in brackets, where there is one."""
        assert fate(exchange(grant="api")) == "Authorization by credentials[0] (api)"
        assert fate(exchange(grant="")) == "Authorization by credentials[0]"

    def test_two_injected(self) -> None:
        """Several credentials are all named."""
        both = exchange(grant="api")
        both.injections += (Injection("X-Key", "", "added[0]", SECRET, SECRET),)
        assert fate(both) == "Authorization by credentials[0] (api), X-Key by added[0]"

    def test_reason(self) -> None:
        """Why nothing was injected, where that is known."""
        assert fate(exchange()) == "no credential"
        plain_one = exchange()
        plain_one.reason = "no rule for api.example.com"
        assert fate(plain_one) == "no credential: no rule for api.example.com"

    def test_denied(self) -> None:
        """A refusal by policy, with the pattern that would allow it, as for a CONNECT; the port counts."""
        refused = exchange()
        refused.denied = True
        assert fate(refused) == "denied by policy"
        refused.deny_reason = "Host not in allow list: api.example.com"
        assert fate(refused).startswith("denied by policy: api.example.com is not allowed by the network policy: add")
        refused.port = 8080
        assert 'api.example.com on port 8080 is not allowed by the network policy: add "api.example.com:8080"' in fate(
            refused
        )

    def test_troubles_follow(self) -> None:
        """Errors, an upstream that was not verified, cleartext and violations follow; they stay on one line."""
        troubled = exchange(grant="api")
        troubled.upstream = "10.0.0.5:80"
        troubled.upstream_verified = False
        troubled.cleartext = True
        troubled.error = "upstream reset\nthe connection"
        troubled.violations = (VIOLATION,)
        assert fate(troubled) == (
            "Authorization by credentials[0] (api); upstream not verified; in cleartext to 10.0.0.5:80;"
            " failed: upstream reset the connection; violation inner-host: forwarded without a credential"
        )

    def test_tunnel(self) -> None:
        """A tunnel failed, was denied, carried something or nothing."""
        assert fate(tunnel()) == (
            "no request came through it yet, and TLS has not begun or not finished: if the client has failed already,"
            " it probably does not trust the proxy's CA"
        )
        secured = tunnel()
        secured.tls_version = "TLSv1.3"
        assert fate(secured) == "no request came through it yet"
        assert fate(tunnel("client does not trust the CA")) == "failed: client does not trust the CA"
        assert fate(tunnel(denied=True)) == "denied by policy"
        closed = tunnel()
        closed.closed = "client"
        assert fate(closed) == "no request came through it"
        closed.exchanges = [exchange()]
        assert fate(closed) == "carried 1 exchange"


class TestDescribe:
    def test_exchange(self) -> None:
        """Method, URL, status, fate."""
        assert describe(exchange(grant="api")) == (
            "GET https://api.example.com/v1 200: Authorization by credentials[0] (api)"
        )

    def test_without_answer(self) -> None:
        """No status: it is pending, or ended without an answer."""
        waiting = exchange()
        waiting.status = None
        assert describe(waiting) == "GET https://api.example.com/v1 pending: no credential"
        waiting.closed = "client"
        assert describe(waiting) == "GET https://api.example.com/v1 no answer: no credential"

    def test_tunnel(self) -> None:
        """A CONNECT shows host and port; one that could not be read says so."""
        assert describe(tunnel("broken")) == "CONNECT other.example.com:443 200: failed: broken"
        unreadable = Tunnel(1, "", 0)
        unreadable.status = 400
        assert describe(unreadable) == "CONNECT (unreadable) 400: no request came through it yet"  # and no TLS

    def test_blanked_before_it_is_cut(self) -> None:
        """A value to hide is hidden also where the URL is cut in its midst."""
        value = "x" * 100
        text = describe(exchange(target=f"/{value}"), lambda text: text.replace(value, "<hidden>"))
        assert text == "GET https://api.example.com/<hidden> 200: no credential"
        assert "xx" in describe(exchange(target=f"/{value}"))


class TestTable:
    def test_aligned(self) -> None:
        """Rows in order; a tunnel whose exchange tells its story is left out, a failed one is not."""
        carried = tunnel()
        carried.exchanges = [exchange()]
        upgrade = Exchange(2, "GET", "wss", "ws.example.com", 443, "/socket")
        upgrade.status = 101
        assert table([carried, exchange(1, grant="api"), upgrade, tunnel("broken")]) == [
            " 1  GET      https://api.example.com/v1   200  Authorization by credentials[0] (api)",
            " 2  GET      wss://ws.example.com/socket  101  no credential",
            "    CONNECT  other.example.com:443        200  failed: broken",
        ]

    def test_nothing(self) -> None:
        """No rows, no lines."""
        assert table([]) == []

    def test_bounded(self) -> None:
        """No more than the limit is shown, and the rest is counted."""
        lines = table([exchange(id) for id in range(1, 41)], limit=3)
        assert lines == [
            *(f" {id}  GET  https://api.example.com/v1  200  no credential" for id in (1, 2, 3)),
            " … and 37 more",
        ]

    def test_marked_first(self) -> None:
        """Marked records are pointed at, and are shown in any case."""
        records = [exchange(id) for id in range(1, 10)]
        assert table(records, limit=2, marked=records[8:]) == [
            " 1  GET  https://api.example.com/v1  200  no credential",
            ">9  GET  https://api.example.com/v1  200  no credential",
            " … and 7 more",
        ]

    @pytest.mark.parametrize("trouble", ["error", "denied", "violations"])
    def test_troubled_tunnel_is_telling(self, trouble: str) -> None:
        """A tunnel that carried an exchange is shown only for what the exchange does not tell."""
        carried = tunnel()
        carried.exchanges = [exchange()]
        assert not is_telling(carried)
        setattr(carried, trouble, {"error": "reset", "denied": True, "violations": (VIOLATION,)}[trouble])
        assert is_telling(carried)


class TestFindings:
    def test_leak(self) -> None:
        """A leak names the secret's fingerprint, its rule and the place."""
        leak = Leak(SECRET, "credentials[0]", "api", "upstream", "header X-Token", 7, exchange())
        assert tell_leak(leak) == (
            f"{SECRET} of credentials[0] (api) in header X-Token of GET https://api.example.com/v1, offset 7"
        )

    def test_leak_to_a_client(self) -> None:
        """An echo is told from what was sent; counts and the holder are named."""
        leak = Leak(SECRET, "added[0]", "", "client", "body", 0, exchange(), "", client_held=True, count=3)
        assert tell_leak(leak) == (
            f"{SECRET} of added[0] in body of the answer to GET https://api.example.com/v1, offset 0, 3 times;"
            " the client itself holds the secret"
        )

    def test_bypass(self) -> None:
        """A bypass names client and cure, where they are known."""
        assert tell_bypass(Bypass("api.example.com", 443)) == "a client went past the proxy to api.example.com:443"
        assert tell_bypass(Bypass("::1", 443, "aiohttp", "ClientSession(trust_env=True)")) == (
            "aiohttp went past the proxy to [::1]:443; cure: ClientSession(trust_env=True)"
        )

    def test_violations(self) -> None:
        """A line for each violation, with what was done about it and where it was."""
        bad = exchange()
        bad.violations = (VIOLATION,)
        assert tell_violations(bad) == [
            "inner-host: the Host header names evil.example; forwarded without a credential"
            " (GET https://api.example.com/v1)"
        ]
        assert tell_violations(tunnel()) == []


class TestScene:
    def test_kinds(self) -> None:
        """Exchanges and tunnels are told apart, in order."""
        one, two, way = exchange(1), exchange(2), tunnel()
        scene = Scene((one, way, two))
        assert scene.exchanges == [one, two]
        assert scene.tunnels == [way]


class TestStory:
    def test_all_parts(self) -> None:
        """Records, leaks, bypasses and late connections, each blanked and bounded; echoes are no leaks."""
        one = exchange(target="/hunter2")
        leaks = tuple(Leak(SECRET, "hunter2", "", "upstream", "body", at, one) for at in (0, 1))
        leaks = (Leak(SECRET, "echo", "", "client", "body", 0, one), *leaks)
        bypasses = (Bypass("x.org", 443, "hunter2"), Bypass("y.org", 443))
        scene = Scene((exchange(2), one), (), leaks, bypasses, 1, lambda text: text.replace("hunter2", "***"))
        assert story(scene, 1) == (
            " … 1 before\n"
            " 1  GET  https://api.example.com/***  200  no credential\n"
            f" leak: {SECRET} of *** in body of GET https://api.example.com/***, offset 0\n"
            " bypass: *** went past the proxy to x.org:443\n"
            " 1 connection came while no test held the proxy"
        )

    def test_nothing(self) -> None:
        """Nothing happened, nothing is told."""
        assert story(Scene(), 9) == ""


class TestFailure:
    def test_all_parts(self) -> None:
        """Problem, expectation, nearest miss, and the table."""
        one = exchange()
        assert failure("it failed", "it works", "almost.", Scene((one,)), [one]) == (
            "it failed\n"
            "Expected: it works.\n"
            "Nearest miss: almost.\n"
            "What happened:\n"
            "  >1  GET  https://api.example.com/v1  200  no credential"
        )

    def test_nothing_happened(self) -> None:
        """No miss, no table."""
        assert (
            failure("it failed", "it works", "", Scene()) == "it failed\nExpected: it works.\nWhat happened: nothing."
        )

    def test_blanked(self) -> None:
        """What is to be hidden is hidden in every part."""
        one = exchange(target="/hunter2")
        one.reason = "hunter2"
        scene = Scene((one,), blank=lambda text: text.replace("hunter2", "***"))
        text = failure("hunter2", "hunter2", "hunter2", scene)
        assert text.count("***") == 5
        assert "hunter2" not in text
