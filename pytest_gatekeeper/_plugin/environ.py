"""The environment of a test: lent while it holds the proxy, and given back exactly.

Works on `os.environ` with a `pytest.MonkeyPatch` of its own, since a test may undo the user's fixture at any time. A
test whose `monkeypatch` was set up earlier undoes it after us, and so puts our values back where they had been taken
away: `Lent.settle` finds that after everything else. Which variables there are is `_core.variables`' matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from pytest_gatekeeper._core.variables import CLEARED

__all__ = ["Lent", "lend"]


class Lent:
    """Variables while a test has them: what they were before, what they are now."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        names = {**dict.fromkeys(CLEARED), **variables}
        lowered = {name.lower() for name in names}
        others = [name for name in os.environ if name.lower() in lowered]  # No_Proxy counts in Python and elsewhere
        self._ours: dict[str, str | None] = {**dict.fromkeys(others), **names}
        self._before = {name: os.environ.get(name) for name in self._ours}
        self._disturbed: list[str] = []

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Remove what would lead clients astray, then set ours."""
        for name, value in self._ours.items():
            if value is None:
                patch.delenv(name, raising=False)
        for name, value in self._ours.items():
            if value is not None:
                patch.setenv(name, value)

    def take_back(self, patch: pytest.MonkeyPatch) -> None:
        """Restore what was before, and note what the test had changed meanwhile."""
        self._disturbed = [name for name, value in self._ours.items() if os.environ.get(name) != value]
        patch.undo()

    def settle(self) -> None:
        """After the test's last fixture: where an undo of somebody else brought our value back, restore again."""
        for name in self._disturbed:
            before = self._before[name]
            if os.environ.get(name) != self._ours[name] or before == self._ours[name]:
                continue
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before
        self._disturbed = []


@contextmanager
def lend(variables: Mapping[str, str]) -> Iterator[Lent]:
    """Set the variables of a client under test while the block lasts; what the process trusts is remembered before."""
    from pytest_gatekeeper._proxy.trust import remember_roots

    remember_roots()
    lent = Lent(variables)
    patch = pytest.MonkeyPatch()
    try:
        lent.apply(patch)
        yield lent
    finally:
        lent.take_back(patch)
