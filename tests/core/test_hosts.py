"""Facts about host names and patterns."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core import hosts
from pytest_gatekeeper._core.hosts import (
    HostTable,
    host_matches,
    is_address,
    is_host,
    is_link_local,
    is_loopback,
    join_authority,
    same_host,
    split_authority,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api.example.com:443", ("api.example.com", 443)),
        ("API.Example.com:8443", ("API.Example.com", 8443)),
        ("api.example.com", ("api.example.com", None)),
        ("api.example.com:", ("api.example.com", None)),
        ("api.example.com.:443", ("api.example.com.", 443)),
        ("my_service:80", ("my_service", 80)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("[::1]:443", ("::1", 443)),
        ("[::1]", ("::1", None)),
        ("[::1]:", ("::1", None)),
        ("::1:9443", ("::1", 9443)),
        ("::1", ("::1", None)),
        ("2001:db8::1", ("2001:db8::1", None)),
        ("2001:db8:0:0:0:0:0:1:443", ("2001:db8:0:0:0:0:0:1", 443)),
        ("2001:db8:0:0:0:0:0:1", ("2001:db8:0:0:0:0:0:1", None)),
    ],
)
def test_an_authority_is_taken_apart(text: str, expected: tuple[str, int | None]) -> None:
    """Host and port are found in every form that clients send, IPv6 with and without brackets."""
    assert split_authority(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":443", "u@api.example.com:443", "https://api.example.com:443/", "/a", "api.example.com:0",
        "api.example.com:65536", "api.example.com:http", "api.example.com:-1", "api.example.com:0000443",
        "api.example.com:443:80", "api.example.com%00evil.com", "[api.example.com]:443", "[::1", "[::1]443", "[::1]:x",
        "[fe80::1%25eth0]:443", "::x", "a b:443", "a..b:443", ".example.com:443", "b\xfccher.example:443",
        "api.example.com:4\u0664", "x" * 255, "*.example.com:443", "api.example.com\n:443",
    ],
)  # fmt: skip
def test_an_authority_that_names_no_host_is_refused(text: str) -> None:
    """What is no host, or has a port that is none, is a ValueError, and the text is not repeated in it."""
    with pytest.raises(ValueError, match=r"host name|port|brackets|scheme") as caught:
        split_authority(text)
    assert not text or text not in str(caught.value)


@given(st.sampled_from(["api.example.com", "10.0.0.1", "::1", "2001:db8::2"]), st.integers(1, 65535))
def test_an_authority_that_was_joined_comes_apart_again(host: str, port: int) -> None:
    """`split_authority` undoes `join_authority`."""
    assert split_authority(join_authority(host, port)) == (host, port)


def test_hosts_and_addresses_are_told_apart() -> None:
    """An address is a host, a name is no address, and brackets, ports and scopes are neither."""
    assert is_host("api.example.com") and is_host("::1") and is_host("127.0.0.1") and is_host("localhost.")
    assert not any(is_host(text) for text in ("[::1]", "a:1", "a%00b", "a b", "", ".", "fe80::1%eth0"))
    assert is_address("127.0.0.1") and is_address("::1")
    assert not any(is_address(text) for text in ("localhost", "[::1]", "127.1", "2130706433", "fe80::1%eth0"))


def test_hosts_are_the_same_but_for_case_trailing_dot_and_form_of_address() -> None:
    """`same_host` compares what is meant; another label is another host."""
    assert same_host("api.example.com", "API.example.com.")
    assert same_host("::1", "0:0:0:0:0:0:0:1")
    assert not same_host("api.example.com", "api.example.com.evil.com")
    assert not same_host("api.example.com", "api.example.co")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
)
def test_this_machine_is_loopback(host: str) -> None:
    """`localhost`, names below it and loopback addresses are this machine."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["example.com", "notlocalhost", "localhost.example.com", "10.0.0.1", "0x7f000001", "::2"]
)
def test_other_machines_are_not_loopback(host: str) -> None:
    """A name that only looks like this machine is not it, nor is an address in an unusual form."""
    assert not is_loopback(host)


def test_link_local_addresses_are_found_in_every_wrapping() -> None:
    """169.254.0.0/16 and fe80::/10 are link-local, also mapped into IPv6 or through NAT64; others are not."""
    for address in (
        "169.254.169.254",
        "fe80::1",
        "febf::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ):
        assert is_link_local(address), address
    for address in (
        "169.253.0.1",
        "10.0.0.1",
        "fec0::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "metadata.google.internal",
    ):
        assert not is_link_local(address), address


# ------------------------------------------------------------------ patterns


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("api.example.com", "api.example.com"),
        ("API.example.com", "api.EXAMPLE.com"),
        ("*.example.com", "api.example.com"),
        ("*.Example.com", "a.b.EXAMPLE.com"),
        ("*.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
    ],
)
def test_a_pattern_matches(pattern: str, host: str) -> None:
    """Exact patterns and `*.suffix` match ignoring case, at any depth."""
    assert host_matches(pattern, host)
    assert HostTable([(pattern, 1)]).lookup(host) == (pattern, (1,))


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("*.example.com", "example.com"),
        ("*.example.com", ".example.com"),
        ("*.example.com", "evilexample.com"),
        ("*.example.com", "api.example.com.evil.com"),
        ("*.example.com", "api.example.com."),
        ("api.example.com", "api.example.com."),
        ("example.com", "api.example.com"),
        ("*", "api.example.com"),
        ("*example.com", "evilexample.com"),
        ("api.*.com", "api.example.com"),
        ("*.*.example.com", "a.b.example.com"),
        (".example.com", "api.example.com"),
        ("*.", "api."),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("[::1]", "::2"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, host: str) -> None:
    """A suffix is whole labels below it, a trailing dot counts, and no other wildcard exists."""
    assert not host_matches(pattern, host)
    assert HostTable([(pattern, 1)]).lookup(host) == (None, ())


_hosts = st.lists(st.text("abAB", min_size=1, max_size=2), min_size=1, max_size=4).map(".".join)
_patterns = st.one_of(_hosts, _hosts.map(lambda host: "*." + host))


def _naive(pattern: str, host: str) -> bool:
    """Label by label, from the end."""
    wanted = pattern.lower().split(".")
    labels = host.lower().split(".")
    if wanted[0] != "*":
        return wanted == labels
    return len(labels) >= len(wanted) and labels[-len(wanted) + 1 :] == wanted[1:]


@given(_patterns, _hosts)
def test_matching_agrees_with_a_naive_second_implementation(pattern: str, host: str) -> None:
    """`host_matches` says what comparing label lists says."""
    assert host_matches(pattern, host) == _naive(pattern, host)


@given(st.lists(_patterns, max_size=6), _hosts)
def test_the_winner_agrees_with_a_naive_second_implementation(patterns: list[str], host: str) -> None:
    """The table's winner is the best of all that match: verbatim, then exact, then the longest suffix."""

    def rank(pattern: str) -> tuple[bool, bool, int]:
        return pattern != host, pattern.startswith("*"), -len(pattern)

    matching = sorted((pattern for pattern in patterns if _naive(pattern, host)), key=lambda it: (*rank(it), it))
    key, items = HostTable([(pattern, index) for index, pattern in enumerate(patterns)]).lookup(host)
    assert key == (matching[0] if matching else None)
    assert items == tuple(index for index, pattern in enumerate(patterns) if pattern == key)


def test_one_key_wins_and_keeps_the_order_of_its_items() -> None:
    """A host with an exact entry gets nothing of the wildcard, and the items come as they were given."""
    table = HostTable(
        [("*.example.com", "w"), ("api.example.com", "1"), ("*.b.example.com", "d"), ("api.example.com", "2")]
    )
    assert table.lookup("api.example.com") == ("api.example.com", ("1", "2"))
    assert table.lookup("other.example.com") == ("*.example.com", ("w",))
    assert table.lookup("a.b.example.com") == ("*.b.example.com", ("d",))
    assert table.lookup("b.example.com") == ("*.example.com", ("w",))


def test_of_keys_that_differ_in_case_the_one_spelled_like_the_host_wins() -> None:
    """Without such a one the first in alphabetical order wins, whatever the order in the file."""
    table = HostTable([("api.example.com", "lower"), ("API.example.com", "upper")])
    assert table.lookup("api.example.com")[1] == ("lower",)
    assert table.lookup("API.example.com")[1] == ("upper",)
    assert table.lookup("Api.example.com")[1] == ("upper",)


def test_a_table_forgets_hosts_and_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a table remembers is bounded, and forgetting changes no answer."""
    monkeypatch.setattr(hosts, "_CACHED", 2)
    table = HostTable([("*.example.com", 1)])
    for letter in string.ascii_lowercase:
        assert table.lookup(f"{letter}.example.com") == ("*.example.com", (1,))
        assert len(table._known) <= 2


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192",
        "168.63.129.16", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
        "::169.254.169.254", "::ffff:0:169.254.169.254",
    ],
)  # fmt: skip
def test_metadata_addresses_are_known_in_every_form(address: str) -> None:
    """Link-local ones and those of clouds, however they are wrapped; their neighbours are not."""
    assert is_link_local(address)
    assert not any(map(is_link_local, ("10.0.0.1", "100.100.100.201", "2001:db8::1", "::1", "::", "2002:a00:1::1")))
