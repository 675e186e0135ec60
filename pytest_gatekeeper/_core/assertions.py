"""The assertions of a recorder, as tests call them.

Each says what it is about, has `expect` judge what happened, and raises `AssertionError` with a finished text that
shows no secret; each returns what it matched. What happened, and whether to look again, is the recorder's to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

from pytest_gatekeeper._core import expect
from pytest_gatekeeper._core.model import Rule
from pytest_gatekeeper._core.query import Traffic, Value, Wanted
from pytest_gatekeeper._core.records import Exchange, Tunnel
from pytest_gatekeeper._core.scan.needles import scanned
from pytest_gatekeeper._core.secret import frameless
from pytest_gatekeeper._core.telling import Scene

__all__ = ["Assertions"]

T = TypeVar("T")


class Assertions:
    """What can be asserted of what happened; a recorder is one.

    Each raises AssertionError where it does not hold, TypeError for an argument of another type, and ValueError for one
    that could never be right: a URL in the place of a host, `times=0`.
    """

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that were in force."""
        raise NotImplementedError

    def _judge(self, expectation: Callable[[Scene], T], wanted: Wanted | None = None) -> T:
        """What an expectation makes of what happened; no text of it shows a value of `wanted`."""
        raise NotImplementedError

    @frameless
    def assert_injected(
        self,
        host: str,
        *,
        header: str | None = None,
        grant: str | None = None,
        value: Value | None = None,
        header_value: Value | None = None,
        method: str | None = None,
        path: str | None = None,
        upgrade: bool | None = None,
        times: int | None = None,
    ) -> tuple[Exchange, ...]:
        """Every matching exchange got the credential, and there is at least one (exactly `times`, where given).

        `host`, `method`, `path` and `upgrade` say which exchanges, `header`, `grant`, `value` and `header_value` which
        credential; see `filter`.
        """
        traffic = Traffic(host, method=method, path=path, upgrade=upgrade)
        wanted = Wanted(header=header, grant=grant, value=value, header_value=header_value)
        return self._judge(lambda scene: expect.injected(scene, traffic, wanted, times), wanted)

    @frameless
    def assert_not_injected(
        self,
        host: str | None = None,
        *,
        header: str | None = None,
        grant: str | None = None,
        value: Value | None = None,
        header_value: Value | None = None,
        method: str | None = None,
        path: str | None = None,
        upgrade: bool | None = None,
    ) -> tuple[Exchange, ...]:
        """No matching exchange got a credential (or such a one), and there is at least one; see `assert_injected`."""
        traffic = Traffic(host, method=method, path=path, upgrade=upgrade)
        wanted = Wanted(header=header, grant=grant, value=value, header_value=header_value)
        return self._judge(lambda scene: expect.not_injected(scene, traffic, wanted), wanted)

    @frameless
    def assert_upgraded(
        self,
        host: str,
        *,
        path: str | None = None,
        grant: str | None = None,
        injected: bool | None = None,
        times: int | None = None,
    ) -> tuple[Exchange, ...]:
        """A WebSocket upgrade to the host was answered 101; exactly `times` of them, where given.

        Args:
            host: see `filter`.
            path: see `filter`.
            grant: label of the credential that it got.
            injected: whether it got a credential; False with a `grant`: not that one.
            times: how many there are.
        """
        injected = True if injected is None and grant is not None else injected
        traffic = Traffic(host, path=path, websocket=True)
        return self._judge(lambda scene: expect.upgraded(scene, traffic, Wanted(grant=grant), injected, times))

    @frameless
    def assert_scope(self, scope: Mapping[str, str | Iterable[str]]) -> tuple[Exchange, ...]:
        """Each grant reached all host patterns listed for it and no other host, and no other grant was used.

        Returns the exchanges that carried a listed grant. Credentials without a grant count where `""` is listed.

        Args:
            scope: patterns by grant: `{"ws-api": ["ws.example.com"], "never-used": []}`.
        """
        return self._judge(lambda scene: expect.scope(scene, scope))

    @frameless
    def assert_denied(
        self, host: str, *, method: str | None = None, path: str | None = None, times: int | None = None
    ) -> tuple[Exchange | Tunnel, ...]:
        """Policy refused the host (a CONNECT to it, or a request), and let no request to it through.

        Args:
            host: see `filter`.
            method: of the request; `CONNECT` for tunnels alone.
            path: of the request; a CONNECT has none.
            times: how often exactly.
        """
        traffic = Traffic(host, method=method, path=path)
        return self._judge(lambda scene: expect.denied(scene, traffic, times))

    @frameless
    def assert_no_leaks(self, direction: Literal["upstream", "client", "any"] = "upstream") -> tuple[Exchange, ...]:
        """No secret was seen outside its scope. Returns all exchanges; without one, or without a rule, this fails.

        Args:
            direction: `upstream` (what was sent), `client` (what came back: an upstream that echoes) or `any`.
        """
        return self._judge(lambda scene: expect.no_leaks(scene, direction, sought=any(map(scanned, self.rules))))

    @frameless
    def assert_no_bypass(self) -> tuple[Exchange, ...]:
        """This process opened no connection past the proxy. Returns all exchanges; without one this fails."""
        return self._judge(expect.no_bypass)
