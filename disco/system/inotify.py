"""A wait that ends when something in a folder changes (inotify(7)).

The two calls are made here: the package that wraps them starts `ldconfig` to find the C library, a process at each start.
"""

from __future__ import annotations

import ctypes
import os
import select

_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x4, 0x8, *(0x40 << n for n in range(6))
_ONLYDIR, _EXCL_UNLINK = 0x01000000, 0x04000000
_CHANGES = _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_CHUNK = 64 << 10

_library = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Folders of which each change of an entry, by whatever name, ends a wait."""

    def __init__(self) -> None:
        """Watch no folder yet.

        Raises:
            OSError: the kernel has no inotify, or this user has too many of them.

        """
        self._descriptor = _check(_library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def add(self, folder: str) -> int:
        """Watch a folder; return the number of the watch.

        Raises:
            OSError: it is no folder any more, or this user watches too many.

        """
        return _check(_library.inotify_add_watch(self._descriptor, os.fsencode(folder), _CHANGES | _ONLYDIR | _EXCL_UNLINK))

    def remove(self, number: int) -> None:
        """End a watch, unless it ended with its folder."""
        _library.inotify_rm_watch(self._descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most so long; return whether there was one since the last call."""
        if not self._poll.poll(seconds * 1000):
            return False
        try:
            while os.read(self._descriptor, _CHUNK):
                pass
        except BlockingIOError:
            pass
        return True

    def close(self) -> None:
        """End all watches."""
        os.close(self._descriptor)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
