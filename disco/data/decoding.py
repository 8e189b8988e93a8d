"""Decoding: the texts of a store as typed values, where a schema says what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.data import subschemas
from disco.data.values import Literal, strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from disco.data.subschemas import Targets
    from disco.data.values import Json

# An integer written with a fraction or an exponent is decoded up to so many characters, and up to so many digits.
INTEGER_LENGTH, INTEGER_DIGITS = 300, 20


def decode(data: Json, content: Json, targets: Targets) -> Json:
    """Return data with each text replaced by the value that the schema says it is.

    Where the schema has a `type` that admits no string, text that is exactly the JSON form of an admitted type becomes
    that value, which is not decoded further. Without a schema nothing is guessed. What does not fit stays text, for the
    verdict, and so does a `Literal`.
    """
    if isinstance(data, str):
        return _decode_text(data, {"object"})
    return _decode(data, [content], targets)


def admits_mappings(content: Json, targets: Targets) -> bool:
    """Return False where `type` (or the schema `false`) excludes every mapping, and so every interface."""
    types = _admitted_types(subschemas.find_applying([content], targets))
    return content is not False and (types is None or "object" in types)


def _decode(data: Json, schemas: Iterable[Json], targets: Targets) -> Json:
    if isinstance(data, Literal):
        return data.text
    applying = list(subschemas.find_applying(schemas, targets))
    if isinstance(data, str):
        types = _admitted_types(applying)
        return data if types is None or "string" in types else _decode_text(data, types)
    if isinstance(data, dict):
        return {key: _decode(value, subschemas.of_key(applying, key), targets) for key, value in data.items()}
    if isinstance(data, list):
        return [_decode(value, subschemas.of_item(applying, index), targets) for index, value in enumerate(data)]
    return data


def _admitted_types(applying: Iterable[Mapping[str, Json]]) -> set[str] | None:
    """Return the types that all the schemas admit; None if no schema has a `type`."""
    admitted: set[str] | None = None
    for content in applying:
        types = content.get("type")
        if types is not None:
            names = {types} if isinstance(types, str) else set(types)
            if "number" in names:
                names.add("integer")
            admitted = names if admitted is None else admitted & names
    return admitted


def _decode_text(text: str, types: set[str]) -> Json:
    """Return the value whose exact JSON form the text is, if the types admit it; else the text."""
    try:
        value = strict_json(text)
    except ValueError:
        return text
    if isinstance(value, (dict, list)):
        return value if ("object" if isinstance(value, dict) else "array") in types else text
    if text != text.strip():
        return text
    if isinstance(value, bool) or value is None:
        return value if ("null" if value is None else "boolean") in types else text
    if isinstance(value, int):
        return value if "integer" in types else text  # which "number" admits too
    if isinstance(value, float):
        if "number" in types:
            return value
        number = _as_integer(text, value) if "integer" in types else None
        return text if number is None else number
    return text


def _as_integer(text: str, value: float) -> int | None:
    """Return the exact integer that a JSON number such as 1e3 or 5.0 stands for; None if it has a fraction.

    None too for an exponent that would make hundreds of digits of a few bytes.
    """
    if abs(value) < 1:
        is_zero = not text.lower().partition("e")[0].strip("-0.")
        return 0 if is_zero else None
    if len(text) > INTEGER_LENGTH or abs(value) >= 10.0 ** max(INTEGER_DIGITS, len(text)):
        return None
    from decimal import Decimal  # noqa: PLC0415 -- few numbers of a store are written like that

    numerator, denominator = Decimal(text).as_integer_ratio()
    return numerator if denominator == 1 else None
