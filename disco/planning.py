"""From a loaded site to what the coordinator goes by: the plan of the core."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from disco.coordinator import Coordinator
from disco.core.lifecycle import Lifecycle
from disco.core.plan import Plan, SourcePlan
from disco.launching import quiet_limit
from disco.system import chance, programs
from disco.text import PATH_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from disco.core.goals import Goal
    from disco.launching import Launched
    from disco.site.loading import Site, SourceProcess
    from disco.system.signals import Signals

LEASE_MARGIN = 6.0  # seconds: the watcher's own margin, its start after an error, and load


def prepare(  # noqa: PLR0913, PLR0917 -- all that a coordinator needs
    site: Site, command: Sequence[str], environment: Mapping[bytes, bytes], signals: Signals, launched: Launched, goal: Goal
) -> Coordinator:
    """Return the coordinator of a site, ready to run.

    command: empty if it is not known. environment: that of handlers, whole entries by name.
    """
    lifecycle = Lifecycle(_plan(site, command, environment), goal, time.monotonic(), chance.share)
    return Coordinator(lifecycle, launched.processes, signals, site.settings.report_file)


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
        lease=process.step_limit + quiet_limit(process) + LEASE_MARGIN,
        required=options["required"],
        timeout=options["timeout"],
        settle=options["settle"],
        place=process.place,
        interfaces=process.interfaces if process.is_declared else None,
    )
