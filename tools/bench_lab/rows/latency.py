"""The rows of latency: from a write to the handler, or to COMMAND."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench_lab.line import Line
from bench_lab.sites import (
    DATA,
    LATE,
    await_answers,
    change_key,
    furnish,
    hold,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench_lab.bench import Bench

CHANGES_EACH = 3  # of an interface; what changes more often than that is taken over ever more rarely
BRISK = "0.05"  # disco.interval where Consul is written to often: so long is the pause between requests


def late_key(kind: str, bench: Bench) -> Iterator[Line]:
    """Measure from the write of the one key that is missing to COMMAND, with a handler between them."""
    server = bench.server(kind)
    delays = []
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
        delays.append([(at - time) / 1e6 for time in times])
    begun, returned = zip(*delays[bench.warm_up :], strict=True)
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
        delays = [change_key(bench, site, kind, server, names[number % len(names)], str(number)) for number in range(times)]
    begun, returned = zip(*delays[bench.warm_up :], strict=True)
    yield Line("write's return to handler", "ms", returned, limit=8)
    yield Line("write's begin to handler", "ms", begun)
