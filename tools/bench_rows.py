"""The rows of tools/bench."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
import time
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench_measure import (
    Line,
    Peak,
    available_memory,
    connections_to,
    cpu_of,
    memory_of,
    most_in_a_second,
    name_of,
    switches_of,
    tree,
)
from bench_site import COMMAND, QUIET, Bench, BenchError, await_answers, connect, fill, put
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench_site import Server
    from lab.site import Site

CHANGES_EACH = 3  # of an interface; what changes more often than that is taken over ever more rarely
CHANGES_AT_ONCE = 250  # of interfaces: enough to be told from what else the coordinator does
BRISK = "0.05"  # disco.interval where Consul is written to often: so long is the pause between requests
SCHEMA = {
    "type": "object",
    "required": ["host", "port", "user", "password"],
    "properties": {name: {"type": "string", "minLength": 1} for name in ("host", "port", "user", "password")},
}
DATA = {"host": "db1.example", "port": "3306", "user": "app", "password": "correct-horse"}
WAITING = {"app": DATA, "seen": DATA}
LATE = {"type": "object", "required": ["late"]}  # held back by the key `late`
ACCESS = re.compile(r"^\s*(\S+) \[DEBUG\]\s+agent\.http: Request finished: method=GET url=/v1/kv/", re.MULTILINE)
CONSUL_TELLS = {"configuration": {"log_level": "debug"}}  # each request, when it is answered
# A query outlives the disco that asked it until its wait is over, and keeps its connection so long: the next runs need room.
CONSUL_WITH_ROOM = {"configuration": {"limits": {"http_max_conns_per_client": 2000}}}
# Tells, for each diff that the coordinator receives, the bytes of its frame and how many interfaces are in it.
COUNT_DIFFS = """
import os
from disco.wire import channel, frames, messages
plain = channel.Channel.receive
def receive(self, *arguments):
    for message in plain(self, *arguments):
        if isinstance(message, messages.Diff):
            with open(os.environ["OUT"] + "/diffs", "a") as file:
                print(sum(map(len, frames.encode(message))), len(message.changed), file=file)
        yield message
channel.Channel.receive = receive
"""


@dataclass(frozen=True)
class Row:
    """A row: its name, and what measures it."""

    name: str
    measure: Callable[[Bench], Iterator[Line]]


def list_rows() -> list[Row]:
    """Return all rows, in order."""
    kinds, servers = ("flat", "consul", "etcd"), ("consul", "etcd")
    return [
        Row("witness", witness),
        *(Row(f"cold start {kind}", partial(cold_start, kind)) for kind in kinds),
        Row("no rules", no_rules),
        *(Row(f"late key {kind}", partial(late_key, kind)) for kind in servers),
        *(Row(f"late change {kind}", partial(late_change, kind)) for kind in servers),
        Row("idle", idle),
        *(Row(f"memory {kind}", partial(memory, kind)) for kind in kinds),
        Row("after exec", after_exec),
        Row("many flat", many_flat),
        Row("many consul", many_consul),
        *(Row(f"one of many {kind}", partial(one_of_many, kind)) for kind in servers),
        *(Row(f"large {kind}", partial(large, kind)) for kind in kinds),
        Row("fleet", fleet),
    ]


def hold(site: Site, kind: str, server: Server | None, data: dict[str, dict[str, str]], name: str = "") -> None:
    """Let a backend hold some interfaces, and a source of this name (by default its type's) read them."""
    name = name or kind
    if server is None:
        site.flat(data, f"{name}.yaml", name)
        return
    prefix = f"{site.folder.name}/{name}"
    fill(server, {f"{prefix}/{interface}/{key}": value for interface, keys in data.items() for key, value in keys.items()})
    connect(site, kind, server, prefix, name)


def start_server(bench: Bench, kind: str) -> Server | None:
    """Start what a source of this type reads; a file needs nothing."""
    return None if kind == "flat" else bench.server(kind)


# Start


def witness(bench: Bench) -> Iterator[Line]:
    """Measure what is in all latencies, and is not disco's: the start of what tells the time."""
    site = bench.site()
    site.environ["DISCO_RULE"] = "rule"

    def start(*argv: str) -> float:
        began = time.time_ns()
        with bench.run_directly(site, *argv):
            return (bench.witness.next()[1] - began) / 1e6

    handler, command = bench.take_in_turns(50, partial(start, str(site.etc / "note")), partial(start, *COMMAND))
    yield Line("a handler's start to the time that it tells", "ms", handler)
    yield Line("COMMAND's start to the time that it tells", "ms", command)


def cold_start(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure a start with a COMMAND that does nothing, beside a bare program that reads, validates, runs and executes the same."""
    server, site = start_server(bench, kind), bench.site()
    site.schema("mysql", SCHEMA)
    site.rules({"when": "mysql", "do": "read"})
    hold(site, kind, server, {"mysql": DATA})
    place = site.cfg["flat.file"] if server is None else f"{server.address}/{site.cfg[f'{kind}.prefix']}"
    floor = (kind, place, str(site.etc / "mysql.schema"), str(site.etc / "read"), "true")
    ours, floors = bench.take_in_turns(20, partial(bench.time_disco, site, "true"), partial(bench.time_floor, site, *floor))
    yield Line("start to exec, by the floor program's", "ms", ours, floors, limit=1.4 if server is None else 1.2)


def no_rules(bench: Bench) -> Iterator[Line]:
    """Measure `disco true` where there is nothing to do, beside an interpreter that imports YAML."""
    site = bench.site()
    site.cfg["disco.rules"] = "optional"
    yaml = [sys.executable, "-c", "import yaml"]
    ours, floors = bench.take_in_turns(30, partial(bench.time_disco, site, "true"), partial(bench.time, site, yaml))
    yield Line("disco true, by python -c 'import yaml'", "ms", ours, floors, limit=2)


# Latency


def late_key(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure from the write of the one key that is missing to COMMAND, with a handler between them."""
    server = bench.server(kind)
    found = []
    for _ in range(bench.times(20) + bench.warm_up):
        site = bench.site()
        site.cfg["disco.settle"] = "0"
        site.schema("app", LATE)
        site.rules({"when": "app", "do": "read"})
        hold(site, kind, server, {"app": DATA})
        with bench.run(site) as running:
            await_answers(running)
            times = put(partial(server.put, f"{site.cfg[f'{kind}.prefix']}/app/late", "1"))
            at = bench.witness.wait_for("COMMAND")
        found.append([(at - time) / 1e6 for time in times])
    begun, returned = zip(*found[bench.warm_up :], strict=True)
    yield Line("write's return to COMMAND", "ms", returned, limit=15)
    yield Line("write's begin to COMMAND", "ms", begun)


def late_change(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure from the write of a changed key to its handler, while something else keeps disco from exec."""
    server, site = bench.server(kind), bench.site()
    times = bench.times(36) + bench.warm_up
    names = [f"app{number}" for number in range(-(-times // CHANGES_EACH))]
    furnish(site, names)
    site.cfg["disco.interval"] = BRISK
    hold(site, kind, server, dict.fromkeys(names, DATA))
    with bench.run(site) as running:
        await_answers(running)
        bench.witness.wait_for_all(len(names))
        found = [change_key(bench, site, kind, server, names[number % len(names)], str(number)) for number in range(times)]
    begun, returned = zip(*found[bench.warm_up :], strict=True)
    yield Line("write's return to handler", "ms", returned, limit=8)
    yield Line("write's begin to handler", "ms", begun)


def furnish(site: Site, names: list[str]) -> None:
    """Give each interface a rule whose handler tells the witness, and one more rule that never runs."""
    site.cfg["disco.settle"] = "0"
    for name in names:
        site.schema(name, SCHEMA)
    site.schema("missing")
    site.rules(*({"when": name, "do": "note", "name": name} for name in names), {"when": "missing", "do": "note"})


def change_key(bench: Bench, site: Site, kind: str, server: Server, name: str, value: str) -> tuple[float, float]:
    """Change one key of an interface; return ms from the write's begin and its return until the handler began."""
    time.sleep(QUIET)
    times = put(partial(server.put, f"{site.cfg[f'{kind}.prefix']}/{name}/port", f"changed {value}"))
    at = bench.witness.wait_for(name)
    return (at - times[0]) / 1e6, (at - times[1]) / 1e6


# Waiting


def idle(bench: Bench) -> Iterator[Line]:
    """Measure what a disco with a source of each kind does in a minute of waiting, and what costs CPU however it is done."""
    consul, etcd = bench.server("consul", **CONSUL_TELLS), bench.server("etcd")
    site = waiting_site(bench)
    for kind, server in (("flat", None), ("consul", consul), ("etcd", etcd)):
        hold(site, kind, server, WAITING)
    seconds = bench.size(60, 3)

    def look() -> dict[tuple[str, str], float]:
        pids = {name_of(pid): pid for pid in tree(running.pid)} | bare
        return {
            **{("CPU", name): cpu_of(pid) * 1000 for name, pid in pids.items()},
            **{("context switches", name): switches_of(pid) for name, pid in pids.items()},
            ("requests", "consul"): len(answers(consul)),
            ("requests", "etcd"): etcd_requests(etcd),
        }

    with (
        bench.run(site) as running,
        bench.run_bare("look", site.cfg["flat.file"]) as looking,
        bench.run_bare("watch", etcd.address, site.cfg["etcd.prefix"]) as watching,
    ):
        bare = {"a bare look each second": looking, "a bare watch of etcd": watching}
        await_answers(running, 3)
        if not bench.short:
            running.wait_for("WARNING")  # the first report: the start is over
        before = look()
        time.sleep(seconds)
        after = look()
    limits = {"CPU": ("ms/min", 5.0), "context switches": ("1/min", None), "requests": ("1/min", 2.0)}
    for (what, name), count in after.items():
        unit, limit = limits[what]
        yield Line(f"{what} of {name}", unit, [(count - before[what, name]) * 60 / seconds], limit=None if name in bare else limit)


def waiting_site(bench: Bench) -> Site:
    """Return a site that waits for ever, with one rule that has run."""
    site = bench.site()
    for name, schema in (("app", LATE), ("seen", SCHEMA)):
        site.schema(name, schema)
    site.rules({"when": "app", "do": "read"}, {"when": "seen", "do": "note", "name": "seen"})
    return site


def answers(consul: Server) -> list[float]:
    """Return when Consul answered requests for keys (seconds since the epoch), by its log."""
    return [datetime.fromisoformat(at).timestamp() for at in ACCESS.findall((consul.folder / "log").read_text())]


def etcd_requests(etcd: Server) -> float:
    """Return how many messages etcd has received from its clients."""
    with urllib.request.urlopen(f"{etcd.url}/metrics") as answer:  # noqa: S310 -- loopback
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("grpc_server_msg_received_total"))


def memory(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure what processes need while disco waits, and what each source after the first adds."""
    server, totals = start_server(bench, kind), {}
    many = bench.size(10, 3)
    for count in (1, many):
        site = waiting_site(bench)
        for number in range(count):
            hold(site, kind, server, WAITING, f"s{number}")
        with bench.run(site) as running:
            bench.witness.wait_for("seen")
            await_answers(running, count)
            found = {name_of(pid): memory_of(pid) for pid in tree(running.pid)}
        totals[count] = sum(found.values())
        if count == 1:
            yield Line("coordinator", "MB", [found["coordinator"]])
            yield Line("idle runner", "MB", [found["runner-1"]])
            yield Line(f"the only source, {kind}", "MB", [found["s0"]])
    more = (totals[many] - totals[1]) / (many - 1)
    yield Line("each source after the first", "MB", [more], limit={"flat": 3, "consul": 8}.get(kind))
    if kind == "flat":
        for count in (1, many):
            with bench.run_bare("read", str(count), site.cfg["s0.file"], str(site.etc / "seen.schema")) as pid:
                bench.witness.wait_for_all(count)
                totals[count] = memory_of(*tree(pid))
        yield Line("each bare child that reads and validates a file", "MB", [(totals[many] - totals[1]) / (many - 1)])


def after_exec(bench: Bench) -> Iterator[Line]:
    """Look at what is left of disco when COMMAND has taken its place, beside the same COMMAND started directly."""
    servers = {kind: start_server(bench, kind) for kind in ("flat", "consul", "etcd")}
    site = bench.site()
    site.schema("app")
    site.rules({"when": "app", "do": "read"})
    for kind, server in servers.items():
        hold(site, kind, server, {"app": DATA})
    command = ("sleep", "1000")
    with bench.run(site, *command) as running, bench.run_directly(site, *command) as direct:
        # Until it sleeps its loader may still have a library open.
        eventually(lambda: all(name_of(pid) == "sleep" and is_asleep(pid) for pid in (running.pid, direct.pid)), "COMMAND")
        yield Line("processes", "", [len(tree(running.pid)) - 1], limit=0)
        # What disco was given stays: its COMMAND may have more than three.
        yield Line("descriptors", "", [count_descriptors(running.pid) - count_descriptors(direct.pid)], limit=0)
        yield Line("mapped files", "", [len(mapped(running.pid) - mapped(direct.pid))], limit=0)
        yield Line("memory", "MB", [memory_of(running.pid)], [memory_of(direct.pid)])


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def count_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def mapped(pid: int) -> set[str]:
    return {line.split(maxsplit=5)[5] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/" in line}


# Many and large


def many_flat(bench: Bench) -> Iterator[Line]:
    """Measure ever more flat sources, each with a rule."""
    took: dict[int, float] = {}
    counts = [1, 3] if bench.short else [1, 10, 100, 1000]
    for count in counts:
        names = [f"s{number:04}" for number in range(count)]
        site = bench.site()
        for name in names:
            site.schema(name, SCHEMA)
            site.flat({name: DATA}, f"{name}.yaml", name)
        site.rules(*({"when": name, "do": "read"} for name in names))
        [times] = bench.take_in_turns(3 if count < max(counts) else 1, partial(bench.time_disco, site, "true"))
        line = Line("time to exec", "s", [time / 1000 for time in times], limit=15 if count == 1000 else None, count=count)
        took[count] = line.value
        yield line
        yield from watch_many(bench, site, names)
    if not bench.short:  # of so few sources it says nothing
        small, middle, large = counts[-3:]
        last, before = (took[large] - took[middle]) / (large - middle), (took[middle] - took[small]) / (middle - small)
        what = f"each source from {middle} to {large}, by each up to {middle}"
        yield Line(what, "ms", [last * 1000], [before * 1000], limit=1.5)


def watch_many(bench: Bench, site: Site, names: list[str]) -> Iterator[Line]:
    """Measure disco while it waits for one more interface, and some of the others change."""
    furnish(site, names)
    changing = names[:CHANGES_AT_ONCE]
    used = []
    with bench.run(site) as running:
        await_answers(running, len(names))
        bench.witness.wait_for_all(len(names))
        time.sleep(QUIET)
        sources = [pid for pid in tree(running.pid) if name_of(pid) in names]
        yield Line("memory of a source", "MB", [memory_of(*sources) / len(sources)], count=len(names))
        yield Line("memory of the coordinator", "MB", [memory_of(running.coordinator)], count=len(names))
        for change in range(bench.size(CHANGES_EACH, 1)):
            began, before = time.monotonic(), cpu_of(running.coordinator)
            for name in changing:
                site.flat({name: DATA | {"port": f"changed {change}"}}, f"{name}.yaml", name)
            bench.witness.wait_for_all(len(changing))
            time.sleep(QUIET)  # the end of the last handler belongs to it
            after = cpu_of(running.coordinator)
            time.sleep(time.monotonic() - began)  # what the same time costs without changes does not
            used.append((2 * after - before - cpu_of(running.coordinator)) / len(changing) * 1000)
        yield Line("CPU of the coordinator for a change", "ms", used, count=len(names))


def many_consul(bench: Bench) -> Iterator[Line]:
    """Measure many sources on one server, and a handler that needs all of them."""
    server = bench.server("consul", **CONSUL_WITH_ROOM)
    count = bench.size(100, 3)
    names = [f"s{number}" for number in range(count)]
    site = bench.site()
    for name in names:
        site.schema(name, SCHEMA)
        hold(site, "consul", server, {name: DATA}, name)
    site.schema("missing")
    site.rules({"when": names, "do": "note", "name": "all"}, {"when": "missing", "do": "note"})
    held = []

    def start() -> float:
        began = time.time_ns()
        with bench.run(site) as running:
            took = (bench.witness.wait_for("all") - began) / 1e9
            await_answers(running, count)
            held.append(connections_to(server.port) / count)
        return took

    [took] = bench.take_in_turns(3, start)
    yield Line(f"start to the handler that needs all {count}", "s", took, limit=2)
    yield Line("connections of each source", "", held, limit=1)


def one_of_many(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure a change of one key of many interfaces, beside the same in a site that has one interface only."""
    server = bench.server(kind)
    names = [f"app{number}" for number in range(bench.size(1000, 10))]
    data = DATA | {f"key{number}": "some value" for number in range(10 - len(DATA))}
    large = bench.site()
    furnish(large, names)
    large.cfg["disco.interval"] = BRISK
    hold(large, kind, server, dict.fromkeys(names, data))
    times = bench.times(24)
    ours: list[float] = []
    floors: list[float] = []
    changing = enumerate(itertools.cycle(names))
    with bench.run(large) as running:
        await_answers(running)
        bench.witness.wait_for_all(len(names))
        while len(ours) < times:
            small = bench.site()
            furnish(small, ["only"])
            small.cfg["disco.interval"] = BRISK
            hold(small, kind, server, {"only": data})
            pairs = []
            with bench.run(small) as other:
                await_answers(other)
                bench.witness.wait_for("only")
                for number, name in itertools.islice(changing, CHANGES_EACH):
                    pairs.append(
                        (
                            change_key(bench, large, kind, server, name, str(number))[1],
                            change_key(bench, small, kind, server, "only", str(number))[1],
                        )
                    )
            for our, floor in pairs[bench.warm_up :]:
                ours.append(our)
                floors.append(floor)
    yield Line(f"write's return to handler, one of {len(names)}, by one of one", "ms", ours, floors, limit=3)
    if kind == "consul":
        yield from follow(bench, server, large.cfg["consul.prefix"], small.cfg["consul.prefix"])
    with bench.run(large, prologue=COUNT_DIFFS) as running:
        await_answers(running)
        bench.witness.wait_for_all(len(names))
        change_key(bench, large, kind, server, names[0], "at last")
    size, interfaces = map(int, large.read("diffs").split()[-2:])
    yield Line("interfaces sent for a change", "", [interfaces], limit=1)
    yield Line("bytes sent for a change", "bytes", [size])


def follow(bench: Bench, server: Server, large: str, small: str) -> Iterator[Line]:
    """Measure a change of one key of many, and of few, up to where a bare client has read the answer."""
    prefixes = {f"{large}/app0": large, f"{small}/only": small}
    found: dict[str, list[float]] = {interface: [] for interface in prefixes}
    for number in range(bench.times(12) + bench.warm_up):
        for interface, prefix in prefixes.items():
            with bench.run_bare("follow", server.address, prefix):
                bench.witness.wait_for("bare")
                time.sleep(QUIET)
                _, returned = put(partial(server.put, f"{interface}/port", f"followed {number}"))
                found[interface].append((bench.witness.wait_for("bare") - returned) / 1e6)
    for which, samples in zip(("many", "one"), found.values(), strict=True):
        yield Line(f"write's return to a bare client that has read {which}", "ms", samples[bench.warm_up :])


def large(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure one interface of many megabytes."""
    server = start_server(bench, kind)
    size = bench.size(10, 1)
    keys = {f"key{number:05}": f"{number:05}" * 200 for number in range(size * 1000)}
    sites = []
    for more in ({}, keys):
        site = bench.site()
        furnish(site, ["app"])
        hold(site, kind, server, {"app": DATA | more})
        sites.append(site)

    def start(site: Site) -> float:
        began = time.time_ns()
        with bench.run(site):
            return (bench.witness.wait_for("app") - began) / 1e9

    took, least = bench.take_in_turns(3, partial(start, sites[1]), partial(start, sites[0]))
    yield Line(f"start to handler, {size} MB", "s", took)
    yield Line("start to handler, next to nothing", "s", least)
    peaks = []
    for _ in range(bench.times(3)):
        with bench.run(sites[0]) as running:
            await_answers(running)
            bench.witness.wait_for("app")
            least_memory = memory_of(*tree(running.pid))
        with bench.run(sites[1]) as running, Peak(running.pid) as peak:
            await_answers(running)
            bench.witness.wait_for("app")
        peaks.append((peak.highest - least_memory) / size)
    yield Line("peak beyond the idle tree, by the data's size", "", peaks, limit=6)


def fleet(bench: Bench) -> Iterator[Line]:
    """Measure many discos on one Consul that start at the same time, wait, and find the last key at the same time."""
    server = bench.server("consul", **CONSUL_TELLS)
    wait = bench.size(10, 1)
    site = waiting_site(bench)
    hold(site, "consul", server, WAITING)
    site.cfg |= {"consul.wait": str(wait), "disco.settle": "0"}
    with bench.run(site) as running:
        await_answers(running)
        needed = memory_of(*tree(running.pid))
    count = min(bench.size(150, 4), int(0.7 * available_memory() / needed))
    if count < 2:
        raise BenchError(f"one needs {needed:.0f} MB, and only {available_memory():.0f} MB are free")
    with contextlib.ExitStack() as stack:
        sites = [bench.site() for _ in range(count)]
        began = time.time()
        members = []
        for one in sites:
            one.cfg |= site.cfg
            members.append(stack.enter_context(bench.run(one)))
        for member in members:
            await_answers(member, quiet=0)
        waiting = time.time()
        held = connections_to(server.port)
        time.sleep(4 * wait)
        written, returned = put(partial(server.put, f"{site.cfg['consul.prefix']}/app/late", "1"))
        took = [(bench.witness.wait_for("COMMAND") - returned) / 1e6 for _ in range(count)]
    times = answers(server)
    starting = [at for at in times if began <= at < waiting]
    idling = [at for at in times if waiting <= at < written / 1e9]
    yield Line(f"first answers of {count} discos", "s", [waiting - began])
    yield Line("connections of each", "", [held / count], limit=1)
    yield Line("most requests in a second while they start", "1/s", [most_in_a_second(starting)])
    yield Line("most requests in a second while they wait", "1/s", [most_in_a_second(idling)], limit=2 * count / wait)
    yield Line("requests while they wait", "1/s", [len(idling) / (4 * wait)])
    yield Line("write's return to COMMAND", "ms", took)
    yield Line("write's return to the last COMMAND", "ms", [max(took)])
