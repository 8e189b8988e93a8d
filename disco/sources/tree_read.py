"""A read of all the files that a look has found, of one moment."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from disco.data.values import SIZE_LIMIT
from disco.errors import SourceError
from disco.sources.keys import InvalidValue
from disco.sources.tree_look import File, look_at, state_of
from disco.text import PATH_LIMIT, escape

if TYPE_CHECKING:
    from disco.sources.tree_look import Layout, TreeLook

STAMP_UNIT = 2.0  # seconds; the coarsest time stamps (FAT, old NFS)
LOOKS, SETTLE = 10, 0.1  # at what is changing: how often at most, and seconds in between

_REPLACED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})  # something else is in a file's place
_DENIED = frozenset({errno.EACCES, errno.EPERM})

Contents = dict[str, bytes | InvalidValue]  # by key


def read(layout: Layout, look: TreeLook, seen: TreeLook | None) -> tuple[TreeLook, Contents]:
    """Return the content of all files, and the look at that moment.

    After the first look a change is read when two looks, SETTLE apart, see the same. What has changed while it was read is read
    again. A file that is rewritten all the time is accepted in the end as it is.

    Raises:
        SourceError: the files cannot be read, or change faster than they can be.

    """
    for left in reversed(range(LOOKS)):
        if left and seen is not None and not is_same(look, seen):
            time.sleep(SETTLE)
            seen, look = look, look_at(layout)
            continue
        contents = _load(layout, look, accepts_rewritten=not left)
        seen, look = look, look_at(layout)
        if contents is not None and (is_same(look, seen) or (not left and _files_of(look) == _files_of(seen))):
            return seen, contents
    raise SourceError(f"{escape(layout.root, PATH_LIMIT)}: its files change faster than they can be read")


def is_same(look: TreeLook, other: TreeLook) -> bool:
    """Return whether two looks saw the same files in the same states."""
    return look.files == other.files and look.foreign == other.foreign


def is_recent(look: TreeLook) -> bool:
    """Return whether a file changed so lately that its time stamp may not show a further change."""
    now = time.time()
    files = (file for file in look.files.values() if isinstance(file, File))
    return any(abs(now - file.state[2] / 1e9) < STAMP_UNIT for file in files)


def _files_of(look: TreeLook) -> dict[str, object]:
    """Return which file each key has, in whatever state."""
    return {key: file if isinstance(file, InvalidValue) else (file.place, file.state[:2]) for key, file in look.files.items()}


def _load(layout: Layout, look: TreeLook, *, accepts_rewritten: bool) -> Contents | None:
    """Return the content of the files; None if one is not what the look saw."""
    contents: Contents = {}
    left = SIZE_LIMIT
    try:
        root = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{escape(layout.root, PATH_LIMIT)}: {error.strerror}") from None
    try:
        for key, file in look.files.items():
            if isinstance(file, InvalidValue):
                contents[key] = file
                continue
            content = _load_file(root, file, left, accepts_rewritten=accepts_rewritten)
            if content is None:
                return None
            if isinstance(content, bytes):
                left -= len(content)
                content = content.removesuffix(b"\n")
            if left < 0:
                size = f"{SIZE_LIMIT >> 20} MiB"
                raise SourceError(f"{escape(layout.root, PATH_LIMIT)}: all files together are larger than {size}: mount fewer")
            contents[key] = content
    finally:
        os.close(root)
    return contents


def _load_file(root: int, file: File, limit: int, *, accepts_rewritten: bool) -> bytes | InvalidValue | None:
    """Return a file's content, cut where it is over the limit; None if another file is in its place, or it has changed."""
    try:
        # Another one may be in its place: never wait for a FIFO's writer, never make a terminal one's own, never follow a link.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(file.place, flags, dir_fd=root)
        with open(descriptor, "rb") as opened:  # noqa: PTH123 -- a descriptor
            state = state_of(os.fstat(descriptor))
            # A folder on the way may be a link by now, and leads out. But then this is another file.
            if state[:2] != file.state[:2] or (state != file.state and not accepts_rewritten):
                return None
            size = min(state[-1], limit)
            content = opened.read(size + 1)
            if len(content) > size:  # it grows, or is one of those of the kernel, whose size says nothing
                content += opened.read(limit + 1 - len(content))
    except OSError as error:
        if error.errno in _REPLACED:
            return None
        if error.errno in _DENIED:
            return InvalidValue(f"cannot be read: {error.strerror}")
        raise SourceError(f"{escape(file.place, PATH_LIMIT)}: {error.strerror}") from None
    return content
