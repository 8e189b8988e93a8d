"""The table of the children's processes: forks, sends, kills, reads and reaps; each descriptor is closed here, once.

Children are forked before the core is imported: nothing here needs more of it than its events.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from disco.core.events import ChildExited, ForkFailed, Kind, LeftoversFound
from disco.processes.streams import Log, Memory, Messages, Ticks
from disco.system import leftovers, process, reaping
from disco.system.signals import kill, kill_group
from disco.workers.entry import enter, run_checker, run_runner, run_watcher

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from disco.core.events import ChildId, Event
    from disco.data.schema import Schema
    from disco.processes.poller import Poller
    from disco.processes.streams import Stream
    from disco.wire.messages import Message
    from disco.workers.entry import Job


class ChildProcess:
    """A forked child and its streams."""

    __slots__ = ("id", "messages", "pid", "streams")

    def __init__(self, child: ChildId, forked: process.Child, ticks: int | None, memory_limit: int) -> None:
        """Own all descriptors. ticks: of a source, the reading end of its CPU time."""
        self.id = child
        self.pid = forked.pid
        memory = None if ticks is None else Memory(child, forked.pid, memory_limit)
        self.messages = Messages(child, forked.channel, memory)
        self.streams: list[Stream] = [self.messages, Log(child, forked.pid, forked.log)]
        if ticks is not None and memory:
            self.streams.append(Ticks(ticks, memory))


class ProcessTable:
    """All children that were forked and are not reaped."""

    def __init__(
        self, poller: Poller, jobs: Mapping[str, Job], schemas: Mapping[str, Schema], descriptors: tuple[int, int]
    ) -> None:
        """Start without any. jobs: those of the sources. descriptors: their soft and hard limit at disco's start."""
        self.poller = poller
        self._jobs = jobs
        self._schemas = schemas
        self._descriptors = descriptors
        self._by_id: dict[ChildId, ChildProcess] = {}
        self._by_pid: dict[int, ChildProcess] = {}

    def start(self, child: ChildId) -> list[Event]:
        """Fork a child that does its work; return the event that the system refused, if it did."""
        traits = child.kind.value
        # A source has the writing end of its ticks as the descriptor after its channel.
        memory_limit = self._jobs[child.name].context.options["memory"] if traits.has_backend else None
        main = partial(
            enter,
            work=self._work_of(child),
            descriptors=self._descriptors,
            may_gain_rights=not traits.dies_with_parent,  # a runner's handlers may
        )
        ticks, besides = None, []
        with ExitStack() as kept, ExitStack() as lent:
            try:
                if memory_limit is not None:
                    ticks, writer = process.open_pipe(kept, lent, os.O_NONBLOCK)
                    besides.append(writer)
                forked = process.fork(child.name, main, dies_with_parent=traits.dies_with_parent, besides=besides)
            except OSError as error:
                return [ForkFailed(child, ": ".join(filter(None, (error.filename, error.strerror))))]
            kept.pop_all()
        started = self._by_id[child] = self._by_pid[forked.pid] = ChildProcess(child, forked, ticks, memory_limit or 0)
        for stream in started.streams:
            self.poller.update(stream)
        return []

    def _work_of(self, child: ChildId) -> Callable[[socket.socket], None]:
        """Return what a child does with its end of the channel."""
        match child.kind:
            case Kind.SOURCE:
                return partial(run_watcher, job=self._jobs[child.name], schemas=self._schemas)
            case Kind.CHECKER:
                return partial(run_checker, schemas=self._schemas)
            case Kind.RUNNER:
                return run_runner

    def send(self, child: ChildId, message: Message) -> None:
        """Send a message; to a child without a process nothing is sent: its end, or why it did not start, is on its way."""
        if entry := self._by_id.get(child):
            entry.messages.channel.send(message)
            self.poller.update(entry.messages)

    def kill(self, child: ChildId, number: int) -> None:
        """Signal a child, if it has a process; for SIGKILL its whole process group."""
        if entry := self._by_id.get(child):
            (kill_group if number == signal.SIGKILL else kill)(entry.pid, number)

    def read_arrived(self, now: float) -> list[Event]:
        """Return the messages that lie in the channels at this moment, the paused ones included."""
        events: list[Event] = []
        for stream in self.poller.find_unread():
            if isinstance(stream, Messages):
                events += stream.read_arrived(now)
                self.poller.update(stream)
        return events

    def reap(self) -> list[Event]:
        """Return the last messages of the children that have ended, then the orphans still there, then those children's exits.

        What a child leaves behind comes to this process as it dies. So a child has ended when all that was killed.
        """
        ended = list(reaping.reap(lambda child: leftovers.kill_group_of(child.si_pid, self._by_pid)))
        if not ended:
            return []
        events: list[Event] = []
        exits: list[Event] = []
        for pid, status in ended:
            if entry := self._by_pid.pop(pid, None):  # else an orphan
                events += self._bury(entry)
                exits.append(ChildExited(entry.id, status))
        left = leftovers.kill_orphans(self._by_pid) if reaping.has_children() else ()
        return [*events, LeftoversFound(left), *exits]

    def abandon(self) -> None:
        """Kill all but those that outlive this process for a moment: runners see its end, and have handlers to kill first."""
        leftovers.kill_orphans({pid for pid, entry in self._by_pid.items() if not entry.id.kind.value.dies_with_parent})

    def _bury(self, entry: ChildProcess) -> list[Event]:
        """Close all streams of a dead child; return its last messages."""
        del self._by_id[entry.id]
        events: list[Event] = []
        for stream in entry.streams:
            events += stream.read_last()
            self.poller.forget(stream)
            stream.close()
        return events
