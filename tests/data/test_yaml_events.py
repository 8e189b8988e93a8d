"""YAML: what scalars, tags, aliases and merge keys become, and what is refused with its place."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.errors import DocumentError
from tests.data.parsing import data, nested, refusal


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


TOO_DEEP = "deeper than 64 levels|nesting"  # libyaml has a limit of its own since 0.2.6, and reads ahead: either may speak first


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


@given(st.text(alphabet="{}[]:,&*!|>'\"%@`#-? \n\tab<1.~", max_size=40))
def test_garbage(text: str) -> None:
    """Any text gives data that JSON can hold, or a DocumentError."""
    try:
        json.dumps(data(text), allow_nan=False)
    except DocumentError:
        pass
