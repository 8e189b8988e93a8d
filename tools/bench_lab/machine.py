"""What the kernel tells of disco and of the machine."""

from __future__ import annotations

from pathlib import Path

from lab import memory, processes

ESTABLISHED = "01"  # in /proc/net/tcp


def role_of(pid: int) -> str:
    """Return which of disco's processes this is."""
    name = processes.name_of(pid).removeprefix("disco:")
    return "coordinator" if name == "coordinat" else name


def memory_of(*pids: int) -> float:
    """Return the memory of processes, in MB; see `lab.memory.proportional_with_files`."""
    return memory.proportional_with_files(*pids) / 1e6


def available_memory() -> float:
    """Return the memory that can still be had, in MB."""
    return memory.available() / 1e6


def connections_to(port: int) -> int:
    """Return how many connections clients on this machine hold to a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(words[2].rpartition(":")[2], 16) == port and words[3] == ESTABLISHED for words in lines)
