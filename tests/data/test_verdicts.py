"""Verdicts: place and reason without any value, bounded in number, length and time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from disco.data import values, verdicts
from disco.system.limits import Overrun, cpu_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.data.schema import Schema

    Make = Callable[..., Schema]

CANARY = "hunter2"
INTEGER = {"type": "integer"}
DRAFT = "http://json-schema.org/draft-0{}/schema#"


@pytest.mark.parametrize(
    ("content", "data", "problems"),
    [
        ({"required": ["a", "b", "c"]}, {"b": 1}, ["/a is required", "/c is required"]),
        ({"properties": {"x": {"required": ["a"]}}}, {"x": {}}, ["/x/a is required"]),
        ({"properties": {"x": {"type": ["integer", "null"]}}}, {"x": CANARY},
         ["/x is text, the schema wants integer or null"]),
        ({"properties": {"x": {"enum": [1]}, "y": {"const": 1}}}, {"x": CANARY, "y": CANARY},
         ["/x is not one of the values that the schema allows", "/y is not one of the values that the schema allows"]),
        ({"properties": {"x": {"minLength": 9}}}, {"x": CANARY}, ["/x does not satisfy minLength 9"]),
        ({"additionalProperties": False, "patternProperties": {"^p": {}}}, {"p": 1, "a/b": 1, "~": 1},
         ["/a~1b is not a key that the schema knows", "/~0 is not a key that the schema knows"]),
        ({"properties": {"x": False}}, {"x": CANARY}, ["/x is not allowed by the schema"]),
        ({"dependentRequired": {"a": ["b", "c"], "z": ["y"]}}, {"a": 1, "c": 1}, ["/b is required with /a"]),
        ({"properties": {"x": {"items": INTEGER}}}, {"x": [1, CANARY]}, ["/x/1 is text, the schema wants integer"]),
        ({"$schema": DRAFT.format(7), "dependencies": {"a": ["b"]}}, {"a": 1}, ["/b is required with /a"]),
        ({"propertyNames": {"maxLength": 2}}, {"abc": 1}, ["/abc is not a name that the schema allows"]),
        ({"properties": {"propertyNames": INTEGER}}, {"propertyNames": "x"},
         ["/propertyNames is text, the schema wants integer"]),
        ({"minProperties": 2}, {}, ["the interface does not satisfy minProperties 2"]),
        (False, {}, ["the interface is not allowed by the schema"]),
        ({}, [CANARY], ["the interface is not a mapping"]),
        ({}, None, ["the interface is not a mapping"]),
        ({"type": "string"}, CANARY, ["the interface is not a mapping"]),
        ({}, {"x": CANARY}, []),
    ],
)  # fmt: skip
def test_verdicts(make: Make, content: Any, data: Any, problems: list[str]) -> None:
    """A verdict tells place and reason, and of several all; an interface is always a mapping."""
    assert list(make(content).problems(data)) == problems


KEYWORDS: list[dict[str, Any]] = [
    {"type": "integer"}, {"type": ["null", "array"]}, {"enum": [1, "x"]}, {"const": {"y": 1}}, {"pattern": "^x$"},
    {"minLength": 50}, {"maxLength": 1}, {"format": "ipv4"}, {"not": {}}, {"not": {"type": "string"}},
    {"anyOf": [INTEGER, {"const": 1}]}, {"oneOf": [{}, {}]}, {"oneOf": [INTEGER]}, {"allOf": [INTEGER]},
    {"$ref": "#/$defs/n"},
    {"if": {}, "then": INTEGER}, {"if": False, "else": {"enum": [1]}}, {"$ref": "#/$defs/f"},
]  # fmt: skip
AROUND: list[dict[str, Any]] = [
    {"minItems": 5}, {"maxItems": 1}, {"uniqueItems": True}, {"contains": INTEGER}, {"contains": {}, "maxContains": 1},
    {"items": INTEGER}, {"prefixItems": [INTEGER]}, {"items": False}, {"unevaluatedItems": False},
    {"unevaluatedItems": INTEGER},
]  # fmt: skip
ABOVE: list[dict[str, Any]] = [
    {"additionalProperties": INTEGER}, {"patternProperties": {"": INTEGER}}, {"unevaluatedProperties": False},
    {"unevaluatedProperties": INTEGER}, {"minProperties": 9}, {"maxProperties": 0}, {"dependentSchemas": {"x": False}},
    {"dependentSchemas": {"x": {"required": ["q"]}}}, {"dependentRequired": {"x": ["q"]}}, {"enum": [{}]},
    {"const": {}},
    {"properties": {"x": {"minimum": 1e9, "maximum": 0, "type": "number"}}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "data"),
    [
        *[({"properties": {"x": keyword}}, {"x": CANARY}) for keyword in KEYWORDS],
        *[({"properties": {"x": keyword}}, {"x": [CANARY, CANARY]}) for keyword in AROUND],
        *[(keyword, {"x": CANARY}) for keyword in ABOVE],
        *[({"properties": {"x": keyword}}, {"x": 424242}) for keyword in ({"maximum": 1}, {"exclusiveMaximum": 1})],
        *[
            ({"properties": {"x": keyword}}, {"x": 424242})
            for keyword in ({"minimum": 1e9}, {"multipleOf": 5}, {"multipleOf": 0.8})
        ],
        *[({"propertyNames": keyword}, {"x": CANARY}) for keyword in ({"minLength": 5}, {"enum": ["y"]}, INTEGER, False)],
    ],
)
def test_no_value_in_a_verdict(make: Make, content: dict[str, Any], data: dict[str, Any]) -> None:
    """For no keyword of JSON Schema does a verdict show a value."""
    problems = make({"$defs": {"n": INTEGER, "f": False}, **content}).problems(data)
    assert problems
    assert not any(CANARY in problem or "424242" in problem for problem in problems)


@pytest.mark.parametrize("key", ["a\nb", "\x1b[31m", "\u202e", "\ud800", "k" * 10_000, "%s{}", "\0"])
def test_hostile_names(make: Make, key: str) -> None:
    """A pointer shows any key on one line, escaped and cut."""
    (problem,) = make(additionalProperties={"required": ["x"]}).problems({key: {}})
    assert problem.isprintable()
    assert len(problem) < 150
    (problem,) = make(additionalProperties=False).problems({key: 1})
    assert problem.isprintable()
    assert values.pointer(["a/b", "~", 0]) == "/a~1b/~0/0"


def test_many_problems(make: Make) -> None:
    """Of very many problems some are told, and that there are more."""
    problems = make(additionalProperties=INTEGER).problems({str(number): "x" for number in range(1000)})
    assert (len(problems), problems[-1]) == (verdicts.PROBLEMS_SHOWN + 1, "and more")
    assert len(make(additionalProperties=False).problems({str(number): "x" for number in range(1000)})) <= 21


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ({"$ref": "#"}, {}),
        ({"allOf": [{"$ref": "#"}]}, {}),
        ({"anyOf": [{"$ref": "#/anyOf/0"}]}, {}),
        ({"properties": {"a": {"multipleOf": 0.5}}}, {"a": 10**400}),
        ({"properties": {"a": {"format": "regex"}}}, {"a": "a{99999999999}"}),
    ],
)
def test_hostile_to_the_library(make: Make, content: dict[str, Any], data: dict[str, Any]) -> None:
    """Endless recursion, and what the library cannot calculate, are verdicts too; decoding ends."""
    known = make(content)
    assert known.decode(data) == data
    (problem,) = known.problems(data)
    assert problem.startswith("the schema ")
    assert problem.endswith("or for ever") == ("$ref" in str(content))


def test_deep_data(make: Make) -> None:
    """Data as deep as it may be is decoded and judged by a schema that recurses."""
    known = make({"properties": {"a": {"$ref": "#"}, "b": INTEGER}, "additionalProperties": False})
    data: Any = {"b": "5"}
    for _ in range(63):
        data = {"a": data}
    found = known.decode(data)
    assert known.problems(found) == ()
    assert '{"b": 5}' in json.dumps(found)
    assert known.problems(data) == ("/a" * 63 + "/b is text, the schema wants integer",)


@pytest.mark.parametrize("part", ["problems", "decode"])
def test_exploding_expressions_are_interrupted(make: Make, part: str) -> None:
    """A regular expression that explodes on the data is interrupted by a limit on CPU time."""
    known = make({"properties": {"a": {"pattern": "^(a+)+$"}}, "patternProperties": {"^(b+)+$": INTEGER}})
    data = {"a": "a" * 60 + "!"} if part == "problems" else {"b" * 60 + "!": "5"}
    with pytest.raises(Overrun), cpu_limit(0.05):
        getattr(known, part)(data)
