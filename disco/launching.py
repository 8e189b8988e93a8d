"""Launching: in the coordinator's process, fork the children with which every start begins, before anything else is imported.

A backend's client takes long to import, and its process is busy with that while the coordinator imports the lifecycle. Children
also need less memory when they are forked from little.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from disco.core.events import ChildId, Kind, runner
from disco.named import NamedTuple
from disco.processes.poller import Poller
from disco.processes.table import ProcessTable
from disco.sources import Context
from disco.system import limits, process
from disco.system.signals import find_changed
from disco.workers.entry import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disco.site.loading import Site, SourceProcess
    from disco.system.signals import Signals

QUIET = 10.0  # seconds for which a source need not say that nothing is new


class Launched(NamedTuple):
    """The table of processes, and the children that are in it."""

    processes: ProcessTable
    children: frozenset[ChildId]


@contextmanager
def launch(site: Site, signals: Signals, *, runs_handlers: bool) -> Iterator[Launched]:
    """Fork a site's sources and, to run handlers, the first runner.

    What the system refuses to fork is left to the lifecycle. If the body of the `with` raises, nothing outlives this process.
    """
    process.adopt_orphans()
    jobs = {each.name: _make_job(each, site.settings.interval) for each in site.processes}
    processes = ProcessTable(Poller(signals.listen()), jobs, site.schemas, limits.limit_descriptors())
    try:
        _import_shared(site)
        limits.return_memory()
        find_changed()  # once, not in each child
        gc.freeze()  # children share what is there now, and never copy it by collecting it
        gc.enable()
        children = [ChildId(Kind.SOURCE, name) for name in jobs] + [runner(1)] * runs_handlers
        forked = frozenset(child for child in children if not processes.start(child))
        gc.disable()  # until the coordinator has imported what it needs
        yield Launched(processes, forked)
    except BaseException:
        processes.abandon()
        raise


def quiet_limit(process: SourceProcess) -> float:
    """Return how long (seconds) a source may say nothing."""
    return min(QUIET, process.step_limit / 4)


def _make_job(process: SourceProcess, interval: float) -> Job:
    context = Context(
        name=process.settings.name,
        part=process.part,
        options=process.settings.options,
        interval=interval,
        interfaces=process.interfaces,
        memory={},
    )
    return Job(process.settings.source, context, (process.step_limit, quiet_limit(process)))


def _import_shared(site: Site) -> None:
    """Import what several processes need before they are forked: so they share its memory."""
    types = [each.settings.type for each in site.processes]
    for type_, source in {each.settings.type: each.settings.source for each in site.processes}.items():
        if types.count(type_) > 1:
            source.preload()
    if len(types) > 1:
        from disco.workers import watcher  # noqa: F401, PLC0415 -- one process alone imports it for itself
