"""Changes in folders as the kernel tells them, where it does: beside them folders are looked at each interval all the same."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from disco.system.inotify import FolderWatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIMIT = 1000  # folders that are watched: all containers of a machine may share one allowance

_LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}


class Changes:
    """What wakes a source of folders."""

    def __init__(self, root: str) -> None:
        """Watch nothing yet. root: below which folders have their places."""
        self._root = root
        self._trouble = ""
        self._numbers: dict[tuple[str, tuple[int, int]], int] = {}  # of watches, by place and identity
        self._watch: FolderWatch | None = None
        try:
            self._watch = FolderWatch()
        except OSError as error:
            self._trouble = _explain(error)

    def follow(self, folders: Mapping[str, tuple[int, int]]) -> None:
        """Watch these folders, given by place with device and inode, and no others."""
        if not self._watch:
            return
        for folder in self._numbers.keys() - folders.items():
            self._watch.remove(self._numbers.pop(folder))
        for place, identity in folders.items():
            if len(self._numbers) == LIMIT or self._trouble:
                return
            if (place, identity) not in self._numbers:
                try:
                    self._numbers[place, identity] = self._watch.add(f"{self._root}/{place}")
                except OSError as error:
                    if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:  # gone since, or not to be read
                        self._trouble = _explain(error)

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most so long; return whether there is one."""
        if self._watch:
            return self._watch.wait(seconds)
        time.sleep(seconds)
        return False

    def explain(self) -> Iterator[str]:
        """Yield why changes are seen later than they could be."""
        if self._trouble:
            yield self._trouble

    def close(self) -> None:
        """Watch nothing any more."""
        if self._watch:
            self._watch.close()


def _explain(error: OSError) -> str:
    limit = f" (raise {_LIMITS[error.errno]})" if error.errno in _LIMITS else ""
    return f"the system tells no changes: {error.strerror}{limit}; they are seen at each disco.interval only"
