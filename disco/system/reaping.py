"""Reaping: the ends of this process's children, in the order in which the kernel gives them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT  # look, without waiting and without reaping


def reap(prepare: Callable[[os.waitid_result], None] = lambda _ended: None) -> Iterator[tuple[int, int]]:
    """Yield pid and status (as os.waitstatus_to_exitcode gives it) of each child that has ended, until none is left.

    prepare: is called before a child is reaped, while nobody else can have its pid.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, _ENDED)
            if ended is None:
                return
            prepare(ended)
            pid, status = os.waitpid(ended.si_pid, 0)
        except ChildProcessError:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def has_children() -> bool:
    """Return whether there is any child, living or to be reaped; if not, nothing at all is below this process."""
    try:
        find_ended()
    except ChildProcessError:
        return False
    return True


def find_ended() -> int:
    """Return the pid of a child that has ended and is not reaped, 0 if none has.

    Raises:
        ChildProcessError: there is no child.

    """
    ended = os.waitid(os.P_ALL, 0, _ENDED)
    return ended.si_pid if ended else 0


def is_living_child(pid: int) -> bool:
    """Return whether a pid is that of a child of this process which has not ended."""
    try:
        return os.waitid(os.P_PID, pid, _ENDED) is None
    except ChildProcessError:
        return False
