"""Facts about durations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h1m1s", 3661.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("0", 0.0),
        ("-0", 0.0),
        ("0s", 0.0),
        ("-5m", -300.0),
        ("+5m", 300.0),
        ("250ms", 0.25),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1μs", 1e-6),
        ("7ns", 7e-9),
        ("0.5ns", 0.0),
        ("30m1h", 5400.0),
        ("1s1s", 2.0),
        ("0.100000000000000000000000000000000000001h", 360.0),
        ("2562047h47m16.854775807s", 9223372036.854775807),
        ("000000000000000000000000000000000000001s", 1.0),
    ],
)
def test_durations_read_as_in_go(text: str, seconds: float) -> None:
    """Numbers with units, in any order, with fractions and a sign."""
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5 m",
        "5 minutes",
        "m",
        ".s",
        "-",
        "+",
        "--5m",
        "5M",
        "1d",
        "1h 30m",
        "5m ",
        " 5m",
        "1e3s",
        "٣s",
        "5m-3s",
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    """A missing unit, white space, an unknown unit or a second sign is refused, without repeating the text."""
    with pytest.raises(ValueError, match="this is no duration; write it as 90s, 5m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["2562047h47m16.854775808s", "9" * 40 + "s", "999999999999h", "1" * 5000 + "ns"])
def test_a_duration_has_an_end(text: str) -> None:
    """What Go cannot hold in 63 bits of nanoseconds is refused."""
    with pytest.raises(ValueError, match="too long"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(0, 2000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours: int, minutes: int, seconds: int, millis: int) -> None:
    """A duration is the sum of its parts, and a minus turns it around."""
    text = f"{hours}h{minutes}m{seconds}s{millis}ms"
    expected = hours * 3600 + minutes * 60 + seconds + millis / 1000
    assert parse_duration(text) == pytest.approx(expected)
    assert parse_duration("-" + text) == pytest.approx(-expected)


@settings(deadline=None)
@given(st.text(alphabet="0123456789.hmsnuµ+- "))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """Nothing but a ValueError comes of any text."""
    said = "a duration"
    try:
        parse_duration(text)
    except ValueError as error:
        said = str(error)
    assert "duration" in said
