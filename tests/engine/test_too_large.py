"""What a client is told whose head is too large: which limit, and what to do about it."""

from __future__ import annotations

import pytest

from tests.engine.conftest import World, ways

HUGE = "X-Huge: " + "x" * 1_100_000
MANY = [f"X-{number}: 1" for number in range(10_000)]


@ways
@pytest.mark.parametrize(
    ("fields", "told"),
    [([HUGE], "the message head is larger than 1048576 bytes"), (MANY, "the message has more than 4000 header fields")],
    ids=["bytes", "fields"],
)
def test_the_body_of_431(world: World, way: str, fields: list[str], told: str) -> None:
    """Text that says which limit it was; nothing went upstream, and the connection ends."""
    stub = world.serve(b"")
    client = world.client(way)
    client.ask("GET", "/", *fields)
    answer = client.message()
    assert (answer.status, answer.get("content-type")) == (431, "text/plain; charset=utf-8")
    assert answer.body.decode() == f"{told}\n"
    assert answer.get("connection") == "close"
    assert stub.heads == []
