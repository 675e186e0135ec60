"""Facts about what is said of hosts, patterns and header names that cannot work."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.hints import dead_pattern, header_problem, host_problem, is_header_name


@pytest.mark.parametrize(
    "host", ["api.example.com", "*.example.com", "localhost", "10.0.0.1", "a_b.example", "*", ".x", "bücher.de"]
)
def test_a_host_without_anything_around_it_is_accepted(host: str) -> None:
    """Names, addresses and patterns, even those that match nothing: that is only worth a warning."""
    assert host_problem(host) == ""


@pytest.mark.parametrize(
    ("host", "instead"),
    [
        ("api.example.com:443", "write 'api.example.com'"),
        ("*.example.com:443", "write '*.example.com'"),
        ("https://api.example.com", "write 'api.example.com'"),
        ("https://user:s3cret@api.example.com:8443/v1?q=1#f", "write 'api.example.com'"),
        ("api.example.com/v1", "write 'api.example.com'"),
        ("s3cret@api.example.com", "write 'api.example.com'"),
        (" api.example.com", "write 'api.example.com'"),
        ("api.example.com\n", "write 'api.example.com'"),
        ("two words", "write a name, or *.suffix"),
        ("https://", "write a name, or *.suffix"),
        ("http://[::1]:80/", "write a name, or *.suffix"),
        ("", "is required: write a name, or *.suffix"),
        ("::1", "give the host a name"),
        ("[::1]", "give the host a name"),
        ("0:0:0:0:0:0:0:1", "give the host a name"),
    ],
)
def test_a_host_with_more_than_a_name_is_refused_with_what_to_write(host: str, instead: str) -> None:
    """Scheme, user, port, path, white space and IPv6; only the name that works is repeated."""
    assert instead in host_problem(host)
    assert "s3cret" not in host_problem(host)


@pytest.mark.parametrize(
    "pattern", ["api.example.com", "*.example.com", "*.0.0.1", "10.0.0.1", "2.5", "true", "xn--bcher-kva.example"]
)
def test_a_live_pattern_has_no_problem(pattern: str) -> None:
    """Exact names, and *.suffix."""
    assert dead_pattern(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        ("*", "write each name, or *.suffix"),
        ("*.", "write each name, or *.suffix"),
        ("a*.example.com", "'*.example.com' for all names below example.com"),
        ("*example.com", "'*.example.com'"),
        ("api.*.com", "'*.com' for all names below com"),
        ("*.*.example.com", "'*.example.com'"),
        ("api.*", "write each name"),
        (".example.com", "write '*.example.com'"),
        ("*..example.com", "write '*.example.com'"),
        ("api.example.com.", "write 'api.example.com'"),
        ("*.example.com.", "write '*.example.com'"),
        ("bücher.example", "write 'xn--bcher-kva.example'"),
        ("*.bücher.example", "write '*.xn--bcher-kva.example'"),
        ("BÜCHER.example.", "write 'xn--bcher-kva.example'"),
        ("a..b", "is no host name"),
        ("ü..b", "is no host name"),
        ("api,example.com", "is no host name"),
        ("..", "is no host name"),
        ("x" * 300, "is no host name"),
    ],
)
def test_a_dead_pattern_is_told_with_the_spelling_that_works(pattern: str, instead: str) -> None:
    """Wildcards elsewhere than in front, dots at the ends, Unicode, and what is no name."""
    assert instead in dead_pattern(pattern)


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key", "x_y", "!#$%&'*+-.^_`|~"])
def test_a_token_is_a_header_name(header: str) -> None:
    """All characters of RFC 9110 section 5.6.2."""
    assert is_header_name(header)
    assert header_problem(header) == ""


@pytest.mark.parametrize("header", ["X Key", "X-Key:", "Authorization: Bearer s3cret", "X-Kéy", "A=s3cret", "X\n"])
def test_what_is_no_token_is_no_header_name(header: str) -> None:
    """It is not repeated, since it may hold a value."""
    assert not is_header_name(header)
    assert "write the name alone" in header_problem(header)
    assert "s3cret" not in header_problem(header)


def test_an_empty_header_name_is_none() -> None:
    """Whoever means Authorization has to say so before asking."""
    assert not is_header_name("")
    assert header_problem("") != ""
