"""Limits: of time for a body of code, of descriptors, of the memory that is kept."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from disco.system import libc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

LARGE_BLOCK = 1 << 20  # bytes
_PAGE = os.sysconf("SC_PAGE_SIZE")
_REPEAT = 0.1  # seconds until a limit whose exception was swallowed raises again
_SOON = 0.001  # seconds; 0 would switch a timer off


class Overrun(Exception):  # noqa: N818 -- it is what happened, and seldom an error
    """A limit set by `time_limit` or `cpu_limit` has passed."""


def _raise_overrun(_number: int, _frame: FrameType | None) -> None:
    raise Overrun


class _Limit:
    """A `with` whose body is interrupted by Overrun after a time; in the main thread of a process only.

    The timer repeats: an exception raised inside a `__del__` or a broad `except` of a library is swallowed. One limit may
    lie within another: what is left of the outer one bounds the inner one, and goes on when that ends.
    """

    def __init__(self, timer: int, number: int, clock: Callable[[], float], seconds: float) -> None:
        self._timer = timer
        self._number = number
        self._clock = clock
        self._seconds = seconds

    def __enter__(self) -> None:
        self._began = self._clock()
        self._outer_left, self._outer_repeats = signal.getitimer(self._timer)
        self._outer = signal.signal(self._number, _raise_overrun)
        signal.setitimer(self._timer, min(self._seconds, self._outer_left or self._seconds), _REPEAT)

    def __exit__(self, *_exception: object) -> None:
        try:
            signal.signal(self._number, signal.SIG_IGN)
        finally:  # the line above may raise the last Overrun; the timer has to stop even then
            signal.signal(self._number, signal.SIG_IGN)
            signal.setitimer(self._timer, 0)
        if self._outer_left:
            signal.signal(self._number, self._outer)
            left = max(self._outer_left - (self._clock() - self._began), _SOON)
            signal.setitimer(self._timer, left, self._outer_repeats)


def time_limit(seconds: float) -> _Limit:
    """Raise Overrun in the body of a `with` after so many seconds."""
    return _Limit(signal.ITIMER_REAL, signal.SIGALRM, time.monotonic, seconds)


def cpu_limit(seconds: float) -> _Limit:
    """Raise Overrun in the body of a `with` after so many seconds of this process's own CPU time: load does not count."""
    return _Limit(signal.ITIMER_VIRTUAL, signal.SIGVTALRM, time.process_time, seconds)


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let this process take so many bytes of memory more than it has, in the body of a `with`.

    Python raises MemoryError beyond that; other languages' libraries abort the process. Without /proc there is no limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = address_space() + more
    is_lower = limit > more and (soft == resource.RLIM_INFINITY or limit < soft)
    if is_lower:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        if is_lower:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def limit_descriptors(limits: tuple[int, int] | None = None) -> tuple[int, int]:
    """Set the soft and the hard limit of this process's descriptors; return those before.

    Without limits: as many as it may have. A child takes two, a source three.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits or (before[1], before[1]))
    return before


def return_memory() -> None:
    """Have the C library give this process's and its children's large blocks back to the system when they are freed.

    When such a block is freed, glibc expects that its like will be wanted again, and from then on keeps up to 64 MiB
    (mallopt(3)). What passed through once would stay in each process.
    """
    libc.set_mmap_threshold(LARGE_BLOCK)


def address_space() -> int:
    """Return the bytes that this process has mapped; 0 if that cannot be seen."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 -- as below
            return int(file.read().split()[0]) * _PAGE
    except OSError:
        return 0


def resident_memory(pid: int) -> int:
    """Return the bytes of memory in which a process resides; 0 if that cannot be seen, as where it has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 -- each time that a source was at work
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0
