"""Every case that was recorded of the production proxy, played by this one.

`tests/data/conformance.json` says what production was seen to do, and where this plugin differs on purpose (`differs`
and `ours`). How a case is played, and what its facts are, is `conftest.py`'s.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Case = Mapping[str, Any]
Facts = dict[str, Any]
Differences = Callable[[Case, Facts], list[str]]

CASES: list[Case] = json.loads((Path(__file__).parent.parent / "data" / "conformance.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_proxy_does_what_production_does(
    case: Case, play: Callable[[Case], Facts], differences: Differences
) -> None:
    """The facts of a recorded case are production's, or those that are ours on purpose."""
    assert differences(case, play(case)) == []


def test_no_recorded_case_is_left_out() -> None:
    """The file is whole, and each case has a name of its own."""
    assert len(CASES) == len({case["id"] for case in CASES}) == 337


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("starts", False),
        ("connect", 407),
        ("blocked", "request-rule"),
        ("tls", "failed"),
        ("tunnel", "xy"),
        ("responses", []),
        ("responses.0.status", 200),
        ("responses.0.headers", []),
        ("responses.0.interim", [103]),
        ("upstream.0.port", 80),
        ("upstream.0.headers.0.1", "Bearer p"),
        ("upstream.0.tunnel", ""),
        ("log", []),
        ("log.0.level", "WARN"),
        ("log.0.error", True),
        ("log.0.captured", {}),
        ("log.0.captured.x_tenant", "t-2"),
        ("log.0.user_id", "me"),
    ],
)
def test_the_comparison_sees_each_fact(differences: Differences, path: str, value: Any) -> None:
    """Facts equal to production's are no difference, and with one of them changed there is one."""
    (case,) = (case for case in CASES if case["id"] == "upgrade/capture")
    facts = copy.deepcopy(case["production"])
    assert differences(case, facts) == []
    *way, last = path.split(".")
    place: Any = facts
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[int(last) if last.isdigit() else last] = value
    assert differences(case, facts) != []


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        ({"any": [400, 405]}, 405, 502),
        ({"ignore": True}, "anything", None),
        (
            [["content-type", "text/plain; charset=utf-8"], ["x", "1"]],
            [["x", "1"]],
            [["content-type", "a"], ["x", "1"]],
        ),
    ],
)
def test_the_comparison_is_as_lenient_as_it_says(
    differences: Differences, expected: Any, right: Any, wrong: Any
) -> None:
    """`any` accepts each, `ignore` all; a Content-Type that no upstream sent is not expected, and not accepted."""
    raw = "HTTP/1.1 200 OK\r\nX: 1\r\n\r\n"
    case = {"production": {"starts": True, "responses": [{"headers": expected}]}, "answers": [{"raw": raw}]}
    assert differences(case, {"starts": True, "responses": [{"headers": right}]}) == []
    assert wrong is None or differences(case, {"starts": True, "responses": [{"headers": wrong}]}) != []
