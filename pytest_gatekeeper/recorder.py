"""What happened: the recorder of one test, its queries and its assertions.

The proxy's thread hands records to `Recorder.accept`; tests read them from any thread. A recorder only remembers: it
knows no network and no pytest. What is looked for is worded in `_core.query`, judged in `_core.expect`, told in
`_core.telling`; the assertions themselves are in `_core.assertions`. Memory grows with the number of exchanges, of
which all but the latest are kept without header fields.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TypeVar

from pytest_gatekeeper._core import expect
from pytest_gatekeeper._core.assertions import Assertions
from pytest_gatekeeper._core.folding import Folding
from pytest_gatekeeper._core.model import Rule, Violation
from pytest_gatekeeper._core.query import Status, Traffic, Value, Wanted
from pytest_gatekeeper._core.records import Bypass, Exchange, Late, Leak, LogLine, Record, Tunnel
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.secret import Secret, frameless
from pytest_gatekeeper._core.telling import Scene, Traced, numbered, story

__all__ = ["Recorder"]

T = TypeVar("T")

_PATIENCE = 1.0  # seconds that a failed assertion waits for tunnels that are about to end


class Recorder(Assertions):
    """What a proxy saw during one test.

    A client that has the head of a response can already find its exchange here, with injections and status; so no test
    needs to sleep. Exchanges and tunnels are live: what is still going on changes them.

    Args:
        rules: in force from the start.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._changed = threading.Condition()
        self._changes = 0
        self._arrived: dict[Traced, None] = {}
        self._exchanges: dict[Exchange, None] = {}
        self._leaks: dict[tuple[Exchange, str, str, Secret], Leak] = {}
        self._bypasses: dict[Bypass, None] = {}
        self._late: list[Late] = []
        self._rules: dict[tuple[str, str, str, str], Rule] = {}
        self._secrets: dict[Secret, None] = {}
        self._folding = Folding()
        self.set_rules(rules)

    def __repr__(self) -> str:
        return f"<Recorder {numbered(len(self._exchanges), 'exchange')}, {numbered(len(self.tunnels), 'tunnel')}>"

    def accept(self, record: Record) -> None:
        """Remember a record, or that one changed. Quick; for any thread."""
        if isinstance(record, LogLine):
            return
        with self._changed:
            if isinstance(record, Late):
                self._late.append(record)
            elif isinstance(record, Bypass):
                self._bypasses[record] = None
            elif isinstance(record, Leak):
                self._leaks[record.exchange, record.direction, record.place, record.secret] = record
            else:
                self._arrived[record] = None
                if isinstance(record, Exchange) and record not in self._exchanges:
                    self._exchanges[record] = None
                    self._folding.arrived(record)
            self._changes += 1
            self._changed.notify_all()

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """These rules are in force from now on. Earlier ones are remembered, since what they did stays true."""
        for rule in rules:
            self.add_rule(rule)

    def add_rule(self, rule: Rule) -> None:
        """One more rule is in force; it takes the place of one with the same id, pattern, header and grant."""
        with self._changed:
            self._rules[rule.id, rule.pattern, rule.header, rule.grant] = rule
            self._secrets.update({rule.secret: None, rule.header_value: None})

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that were in force."""
        with self._changed:
            return tuple(self._rules.values())

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The values of all rules, of now and earlier, each once: what no text may show."""
        with self._changed:
            return tuple(self._secrets)

    @property
    def records(self) -> tuple[Exchange | Tunnel, ...]:
        """Exchanges and tunnels in order of arrival."""
        with self._changed:
            return tuple(self._arrived)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All requests with their answers, in order of arrival."""
        with self._changed:
            return tuple(self._exchanges)

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """The exchanges that asked for no upgrade."""
        return tuple(exchange for exchange in self.exchanges if not exchange.is_upgrade)

    @property
    def upgrades(self) -> tuple[Exchange, ...]:
        """The exchanges that asked for an upgrade, whatever the answer was."""
        return tuple(exchange for exchange in self.exchanges if exchange.is_upgrade)

    @property
    def tunnels(self) -> tuple[Tunnel, ...]:
        """All CONNECTs."""
        return tuple(record for record in self.records if isinstance(record, Tunnel))

    @property
    def denied(self) -> tuple[Exchange | Tunnel, ...]:
        """The exchanges and the tunnels that policy refused."""
        return tuple(record for record in self.records if record.denied)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What exchanges and tunnels tried that they must not."""
        return tuple(violation for record in self.records for violation in record.violations)

    @property
    def cleartext(self) -> tuple[Exchange, ...]:
        """The exchanges whose credential went to an upstream that is neither TLS nor loopback."""
        return tuple(exchange for exchange in self.exchanges if exchange.cleartext)

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """Secrets that were seen where they do not belong."""
        with self._changed:
            return tuple(self._leaks.values())

    @property
    def bypasses(self) -> tuple[Bypass, ...]:
        """Connections of this process past the proxy, equal ones once."""
        with self._changed:
            return tuple(self._bypasses)

    @property
    def late(self) -> tuple[Late, ...]:
        """Connections that came while no test held the proxy."""
        with self._changed:
            return tuple(self._late)

    def describe(self, limit: int = 50) -> str:
        """What happened, a line for each exchange, and for each tunnel, leak and bypass that tells more; no secrets."""
        return story(self._scene(), limit)

    @frameless
    def filter(
        self,
        host: str | None = None,
        *,
        method: str | None = None,
        path: str | None = None,
        grant: str | None = None,
        header: str | None = None,
        value: Value | None = None,
        header_value: Value | None = None,
        injected: bool | None = None,
        upgrade: bool | None = None,
        upgraded: bool | None = None,
        status: Status | None = None,
    ) -> tuple[Exchange, ...]:
        """The exchanges that fit all that is given.

        Args:
            host: a name or `*.suffix`, either with `:port`.
            method: ignoring case.
            path: the path without its query, or a glob such as `/v1/*`.
            grant: label of a credential that was injected.
            header: name of a header that a credential was injected in.
            value: what the source of an injected credential gave.
            header_value: the whole value of a header that was injected.
            injected: False for the exchanges without a credential (or without such a one, where one is described).
            upgrade: whether another protocol was asked for.
            upgraded: whether the answer was 101.
            status: a status code, or several: `range(400, 500)`.

        Raises:
            TypeError: an argument of another type.
            ValueError: a host that could never match, such as a URL.
        """
        traffic = Traffic(host, method=method, path=path, upgrade=upgrade, upgraded=upgraded, status=status)
        wanted = Wanted(header=header, grant=grant, value=value, header_value=header_value)
        injected = True if injected is None and wanted.described else injected
        return tuple(
            exchange
            for exchange in self.exchanges
            if traffic.matches(exchange) and (injected is None or bool(wanted.among(exchange)) is injected)
        )

    def wait_for(self, predicate: Callable[[Recorder], T], timeout: float = 5) -> T:
        """Wait until `predicate(recorder)` is true and return what it gave; for traffic of other threads and processes.

        It is called at once, and again after every change; an error that it raises ends the wait. This blocks the
        thread: a coroutine whose own loop makes the traffic must await that first. Raises AssertionError that shows
        what was there, after `timeout` seconds.
        """
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        late = False  # a test may have stopped the clock, so a wait's own word counts, too
        while True:
            seen = self._changes
            if result := predicate(self):
                return result
            left = end - time.monotonic()
            if late or left <= 0:
                expect.happened(self._scene(), timeout)
            with self._changed:
                late = self._changes == seen and not self._changed.wait(left)

    def _judge(self, expectation: Callable[[Scene], T], wanted: Wanted | None = None) -> T:
        """What an expectation makes of what is known now; where it fails, of what is known once open tunnels ended.

        A client that does not trust the proxy sees its handshake fail before the proxy does.
        """
        try:
            return expectation(self._scene(wanted))
        except AssertionError:
            if not self._scene().unfinished:
                raise
        self.settle()
        return expectation(self._scene(wanted))

    def settle(self) -> None:
        """Wait for the tunnels through which nothing came yet, for a moment at most: their end may tell more."""
        end = time.monotonic() + _PATIENCE
        with self._changed:
            while self._scene().unfinished and (left := end - time.monotonic()) > 0:
                if not self._changed.wait(left):
                    break

    def _scene(self, wanted: Wanted | None = None) -> Scene:
        """What is known now. Its texts show neither a rule's value nor one of `wanted`."""
        redactor = cache(lambda: Redactor((*self.secrets, *(wanted.secrets if wanted else ()))))
        grants = tuple(rule.grant for rule in self.rules)
        return Scene(self.records, grants, self.leaks, self.bypasses, len(self.late), lambda t: redactor().blank(t))
