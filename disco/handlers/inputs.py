"""What a shipped handler reads from stdin: one JSON object of interfaces, and the values in it that JSON pointers name."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from disco.errors import DataError
from disco.text import PATH_LIMIT, escape

if TYPE_CHECKING:
    from disco.data.values import Json

_INDEX = re.compile("0|[1-9][0-9]{0,9}")  # of a list


def read() -> dict[str, Json]:
    """Return the interfaces that stdin holds.

    Raises:
        DataError: stdin holds anything else.

    """
    try:
        data = json.load(sys.stdin.buffer)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise DataError("stdin is no JSON object")
    return data


def tokens(pointer: str) -> list[str]:
    """Return the names and indices on the way of a JSON pointer; the first one is an interface."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def find(data: Json, pointer: str) -> Json:
    """Return the value to which a JSON pointer (RFC 6901) leads, such as /postgres/host.

    Raises:
        DataError: there is none.

    """
    value = data
    for name in tokens(pointer):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise DataError(f"{escape(pointer, PATH_LIMIT)} is not in the input")
    return value
