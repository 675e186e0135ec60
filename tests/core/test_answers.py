"""Facts about the proxy's own answers."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core import answers
from pytest_gatekeeper._core.model import Destination, Refused, Violation

TO = Destination("https", "api.example.com", 443)
ALL = [
    answers.malformed(400, "The head is odd."),
    answers.bad_request("Do it like this.", TO),
    answers.not_allowed("TRACE is refused.", TO, Violation("trace", "x", "y")),
    answers.auth_required(close=False),
    answers.denied(TO, close=False),
]


@pytest.mark.parametrize("answer", ALL)
def test_an_answer_is_a_text_for_people(answer: Refused) -> None:
    """It has a type, and a body of whole sentences that ends its line."""
    assert ("Content-Type", "text/plain; charset=utf-8") in answer.headers
    assert answer.body.endswith(".\n") and answer.body[0].isalpha()


def test_the_health_check_is_json_and_not_logged() -> None:
    """Its body is what monitors expect."""
    answer = answers.healthy(close=False)
    assert (answer.status, answer.headers, answer.body) == (
        200,
        (("Content-Type", "application/json"),),
        '{"status":"ok"}',
    )
    assert not answer.logged and not answer.close


def test_a_malformed_head_ends_the_connection_without_a_log_line() -> None:
    """Its framing is in doubt; other bad requests are logged."""
    answer = answers.malformed(501, "No.")
    assert (answer.status, answer.logged, answer.close) == (501, False, True)
    assert answers.bad_request("No.").logged


def test_a_refused_method_names_those_that_are_not() -> None:
    """405 has an Allow header (RFC 9110 section 15.5.6), and the violation."""
    violation = Violation("trace", "x", "y")
    assert dict(answers.not_allowed("No.", TO, violation).headers)["Allow"].startswith("DELETE, GET")
    assert answers.not_allowed("No.", TO, violation).violations == (violation,)


def test_missing_authentication_is_challenged_and_not_logged() -> None:
    """The challenge is Basic, as clients know it; the connection stays usable."""
    answer = answers.auth_required(close=False)
    assert answer.status == 407 and not answer.logged and not answer.close
    assert dict(answer.headers)["Proxy-Authenticate"] == 'Basic realm="gatekeeper"'


@pytest.mark.parametrize(
    ("port", "pattern"), [(443, '"api.example.com"'), (80, '"api.example.com"'), (8443, '"api.example.com:8443"')]
)
def test_a_denial_names_the_host_and_the_pattern_that_would_permit_it(port: int, pattern: str) -> None:
    """The log's reason names the host alone."""
    answer = answers.denied(Destination("https", "api.example.com", port), close=False)
    assert answer.status == 407 and pattern in answer.body
    assert answer.deny_reason == "Host not in allow list: api.example.com"
    fields = dict(answer.headers)
    assert (fields["X-Moat-Blocked"], fields["Proxy-Authenticate"]) == ("request-rule", "Moat-Policy")
