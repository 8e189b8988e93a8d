"""The command: command line → configuration → coordinator → exec. The only place that prints and exits."""

from __future__ import annotations

import os
import sys

# First of all: the application's PYTHONPATH is not for disco's own imports, nor is the folder of the command, which Python
# puts first. `os` and `sys` are the interpreter's by now.
if os.environ.get("PYTHONPATH"):
    _FOREIGN = {os.path.realpath(entry) for entry in os.environ["PYTHONPATH"].split(os.pathsep)}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in _FOREIGN]
if os.path.basename(sys.argv[0]) == "disco" and not sys.flags.safe_path:  # noqa: PTH119 -- before pathlib is imported
    _BESIDE = os.path.dirname(os.path.realpath(sys.argv[0]))  # noqa: PTH120 -- as above
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != _BESIDE]

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there are handlers: no KeyboardInterrupt's traceback

import gc
from typing import TYPE_CHECKING, NoReturn

from disco.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    DiscoError,
    ExitStatus,
    SystemFailure,
    UsageError,
    explain_exec,
    explain_failure,
    raise_problems,
)
from disco.system.signals import Signals
from disco.text import LINE_LIMIT, PATH_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from disco.coordinator import Coordinator, Job
    from disco.core.goals import Goal
    from disco.core.plan import SourcePlan
    from disco.core.reasons import Outcome
    from disco.core.status import Status
    from disco.data.schema import Schema
    from disco.errors import Problem
    from disco.people.log import StderrHandler
    from disco.site.config import Settings, SourceSettings
    from disco.site.rules import Rule
    from disco.sources import Source

DRY_TIMEOUT = 5.0  # seconds for --dry-run to hear of every source, where disco.timeout does not say
QUIET = 10.0  # seconds for which a source need not say that nothing is new
LAST_WORDS = 0.5  # seconds that their reader has
LEASE_MARGIN = 6.0  # seconds: the watcher's own margin, its start after an error, and load

USAGE = """\
usage: disco [-l LEVEL] [-c FILE] [--] COMMAND [ARG...]
       disco [-l LEVEL] [-c FILE] (--check | --dry-run | --graph) [--json] [--] [COMMAND [ARG...]]

Read configuration from service discovery (DISCO_CFG says where), check it against schemas, run
handlers by rules, and when all rules have succeeded exec COMMAND in the place of disco.

  -l, --log-level LEVEL   DEBUG, INFO, WARNING or ERROR [INFO]
  -c, --config FILE       YAML with the same keys as DISCO_CFG, nested; DISCO_CFG wins
  --check                 start nothing: tell on stdout what is wrong or doubtful
  --dry-run               read the sources, run no handler: tell what they hold and what would run
  --graph                 start nothing: draw sources, rules and handlers as a Mermaid flowchart
  --json                  --check and --dry-run answer in JSON
  -h, --help              this text
  --version               disco's version

DISCO_CFG is key=value pairs joined by ':', such as  disco.path=/etc/disco:flat.file=/etc/mysql.yaml

signals: USR1 prints what disco waits for, HUP reads all sources anew, TERM stops

exit status: COMMAND's own after exec; 64 wrong command line; 69 disco.timeout passed and a source
never answered; 70 a handler failed disco.fail_limit times in a row; 71 a bug in disco, or the
system failed it; 75 disco.timeout passed otherwise; 78 configuration, rules or schemas are wrong;
126/127 COMMAND is not executable / not found; 128+N stopped by signal N
"""


# Where libraries write down the keys of their connections: no business of ours. Handlers and COMMAND find it.
_HIDDEN = {name: name + b"=" + os.environb.pop(name) for name in (b"SSLKEYLOGFILE",) if name in os.environb}
_log: list[StderrHandler] = []  # once it is set up, which the last words' form depends on


def main() -> NoReturn:
    """Run disco; never returns.

    It ends by `os._exit` alone: after anything else the interpreter may open a prompt (PYTHONINSPECT).
    """
    gc.disable()  # what is imported and loaded now stays: nothing to collect before the loop
    _occupy_standard_descriptors()
    signals = Signals(_stopped_early)
    level = "INFO"
    try:
        level, config, mode, as_json, command = _parse(sys.argv[1:])
        if mode == "dry-run":
            _rehearse(level, config, command, signals, as_json=as_json)
        elif mode:
            _inspect(mode, config, command, as_json=as_json)
        _run(level or "INFO", config, command, signals)
    except DiscoError as error:
        _exit(error.status, *(f"{problem}" for problem in error.problems))
    except Exception as error:  # noqa: BLE001 -- the outermost boundary: a bug in disco, or no room
        trace = ""
        if level == "DEBUG":
            import traceback  # noqa: PLC0415 -- for bugs

            trace = "".join(traceback.format_tb(error.__traceback__))  # without the exception's text, which may hold a secret
        _exit(ExitStatus.SYSTEM, explain_failure(error), trace=trace)


def _parse(argv: list[str]) -> tuple[str, str, str, bool, list[str]]:
    """Return log level, configuration file, mode, whether JSON is wanted, and COMMAND; options end at the first word that is none.

    The level is empty if it is not given. The mode is empty if COMMAND is to be run, else check, dry-run or graph.
    """
    import getopt  # noqa: PLC0415 -- not before the signals

    level, config = "", ""
    modes = set()
    known = ["help", "version", "log-level=", "config=", "check", "dry-run", "graph", "json"]
    try:
        options, command = getopt.getopt(argv, "hl:c:", known * 2)  # twice: so no beginning of a name is unique
    except getopt.GetoptError as error:
        reason = error.msg.replace("not a unique prefix", "not recognized")
        near = nearest(f"--{error.opt}", [f"--{name.rstrip('=')}" for name in known], "") if len(error.opt) > 1 else ""
        raise UsageError(f"{reason}{near and '; ' + near}; 'disco -h' shows how it is used") from None
    for option, value in options:
        match option:
            case "-h" | "--help":
                _print(USAGE)
                os._exit(0)
            case "--version":
                from disco import __version__  # noqa: PLC0415 -- rarely needed

                _print(f"disco {__version__}\n")
                os._exit(0)
            case "-l" | "--log-level":
                level = value.upper()
                if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
                    raise UsageError("-l takes DEBUG, INFO, WARNING or ERROR")
            case "-c" | "--config":
                if not value:
                    raise UsageError("-c needs a FILE")
                config = value
            case _:
                modes.add(option.removeprefix("--"))
    as_json = "json" in modes
    modes.discard("json")
    if as_json and not modes & {"check", "dry-run"}:
        raise UsageError("--json goes with --check or --dry-run; 'disco -h' shows how it is used")
    if len(modes) > 1:
        raise UsageError(f"--{' and --'.join(sorted(modes))} exclude each other; 'disco -h' shows how it is used")
    if not command and not modes:
        raise UsageError("no COMMAND to start: is the image's CMD empty? 'disco -h' shows how it is used")
    return level, config, max(modes, default=""), as_json, command


def _run(level: str, config: str, command: list[str], signals: Signals) -> NoReturn:
    import logging  # noqa: PLC0415 -- what follows takes its time: signals are handled by now
    from pathlib import Path  # noqa: PLC0415

    from disco.people import log  # noqa: PLC0415
    from disco.system import programs  # noqa: PLC0415

    handler = log.set_up(level)
    _log.append(handler)
    logger = logging.getLogger(__name__)
    found = {**_HIDDEN, **programs.environment()}
    settings, schemas, rules, warnings = _load(Path(config) if config else None, handler)
    for warning in warnings:
        logger.warning("%s", warning)
    path = os.fsdecode(found.get(b"PATH", b"").partition(b"=")[2]) or os.defpath
    name = escape(command[0], PATH_LIMIT)
    if programs.find_program(command[0], path) is None:
        logger.warning("COMMAND %s is not there or not executable yet: a handler has to install it", name)
    found.pop(b"DISCO_CFG", None)
    if rules:
        from disco import entrypoint  # noqa: PLC0415 -- as above
        from disco.core.goals import Exec  # noqa: PLC0415 -- as above
        from disco.people import wording  # noqa: PLC0415 -- as above

        coordinator = _coordinator(settings, schemas, rules, command, found, signals, Exec())

        def work() -> None:
            handler.process = "coordinator"
            outcome = coordinator.run()
            if outcome.status is not None:
                _give_up(outcome, coordinator.lifecycle.status())
            logger.info("%s: executing %s", wording.reason(outcome.reason), name, extra={"fields": {"event": "exec"}})

        status = entrypoint.delegate(work, signals)
        if status is not None:
            os._exit(status)
    else:
        logger.warning(
            "no rules in %s, and disco.rules is optional: %s is started at once, without any configuration",
            ", ".join(map(str, settings.path)),
            name,
        )
        logger.info("no rules: executing %s", name, extra={"fields": {"event": "exec"}})
    _execute(command, path, found, signals)


def _give_up(outcome: Outcome, status: Status) -> NoReturn:
    """Exit with the last words: why, what is still missing where that does not say it, and the exit status."""
    from disco.people import report, wording  # noqa: PLC0415 -- as in _run

    number = outcome.status or 0
    missing = "" if number in {ExitStatus.UNAVAILABLE, ExitStatus.HANDLER, ExitStatus.SYSTEM} else report.summary(status)
    why = wording.reason(outcome.reason)
    _exit(number, f"{why}; {status.plan.command} was not started{missing and f': {missing}'} (exit status {number})")


def _load(config: Path | None, handler: StderrHandler) -> tuple[Settings, Mapping[str, Schema], tuple[Rule, ...], list[Problem]]:
    """Load everything that can be wrong before anything is started.

    Raises:
        ConfigurationError: all the problems.

    """
    from disco.site import loading  # noqa: PLC0415 -- as in _run

    site = loading.load(config, os.environ)
    handler.style = site.settings.log
    raise_problems(site.errors)
    return site.settings, site.schemas, site.rules, list(site.warnings)


def _rehearse(level: str, config: str, command: list[str], signals: Signals, *, as_json: bool) -> NoReturn:
    """Read the sources, tell on stdout what would happen, and exit."""
    from pathlib import Path  # noqa: PLC0415 -- as in _run

    from disco import entrypoint  # noqa: PLC0415
    from disco.core.goals import DryRun  # noqa: PLC0415
    from disco.people import dry_run, log, wording  # noqa: PLC0415
    from disco.system import programs  # noqa: PLC0415

    handler = log.set_up(level or "ERROR")  # what there is to tell is told at the end
    _log.append(handler)
    settings, schemas, rules, _ = _load(Path(config) if config else None, handler)
    settings = settings._replace(timeout=settings.timeout or DRY_TIMEOUT, report_file=None)
    coordinator = _coordinator(settings, schemas, rules, command, {}, signals, DryRun())

    def work() -> NoReturn:
        handler.process = "coordinator"
        outcome = coordinator.run()
        signals.stop_listening(_stopped)  # a reader of stdout that hangs must not keep disco from being stopped
        if outcome.status not in {None, ExitStatus.UNAVAILABLE, ExitStatus.TIMEOUT}:  # a signal, or the system
            _exit(outcome.status or 0, wording.reason(outcome.reason))
        name = command[0] if command else ""
        there = not name or programs.find_program(name, os.environ.get("PATH", os.defpath)) is not None
        _print((dry_run.as_json if as_json else dry_run.as_text)(coordinator.lifecycle.status(), name, is_executable=there))
        os._exit(outcome.status or 0)

    os._exit(entrypoint.delegate(work, signals) or 0)


def _inspect(mode: str, config: str, command: list[str], *, as_json: bool) -> NoReturn:
    """Tell what is wrong with the site, or draw it, on stdout, and exit.

    Raises:
        ConfigurationError: what is wrong cannot be drawn.

    """
    from pathlib import Path  # noqa: PLC0415 -- as in _run

    from disco.people import check, graph  # noqa: PLC0415
    from disco.site import loading  # noqa: PLC0415

    site = loading.load(Path(config) if config else None, os.environ)
    if mode == "graph":
        raise_problems(site.errors)
        _print(graph.draw(site, command))
    else:
        show = check.as_json if as_json else check.as_text
        _print(show(site.errors, check.find_warnings(site, command)))
    os._exit(ExitStatus.CONFIGURATION if site.errors else 0)


def _coordinator(  # noqa: PLR0913, PLR0917 -- everything comes together here
    settings: Settings,
    schemas: Mapping[str, Schema],
    rules: tuple[Rule, ...],
    command: list[str],
    environment: dict[bytes, bytes],
    signals: Signals,
    goal: Goal,
) -> Coordinator:
    """Return the coordinator of a site, ready to run."""
    import logging  # noqa: PLC0415 -- as in _run
    import time  # noqa: PLC0415
    from random import SystemRandom  # noqa: PLC0415

    from disco.coordinator import Coordinator  # noqa: PLC0415
    from disco.core.lifecycle import Lifecycle  # noqa: PLC0415
    from disco.core.plan import Plan  # noqa: PLC0415
    from disco.text import plural  # noqa: PLC0415

    used = sorted({interface for rule in rules for interface in rule.interfaces})
    plans, jobs = _plan_sources(settings, frozenset(schemas))
    logging.getLogger(__name__).info(
        "%s on %s (%s), %s: %s",
        plural(len(rules), "rule"),
        plural(len(used), "interface"),
        ", ".join(used[:10]) + (", …" if len(used) > 10 else ""),  # noqa: PLR2004 -- one line
        plural(len(plans), "source"),
        ", ".join(f"{plan.name} ({plan.place})" if plan.place else plan.name for plan in plans[:10])
        + (", …" if len(plans) > 10 else ""),  # noqa: PLR2004 -- one line
    )
    plan = Plan(
        sources=tuple(plans),
        rules=rules,
        interfaces=frozenset(schemas),
        command=escape(command[0], PATH_LIMIT) if command else "COMMAND",
        interval=settings.interval,
        fail_limit=settings.fail_limit,
        timeout=settings.timeout,
        handler_timeout=settings.handler_timeout,
        workers=min(settings.workers, len(rules)),
        grace=settings.grace,
        settle=settings.settle,
        run_id=os.urandom(8).hex(),
        environment=tuple(entry for entry in environment.values() if b"=" in entry[1:]),
    )
    lifecycle = Lifecycle(plan, goal, time.monotonic(), SystemRandom().random)
    return Coordinator(lifecycle, jobs, schemas, signals, settings.report_file)


def _plan_sources(settings: Settings, interfaces: frozenset[str]) -> tuple[list[SourcePlan], dict[str, Job]]:
    """Return the plan and the job of each source's process, in order of precedence; shared client libraries are imported."""
    import logging  # noqa: PLC0415 -- as in _run

    plans: list[SourcePlan] = []
    jobs: dict[str, Job] = {}
    users: dict[str, list[Source]] = {}
    for one in settings.sources:
        source = one.source
        for remark in source.remarks(one.options):
            about = {"fields": {"event": "remark", "source": one.name}}
            logging.getLogger(__name__).info("source %s: %s", one.name, remark, extra=about)
        for part in source.parts(one.options):
            plan, job = _plan_source(source, one, part, settings.interval, interfaces)
            plans.append(plan)
            jobs[plan.name] = job
            users.setdefault(one.type, []).append(source)
    for same in users.values():
        if len(same) > 1:
            same[0].preload()
    if len(plans) > 1:
        from disco.workers import watcher  # noqa: F401, PLC0415 -- imported before the fork, its memory is shared
    return plans, jobs


def _plan_source(
    source: Source, settings: SourceSettings, part: str, interval: float, interfaces: frozenset[str]
) -> tuple[SourcePlan, Job]:
    from disco.coordinator import Job  # noqa: PLC0415 -- as in _run
    from disco.core.plan import SourcePlan  # noqa: PLC0415
    from disco.sources import Context  # noqa: PLC0415
    from disco.sources.registry import provided  # noqa: PLC0415
    from disco.text import redact  # noqa: PLC0415

    options = settings.options
    step = source.step_limit(options, interval)
    quiet = min(QUIET, step / 4)
    name = f"{settings.name}/{part}" if part else settings.name
    may = provided(source, options, part, interfaces)
    plan = SourcePlan(
        name=name,
        lease=step + quiet + LEASE_MARGIN,
        required=options["required"],
        timeout=options["timeout"],
        settle=options["settle"],
        place=redact(source.place(options, part)),
        interfaces=None if options["interfaces"] is None else may,
    )
    context = Context(name=settings.name, part=part, options=options, interval=interval, interfaces=may, memory={})
    return plan, Job(source, context, (step, quiet))


def _execute(command: list[str], path: str, environment: dict[bytes, bytes], signals: Signals) -> NoReturn:
    """Become COMMAND, with everything as disco found it.

    Raises:
        CommandNotFoundError, CommandNotExecutableError: it cannot be.

    """
    from disco.system import programs  # noqa: PLC0415 -- as in _run

    program = programs.find_program(command[0], path)
    name = f"COMMAND {command[0] or '(empty)'}"
    if program is None:
        if os.path.exists(command[0]) and "/" in command[0]:  # noqa: PTH110 -- a word of the command line
            raise CommandNotExecutableError(f"{name} is not executable: a directory, or without the x bit for this user (chmod +x)")
        if any(os.path.isfile(os.path.join(folder, command[0])) for folder in path.split(os.pathsep)):  # noqa: PTH113, PTH118
            raise CommandNotExecutableError(f"{name} is in PATH, and not executable by this user (chmod +x)")
        where = "no such file" if "/" in command[0] else "no directory of PATH has it"
        raise CommandNotFoundError(f"{name} is not there: {where}")
    stopped = signals.restore()
    if stopped:
        _stopped(stopped[0])
    try:
        programs.execute(program, command, environment.values())
    except OSError as error:
        kind = CommandNotFoundError if isinstance(error, FileNotFoundError) else CommandNotExecutableError
        raise kind(f"{name}: {explain_exec(error)}") from None


def _occupy_standard_descriptors() -> None:
    """Keep 0 to 2 from being given to something else, where disco found them closed; exec closes them again."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def _stopped_early(number: int) -> NoReturn:
    """End at once, while nothing is started that would have to be stopped."""
    _exit(ExitStatus.SIGNALLED + number, f"{signal.Signals(number).name} received: nothing was started")


def _stopped(number: int) -> NoReturn:
    """End at once, when all that was started has ended."""
    _exit(ExitStatus.SIGNALLED + number, f"{signal.Signals(number).name} received: COMMAND was not started")


def _exit(status: int, *reasons: str, trace: str = "") -> NoReturn:
    """Say why on stderr, and exit: within LAST_WORDS, whether that is read or not."""
    # A write that waits for its reader ends with the alarm, at the latest.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(status))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, LAST_WORDS)
    lines = [trace.encode(errors="backslashreplace"), *(f"disco: {escape(reason, LINE_LIMIT)}\n".encode() for reason in reasons)]
    for handler in _log:
        if handler.style == "json":
            import logging  # noqa: PLC0415 -- the log has it; before there is one a signal may come in the middle of an import

            lines = [handler.line(logging.ERROR, text, {"event": "exit"}) for text in (trace, *reasons) if text]
    try:
        _write(2, b"".join(lines))
    except OSError:
        pass
    os._exit(status)


def _print(text: str) -> None:
    """Write to stdout, which is nobody else's where COMMAND is not run; a reader that has gone has seen enough.

    Raises:
        SystemFailure: it cannot be written.

    """
    try:
        _write(1, text.encode(errors="backslashreplace"))
    except BrokenPipeError:
        pass
    except OSError as error:
        raise SystemFailure(f"cannot write to stdout: {error.strerror}") from None


def _write(descriptor: int, content: bytes) -> None:
    """Write all of it, whether the descriptor blocks or not: whoever shares it decides that."""
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:
            import select  # noqa: PLC0415 -- as in _run

            select.select((), (descriptor,), ())
