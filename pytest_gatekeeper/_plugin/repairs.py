"""Clients that read the environment when they are imported, or once a process: set right for a test, and put back.

A plugin cannot be first: aiohttp's own pytest plugin, or a conftest.py, may have imported them. Each place was
measured: without the repair the client does not trust the proxy's authority, or goes to the proxy of an earlier test.
Nothing is imported here, and a version that has no such place is left alone. The environment itself is `environ`'s.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter, methodcaller
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["repaired"]


class _Place(NamedTuple):
    """An attribute of a module that holds what the environment said once.

    Attributes:
        module, attribute: its name.
        ours: makes the value for a test from the path of a CA file.
        afresh: makes the value from the environment as the module does; None where it does not come from there.
    """

    module: str
    attribute: str
    ours: Callable[[str], object]
    afresh: Callable[[Any], object] | None = None


def _context(ca_path: str) -> ssl.SSLContext:
    """A client context that trusts a CA file alone; its ALPN is that of aiohttp and requests."""
    context = ssl.create_default_context(cafile=ca_path)
    context.set_alpn_protocols(["http/1.1"])
    return context


_PLACES = (
    _Place("aiohttp.connector", "_SSL_CONTEXT_VERIFIED", _context, methodcaller("_make_ssl_context", True)),
    _Place("httplib2", "CA_CERTS", str, lambda module: module.certs.where()),
    _Place("requests.adapters", "DEFAULT_CA_BUNDLE_PATH", str),  # of a Session with trust_env=False
    _Place("requests.adapters", "_preloaded_ssl_context", _context),  # requests 2.32.0 to 2.32.3
    _Place("urllib.request", "_opener", lambda _: None, lambda _: None),  # made by the first urlopen()
)

_CACHES = (
    ("aiohttp.connector", "TCPConnector._make_ssl_context"),  # aiohttp up to 3.10.1
    ("niquests.utils", "getproxies"),
    ("niquests.utils", "getproxies_environment"),
)
"""Functions that remember what the environment said."""


@contextmanager
def repaired(ca_path: str) -> Iterator[None]:
    """Let clients that are already loaded trust a CA file while the block lasts, and forget what they cached.

    Afterwards each place holds the object that it held before, whatever ended the block. A client that was imported in
    the block read the test's environment: it reads again afterwards. So this goes around the environment, and not into
    it: ``with repaired(path), lend(variables): ...``.

    Args:
        ca_path: what the CA variables name.
    """
    before = {place: vars(module)[place.attribute] for place, module in _present()}
    try:
        for place, module in _present():
            if before[place] is not None:  # else nothing was read, or requests does not use it
                setattr(module, place.attribute, place.ours(ca_path))
        _forget()
        yield
    finally:
        for place, module in _present():
            if place in before:
                setattr(module, place.attribute, before[place])
            elif place.afresh is not None:
                with suppress(Exception):  # it stays as its import left it
                    setattr(module, place.attribute, place.afresh(module))
        _forget()


def _present() -> list[tuple[_Place, ModuleType]]:
    """The places that there are at the moment."""
    modules = ((place, _loaded(place.module)) for place in _PLACES)
    return [(place, module) for place, module in modules if module is not None and place.attribute in vars(module)]


def _loaded(name: str) -> ModuleType | None:
    module = sys.modules.get(name)
    return module if isinstance(module, ModuleType) else None


def _forget() -> None:
    """Empty the caches of modules that are loaded."""
    for name, path in _CACHES:
        with suppress(AttributeError):
            attrgetter(path)(_loaded(name)).cache_clear()
