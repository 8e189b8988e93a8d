"""The rows of tools/bench, by subject."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from bench_lab.rows import large, latency, many, phases, start, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench_lab.bench import Bench
    from bench_lab.line import Line


class Row(NamedTuple):
    """A row: its name, and what measures it."""

    name: str
    measure: Callable[[Bench], Iterator[Line]]


def list_rows() -> list[Row]:
    """Return all rows, in order."""
    kinds, servers = ("flat", "consul", "etcd"), ("consul", "etcd")
    return [
        Row("witness", start.witness),
        *(Row(f"cold start {kind}", partial(start.cold_start, kind)) for kind in kinds),
        Row("cold start YAML", start.cold_start_yaml),
        Row("cold start tree", start.cold_start_tree),
        Row("shipped handlers", start.shipped_handlers),
        *(Row(f"phases {kind}", partial(phases.phases, kind)) for kind in kinds),
        Row("no rules", start.no_rules),
        *(Row(f"late key {kind}", partial(latency.late_key, kind)) for kind in servers),
        *(Row(f"late change {kind}", partial(latency.late_change, kind)) for kind in servers),
        Row("idle", waiting.idle),
        *(Row(f"memory {kind}", partial(waiting.memory, kind)) for kind in kinds),
        Row("memory YAML", partial(waiting.memory, "flat", is_yaml=True)),
        Row("memory invalid", waiting.memory_invalid),
        Row("after exec", waiting.after_exec),
        Row("many flat", many.many_flat),
        Row("many consul", many.many_consul),
        *(Row(f"one of many {kind}", partial(many.one_of_many, kind)) for kind in servers),
        *(Row(f"large {kind}", partial(large.large, kind)) for kind in kinds),
        Row("fleet", large.fleet),
    ]
