"""Facts about the PROXY protocol, versions 1 and 2."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatekeeper._core.proxy_protocol import LONGEST, Preface, Source, read

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
CLIENT = Source("203.0.113.7", 51422)
CLIENT6 = Source("2001:db8::7", 51422)
REST = b"CONNECT api.example.com:443 HTTP/1.1\r\n\r\n"


def _v2(block: bytes = b"", *, first: int = 0x21, kind: int = 0x11, length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes((first, kind)) + size.to_bytes(2, "big") + block


def _v4_block(source: Source = CLIENT) -> bytes:
    return IPv4Address(source.host).packed + bytes((10, 0, 0, 1)) + source.port.to_bytes(2, "big") + b"\x01\xbb"


def _v6_block(source: Source = CLIENT6) -> bytes:
    return IPv6Address(source.host).packed + bytes(16) + source.port.to_bytes(2, "big") + b"\x01\xbb"


TLV = b"\x04\x00\x03abc"
HEADERS = {
    "v1 TCP4": (b"PROXY TCP4 203.0.113.7 10.0.0.1 51422 443\r\n", CLIENT),
    "v1 TCP6": (b"PROXY TCP6 2001:DB8:0:0:0:0:0:7 ::1 51422 443\r\n", CLIENT6),
    "v1 TCP6, IPv4 within": (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 51422 443\r\n", CLIENT),
    "v1 ports at their bounds": (b"PROXY TCP4 203.0.113.7 10.0.0.1 0 65535\r\n", Source("203.0.113.7", 0)),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN, longest": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),
    "v2 TCP over IPv4": (_v2(_v4_block()), CLIENT),
    "v2 UDP over IPv4": (_v2(_v4_block(), kind=0x12), CLIENT),
    "v2 TCP over IPv6": (_v2(_v6_block(), kind=0x21), CLIENT6),
    "v2 TCP over IPv6, IPv4 within": (_v2(_v6_block(Source("::ffff:203.0.113.7", 51422)), kind=0x21), CLIENT),
    "v2 with TLVs": (_v2(_v4_block() + TLV * 3), CLIENT),
    "v2 with broken TLVs": (_v2(_v4_block() + b"\x20\xff"), CLIENT),
    "v2 over a Unix socket": (_v2(bytes(216), kind=0x31), None),
    "v2 unspecified": (_v2(kind=0x00), None),
    "v2 unspecified, with addresses": (_v2(_v4_block(), kind=0x00), None),
    "v2 unspecified transport": (_v2(_v4_block(), kind=0x10), None),
    "v2 unspecified family": (_v2(_v4_block(), kind=0x01), None),
    "v2 LOCAL": (_v2(first=0x20, kind=0x00), None),
    "v2 LOCAL with addresses": (_v2(_v4_block(), first=0x20), None),
    "v2 LOCAL of an unknown kind": (_v2(b"x", first=0x20, kind=0xFF), None),
    "v2 longest": (_v2(_v4_block() + bytes(LONGEST - 28)), CLIENT),
}


@pytest.mark.parametrize(("header", "source"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_read_however_it_is_split(header: bytes, source: Source | None) -> None:
    """No answer before the last byte, the same one with it, and nothing of what follows is taken."""
    for end in range(len(header)):
        assert read(header[:end]) is None
    assert read(header) == read(header + REST) == read(header + header) == Preface(source, len(header))


@pytest.mark.parametrize(
    "data",
    [
        REST,
        b"GET http://api.example.com/ HTTP/1.1\r\n",
        b"POST http://api.example.com/ HTTP/1.1\r\n",
        b"PROPFIND http://api.example.com/ HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"proxy TCP4 203.0.113.7 10.0.0.1 51422 443\r\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\n\x00\r\nQUIX\n",
        b"\x16\x03\x01",
        b"\x00",
    ],
)
def test_a_connection_without_a_header_is_taken_as_it_is(data: bytes) -> None:
    """As soon as a byte tells it apart, and with nothing consumed."""
    assert read(data) == Preface(None, 0)
    answers = [read(data[:end]) for end in range(len(data) + 1)]
    undecided = answers.index(Preface(None, 0))
    assert answers == [None] * undecided + [Preface(None, 0)] * (len(answers) - undecided)


V1_ADDRESSES = "an address that is none of"
V1_FORM = "must read: PROXY TCP4"
MALFORMED = {
    "v1 LF alone": (b"PROXY TCP4 203.0.113.7 10.0.0.1 51422 443\n", "must end with CR LF"),
    "v1 LF before CR LF": (b"PROXY TCP4 203.0.113.7 10.0.0.1 51422 443\nx\r\n", "must end with CR LF"),
    "v1 CR inside": (b"PROXY TCP4 203.0.113.7 10.0.0.1 51422 443\r\r\n", V1_FORM),
    "v1 no end": (b"PROXY UNKNOWN " + b"f" * 93, "longer than 107 bytes"),
    "v1 end one byte too late": (b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n", "longer than 107 bytes"),
    "v1 nothing": (b"PROXY\r\n", V1_FORM),
    "v1 without a space": (b"PROXYTCP4 203.0.113.7 10.0.0.1 51422 443\r\n", V1_FORM),
    "v1 UNKNOWN and more": (b"PROXY UNKNOWNS\r\n", V1_FORM),
    "v1 other protocol": (b"PROXY UDP4 203.0.113.7 10.0.0.1 51422 443\r\n", V1_FORM),
    "v1 two spaces": (b"PROXY TCP4  203.0.113.7 10.0.0.1 51422 443\r\n", V1_FORM),
    "v1 space at the end": (b"PROXY TCP4 203.0.113.7 10.0.0.1 51422 443 \r\n", V1_FORM),
    "v1 three fields": (b"PROXY TCP4 203.0.113.7 10.0.0.1 51422\r\n", V1_FORM),
    "v1 name": (b"PROXY TCP4 example.com 10.0.0.1 51422 443\r\n", V1_FORM),
    "v1 brackets": (b"PROXY TCP6 [::1] ::1 51422 443\r\n", V1_FORM),
    "v1 zone": (b"PROXY TCP6 fe80::1%eth0 ::1 51422 443\r\n", V1_FORM),
    "v1 signed port": (b"PROXY TCP4 203.0.113.7 10.0.0.1 +5142 443\r\n", V1_FORM),
    "v1 port with a zero in front": (b"PROXY TCP4 203.0.113.7 10.0.0.1 051 443\r\n", V1_FORM),
    "v1 digits that are no ASCII": (b"PROXY TCP4 203.0.113.7 10.0.0.1 51422 44\xb3\r\n", V1_FORM),
    "v1 port too high": (b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n", "port above 65535"),
    "v1 other port too high": (b"PROXY TCP4 203.0.113.7 10.0.0.1 1 99999\r\n", "port above 65535"),
    "v1 number too high": (b"PROXY TCP4 203.0.113.256 10.0.0.1 51422 443\r\n", V1_ADDRESSES),
    "v1 zero in front": (b"PROXY TCP4 203.0.113.07 10.0.0.1 51422 443\r\n", V1_ADDRESSES),
    "v1 bad destination": (b"PROXY TCP4 203.0.113.7 10.0.0 51422 443\r\n", V1_ADDRESSES),
    "v1 IPv6 as TCP4": (b"PROXY TCP4 ::1 ::1 51422 443\r\n", V1_ADDRESSES),
    "v1 IPv4 as TCP6": (b"PROXY TCP6 203.0.113.7 10.0.0.1 51422 443\r\n", V1_ADDRESSES),
    "v2 version 1": (_v2(_v4_block(), first=0x11), "version 1;"),
    "v2 version 3": (_v2(_v4_block(), first=0x31), "version 3;"),
    "v2 command 2": (_v2(_v4_block(), first=0x22), "unknown command 2"),
    "v2 family 4": (_v2(_v4_block(), kind=0x41), "unknown family and transport 0x41"),
    "v2 transport 3": (_v2(_v4_block(), kind=0x13), "unknown family and transport 0x13"),
    "v2 IPv4 block too short": (_v2(_v4_block()[:-1]), "too short for its addresses"),
    "v2 IPv6 block too short": (_v2(_v6_block()[:-1], kind=0x21), "too short for its addresses"),
    "v2 Unix block too short": (_v2(bytes(215), kind=0x31), "too short for its addresses"),
    "v2 too long": (_v2(length=LONGEST - 15), "longer than 4096 bytes"),
    "v2 LOCAL too long": (_v2(first=0x20, kind=0, length=65535), "longer than 4096 bytes"),
}


@pytest.mark.parametrize(("header", "words"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_header_is_refused_however_it_is_split(header: bytes, words: str) -> None:
    """At the byte that shows it or later, for good, and without a word of what was sent."""
    with pytest.raises(ValueError, match=words) as caught:
        read(header)
    assert "203.0.113" not in str(caught.value)
    refused = False
    for end in range(len(header)):
        try:
            assert read(header[:end]) is None and not refused
        except ValueError:
            refused = True
    with pytest.raises(ValueError, match=words):
        read(header + REST)


def test_a_length_is_refused_before_the_bytes_are_there() -> None:
    """Nobody has to wait for, or keep, what a header only announces; what is within the limit is waited for."""
    with pytest.raises(ValueError, match="longer than 4096 bytes"):
        read(_v2(length=65535))
    assert read(_v2(length=LONGEST - 16)) is None


PORTS = st.integers(0, 65535)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), PORTS, PORTS, st.binary(max_size=20))
def test_any_ipv4_client_is_read_back(source: IPv4Address, target: IPv4Address, a: int, b: int, rest: bytes) -> None:
    """From both versions, with anything after the header."""
    line = f"PROXY TCP4 {source} {target} {a} {b}\r\n".encode()
    block = source.packed + target.packed + a.to_bytes(2, "big") + b.to_bytes(2, "big")
    assert read(line + rest) == Preface(Source(str(source), a), len(line))
    assert read(_v2(block) + rest) == Preface(Source(str(source), a), 28)


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), PORTS, PORTS, st.booleans())
def test_any_ipv6_client_is_read_back(source: IPv6Address, target: IPv6Address, a: int, b: int, full: bool) -> None:
    """From both versions, compressed or not."""
    forms = [address.packed.hex(":", 2) if full else address.compressed for address in (source, target)]
    line = f"PROXY TCP6 {forms[0]} {forms[1]} {a} {b}\r\n".encode()
    block = source.packed + target.packed + a.to_bytes(2, "big") + b.to_bytes(2, "big")
    client = Source(str(source.ipv4_mapped or source), a)
    assert read(line) == Preface(client, len(line))
    assert read(_v2(block, kind=0x21)) == Preface(client, 52)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=150))
def test_anything_gets_an_answer_that_stays(start: bytes, rest: bytes) -> None:
    """Once read, refused or found absent, more bytes change nothing."""
    data = start + rest
    settled: Preface | str | None = None
    for end in range(len(data) + 1):
        try:
            answer: Preface | str | None = read(data[:end])
        except ValueError as error:
            answer = str(error)
        assert settled is None or answer == settled
        settled = answer
        assert not isinstance(answer, Preface) or answer.consumed <= end
    assert len(data) < 107 or settled is not None or data.startswith(SIGNATURE)
