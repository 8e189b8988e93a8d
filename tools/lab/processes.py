"""Processes as the kernel shows them in /proc: who is below whom, what they are called, what they use; and how to end them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

from lab.waiting import eventually


def parents_below(pid: int) -> dict[int, int]:
    """Return all processes below one, each with its parent; those that were not reaped yet included."""
    parents: dict[int, int] = {}
    queue = [pid]
    for parent in queue:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children", "rb") as file:
                    children = [int(word) for word in file.read().split()]
                parents |= dict.fromkeys(children, parent)
                queue += children
        except OSError:  # it ended
            continue
    return parents


def below(pid: int) -> list[int]:
    """Return all processes below one, those that were not reaped yet included."""
    return [*parents_below(pid)]


def tree(pid: int) -> list[int]:
    """Return a process and all that are below it."""
    return [pid, *below(pid)]


def name_of(pid: int) -> str:
    """Return the kernel's name of a process, empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def state_of(pid: int) -> str:
    """Return the kernel's letter for the state of a process (`Z`: a zombie), empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    return state_of(pid) not in {"", "Z"}


def processes(marker: str) -> list[int]:
    """Return the living processes (no zombies) whose environment or command line holds a text.

    Of NAME=VALUE a command line need hold the value only: disco's own processes show their environment to root alone.
    """
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command_line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                environment = b""
            holds = marker.encode() in environment or marker.rpartition("=")[2].encode() in command_line
            if holds and is_alive(int(entry.name)):
                pids.append(int(entry.name))
    return pids


def kill(*pids: int) -> None:
    """Send SIGKILL to processes, those that are gone left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_all(marker: str) -> None:
    """Kill every process that `processes` finds by a text, and wait until none is left."""

    def is_over() -> bool:
        left = processes(marker)
        kill(*left)
        return not left

    eventually(is_over, f"the end of what has {marker} in its environment")


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads that ended included, to the nanosecond.

    This is clock_getcpuclockid(3), which Python does not have: the kernel's ABI makes a clock of any process's number.
    """
    return time.clock_gettime(~pid << 3 | 2)


def switches_of(pid: int) -> int:
    """Return how often the threads that a process has now were switched to."""
    switches = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        switches += sum(map(int, re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)))
    return switches
