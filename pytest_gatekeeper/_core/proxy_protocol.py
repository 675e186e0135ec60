"""The PROXY protocol: who is behind a load balancer, told in front of the first byte of a connection.

Reads versions 1 (text) and 2 (binary) of HAProxy's specification (proxy-protocol.txt, sections 2.1 and 2.2) from the
bytes that have arrived so far. A connection without such a header is taken as it is, as production does, so that health
checks and clients that come directly keep working. Whether a listener expects the header at all, and how long it waits
for it, is not decided here.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

__all__ = ["LONGEST", "Preface", "Source", "read"]

LONGEST = 4096
"""Bytes that a header can have at most; a longer one is refused."""

_V1 = b"PROXY"
_V1_LONGEST = 107  # bytes, the end of line among them (section 2.1)
_V1_TCP = re.compile(r"PROXY (TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
_LOCAL, _PROXY = 0, 1
_UNSPEC, _INET, _INET6, _UNIX = range(4)
_BYTES_NEEDED = {_UNSPEC: 0, _INET: 12, _INET6: 36, _UNIX: 216}


class Source(NamedTuple):
    """Who opened the connection at the load balancer: an IP address without brackets, and a port."""

    host: str
    port: int


class Preface(NamedTuple):
    """What a connection begins with.

    Attributes:
        source: the client; None where the connection's own peer is meant.
        consumed: how many bytes belong to the header, 0 without one.
    """

    source: Source | None
    consumed: int


_ABSENT = Preface(None, 0)


def read(data: bytes) -> Preface | None:
    """Read the header at the start of `data`, which is all that a connection has sent so far.

    Returns None while more bytes are needed to tell, never with `LONGEST` bytes or more. Raises ValueError for a header
    that is malformed; the connection should be cut then. No text of an error repeats what was sent.
    """
    if _begins(data, _V2):
        return _read_v2(data) if len(data) >= len(_V2) else None
    if _begins(data, _V1):
        return _read_v1(data) if len(data) >= len(_V1) else None
    return _ABSENT


def _begins(data: bytes, signature: bytes) -> bool:
    """Whether `data` starts with a signature, or may still turn out to."""
    return data[: len(signature)] == signature[: len(data)]


# ------------------------------------------------------------------ version 1


def _read_v1(data: bytes) -> Preface | None:
    end = data.find(b"\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise ValueError(f"the PROXY line is longer than {_V1_LONGEST} bytes")
        return None
    if data[end - 1 : end] != b"\r":
        raise ValueError("the PROXY line must end with CR LF")
    line = data[: end - 1].decode("latin-1")
    if line == "PROXY UNKNOWN" or line.startswith("PROXY UNKNOWN "):
        return Preface(None, end + 1)
    found = _V1_TCP.fullmatch(line)
    if found is None:
        raise ValueError("the PROXY line must read: PROXY TCP4|TCP6 SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT")
    kind = IPv4Address if found[1] == "TCP4" else IPv6Address
    try:
        source, _ = kind(found[2]), kind(found[3])
    except AddressValueError:
        raise ValueError(f"the PROXY line has an address that is none of {found[1]}") from None
    if max(int(found[4]), int(found[5])) > 65535:
        raise ValueError("the PROXY line has a port above 65535")
    return Preface(Source(_host(source), int(found[4])), end + 1)


# ------------------------------------------------------------------ version 2


def _read_v2(data: bytes) -> Preface | None:
    if len(data) < _V2_FIXED:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length = int.from_bytes(data[14:16], "big")
    if version != 2:
        raise ValueError(f"the PROXY header has version {version}; only 1 and 2 are known")
    if command not in (_LOCAL, _PROXY):
        raise ValueError(f"the PROXY header has the unknown command {command}")
    if _V2_FIXED + length > LONGEST:
        raise ValueError(f"the PROXY header is longer than {LONGEST} bytes")
    named = command == _PROXY
    if named and (family not in _BYTES_NEEDED or transport > 2):
        raise ValueError(f"the PROXY header has the unknown family and transport 0x{data[13]:02x}")
    if named and length < _BYTES_NEEDED[family]:
        raise ValueError("the PROXY header is too short for its addresses")
    if len(data) < _V2_FIXED + length:
        return None
    source = _source(family, data[_V2_FIXED:]) if named and transport != _UNSPEC else None
    return Preface(source, _V2_FIXED + length)


def _source(family: int, block: bytes) -> Source | None:
    """The first of both addresses in a block that is long enough; None for a family that names no IP address."""
    if family == _INET:
        return Source(_host(IPv4Address(block[:4])), int.from_bytes(block[8:10], "big"))
    if family == _INET6:
        return Source(_host(IPv6Address(block[:16])), int.from_bytes(block[32:34], "big"))
    return None


def _host(address: IPv4Address | IPv6Address) -> str:
    """An address as text, the IPv4 one where it is wrapped in IPv6 (RFC 4291 section 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
