"""The rows of a cold start's phases, as the kernel sees them: strace(1) says when processes begin, call and end.

The command is started as it is; nothing in disco is changed. strace stops a process at each call that is of interest, and longest
at a fork: the last line of a row tells how much slower that makes the start.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from lab.servers import find_program

from bench_lab.line import Line
from bench_lab.sites import start_server, starting_site
from bench_lab.witness import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lab.site import Site

    from bench_lab.bench import Bench, Server

CALLS = "execve,fork,vfork,clone,clone3,prctl,rt_sigaction,connect,sendto"
OPTIONS = ("-ff", "--seccomp-bpf", "-ttt", "-e", f"trace={CALLS}", "-e", "signal=none")
NAME = r'prctl\(PR_SET_NAME, "disco:([^"]+)"'
HANDLED = r"rt_sigaction\(SIGTERM, \{sa_handler=0x"
DIFF = r'sendto\(.*\[\\"Diff\\"'  # a source's message with its verdict
LAST = "COMMAND is executed"
ENDED = r"\+\+\+ "  # what strace says of a process that has exited or was killed


class Call(NamedTuple):
    """What a process did, in strace's words, and when (ms since the start)."""

    at: float
    pid: int
    text: str


class Trace:
    """What the processes of a start did."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read what strace wrote, one file for each process or thread."""
        lines = [(int(file.suffix[1:]), line) for file in files for line in file.read_text(errors="replace").splitlines()]
        stamped = sorted((float(line.partition(" ")[0]), pid, line.partition(" ")[2]) for pid, line in lines)
        self._calls = [Call((at - stamped[0][0]) * 1000, pid, text) for at, pid, text in stamped]
        self.first = self._calls[0].pid
        named = [(re.match(NAME, call.text), call.pid) for call in self._calls]
        self.pids = {match[1]: pid for match, pid in named if match}  # of disco's processes, by their names

    def find(self, pattern: str, pid: int | None = None) -> list[Call]:
        """Return the calls that match, of one process or of all; raise BenchError if there are none."""
        found = [call for call in self._calls if pid in {None, call.pid} and re.match(pattern, call.text)]
        if not found:
            raise BenchError(f"strace has seen no {pattern}")
        return found

    def forked(self, pid: int) -> float:
        """Return when a process was forked."""
        return self.find(rf"(v?fork|clone3?)\(.* = {pid}$")[0].at


def phases(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure when each phase of a cold start ends."""
    strace, server = find_program("strace"), start_server(bench, kind)
    site = starting_site(bench, kind, server)
    tracer = (str(strace), *OPTIONS, "-o", f"{site.folder}/trace")

    def trace() -> dict[str, float]:
        for file in site.folder.glob("trace.*"):
            file.unlink()
        bench.measure_disco(site, "true", before=tracer)
        return _find_phases(Trace([*site.folder.glob("trace.*")]), site, kind, server)

    traced, plain = bench.take_in_turns(16, trace, lambda: {LAST: bench.measure_disco(site, "true").wall})
    for phase in traced[0]:
        yield Line(f"until {phase}", "ms", [found[phase] for found in traced])
    slowed, usual = ([found[LAST] for found in each] for each in (traced, plain))
    yield Line("start to exec with strace, by that without", "ms", slowed, usual)


def _find_phases(trace: Trace, site: Site, kind: str, server: Server | None) -> dict[str, float]:
    """Return when each phase ended, in their order."""
    coordinator, source = trace.pids["coordinat"], trace.pids[kind]  # the kernel's names have 15 characters
    [handler, *_] = trace.find(rf'execve\("{re.escape(str(site.etc / "read"))}",.* = 0$')
    connected = {"the source connects": trace.find(rf"connect\(.*htons\({server.port}\)")[0].at} if server else {}
    return {
        "signals are handled": trace.find(HANDLED, trace.first)[0].at,
        "the site is loaded, the coordinator forked": trace.forked(coordinator),
        "the source is forked": trace.forked(source),
        **connected,
        "the source sends data and verdict": trace.find(DIFF, source)[0].at,
        "the handler is forked": trace.forked(handler.pid),
        "the handler is executed": handler.at,
        "the handler has exited": trace.find(ENDED, handler.pid)[0].at,
        "all children are gone": trace.find(ENDED, coordinator)[0].at,
        LAST: trace.find(r"execve\(.* = 0$", trace.first)[-1].at,
    }
