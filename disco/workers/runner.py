"""The process around handlers: runs one at a time, logs what it prints, kills its group at the timeout, adopts what it leaves.

It waits in one place, for: the coordinator, the handler's output, a child's end, the timeout. End of file from the coordinator
means that it is dead: all below is killed at once. After SIGTERM it hands SIGTERM on to all below, and ends after them.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

from disco.errors import ProtocolError
from disco.system import leftovers, reaping
from disco.system.signals import Wakeup, kill, kill_group
from disco.wire.messages import Run, Started
from disco.workers.handler import HandlerRun, Output

if TYPE_CHECKING:
    from disco.wire.channel import Channel


def run(channel: Channel) -> None:
    """Serve until the end of file or SIGTERM."""
    Runner(channel).serve()


class Runner:
    """The runner's loop, and the run that it is busy with."""

    def __init__(self, channel: Channel) -> None:
        """Serve this channel."""
        self._channel = channel
        self._run: HandlerRun | None = None
        self._is_terminated = False  # SIGTERM has arrived
        self._is_stopping = False  # it was handed on
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note_terminate)
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def _note_terminate(self, *_: object) -> None:
        self._is_terminated = True

    def serve(self) -> None:
        """Wait and act until there is nothing left to do."""
        while not (self._is_stopping and not self._run and not reaping.has_children()):
            self._send_rest()
            ready = [key for key, _ in self._selector.select(self._timeout())]
            self._wakeup.drain()
            self._serve_channel(any(key.fileobj is self._channel for key in ready))
            for key in ready:
                if isinstance(key.data, Output):
                    key.data.read()
            if self._is_terminated and not self._is_stopping:
                self._is_stopping = True
                self._terminate()
            self._reap()
            if self._run:
                self._run.enforce_timeout()

    def _timeout(self) -> float | None:
        deadline = self._run.deadline if self._run else None
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def _serve_channel(self, readable: bool) -> None:  # noqa: FBT001 -- a fact
        if readable:
            try:
                for message in self._channel.receive():
                    if isinstance(message, Run) and not self._is_stopping:
                        self._start(message)
            except ProtocolError:
                self._channel.eof = True
            if self._channel.eof:
                self._die()

    def _send_rest(self) -> None:
        """Send what the coordinator has room for, and wait for room if there is more."""
        self._channel.flush()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._channel.unsent else 0)
        if self._selector.get_key(self._channel).events != wanted:
            self._selector.modify(self._channel, wanted)

    def _start(self, task: Run) -> None:
        handler = HandlerRun(task, self._selector)
        if finished := handler.start():
            self._channel.send(finished)
        else:
            self._run = handler
            self._channel.send(Started(task=task.task, pid=handler.pid))

    def _reap(self) -> None:
        for pid, status in reaping.reap(self._prepare_reaping):
            if self._run and pid == self._run.pid:
                self._channel.send(self._run.finish(status))
                self._run = None

    def _prepare_reaping(self, ended: os.waitid_result) -> None:
        if self._run and ended.si_pid == self._run.pid:
            self._run.kill_rest_of_group(ended)

    def _terminate(self) -> None:
        """Send SIGTERM to all below, once to each."""
        below = leftovers.find_below()
        if self._run and self._run.pid not in below:  # /proc does not show it
            below.append(-self._run.pid)
        for pid in below:
            kill(pid, signal.SIGTERM)

    def _die(self) -> None:
        """Kill all below, and end: the coordinator is dead."""
        if self._run:
            kill_group(self._run.pid)  # at once, even where the others are hard to find
        leftovers.kill_all()
        os._exit(0)
