"""JSON values: read strictly, measured, merged, compared and written in one canonical form.

The limits hold for every document, for every text of a store, and for the data of a source. Nothing here knows of YAML or schemas.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from disco.text import NAME_LIMIT, PATH_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Any JSON data. A recursive alias would need a cast wherever a file's content is looked into, and prove nothing there.
Json: TypeAlias = Any
NodePath = tuple[str | int, ...]  # keys and indices from the root

SIZE_LIMIT = 16 << 20  # bytes
NODE_LIMIT = 500_000  # keys, values and items; aliases of YAML expanded
DEPTH_LIMIT = 64
KEY_LIMIT = 100_000  # keys of one source

_LEAVES = (int, float, bool, type(None))


class TooLargeError(Exception):
    """Data exceeds a limit."""


class Literal:
    """A JSON string among texts that a schema is still to decode: it stays what it is."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        """Keep the text of the JSON string."""
        self.text = text

    def __eq__(self, other: object) -> bool:
        """Return whether both hold the same text."""
        return isinstance(other, Literal) and self.text == other.text

    def __hash__(self) -> int:
        """Return the text's hash."""
        return hash(self.text)


def measure(data: Json) -> tuple[int, int]:
    """Return the number of nodes (keys, values and items) and the depth of data, without recursion.

    Counting ends where a limit is exceeded.
    """
    count, depth, level = 1, 0, [data]
    while level and depth <= DEPTH_LIMIT + 1:
        depth += 1
        below: list[Json] = []
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


def find_leaves(data: Json, path: NodePath = ()) -> Iterator[tuple[NodePath, Json]]:
    """Yield each leaf with its path. Whatever holds nothing is a leaf: scalars, empty mappings, empty lists."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from find_leaves(value, (*path, key))
    elif isinstance(data, list) and data:
        for index, value in enumerate(data):
            yield from find_leaves(value, (*path, index))
    else:
        yield path, data


def find_added(old: Json, new: Json, path: NodePath = ()) -> Iterator[NodePath]:
    """Yield the path of each key of the new data that the old data does not have; lists are compared item by item."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in new.items():
            if key in old:
                yield from find_added(old[key], value, (*path, key))
            else:
                yield (*path, key)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            yield from find_added(before, after, (*path, index))


def is_plain(data: object) -> bool:
    """Return whether writing data as JSON and reading it again gives the same values of the same types, without recursion.

    Subclasses are not plain, nor are surrogates: reading joins a pair of them to one character.
    """
    level = [data]
    while level:
        below: list[object] = []
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
    if type(value) is not str:
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:  # a surrogate
        return False


def merge(base: Json, over: Json) -> Json:
    """Return the deep merge of two values: mappings key by key, else the second value."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return merged


def canonical(data: Json, stand_in: Callable[[object], object] | None = None) -> bytes:
    """Return the one JSON form that equal data has: sorted, without white space, in ASCII.

    stand_in: gives the replacement of a value that JSON cannot hold.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold it.

    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, default=stand_in).encode()


def pointer(path: Sequence[str | int]) -> str:
    """Return a JSON pointer (RFC 6901) for people: hostile names escaped and cut, and a long pointer cut in its middle."""
    shown = "".join("/" + escape(str(part).replace("~", "~0").replace("/", "~1"), NAME_LIMIT) for part in path)
    return shown if len(shown) <= PATH_LIMIT else f"{shown[: PATH_LIMIT // 2]}…{shown[-PATH_LIMIT // 2 :]}"


def strict_json(text: str) -> Json:
    """Return the data of a JSON text; unlike `json.loads` without NaN, infinities and duplicate keys.

    Raises:
        ValueError: the text is not JSON, or exceeds a limit.

    """
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=finite)
    except RecursionError:
        raise ValueError("too deep") from None
    count, depth = measure(data)
    if count > NODE_LIMIT or depth > DEPTH_LIMIT:
        raise ValueError("too large")
    return data


def finite(text: str) -> float:
    """Return the float that a text names.

    Raises:
        ValueError: it is no number, or too large for a float.

    """
    value = float(text)
    if math.isinf(value):
        raise ValueError("too large a number")
    return value


def read_body(body: bytes | memoryview) -> dict[str, Json]:
    """Return what a message's body holds: one JSON object in ASCII, without duplicate keys.

    Raises:
        ValueError: the body is not such an object, or too deep.

    """
    data = _read_body(body, _unique)
    if measure(data)[1] > DEPTH_LIMIT:
        raise ValueError("too deep")
    return data


def check_body(body: bytes | memoryview) -> None:
    """Check that a message's body is one JSON object, and build nothing, so that checking costs little memory.

    Raises:
        ValueError: the body is not such an object.

    """
    _read_body(body, _discard)


def _read_body(body: bytes | memoryview, build: Callable[[list[tuple[str, Json]]], dict[str, Json]]) -> dict[str, Json]:
    try:
        data = json.loads(str(body, "ascii"), object_pairs_hook=build, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(data, dict):
        raise ValueError("no object")  # noqa: TRY004 -- the text is wrong, not the type of an argument
    return data


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("duplicate key")
    return data


_EMPTY: dict[str, Json] = {}


def _discard(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    _unique(pairs)
    return _EMPTY


def _refuse(_name: str) -> NoReturn:
    raise ValueError("not a JSON number")
