"""Writing: a target file gets its content whole or not at all, and belongs to its owner before it holds anything.

The content goes into a new file in the target's folder, which is renamed. Nothing can be renamed over a file that is a mount of its
own, as Docker and Kubernetes make them: it is written in place, which is not atomic.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from disco.errors import DataError, HandlerError, explain_exec
from disco.handlers.destination import Destination, Old, Owner, folder_of, has_other_owner_or_mode, is_mounted, read_old
from disco.text import NAME_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

FILE = "{}"  # in the words of a check: the file to be checked
_NEW_MODE = 0o666  # less the umask
_RANDOM_BYTES = 4  # of a new file's name
_SUFFIX = ".disco"  # of new files: nothing reads what ends like this
_NAME_BYTES = 200  # of the target's name in a new file's name
_MOUNTED = frozenset({errno.EBUSY, errno.EXDEV})  # what a rename over a mount answers
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write(target: Destination, content: bytes) -> str:
    """Let the target have this content, mode and owner; return what that changed, for people.

    Whatever fails, and whatever ends this process but SIGKILL, the target stays as it was.

    Raises:
        DataError: the check refused the content.
        HandlerError, OSError: the file cannot be written, or not be checked.

    """
    with _stoppable():
        old = read_old(target.path)
        if old is None or old.content != content:
            _replace(target, content, old)
            return "written"
        if not has_other_owner_or_mode(target, old):
            return "unchanged"
        with _opened(target.path, os.O_RDONLY) as descriptor:
            _set_owner_and_mode(descriptor, target, old)
        return "unchanged but for its mode or owner"


class _Stop(BaseException):
    """A signal came: undo what was begun. Its argument is the signal's number."""


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let a signal undo the body of a `with` before it ends this process."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise _Stop(number)

    handled = [number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    except _Stop as stopped:
        signal.signal(stopped.args[0], signal.SIG_DFL)
        signal.raise_signal(stopped.args[0])
    finally:
        for number, disposition in before.items():
            signal.signal(number, disposition)


def _replace(target: Destination, content: bytes, old: Old | None) -> None:
    """Give the target its content by a new file, or in place where that is not possible."""
    folder, is_beside = folder_of(target.path), True
    with ExitStack() as kept, ExitStack() as opened:
        try:
            new, descriptor = _make_file(folder, target, kept, opened)
        except OSError as error:
            if old is None or error.errno not in _CLOSED or not is_mounted(target.path):
                raise HandlerError(f"no file can be written in {folder}: {os.strerror(error.errno or 0)}") from None
            is_beside = False
            elsewhere = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 -- a new file that nobody else may open
            new, descriptor = _make_file(elsewhere, target, kept, opened) if target.check else ("", -1)
        if new:
            _set_owner_and_mode(descriptor, target, old)
            _write_all(descriptor, content)
            opened.close()  # a program that is open for writing cannot be executed, should the check do that
        if target.check:
            _check(target, new)
        if old is not None and not (is_beside and _rename(new, target.path, may_be_mounted=True)):
            _overwrite(target, content, old)
            return
        if old is None:
            _rename(new, target.path, may_be_mounted=False)
    with suppress(OSError), _opened(os.path.realpath(folder), os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def _make_file(folder: str, target: Destination, kept: ExitStack, opened: ExitStack) -> tuple[str, int]:
    """Return a new file that nobody else may open, and its descriptor.

    kept: removes the file, and holds its lock until then. opened: closes the descriptor.
    """
    name = os.fsencode(os.path.basename(target.path))[:_NAME_BYTES]  # noqa: PTH119 -- paths stay text here
    start = f".{os.fsdecode(name)}."
    _remove_leftovers(folder, start)
    path = os.path.join(folder, f"{start}{os.urandom(_RANDOM_BYTES).hex()}{_SUFFIX}")  # noqa: PTH118 -- as above
    descriptor = opened.enter_context(_opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    kept.callback(_remove, path)  # does nothing where the file has been renamed
    _lock(kept.enter_context(_opened(path, os.O_RDONLY)))
    return path, descriptor


def _remove_leftovers(folder: str, start: str) -> None:
    """Remove the new files of calls that were killed, as a rule's timeout kills them: files that no process has locked."""
    length = len(start) + 2 * _RANDOM_BYTES + len(_SUFFIX)
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 -- as above
            if not (name.startswith(start) and name.endswith(_SUFFIX) and len(name) == length):
                continue
            path = os.path.join(folder, name)  # noqa: PTH118 -- as above
            with suppress(OSError), _opened(path, os.O_RDONLY) as descriptor:
                if os.fstat(descriptor).st_size:  # an empty one may not have been locked yet
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)  # noqa: PTH108 -- as above


def _lock(descriptor: int) -> None:
    """Lock a file as long as its descriptor is open, where its file system can: where it cannot, no leftover is removed."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 -- as above


def _rename(new: str, path: str, *, may_be_mounted: bool) -> bool:
    """Return whether a new file has replaced the target, which nothing can where the target is a mount."""
    try:
        os.rename(new, path)  # noqa: PTH104 -- as above
    except OSError as error:
        if may_be_mounted and error.errno in _MOUNTED:
            return False
        raise
    return True


def _overwrite(target: Destination, content: bytes, old: Old) -> None:
    """Write the target in place. What may be refused comes first; after an error the old content is written back."""
    with _opened(target.path, os.O_WRONLY) as descriptor:
        try:
            _reserve(descriptor, len(content), len(old.content))
            _set_owner_and_mode(descriptor, target, old)
            _write_all(descriptor, content)
        except BaseException as error:
            try:
                _write_all(descriptor, old.content)
                _set_owner_and_mode(descriptor, Destination(target.path, old.mode, old.owner), None)
            except (OSError, HandlerError):
                why = os.strerror(error.errno or 0) if isinstance(error, OSError) else "stopped"
                raise HandlerError(f"{target.path}: {why}; its old content could not be written back") from None
            raise


def _reserve(descriptor: int, size: int, old_size: int) -> None:
    """Let a file have room for so many bytes, where its file system can."""
    try:
        if size > old_size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise


def _set_owner_and_mode(descriptor: int, target: Destination, old: Old | None) -> None:
    """Give a file its owner, and then its mode. What the target does not say is as it was, where that is allowed.

    What is so already is not set: that is refused for another user's file, even if he lets everybody write it.
    """
    if old:
        with suppress(PermissionError):
            _set_owner(descriptor, Owner(group=old.owner.group))  # by itself: any user may give a file to a group of his
        with suppress(PermissionError):
            _set_owner(descriptor, Owner(user=old.owner.user))
    option = "--owner"
    try:
        _set_owner(descriptor, target.owner)
        option = "--mode"
        mode = old.mode if target.mode is None and old else target.mode
        mode = _NEW_MODE & ~_umask() if mode is None else mode
        if mode != stat.S_IMODE(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, mode)
    except PermissionError as error:
        raise HandlerError(f"{target.path}: {option}: {os.strerror(error.errno or 0)}") from None


def _set_owner(descriptor: int, owner: Owner) -> None:
    status = os.fstat(descriptor)
    if owner.user not in {-1, status.st_uid} or owner.group not in {-1, status.st_gid}:
        os.fchown(descriptor, *owner)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_all(descriptor: int, content: bytes) -> None:
    """Let a file hold this content and nothing else, on the disk too."""
    view, offset = memoryview(content), 0
    while offset < len(view):
        offset += os.pwrite(descriptor, view[offset:], offset)
    os.ftruncate(descriptor, len(view))
    os.fsync(descriptor)


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    """Give a descriptor of a file that is no link; a new one is its owner's alone."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check(target: Destination, file: str) -> None:
    """Run the check's program on a file.

    Raises:
        DataError: it refused the file.
        HandlerError: it could not be run, or was killed.

    """
    argv = [word.replace(FILE, file) for word in target.check]
    shown = escape(argv[0], NAME_LIMIT)
    streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    try:
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=streams, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except (OSError, ValueError) as error:
        raise HandlerError(f"--check: {shown} cannot be started: {explain_exec(error)}") from None
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except _Stop:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    if status > 0:
        raise DataError(f"{target.path} stays as it was: {shown} refused the new one with exit status {status}")
    if status < 0:
        raise HandlerError(f"--check: {shown} was killed by signal {-status}")
