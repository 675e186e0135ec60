"""The terms under which a proxy forwards: its rules, its policy, its token, the headers it captures.

Everything that `decide` needs beside the request itself, prepared once. A change of any of it (a refreshed credential,
another test) is a new `Terms`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_gatekeeper._core.inject import Plan
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.rules import RuleBook
from pytest_gatekeeper._core.secret import Secret

__all__ = ["Terms"]

_REMEMBERED = 1024  # hosts whose plan is kept


class Terms:
    """What a proxy decides by.

    Attributes:
        rules, policy: as given.
        auth_token: what clients must send in Proxy-Authorization; None (or an empty one) asks for nothing.
        captures: log keys of `log.capture_headers`, by lower-case header name, in order.
    """

    __slots__ = ("_plans", "auth_token", "captures", "policy", "rules")

    def __init__(
        self,
        rules: RuleBook,
        policy: Policy,
        auth_token: Secret | None = None,
        capture_headers: tuple[str, ...] = (),
    ) -> None:
        self.rules = rules
        self.policy = policy
        self.auth_token = auth_token or None
        self.captures: Mapping[str, str] = {name.lower(): name.lower().replace("-", "_") for name in capture_headers}
        self._plans: dict[str, Plan] = {}

    def plan(self, host: str) -> Plan:
        """What is injected into requests for `host`."""
        plan = self._plans.get(host)
        if plan is None:
            if len(self._plans) >= _REMEMBERED:
                self._plans.clear()
            plan = self._plans[host] = Plan(self.rules.for_host(host))
        return plan
