"""A start: from the command line to exec, or to what else was asked for. Only this module and `cli` decide how disco exits."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NoReturn

from disco import last_words
from disco.arguments import Arguments, parse
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
from disco.text import PATH_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from disco.core.reasons import Outcome
    from disco.core.status import Status
    from disco.people.log import StderrHandler
    from disco.site.loading import Site
    from disco.system.signals import Signals

__all__ = ["parse", "run"]

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
    path = os.fsdecode(environment.get(b"PATH", b"").partition(b"=")[2]) or os.defpath
    if programs.find_program(command[0], path) is None:
        logger.warning("COMMAND %s is not there or not executable yet: a handler has to install it", name)
    environment.pop(b"DISCO_CFG", None)
    if site.rules:
        _satisfy_rules(site, command, environment, signals, handler)
    else:
        where = ", ".join(map(str, site.settings.path))
        without = "is started at once, without any configuration"
        logger.warning("no rules in %s, and disco.rules is optional: %s %s", where, name, without)
        logger.info("no rules: executing %s", name, extra={"fields": {"event": "exec"}})
    _execute(command, path, environment, signals)


def _satisfy_rules(
    site: Site, command: Sequence[str], environment: dict[bytes, bytes], signals: Signals, handler: StderrHandler
) -> None:
    """Return when every rule has succeeded and nothing is left of what disco started; exit if that does not come about."""
    from disco import entrypoint, planning  # noqa: PLC0415 -- a site without rules needs no coordinator
    from disco.core.goals import Exec  # noqa: PLC0415 -- as above
    from disco.people import wording  # noqa: PLC0415 -- as above

    coordinator = planning.prepare(site, command, environment, signals, Exec())

    def work() -> None:
        handler.process = "coordinator"
        outcome = coordinator.run()
        if outcome.status is not None:
            _give_up(outcome, coordinator.lifecycle.status())
        reason, name = wording.reason(outcome.reason), escape(command[0], PATH_LIMIT)
        logging.getLogger(__name__).info("%s: executing %s", reason, name, extra={"fields": {"event": "exec"}})

    status = entrypoint.delegate(work, signals)
    if status is not None:
        os._exit(status)


def _give_up(outcome: Outcome, status: Status) -> NoReturn:
    """Exit with the last words: why, what is still missing where that does not say it, and the exit status."""
    from disco.people import report, wording  # noqa: PLC0415 -- as in _satisfy_rules

    number = outcome.status or 0
    missing = "" if number in {ExitStatus.UNAVAILABLE, ExitStatus.HANDLER, ExitStatus.SYSTEM} else report.summary(status)
    why = wording.reason(outcome.reason)
    last_words.leave(number, f"{why}; {status.plan.command} was not started{missing and f': {missing}'} (exit status {number})")


def _execute(command: Sequence[str], path: str, environment: dict[bytes, bytes], signals: Signals) -> NoReturn:
    """Become COMMAND, with everything as disco found it.

    Raises:
        CommandNotFoundError, CommandNotExecutableError: it cannot be.

    """
    program = programs.find_program(command[0], path)
    name = f"COMMAND {command[0] or '(empty)'}"
    if program is None:
        if "/" in command[0] and os.path.exists(command[0]):  # noqa: PTH110 -- whatever is wrong with it, nothing is raised
            raise CommandNotExecutableError(f"{name} is not executable: a directory, or without the x bit for this user (chmod +x)")
        if any(os.path.isfile(os.path.join(folder, command[0])) for folder in path.split(os.pathsep)):  # noqa: PTH113, PTH118 -- as above
            raise CommandNotExecutableError(f"{name} is in PATH, and not executable by this user (chmod +x)")
        where = "no such file" if "/" in command[0] else "no directory of PATH has it"
        raise CommandNotFoundError(f"{name} is not there: {where}")
    if stopped := signals.restore():
        last_words.leave_late(stopped[0])
    try:
        programs.execute(program, list(command), environment.values())
    except OSError as error:
        kind = CommandNotFoundError if isinstance(error, FileNotFoundError) else CommandNotExecutableError
        raise kind(f"{name}: {explain_exec(error)}") from None


def run_dry(arguments: Arguments, signals: Signals) -> NoReturn:
    """Read the sources, and print what they hold and what would run."""
    from disco import entrypoint, planning  # noqa: PLC0415 -- as in _satisfy_rules
    from disco.core.goals import DryRun  # noqa: PLC0415 -- as above
    from disco.people import dry_run, wording  # noqa: PLC0415 -- only this mode prints that

    handler = _set_up_log(arguments.level or "ERROR")  # what there is to say is printed at the end
    site = _load(arguments, handler)
    settings = site.settings._replace(timeout=site.settings.timeout or DRY_TIMEOUT, report_file=None)
    coordinator = planning.prepare(site._replace(settings=settings), arguments.command, {}, signals, DryRun())

    def work() -> NoReturn:
        handler.process = "coordinator"
        outcome = coordinator.run()
        signals.stop_listening(last_words.leave_late)  # a reader of stdout that hangs must not keep disco from being stopped
        if outcome.status not in {None, ExitStatus.UNAVAILABLE, ExitStatus.TIMEOUT}:  # a signal, or the system
            last_words.leave(outcome.status or 0, wording.reason(outcome.reason))
        name = arguments.command[0] if arguments.command else ""
        is_there = not name or programs.find_program(name, os.environ.get("PATH", os.defpath)) is not None
        show = dry_run.as_json if arguments.as_json else dry_run.as_text
        last_words.answer(show(coordinator.lifecycle.status(), name, is_executable=is_there), outcome.status or 0)

    os._exit(entrypoint.delegate(work, signals) or 0)


def print_check(arguments: Arguments) -> NoReturn:
    """Print what a start would refuse, and what is doubtful."""
    from disco.people import check  # noqa: PLC0415 -- only this mode judges

    site = loading.load(arguments.file, os.environ)
    show = check.as_json if arguments.as_json else check.as_text
    text = show(site.errors, check.find_warnings(site, arguments.command))
    last_words.answer(text, ExitStatus.CONFIGURATION if site.errors else 0)


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
