"""What is probably a mistake in a configuration that can be read.

Beside what reading finds by itself: hosts that policy denies, rules that are never used, ports that are not covered,
wildcards over strangers, secrets written down. Nothing is opened or fetched, and no text holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from pytest_gatekeeper._core.contest import book_of, contest
from pytest_gatekeeper._core.hints import dead_pattern
from pytest_gatekeeper._core.hosts import host_matches, is_loopback
from pytest_gatekeeper._core.model import Credential, Finding, NetworkSettings, Settings
from pytest_gatekeeper._core.places import keyed
from pytest_gatekeeper._core.policy import read_allow
from pytest_gatekeeper._core.source_spec import is_variable
from pytest_gatekeeper._core.suffixes import is_public_suffix

__all__ = ["CODES", "Allowed", "allowed", "examine"]

CODES = {
    "denied": "a credential's host, or a route, that policy denies",
    "port": "a pattern without a port covers 80 and 443, and another one is needed",
    "equal-rules": "two rules with the same host, header and grant: the later one replaces the earlier",
    "shadowed": "a rule that is never used, because another one always comes before it",
    "host-case": "a host in two spellings: only the rules of one of them apply to a request",
    "public-suffix": "a wildcard below which strangers have names",
    "static-secret": "a secret written in the file",
    "auth-token": "the proxy's own token written in the file",
    "env-name": "what cannot be the name of an environment variable",
    "never-matches": "a host or a pattern that can never match",
    "unknown-key": "a key that nothing reads",
    "several-documents": "a second document, which nothing reads",
    "allow-ignored": "network.allow without policy: strict",
    "tls-half": "one of tls.ca_cert and tls.ca_key without the other",
    "log-word": "an unknown log level or format",
    "no-header": "a header to capture whose name cannot be one",
    "postgres": "what is not emulated here",
}
"""Every kind of finding: a short name that stays, and what it means."""

_Named: TypeAlias = Sequence[tuple[str, Credential]]
_Told: TypeAlias = tuple[str, str, str]  # code, key, problem


class Allowed(NamedTuple):
    """A pattern of `network.allow`, taken apart.

    Attributes:
        key: dotted.
        pattern: as written.
        host, ports: what it covers.
    """

    key: str
    pattern: str
    host: str
    ports: frozenset[int]


def examine(
    settings: Settings, routes: Sequence[tuple[str, int | None]] = (), lines: Mapping[str, int] | None = None
) -> tuple[Finding, ...]:
    """All findings of a configuration, those of reading among them, in the order of the file.

    Args:
        settings: as read.
        routes: hosts (or `*.suffix`) with a port or None, to which a test leads its clients.
        lines: see `places.lines_of`; without them only credentials have lines.
    """
    named = keyed(settings)
    live = [(key, credential) for key, credential in named if not dead_pattern(credential.host)]
    told: list[_Told] = [
        *_denied(live, settings.network),
        *_ports(settings.network),
        *_routes(routes, settings.network),
        *_outcomes(live),
        *_unreached(live, settings.network),
        *_spellings(live),
        *_public(live, settings.network),
        *_written(named, settings),
        *_variables(named),
    ]
    known = {**_lines(named), **(lines or {})}
    found = [Finding(problem, settings.file, _line(key, known), key, code) for code, key, problem in told]
    return tuple(sorted((*settings.findings, *found), key=lambda finding: finding.line or 0))


def _lines(named: _Named) -> dict[str, int]:
    """The lines that credentials know by themselves."""
    known = {key: credential.line for key, credential in named}
    known.update({f"{key}.source": credential.source.line for key, credential in named})
    return {key: line for key, line in known.items() if line is not None}


def _line(key: str, lines: Mapping[str, int]) -> int | None:
    """The line of a key, or of the nearest one around it."""
    while key and key not in lines:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return lines.get(key)


# ------------------------------------------------------------------ policy


def allowed(network: NetworkSettings) -> list[Allowed]:
    """The patterns of `network.allow` that cover something, whether policy reads them or not."""
    found = []
    for index, pattern in enumerate(network.allow):
        try:
            host, ports = read_allow(pattern)
        except ValueError:
            continue
        if not dead_pattern(host):
            found.append(Allowed(f"network.allow[{index}]", pattern, host, ports))
    return found


def _overlap(one: str, other: str) -> str:
    """What two patterns both match: the narrower of them; "" where that is nothing."""
    if host_matches(one, other) or one.lower() == other.lower():
        return other
    return one if host_matches(other, one) else ""


def _denied(named: _Named, network: NetworkSettings) -> Iterator[_Told]:
    patterns = allowed(network)
    for key, credential in named if network.policy == "strict" else ():
        if not any(_overlap(pattern.host, credential.host) for pattern in patterns):
            problem = f"policy strict denies it, so its credential is never used; add {credential.host!r}"
            yield "denied", f"{key}.host", f"{problem} to network.allow, or remove the rule"


def _ports(network: NetworkSettings) -> Iterator[_Told]:
    for key, pattern, host, _ in allowed(network) if network.policy == "strict" else ():
        if ":" not in pattern and is_loopback(host.removeprefix("*.")):
            problem = "without a port it covers 80 and 443 only, and a stub on this machine has another"
            yield "port", key, f"{problem}; write '{host}:PORT', or lead a production name to the stub with a route"


def _routes(routes: Sequence[tuple[str, int | None]], network: NetworkSettings) -> Iterator[_Told]:
    for host, port in routes if network.policy == "strict" else ():
        covering = [pattern for pattern in allowed(network) if _overlap(pattern.host, host)]
        wanted = host if port in (None, 80, 443) else f"{host}:{port}"
        if not covering:
            problem = f"policy strict denies the route for {wanted}; add {wanted!r} here"
            yield "denied", "network.allow", problem
        elif port is not None and not any(port in pattern.ports for pattern in covering):
            problem = f"covers {_told_ports(covering[0].ports)} only, and the route for {host} has port {port}"
            yield "port", covering[0].key, f"{problem}; add {f'{host}:{port}'!r}"


def _told_ports(ports: frozenset[int]) -> str:
    return f"port{'s' if len(ports) > 1 else ''} {' and '.join(map(str, sorted(ports)))}"


# ------------------------------------------------------------------ rules that are never used


def _outcomes(named: _Named) -> Iterator[_Told]:
    for pattern in dict.fromkeys(credential.host for _, credential in named):
        own = [(key, credential) for key, credential in named if credential.host == pattern]
        outcome = contest(own, pattern)
        for key, winner in outcome.replaced.items():
            yield "equal-rules", key, f"has the host, header and grant of {winner}, which replaces it; remove one"
        headers = {key: credential.header or "Authorization" for key, credential in own}
        for key, winner in outcome.beaten.items():
            problem = f"is never used: {winner} comes first, and a request gets one credential for each header"
            yield "shadowed", key, f"{problem}; remove one, or send {headers[key]} with one of them only"


def _unreached(named: _Named, network: NetworkSettings) -> Iterator[_Told]:
    """Rules whose pattern never wins, at any host that policy permits."""
    book = book_of(named)
    strict = network.policy == "strict"
    patterns = [pattern.host for pattern in allowed(network)]
    for key, credential in named:
        own = credential.host
        hosts = [found for host in patterns if (found := _overlap(host, own))] if strict else [own]
        winners = dict.fromkeys(rules[0].pattern for host in hosts if (rules := book.for_host(_as(host, own))))
        if not winners or own in winners:
            continue
        if own.lower() in map(str.lower, winners):
            yield (
                "shadowed",
                key,
                f"is never used: {next(iter(winners))!r} comes before this spelling; spell both alike",
            )
            continue
        wins = f"{', '.join(map(repr, winners))} {'wins' if len(winners) == 1 else 'win'}"
        problem = f"is never used: {wins} at every host below it that policy allows, and only the winner's credentials"
        yield "shadowed", key, f"{problem} are sent; allow another host below it, or remove the rule"


def _as(host: str, own: str) -> str:
    """A host in the spelling of a pattern, where it is the same."""
    return own if host.lower() == own.lower() else host


def _spellings(named: _Named) -> Iterator[_Told]:
    first: dict[str, tuple[str, str]] = {}
    for key, credential in named:
        other, spelled = first.setdefault(credential.host.lower(), (key, credential.host))
        if credential.host != spelled and not credential.host.startswith("*."):
            problem = f"{other} spells it {spelled!r}, and a request gets the credentials of one spelling only"
            yield "host-case", f"{key}.host", f"{problem}; write both in lower case"


# ------------------------------------------------------------------ what should not be written


def _public(named: _Named, network: NetworkSettings) -> Iterator[_Told]:
    patterns = [(f"{key}.host", "gives its credential to", credential.host) for key, credential in named]
    if network.policy == "strict":
        patterns += [(pattern.key, "allows", pattern.host) for pattern in allowed(network)]
    for key, does, pattern in patterns:
        suffix = pattern.removeprefix("*.")
        if suffix != pattern and is_public_suffix(suffix):
            problem = f"{does} every host below {suffix}, where strangers have names"
            yield "public-suffix", key, f"{problem}; write each name, or *.suffix with a suffix of your own"


def _written(named: _Named, settings: Settings) -> Iterator[_Told]:
    for key, credential in named:
        if credential.source.secret("value"):
            problem = "a secret is written in the file; write 'source: {type: env, var: NAME}' and export it"
            yield "static-secret", f"{key}.source.value", problem
        if credential.source.secret("client_secret"):
            problem = "a secret is written in the file; write 'client_secret_env: NAME' and export it"
            yield "static-secret", f"{key}.source.client_secret", problem
    if settings.proxy.auth_token:
        problem = "a secret is written in the file; have it put in when the file is deployed, or keep the file private"
        yield "auth-token", "proxy.auth_token", problem


def _variables(named: _Named) -> Iterator[_Told]:
    for key, credential in named:
        if credential.source.type == "env" and not is_variable(credential.source.get("var")):
            problem = "is no name of a variable; write the name alone, without $ and braces, and never the value"
            yield "env-name", f"{key}.source.var", problem
