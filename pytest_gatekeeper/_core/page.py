"""The report as one page of HTML that needs nothing else.

Takes the document of `report` and gives text. Everything that came from outside passes `page_text.text`, which escapes
it; the Content Security Policy allows only our own style and script, by their hashes. What these are is `page_style`'s.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from pytest_gatekeeper._core.page_exchanges import anchors, exchanges
from pytest_gatekeeper._core.page_style import SCRIPT, STYLE
from pytest_gatekeeper._core.page_text import badge, code, text
from pytest_gatekeeper._core.report import went_astray
from pytest_gatekeeper._core.scope import HEADINGS, Fact
from pytest_gatekeeper._core.telling import numbered
from pytest_gatekeeper._core.verdict import counted

__all__ = ["to_html"]

_KINDS = {"leak": "leaks", "violation": "violations", "bypass": "bypasses", "cleartext": "cleartext"}


def to_html(report: Fact) -> str:
    """The page.

    Args:
        report: see `report.document`.
    """
    title = "Which credential went where"
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; ',
            f"style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'\">\n",
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
            _top(report, title),
            '<main class="wrap">\n',
            _verdict(report),
            _tiles(report["summary"]),
            _scope(report["rules"]),
            _findings(report, anchors(report)),
            exchanges(report),
            f"</main>\n{_foot(report)}<script>{SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


# ------------------------------------------------------------------ the whole run


def _top(report: Fact, title: str) -> str:
    about = {
        "Made": report["created"].replace("T", " ").replace("+00:00", " UTC"),
        "Configuration": report["config"] or "none",
        "Secrets": report["secrets"],
        "Fails on": ", ".join(report["fail_on"]) or "nothing",
        "Exit status": report["exit_status"],
    }
    said = "".join(f"<span>{name} {code(value)}</span>" for name, value in about.items())
    return (
        f'<header class="top"><div class="wrap">\n<p class="eyebrow">{text(report["generator"])}</p>\n'
        f'<h1>{title}</h1>\n<p class="about">{said}</p>\n</div></header>\n'
    )


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _verdict(report: Fact) -> str:
    summary = report["summary"]
    found = {"leak": summary["leaks"], "violation": summary["violations"], "bypass": summary["bypasses"]}
    parts = [counted(count, kind) for kind, count in found.items() if count]
    if summary["cleartext"]:
        parts.append(f"{numbered(summary['cleartext'], 'credential')} in cleartext")
    if parts:
        tone, said = "bad", "Found: " + ", ".join(parts) + "."
    elif not summary["injected"]:
        tone, said = "warn", "No credential was sent, so there was nothing to go astray."
    else:
        known = ", as far as this report goes" if report["lost"] else ""
        tone, said = "good", f"Every credential that was sent stayed in its scope{known}."
    lost = "".join(
        f"<p>{text(one['worker'])} crashed: what {code(one['test'] or 'its test')} did is not in this report.</p>"
        for one in report["lost"]
    )
    return f'<div class="verdict {"warn" if lost and tone == "good" else tone}">{said}{lost}</div>\n'


def _tiles(summary: Mapping[str, int]) -> str:
    found = sum(summary[kind] for kind in _KINDS.values())
    tiles = [
        ("Findings", found, "leaks, violations, bypasses, cleartext"),
        ("Rules", summary["rules"], f"{summary['unused']} never used" if summary["unused"] else "all used"),
        ("Tests with a proxy", summary["tests"], ""),
        ("Exchanges", summary["exchanges"], ""),
        ("With a credential", summary["injected"], ""),
    ]
    cells = (
        f'<div class="tile"><dt>{name}</dt><dd>{number:,}<small>{note}</small></dd></div>\n'
        for name, number, note in tiles
    )
    return f'<dl class="tiles">\n{"".join(cells)}</dl>\n'


def _foot(report: Fact) -> str:
    return (
        f'<footer class="wrap">{text(report["generator"])}, schema {text(report["schema"])} {report["version"]}. '
        "Secrets show as fingerprints, which are equal for equal values within this run alone. Bodies are not kept."
        "</footer>\n"
    )


# ------------------------------------------------------------------ scope and findings


def _scope(rules: Sequence[Fact]) -> str:
    if not rules:
        return '<h2 id="scope">Scope</h2>\n<div class="card"><p class="empty">No rule was in force.</p></div>\n'
    heads = "".join(f"<th{' class=n' if at > 3 else ''}>{name}</th>" for at, name in enumerate(HEADINGS))
    return (
        f'<h2 id="scope">Scope <small>one row for each rule</small></h2>\n<div class="card"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{''.join(map(_rule, rules))}</tbody>\n</table></div>\n"
    )


def _rule(rule: Fact) -> str:
    grant = badge(rule["grant"], "key") if rule["grant"] else "-"
    if rule["used"]:
        hosts = "".join(f"<li>{code(host)}</li>" for host in rule["hosts"])
        numbers = [rule["requests"], rule["upgrades"], len(rule["tests"])]
        rest = _cell("hosts reached", f'<ul class="hosts">{hosts}</ul>')
        rest += "".join(_cell(name, f"{number:,}", " class=n") for name, number in zip(HEADINGS[4:], numbers))
    else:
        rest = _cell("hosts reached", badge("never used"), ' colspan="4"')
    cells = _cell("host pattern", code(rule["pattern"])) + _cell("header", code(rule["header"]))
    return f'<tr title="{text(rule["id"])}">{cells}{_cell("grant", grant)}{rest}</tr>\n'


def _cell(name: str, content: str, attributes: str = "") -> str:
    return f'<td data-name="{name}"{attributes}><span>{content}</span></td>'


def _findings(report: Fact, places: Mapping[str, str]) -> str:
    leaks = [leak for leak in report["leaks"] if went_astray(leak)]
    others = [leak for leak in report["leaks"] if not went_astray(leak)]
    lists = {**{kind: report[name] for kind, name in _KINDS.items()}, "leak": leaks}
    cards = [_finding(kind, fact, places) for kind, facts in lists.items() for fact in facts]
    body = "".join(cards) or '<p class="empty">Nothing was found.</p>\n'
    made = f'<h2 id="findings">Findings <small>{len(cards)}</small></h2>\n<div class="card">\n{body}</div>\n'
    if others:
        seen = "".join(_finding("seen", fact, places) for fact in others)
        made += (
            f'<details class="seen card"><summary><span>{numbered(len(others), "secret")} seen without being a leak: '
            f"echoed by an upstream, or held by the client</span></summary>\n{seen}</details>\n"
        )
    return made


def _finding(kind: str, fact: Fact, places: Mapping[str, str]) -> str:
    test = fact["test"]
    link = f'<a href="#{places[test]}">{code(test)}</a>' if test in places else code(test or "between tests")
    return f'<div class="finding"><div>{badge(kind)}</div><p>{text(fact["text"])}</p><p class="at">{link}</p></div>\n'
