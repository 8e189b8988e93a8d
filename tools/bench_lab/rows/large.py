"""The rows of large data, and of many discos on one server."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from lab.memory import Peak
from lab.processes import tree
from lab.samples import most_in_a_second

from bench_lab.line import Line
from bench_lab.machine import MIB, available_memory, connections_to, memory_of
from bench_lab.rows.requests import CONSUL_TELLS, answers
from bench_lab.sites import (
    DATA,
    WAITING,
    await_answers,
    furnish,
    hold,
    put,
    start_server,
    waiting_site,
)
from bench_lab.witness import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.site import Site

    from bench_lab.bench import Bench


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
        with bench.run(sites[1]) as running, Peak(lambda: memory_of(*tree(running.pid)), 0.005) as peak:
            await_answers(running)
            bench.witness.wait_for("app")
        peaks.append((peak.highest - least_memory) * MIB / (size * 1e6))
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
        raise BenchError(f"one needs {needed:.0f} MiB, and only {available_memory():.0f} MiB are free")
    with contextlib.ExitStack() as stack:
        sites = [bench.site() for _ in range(count)]
        began = time.time()
        members = []
        for other in sites:
            other.cfg |= site.cfg
            members.append(stack.enter_context(bench.run(other)))
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
