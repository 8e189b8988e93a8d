"""Tags: what stands between `{{` and `}}`, or `{%` and `%}`, in a template's source.

minijinja does not say which name is undefined, nor where a filter's own error was, and its messages quote values. So a template
that failed is rendered once more, with marks in it (`mark`): the tag at the last mark is the one that failed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from disco.named import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from disco.data.values import Json

# Comments and raw blocks hold no tags; a text in quotes may hold a tag's end.
_INSIDE = r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|[^"'])*?"""
_TAG = re.compile(
    rf"\{{\#.*?\#\}}|\{{%[-+]?\s*raw\s*[-+]?%\}}.*?\{{%[-+]?\s*endraw\s*[-+]?%\}}|(?P<tag>\{{\{{{_INSIDE}\}}\}}|\{{%{_INSIDE}%\}})",
    re.DOTALL,
)
# The other patterns are compiled where they are used: not each call of disco-render needs them.
_LOADS = r"(?s)\{%[-+]?\s*(?:include|import|from|extends)\b(?P<operand>.*?)[-+]?%\}"
_NAME = r"""(?:"[^"\\]*"|'[^'\\]*')"""
_OPERAND = rf"\s*(?:({_NAME})|\[\s*({_NAME}(?:\s*,\s*{_NAME})*)\s*,?\s*\])\s*(?=$|(?:ignore|with|without|as|import)\b)"
# A path of names: not a filter or a test, not the name of an argument, and not within quotes. What is called, given a default or
# tested may be undefined.
_STEP = r"""\s*\.\s*(\w+)|\s*\[\s*(?:"([^"\\]*)"|'([^'\\]*)'|(\d+))\s*\]"""
_PATH = (
    r"""(?s)\{%[-+]?\s*(?:for\b(?P<targets>.*?)\sin\b|filter\s+\w+|\w+)|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\|\s*\w+|\d[\w.]*"""
    rf"""|(?P<name>[A-Za-z_]\w*)(?P<steps>(?:{_STEP})*)(?P<may_be_undefined>\s*\(|\s*=(?!=)|\s*\|\s*d(?:efault)?\b|\s+is\b)?"""
)
_WORDS = frozenset({"and", "else", "false", "if", "in", "is", "none", "not", "or", "recursive", "true", "False", "None", "True"})


class Tag(NamedTuple):
    """A tag: its source, the number of its line, and its place in the text."""

    text: str
    line: int
    start: int


def find(source: str) -> Iterator[Tag]:
    """Yield the tags of a template's source."""
    line, counted = 1, 0
    for found in _TAG.finditer(source):
        if found["tag"]:
            line += source.count("\n", counted, found.start())
            counted = found.start()
            yield Tag(found["tag"], line, counted)


def loaded_names(tag: Tag) -> list[str] | None:
    """Return the names of other templates in a tag that loads them; empty for any other tag, None if they are not literal."""
    loads = re.fullmatch(_LOADS, tag.text)
    if not loads:
        return []
    operand = re.match(_OPERAND, loads["operand"])
    return [name[1:-1] for name in re.findall(_NAME, operand[0])] if operand else None


def may_be_missing(tag: Tag) -> bool:
    """Return whether a tag includes a template only if that is there, or the first one of several that is."""
    return bool(re.search(r"\bignore\s+missing\b|\[", _outside_quotes(tag.text)))


def names_in(tag: Tag) -> set[str]:
    """Return the names in a tag, and other words."""
    return set(re.findall(r"[A-Za-z_]\w*", tag.text))


def expressions_of(tag: Tag) -> list[str]:
    """Return an expression for each filter and each test that a tag names: it fails as the tag would if there is none."""
    text = re.sub(r"""(?s)"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", "0", tag.text)
    filters = re.findall(r"(?:\||^\{%[-+]?\s*filter\s)\s*([A-Za-z_]\w*)", text)
    tests = re.findall(r"\bis\s+(?:not\s+)?([A-Za-z_]\w*)", text)
    return [*(f"0|{name}" for name in filters), *(f"0 is {name}" for name in tests)]


def mark(source: str, function: str) -> tuple[str, list[Tag]]:
    """Return the source with a call of a function before each tag, which gets the tag's index, and the tags."""
    pieces, tags, end = [], list(find(source)), 0
    for index, tag in enumerate(tags):
        pieces += [source[end : tag.start], f"{{% do {function}({index}) %}}"]
        end = tag.start
    return "".join([*pieces, source[end:]]), tags


def find_undefined(tag: Tag, look_up: Callable[[str], Json]) -> tuple[str, ...]:
    """Return the first path in a tag that leads nowhere, up to the step that does not exist; empty if there is none.

    look_up: returns the value of a name, None if there is none.
    """
    targets: list[str] = []
    for found in re.finditer(_PATH, tag.text):
        targets += re.findall(r"\w+", found["targets"] or "")
        name = found["name"]
        if not name or name in _WORDS or name in targets or found["may_be_undefined"]:
            continue
        value = look_up(name)
        if value is None:
            return (name,)
        path = [name]
        for step in re.finditer(_STEP, found["steps"]):
            path.append(next(filter(None, step.groups()), ""))
            try:
                value = value[int(path[-1]) if isinstance(value, list) else path[-1]]
            except (LookupError, TypeError, ValueError):
                return tuple(path)
    return ()


def _outside_quotes(text: str) -> str:
    return re.sub(_NAME, "", text)
