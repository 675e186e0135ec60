"""What is wrong with a host, a pattern or a header name in a configuration, and what to write instead.

Texts for errors and warnings. None holds more of what was written than the name that can be used, for a host may be a
URL with a password, and a header a whole field.
"""

from __future__ import annotations

import re

from pytest_gatekeeper._core.hosts import is_address, is_host

__all__ = ["dead_pattern", "header_problem", "host_problem", "is_header_name"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SPLIT = re.compile(r"[/?#\\]")
_MANAGED = frozenset(
    ("host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive")
)  # fields that the proxy itself writes


def host_problem(host: str) -> str:
    """Why a credential's host is refused: scheme, user, port, path, white space, IPv6; "" where it is not."""
    if not host:
        return "is required: write a name, or *.suffix for all names below it"
    if not any(char in "/:@" or char.isspace() for char in host):
        return ""
    if is_address(host.strip().removeprefix("[").removesuffix("]")):
        return "an IPv6 address never matches in production; give the host a name and write that"
    found = _bare(host)
    hint = f"write {found!r}" if found else "write a name, or *.suffix for all names below it"
    return f"a host has no scheme, user, port, path and white space, it would never match; {hint}"


def _bare(text: str) -> str:
    """The host in something like a URL; "" where none can be made out."""
    authority = _SPLIT.split(text.strip().rpartition("://")[2])[0].rpartition("@")[2]
    host = authority.strip().partition(":")[0]
    return host if is_host(host.removeprefix("*.")) else ""


def dead_pattern(pattern: str) -> str:
    """Why a host pattern, without port, can never match, and the spelling that works; "" for one that can."""
    name = pattern.removeprefix("*.")
    if pattern in ("*", "*."):
        return "matches nothing; only *.suffix is a wildcard, so write each name, or *.suffix for all names below it"
    if "*" in name:
        suffix = name.rpartition("*")[2].strip(".")
        below = f", or '*.{suffix}' for all names below {suffix}" if is_host(suffix) else ""
        return f"matches nothing, only *.suffix is a wildcard; write each name{below}"
    if name.startswith(".") and is_host(name.strip(".")):
        return f"matches nothing; for all names below it write '*.{name.strip('.')}'"
    if name.endswith(".") and is_host(name):
        return f"never matches with a dot at the end; write {pattern.rstrip('.')!r}"
    if not name.isascii() and (ascii_name := _idna(name)):
        spelling = pattern.removesuffix(name) + ascii_name
        return f"never matches, since clients send such names in ASCII (RFC 5890); write {spelling!r}"
    return "" if is_host(name) else "is no host name and matches nothing; write a name, or *.suffix"


def _idna(name: str) -> str:
    try:
        text = name.encode("idna").decode("ascii").removesuffix(".")
    except UnicodeError:
        return ""
    return text if is_host(text) else ""


def header_problem(header: str) -> str:
    """Why no credential can travel in a header; "" where it can. What was written is not shown: it may be a field."""
    if ":" in header:
        return "a header's name has no colon and no value behind it; write the name alone, and the value in the source"
    if any(char.isspace() for char in header):
        return "a header's name has no white space (RFC 9110 section 5.1); write the name alone"
    if not is_header_name(header):
        return "is no header name (RFC 9110 section 5.1); write the name alone"
    if header.lower() in _MANAGED or header.lower().startswith("proxy-"):
        return "belongs to the connection and cannot carry a credential; write another one"
    return ""


def is_header_name(text: str) -> bool:
    """Whether `text` can be the name of a header field (RFC 9110 section 5.1)."""
    return _TOKEN.fullmatch(text) is not None
