"""The loop: wait for facts, hand each to the lifecycle, do what it answers. It decides nothing.

No threads, no client library, no schema, nothing whose duration depends on data or on a backend.
"""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING

from disco.core import actions, events
from disco.core.ending import Phase
from disco.people import wording
from disco.text import encode, escape
from disco.wire import records

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from disco.core.events import ChildId
    from disco.core.facts import Fact
    from disco.core.lifecycle import Lifecycle
    from disco.core.reasons import Outcome
    from disco.core.status import Status
    from disco.processes.table import ProcessTable
    from disco.system.signals import Signals

log = logging.getLogger(__name__)


class Coordinator:
    """Turns what happens into the lifecycle's events, and executes its actions."""

    def __init__(self, lifecycle: Lifecycle, processes: ProcessTable, signals: Signals, report_path: Path | None = None) -> None:
        """Go by this lifecycle; processes: may hold children already."""
        self.lifecycle = lifecycle
        self._processes = processes
        self._poller = processes.poller
        self._signals = signals
        self._report_path = report_path
        self._events: list[events.Event] = []  # that came of actions

    def run(self, started: Collection[ChildId]) -> Outcome:
        """Run until nothing is below this process; return how disco ends. started: the children that were forked already."""
        self._do(self.lifecycle.start(started))
        while self.lifecycle.phase is not Phase.OVER:
            for event in self._wait():
                self._do(self.lifecycle.handle(event, time.monotonic()))
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
                    self._events += self._processes.start(action.child)
                case actions.Send():
                    self._processes.send(action.child, action.message)
                case actions.Kill():
                    self._processes.kill(action.child, action.number)
                case actions.Report():
                    self._report(action.status)
                case actions.Log():
                    _log_fact(action.fact)

    def _report(self, status: Status) -> None:
        from disco.people import report, report_file  # noqa: PLC0415 -- most starts of disco report nothing

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
