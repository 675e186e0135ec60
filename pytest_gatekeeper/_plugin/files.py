"""Reports as files: whether they can be written is found out before the first test, and they are written whole or not.

What is in them comes finished. Nothing here knows pytest beyond its way of refusing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

__all__ = ["prepare", "write"]


def prepare(paths: Iterable[Path], source: str) -> None:
    """Make the folders of files that are going to be written, and see that these can be.

    Raises UsageError that names the place where a path was said, the path and what is wrong.
    """
    for path in paths:
        try:
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder; name a file in it")
            path.parent.mkdir(parents=True, exist_ok=True)
            trial = _beside(path)
            trial.touch(exist_ok=False)
            trial.unlink()
        except OSError as error:
            raise pytest.UsageError(f"{source}: cannot write {str(path)!r}: {error.strerror}") from None


def write(path: Path, text: str) -> None:
    """Write a file as UTF-8; whoever reads it meanwhile sees the earlier one. Raises OSError."""
    target = path.resolve()  # through a link, not in its place
    target.parent.mkdir(parents=True, exist_ok=True)
    trial = _beside(target)
    try:
        with trial.open("x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        trial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()


def _beside(path: Path) -> Path:
    """A name in the same folder that nobody else uses."""
    return path.with_name(f".gatekeeper-{os.urandom(8).hex()}.tmp")
