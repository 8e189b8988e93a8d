"""Context: the input as a template sees it, and only what a file can hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from disco.data.values import pointer
from disco.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.data.values import Json, NodePath

ENVIRONMENT, INTERFACES = "env", "interfaces"  # names that are no interface's
_INTEGER_LIMIT = 1 << 127  # minijinja rounds what is larger
_METHODS = frozenset({"get", "items", "keys", "values"})


class Object(dict[str, "Json"]):
    """A mapping of the data. A key that it lacks is undefined, also where a dictionary has a method of that name."""

    def __getattribute__(self, name: str) -> object:
        """Return a method that a mapping has in Jinja's language."""
        if name in _METHODS or name.startswith("_"):
            return super().__getattribute__(name)
        raise AttributeError(name)


def check(data: Mapping[str, Json]) -> Object:
    """Return the input as Objects.

    Raises:
        DataError: a value that no file could hold as it is.

    """
    try:
        return Object({name: _wrap(value, (name,)) for name, value in data.items()})
    except RecursionError:
        raise DataError("the input is too deep") from None


def make(data: Object, variables: Mapping[str, str]) -> dict[str, Json]:
    """Return what a template's names stand for: each interface, all of them, and the environment."""
    return {**data, INTERFACES: data, ENVIRONMENT: Object({name: value for name, value in variables.items() if _is_text(value)})}


def _wrap(value: Json, path: NodePath) -> Json:
    if isinstance(value, dict):
        if not all(map(_is_text, value)):
            raise DataError(f"{pointer(path)} has a key that is no text")
        return Object({key: _wrap(item, (*path, key)) for key, item in value.items()})
    if isinstance(value, list):
        return [_wrap(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, str) and not _is_text(value):
        raise DataError(f"{pointer(path)} is no text: it holds half of a pair of surrogates")
    if isinstance(value, int) and not -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
        raise DataError(f"{pointer(path)} is a number of more than 128 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{pointer(path)} is no number of JSON's")
    return value


def _is_text(text: str) -> bool:
    """Return whether a text can be written in UTF-8."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
