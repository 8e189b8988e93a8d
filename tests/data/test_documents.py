"""Documents: what is read from people's YAML and JSON, what is refused, and that no refusal quotes the text."""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.data import documents
from disco.data.documents import parse
from disco.errors import DocumentError

if TYPE_CHECKING:
    from pathlib import Path

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=12,
)


def data(text: str | bytes, *, places: bool = True) -> Any:
    return parse(text.encode() if isinstance(text, str) else text, "f", places=places).data


def refusal(text: str | bytes) -> str:
    with pytest.raises(DocumentError) as caught:
        data(text)
    return str(caught.value)


# Scalars


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, None) for word in ("null", "Null", "NULL", "~", "")],
        *[(word, word[0] in "tT") for word in ("true", "True", "TRUE", "false", "False", "FALSE")],
        *[(word, word) for word in ("no", "yes", "on", "Off", "y", "nUll", "tRue", "22:22", "0755", "00", "1_000", "0b1")],
        *[(word, word) for word in ("2001-12-14", "2001-12-14 21:59:43.10", "1.2.3.4", "1e", ".", "+", "-+", "0o8", "0x", "NaN")],
        *[("0", 0), ("-0", 0), ("+7", 7), ("-12", -12), ("0o17", 15), ("0xfF", 255), ("9" * 40, int("9" * 40))],
        *[("1.", 1.0), (".5", 0.5), ("-1.5e3", -1500.0), ("1e3", 1000.0), ("+.5E-1", 0.05), ("00.5", "00.5")],
        *[("'5'", "5"), ('"true"', "true"), ("! 5", "5"), ("!!str 5", "5"), ("!!int 5", 5), ("!!float 5", 5)],
        *[("!!null ''", None), ("|\n  5\n", "5\n"), (">\n  no\n", "no\n"), ("=", "=")],
    ],
)
def test_scalars(text: str, value: object) -> None:
    """Plain scalars are what YAML 1.2's core rules say, less leading zeros; all else is text."""
    found = data(f"a: {text}")["a"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.INF", "+.Inf", "1e400", "9" * 5000, "0x" + "f" * 5000])
def test_numbers_json_cannot_hold(text: str) -> None:
    """A number that JSON cannot hold, or that could never be written again, is refused with its place."""
    assert refusal(f"a:\n  b: {text}").startswith("f:2:6: ")


@pytest.mark.parametrize(
    "text",
    [
        "!!binary aGVsbG8=",
        "!!timestamp 2001-12-14",
        "!!set {a}",
        "!!omap []",
        "!mine x",
        "!!python/object:os.system x",
        "!!int x",
    ],
)
def test_tags(text: str) -> None:
    """A tag for which JSON has no type, or whose type the value is not, is refused with its place."""
    assert refusal(f"a: {text}").startswith("f:1:4: ")


# Structure


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3", "3:1"),
        ('{"a": 1, "a": 2}', "1:10"),
        ("x: {y: 1, 'y': 2}", "1:11"),
        ("1: a", "1:1"),
        ("true: a", "1:1"),
        ("~: a", "1:1"),
        ("2.5: a", "1:1"),
        ("? [a]\n: b", "1:3"),
        ("? {a: b}\n: c", "1:3"),
        ("x: &a [1]\n? *a\n: c", "2:3"),
        ("--- a\n--- b", "2:1"),
        ("a: 1\n...\n---\nb: 2", "3:1"),
        ("a: *b", "1:4"),
        ("a: &a [*a]", "1:8"),
        ("a: &a 1\nb: &a [*a]", "2:8"),
        ("a: &a\n  b: {c: *a}", "2:10"),
        ("<<: 5", "1:5"),
        ("a: &a [1]\n<<: *a", "2:5"),
        ("a: [1, 2", "2:1"),
        ("\ta: 1", "1:1"),
        ("a: 'x", "1:6"),
        ("a: b\n  c: d", "2:4"),
        ("a: \x01", "1:4"),
        ("é: 1\nü: ö\x7f", "2:5"),
        (b"a: 1\nbc: \xff", "2:5"),
        ("x: a".encode("utf-16"), "1:1"),
    ],
)
def test_refused_with_place(text: str | bytes, place: str) -> None:
    """What is malformed, double, no text where a key is, or not one document, is refused with line and column."""
    assert refusal(text).startswith(f"f:{place}: ")


def test_merge_keys_and_aliases() -> None:
    """Aliases and merge keys work: own keys win, then the first of several; a quoted `<<` is a key like others."""
    text = "a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {y: 3, <<: [*a, *b]}\nd: *a\ne: {'<<': 1}\nf: {<<: *a, x: 5}"
    found = data(text)
    assert found["c"] == {"x": 1, "y": 3, "z": 2}
    assert (found["d"], found["e"], found["f"]) == ({"x": 1, "y": 1}, {"<<": 1}, {"x": 5, "y": 1})


@pytest.mark.parametrize("text", ["", "# nothing", "---", "\ufeff", "null"])
def test_empty(text: str) -> None:
    """An empty document is null."""
    assert data(text) is None


def test_byte_order_mark() -> None:
    """A byte order mark is no part of the text."""
    assert data("\ufeffa: 1") == {"a": 1} == data('\ufeff{"a": 1}', places=False)
    assert data('\ufeff{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


# Limits


TOO_DEEP = "deeper than 64 levels|nesting"  # libyaml has a limit of its own since 0.2.6, and reads ahead: either may speak first


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def bomb(levels: int, width: int, merge: str = "") -> str:
    lines = ["a0: &a0 {k: v}"]
    for level in range(1, levels):
        aliases = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{aliases}]}}" if merge else f"[{aliases}]"))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested(65), "deeper than 64 levels"),
        ("[" * 30_000, TOO_DEEP),
        ('{"a":' * 30_000, TOO_DEEP),
        ("- " * 30_000, TOO_DEEP),
        ("? " * 30_000, "a key that is no text"),
        (bomb(10, 9), "aliases expanded"),
        (bomb(10, 9, "merge"), "aliases expanded"),
        (bomb(9, 6, "merge"), "aliases expanded"),
        ("a: &a '" + "x" * (1 << 20) + "'\nb: [" + "*a, " * 17 + "]", "16 MiB, aliases expanded"),
        ("a: " + "x" * (16 << 20), "larger than 16 MiB"),
    ],
)
@pytest.mark.timeout(60)
def test_limits(text: str, reason: str) -> None:
    """Depth, number and size are limited, counted with aliases and merge keys expanded, before anything is built."""
    assert re.search(reason, refusal(text))


def test_merge_bomb_is_small() -> None:
    """The bomb of merge keys that takes seconds to load elsewhere is one of some 400 bytes."""
    assert len(bomb(9, 6, "merge")) < 420


def test_limits_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is just within the limits of depth and number is taken, and what is just over is not, from YAML and JSON."""
    assert data(nested(64)) == data(nested(64), places=False) == json.loads(nested(64))
    monkeypatch.setattr(documents, "NODE_LIMIT", 7)
    for within, over in [
        ("[0, 1, {}, {a: 1}]", "[0, 1, {}, {a: 1, b: 2}]"),
        ('{"a": [], "b": [0, 0]}', "[0, 0, 0, 0, 0, 0, 0]"),
    ]:
        data(within)
        data(within, places=False)
        assert "more than 7 values" in refusal(over)


class Text(str):
    """Text that is more than text."""

    __slots__ = ()


@given(JSON)
def test_what_json_makes_is_plain(value: Any) -> None:
    """Whatever JSON can hold and gives back is plain."""
    assert documents.is_plain(value)
    assert documents.is_plain(json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    "value", [(), "\ud83d\ude00", {"\udfff": 1}, Text(), {1: 2}, {Text(): 1}, OrderedDict(), b"", object(), Decimal(1), Ellipsis]
)
def test_what_json_does_not_make_is_not_plain(value: object) -> None:
    """Anything else is not, however deep it lies."""
    for wrapped in (value, [value], {"a": value}, {"a": [{"b": [1, value]}]}):
        assert not documents.is_plain(wrapped)


@pytest.mark.parametrize(("depth", "expected"), [(1, 1), (64, 64), (65, 65), (66, 66), (5000, 66)])
def test_measure_depth(depth: int, expected: int) -> None:
    """Depth is measured without recursion, of lists, tuples and mappings, until it is clear that it is too much."""
    value: Any = []
    for level in range(depth - 1):
        value = ([value], (value,), {"a": value})[level % 3]
    assert documents.measure(value)[1] == expected


# JSON


@pytest.mark.parametrize("places", [True, False])
@given(value=JSON, ascii_=st.booleans(), indent=st.sampled_from([None, 1, "\t"]))
@example(value={"a": "\U0001f600"}, ascii_=True, indent=None)
@example(value={"a": "x\u2028y\x85z\x7f", "k" * 2000: 1}, ascii_=False, indent=None)
@example(value=["\ud800"], ascii_=True, indent=None)
@example(value="x\u2028y\x85z", ascii_=False, indent=None)
@example(value={"a\u2028b": 1, "a b": 2}, ascii_=False, indent=None)
def test_json(value: Any, *, places: bool, ascii_: bool, indent: str | None) -> None:
    """Whatever json.dumps gives of mappings and lists is read back equal, also what libyaml would read otherwise."""
    value = {"value": value}
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent)
    found = data(text.encode(errors="surrogatepass"), places=places)
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", '{"a": 1, "a": 2}', "", "[", nested(65), "[" * 30_000])
def test_strict_json(text: str) -> None:
    """What json.loads takes beyond JSON, double keys, and what is too deep, raise ValueError alone."""
    with pytest.raises(ValueError):  # noqa: PT011 -- any
        documents.strict_json(text)


# Errors


@pytest.mark.parametrize(
    "hide", ["{0}", '"{0}"', "'{0}", "@{0}", "!{0} x", "*{0}", "%{0}", "[{0}", "{{{0}", "{0}: {0}: {0}", "\x01{0}"]
)
@pytest.mark.parametrize("frame", ["{0}", "a: {0}", "{0}: b", "a: 1\n{0}\na: 1", "a:\n  - {0}\n b"])
def test_errors_never_quote(frame: str, hide: str) -> None:
    """Whatever is wrong, and wherever a secret stands in it, the error does not show it."""
    try:
        data(frame.format(hide.format("hunter2")))
    except DocumentError as error:
        assert "hunter2" not in str(error)  # noqa: PT017 -- not all of these are errors


@given(st.text(alphabet="{}[]:,&*!|>'\"%@`#-? \n\tab<1.~", max_size=40))
def test_garbage(text: str) -> None:
    """Any text gives data that JSON can hold, or a DocumentError."""
    try:
        json.dumps(data(text), allow_nan=False)
    except DocumentError:
        pass


# Places


def test_places() -> None:
    """Each key and item has its place, counted from 1; what has none is where the nearest above it is."""
    document = parse(b"\nrules:\n  - when: a\n    do: {x: 1}\n  - b\n", "f")
    places = [document.at(*path) for path in [(), ("rules",), ("rules", 0), ("rules", 0, "do"), ("rules", 1)]]
    assert places == ["f:2:1", "f:3:3", "f:3:5", "f:4:9", "f:5:5"]
    assert document.at("rules", 0, "do", "x") == "f:4:13"
    assert document.at("rules", 0, "nope", "deeper") == "f:3:5"
    assert document.at("nope") == "f:2:1"


def test_no_places() -> None:
    """Without places, and for JSON that libyaml cannot place, a place is the name alone."""
    assert parse(b'{"a": 1}', "f", places=False).at("a") == "f"
    assert parse(b'{"a": "\\ud83d\\ude00"}', "f").at("a") == "f"


# Files


def test_read_file_refuses(tmp_path: Path) -> None:
    """A FIFO, a folder, a missing and an unreadable file are refused at once, by name, and no descriptor is lost."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "big").write_bytes(b"x" * 2049)
    before = os.listdir("/proc/self/fd")
    for name, reason in {
        "fifo": "not a regular file",
        ".": "not a regular file",
        "none": "No such file",
        "loop": "symbolic links",
        "big": "larger than 2 KiB",
    }.items():
        with pytest.raises(DocumentError, match=f"{tmp_path / name}: .*{reason}"):
            documents.read_file(tmp_path / name, 2048)
    assert os.listdir("/proc/self/fd") == before
    assert documents.read_file(tmp_path / "big", 2049) == b"x" * 2049


def test_read_file_unreadable(tmp_path: Path) -> None:
    """A file that may not be read is an error that names it."""
    (tmp_path / "f").touch(mode=0)
    root = os.geteuid() == 0
    if root:  # who may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(DocumentError, match=f"{tmp_path}/f: Permission denied"):
            documents.read_file(tmp_path / "f")
    finally:
        if root:
            os.seteuid(0)
