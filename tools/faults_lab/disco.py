"""The discos of a row: their sites, what their handlers saw, and their end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from lab.processes import is_alive, kill, processes

from faults_lab.waiting import await_fact

if TYPE_CHECKING:
    from lab.site import Site

INTERFACES, CHANGES_EACH = 24, 3  # of the healthy source; more changes of one than that are taken over ever more rarely
INTERVAL = 0.05
SECRET = "f4ults-s3cret"
MEMORY = 200  # MiB: the sources' own limit; no process of disco's may have a quarter more for longer than a second …
SEE = 'printf \'{"at": %s, "umask": "%s", "in": %s}\\n\' "$(date +%s.%N)" "$(umask)" "$(cat)" >> "$OUT/NAME.seen"\n'
# What COMMAND finds. Signals and descriptors are those of a child: the shell itself blocks signals while it makes one.
COMMAND = (
    "umask; pwd -P; ulimit -a; env | sort; grep -E '^(Sig(Ign|Blk)|NoNewPrivs)' /proc/self/status; ls /proc/self/fd; echo done"
)


def furnish(site: Site, plug_in: str) -> None:
    """Write what every site has: a rule that waits for the interface `end`, the handlers, and the plug-in if there is one."""
    site.cfg |= {"disco.interval": str(INTERVAL), "disco.settle": "0", "disco.timeout": "150", "disco.grace": "2"}
    site.schema("end")
    site.rules({"when": "end", "do": "last"}, file="end.rules")
    for name in ("see", "other", "last"):
        site.handler(name, SEE.replace("NAME", name))
    if plug_in:
        site.plug_in(plug_in)
        site.cfg["odd.memory"] = f"{MEMORY}M"


def furnish_pair(site: Site) -> None:
    """Add what a disco with a fault and its twin have: interfaces of a healthy source, and one of the other's."""
    names = [f"app{index}" for index in range(INTERFACES)]
    for name in names:
        site.schema(name)
    integer = {"type": "integer"}
    site.schema("odd", {"type": "object", "properties": {"n": integer, "port": integer}, "minProperties": 1})
    site.rules(*({"when": name, "do": "see"} for name in names), {"when": "odd", "do": "other"})
    site.flat({name: {"n": 0} for name in names})


def read_seen(site: Site, name: str) -> list[dict[str, Any]]:
    """Return what a handler has noted; nothing while it is in the middle of a line."""
    try:
        return site.seen(name)
    except ValueError:
        return []


def await_first(site: Site, handler: str, count: int) -> None:
    """Wait until a handler has run so many times."""
    await_fact(lambda: len(read_seen(site, handler)) >= count, f"the first data for {count} runs of {handler}")


def faulty_changes(site: Site, n: int) -> list[float]:
    """Return when the faulty source's handler saw this number, or a higher one."""
    seen = ((line["at"], line["in"]["odd"]) for line in read_seen(site, "other"))
    return [at for at, odd in seen if odd.get("n", odd.get("port")) >= n]  # a service has its number as its port


def find_run(site: Site, data: dict[str, Any]) -> float | None:
    """Return when the healthy source's handler ran on this data."""
    return next((line["at"] for line in read_seen(site, "see") if line["in"] == data), None)


def change_healthy(site: Site, interface: str, n: int) -> float:
    """Change one interface of the healthy source; return when (before the write, so that no delay is lost)."""
    data = json.loads((site.folder / "flat.yaml").read_text())
    data[interface] = {"n": n}
    at = time.time()
    site.flat(data)
    return at


def find_left(site: Site) -> set[int]:
    """Return the living processes with the site's mark in their environment, and those that a plug-in noted."""
    noted = [int(word) for word in site.read("pids").split()]
    return {*processes(f"OUT={site.folder}"), *filter(is_alive, noted)}


def end_disco(site: Site) -> None:
    """Kill what is left of a site's processes."""
    site.clean_up()
    kill(*find_left(site))
