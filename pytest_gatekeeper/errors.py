"""Every error and warning of the package, in one tree.

    GatekeeperError
    ├── ConfigError          a gatekeeper.yaml or an option is wrong; names file, line and key
    ├── SourceError          a credential could not be fetched from its source
    └── ProxyError           the proxy cannot do what was asked of it (not running, bad route, ...)
    GatekeeperWarning (UserWarning)
    └── ConfigWarning        a gatekeeper.yaml holds something that has no effect

Only exception types live here: no logic, no imports. No message may ever hold a credential value.
"""

from __future__ import annotations

__all__ = ["ConfigError", "ConfigWarning", "GatekeeperError", "GatekeeperWarning", "ProxyError", "SourceError"]


class GatekeeperError(Exception):
    """Base of all errors that this package raises on purpose."""


class ConfigError(GatekeeperError):
    """A configuration cannot be used.

    Attributes:
        problem: what is wrong and the way out, without the place.
        file: the file's name as given, or None.
        line: 1-based line in that file, or None.
        key: dotted path of the key (``credentials[0].source.type``), or None.
    """

    def __init__(
        self, problem: str, *, file: str | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        super().__init__(problem, file, line, key)
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_config_error, (self.problem, self.file, self.line, self.key)

    def __str__(self) -> str:
        file = "<string>" if self.file is None and self.line is not None else self.file
        place = ":".join(str(part) for part in (file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.key, self.problem) if part)


def _rebuild_config_error(problem: str, file: str | None, line: int | None, key: str | None) -> ConfigError:
    return ConfigError(problem, file=file, line=line, key=key)


class SourceError(GatekeeperError):
    """A credential could not be fetched from its source. The text names the host, never the value."""


class ProxyError(GatekeeperError):
    """The proxy cannot do what was asked: it is not running, a route is malformed, a wait ran out."""


class GatekeeperWarning(UserWarning):
    """Base of all warnings of this package."""


class ConfigWarning(GatekeeperWarning):
    """A gatekeeper.yaml holds something that production ignores silently and that is probably a mistake."""
