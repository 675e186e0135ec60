"""The nearest miss: why nothing was what an assertion looked for, and what came closest.

A reader of a failed test wants the cause, not the absence. Gives one sentence for it, out of what a recorder knows;
never a table, and no judgement on whether something failed.
"""

from __future__ import annotations

from pytest_gatekeeper._core.hosts import host_matches
from pytest_gatekeeper._core.query import HostPattern, Traffic, Wanted
from pytest_gatekeeper._core.records import Exchange
from pytest_gatekeeper._core.telling import Scene, Traced, describe, is_telling, numbered, plain, sentence, tell_bypass

__all__ = ["known_grants", "nearest_traffic", "unreached", "why_not"]

_HOSTS = 8
_SIMILAR = 0.6


def nearest_traffic(traffic: Traffic, scene: Scene) -> str:
    """Why no exchange is the traffic that was looked for."""
    if not scene.records:
        return _silence(scene)
    pattern = traffic.host
    exchanges = [e for e in scene.exchanges if pattern is None or host_matches(pattern.name, e.host)]
    tunnels = [t for t in scene.tunnels if pattern is None or host_matches(pattern.name, t.host)]
    if exchanges:
        best = min(exchanges, key=lambda exchange: len(traffic.misses(exchange)))
        text = f"{describe(best, scene.blank)}; but {_joined(traffic.misses(best))}."
        troubled = [tunnel for tunnel in tunnels if tunnel.denied or tunnel.error]
        return sentence(f"{text} Also: {describe(troubled[-1], scene.blank)}") if troubled else text
    if pattern is None or tunnels:
        return sentence(describe(tunnels[-1], scene.blank))
    return _similar(pattern, scene)


def _silence(scene: Scene) -> str:
    parts = ["the proxy saw nothing at all: does the client read HTTPS_PROXY?"]
    parts.extend(sentence(tell_bypass(bypass)) for bypass in scene.bypasses[:_HOSTS])
    if scene.late:
        parts.append(f"{numbered(scene.late, 'connection')} came while no test held the proxy, and got a 503.")
    return " ".join(parts)


def _similar(pattern: HostPattern, scene: Scene) -> str:
    """The host that looks most like the one looked for, else those that were there."""
    name = pattern.name.lower()
    records: dict[str, Traced] = {}
    for record in (*filter(is_telling, scene.records), *scene.records):
        records.setdefault(record.host.lower(), record)
    likeness, why, host = max((_likeness(name, host), _mismatch(name, host), host) for host in records)
    if likeness >= _SIMILAR:
        return f"{describe(records[host], scene.blank)}; but its host is {host}{why}."
    seen = [host or "(unreadable)" for host in records]
    more = f" and {len(seen) - _HOSTS} more" if len(seen) > _HOSTS else ""
    return f"nothing like {pattern} was there; the hosts were {', '.join(seen[:_HOSTS])}{more}."


def _likeness(name: str, host: str) -> float:
    """From 0 to 1, and above for a host that the pattern seems to match."""
    from difflib import SequenceMatcher  # for a mistake alone

    return 2 if _mismatch(name, host) else SequenceMatcher(None, name.removeprefix("*."), host).ratio()


def _mismatch(name: str, host: str) -> str:
    """Why a pattern does not match a host that it seems to match, both in lower case; else empty."""
    bare = name.removeprefix("*.")
    if host.rstrip(".") == bare.rstrip(".") and host != bare:
        return ", and a trailing dot makes another name"
    if host == bare:
        return ", and a wildcard does not match its own suffix"
    if host.endswith("." + name):
        return f", which *.{name} would match"
    return ""


def _joined(differences: list[str]) -> str:
    return plain(" and ".join(differences))


def why_not(exchange: Exchange, wanted: Wanted, scene: Scene) -> str:
    """Why an exchange did not get the credential that was looked for."""
    text = describe(exchange, scene.blank)
    if exchange.injections:
        best = min((wanted.misses(injection) for injection in exchange.injections), key=len)
        text += f"; but {_joined(best)}{_replaced(exchange, wanted, scene)}"
    return sentence(text) + _unknown_grant(wanted.grant, scene)


def _replaced(exchange: Exchange, wanted: Wanted, scene: Scene) -> str:
    """That a header of the client's own was replaced, which leaves no room for the one wanted; "" otherwise."""
    sent = {name.lower() for name, _ in exchange.headers}
    own = [injection.header for injection in exchange.injections if injection.header.lower() in sent]
    elsewhere = wanted.header is not None and wanted.header.lower() not in {header.lower() for header in own}
    if own and (elsewhere or (wanted.grant in scene.grants and wanted.grant not in exchange.grants)):
        return f" (the client sent {', '.join(own)} itself, so nothing else was put in)"
    return ""


def unreached(pattern: str, grant: str, scene: Scene) -> str:
    """Why no credential of a grant reached a host."""
    traffic = Traffic(pattern)
    there = [exchange for exchange in scene.exchanges if traffic.matches(exchange)]
    if there:
        return why_not(there[-1], Wanted(grant=grant), scene)
    return nearest_traffic(traffic, scene) + _unknown_grant(grant, scene)


def known_grants(grant: str | None, scene: Scene) -> str:
    """Which grants there are, and which one was probably meant by one that there is not; "" without any."""
    from difflib import get_close_matches  # for a mistake alone

    close = get_close_matches(grant or "", filter(None, scene.grants), 1)
    return f"did you mean {close[0]!r}? {_grants(scene, 'There')}." if close else _grants(scene, "there", ".")


def _unknown_grant(grant: str | None, scene: Scene) -> str:
    if not grant or grant in scene.grants:
        return ""
    return f" No rule has the grant {grant!r}{_grants(scene, '; there')}."


def _grants(scene: Scene, there: str, end: str = "") -> str:
    """The grants of the rules, introduced by `there`; "" without any."""
    known = [grant for grant in dict.fromkeys(scene.grants) if grant]
    return f"{there} {'is' if len(known) == 1 else 'are'} {', '.join(map(repr, known))}{end}" if known else ""
