"""Where a row runs: its sites, its servers, its witness; all of that ends with the row."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from lab.consul_server import ConsulServer
from lab.etcd_server import EtcdServer
from lab.processes import end_all
from lab.servers import find_program
from lab.site import Site, disco_command

from bench_lab.machine import on_one_cpu
from bench_lab.witness import PATIENCE, BenchError, Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lab.site import Running

    Server = ConsulServer | EtcdServer

T = TypeVar("T")

FLOOR, BARE = (Path(__file__).with_name(f"{name}.py") for name in ("floor", "bare"))
READ = "#!/bin/sh\nexec cat > /dev/null\n"
# The time is `date`'s: nothing that starts faster tells more than hundredths of a second.
NOTE = '#!/bin/sh\nexec date "+$DISCO_RULE %s%N" > "$WITNESS"\n'
COMMAND = ("date", "+COMMAND %s%N")  # its stdout is the witness


class Cost(NamedTuple):
    """What a program took from its start to its end, in ms.

    cpu: user and system time of its process and of all below it; the handler and COMMAND are among them, of disco as of the floor
    program. The kernel adds a process's time to its parent's when the parent waits for it; what nobody waits for is missing. Of
    disco that is nothing: before COMMAND takes the place of the first process, each of the others was waited for by the one above
    it, and orphans by the coordinator. The account of a cgroup agrees.
    """

    wall: float
    cpu: float


class Bench:
    """What rows are made with; used as a `with`, once for each row."""

    def __init__(self, folder: Path, *, short: bool, repeat: int | None) -> None:
        """Make nothing yet but the witness; `short`: tiny sizes, `repeat`: samples of whatever is measured several times."""
        self.folder = folder
        self.short = short
        self._repeat = repeat
        self._stack = contextlib.ExitStack()
        self._sites = 0
        folder.mkdir()
        self.witness = Witness(folder / "witness")

    def __enter__(self) -> Self:
        self._stack.callback(self.witness.close)
        self._stack.callback(end_all, f"OUT={self.folder}/")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    @property
    def warm_up(self) -> int:
        """Return how many samples are taken that do not count."""
        return 0 if self.short else 1

    def times(self, full: int) -> int:
        """Return how many samples are taken: what was asked for, else so many, and one in the short form or where one has to do."""
        return 1 if full == 1 else self._repeat or (1 if self.short else full)

    def size(self, full: int, short: int) -> int:
        """Return how many there are of something."""
        return short if self.short else full

    def take_in_turns(self, times: int, *measures: Callable[[], T]) -> list[list[T]]:
        """Return so many samples of each measure.

        One after the other, every other round backwards: whatever disturbs the machine for a while disturbs all of them.
        """
        samples: list[list[T]] = [[] for _ in measures]
        pairs = list(zip(measures, samples, strict=True))
        for number in range(self.times(times) + self.warm_up):
            for measure, values in reversed(pairs) if number % 2 else pairs:
                values.append(measure())
        return [values[self.warm_up :] for values in samples]

    def site(self) -> Site:
        """Return a new site with the handlers `note` (tells the witness when it began) and `read` (reads its input)."""
        self._sites += 1
        site = Site(self.folder / f"site{self._sites}")
        site.environ["WITNESS"] = str(self.witness.path)
        site.cfg["disco.interval"] = "1"  # the default
        site.handler("note", NOTE)
        site.handler("read", READ)
        return site

    def server(self, kind: str, **options: Any) -> Server:
        """Start a server that ends with the row."""
        make: type[Server] = ConsulServer if kind == "consul" else EtcdServer
        server: Server = make(find_program(kind), self.folder / kind, **options)
        self._stack.enter_context(server)
        return server

    @contextlib.contextmanager
    def run(self, site: Site, *command: str, prologue: str = "") -> Iterator[Running]:
        """Run disco for the body of a `with`, by default with a COMMAND that tells the witness; nothing of it is left then."""
        running = site.start(*(command or COMMAND), options=(), prologue=prologue, stdout=self.witness.descriptor)
        try:
            yield running
        finally:
            # Disco itself and what it runs end with this: only root can look into their environment.
            running.process.kill()
            running.wait()
            end_all(f"OUT={site.folder}\0")

    @contextlib.contextmanager
    def run_directly(self, site: Site, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command as disco's COMMAND would be, but without disco."""
        process = subprocess.Popen(
            command, env=site.environ, cwd=site.folder, stdin=subprocess.DEVNULL, stdout=self.witness.descriptor
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def run_bare(self, what: str, *arguments: str) -> Iterator[int]:
        """Run a bare program for the body of a `with`, and yield its pid; nothing of it is left then."""
        site = self.site()
        with self.run_directly(site, sys.executable, str(BARE), what, *arguments) as process:
            try:
                yield process.pid
                if process.poll() is not None:
                    raise BenchError(f"the bare program {what} ended with {process.returncode}")
            finally:
                end_all(f"OUT={site.folder}\0")

    def measure(self, site: Site, argv: Sequence[str], cfg: str | None = None, *, one_cpu: bool = False) -> Cost:
        """Return what a program takes in the site's environment; one_cpu: all of its processes share one."""
        environ = site.environ | ({"DISCO_CFG": cfg} if cfg else {})
        with (site.folder / "stderr").open("wb") as errors:
            began = time.perf_counter()
            with on_one_cpu() if one_cpu else contextlib.nullcontext():  # not while it is waited for: the CPU is the program's
                process = subprocess.Popen(
                    argv, env=environ, cwd=site.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
                )
            _, status, usage = os.wait4(process.pid, 0)  # without a timeout, for which Python would poll; disco.timeout limits it
            took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise BenchError(f"{argv[0]} ended with {process.returncode}: {(site.folder / 'stderr').read_text()[-500:]}")
        return Cost(took * 1000, (usage.ru_utime + usage.ru_stime) * 1000)

    def measure_disco(self, site: Site, *command: str, one_cpu: bool = False, before: Sequence[str] = ()) -> Cost:
        """Return what disco takes from its start to COMMAND's end; before: a program that starts disco, and its arguments."""
        cfg = f"{site.cfg_line()}:disco.timeout={PATIENCE:g}"
        return self.measure(site, [*before, *disco_command(), *command], cfg, one_cpu=one_cpu)

    def measure_floor(self, site: Site, *arguments: str, one_cpu: bool = False) -> Cost:
        """Return what the floor program takes."""
        return self.measure(site, [sys.executable, str(FLOOR), *arguments], one_cpu=one_cpu)
