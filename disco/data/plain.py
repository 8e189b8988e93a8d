"""Plain schemas, and what they say of data, without jsonschema: importing that takes longer than the rest of a start.

A plain schema is of draft 2020-12, certainly right, and has no keyword, format or reference that needs the library. Data is
judged as jsonschema does it, keyword by keyword in the schema's order. There are two verdicts: the data is valid, or nothing is
wrong with it but missing keys and wrong types. In all other cases, and where jsonschema's verdict is not certain, there is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from disco.data import subschemas, verdicts
from disco.data.keywords import ALLOWED, ASSERTIONS, KINDS, UncertainError, is_pattern
from disco.data.values import pointer
from disco.named import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from disco.data.subschemas import Targets
    from disco.data.values import Json

    Step = str | int | None  # a key or an index; None: to another schema of the same data
    At = tuple[int, Any, Step]  # the number of steps that lead here, the At before the last one, the last one

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = r"https?://(?!json-schema)[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?(/[A-Za-z0-9._-]+)*/?"
_REFERENCE = r"#(/([A-Za-z0-9._$-]|~[01])*)*"
_INDEX = r"0|[1-9][0-9]{0,5}"
# The keywords that have subschemas: one, a list of them, or a mapping of them.
_WITH_ONE = frozenset(("additionalProperties", "propertyNames", "items", "not", "if", "then", "else"))
_WITH_LIST = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_WITH_NAMES = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs"))
_STEPS = 150  # jsonschema makes up to four calls for each, and Python allows a thousand


class Plain(NamedTuple):
    """What is known of a plain schema: where each $ref leads, by its mapping's id, and the subschemas that have a default."""

    targets: Targets
    having_defaults: list[Json]


def examine(content: Json) -> Plain | None:
    """Return what is known of a schema; None if it is not plain, or wrong."""
    seen: dict[int, dict[str, Json]] = {}
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if id(part) not in seen:
                seen[id(part)] = part
                if not _is_plain(part, is_root=part is content):
                    return None
                waiting += _find_subschemas(part)
        elif not isinstance(part, bool):
            return None
    targets = {mark: (_resolve(content, part["$ref"]), False) for mark, part in seen.items() if "$ref" in part}
    if any(id(target) not in seen for target, _ in targets.values()):
        return None
    for part in seen.values():
        subschemas.replace_false(part)
    return Plain(targets, [part for part in seen.values() if "default" in part])


def judge(content: Json, data: Json, targets: Targets) -> tuple[str, ...] | None:
    """Return why an interface's data violates a plain schema, empty if it is valid; None if only jsonschema can tell."""
    return find_violations(content, data, targets, verdicts.WHOLE) if isinstance(data, dict) else (verdicts.NO_MAPPING,)


def find_violations(content: Json, data: Json, targets: Targets, whole: str) -> tuple[str, ...] | None:
    """Return why data violates a plain schema or a part of it, as `validation.find_violations` does; None if only that can tell."""
    try:
        return verdicts.collect(_certain(_Walk(targets, whole).find_errors(content, data, (0, None, None))))
    except (UncertainError, RecursionError):
        return None


def _certain(errors: Iterable[list[str]]) -> Iterator[list[str]]:
    for sentences in errors:
        if not sentences:
            raise UncertainError
        yield sentences


def _is_plain(content: Mapping[str, Json], *, is_root: bool) -> bool:
    """Return whether a schema's keywords are plain, and their values certainly right, whatever its subschemas are."""
    for keyword, value in content.items():
        if keyword in _WITH_NAMES:
            is_right = isinstance(value, dict)
        elif keyword in _WITH_LIST:
            is_right = isinstance(value, list) and len(value) > 0
        elif keyword in _WITH_ONE:
            is_right = True
        elif keyword == "$ref":
            is_right = isinstance(value, str) and re.fullmatch(_REFERENCE, value) is not None
        elif keyword == "$schema":
            is_right = is_root and value == _DIALECT
        elif keyword == "$id":
            is_right = is_root and isinstance(value, str) and re.fullmatch(_ID, value) is not None
        else:
            is_right = keyword in ALLOWED and ALLOWED[keyword](value)
        if not is_right:
            return False
    patterns = content.get("patternProperties", ())
    return all(map(is_pattern, patterns)) and is_pattern("|".join(patterns))  # jsonschema uses both


def _find_subschemas(content: Mapping[str, Json]) -> Iterator[Json]:
    for keyword, value in content.items():
        if keyword in _WITH_ONE:
            yield value
        elif keyword in _WITH_LIST:
            yield from value
        elif keyword in _WITH_NAMES:
            yield from value.values()


def _resolve(content: Json, reference: str) -> Json:
    """Return what a JSON pointer leads to; None for nothing."""
    for step in reference.split("/")[1:]:
        if isinstance(content, dict):
            content = content.get(step.replace("~1", "/").replace("~0", "~"))
        elif isinstance(content, list) and re.fullmatch(_INDEX, step) and int(step) < len(content):
            content = content[int(step)]
        else:
            return None
    return content


class _Walk:
    """A walk over data along a plain schema, in the order in which jsonschema finds errors."""

    def __init__(self, targets: Targets, whole: str) -> None:
        self._targets = targets
        self._whole = whole

    def find_errors(self, content: Json, data: Json, at: At) -> Iterator[list[str]]:
        """Yield the sentences that explain each error; none for an error that jsonschema has to explain.

        Raises:
            UncertainError: only jsonschema can tell.

        """
        if type(data) not in KINDS:
            raise UncertainError
        if content is False:
            yield []
        if isinstance(content, bool):
            return
        assertions = ASSERTIONS[KINDS[type(data)]]
        for keyword, value in content.items():
            if keyword in assertions:
                if not assertions[keyword](value, data):
                    yield self._explain(keyword, value, data, at)
            else:
                for step, below, part in self._find_parts(keyword, content, data, at):
                    yield from self._find_below(below, part, at, step)

    def _find_below(self, content: Json, data: Json, at: At, step: Step = None) -> Iterator[list[str]]:
        if at[0] >= _STEPS:
            raise UncertainError
        return self.find_errors(content, data, (at[0] + 1, at, step))

    def _find_parts(self, keyword: str, content: Json, data: Json, at: At) -> Iterable[tuple[Step, Json, Json]]:
        """Return what has to be valid for a keyword: the step to a value, the subschema, and the value.

        The subschema is False where a keyword is violated that wants something else of its own subschemas.
        """
        value = content[keyword]
        parts: Iterable[tuple[Step, Json, Json]] = ()
        match keyword, data:
            case "properties", dict():
                parts = ((name, below, data[name]) for name, below in value.items() if name in data)
            case "patternProperties", dict():
                parts = ((key, below, data[key]) for pattern, below in value.items() for key in data if re.search(pattern, key))
            case "additionalProperties", dict():
                # jsonschema goes through a set: its order is the same in one process, and in those forked from it.
                parts = ((key, value, data[key]) for key in set(_find_other_keys(content, data)))
            case "propertyNames", dict():
                parts = ((None, False, data) for key in data for _ in self._find_below(value, key, at))
            case "dependentSchemas", dict():
                parts = ((None, below, data) for name, below in value.items() if name in data)
            case "items", list():
                first = len(content.get("prefixItems", ()))
                parts = ((index, value, data[index]) for index in range(first, len(data)))
            case "prefixItems", list():
                parts = ((index, below, item) for index, (below, item) in enumerate(zip(value, data, strict=False)))
            case "$ref", _:
                parts = [(None, self._targets[id(content)][0], data)]
            case "allOf", _:
                parts = [(None, below, data) for below in value]
            case "anyOf" | "oneOf" | "not", _:
                parts = [] if self._is_met(keyword, value, data, at) else [(None, False, data)]
            case "if", _:
                branch = "else" if _has_error(self._find_below(value, data, at)) else "then"
                parts = [(None, content[branch], data)] if branch in content else []
        return parts

    def _is_met(self, keyword: str, value: Json, data: Json, at: At) -> bool:
        """Return whether as many subschemas of anyOf, oneOf or not are valid as the keyword wants.

        Until one is valid, jsonschema looks for all errors of each alternative, and then for the first ones. So does this, since
        what comes after an error may be uncertain.
        """
        if keyword == "not":
            return _has_error(self._find_below(value, data, at))
        alternatives = (self._find_below(below, data, at) for below in value)
        is_one_valid = any(sum(1 for _ in errors) == 0 for errors in alternatives)
        return is_one_valid and (keyword == "anyOf" or sum(not _has_error(errors) for errors in alternatives) == 0)

    def _explain(self, keyword: str, value: Json, data: Json, at: At) -> list[str]:
        if keyword not in ("required", "type"):
            return []
        place = pointer(_find_path(at))
        if keyword == "type":
            return [f"{place or self._whole} {verdicts.explain_type(value, data)}"]
        return [f"{place}{reason}" for reason in verdicts.explain_required(value, data)]


def _has_error(errors: Iterator[list[str]]) -> bool:
    return next(errors, None) is not None


def _find_path(at: At) -> list[str | int]:
    path: list[str | int] = []
    while at[1]:
        _, before, step = at
        path += () if step is None else (step,)
        at = before
    return path[::-1]


def _find_other_keys(content: Mapping[str, Json], data: Mapping[str, Json]) -> Iterator[str]:
    known = content.get("properties", ())
    patterns = "|".join(content.get("patternProperties", ()))
    return (key for key in data if key not in known and not (patterns and re.search(patterns, key)))
