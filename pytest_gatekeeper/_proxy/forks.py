"""What a forked child inherits and must let go of: the sockets of its parent's proxies.

A connection ends when its last descriptor is closed, so a child that kept copies would keep the parent's connections
and ports open for as long as it lives; and what it did to one of them, it would do to the parent's event loop, with
which it shares the kernel's list of what is watched. In a child each copy therefore leads nowhere. Sockets are noted
here while they are open; opening and closing them is others' matter.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["forget", "keep_from_children"]

_descriptors: set[int] = set()


def keep_from_children(descriptor: int) -> None:
    """A socket is open: a child that is forked from now on gets no hold of it."""
    _descriptors.add(descriptor)


def forget(descriptor: int) -> None:
    """The socket is about to be closed, and its number may come to mean something else; twice is no error."""
    _descriptors.discard(descriptor)


def _let_go() -> None:
    """In a child: have the numbers lead nowhere, since their owners' copies may still close them."""
    with contextlib.suppress(OSError):  # there is no descriptor left to do it with
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in _descriptors:
            os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
