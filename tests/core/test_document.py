"""Facts about taking YAML apart: lines, kinds of scalars, aliases, and what is refused."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.document import LIMIT, Listing, Scalar, Table, decode, read_document, whole
from pytest_gatekeeper.errors import ConfigError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join('*' + before for _ in range(10))}]\n" for before, name in zip("abcdef", "bcdefg")
)


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With libyaml, and where PyYAML was built without it."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CBaseLoader", raising=False)
    return str(request.param)


def scalar(text: str) -> Scalar:
    node = read_document(text).root
    assert isinstance(node, Scalar)
    return node


# ------------------------------------------------------------------ nodes


def test_nodes_know_their_lines(parser: str) -> None:
    """Each node has the line on which it begins, counted from 1."""
    root = read_document("# first\na: 1\nb:\n  - x\n  - {y: z}\n").root
    assert root == Table(
        (
            (Scalar("a", "str", 2), Scalar("1", "int", 2)),
            (
                Scalar("b", "str", 3),
                Listing((Scalar("x", "str", 4), Table(((Scalar("y", "str", 5), Scalar("z", "str", 5)),), 5)), 4),
            ),
        ),
        2,
    )


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "\ufeff", "\ufeff# nothing"])
def test_an_empty_text_has_no_root(parser: str, text: str) -> None:
    """Nothing and comments are no document, a byte-order mark is nothing."""
    assert read_document(text).root is None


def test_an_alias_is_the_node_it_leads_to(parser: str) -> None:
    """The same node is in both places; of two anchors of one name the latest counts."""
    root = read_document("a: &n {x: 1}\nb: *n\nc: &n {x: 2}\nd: *n\n").root
    assert isinstance(root, Table)
    values = [value for _, value in root.pairs]
    assert values[1] is values[0]
    assert values[3] is values[2]


def test_nodes_do_not_show_what_they_hold(parser: str) -> None:
    """Neither text nor children are in a repr."""
    assert "s3cret" not in repr(read_document("a: {b: [s3cret]}"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\n", None),
        ("a: 1\n...\n", None),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: 1\n...\n---\nb: [\n", 3),
        ("---\n---\n", 2),
    ],
)
def test_only_the_first_document_counts(parser: str, text: str, line: int | None) -> None:
    """Where further text begins is told, even when it is no YAML."""
    assert read_document(text).further == line


# ------------------------------------------------------------------ kinds


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((word, "null") for word in ("~", "null", "Null", "NULL", "!!null ''", '!!null "~"', "! null")),
        *((word, "bool") for word in ("true", "False", "TRUE", "!!bool true", '!!bool "true"')),
        *((word, "int") for word in ("0", "12345", "-5", "+5", "007", "0x10", "0X1f", "0o17", "0O17", "0b11")),
        *((word, "int") for word in ("1_000", "1__0", "1_", "-0b1", "18446744073709551615", '!!int "5"', "! 5")),
        *(
            (word, "float")
            for word in ("1.50", "5.", ".5", "1e3", "08", "0128", ".inf", "-.INF", "+.inf", ".nan", "1_0.0")
        ),
        *((word, "float") for word in ("!!float .5", "18446744073709551616", "9" * 5000)),
        *(
            (word, "str")
            for word in ("nULL", "yes", "on", "tRUE", "'null'", '"5"', "_1", "0o9", "0x", "1:30", "2026-01-02")
        ),
        *(
            (word, "str")
            for word in ("!!str 5", "!!str null", "!own 5", "!own null", "0x1p4", "1.2.3", "!!seq a", "._5")
        ),
        *((word, "str") for word in ("|\n  5\n", ">-\n  null\n", '"<<"', "!!str <<", "!!merge x")),
        ("<<", "merge"),
        ('!!merge "<<"', "merge"),
    ],
)
def test_a_scalar_is_of_the_kind_that_production_sees(parser: str, text: str, kind: str) -> None:
    """Unquoted words and numbers have kinds of their own, quoted ones are text, tags decide."""
    assert scalar(text).kind == kind


@pytest.mark.parametrize("text", ["!!float 5", "!!float 0x10"])
def test_a_whole_number_can_be_tagged_a_float(parser: str, text: str) -> None:
    """It stays what it is."""
    assert scalar(text).kind == "int"


@pytest.mark.parametrize("tag", ["int", "float", "bool", "null"])
@pytest.mark.parametrize("value", ["abc", "'yes'", "s3cret"])
def test_a_tag_that_does_not_fit_is_refused(parser: str, tag: str, value: str) -> None:
    """The message names the tag and not the value."""
    with pytest.raises(ConfigError, match=rf"a value with the tag !!{tag} is none") as raised:
        read_document(f"- x\n- !!{tag} {value}\n")
    assert raised.value.line == 2
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12345", "12345"),
        ("1.50", "1.50"),
        ("1_000", "1_000"),
        ("'it''s'", "it's"),
        ('"tab\\there"', "tab\there"),
        ("|-\n  one\n  two\n", "one\ntwo"),
        (">-\n  one\n  two\n", "one two"),
        ("one\n  two", "one two"),
        ("!!binary YWJj", "abc"),
        ('!!binary "YW\\nJj"', "abc"),
        ("!!binary /w==", "\udcff"),
        ("!!binary ''", ""),
        ("a\u00a0b", "a\u00a0b"),
        ("'\U0001f600'", "\U0001f600"),
    ],
)
def test_a_scalar_keeps_its_text(parser: str, text: str, value: str) -> None:
    """Text is as written, unfolded and unescaped by YAML's rules; !!binary is decoded."""
    assert scalar(text).text == value


@pytest.mark.parametrize("text", ["!!binary YWI", "!!binary 'not base64!'", "!!binary ö", "!!binary 'YW Jj'"])
def test_binary_must_be_base64(parser: str, text: str) -> None:
    """Missing padding and other characters are refused."""
    with pytest.raises(ConfigError, match="is no base64"):
        read_document(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9080", 9080), ("9080.0", 9080), ("9080.9", 9080), ("1_0", 10), ("~", 0), ("010", 8), ("08", 8), ("0x10", 16),
        ("0o17", 15), ("0b11", 3), ("-017", -15), ("1e3", 1000), (".5", 0), ("-0.5", 0),
        ("9223372036854775807", 2**63 - 1),
        ("+5", 5), ("00", 0), ("9223372036854775808", None), ("1e30", None), ("1e999", None), (".inf", None),
        (".nan", None), ("'9080'", None), ("true", None), ("abc", None), ("1:30", None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_a_scalar_stands_for_a_whole_number_or_none(text: str, number: int | None) -> None:
    """Any base and fractions, which are cut off; nothing that is quoted, no word, nothing beyond 63 bits."""
    assert whole(scalar(text)) == number


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a:\n\tb: 1\n", 2, "indent with spaces, never tabs"),
        ("a: {b: 1\n", 2, r"expected ',' or '}'$"),
        ("a: [1, 2\nb: 3\n", 2, "is no YAML"),
        ("a: b: c\n", 1, "quote a value that holds a colon and a space"),
        ("a: *.example.com\n", 1, r"quote a value that begins with \* or &"),
        ("- x\n- *s3cret\n", 2, r"an alias leads to no anchor; quote a value that begins with \*"),
        ("a: @s3cret\n", 1, "quote a value that begins with @"),
        ("x: &a [*a]\n", 1, "part of"),
        ("x:\n  y: &a {b: {c: *a}}\n", 2, "part of"),
        ('a: "\\q s3cret"\n', 1, "escape"),
        ('a: "\\ud800"\n', 1, "is no YAML|half a character"),
        ('a: "\\U00110000"\n', 1, "is no YAML"),
        ("a: 's3cret\n", None, "is no YAML"),
        ("%YAML 1.2\n---\na: 1\n", None, "YAML"),
        ("%YAML 2.0\n---\na: 1\n", None, "YAML"),
        ("a: !x!s3cret y\n", 1, "is no YAML"),
        ("a: s3cret\x00\n", 1, r"U\+0000"),
        ("a: 1\nb: s3cret\x07\n", 2, r"U\+0007"),
        ("a: \x7f", 1, r"U\+007F"),
        ("a: \ud800", 1, r"U\+D800"),
        ("a: \ufffe", 1, r"U\+FFFE"),
        ("? [a\n", None, "is no YAML"),
        ("a: 1\n---\n@s3cret\n", 3, "is no YAML"),
        ("{}\n\tx\n", 2, "is no YAML"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(parser: str, text: str, line: int | None, said: str) -> None:
    """The message tells the line and the usual cause, and quotes nothing."""
    with pytest.raises(ConfigError, match=said) as raised:
        read_document(text)
    assert "s3cret" not in str(raised.value)
    assert raised.value.line is not None
    assert line is None or raised.value.line == line


def test_an_alias_bomb_is_refused(parser: str) -> None:
    """What would unfold to millions of nodes is one error, wherever it stands; a few aliases are none."""
    with pytest.raises(ConfigError, match="unfolds to more than 100000 nodes; check its aliases"):
        read_document(BOMB)
    assert read_document("\n".join(BOMB.splitlines()[:4])).root is not None


@pytest.mark.parametrize("open", ["[", "{a: ", "- ", "? ", "[{a: ", "&a ["])
def test_deep_nesting_is_refused(parser: str, open: str) -> None:
    """However deep a text goes, the answer is an error and no crash."""
    with pytest.raises(ConfigError, match=r"is nested deeper than 64 levels|is no YAML"):
        read_document(open * 50_000)
    assert read_document("[" * 60 + "]" * 60).root is not None


def test_a_large_text_is_refused() -> None:
    """A mebibyte is the limit, in bytes."""
    assert read_document("# " + "x" * (LIMIT - 2)).root is None
    for text in ("# " + "x" * LIMIT, "# " + "ö" * (LIMIT // 2)):
        with pytest.raises(ConfigError, match="is larger than 1 MiB"):
            read_document(text)


# ------------------------------------------------------------------ bytes


@pytest.mark.parametrize(
    "data", [b"a: \xc3\xb6", b"\xef\xbb\xbfa: \xc3\xb6", "a: ö".encode("utf-16"), "\ufeffa: ö".encode("utf-16-be")]
)
def test_bytes_are_utf8_or_marked_utf16(data: bytes) -> None:
    """The byte-order mark decides, and is no part of the text."""
    assert decode(data).removeprefix("\ufeff") == "a: ö"


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b"a: 1\nb: \xff", 2, "is no UTF-8 text: the byte at offset 8 is wrong"),
        (b"\xc3", 1, "offset 0"),
        (b"\xff\xfea", 1, "UTF-16"),
    ],
)
def test_undecodable_bytes_are_refused(data: bytes, line: int, said: str) -> None:
    """With the place of the first wrong byte."""
    with pytest.raises(ConfigError, match=said) as raised:
        decode(data)
    assert raised.value.line == line


def test_many_bytes_are_refused() -> None:
    """Before anything else is done with them."""
    with pytest.raises(ConfigError, match="is larger than 1 MiB"):
        decode(b"\xff" * (LIMIT + 1))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=st.text(alphabet="ab:-,[]{}&*!|>'\"%@`#? \n\t0.~<"))
def test_any_text_is_a_document_or_refused(parser: str, text: str) -> None:
    """Nothing but a ConfigError with a line comes of any text, with either parser."""
    line: int | None = 1
    try:
        read_document(text)
    except ConfigError as error:
        line = error.line
    assert line is not None
