"""Prepared answers: what can be one, and which of them a request gets."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pytest_gatekeeper._core.headers import values_of
from pytest_gatekeeper._origin.answers import Answer, Answers, as_bytes, make_answer, uses

GET = ("GET", "api.example.com", "/v1/users", False)


def test_bytes_are_sent_as_they_are_and_named_nothing() -> None:
    """Bytes get no Content-Type."""
    assert make_answer(body=b"\x00\x01") == Answer(200, (), b"\x00\x01")


@pytest.mark.parametrize(
    ("body", "content", "kind"),
    [
        ("é", b"\xc3\xa9", "text/plain; charset=utf-8"),
        ({"a": 1}, b'{"a": 1}', "application/json"),
        ([1, 2], b"[1, 2]", "application/json"),
    ],
)
def test_text_and_values_get_their_media_type(body: Any, content: bytes, kind: str) -> None:
    """Text is UTF-8, mappings and lists are JSON."""
    assert make_answer(body=body) == Answer(200, (("Content-Type", kind),), content)


def test_a_given_media_type_stays() -> None:
    """The test's own Content-Type wins, in any case."""
    answer = make_answer(headers={"content-type": "text/html"}, body="<p>")
    assert values_of(answer.headers, "content-type") == ["text/html"]


def test_fields_keep_order_case_and_repetition() -> None:
    """Header fields given as pairs are sent as pairs."""
    pairs = [("X-b", "1"), ("x-A", "2"), ("X-b", "3")]
    assert make_answer(headers=pairs).headers == tuple(pairs)


@pytest.mark.parametrize("status", [101, 199, 600])
def test_only_final_statuses_are_answers(status: int) -> None:
    """An interim status cannot be prepared."""
    with pytest.raises(ValueError, match="200 to 599"):
        make_answer(status)


@pytest.mark.parametrize("status", [200, 599])
def test_every_final_status_is_an_answer(status: int) -> None:
    """The ends of the range are in it."""
    assert make_answer(status).status == status


def test_the_reason_is_the_registered_one_or_none() -> None:
    """RFC 9110 section 15 names the phrases."""
    assert (make_answer(404).reason, make_answer(599).reason) == ("Not Found", "")


@pytest.mark.parametrize("value", ["s3cret\r\nX: y", "s3cret\0", "s3cret\u20ac"])
def test_a_field_that_cannot_be_sent_is_refused_without_its_value(value: str) -> None:
    """The text names the field, never what it holds."""
    with pytest.raises(ValueError, match="X-Token") as caught:
        make_answer(headers={"X-Token": value})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "é"])
def test_a_field_name_is_a_token(name: str) -> None:
    """RFC 9110 section 5.1."""
    with pytest.raises(ValueError, match="no name of a header field"):
        make_answer(headers={name: "x"})


def test_latin_1_values_are_sent() -> None:
    """The twin of the refusals: an odd value that HTTP allows, and an empty one."""
    assert make_answer(headers={"X-Odd": "\xe9", "X-None": ""}).headers == (("X-Odd", "\xe9"), ("X-None", ""))


def test_a_negative_delay_is_refused() -> None:
    """Nothing is answered before it was asked."""
    with pytest.raises(ValueError, match="negative"):
        make_answer(delay=-0.1)


def test_a_body_and_chunks_exclude_each_other() -> None:
    """An answer has one body."""
    with pytest.raises(TypeError, match="not both"):
        make_answer(body=b"x", chunks=[b"y"])


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_chunks_bring_their_own_framing(name: str) -> None:
    """A second framing beside the chunks' would be a broken message."""
    with pytest.raises(ValueError, match="their own framing"):
        make_answer(headers={name: "chunked"}, chunks=[b"x"])


@pytest.mark.parametrize("chunks", [b"one", "one", {"a": 1}])
def test_one_piece_is_no_iterable_of_pieces(chunks: Any) -> None:
    """A text would otherwise be sent letter by letter."""
    with pytest.raises(TypeError, match="not one piece"):
        make_answer(chunks=chunks)


@pytest.mark.parametrize("chunks", [[1], (None,)])
def test_a_list_of_other_things_is_refused_at_once(chunks: Any) -> None:
    """A test that prepares nonsense hears of it where it does so."""
    with pytest.raises(TypeError, match=r"bytes, text or a threading.Event"):
        make_answer(chunks=chunks)


@pytest.mark.parametrize("body", [3, None])
def test_a_body_of_another_type_is_refused(body: Any) -> None:
    """The text names the type."""
    with pytest.raises(TypeError, match="cannot be made of"):
        make_answer(body=body)


def test_a_list_without_events_is_ready() -> None:
    """What needs no waiting needs no thread."""
    source = make_answer(chunks=[b"a", "b"]).source
    assert source is not None
    assert (source.ready, source.chunked) == ((b"a", b"b"), True)


def test_a_list_with_an_event_is_not_ready() -> None:
    """An event is waited for, so the pieces come one by one."""
    event = threading.Event()
    source = make_answer(chunks=["a", event]).source
    assert source is not None
    assert source.ready is None
    assert list(source.make()) == ["a", event]
    assert as_bytes(event) == b""


def test_callables_and_iterables_are_streamed() -> None:
    """Neither is gone through when the answer is made."""
    pieces = iter([b"a"])
    for body in (lambda: [b"a"], pieces):
        source = make_answer(body=body).source
        assert source is not None
        assert (source.ready, source.chunked) == (None, False)
    assert next(pieces) == b"a"


def test_an_iterator_serves_once() -> None:
    """It could not be gone through again; what can be has no limit, and a limit that is given stays."""
    assert [uses(iter([b""]), None), uses([b""], None), uses(iter([b""]), 3)] == [1, None, 3]


def test_an_answer_does_not_show_its_content() -> None:
    """A body can hold a credential."""
    assert "s3cret" not in repr(make_answer(body="s3cret"))


# ---- which of them


def answers(**wanted: Any) -> Answers:
    book = Answers()
    book.add(make_answer(204), **wanted)
    return book


@pytest.mark.parametrize(
    "wanted",
    [{}, {"host": "api.example.com"}, {"host": "*.EXAMPLE.com"}, {"path": "/v1/*"}, {"path": "/v1/users"},
     {"method": "get"}, {"method": "GET", "host": "*.example.com", "path": "/v?/*"}],
)  # fmt: skip
def test_an_answer_fits(wanted: dict[str, str]) -> None:
    """None fits all; hosts are patterns, paths globs, methods in any case."""
    assert answers(**wanted).pick(*GET) == make_answer(204)


@pytest.mark.parametrize(
    "wanted",
    [{"host": "example.com"}, {"host": "*.api.example.com"}, {"path": "/v1"}, {"path": "/V1/*"}, {"method": "POST"},
     {"upgrades": True}, {"host": "api.example.com", "path": "/v2"}],
)  # fmt: skip
def test_an_answer_does_not_fit(wanted: dict[str, Any]) -> None:
    """One thing that differs is enough."""
    assert answers(**wanted).pick(*GET) is None


def test_an_answer_for_upgrades_fits_upgrades() -> None:
    """And one for all requests fits them too."""
    for book in (answers(upgrades=True), answers()):
        assert book.pick("GET", "h", "/", True) == make_answer(204)


def test_the_last_prepared_wins_until_it_is_used_up() -> None:
    """`times` counts down, then the one before it is back."""
    book = answers()
    book.add(make_answer(500), times=2)
    assert [answer.status for _ in range(4) if (answer := book.pick(*GET))] == [500, 500, 204, 204]


def test_clear_forgets() -> None:
    """Nothing fits after it."""
    book = answers()
    book.clear()
    assert book.pick(*GET) is None


@pytest.mark.parametrize("path", ["v1", "", "https://api.example.com/v1"])
def test_a_path_that_no_request_has_is_refused(path: str) -> None:
    """It would never fit, and the echo would answer in its place."""
    with pytest.raises(ValueError, match=r"path is a glob for what follows the host, such as /v1/\*"):
        Answers().add(make_answer(), path=path)


def test_times_is_at_least_one() -> None:
    """An answer for no request is a mistake."""
    with pytest.raises(ValueError, match="at least 1"):
        answers(times=0)
