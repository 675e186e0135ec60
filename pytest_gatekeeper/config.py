"""Reading a gatekeeper.yaml: bytes of a file to a `Config`.

Opens the file and nothing else; what is in it is read by `_core.config`. No source is fetched and no warning issued.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from pytest_gatekeeper._core.config import read_settings
from pytest_gatekeeper._core.document import LIMIT, decode
from pytest_gatekeeper._core.model import Settings
from pytest_gatekeeper.errors import ConfigError

__all__ = ["Config"]


@dataclass(frozen=True)
class Config(Settings):
    """A gatekeeper.yaml, typed and checked. `Config()` is the empty one: no rules, everything passes.

    What production ignores silently and is probably a mistake (unknown keys, further documents, hosts that can never
    match) is in `findings`. Reading issues no warning: whoever asked for the file decides whether to.
    """

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Config:
        """Read a file.

        Raises ConfigError for a file that is not there, cannot be read or is larger than 1 MiB, for a directory, and
        as `parse` does.
        """
        __tracebackhide__ = True
        name = os.fspath(path)
        try:
            with Path(name).open("rb") as file:
                data = file.read(LIMIT + 1)
        except (OSError, ValueError) as error:
            raise _unread(name, error) from None
        return cls.parse(data, name)

    @classmethod
    def parse(cls, text: str | bytes, name: str | None = None) -> Config:
        """Read a configuration from text.

        Args:
            text: YAML; bytes are UTF-8, or UTF-16 with a byte-order mark.
            name: what messages call it.

        Raises:
            ConfigError: for whatever production refuses, and for what could never do what it says; with line and
                dotted key, and never with a credential.
        """
        __tracebackhide__ = True
        try:
            settings = read_settings(decode(text) if isinstance(text, bytes) else text, name)
        except ConfigError as error:  # without our frames, which hold the text
            raise ConfigError(error.problem, file=name, line=error.line, key=error.key) from None
        return cls(**{field.name: getattr(settings, field.name) for field in fields(settings)})


def _unread(name: str, error: OSError | ValueError) -> ConfigError:
    """What it means that a file could not be read."""
    if "\n" in name or ": " in name:  # not shown, since it may hold a value
        return ConfigError("is text and no path; it is read by Config.parse(text)")
    if isinstance(error, IsADirectoryError):
        return ConfigError("is a directory; name the file in it", file=name)
    if isinstance(error, FileNotFoundError):
        return ConfigError("there is no such file; check the path", file=name)
    problem = error.strerror if isinstance(error, OSError) else "the path holds a null character"
    return ConfigError(f"cannot be read: {problem}", file=name)
