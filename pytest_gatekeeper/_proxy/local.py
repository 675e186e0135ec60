"""Answers that the proxy sends itself.

Writes what `_core.answers` worded, framed, with or without a body. Nothing is decided here.
"""

from __future__ import annotations

from http import HTTPStatus

from pytest_gatekeeper._core.answers import TEXT
from pytest_gatekeeper._core.model import Headers
from pytest_gatekeeper._proxy.stream import Stream
from pytest_gatekeeper._proxy.wire import response_bytes

__all__ = ["answer", "answer_text", "reason_phrase"]


def reason_phrase(status: int) -> str:
    """The phrase that is registered for a status (RFC 9110 section 15), "" without one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


async def answer(
    stream: Stream, status: int, headers: Headers, body: str, *, close: bool = True, head_only: bool = False
) -> None:
    """Send an answer with a body of known length. Raises the stream's errors."""
    content = body.encode()
    fields = [*headers, ("Content-Length", str(len(content)))]
    if close:
        fields.append(("Connection", "close"))
    await stream.send(response_bytes(status, reason_phrase(status), tuple(fields)) + (b"" if head_only else content))


async def answer_text(stream: Stream, status: int, text: str) -> None:
    """Send a plain-text answer after which the connection is closed. Raises the stream's errors."""
    await answer(stream, status, TEXT, text)
