"""A start: from the command line to exec, or to what else was asked for. Only this module and `cli` decide how disco exits."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NoReturn

from disco import last_words
from disco.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ExitStatus,
    UsageError,
    explain_exec,
    raise_problems,
)
from disco.people import log
from disco.site import loading
from disco.sources import registry
from disco.system import programs
from disco.text import NAME_LIMIT, PATH_LIMIT, escape, nearest, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from disco.arguments import Arguments
    from disco.people.log import StderrHandler
    from disco.site.loading import Site
    from disco.system.signals import Signals

NAMES_LIMIT = 10  # rules in one line
DRY_TIMEOUT = 5.0  # seconds for --dry-run to hear of every source, where disco.timeout does not say

# Where libraries write down the keys of their connections: no business of ours. Handlers and COMMAND find it.
_HIDDEN = {name: name + b"=" + os.environb.pop(name) for name in (b"SSLKEYLOGFILE",) if name in os.environb}


def run(arguments: Arguments, signals: Signals) -> NoReturn:
    """Do what the command line asks for.

    Raises:
        DiscoError: it cannot be done.

    """
    match arguments.mode:
        case "options":
            print_options(arguments.command)
        case "check":
            print_check(arguments)
        case "graph":
            print_graph(arguments)
        case "dry-run":
            run_dry(arguments, signals)
        case "input":
            print_input(arguments, signals)
        case _:
            run_command(arguments, signals)


def run_command(arguments: Arguments, signals: Signals) -> NoReturn:
    """Run rules until all of them have succeeded, and become COMMAND."""
    handler = _set_up_log(arguments.level or "INFO")
    logger = logging.getLogger(__name__)
    environment = {**_HIDDEN, **programs.environment()}
    site = _load(arguments, handler)
    for warning in site.warnings:
        logger.warning("%s", warning)
    command, name = arguments.command, escape(arguments.command[0], PATH_LIMIT)
    for variable in (b"DISCO_CFG", *map(os.fsencode, site.settings.unset)):
        environment.pop(variable, None)
    if programs.find_program(command[0], _path_of(environment)) is None:
        logger.warning("COMMAND %s is not found or not executable yet: a handler has to install it", name)
    if site.rules:
        from disco import gathering  # noqa: PLC0415 -- only rules need a coordinator

        environment |= gathering.satisfy_rules(site, command, environment, signals, handler)
    else:
        where = ", ".join(map(str, site.settings.path))
        without = "is started at once, without any configuration"
        logger.warning("no rules in %s, and disco.rules is optional: %s %s", where, name, without)
        logger.info("no rules: executing %s", name, extra={"fields": {"event": "exec"}})
    _execute(command, environment, signals)


def _path_of(environment: Mapping[bytes, bytes]) -> str:
    """Return where COMMAND is looked up. environment: whole entries by name."""
    return os.fsdecode(environment.get(b"PATH", b"").partition(b"=")[2]) or os.defpath


def _execute(command: Sequence[str], environment: dict[bytes, bytes], signals: Signals) -> NoReturn:
    """Become COMMAND, with everything as disco found it.

    Raises:
        CommandNotFoundError, CommandNotExecutableError: it cannot be.

    """
    path = _path_of(environment)
    program = programs.find_program(command[0], path)
    name = f"COMMAND {command[0] or '(empty)'}"
    if program is None:
        if "/" in command[0] and os.path.exists(command[0]):  # noqa: PTH110 -- whatever is wrong with it, nothing is raised
            raise CommandNotExecutableError(f"{name} is not executable: a directory, or without the x bit for this user (chmod +x)")
        if any(os.path.isfile(os.path.join(folder, command[0])) for folder in path.split(os.pathsep)):  # noqa: PTH113, PTH118 -- as above
            raise CommandNotExecutableError(f"{name} is in PATH, and not executable by this user (chmod +x)")
        where = "no such file" if "/" in command[0] else "no directory of PATH has it"
        raise CommandNotFoundError(f"{name} is not found: {where}")
    if stopped := signals.restore():
        last_words.leave_at_end(stopped[0])
    try:
        programs.execute(program, list(command), environment.values())
    except OSError as error:
        kind = CommandNotFoundError if isinstance(error, FileNotFoundError) else CommandNotExecutableError
        raise kind(f"{name}: {explain_exec(error)}") from None


def run_dry(arguments: Arguments, signals: Signals) -> NoReturn:
    """Read the sources, and print what they hold and what would run."""
    from disco import gathering  # noqa: PLC0415 -- as in run_command

    site, handler = _load_dry(arguments)
    gathering.rehearse(site, arguments.command, signals, handler, as_json=arguments.as_json)


def print_input(arguments: Arguments, signals: Signals) -> NoReturn:
    """Read the sources, and print what a rule's handler would get.

    Raises:
        UsageError: there is no such rule.

    """
    from disco import gathering  # noqa: PLC0415 -- as in run_command

    site, handler = _load_dry(arguments)
    names = [rule.name for rule in site.rules]
    if arguments.rule not in names:
        shown = escape(arguments.rule, NAME_LIMIT) or "(empty)"
        known = f"there are {shorten(names, NAMES_LIMIT)}" if names else "there are no rules"
        raise UsageError(f"--input: no rule is named {shown}; {nearest(arguments.rule, names, known)}")
    gathering.show_input(site, arguments.rule, signals, handler)


def _load_dry(arguments: Arguments) -> tuple[Site, StderrHandler]:
    """Return the site with the time that its sources have to answer, and the log, where what there is to say is printed at the end.

    Raises:
        ConfigurationError: all the problems.

    """
    handler = _set_up_log(arguments.level or "ERROR")
    site = _load(arguments, handler)
    settings = site.settings._replace(timeout=site.settings.timeout or DRY_TIMEOUT, report_file=None)
    return site._replace(settings=settings), handler


def print_check(arguments: Arguments) -> NoReturn:
    """Print what a start would refuse, and what is doubtful."""
    from disco.people import check  # noqa: PLC0415 -- only this mode judges

    site = loading.load(arguments.file, os.environ)
    show = check.as_json if arguments.as_json else check.as_text
    errors = (*site.errors, *check.find_errors(site))
    last_words.answer(show(errors, check.find_warnings(site, arguments.command)), ExitStatus.CONFIGURATION if errors else 0)


def print_graph(arguments: Arguments) -> NoReturn:
    """Print the site as a flowchart.

    Raises:
        ConfigurationError: what is wrong cannot be drawn.

    """
    from disco.people import graph  # noqa: PLC0415 -- only this mode draws

    site = loading.load(arguments.file, os.environ)
    raise_problems(site.errors)
    last_words.answer(graph.draw(site, arguments.command))


def print_options(names: Sequence[str]) -> NoReturn:
    """Print every option, or those of the one type of source that is named.

    Raises:
        UsageError: there is no such type.

    """
    from disco.people import options  # noqa: PLC0415 -- only this mode describes them

    known = registry.find_names()
    for name in names:
        if name not in known:
            remedy = nearest(name, known, f"there are {', '.join(known)}")
            raise UsageError(f"--options: no source type {escape(name, PATH_LIMIT)}; {remedy}")
    types = {name: registry.find(name, "--options") for name in names or known}
    last_words.answer(options.describe(types, with_general=not names))


def _set_up_log(level: str) -> StderrHandler:
    handler = log.set_up(level)
    last_words.follow(handler)
    return handler


def _load(arguments: Arguments, handler: StderrHandler) -> Site:
    """Return the site, of which nothing is wrong.

    Raises:
        ConfigurationError: all the problems.

    """
    site = loading.load(arguments.file, os.environ)
    handler.style = site.settings.log
    raise_problems(site.errors)
    return site
