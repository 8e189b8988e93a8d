"""The loop: wait for facts, hand each to the lifecycle, do what it answers. It decides nothing.

No threads, no client library, no schema, nothing whose duration depends on data or on a backend.
"""

from __future__ import annotations

import gc
import logging
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from disco.core import actions, events
from disco.core.ending import Phase
from disco.core.events import Kind
from disco.people import report, report_file, wording
from disco.processes.poller import Poller
from disco.processes.table import ProcessTable
from disco.system import limits, process
from disco.system.signals import find_changed
from disco.text import encode, escape
from disco.wire import records
from disco.workers import entry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from disco.core.events import ChildId
    from disco.core.facts import Fact
    from disco.core.lifecycle import Lifecycle
    from disco.core.reasons import Outcome
    from disco.core.status import Status
    from disco.data.schema import Schema
    from disco.system.signals import Signals

log = logging.getLogger(__name__)


class Coordinator:
    """Turns what happens into the lifecycle's events, and executes its actions."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        jobs: Mapping[str, entry.Job],
        schemas: Mapping[str, Schema],
        signals: Signals,
        report_path: Path | None = None,
    ) -> None:
        """Prepare; nothing is started before `run`."""
        self.lifecycle = lifecycle
        self._jobs = jobs
        self._schemas = schemas
        self._signals = signals
        self._report_path = report_path
        self._events: list[events.Event] = []  # that came of actions

    def run(self) -> Outcome:
        """Run until nothing is below this process; return how disco ends."""
        process.adopt_orphans()
        self._descriptors = limits.limit_descriptors()
        self._poller = Poller(self._signals.listen())
        self._processes = ProcessTable(self._poller)
        limits.return_memory()
        find_changed()  # once, not in each child
        gc.freeze()  # children share what is there now, and never copy it by collecting it
        gc.enable()
        try:
            self._do(self.lifecycle.start())
            while self.lifecycle.phase is not Phase.OVER:
                for event in self._wait():
                    self._do(self.lifecycle.handle(event, time.monotonic()))
        except BaseException:
            self._processes.abandon()  # nothing of disco may outlive this process
            raise
        assert self.lifecycle.outcome  # noqa: S101 -- what OVER means
        return self.lifecycle.outcome

    def _wait(self) -> list[events.Event]:
        """Wait for a fact or the nearest deadline; return the events, acting on nothing: the last is BatchEnded."""
        ready = self._poller.wait(self._timeout())
        now = time.monotonic()
        # Signals first: a SIGHUP that has arrived must be known before all is read, and exec may follow.
        batch: list[events.Event] = [events.SignalReceived(number) for number in self._signals.take() if number != signal.SIGCHLD]
        batch += self._events
        self._events = []
        for stream, mask in ready:
            batch += stream.serve(mask, now)
            self._poller.update(stream)
        batch += self._processes.reap()
        self._poller.resume(now)
        return [*batch, events.BatchEnded()]

    def _timeout(self) -> float | None:
        if self._events:
            return 0.0
        times = [moment for moment in (self._poller.resume_at, self.lifecycle.deadline) if moment is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _do(self, wanted: Iterable[actions.Action]) -> None:
        for action in wanted:
            match action:
                case actions.ReadAll():
                    self._events += [*self._processes.read_arrived(time.monotonic()), events.AllRead()]
                case actions.Start():
                    self._start(action.child)
                case actions.Send():
                    self._processes.send(action.child, action.message)
                case actions.Kill():
                    self._processes.kill(action.child, action.number)
                case actions.Report():
                    self._report(action.status)
                case actions.Log():
                    _log_fact(action.fact)

    def _start(self, child: ChildId) -> None:
        traits = child.kind.value
        memory = self._jobs[child.name].context.options["memory"] if traits.has_backend else None
        main = partial(
            entry.enter,
            work=self._work_of(child),
            descriptors=self._descriptors,
            may_gain_rights=not traits.dies_with_parent,  # a runner's handlers may
        )
        self._events += self._processes.start(child, main, memory)

    def _work_of(self, child: ChildId) -> Callable[[socket.socket], None]:
        """Return what a child does with its end of the channel."""
        match child.kind:
            case Kind.SOURCE:
                return partial(entry.run_watcher, job=self._jobs[child.name], schemas=self._schemas)
            case Kind.CHECKER:
                return partial(entry.run_checker, schemas=self._schemas)
            case Kind.RUNNER:
                return entry.run_runner

    def _report(self, status: Status) -> None:
        lines = [escape(line, records.LINE_LIMIT) for line in report.lines(status)]  # sources' texts are in them
        outcome = status.outcome
        level = logging.ERROR if outcome and outcome.status is not None else logging.WARNING
        for line in lines:
            log.log(level, "%s", line, extra={"fields": {"event": "report"}})
        if self._report_path:
            try:
                report_file.write(self._report_path, encode("\n".join(lines) + "\n", report_file.SIZE_LIMIT))
            except OSError as error:
                log.warning("disco.report_file: %s: %s", self._report_path, error.strerror)


def _log_fact(fact: Fact) -> None:
    sentence = wording.say(fact)
    about = {"source": sentence.source, "rule": sentence.rule, "event": sentence.event}
    fields = {name: value for name, value in about.items() if value}
    log.log(sentence.level, "%s", sentence.text, extra={"fields": fields})
