"""The links below a folder, each read once, and followed by hand: never out of the folder, even if one is exchanged meanwhile."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 40  # links on the way to one target, as the kernel has it

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OUTSIDE = "is a link out of the folder"


class LinkError(Exception):
    """A link that is not followed. Its text goes on from the link's name."""


class Links:
    """The links below a root. A place is a path below it; a real place has no link in it, and the root's own is empty."""

    def __init__(self, root: str, descriptor: int) -> None:
        """Take the root's path, which absolute links may begin with, and its descriptor."""
        self._root = root
        self._descriptor = descriptor
        self._targets: dict[str, str | None] = {}  # by place; None: it is no link

    def read(self, place: str) -> str | None:
        """Return what a link says, as it was when it was first read; None if that is no link.

        Raises:
            OSError: nothing is there.

        """
        if place not in self._targets:
            self._targets[place] = self._read_now(place)
        return self._targets[place]

    def is_current(self, place: str) -> bool:
        """Return whether what was read of a link is still so."""
        try:
            return self._read_now(place) == self._targets[place]
        except OSError:
            return False

    def follow(self, place: str) -> str:
        """Return the real place that a place leads to.

        Raises:
            LinkError: that is outside of the root, or there is no end to it.
            OSError: nothing is there.

        """
        real: list[str] = []
        pending = place.split("/")[::-1]
        count = 0
        while pending:
            part = pending.pop()
            if part == "..":
                if not real:
                    raise LinkError(_OUTSIDE)
                real.pop()
            elif part not in {"", "."}:
                real.append(part)
                target = self.read("/".join(real))
                if target is not None:
                    count += 1
                    if count > LIMIT:
                        raise LinkError("is a link that leads to itself")
                    real = [] if target.startswith("/") else real[:-1]
                    pending += self._below(target).split("/")[::-1]
        return "/".join(real)

    @contextmanager
    def open_folder(self, place: str) -> Iterator[int]:
        """Open the folder at a real place for the body of a `with`; no part of the way may have become a link.

        Raises:
            OSError: it cannot be opened.

        """
        descriptor = os.open(".", _FOLDER, dir_fd=self._descriptor)
        try:
            for part in place.split("/") if place else ():
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _read_now(self, place: str) -> str | None:
        try:
            return os.readlink(place, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    def _below(self, target: str) -> str:
        """Return a target without the root that an absolute one begins with."""
        if not target.startswith("/"):
            return target
        root = str(Path(self._root).absolute()).rstrip("/")
        if not target.startswith(f"{root}/"):
            raise LinkError(_OUTSIDE)
        return target.removeprefix(f"{root}/")
