"""What is in force: the rules of one proxy, and what follows from them.

Credentials come from the configuration, from whoever makes the proxy, and from its test while it runs; their values are
fetched here and may change. Each change makes new terms to decide by, hides and looks for what is secret now, and is
told to the lease and the recorder. Nothing is carried or decided here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pytest_gatekeeper._core.credentials import read_credential
from pytest_gatekeeper._core.hints import dead_pattern, header_problem, host_problem
from pytest_gatekeeper._core.model import Credential, Rule, Settings, SourceSpec
from pytest_gatekeeper._core.places import keyed
from pytest_gatekeeper._core.policy import Policy
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.rules import RuleBook, make_rule
from pytest_gatekeeper._core.scan.watchlist import Watchlist
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._core.terms import Terms
from pytest_gatekeeper._proxy.lease import Lease
from pytest_gatekeeper._sources.vault import SecretsMode, Vault
from pytest_gatekeeper.errors import ConfigError
from pytest_gatekeeper.recorder import Recorder

__all__ = ["InForce", "SecretsMode"]


class InForce:
    """The rules of one proxy.

    Args:
        settings: the configuration.
        credentials: mappings as under `credentials` in the file, in addition to those of the configuration.
        secrets: which sources are read.
        salt: makes canaries differ from those of other proxies.

    Raises:
        ConfigError: something can never be what it says.
        SourceError: a credential cannot be fetched that has to be real.

    Attributes:
        recorder: knows the rules.
    """

    def __init__(
        self, settings: Settings, credentials: Sequence[Mapping[str, Any]], secrets: SecretsMode, salt: str
    ) -> None:
        if secrets not in ("auto", "real", "canary"):
            raise ValueError("secrets is auto, real or canary")
        self._settings = settings
        self._policy = _policy(settings)
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._added: tuple[Rule, ...] = ()
        self._past: tuple[Rule, ...] = ()  # whose values were secrets, and are
        own = [read_credential(item, f"credentials[{index}]") for index, item in enumerate(credentials)]
        numbered = keyed(settings, own)
        self._vault = Vault(
            [credential for _, credential in numbered],
            mode=secrets,
            environ=dict(os.environ),
            salt=salt,
            file=settings.file,
            ids=[key for key, _ in numbered],
            secrets=[settings.proxy.auth_token] if settings.proxy.auth_token else [],
            on_change=self._refreshed,
        )
        self._rules = self._vault.rules
        self._watchlist = Watchlist(())
        self.recorder = Recorder(self._rules)

    def made(self) -> tuple[Terms, Redactor, Watchlist]:
        """What follows from the rules of now: the terms, what hides their secrets, and what looks for them."""
        rules = (*self._rules, *self._added)
        token = self._settings.proxy.auth_token
        known = (*rules, *self._past)
        secrets = [secret for rule in known for secret in (rule.secret, rule.header_value)]
        terms = Terms(RuleBook(rules), self._policy, token, self._settings.log.capture_headers)
        self._watchlist.look_for(known)
        return terms, Redactor([*secrets, token] if token else secrets), self._watchlist

    def hold(self, lease_of: Callable[[Terms, Redactor, Watchlist], Lease]) -> Lease:
        """A lease that is made of what is in force; what changes from now on is in force in it, too."""
        with self._lock:
            self._lease = lease_of(*self.made())
            return self._lease

    def close(self) -> None:
        """Fetch nothing any more."""
        self._vault.close()

    def add(
        self, host: str, value: str | Secret, header: str, grant: str, prefix: str, format: Literal["", "basic"]
    ) -> Rule:
        """One more rule, from now on. Raises ConfigError, or TypeError; neither text shows the value."""
        if not isinstance(value, (str, Secret)):
            raise TypeError(f"the value of a credential is text or a Secret, not {type(value).__name__}")
        texts = {"host": host, "header": header, "grant": grant, "prefix": prefix, "format": format}
        for name, text in texts.items():
            if not isinstance(text, str):
                raise TypeError(f"{name} is text, not {type(text).__name__}")
        secret = value if isinstance(value, Secret) else Secret(value)
        if not secret:
            raise ConfigError("add_credential needs a value that is not empty", key="value")
        if not host.startswith("[") and (problem := host_problem(host) or dead_pattern(host)):
            raise ConfigError(problem, key="host")
        if header and (problem := header_problem(header)):
            raise ConfigError(problem, key="header")
        if format and (format != "basic" or header.lower() != "authorization"):
            raise ConfigError("is 'basic', for the header Authorization only, or left out", key="format")
        source = SourceSpec("static", hidden=(("value", secret),))
        credential = Credential(host, source, header or "Authorization", prefix, format, grant)
        with self._lock:
            rule = make_rule(f"added[{len(self._added)}]", credential, secret)
            self._added += (rule,)
            self.recorder.add_rule(rule)
            self._apply()
        return rule

    def _refreshed(self, rules: tuple[Rule, ...]) -> None:
        """A source has given another value."""
        with self._lock:
            self._past += tuple(rule for rule in self._rules if rule not in rules)
            self._rules = rules
            self.recorder.set_rules(rules)
            self._apply()

    def _apply(self) -> None:
        if self._lease is not None:
            terms, redactor, _ = self.made()
            self._lease.redactor = redactor  # first: nothing may be recorded with terms that it does not know
            self._lease.terms = terms


def _policy(settings: Settings) -> Policy:
    try:
        return Policy(settings.network)
    except ConfigError as error:
        raise ConfigError(error.problem, file=settings.file, key=error.key) from None
