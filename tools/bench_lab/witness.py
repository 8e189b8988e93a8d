"""The witness: who has begun when, told by handlers and COMMAND themselves."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 120.0  # seconds for any one thing to come


class BenchError(Exception):
    """A row cannot go on; the text says why."""


class Witness:
    """A named pipe into which handlers and COMMAND write who they are and when they began: who waits for them need not poll."""

    def __init__(self, path: Path) -> None:
        """Make the pipe, and hold it open, so that no writer waits for its reader."""
        os.mkfifo(path)
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""
        self._lines: list[tuple[str, int]] = []

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.descriptor)

    def next(self) -> tuple[str, int]:
        """Return who began next, and when (ns since the epoch); raise BenchError if nobody does."""
        while not self._lines:
            if not select.select([self.descriptor], [], [], PATIENCE)[0]:
                raise BenchError(f"no handler and no COMMAND began within {PATIENCE:g} s")
            *lines, self._rest = (self._rest + os.read(self.descriptor, 1 << 16)).split(b"\n")
            self._lines += [(name, int(at)) for name, at in (line.decode().rsplit(" ", 1) for line in lines)]
        return self._lines.pop(0)

    def wait_for(self, name: str) -> int:
        """Return when this one began; others before it do not count."""
        while (line := self.next())[0] != name:
            pass
        return line[1]

    def wait_for_all(self, count: int) -> list[int]:
        """Return when so many began."""
        return [self.next()[1] for _ in range(count)]
