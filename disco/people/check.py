"""Look at a site without starting anything: what start-up refuses, what is doubtful, and how it all hangs together.

Reads files only and touches no backend; it needs neither psutil nor the coordinator, so that an image's build can afford
it. What it tells holds no secret and no argument of a handler or of COMMAND, which may be one.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from disco import sources
from disco.data import documents
from disco.errors import ConfigurationError, Problem
from disco.site import config as configuration
from disco.site import rules
from disco.system import process
from disco.text import LINE_LIMIT, NAME_LIMIT, escape, nearest, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from disco.data.schema import Schema
    from disco.site.config import Settings, SourceSettings
    from disco.site.rules import Rule

NAMES_LIMIT = 5  # interfaces told by name in one line
SCRIPT_LIMIT = 256  # bytes of a #! line that the kernel looks at
CORRECT = "install it, or correct the line"
# Like a rules or schema file's name, which it is not.
_LOOKS_LIKE = r"(?i:(?:.*[._-])?(?:(rule)s?|(schema)s?)(?:\.(?:ya?ml|json|txt))?)"

# Markdown and Mermaid's own syntax must not be seen in a label. Mermaid also drops a `;` from lines that seem to hold one of
# its words `style` and `classDef`, so these lose a letter to an entity too.
_MARKUP = r"[^\w ./:,()-]|(?<![^\W_])_|_(?![^\W_])|^[-+]|[.)](?= )|(?<=sty)l(?=e)|(?<=class)D(?=ef)|(?<=/)/"


class Site(NamedTuple):
    """What was found at start-up's look at all files.

    is_whole: every schema and rule could be loaded. errors: what start-up refuses. programs: what is run for each handler
    that is named without a `/`. config: the file of -c.
    """

    settings: Settings
    schemas: dict[str, Schema]
    rules: tuple[Rule, ...]
    is_whole: bool
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    programs: Mapping[str, str]
    config: Path | None = None


def look(config: Path | None) -> Site:
    """Load everything that can be wrong before anything is started, and all the problems with it."""
    settings, errors = configuration.load(os.environ.get("DISCO_CFG", ""), config, os.environ)
    schemas: dict[str, Schema] = {}
    found: tuple[Rule, ...] = ()
    warnings: list[Problem] = []
    programs: dict[str, str] = {}
    own = len(errors)
    if not errors:
        for one in settings.sources:
            errors += _find_faults(one)

    def find_program(name: str, folder: Path) -> str | Problem:
        program = find_handler(name, search, folder)
        if isinstance(program, str) and "/" not in name:
            programs[name] = program
        return program

    try:
        # An empty entry of PATH stands for the working directory, which nobody means.
        entries = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
        search = os.pathsep.join([*map(os.path.abspath, settings.path), *entries])
        try:
            if documents.list_files(settings.path, documents.SCHEMA_SUFFIX):
                from disco.data import schema  # noqa: PLC0415 -- a tenth of a second

                schemas, warnings = schema.load(settings.path)
            interfaces: Collection[str] = schemas
        except ConfigurationError as error:
            errors += error.problems
            interfaces = schema.names(settings.path)
        try:
            found = rules.load(settings.path, interfaces, find_program)
        except ConfigurationError as error:
            errors += error.problems
    except OSError as error:
        where = error.filename or "the working directory"
        remedy = "it must name the directories of schemas, rules and handlers"
        errors.append(Problem("disco.path", f"{where}: {error.strerror}", remedy))
    is_whole = len(errors) == own
    if is_whole and not found and settings.rules == "required":
        what = f"no rules in {', '.join(map(str, settings.path))}, so nothing would configure COMMAND"
        remedy = "put a *.rules file there, correct disco.path, or let COMMAND start all the same: disco.rules=optional"
        errors.append(Problem("disco.path", what, remedy))
    if any(rule.interfaces for rule in found) and not settings.sources and not errors:
        what = "there are rules, but no source to read from"
        errors.append(Problem("DISCO_CFG", what, "name one, such as flat.file=FILE"))
    return Site(
        settings=settings,
        schemas=schemas,
        rules=found,
        is_whole=is_whole,
        errors=tuple(errors),
        warnings=tuple(warnings),
        programs=programs,
        config=config,
    )


def find_handler(name: str, search: str, folder: Path) -> str | Problem:
    """Return what is run for a handler's name, or why nothing can be: looked up in `search`, with a `/` from the folder."""
    shown = escape(name, NAME_LIMIT)
    program = process.find_program(name, search, folder)
    if program:
        broken = _explain_script(program)
        return broken._replace(message=f"handler {shown}: {program}: {broken.message}") if broken else program
    places = [folder] if "/" in name else [Path(place) for place in search.split(os.pathsep) if place]
    for file in (place / name for place in places):
        if file.is_file():
            return Problem("", f"handler {shown}: {file} is not executable", f"chmod +x {file}")
    looked = "from this file's directory" if "/" in name else "in disco.path, then PATH"
    remedy = "correct the path" if "/" in name else "put it into a directory of disco.path or of PATH"
    return Problem("", f"handler {shown} is not there (looked for {looked})", remedy)


def _explain_script(program: str) -> Problem | None:
    """Return why the kernel would not execute a script; None if it would, or if that is no script."""
    try:
        descriptor = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 -- a descriptor
            head = file.read(SCRIPT_LIMIT)
    except OSError:  # a program may be executable and not readable
        return None
    if not head.startswith(b"#!"):
        if b"\0" in head or head.startswith(b"\x7fELF"):
            return None
        return Problem("", "a script without a #! line", "begin it with one, such as #!/bin/sh")
    line, _, _ = head[2:].partition(b"\n")
    if line.endswith(b"\r"):
        return Problem("", "its #! line ends with a carriage return (Windows' line ends)", "save it with Unix line ends")
    interpreter, *arguments = os.fsdecode(line).split() or [""]
    if not (os.path.isfile(interpreter) and os.access(interpreter, os.X_OK)):  # noqa: PTH113 -- as above
        return Problem(
            "", f"{escape(interpreter, NAME_LIMIT) or 'nothing'}, the interpreter of its #! line, is no program here", CORRECT
        )
    if os.path.basename(interpreter) == "env":  # noqa: PTH119 -- as above
        wanted = next((word for word in arguments if not word.startswith("-") and "=" not in word), "")
        if wanted and process.find_program(wanted, os.environ.get("PATH", os.defpath)) is None:
            return Problem("", f"{escape(wanted, NAME_LIMIT)}, the interpreter of its #! line, is not in PATH", CORRECT)
    return None


def _find_faults(settings: SourceSettings) -> tuple[Problem, ...]:
    """Return what is wrong with a plug-in's own code, as far as it is asked before the start."""
    declared = settings.source
    try:
        declared.remarks(settings.options)
        for part in declared.parts(settings.options):
            declared.place(settings.options, part)
    except ConfigurationError as error:
        return error.problems
    return ()


def find_problems(site: Site, command: Sequence[str]) -> tuple[list[Problem], list[Problem]]:
    """Return the errors, which start-up refuses, and the warnings."""
    errors = list(site.errors)
    warnings = list(site.warnings)
    if site.is_whole:
        warnings += [*_find_silent(site), *_find_unused(site), *_find_twins(site), *_find_shadowed(site)]
        warnings += [*_find_misnamed(site), *_find_unclear(site)]
    warnings += _find_open_files(site)
    if site.settings.report_file:
        warnings += _find_open_report(site.settings.report_file)
    for one in site.settings.sources:
        warnings += _find_open_secrets(one)
        doubts = one.source.doubts(one.options) if not errors else ()
        warnings += [doubt._replace(place=f"{one.name}.{doubt.place}") for doubt in doubts]
    if command and process.find_program(command[0], os.environ.get("PATH", os.defpath)) is None:
        what = f"{command[0]} is not there or not executable"
        warnings.append(Problem("COMMAND", what, "install it, unless a handler does that"))
    return errors, warnings


def as_text(errors: Iterable[Problem], warnings: Iterable[Problem]) -> str:
    """Return one line for each problem, and one that counts them."""
    lines = []
    counts = []
    for severity, problems in (("error", tuple(errors)), ("warning", tuple(warnings))):
        lines += [escape(f"{severity}: {one}", LINE_LIMIT) for one in problems]
        counts.append(plural(len(problems), severity))
    return "\n".join([*lines, f"disco --check: {', '.join(counts)}", ""])


def as_json(errors: Iterable[Problem], warnings: Iterable[Problem]) -> str:
    """Return the problems as one JSON object on one line."""
    return json.dumps({"errors": [one._asdict() for one in errors], "warnings": [one._asdict() for one in warnings]}) + "\n"


def draw(site: Site, command: Sequence[str]) -> str:
    """Return a Mermaid flowchart of a site without errors: sources, interfaces, rules, handlers, COMMAND."""
    named = dict.fromkeys(interface for rule in site.rules for interface in rule.interfaces)
    givers = [giver for one in site.settings.sources for giver in _find_givers(one, site.schemas)]
    interfaces = {name: f"i{n}" for n, name in enumerate(dict.fromkeys([*named, *(giver.part for giver in givers if giver.part)]))}
    handlers = {name: f"h{n}" for n, name in enumerate(dict.fromkeys(rule.argv[0] for rule in site.rules))}
    ids = {rule.name: f"r{n}" for n, rule in enumerate(site.rules)}
    names = [os.path.basename(program) for program in handlers]  # noqa: PTH119 -- a program as it is executed
    lines = [f's{n}[("{_label(giver.label)}")]' for n, giver in enumerate(givers)]
    # In a box of their own, so that a source that may give any of them needs one arrow.
    lines += ["subgraph interfaces", *(f'{node}(["{_label(name)}"])' for name, node in interfaces.items()), "end"]
    lines += [f'{ids[rule.name]}["{_label(rule.name)}"]' for rule in site.rules]
    for (program, node), name in zip(handlers.items(), names, strict=True):
        lines.append(f'{node}[["{_label(name if names.count(name) == 1 else program)}"]]')
    lines.append(f'command{{{{"{_label(command[0] if command else "COMMAND")}"}}}}')
    for n, giver in enumerate(givers):
        if giver.is_told or giver.part:
            given = giver.provides if giver.is_told else {giver.part}
            lines += [f"s{n} --> {node}" for name, node in interfaces.items() if name in given]
        else:
            lines.append(f"s{n} --> interfaces")
    for rule in site.rules:
        arrow = "-- any -->" if rule.any else "-->"
        lines += [f"{interfaces[name]} {arrow} {ids[rule.name]}" for name in rule.interfaces]
        lines += [f"{ids[name]} -. after .-> {ids[rule.name]}" for name in rule.after]
        lines.append(f"{ids[rule.name]} --> {handlers[rule.argv[0]]}")
    lines += [f"{node} --> command" for node in handlers.values()]
    return "".join(f"{line}\n" for line in ["flowchart LR", *(f"    {line}" for line in lines)])


def _find_silent(site: Site) -> Iterator[Problem]:
    """Yield the rules that can never fire: with one of them COMMAND is never executed."""
    hopeless = {name for name, one in site.schemas.items() if not one.admits_mappings()}
    silent: dict[str, Problem] = {}
    for rule in site.rules:
        wrong = [name for name in rule.interfaces if name in hopeless]
        if wrong and (not rule.any or len(wrong) == len(rule.interfaces)):
            what = f"rule {rule.name} can never fire: the schema of {wrong[0]} admits no mapping, which every interface is"
            silent[rule.name] = Problem(rule.where, what, f"correct {site.schemas[wrong[0]].where}")
    grown = True
    while grown:
        grown = False
        for rule in site.rules:
            first = next((name for name in rule.after if name in silent), "")
            if first and rule.name not in silent:
                what = f"rule {rule.name} can never fire: it comes after {first}, which cannot"
                silent[rule.name] = Problem(rule.where, what, "correct that one")
                grown = True
    yield from silent.values()


def _find_unused(site: Site) -> Iterator[Problem]:
    """Yield what no rule needs: schemas, services, sources."""
    named = {interface for rule in site.rules for interface in rule.interfaces}
    if not site.rules:
        where = ", ".join(map(str, site.settings.path))
        yield Problem("disco.rules", f"no rules in {where}: COMMAND is executed at once", "put a *.rules file there")
    for name, one in site.schemas.items():
        if name not in named:
            yield Problem(one.where, f"no rule names interface {name}", "name it in a rule's 'when', or remove the schema")
    for source in site.settings.sources:
        if not site.rules:
            yield Problem(source.name, "nothing needs this source: there are no rules", "write a rule, or remove the source")
            continue
        for giver in _find_givers(source, site.schemas):
            if giver.part and giver.part not in named:
                why = "no rule names it" if giver.part in site.schemas else "it has no schema"
                what = f"nothing needs the service's interface {giver.part}: {why}"
                yield Problem(f"{source.name}.services", what, "name it in a rule, or take it out")
            elif giver.part and not giver.provides:
                what = f"the service's interface {giver.part} is not taken: {source.name}.interfaces does not name it"
                yield Problem(f"{source.name}.services", what, f"add it to {source.name}.interfaces, or take it out")


def _find_unclear(site: Site) -> Iterator[Problem]:
    """Yield where sources do not say what they provide, although it matters, or say what cannot be."""
    named = sorted({interface for rule in site.rules for interface in rule.interfaces})
    givers = {one.name: tuple(_find_givers(one, site.schemas)) for one in site.settings.sources}
    shared: dict[tuple[str, ...], list[str]] = {}  # by the sources that may provide them
    for interface in named:
        providers = tuple(name for name, parts in givers.items() if any(interface in giver.provides for giver in parts))
        shared.setdefault(providers, []).append(interface)
    for providers, interfaces in shared.items():
        silent = [name for name in providers if not all(giver.is_told for giver in givers[name])]
        if len(providers) > 1 and silent:
            shown = ", ".join(interfaces[:NAMES_LIMIT]) + (", …" if len(interfaces) > NAMES_LIMIT else "")
            what = f"{', '.join(providers)} may all provide {shown}: rules run on what is there, and do not wait for this source"
            yield Problem(f"{silent[0]}.interfaces", what, f"say what each provides: set {_join(silent, '.interfaces')}")
    for one in site.settings.sources:
        for pattern in one.options["interfaces"] or ():
            place = f"{one.name}.interfaces"
            if pattern == "*" and len(givers) > 1:
                what = f"with * every rule waits until {one.name} has answered"
                yield Problem(place, what, "name what it provides, if that is not everything")
            elif not sources.provided({"interfaces": (pattern,)}, "", site.schemas):
                what = f"{pattern} is the name of no interface that has a schema"
                yield Problem(place, what, nearest(pattern, site.schemas, "write its schema, or take it out"))


def _find_twins(site: Site) -> Iterator[Problem]:
    """Yield schemas and rules files with the name of an earlier one: unlike handlers they do not replace each other."""
    seen: dict[str, Path] = {}
    for path in documents.list_files(site.settings.path, documents.SCHEMA_SUFFIX, rules.SUFFIX):
        first = seen.setdefault(path.name, path)
        if first is not path:
            what = f"has the name of {first}, and both count: neither replaces the other"
            yield Problem(str(path), what, "rename one if that is meant, else remove it")


def _find_shadowed(site: Site) -> Iterator[Problem]:
    """Yield files in disco.path that are not run although they have a handler's name."""
    for name, program in site.programs.items():
        for directory in dict.fromkeys(map(os.path.abspath, site.settings.path)):
            file = Path(directory, name)
            if not file.is_file() or file.samefile(program):
                continue
            if os.access(file, os.X_OK):
                what = f"is never run: {program} comes first"
                yield Problem(str(file), what, "rename one of the two, or remove it")
            else:
                yield Problem(str(file), f"is not executable, so handler {name} is {program}", f"chmod +x {file}, or remove it")


def _find_open_files(site: Site) -> Iterator[Problem]:
    """Yield what others may write to, and so decide what disco does."""
    handlers = {Path(rule.argv[0]): rule.where for rule in site.rules}
    files = {**dict.fromkeys(site.settings.path, "disco.path"), **handlers}
    if site.config:
        files[site.config] = "-c"
    for file, where in files.items():
        try:
            mode = file.stat().st_mode
        except OSError:  # told elsewhere
            continue
        if mode & stat.S_IWOTH:
            yield Problem(where, f"others may write to {file}, and so decide what disco does", f"chmod o-w {file}")


def _find_open_report(file: Path) -> Iterator[Problem]:
    """Yield that others may write to the folder of the report's file."""
    try:
        mode = file.parent.stat().st_mode
    except OSError:  # it may well come with the container
        return
    if mode & stat.S_IWOTH:
        what = f"others may write to {file.parent}, and put anything in the file's place"
        yield Problem("disco.report_file", what, f"name a file in a folder of disco's own, or chmod o-w {file.parent}")


def _find_misnamed(site: Site) -> Iterator[Problem]:
    """Yield files that are not read because of their names, although they look like rules or schemas."""
    for directory in site.settings.path:
        for file in sorted(directory.iterdir()):
            looks = re.fullmatch(_LOOKS_LIKE, file.name)
            if (
                looks
                and file.suffix not in {documents.SCHEMA_SUFFIX, rules.SUFFIX}
                and file.is_file()
                and not os.access(file, os.X_OK)
            ):
                suffix = rules.SUFFIX if looks[1] else documents.SCHEMA_SUFFIX
                yield Problem(str(file), f"is not read: only files named *{suffix} are", "rename it, or move it away")


def _find_open_secrets(settings: SourceSettings) -> Iterator[Problem]:
    """Yield the secrets that are in the configuration, or in files that everybody may read."""
    for option in settings.source.options:
        key = f"{settings.name}.{option.name}"
        if option.secret and option.name in settings.options.explicit:
            what = "the secret itself is in the configuration, and shows wherever that does"
            yield Problem(key, what, f"keep it in a file: {key}_file=FILE")
    for name, file in settings.options.secret_files.items():
        try:
            mode = file.stat().st_mode
        except OSError:  # it may well come with the container
            continue
        if mode & stat.S_IROTH:
            yield Problem(f"{settings.name}.{name}_file", f"every user may read {file}", f"chmod o-r {file}")


class Giver(NamedTuple):
    """A process of a source: its label, its part, what it may provide, and whether `interfaces` tells that."""

    label: str
    part: str
    provides: frozenset[str]
    is_told: bool


def _find_givers(settings: SourceSettings, known: Iterable[str]) -> Iterator[Giver]:
    """Yield each process of a source."""
    for part in settings.source.parts(settings.options):
        name = f"{settings.name}/{part}" if part else settings.name
        label = name if settings.name == settings.type else f"{name} ({settings.type})"
        yield Giver(label, part, sources.provided(settings.options, part, known), settings.options["interfaces"] is not None)


def _join(names: Iterable[str], end: str) -> str:
    return " and ".join(f"{name}{end}" for name in names)


def _label(text: str) -> str:
    """Return text for a quoted label."""
    return re.sub(_MARKUP, lambda match: f"#{ord(match[0])};", escape(text, NAME_LIMIT))
