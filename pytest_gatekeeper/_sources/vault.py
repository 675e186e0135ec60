"""Values for all credentials of a proxy: real ones, or canaries in their place.

A `Vault` fetches when it is made, once for equal sources, and keeps fetching what expires. What is real is settled here
and nowhere else: in `auto` a static value and a variable that is set, in `real` everything, in `canary` nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pytest_gatekeeper._core.canary import canary
from pytest_gatekeeper._core.model import Credential, Rule, SourceSpec
from pytest_gatekeeper._core.redact import Redactor
from pytest_gatekeeper._core.rules import make_rule
from pytest_gatekeeper._core.secret import Secret, fingerprint_key
from pytest_gatekeeper._core.source_spec import KINDS
from pytest_gatekeeper._sources import cloud, env, process, static
from pytest_gatekeeper._sources.fetched import Fetched, Request
from pytest_gatekeeper._sources.refresh import Clock, Refresher, SystemClock
from pytest_gatekeeper.errors import ConfigError, SourceError

__all__ = ["SecretsMode", "Vault", "count_real", "is_real"]

_log = logging.getLogger("pytest_gatekeeper")

SecretsMode = Literal["auto", "real", "canary"]

_FETCHERS: Mapping[str, Callable[[Request], Fetched]] = {
    **dict.fromkeys(KINDS, cloud.fetch),
    "env": env.fetch,
    "static": static.fetch,
    "process": process.fetch,
}

_NAMING = ("var", "private_key_env", "client_secret_env")
"""The fields of a source that name a variable with a secret."""


def is_real(credential: Credential, mode: SecretsMode, environ: Mapping[str, str]) -> bool:
    """Whether a credential's value is fetched from its source, rather than made up."""
    source = credential.source
    if mode == "auto":
        return source.type == "static" or (source.type == "env" and env.is_set(Request(source, environ)))
    return mode == "real"


def count_real(credentials: Sequence[Credential], mode: SecretsMode, environ: Mapping[str, str]) -> int:
    """How many of the credentials are real; nothing is fetched."""
    return sum(is_real(credential, mode, environ) for credential in credentials)


class Vault:
    """The values of a proxy's credentials, as rules.

    Args:
        credentials: in the order of the file.
        mode: which of them are real.
        environ: the variables to look up, and to run commands with; a copy is kept.
        salt: of the test, so that its canaries are its own.
        file: the configuration's name, for messages.
        ids: of the rules, in order; `credentials[0]` and so on without.
        secrets: what else no message may show, beside what the credentials' sources name and give.
        on_change: called with all rules, from another thread, when a value has been fetched anew and is another one.
            It must neither raise nor wait, and is not called any more once `close` has returned.
        clock: time and waiting; for tests.

    Raises:
        SourceError: a value cannot be fetched; names place and host, and what to do.
        ConfigError: a value cannot be sent; names rule and position.

    Attributes:
        rules: one for each credential, in order: `credentials[0]` and so on.
    """

    def __init__(
        self,
        credentials: Sequence[Credential],
        *,
        mode: SecretsMode,
        environ: Mapping[str, str],
        salt: str,
        file: str | None = None,
        ids: Sequence[str] = (),
        secrets: Sequence[Secret] = (),
        on_change: Callable[[tuple[Rule, ...]], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._credentials = tuple(credentials)
        self._ids = tuple(ids) or tuple(f"credentials[{index}]" for index in range(len(self._credentials)))
        self._environ = dict(environ)
        self._file = file
        self._secrets = tuple(secrets)
        self._on_change = on_change
        self._clock = SystemClock() if clock is None else clock
        self._lock = threading.RLock()
        self._closed = False
        self._values: dict[SourceSpec, Secret] = {}
        self._canaries: dict[int, Secret] = {}
        lifetimes: dict[SourceSpec, float] = {}
        for index, credential in enumerate(self._credentials):
            if not is_real(credential, mode, environ):
                self._canaries[index] = Secret(canary(credential, fingerprint_key(), salt, self._ids[index]))
            elif credential.source not in self._values:
                fetched = self._fetched(index, credential)
                self._values[credential.source] = fetched.value
                if fetched.lifetime is not None:
                    lifetimes[credential.source] = fetched.lifetime
        self.rules = self._made(self._values)
        self._refresher = Refresher(lifetimes, self._refresh, self._clock) if lifetimes else None
        if self._refresher is not None:
            self._refresher.start()

    def close(self) -> None:
        """Stop refreshing; takes at most a second. Can be called twice."""
        with self._lock:
            self._closed = True
        if self._refresher is not None:
            self._refresher.close()

    def _request(self, source: SourceSpec) -> Request:
        return Request(source, self._environ, lambda: self._clock.stopped, self._blank)

    def _blank(self, text: str) -> str:
        """A text without what is secret: what sources hold and name, fetched or not, and what was fetched."""
        sources = [credential.source for credential in self._credentials]
        named = (self._environ.get(source.get(field), "") for source in sources for field in _NAMING)
        hidden = (secret for source in sources for _, secret in source.hidden)
        return Redactor([*map(Secret, named), *hidden, *self._values.values(), *self._secrets]).blank(text)

    def _fetched(self, index: int, credential: Credential) -> Fetched:
        try:
            return _FETCHERS[credential.source.type](self._request(credential.source))
        except SourceError as error:
            problem = f"the credential for {credential.host}: {error}"
            told = ConfigError(problem, file=self._file, line=credential.line, key=self._ids[index])
            raise SourceError(str(told)) from None

    def _made(self, values: Mapping[SourceSpec, Secret]) -> tuple[Rule, ...]:
        rules = []
        for index, credential in enumerate(self._credentials):
            made_up = self._canaries.get(index)
            value = values[credential.source] if made_up is None else made_up
            try:
                rules.append(make_rule(self._ids[index], credential, value, made_up is not None))
            except ConfigError as error:  # without the frames that hold the value
                raise ConfigError(error.problem, file=self._file, line=credential.line, key=self._ids[index]) from None
        return tuple(rules)

    def _refresh(self, source: SourceSpec) -> tuple[bool, float | None]:
        """Fetch a source again; whether that worked, and for how long its value is good."""
        try:
            value, lifetime = _FETCHERS[source.type](self._request(source))
            if value != self._values[source]:
                values = {**self._values, source: value}
                self._change(values, self._made(values))
        except (SourceError, ConfigError):
            return False, None
        except Exception as error:  # noqa: BLE001 - it may be anybody's, and the next try may succeed
            _log.error("a credential was not refreshed: %s", type(error).__name__)
            return False, None
        return True, lifetime

    def _change(self, values: dict[SourceSpec, Secret], rules: tuple[Rule, ...]) -> None:
        with self._lock:
            if self._closed:
                return
            self._values, self.rules = values, rules
            if self._on_change is not None:
                self._on_change(rules)
