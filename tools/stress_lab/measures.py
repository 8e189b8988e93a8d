"""The measures of a phase: how long changes take, what processes need, and what came of everything."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.memory import proportional
from lab.processes import parents_below
from lab.samples import percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stress_lab.attack import Attack
    from stress_lab.disco import Disco
    from stress_lab.plan import Key, Site
    from stress_lab.witness import Result, Witness

QUIET = 120.0  # seconds after which the last of an interface's changes must have been seen, whatever was killed meanwhile


class Write(NamedTuple):
    """A change that was written; when: ns since the epoch. probe: it is there to measure by."""

    when: int
    key: Key
    n: int
    probe: bool


class Measures:
    """The changes that were written, and how disco dealt with them."""

    def __init__(self, site: Site, disco: Disco, witness: Witness, attack: Attack, result: Result) -> None:
        """Measure nothing yet."""
        self.writes: list[Write] = []
        self._site = site
        self._types = {namespace.name: namespace.type for namespace in site.namespaces}
        self._disco = disco
        self._coordinator = disco.running.coordinator
        self._witness = witness
        self._attack = attack
        self._result = result
        self._memory: dict[str, list[int]] = {}
        self._load: list[float] = []

    def progress(self) -> str:
        """Return how far it is, in one line."""
        self._load.append(os.getloadavg()[0])
        latest = percentiles(self._latencies(self.writes[-200:]))
        return (
            f"{len(self.writes)} changes, {self._witness.runs} runs, {sum(self._attack.count.values())} kills,"
            f" {sum(self._disco.log.started.values())} starts, latest p50 {latest.get('p50', 0):.2f} s, load {self._load[-1]:.1f},"
            f" {len(self._result.broken)} broken"
        )

    def look_at_memory(self) -> None:
        """Note what all processes need now, and the time that they have needed so far."""
        try:
            words = Path(f"/proc/{self._coordinator}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        second = os.sysconf("SC_CLK_TCK")
        own, ended = (sum(int(word) for word in words[at : at + 2]) / second for at in (11, 13))
        self._result.numbers["CPU seconds"] = {"coordinator": round(own, 1), "children that ended": round(ended, 1)}
        sizes: dict[str, list[int]] = defaultdict(list)
        try:
            sizes["coordinator"].append(proportional(self._coordinator) >> 10)
            for pid, parent in parents_below(self._disco.running.pid).items():
                if parent == self._coordinator and (size := proportional(pid) >> 10):
                    sizes[self._kind(self._disco.log.names.get(pid, "?"))].append(size)
        except PermissionError:  # only root may
            return
        self._memory = dict(sizes)

    def check_quiet(self) -> None:
        """Check that whatever was last before a quiet time was seen by every rule that depends on healthy sources alone."""
        faulty = self._site.faulty
        using: dict[str, list[str]] = defaultdict(list)
        for rule in self._site.rules:
            if not self._site.depends_on_faulty(rule):
                for interface in rule.interfaces:
                    using[interface].append(rule.name)
        following: dict[str, int] = {}
        end = self.writes[-1].when if self.writes else 0
        checked, slowest = 0, 0.0
        for when, key, n, _ in reversed(self.writes):
            later = following.get(key[0], end)
            following[key[0]] = when
            if key[0] in faulty or later - when < QUIET * 1e9:
                continue
            for name in using[key[0]]:
                checked += 1
                took = self._took(name, when, key, n)
                slowest = max(slowest, took or 0.0)
                if took is None or took > QUIET:
                    self._result.breaks(f"rule {name} saw {key[0]} number {n} after {took} s, and nothing newer came meanwhile")
        self._result.numbers |= {"quiet changes checked": checked, "slowest of them": round(slowest, 1)}

    def sum_up(self, late: float) -> None:
        """Put all numbers into the result; late: seconds, of the tool itself."""
        probes = [write for write in self.writes if write.probe]
        calm = [write for write in probes if not self._was_disturbed(write)]
        respawns: dict[str, int] = Counter()
        for name, count in self._disco.log.started.items():
            respawns[self._kind(name)] += count - 1
        self._result.numbers |= {
            "changes": len(self.writes),
            "runs": self._witness.runs,
            "failed on purpose": self._witness.failed,
            "cut off": self._witness.cut_off,
            "latency": percentiles(self._latencies(probes)),
            "latency undisturbed": percentiles(self._latencies(calm)),
            "latency undisturbed by type": self._latency_by_type(calm),
            "probes not seen": len(probes) - len(self._latencies(probes)),
            "kills": dict(self._attack.count),
            "respawns": dict(respawns),
            "memory (KiB, PSS)": {
                kind: {"processes": len(sizes), "mean": round(sum(sizes) / len(sizes)), "max": max(sizes)}
                for kind, sizes in sorted(self._memory.items())
            },
            "load": round(sum(self._load) / len(self._load), 1) if self._load else 0,
            "log": {"bytes": self._disco.log.size, "times that lines were dropped": self._disco.log.dropped},
            "the tool was late by at most": round(late, 2),
        }

    def _kind(self, name: str) -> str:
        """Return what a child of disco's is: the type of its source, or the first word of its name."""
        return self._types.get(name.partition("/")[0], name.partition("-")[0])

    def _latency_by_type(self, writes: Iterable[Write]) -> dict[str, Any]:
        by_type: dict[str, list[Write]] = defaultdict(list)
        for write in writes:
            by_type[self._types[write.key[1]]].append(write)
        return {kind: percentiles(self._latencies(by_type[kind])) for kind in sorted(by_type)}

    def _latencies(self, writes: Iterable[Write]) -> list[float]:
        """Return the seconds from a probe's change to the end of the handler that saw it."""
        durations = [self._took(f"probe-{write.key[0]}", write.when, write.key, write.n) for write in writes if write.probe]
        return [took for took in durations if took is not None]

    def _took(self, rule: str, when: int, key: Key, n: int) -> float | None:
        for seen, number in self._witness.seen.get((rule, key), ()):
            if number >= n:
                return (seen - when) / 1e9
        return None

    def _was_disturbed(self, write: Write) -> bool:
        took = self._took(f"probe-{write.key[0]}", write.when, write.key, write.n)
        return self._attack.has_disturbed(write.key[1], write.when, write.when + int((took or 0.0) * 1e9))
