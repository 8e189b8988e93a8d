"""Defaults: what is left out is filled in, nothing that a source says is touched, and wrong defaults are refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.data import schema, values
from disco.data.values import TooLargeError
from disco.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from disco.data.schema import Schema

    Make = Callable[..., Schema]

DRAFT = "http://json-schema.org/draft-0{}/schema#"
ONE = {"properties": {"a": {"default": 1}}}
SAID: list[Any] = [2, None, "", [], [{}], {}, False, "text"]

NESTED = """
$defs:
  'n/~ %':
    $id: other
    $defs: {i: {type: integer}}
    properties: {a: {$ref: '#/$defs/i', default: x}}
$ref: other
"""
TREE = """
$ref: '#/$defs/t'
$defs:
  t:
    properties: {l: {$ref: '#/$defs/t'}, m: {properties: {x: {default: 1}}}}
"""
TREE_OF_SHARED = """$defs:
  x: {properties: {n: {default: 1}}}
  t: {properties: {below: {$ref: '#/$defs/t'}, x: {$ref: '#/$defs/x'}}}
properties:
  x: {$ref: '#/$defs/x'}
  t: {$ref: '#/$defs/t'}
"""


@pytest.mark.parametrize(
    ("content", "data", "expected"),
    [
        (ONE, {}, {"a": 1}),
        (ONE, {"b": 2}, {"a": 1, "b": 2}),
        *[(ONE, {"a": said}, {"a": said}) for said in SAID],
        ({"properties": {"a": {"default": None}}}, {}, {"a": None}),
        # A parent that is missing is made by its own default alone.
        ({"properties": {"p": ONE}}, {}, {}),
        ({"properties": {"p": ONE}}, {"p": {}}, {"p": {"a": 1}}),
        ({"properties": {"p": {"default": {}, **ONE}}}, {}, {"p": {"a": 1}}),
        ({"properties": {"p": {"default": {"a": 2}, **ONE}}}, {}, {"p": {"a": 2}}),
        ({"properties": {"p": {"default": [{}, {"a": 2}], "items": ONE}}}, {}, {"p": [{"a": 1}, {"a": 2}]}),
        ({"default": {"a": 1}}, {}, {}),
        # Only where a mapping is.
        *[({"properties": {"p": ONE}}, {"p": said}, {"p": said}) for said in SAID if said != {}],
        # Items, and keys without a name, have what belongs into them, and are not made.
        ({"properties": {"l": {"items": ONE}}}, {"l": [{}, {"a": 2}, 3]}, {"l": [{"a": 1}, {"a": 2}, 3]}),
        ({"properties": {"l": {"items": {"default": 1}}}}, {"l": []}, {"l": []}),
        ({"properties": {"l": {"prefixItems": [{}, ONE]}}}, {"l": [{}, {}, {}]}, {"l": [{}, {"a": 1}, {}]}),
        ({"properties": {"l": {"prefixItems": [{}], "items": ONE}}}, {"l": [{}, {}]}, {"l": [{}, {"a": 1}]}),
        ({"properties": {"l": {"prefixItems": [{"default": 1}]}}}, {"l": []}, {"l": []}),
        ({"$schema": DRAFT.format(7), "properties": {"l": {"items": [{}, ONE], "additionalItems": ONE}}},
         {"l": [{}, {}, {}]}, {"l": [{}, {"a": 1}, {"a": 1}]}),
        ({"additionalProperties": ONE}, {"x": {}, "y": {"a": 2}}, {"x": {"a": 1}, "y": {"a": 2}}),
        ({"properties": {"x": {}}, "additionalProperties": ONE}, {"x": {}, "y": {}}, {"x": {}, "y": {"a": 1}}),
        # What must hold as well.
        ({"allOf": [ONE, {"allOf": [{"properties": {"b": {"default": 2}}}]}]}, {}, {"a": 1, "b": 2}),
        ({"$defs": {"d": ONE}, "$ref": "#/$defs/d"}, {}, {"a": 1}),
        ({"$defs": {"n": {"default": 1}}, "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}}},
         {}, {"a": 1, "b": 1}),
        ({"$defs": {"n": {"default": 1}}, "properties": {"a": {"$ref": "#/$defs/n", "default": 1}}}, {}, {"a": 1}),
        ({"allOf": [{"properties": {"p": {"default": {}}}}, {"properties": {"p": ONE}}]}, {}, {"p": {"a": 1}}),
        ({"properties": {"p1": {}}, "patternProperties": {"^p": ONE}}, {"p1": {}, "p2": {}}, {"p1": {"a": 1}, "p2": {}}),
        # What may hold, or belongs to nobody.
        *[({word: [ONE]}, {}, {}) for word in ("anyOf", "oneOf")],
        ({"if": ONE, "then": ONE, "else": ONE, "not": {"required": ["x"], **ONE}}, {}, {}),
        ({"properties": {"a": {"anyOf": [{"default": 1}]}}}, {}, {}),
        ({"patternProperties": {"^p": ONE}, "additionalProperties": ONE}, {"p": {}, "q": {}}, {"p": {}, "q": {}}),
        ({"$defs": {"d": ONE}, "x": ONE}, {}, {}),
        ({"properties": {"default": {"type": "integer"}}}, {}, {}),
        ({"$schema": DRAFT.format(7), "definitions": {"n": {}}, "properties": {"a": {"$ref": "#/definitions/n", "default": 1}}},
         {}, {}),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema", **ONE}, {}, {"a": 1}),
        # A $ref that leads back to itself, without a default below.
        ({"properties": {"a": {"default": 1}, "t": {"$ref": "#/$defs/t"}}, "$defs": {"t": {"items": {"$ref": "#/$defs/t"}}}},
         {"t": [[]]}, {"a": 1, "t": [[]]}),
    ],
)  # fmt: skip
def test_what_is_filled_in(make: Make, content: Any, data: Any, expected: Any) -> None:
    """A key that is left out gets the default that must hold for it, wherever there is a mapping to put it in."""
    before = json.dumps(data)
    filled = make(content).fill(data, 0)
    assert values.canonical(filled) == values.canonical(expected)
    assert json.dumps(data) == before
    if filled == data:
        assert filled is data


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("properties:\n  a: {type: integer, default: x}", 2, "it is text, the schema wants integer"),
        ("properties:\n  a:\n    default: 0\n    allOf: [{minimum: 1}]", 3, "it does not satisfy minimum 1"),
        ("properties:\n  p:\n    default: {}\n    required: [a]", 3, "/a is required"),
        ("properties:\n  p:\n    default: {b: 1}\n    properties: {a: {default: x}}\n    maxProperties: 1", 3, "maxProperties 1"),
        ("$defs: {n: {type: integer}}\nproperties:\n  a: {$ref: '#/$defs/n', default: x}", 3, "it is text"),
        ("allOf:\n- properties: {a: {default: 1}}\n- additionalProperties: false", 2, "it allows nothing there"),
        (NESTED, 6, "it is text, the schema wants integer"),
        ("$defs: {n: {default: 1}}\nproperties:\n  a: {$ref: '#/$defs/n', default: 2}", 1, "has another default: FILE:3:"),
        ("allOf:\n- properties: {a: {default: 1}}\n- properties: {a: {default: true}}", 3, "has another default: FILE:2:"),
        ("allOf:\n- properties: {a: {default: 1}}\n- properties: {a: {default: 1.0}}", 3, "has another default: FILE:2:"),
        ("properties:\n  n: {default: 1}\n  t: {items: {$ref: '#'}}", 2, "below a recursive $ref"),
        ("properties:\n  t: {$ref: '#', default: {}}", 2, "below a recursive $ref"),
        (TREE, 5, "below a recursive $ref"),
        (TREE_OF_SHARED, 2, "below a recursive $ref"),
    ],
)
def test_wrong_defaults(tmp_path: Path, text: str, line: int, problem: str) -> None:
    """A default that its schema refuses, that another contradicts, or whose places have no end is an error with file and line."""
    path = tmp_path / "app.schema"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        schema.read(path)
    found = [str(each).replace(str(path), "FILE") for each in caught.value.problems]
    assert [each for each in found if each.startswith(f"FILE:{line}:") and problem in each], found
    assert schema.read(path, with_defaults=False).fill({}, 0) == {}


def test_endless_schemas_are_refused_quickly(make: Make) -> None:
    """However often a schema refers to its parts, finding its defaults ends, and so does filling defaults into a default."""
    chain = {f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(200)} | {"d200": ONE}
    with pytest.raises(ConfigurationError, match="deeper than 64 levels"):
        make({"$ref": "#/$defs/d0", "$defs": chain})
    wide = {f"d{n}": {"properties": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in "abc"}} for n in range(30)} | {"d30": ONE}
    assert make({"$ref": "#/$defs/d0", "$defs": wide}).fill({"b": {"c": {}}}, 0) == {"b": {"c": {}}}
    doubling = {f"d{n}": {"default": {}, "properties": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in "ab"}} for n in range(40)}
    for last in ({"default": "x" * 100_000}, {"default": 1}):
        with pytest.raises(ConfigurationError, match="a default of more than 1 MiB, 10000 values or 64 levels"):
            make({"properties": {"d": {"$ref": "#/$defs/d0"}}, "$defs": {**doubling, "d40": last}})


def test_a_default_that_its_schema_explodes_on(tmp_path: Path) -> None:
    """A start does not hang on a default whose validation has no end, and leaves no signal handler behind."""
    path = tmp_path / "app.schema"
    path.write_text(f"properties: {{a: {{pattern: ^(a+)+$, default: {'a' * 60}!}}}}")
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(ConfigurationError, match="takes too long") as caught:
        schema.read(path)
    assert caught.value.problems[0].place == str(path)
    assert signal.getsignal(signal.SIGVTALRM) == before


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ({"additionalProperties": {"properties": {"a": {"default": "x" * 10_000}}}}, {str(key): {} for key in range(50_000)}),
        ({"additionalProperties": {"properties": {"a": {"default": [1] * 50}}}}, {str(key): {} for key in range(50_000)}),
    ],
    ids=["bytes", "values"],
)
def test_a_default_is_no_bomb(make: Make, content: Any, data: Any) -> None:
    """Data that its defaults would blow up is over a limit, before the memory for it is there."""
    with pytest.raises(TooLargeError):
        make(content).fill(data, len(values.canonical(data)))
    assert make(content).fill({"a": {}}, 0)["a"]["a"]
    full = {"a": {"a": 1}}
    assert make(content).fill(full, 100 << 20) is full


def test_a_default_is_not_put_where_data_may_not_be(make: Make) -> None:
    """Data is not deeper than the limit with its defaults either."""
    content: Any = {"properties": {"a": {"default": [[[[]]]]}}}
    data: Any = {}
    for _ in range(20):
        content, data = {"properties": {"b": content}}, {"b": data}
    assert make(content).fill(data, 0) != data
    for _ in range(2):
        content, data = {"properties": {"b": {"$ref": "#/$defs/d"}}, "$defs": {"d": content}}, {"b": data}
    long = {f"d{n}": {"properties": {"b": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(61)}
    deep = make({"$ref": "#/$defs/d0", "$defs": {**long, "d61": {"properties": {"a": {"default": [[[[]]]]}}}}})
    data = {}
    for _ in range(61):
        data = {"b": data}
    with pytest.raises(TooLargeError):
        deep.fill(data, 0)


def test_defaults_that_are_never_used(tmp_path: Path) -> None:
    """A default that nothing fills in is doubtful, and no error: of no key, or below what only may hold."""
    path = tmp_path / "app.schema"
    path.write_text("default: {}\nproperties:\n  a: {default: 1}\n  b: {anyOf: [{default: 2}]}\n  c: {items: {default: 3}}\n")
    assert [each.place for each in schema.read(path).idle_defaults] == [f"{path}:{place}" for place in ("1:10", "4:25", "5:24")]
    assert schema.read(path, with_defaults=False).idle_defaults == ()


def test_a_schema_without_defaults_pays_nothing(tmp_path: Path) -> None:
    """Where no schema has a default nothing that fills in is loaded, and data stays the very object that it is."""
    path = tmp_path / "app.schema"
    path.write_text("properties:\n  default: {type: integer}\nexamples: [{default: 1}]\n")
    known = schema.read(path)
    data: dict[str, Any] = {"a": {}}
    assert known.defaults is None
    assert known.fill(data, 0) is data
    loads = "import sys, pathlib; from disco.data import schema; schema.read(pathlib.Path(sys.argv[1])); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loads, str(path)], capture_output=True, text=True, timeout=60, check=True)
    assert "disco.data.schema" in done.stdout.split()
    assert "disco.data.defaults" not in done.stdout.split()


# Every default of a key is the same wherever it stands, so that none contradicts another.
VALUES = {"a": 1, "b": {}, "c": [{}, {"a": None}], "d": "x"}
KEYS = st.sampled_from(sorted(VALUES))


def _of_keys(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(KEYS, st.tuples(below, st.booleans()), max_size=3)
    return properties.map(
        lambda given: {"properties": {key: part | ({"default": VALUES[key]} if has else {}) for key, (part, has) in given.items()}}
    )


CONTENTS: st.SearchStrategy[Any] = st.recursive(
    st.just({}),
    lambda below: st.one_of(
        _of_keys(below),
        st.builds(lambda one, two: {"additionalProperties": one, **two}, below, _of_keys(below)),
        st.builds(lambda one, two: {"prefixItems": [one], "items": two}, below, below),
        st.builds(lambda one, two: {"allOf": [one, two]}, below, below),
        st.builds(lambda one, two: {"anyOf": [one, {}], "if": two, "oneOf": [one, {"not": {}}]}, below, below),
    ),
    max_leaves=12,
)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=2),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)
DATA = st.dictionaries(KEYS, TREES, max_size=4)


def expect(data: Any, schemas: list[Any]) -> Any:
    """Return what data is with its defaults, as one reads it in the schemas."""
    parts = list(schemas)
    for part in parts:
        parts += part.get("allOf", [])
    if isinstance(data, list):
        first = [
            [part["prefixItems"][0] if index == 0 else part["items"] for part in parts if "items" in part]
            for index in range(len(data))
        ]
        return [expect(item, below) for item, below in zip(data, first, strict=True)]
    if not isinstance(data, dict):
        return data

    def below(key: str) -> list[Any]:
        named = [part["properties"][key] for part in parts if key in part.get("properties", ())]
        return named + [
            part["additionalProperties"]
            for part in parts
            if "additionalProperties" in part and key not in part.get("properties", ())
        ]

    def has_default(schemas: list[Any]) -> bool:
        return any("default" in part or has_default(part.get("allOf", [])) for part in schemas)

    known = {key for part in parts for key in part.get("properties", ())}
    missing = {key: VALUES[key] for key in known - data.keys() if has_default(below(key))}
    return {key: expect(value, below(key)) for key, value in (data | missing).items()}


@given(content=CONTENTS, data=DATA)
def test_filling_is_what_one_reads_in_the_schema(make: Make, content: Any, data: Any) -> None:
    """Whatever the schema, data gets its defaults, and nothing else happens to it; a second time nothing happens at all."""
    known = make(content)
    filled = known.fill(data, 0)
    assert values.canonical(filled) == values.canonical(expect(data, [content]))
    assert known.fill(filled, 0) is filled
    assert values.canonical(_without(filled, data)) == values.canonical(data)
    assert (filled is data) == (values.canonical(filled) == values.canonical(data))


def _without(filled: Any, data: Any) -> Any:
    """Return filled data less the keys that `find_added` names."""
    left = json.loads(json.dumps(filled))
    for *way, key in list(values.find_added(data, filled)):
        del reduce(lambda node, step: node[step], way, left)[key]
    return left


@given(content=CONTENTS, parts=st.lists(DATA, min_size=2, max_size=3))
def test_no_default_wins_over_a_source(make: Make, content: Any, parts: list[Any]) -> None:
    """Whatever sources say, and in whatever order they come, the merge is in the filled data: a default never hides a value."""
    known = make(content)
    for said in (parts, parts[::-1]):
        merged = reduce(values.merge, said)
        assert values.canonical(_without(known.fill(merged, 0), merged)) == values.canonical(merged)


@given(content=CONTENTS, data=DATA, share=st.sets(KEYS))
def test_the_order_of_sources_that_share_the_keys_is_irrelevant(make: Make, content: Any, data: Any, share: set[str]) -> None:
    """Where two sources each have some keys of an interface it is filled as if one had all of them, whichever comes first."""
    known = make(content)
    one = {key: value for key, value in data.items() if key in share}
    two = {key: value for key, value in data.items() if key not in share}
    wanted = values.canonical(known.fill(data, 0))
    assert [values.canonical(known.fill(values.merge(*both), 0)) for both in ((one, two), (two, one))] == [wanted] * 2
