"""Typed access to the mappings of a configuration, in the types of production's reader.

A `Section` is one mapping and the keys that are known in it: it unfolds merges, refuses keys that are there twice,
notes unknown ones, and gives texts, numbers, flags and lists, or a ConfigError that names file, line and dotted key.
What may stand in the texts is `config`'s and `source_spec`'s. No message quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from pytest_gatekeeper._core.document import Listing, Node, Scalar, Table, whole
from pytest_gatekeeper._core.model import Finding
from pytest_gatekeeper.errors import ConfigError

__all__ = ["Notes", "Section", "nearest", "shown_key"]

_YES = frozenset(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"))
_NO = frozenset(("n", "N", "no", "No", "NO", "off", "Off", "OFF"))
_PLAIN_KEY = re.compile(r"[A-Za-z_.-]{1,40}|[A-Za-z0-9_]{1,8}")  # longer ones with digits may be credentials


class Notes:
    """What is noted while a configuration is read.

    Attributes:
        file: its name, for messages; None where it has none.
        findings: what production ignores silently.
    """

    def __init__(self, file: str | None = None) -> None:
        self.file = file
        self.findings: list[Finding] = []

    def note(self, code: str, problem: str, line: int | None, key: str | None) -> None:
        """Keep something that is worth a warning; `code` is one of `lint.CODES`."""
        self.findings.append(Finding(problem, self.file, line, key, code))

    def fail(self, problem: str, line: int | None, key: str | None) -> NoReturn:
        """Give up on the configuration."""
        raise ConfigError(problem, file=self.file, line=line, key=key)


def nearest(word: str, known: Sequence[str]) -> str:
    """What was probably meant, as `did you mean ...?`; else the list of what there is."""
    close = _closest(word, known)
    return f"did you mean {close!r}?" if close else f"there are {', '.join(known)}"


def _closest(word: str, known: Iterable[str]) -> str:
    """The name that a word is most like, whatever the case; "" where it is like none."""
    from difflib import get_close_matches  # for a mistake alone

    by_lower = {name.lower(): name for name in known}
    return next((by_lower[close] for close in get_close_matches(word.lower(), by_lower, 1)), "")


def shown_key(key: str) -> str:
    """A key as messages show it. What may be a value that slid into the place of a key is left out."""
    name, colon, _ = key.partition(":")
    if not _PLAIN_KEY.fullmatch(name):
        return "…"
    return f"{name}:…" if colon else name


def _kind_of(node: Node) -> str:
    if isinstance(node, Listing):
        return "a list"
    if isinstance(node, Table):
        return "a mapping"
    return {"null": "nothing", "bool": "a yes or no", "int": "a number", "float": "a number"}.get(node.kind, "text")


class Section:
    """One mapping of a configuration.

    Args:
        table: its nodes; None stands for an empty one.
        path: its dotted key, "" for the whole file.
        known: the keys that production reads here.
        notes: where findings go.
        homes: keys that production reads elsewhere, with the place where they belong (`under proxy`); for hints.
    """

    def __init__(
        self,
        table: Table | None,
        path: str,
        known: Sequence[str],
        notes: Notes,
        homes: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.line = table.line if table is not None else None
        self.notes = notes
        self._homes = homes or {}
        self._pairs = self._unfolded(table) if table is not None else {}
        self._unknown = [name for name in self._pairs if name not in known]
        for name in self._unknown:
            self._note_unknown(name, known, self._pairs[name][0])

    # ---- keys

    def key(self, name: str) -> str:
        """The dotted path of a key in this section."""
        return f"{self.path}.{name}" if self.path else name

    def line_of(self, name: str) -> int | None:
        """The line of a key; the section's own where the key is absent."""
        return self._pairs[name][0] if name in self._pairs else self.line

    def fail(self, problem: str, name: str | None = None) -> NoReturn:
        """Give up on the configuration because of a key, or of the section as a whole."""
        if name is None:
            self.notes.fail(problem, self.line, self.path or None)
        typo = self.typo_of(name)
        if typo:
            problem += f"; here is {typo!r}, did you mean {name!r}?"
        self.notes.fail(problem, self.line_of(typo or name), self.key(name))

    def typo_of(self, name: str) -> str:
        """An unknown key that was probably meant to be this one, which is not there; "" without one."""
        if name in self._pairs:
            return ""
        return _closest(name, (key for key in self._unknown if shown_key(key) == key))

    def note(self, code: str, problem: str, name: str | None = None) -> None:
        """Keep a finding about a key, or about the section as a whole."""
        if name is None:
            self.notes.note(code, problem, self.line, self.path or None)
        else:
            self.notes.note(code, problem, self.line_of(name), self.key(name))

    def _unfolded(self, table: Table) -> dict[str, tuple[int | None, Node]]:
        """The values by key with the line of the key; what is merged in stands behind what is written out."""
        pairs: dict[str, tuple[int | None, Node]] = {}
        merged: Node | None = None
        for key, value in table.pairs:
            if not isinstance(key, Scalar):
                self.notes.fail(f"a key must be text, not {_kind_of(key)}", key.line, self.path or None)
            name = "<<" if key.kind == "merge" else key.text
            if name in pairs or (key.kind == "merge" and merged is not None):
                first = f"; it is also on line {pairs[name][0]}" if name in pairs and key.line is not None else ""
                self.notes.fail(f"the key is there twice{first}; remove one", key.line, self.key(shown_key(name)))
            if key.kind == "merge":
                merged = value
            else:
                pairs[name] = key.line, value
        if merged is not None:
            for part in merged.items if isinstance(merged, Listing) else (merged,):
                if not isinstance(part, Table):
                    self.notes.fail("only mappings can be merged in", part.line, self.key("<<"))
                for name, pair in self._unfolded(part).items():
                    pairs.setdefault(name, pair)
        return pairs

    def _note_unknown(self, name: str, known: Sequence[str], line: int | None) -> None:
        shown = shown_key(name)
        lower = name.lower()
        exact = next((other for other in known if other.lower() == lower), None)
        if shown.endswith(":…"):
            hint = f"a space is missing behind the colon: write '{shown[:-1]} …'"
        elif exact is not None:
            hint = f"keys are lower case, write {exact!r}"
        elif lower in self._homes:
            hint = f"it belongs {self._homes[lower]}"
        else:
            hint = nearest(name, known)
        self.notes.note("unknown-key", f"unknown key, ignored in production; {hint}", line, self.key(shown))

    # ---- values

    def _node(self, name: str) -> Node | None:
        """The value of a key; None where it is absent or null."""
        node = self._pairs[name][1] if name in self._pairs else None
        return None if isinstance(node, Scalar) and node.kind == "null" else node

    def has(self, name: str) -> bool:
        """Whether a key is there with a value other than null."""
        return self._node(name) is not None

    def text(self, name: str) -> str:
        """The text of a key as it is written; "" where it is absent or null."""
        return self._text(self._node(name), self.key(name), self.line_of(name))

    def _text(self, node: Node | None, key: str, line: int | None) -> str:
        if node is None:
            return ""
        if not isinstance(node, Scalar):
            self.notes.fail(f"must be text, not {_kind_of(node)}", line, key)
        return "" if node.kind == "null" else node.text

    def number(self, name: str) -> int:
        """The whole number of a key, fractions cut off; 0 where it is absent or null."""
        node = self._node(name)
        if node is None:
            return 0
        found = whole(node) if isinstance(node, Scalar) else None
        if found is None:
            self.fail(f"must be a whole number without quotes, as in 9080, not {_kind_of(node)}", name)
        return found

    def flag(self, name: str) -> bool:
        """Whether a key says yes; False where it is absent or null."""
        node = self._node(name)
        if node is None:
            return False
        if isinstance(node, Scalar) and node.kind == "bool":
            return node.text.lower() == "true"
        if not isinstance(node, Scalar) or node.kind != "str" or node.text not in _YES | _NO:
            self.fail(f"must be true or false, without quotes, not {_kind_of(node)}", name)
        return node.text in _YES

    def items(self, name: str) -> list[tuple[str, Node]]:
        """The items of a list, each with its dotted key; none where the list is absent or null."""
        node = self._node(name)
        if node is None:
            return []
        if not isinstance(node, Listing):
            self.fail(f"must be a list, as in [one, two], not {_kind_of(node)}", name)
        return [(f"{self.key(name)}[{index}]", item) for index, item in enumerate(node.items)]

    def texts(self, name: str) -> list[tuple[str, str, int | None]]:
        """The texts of a list, each with its dotted key and line; a null is ""."""
        return [(self._text(item, key, item.line), key, item.line) for key, item in self.items(name)]

    def section(self, name: str, known: Sequence[str], homes: Mapping[str, str] | None = None) -> Section:
        """The mapping of a key; an empty one where it is absent or null."""
        node = self._node(name)
        if node is not None and not isinstance(node, Table):
            self.fail(f"must be a mapping, not {_kind_of(node)}", name)
        section = Section(node, self.key(name), known, self.notes, homes)
        if node is None:
            section.line = self.line_of(name)
        return section
