"""The children of a process that adopts orphans: reap them, and kill those that it did not fork itself.

A child keeps its number until it is reaped, and only this process reaps it: what is found here cannot be somebody else by the time
that it is killed.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from disco.system import signals

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

PID_MAX = 1 << 22  # proc(5)


def reap(own: Container[int] | None = None) -> Iterator[tuple[int, int]]:
    """Yield pid and status (as os.waitstatus_to_exitcode gives it) of each child that has ended, until none is left.

    With `own`, the children that this process forked: the process group of whoever ended is killed before it is reaped. So a
    process that forks and exits for ever does not escape.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            if own is not None:
                _kill_group_of(ended.si_pid, own)
            pid, status = os.waitpid(ended.si_pid, 0)
        except ChildProcessError:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def exist() -> bool:
    """Return whether there is any child, living or to be reaped; if not, nothing at all is below this process."""
    try:
        _find_ended()
    except ChildProcessError:
        return False
    return True


def kill_orphans(own: Container[int]) -> tuple[int, ...]:
    """Kill all living children that are not our `own`, with their process groups; return their pids: if none, there is none.

    Whoever died while we looked may have left a child that we did not see, and counts as well.
    """
    found = []
    for pid in _candidates():
        if pid not in own and _is_living_child(pid):
            _kill_group_of(pid, own)
            signals.kill(pid, signal.SIGKILL)
            found.append(pid)
    if not found and exist() and (ended := _find_ended()):
        found.append(ended)
    return tuple(reversed(found))


def kill_all() -> None:
    """Kill all children and what comes to us as they die; return when there is none."""
    while exist():
        kill_orphans(())
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        for _ in reap(()):
            pass


def _candidates() -> Iterable[int]:
    """Return the pids that a child may have, the newest first: some processes live for a moment only."""
    try:
        pids = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208 -- names only
        is_whole = os.getppid() in pids and os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115 -- as above
    except OSError:
        is_whole = False
    if is_whole:
        return sorted(pids, reverse=True)
    # No /proc, one that hides processes (our parent, which nobody may look into, is the first), or another namespace's: what we
    # forked came after us, and its orphans too.
    newest = _newest()
    return range(newest, os.getpid(), -1) if newest > os.getpid() else range(PID_MAX, 1, -1)


def _newest() -> int:
    """Return the number that the kernel gave last; 0 if it gives none."""
    try:
        pid = os.fork()
    except OSError:
        return 0
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def _find_ended() -> int:
    """Return a child that has ended and is not reaped, 0 if none has."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended.si_pid if ended else 0


def _is_living_child(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _kill_group_of(pid: int, own: Container[int]) -> None:
    """Kill the process group of a child that is not reaped yet, unless another child of our own, or this process, leads it."""
    try:
        group = os.getpgid(pid)
        if group == pid or (group != os.getpgrp() and group not in own):
            os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
