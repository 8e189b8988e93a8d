"""Schemas: one JSON Schema an interface. Loading, decoding text by them, and verdicts that never show a value.

Loading happens in the coordinator before anything is started (children share what it built); decoding and validating take a
time that depends on data, so only sources and the checker do them, under a deadline.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema
import jsonschema_specifications
import referencing.exceptions
from jsonschema.validators import validator_for
from referencing.jsonschema import EMPTY_REGISTRY

from disco import documents
from disco.errors import ConfigurationError, DocumentError, collect
from disco.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from jsonschema.protocols import Validator
    from referencing._core import Resolver

SUFFIX = ".schema"
PROBLEM_LIMIT = 20  # problems told of one interface
NAME_LIMIT = 80  # characters of a key's name told
TOO_SLOW = "validation takes too long (a regular expression in the schema that explodes on this data?)"

# Never fetch anything: what is not in here and not in the schema itself cannot be referred to.
_REGISTRY = jsonschema_specifications.REGISTRY.combine(EMPTY_REGISTRY)


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of one interface, and the file that it came from."""

    interface: str
    content: Any  # the JSON Schema: a mapping or a boolean
    where: str
    validator: Validator
    resolver: Resolver[Any]

    def decode(self, data: Any) -> Any:  # noqa: ANN401 -- any JSON data
        """Return data whose leaves are text with each leaf taken as what the schema says it is.

        Where the schema has a `type` that admits no string, text that is exactly the JSON form of an admitted type is
        replaced by that value. Nothing is guessed without the schema; what does not fit stays text, for the verdict.
        """
        if isinstance(data, str):
            data = _decode_text(data, {"object"})
        return _decode(data, [(self.content, self.resolver)])

    def problems(self, data: Any) -> tuple[str, ...]:  # noqa: ANN401 -- any JSON data
        """Return why data does not satisfy the schema, `POINTER reason` each, without any value of it; empty if it does."""
        if not isinstance(data, dict):
            return ("the interface is not a mapping",)
        found: list[str] = []
        try:
            for error in self.validator.iter_errors(data):
                found += (text for text in _explain(error) if text not in found)
                if len(found) > PROBLEM_LIMIT:
                    return (*found[:PROBLEM_LIMIT], "and more")
        except RecursionError:
            return ("the schema leads into an endless recursion on this data",)
        except referencing.exceptions.Unresolvable:
            return ("the schema has a reference that cannot be resolved",)
        return tuple(found)


def load(directories: Sequence[Path]) -> tuple[dict[str, Schema], list[str]]:
    """Load every schema in the directories; return them by interface, and warnings.

    Raises:
        ConfigurationError: every schema that is broken, with file and place, and every interface that has two.

    """
    schemas: dict[str, Schema] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for path in documents.list_files(directories, SUFFIX):
        try:
            schema = read(path)
        except DocumentError as error:
            problems.append(str(error))
            continue
        except ConfigurationError as error:
            problems += error.problems
            continue
        if schema.interface in schemas:
            other = schemas[schema.interface].where
            problems.append(f"{path}: interface {schema.interface} has a schema already: {other}")
            continue
        schemas[schema.interface] = schema
        warnings += _unchecked_formats(schema)
    collect(problems)
    return schemas, warnings


def read(path: Path) -> Schema:
    """Read one schema.

    Raises:
        DocumentError: the file is no document.
        ConfigurationError: the document is no schema that disco can use.

    """
    document = documents.parse(documents.read_file(path), str(path))
    content = document.data
    if not isinstance(content, (dict, bool)):
        raise ConfigurationError(f"{document.at()}: a JSON Schema is a mapping")
    interface, dialect = path.stem, ""
    if isinstance(content, dict):
        interface, dialect = content.get("name", interface), content.get("$schema", "")
    if not isinstance(interface, str) or not re.fullmatch(r"[^\s:,/\x00-\x1f]+", interface):
        raise ConfigurationError(f"{document.at('name')}: an interface's name is text without white space, ':', ',' and '/'")
    kind = validator_for(content, default=None) if dialect else jsonschema.Draft202012Validator
    if kind is None:
        raise ConfigurationError(f"{document.at('$schema')}: unknown JSON Schema dialect")
    errors = sorted(kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER).iter_errors(content), key=lambda e: e.path)
    collect(f"{document.at(*error.absolute_path)}: {error.message}" for error in errors)
    specification = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
    resource = specification.create_resource(content)
    registry = _REGISTRY.with_resource(resource.id() or "", resource).with_resource("", resource).crawl()
    resolver = registry.resolver_with_root(resource)
    collect(
        f"{document.at()}: $ref {reference!r} is not in this file; references to the network or to files are never followed"
        for reference in _unresolvable(resource, resolver)
    )
    validator = kind(content, registry=registry, format_checker=kind.FORMAT_CHECKER)
    return Schema(interface, content, str(path), validator, resolver)


def canonical(data: Any, stand_in: Callable[[object], str] | None = None) -> bytes:  # noqa: ANN401 -- any JSON data
    """Return the one JSON form that equal data has: sorted, without white space, in ASCII.

    stand_in: gives text for what JSON cannot hold.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold it.

    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, default=stand_in).encode()


def digest(body: bytes) -> str:
    """Return what stands for a body wherever the body itself is not needed."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def time_allowed(size: int) -> float:
    """Return the seconds of CPU time that decoding and validating data of so many bytes may take."""
    return 1.0 + size / (1 << 20)


def merge(base: Any, over: Any) -> Any:  # noqa: ANN401 -- any JSON data
    """Return the deep merge of two: mappings key by key, for anything else the second."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return merged


def pointer(path: Sequence[str | int]) -> str:
    """Return a JSON pointer (RFC 6901) for people: hostile names escaped and cut."""
    return "".join("/" + escape(str(part).replace("~", "~0").replace("/", "~1"), NAME_LIMIT) for part in path)


def _unchecked_formats(schema: Schema) -> Iterator[str]:
    known = schema.validator.FORMAT_CHECKER.checkers
    formats = set()
    for content, _ in _subschemas(schema.content, schema.resolver):
        if isinstance(content, dict) and isinstance(content.get("format"), str):
            formats.add(content["format"])
    for name in sorted(formats - set(known)):
        yield f"{schema.where}: format {name!r} is not checked here (pip install 'disco[formats]' brings the usual ones)"


def _unresolvable(resource: referencing.Resource[Any], resolver: Resolver[Any]) -> Iterator[str]:
    for content, at in _subschemas(resource.contents, resolver):
        if not isinstance(content, dict):
            continue
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            reference = content.get(keyword)
            if isinstance(reference, str):
                try:
                    at.lookup(reference)
                except referencing.exceptions.Unresolvable:
                    yield reference


def _subschemas(content: Any, resolver: Resolver[Any]) -> Iterator[tuple[Any, Resolver[Any]]]:  # noqa: ANN401 -- a schema
    """Yield a schema and all below it, each with the resolver that its references need."""
    dialect = content.get("$schema") if isinstance(content, dict) else None
    default = referencing.jsonschema.DRAFT202012
    specification = referencing.jsonschema.specification_with(dialect, default) if dialect else default
    waiting = [(specification.create_resource(content), resolver)]
    while waiting:
        resource, at = waiting.pop()
        yield resource.contents, at
        waiting += [(below, at.in_subresource(below)) for below in resource.subresources()]


def _explain(error: jsonschema.ValidationError) -> list[str]:
    """Return the reasons of an error: of the data only names of keys, escaped and cut; the rest is the schema's."""
    at = pointer(list(error.absolute_path))
    keyword, wanted, instance = str(error.validator), error.validator_value, error.instance
    here = at or "the interface"
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
        known = error.schema.get("properties", {})
        patterns = error.schema.get("patternProperties", {})
        extra = [name for name in instance if name not in known and not any(re.search(p, name) for p in patterns)]
        return [f"{at}{pointer([name])} is not a key that the schema knows" for name in extra[:PROBLEM_LIMIT]]
    if keyword in ("enum", "const"):
        return [f"{here} is not one of the values that the schema allows"]
    if isinstance(wanted, (int, float, str)) and not isinstance(wanted, bool):
        return [f"{here} does not satisfy {keyword} {escape(str(wanted), NAME_LIMIT)}"]
    if error.validator is None:
        return [f"{here} is not allowed by the schema"]
    return [f"{here} does not satisfy {keyword}"]


def _type_name(value: Any) -> str:  # noqa: ANN401 -- any JSON data
    names = {bool: "a boolean", str: "text", int: "an integer", float: "a number", list: "an array", dict: "a mapping"}
    return names.get(type(value), "null")


def _decode(data: Any, schemas: list[tuple[Any, Resolver[Any]]]) -> Any:  # noqa: ANN401 -- any JSON data
    applying = list(_applying(schemas))
    if isinstance(data, str):
        types = _admitted(applying)
        if types is None or "string" in types:
            return data
        data = _decode_text(data, types)
    if isinstance(data, dict):
        return {key: _decode(value, list(_for_key(applying, key))) for key, value in data.items()}
    if isinstance(data, list):
        return [_decode(value, list(_for_item(applying, index))) for index, value in enumerate(data)]
    return data


def _applying(schemas: list[tuple[Any, Resolver[Any]]]) -> Iterator[tuple[Mapping[str, Any], Resolver[Any]]]:
    """Yield the schemas and what they bring in by $ref and allOf: all must hold here (anyOf, oneOf and if need not)."""
    waiting, seen = list(schemas), set()
    while waiting:
        content, resolver = waiting.pop(0)
        if not isinstance(content, dict) or id(content) in seen:
            continue
        seen.add(id(content))
        yield content, resolver
        if isinstance(content.get("$ref"), str):
            found = resolver.lookup(content["$ref"])
            waiting.append((found.contents, found.resolver))
        waiting += [(below, resolver) for below in content.get("allOf", ())]


def _admitted(applying: list[tuple[Mapping[str, Any], Resolver[Any]]]) -> set[str] | None:
    """Return the types that all the schemas admit, None where none says."""
    admitted: set[str] | None = None
    for content, _ in applying:
        types = content.get("type")
        if types is not None:
            names = {types} if isinstance(types, str) else set(types)
            if "number" in names:
                names.add("integer")
            admitted = names if admitted is None else admitted & names
    return admitted


def _for_key(
    applying: list[tuple[Mapping[str, Any], Resolver[Any]]], key: str
) -> Iterator[tuple[Any, Resolver[Any]]]:
    for content, resolver in applying:
        matched = False
        if key in content.get("properties", ()):
            matched = True
            yield content["properties"][key], resolver
        for pattern, below in content.get("patternProperties", {}).items():
            if re.search(pattern, key):
                matched = True
                yield below, resolver
        if not matched and "additionalProperties" in content:
            yield content["additionalProperties"], resolver


def _for_item(
    applying: list[tuple[Mapping[str, Any], Resolver[Any]]], index: int
) -> Iterator[tuple[Any, Resolver[Any]]]:
    for content, resolver in applying:
        items = content.get("items")
        # Before 2020-12 a list under `items` was what `prefixItems` is now.
        prefix = content.get("prefixItems", items if isinstance(items, list) else [])
        if index < len(prefix):
            yield prefix[index], resolver
        elif isinstance(items, dict):
            yield items, resolver
        elif isinstance(items, list) and "additionalItems" in content:
            yield content["additionalItems"], resolver


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
    if isinstance(value, (int, float)) and ("number" in types or ("integer" in types and value == int(value))):
        return value
    return text
