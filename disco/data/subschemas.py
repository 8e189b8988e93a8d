"""Subschemas: which parts of a schema must hold at a place of the data. Decoding and defaults both go by them.

What may hold (anyOf, oneOf, if, not) is never followed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from disco.data.values import Json

    Targets = Mapping[int, tuple[Json, bool]]  # by id of a mapping: where its $ref leads; whether keywords beside it are ignored


def find_applying(schemas: Iterable[Json], targets: Targets) -> Iterator[Mapping[str, Json]]:
    """Yield the schemas, and those that they include by $ref and allOf: all of these must hold."""
    waiting, seen = list(schemas), set()
    while waiting:
        content = waiting.pop(0)
        if not isinstance(content, dict) or id(content) in seen:
            continue
        seen.add(id(content))
        target, alone = targets.get(id(content), (None, False))
        waiting.append(target)
        if not alone:
            yield content
            waiting += content.get("allOf", ())


def of_key(applying: Iterable[Mapping[str, Json]], key: str) -> Iterator[Json]:
    """Yield the schemas of a mapping's key."""
    for content in applying:
        matched = False
        if key in content.get("properties", ()):
            matched = True
            yield content["properties"][key]
        for pattern, below in content.get("patternProperties", {}).items():
            if re.search(pattern, key):
                matched = True
                yield below
        if not matched and "additionalProperties" in content:
            yield content["additionalProperties"]


def of_item(applying: Iterable[Mapping[str, Json]], index: int) -> Iterator[Json]:
    """Yield the schemas of a list's item."""
    for content in applying:
        first = first_items(content)
        items = content.get("items")
        if index < len(first):
            yield first[index]
        elif isinstance(items, dict):
            yield items
        elif isinstance(items, list) and "additionalItems" in content:
            yield content["additionalItems"]


def first_items(content: Mapping[str, Json]) -> list[Json]:
    """Return the schemas of a list's first items, which have one each."""
    items = content.get("items")
    # Before 2020-12 a list under `items` was what `prefixItems` is now.
    first: list[Json] = content.get("prefixItems", items if isinstance(items, list) else [])
    return first


def find_properties(content: Json, path: Sequence[str], targets: Targets) -> frozenset[str]:
    """Return the names of the properties that a schema declares for the mapping at a path of keys."""
    applying = list(find_applying([content], targets))
    for key in path:
        applying = list(find_applying(of_key(applying, key), targets))
    return frozenset(name for content in applying for name in content.get("properties", ()))


def replace_false(content: Mapping[str, Json]) -> None:
    """Replace `false` below `properties` by what means the same, but of which jsonschema says which key is wrong."""
    properties = content.get("properties", {})
    for name, below in properties.items():
        if below is False:
            properties[name] = {"not": {}}
