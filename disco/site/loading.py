"""Load a site: everything that people write, and every problem with it, before anything is started.

Reads files only and touches no backend. It needs neither psutil nor the coordinator, so that an image's build can afford it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from disco.errors import ConfigurationError, Problem
from disco.named import NamedTuple
from disco.site import config, rules, schemas
from disco.site.handlers import Handlers
from disco.site.schemas import Schemas
from disco.sources import registry
from disco.text import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from disco.data.schema import Schema
    from disco.site.config import Settings, SourceSettings
    from disco.site.rules import Rule


class SourceProcess(NamedTuple):
    """A process that a configured source needs.

    name: of the process. part: the one interface that it is for; empty if it is for all. place: where it reads, for people.
    interfaces: those that it may provide, of the ones that have a schema. is_declared: the option `interfaces` says so.
    step_limit: how long (seconds) one step of its generator may take.
    """

    name: str
    settings: SourceSettings
    part: str
    place: str
    interfaces: frozenset[str]
    is_declared: bool
    step_limit: float


class Site(NamedTuple):
    """All that people write, loaded and frozen.

    file: that of -c. processes: those of all sources, in the order of precedence. programs: what is run for each handler
    that is named without a `/`. is_whole: every schema and every rule could be loaded. errors: what a start refuses.
    """

    file: Path | None
    settings: Settings
    schemas: Mapping[str, Schema]
    rules: tuple[Rule, ...]
    processes: tuple[SourceProcess, ...]
    programs: Mapping[str, str]
    is_whole: bool
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    def named_interfaces(self) -> tuple[str, ...]:
        """Return the interfaces that rules name, in their order."""
        return tuple(dict.fromkeys(interface for rule in self.rules for interface in rule.interfaces))


def load(file: Path | None, environ: Mapping[str, str]) -> Site:
    """Load the site that an environment (DISCO_CFG, PATH and what sources declare) and the file of -c configure."""
    settings, problems = config.load(environ.get("DISCO_CFG", ""), file, environ)
    content = _Content(settings, environ.get("PATH", os.defpath))
    faults: list[Problem] = []
    processes = tuple(_find_processes(settings, frozenset(content.schemas.by_interface), faults))
    if not problems:  # else a plug-in was asked about options that are wrong
        problems += faults
    problems += content.errors
    if not content.errors and not content.rules and settings.rules == "required":
        what = f"no rules in {', '.join(map(str, settings.path))}, so nothing would configure COMMAND"
        remedy = "put a *.rules file there, correct disco.path, or let COMMAND start all the same: disco.rules=optional"
        problems.append(Problem("disco.path", what, remedy))
    problems += _check_exports(content.rules)
    if any(rule.interfaces for rule in content.rules) and not settings.sources and not problems:
        what = "there are rules that need data, but no source to read from"
        problems.append(Problem("DISCO_CFG", what, "name one, such as flat.file=FILE"))
    return Site(
        file=file,
        settings=settings,
        schemas=content.schemas.by_interface,
        rules=content.rules,
        processes=processes,
        programs=content.programs,
        is_whole=not content.errors,
        errors=tuple(problems),
        warnings=content.schemas.warnings,
    )


def _check_exports(content: Iterable[Rule]) -> Iterator[Problem]:
    """Yield the rules that export variables where handlers could not open the file for them."""
    for rule in content:
        if rule.export and not os.path.isdir("/proc/self/fd"):  # noqa: PTH112 -- asked again for each rule, and few have it
            yield Problem(rule.where, "'export' needs /proc, which is not there", "mount it, or remove 'export'")


class _Content:
    """What lies in disco.path, and all that is wrong with it."""

    def __init__(self, settings: Settings, path: str) -> None:
        """Load schemas and rules; path: PATH, for handlers."""
        directories = settings.path
        self.schemas = Schemas({}, frozenset())
        self.rules: tuple[Rule, ...] = ()
        self.programs: Mapping[str, str] = {}
        self.errors: list[Problem] = []
        try:
            handlers = Handlers(directories, path)
            self.programs = handlers.programs
            self.schemas = schemas.load(directories, with_defaults=settings.defaults)
            self.errors += self.schemas.errors
            self.rules = rules.load(directories, self.schemas.names, handlers.find)
        except ConfigurationError as error:
            self.errors += error.problems
        except OSError as error:
            where = error.filename or "the working directory"
            remedy = "it must name the directories of schemas, rules and handlers"
            self.errors.append(Problem("disco.path", f"{where}: {error.strerror}", remedy))


def _find_processes(settings: Settings, known: frozenset[str], faults: list[Problem]) -> Iterator[SourceProcess]:
    """Yield the processes of all sources; faults: gets what is wrong with a plug-in's own code."""
    for configured in settings.sources:
        source, options = configured.source, configured.options
        try:
            source.remarks(options)
            for part in source.parts(options):
                yield SourceProcess(
                    name=f"{configured.name}/{part}" if part else configured.name,
                    settings=configured,
                    part=part,
                    place=redact(source.place(options, part)),
                    interfaces=registry.provided(source, options, part, known),
                    is_declared=options["interfaces"] is not None,
                    step_limit=source.step_limit(options, settings.interval),
                )
        except ConfigurationError as error:
            faults += error.problems
