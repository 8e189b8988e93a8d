"""Documents that people write (configuration, rules, schemas, data): bounded YAML or JSON, with the place of each node.

Whatever a document holds, JSON can hold it. No error quotes the text.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from disco.data import values, yaml_events
from disco.errors import DocumentError
from disco.named import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from disco.data.values import Json, NodePath

_REMEDIES = {errno.ENOENT: "create it, or correct the path", errno.EACCES: "let the user that disco runs as read it"}


class Document(NamedTuple):
    """A document's data, and the place of each node: path of keys and indices → (line, column), counted from 1."""

    name: str
    data: Json
    places: Mapping[NodePath, tuple[int, int]]

    def at(self, *path: str | int) -> str:
        """Return `NAME:LINE:COLUMN` of a node, or of the nearest one above it that has a place."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                line, column = self.places[path[:end]]
                return f"{self.name}:{line}:{column}"
        return self.name


def read_file(path: Path | str, limit: int = values.SIZE_LIMIT) -> bytes:
    """Return a regular file's content.

    Raises:
        DocumentError: the file cannot be read, is not regular, or is longer than `limit` bytes.

    """
    try:
        # Never wait for a writer of a FIFO. The type is that of the opened file, which no rename can exchange any more.
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
    """Parse one document.

    name: what messages call the document. places: if False, JSON is parsed faster, and `at` may return only the name.

    Raises:
        DocumentError: malformed, over a limit, a duplicate key, or something that JSON cannot hold; with line and
            column.

    """
    if len(content) > values.SIZE_LIMIT:
        raise DocumentError(name, f"larger than {values.SIZE_LIMIT >> 20} MiB", "make it smaller")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = yaml_events.place_after(content[: error.start])
        raise DocumentError(f"{name}{place}", "no UTF-8 text", "save it as UTF-8") from None
    # libyaml reads some JSON differently (U+2028) and refuses some (escaped surrogates): JSON's own rules decide.
    data = _parse_json(text) if text.lstrip()[:1] in ("{", "[") else None
    if data is not None and not places:
        return Document(name, data, {})
    try:
        tree = yaml_events.build(text, name, keep_places=places)
    except DocumentError:
        if data is None:
            raise
        return Document(name, data, {})
    return Document(name, tree.data if data is None else data, tree.places)


def _parse_json(text: str) -> Json:
    """Return the data of a JSON text. None: the text is not JSON, and YAML's parser has place and reason."""
    try:
        return values.strict_json(text)
    except ValueError:
        return None
