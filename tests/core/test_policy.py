"""Facts about the network policy."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core.model import NetworkSettings
from pytest_gatekeeper._core.policy import Policy, read_allow
from pytest_gatekeeper.errors import ConfigError


def _strict(*allow: str) -> Policy:
    return Policy(NetworkSettings("strict", allow))


def test_a_permissive_policy_permits_everything() -> None:
    """Under `permissive` what is listed is not even read."""
    policy = Policy(NetworkSettings("permissive", ("other.example.com", "https://nonsense/")))
    assert policy.permits("api.example.com", 8443)
    assert not policy.strict


def test_a_strict_policy_permits_nothing_that_is_not_listed() -> None:
    """An empty list denies everything, and a listed host does not bring in others."""
    assert not _strict().permits("api.example.com", 443)
    assert not _strict("other.example.com").permits("api.example.com", 443)
    assert _strict("other.example.com", "api.example.com").permits("api.example.com", 443)


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("api.example.com", "api.example.com", 443),
        ("api.example.com", "api.example.com", 80),
        ("API.EXAMPLE.COM", "api.example.com", 443),
        ("api.example.com", "API.example.com", 443),
        ("api.example.com:8443", "api.example.com", 8443),
        ("*.example.com", "api.example.com", 443),
        ("*.example.com", "a.b.Example.com", 80),
        ("*.example.com:8443", "api.example.com", 8443),
        ("127.0.0.1", "127.0.0.1", 443),
    ],
)
def test_a_pattern_permits(pattern: str, host: str, port: int) -> None:
    """A pattern covers its host, ignoring case, on its port, or on 80 and 443 where it names none."""
    assert _strict(pattern).permits(host, port)


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("api.example.com", "api.example.com", 8443),
        ("api.example.com:8443", "api.example.com", 443),
        ("*.example.com", "example.com", 443),
        ("*.example.com", ".example.com", 443),
        ("*.example.com", "evilexample.com", 443),
        ("*.example.com", "api.example.com.evil.com", 443),
        ("*.example.com", "api.example.com", 8443),
        ("*.example.com:8443", "api.example.com", 443),
        ("*", "api.example.com", 443),
        ("*:443", "api.example.com", 443),
        ("*.", "api.", 443),
    ],
)
def test_a_pattern_does_not_permit(pattern: str, host: str, port: int) -> None:
    """Other ports, the suffix itself and lookalikes stay denied, and `*` alone matches nothing."""
    assert not _strict(pattern).permits(host, port)


def test_patterns_for_one_host_add_up() -> None:
    """Each pattern adds its ports to those of the others, also when another wildcard is nearer."""
    policy = _strict("api.example.com", "api.example.com:8443", "*.example.com:9000", "*.b.example.com:9001")
    assert all(policy.permits("api.example.com", port) for port in (80, 443, 8443, 9000))
    assert policy.permits("a.b.example.com", 9000) and policy.permits("a.b.example.com", 9001)
    assert not policy.permits("api.example.com", 9001)


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("", "empty"),
        ("https://api.example.com", "scheme"),
        ("api.example.com/v1", "path"),
        ("user@api.example.com", "user"),
        ("api.example.com other.example.com", "white space"),
        ("[::1]:443", "IPv6"),
        ("::1", "IPv6"),
        ("[fe80]", "IPv6"),
        ("api.example.com:http", "port"),
        ("api.example.com:0", "port"),
        ("api.example.com:65536", "port"),
        ("api.example.com:", "port"),
    ],
)
def test_a_pattern_that_could_never_match_is_an_error(pattern: str, word: str) -> None:
    """The error names the item and says what is wrong with it."""
    with pytest.raises(ConfigError, match=word) as caught:
        _strict("api.example.com", pattern)
    assert caught.value.key == "network.allow[1]"


def test_a_pattern_is_read_into_host_and_ports() -> None:
    """`read_allow` gives the host pattern in lower case and the ports it covers."""
    assert read_allow("*.Example.com") == ("*.example.com", frozenset((80, 443)))
    assert read_allow("api.example.com:8443") == ("api.example.com", frozenset((8443,)))
