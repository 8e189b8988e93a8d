"""The rows of a start. All are of sites in JSON, but those that are called `YAML`."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.kubelet import Mount

from bench_lab.bench import COMMAND
from bench_lab.line import Line
from bench_lab.sites import (
    DATA,
    SCHEMA,
    rewrite_as_yaml,
    start_server,
    starting_site,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.site import Site

    from bench_lab.bench import Bench, Cost

COLD_START = {"flat": 0.9, "consul": 1.0, "etcd": 1.0}  # by the floor program's, time and CPU time

# Rules with each shipped handler, whose words cost little.
SHIPPED: tuple[dict[str, Any], ...] = (
    {"do": "disco-wait file:/"},
    {"do": "disco-env --upcase", "export": ["MYSQL_*"]},
    {"do": "disco-render {folder}/template {folder}/target"},
)


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
    server, limit = start_server(bench, kind), COLD_START[kind]
    site = starting_site(bench, kind, server)
    place = site.cfg["flat.file"] if server is None else f"{server.address}/{site.cfg[f'{kind}.prefix']}"
    yield from _compare(bench, site, (kind, place), limit=limit)
    yield from _compare(bench, site, (kind, place), " on one CPU", limit=limit, one_cpu=True)


def cold_start_yaml(bench: Bench) -> Iterator[Line]:
    """Measure the same start with a flat file where only the data is YAML, and where schemas and rules are too."""
    site = starting_site(bench, "flat")
    place = site.cfg["flat.file"]
    rewrite_as_yaml(Path(place))
    yield from _compare(bench, site, ("flat", place), ", flat file YAML")
    rewrite_as_yaml(*site.etc.glob("*.schema"), *site.etc.glob("*.rules"))
    yield from _compare(bench, site, ("flat", place), ", all YAML")


def _compare(
    bench: Bench, site: Site, data: tuple[str, str], which: str = "", *, limit: float | None = None, one_cpu: bool = False
) -> Iterator[Line]:
    """Measure what starts of a site and of the floor program take; data: what that reads, and where."""
    floor = (*data, str(site.etc / "mysql.schema"), str(site.etc / "read"), "true")
    ours, floors = bench.take_in_turns(
        20,
        partial(bench.measure_disco, site, "true", one_cpu=one_cpu),
        partial(bench.measure_floor, site, *floor, one_cpu=one_cpu),
    )
    yield Line(f"start to exec{which}, by the floor's", "ms", _walls(ours), _walls(floors), limit=limit)
    yield Line(f"CPU time of it{which}, by the floor's", "ms", _cpus(ours), _cpus(floors), limit=limit)


def cold_start_tree(bench: Bench) -> Iterator[Line]:
    """Measure a start with a mounted folder, beside the same start with a flat file."""
    flat, tree = starting_site(bench, "flat"), bench.site()
    tree.schema("mysql", SCHEMA)
    tree.rules({"when": "mysql", "do": "read"})
    Mount(tree.folder / "data" / "mysql").write(DATA)
    tree.cfg["tree.path"] = str(tree.folder / "data")
    ours, flats = bench.take_in_turns(20, *(partial(bench.measure_disco, site, "true") for site in (tree, flat)))
    yield Line("start to exec, by that with a flat file", "ms", _walls(ours), _walls(flats), limit=1.1)


def shipped_handlers(bench: Bench) -> Iterator[Line]:
    """Measure what a start with each shipped handler takes more than the same start with a handler in shell that does nothing."""
    plain = starting_site(bench, "flat")
    for rule in SHIPPED:
        sites = (starting_site(bench, "flat", rule=rule), plain)
        ours, shell = bench.take_in_turns(20, *(partial(bench.measure_disco, site, "true") for site in sites))
        more = [mine.wall - its.wall for mine, its in zip(ours, shell, strict=True)]
        yield Line(f"{rule['do'].split()[0]} in place of a shell's handler", "ms", more, limit=15)


def no_rules(bench: Bench) -> Iterator[Line]:
    """Measure `disco true` where there is nothing to do, beside an interpreter that imports YAML."""
    site = bench.site()
    site.cfg["disco.rules"] = "optional"
    yaml = [sys.executable, "-c", "import yaml"]
    ours, floors = bench.take_in_turns(30, partial(bench.measure_disco, site, "true"), partial(bench.measure, site, yaml))
    yield Line("disco true, by python -c 'import yaml'", "ms", _walls(ours), _walls(floors), limit=1.5)


def _walls(costs: Sequence[Cost]) -> list[float]:
    return [cost.wall for cost in costs]


def _cpus(costs: Sequence[Cost]) -> list[float]:
    return [cost.cpu for cost in costs]
