"""Signals: which ones disco handles, how they arrive as data, how they are sent, and what fork and exec must put back.

Handlers only note the number in a set (the wakeup descriptor merely wakes: in a storm its bytes are dropped). Until the loop
runs there is nothing to stop, so a stop signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from types import FrameType

TERM, KILL, HUP, USR1 = signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1
STOP = (TERM, signal.SIGINT, signal.SIGQUIT)
HANDLED = (*STOP, HUP, USR1, signal.SIGCHLD)
# How the first process hands a signal on to the coordinator. So a signal that is sent to all processes at once, as systemd does
# it, arrives once.
RELAYED: dict[int, int] = {number: signal.SIGRTMIN + place for place, number in enumerate((*STOP, HUP, USR1))}
_ORIGINALS = {relayed: number for number, relayed in RELAYED.items()}
# What the interpreter ignores for itself. Their state before that is unknown; programs expect the default.
INTERPRETER = (signal.SIGPIPE, signal.SIGXFSZ)
ALL = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


class Wakeup:
    """A pipe that becomes readable when a signal arrives: what a loop waits on beside everything else."""

    def __init__(self) -> None:
        """Let the interpreter write to it from now on, and to no other."""
        self.owner = os.getpid()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._reader

    def drain(self) -> None:
        """Read it empty: which signals arrived is noted elsewhere."""
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close both ends, of a pipe that another one has replaced."""
        os.close(self._reader)
        os.close(self._writer)


class Signals:
    """The signals of disco's two first processes: installed at once, read by their loops, put back before exec."""

    def __init__(self, early: Callable[[int], None]) -> None:
        """Install the handlers; until `listen`, a stop signal calls `early` with its number, which must not return."""
        self._early: Callable[[int], None] | None = early
        self._arrived: set[int] = set()
        self._original_mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._originally_ignored = [number for number in HANDLED if signal.getsignal(number) == signal.SIG_IGN]
        self._wakeup: Wakeup | None = None
        for number in HANDLED:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def obey(self) -> None:
        """In the coordinator, while signals are blocked: note what the first process hands on, and ignore what others send."""
        for number, relayed in RELAYED.items():
            signal.signal(number, signal.SIG_IGN)
            signal.signal(relayed, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        number = _ORIGINALS.get(number, number)
        if self._early and number in STOP:
            self._early(number)
        self._arrived.add(number)

    def prepare(self) -> None:
        """Make what `listen` needs, before a fork: where the system has no descriptor left, nothing is started."""
        self._wakeup = Wakeup()

    def listen(self) -> int:
        """From now on only note what arrives; return the descriptor that becomes readable then.

        A forked process calls this again, for a descriptor of its own.
        """
        self._early = None
        if self._wakeup is None or self._wakeup.owner != os.getpid():
            inherited, self._wakeup = self._wakeup, Wakeup()
            if inherited:
                inherited.close()
        return self._wakeup.fileno()

    def take(self) -> list[int]:
        """Return the numbers that arrived since the last call, the stop signals first."""
        if self._wakeup:
            self._wakeup.drain()
        arrived = []
        while self._arrived:  # a signal may arrive in between: pop is atomic, a copy and a clear would lose it
            arrived.append(self._arrived.pop())
        return sorted(arrived, key=lambda number: (number not in STOP, number))

    def stop_listening(self, ended: Callable[[int], None]) -> None:
        """Undo `listen`: a stop signal calls `ended` with its number, at once if it has arrived already."""
        self._early = ended
        for number in self.take():
            if number in STOP:
                ended(number)

    def give_back(self, numbers: Iterable[int]) -> None:
        """Note signals that `take` returned as arrived again."""
        self._arrived.update(numbers)

    def restore(self) -> list[int]:
        """Restore what was in force at the start, for exec: to be called last. Return the stop signals that arrived meanwhile."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN if number in self._originally_ignored else signal.SIG_DFL)
        for number in INTERPRETER:
            signal.signal(number, signal.SIG_DFL)
        stops = [number for number in self.take() if number in STOP]
        signal.pthread_sigmask(signal.SIG_SETMASK, self._original_mask)
        return stops


def name_of(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process group and its leader; either may be gone."""
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
    """Reset the signals of a forked child: default dispositions but for the `ignored`, and an empty mask.

    Only what is not at its default is touched: to look at all signals would cost each child half a megabyte of its own.
    """
    signal.set_wakeup_fd(-1)
    for number in find_changed():
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
