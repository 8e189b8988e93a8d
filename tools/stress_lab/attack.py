"""The attack on disco's processes: kills, stops and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from lab.processes import parents_below

if TYPE_CHECKING:
    from lab.site import Running

    from stress_lab.log import Log
    from stress_lab.loop import Loop
    from stress_lab.plan import Step

SIGNALS = {
    "kill": signal.SIGKILL, "terminate": signal.SIGTERM, "crash": signal.SIGSEGV, "pause": signal.SIGSTOP, "stop": signal.SIGSTOP,
}  # fmt: skip
HANDLER_TRIES = 30  # looks for a handler that runs


class Attack:
    """What is done to one disco; it knows when that can have delayed a change."""

    def __init__(self, running: Running, log: Log, loop: Loop) -> None:
        """Do nothing yet; log: gives the names of disco's children. loop: continues what was paused."""
        self.count: Counter[str] = Counter()
        self._running = running
        self._coordinator = running.coordinator
        self._log = log
        self._loop = loop
        self._disturbed: list[tuple[int, int, str]] = []  # from, to (ns since the epoch), which source; "" everything
        self._stopped: dict[int, int] = {}  # by pid: its pidfd

    def do(self, step: Step) -> None:
        """Do what a step says, and count it if there was something to do it to."""
        match step.what:
            case "pause disco":
                self.pause(step.seconds)
            case "child signals":
                for _ in range(300):
                    self.send(signal.SIGCHLD)
            case "usr1":
                self._running.process.send_signal(signal.SIGUSR1)
            case "hup":
                self._running.process.send_signal(signal.SIGHUP)
                self._disturb("", 10)
            case _:
                if not self._harm(step):
                    return
        self.count[step.what] += 1

    def pause(self, seconds: float) -> None:
        """Stop disco as a whole for a time."""
        self.send(signal.SIGSTOP)
        self._disturb("", seconds + 1)
        self._loop.after(seconds, lambda: self.send(signal.SIGCONT))

    def send(self, number: int) -> None:
        """Send a signal to disco as a whole: to its first process, and to the coordinator if that is still there."""
        first = self._running.pid
        for pid in (first, *(pid for pid in parents_below(first) if pid == self._coordinator)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def has_disturbed(self, source: str, since: int, until: int) -> bool:
        """Return whether something that was done could delay a source's change in this time (ns since the epoch)."""
        return any(began < until and since < ended and name in ("", source) for began, ended, name in self._disturbed)

    def close(self) -> None:
        """Leave what is stopped as it is."""
        while self._stopped:
            os.close(self._stopped.popitem()[1])

    def _harm(self, step: Step) -> bool:
        """Send a signal to one process below disco; return False if there is none of the kind."""
        verb, _, kind = step.what.split()
        victims = self._find_victims(kind)
        if not victims:
            return False
        victim = victims[int(step.where * len(victims))]
        name = self._log.names.get(victim, "")
        try:
            handle = os.pidfd_open(victim)
        except OSError:
            return False
        if victim not in parents_below(self._running.pid):  # the pid may be another's by now
            os.close(handle)
            return False
        if kind == "child" and not name.startswith("runner-"):
            self._disturb(name or "?", 15)  # a child without a name is what a source left behind
        else:
            self._disturb("", 1 + (step.seconds if verb == "pause" else 0))
        number = SIGNALS[verb]
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        if number == signal.SIGSTOP:
            self._stopped[victim] = handle
            if verb == "pause":
                self._loop.after(step.seconds, lambda: self._continue(victim))
        else:
            os.close(handle)
        return True

    def _find_victims(self, kind: str) -> list[int]:
        for _ in range(HANDLER_TRIES if kind == "handler" else 1):
            parents = parents_below(self._running.pid)
            children = sorted(pid for pid, parent in parents.items() if parent == self._coordinator)
            victims = {
                "child": children,
                "runner": [pid for pid in children if self._log.names.get(pid, "").startswith("runner-")],
                "handler": sorted(pid for pid, parent in parents.items() if parent not in {self._running.pid, self._coordinator}),
            }[kind]
            if victims:
                return victims
            time.sleep(0.002)
        return []

    def _continue(self, pid: int) -> None:
        handle = self._stopped.pop(pid, None)
        if handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            os.close(handle)

    def _disturb(self, source: str, seconds: float) -> None:
        now = time.time_ns()
        self._disturbed.append((now, now + int(seconds * 1e9), source))
