"""The memory of processes, in bytes, as the kernel counts it."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

GONE = (FileNotFoundError, ProcessLookupError)


def proportional(pid: int) -> int:
    """Return what a process has alone, and its share of what it shares (PSS); 0 if it is gone.

    Raises:
        PermissionError: only root may look into the processes of a disco that is not COMMAND yet.

    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except GONE:
        return 0
    return _size(text, "Pss")


def proportional_with_files(*pids: int) -> int:
    """Return what processes have in common: `proportional` of each, and the files in memory that they have open.

    Such a file (a handler's stdin is one) belongs to nobody as long as it is not mapped.
    """
    files: dict[int, int] = {}
    for pid in pids:
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if os.readlink(descriptor).startswith("/memfd:"):
                    status = descriptor.stat()
                    files[status.st_ino] = status.st_blocks * 512
        except GONE:  # it ended, or closed it
            continue
    return sum(map(proportional, pids)) + sum(files.values())


def resident(pid: int) -> int:
    """Return what a process has in memory, shared or not; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except GONE:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def highest_resident(pid: int) -> int:
    """Return the most that a process has ever had in memory, shared or not; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except GONE:
        return 0
    return _size(text, "VmHWM")


def available() -> int:
    """Return what the machine can still give."""
    return _size(Path("/proc/meminfo").read_text(), "MemAvailable")


class Peak(threading.Thread):
    """Measure something again and again for the body of a `with`, and keep the highest value: in a thread."""

    def __init__(self, measure: Callable[[], float], pause: float) -> None:
        """Measure nothing yet; pause: seconds between two measurements."""
        super().__init__(daemon=True)
        self.highest = 0.0
        self._measure = measure
        self._pause = pause
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Measure until it is over."""
        while not self._over.wait(self._pause):
            self.highest = max(self.highest, self._measure())


def _size(text: str, name: str) -> int:
    """Return the bytes in the kernel's line of this name; 0 without one, as of a process without memory."""
    line = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(line[1]) * 1024 if line else 0
