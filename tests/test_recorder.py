"""The recorder: what it remembers, what it finds, how it waits, and that it shows no secret."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from pytest_gatekeeper._core.model import Injection, Rule, Violation
from pytest_gatekeeper._core.records import Bypass, Exchange, Late, Leak, LogLine, Tunnel
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper.recorder import Recorder

VALUE = "s3cret-token-value"
RULE = Rule("credentials[0]", "*.example.com", "Authorization", "api", Secret(VALUE), Secret(f"Bearer {VALUE}"))
OTHER = Rule("credentials[1]", "other.example.net", "X-Key", "other", Secret("an0ther-value"), Secret("an0ther-value"))


def exchange(id: int = 1, host: str = "api.example.com", target: str = "/v1", upgrade: bool = False) -> Exchange:
    made = Exchange(id, "GET", "wss" if upgrade else "https", host, 443, target)
    made.status = 101 if upgrade else 200
    made.is_upgrade = made.upgraded = upgrade
    made.forwarded_headers = (("Host", host),)
    return made


def carrier(id: int = 1, host: str = "api.example.com", upgrade: bool = False) -> Exchange:
    made = exchange(id, host, upgrade=upgrade)
    made.injections = (Injection(RULE.header, RULE.grant, RULE.id, RULE.secret, RULE.header_value),)
    return made


def recorder(*records: Exchange | Tunnel | Leak | Bypass | Late | LogLine) -> Recorder:
    made = Recorder([RULE, OTHER])
    for record in records:
        made.accept(record)
    return made


class TestAccept:
    def test_order_of_arrival(self) -> None:
        """Records are kept in order of arrival; a second notice of one changes nothing."""
        one, way, two = exchange(1), Tunnel(1, "api.example.com", 443), exchange(2, upgrade=True)
        seen = recorder(one, way, two, one, way)
        assert seen.records == (one, way, two)
        assert seen.exchanges == (one, two)
        assert seen.tunnels == (way,)
        assert seen.requests == (one,)
        assert seen.upgrades == (two,)
        assert repr(seen) == "<Recorder 2 exchanges, 1 tunnel>"

    def test_equal_looking_exchanges_are_two(self) -> None:
        """Identity counts, not looks."""
        assert len(recorder(exchange(1), exchange(1)).exchanges) == 2

    def test_findings(self) -> None:
        """Denied, violations, cleartext, bypasses and late connections each have their place."""
        denied, way, clear = exchange(1), Tunnel(1, "x", 1), carrier(2)
        denied.denied = way.denied = clear.cleartext = True
        one, two = Violation("trace", "TRACE", "refused"), Violation("sni", "SNI", "ignored")
        denied.violations, way.violations = (one,), (two,)
        bypass, late = Bypass("x", 443), Late("127.0.0.1:1")
        seen = recorder(way, denied, clear, bypass, bypass, late)
        assert seen.denied == (way, denied)
        assert seen.violations == (two, one)
        assert seen.cleartext == (clear,)
        assert seen.bypasses == (bypass,)
        assert seen.late == (late,)

    def test_clean(self) -> None:
        """Without findings those places are empty."""
        seen = recorder(exchange(), Tunnel(1, "x", 1))
        places = (seen.denied, seen.violations, seen.cleartext, seen.leaks, seen.bypasses, seen.late)
        assert not any(places)

    def test_leak_is_counted_in_place(self) -> None:
        """A later leak of the same secret at the same place takes the place of the earlier; another is another."""
        one = exchange()
        first, more, other = (
            Leak(RULE.secret, RULE.id, RULE.grant, "upstream", place, 0, one, count=count)
            for place, count in (("body", 1), ("body", 2), ("target", 1))
        )
        assert recorder(first, other, more).leaks == (more, other)

    def test_log_lines_are_not_kept(self) -> None:
        """Log lines go to logging, not here, and wake nobody."""
        seen = recorder(LogLine("INFO", "request", ()))
        assert seen.records == ()
        assert seen._changes == 0

    def test_rules(self) -> None:
        """A refreshed rule takes the place of the old one; one that is gone is remembered."""
        seen = Recorder([RULE])
        fresh = Rule(RULE.id, RULE.pattern, RULE.header, RULE.grant, Secret("new"), Secret("Bearer new"))
        added = Rule("added[0]", "x.org", "X-Key", "", Secret("k"), Secret("k"))
        seen.set_rules([fresh])
        seen.add_rule(added)
        seen.set_rules([added])
        assert seen.rules == (fresh, added)
        assert seen.rules[0].secret == "new"


class TestFilter:
    one = exchange(1, target="/v1/a")
    two = carrier(2)
    three = carrier(3, "ws.example.com", upgrade=True)

    @pytest.mark.parametrize(
        ("query", "ids"),
        [
            ({}, [1, 2, 3]),
            ({"host": "*.example.com"}, [1, 2, 3]),
            ({"host": "ws.example.com:443"}, [3]),
            ({"method": "post"}, []),
            ({"path": "/v1/*"}, [1]),
            ({"grant": "api"}, [2, 3]),
            ({"grant": "other"}, []),
            ({"header": "authorization"}, [2, 3]),
            ({"value": VALUE}, [2, 3]),
            ({"header_value": f"Bearer {VALUE}"}, [2, 3]),
            ({"injected": True}, [2, 3]),
            ({"injected": False}, [1]),
            ({"injected": False, "grant": "other"}, [1, 2, 3]),
            ({"upgrade": True}, [3]),
            ({"upgraded": False}, [1, 2]),
            ({"status": 101}, [3]),
            ({"status": range(200, 300), "injected": True}, [2]),
        ],
    )
    def test_filter(self, query: dict[str, object], ids: list[int]) -> None:
        """Every criterion narrows the answer."""
        seen = recorder(self.one, self.two, self.three)
        assert [found.id for found in seen.filter(**query)] == ids  # type: ignore[arg-type]


class TestAssertions:
    @pytest.mark.parametrize(
        "call",
        [
            lambda seen: seen.assert_injected("api.example.com", grant="api", value=VALUE, header="authorization"),
            lambda seen: seen.assert_injected("*.example.com", header_value=f"Bearer {VALUE}", times=2),
            lambda seen: seen.assert_injected("ws.example.com", upgrade=True, method="GET", path="/v1"),
            lambda seen: seen.assert_not_injected("example.org"),
            lambda seen: seen.assert_not_injected(grant="other"),
            lambda seen: seen.assert_not_injected("*.example.com", header="X-Key", method="GET", path="/*"),
            lambda seen: seen.assert_not_injected("*.example.com", value="another", upgrade=True),
            lambda seen: seen.assert_upgraded("ws.example.com", path="/v1", times=1),
            lambda seen: seen.assert_upgraded("ws.example.com", grant="api"),
            lambda seen: seen.assert_upgraded("ws.example.com", grant="other", injected=False),
            lambda seen: seen.assert_scope({"api": ["ws.example.com", "api.example.com"]}),
            lambda seen: seen.assert_denied("evil.com", times=1),
            lambda seen: seen.assert_no_leaks(),
            lambda seen: seen.assert_no_leaks(direction="any"),
            lambda seen: seen.assert_no_bypass(),
        ],
    )
    def test_holds(self, call: Callable[[Recorder], tuple[object, ...]]) -> None:
        """What holds returns what matched."""
        way = Tunnel(1, "evil.com", 443)
        way.denied = True
        seen = recorder(carrier(1), carrier(2, "ws.example.com", upgrade=True), exchange(3, "example.org"), way)
        assert set(call(seen)) <= set(seen.records)
        assert call(seen)

    @pytest.mark.parametrize(
        "call",
        [
            lambda seen: seen.assert_injected("example.org"),
            lambda seen: seen.assert_injected("nowhere.org"),
            lambda seen: seen.assert_injected("api.example.com", grant="other"),
            lambda seen: seen.assert_injected("api.example.com", times=2),
            lambda seen: seen.assert_not_injected("api.example.com"),
            lambda seen: seen.assert_not_injected("nowhere.org"),
            lambda seen: seen.assert_upgraded("api.example.com"),
            lambda seen: seen.assert_upgraded("ws.example.com", grant="other"),
            lambda seen: seen.assert_upgraded("ws.example.com", injected=False),
            lambda seen: seen.assert_scope({"api": ["ws.example.com"]}),
            lambda seen: seen.assert_denied("api.example.com"),
            lambda seen: seen.assert_no_leaks("client"),
            lambda seen: seen.assert_no_bypass(),
        ],
    )
    def test_does_not_hold(self, call: Callable[[Recorder], object]) -> None:
        """What does not hold is told with the table of what happened."""
        one = carrier(1)
        leak = Leak(RULE.secret, RULE.id, RULE.grant, "client", "body", 0, one)
        upgrade = carrier(2, "ws.example.com", upgrade=True)
        seen = recorder(one, upgrade, exchange(3, "example.org"), leak, Bypass("x.org", 443))
        with pytest.raises(AssertionError, match=r"\nExpected: .*\n(?s:.*)What happened:\n.*api\.example\.com"):
            call(seen)

    @pytest.mark.parametrize(
        "call",
        [
            lambda seen: seen.assert_not_injected("api.example.com"),
            lambda seen: seen.assert_not_injected(),
            lambda seen: seen.assert_scope({}),
            lambda seen: seen.assert_no_leaks(),
            lambda seen: seen.assert_no_bypass(),
        ],
    )
    def test_nothing_proves_nothing(self, call: Callable[[Recorder], object]) -> None:
        """No assertion that something did not happen holds when nothing happened at all."""
        with pytest.raises(AssertionError, match=r"^this proves nothing: .*\n(?s:.*)does the client read HTTPS_PROXY"):
            call(recorder())


class TestSecrets:
    def test_values_are_in_no_text(self) -> None:
        """Neither a rule's value nor the one compared with is shown, however it came into a record."""
        mine = "my-own-expected-value"
        one = carrier(1)
        one.target = f"/v1?a={mine}&b={VALUE}&c={'x' * 40}"
        one.error = f"upstream said {mine}"
        seen = recorder(one)
        calls: list[tuple[str, Callable[[], object]]] = [
            (mine, lambda: seen.assert_injected("api.example.com", value=mine)),
            (mine, lambda: seen.assert_injected("api.example.com", header_value=f"Bearer {mine}")),
            (VALUE, lambda: seen.assert_injected("api.example.com", path=f"/{VALUE}")),
            (VALUE, lambda: seen.assert_not_injected("api.example.com", value=VALUE)),
        ]
        for given, call in calls:
            with pytest.raises(AssertionError) as caught:
                call()
            assert VALUE not in str(caught.value)
            assert given not in str(caught.value)
            assert "<secret " in str(caught.value)

    def test_mismatch_shows_fingerprints(self) -> None:
        """Both values of a mismatch are told apart by their fingerprints."""
        with pytest.raises(AssertionError) as caught:
            recorder(carrier()).assert_injected("api.example.com", value="wrong-value")
        assert f"its value is {Secret(VALUE)}, not {Secret('wrong-value')}." in str(caught.value)

    def test_earlier_values_stay_hidden(self) -> None:
        """The value of a rule that was refreshed is hidden, too."""
        seen = recorder(exchange(target=f"/{VALUE}"))
        seen.set_rules([Rule(RULE.id, RULE.pattern, RULE.header, RULE.grant, Secret("new"), Secret("Bearer new"))])
        assert VALUE not in seen.describe()
        assert repr(Secret(VALUE)) in seen.describe()


class TestDescribe:
    def test_lines(self) -> None:
        """A line for each exchange, failed tunnel, leak and bypass."""
        one, way = carrier(), Tunnel(1, "x.org", 443)
        way.status, way.error = 200, "reset"
        leak = Leak(RULE.secret, RULE.id, RULE.grant, "upstream", "body", 0, one)
        assert recorder(one, way, leak, Bypass("x.org", 443), Late("c"), Late("d")).describe() == (
            " 1  GET      https://api.example.com/v1  200  Authorization by credentials[0] (api)\n"
            "    CONNECT  x.org:443                   200  failed: reset\n"
            f" leak: {RULE.secret} of credentials[0] (api) in body of GET https://api.example.com/v1, offset 0\n"
            " bypass: a client went past the proxy to x.org:443\n"
            " 2 connections came while no test held the proxy"
        )

    def test_bounded(self) -> None:
        """No more lines than asked for, the latest ones, and the rest counted."""
        lines = recorder(*(exchange(id) for id in range(9))).describe(limit=2).splitlines()
        assert len(lines) == 3
        assert lines[0] == " … 7 before"
        assert lines[1].startswith(" 7  GET")

    def test_nothing(self) -> None:
        """Nothing happened, nothing is told."""
        assert recorder().describe() == ""


class TestWaitFor:
    def test_true_at_once(self) -> None:
        """What is there already is returned without waiting."""
        one = exchange()
        assert recorder(one).wait_for(lambda seen: seen.exchanges, timeout=0) == (one,)

    def test_another_thread(self) -> None:
        """An exchange that another thread brings ends the wait."""
        seen = recorder()
        waiting = threading.Event()

        def predicate(seen: Recorder) -> tuple[Exchange, ...]:
            found = seen.filter("late.example.com")
            waiting.set()
            return found

        def bring() -> None:
            waiting.wait(10)
            seen.accept(exchange(host="late.example.com"))

        thread = threading.Thread(target=bring)
        thread.start()
        assert [found.host for found in seen.wait_for(predicate, timeout=10)] == ["late.example.com"]
        thread.join()

    def test_a_change_wakes(self) -> None:
        """A second notice of an exchange that is known wakes the wait: its end can be waited for."""
        one = exchange()
        seen = recorder(one)
        waiting = threading.Event()

        def end() -> None:
            waiting.wait(10)
            one.closed = "client"
            seen.accept(one)

        def closed(seen: Recorder) -> str | None:
            state = seen.exchanges[0].closed
            waiting.set()
            return state

        thread = threading.Thread(target=end)
        thread.start()
        assert seen.wait_for(closed, timeout=10) == "client"
        thread.join()

    def test_change_during_the_predicate_is_not_lost(self) -> None:
        """What arrives between the look and the wait is seen without another notice."""
        seen = recorder()

        def predicate(seen: Recorder) -> bool:
            before = bool(seen.exchanges)
            if not before:
                seen.accept(exchange())
            return before

        assert seen.wait_for(predicate, timeout=10)

    def test_the_proxy_goes_on_while_a_predicate_runs(self) -> None:
        """A slow predicate does not hold up the proxy's thread."""
        seen = recorder()

        def predicate(seen: Recorder) -> bool:
            thread = threading.Thread(target=seen.accept, args=(exchange(),))
            thread.start()
            thread.join(10)
            return not thread.is_alive()

        assert seen.wait_for(predicate, timeout=0)

    def test_time_runs_out(self) -> None:
        """After the timeout it tells what was there."""
        with pytest.raises(AssertionError) as caught:
            recorder(carrier()).wait_for(lambda seen: len(seen.exchanges) > 1, timeout=0.01)
        assert str(caught.value) == (
            "what was waited for did not happen within 0.01 s\n"
            "Expected: the predicate becomes true.\n"
            "What happened:\n"
            "   1  GET  https://api.example.com/v1  200  Authorization by credentials[0] (api)"
        )

    def test_time_runs_out_where_a_test_has_stopped_the_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As freezegun does with all that `time` has: waits end all the same, and what comes meanwhile counts."""
        monkeypatch.setattr("pytest_gatekeeper.recorder.time", SimpleNamespace(monotonic=lambda: 1893456000.0))
        monkeypatch.setattr("pytest_gatekeeper.recorder._PATIENCE", 0.01)
        seen = recorder(opened())
        with pytest.raises(AssertionError, match="did not happen within"):
            seen.wait_for(lambda seen: seen.exchanges, timeout=0.01)
        with pytest.raises(AssertionError, match="nothing was injected"):
            seen.assert_injected("api.example.com")
        later = threading.Timer(0.01, seen.accept, [exchange()])
        later.start()
        assert seen.wait_for(lambda seen: seen.exchanges, timeout=60)
        later.join()

    def test_errors_of_the_predicate_pass(self) -> None:
        """A mistake in the predicate is shown as it is."""
        with pytest.raises(IndexError):
            recorder().wait_for(lambda seen: seen.exchanges[0])


class TestThreads:
    def test_many_feed_one_waits(self) -> None:
        """Records of many threads are all there, each once, each thread's in order; what was accepted can be seen."""
        seen = recorder()
        threads, each = 16, 250
        missed: list[Exchange] = []

        def feed(number: int) -> None:
            for count in range(each):
                one = exchange(count, f"{number}.example.com")
                seen.accept(one)
                seen.accept(one)
                if one not in seen.exchanges:
                    missed.append(one)

        workers = [threading.Thread(target=feed, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        seen.wait_for(lambda seen: len(seen.exchanges) == threads * each, timeout=60)
        for worker in workers:
            worker.join()
        assert missed == []
        for number in range(threads):
            ids = [found.id for found in seen.exchanges if found.host == f"{number}.example.com"]
            assert ids == list(range(each))

    def test_read_while_fed(self) -> None:
        """Queries and texts can be made while records arrive."""
        seen = recorder()
        stop = threading.Event()

        def feed() -> None:
            for id in range(5000):
                seen.accept(carrier(id))
                if stop.is_set():
                    break

        worker = threading.Thread(target=feed)
        worker.start()
        seen.wait_for(lambda seen: seen.exchanges, timeout=10)
        for _ in range(20):
            assert seen.assert_injected("*.example.com")
            assert seen.describe(limit=3)
            assert seen.denied == ()
        stop.set()
        worker.join()


# ------------------------------------------------------------------ tunnels that are about to end


def opened(host: str = "api.example.com") -> Tunnel:
    made = Tunnel(1, host, 443)
    made.status = 200
    return made


def test_a_failure_waits_for_an_open_tunnel_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may see its handshake fail before the proxy does: the text has what the tunnel ended by."""
    monkeypatch.setattr("pytest_gatekeeper.recorder._PATIENCE", 60.0)
    way = opened()
    seen = recorder(way)

    def end() -> None:
        way.error, way.closed = "the client does not trust the proxy's CA", "error"
        seen.accept(way)

    soon = threading.Timer(0.2, end)  # without a wait the text would be there first
    soon.start()
    with pytest.raises(AssertionError, match="failed: the client does not trust the proxy's CA"):
        seen.assert_injected("api.example.com")
    soon.join()


def test_what_came_meanwhile_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that comes through the tunnel ends the wait, and is what is judged."""
    monkeypatch.setattr("pytest_gatekeeper.recorder._PATIENCE", 60.0)
    way, late = opened(), carrier()
    seen = recorder(way)

    def arrive() -> None:
        way.exchanges.append(late)
        seen.accept(late)

    soon = threading.Timer(0.2, arrive)
    soon.start()
    assert seen.assert_injected("api.example.com") == (late,)
    soon.join()


def test_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel that stays as it is holds a failure up for a moment, and says what it may mean."""
    monkeypatch.setattr("pytest_gatekeeper.recorder._PATIENCE", 0.05)
    with pytest.raises(AssertionError, match="probably does not trust the proxy's CA"):
        recorder(opened()).assert_injected("api.example.com")


@pytest.mark.parametrize("ended", ["denied", "error", "closed", "used"])
def test_nothing_else_is_waited_for(monkeypatch: pytest.MonkeyPatch, ended: str) -> None:
    """A tunnel that has ended or carried something is no reason, and neither is an assertion that holds."""
    monkeypatch.setattr(Recorder, "settle", lambda _: pytest.fail("it waits"))
    recorder(opened(), carrier()).assert_injected("api.example.com")
    way = opened()
    way.denied, way.error = ended == "denied", "broken" if ended == "error" else None
    way.closed = "client" if ended == "closed" else None
    way.exchanges = [exchange()] if ended == "used" else []
    with pytest.raises(AssertionError, match="nothing was injected"):
        recorder(way).assert_injected("api.example.com")
