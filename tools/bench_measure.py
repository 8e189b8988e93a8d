"""Numbers of tools/bench: samples and what is told of them, and what the kernel tells of processes and connections."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

ESTABLISHED = "01"  # in /proc/net/tcp


@dataclass(frozen=True)
class Line:
    """What a line of the table tells.

    samples: in `unit`. beside: those of what it is compared with, in the same unit and taken in turns with them. limit: what the
    value may be at most, if there is a target. count: how many there were of what the row has ever more of.
    """

    what: str
    unit: str
    samples: Sequence[float]
    beside: Sequence[float] = ()
    limit: float | None = None
    count: int | None = None

    @property
    def title(self) -> str:
        """Return what was measured, of how many."""
        return self.what + (f", n = {self.count}" if self.count else "")

    @property
    def ratio(self) -> float | None:
        """Return the ratio of the medians, if it is compared with something."""
        return statistics.median(self.samples) / statistics.median(self.beside) if self.beside else None

    @property
    def value(self) -> float:
        """Return what has a target: the ratio, else the median."""
        return statistics.median(self.samples) if self.ratio is None else self.ratio

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.limit is None else self.value <= self.limit


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """Return what a quarter of the samples is below, and what a quarter is above."""
    if len(samples) == 1:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high


# Processes


def tree(pid: int) -> list[int]:
    """Return a process and all that are below it."""
    found = [pid]
    for parent in found:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
        except OSError:  # it ended
            continue
    return found


def name_of(pid: int) -> str:
    """Return which of disco's processes this is."""
    name = Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("disco:")
    return "coordinator" if name == "coordinat" else name


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads that ended included, to the nanosecond.

    This is clock_getcpuclockid(3), which Python does not have: the kernel's ABI makes a clock of any process's number.
    """
    return time.clock_gettime(~pid << 3 | 2)


def switches_of(pid: int) -> int:
    """Return how often the threads that a process has now were switched to."""
    found = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        found += sum(map(int, re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)))
    return found


def memory_of(*pids: int) -> float:
    """Return the memory of processes, in MB: their own, their shares of what they share, and files in memory that they have open.

    Those (a handler's stdin is one) belong to nobody as long as they are not mapped.

    Raises:
        PermissionError: only root may look into the processes of a disco that is not COMMAND yet.

    """
    total = 0
    files: dict[int, int] = {}
    for pid in pids:
        try:
            total += (
                sum(map(int, re.findall(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))) << 10
            )
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if os.readlink(descriptor).startswith("/memfd:"):
                    found = descriptor.stat()
                    files[found.st_ino] = found.st_blocks * 512
        except (FileNotFoundError, ProcessLookupError):  # it ended, or closed it
            continue
    return (total + sum(files.values())) / 1e6


class Peak(threading.Thread):
    """Looks at the memory of a process and all below it, again and again, for the body of a `with`; `highest` is in MB."""

    def __init__(self, pid: int) -> None:
        """Look at nothing yet."""
        super().__init__(daemon=True)
        self.highest = 0.0
        self._pid = pid
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look."""
        while not self._over.wait(0.005):
            self.highest = max(self.highest, memory_of(*tree(self._pid)))


def available_memory() -> float:
    """Return the memory that can still be had, in MB."""
    return read_size("/proc/meminfo", "MemAvailable") / 1e6


def read_size(file: str, name: str) -> int:
    """Return the bytes that a line of the kernel's tells; 0 if there is none, as of a process without memory."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(file).read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def connections_to(port: int) -> int:
    """Return how many connections clients on this machine hold to a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(words[2].rpartition(":")[2], 16) == port and words[3] == ESTABLISHED for words in lines)


def most_in_a_second(times: Sequence[float]) -> int:
    """Return how many of some times (seconds) lie within any one second."""
    ordered = sorted(times)
    first = most = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - 1:
            first += 1
        most = max(most, last - first + 1)
    return most
