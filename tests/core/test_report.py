"""The report: facts without secrets, the document, and the page that it becomes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytest_gatekeeper._core.model import Injection, Rule, Violation
from pytest_gatekeeper._core.page import to_html
from pytest_gatekeeper._core.records import Bypass, Exchange, Leak, Tunnel
from pytest_gatekeeper._core.report import (
    DETAILS,
    bypass_fact,
    cleartext_fact,
    document,
    exchange_fact,
    leak_fact,
    to_json,
    tunnel_fact,
    violation_fact,
)
from pytest_gatekeeper._core.scope import Fact, scope_facts
from pytest_gatekeeper._core.secret import Secret

VALUE = "s3cret-of-this-report"
SECRET = Secret(VALUE)
RULE = Rule("credentials[0]", "*.example.com", "X-Api-Key", "api", SECRET, SECRET)
IDLE = Rule("credentials[1]", "idle.example.com", "Authorization", "", SECRET, SECRET)
ABOUT: Fact = {
    "generator": "pytest-gatekeeper 0.1.0", "created": "2026-01-02T03:04:05+00:00", "config": "gatekeeper.yaml",
    "secrets": "auto", "fail_on": ["leak"], "exit_status": 0, "lost": [],
}  # fmt: skip
EVIL = '<script>alert("x")</script>\x1b[31m'


def blank(text: str) -> str:
    """What a redactor does."""
    return text.replace(VALUE, repr(SECRET))


def exchange(id: int = 1, url: str = "/v1?page=2", *, injected: bool = True) -> Exchange:
    """One that went well."""
    made = Exchange(id, "GET", "https", "api.example.com", 443, url)
    made.status, made.closed, made.duration, made.started = 200, "client", 0.25, 7.5
    made.headers = (("Host", "api.example.com"),)
    if injected:
        made.injections = (Injection("X-Api-Key", "api", "credentials[0]", SECRET, SECRET),)
        made.forwarded_headers = (("Host", "api.example.com"), ("x-api-key", repr(SECRET)))
    else:
        made.reason = "no rule"
    return made


def report(*exchanges: Exchange, about: Fact | None = None, **details: list[Fact]) -> Fact:
    """A document of one test."""
    facts = [exchange_fact(made, "test_a", "gatekeeper_proxy", blank) for made in exchanges]
    tests = [{"id": "test_a", "outcome": "passed", "exchanges": len(exchanges), "leaks": 0, "left_out": 0,
              "injected": sum(made.credential_injected for made in exchanges)}]  # fmt: skip
    rules = scope_facts([RULE, IDLE], exchanges, "test_a")
    return document({**ABOUT, **(about or {})}, rules, tests, {"exchanges": facts, **details})


def everything() -> Fact:
    """A document with all that there can be, and with text from outside in all of it."""
    bad = exchange(2, f"/{EVIL}?q={VALUE}")
    bad.headers = (("X-Note", EVIL), ("User-Agent", VALUE))
    bad.violations = (Violation("inner-host", EVIL, "forwarded"),)
    bad.cleartext, bad.error, bad.deny_reason, bad.denied = True, EVIL, EVIL, True
    tunnel = Tunnel(3, EVIL, 443)
    tunnel.error, tunnel.sni, tunnel.violations = EVIL, EVIL, (Violation("sni", EVIL, "ignored"),)
    leak = Leak(SECRET, "credentials[0]", "api", "upstream", f"header {EVIL}", 7, bad)
    echo = Leak(SECRET, "credentials[0]", "api", "client", "body", 7, bad)
    at = ("test_a", "gatekeeper_proxy")
    return report(
        exchange(), bad,
        about={"config": EVIL, "lost": [{"worker": EVIL, "test": EVIL}]},
        tunnels=[tunnel_fact(tunnel, *at, blank)],
        leaks=[leak_fact(leak, *at, blank), leak_fact(echo, *at, blank)],
        violations=[violation_fact(bad, 0, EVIL, *at), violation_fact(tunnel, 0, EVIL, *at)],
        bypasses=[bypass_fact(Bypass(EVIL, 443, EVIL, EVIL), EVIL, "gatekeeper_proxy", blank)],
        cleartext=[cleartext_fact(bad, EVIL, *at)],
    )  # fmt: skip


class TestFacts:
    def test_an_exchange(self) -> None:
        """All that the recorder knows but for bodies; secrets are fingerprints."""
        assert exchange_fact(exchange(), "test_a", "gatekeeper_proxy", blank) == {
            "test": "test_a", "proxy": "gatekeeper_proxy", "id": 1, "method": "GET", "scheme": "https",
            "host": "api.example.com", "port": 443, "target": "/v1?page=2", "url": "https://api.example.com/v1?page=2",
            "http_version": "1.1", "status": 200, "reason": "", "is_upgrade": False, "upgraded": False,
            "subprotocol": None, "request_size": 0, "response_size": 0, "denied": False, "deny_reason": "",
            "error": None, "upstream": None, "upstream_verified": None, "cleartext": False,
            "unscanned": [], "started": 7.5, "duration": 0.25, "closed": "client", "request_id": "", "violations": [],
            "injections": [
                {"header": "X-Api-Key", "grant": "api", "rule": "credentials[0]", "secret": SECRET.fingerprint}
            ],
            "request_headers": [["Host", "api.example.com"]],
            "forwarded_headers": [["Host", "api.example.com"], ["x-api-key", repr(SECRET)]],
            "response_headers": [],
        }  # fmt: skip

    def test_without_headers(self) -> None:
        """Where there are very many exchanges, headers are left out and the rest stays."""
        fact = exchange_fact(exchange(), "test_a", "gatekeeper_proxy", blank, headers=False)
        assert not [name for name in fact if name.endswith("headers")]
        assert fact["injections"]

    @pytest.mark.parametrize(
        ("name", "value", "shown"),
        [
            ("Accept", "text/html", "text/html"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Authorization", "Bearer of-nobody-we-know", "<hidden>"),
            ("Proxy-Authorization", "Basic abc", "<hidden>"),
            ("Cookie", "session=1", "<hidden>"),
            ("Set-Cookie", "session=1", "<hidden>"),
            ("X-Amz-Security-Token", "abc", "<hidden>"),
            ("x-goog-api-key", "abc", "<hidden>"),
            ("Ocp-Apim-Subscription-Key", "abc", "<hidden>"),
            ("X-Odd", "of-a-rule", "<hidden>"),
            ("Authorization", f"Bearer {VALUE}", "Bearer FINGERPRINT"),
            ("X-Odd", VALUE, "FINGERPRINT"),
            ("Authorization", f"Bearer {VALUE}of-nobody", "<hidden>"),
            ("Referer", f"https://a/?k={VALUE}", "https://a/?k=FINGERPRINT"),
        ],
    )
    def test_headers(self, name: str, value: str, shown: str) -> None:
        """What usually is a credential, and what a rule writes, is a fingerprint or hidden."""
        made = exchange()
        made.headers = ((name, value),)
        made.injections = (made.injections[0]._replace(header="x-odd"),)
        assert exchange_fact(made, "t", "p", blank)["request_headers"] == [
            [name, shown.replace("FINGERPRINT", repr(SECRET))]
        ]

    def test_headers_are_bounded(self) -> None:
        """In number and in length."""
        made = exchange()
        made.headers = tuple((f"X-{n}", "v" * 9000) for n in range(100))
        headers = exchange_fact(made, "t", "p", blank)["request_headers"]
        assert len(headers) == 64
        assert {len(value) for _, value in headers} == {300}


class TestDocument:
    def test_a_run(self) -> None:
        """It says what it is, sums up, and says of each rule whether it was used."""
        made = report(exchange(), exchange(2, injected=False))
        assert (made["schema"], made["version"], made["complete"]) == ("pytest-gatekeeper/report", 1, True)
        assert made["summary"] == {
            "rules": 2, "unused": 1, "tests": 1, "exchanges": 2, "injected": 1,
            "leaks": 0, "violations": 0, "bypasses": 0, "cleartext": 0,
        }  # fmt: skip
        assert made["rules"] == [
            {
                "id": "credentials[0]", "pattern": "*.example.com", "header": "X-Api-Key", "grant": "api", "used": True,
                "hosts": ["api.example.com"], "requests": 1, "upgrades": 0, "tests": ["test_a"],
                "scanned": True, "canary": False,
            },
            {
                "id": "credentials[1]", "pattern": "idle.example.com", "header": "Authorization", "grant": "",
                "used": False, "hosts": [], "requests": 0, "upgrades": 0, "tests": [],
                "scanned": True, "canary": False,
            },
        ]  # fmt: skip

    def test_what_was_found(self) -> None:
        """Findings are counted; an echo stands in the list of leaks and does not count as one."""
        made = everything()
        assert made["summary"] == {
            "rules": 2, "unused": 1, "tests": 1, "exchanges": 2, "injected": 2,
            "leaks": 1, "violations": 2, "bypasses": 1, "cleartext": 1,
        }  # fmt: skip
        assert [leak["direction"] for leak in made["leaks"]] == ["upstream", "client"]
        assert made["leaks"][0]["secret"] == SECRET.fingerprint
        assert made["complete"] is False

    def test_order(self) -> None:
        """Whatever order the workers answer in: tests by name, facts of a test as they came."""
        facts = [exchange_fact(exchange(id), test, "p", blank) for id, test in [(1, "b"), (2, "b"), (1, "a")]]
        tests = [{"id": name, "exchanges": 0, "injected": 0} for name in "ba"]
        made = document(ABOUT, [], tests, {"exchanges": facts})
        assert [test["id"] for test in made["tests"]] == ["a", "b"]
        assert [(fact["test"], fact["id"]) for fact in made["exchanges"]] == [("a", 1), ("b", 1), ("b", 2)]

    def test_nothing(self) -> None:
        """A run without a proxy has all fields, empty."""
        made = document(ABOUT, [], [], {})
        assert {name: made[name] for name in (*DETAILS, "rules", "tests")} == {
            name: [] for name in (*DETAILS, "rules", "tests")
        }
        assert set(made["summary"].values()) == {0}

    def test_json(self) -> None:
        """It survives JSON unchanged, whatever clients sent, and no value is in it."""
        made = everything()
        text = to_json(made)
        assert json.loads(text) == made
        assert text.isascii() and text.endswith("}\n")
        assert VALUE not in text and SECRET.fingerprint in text


class TestDocumentation:
    """docs/report.md describes the document as it is."""

    PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")

    def test_the_document(self) -> None:
        """Its table has the fields of a document, and no other."""
        rows = re.findall(
            r"^\| (`.*?) \|", self.PAGE.partition("## Schema")[2].partition("**`rules`**")[0], re.MULTILINE
        )
        assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(everything())

    def test_an_exchange(self) -> None:
        """Its table has the fields of an exchange, and no other."""
        rows = re.findall(r"^\| (`.*?) \|", self._section("exchanges"), re.MULTILINE)
        fields = set(everything()["exchanges"][0]) - {"test", "proxy"}
        assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(fields)

    @pytest.mark.parametrize("name", [*DETAILS, "rules", "tests"])
    def test_each_list(self, name: str) -> None:
        """Each field of each list has its name in the list's section."""
        for fact in everything()[name]:
            inner = [one for many in fact.values() if isinstance(many, list) for one in many if isinstance(one, dict)]
            missing = (
                {*fact, *(key for one in inner for key in one)}
                - {"test", "proxy"}
                - set(re.findall(r"`(\w+)`", self._section(name)))
            )
            assert missing == set()

    def _section(self, name: str) -> str:
        return self.PAGE.partition(f"**`{name}`**")[2].partition("\n**`")[0]


class _Reader(HTMLParser):
    """Collects what a browser would: tags, what they refer to, text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.inside: dict[str, str] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["script"], ["style"]):
            self.inside[self.open[-1]] = data
        else:
            self.text += data


def read(page: str) -> _Reader:
    """The page as a browser reads it; each tag that opens is closed in turn."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


class TestPage:
    def test_it_needs_nothing_else(self) -> None:
        """No file and no host is referred to; style and script are the ones that the policy names by hash."""
        reader = read(to_html(everything()))
        links = [value or "" for name, value in reader.attributes if name in ("src", "href", "action", "srcset")]
        assert links
        assert [link for link in links if not link.startswith("#")] == []
        assert "url(" not in reader.inside["style"] and "@import" not in reader.inside["style"]
        (policy,) = [value or "" for _, value in reader.attributes if (value or "").startswith("default-src")]
        hashes = {
            name: "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            for name, text in reader.inside.items()
        }
        assert policy == f"default-src 'none'; style-src '{hashes['style']}'; script-src '{hashes['script']}'"
        assert not [name for name, _ in reader.attributes if name == "style" or name.startswith("on")]

    def test_links_lead_somewhere(self) -> None:
        """Each finding leads to its test, which is on the page."""
        reader = read(to_html(everything()))
        ids = [value for name, value in reader.attributes if name == "id"]
        links = {(value or "")[1:] for name, value in reader.attributes if name == "href"}
        assert links and links <= set(ids)
        assert len(set(ids)) == len(ids)

    def test_text_from_outside_is_text(self) -> None:
        """It is shown, escaped, and makes no element of its own."""
        page = to_html(everything())
        reader = read(page)
        assert reader.tags.count("script") == 1
        assert page.count("<script>") == 1
        assert 'alert("x")' in reader.text
        assert "\x1b" not in page

    def test_no_value_is_on_it(self) -> None:
        """A fingerprint stands for each."""
        page = to_html(everything())
        assert VALUE not in page
        assert SECRET.fingerprint in page

    def test_what_is_told(self) -> None:
        """Rules with their hosts, findings, exchanges by test, and what is missing."""
        text = " ".join(read(to_html(everything())).text.split())
        for told in ("Found: 1 leak, 2 violations, 1 bypass, 1 credential in cleartext.", "never used", "1 never used",
                     "*.example.com", "X-Api-Key · api", "2 exchanges, 2 with a credential", "inner-host", "crashed",
                     "1 secret seen without being a leak", "250 ms", "credentials[0], grant api"):  # fmt: skip
            assert told in text

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (report(exchange()), "Every credential that was sent stayed in its scope."),
            (
                report(exchange(), about={"lost": [{"worker": "gw0", "test": None}]}),
                "scope, as far as this report goes.",
            ),
            (report(exchange(injected=False)), "No credential was sent, so there was nothing to go astray."),
            (document(ABOUT, [], [], {}), "No test used a proxy."),
        ],
        ids=["good", "incomplete", "idle", "empty"],
    )
    def test_a_run_without_findings(self, made: dict[str, Any], said: str) -> None:
        """It is said what was shown: nothing found is no proof where nothing was sent."""
        text = read(to_html(made)).text
        assert said in text
        assert "Nothing was found." in text

    def test_what_is_left_out_is_counted(self) -> None:
        """Of a test with very many exchanges."""
        made = report(exchange())
        made["tests"][0]["left_out"] = 1234
        assert "… and 1,234 more that this report leaves out." in read(to_html(made)).text

    def test_classes_have_a_style(self) -> None:
        """Each class on the page is in the style, or is what the script looks for."""
        reader = read(to_html(everything()))
        classes = {word for name, value in reader.attributes if name == "class" for word in (value or "").split()}
        known = set(re.findall(r"\.([a-z]+)", reader.inside["style"])) | {"injected", "found", "tunnel", "url", "scope"}
        assert classes - known == set()
