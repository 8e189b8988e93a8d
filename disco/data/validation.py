"""Validation by jsonschema: what it says of a schema, and why data violates one. Only this module, and what it imports, imports it.

That takes a tenth of a second and 7 MB: `schema` imports this module for what it cannot tell itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema_specifications
import referencing
from referencing.jsonschema import EMPTY_REGISTRY

from disco.data import formats, survey, verdicts
from disco.data.formats import jsonschema
from disco.errors import ConfigurationError, Problem, raise_problems
from disco.named import NamedTuple
from disco.system.limits import Overrun
from disco.text import NAME_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jsonschema.protocols import Validator

    from disco.data.subschemas import Targets
    from disco.data.values import Json, NodePath

_DIALECTS = "$schema names a dialect that is not known here (drafts 4, 6, 7, 2019-09 and 2020-12 are)"
_EXTRA = "pip install 'disco-entrypoint[formats]' (it checks the usual formats), or remove this format"
_TOO_DEEP = "the schema recurses too deep on this data, or for ever"

# Nothing is ever fetched: a reference leads into the schema itself, or to one of these.
_REGISTRY = jsonschema_specifications.REGISTRY.combine(EMPTY_REGISTRY)


class Examined(NamedTuple):
    """A schema that jsonschema can use: its validator, and what `schema` has to know of it."""

    validator: Validator
    targets: Targets
    having_defaults: list[Json]
    warnings: tuple[Problem, ...]


def examine(content: Json, where: str, at: Callable[..., str], find_paths: Callable[[], dict[int, NodePath]]) -> Examined:
    """Return what a schema is.

    where: its file. at: gives the place of a node's path, for people. find_paths: gives the path of each of its nodes, by id.

    Raises:
        ConfigurationError: it is no schema that disco can use.

    """
    is_dialect_named = isinstance(content, dict) and "$schema" in content
    kind = _find_dialect(content["$schema"]) if is_dialect_named else jsonschema.Draft202012Validator
    if kind is None:
        raise ConfigurationError(Problem(at("$schema"), _DIALECTS, "name one of these, or none"))
    # The vocabularies of a dialect repeat each other's problems.
    raise_problems(dict.fromkeys(Problem(at(*path), reason) for path, reason in survey.check(content, kind)))
    specification = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
    resource = specification.create_resource(content)
    try:
        registry = _REGISTRY.with_resource(resource.id() or "", resource).with_resource("", resource).crawl()
    except ValueError:  # of urllib
        raise ConfigurationError(Problem(at("$id"), "an $id in this file is no URI")) from None
    seen = survey.Survey(resource, registry.resolver_with_root(resource), kind)
    paths = find_paths() if seen.problems or seen.mistyped else {}
    raise_problems(Problem(at(*paths.get(id(part), ()), *keyword), reason) for part, keyword, reason in seen.problems)
    formats.load(seen.formats)
    warnings = [
        Problem(at(*paths.get(id(part), ()), keyword), f"{escape(keyword, NAME_LIMIT)} is not a keyword of JSON Schema", remedy)
        for part, keyword, remedy in seen.mistyped
    ]
    warnings += (
        Problem(where, f"format {escape(name, NAME_LIMIT)} is not checked: no installed package can", _EXTRA)
        for name in formats.unchecked(seen.formats, kind)
    )
    validator = kind(content, registry=registry, format_checker=kind.FORMAT_CHECKER)
    return Examined(validator, seen.targets, seen.having_defaults, tuple(warnings))


def find_violations(validator: Validator, data: Json, whole: str, part: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return why data violates a schema, as `POINTER reason` without any value; empty if it is valid.

    whole: what that calls the data as a whole. part: the steps to the part of the schema that is meant, escaped as in a URI.
    """
    if part is not None:  # by a reference, so the part's own references keep their base
        validator = validator.evolve(schema={"$ref": "#" + "".join(f"/{step}" for step in part)})
    try:
        return verdicts.collect(verdicts.explain(error, whole) for error in validator.iter_errors(data))
    except Overrun:
        raise
    except RecursionError:
        return (_TOO_DEEP,)
    except Exception as error:  # noqa: BLE001 -- arithmetic and formats on hostile data: a verdict, not a crash
        return (f"the schema cannot be applied to this data ({type(error).__name__})",)
    except BaseException as error:
        # Rust code that meets Python's limit of calls panics, with an exception that nobody can import.
        if type(error).__name__ == "PanicException":
            return (_TOO_DEEP,)
        raise


def _find_dialect(name: Json) -> type[Validator] | None:
    """Return the validator of a dialect, from draft 4 on; None if there is none."""
    if not isinstance(name, str):
        return None
    try:
        kind = jsonschema.validators.validator_for({"$schema": name}, default=jsonschema.Draft3Validator)
    except ValueError:  # of urllib
        return None
    return None if kind is jsonschema.Draft3Validator else kind
