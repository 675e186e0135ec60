"""Files for tools that read no variable of the others' kind: a trust store for Java, a start-up file for wget.

They are written when they are asked for, and by whoever the caller says; the variables that name them are given back.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from pytest_gatekeeper.errors import ProxyError

__all__ = ["TOOLS", "Proxy", "java_variables", "tool_variables", "wget_variables"]

TOOLS = ("java", "wget")

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PASSWORD = "changeit"  # noqa: S105 - Java's own default, known to everybody; the file holds certificates alone

Write = Callable[[str, bytes], str]
"""Puts content into a file of a name, and gives its path."""


class Proxy(Protocol):
    """What is needed of a proxy."""

    @property
    def host(self) -> str:
        """Where it listens."""

    @property
    def port(self) -> int:
        """Its port."""

    @property
    def env(self) -> dict[str, str]:
        """The variables of all other clients."""


def tool_variables(
    tools: Iterable[str], proxy: Proxy, write: Write, environ: Mapping[str, str], no_proxy: Iterable[str]
) -> dict[str, str]:
    """The proxy's variables with those of some tools.

    Args:
        tools: names of `TOOLS`.
        proxy: running.
        write: makes the files.
        environ: what the tools would read otherwise.
        no_proxy: hosts to reach directly.

    Raises:
        ValueError: a tool that is not known.
        ProxyError: a trust store cannot be made.
    """
    variables = proxy.env
    trusted = variables["SSL_CERT_FILE"]
    for tool in tools:
        if tool == "java":
            pem, existing = Path(trusted).read_bytes(), environ.get("JAVA_TOOL_OPTIONS", "")
            variables |= java_variables(proxy.host, proxy.port, pem, write, existing=existing, no_proxy=no_proxy)
        elif tool == "wget":
            variables |= wget_variables(trusted, write, environ)
        else:
            raise ValueError(f"there is no tool {tool!r}; there are {', '.join(TOOLS)}")
    return variables


def java_variables(
    host: str, port: int, pem: bytes, write: Write, *, existing: str = "", no_proxy: Iterable[str] = ()
) -> dict[str, str]:
    """What leads a Java process through the proxy: JAVA_TOOL_OPTIONS, and the trust store that it names.

    A JVM says "Picked up JAVA_TOOL_OPTIONS" on stderr, so this is for those who ask for it. It has no place for the
    proxy's token.

    Args:
        host: of the proxy.
        port: of the proxy.
        pem: certificates to trust, and no others: the authority's, with `no_proxy` those of the bundle.
        write: puts the store (PKCS#12, RFC 7292) somewhere.
        existing: what JAVA_TOOL_OPTIONS was.
        no_proxy: hosts to reach directly, as in NO_PROXY; networks have no place here. Without any, loopback addresses
            go to the proxy, too.

    Raises ProxyError where the installed cryptography is too old to write a store.
    """
    store = write("truststore.p12", _java_truststore(pem))
    direct = [host for entry in no_proxy if "/" not in entry for host in _java_hosts(entry)]
    options = {
        **{f"{scheme}.proxyHost": host for scheme in ("http", "https")},
        **{f"{scheme}.proxyPort": str(port) for scheme in ("http", "https")},
        "http.nonProxyHosts": "|".join(direct),  # empty, it replaces Java's own list of loopback addresses
        "javax.net.ssl.trustStore": store,
        "javax.net.ssl.trustStoreType": "PKCS12",
        "javax.net.ssl.trustStorePassword": _PASSWORD,
    }
    told = [f"-D{name}={value}" for name, value in options.items()]
    quoted = [f'"{option}"' if " " in option else option for option in told]
    return {"JAVA_TOOL_OPTIONS": " ".join([existing, *quoted] if existing else quoted)}


def _java_hosts(entry: str) -> list[str]:
    name = entry.strip().removeprefix("*").removeprefix(".")
    return [name] if ":" in name or name[-1:].isdigit() else [name, f"*.{name}"]


def _java_truststore(pem: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    serialize = getattr(pkcs12, "serialize_java_truststore", None)
    if serialize is None:
        raise ProxyError("a Java trust store needs a newer cryptography: pip install -U cryptography")
    entries = []
    for number, block in enumerate(_PEM.findall(pem)):
        with warnings.catch_warnings():  # roots in use break rules that cryptography warns about, and will refuse
            warnings.simplefilter("ignore")
            try:
                certificate = x509.load_pem_x509_certificate(block)
            except ValueError:
                continue
        entries.append(pkcs12.PKCS12Certificate(certificate, f"gatekeeper-{number}".encode()))
    return bytes(serialize(entries, BestAvailableEncryption(_PASSWORD.encode())))


def wget_variables(ca_path: str, write: Write, environ: Mapping[str, str]) -> dict[str, str]:
    """What lets a wget that is built with GnuTLS trust the proxy: WGETRC, a copy of the user's file with one line more.

    Args:
        ca_path: what the CA variables name.
        write: puts the file somewhere.
        environ: names the user's file (WGETRC, else `.wgetrc` in HOME).
    """
    own = environ.get("WGETRC") or str(Path(environ.get("HOME") or "~").expanduser() / ".wgetrc")
    try:
        text = Path(own).read_bytes().rstrip(b"\n") + b"\n"
    except OSError:
        text = b""
    return {"WGETRC": write("wgetrc", text + f"ca_certificate = {ca_path}\n".encode())}
