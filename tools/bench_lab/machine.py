"""What the kernel tells of disco and of the machine. Memory is in MiB."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lab import memory, processes

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20  # bytes
ESTABLISHED = "01"  # in /proc/net/tcp


def role_of(pid: int) -> str:
    """Return which of disco's processes this is."""
    name = processes.name_of(pid).removeprefix("disco:")
    return "coordinator" if name == "coordinat" else name


def memory_of(*pids: int) -> float:
    """Return the memory of processes, in MiB; see `lab.memory.proportional_with_files`."""
    return memory.proportional_with_files(*pids) / MIB


def available_memory() -> float:
    """Return the memory that can still be had, in MiB."""
    return memory.available() / MIB


@contextlib.contextmanager
def on_one_cpu() -> Iterator[None]:
    """Let what is started in the body of a `with` run on one CPU, for as long as it lives."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def connections_to(port: int) -> int:
    """Return how many connections clients on this machine hold to a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(words[2].rpartition(":")[2], 16) == port and words[3] == ESTABLISHED for words in lines)
