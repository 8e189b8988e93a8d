"""The judgement of a row: how disco ended, what it left and took, what COMMAND found."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Self

from lab.memory import Peak, resident
from lab.processes import kill, parents_below
from lab.waiting import eventually

from faults_lab.disco import MEMORY, SECRET, find_left, read_seen

if TYPE_CHECKING:
    from lab.site import Running, Site

    from faults_lab.row import Case, Result

PEAK, CEILING = 400, 1024  # … nor this at any time; from the last on it is killed, so that the machine lives on


def judge_process(result: Result, site: Site, running: Running, status: int) -> None:
    """Judge how disco ended, and what it left and took."""
    if result.status != status:
        result.reasons.append(f"exit status {result.status}, expected {status}")
    with contextlib.suppress(TimeoutError):
        eventually(lambda: not find_left(site), patience=1.0)  # killed, and not yet gone
    left = find_left(site)
    result.left = len(left)
    if left:
        result.reasons.append(f"{len(left)} processes are left")
    for word, problem in ((SECRET, "a secret is in the log"), ("Traceback", "a traceback is in the log")):
        if word in running.log:
            result.reasons.append(problem)


def judge_pair(result: Result, case: Case, faulty: tuple[Site, Running], twin: tuple[Site, Running]) -> None:
    """Judge what one found that the other did not."""
    outputs = [running.output.replace(str(site.folder), "SITE").splitlines() for site, running in (faulty, twin)]
    if case.status == 0 and outputs[0] != outputs[1]:
        differing = sorted(set(outputs[0]) ^ set(outputs[1]))
        result.reasons.append(f"COMMAND found something else than without the fault: {differing[:3]}")
    lines = [line for site, _ in (faulty, twin) for name in ("see", "other", "last") for line in read_seen(site, name)]
    if len({line["umask"] for line in lines}) > 1:
        result.reasons.append("handlers had different umasks")
    if problem := case.check():
        result.reasons.append(problem)


class Meter:
    """Look at the resident memory of a disco and its children ten times a second, and end what would eat up the machine.

    For the body of a `with`; what was seen gets into the result at its end.
    """

    def __init__(self, pid: int, result: Result) -> None:
        """Look at nothing yet."""
        self._pid = pid
        self._result = result
        self._peak = Peak(self._look, 0.1)
        self._worst = (0, "")  # MiB, and the words for it
        self._above: dict[int, float] = {}  # since when a process has too much

    def __enter__(self) -> Self:
        self._peak.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._peak.__exit__(*exception)
        self._result.memory = int(self._peak.highest)
        if self._worst[0]:
            self._result.reasons.append(self._worst[1])

    def _look(self) -> int:
        """Return the memory of the largest process, in MiB."""
        children = [pid for pid, parent in parents_below(self._pid).items() if parent == self._pid]
        return max(map(self._judge, (self._pid, *children)))

    def _judge(self, pid: int) -> int:
        size, now = resident(pid) >> 20, time.monotonic()
        if size <= MEMORY * 5 / 4:
            self._above.pop(pid, None)
        elif size > PEAK or now - self._above.setdefault(pid, now) > 1:
            who = "the coordinator" if pid == self._pid else "a child"
            self._worst = max(self._worst, (size, f"{who} had {size} MiB of memory"))
        if size > CEILING:
            kill(pid)
        return size


def count_lines(log: str) -> int:
    """Return how many lines the coordinator wrote about a faulty source, without those for -l DEBUG and those of handlers' runs."""
    return len(re.findall(r"^(?!.* DEBUG ).* coordinator\[\d+\] (?!rule ).*\b(?:odd|consul|etcd)\b", log, re.MULTILINE))


def last_warning(log: str) -> str:
    """Return the last warning of the log that speaks of a source."""
    warnings = re.findall(r"(?:WARNING|ERROR)\s.*?(source .*|(?:odd|consul|etcd).*)", log)
    return warnings[-1][:200] if warnings else ""
