"""Reports as files: whether they can be written is found out before the first test, and they are written whole or not.

What is in them comes finished: a document of `_core.report`, as JSON or as a page by the file's name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pytest_gatekeeper.errors import ProxyError

__all__ = ["SUFFIXES", "about", "prepare", "write", "write_all"]

SUFFIXES = (".json", ".html")


def prepare(paths: Iterable[Path], source: str) -> None:
    """Make the folders of files that are going to be written, and see that these can be.

    Raises ProxyError that names the place where a path was said, the path and what is wrong.
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
            raise ProxyError(f"{source}: cannot write {str(path)!r}: {error.strerror}") from None


def about(version: str, config: str | None, secrets: str, fail_on: Iterable[str], status: int) -> dict[str, Any]:
    """The run itself, as `_core.report.document` takes it, without `lost`."""
    return {
        "generator": f"pytest-gatekeeper {version}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "config": config,
        "secrets": secrets,
        "fail_on": list(fail_on),
        "exit_status": int(status),
    }


def write_all(paths: Iterable[Path], report: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Write a document to each path; gives each with the line that says why it could not be written, or with ""."""
    for path in paths:
        try:
            write(path, report)
        except OSError as error:
            yield path, f"gatekeeper report: cannot write {path}: {error.strerror}"
        else:
            yield path, ""


def write(path: Path, report: dict[str, Any]) -> None:
    """Write a document as JSON or HTML (UTF-8); whoever reads it meanwhile sees the earlier one. Raises OSError."""
    if path.suffix.lower() == ".json":
        from pytest_gatekeeper._core.report import to_json

        text = to_json(report)
    else:
        from pytest_gatekeeper._core.page import to_html

        text = to_html(report)
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
