"""Schemas: one JSON Schema for each interface, read from a file and checked.

Reading happens in the coordinator before it forks: children share what was built. Decoding and validating take a time that
depends on data, so only sources and the checker do them, with a limit on CPU time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import jsonschema_specifications
import referencing
import referencing.exceptions
from referencing.jsonschema import EMPTY_REGISTRY

from disco.data import decoding, documents, formats, verdicts
from disco.data.formats import jsonschema
from disco.errors import ConfigurationError, Problem, raise_problems
from disco.named import NamedTuple
from disco.system.limits import Overrun
from disco.text import NAME_LIMIT, PATH_LIMIT, PROBLEM_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from jsonschema.protocols import Validator
    from referencing._core import Resolver

    from disco.data.decoding import Targets
    from disco.data.values import Json, NodePath

_TYPES = "'type' takes string, integer, number, boolean, array, object or null, or a list of these"
_DIALECTS = "$schema names a dialect that is not known here (drafts 4, 6, 7, 2019-09 and 2020-12 are)"
# Keywords that assert nothing, or that belong to another (`then`), and disco's own `name`.
_ANNOTATIONS = (
    *("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$comment", "$defs", "definitions"),
    *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "then", "else", "name"),
    *("contentEncoding", "contentMediaType", "contentSchema", "minContains", "maxContains", "additionalItems"),
)
_NEAR = 0.8  # how similar (0 to 1) an unknown keyword is to a known one, to be called mistyped
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# The dialects that ignore all keywords beside a $ref.
_ALONE = (jsonschema.Draft4Validator, jsonschema.Draft6Validator, jsonschema.Draft7Validator)

# Nothing is ever fetched: a reference leads into the schema itself, or to one of these.
_REGISTRY = jsonschema_specifications.REGISTRY.combine(EMPTY_REGISTRY)


class Schema(NamedTuple):
    """The schema of one interface, and the file that it came from."""

    interface: str
    content: Json  # the JSON Schema: a mapping or a boolean
    where: str
    validator: Validator
    targets: Targets
    warnings: tuple[Problem, ...] = ()  # about the schema itself

    def admits_mappings(self) -> bool:
        """Return False where `type` (or the schema `false`) excludes every mapping, and so every interface."""
        return decoding.admits_mappings(self.content, self.targets)

    def decode(self, data: Json) -> Json:
        """Return a store's data with each text replaced by the value that the schema says it is; see `decoding.decode`."""
        return decoding.decode(data, self.content, self.targets)

    def properties(self, path: Sequence[str]) -> frozenset[str]:
        """Return the names of the properties that the schema declares for the mapping at a path of keys."""
        return decoding.find_properties(self.content, path, self.targets)

    def problems(self, data: Json) -> tuple[str, ...]:
        """Return why data violates the schema, as `POINTER reason` without any value; empty if it is valid."""
        if not isinstance(data, dict):
            return ("the interface is not a mapping",)
        problems: list[str] = []
        try:
            for error in self.validator.iter_errors(data):
                problems += (text for text in verdicts.explain(error) if text not in problems)
                if len(problems) > verdicts.PROBLEMS_SHOWN:
                    break
        except Overrun:
            raise
        except RecursionError:
            return ("the schema recurses too deep on this data, or for ever",)
        except Exception as error:  # noqa: BLE001 -- arithmetic and formats on hostile data: a verdict, not a crash
            return (f"the schema cannot be applied to this data ({type(error).__name__})",)
        return verdicts.bounded(problems)


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
    # The vocabularies of a dialect repeat each other's problems.
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
    formats.load(survey.formats)
    warnings = [
        Problem(
            document.at(*paths.get(id(at), ()), keyword), f"{escape(keyword, NAME_LIMIT)} is not a keyword of JSON Schema", remedy
        )
        for at, keyword, remedy in survey.mistyped
    ]
    extra = "pip install 'disco-entrypoint[formats]' (it checks the usual formats), or remove this format"
    warnings += (
        Problem(str(path), f"format {escape(name, NAME_LIMIT)} is not checked: no installed package can", extra)
        for name in formats.unchecked(survey.formats, kind)
    )
    return Schema(interface, content, str(path), validator, survey.targets, tuple(warnings))


def _find_dialect(name: Json) -> type[Validator] | None:
    """Return the validator of a dialect, from draft 4 on; None if there is none."""
    if not isinstance(name, str):
        return None
    try:
        kind = jsonschema.validators.validator_for({"$schema": name}, default=jsonschema.Draft3Validator)
    except ValueError:  # of urllib
        return None
    return None if kind is jsonschema.Draft3Validator else kind


def _check(content: Json, kind: type[Validator]) -> Iterator[tuple[Iterable[str | int], str]]:
    """Yield path and reason of each violation of the dialect."""
    try:
        for error in kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER).iter_errors(content):
            path = error.absolute_path
            is_type = error.validator == "anyOf" and path and path[-1] == "type"
            yield path, _TYPES if is_type else escape(error.message, PROBLEM_LIMIT)
    except RecursionError:
        yield (), "the schema is too deep"
    except OverflowError:  # of re
        yield (), "a regular expression in the schema is too large"


def _find_paths(content: Json) -> dict[int, NodePath]:
    """Return the path to each mapping and list in a document, by its id."""
    paths: dict[int, NodePath] = {}
    waiting: list[tuple[NodePath, Json]] = [((), content)]
    while waiting:
        at, node = waiting.pop()
        if isinstance(node, (dict, list)) and id(node) not in paths:
            paths[id(node)] = at
            below = node.items() if isinstance(node, dict) else enumerate(node)
            waiting += [((*at, key), value) for key, value in below]
    return paths


class _Survey:
    """A walk over a schema, its subschemas and what they refer to: targets of references, names of formats, problems."""

    def __init__(self, root: referencing.Resource[Json], resolver: Resolver[Json], kind: type[Validator]) -> None:
        self.problems: list[tuple[Json, tuple[str, ...], str]] = []  # the mapping, its keyword if the problem has one, the reason
        self.targets: dict[int, tuple[Json, bool]] = {}
        self.formats: set[str] = set()
        self.mistyped: list[tuple[Json, str, str]] = []  # the mapping, the unknown keyword, and the remedy
        self._kind = kind
        self._keywords = {*kind.VALIDATORS, *_ANNOTATIONS}
        self._seen: set[int] = set()
        self._referred: list[tuple[dict[str, Json], str, Json, Resolver[Json]]] = []
        self._walk(root, resolver)
        while self._referred:
            content, keyword, target, at = self._referred.pop()
            if id(target) in self._seen:
                continue
            # What an unknown keyword holds was not checked: it is a schema only if something refers to it.
            for _, reason in _check(target, kind):
                self.problems.append((content, (keyword,), f"what {keyword} leads to is no schema: {reason}"))
                break
            else:
                default = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
                self._walk(referencing.Resource.from_contents(target, default), at)

    def _walk(self, root: referencing.Resource[Json], resolver: Resolver[Json]) -> None:
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
                if remedy := nearest(keyword, self._keywords, "", _NEAR):
                    self.mistyped.append((content, keyword, remedy))
            for name, below in content.get("properties", {}).items():
                if below is False:  # for `false` the library does not say which key is wrong
                    content["properties"][name] = {"not": {}}

    def _follow(self, content: dict[str, Json], keyword: str, resolver: Resolver[Json]) -> None:
        reference = content[keyword]
        try:
            target = resolver.lookup(reference)
        except (referencing.exceptions.Unresolvable, ValueError):  # ValueError: a name where a list has an index
            reason = "is not in this file; references to the network or to files are never followed"
            self.problems.append((content, (keyword,), f"{keyword} {escape(reference, PATH_LIMIT)} {reason}"))
            return
        if keyword == "$ref":
            self.targets[id(content)] = (target.contents, self._kind in _ALONE)
        self._referred.append((content, keyword, target.contents, target.resolver))

    def _compile(self, content: dict[str, Json]) -> None:
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
