"""Processes: fork a child with its pipes, and what the kernel is to know about this process."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from disco.named import NamedTuple
from disco.system import libc, signals
from disco.wire.channel import Channel
from disco.wire.messages import FROM_CHILDREN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CHANNEL_FD = 3
DESCRIPTORS_AT_MOST = 1 << 16  # closed one by one where the open ones cannot be listed
NAME = "disco:"  # how the kernel's names of our children start


class Child(NamedTuple):
    """A forked child, as its parent has it; the log is the non-blocking end of its stdout and stderr."""

    name: str
    pid: int
    channel: Channel
    log: int


def fork(name: str, main: Callable[[socket.socket], None], *, dies_with_parent: bool = True, besides: Sequence[int] = ()) -> Child:
    """Fork a child that runs `main` with its end of the channel; return it. The child never returns from here.

    It leads a process group. Its stdin is /dev/null, its stdout and stderr are its log. Of our descriptors it holds those
    `besides` alone, with the numbers after CHANNEL_FD. It starts with default signals (SIGPIPE ignored) and an empty mask.
    dies_with_parent: the kernel kills it when the parent is dead.

    Raises:
        OSError: no process, no memory or no descriptor.

    """
    # Whatever a child needs is made before it: what the system refuses then is an error here, not the end of a child.
    with ExitStack() as kept, ExitStack() as lent:
        ours, theirs = socket.socketpair()
        kept.callback(ours.close)
        lent.callback(theirs.close)
        reader, writer = open_pipe(kept, lent)
        null = os.open(os.devnull, os.O_RDWR)
        lent.callback(os.close, null)
        parent = os.getpid()
        with signals.blocked():
            pid = os.fork()
            if pid == 0:
                _be_child(name, main, (null, writer, writer, theirs.detach(), *besides), parent if dies_with_parent else 0)
        kept.pop_all()
    os.set_blocking(reader, False)
    lead_group(pid)  # parent and child both do it, for either may run first
    return Child(name, pid, Channel(ours, FROM_CHILDREN), reader)


def _be_child(name: str, main: Callable[[socket.socket], None], given: tuple[int, ...], parent: int) -> NoReturn:
    """Run `main` and exit; given: the descriptors to keep, which are 0, 1, 2 and so on from then on."""
    status = 1
    try:
        begin(name, parent)
        # A descriptor whose number is one of the targets is moved first; that is rare.
        moved = [number if number >= len(given) else fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, len(given)) for number in given]
        for target, descriptor in enumerate(moved):
            os.dup2(descriptor, target, inheritable=target < CHANNEL_FD)
        close_above(len(given) - 1)
        signals.reset(signals.INTERPRETER)  # else a write that nobody reads, or that is too large, would kill it
        main(socket.socket(fileno=CHANNEL_FD))
        status = 0
    except BaseException as error:  # noqa: BLE001 -- nothing of the parent's stack may run in the child
        _last_words(error)
    finally:
        os._exit(status)


def open_pipe(kept: ExitStack, lent: ExitStack, flags: int = 0) -> tuple[int, int]:
    """Return both ends of a pipe, for a fork: reader and writer.

    kept: closes the reader, if all fails. lent: closes the writer, which only the child is to have. flags: of pipe(2).
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | flags)
    kept.callback(os.close, reader)
    lent.callback(os.close, writer)
    return reader, writer


def begin(name: str, parent: int) -> None:
    """Give a forked process its own process group and name; parent: whose death it does not survive (0: it does)."""
    lead_group(0)
    libc.set_name(f"{NAME}{name}")
    if parent:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that
            os._exit(0)


def lead_group(pid: int) -> None:
    """Let a process (0: this one) lead a process group of its own; it may have ended, or lead one already."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass


def close_above(last: int) -> None:
    """Close every descriptor after this one."""
    # At once where that works: to list the descriptors would cost each child as much as it has siblings.
    if libc.close_from(last + 1):
        return
    try:
        highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 -- numbers only
    except OSError:
        highest = min(os.sysconf("SC_OPEN_MAX"), DESCRIPTORS_AT_MOST)
    os.closerange(last + 1, highest + 1)


def _last_words(error: BaseException) -> None:
    """Print where a child's own code failed, without the exception's text: it may hold a value."""
    import traceback  # noqa: PLC0415 -- in a failing child only

    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    try:
        os.write(2, f"disco: {type(error).__name__} ended this process, at {' < '.join(reversed(places))}\n".encode())
    except OSError:
        pass


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def hide() -> None:
    """Keep processes of the same user from reading the memory of this one and of its forks, which holds secrets; until exec."""
    libc.prctl(PR_SET_DUMPABLE, 0)


def confine() -> None:
    """Let this process, and what it executes, gain no rights (by setuid programs), and leave no memory behind in a core file."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
