"""YAML to data: builds values from libyaml's events, with the place of each node.

libyaml parses, so nothing recursive sees the text, and nothing is built before it was counted.
Scalars follow YAML 1.2's core schema without its leading zeros: `no`, `22:22`, `0755` and dates stay text.
Limits count what aliases and merge keys expand to. No error quotes the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from disco.data import values
from disco.errors import DocumentError
from disco.named import NamedTuple
from disco.text import place_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.data.values import Json, NodePath

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_BASED_INT = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_WORDS: Mapping[str, bool | None] = {"": None, "~": None} | {
    form: value
    for word, value in {"null": None, "true": True, "false": False}.items()
    for form in (word, word.capitalize(), word.upper())
}
_TAG = "tag:yaml.org,2002:"


class Tree(NamedTuple):
    """What a text holds, and the place of each node: line and column, counted from 1."""

    data: Json
    places: Mapping[NodePath, tuple[int, int]]


def build(text: str, name: str, *, keep_places: bool) -> Tree:
    """Build the data of one YAML document; `name` is what messages call the text.

    Raises:
        DocumentError: malformed, over a limit, a duplicate key, or something that JSON cannot hold.

    """
    builder = _Builder(name, keep_places=keep_places)
    try:
        # A string keeps libyaml from guessing an encoding.
        for event in yaml.parse(text, yaml.CLoader):
            builder.add(event)
    except yaml.YAMLError as error:
        place, reason = _explain(error, text)
        raise DocumentError(f"{name}{place}", reason) from None
    return Tree(builder.result, builder.places)


def _explain(error: yaml.YAMLError, text: str) -> tuple[str, str]:
    """Return `:LINE:COLUMN` and the problem of libyaml's error, whose own message would quote the text."""
    if isinstance(error, yaml.reader.ReaderError):
        return place_after(text.encode()[: error.position]), str(error.reason)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    return place, getattr(error, "problem", None) or "not allowed"


class _Frame:
    """A mapping or list whose end has not come yet."""

    def __init__(self, value: Json, path: NodePath, anchor: str | None) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.nodes = 1  # expanded
        self.size = 0  # of the expanded text
        self.key: Any = None  # a text, or _MERGE: the key whose value comes next
        self.has_key = False
        self.merged: list[dict[str, Json]] = []  # under `<<`


_MERGE = object()  # the key `<<`


def _place(event: yaml.Event) -> tuple[int, int]:
    mark: Any = event.start_mark  # each event of a parser has it; the types do not say so
    return mark.line + 1, mark.column + 1


class _Builder:
    """One document's data, built event by event."""

    def __init__(self, name: str, *, keep_places: bool) -> None:
        self.result: Json = None
        self.places: dict[NodePath, tuple[int, int]] = {}
        self._name = name
        self._keep_places = keep_places
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Json, int, int]] = {}  # value, expanded nodes, expanded size
        self._open: set[str] = set()  # anchors of collections that are not complete
        self._documents = 0
        self._nodes = 0
        self._size = 0

    def add(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._fail(event, "a second document; one is expected")
            case yaml.ScalarEvent():
                value = self._read_scalar(event)
                if event.anchor:
                    self._anchors[event.anchor] = (value, 1, len(event.value))
                self._add_node(event, value, 1, len(event.value))
            case yaml.AliasEvent():
                if event.anchor in self._open:
                    self._fail(event, "an alias inside its own anchor")
                if event.anchor not in self._anchors:
                    self._fail(event, "an alias without its anchor")
                self._add_node(event, *self._anchors[event.anchor])
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(event)

    def _fail(self, event: yaml.Event, reason: str) -> NoReturn:
        line, column = _place(event)
        raise DocumentError(f"{self._name}:{line}:{column}", reason)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if mapping else "seq")):
            self._fail(event, "a tag that JSON has no type for")
        if len(self._stack) >= values.DEPTH_LIMIT:
            self._fail(event, f"deeper than {values.DEPTH_LIMIT} levels")
        if self._stack and self._expects_key():
            self._fail(event, "a key that is no text")
        self._count(event, 1, 0)
        if event.anchor:
            self._open.add(event.anchor)
        frame = _Frame({} if mapping else [], self._next_path(), event.anchor)
        self._mark(event, frame.path)
        self._stack.append(frame)

    def _end(self, event: yaml.Event) -> None:
        frame = self._stack.pop()
        for mapping in frame.merged:  # the first of several wins, and the mapping's own keys win over all
            for key, value in mapping.items():
                frame.value.setdefault(key, value)
        if frame.anchor:
            self._open.discard(frame.anchor)
            self._anchors[frame.anchor] = (frame.value, frame.nodes, frame.size)
        self._attach(event, frame.value)
        if self._stack:
            self._stack[-1].nodes += frame.nodes
            self._stack[-1].size += frame.size

    def _expects_key(self) -> bool:
        frame = self._stack[-1]
        return isinstance(frame.value, dict) and not frame.has_key

    def _next_path(self) -> NodePath:
        if not self._stack or not self._keep_places:
            return ()
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            return (*frame.path, len(frame.value))
        return (*frame.path, "<<" if frame.key is _MERGE else frame.key)

    def _mark(self, event: yaml.Event, path: NodePath) -> None:
        if self._keep_places:
            self.places[path] = _place(event)

    def _add_node(self, event: yaml.Event, value: Json, nodes: int, size: int) -> None:
        """Count a complete node (a scalar, an alias), and attach it to its collection."""
        self._count(event, nodes, size)
        if not self._stack:
            self._mark(event, ())
            self.result = value
            return
        frame = self._stack[-1]
        frame.nodes += nodes
        frame.size += size
        if self._expects_key():
            self._add_key(event, value)
            return
        self._mark(event, self._next_path())
        self._attach(event, value)

    def _count(self, event: yaml.Event, nodes: int, size: int) -> None:
        self._nodes += nodes
        self._size += size
        if self._nodes > values.NODE_LIMIT:
            self._fail(event, f"more than {values.NODE_LIMIT} values, aliases expanded")
        if self._size > values.SIZE_LIMIT:
            self._fail(event, f"more than {values.SIZE_LIMIT >> 20} MiB, aliases expanded")

    def _add_key(self, event: yaml.Event, value: Json) -> None:
        frame = self._stack[-1]
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        if value == "<<" and plain:
            frame.key = _MERGE
        elif not isinstance(value, str):
            self._fail(event, "a key that is no text (put it in quotes)")
        elif value in frame.value:
            self._fail(event, "a duplicate key")
        else:
            frame.key = value
            self._mark(event, (*frame.path, value))
        frame.has_key = True

    def _attach(self, event: yaml.Event, value: Json) -> None:
        if not self._stack:
            self.result = value
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
            return
        if frame.key is _MERGE:
            mappings = value if isinstance(value, list) else [value]
            if not all(isinstance(mapping, dict) for mapping in mappings):
                self._fail(event, "a merge key takes a mapping or a list of mappings")
            frame.merged += mappings
        else:
            frame.value[frame.key] = value
        frame.has_key = False

    def _read_scalar(self, event: yaml.ScalarEvent) -> Json:
        text, tag = event.value, event.tag
        if tag is not None and tag != "!" and tag not in {_TAG + name for name in ("str", "int", "float", "bool", "null")}:
            self._fail(event, "a tag that JSON has no type for")
        if tag in ("!", _TAG + "str") or (tag is None and not event.implicit[0]):
            return text
        value = self._resolve(event, text)
        wanted = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
        if tag is not None and not isinstance(value, wanted[tag.removeprefix(_TAG)]):  # type: ignore[arg-type]
            self._fail(event, "the value is not of its tag's type")
        return value

    def _resolve(self, event: yaml.ScalarEvent, text: str) -> Json:
        if text in _WORDS:
            return _WORDS[text]
        if text[:1] not in "+-.0123456789":
            return text
        if _NOT_FINITE.match(text):
            self._fail(event, "JSON has no such number (put it in quotes if it is text)")
        try:
            if _INT.match(text):
                return int(text)
            if _BASED_INT.match(text):
                return int(str(int(text, 0)))  # `str` refuses more digits than may be written again
            if _FLOAT.match(text):
                return values.finite(text)
        except ValueError:
            self._fail(event, "too large a number (put it in quotes if it is text)")
        return text
