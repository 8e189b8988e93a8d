"""Where the nodes of a JSON text are: found when somebody asks, which only messages and rules without a name do.

The standard library's decoder gives the places; YAML's parser, which would know them all, takes long to import.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disco.data.values import NodePath

_LINE_END = re.compile(r"\r\n|\r|\n")
_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class JsonPlaces:
    """The places of the nodes of one text, which is valid JSON without duplicate keys."""

    def __init__(self, text: str) -> None:
        """Look at nothing yet."""
        self._text = text
        self._offsets: dict[NodePath, int] = {(): self._skip(0)}
        self._known: set[NodePath] = set()  # the nodes whose members have their offsets
        self._lines: list[int] = []  # the offset at which each begins

    def get(self, path: NodePath) -> tuple[int, int] | None:
        """Return line and column (from 1) of the value at a path of keys and indices, None if there is none."""
        # Each node's members are found at once: so asking for all of a list takes no longer than to read it.
        for depth in range(len(path)):
            parent = path[:depth]
            if parent not in self._known and parent in self._offsets:
                self._known.add(parent)
                self._offsets |= {(*parent, key): offset for key, offset in self._find_members(self._offsets[parent])}
        offset = self._offsets.get(path)
        return None if offset is None else self._place(offset)

    def _find_members(self, at: int) -> Iterator[tuple[str | int, int]]:
        """Yield key or index, and the offset of the value, of each member of the node at an offset."""
        text = self._text
        if text[at] not in "{[":
            return
        is_mapping, index = text[at] == "{", 0
        at = self._skip(at + 1)
        while text[at] not in "}]":
            key: str | int = index
            if is_mapping:
                key, at = _DECODER.raw_decode(text, at)
                at = self._skip(self._skip(at) + 1)
            yield key, at
            _, at = _DECODER.raw_decode(text, at)
            at = self._skip(at)
            if text[at] == ",":
                at = self._skip(at + 1)
            index += 1

    def _skip(self, at: int) -> int:
        """Return the offset of what follows white space."""
        found = _BLANKS.match(self._text, at)
        assert found  # noqa: S101 -- there may be none of it
        return found.end()

    def _place(self, offset: int) -> tuple[int, int]:
        if not self._lines:
            self._lines = [0, *(end.end() for end in _LINE_END.finditer(self._text))]
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1
