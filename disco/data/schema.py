"""Schemas: one JSON Schema an interface. Loading, decoding text by them, and verdicts that never show a value.

Loading happens in the coordinator before anything is started (children share what it built); decoding and validating
take a time that depends on data, so only sources and the checker do them, under a deadline.
"""

from __future__ import annotations

import json
import re
import sys
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

# jsonschema imports what checks the formats `iri` and `iri-reference` (of the extra `formats`), and that compiles a grammar
# for a second: it gets a stand-in, which imports the real one when it is needed.
_SLOW, _SLOW_FORMATS = "rfc3987_syntax", {"iri", "iri-reference"}
_HIDDEN = find_spec(_SLOW) is not None and _SLOW not in sys.modules
if _HIDDEN:
    sys.modules[_SLOW] = ModuleType(_SLOW)
    sys.modules[_SLOW].is_valid_syntax = lambda *given: import_module(_SLOW).is_valid_syntax(*given)  # type: ignore[attr-defined]

import jsonschema  # noqa: E402 -- only now
import jsonschema_specifications  # noqa: E402
import referencing  # noqa: E402
import referencing.exceptions  # noqa: E402
from jsonschema.validators import validator_for  # noqa: E402
from referencing.jsonschema import EMPTY_REGISTRY  # noqa: E402

from disco.data import documents  # noqa: E402
from disco.errors import ConfigurationError, Problem, raise_problems  # noqa: E402
from disco.system.limits import Overrun  # noqa: E402
from disco.text import escape, nearest  # noqa: E402
from disco.wire import messages  # noqa: E402

if _HIDDEN:
    del sys.modules[_SLOW]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from jsonschema.protocols import Validator
    from referencing._core import Resolver

PROBLEM_LIMIT = messages.PROBLEM_LIMIT - 1  # problems told of one interface, before "and more"
POINTER_LIMIT = 200  # characters of a pointer told
NAME_LIMIT = 80  # characters of a key's name told
MESSAGE_LIMIT = 200  # characters told of what is wrong in a schema
INTEGER_LENGTH, INTEGER_DIGITS = 300, 20  # characters and digits of an integer that has a fraction or an exponent
TOO_SLOW = "validation takes too long (a regular expression in the schema that explodes on this data?)"

_TYPES = "'type' takes string, integer, number, boolean, array, object or null, or a list of these"
_NAMING = ("properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions")
_DIALECTS = "$schema names a dialect that is not known here (drafts 4, 6, 7, 2019-09 and 2020-12 are)"
# Keywords that ask for nothing, or that others look at (`then`), and disco's own `name`.
_ANNOTATIONS = (
    *("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$comment", "$defs", "definitions"),
    *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "then", "else", "name"),
    *("contentEncoding", "contentMediaType", "contentSchema", "minContains", "maxContains", "additionalItems"),
)
NEAR = 0.8  # how much of an unknown keyword is that of a known one, so that it is hardly meant
_ALTERNATIVES = {
    "anyOf": "fits none of the alternatives in the schema",
    "oneOf": "does not fit exactly one of the alternatives in the schema",
    "unevaluatedProperties": "has a key that the schema does not know",
}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# The dialects in which nothing beside a $ref counts.
_ALONE = (jsonschema.Draft4Validator, jsonschema.Draft6Validator, jsonschema.Draft7Validator)

# Never fetch anything: what is not in here and not in the schema itself cannot be referred to.
_REGISTRY = jsonschema_specifications.REGISTRY.combine(EMPTY_REGISTRY)


class Schema(NamedTuple):
    """The schema of one interface, and the file that it came from."""

    interface: str
    content: Any  # the JSON Schema: a mapping or a boolean
    where: str
    validator: Validator
    targets: Mapping[int, tuple[Any, bool]]  # by id of a mapping: what its $ref leads to, and whether that is all
    doubts: tuple[Problem, ...] = ()  # of the schema itself

    def admits_mappings(self) -> bool:
        """Return False where it is plain from `type` (or `false`) that no mapping, so no interface, is ever valid."""
        types = _admitted(_applying([self.content], self.targets))
        return self.content is not False and (types is None or "object" in types)

    def decode(self, data: Any) -> Any:  # noqa: ANN401 -- any JSON data
        """Return data whose leaves are text with each leaf taken as what the schema says it is.

        Where the schema has a `type` that admits no string, text that is exactly the JSON form of an admitted
        type is replaced by that value, which is not looked into any more. Nothing is guessed without the schema; what
        does not fit stays text, for the verdict, and so does a `documents.Literal`.
        """
        if isinstance(data, str):
            return _decode_text(data, {"object"})
        return _decode(data, [self.content], self.targets)

    def problems(self, data: Any) -> tuple[str, ...]:  # noqa: ANN401 -- any JSON data
        """Return why data does not satisfy the schema, `POINTER reason` each, without any value; empty if it does."""
        if not isinstance(data, dict):
            return ("the interface is not a mapping",)
        found: list[str] = []
        try:
            for error in self.validator.iter_errors(data):
                found += (text for text in _explain(error) if text not in found)
                if len(found) > PROBLEM_LIMIT:
                    break
        except Overrun:
            raise
        except RecursionError:
            return ("the schema recurses too deep on this data, or for ever",)
        except Exception as error:  # noqa: BLE001 -- arithmetic and formats on hostile data: a verdict, not a crash
            return (f"the schema cannot be applied to this data ({type(error).__name__})",)
        return bounded(found)


def read(path: Path) -> Schema:
    """Read one schema.

    Raises:
        DocumentError: the file is no document.
        ConfigurationError: the document is no schema that disco can use.

    """
    document = documents.parse(documents.read_file(path), str(path))
    content = document.data
    if not isinstance(content, (dict, bool)):
        raise ConfigurationError(Problem(document.at(), "a JSON Schema is a mapping"))
    interface = path.stem
    kind: type[Validator] | None = jsonschema.Draft202012Validator
    if isinstance(content, dict):
        interface = content.get("name", interface)
        kind = _find_dialect(content["$schema"]) if "$schema" in content else kind
    if not isinstance(interface, str) or not interface.isprintable() or not re.fullmatch(r"[^\s:,/]{1,255}", interface):
        what = "an interface's name is text without white space, ':', ',', '/', of at most 255 characters"
        raise ConfigurationError(Problem(document.at("name"), what))
    if kind is None:
        raise ConfigurationError(Problem(document.at("$schema"), _DIALECTS, "name one of these, or none"))
    # The vocabularies of a dialect's schema tell the same thing several times.
    raise_problems(dict.fromkeys(Problem(document.at(*at), reason) for at, reason in _check(content, kind)))
    specification = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
    resource = specification.create_resource(content)
    try:
        registry = _REGISTRY.with_resource(resource.id() or "", resource).with_resource("", resource).crawl()
    except ValueError:  # of urllib
        raise ConfigurationError(Problem(document.at("$id"), "an $id in this file is no URI")) from None
    survey = _Survey(resource, registry.resolver_with_root(resource), kind)
    paths = _find_paths(content)
    raise_problems(Problem(document.at(*paths.get(id(at), ()), *keyword), reason) for at, keyword, reason in survey.problems)
    validator = kind(content, registry=registry, format_checker=kind.FORMAT_CHECKER)
    if survey.formats & _SLOW_FORMATS and find_spec(_SLOW):
        import_module(_SLOW)  # once for all that are forked, and not within the time that a verdict may take
    doubts = [
        Problem(document.at(*paths.get(id(at), ()), keyword), f"{escape(keyword, NAME_LIMIT)} is no keyword of JSON Schema", near)
        for at, keyword, near in survey.doubts
    ]
    remedy = "pip install 'disco-entrypoint[formats]' brings what checks the usual ones; or do without that format"
    doubts += (
        Problem(str(path), f"format {escape(name, NAME_LIMIT)} is not checked here", remedy)
        for name in sorted(survey.formats - set(kind.FORMAT_CHECKER.checkers))
    )
    return Schema(interface, content, str(path), validator, survey.targets, tuple(doubts))


def canonical(data: Any, stand_in: Callable[[object], object] | None = None) -> bytes:  # noqa: ANN401 -- any JSON data
    """Return the one JSON form that equal data has: sorted, without white space, in ASCII.

    stand_in: gives what stands for what JSON cannot hold.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold it.

    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, default=stand_in).encode()


def time_allowed(size: int) -> float:
    """Return the seconds of CPU time that decoding and validating data of so many bytes may take."""
    return 1.0 + size / (1 << 20)


def pointer(path: Sequence[str | int]) -> str:
    """Return a JSON pointer (RFC 6901) for people: hostile names escaped and cut, and of a long one the start and the end."""
    shown = "".join("/" + escape(str(part).replace("~", "~0").replace("/", "~1"), NAME_LIMIT) for part in path)
    return shown if len(shown) <= POINTER_LIMIT else f"{shown[: POINTER_LIMIT // 2]}…{shown[-POINTER_LIMIT // 2 :]}"


def bounded(problems: Iterable[str], limit: int = PROBLEM_LIMIT) -> tuple[str, ...]:
    """Return the first of the problems, each cut where it is long; that there are more is the last one."""
    shown = [escape(problem, messages.PROBLEM_LENGTH) for problem in islice(problems, limit + 1)]
    return (*shown[:limit], "and more") if len(shown) > limit else tuple(shown)


def _find_dialect(name: Any) -> type[Validator] | None:  # noqa: ANN401 -- what the file holds
    """Return the validator of a dialect, from draft 4 on; None if there is none."""
    if not isinstance(name, str):
        return None
    try:
        kind = validator_for({"$schema": name}, default=jsonschema.Draft3Validator)
    except ValueError:  # of urllib
        return None
    return None if kind is jsonschema.Draft3Validator else kind


def _check(content: Any, kind: type[Validator]) -> Iterator[tuple[Iterable[str | int], str]]:  # noqa: ANN401 -- a schema
    """Yield path and reason of what keeps a document from being a schema."""
    try:
        for error in kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER).iter_errors(content):
            path = error.absolute_path
            is_type = error.validator == "anyOf" and path and path[-1] == "type"
            yield path, _TYPES if is_type else escape(error.message, MESSAGE_LIMIT)
    except RecursionError:
        yield (), "the schema is too deep"
    except OverflowError:  # of re
        yield (), "a regular expression in the schema is too large"


def _find_paths(content: Any) -> dict[int, tuple[str | int, ...]]:  # noqa: ANN401 -- a schema
    """Return the path to each mapping and list in a document, by its id."""
    paths: dict[int, tuple[str | int, ...]] = {}
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), content)]
    while waiting:
        at, node = waiting.pop()
        if isinstance(node, (dict, list)) and id(node) not in paths:
            paths[id(node)] = at
            below = node.items() if isinstance(node, dict) else enumerate(node)
            waiting += [((*at, key), value) for key, value in below]
    return paths


class _Survey:
    """A schema, all below it and all that it refers to: where references lead, the formats named, and what is wrong."""

    def __init__(self, root: referencing.Resource[Any], resolver: Resolver[Any], kind: type[Validator]) -> None:
        self.problems: list[tuple[Any, tuple[str, ...], str]] = []  # the mapping, the keyword if it is one, why
        self.targets: dict[int, tuple[Any, bool]] = {}
        self.formats: set[str] = set()
        self.doubts: list[tuple[Any, str, str]] = []  # the mapping, what is near a keyword, and the remedy
        self._kind = kind
        self._keywords = {*kind.VALIDATORS, *_ANNOTATIONS}
        self._seen: set[int] = set()
        self._referred: list[tuple[dict[str, Any], str, Any, Resolver[Any]]] = []
        self._walk(root, resolver)
        while self._referred:
            content, keyword, target, at = self._referred.pop()
            if id(target) in self._seen:
                continue
            # An unknown keyword's content is no schema before something refers to it.
            for _, reason in _check(target, kind):
                self.problems.append((content, (keyword,), f"what {keyword} leads to is no schema: {reason}"))
                break
            else:
                default = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
                self._walk(referencing.Resource.from_contents(target, default), at)

    def _walk(self, root: referencing.Resource[Any], resolver: Resolver[Any]) -> None:
        waiting = [(root, resolver)]
        while waiting:
            resource, at = waiting.pop()
            content = resource.contents
            if not isinstance(content, dict) or id(content) in self._seen:
                continue
            self._seen.add(id(content))
            waiting += [(below, at.in_subresource(below)) for below in resource.subresources()]
            for keyword in _REFERENCES:
                if isinstance(content.get(keyword), str):
                    self._follow(content, keyword, at)
            if isinstance(content.get("format"), str):
                self.formats.add(content["format"])
            self._compile(content)
            for keyword in sorted(content.keys() - self._keywords):
                if near := nearest(keyword, self._keywords, "", NEAR):
                    self.doubts.append((content, keyword, near))
            for name, below in content.get("properties", {}).items():
                if below is False:  # the library would not say which key it is
                    content["properties"][name] = {"not": {}}

    def _follow(self, content: dict[str, Any], keyword: str, resolver: Resolver[Any]) -> None:
        reference = content[keyword]
        try:
            found = resolver.lookup(reference)
        except (referencing.exceptions.Unresolvable, ValueError):  # ValueError: a name where a list has an index
            reason = "is not in this file; references to the network or to files are never followed"
            self.problems.append((content, (keyword,), f"{keyword} {escape(reference, MESSAGE_LIMIT)} {reason}"))
            return
        if keyword == "$ref":
            self.targets[id(content)] = (found.contents, self._kind in _ALONE)
        self._referred.append((content, keyword, found.contents, found.resolver))

    def _compile(self, content: dict[str, Any]) -> None:
        patterns = content.get("patternProperties", {})
        for keyword, pattern in [
            ("pattern", content.get("pattern")),
            *(("patternProperties", name) for name in patterns),
        ]:
            try:
                if isinstance(pattern, str):
                    re.compile(pattern)
            except (re.error, OverflowError, RecursionError):
                self.problems.append((content, (keyword,), "not a regular expression that Python knows"))


def _explain(error: jsonschema.ValidationError) -> list[str]:  # noqa: PLR0911 -- one for each way to say it
    """Return the reasons of an error: of the data only names of keys, escaped and cut; the rest is the schema's."""
    content: Any = error.schema
    wanted: Any = error.validator_value
    instance: Any = error.instance
    at, keyword = pointer(list(error.absolute_path)), str(error.validator)
    here = at or "the interface"
    if _is_about_a_name(error.absolute_schema_path):
        return [f"{at}{pointer([str(instance)])} is not a name that the schema allows"]
    if keyword == "required" and isinstance(wanted, list):
        return [f"{at}{pointer([name])} is required" for name in wanted if name not in instance]
    if keyword in ("dependentRequired", "dependencies"):
        return [
            f"{at}{pointer([name])} is required with {pointer([given])}"
            for given, names in wanted.items()
            if given in instance and isinstance(names, list)
            for name in names
            if name not in instance
        ] or [f"{here} does not satisfy {keyword}"]
    if keyword == "type":
        types = " or ".join(wanted) if isinstance(wanted, list) else str(wanted)
        return [f"{here} is {_type_name(instance)}, the schema wants {types}"]
    if keyword == "additionalProperties" and isinstance(instance, dict):
        known = content.get("properties", {})
        patterns = content.get("patternProperties", {})
        extra = [name for name in instance if name not in known and not any(re.search(p, name) for p in patterns)]
        return [f"{at}{pointer([name])} is not a key that the schema knows" for name in extra[:PROBLEM_LIMIT]]
    if keyword in ("enum", "const"):
        return [f"{here} is not one of the values that the schema allows"]
    if isinstance(wanted, (int, float, str)) and not isinstance(wanted, bool):
        return [f"{here} does not satisfy {keyword} {escape(str(wanted), NAME_LIMIT)}"]
    if keyword in _ALTERNATIVES:
        return [f"{here} {_ALTERNATIVES[keyword]} ({keyword})"]
    if error.validator is None or (keyword == "not" and wanted == {}):
        return [f"{here} is not allowed by the schema"]
    return [f"{here} does not satisfy {keyword}"]


def _is_about_a_name(path: Iterable[str | int]) -> bool:
    """Return whether the keyword `propertyNames` is on a schema's path; what follows some keywords is a name, not a keyword."""
    steps = iter(path)
    for step in steps:
        if step == "propertyNames":
            return True
        if step in _NAMING:
            next(steps, None)
    return False


def _type_name(value: Any) -> str:  # noqa: ANN401 -- any JSON data
    names = {bool: "a boolean", str: "text", int: "an integer", float: "a number", list: "an array", dict: "a mapping"}
    return names.get(type(value), "null")


def _decode(data: Any, schemas: Iterable[Any], targets: Mapping[int, tuple[Any, bool]]) -> Any:  # noqa: ANN401 -- any JSON data
    if isinstance(data, documents.Literal):
        return data.text
    applying = list(_applying(schemas, targets))
    if isinstance(data, str):
        types = _admitted(applying)
        return data if types is None or "string" in types else _decode_text(data, types)
    if isinstance(data, dict):
        return {key: _decode(value, _for_key(applying, key), targets) for key, value in data.items()}
    if isinstance(data, list):
        return [_decode(value, _for_item(applying, index), targets) for index, value in enumerate(data)]
    return data


def _applying(schemas: Iterable[Any], targets: Mapping[int, tuple[Any, bool]]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas and what they bring in by $ref and allOf: all must hold here (anyOf, oneOf and if need not)."""
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


def _admitted(applying: Iterable[Mapping[str, Any]]) -> set[str] | None:
    """Return the types that all the schemas admit, None where none says."""
    admitted: set[str] | None = None
    for content in applying:
        types = content.get("type")
        if types is not None:
            names = {types} if isinstance(types, str) else set(types)
            if "number" in names:
                names.add("integer")
            admitted = names if admitted is None else admitted & names
    return admitted


def _for_key(applying: Iterable[Mapping[str, Any]], key: str) -> Iterator[Any]:
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


def _for_item(applying: Iterable[Mapping[str, Any]], index: int) -> Iterator[Any]:
    for content in applying:
        items = content.get("items")
        # Before 2020-12 a list under `items` was what `prefixItems` is now.
        prefix = content.get("prefixItems", items if isinstance(items, list) else [])
        if index < len(prefix):
            yield prefix[index]
        elif isinstance(items, dict):
            yield items
        elif isinstance(items, list) and "additionalItems" in content:
            yield content["additionalItems"]


def _decode_text(text: str, types: set[str]) -> Any:  # noqa: ANN401 -- any JSON data
    """Return what the text is the exact JSON form of, if the types admit that; else the text."""
    try:
        value = documents.strict_json(text)
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
    """Return the integer that a JSON number is, such as 1e3 or 5.0, without the float's loss; None if it is none.

    One of very many digits has to be written out: a few bytes of text must not become hundreds.
    """
    if abs(value) < 1:
        is_zero = not text.lower().partition("e")[0].strip("-0.")
        return 0 if is_zero else None
    if len(text) > INTEGER_LENGTH or abs(value) >= 10.0 ** max(INTEGER_DIGITS, len(text)):
        return None
    numerator, denominator = Decimal(text).as_integer_ratio()
    return numerator if denominator == 1 else None
