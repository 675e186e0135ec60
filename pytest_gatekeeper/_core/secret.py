"""Values that must never be printed, and the fingerprints that stand for them.

A `Secret` is made when a credential's value is fetched and is opened (`reveal`) only to put the value into a request
and to look for it. Nothing here may format, log or compare a value in a way that shows it. Functions that take values
which are no `Secret` yet are `frameless`, since tracebacks can show what the locals of their frames hold.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

__all__ = ["Secret", "fingerprint_key", "frameless", "share_fingerprint_key"]

P = ParamSpec("P")
T = TypeVar("T")

_key = secrets.token_bytes(16)


def fingerprint_key() -> bytes:
    """The key that fingerprints of this run are made with (16 bytes); hand it to worker processes."""
    return _key


def share_fingerprint_key(key: bytes) -> None:
    """Make fingerprints with the key of another process of the same run, so that one report can be made of both."""
    global _key
    _key = key


class Secret:
    """A credential value that does not show itself.

    ``repr``, ``str`` and ``format`` give a keyed fingerprint, equal for equal values within one run and useless outside
    it. ``secret == "value"`` compares in constant time. ``secret.reveal()`` is the one way to the value.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that stand for the value within this run."""
        return hashlib.blake2b(self._value.encode("utf-8", "surrogateescape"), key=_key, digest_size=4).hexdigest()

    def reveal(self) -> str:
        """The value itself. Whoever calls this is responsible for where it goes."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            other = other._value
        if not isinstance(other, str):
            return NotImplemented
        return hmac.compare_digest(
            self._value.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape")
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"<secret {self.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied to another process; use its fingerprint")


def frameless(function: Callable[P, T]) -> Callable[P, T]:
    """The function, whose errors come without the frames in which they arose: these hold values in their locals.

    What it raises has to say all in its text. The one frame that is left holds no argument.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is
            raised = error.with_traceback(None)
        del args, kwargs
        raise raised from None

    return call
