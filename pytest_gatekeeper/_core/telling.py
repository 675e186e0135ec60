"""What happened, in words: one line for each record, tables of them, and the texts of failed assertions.

Takes records and gives finished text, for failed assertions, the "Captured gatekeeper" section and reports. Why nothing
matched is `nearest`'s, the table of rules is `scope`'s. Records hold no secret; a caller that has values of its own to
hide passes a `blank`, which sees every text before it is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from pytest_gatekeeper._core.answers import denial
from pytest_gatekeeper._core.hosts import join_authority
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak, Tunnel

__all__ = [
    "SILENCE", "Scene", "Traced", "clip", "columns", "describe", "failure", "fate", "is_telling", "numbered", "plain",
    "sentence", "story", "table", "tell_bypass", "tell_denial", "tell_failure", "tell_leak", "tell_violations",
]  # fmt: skip

Traced = Exchange | Tunnel
"""What a story is told of."""

Blank = Callable[[str], str]
"""Hides values in a text."""

SILENCE = "no request reached the proxy: does the client read HTTPS_PROXY?"
"""What is told where nothing happened."""

_ROWS = 20
_URL = 72
_UNSECURED = (
    "and TLS has not begun or not finished: if the client has failed already, it probably does not trust the proxy's CA"
)
_OPEN = 200  # the status of a tunnel that may carry something


def _same(text: str) -> str:
    return text


class Scene(NamedTuple):
    """All that a recorder knows about what happened.

    Attributes:
        records: exchanges and tunnels in order of arrival.
        grants: labels of the rules in force.
        leaks: secrets where they do not belong.
        bypasses: connections past the proxy.
        late: how many connections came while no test held the proxy.
        blank: hides what no text may show.
    """

    records: tuple[Traced, ...] = ()
    grants: tuple[str, ...] = ()
    leaks: tuple[Leak, ...] = ()
    bypasses: tuple[Bypass, ...] = ()
    late: int = 0
    blank: Blank = _same

    @property
    def exchanges(self) -> list[Exchange]:
        """The exchanges alone."""
        return [record for record in self.records if isinstance(record, Exchange)]

    @property
    def tunnels(self) -> list[Tunnel]:
        """The tunnels alone."""
        return [record for record in self.records if isinstance(record, Tunnel)]

    @property
    def unfinished(self) -> bool:
        """Whether there is an open tunnel through which nothing came yet: what it means will show when it ends."""
        return any(
            tunnel.status == _OPEN and not (tunnel.closed or tunnel.exchanges or tunnel.denied or tunnel.error)
            for tunnel in self.tunnels
        )


# ------------------------------------------------------------------ text


def plain(text: str) -> str:
    """One line of printable text: control characters, which a client may have sent, are escaped."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def clip(text: str, width: int) -> str:
    """The text, its middle left out where it is longer than `width`."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of equally many cells, aligned, two spaces between columns."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


def sentence(text: str) -> str:
    """The text with one full stop at its end."""
    return text.rstrip(".") + "."


def numbered(count: int, noun: str) -> str:
    """`1 exchange`, `2 exchanges`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


# ------------------------------------------------------------------ one record


def fate(record: Traced, blank: Blank = _same) -> str:
    """What became of a record: what was injected by which rule, or why not, and what went wrong."""
    parts = _tunnel_fate(record) if isinstance(record, Tunnel) else _exchange_fate(record)
    parts.extend(f"violation {violation.kind}: {violation.action}" for violation in record.violations)
    return plain(blank("; ".join(part for part in parts if part)))


def _exchange_fate(exchange: Exchange) -> list[str]:
    return [
        _credentials(exchange),
        "upstream not verified" if exchange.upstream_verified is False else "",
        f"in cleartext to {exchange.upstream}" if exchange.cleartext else "",
        f"failed: {exchange.error}" if exchange.error else "",
    ]


def _credentials(exchange: Exchange) -> str:
    if exchange.injections:
        return ", ".join(
            f"{injection.header} by {injection.rule}" + (f" ({injection.grant})" if injection.grant else "")
            for injection in exchange.injections
        )
    if exchange.denied:
        return "denied by policy" + (f": {why}" if (why := _why_denied(exchange)) else "")
    return "no credential" + (f": {exchange.reason}" if exchange.reason else "")


def _why_denied(exchange: Exchange) -> str:
    """What a CONNECT says as well; `deny_reason` is production's, and names neither port nor way out."""
    return denial(exchange.host, exchange.port) if exchange.deny_reason else ""


def _tunnel_fate(tunnel: Tunnel) -> list[str]:
    if tunnel.denied or tunnel.error:
        parts = ("denied by policy" if tunnel.denied else "failed", tunnel.error)
        return [": ".join(part for part in parts if part)]
    if tunnel.exchanges:
        return [f"carried {numbered(len(tunnel.exchanges), 'exchange')}"]
    if tunnel.closed:
        return ["no request came through it"]
    if tunnel.tls_version is not None or tunnel.status != _OPEN:
        return ["no request came through it yet"]
    return [f"no request came through it yet, {_UNSECURED}"]


def _status(record: Traced) -> str:
    if record.status is not None:
        return str(record.status)
    return "no answer" if record.closed else "pending"


def _subject(record: Traced) -> tuple[str, str]:
    """Method and URL."""
    if isinstance(record, Tunnel):
        return "CONNECT", join_authority(record.host, record.port) if record.host else "(unreadable)"
    return record.method, record.url


def describe(record: Traced, blank: Blank = _same) -> str:
    """A record in one line: method, URL, status, and what became of it."""
    subject = (clip(plain(blank(text)), _URL) for text in _subject(record))
    return f"{' '.join(subject)} {_status(record)}: {fate(record, blank)}"


def is_telling(record: Traced) -> bool:
    """Whether a record says something that no other one does: a tunnel whose exchanges went well does not."""
    if isinstance(record, Exchange):
        return True
    return record.denied or bool(record.error or record.violations) or not record.exchanges


# ------------------------------------------------------------------ many records


def table(
    records: Iterable[Traced],
    *,
    limit: int = _ROWS,
    marked: Collection[Traced] = (),
    latest: bool = False,
    blank: Blank = _same,
) -> list[str]:
    """Records as aligned lines, in order: number, method, URL, status, and what became of it.

    Args:
        records: tunnels whose exchanges tell their story are left out.
        limit: the most rows to show; the last line counts the others.
        marked: records to point at with `>`; they are shown before others.
        latest: show the last ones where there are too many, and not the first.
        blank: hides what must not be shown.
    """
    told = [record for record in records if is_telling(record)]
    pointed = set(marked)
    order = range(len(told) - 1, -1, -1) if latest else range(len(told))
    shown = set(sorted(order, key=lambda at: told[at] not in pointed)[:limit])
    rows = []
    for at in sorted(shown):
        record = told[at]
        mark = ">" if record in pointed else " "
        number = str(record.id) if isinstance(record, Exchange) else ""
        method, url = (clip(plain(blank(text)), _URL) for text in _subject(record))
        rows.append((mark + number, method, url, _status(record), fate(record, blank)))
    lines = columns(rows)
    if len(told) > limit:
        left = len(told) - limit
        lines = [f" … {left} before", *lines] if latest else [*lines, f" … and {left} more"]
    return lines


def tell_leak(leak: Leak) -> str:
    """A leak in one line."""
    whose = f"{leak.secret} of {leak.rule}" + (f" ({leak.grant})" if leak.grant else "")
    method, url = _subject(leak.exchange)
    where = f"{leak.place} of {'the answer to ' if leak.direction == 'client' else ''}{method} {clip(plain(url), _URL)}"
    times = f", {leak.count} times" if leak.count > 1 else ""
    held = "; the client itself holds the secret" if leak.client_held else ""
    return f"{whose} in {where}, offset {leak.offset}{times}{held}"


def tell_bypass(bypass: Bypass) -> str:
    """A bypass in one line, with its cure."""
    client = bypass.client or "a client"
    cure = f"; cure: {bypass.cure}" if bypass.cure else ""
    where = join_authority(bypass.host, bypass.port) if bypass.port else bypass.host  # a look-up may have none
    return plain(f"{client} went past the proxy to {where}{cure}")


def tell_denial(record: Traced) -> tuple[str, str]:
    """What policy refused, method and URL, and why."""
    return _told(record, record.error if isinstance(record, Tunnel) else _why_denied(record))


def tell_failure(record: Traced) -> tuple[str, str]:
    """What went wrong, method and URL, and why."""
    return _told(record, record.error)


def _told(record: Traced, why: str | None) -> tuple[str, str]:
    method, url = _subject(record)
    return f"{plain(method)} {clip(plain(url), _URL)}", plain(why or "")


def tell_violations(record: Traced) -> list[str]:
    """The violations of a record, a line for each."""
    method, url = _subject(record)
    where = f"{plain(method)} {clip(plain(url), _URL)}"
    return [
        plain(f"{violation.kind}: {violation.text}; {violation.action} ({where})") for violation in record.violations
    ]


def story(scene: Scene, limit: int) -> str:
    """All that happened, in lines: the latest `limit` records, the first leaks and bypasses."""
    lines = table(scene.records, limit=limit, latest=True, blank=scene.blank)
    leaks = [leak for leak in scene.leaks if leak.astray]
    lines.extend(f" leak: {scene.blank(tell_leak(leak))}" for leak in leaks[:limit])
    lines.extend(f" bypass: {scene.blank(tell_bypass(bypass))}" for bypass in scene.bypasses[:limit])
    if scene.late:
        lines.append(f" {numbered(scene.late, 'connection')} came while no test held the proxy")
    return "\n".join(lines)


def failure(problem: str, expected: str, miss: str, scene: Scene, marked: Collection[Traced] = ()) -> str:
    """The text of a failed assertion: the problem, what was expected, the nearest miss, the table of what happened."""
    lines = [problem, f"Expected: {expected}."]
    if miss:
        lines.append(f"Nearest miss: {miss}")
    happened = table(scene.records, marked=marked, blank=scene.blank)
    lines.append("What happened:" if happened else "What happened: nothing.")
    return "\n".join([*map(scene.blank, lines), *(f"  {line}" for line in happened)])
