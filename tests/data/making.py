"""Random schemas, mostly plain, and data that mostly fits them, or nearly."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from random import Random

NAMES = ("a", "b", "c", "port", "x-1", "", "a/b~", "é", "properties", "propertyNames", "type", "$id", "\ud800", "n" * 90)
PATTERNS = ("^a", "b$", "^[a-c]$", "x-.", "", "^(a|b)+$", "é", r"^\d+$", r"^\S*$")
UUID = "c6a1d1ce-5b3c-4f1a-9e52-1c2f3a4b5c6d"
WORDS = ("", "a", "b", "ab", "ba", "x-1", "12", "a@b", "no", "1", "true", "é", "\ud83d\ude00", "\ud800", "a\n", "x" * 40)
TEXTS = (
    *WORDS,
    *("127.0.0.1", "127.0.0.01", "1.2.3", "256.1.1.1", "\u0661.1.1.1", "1.2.3.4\n", "::1", "::1%1", "1::2::3", "::ffff:1.2.3.4"),
    *("2024-02-29", "2023-02-29", "2024-2-9", "20240229", "2024-W01-1", "0000-01-01", "2024-02-29\n", "\u0662024-02-29"),
    *(UUID, UUID.upper(), UUID.replace("-", ""), "{" + UUID[:-2] + "}", UUID[:-1] + "_", UUID + "\n"),
    *("^a+$", "(", "[", "(?i)a", "a{99999999999}"),
)
NUMBERS = (0, 1, 2, 3, 5, -1, 7, 10, 80, 443, 1.0, 2.0, 1.5, -0.0, 0.1, 0.3, 1e300, 10**400, -(10**30), 2**53 + 1, float(2**53))
SCALARS: tuple[Any, ...] = (None, True, False, *NUMBERS, *WORDS)
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
FORMATS = ("email", "idn-email", "ipv4", "ipv6", "date", "uuid", "regex")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCES = (
    *("#/$defs/a", "#/$defs/b", "#/$defs/a~1b~0") * 5,
    *("#", "#/properties/a", "#/properties/b", "#/allOf/0", "#/prefixItems/0"),
)
# Keywords that are not plain, and values that are not right or lead nowhere.
ODD: dict[str, tuple[Any, ...]] = {
    "type": ("strin", [], ["null", "null"], ["string", 1], None, {}, ["any"]),
    "required": ("a", ["a", "a"], [1], {}, [], None),
    "minLength": (-1, 1.0, 1.5, True, "1", None),
    "maximum": (True, "1", None, []),
    "multipleOf": (0, -1, True, "1", 0.1, 1e-300),
    "pattern": ("(", "a{99999999999}", 1, r"\p{L}", "(?<=a+)b", r"(?P<n>a)(?P=n)"),
    "patternProperties": ({"(": {}}, [], {"a": 1}, {"a": {}, "(?i)b": {}}, {"(?i)b": {}}, {"(?P<n>a)": {}, r"(?P<n>b)": {}}),
    "format": ("hostname", "uri", "date-time", "nonsense", "color", "time", 1, None, "Email", "iri"),
    "$ref": (
        *("", "#/nowhere", "#nope", "http://x/", "other", 5, "#/$defs", "#/required/0", "#/properties/a%20b", "#/default"),
        *(
            "#/",
            "#/allOf/00",
            "#/allOf/-1",
            "#/allOf/+0",
            "#/allOf/0/",
            "#/title",
            "#/enum/0",
            "#/const",
            "#/items",
            "#/prefixItems/1",
        ),
    ),
    "$id": ("", "x", "#a", "http://example.com/x#", DIALECT, 1, "urn:x", "https://example.com/"),
    "$schema": ("http://json-schema.org/draft-07/schema#", DIALECT, DIALECT + "#", 1, "x"),
    **{
        keyword: ("a", "#a", "#", {})
        for keyword in ("id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$vocabulary")
    },
    **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems", "additionalItems", "contains"), (False, {})),
    **dict.fromkeys(("dependencies", "definitions", "contentSchema"), ({"a": ["b"]}, {"a": {}}, {"a": 1}, [])),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), ([], {}, [1], None, [None])),
    **dict.fromkeys(("properties", "$defs", "dependentSchemas"), ([], {"a": 1}, None, {"a": []})),
    **dict.fromkeys(("items", "not", "if", "then", "additionalProperties"), ([], [{}], 1, None, "x", [True])),
    **dict.fromkeys(("title", "$comment", "deprecated", "examples", "default", "uniqueItems"), (1, None, [], "x", True)),
    **dict.fromkeys(("minContains", "propertiez", "requird", "x-vendor", "minimun", "nullable", "name"), (1, -1, "a")),
    "enum": ("x", {}, []),
    "dependentRequired": ({"a": "b"}, {"a": ["b", "b"]}, []),
}

counts = st.integers(0, 3)
names = st.sampled_from(NAMES)
scalars = st.sampled_from(SCALARS)
values = st.recursive(scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3), max_leaves=5)
some_names = st.lists(names, max_size=3, unique=True)


def nonempty(below: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(below, min_size=1, max_size=3)


@cache
def keywords(depth: int) -> dict[str, dict[str, st.SearchStrategy[Any]]]:
    """Return what makes the values of plain keywords at a depth, by the type of data that each is about."""
    below = below_depth(depth)
    return {
        "object": {
            "properties": st.dictionaries(names, below, max_size=4),
            "required": some_names,
            "additionalProperties": below,
            "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), below, max_size=2),
            "propertyNames": below,
            "minProperties": counts,
            "maxProperties": counts.map(lambda count: count + 1),
            "dependentRequired": st.dictionaries(names, some_names, max_size=2),
            "dependentSchemas": st.dictionaries(names, below, max_size=2),
        },
        "array": {
            "items": below,
            "prefixItems": nonempty(below),
            "minItems": counts,
            "maxItems": counts.map(lambda count: count + 1),
            "uniqueItems": st.booleans(),
        },
        "string": {
            "minLength": counts,
            "maxLength": st.integers(0, 40),
            "pattern": st.sampled_from(PATTERNS),
            "format": st.sampled_from(FORMATS),
        },
        "number": {
            "minimum": st.sampled_from(NUMBERS),
            "maximum": st.sampled_from(NUMBERS),
            "exclusiveMinimum": st.sampled_from(NUMBERS),
            "exclusiveMaximum": st.sampled_from(NUMBERS),
            "multipleOf": st.sampled_from([number for number in NUMBERS if number > 0]),
        },
        "": {
            "enum": st.lists(values, max_size=4),
            "const": values,
            "allOf": nonempty(below),
            "anyOf": nonempty(below),
            "oneOf": nonempty(below),
            "not": below,
            "if": below,
            "then": below,
            "else": below,
            "$ref": st.sampled_from(REFERENCES),
            "title": st.just("x"),
            "default": values,
            "deprecated": st.booleans(),
            "examples": st.lists(scalars, max_size=1),
        },
    }


def below_depth(depth: int) -> st.SearchStrategy[Any]:
    """Return what makes the schemas below those at a depth."""
    return subschemas(depth + 1) if depth < 3 else st.sampled_from([True, False, {}, {"type": "string"}, {"type": "integer"}])


@st.composite
def subschemas(draw: st.DrawFn, depth: int = 0) -> Any:
    """Make a schema: keywords of one type mostly, in any order."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.booleans())
    kind = draw(st.sampled_from(("object", *TYPES) if depth < 2 else TYPES[2:]))
    made = keywords(depth)
    of_kind, of_all = made.get("number" if kind == "integer" else kind, {}), made[""]
    content: dict[str, Any] = {}
    if draw(st.integers(0, 3)):
        content["type"] = kind if draw(st.integers(0, 3)) else [kind, *draw(st.lists(st.sampled_from(TYPES), max_size=2))]
        if isinstance(content["type"], list):
            content["type"] = list(dict.fromkeys(content["type"]))
    for keyword in draw(st.lists(st.sampled_from(sorted(of_kind)), max_size=3, unique=True)) if of_kind else ():
        content[keyword] = draw(of_kind[keyword])
    for keyword in draw(st.lists(st.sampled_from(sorted(of_all)), max_size=1 + (depth == 0), unique=True)):
        content[keyword] = draw(of_all[keyword])
    if "if" in content and draw(st.booleans()):
        content["then"] = draw(below_depth(depth))
    return {keyword: content[keyword] for keyword in draw(st.permutations(sorted(content)))} if draw(st.booleans()) else content


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """Make a whole schema, now and then with something odd in it."""
    content = draw(subschemas())
    if isinstance(content, bool):
        return content
    if "$ref" in str(content) or draw(st.booleans()):
        content["$defs"] = {"a": draw(subschemas(1)), "b": draw(subschemas(1)), "a/b~": draw(subschemas(2))}
    if draw(st.integers(0, 5)) == 0:
        content["$schema"] = DIALECT
        content["$id"] = draw(st.sampled_from(["https://example.com/a-b/c.json", "http://x:80/", "http://a.b"]))
    if draw(st.integers(0, 5)) == 0:
        keyword = draw(st.sampled_from(sorted(ODD)))
        draw(st.sampled_from(find_mappings(content)))[keyword] = copy.deepcopy(draw(st.sampled_from(ODD[keyword])))
    return content


def find_mappings(content: Any) -> list[dict[str, Any]]:
    """Return all the mappings of a document, whatever they mean."""
    below = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return [*([content] if isinstance(content, dict) else []), *(found for part in below for found in find_mappings(part))]


def fit(content: Any, root: Any, chance: Random, depth: int = 0) -> Any:
    """Return data that mostly fits a plain schema. That is a guess, for the tests need both."""
    if isinstance(content, bool) or depth > 6 or chance.random() < 0.03:
        return make_value(chance, depth)
    if "const" in content:
        return content["const"]
    if content.get("enum") and chance.random() < 0.9:
        return chance.choice(content["enum"])
    others = [content[keyword] for keyword in ("allOf", "anyOf", "oneOf") if keyword in content]
    others += [[content[keyword] for keyword in ("if", "then", "else") if keyword in content]] if "if" in content else []
    others += [[follow(root, content["$ref"])]] if "$ref" in content else []
    if others and chance.random() < 0.6:
        return fit(chance.choice(chance.choice(others)), root, chance, depth + 1)
    kinds = content.get("type", chance.choice(TYPES) if depth else "object")
    return fit_kind(kinds if isinstance(kinds, str) else chance.choice(kinds), content, root, chance, depth)


def fit_kind(kind: str, content: dict[str, Any], root: Any, chance: Random, depth: int) -> Any:
    """Return data of a type that mostly fits a plain schema."""
    if kind == "object":
        known, wanted, other = content.get("properties", {}), content.get("required", []), content.get("additionalProperties", True)
        keys = [*known, *(wanted if chance.random() < 0.9 else ()), *chance.choices(NAMES, k=chance.randrange(3))]
        keys = [key for key in keys if chance.random() < 0.95 and known.get(key, other) is not False]
        return {key: fit(known.get(key, other), root, chance, depth + 1) for key in keys}
    if kind == "array":
        parts = [*content.get("prefixItems", ()), *[content.get("items", True)] * chance.randrange(4)]
        return [fit(part, root, chance, depth + 1) for part in parts]
    if kind == "string":
        return chance.choice(TEXTS)
    if kind in ("integer", "number"):
        near = [content[keyword] for keyword in ("minimum", "maximum", "multipleOf") if keyword in content]
        number: Any = chance.choice([*NUMBERS, *near * 20])
        return number if kind == "number" or chance.random() < 0.1 or abs(number) > 1e200 else int(number)
    return None if kind == "null" else chance.random() < 0.5


def make_value(chance: Random, depth: int) -> Any:
    """Return any value."""
    if depth < 3 and chance.random() < 0.2:
        return {chance.choice(NAMES): make_value(chance, depth + 1) for _ in range(chance.randrange(4))}
    if depth < 3 and chance.random() < 0.2:
        return [make_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return chance.choice(SCALARS)


def follow(root: Any, reference: str) -> Any:
    """Return what a reference leads to."""
    for step in reference.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        root = root[int(key) if isinstance(root, list) else key]
    return root
