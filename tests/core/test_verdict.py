"""What fails: the words, and the texts word by word."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.verdict import DEFAULT, FAIL_ON, failing, read_fail_on, tell_findings, tell_unused

LEAK = {"kind": "leak", "text": "<secret 1a2b3c4d> of credentials[0] in body of GET https://b.example.com/, offset 0"}
VIOLATION = {"kind": "violation", "text": "trace: TRACE reflects credentials; refused"}


class TestWords:
    @pytest.mark.parametrize(
        ("said", "read"),
        [
            (["leak"], ("leak",)),
            (["violation", " leak "], ("leak", "violation")),
            (["unused", "unused", ""], ("unused",)),
            (FAIL_ON, FAIL_ON),
            (["none"], ()),
            (["none", "none"], ()),
        ],
    )
    def test_what_is_said(self, said: list[str], read: tuple[str, ...]) -> None:
        """Words come once and in one order; `none` is no word at all."""
        assert read_fail_on(said) == read

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            (["leaks"], "'leaks' is none of them"),
            (["LEAK"], "'LEAK' is none of them"),
            (["none", "leak"], "or none, which stands alone"),
            ([], "must be a list of leak, unused, bypass, cleartext, violation; or none"),
            (["", " "], "must be a list of"),
        ],
    )
    def test_what_cannot_be_read(self, said: list[str], why: str) -> None:
        """An unknown word, `none` beside others and nothing at all are refused, with the words that there are."""
        with pytest.raises(ValueError, match=r"leak, unused, bypass, cleartext, violation; or none") as caught:
            read_fail_on(said)
        assert why in str(caught.value)

    def test_the_default(self) -> None:
        """Without a word said, leaks and violations fail."""
        assert read_fail_on(DEFAULT) == ("leak", "violation")


class TestTexts:
    def test_failing(self) -> None:
        """Only the kinds that were asked for count, in the order of the words."""
        assert failing([VIOLATION, LEAK], DEFAULT) == [LEAK, VIOLATION]
        assert failing([VIOLATION, LEAK], ("violation",)) == [VIOLATION]
        assert failing([VIOLATION, LEAK], ()) == []

    def test_findings(self) -> None:
        """What, where, whose secret, what it means, and how to switch it off, without switching off the rest."""
        assert tell_findings([LEAK, VIOLATION, VIOLATION], ("leak", "unused", "violation")).splitlines() == [
            "gatekeeper: 1 leak and 2 violations in this test",
            f"  leak: {LEAK['text']}",
            f"  violation: {VIOLATION['text']}",
            f"  violation: {VIOLATION['text']}",
            "A leak: a secret was sent where no rule puts it: to a host outside its scope, or by the client itself. "
            "What to do: the client holds the secret, so look for the variable, the file or the answer that it has it "
            "from and take it away there, or give it a placeholder; where the host is meant to get it, add a rule for "
            "it.",
            "A violation: a request tried what could bring a credential to a place where it does not belong. "
            "What to do: have the client name one host in its URL, its TLS handshake and its Host header, and send "
            "neither TRACE nor a CONNECT inside a tunnel.",
            'Where a test means to do this: @pytest.mark.gatekeeper(fail_on=["unused"]) on it; '
            "for a whole run: --gatekeeper-fail-on unused.",
        ]

    @pytest.mark.parametrize("kind", [word for word in FAIL_ON if word != "unused"])
    def test_a_way_out(self, kind: str) -> None:
        """Each kind of finding has one."""
        assert "What to do: " in tell_findings([{**LEAK, "kind": kind}], FAIL_ON)

    def test_the_last_word(self) -> None:
        """Where nothing else would be left, the way out is an empty list and `none`."""
        assert tell_findings([LEAK], ("leak",)).endswith(
            "(fail_on=[]) on it; for a whole run: --gatekeeper-fail-on none."
        )

    def test_many(self) -> None:
        """Twenty are told, the others counted."""
        lines = tell_findings([LEAK] * 23, DEFAULT).splitlines()
        assert lines[0] == "gatekeeper: 23 leaks in this test"
        assert lines[21] == "  … and 3 more"

    def test_unused(self) -> None:
        """The rules are named, and what can be done."""
        rules = [("credentials[0]", "*.example.com", "X-Api-Key", "api"), ("added[0]", "b.example.com", "Auth", "")]
        assert tell_unused(rules) == (
            "unused: the run fails, since 2 rules were never used: credentials[0] (*.example.com, X-Api-Key, grant api)"
            ", added[0] (b.example.com, Auth); let a test use what is needed, remove the rest, or take `unused` out of"
            " fail-on"
        )

    def test_unused_in_a_part(self) -> None:
        """In a part of a suite they are named, and it is said why that fails nothing."""
        assert tell_unused([("added[0]", "b.example.com", "Auth", "")], "tests were deselected (3)") == (
            "unused: 1 rule was never used: added[0] (b.example.com, Auth);"
            " that fails no run in which tests were deselected (3)"
        )
