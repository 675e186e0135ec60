"""Expectations: whether what happened is what a test asserts, and the text when it is not.

One function for each assertion of the recorder. Each gets a `Scene`, returns what it matched, or raises AssertionError
with a finished text. An expectation that something did *not* happen fails as well when there was nothing that could
have made it happen: no exchange, or none that reached an upstream. Nothing here waits or remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NoReturn

from pytest_gatekeeper._core.nearest import known_grants, nearest_traffic, unreached, why_not
from pytest_gatekeeper._core.query import HostPattern, Traffic, Wanted
from pytest_gatekeeper._core.records import Exchange, Tunnel
from pytest_gatekeeper._core.scan.needles import SHORTEST
from pytest_gatekeeper._core.telling import Scene, Traced, describe, failure, numbered, sentence, tell_bypass, tell_leak
from pytest_gatekeeper._core.verdict import CURES

__all__ = ["denied", "happened", "injected", "no_bypass", "no_leaks", "not_injected", "scope", "upgraded"]

_SCOPE = "{'api': ['api.example.com']}"


def _fail(problem: str, expected: str, miss: str, scene: Scene, marked: Collection[Traced] = ()) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError(failure(problem, expected, miss, scene, marked))


def _exactly(times: int | None) -> str:
    """The words for `times`. Raises ValueError for less than 1: that something never happens is asserted otherwise."""
    if times is None:
        return ""
    if not isinstance(times, int) or isinstance(times, bool):
        raise TypeError(f"times is a whole number, not {type(times).__name__}")
    if times < 1:
        raise ValueError("times is 1 or more: assert the opposite to say that something never happens")
    return f", exactly {numbered(times, 'time')}"


def _need_traffic(scene: Scene, expected: str) -> None:
    """Fail where there was no exchange: what did not happen proves nothing then."""
    __tracebackhide__ = True
    if not scene.exchanges:
        _fail("this proves nothing: there was no exchange", expected, nearest_traffic(Traffic(), scene), scene)


def _need_grants(scene: Scene, expected: str, grants: Iterable[str | None]) -> None:
    """Fail for a grant that no rule has, and nothing carried: that it did not go somewhere proves nothing."""
    __tracebackhide__ = True
    for grant in grants:
        if grant not in (None, *scene.grants) and not any(grant in _grants(e) for e in scene.exchanges):
            _fail(f"this proves nothing: no rule has the grant {grant!r}", expected, known_grants(grant, scene), scene)


def _unreached(exchange: Exchange) -> bool:
    """Whether it failed before anything of it was sent: what it would have carried is not known."""
    return exchange.error is not None and not exchange.sent


def _undecided(exchange: Exchange) -> bool:
    """Whether it might have carried a credential, had it reached an upstream."""
    return _unreached(exchange) and not exchange.reason


def _need_sent(scene: Scene, expected: str, silent: Callable[[Exchange], bool], traffic: Traffic | None = None) -> None:
    """Fail where all exchanges (of the traffic) are silent on where secrets go; there is one."""
    __tracebackhide__ = True
    there = [exchange for exchange in scene.exchanges if traffic is None or traffic.matches(exchange)]
    if all(map(silent, there)):
        problem = f"this proves nothing: {(traffic or Traffic()).counted(0)} reached an upstream"
        miss = sentence(describe(there[-1], scene.blank))
        _fail(f"{problem}, so nothing was sent", expected, miss, scene, there)


def happened(scene: Scene, seconds: float) -> NoReturn:
    """Tell that what was waited for did not happen in time."""
    __tracebackhide__ = True
    miss = "" if scene.records else nearest_traffic(Traffic(), scene)
    _fail(f"what was waited for did not happen within {seconds:g} s", "the predicate becomes true", miss, scene)


def injected(scene: Scene, traffic: Traffic, wanted: Wanted, times: int | None) -> tuple[Exchange, ...]:
    """All of the traffic got the credential."""
    __tracebackhide__ = True
    expected = f"every {traffic} gets {wanted}{_exactly(times)}"
    matched = tuple(filter(traffic.matches, scene.exchanges))
    without = [exchange for exchange in matched if not wanted.among(exchange)]
    if not matched:
        problem = f"there was {traffic.counted(0)}, so nothing was injected"
        _fail(problem, expected, nearest_traffic(traffic, scene), scene)
    if without:
        problem = f"{len(without)} of {traffic.counted(len(matched))} did not get {wanted}"
        _fail(problem, expected, why_not(without[0], wanted, scene), scene, without)
    if times not in (None, len(matched)):
        _fail(f"{traffic.counted(len(matched))} got {wanted}", expected, "", scene, matched)
    return matched


def not_injected(scene: Scene, traffic: Traffic, wanted: Wanted) -> tuple[Exchange, ...]:
    """None of the traffic got the credential, and there was some."""
    __tracebackhide__ = True
    expected = f"there is at least one {traffic}, and none gets {wanted}"
    matched = tuple(filter(traffic.matches, scene.exchanges))
    got = [exchange for exchange in matched if wanted.among(exchange)]
    if not matched:
        problem = f"this proves nothing: there was {traffic.counted(0)}"
        _fail(problem, expected, nearest_traffic(traffic, scene), scene)
    _need_grants(scene, expected, (wanted.grant,))
    if got:
        _fail(f"{len(got)} of {traffic.counted(len(matched))} got {wanted}", expected, "", scene, got)
    _need_sent(scene, expected, _undecided, traffic)
    return matched


def upgraded(
    scene: Scene, traffic: Traffic, wanted: Wanted, with_credential: bool | None, times: int | None
) -> tuple[Exchange, ...]:
    """Some of the traffic was answered 101, with or without the credential where that matters."""
    __tracebackhide__ = True
    condition = "" if with_credential is None else f" {'with' if with_credential else 'without'} {wanted}"
    expected = f"a {traffic} is answered 101{condition}{_exactly(times)}"
    asked = [exchange for exchange in scene.exchanges if traffic.matches(exchange)]
    switched = [exchange for exchange in asked if exchange.upgraded]
    found = tuple(e for e in switched if with_credential is None or bool(wanted.among(e)) is with_credential)
    if not asked:
        _fail(f"there was {traffic.counted(0)}", expected, nearest_traffic(traffic, scene), scene)
    if not switched:
        miss = sentence(describe(asked[-1], scene.blank))
        _fail(f"{traffic.counted(0)} was answered 101", expected, miss, scene, asked)
    if with_credential is False:
        _need_grants(scene, expected, (wanted.grant,))
    if not found:
        miss = why_not(switched[-1], wanted, scene) if with_credential else ""
        _fail(f"{traffic.counted(0)} was answered 101{condition}", expected, miss, scene, switched)
    if times not in (None, len(found)):
        verb = "was" if len(found) == 1 else "were"
        _fail(f"{traffic.counted(len(found))} {verb} answered 101{condition}", expected, "", scene, found)
    return found


def denied(scene: Scene, traffic: Traffic, times: int | None) -> tuple[Traced, ...]:
    """Policy refused some of the traffic and let none through."""
    __tracebackhide__ = True
    expected = f"policy refuses every {traffic}{_exactly(times)}"
    matched = [
        record
        for record in scene.records
        if (traffic.matches_tunnel(record) if isinstance(record, Tunnel) else traffic.matches(record))
    ]
    refused = tuple(record for record in matched if record.denied)
    passed = [record for record in matched if isinstance(record, Exchange) and record.sent]
    if passed:
        _fail(f"policy let {traffic.counted(len(passed))} through", expected, "", scene, passed)
    if not refused:
        miss = sentence(describe(matched[-1], scene.blank)) if matched else nearest_traffic(traffic, scene)
        _fail(f"policy refused {traffic.counted(0)}", expected, miss, scene, matched)
    if times not in (None, len(refused)):
        _fail(f"policy refused {traffic.counted(len(refused))}", expected, "", scene, refused)
    return refused


def scope(scene: Scene, listed: Mapping[str, str | Iterable[str]]) -> tuple[Exchange, ...]:
    """Each grant reached all patterns listed for it and no other host; no grant but the listed ones was used."""
    __tracebackhide__ = True
    if not isinstance(listed, Mapping):
        raise TypeError(f"the scope is the hosts of each grant, as in {_SCOPE}, not a {type(listed).__name__}")
    patterns = {
        grant: [HostPattern(text) for text in ([hosts] if isinstance(hosts, str) else hosts)]
        for grant, hosts in listed.items()
    }
    expected = "; ".join(_scope_words(grant, hosts) for grant, hosts in patterns.items()) or "no grant is used"
    _need_traffic(scene, expected)
    carried = [(grant, exchange) for exchange in scene.exchanges for grant in _grants(exchange)]
    strays = [(grant, exchange) for grant, exchange in carried if _strays(exchange, grant, patterns)]
    missing = [
        (grant, str(pattern))
        for grant, hosts in patterns.items()
        for pattern in hosts
        if not any(name == grant and pattern.matches(e.host, e.port) for name, e in carried)
    ]
    problems = dict.fromkeys(_stray_words(grant, exchange.host, grant in patterns) for grant, exchange in strays)
    problems.update(dict.fromkeys(f"grant {grant!r} never reached {pattern}" for grant, pattern in missing))
    if problems:
        miss = unreached(missing[0][1], missing[0][0], scene) if missing else ""
        _fail("\n".join(problems), expected, miss, scene, [exchange for _, exchange in strays])
    _need_grants(scene, expected, (grant for grant, hosts in patterns.items() if not hosts))
    _need_sent(scene, expected, _undecided)
    return tuple(dict.fromkeys(exchange for grant, exchange in carried if grant in patterns))


def _grants(exchange: Exchange) -> list[str]:
    return [injection.grant for injection in exchange.injections]


def _strays(exchange: Exchange, grant: str, patterns: Mapping[str, Sequence[HostPattern]]) -> bool:
    if grant not in patterns:
        return bool(grant)
    return not any(pattern.matches(exchange.host, exchange.port) for pattern in patterns[grant])


def _stray_words(grant: str, host: str, listed: bool) -> str:
    return f"grant {grant!r} reached {host}, {'outside its scope' if listed else 'and is not listed'}"


def _scope_words(grant: str, hosts: Sequence[HostPattern]) -> str:
    return f"grant {grant!r} reaches {', '.join(map(str, hosts)) or 'no host'}" + (" alone" if hosts else "")


def no_leaks(scene: Scene, direction: str, *, sought: bool = True) -> tuple[Exchange, ...]:
    """No secret was seen outside its scope; there was traffic, and a secret to look for (`sought`)."""
    __tracebackhide__ = True
    if direction not in ("upstream", "client", "any"):
        raise ValueError(f"direction is upstream, client or any, not {direction!r}")
    where = {"upstream": " sent upstream", "client": " sent to a client", "any": ""}[direction]
    expected = f"no secret is{where or ' seen'} outside its scope, and there is an exchange that could do it"
    _need_traffic(scene, expected)
    _need_sent(scene, expected, _unreached)
    if not scene.grants:
        _fail("this proves nothing: the proxy has no rule, so no secret to look for", expected, "", scene)
    if not sought:
        problem = f"this proves nothing: no secret has the {SHORTEST} characters from which on one is looked for"
        _fail(problem, expected, "", scene)
    found = [leak for leak in scene.leaks if direction in ("any", leak.direction) and not leak.client_held]
    if found:
        lines = [f"{numbered(len(found), 'leak')}{where}:", *(f"  {tell_leak(leak)}" for leak in found)]
        kinds = {"leak" if leak.direction == "upstream" else "echo": None for leak in found}
        lines.extend(f"What to do: {CURES[kind]}." for kind in kinds)
        _fail("\n".join(lines), expected, "", scene, [leak.exchange for leak in found])
    return tuple(scene.exchanges)


def no_bypass(scene: Scene) -> tuple[Exchange, ...]:
    """This process opened no connection past the proxy, and some went through it."""
    __tracebackhide__ = True
    expected = "all connections of this process go through the proxy, and there is an exchange"
    if scene.bypasses:
        count = numbered(len(scene.bypasses), "connection")
        lines = [f"{count} went past the proxy:", *(f"  {tell_bypass(bypass)}" for bypass in scene.bypasses)]
        _fail("\n".join(lines), expected, "", scene)
    _need_traffic(scene, expected)
    return tuple(scene.exchanges)
