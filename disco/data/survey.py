"""The survey of a schema: what it refers to, which formats and defaults it has, what is wrong or mistyped in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import referencing
import referencing.exceptions

from disco.data import subschemas
from disco.data.formats import jsonschema
from disco.text import PATH_LIMIT, PROBLEM_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema.protocols import Validator
    from referencing._core import Resolver

    from disco.data.values import Json

_TYPES = "'type' takes string, integer, number, boolean, array, object or null, or a list of these"
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


def check(content: Json, kind: type[Validator]) -> Iterator[tuple[Iterable[str | int], str]]:
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


class Survey:
    """A walk over a schema, its subschemas and what they refer to: targets of references, names of formats, problems."""

    def __init__(self, root: referencing.Resource[Json], resolver: Resolver[Json], kind: type[Validator]) -> None:
        """Walk. root, resolver: the schema, and what finds that to which it refers."""
        self.problems: list[tuple[Json, tuple[str, ...], str]] = []  # the mapping, its keyword if the problem has one, the reason
        self.targets: dict[int, tuple[Json, bool]] = {}
        self.having_defaults: list[Json] = []
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
            for _, reason in check(target, kind):
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
            if "default" in content:
                self.having_defaults.append(content)
            self._compile(content)
            for keyword in sorted(content.keys() - self._keywords):
                if remedy := nearest(keyword, self._keywords, "", _NEAR):
                    self.mistyped.append((content, keyword, remedy))
            subschemas.replace_false(content)

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
