"""Documents that people write (configuration, rules, schemas, data): bounded YAML or JSON, with the place of each node.

Whatever a document holds, JSON can hold it. No error quotes the text.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from disco.data import values
from disco.data.json_places import JsonPlaces
from disco.errors import DocumentError
from disco.named import NamedTuple
from disco.text import place_after

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from disco.data.values import Json, NodePath

_REMEDIES = {errno.ENOENT: "create it, or correct the path", errno.EACCES: "let the user that disco runs as read it"}


class Document(NamedTuple):
    """A document's data; places: line and column, counted from 1, by the path of keys and indices to each node."""

    name: str
    data: Json
    places: Mapping[NodePath, tuple[int, int]] | JsonPlaces

    def find(self, *path: str | int) -> tuple[int, int] | None:
        """Return line and column of a node, or of the nearest one above it that has a place; None if none has."""
        places = (self.places.get(path[:end]) for end in range(len(path), -1, -1))
        return next(filter(None, places), None)

    def at(self, *path: str | int) -> str:
        """Return `NAME:LINE:COLUMN` of a node, as `find` has it, or the name alone."""
        return ":".join(map(str, (self.name, *(self.find(*path) or ()))))


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

    name: what messages call the document. places: if False, YAML is parsed faster, and `at` may return only the name.

    Raises:
        DocumentError: malformed, over a limit, a duplicate key, or something that JSON cannot hold; with line and
            column.

    """
    if len(content) > values.SIZE_LIMIT:
        raise DocumentError(name, f"larger than {values.SIZE_LIMIT >> 20} MiB", "make it smaller")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{name}{place_after(content[: error.start])}", "no UTF-8 text", "save it as UTF-8") from None
    # libyaml reads some JSON differently (U+2028) and refuses some (escaped surrogates): JSON's own rules decide.
    if text.lstrip()[:1] in ("{", "["):
        try:
            return Document(name, values.strict_json(text), JsonPlaces(text))
        except ValueError:  # YAML's parser has place and reason, or can read it
            pass
    from disco.data import yaml_events  # noqa: PLC0415 -- takes 9 ms, which whoever writes JSON need not wait

    tree = yaml_events.build(text, name, keep_places=places)
    return Document(name, tree.data, tree.places)
