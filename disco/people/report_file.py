"""The file that holds the last report: written so that nobody can have disco overwrite another one, and without waiting.

Whoever may write to its folder can put anything in its place: a link, a FIFO, a file of their own.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE_LIMIT = 4096  # bytes: what Kubernetes takes of a termination log
# The errors of a folder, or of a mounted file (a termination log), where nothing can be renamed over the file.
_NOT_REPLACED = frozenset({errno.EXDEV, errno.EBUSY, errno.EROFS, errno.EACCES})
_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def write(path: Path, content: bytes) -> None:
    """Let a file hold the content: a regular one is replaced as a whole where that is possible, a device is written to.

    Raises:
        OSError: it cannot be written, or that would not be safe; its text says why.

    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        _write_to_device(path, content, is_link=stat.S_ISLNK(mode))
        return
    try:
        _replace(path, content)
    except OSError as error:
        if error.errno not in _NOT_REPLACED:
            raise
        _write_in_place(path, content)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
    descriptor = os.open(new, _FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        try:
            _write_all(descriptor, content)
        finally:
            os.close(descriptor)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def _write_in_place(path: Path, content: bytes) -> None:
    descriptor = os.open(path, _FLAGS | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.EPERM, "it is another file too, or none")
        os.ftruncate(descriptor, 0)
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)


def _write_to_device(path: Path, content: bytes, *, is_link: bool) -> None:
    """Write to a device; a link such as /dev/stderr is followed where nobody else can have made it, and to no file."""
    folder = path.parent.stat()
    if is_link and (folder.st_mode & stat.S_IWOTH or folder.st_uid not in {0, os.geteuid()}):
        raise OSError(errno.ELOOP, "a link in a folder that others may write to is not followed")
    descriptor = os.open(path, _FLAGS | os.O_APPEND | (0 if is_link else os.O_NOFOLLOW))
    try:
        status = os.fstat(descriptor)
        if not (stat.S_ISCHR(status.st_mode) or (is_link and _is_standard(status))):
            raise OSError(errno.EPERM, "neither a regular file nor a device")
        with suppress(BlockingIOError):  # nobody reads it
            os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _is_standard(status: os.stat_result) -> bool:
    """Return whether a file is this process's stdout or stderr."""
    return any(os.path.samestat(status, os.fstat(number)) for number in (1, 2))


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
