"""Schemas: one JSON Schema for each interface, read from a file and checked.

Reading happens in the coordinator before it forks: children share what was built. Decoding and validating take a time that
depends on data, so only sources and the checker do them, with a limit on CPU time.
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING
from urllib.parse import quote

import jsonschema_specifications
import referencing
from referencing.jsonschema import EMPTY_REGISTRY

from disco.data import decoding, documents, formats, subschemas, survey, verdicts
from disco.data.formats import jsonschema
from disco.errors import ConfigurationError, Problem, raise_problems
from disco.named import NamedTuple
from disco.system.limits import Overrun, cpu_limit
from disco.text import NAME_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from jsonschema.protocols import Validator

    from disco.data.defaults import Defaults
    from disco.data.subschemas import Targets
    from disco.data.values import Json, NodePath

_DIALECTS = "$schema names a dialect that is not known here (drafts 4, 6, 7, 2019-09 and 2020-12 are)"
_IDLE = "this default is never used: it is not that of a key below properties, additionalProperties, items, allOf or $ref"
_IDLE_REMEDY = "move it there, or leave it for those who read the schema"
DEFAULTS_TIME = 5.0  # seconds of CPU time in which the defaults of a schema must be found and validated

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
    defaults: Defaults | None = None  # None if there is nothing to fill in
    idle_defaults: tuple[Problem, ...] = ()  # those that are never filled in

    def admits_mappings(self) -> bool:
        """Return False where `type` (or the schema `false`) excludes every mapping, and so every interface."""
        return decoding.admits_mappings(self.content, self.targets)

    def decode(self, data: Json) -> Json:
        """Return a store's data with each text replaced by the value that the schema says it is; see `decoding.decode`."""
        return decoding.decode(data, self.content, self.targets)

    def properties(self, path: Sequence[str]) -> frozenset[str]:
        """Return the names of the properties that the schema declares for the mapping at a path of keys."""
        return subschemas.find_properties(self.content, path, self.targets)

    def fill(self, data: Json, size: int) -> Json:
        """Return data with the schema's defaults for what it leaves out, the very same object for nothing; see `defaults.fill`."""
        return self.defaults.fill(data, size) if self.defaults and isinstance(data, dict) else data

    def problems(self, data: Json) -> tuple[str, ...]:
        """Return why data violates the schema, as `POINTER reason` without any value; empty if it is valid."""
        if not isinstance(data, dict):
            return ("the interface is not a mapping",)
        return _find_violations(self.validator, data, "the interface")


def read(path: Path, *, with_defaults: bool = True) -> Schema:
    """Read one schema; without its defaults they mean nothing.

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
    raise_problems(dict.fromkeys(Problem(document.at(*at), reason) for at, reason in survey.check(content, kind)))
    specification = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
    resource = specification.create_resource(content)
    try:
        registry = _REGISTRY.with_resource(resource.id() or "", resource).with_resource("", resource).crawl()
    except ValueError:  # of urllib
        raise ConfigurationError(Problem(document.at("$id"), "an $id in this file is no URI")) from None
    seen = survey.Survey(resource, registry.resolver_with_root(resource), kind)
    paths = _find_paths(content)
    raise_problems(Problem(document.at(*paths.get(id(at), ()), *keyword), reason) for at, keyword, reason in seen.problems)
    validator = kind(content, registry=registry, format_checker=kind.FORMAT_CHECKER)
    formats.load(seen.formats)
    warnings = [
        Problem(
            document.at(*paths.get(id(at), ()), keyword), f"{escape(keyword, NAME_LIMIT)} is not a keyword of JSON Schema", remedy
        )
        for at, keyword, remedy in seen.mistyped
    ]
    extra = "pip install 'disco-entrypoint[formats]' (it checks the usual formats), or remove this format"
    warnings += (
        Problem(str(path), f"format {escape(name, NAME_LIMIT)} is not checked: no installed package can", extra)
        for name in formats.unchecked(seen.formats, kind)
    )
    new = Schema(interface, content, str(path), validator, seen.targets, tuple(warnings))
    having = [at for at in seen.having_defaults if id(at) in paths]  # not those of a dialect's own schema
    return _find_defaults(new, having, document, paths) if with_defaults and having else new


def _find_defaults(schema: Schema, having: Iterable[Json], document: documents.Document, paths: Mapping[int, NodePath]) -> Schema:
    """Return the schema with its defaults; having: its subschemas that have one.

    Raises:
        ConfigurationError: a default is wrong.

    """
    from disco.data import defaults  # noqa: PLC0415 -- few schemas have some

    def explain(part: Json, data: Json) -> tuple[str, ...]:
        steps = (quote(str(step).replace("~", "~0").replace("/", "~1"), safe="") for step in paths[id(part)])
        reference = {"$ref": "#" + "".join(f"/{step}" for step in steps)}  # so the part's own references keep their base
        return _find_violations(schema.validator.evolve(schema=reference), data, "it")

    def where(part: Json) -> str:
        return document.at(*paths[id(part)], "default")

    local = {part: (target if id(target) in paths else None, alone) for part, (target, alone) in schema.targets.items()}
    finder = defaults.Finder(local, explain, where)
    before = signal.getsignal(signal.SIGVTALRM)
    try:
        with cpu_limit(DEFAULTS_TIME):
            place = finder.find([schema.content])
    except Overrun:
        what = "validating the defaults takes too long (a regular expression in the schema that explodes on one of them?)"
        raise ConfigurationError(Problem(schema.where, what)) from None
    finally:
        signal.signal(signal.SIGVTALRM, before)  # this process is to become COMMAND
    raise_problems(finder.problems)
    unused = (part for part in having if id(part) not in finder.used)
    in_order = sorted(unused, key=lambda part: document.places.get((*paths[id(part)], "default"), ()))
    idle = (Problem(where(part), _IDLE, _IDLE_REMEDY) for part in in_order)
    found = defaults.Defaults(place, where(place.origin)) if place else None
    return schema._replace(defaults=found, idle_defaults=tuple(idle))


def _find_violations(validator: Validator, data: Json, whole: str) -> tuple[str, ...]:
    """Return why data violates a schema; whole: what that calls the data as a whole."""
    problems: list[str] = []
    try:
        for error in validator.iter_errors(data):
            problems += (text for text in verdicts.explain(error, whole) if text not in problems)
            if len(problems) > verdicts.PROBLEMS_SHOWN:
                break
    except Overrun:
        raise
    except RecursionError:
        return ("the schema recurses too deep on this data, or for ever",)
    except Exception as error:  # noqa: BLE001 -- arithmetic and formats on hostile data: a verdict, not a crash
        return (f"the schema cannot be applied to this data ({type(error).__name__})",)
    return verdicts.bounded(problems)


def _find_dialect(name: Json) -> type[Validator] | None:
    """Return the validator of a dialect, from draft 4 on; None if there is none."""
    if not isinstance(name, str):
        return None
    try:
        kind = jsonschema.validators.validator_for({"$schema": name}, default=jsonschema.Draft3Validator)
    except ValueError:  # of urllib
        return None
    return None if kind is jsonschema.Draft3Validator else kind


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
