"""Schemas: loading them, decoding text by them, and verdicts that show no value."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.data import documents, schema
from disco.errors import ConfigurationError, DocumentError
from disco.system.limits import Overrun, cpu_limit
from disco.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from disco.data.schema import Schema

    Make = Callable[..., Schema]

CANARY = "hunter2"
INTEGER = {"type": "integer"}
DRAFT = "http://json-schema.org/draft-0{}/schema#"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return what reads a schema from its content."""
    folder = tmp_path_factory.mktemp("schemas")

    def read(content: Any = None, name: str = "app.schema", **keywords: Any) -> Schema:
        path = folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(keywords if content is None else content))
        return schema.read(path)

    return read


def refusal(make: Make, content: Any) -> str:
    """Return the one reason for which a schema is refused, from the place in the file on."""
    with pytest.raises((ConfigurationError, DocumentError)) as caught:
        make(content)
    known: Any = caught.value
    (problem,) = [known.problem] if isinstance(known, DocumentError) else known.problems
    return f"{problem.place}: {problem.message}".partition("app.schema:")[2]


# Loading


@pytest.mark.parametrize(
    ("file", "content", "interface"),
    [
        ("app.schema", "{}", "app"),
        ("my.app.schema", "type: object", "my.app"),
        ("app.schema", "name: other\ntype: object", "other"),
        ("app.schema", '{"name": "ö-1.x"}', "ö-1.x"),
        ("app.schema", "true", "app"),
    ],
)
def test_interface(make: Make, file: str, content: str, interface: str) -> None:
    """A schema's interface is its `name`, else the file's stem; YAML and JSON both do."""
    assert make(content, file).interface == interface


@pytest.mark.parametrize("name", ["a b", "a" * 256, "a:b", "a,b", "a/b", "", "\u200b", "\x7f", "\ud800", 5, None, ["a"]])
def test_wrong_interface(make: Make, name: Any) -> None:
    """A name that no rule or variable could hold is refused."""
    assert "an interface's name is text without" in refusal(make, {"name": name}) or name == "\ud800"


@pytest.mark.parametrize(
    ("dialect", "good", "bad"),
    [
        (None, {"prefixItems": [{"type": "string"}]}, {"type": "strin"}),
        ("https://json-schema.org/draft/2020-12/schema", {"dependentRequired": {"a": ["b"]}}, {"items": [{}]}),
        (
            "https://json-schema.org/draft/2019-09/schema",
            {"items": [{}], "not": {"properties": {"a": {"$recursiveRef": "#"}}, "required": ["a"]}},
            {"minContains": -1},
        ),
        (DRAFT.format(7), {"items": [{}], "if": {}}, {"if": 5}),
        (DRAFT.format(7).rstrip("#"), {"propertyNames": {"const": 1}}, {"contains": 5}),
        (DRAFT.format(6), {"propertyNames": {"const": 1}}, {"exclusiveMinimum": True}),
        (DRAFT.format(4), {"minimum": 1, "exclusiveMinimum": True}, {"minimum": 1, "exclusiveMinimum": 5}),
    ],
)
def test_dialects(make: Make, dialect: str | None, good: dict[str, Any], bad: dict[str, Any]) -> None:
    """The dialect is what `$schema` says, else draft 2020-12, and a schema is held to it."""
    named = {"$schema": dialect} if dialect else {}
    assert make({**named, **good}).problems({}) == ()
    assert refusal(make, {**named, **bad}).startswith("1:")


@pytest.mark.parametrize("dialect", ["http://x/y", "", 5, None, [], "http://[", DRAFT.format(3)])
def test_unknown_dialect(make: Make, dialect: Any) -> None:
    """A dialect that is not known is refused at its place."""
    assert refusal(make, {"$schema": dialect}).startswith("1:13: $schema names a dialect that is not known here")


@pytest.mark.parametrize("draft", ["https://json-schema.org/draft/2020-12/schema", DRAFT.format(7), DRAFT.format(4)])
def test_a_mistyped_type(make: Make, draft: str) -> None:
    """The commonest mistake is answered with what `type` takes."""
    told = refusal(make, {"$schema": draft, "properties": {"a": {"type": "strin"}}})
    assert "'type' takes string, integer, number, boolean, array, object or null" in told


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("type: objekt", "1:7"),
        ("properties:\n  a:\n    type: 5", "3:11"),
        ("properties:\n  a:\n    required: b", "3:15"),
        ("type: object\nproperties: [a]", "2:13"),
        ("pattern: (", "1:10"),
        ("patternProperties:\n  '(': {}", "2:3"),
        (f"$schema: {DRAFT.format(4)}\npatternProperties:\n  '(': {{}}", "3:3"),
        ("pattern: a{99999999999}", "1:1"),
        ("[a]", "1:1"),
        ("a: [", "2:1"),
        ("5", "1:1"),
        ("a: 1\na: 2", "2:1"),
        ("$id: 'http://['", "1:6"),
        ("$ref: '#/nope'", "1:7"),
        ("$defs: {}\nproperties:\n  a: {$ref: '#/$defs/b'}", "3:13"),
        ("allOf:\n  - {$ref: '#/allOf/x'}", "2:12"),
        ("allOf:\n  - {$ref: '#/allOf/7'}", "2:12"),
        ("type: object\n$ref: '#/type/x'", "2:7"),
        ("type: object\n$ref: '#/type'", "2:7"),
        ("$dynamicRef: '#nope'", "1:14"),
        ("x-kept: {type: objekt}\n$ref: '#/x-kept'", "2:7"),
        ("x-kept: {$ref: other.schema}\n$ref: '#/x-kept'", "1:16"),
    ],
)
def test_broken(make: Make, content: str, place: str) -> None:
    """A broken schema is refused with the place of what is wrong; what a reference leads to must be a schema too."""
    assert refusal(make, content).startswith(f"{place}: ")


def test_deep_schema(make: Make) -> None:
    """A schema as deep as a document may be is taken or refused; it never ends in a traceback."""
    deep: Any = {}
    for _ in range(62):
        deep = {"not": deep}
    try:
        make(deep)
    except ConfigurationError as error:
        assert "too deep" in str(error)  # noqa: PT017 -- either is fine


@pytest.mark.parametrize("where", [{"$ref": None}, {"properties": {"a": {"$ref": None}}}, {"$defs": {"a": {"$ref": None}}}])
@pytest.mark.parametrize("kind", ["http", "relative", "file"])
def test_references_are_never_fetched(make: Make, tmp_path: Path, where: dict[str, Any], kind: str) -> None:
    """A reference to network or file is refused at start, and nothing ever connects to what it names."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        base = f"http://127.0.0.1:{server.getsockname()[1]}/"
        (tmp_path / "other.schema").write_text("{}")
        target = {"http": f"{base}a#/b", "relative": "other.schema", "file": (tmp_path / "other.schema").as_uri()}[kind]
        content = json.loads(json.dumps(where).replace("null", json.dumps(target)))
        if kind == "relative":
            content["$id"] = base
        assert "is not in this file; references to the network or to files are never followed" in refusal(make, content)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "content",
    [
        {"$defs": {"p": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/p"}}},
        {"$defs": {"p": {"$anchor": "port", "type": "integer"}}, "properties": {"a": {"$ref": "#port"}}},
        {"$defs": {"p": {"$id": "http://x/port", "type": "integer"}}, "properties": {"a": {"$ref": "http://x/port"}}},
        {
            "$id": "http://x/dir/",
            "$defs": {"q": {"$id": "sub/", "$defs": {"r": {"$id": "r", "type": "integer"}}, "$ref": "r"}},
            "properties": {"a": {"$ref": "sub/"}},
        },
        {"$id": "http://x/y", "properties": {"a": {"$id": "z", "$ref": "#/$defs/p", "$defs": {"p": INTEGER}}}},
        {"properties": {"a": {"$ref": "#/x-mine/p"}}, "x-mine": {"p": {"type": "integer"}}},
        {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"$ref": "#/properties/c"}, "c": {"type": "integer"}}},
        {"$schema": DRAFT.format(7), "definitions": {"p": INTEGER}, "properties": {"a": {"$ref": "#/definitions/p"}}},
        {"$schema": DRAFT.format(4), "id": "http://x/", "definitions": {"p": {"id": "p", "type": "integer"}},
         "properties": {"a": {"$ref": "p"}}},
    ],
)  # fmt: skip
def test_local_references(make: Make, content: dict[str, Any]) -> None:
    """Local references work, by pointer, anchor and identifier, for the verdict and for decoding alike."""
    known = make(content)
    assert known.decode({"a": "5"}) == {"a": 5}
    assert known.problems({"a": 5}) == ()
    assert known.problems({"a": "x"}) == ("/a is text, the schema wants integer",)


def test_formats(make: Make, tmp_path: Path) -> None:
    """A format that can be checked is asserted; of one that cannot a warning tells, wherever it stands."""
    known = make(properties={"a": {"format": "ipv4"}, "b": {"format": "date"}})
    assert known.problems({"a": "10.0.0.1", "b": "2020-02-29"}) == ()
    assert known.problems({"a": "10.0.0.256", "b": "2021-02-29"}) == (
        "/a does not satisfy format ipv4",
        "/b does not satisfy format date",
    )
    (tmp_path / "x.schema").write_text("items: {not: {format: bogus}}\n$ref: '#/x'\nx: {format: 'new\\nline'}\nformat: ipv4")
    doubts = schema.read(tmp_path / "x.schema").doubts
    assert len(doubts) == 2
    assert str(doubts[0]).startswith(f"{tmp_path}/x.schema: format bogus is not checked here")


# Decoding


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


# Verdicts


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
    assert schema.pointer(["a/b", "~", 0]) == "/a~1b/~0/0"


def test_many_problems(make: Make) -> None:
    """Of very many problems some are told, and that there are more."""
    problems = make(additionalProperties=INTEGER).problems({str(number): "x" for number in range(1000)})
    assert (len(problems), problems[-1]) == (schema.PROBLEM_LIMIT + 1, "and more")
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


# What stands for data


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=5))
def test_canonical(data: dict[str, Any]) -> None:
    """Equal data has one form, whatever its order; the form is JSON in ASCII and comes back as the data."""
    form = schema.canonical(data)
    assert form == schema.canonical(dict(reversed(data.items())))
    assert form.isascii()
    assert json.loads(form) == data
    assert len(messages.digest(form)) == 32


@pytest.mark.parametrize("data", [float("nan"), float("inf"), b"x", {1, 2}, {"a": object()}, {(1,): 2}, {"a": 1, 2: 3}])
def test_not_canonical(data: Any) -> None:
    """What JSON cannot hold is refused."""
    with pytest.raises((TypeError, ValueError)):
        schema.canonical(data)


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": 1, "b": {"c": 1, "d": 1}}, {"b": {"c": 2, "e": 2}}, {"a": 1, "b": {"c": 2, "d": 1, "e": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_merge(base: Any, over: Any, merged: Any) -> None:
    """Mappings merge key by key; of anything else the second is taken; neither is changed."""
    before = json.dumps([base, over])
    assert documents.merge(base, over) == merged
    assert json.dumps([base, over]) == before


def test_grammar_of_iri_is_imported_only_for_a_schema_that_names_it(tmp_path: Path) -> None:
    """The format iri is checked, and its grammar, which takes a second, is imported by a schema that names it alone."""
    pytest.importorskip("rfc3987_syntax")
    (tmp_path / "a.schema").write_text('{"properties": {"x": {"format": "iri"}}}')
    program = (
        "import sys, pathlib; from disco.data import schema; early = 'rfc3987_syntax' in sys.modules; "
        "found = schema.read(pathlib.Path(sys.argv[1]) / 'a.schema'); "
        "print(early, 'rfc3987_syntax' in sys.modules, found.doubts, found.problems({'x': 'no iri'}), found.problems({'x': 'http://a/ü'}))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "False True () ('/x does not satisfy format iri',) ()\n"
