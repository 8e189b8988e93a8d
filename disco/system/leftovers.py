"""Leftovers: what is below this process and was not forked by it. They are killed, or asked to end.

A child keeps its pid until it is reaped, and only this process reaps it. So a pid that is seen here is still the same child
when it is killed.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from disco.system import reaping, signals

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

PID_MAX = 1 << 22  # proc(5)


def kill_orphans(own: Container[int]) -> tuple[int, ...]:
    """Kill all living children that are not this process's `own`, with their process groups; return their pids.

    If none is returned, there is none: a process that died meanwhile may have left a child unseen, and counts as well.
    """
    killed = []
    for pid in _candidates():
        if pid not in own and reaping.is_living_child(pid):
            kill_group_of(pid, own)
            signals.kill(pid, signal.SIGKILL)
            killed.append(pid)
    if not killed and reaping.has_children() and (ended := reaping.find_ended()):
        killed.append(ended)
    return tuple(reversed(killed))


def kill_all() -> None:
    """Kill all children and what comes to this process as they die; return when there is none."""
    while reaping.has_children():
        kill_orphans(())
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        for _ in reaping.reap(lambda ended: kill_group_of(ended.si_pid, ())):
            pass


def kill_group_of(pid: int, own: Container[int]) -> None:
    """Kill the process group of a child that is not reaped yet, unless an `own` child, or this process, leads it.

    To be called before each reaping: so a process that forks and exits for ever does not escape.
    """
    try:
        group = os.getpgid(pid)
        if group == pid or (group != os.getpgrp() and group not in own):
            os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def find_below() -> list[int]:
    """Return the pids of all that is below this process, as far as /proc shows it."""
    import psutil  # noqa: PLC0415 -- slow to import, and rarely needed

    try:
        return [process.pid for process in psutil.Process().children(recursive=True)]
    except (psutil.Error, OSError):
        return []


def _candidates() -> Iterable[int]:
    """Return the pids that a child may have, the newest first: some processes live for a moment only."""
    try:
        pids = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208 -- names only
        is_whole = os.getppid() in pids and os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115 -- names only
    except OSError:
        is_whole = False
    if is_whole:
        return sorted(pids, reverse=True)
    # There is no /proc, or it is another namespace's, or it hides processes (our parent, which nobody may look into, is the
    # first). What this process forked came after it, and so did the orphans.
    newest = _find_newest()
    return range(newest, os.getpid(), -1) if newest > os.getpid() else range(PID_MAX, 1, -1)


def _find_newest() -> int:
    """Return the pid that the kernel gave last; 0 if it gives none."""
    try:
        pid = os.fork()
    except OSError:
        return 0
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
