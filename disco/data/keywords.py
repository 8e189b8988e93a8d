"""Keywords of plain schemas: which values each may have, and what those assert of data that has no parts. See `plain`.

What is allowed here is certainly allowed by the dialect's own schema, and what is asserted is what jsonschema asserts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from disco.data.values import Json

    Check = Callable[[Json], bool]
    Assertion = Callable[[Json, Json], bool]  # of the keyword's value and the data

KINDS = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
_TYPES = {"integer", *KINDS.values()}
_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # jsonschema takes some more


class UncertainError(Exception):
    """Only jsonschema can tell."""


def is_pattern(value: Json) -> bool:
    """Return whether a value is a regular expression that Python knows."""
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except (re.error, OverflowError, RecursionError):
        return False


def is_of_type(data: Json, name: str) -> bool:
    """Return whether data is of a type of JSON Schema: 1.0 is an integer, and no boolean is a number."""
    kind = KINDS[type(data)]
    return kind == name or (name == "integer" and kind == "number" and (isinstance(data, int) or data.is_integer()))


def _is_list(value: Json) -> bool:
    return isinstance(value, list)


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_boolean(value: Json) -> bool:
    return isinstance(value, bool)


def _is_number(value: Json) -> bool:
    return type(value) in (int, float)


def _is_count(value: Json) -> bool:
    return type(value) is int and value >= 0


def _is_names(value: Json) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_equal(one: Json, other: Json) -> bool:
    """Return whether two values of JSON are equal: 1 is 1.0, and no boolean is a number."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_equal(value, other[key]) for key, value in one.items())
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _is_unique(items: list[Json]) -> bool:
    if any(isinstance(item, (dict, list)) for item in items):
        raise UncertainError
    return len({(isinstance(item, bool), item) for item in items}) == len(items)


def _is_multiple(factor: Json, data: Json) -> bool:
    if isinstance(data, float) or isinstance(factor, float):
        raise UncertainError
    return bool(data % factor == 0)


def _has_required(names: Mapping[str, list[str]], data: Mapping[str, Json]) -> bool:
    return all(name in data for given, wanted in names.items() if given in data for name in wanted)


def _is_email(text: str) -> bool:
    return "@" in text


def _is_ipv4(text: str) -> bool:
    from ipaddress import AddressValueError, IPv4Address  # noqa: PLC0415 -- for few schemas

    try:
        return bool(IPv4Address(text))
    except AddressValueError:
        return False


def _is_ipv6(text: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address  # noqa: PLC0415 -- as above

    try:
        return not IPv6Address(text).scope_id
    except AddressValueError:
        return False


def _is_date(text: str) -> bool:
    from datetime import date  # noqa: PLC0415 -- as above

    try:
        return bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII) and date.fromisoformat(text))
    except ValueError:
        return False


def _is_uuid(text: str) -> bool:
    if not re.fullmatch(_UUID, text):
        raise UncertainError
    return True


def _is_regex(text: str) -> bool:
    if not is_pattern(text):
        raise UncertainError
    return True


# Those that jsonschema checks without other packages.
_FORMATS: dict[str, Check] = {
    **dict.fromkeys(("email", "idn-email"), _is_email),
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "date": _is_date,
    "uuid": _is_uuid,
    "regex": _is_regex,
}

ALLOWED: dict[str, Check] = {
    **dict.fromkeys(("title", "description", "$comment", "$ref"), _is_text),
    **dict.fromkeys(("deprecated", "readOnly", "writeOnly", "uniqueItems"), _is_boolean),
    **dict.fromkeys(("default", "example", "const", "name"), lambda _value: True),
    **dict.fromkeys(("examples", "enum"), _is_list),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    "type": lambda value: value in _TYPES if _is_text(value) else _is_names(value) and len(value) > 0 and _TYPES.issuperset(value),
    "format": lambda value: _is_text(value) and value in _FORMATS,
    "pattern": is_pattern,
    "required": _is_names,
    "dependentRequired": lambda value: isinstance(value, dict) and all(map(_is_names, value.values())),
}

_OF_ALL: dict[str, Assertion] = {
    "type": lambda names, data: any(is_of_type(data, name) for name in ([names] if _is_text(names) else names)),
    "enum": lambda values, data: any(_is_equal(data, value) for value in values),
    "const": lambda value, data: _is_equal(data, value),
}
ASSERTIONS: dict[str, dict[str, Assertion]] = {
    "object": {
        "required": lambda names, data: all(name in data for name in names),
        "minProperties": lambda limit, data: len(data) >= limit,
        "maxProperties": lambda limit, data: len(data) <= limit,
        "dependentRequired": _has_required,
    },
    "array": {
        "minItems": lambda limit, data: len(data) >= limit,
        "maxItems": lambda limit, data: len(data) <= limit,
        "uniqueItems": lambda wanted, data: not wanted or _is_unique(data),
    },
    "string": {
        "minLength": lambda limit, data: len(data) >= limit,
        "maxLength": lambda limit, data: len(data) <= limit,
        "pattern": lambda pattern, data: re.search(pattern, data) is not None,
        "format": lambda name, data: _FORMATS[name](data),
    },
    "number": {
        "minimum": lambda limit, data: data >= limit,
        "maximum": lambda limit, data: data <= limit,
        "exclusiveMinimum": lambda limit, data: data > limit,
        "exclusiveMaximum": lambda limit, data: data < limit,
        "multipleOf": _is_multiple,
    },
    "boolean": {},
    "null": {},
}
ASSERTIONS = {kind: _OF_ALL | assertions for kind, assertions in ASSERTIONS.items()}
