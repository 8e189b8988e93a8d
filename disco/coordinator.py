"""The loop: the only place that waits, forks, sends and kills. It decides nothing; the lifecycle does.

No threads, no client library, no schema, nothing whose duration depends on data or on a backend.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import sys
import threading
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TextIO

from disco.core import actions, events
from disco.core.ending import Phase
from disco.core.events import ChildId, Kind
from disco.errors import ProtocolError, explain_failure
from disco.people import log, report, report_file, wording
from disco.system import leftovers, limits, process, reaping
from disco.system.signals import find_changed, kill, kill_group
from disco.text import encode, escape
from disco.wire import records
from disco.wire.channel import CHUNK, BlockingChannel, Channel
from disco.wire.messages import BODY_LIMIT

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from disco.core.lifecycle import Lifecycle
    from disco.core.reasons import Outcome
    from disco.core.status import Status
    from disco.data.schema import Schema
    from disco.sources import Context, Source
    from disco.system.signals import Signals

LOG_CHUNK = 16 << 10  # bytes of log read at a time
PAGE = os.sysconf("SC_PAGE_SIZE")
REPORT_LIMIT = 4096  # bytes of the report in a file: what Kubernetes takes of a termination log
LAST_WORDS_LIMIT = 1 << 20  # bytes of log read of a child that has ended
MEMORY_PAUSE = 0.05  # seconds, at least, between looks at one process's memory
# Of one child, messages and lines at a time that are read as they come; beyond, it has to wait: backpressure, not loss.
BURST, MESSAGES_A_SECOND, LINES_A_SECOND, LINE_SIZE = 20, 200.0, 1000.0, 512


class Job(NamedTuple):
    """What a source's process runs: the source, its context, and the watcher's two limits."""

    source: Source
    context: Context
    limits: tuple[float, float]


@dataclass
class _Process:
    """A child and the lines of its log."""

    id: ChildId
    child: process.Child
    lines: records.LineReader
    clock: int | None = None  # of a source: a byte comes here when it has used some CPU time
    log_eof: bool = False
    clock_eof: bool = False

    def ends(self) -> dict[str, Channel | int]:
        """Return the ends to wait on: the channel, and descriptors."""
        ends: dict[str, Channel | int] = {CHANNEL: self.child.channel, LOG: self.child.log}
        return ends if self.clock is None else ends | {CLOCK: self.clock}

    def is_at_eof(self, what: str) -> bool:
        """Return whether nothing more comes from an end."""
        match what:
            case "channel":
                return self.child.channel.eof
            case "log":
                return self.log_eof
            case _:
                return self.clock_eof


CHANNEL, LOG, CLOCK = "channel", "log", "clock"


class Coordinator:
    """Executes the lifecycle's actions, and turns what happens into its events."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        jobs: Mapping[str, Job],
        schemas: Mapping[str, Schema],
        signals: Signals,
        report_path: Path | None = None,
    ) -> None:
        """Prepare; nothing is started before `run`."""
        self._report_path = report_path
        self.lifecycle = lifecycle
        self._jobs = jobs
        self._schemas = schemas
        self._signals = signals
        self._processes: dict[ChildId, _Process] = {}
        self._pids: dict[int, ChildId] = {}
        self._selector = selectors.DefaultSelector()
        self._events: list[events.Event] = []  # of actions
        self._paused: dict[tuple[ChildId, str], float] = {}  # what is not read before a time: it said too much at once
        self._descriptors = (0, 0)  # the limits as they were found

    def run(self) -> Outcome:
        """Run until nothing is below this process; return how disco ends."""
        process.adopt_orphans()
        self._descriptors = limits.limit_descriptors()
        self._selector.register(self._signals.listen(), selectors.EVENT_READ)
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
            # Nothing of ours may outlive this process. Runners see its end, and have handlers to kill first.
            leftovers.kill_orphans({pid for pid, child in self._pids.items() if not child.kind.value.dies_with_parent})
            raise
        assert self.lifecycle.outcome  # noqa: S101 -- what OVER means
        return self.lifecycle.outcome

    # Facts

    def _wait(self) -> list[events.Event]:
        """Wait for a fact or the nearest deadline; return the events, acting on nothing: the last is BatchEnded."""
        ready = self._selector.select(self._timeout())
        now = time.monotonic()
        # Signals first: a SIGHUP that has arrived must be known before all is read, and exec may follow.
        found: list[events.Event] = [events.SignalReceived(number) for number in self._signals.take() if number != signal.SIGCHLD]
        found += self._events
        self._events = []
        for key, mask in ready:
            if isinstance(key.data, tuple):
                child, what = key.data
                found += self._serve(child, what, mask, now)
        found += self._reap()
        for paused in [paused for paused, until in self._paused.items() if until <= now]:
            del self._paused[paused]
            self._watch(*paused)
        return [*found, events.BatchEnded()]

    def _timeout(self) -> float | None:
        if self._events:
            return 0.0
        times = [*self._paused.values()]
        if self.lifecycle.deadline is not None:
            times.append(self.lifecycle.deadline)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _serve(self, child: ChildId, what: str, mask: int, now: float) -> list[events.Event]:
        one = self._processes[child]
        found: list[events.Event] = []
        if what == LOG:
            self._pace(child, LOG, self._read_log(one, LOG_CHUNK), now)
            return found
        if what == CLOCK and one.clock is not None:
            one.clock_eof = not _drain(one.clock)
            self._paused[child, CLOCK] = now + MEMORY_PAUSE
            self._watch(child, CLOCK)
            return self._weigh(one)
        if mask & selectors.EVENT_WRITE:
            one.child.channel.flush()
        if mask & selectors.EVENT_READ:
            # A library may have taken the clock's signal for itself.
            found = [*self._read(one, CHUNK), *self._weigh(one)]
        self._pace(child, CHANNEL, len(found), now)
        return found

    def _pace(self, child: ChildId, what: str, count: int, now: float) -> None:
        """Let a child that said too much at once wait before it is read again."""
        if count > BURST:
            self._paused[child, what] = now + count / (LINES_A_SECOND if what == LOG else MESSAGES_A_SECOND)
        self._watch(child, what)

    def _weigh(self, one: _Process) -> list[events.Event]:
        """Look at a source's resident memory; whatever cannot be looked at has none."""
        if one.clock is None:
            return []
        limit = self._jobs[one.child.name].context.options["memory"]
        try:
            with open(f"/proc/{one.child.pid}/statm", "rb") as file:  # noqa: PTH123 -- each time that a source was at work
                size = int(file.read().split()[1]) * PAGE
        except OSError:
            return []
        return [events.MemoryExceeded(one.id, limit)] if size > limit else []

    def _read(self, one: _Process, budget: int) -> list[events.Event]:
        found: list[events.Event] = []
        try:
            found += (events.MessageReceived(one.id, message) for message in one.child.channel.receive(budget))
        except ProtocolError as error:
            one.child.channel.eof = True
            found.append(events.ProtocolViolated(one.id, str(error)))
        return found

    def _read_all(self) -> None:
        """Read what lies in each channel at this moment; a paused one is not watched, and is asked itself."""
        now = time.monotonic()
        ready = [key.data[0] for key, _ in self._selector.select(0) if isinstance(key.data, tuple) and key.data[1] == CHANNEL]
        for child in dict.fromkeys([*ready, *(child for child, what in self._paused if what == CHANNEL)]):
            one = self._processes[child]
            if not one.child.channel.eof:
                found = self._read(one, one.child.channel.arrived())
                self._events += found
                self._pace(child, CHANNEL, len(found), now)
        self._events.append(events.AllRead())

    def _read_log(self, one: _Process, limit: int) -> int:
        """Log what a child wrote, up to so many bytes; return how much that was, in lines (a long one counts for several)."""
        count = 0
        while limit > 0 and not one.log_eof:
            try:
                data = os.read(one.child.log, min(limit, LOG_CHUNK))
            except BlockingIOError:
                break
            except OSError:
                data = b""
            for level, text, fields in one.lines.feed(data):
                log.emit(level, one.child.name, one.child.pid, text, _about(one.id, fields))
                count += 1
            one.log_eof = not data
            limit -= len(data)
            count += len(data) // LINE_SIZE
        return count

    def _watch(self, child: ChildId, what: str) -> None:
        """Wait for what is needed: input until the end of file, unless it is paused; room while something is unsent."""
        one = self._processes.get(child)
        if one is None:
            return
        end = one.ends()[what]
        wanted = 0 if one.is_at_eof(what) or (child, what) in self._paused else selectors.EVENT_READ
        if what == CHANNEL and one.child.channel.unsent:
            wanted |= selectors.EVENT_WRITE
        key = self._selector.get_map().get(end)
        if key is None and wanted:
            self._selector.register(end, wanted, (child, what))
        elif key is not None and not wanted:
            self._selector.unregister(end)
        elif key is not None and key.events != wanted:
            self._selector.modify(end, wanted, (child, what))

    def _reap(self) -> list[events.Event]:
        """Return the last words of the children that have ended, what is left of orphans, and then those children's ends.

        What a child leaves behind comes to this process as it dies. So a child has ended when all that was killed.
        """
        ended = list(reaping.reap(lambda ended: leftovers.kill_group_of(ended.si_pid, self._pids)))
        if not ended:
            return []
        found: list[events.Event] = []
        ends: list[events.Event] = []
        for pid, status in ended:
            if child := self._pids.pop(pid, None):  # else an orphan
                found += self._bury(child)
                ends.append(events.ChildExited(child, status))
        return [*found, events.LeftoversFound(leftovers.kill_orphans(self._pids) if reaping.has_children() else ()), *ends]

    def _bury(self, child: ChildId) -> list[events.Event]:
        """Forget a dead child; return its last words."""
        one = self._processes.pop(child)
        # Until nothing is there now: a grandchild may keep either pipe open.
        found = self._read(one, BODY_LIMIT) if not one.child.channel.eof else []
        self._read_log(one, LAST_WORDS_LIMIT)
        for what, end in one.ends().items():
            self._paused.pop((child, what), None)
            if end in self._selector.get_map():
                self._selector.unregister(end)
        one.child.channel.close()
        os.close(one.child.log)
        if one.clock is not None:
            os.close(one.clock)
        return found

    # Actions

    def _do(self, wanted: Iterable[actions.Action]) -> None:
        for action in wanted:
            match action:
                case actions.ReadAll():
                    self._read_all()
                case actions.Start():
                    self._start(action)
                case actions.Send():
                    if action.child in self._processes:  # else its end, or why it did not start, is on its way
                        self._processes[action.child].child.channel.send(action.message)
                        self._watch(action.child, CHANNEL)
                case actions.Kill():
                    self._kill(action)
                case actions.Report():
                    self._report(action.status)
                case actions.Log():
                    said = wording.say(action.fact)
                    about = {"source": said.source, "rule": said.rule, "event": said.event}
                    fields = {name: value for name, value in about.items() if value}
                    logging.getLogger(__name__).log(said.level, "%s", said.text, extra={"fields": fields})

    def _report(self, status: Status) -> None:
        lines = [escape(line, records.LINE_LIMIT) for line in report.lines(status)]  # sources' texts are in them
        outcome = status.outcome
        level = logging.ERROR if outcome and outcome.status is not None else logging.WARNING
        for line in lines:
            logging.getLogger(__name__).log(level, "%s", line, extra={"fields": {"event": "report"}})
        if self._report_path:
            try:
                report_file.write(self._report_path, encode("\n".join(lines) + "\n", REPORT_LIMIT))
            except OSError as error:
                logging.getLogger(__name__).warning("disco.report_file: %s: %s", self._report_path, error.strerror)

    def _start(self, action: actions.Start) -> None:
        main, dies = self._main(action.child)
        clock = None
        with ExitStack() as kept, ExitStack() as lent:
            try:
                besides: list[int] = []
                if action.child.kind.value.has_backend:
                    clock, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                    kept.callback(os.close, clock)
                    lent.callback(os.close, writer)
                    besides.append(writer)
                child = process.fork(action.child.name, main, dies_with_parent=dies, besides=besides)
            except OSError as error:
                reason = ": ".join(filter(None, (error.filename, error.strerror)))
                self._events.append(events.ForkFailed(action.child, reason))
                return
            kept.pop_all()
        one = self._processes[action.child] = _Process(action.child, child, records.LineReader(), clock)
        self._pids[child.pid] = action.child
        for what in one.ends():
            self._watch(action.child, what)

    def _main(self, child: ChildId) -> tuple[Callable[[socket.socket], None], bool]:
        """Return what a child runs, and whether the kernel kills it with the coordinator.

        A runner is not killed: it sees the end of file, and has its handler to kill first.
        """

        def main(end: socket.socket) -> None:
            log.enter_child(2)
            limits.limit_descriptors(self._descriptors)
            process.adopt_orphans()  # what it leaves behind stays below it, and comes to us when it dies
            if child.kind.value.dies_with_parent:
                process.confine()
            # The interpreter's own print the text, which may hold a secret.
            sys.unraisablehook = _tell_unraisable
            threading.excepthook = _tell_thread
            warnings.showwarning = _tell_warning
            logging.getLogger(__name__).debug("started")
            try:
                self._work(child, end)
            except Exception as error:
                logging.getLogger(__name__).error("%s", explain_failure(error))  # noqa: TRY400 -- its text may hold a secret
                raise

        return main, child.kind.value.dies_with_parent

    def _work(self, child: ChildId, end: socket.socket) -> None:
        """Be a child, with its end of the channel."""
        if child.kind is Kind.RUNNER:
            from disco.workers import runner  # noqa: PLC0415 -- only what a process needs

            runner.run(Channel(end))
        elif child.kind is Kind.CHECKER:
            from disco.workers import checker  # noqa: PLC0415 -- as above

            checker.run(BlockingChannel(end), self._schemas)
        else:
            from disco.workers import watcher  # noqa: PLC0415 -- as above

            job = self._jobs[child.name]
            watcher.report_cpu_time(process.CHANNEL_FD + 1)
            watcher.run(job.source, job.context, self._schemas, BlockingChannel(end).send, job.limits)

    def _kill(self, action: actions.Kill) -> None:
        if action.child not in self._processes:
            return
        pid = self._processes[action.child].child.pid
        (kill_group if action.number == signal.SIGKILL else kill)(pid, action.number)


def _about(child: ChildId, said: records.Fields) -> records.Fields:
    """Return what a child's record is about: of what it says only what it can know, and no event of ours."""
    traits = child.kind.value
    about = {"source": child.name} if traits.has_backend else {}
    about |= {name: said[name] for name in traits.may_name if name in said}
    return about | ({"event": said["event"]} if said.get("event") in traits.may_tell else {})


def _tell_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Log the class of an exception that could not be raised (in a library's `__del__`, say): its text may hold a secret."""
    logging.getLogger(__name__).debug("%s was raised where nobody could catch it", unraisable.exc_type.__name__)


def _tell_thread(uncaught: threading.ExceptHookArgs) -> None:
    """Log the class of an exception that ended a library's thread."""
    logging.getLogger(__name__).debug("%s ended a thread of a library's", uncaught.exc_type.__name__)


def _tell_warning(  # noqa: PLR0913, PLR0917 -- as in warnings.showwarning
    message: Warning | str,  # noqa: ARG001 -- not told
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Log the class of a warning, and where it comes from."""
    logging.getLogger(__name__).debug("%s at %s:%d", category.__name__, filename, lineno)


def _drain(descriptor: int) -> bool:
    """Read what is there; return False at the end of file."""
    try:
        return bool(os.read(descriptor, CHUNK))
    except BlockingIOError:
        return True
