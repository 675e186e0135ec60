"""Where in a file a key stands: the line of each dotted key, and the key of each credential.

For messages about a configuration that has been read already, whose typed values no longer know all of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count

from pytest_gatekeeper._core.document import Listing, Node, Scalar, Table, read_document
from pytest_gatekeeper._core.model import Credential, Settings

__all__ = ["keyed", "lines_of"]

_POSTGRES = re.compile(r"credentials\[([0-9]+)\]\.postgres")


def keyed(settings: Settings, added: Sequence[Credential] = ()) -> list[tuple[str, Credential]]:
    """The credentials, each with its key in the file (`credentials[2]`): Postgres ones have been left out of them.

    Those that were added are numbered on.
    """
    left_out = {int(match[1]) for found in settings.findings if (match := _POSTGRES.fullmatch(found.key or ""))}
    numbers = (number for number in count() if number not in left_out)
    return [
        (f"credentials[{number}]", credential) for number, credential in zip(numbers, (*settings.credentials, *added))
    ]


def lines_of(text: str) -> dict[str, int]:
    """The 1-based line of each key and list item, by dotted key. Raises ConfigError for what is no YAML."""
    root = read_document(text).root
    lines: dict[str, int] = {}
    for key, line in _places(root, "") if root is not None else ():
        if line is not None:
            lines.setdefault(key, line)
    return lines


def _places(node: Node, path: str) -> Iterator[tuple[str, int | None]]:
    if isinstance(node, Listing):
        for index, item in enumerate(node.items):
            yield f"{path}[{index}]", item.line
            yield from _places(item, f"{path}[{index}]")
    elif isinstance(node, Table):
        merged = []
        for key, value in node.pairs:
            if not isinstance(key, Scalar):
                continue
            if key.kind == "merge":
                merged.append(value)
                continue
            name = f"{path}.{key.text}" if path else key.text
            yield name, key.line
            yield from _places(value, name)
        for value in merged:  # what is written out comes first, as in production
            for part in value.items if isinstance(value, Listing) else (value,):
                yield from _places(part, path)
