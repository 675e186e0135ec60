"""What a proxy's recorder gained during a test, taken as facts.

A `Follower` is given one recorder and gives each record once: to the test in which it arrived, as soon as it is final.
A finding is given at once, to the test during which it was seen. Facts are builtins without a secret, so that they can
go to another process; who gets them is `session`'s matter, what they mean `judge`'s.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gatekeeper._core.records import Bypass, Leak
    from pytest_gatekeeper._core.redact import Redactor
    from pytest_gatekeeper._core.scope import Fact
    from pytest_gatekeeper._core.telling import Traced
    from pytest_gatekeeper.recorder import Recorder

__all__ = ["Follower", "Taken"]

NUMBERS = ("exchanges", "injected", "leaks", "left_out")

_WHOLE = 100  # exchanges of a test and proxy that a report holds whole; of further ones those that tell something
_ECHOES = 100  # secrets of a test and proxy that were seen without being leaks, such as those that an upstream echoes


class Taken:
    """What was taken.

    Attributes:
        facts, findings: see `_core.scope`.
        required: pattern, header, grant and id of the rules that some test has to use.
        details: see `_core.report.DETAILS`; empty where no report is written.
        exchanges: how many arrived.
        injected: how many of these carry a credential.
        leaks: how many secrets were sent where they do not belong.
        left_out: how many exchanges and echoes the details leave out.
        touched: whether the test used the proxy.
    """

    def __init__(self, exchanges: int, injected: int) -> None:
        self.facts: list[Fact] = []
        self.findings: list[Fact] = []
        self.required: list[list[str]] = []
        self.details: dict[str, list[Fact]] = {}
        self.exchanges = exchanges
        self.injected = injected
        self.leaks = 0
        self.left_out = 0
        self.touched = False

    @property
    def numbers(self) -> dict[str, int]:
        """What a report says of a test in numbers."""
        return {name: getattr(self, name) for name in NUMBERS}

    def keep(self, name: str, fact: Fact) -> None:
        """One more detail."""
        self.details.setdefault(name, []).append(fact)

    def kept(self, name: str) -> int:
        """How many details of a name there are."""
        return len(self.details.get(name, ()))


class Follower:
    """Follows one recorder.

    Args:
        recorder: of the proxy.
        name: of the proxy, `gatekeeper_proxy` or `gatekeeper_proxy_factory[1]`.
        fail_on: what fails a test that goes through it.
        wide: whether the proxy outlives a test.
        detailed: whether a report is going to be written.

    Attributes:
        older: how many records were there before the running test.
    """

    def __init__(
        self, recorder: Recorder, name: str, fail_on: tuple[str, ...], *, wide: bool = False, detailed: bool = False
    ) -> None:
        self.recorder = recorder
        self.name = name
        self.fail_on = fail_on
        self.wide = wide
        self.older = 0
        self._detailed = detailed
        self._seen = 0
        self._running: list[tuple[Traced, str]] = []  # not final, with the test during which each arrived
        self._told: set[Hashable] = set()
        self._redactor: Redactor | None = None
        self._hidden = 0  # secrets that it knows

    def begin(self) -> None:
        """A test begins; what was there before is not its own."""
        self.older = len(self.recorder.records)

    def take(self, test: str, *, last: bool = False) -> Taken:
        """What is new, for the test of this name (see `label`); the `last` time also what is not final yet."""
        from pytest_gatekeeper._core.records import Exchange

        arrived = self.recorder.records[self._seen :]
        self._seen += len(arrived)
        at_hand = [*self._running, *((record, test) for record in arrived)]
        final = [(record, owner) for record, owner in at_hand if last or record.closed is not None]
        self._running = [] if last else [(record, owner) for record, owner in at_hand if record.closed is None]

        exchanges = [record for record in arrived if isinstance(record, Exchange)]
        taken = Taken(exchanges=len(exchanges), injected=sum(exchange.credential_injected for exchange in exchanges))
        self._find(dict(at_hand), test, taken)
        if final or last:
            self._count(final, test, taken)
        if self._detailed:
            self._detail(final, taken)
        taken.touched = bool(not self.wide or arrived or taken.findings)
        return taken

    def label(self, test: str) -> str:
        """A test's name as others may read it: its parameters could be a secret."""
        name, bracket, parameters = test.partition("[")
        return name + bracket + self._blank(parameters) if parameters else test

    # ---- inside

    def _blank(self, text: str) -> str:
        """The text without a rule's value. Records come blanked, but a rule may be younger than they are."""
        secrets = self.recorder.secrets  # they only become more
        if self._redactor is None or self._hidden != len(secrets):
            from pytest_gatekeeper._core.redact import Redactor

            self._redactor, self._hidden = Redactor(secrets), len(secrets)
        return self._redactor.blank(text)

    def _new(self, mark: Hashable) -> bool:
        """Whether something is told for the first time."""
        if mark in self._told:
            return False
        self._told.add(mark)
        return True

    def _find(self, owners: Mapping[Traced, str], test: str, taken: Taken) -> None:
        """Leaks, bypasses, violations and cleartext that were not told yet."""
        from pytest_gatekeeper._core.scope import finding_facts

        leaks = [leak for leak in self.recorder.leaks if self._new(_mark(leak))]
        bypasses = [bypass for bypass in self.recorder.bypasses if self._new(bypass)]
        taken.leaks = sum(leak.astray for leak in leaks)
        taken.findings = finding_facts((), leaks, bypasses, test)
        if self._detailed:
            self._detail_leaks(leaks, bypasses, owners, test, taken)
        for record in owners:
            if record.violations or getattr(record, "cleartext", False) or getattr(record, "unscanned", ()):
                self._find_in(record, test, taken)
        for fact in taken.findings:
            fact.update(text=self._blank(fact["text"]), test=self.label(test))

    def _find_in(self, record: Traced, test: str, taken: Taken) -> None:
        """What is wrong with a record, or not known, and was not told yet: its violations come first, in order."""
        from pytest_gatekeeper._core.records import Exchange
        from pytest_gatekeeper._core.report import cleartext_fact, violation_fact
        from pytest_gatekeeper._core.scope import finding_facts

        for number, fact in enumerate(finding_facts([record], (), (), test)):
            violates = fact["kind"] == "violation"
            mark = number if violates else "cleartext" if fact["kind"] == "cleartext" else fact["text"]
            if not self._new((record, mark)):
                continue
            taken.findings.append(fact)
            text = self._blank(fact["text"]) if self._detailed else ""
            if self._detailed and violates:
                taken.keep("violations", violation_fact(record, number, text, test, self.name))
            elif self._detailed and fact["kind"] == "cleartext" and isinstance(record, Exchange):
                taken.keep("cleartext", cleartext_fact(record, text, test, self.name))

    def _detail_leaks(
        self,
        leaks: Iterable[Leak],
        bypasses: Iterable[Bypass],
        owners: Mapping[Traced, str],
        test: str,
        taken: Taken,
    ) -> None:
        from pytest_gatekeeper._core.report import bypass_fact, leak_fact

        for leak in leaks:
            if leak.astray or taken.kept("leaks") < _ECHOES:
                fact = leak_fact(leak, test, self.name, self._blank)
                if (owner := owners.get(leak.exchange, test)) != test:
                    fact["arrived"] = owner
                taken.keep("leaks", fact)
            else:
                taken.left_out += 1
        for bypass in bypasses:
            taken.keep("bypasses", bypass_fact(bypass, test, self.name, self._blank))

    def _count(self, final: Sequence[tuple[Traced, str]], test: str, taken: Taken) -> None:
        """What the rules did."""
        from pytest_gatekeeper._core.records import Exchange
        from pytest_gatekeeper._core.scope import scope_facts

        rules = self.recorder.rules
        for owner in dict.fromkeys([*(owner for _, owner in final), test]):
            exchanges = [record for record, its in final if its == owner and isinstance(record, Exchange)]
            taken.facts.extend(scope_facts(rules, exchanges, owner))
        if "unused" in self.fail_on:
            taken.required = [[rule.pattern, rule.header, rule.grant, rule.id] for rule in rules]

    def _detail(self, final: Sequence[tuple[Traced, str]], taken: Taken) -> None:
        """Exchanges, and the tunnels that say more than these."""
        from pytest_gatekeeper._core.records import Exchange
        from pytest_gatekeeper._core.report import exchange_fact, tunnel_fact
        from pytest_gatekeeper._core.telling import is_telling

        leaking = {leak.exchange for leak in self.recorder.leaks}
        for record, owner in final:
            if isinstance(record, Exchange):
                whole = taken.kept("exchanges") < _WHOLE
                if whole or record.injections or record.violations or record in leaking:
                    taken.keep("exchanges", exchange_fact(record, owner, self.name, self._blank, headers=whole))
                else:
                    taken.left_out += 1
            elif is_telling(record):
                taken.keep("tunnels", tunnel_fact(record, owner, self.name, self._blank))


def _mark(leak: Leak) -> Hashable:
    """What tells leaks apart; a later count of the same one is no new leak."""
    return leak.exchange, leak.direction, leak.place, leak.secret
