"""The exchanges of the report's page, by test: what was asked, what was answered, which credential went along.

Each test and each exchange folds, without a script. A page is text made from facts; see `page`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_gatekeeper._core.hosts import join_authority
from pytest_gatekeeper._core.page_text import badge, code, text
from pytest_gatekeeper._core.report import went_astray
from pytest_gatekeeper._core.scope import Fact
from pytest_gatekeeper._core.telling import numbered

__all__ = ["anchors", "exchanges"]

_OPEN = 40  # exchanges up to which every test is unfolded
_HEADS = {"request_headers": "request", "forwarded_headers": "sent upstream", "response_headers": "answer"}

_BAR = """<div class="bar" id="bar" hidden>
<input type="search" id="query" placeholder="Filter by test, host, path, grant, status" aria-label="Filter exchanges">
<label><input type="radio" name="only" value="all" checked> all</label>
<label><input type="radio" name="only" value="injected"> with a credential</label>
<label><input type="radio" name="only" value="found"> with a finding</label>
<output id="shown"></output>
</div>
"""


def anchors(report: Fact) -> dict[str, str]:
    """Where on the page each test is, by its name."""
    names = [test["id"] for test in report["tests"]]
    names.extend(fact["test"] for fact in (*report["exchanges"], *report["tunnels"]))
    return {name: f"test-{number}" for number, name in enumerate(dict.fromkeys(names), 1)}


def exchanges(report: Fact) -> str:
    """The section: a filter, and the tests with what they did."""
    places = anchors(report)
    by_test: dict[str, list[Fact]] = {name: [] for name in places}
    for fact in (*report["exchanges"], *report["tunnels"]):
        by_test[fact["test"]].append(fact)
    about = {test["id"]: test for test in report["tests"]}
    leaking = {
        (leak.get("arrived", leak["test"]), leak["proxy"], leak["exchange"])
        for leak in report["leaks"]
        if went_astray(leak)
    }
    unfolded = len(report["exchanges"]) <= _OPEN
    tests = "".join(
        _test(name, places[name], about.get(name), facts, leaking, unfolded) for name, facts in by_test.items()
    )
    if not tests:
        tests = '<div class="card"><p class="empty">No test used a proxy.</p></div>\n'
    count = numbered(len(by_test), "test")
    return f'<h2 id="exchanges">Exchanges by test <small>{count}</small></h2>\n{_BAR if by_test else ""}{tests}'


def _test(
    name: str,
    place: str,
    about: Fact | None,
    facts: Sequence[Fact],
    leaking: set[tuple[str, str, int]],
    unfolded: bool,
) -> str:
    rows, found = [], False
    for fact in facts:
        leaked = "method" in fact and (fact["test"], fact["proxy"], fact["id"]) in leaking
        bad = bool(leaked or fact["violations"] or fact.get("cleartext"))
        rows.append(_exchange(fact, bad, leaked) if "method" in fact else _tunnel(fact, bad))
        found = found or bad
    counts = ""
    if about is not None:
        counts = f"{numbered(about['exchanges'], 'exchange')}, {about['injected']} with a credential"
    if not rows:
        rows.append('<p class="empty note">No request reached the proxy.</p>\n')
    if about is not None and about["left_out"]:
        rows.append(f'<p class="empty note">… and {about["left_out"]:,} more that this report leaves out.</p>\n')
    outcome = badge(about["outcome"]) if about is not None else badge("between tests")
    opened = " open" if found or unfolded else ""
    return (
        f'<details class="test card" id="{place}"{opened}><summary>{outcome}<span>{code(name)}</span>'
        f'<span class="count">{counts}</span></summary>\n{"".join(rows)}</details>\n'
    )


# ------------------------------------------------------------------ one exchange


def _exchange(fact: Fact, found: bool, leaked: bool) -> str:
    kinds = "".join((" injected" if fact["injections"] else "", " found" if found else ""))
    status = fact["status"] if fact["status"] is not None else "-"
    time = f"{fact['duration'] * 1000:,.0f} ms" if fact["duration"] is not None else ""
    return _folding(kinds, fact["method"], fact["url"], status, _fate(fact, leaked), time, _more(fact))


def _tunnel(fact: Fact, found: bool) -> str:
    url = join_authority(fact["host"], fact["port"]) if fact["host"] else "(unreadable)"
    status = fact["status"] if fact["status"] is not None else "-"
    fate = "".join(badge(violation["kind"], "bad") for violation in fact["violations"])
    if fact["denied"]:
        fate += badge("denied by policy", "warn")
    fate += text(fact["error"] or "" if fact["error"] or fate else "no request came through it")
    more = _list({
        "TLS": fact["tls_version"] or "none", "SNI": fact["sni"], "closed by": fact["closed"], "error": fact["error"],
        **_violations(fact),
    })  # fmt: skip
    return _folding(" tunnel found" if found else " tunnel", "CONNECT", url, status, fate, "", more)


def _folding(kinds: str, method: object, url: object, status: object, fate: str, time: str, more: str) -> str:
    return (
        f'<details class="ex{kinds}"><summary><span class="mono">{text(method)}</span>'
        f'<span class="url">{code(url)}</span><span class="n">{text(status)}</span><span class="fate">{fate}</span>'
        f'<span class="n time">{time}</span></summary>\n<div class="more">{more}</div></details>\n'
    )


def _fate(fact: Fact, leaked: bool) -> str:
    """What became of it, as badges and words."""
    parts = [
        badge(f"{done['header']} · {done['grant']}" if done["grant"] else done["header"], "key")
        for done in fact["injections"]
    ]
    parts.extend(badge(violation["kind"], "bad") for violation in fact["violations"])
    if fact["cleartext"]:
        parts.append(badge("cleartext"))
    if leaked:
        parts.append(badge("leak"))
    if fact["unscanned"]:
        parts.append(badge("not scanned", "warn"))
    if fact["upstream_verified"] is False:
        parts.append(badge("not verified", "warn"))
    if fact["denied"]:
        parts.append(badge("denied by policy", "warn"))
    said = fact["error"] or fact["deny_reason"] or (not fact["injections"] and fact["reason"]) or ""
    return "".join(parts) + text(said)


def _more(fact: Fact) -> str:
    """What a click on an exchange shows."""
    rows: dict[str, object] = {
        f"credential in {done['header']}": f"<secret {done['secret']}> by {done['rule']}"
        + (f", grant {done['grant']}" if done["grant"] else "")
        for done in fact["injections"]
    }
    rows.update({
        "not scanned": "; ".join(fact["unscanned"]),
        "why none": fact["reason"], "denied": fact["deny_reason"], "failed": fact["error"], **_violations(fact),
        "upstream": fact["upstream"], "subprotocol": fact["subprotocol"],
        "bytes": f"{fact['request_size']:,} up, {fact['response_size']:,} down", "closed by": fact["closed"],
        "proxy": f"{fact['proxy']}, exchange {fact['id']}, HTTP/{fact['http_version']}",
        "request id": fact["request_id"],
    })  # fmt: skip
    heads = "".join(_head(title, fact[name]) for name, title in _HEADS.items() if fact.get(name))
    return _list(rows) + (f'<div class="heads">{heads}</div>' if heads else "")


def _violations(fact: Fact) -> dict[str, object]:
    return {f"violation {one['kind']}": f"{one['text']}; {one['action']}" for one in fact["violations"]}


def _list(rows: Mapping[str, object]) -> str:
    items = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows.items() if value)
    return f"<dl>{items}</dl>"


def _head(title: str, headers: Iterable[Sequence[str]]) -> str:
    lines = "\n".join(f"{text(name)}: {text(value)}" for name, value in headers)
    return f"<div><h3>{title}</h3><pre>{lines}</pre></div>"
