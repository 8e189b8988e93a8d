"""Schemas: one JSON Schema for each interface, read from a file and checked.

Reading happens in the coordinator before it forks: children share what was built. Decoding and validating take a time that
depends on data, so only sources and the checker do them, with a limit on CPU time.
"""

from __future__ import annotations

import re
import signal
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from disco.data import decoding, documents, plain, subschemas, verdicts
from disco.errors import ConfigurationError, Problem, raise_problems
from disco.system.limits import Overrun, cpu_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from jsonschema.protocols import Validator

    from disco.data.defaults import Defaults
    from disco.data.subschemas import Targets
    from disco.data.validation import Examined
    from disco.data.values import Json, NodePath

_IDLE = "this default is never used: it is not that of a key below properties, additionalProperties, items, allOf or $ref"
_IDLE_REMEDY = "move it there, or leave it for those who read the schema"
DEFAULTS_TIME = 5.0  # seconds of CPU time in which the defaults of a schema must be found and validated


class Schema:
    """The schema of one interface, and the file that it came from.

    content: the JSON Schema, a mapping or a boolean. warnings: about the schema itself. defaults: None if there is nothing to fill
    in. idle_defaults: those that are never filled in.
    """

    def __init__(self, interface: str, content: Json, where: str) -> None:
        """Take a schema of which nothing is known yet."""
        self.interface = interface
        self.content = content
        self.where = where
        self.targets: Targets = {}
        self.warnings: tuple[Problem, ...] = ()
        self.defaults: Defaults | None = None
        self.idle_defaults: tuple[Problem, ...] = ()
        self._validator: Validator | None = None

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

    def judge(self, data: Json) -> tuple[str, ...] | None:
        """Return why data violates the schema, as `problems` does, if that can be told without jsonschema; else None.

        A schema that only jsonschema understands has its validator from the start, and always gives a verdict.
        """
        return plain.judge(self.content, data, self.targets) if self._validator is None else self.problems(data)

    def problems(self, data: Json) -> tuple[str, ...]:
        """Return why data violates the schema, as `POINTER reason` without any value; empty if it is valid."""
        if not isinstance(data, dict):
            return (verdicts.NO_MAPPING,)
        return self._ask_library(data, verdicts.WHOLE)

    def load(self) -> None:
        """Import jsonschema and make the validator, where that was not done: it takes a time that does not depend on data."""
        if self._validator is None:
            self._validator = self._let_library_examine(lambda *_path: self.where).validator

    def examine(self, at: Callable[..., str]) -> list[Json]:
        """Find out what the schema is; return its subschemas that have a default. at: the place of a node's path, for people.

        Raises:
            ConfigurationError: it is no schema that disco can use.

        """
        if known := plain.examine(self.content):
            self.targets = known.targets
            return known.having_defaults
        examined = self._let_library_examine(at)
        self._validator, self.targets, self.warnings = examined.validator, examined.targets, examined.warnings
        return examined.having_defaults

    def find_violations(self, data: Json, whole: str, part: Json, steps: Iterable[str] = ()) -> tuple[str, ...]:
        """Return why data violates a part of the schema; steps: those to it, escaped as in a URI.

        whole: what the sentences call the data.
        """
        known = plain.find_violations(part, data, self.targets, whole) if self._validator is None else None
        return self._ask_library(data, whole, steps) if known is None else known

    def _ask_library(self, data: Json, whole: str, steps: Iterable[str] | None = None) -> tuple[str, ...]:
        from disco.data import validation  # noqa: PLC0415 -- takes a tenth of a second and 7 MB, which few starts need

        self.load()
        assert self._validator  # noqa: S101 -- what load means
        return validation.find_violations(self._validator, data, whole, steps)

    def _let_library_examine(self, at: Callable[..., str]) -> Examined:
        from disco.data import validation  # noqa: PLC0415 -- as above

        return validation.examine(self.content, self.where, at, partial(_find_paths, self.content))


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
    interface = content.get("name", path.stem) if isinstance(content, dict) else path.stem
    if not isinstance(interface, str) or not interface.isprintable() or not re.fullmatch(r"[^\s:,/]{1,255}", interface):
        what = "an interface's name is text without white space, ':', ',', '/', of at most 255 characters"
        raise ConfigurationError(Problem(document.at("name"), what))
    schema = Schema(interface, content, str(path))
    having_defaults = schema.examine(document.at)
    if with_defaults and having_defaults:
        _find_defaults(schema, having_defaults, document)
    return schema


def _find_defaults(schema: Schema, having: Iterable[Json], document: documents.Document) -> None:
    """Give a schema its defaults; having: its subschemas that have one.

    Raises:
        ConfigurationError: a default is wrong.

    """
    from disco.data import defaults  # noqa: PLC0415 -- few schemas have some

    paths = _find_paths(schema.content)
    having = [part for part in having if id(part) in paths]  # not those of a dialect's own schema

    def explain(part: Json, data: Json) -> tuple[str, ...]:
        steps = (quote(str(step).replace("~", "~0").replace("/", "~1"), safe="") for step in paths[id(part)])
        return schema.find_violations(data, "it", part, steps)

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
    in_order = sorted(unused, key=lambda part: document.find(*paths[id(part)], "default") or ())
    idle = (Problem(where(part), _IDLE, _IDLE_REMEDY) for part in in_order)
    schema.defaults = defaults.Defaults(place, where(place.origin)) if place else None
    schema.idle_defaults = tuple(idle)


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
