"""Verdicts: what an interface's data lacks, in bounded texts that never show a value, and the time that judging may take."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from disco.data import values
from disco.data.values import pointer
from disco.text import NAME_LIMIT, PROBLEM_LIMIT, escape
from disco.wire import messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import jsonschema

    from disco.data.values import Json

PROBLEMS_SHOWN = messages.PROBLEM_COUNT - 1  # problems of one interface, before "and more"
WHOLE = "the interface"  # what sentences call an interface's data as a whole
NO_MAPPING = f"{WHOLE} is not a mapping"
TOO_SLOW = "validation takes too long (a regular expression in the schema that explodes on this data?)"
TOO_LARGE = (
    f"with the schema's defaults it has more than {values.SIZE_LIMIT >> 20} MiB or {values.NODE_LIMIT} values, "
    f"or more than {values.DEPTH_LIMIT} levels"
)

_NAMING = ("properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions")
_ALTERNATIVES = {
    "anyOf": "fits none of the alternatives in the schema",
    "oneOf": "does not fit exactly one of the alternatives in the schema",
    "unevaluatedProperties": "has a key that the schema does not know",
}


def time_allowed(size: int) -> float:
    """Return the seconds of CPU time that decoding and validating data of `size` bytes may take."""
    return 1.0 + size / (1 << 20)


def bounded(problems: Iterable[str], limit: int = PROBLEMS_SHOWN) -> tuple[str, ...]:
    """Return the first `limit` problems, each cut to its limit, and "and more" if there are others."""
    shown = [escape(problem, PROBLEM_LIMIT) for problem in islice(problems, limit + 1)]
    return (*shown[:limit], "and more") if len(shown) > limit else tuple(shown)


def collect(explained: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the sentences that explain errors, bounded and each once; looks for no more errors than are shown."""
    problems: dict[str, None] = {}
    for sentences in explained:
        problems |= dict.fromkeys(sentences)
        if len(problems) > PROBLEMS_SHOWN:
            break
    return bounded(problems)


def explain(error: jsonschema.ValidationError, whole: str) -> list[str]:
    """Return the sentences that explain a validator's error. They show names of the data's keys, and no value of the data.

    whole: what the sentences call the data as a whole.
    """
    at = pointer(list(error.absolute_path))
    return [f"{at}{reason}" for reason in _explain_names(error)] or [f"{at or whole} {_explain_value(error)}"]


def explain_required(wanted: list[str], data: Mapping[str, Json]) -> list[str]:
    """Return which of the wanted keys a mapping lacks, in sentences that follow its pointer."""
    return [f"{pointer([name])} is required" for name in wanted if name not in data]


def explain_type(wanted: str | list[str], data: Json) -> str:
    """Return that data is of another type than the schema wants, in words that follow its pointer."""
    types = " or ".join(wanted) if isinstance(wanted, list) else wanted
    return f"is {_type_name(data)}, the schema wants {types}"


def _explain_names(error: jsonschema.ValidationError) -> list[str]:
    """Return what is wrong with the names of a mapping's keys, `/NAME reason` each; empty if the error is about something else."""
    wanted: Json = error.validator_value
    instance: Json = error.instance
    if _is_about_a_name(error.absolute_schema_path):
        return [f"{pointer([str(instance)])} is not a name that the schema allows"]
    if error.validator == "required" and isinstance(wanted, list):
        return explain_required(wanted, instance)
    if error.validator in ("dependentRequired", "dependencies"):
        return [
            f"{pointer([name])} is required with {pointer([given])}"
            for given, names in wanted.items()
            if given in instance and isinstance(names, list)
            for name in names
            if name not in instance
        ]
    if error.validator == "additionalProperties" and isinstance(instance, dict):
        content: Json = error.schema
        known = content.get("properties", {})
        patterns = content.get("patternProperties", {})
        extra = [name for name in instance if name not in known and not any(re.search(p, name) for p in patterns)]
        return [f"{pointer([name])} is not a key that the schema knows" for name in extra[:PROBLEMS_SHOWN]]
    return []


def _explain_value(error: jsonschema.ValidationError) -> str:
    """Return what is wrong with a value, in words that follow its pointer."""
    wanted: Json = error.validator_value
    keyword = str(error.validator)
    if keyword == "type":
        return explain_type(wanted, error.instance)
    if keyword in ("enum", "const"):
        return "is not one of the values that the schema allows"
    if isinstance(wanted, (int, float, str)) and not isinstance(wanted, bool):
        return f"does not satisfy {keyword} {escape(str(wanted), NAME_LIMIT)}"
    if keyword in _ALTERNATIVES:
        return f"{_ALTERNATIVES[keyword]} ({keyword})"
    if error.validator is None or (keyword == "not" and wanted == {}):
        return "is not allowed by the schema"
    return f"does not satisfy {keyword}"


def _is_about_a_name(path: Iterable[str | int]) -> bool:
    """Return whether a schema's path leads through the keyword `propertyNames`, not through a property of that name."""
    steps = iter(path)
    for step in steps:
        if step == "propertyNames":
            return True
        if step in _NAMING:
            next(steps, None)
    return False


def _type_name(value: Json) -> str:
    names = {bool: "a boolean", str: "text", int: "an integer", float: "a number", list: "an array", dict: "a mapping"}
    return names.get(type(value), "null")
