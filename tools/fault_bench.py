"""The bench of tools/faults: what a row is made of, and how one is run and judged."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

from fault_servers import EtcdFront, Gate, MissingError, wait_for
from lab.consul_server import ConsulServer
from lab.etcd_server import EtcdServer
from lab.processes import is_alive, processes
from lab.servers import BackendsError, find_program
from lab.site import Running, Site

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    Make = Callable[["Bench"], "Case | Trial"]

INTERFACES, CHANGES_EACH = 24, 3  # of the healthy source; more changes of one than that are taken over ever more rarely
CHANGES = 36  # measured; all that there can be where the first say that something is slower
DOUBT = 1.2  # the ratio from which more is measured
LIMIT = 1.5  # the ratio that is red
CPU_LIMIT = 0.3  # of a core, used by the coordinator while the fault is on
MEMORY = 200  # MiB: the sources' own limit; no process of disco's may have a quarter more for longer than a second …
PEAK, CEILING = 400, 1024  # … nor this at any time; from the last on it is killed, so that the machine lives on
LINES_A_SECOND, LINES = 3.0, 40  # of the log, without DEBUG, about the faulty source: more than so many in the time are a flood
INTERVAL = 0.05
PATIENCE = 60.0  # seconds for any one thing to come
SECRET = "f4ults-s3cret"
SEE = 'printf \'{"at": %s, "umask": "%s", "in": %s}\\n\' "$(date +%s.%N)" "$(umask)" "$(cat)" >> "$OUT/NAME.seen"\n'
# What COMMAND finds. Signals and descriptors are those of a child: the shell itself blocks signals while it makes one.
COMMAND = (
    "umask; pwd -P; ulimit -a; env | sort; grep -E '^(Sig(Ign|Blk)|NoNewPrivs)' /proc/self/status; ls /proc/self/fd; echo done"
)

stopping = threading.Event()


class StoppedError(Exception):
    """The tool was told to stop."""


class RedError(Exception):
    """A row cannot go on; the text says why it is red."""


@dataclass
class Case:
    """What a row does to one of two discos; `twin` and `write_twin` are of the other one, whose source is healthy.

    faulty: configuration. write: gives the source its change of a number, while the fault is on if `while_on`, else after it.
    begin, end: of the fault. is_on: whether it was met. passes: changes may come through it. to_end: it never ends. lasts: seconds
    for which it stays at least. status: how disco is to end. before: words before its command. plug_in: the source's generator, if
    it is one of our own. check: says what else is wrong at the end.
    """

    faulty: dict[str, str]
    twin: dict[str, str]
    write: Callable[[int], object]
    write_twin: Callable[[int], object]
    begin: Callable[[], object]
    end: Callable[[], object]
    is_on: Callable[[Running], object]
    while_on: bool = True
    passes: bool = False
    from_start: bool = False
    to_end: bool = False
    status: int = 0
    before: Sequence[str] = ()
    lasts: float = 0.0
    plug_in: str = ""
    check: Callable[[], str] = str


@dataclass
class Trial:
    """A history of one disco alone; play: goes through it, up to where disco is to exec. check: says what is wrong at the end."""

    site: Site
    play: Callable[[Running], object]
    check: Callable[[Running], str]


@dataclass
class Row:
    """A line of the table, and what makes its case or its trial."""

    source: str
    fault: str
    make: Make

    @property
    def title(self) -> str:
        """Return what `--only` is compared with."""
        return f"{self.source} {self.fault}"


@dataclass
class Result:
    """What a row found; times in seconds, `back` is negative if the change came while the fault was on; memory in MiB."""

    source: str
    fault: str
    verdict: str = "green"
    reasons: list[str] = field(default_factory=list)
    ratio: float | None = None
    beside: float | None = None
    alone: float | None = None
    slowest: float | None = None
    changes: int = 0
    coordinator_cpu: float | None = None
    back: float | None = None
    status: int | None = None
    left: int | None = None
    memory: int | None = None
    told: str = ""
    seconds: float = 0.0


class Servers:
    """The real servers that rows share, each started when it is needed first."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self._folder = folder
        self._locks = {"consul": threading.Lock(), "etcd": threading.Lock()}
        self._running: dict[str, Any] = {}

    @staticmethod
    def program(kind: str) -> Path:
        """Return a server's program; raise MissingError without it."""
        try:
            return find_program(kind)
        except BackendsError as error:
            raise MissingError(str(error).splitlines()[-1]) from None

    def make(self, kind: str, folder: Path, **options: Any) -> Any:
        """Return a server that is not started."""
        server = ConsulServer if kind == "consul" else EtcdServer
        return server(self.program(kind), folder, **options)

    def shared(self, kind: str) -> Any:
        """Return the server of a kind that all may use, and nobody may harm."""
        with self._locks[kind]:
            if kind not in self._running:
                self._running[kind] = server = self.make(kind, self._folder / kind)
                server.start()
            return self._running[kind]

    def close(self) -> None:
        """End them."""
        for server in self._running.values():
            server.kill()


class Bench:
    """What a row is made with: its number, its folder, the servers, and the stack of what is undone at its end."""

    def __init__(self, number: int, folder: Path, servers: Servers, stack: contextlib.ExitStack) -> None:
        """Take all that."""
        self.number = number
        self.folder = folder
        self.servers = servers
        self.stack = stack

    def own(self, kind: str, **options: Any) -> Any:
        """Start a server for this row alone."""
        server = self.servers.make(kind, self.folder / "server", **options)
        self.stack.callback(server.kill)
        server.start()
        return server

    def gate(self, server: Any, tls: ssl.SSLContext | None = None) -> Gate:
        """Open a gate in front of a server."""
        gate = Gate(server.port, tls)
        self.stack.callback(gate.close)
        return gate

    def site(self, plug_in: str = "") -> Site:
        """Return an empty site for a trial, in which a rule waits for the interface `end` until `finish`."""
        site = Site(self.folder / "faulty-disco")
        self.stack.callback(_end_all, site)
        _furnish(site, plug_in)
        site.flat({})
        return site

    @staticmethod
    def finish(site: Site) -> None:
        """Give a trial's disco what it waits for."""
        site.flat({"end": {}})

    @staticmethod
    def wait(fact: Callable[[], Any], what: str) -> Any:
        """Wait for a fact, and return it; the row is red if it does not come."""
        return _await(fact, what)

    def etcd_front(self, *, cancels: bool) -> EtcdFront:
        """Open what fails watches in front of the shared etcd."""
        front = EtcdFront(self.servers.shared("etcd").port, cancels=cancels)
        self.stack.callback(front.close)
        return front

    def case(self, kind: str, server: Any, port: int, **details: Any) -> Case:
        """Return a case in which one disco has `server` through `port`, and its twin the shared server."""
        shared = self.servers.shared(kind)
        values: dict[str, Any] = {
            "faulty": self._options(kind, port, "f") | details.pop("options", {}),
            "twin": self._options(kind, shared.port, "t") | details.pop("twin_options", {}),
            "write": self._writer(server, "f"),
            "write_twin": self._writer(shared, "t"),
        }
        return Case(**(values | details))

    def _options(self, kind: str, port: int, side: str) -> dict[str, str]:
        named = {"host": "127.0.0.1", "port": str(port), "prefix": f"{self.number}/{side}", "timeout": "1", "wait": "1"}
        return {f"{kind}.{name}": value for name, value in (named | {"memory": f"{MEMORY}M"}).items()}

    def _writer(self, server: Any, side: str) -> Callable[[int], object]:
        return lambda n: server.put(f"{self.number}/{side}/odd/n", str(n))


def run_row(row: Row, number: int, folder: Path, servers: Servers) -> Result:
    """Run a row, and clean up after it."""
    result = Result(row.source, row.fault)
    began = time.monotonic()
    folder = folder / f"row{number}"
    try:
        _check_stopping()
        with contextlib.ExitStack() as stack:
            folder.mkdir()
            made = row.make(Bench(number, folder, servers, stack))
            if isinstance(made, Trial):
                _try(result, made)
            else:
                _run(result, made, folder, stack)
    except MissingError as error:
        result.verdict, result.reasons = "skipped", [str(error)]
    except StoppedError:
        result.verdict, result.reasons = "skipped", ["interrupted"]
    except RedError as error:
        result.reasons.append(str(error))
    except Exception as error:  # noqa: BLE001 -- a row that cannot be run is red, and the others go on
        result.reasons.append(f"the row itself failed: {type(error).__name__}: {error}")
    if result.reasons and result.verdict == "green":
        result.verdict = "red"
    result.seconds = round(time.monotonic() - began, 1)
    return result


def _try(result: Result, trial: Trial) -> None:
    site = trial.site
    running = site.start("sh", "-c", COMMAND, options=("-l", "DEBUG"), cwd="/")
    with Meter(running.coordinator, result):
        try:
            trial.play(running)
            result.status = _wait(running)
        finally:
            result.told = _told(running.log)
    _judge_process(result, site, running, 0)
    if problem := trial.check(running):
        result.reasons.append(problem)


def _run(result: Result, case: Case, folder: Path, stack: contextlib.ExitStack) -> None:
    faulty, twin = Site(folder / "faulty-disco"), Site(folder / "twin-disco")
    for site, cfg in ((faulty, case.faulty), (twin, case.twin)):
        stack.callback(_end_all, site)
        _furnish(site, case.plug_in)
        _furnish_pair(site)
        site.cfg |= cfg
    case.write(1)
    case.write_twin(1)
    if case.from_start:
        case.begin()
    start = partial(Site.start, options=("-l", "DEBUG"), cwd="/")
    running, other = start(faulty, "sh", "-c", COMMAND, before=case.before), start(twin, "sh", "-c", COMMAND)
    with Meter(running.coordinator, result):
        _await_first(twin, "see", INTERFACES)
        _await_first(twin, "other", 1)
        _await_first(faulty, "see", INTERFACES)
        _await_first(faulty, "other", not case.from_start)
        try:
            _break(result, case, faulty, twin, running)
        finally:
            result.told = _told(running.log)
        for site in (faulty, twin):
            _change(site, "end", 1)
        result.status = _wait(running)
    if _wait(other):
        result.reasons.append("the disco without the fault ended badly, too")
    _judge_process(result, faulty, running, case.status)
    _judge_pair(result, case, (faulty, running), (twin, other))


def _await_first(site: Site, handler: str, count: int) -> None:
    _await(lambda: len(_seen(site, handler)) >= count, f"the first data for {count} runs of {handler}")


def _furnish(site: Site, plug_in: str) -> None:
    site.cfg |= {"disco.interval": str(INTERVAL), "disco.settle": "0", "disco.timeout": "150", "disco.grace": "2"}
    site.schema("end")
    site.rules({"when": "end", "do": "last"}, file="end.rules")
    for name in ("see", "other", "last"):
        site.handler(name, SEE.replace("NAME", name))
    if plug_in:
        site.plug_in(plug_in)
        site.cfg["odd.memory"] = f"{MEMORY}M"


def _furnish_pair(site: Site) -> None:
    """Add what a disco with a fault and its twin have: interfaces of a healthy source, and one of the other's."""
    names = [f"app{index}" for index in range(INTERFACES)]
    for name in names:
        site.schema(name)
    integer = {"type": "integer"}
    site.schema("odd", {"type": "object", "properties": {"n": integer, "port": integer}, "minProperties": 1})
    site.rules(*({"when": name, "do": "see"} for name in names), {"when": "odd", "do": "other"})
    site.flat({name: {"n": 0} for name in names})


def _break(result: Result, case: Case, faulty: Site, twin: Site, running: Running) -> None:
    """Let the fault begin, measure, let it end, and wait for what was changed."""
    if not case.from_start:
        case.begin()
    since, cpu, lines = time.monotonic(), _cpu(running.coordinator), _count_lines(running.log)
    _await(lambda: case.is_on(running), "the fault to be met")
    _measure(result, faulty, twin)
    _await(lambda: time.monotonic() > since + case.lasts, "the end of the fault's time")
    seconds = time.monotonic() - since
    if (lines := _count_lines(running.log) - lines) > LINES + LINES_A_SECOND * seconds:
        result.reasons.append(f"{lines} lines of the log about the faulty source in {seconds:.0f} s")
    result.coordinator_cpu = round((_cpu(running.coordinator) - cpu) / seconds, 3)
    if result.coordinator_cpu > CPU_LIMIT:
        result.reasons.append(f"the coordinator is busy for {result.coordinator_cpu:.0%} of the time")
    if case.to_end:
        return
    if case.while_on:
        case.write(2)
        time.sleep(2 * INTERVAL)  # in which it could come through
    ending = time.time()
    case.end()
    ended = time.time()
    if not case.while_on:
        case.write(2)
    seen = _await(lambda: _changes(faulty, 2), "the faulty source's change")
    result.back = round(seen[0] - ended, 2)
    if seen[0] < ending and not case.passes:
        result.reasons.append("the change came while the fault was on: there was none")
    case.write(3)
    _await(lambda: _changes(faulty, 3), "the faulty source's next change")


def _changes(site: Site, n: int) -> list[float]:
    """Return when the faulty source's handler saw this number, or a higher one."""
    seen = ((line["at"], line["in"]["odd"]) for line in _seen(site, "other"))
    return [at for at, odd in seen if odd.get("n", odd.get("port")) >= n]  # a service has its number as its port


def _measure(result: Result, faulty: Site, twin: Site) -> None:
    """Take the medians of both, at the same time; more of them where the first ones differ."""
    times: dict[Path, list[float]] = {faulty.folder: [], twin.folder: []}
    for first, last in ((0, CHANGES), (CHANGES, INTERFACES * CHANGES_EACH)):
        with ThreadPoolExecutor(len(times)) as pool:
            for site, found in [(site, pool.submit(_latencies, site, first, last)) for site in (faulty, twin)]:
                times[site.folder] += found.result()
        beside, alone = (median(times[site.folder]) for site in (faulty, twin))
        ratio = beside / alone
        result.beside, result.alone, result.ratio = round(beside, 4), round(alone, 4), round(ratio, 2)
        result.slowest, result.changes = round(max(times[faulty.folder]), 3), len(times[faulty.folder])
        if ratio < DOUBT:
            break
    if ratio >= LIMIT:
        result.reasons.append(f"the healthy source is {ratio:.1f} times as slow")


def _latencies(site: Site, first: int, last: int) -> list[float]:
    """Return how long each of some changes took from the write to its handler."""
    found = []
    for change in range(first, last):
        # The phase of the file's polling decides much: it is gone through evenly, and so is equal on both sides.
        time.sleep(INTERVAL * (change * 0.618 % 1))
        interface, n = f"app{change % INTERFACES}", change // INTERFACES + 1
        at = _change(site, interface, n)
        ran_at = _await(partial(_find_run, site, {interface: {"n": n}}), "a change of the healthy source")
        found.append(ran_at - at)
    return found


def _find_run(site: Site, data: dict[str, Any]) -> float | None:
    """Return when the healthy source's handler ran on this data."""
    return next((line["at"] for line in _seen(site, "see") if line["in"] == data), None)


def _change(site: Site, interface: str, n: int) -> float:
    """Change one interface of the healthy source; return when (before the write, so that no delay is lost)."""
    data = json.loads((site.folder / "flat.yaml").read_text())
    data[interface] = {"n": n}
    at = time.time()
    site.flat(data)
    return at


def _seen(site: Site, name: str) -> list[dict[str, Any]]:
    try:
        return site.seen(name)
    except ValueError:  # in the middle of a line
        return []


def _judge_process(result: Result, site: Site, running: Running, status: int) -> None:
    """Judge how disco ended, and what it left and took."""
    if result.status != status:
        result.reasons.append(f"exit status {result.status}, expected {status}")
    wait_for(lambda: not _left(site), 1.0)  # killed, and not yet gone
    left = _left(site)
    result.left = len(left)
    if left:
        result.reasons.append(f"{len(left)} processes are left")
    for word, problem in ((SECRET, "a secret is in the log"), ("Traceback", "a traceback is in the log")):
        if word in running.log:
            result.reasons.append(problem)


def _judge_pair(result: Result, case: Case, one: tuple[Site, Running], other: tuple[Site, Running]) -> None:
    """Judge what one found that the other did not."""
    found = [running.output.replace(str(site.folder), "SITE").splitlines() for site, running in (one, other)]
    if case.status == 0 and found[0] != found[1]:
        differing = sorted(set(found[0]) ^ set(found[1]))
        result.reasons.append(f"COMMAND found something else than without the fault: {differing[:3]}")
    lines = [line for site, _ in (one, other) for name in ("see", "other", "last") for line in _seen(site, name)]
    if len({line["umask"] for line in lines}) > 1:
        result.reasons.append("handlers had different umasks")
    if problem := case.check():
        result.reasons.append(problem)


class Meter(threading.Thread):
    """Looks at the resident memory of a disco and of its children ten times a second, and ends what would eat up the machine."""

    def __init__(self, pid: int, result: Result) -> None:
        """Look at nothing yet; what was seen gets into the result at the end."""
        super().__init__(daemon=True)
        self._pid = pid
        self._result = result
        self._peak = 0  # MiB, of any one process
        self._worst = (0, "")  # MiB, and the words for it
        self._over = threading.Event()
        self._above: dict[int, float] = {}  # since when a process has too much

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self.join()
        self._result.memory = self._peak
        if self._worst[0]:
            self._result.reasons.append(self._worst[1])

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(0.1):
            for pid in (self._pid, *_children(self._pid)):
                self._look(pid)

    def _look(self, pid: int) -> None:
        size, now = _resident(pid), time.monotonic()
        self._peak = max(self._peak, size)
        if size <= MEMORY * 5 / 4:
            self._above.pop(pid, None)
        elif size > PEAK or now - self._above.setdefault(pid, now) > 1:
            who = "the coordinator" if pid == self._pid else "a child"
            self._worst = max(self._worst, (size, f"{who} had {size} MiB of memory"))
        if size > CEILING:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _resident(pid: int) -> int:
    """Return a process's resident memory (MiB); 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _count_lines(log: str) -> int:
    """Return how many lines the coordinator wrote about a faulty source, without those for -l DEBUG and those of handlers' runs."""
    return len(re.findall(r"^(?!.* DEBUG ).* coordinator\[\d+\] (?!rule ).*\b(?:odd|consul|etcd)\b", log, re.MULTILINE))


def _left(site: Site) -> set[int]:
    """Return the living processes with the site's mark in their environment, and those that a plug-in noted."""
    noted = [int(word) for word in site.read("pids").split()]
    return {*processes(f"OUT={site.folder}"), *filter(is_alive, noted)}


def _end_all(site: Site) -> None:
    """Kill what is left of a site's processes."""
    site.clean_up()
    for pid in _left(site):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _told(log: str) -> str:
    """Return the last warning of the log that speaks of a source."""
    found = re.findall(r"(?:WARNING|ERROR)\s.*?(source .*|(?:odd|consul|etcd).*)", log)
    return found[-1][:200] if found else ""


def _cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _await(look: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        _check_stopping()
        if time.monotonic() > until:
            raise RedError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.01)
    return found


def _wait(running: Running) -> int:
    _await(lambda: running.process.poll() is not None, "the end of disco")
    return running.process.wait()


def _check_stopping() -> None:
    if stopping.is_set():
        raise StoppedError
