"""Bounded YAML (and JSON) with places, for people's files: configuration, rules, schemas, data.

The parser is libyaml's, read as events: nothing recursive sees the text, and nothing is built before it was counted.
Scalars follow YAML 1.2's core schema, less its leading zeros, so that `no`, `22:22`, `0755` and dates stay text.
Everything built is what JSON can hold. Limits count what aliases and merge keys expand to. No error quotes the text.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import yaml

from disco.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SIZE_LIMIT = 16 << 20  # bytes
NODE_LIMIT = 500_000  # keys, values and items, expanded
DEPTH_LIMIT = 64
_REMEDIES = {errno.ENOENT: "create it, or correct the path", errno.EACCES: "let the user that disco runs as read it"}

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_BASED_INT = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS: Mapping[str, Any] = {"": None, "~": None} | {
    form: value
    for word, value in {"null": None, "true": True, "false": False}.items()
    for form in (word, word.capitalize(), word.upper())
}
_LEAVES = (int, float, bool, type(None))
_TAG = "tag:yaml.org,2002:"

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A text that came as a JSON string, among data whose texts are still to be decoded: it stays what it is."""

    text: str


class Document(NamedTuple):
    """A document's data, and the place of each node: path of keys and indices → (line, column), counted from 1."""

    name: str
    data: Any
    places: Mapping[Path_, tuple[int, int]]

    def at(self, *path: str | int) -> str:
        """Return `NAME:LINE:COLUMN` of a node, or of the nearest one above it that has a place."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                line, column = self.places[path[:end]]
                return f"{self.name}:{line}:{column}"
        return self.name


def read_file(path: Path | str, limit: int = SIZE_LIMIT) -> bytes:
    """Return a regular file's content.

    Raises:
        DocumentError: it cannot be read, is no regular file, or is longer than `limit` bytes.

    """
    try:
        # Never wait for a writer of a FIFO; what was opened is what is looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DocumentError(str(path), "not a regular file", "name a regular file")
        with open(descriptor, "rb") as file:  # noqa: PTH123 -- a descriptor
            content = file.read(limit + 1)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "correct the path")
        raise DocumentError(str(path), os.strerror(error.errno or 0), remedy) from None
    if len(content) > limit:
        raise DocumentError(str(path), f"larger than {limit >> 10} KiB", "make it smaller")
    return content


def parse(content: bytes, name: str, *, places: bool = True) -> Document:
    """Parse one document; `name` is how messages call it; without `places` it is quicker, and `at` gives only the name.

    Raises:
        DocumentError: malformed, over a limit, a duplicate key, or something that JSON cannot hold; with line and
            column.

    """
    if len(content) > SIZE_LIMIT:
        raise DocumentError(name, f"larger than {SIZE_LIMIT >> 20} MiB", "make it smaller")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{name}{_place_after(content[: error.start])}", "no UTF-8 text", "save it as UTF-8") from None
    # JSON is what JSON says it is: libyaml reads some of it otherwise (U+2028), and refuses some (escaped surrogates).
    data = _parse_json(text) if text.lstrip()[:1] in ("{", "[") else None
    if data is not None and not places:
        return Document(name, data, {})
    builder = _Builder(name, keep_places=places)
    try:
        # Strings keep libyaml from guessing an encoding; its errors quote the text: only place and problem are told.
        for event in yaml.parse(text, yaml.CLoader):
            builder.take(event)
    except (yaml.YAMLError, DocumentError) as error:
        if data is not None:
            return Document(name, data, {})
        if isinstance(error, DocumentError):
            raise
        place, reason = _explain(error, text)
        raise DocumentError(f"{name}{place}", reason) from None
    return Document(name, builder.result if data is None else data, builder.places)


def _explain(error: yaml.YAMLError, text: str) -> tuple[str, str]:
    """Return `:LINE:COLUMN` and the problem of libyaml's error."""
    if isinstance(error, yaml.reader.ReaderError):
        return _place_after(text.encode()[: error.position]), str(error.reason)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    return place, getattr(error, "problem", None) or "not allowed"


def _place_after(start: bytes) -> str:
    before = start.decode(errors="ignore")
    return f":{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def measure(data: Any) -> tuple[int, int]:  # noqa: ANN401 -- any JSON data
    """Return the number of nodes (keys, values and items) and the depth of data, without recursion.

    What is over a limit is not counted to its end.
    """
    count, depth, level = 1, 0, [data]
    while level and depth <= DEPTH_LIMIT + 1:
        depth += 1
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                count += 2 * len(value)
                below += value.values()
            elif isinstance(value, (list, tuple)):
                count += len(value)
                below += value
        if count > NODE_LIMIT:
            break
        level = [value for value in below if isinstance(value, (dict, list, tuple))]
    return count, depth


def is_plain(data: Any) -> bool:  # noqa: ANN401 -- any data
    """Return whether data is what its JSON is read as: the very types, and no surrogates, which reading joins to characters.

    Without recursion.
    """
    level = [data]
    while level:
        below: list[Any] = []
        for value in level:
            if type(value) is dict:
                if not all(map(_is_plain_text, value)):
                    return False
                below += value.values()
            elif type(value) is list:
                below += value
            elif type(value) not in _LEAVES and type(value) is not Literal and not _is_plain_text(value):
                return False
        level = below
    return True


def _is_plain_text(value: object) -> bool:
    return type(value) is str and (value.isascii() or not _SURROGATE.search(value))


def merge(base: Any, over: Any) -> Any:  # noqa: ANN401 -- any JSON data
    """Return the deep merge of two: mappings key by key, for anything else the second."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return merged


def strict_json(text: str) -> Any:  # noqa: ANN401 -- any JSON data
    """Return the data of a JSON text; unlike `json.loads` without NaN, infinities and duplicate keys.

    Raises:
        ValueError: it is none, or over a limit.

    """
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("too deep") from None
    count, depth = measure(data)
    if count > NODE_LIMIT or depth > DEPTH_LIMIT:
        raise ValueError("too large")
    return data


def read_body(body: bytes | memoryview) -> dict[str, Any]:
    """Return what a message's body holds: one JSON object in ASCII, without duplicate keys.

    Raises:
        ValueError: it is none, or too deep.

    """
    data = _read_body(body, _unique)
    if measure(data)[1] > DEPTH_LIMIT:
        raise ValueError("too deep")
    return data


def check_body(body: bytes | memoryview) -> None:
    """Do the same and keep nothing of it, so that it costs little memory."""
    _read_body(body, _forget)


def _read_body(body: bytes | memoryview, take: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> dict[str, Any]:
    try:
        data = json.loads(str(body, "ascii"), object_pairs_hook=take, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(data, dict):
        raise ValueError("no object")  # noqa: TRY004 -- of the text
    return data


def _forget(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _unique(pairs)
    return _EMPTY


_EMPTY: dict[str, Any] = {}


def _parse_json(text: str) -> Any:  # noqa: ANN401 -- any JSON data
    """Return the data of a text that is JSON, None for one that is not: then YAML has the place and the reason."""
    try:
        return strict_json(text)
    except ValueError:
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("duplicate key")
    return data


def _refuse(_name: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("too large a number")
    return value


class _Frame:
    """A collection that is being built."""

    def __init__(self, value: Any, path: Path_, anchor: str | None) -> None:  # noqa: ANN401 -- a mapping or a list
        self.value = value
        self.path = path
        self.anchor = anchor
        self.nodes = 1  # expanded
        self.size = 0  # of the expanded text
        self.key: Any = None  # the key that waits for its value
        self.waits = False
        self.merged: list[dict[str, Any]] = []


class _Merge:
    """The key `<<`."""


_MERGE = _Merge()


def _place(event: yaml.Event) -> tuple[int, int]:
    mark: Any = event.start_mark  # which every event of a parser has
    return mark.line + 1, mark.column + 1


class _Builder:
    """Events in, data out."""

    def __init__(self, name: str, *, keep_places: bool) -> None:
        self.result: Any = None
        self.places: dict[Path_, tuple[int, int]] = {}
        self._name = name
        self._keep_places = keep_places
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}  # value, expanded nodes, expanded size
        self._open: set[str] = set()
        self._documents = 0
        self._nodes = 0
        self._size = 0

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._fail(event, "a second document; one is expected")
            case yaml.ScalarEvent():
                value = self._scalar(event)
                if event.anchor:
                    self._anchors[event.anchor] = (value, 1, len(event.value))
                self._add(event, value, 1, len(event.value))
            case yaml.AliasEvent():
                if event.anchor in self._open:
                    self._fail(event, "an alias inside its own anchor")
                if event.anchor not in self._anchors:
                    self._fail(event, "an alias without its anchor")
                self._add(event, *self._anchors[event.anchor])
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
        if len(self._stack) >= DEPTH_LIMIT:
            self._fail(event, f"deeper than {DEPTH_LIMIT} levels")
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
        for source in frame.merged:  # an earlier one wins, and the mapping's own keys win over all
            for key, value in source.items():
                frame.value.setdefault(key, value)
        if frame.anchor:
            self._open.discard(frame.anchor)
            self._anchors[frame.anchor] = (frame.value, frame.nodes, frame.size)
        self._place(event, frame.value)
        if self._stack:
            self._stack[-1].nodes += frame.nodes
            self._stack[-1].size += frame.size

    def _expects_key(self) -> bool:
        frame = self._stack[-1]
        return isinstance(frame.value, dict) and not frame.waits

    def _next_path(self) -> Path_:
        if not self._stack or not self._keep_places:
            return ()
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            return (*frame.path, len(frame.value))
        return (*frame.path, "<<" if frame.key is _MERGE else frame.key)

    def _mark(self, event: yaml.Event, path: Path_) -> None:
        if self._keep_places:
            self.places[path] = _place(event)

    def _add(self, event: yaml.Event, value: Any, nodes: int, size: int) -> None:  # noqa: ANN401 -- any JSON data
        """Count a node that is whole (a scalar, an alias), and put it where it belongs."""
        self._count(event, nodes, size)
        if not self._stack:
            self._mark(event, ())
            self.result = value
            return
        frame = self._stack[-1]
        frame.nodes += nodes
        frame.size += size
        if self._expects_key():
            self._key(event, value)
            return
        self._mark(event, self._next_path())
        self._place(event, value)

    def _count(self, event: yaml.Event, nodes: int, size: int) -> None:
        self._nodes += nodes
        self._size += size
        if self._nodes > NODE_LIMIT:
            self._fail(event, f"more than {NODE_LIMIT} values, aliases expanded")
        if self._size > SIZE_LIMIT:
            self._fail(event, f"more than {SIZE_LIMIT >> 20} MiB, aliases expanded")

    def _key(self, event: yaml.Event, value: Any) -> None:  # noqa: ANN401 -- any scalar
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
        frame.waits = True

    def _place(self, event: yaml.Event, value: Any) -> None:  # noqa: ANN401 -- any JSON data
        if not self._stack:
            self.result = value
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
            return
        if frame.key is _MERGE:
            sources = value if isinstance(value, list) else [value]
            if not all(isinstance(source, dict) for source in sources):
                self._fail(event, "a merge key takes a mapping or a list of mappings")
            frame.merged += sources
        else:
            frame.value[frame.key] = value
        frame.waits = False

    def _scalar(self, event: yaml.ScalarEvent) -> Any:  # noqa: ANN401 -- any scalar
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

    def _resolve(self, event: yaml.ScalarEvent, text: str) -> Any:  # noqa: ANN401 -- any scalar
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
                return int(str(int(text, 0)))  # as many digits as may ever be written
            if _FLOAT.match(text):
                return _finite(text)
        except ValueError:
            self._fail(event, "too large a number (put it in quotes if it is text)")
        return text
