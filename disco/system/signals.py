"""Signals as data, sending them, and what fork and exec must put back.

Handlers only note the number in a set (the wakeup descriptor merely wakes: in a storm its bytes are dropped). Until the loop
runs there is nothing to stop, so a stop signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from types import FrameType

TERM, KILL, HUP, USR1 = signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1
STOP = (TERM, signal.SIGINT, signal.SIGQUIT)
HANDLED = (*STOP, HUP, USR1, signal.SIGCHLD)
# How the first process hands a signal on to the coordinator. What is sent to all of disco's processes, as systemd does it, is one
# signal then, not two.
RELAYED: dict[int, int] = {number: signal.SIGRTMIN + place for place, number in enumerate((*STOP, HUP, USR1))}
_ORIGINALS = {relayed: number for number, relayed in RELAYED.items()}
# What the interpreter ignores for itself: how disco found them cannot be known, the default is what programs expect.
INTERPRETER = (signal.SIGPIPE, signal.SIGXFSZ)
ALL = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
_REPEAT = 0.1  # seconds until a limit that was swallowed raises again
_SOON = 0.001  # seconds; 0 would switch a timer off


class Signals:
    """The signals of disco's two first processes: installed at once, read by their loops, put back before exec."""

    def __init__(self, early: Callable[[int], None]) -> None:
        """Install the handlers; until `listen`, a stop signal calls `early` with its number, which must not return."""
        self._early: Callable[[int], None] | None = early
        self._arrived: set[int] = set()
        self._found_mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._found_ignored = [number for number in HANDLED if signal.getsignal(number) == signal.SIG_IGN]
        self._wakeup: tuple[int, int] | None = None
        for number in HANDLED:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def obey(self) -> None:
        """In the coordinator, while signals are blocked: take the first process's word only, and ignore what others send."""
        for number, relayed in RELAYED.items():
            signal.signal(number, signal.SIG_IGN)
            signal.signal(relayed, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        number = _ORIGINALS.get(number, number)
        if self._early and number in STOP:
            self._early(number)
        self._arrived.add(number)

    def listen(self) -> int:
        """From now on only note what arrives; return the descriptor that becomes readable then.

        A forked process calls this again, for a descriptor of its own.
        """
        self._early = None
        for descriptor in self._wakeup or ():
            os.close(descriptor)
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = (reader, writer)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        return reader

    def take(self) -> list[int]:
        """Return the numbers that arrived since the last call, the stop signals first."""
        if self._wakeup:
            drain(self._wakeup[0])
        arrived = []
        while self._arrived:  # a signal may arrive in between: pop is atomic, a copy and a clear would lose it
            arrived.append(self._arrived.pop())
        return sorted(arrived, key=lambda number: (number not in STOP, number))

    def stop_listening(self, ended: Callable[[int], None]) -> None:
        """Undo `listen`: a stop signal calls `ended` with its number, and one that the loop has not taken does so now."""
        self._early = ended
        for number in self.take():
            if number in STOP:
                ended(number)

    def give_back(self, numbers: Iterable[int]) -> None:
        """Let signals that were taken count as arrived again."""
        self._arrived.update(numbers)

    def restore(self) -> list[int]:
        """Put everything back as disco found it, for exec: to be called last. Return the stop signals that came too late."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN if number in self._found_ignored else signal.SIG_DFL)
        for number in INTERPRETER:
            signal.signal(number, signal.SIG_DFL)
        late = [number for number in self.take() if number in STOP]
        signal.pthread_sigmask(signal.SIG_SETMASK, self._found_mask)
        return late


def name_of(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process group and its leader; whoever is gone already is fine."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def kill(pid: int, number: int) -> None:
    """Signal a process; it may be gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def drain(descriptor: int) -> None:
    """Read a non-blocking descriptor empty."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


@contextmanager
def blocked() -> Iterator[None]:
    """Keep what has handlers away for the body of a `with`: around a fork, so that no handler runs in the wrong process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*HANDLED, *_ORIGINALS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def find_changed() -> tuple[int, ...]:
    """Return the signals that are not at their default; in the coordinator that does not change once it runs."""
    return tuple(number for number in ALL if signal.getsignal(number) != signal.SIG_DFL)


def reset(ignored: Collection[int] = ()) -> None:
    """Undo, in a forked child, all that its parents set or found: default dispositions but for the `ignored`, and an empty mask.

    Only what is not at its default is touched: to look at all signals would cost each child half a megabyte of its own.
    """
    signal.set_wakeup_fd(-1)
    for number in find_changed():
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Overrun(Exception):  # noqa: N818 -- what happened
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
        finally:  # the last one may be raised right there: the timer must not outlive the body all the same
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
