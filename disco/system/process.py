"""Processes: fork a child with its pipes, and what Linux can be asked for about one. Reaping and killing is in `children`."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import shutil
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from disco.errors import SystemFailure
from disco.system import signals
from disco.wire.channel import Channel
from disco.wire.messages import FROM_CHILDREN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
M_MMAP_THRESHOLD = -3
LARGE = 1 << 20  # bytes
CHANNEL_FD = 3
DESCRIPTORS_AT_MOST = 1 << 16  # that are closed one by one where the kernel does not tell which there are
NAME = "disco:"  # how the kernel's names of our children start

_libc = ctypes.CDLL(None, use_errno=True)


class Child(NamedTuple):
    """A forked child, as its parent has it; the log is the non-blocking end of its stdout and stderr."""

    name: str
    pid: int
    channel: Channel
    log: int


def fork(name: str, main: Callable[[socket.socket], None], *, dies_with_parent: bool = True, besides: Sequence[int] = ()) -> Child:
    """Fork a child in its own process group that runs `main` with its end of the channel, and holds nothing else of ours.

    But for the descriptors that it is given `besides`: their numbers are the next ones after CHANNEL_FD.

    Its stdin is /dev/null, its stdout and stderr are its log. It starts with default signals (SIGPIPE ignored) and an empty
    mask, and never returns from here. With `dies_with_parent` the kernel kills it when the parent is dead.

    Raises:
        OSError: no process, no memory or no descriptor.

    """
    # Whatever a child needs is made before it: what the system refuses then is an error here, not the end of a child.
    with ExitStack() as kept, ExitStack() as lent:
        ours, theirs = socket.socketpair()
        kept.callback(ours.close)
        lent.callback(theirs.close)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        kept.callback(os.close, reader)
        lent.callback(os.close, writer)
        null = os.open(os.devnull, os.O_RDWR)
        lent.callback(os.close, null)
        parent = os.getpid()
        with signals.blocked():
            pid = os.fork()
            if pid == 0:
                _be_child(name, main, (null, writer, writer, theirs.detach(), *besides), parent if dies_with_parent else 0)
        kept.pop_all()
    os.set_blocking(reader, False)
    lead_group(pid)  # both sides do it: whoever comes first
    return Child(name, pid, Channel(ours, FROM_CHILDREN), reader)


def _be_child(name: str, main: Callable[[socket.socket], None], given: tuple[int, ...], parent: int) -> NoReturn:
    """Run `main` and exit; given: the descriptors to keep, which are 0, 1, 2 and so on from then on."""
    status = 1
    try:
        begin(name, parent)
        # First all of them out of the way: hardly ever another number.
        high = [one if one >= len(given) else fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, len(given)) for one in given]
        for target, descriptor in enumerate(high):
            os.dup2(descriptor, target, inheritable=target < CHANNEL_FD)
        _close_above(len(given) - 1)
        signals.reset(signals.INTERPRETER)  # else a write that nobody reads, or that is too large, would kill it
        main(socket.socket(fileno=CHANNEL_FD))
        status = 0
    except BaseException as error:  # noqa: BLE001 -- nothing of the parent's stack may run in the child
        _last_words(error)
    finally:
        os._exit(status)


def begin(name: str, parent: int) -> None:
    """Be a forked process: with a process group and a name of its own; dying with its parent, if that is given."""
    lead_group(0)
    _libc.prctl(PR_SET_NAME, f"{NAME}{name}".encode()[:15], 0, 0, 0)
    if parent:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that
            os._exit(0)


def lead_group(pid: int) -> None:
    """Let a process (0: this one) lead a process group of its own; it may be gone, or do so already."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass


def _close_above(last: int) -> None:
    # At once where kernel and C library can (Linux 5.9): to look which there are costs each child as much as it has siblings.
    close_range = getattr(_libc, "close_range", None)
    if close_range and close_range(ctypes.c_uint(last + 1), ctypes.c_uint(-1), 0) == 0:
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


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; raise SystemFailure if the kernel refuses."""
    if _libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))):
        reason = os.strerror(ctypes.get_errno())
        raise SystemFailure(f"the kernel refuses prctl({option}): {reason} (a sandbox or seccomp profile?)")


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def hide() -> None:
    """Keep processes of the same user from looking into this one, and into what it forks: it holds secrets. Exec ends that."""
    prctl(PR_SET_DUMPABLE, 0)


def confine() -> None:
    """Let this process, and what it executes, gain no rights (by setuid programs), and leave no memory behind in a core file."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_descriptors(limits: tuple[int, int] | None = None) -> tuple[int, int]:
    """Allow this process as many descriptors as it may have (a child takes two, a source three), or the limits given.

    Return what was found.
    """
    found = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits or (found[1], found[1]))
    return found


def return_memory() -> None:
    """Have the C library give this process's and its children's large blocks back to the system when they are freed.

    glibc takes a large block's end as a sign that its like will be wanted again, and from then on keeps up to 64 MiB
    (mallopt(3)): what passed through once would stay in each process. Another library may have nothing to set.
    """
    if set_option := getattr(_libc, "mallopt", None):
        set_option(M_MMAP_THRESHOLD, LARGE)


def find_program(name: str, path: str, folder: Path | None = None) -> str | None:
    """Return what to execute for a name: looked up in `path`, or, with a `/` in it, relative to the folder; None if not there."""
    if "/" in name:
        name = str(folder / name) if folder else name
        return name if os.path.isfile(name) and os.access(name, os.X_OK) else None  # noqa: PTH113
    return shutil.which(name, path=path)


def environment() -> dict[bytes, bytes]:
    """Return the environment as this process was given it, whole entries by name: the kernel's copy, to which nobody adds anything.

    Of a name that is there twice the first counts, as for the C library. An entry without `=` is its own name.
    """
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 -- before pathlib is needed
            entries = file.read().split(b"\0")
    except OSError:
        entries = [name + b"=" + value for name, value in os.environb.items()]
    found: dict[bytes, bytes] = {}
    for entry in filter(None, entries):
        found.setdefault(entry.partition(b"=")[0] if b"=" in entry else entry, entry)
    return found


def execute(program: str, argv: list[str], entries: Iterable[bytes]) -> NoReturn:
    """Replace this process; raise OSError if that is not possible. entries: of the environment, whatever they look like."""
    words = [os.fsencode(word) for word in argv]
    _libc.execve(os.fsencode(program), _array(words), _array(list(entries)))  # os.execve takes variables only
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), program)


def _array(words: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
