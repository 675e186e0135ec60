"""Values that stand in for secrets: made up, unique to run, test and rule, in the shape of what they replace.

A canary has to be sent like the real value would be, and to be told apart from any other when it turns up somewhere.
When one is used is decided by `_sources`; nothing here knows a real value but a static one, of which only the family
shows.
"""

from __future__ import annotations

import hashlib

from pytest_gatekeeper._core.model import Credential
from pytest_gatekeeper._core.rules import SCHEME

__all__ = ["canary"]

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_ALNUM = _LOWER.upper() + _LOWER + _DIGITS
_URL = _ALNUM + "-_"
_UPPER32 = _LOWER.upper() + "234567"  # base32
_HEX = "0123456789abcdef"

_Shape = tuple[str | tuple[str, int], ...]  # literal text, or characters of an alphabet

_GENERIC: _Shape = ("gatekeeper-canary-", (_HEX, 32))

_FAMILIES: dict[str, _Shape] = {  # by what a token begins with; longer beginnings stand before their own beginnings
    "ghp_": ("ghp_", (_ALNUM, 36)),
    "gho_": ("gho_", (_ALNUM, 36)),
    "ghu_": ("ghu_", (_ALNUM, 36)),
    "ghs_": ("ghs_", (_ALNUM, 36)),
    "ghr_": ("ghr_", (_ALNUM, 36)),
    "github_pat_": ("github_pat_", (_ALNUM, 22), "_", (_ALNUM, 59)),
    "glpat-": ("glpat-", (_URL, 20)),
    "sk-ant-api03-": ("sk-ant-api03-", (_URL, 93), "AA"),
    "sk-ant-oat01-": ("sk-ant-oat01-", (_URL, 93), "AA"),
    "sk-ant-": ("sk-ant-api03-", (_URL, 93), "AA"),
    "sk-proj-": ("sk-proj-", (_URL, 74), "T3BlbkFJ", (_URL, 74)),
    "sk-": ("sk-", (_ALNUM, 48)),
    "sk_live_": ("sk_live_", (_ALNUM, 24)),
    "sk_test_": ("sk_test_", (_ALNUM, 24)),
    "xoxb-": ("xoxb-", (_DIGITS, 12), "-", (_DIGITS, 13), "-", (_ALNUM, 24)),
    "xoxp-": ("xoxp-", (_DIGITS, 12), "-", (_DIGITS, 12), "-", (_DIGITS, 13), "-", (_HEX, 32)),
    "AKIA": ("AKIA", (_UPPER32, 16)),
    "ASIA": ("ASIA", (_UPPER32, 16)),
    "AIza": ("AIza", (_URL, 35)),
    "ya29.": ("ya29.", (_URL, 68)),
    "npm_": ("npm_", (_ALNUM, 36)),
    "pypi-": ("pypi-AgEIcHlwaS5vcmc", (_URL, 150)),
    "hf_": ("hf_", (_ALNUM, 34)),
    "dop_v1_": ("dop_v1_", (_HEX, 64)),
    "SG.": ("SG.", (_URL, 22), ".", (_URL, 43)),
    "eyJ": ("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJnYXRla2VlcGVyLWNhbmFyeSJ9.", (_URL, 43)),  # a JWT by gatekeeper-canary
}

_MINTED = {"github-app": "ghs_", "gcp-service-account": "ya29."}  # what a kind of source always gives


def canary(credential: Credential, key: bytes, salt: str, rule_id: str) -> str:
    """A value in the place of a credential's: 20 or more ASCII characters that any header can hold.

    The same arguments give the same value, any other argument another one. It keeps the shape of a token family that
    is known (of a static value, or of a kind of source that gives no other) and a scheme in front of a static value;
    anything else becomes `gatekeeper-canary-` and 32 hexadecimal digits.

    Args:
        credential: whose value is replaced. Only a static value is looked at.
        key: of the run, at least 16 bytes.
        salt: of the test.
        rule_id: of the rule.
    """
    value = ""
    static = credential.source.secret("value") if credential.source.type == "static" else None
    if static is not None:
        value = static.reveal().strip()
    match = SCHEME.match(value)
    scheme = match[0] if match else ""
    token = value[len(scheme) :].strip()
    start = _MINTED.get(credential.source.type) or next((start for start in _FAMILIES if token.startswith(start)), "")
    return scheme + _filled(_FAMILIES.get(start, _GENERIC), _Dice(key, salt, rule_id))


class _Dice:
    """Characters that follow from a key and two texts and look like chance."""

    def __init__(self, key: bytes, salt: str, rule_id: str) -> None:
        parts = (key, salt.encode("utf-8", "surrogatepass"), rule_id.encode("utf-8", "surrogatepass"))
        self._seed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        self._stream = iter(b"")
        self._blocks = 0

    def _byte(self) -> int:
        for byte in self._stream:
            return byte
        self._stream = iter(hashlib.blake2b(self._seed + self._blocks.to_bytes(8, "big")).digest())
        self._blocks += 1
        return self._byte()

    def char(self, alphabet: str) -> str:
        """One character, each as likely as the others."""
        fair = 256 - 256 % len(alphabet)
        while (byte := self._byte()) >= fair:
            pass
        return alphabet[byte % len(alphabet)]


def _filled(shape: _Shape, dice: _Dice) -> str:
    parts = [part if isinstance(part, str) else "".join(dice.char(part[0]) for _ in range(part[1])) for part in shape]
    return "".join(parts)
