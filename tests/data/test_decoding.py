"""Decoding: text becomes what a schema says it is, and nothing is guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.data.schema import Schema

    Make = Callable[..., Schema]

INTEGER = {"type": "integer"}
DRAFT = "http://json-schema.org/draft-0{}/schema#"


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        *[
            ("integer", text, value)
            for text, value in [("5", 5), ("-1", -1), ("0", 0), ("-0", 0), ("1.0", 1), ("1e2", 100), ("-0.0", 0), ("0e999", 0)]
        ],
        *[
            ("integer", text, value)
            for text, value in [("1e3", 1000), ("1e19", 10**19), ("12345678901234567890.0", 12345678901234567890)]
        ],
        *[
            ("integer", text, text)
            for text in (
                "1.00000000000000000001",
                "1e22",
                "1e308",
                "1e-3",
                "1e-9" + "9" * 20,
                "1." + "0" * 500,
                "123456789012345678901.5",
            )
        ],
        ("number", "1e3", 1000.0),
        (["integer", "number"], "1e3", 1000.0),
        *[("integer", text, text) for text in ("", "x", "5.5", " 5", "5\n", "\t5", "+5", "0123", "5.", ".5", "0x5", "5_0")],
        *[("integer", text, text) for text in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "\uff19", "5 5", "5,", "true")],
        *[("integer", text, int(text)) for text in ("9" * 30, "9" * 4000)],
        ("integer", "9" * 5000, "9" * 5000),
        *[
            ("number", text, value)
            for text, value in [("5", 5), ("5.5", 5.5), ("-1E-2", -0.01), ("NaN", "NaN"), ("1e400", "1e400")]
        ],
        *[("boolean", text, value) for text, value in [("true", True), ("false", False)]],
        *[("boolean", text, text) for text in ("True", "yes", "1", "0", " true", "null", "")],
        *[("null", text, value) for text, value in [("null", None), ("", ""), ("None", "None"), ("false", "false")]],
        *[("array", text, value) for text, value in [("[]", []), ('["1"]', ["1"]), (" [1]\n", [1]), ("{}", "{}"), ("[1", "[1")]],
        *[("array", text, text) for text in ("[NaN]", "[1e400]", "[1,]", "5", "[" * 65 + "]" * 65, "[" * 30_000)],
        *[("object", text, value) for text, value in [("{}", {}), ('{"a": "1"}', {"a": "1"}), ("[]", "[]")]],
        *[("object", text, text) for text in ('{"a": 1, "a": 2}', "{a: 1}", "{'a': 1}")],
        *[(["integer", "null"], text, value) for text, value in [("null", None), ("5", 5), ("true", "true"), ("[]", "[]")]],
        *[(["integer", "string"], text, text) for text in ("5", "null", "0123", "no", "[]")],
        *[("string", text, text) for text in ("5", "null", "0123", "no", "[]", '"x"')],
        ("integer", '"5"', '"5"'),
    ],
)
def test_exact_forms(make: Make, type_: str | list[str], text: str, value: Any) -> None:
    """Text is taken as a value if it is exactly the JSON form of an admitted type, and else stays text."""
    found = make(properties={"a": {"type": type_}}).decode({"a": text})["a"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("content", "data", "expected"),
    [
        ({}, {"a": "5"}, {"a": "5"}),
        ({"properties": {"a": INTEGER}}, {"a": "5", "b": "5"}, {"a": 5, "b": "5"}),
        ({"properties": {"a": {"properties": {"b": INTEGER}}}}, {"a": {"b": "5"}}, {"a": {"b": 5}}),
        ({"patternProperties": {"^p": INTEGER}}, {"p1": "5", "q": "5"}, {"p1": 5, "q": "5"}),
        ({"patternProperties": {"^p": {}}, "additionalProperties": INTEGER}, {"p": "5", "q": "5"}, {"p": "5", "q": 5}),
        ({"properties": {"a": {}}, "additionalProperties": INTEGER}, {"a": "5", "b": "5"}, {"a": "5", "b": 5}),
        ({"properties": {"p": {"type": ["integer", "string"]}}, "patternProperties": {"p": INTEGER}},
         {"p": "5"}, {"p": 5}),
        ({"properties": {"p": {"type": "string"}}, "patternProperties": {"p": INTEGER}}, {"p": "5"}, {"p": "5"}),
        ({"properties": {"a": {"items": INTEGER}}}, {"a": ["5", "x"]}, {"a": [5, "x"]}),
        ({"properties": {"a": {"prefixItems": [{}, INTEGER]}}}, {"a": ["5", "5", "5"]}, {"a": ["5", 5, "5"]}),
        ({"properties": {"a": {"prefixItems": [{}], "items": INTEGER}}}, {"a": ["5", "5"]}, {"a": ["5", 5]}),
        ({"$schema": DRAFT.format(7),
          "properties": {"a": {"items": [{}, INTEGER], "additionalItems": {"type": "null"}}}},
         {"a": ["5", "5", "null"]}, {"a": ["5", 5, None]}),
        ({"allOf": [{"properties": {"a": INTEGER}}]}, {"a": "5"}, {"a": 5}),
        ({"properties": {"a": {"allOf": [{"type": "number"}, {"allOf": [INTEGER]}]}}}, {"a": "5"}, {"a": 5}),
        ({"properties": {"a": {"allOf": [{"type": ["number", "string"]}, INTEGER]}}}, {"a": "5"}, {"a": 5}),
        ({"properties": {"a": {"type": "boolean", "allOf": [INTEGER]}}}, {"a": "5"}, {"a": "5"}),
        ({"properties": {"a": {"$ref": "#"}, "b": INTEGER}}, {"a": {"a": {"b": "5"}}}, {"a": {"a": {"b": 5}}}),
        *[({word: [{"properties": {"a": INTEGER}}]}, {"a": "5"}, {"a": "5"}) for word in ("anyOf", "oneOf")],
        *[({"properties": {"a": {word: [INTEGER]}}}, {"a": "5"}, {"a": "5"}) for word in ("anyOf", "oneOf")],
        ({"if": {"properties": {"a": INTEGER}}, "then": {"properties": {"a": INTEGER}}}, {"a": "5"}, {"a": "5"}),
        ({"$schema": DRAFT.format(7), "definitions": {"t": {"pattern": "5"}},
          "properties": {"a": {"type": "integer", "$ref": "#/definitions/t"}}}, {"a": "5"}, {"a": "5"}),
        ({"properties": {"a": INTEGER}}, '{"a": 5}', {"a": 5}),
        ({"properties": {"a": INTEGER}}, '{"a": "5"}', {"a": "5"}),
        ({"properties": {"a": {"type": "array", "items": INTEGER}}}, {"a": '["5"]'}, {"a": ["5"]}),
        ({"properties": {"a": True, "b": False}}, {"a": "5", "b": "5"}, {"a": "5", "b": "5"}),
        ({}, "[]", "[]"),
        (True, {"a": "5"}, {"a": "5"}),
    ],
)  # fmt: skip
def test_decoding_follows_the_schema(make: Make, content: Any, data: Any, expected: Any) -> None:
    """Decoding follows what must hold (never what may), and what it has decoded it takes as it is."""
    found = make(content).decode(data)
    assert json.dumps(found) == json.dumps(expected)


TREES = st.recursive(
    st.text(max_size=4) | st.sampled_from(["5", "true", "null", "[]", "{}", "1e3", '["1"]']),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abp"), below, max_size=3),
    max_leaves=8,
)
ADMITTING = st.recursive(
    st.sampled_from([{}, True, {"type": "string"}, {"type": ["string", "integer", "array", "object"]}, {"minLength": 1}]),
    lambda below: st.one_of(
        st.builds(lambda a: {"properties": {"a": a, "b": a}}, below),
        st.builds(lambda a, b: {"patternProperties": {"p|a": a}, "additionalProperties": b}, below, below),
        st.builds(lambda a, b: {"prefixItems": [a], "items": b}, below, below),
        st.builds(lambda a, b: {"allOf": [a, b]}, below, below),
        st.builds(lambda a: {"anyOf": [a, INTEGER], "if": INTEGER, "oneOf": [INTEGER]}, below),
    ),
    max_leaves=6,
)


@given(content=ADMITTING, data=st.dictionaries(st.sampled_from("abp"), TREES, max_size=3))
def test_text_is_never_guessed(make: Make, content: Any, data: dict[str, Any]) -> None:
    """Where the schema admits text, decoding changes nothing at all, whatever the text looks like."""
    assert make(content).decode(data) == data


@given(
    data=st.dictionaries(
        st.sampled_from("abp"),
        st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_decoding_undoes_json(make: Make, data: dict[str, Any]) -> None:
    """What was stored as its JSON form comes back where the schema admits no text."""
    known = make(additionalProperties={"type": ["number", "boolean", "null"]})
    found = known.decode({key: json.dumps(value) for key, value in data.items()})
    assert json.dumps(found) == json.dumps(data)
    assert known.problems(found) == ()
