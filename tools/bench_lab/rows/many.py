"""The rows of many sources and interfaces."""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import TYPE_CHECKING

from lab.processes import cpu_of, tree

from bench_lab.line import Line
from bench_lab.machine import connections_to, memory_of, role_of
from bench_lab.sites import (
    DATA,
    QUIET,
    SCHEMA,
    await_answers,
    change_key,
    furnish,
    hold,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.site import Site

    from bench_lab.bench import Bench, Server

CHANGES_EACH = 3  # of an interface; what changes more often than that is taken over ever more rarely
CHANGES_AT_ONCE = 250  # of interfaces: enough to be told from what else the coordinator does
BRISK = "0.05"  # disco.interval where Consul is written to often: so long is the pause between requests
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


def many_flat(bench: Bench) -> Iterator[Line]:
    """Measure ever more flat sources, each with a rule."""
    took: dict[int, float] = {}
    counts = [1, 3] if bench.short else [1, 10, 100, 1000]
    for count in counts:
        names = [f"s{number:04}" for number in range(count)]
        site = bench.site()
        for name in names:
            site.schema(name, SCHEMA)
            site.flat({name: DATA}, f"{name}.json", name)
        site.rules(*({"when": name, "do": "read"} for name in names))
        [costs] = bench.take_in_turns(3 if count < max(counts) else 1, partial(bench.measure_disco, site, "true"))
        line = Line("time to exec", "s", [cost.wall / 1000 for cost in costs], limit=15 if count == 1000 else None, count=count)
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
        sources = [pid for pid in tree(running.pid) if role_of(pid) in names]
        yield Line("memory of a source", "MiB", [memory_of(*sources) / len(sources)], count=len(names))
        yield Line("memory of the coordinator", "MiB", [memory_of(running.coordinator)], count=len(names))
        for change in range(bench.size(CHANGES_EACH, 1)):
            began, before = time.monotonic(), cpu_of(running.coordinator)
            for name in changing:
                site.flat({name: DATA | {"port": f"changed {change}"}}, f"{name}.json", name)
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
    delays: dict[str, list[float]] = {interface: [] for interface in prefixes}
    for number in range(bench.times(12) + bench.warm_up):
        for interface, prefix in prefixes.items():
            with bench.run_bare("follow", server.address, prefix):
                bench.witness.wait_for("bare")
                time.sleep(QUIET)
                _, returned = put(partial(server.put, f"{interface}/port", f"followed {number}"))
                delays[interface].append((bench.witness.wait_for("bare") - returned) / 1e6)
    for which, samples in zip(("many", "one"), delays.values(), strict=True):
        yield Line(f"write's return to a bare client that has read {which}", "ms", samples[bench.warm_up :])
