"""--check: what a start would refuse, and what is doubtful. It judges a loaded site, and starts nothing.

What it prints holds no secret and no argument of a handler or of COMMAND, which may be one, but what a shipped handler finds wrong.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from disco import handlers
from disco.errors import Problem
from disco.site import files
from disco.sources.options import match_names
from disco.system import programs
from disco.text import LINE_LIMIT, escape, nearest, plural, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from disco.site.config import SourceSettings
    from disco.site.loading import Site

NAMES_LIMIT = 5  # interfaces in one line
# Like a rules or schema file's name, which it is not.
_LOOKS_LIKE = r"(?i:(?:.*[._-])?(?:(rule)s?|(schema)s?)(?:\.(?:ya?ml|json|txt))?)"


def find_warnings(site: Site, command: Sequence[str]) -> list[Problem]:
    """Return what is doubtful; command: empty if it is not known."""
    warnings = list(site.warnings)
    if site.is_whole:
        warnings += [
            *_find_hopeless(site),
            *_find_unused(site),
            *_find_twins(site),
            *_find_shadowed(site),
            *_find_exported_twice(site),
        ]
        warnings += [*_find_misnamed(site), *_find_undeclared(site), *_find_doubtful_patterns(site)]
        warnings += _find_doubtful_defaults(site)
    warnings += [problem for problem, is_error in _find_in_handlers(site) if not is_error]
    warnings += _find_open_files(site)
    if site.settings.report_file:
        warnings += _find_open_report(site.settings.report_file)
    for settings in site.settings.sources:
        warnings += _find_open_secrets(settings)
        doubts = settings.source.doubts(settings.options) if not site.errors else ()
        # A source names its option alone, for it does not know its namespace.
        warnings += [doubt._replace(place=f"{settings.name}.{doubt.place}") for doubt in doubts]
    if command and programs.find_program(command[0], os.environ.get("PATH", os.defpath)) is None:
        what = f"{command[0]} is not found or not executable"
        warnings.append(Problem("COMMAND", what, "install it, unless a handler does that"))
    return warnings


def find_errors(site: Site) -> list[Problem]:
    """Return what no start looks for, and every start fails by: the words that shipped handlers refuse."""
    return [problem for problem, is_error in _find_in_handlers(site) if is_error]


def as_text(errors: Sequence[Problem], warnings: Sequence[Problem]) -> str:
    """Return one line for each problem, and one that counts them."""
    lines = [escape(f"error: {problem}", LINE_LIMIT) for problem in errors]
    lines += [escape(f"warning: {problem}", LINE_LIMIT) for problem in warnings]
    lines.append(f"disco --check: {plural(len(errors), 'error')}, {plural(len(warnings), 'warning')}")
    return "".join(f"{line}\n" for line in lines)


def as_json(errors: Iterable[Problem], warnings: Iterable[Problem]) -> str:
    """Return the problems as one JSON object on one line."""
    by_severity = {"errors": errors, "warnings": warnings}
    return json.dumps({name: [problem._asdict() for problem in problems] for name, problems in by_severity.items()}) + "\n"


def _find_hopeless(site: Site) -> Iterator[Problem]:
    """Yield the rules that can never run: with one of them COMMAND is never executed."""
    unsatisfiable = {name for name, schema in site.schemas.items() if not schema.admits_mappings()}
    hopeless: dict[str, Problem] = {}
    for rule in site.rules:
        lacking = [name for name in rule.interfaces if name in unsatisfiable]
        if lacking and (not rule.any or len(lacking) == len(rule.interfaces)):
            what = f"rule {rule.name} can never run: the schema of {lacking[0]} admits no mapping, which every interface is"
            hopeless[rule.name] = Problem(rule.where, what, f"correct {site.schemas[lacking[0]].where}")
    has_grown = True
    while has_grown:
        has_grown = False
        for rule in site.rules:
            first = next((name for name in rule.after if name in hopeless), "")
            if first and rule.name not in hopeless:
                what = f"rule {rule.name} can never run: it comes after {first}, which cannot"
                hopeless[rule.name] = Problem(rule.where, what, "correct that one")
                has_grown = True
    yield from hopeless.values()


def _find_unused(site: Site) -> Iterator[Problem]:
    """Yield what no rule needs: schemas, services, sources."""
    named = set(site.named_interfaces())
    if not site.rules:
        where = ", ".join(map(str, site.settings.path))
        yield Problem("disco.rules", f"no rules in {where}: COMMAND is executed at once", "put a *.rules file there")
    for name, schema in site.schemas.items():
        if name not in named:
            yield Problem(schema.where, f"no rule names interface {name}", "name it in a rule's 'when', or remove the schema")
    if not named:
        why = "no rule names an interface" if site.rules else "there are no rules"
        for settings in site.settings.sources:
            yield Problem(settings.name, f"nothing needs this source: {why}", "write a rule, or remove the source")
        return
    for of_source in site.processes:
        source, part = of_source.settings.name, of_source.part
        place = f"{source}.{of_source.settings.source.part_option}".rstrip(".")
        if part and part not in named:
            why = "no rule names it" if part in site.schemas else "it has no schema"
            yield Problem(place, f"nothing needs the service's interface {part}: {why}", "name it in a rule, or remove it")
        elif part and not of_source.interfaces:
            what = f"the service's interface {part} is dropped: {source}.interfaces does not name it"
            yield Problem(place, what, f"add it to {source}.interfaces, or remove it")
        elif not of_source.interfaces and not of_source.is_declared:  # else the patterns are doubtful
            what = "no interface that it may provide has a schema"
            yield Problem(source, what, "correct its options, or write the schema")


def _find_undeclared(site: Site) -> Iterator[Problem]:
    """Yield the sources that do not say what they provide, although others may provide the same."""
    by_providers: dict[tuple[str, ...], list[str]] = {}  # the interfaces, by the sources that may provide them
    for interface in sorted(site.named_interfaces()):
        able = dict.fromkeys(each.settings.name for each in site.processes if interface in each.interfaces)
        by_providers.setdefault(tuple(able), []).append(interface)
    undeclared = {each.settings.name for each in site.processes if not each.is_declared}
    for providers, interfaces in by_providers.items():
        silent = [name for name in providers if name in undeclared]
        if len(providers) > 1 and silent:
            shown = shorten(interfaces, NAMES_LIMIT)
            what = f"{', '.join(providers)} may all provide {shown}: a rule may run before this source has answered"
            options = " and ".join(f"{name}.interfaces" for name in silent)
            yield Problem(f"{silent[0]}.interfaces", what, f"say what each provides: set {options}")


def _find_doubtful_defaults(site: Site) -> Iterator[Problem]:
    """Yield the defaults that are never filled in, and those that a rule may see before the source which says otherwise."""
    named = set(site.named_interfaces())
    for name, schema in site.schemas.items():
        yield from schema.idle_defaults
        if schema.defaults is None or name not in named:
            continue
        able = dict.fromkeys(each.settings.name for each in site.processes if name in each.interfaces)
        declared = {each.settings.name for each in site.processes if each.is_declared}
        if len(able) > 1 and declared.isdisjoint(able):
            what = f"interface {name} has defaults, and each of {', '.join(able)} may give it: a rule may run on a default"
            options = ", ".join(f"{source}.interfaces" for source in able)
            remedy = f"say who gives it, so that rules wait for that: set one of {options}"
            yield Problem(schema.defaults.where, f"{what} before the source that says otherwise has answered", remedy)


def _find_doubtful_patterns(site: Site) -> Iterator[Problem]:
    """Yield the patterns of `interfaces` that match too much or nothing."""
    for settings in site.settings.sources:
        place = f"{settings.name}.interfaces"
        for pattern in settings.options["interfaces"] or ():
            if pattern == "*" and len(site.settings.sources) > 1:
                what = f"with * every rule waits until {settings.name} has answered"
                yield Problem(place, what, "name what it provides, if that is not everything")
            elif not match_names((pattern,), site.schemas):
                what = f"{pattern} is the name of no interface that has a schema"
                yield Problem(place, what, nearest(pattern, site.schemas, "write its schema, or remove it"))


def _find_twins(site: Site) -> Iterator[Problem]:
    """Yield schemas and rules files with the name of an earlier one: unlike handlers they do not replace each other."""
    seen: dict[str, Path] = {}
    for path in files.list_files(site.settings.path, files.SCHEMA_SUFFIX, files.RULES_SUFFIX):
        first = seen.setdefault(path.name, path)
        if first is not path:
            what = f"has the same name as {first}; both are loaded, neither replaces the other"
            yield Problem(str(path), what, "rename one if that is meant, else remove it")


def _find_shadowed(site: Site) -> Iterator[Problem]:
    """Yield files in disco.path that are not run although they have a handler's name."""
    for name, program in site.programs.items():
        for directory in dict.fromkeys(map(os.path.abspath, site.settings.path)):
            file = Path(directory, name)
            if not file.is_file() or ("/" in program and file.samefile(program)):
                continue
            if os.access(file, os.X_OK):
                what = f"is never run: {program} comes first"
                yield Problem(str(file), what, "rename one of the two, or remove it")
            else:
                yield Problem(str(file), f"is not executable, so {program} runs in its place", f"chmod +x {file}, or remove it")


def _find_in_handlers(site: Site) -> Iterator[tuple[Problem, bool]]:
    """Yield what shipped handlers find wrong or doubtful with their words, each with whether it is an error."""
    for rule in site.rules:
        name = rule.argv[0]
        if "/" in name:  # not a shipped handler
            continue
        if name == "disco-env" and not rule.export:
            what = f"{name}: the rule has no 'export', so nothing can be given to COMMAND"
            yield Problem(rule.where, what, "say there which variables it may set"), True
        timeout = site.settings.handler_timeout if rule.timeout is None else rule.timeout
        for finding in handlers.find_problems(name, rule.argv[1:], rule.interfaces, timeout):
            yield Problem(rule.where, f"{name}: {finding.message}", finding.remedy), finding.is_error


def _find_exported_twice(site: Site) -> Iterator[Problem]:
    """Yield the variables that two rules write out: that of the later rule counts."""
    first: dict[str, str] = {}
    for rule in site.rules:
        for name in rule.export:
            other = first.setdefault(name, rule.name)
            if other != rule.name and "*" not in name:
                what = f"rule {rule.name} exports {name}, and so does rule {other}: if both set it, only that of {rule.name} counts"
                yield Problem(rule.where, what, "remove it from one of them, if that is not meant")


def _find_open_files(site: Site) -> Iterator[Problem]:
    """Yield what others may write to, and so decide what disco does."""
    places = dict.fromkeys(site.settings.path, "disco.path") | {
        Path(rule.argv[0]): rule.where for rule in site.rules if "/" in rule.argv[0]
    }
    if site.file:
        places[site.file] = "-c"
    for file, place in places.items():
        if _mode_of(file) & stat.S_IWOTH:
            yield Problem(place, f"others may write to {file}, and so decide what disco does", f"chmod o-w {file}")


def _find_open_report(file: Path) -> Iterator[Problem]:
    """Yield that others may write to the folder of the report's file."""
    if _mode_of(file.parent) & stat.S_IWOTH:
        what = f"others may write to {file.parent}, and put anything in the file's place"
        yield Problem("disco.report_file", what, f"name a file in a folder of disco's own, or chmod o-w {file.parent}")


def _find_misnamed(site: Site) -> Iterator[Problem]:
    """Yield files that are not read because of their names, although they look like rules or schemas."""
    for directory in site.settings.path:
        for file in sorted(directory.iterdir()):
            looks = re.fullmatch(_LOOKS_LIKE, file.name)
            if (
                looks
                and file.suffix not in {files.SCHEMA_SUFFIX, files.RULES_SUFFIX}
                and file.is_file()
                and not os.access(file, os.X_OK)
            ):
                suffix = files.RULES_SUFFIX if looks[1] else files.SCHEMA_SUFFIX
                yield Problem(str(file), f"is not read: only files named *{suffix} are", "rename it, or move it away")


def _find_open_secrets(settings: SourceSettings) -> Iterator[Problem]:
    """Yield the secrets that are in the configuration, or in files that everybody may read."""
    for option in settings.source.options:
        key = f"{settings.name}.{option.name}"
        if option.secret and option.name in settings.options.explicit:
            what = "the secret itself is in the configuration or the environment, and shows wherever that does"
            yield Problem(key, what, f"keep it in a file: {key}_file=FILE")
    for name, file in settings.options.secret_files.items():
        if _mode_of(file) & stat.S_IROTH:
            yield Problem(f"{settings.name}.{name}_file", f"every user may read {file}", f"chmod o-r {file}")


def _mode_of(file: Path) -> int:
    """Return a file's mode; 0 if it is not there: what is needed and missing is an error, and the rest may come later."""
    try:
        return file.stat().st_mode
    except OSError:
        return 0
