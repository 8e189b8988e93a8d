"""Schemas: reading them, and refusing what is none."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from disco.errors import ConfigurationError, DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from disco.data.schema import Schema

    Make = Callable[..., Schema]

INTEGER = {"type": "integer"}
DRAFT = "http://json-schema.org/draft-0{}/schema#"


def refusal(make: Make, content: Any) -> str:
    """Return the one reason for which a schema is refused, from the place in the file on."""
    with pytest.raises((ConfigurationError, DocumentError)) as caught:
        make(content)
    known: Any = caught.value
    (problem,) = [known.problem] if isinstance(known, DocumentError) else known.problems
    return f"{problem.place}: {problem.message}".partition("app.schema:")[2]


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
