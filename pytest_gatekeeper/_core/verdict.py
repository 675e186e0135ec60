"""What fails a test or a run: the words of `fail_on`, and the finished texts that say what was found.

Options, marker and command line share the words; findings come from `scope` as facts, blanked already. Only the
standard library is imported, since pytest's options are read in every run of every user. Who fails, and how, is the
plugin's matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["CURES", "DEFAULT", "FAIL_ON", "counted", "failing", "read_fail_on", "tell_findings", "tell_unused"]

FAIL_ON = ("leak", "unused", "bypass", "cleartext", "violation")
"""The words, in the order in which they are told."""

DEFAULT = ("leak", "violation")

_NOTHING = "none"
_LISTED = 20

_NOUNS = {
    "leak": ("leak", "leaks"),
    "bypass": ("bypass", "bypasses"),
    "cleartext": ("cleartext injection", "cleartext injections"),
    "violation": ("violation", "violations"),
}

_MEANING = {
    "leak": "a secret was sent where no rule puts it: to a host outside its scope, or by the client itself",
    "bypass": "this process connected past the proxy, so nothing there was injected or looked at",
    "cleartext": "a credential went to an upstream that is neither TLS nor loopback",
    "violation": "a request tried what could bring a credential to a place where it does not belong",
}

CURES = {
    "leak": (
        "the client holds the secret, so look for the variable, the file or the answer that it has it from and take it"
        " away there, or give it a placeholder; where the host is meant to get it, add a rule for it"
    ),
    "echo": "the upstream sends the secret back: have it left out there; a stub that echoes does that by itself",
    "bypass": "each line ends with what leads that client to the proxy; no_proxy names hosts that go direct on purpose",
    "cleartext": "lead the name to https or wss, or to an upstream on this machine, or take its rule away",
    "violation": (
        "have the client name one host in its URL, its TLS handshake and its Host header, and send neither TRACE nor a"
        " CONNECT inside a tunnel"
    ),
}
"""What to do about each kind; `echo` is a leak in what came back."""


def read_fail_on(texts: Iterable[str]) -> tuple[str, ...]:
    """The words in texts, commas or white space between them, each once, in the order of `FAIL_ON`; none for `none`.

    Raises ValueError for a word that there is not, for `none` beside others, and where nothing is said.
    """
    said = [word for text in texts for word in text.replace(",", " ").split()]
    known = f"{', '.join(FAIL_ON)}; or {_NOTHING}"
    for word in said:
        if word not in (*FAIL_ON, _NOTHING):
            raise ValueError(f"must be a list of {known}; {word!r} is none of them")
    if not said:
        raise ValueError(f"must be a list of {known}")
    if _NOTHING in said and len(set(said)) > 1:
        raise ValueError(f"must be a list of {known}, which stands alone")
    return tuple(word for word in FAIL_ON if word in said)


def failing(findings: Iterable[Mapping[str, Any]], fail_on: Sequence[str]) -> list[Mapping[str, Any]]:
    """The findings (see `scope.finding_facts`) of a kind that fails a test, in the order of `FAIL_ON`."""
    found = [finding for finding in findings if finding["kind"] in fail_on]
    return sorted(found, key=lambda finding: FAIL_ON.index(finding["kind"]))


def counted(count: int, kind: str) -> str:
    """`1 leak`, `2 bypasses`: how many findings of a kind there are."""
    return f"{count} {_NOUNS[kind][count > 1]}"


def tell_findings(findings: Sequence[Mapping[str, Any]], fail_on: Sequence[str]) -> str:
    """The text of a test that fails for what was found in it.

    Args:
        findings: see `failing`.
        fail_on: the words in force.
    """
    counts = Counter(finding["kind"] for finding in findings)
    found = " and ".join(counted(count, kind) for kind, count in counts.items())
    lines = [f"gatekeeper: {found} in this test"]
    lines.extend(f"  {finding['kind']}: {finding['text']}" for finding in findings[:_LISTED])
    if len(findings) > _LISTED:
        lines.append(f"  … and {len(findings) - _LISTED} more")
    lines.extend(f"A {kind}: {_MEANING[kind]}. What to do: {CURES[kind]}." for kind in counts)
    rest = [word for word in fail_on if word not in counts]
    marker = f"@pytest.mark.gatekeeper(fail_on={rest})".replace("'", '"')
    lines.append(
        f"Where a test means to do this: {marker} on it; for a whole run: "
        f"--gatekeeper-fail-on {','.join(rest) or _NOTHING}."
    )
    return "\n".join(lines)


def tell_unused(rules: Sequence[tuple[str, str, str, str]], why_not: str = "") -> str:
    """The line on rules that no test used.

    Args:
        rules: of each its id, pattern, header and grant.
        why_not: what keeps it from failing the run, if anything does.
    """
    named = ", ".join(
        f"{id} ({pattern}, {header}{f', grant {grant}' if grant else ''})" for id, pattern, header, grant in rules
    )
    count = "1 rule was" if len(rules) == 1 else f"{len(rules)} rules were"
    if why_not:
        return f"unused: {count} never used: {named}; that fails no run in which {why_not}"
    return (
        f"unused: the run fails, since {count} never used: {named}; let a test use what is needed, remove the rest, "
        "or take `unused` out of fail-on"
    )
