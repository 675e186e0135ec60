"""YAML text to nodes that know their lines, as production's reader takes it apart.

Nothing is constructed: a scalar keeps its text and learns only which kind production (a port of libyaml) would see in
it, an alias is the node it points at, and what a document would unfold to is bounded. What the keys mean is `section`'s
and `config`'s. No message may quote the text, for it holds credentials.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from pytest_gatekeeper.errors import ConfigError

if TYPE_CHECKING:
    from yaml.events import NodeEvent, ScalarEvent

__all__ = ["LIMIT", "Document", "Kind", "Listing", "Node", "Scalar", "Table", "decode", "read_document", "whole"]

LIMIT = 1 << 20
"""How large a configuration may be, in bytes."""

_TOO_LARGE = f"is larger than {LIMIT >> 20} MiB, which no configuration is; check the path"
_DEEPEST = 64  # levels of nesting
_HEAVIEST = 100_000  # nodes, aliases unfolded
_LONGEST_INT = 70  # characters: 64 binary digits, a sign and a prefix

Kind = Literal["str", "null", "bool", "int", "float", "merge"]

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = frozenset(("true", "True", "TRUE", "false", "False", "FALSE"))
_FLOAT_WORDS = frozenset(
    (".nan", ".NaN", ".NAN", *(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")))
)
_INT = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_YAML = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # YAML 1.1 section 5.1
_SURROGATE = re.compile("[\ud800-\udfff]")
_STANDARD = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Scalar:
    """Text, and what production would take it for where a field is no text."""

    text: str = field(repr=False)
    kind: Kind = "str"
    line: int | None = None


@dataclass(frozen=True)
class Listing:
    """A sequence."""

    items: tuple[Node, ...] = field(repr=False)
    line: int | None = None


@dataclass(frozen=True)
class Table:
    """A mapping, its keys in order; merges are not unfolded, and keys may be there twice."""

    pairs: tuple[tuple[Node, Node], ...] = field(repr=False)
    line: int | None = None


Node: TypeAlias = Scalar | Listing | Table


@dataclass(frozen=True)
class Document:
    """The first document of a text (None where there is none), and the line where further text begins, or None."""

    root: Node | None
    further: int | None = None


# ------------------------------------------------------------------ bytes to text


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte-order mark. Raises ConfigError where it is neither, or huge."""
    if len(data) > LIMIT:
        raise ConfigError(_TOO_LARGE)
    codec, name = "utf-8-sig", "UTF-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec, name = "utf-16", "UTF-16"
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"is no {name} text: the byte at offset {error.start} is wrong", line=line) from None


def _check_characters(text: str) -> None:
    match = re.search(_NOT_YAML, text)
    if match is not None:
        line = text.count("\n", 0, match.start()) + 1
        raise ConfigError(
            f"the character U+{ord(match[0]):04X} cannot stand in YAML; write it as an escape, in double quotes",
            line=line,
        )


# ------------------------------------------------------------------ text to nodes


def read_document(text: str) -> Document:
    """Take YAML text apart.

    Raises ConfigError, with the line, for text that is no YAML, is larger than `LIMIT`, nests deeper than 64 levels,
    or unfolds to more than 100,000 nodes.
    """
    import yaml

    if len(text) > LIMIT or len(text.encode("utf-8", "surrogatepass")) > LIMIT:
        raise ConfigError(_TOO_LARGE)
    text = text.removeprefix("\ufeff")
    _check_characters(text)
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml, where it is: production's reader is a port of it
    events = loader(text)
    composer = _Composer(events)
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(_told(str(error.problem)), line=mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # the last two: escapes beyond Unicode, without libyaml
        raise ConfigError("is no YAML", line=composer.line) from None
    finally:
        events.dispose()


def _told(problem: str) -> str:
    """A parser's complaint without anything that it quotes, and with a hint where the usual cause is known."""
    plain = re.sub(r",? but (found|got) .*| '[^']*[A-Za-z0-9][^']*'| \"[^\"]*\"| \(.*\)", "", problem).strip()
    hint = ""
    if "alphabetic or numeric" in plain or "alias" in plain or "anchor" in plain:
        hint = "; quote a value that begins with * or &, as in '*.example.com'"
    elif "cannot start any token" in plain:
        hint = "; indent with spaces, never tabs, and quote a value that begins with @, ` or %"
    elif "mapping values are not allowed" in plain:
        hint = "; check the indentation, and quote a value that holds a colon and a space"
    return f"is no YAML: {plain}{hint}"


class _Composer:
    """Makes nodes of a parser's events."""

    def __init__(self, events: Any) -> None:  # noqa: ANN401 - either of two loaders
        self._events = events
        self._anchors: dict[str, tuple[Node, int] | None] = {}  # with weight; None while it is being made
        self.line = 1

    def document(self) -> Document:
        import yaml

        self._next()  # the stream begins
        start = self._next()
        if isinstance(start, yaml.StreamEndEvent):
            return Document(None)
        if start.version not in (None, (1, 1)):
            self._fail("the only %YAML version that production reads is 1.1; remove the directive")
        root, _ = self._node(self._next(), 0)
        self._next()  # the document ends
        return Document(root, self._further())

    def _further(self) -> int | None:
        """The line where text behind the first document begins; like production's reader, one token of it is read."""
        import yaml

        try:
            if isinstance(self._next(), yaml.StreamEndEvent):
                return None
            line = self.line
            self._next()
        except yaml.scanner.ScannerError:
            raise
        except yaml.YAMLError:
            return self.line
        return line

    def _next(self) -> Any:  # noqa: ANN401
        event = self._events.get_event()
        self.line = event.start_mark.line + 1
        return event

    def _fail(self, problem: str) -> NoReturn:
        raise ConfigError(problem, line=self.line)

    def _node(self, event: NodeEvent, depth: int) -> tuple[Node, int]:
        """A node and its weight: how many nodes it is with all aliases unfolded."""
        import yaml

        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event.anchor or "")
        if depth > _DEEPEST:
            self._fail(f"is nested deeper than {_DEEPEST} levels, which no configuration is")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        line = self.line
        node: Node
        weight = 1
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, line)
        else:
            children = []
            while not isinstance(inner := self._next(), (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                child, heavy = self._node(inner, depth + 1)
                children.append(child)
                weight += heavy
                if weight > _HEAVIEST:
                    self._fail(f"unfolds to more than {_HEAVIEST} nodes; check its aliases")
            if isinstance(event, yaml.SequenceStartEvent):
                node = Listing(tuple(children), line)
            else:
                node = Table(tuple(zip(children[::2], children[1::2])), line)
        if event.anchor is not None:
            self._anchors[event.anchor] = node, weight
        return node, weight

    def _aliased(self, name: str) -> tuple[Node, int]:
        if name not in self._anchors:
            self._fail("an alias leads to no anchor; quote a value that begins with *, as in '*.example.com'")
        found = self._anchors[name]
        if found is None:
            self._fail("an alias leads to the value that it is part of")
        return found

    def _scalar(self, event: ScalarEvent, line: int) -> Scalar:
        if _SURROGATE.search(event.value):
            self._fail("an escape stands for half a character")
        tag = event.tag or ""
        tag = tag.removeprefix(_STANDARD) if tag.startswith(_STANDARD) else {"": "", "!": ""}.get(tag, "!")
        if tag == "binary":
            return Scalar(self._binary(event.value), "str", line)
        if tag == "merge":
            return Scalar(event.value, "merge" if event.value == "<<" else "str", line)
        if tag not in ("", "null", "bool", "int", "float") or (not tag and event.style):
            return Scalar(event.value, "str", line)
        kind = _kind(event.value)
        if tag not in ("", kind) and (tag, kind) != ("float", "int"):
            self._fail(f"a value with the tag !!{tag} is none; remove the tag")
        return Scalar(event.value, kind, line)

    def _binary(self, text: str) -> str:
        try:
            data = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError):
            self._fail("a value with the tag !!binary is no base64 (RFC 4648 section 4)")
        return data.decode("utf-8", "surrogateescape")


def _kind(text: str) -> Kind:
    """What production takes an unquoted scalar for."""
    if text in _NULLS:
        return "null"
    if text in _BOOLS:
        return "bool"
    if text == "<<":
        return "merge"
    if text in _FLOAT_WORDS:
        return "float"
    plain = text if text[0] in "._" else text.replace("_", "")
    if len(plain) <= _LONGEST_INT and _INT.fullmatch(plain) and -(1 << 63) <= _whole(plain) < 1 << 64:
        return "int"
    return "float" if _FLOAT.fullmatch(plain) else "str"


def _whole(plain: str) -> int:
    """The number that an integer without underscores stands for: decimal, or 0x, 0b, 0o, and octal after a mere 0."""
    sign, digits = (-1 if plain[0] == "-" else 1), plain.lstrip("+-").lower()
    if digits[:2] in ("0x", "0b", "0o"):
        return sign * int(digits, 0)
    return sign * int(digits, 8 if digits[0] == "0" else 10)


def whole(node: Scalar) -> int | None:
    """The whole number that a scalar stands for in a field for numbers (fractions are cut off), or None."""
    plain = node.text.replace("_", "")
    if node.kind == "null":
        return 0
    if node.kind == "int" and _whole(plain) < 1 << 63:
        return _whole(plain)
    if node.kind == "float" and node.text not in _FLOAT_WORDS and abs(float(plain)) < 1 << 63:
        return int(float(plain))
    return None
