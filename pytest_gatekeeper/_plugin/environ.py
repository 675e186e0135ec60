"""The environment of a test: lent while it holds the proxy, and given back exactly.

A test may do with `os.environ` what it likes, so each variable is put back by its value from before. A `monkeypatch`
that was set up earlier is undone after us: what it saw change while the test had our values comes back with it.
`Lent.settle` finds that, after everything else. Which variables there are is `_core.variables`' matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from pytest_gatekeeper._core.variables import CLEARED

__all__ = ["Lent", "at_begin_of", "lend", "note"]

_AT_BEGIN = pytest.StashKey[Mapping[str, str]]()


def note(item: pytest.Item) -> None:
    """Before the first fixture of a test that is going to hold the proxy: remember its environment."""
    if "gatekeeper_proxy" in getattr(item, "fixturenames", ()):
        item.stash[_AT_BEGIN] = dict(os.environ)


def at_begin_of(item: pytest.Item) -> Mapping[str, str] | None:
    """The environment before a test's first fixture; None where a fixture was asked for while the test ran."""
    return item.stash.get(_AT_BEGIN, None)


class Lent:
    """Variables while a test has them: what they were before, what they are now.

    Args:
        variables: to set; those of `_core.variables.CLEARED` are removed.
        at_begin: the environment before the test's first fixture, where it is known.
    """

    def __init__(self, variables: Mapping[str, str], at_begin: Mapping[str, str] | None = None) -> None:
        names = {**dict.fromkeys(CLEARED), **variables}
        lowered = {name.lower() for name in names}
        others = [name for name in os.environ if name.lower() in lowered]  # No_Proxy counts in Python and elsewhere
        self._ours: dict[str, str | None] = {**dict.fromkeys(others), **names}
        self._before = {name: os.environ.get(name) for name in self._ours}
        self._at_begin = self._before if at_begin is None else at_begin
        self._disturbed: set[str] = set()

    def apply(self) -> None:
        """Remove what would lead clients astray, and set ours."""
        _put(self._ours)

    def take_back(self) -> None:
        """Restore what was before, and note what the test had changed meanwhile."""
        self._disturbed = {name for name, value in self._ours.items() if os.environ.get(name) != value}
        _put(self._before)

    def settle(self) -> None:
        """After the test's last fixture: where an undo of somebody else brought our value back, restore again."""
        for name, value in self._ours.items():
            undone = value is not None or name in self._disturbed  # a name may be gone for other reasons, too
            if undone and os.environ.get(name) == value != self._at_begin.get(name):
                _put({name: self._before[name]})
        self._ours = {}


@contextmanager
def lend(variables: Mapping[str, str], at_begin: Mapping[str, str] | None = None) -> Iterator[Lent]:
    """Set the variables of a client under test while the block lasts; what the process trusts is remembered before."""
    from pytest_gatekeeper._proxy.trust import remember_roots

    remember_roots()
    lent = Lent(variables, at_begin)
    try:
        lent.apply()
        yield lent
    finally:
        lent.take_back()


def _put(variables: Mapping[str, str | None]) -> None:
    """Set variables; None removes one."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
