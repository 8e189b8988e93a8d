"""The sites of rows, and the data that backends hold for them."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml
from lab.processes import cpu_of, tree
from lab.waiting import eventually

from bench_lab.witness import PATIENCE, BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lab.site import Running, Site

    from bench_lab.bench import Bench, Server

SCHEMA = {
    "type": "object",
    "required": ["host", "port", "user", "password"],
    "properties": {name: {"type": "string", "minLength": 1} for name in ("host", "port", "user", "password")},
}
DATA = {"host": "db1.example", "port": "3306", "user": "app", "password": "correct-horse"}
WAITING = {"app": DATA, "seen": DATA}
LATE = {"type": "object", "required": ["late"]}  # held back by the key `late`
REFUSING = {"type": "object", "properties": {"host": {"type": "string", "pattern": r"\.internal$"}}}  # what DATA has
READ = {"do": "read"}
TEMPLATE = "host = {{ mysql.host|ini }}\n"
BATCH = 64  # keys in one transaction: Consul's limit
QUIET = 0.2  # seconds after which a source that has answered waits in its next blocking query, and its pace allows two requests


def start_server(bench: Bench, kind: str) -> Server | None:
    """Start what a source of this type reads; a file needs nothing."""
    return None if kind == "flat" else bench.server(kind)


def hold(site: Site, kind: str, server: Server | None, data: dict[str, dict[str, str]], name: str = "") -> None:
    """Let a backend hold some interfaces, and a source of this name (by default its type's) read them."""
    name = name or kind
    if server is None:
        site.flat(data, f"{name}.json", name)
        return
    prefix = f"{site.folder.name}/{name}"
    fill(server, {f"{prefix}/{interface}/{key}": value for interface, keys in data.items() for key, value in keys.items()})
    connect(site, kind, server, prefix, name)


def rewrite_as_yaml(*files: Path) -> None:
    """Write JSON files anew as people write YAML: in blocks, and with quotes only where they are needed."""
    for file in files:
        file.write_text(yaml.safe_dump(json.loads(file.read_text()), sort_keys=False))


def connect(site: Site, kind: str, server: Server, prefix: str, name: str = "") -> None:
    """Let a source of a site (by default the one that is named after its type) read what is below a prefix."""
    name = name or kind
    site.cfg |= {f"{name}.type": kind, f"{name}.host": "127.0.0.1", f"{name}.port": str(server.port), f"{name}.prefix": prefix}


def fill(server: Server, pairs: Mapping[str, str]) -> None:
    """Store many keys."""
    keys = list(pairs)
    for first in range(0, len(keys), BATCH):
        server.transact({key: pairs[key] for key in keys[first : first + BATCH]})


def furnish(site: Site, names: list[str]) -> None:
    """Give each interface a rule whose handler tells the witness, and one more rule that never runs."""
    site.cfg["disco.settle"] = "0"
    for name in names:
        site.schema(name, SCHEMA)
    site.schema("missing")
    site.rules(*({"when": name, "do": "note", "name": name} for name in names), {"when": "missing", "do": "note"})


def waiting_site(bench: Bench) -> Site:
    """Return a site that waits for ever, with one rule that has run."""
    site = bench.site()
    for name, schema in (("app", LATE), ("seen", SCHEMA)):
        site.schema(name, schema)
    site.rules({"when": "app", "do": "read"}, {"when": "seen", "do": "note", "name": "seen"})
    return site


def starting_site(bench: Bench, kind: str, server: Server | None = None, rule: dict[str, Any] = READ) -> Site:
    """Return a site whose only source holds an interface `mysql`, for which one rule has a handler."""
    site = bench.site()
    site.schema("mysql", SCHEMA)
    (site.folder / "template").write_text(TEMPLATE)
    site.rules({**rule, "when": "mysql", "do": rule["do"].format(folder=site.folder)})
    hold(site, kind, server, {"mysql": DATA})
    return site


def await_answers(running: Running, count: int = 1, *, quiet: float = QUIET) -> None:
    """Wait until so many sources have answered for the first time, and then are quiet."""

    def answered() -> bool:
        if running.process.poll() is not None:
            raise BenchError(f"disco ended with {running.process.returncode}: {running.log[-500:]}")
        return running.log.count(": first answer") >= count

    eventually(answered, "the first answers", PATIENCE)
    time.sleep(quiet)


def await_rest(running: Running) -> None:
    """Wait until nothing is left to be computed: verdicts too, of which nothing is logged at once."""

    def is_at_rest() -> bool:
        before = sum(map(cpu_of, tree(running.pid)))
        time.sleep(2 * QUIET)
        return sum(map(cpu_of, tree(running.pid))) - before < QUIET / 10

    eventually(is_at_rest, "an end of computing", PATIENCE)


def put(write: Callable[[], object]) -> tuple[int, int]:
    """Write something; return when that began, and when it returned (ns since the epoch)."""
    began = time.time_ns()
    write()
    return began, time.time_ns()


def change_key(bench: Bench, site: Site, kind: str, server: Server, name: str, value: str) -> tuple[float, float]:
    """Change one key of an interface; return ms from the write's begin and its return until the handler began."""
    time.sleep(QUIET)
    times = put(partial(server.put, f"{site.cfg[f'{kind}.prefix']}/{name}/port", f"changed {value}"))
    at = bench.witness.wait_for(name)
    return (at - times[0]) / 1e6, (at - times[1]) / 1e6
