"""The rows of waiting, and of what is left after exec."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.processes import cpu_of, name_of, state_of, switches_of, tree
from lab.waiting import eventually

from bench_lab.line import Line
from bench_lab.machine import memory_of, role_of
from bench_lab.rows.requests import CONSUL_TELLS, answers, etcd_requests
from bench_lab.sites import (
    DATA,
    LATE,
    REFUSING,
    WAITING,
    await_answers,
    await_rest,
    hold,
    rewrite_as_yaml,
    start_server,
    waiting_site,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench_lab.bench import Bench

WITH_ONE_SOURCE = {"flat": 26.0, "consul": 40.0, "etcd": 54.0}  # MiB of all processes
EACH_FURTHER = {"flat": 3.2, "consul": 7.6}  # MiB of a source


def idle(bench: Bench) -> Iterator[Line]:
    """Measure what a disco with a source of each kind does in a minute of waiting, and what costs CPU however it is done."""
    consul, etcd = bench.server("consul", **CONSUL_TELLS), bench.server("etcd")
    site = waiting_site(bench)
    for kind, server in (("flat", None), ("consul", consul), ("etcd", etcd)):
        hold(site, kind, server, WAITING)
    seconds = bench.size(60, 3)

    def look() -> dict[tuple[str, str], float]:
        pids = {role_of(pid): pid for pid in tree(running.pid)} | bare
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


def memory(kind: str, bench: Bench, *, is_yaml: bool = False) -> Iterator[Line]:
    """Measure what processes need while disco waits, and what each source after the first adds; is_yaml: no file is JSON."""
    server, totals = start_server(bench, kind), {}
    many = bench.size(10, 3)
    for count in (1, many):
        site = waiting_site(bench)
        for number in range(count):
            hold(site, kind, server, WAITING, f"s{number}")
        if is_yaml:
            rewrite_as_yaml(*site.etc.glob("*.schema"), *site.etc.glob("*.rules"), *site.folder.glob("*.json"))
        with bench.run(site) as running:
            bench.witness.wait_for("seen")
            await_answers(running, count)
            sizes = {role_of(pid): memory_of(pid) for pid in tree(running.pid)}
        totals[count] = sum(sizes.values())
        if count == 1:
            yield Line("all processes", "MiB", [totals[1]], limit=None if is_yaml else WITH_ONE_SOURCE[kind])
            yield Line("coordinator", "MiB", [sizes["coordinator"]])
            yield Line("idle runner", "MiB", [sizes["runner-1"]])
            yield Line(f"the only source, {kind}", "MiB", [sizes["s0"]])
    more = (totals[many] - totals[1]) / (many - 1)
    yield Line("each source after the first", "MiB", [more], limit=None if is_yaml else EACH_FURTHER.get(kind))
    if kind == "flat" and not is_yaml:
        for count in (1, many):
            with bench.run_bare("read", str(count), site.cfg["s0.file"], str(site.etc / "seen.schema")) as pid:
                bench.witness.wait_for_all(count)
                totals[count] = memory_of(*tree(pid))
        yield Line("each bare child that reads and validates a file", "MiB", [(totals[many] - totals[1]) / (many - 1)])


def memory_invalid(bench: Bench) -> Iterator[Line]:
    """Measure what all processes need together where each of many flat sources has invalid data."""
    names = [f"s{number}" for number in range(bench.size(100, 3))]
    for why, schema in (("a key is missing", LATE), ("a pattern refuses a key", REFUSING)):
        site = bench.site()
        for name in names:
            site.schema(name, schema)
            hold(site, "flat", None, {name: DATA}, name)
        site.rules({"when": names, "do": "read"})
        with bench.run(site) as running:
            await_answers(running, len(names))
            await_rest(running)
            pids = tree(running.pid)
            yield Line(f"all processes, {why}", "MiB", [sum(map(memory_of, pids))], count=len(names))


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
        eventually(lambda: all(name_of(pid) == "sleep" and state_of(pid) == "S" for pid in (running.pid, direct.pid)), "COMMAND")
        yield Line("processes", "", [len(tree(running.pid)) - 1], limit=0)
        # What disco was given stays: its COMMAND may have more than three.
        yield Line("descriptors", "", [count_descriptors(running.pid) - count_descriptors(direct.pid)], limit=0)
        yield Line("mapped files", "", [len(mapped(running.pid) - mapped(direct.pid))], limit=0)
        yield Line("memory", "MiB", [memory_of(running.pid)], [memory_of(direct.pid)])


def count_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def mapped(pid: int) -> set[str]:
    return {line.split(maxsplit=5)[5] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/" in line}
