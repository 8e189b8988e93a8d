"""The rows of a start."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from lab.kubelet import Mount

from bench_lab.bench import COMMAND
from bench_lab.line import Line
from bench_lab.sites import (
    DATA,
    SCHEMA,
    hold,
    start_server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.site import Site

    from bench_lab.bench import Bench


# Rules with each shipped handler, whose words cost little.
SHIPPED: tuple[dict[str, Any], ...] = (
    {"do": "disco-wait file:/"},
    {"do": "disco-env --upcase", "export": ["MYSQL_*"]},
    {"do": "disco-render {folder}/template {folder}/target"},
)
TEMPLATE = "host = {{ mysql.host|ini }}\n"


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


def cold_start_tree(bench: Bench) -> Iterator[Line]:
    """Measure a start with a mounted folder, beside the same start with a flat file."""
    flat, tree = _flat_site(bench, {"do": "read"}), bench.site()
    tree.schema("mysql", SCHEMA)
    tree.rules({"when": "mysql", "do": "read"})
    Mount(tree.folder / "data" / "mysql").write(DATA)
    tree.cfg["tree.path"] = str(tree.folder / "data")
    ours, flats = bench.take_in_turns(20, *(partial(bench.time_disco, site, "true") for site in (tree, flat)))
    yield Line("start to exec, by that with a flat file", "ms", ours, flats, limit=1.1)


def shipped_handlers(bench: Bench) -> Iterator[Line]:
    """Measure what a start with each shipped handler takes more than the same start with a handler in shell that does nothing."""
    plain = _flat_site(bench, {"do": "read"})
    for rule in SHIPPED:
        sites = (_flat_site(bench, rule), plain)
        ours, shell = bench.take_in_turns(20, *(partial(bench.time_disco, site, "true") for site in sites))
        more = [mine - its for mine, its in zip(ours, shell, strict=True)]
        yield Line(f"{rule['do'].split()[0]} in place of a shell's handler", "ms", more, limit=15)


def _flat_site(bench: Bench, rule: dict[str, Any]) -> Site:
    site = bench.site()
    site.schema("mysql", SCHEMA)
    (site.folder / "template").write_text(TEMPLATE)
    site.rules({**rule, "when": "mysql", "do": rule["do"].format(folder=site.folder)})
    hold(site, "flat", None, {"mysql": DATA})
    return site


def no_rules(bench: Bench) -> Iterator[Line]:
    """Measure `disco true` where there is nothing to do, beside an interpreter that imports YAML."""
    site = bench.site()
    site.cfg["disco.rules"] = "optional"
    yaml = [sys.executable, "-c", "import yaml"]
    ours, floors = bench.take_in_turns(30, partial(bench.time_disco, site, "true"), partial(bench.time, site, yaml))
    yield Line("disco true, by python -c 'import yaml'", "ms", ours, floors, limit=2)
