"""Small pieces of the report's page: text from outside, escaped, and the badges.

Nothing reaches the page but through `text`.
"""

from __future__ import annotations

import html

from pytest_gatekeeper._core.telling import plain

__all__ = ["badge", "code", "text"]

_TONES = {
    "passed": "good", "failed": "bad", "error": "bad", "leak": "bad", "violation": "bad", "bypass": "bad",
    "cleartext": "warn", "xpassed": "warn", "unfinished": "warn", "never used": "warn",
}  # fmt: skip


def text(value: object) -> str:
    """Anything from outside as one line of text, also for an attribute in quotes."""
    return html.escape(plain(str(value)))


def code(value: object) -> str:
    """A name or a URL, in the monospaced type."""
    return f'<span class="mono">{text(value)}</span>'


def badge(word: str, tone: str = "") -> str:
    """A word on a ground of its tone: `good`, `bad`, `warn`, `key` or `plain`; without one, the word's own."""
    return f'<span class="badge {tone or _TONES.get(word, "plain")}">{text(word)}</span>'
