"""From a loaded site to what the coordinator goes by: the plan of the core, and what each source's process runs."""

from __future__ import annotations

import logging
import os
import time
from random import SystemRandom
from typing import TYPE_CHECKING

from disco.coordinator import Coordinator
from disco.core.lifecycle import Lifecycle
from disco.core.plan import Plan, SourcePlan
from disco.sources import Context
from disco.system import programs
from disco.text import PATH_LIMIT, escape, plural, shorten
from disco.workers.entry import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from disco.core.goals import Goal
    from disco.site.loading import Site, SourceProcess
    from disco.system.signals import Signals

QUIET = 10.0  # seconds for which a source need not say that nothing is new
LEASE_MARGIN = 6.0  # seconds: the watcher's own margin, its start after an error, and load
NAMES_LIMIT = 10  # interfaces, or sources, in one line


def prepare(site: Site, command: Sequence[str], environment: Mapping[bytes, bytes], signals: Signals, goal: Goal) -> Coordinator:
    """Return the coordinator of a site, ready to run; what its children share is imported.

    command: empty if it is not known. environment: that of handlers, whole entries by name.
    """
    plan = _plan(site, command, environment)
    jobs = {process.name: _make_job(process, site.settings.interval) for process in site.processes}
    _log_overview(site)
    _import_shared(site)
    lifecycle = Lifecycle(plan, goal, time.monotonic(), SystemRandom().random)
    return Coordinator(lifecycle, jobs, site.schemas, signals, site.settings.report_file)


def _plan(site: Site, command: Sequence[str], environment: Mapping[bytes, bytes]) -> Plan:
    settings = site.settings
    return Plan(
        sources=tuple(_plan_source(process) for process in site.processes),
        rules=site.rules,
        interfaces=frozenset(site.schemas),
        command=escape(command[0], PATH_LIMIT) if command else "COMMAND",
        interval=settings.interval,
        fail_limit=settings.fail_limit,
        timeout=settings.timeout,
        handler_timeout=settings.handler_timeout,
        workers=min(settings.workers, len(site.rules)),
        grace=settings.grace,
        settle=settings.settle,
        run_id=os.urandom(8).hex(),
        export_room=_export_room(command, environment) if any(rule.export for rule in site.rules) else 0,
        environment=tuple(entry for entry in environment.values() if b"=" in entry[1:]),
    )


def _export_room(command: Sequence[str], environment: Mapping[bytes, bytes]) -> int:
    return programs.exec_room(map(os.fsencode, command), environment.values())


def _plan_source(process: SourceProcess) -> SourcePlan:
    options = process.settings.options
    return SourcePlan(
        name=process.name,
        lease=process.step_limit + _quiet_limit(process) + LEASE_MARGIN,
        required=options["required"],
        timeout=options["timeout"],
        settle=options["settle"],
        place=process.place,
        interfaces=process.interfaces if process.is_declared else None,
    )


def _make_job(process: SourceProcess, interval: float) -> Job:
    context = Context(
        name=process.settings.name,
        part=process.part,
        options=process.settings.options,
        interval=interval,
        interfaces=process.interfaces,
        memory={},
    )
    return Job(process.settings.source, context, (process.step_limit, _quiet_limit(process)))


def _quiet_limit(process: SourceProcess) -> float:
    """Return how long (seconds) a source may say nothing."""
    return min(QUIET, process.step_limit / 4)


def _log_overview(site: Site) -> None:
    """Log what was loaded, and what sources remark on their options."""
    logger = logging.getLogger(__name__)
    for settings in site.settings.sources:
        for remark in settings.source.remarks(settings.options):
            about = {"event": "remark", "source": settings.name}
            logger.info("source %s: %s", settings.name, remark, extra={"fields": about})
    interfaces = sorted(site.named_interfaces())
    sources = [f"{process.name} ({process.place})" if process.place else process.name for process in site.processes]
    on = f" on {plural(len(interfaces), 'interface')} ({shorten(interfaces, NAMES_LIMIT)})" if interfaces else ""
    from_ = f": {shorten(sources, NAMES_LIMIT)}" if sources else ""
    logger.info("%s%s, %s%s", plural(len(site.rules), "rule"), on, plural(len(sources), "source"), from_)


def _import_shared(site: Site) -> None:
    """Import what several processes need before they are forked: so they share its memory."""
    types = [process.settings.type for process in site.processes]
    for type_, source in {process.settings.type: process.settings.source for process in site.processes}.items():
        if types.count(type_) > 1:
            source.preload()
    if len(types) > 1:
        from disco.workers import watcher  # noqa: F401, PLC0415 -- one process alone imports it for itself
