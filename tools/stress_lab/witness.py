"""The witness: what handlers saw and wrote down, each run checked at once."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stress_lab.sources import make_part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stress_lab.plan import Key, RulePlan, Site
    from stress_lab.store import Store

CUT_OFF = 60.0  # seconds after which a run without an end was killed
LATENESS = {"etcd": 2.0, "consul": 3.0, "steady": 2.0, "flat": 3.0}  # seconds after which exec without a change is wrong
FAULTY_FROM = 999  # a faulty source's numbers, but for those of its file


@dataclass
class Result:
    """What a phase found; broken: each broken promise in words."""

    broken: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    def breaks(self, text: str) -> None:
        """Note a broken promise; of too many only the number counts."""
        self.broken.append(text)


class Witness:
    """Collects what the handlers wrote down, and checks each run at once."""

    def __init__(self, site: Site, folder: Path, store: Store, result: Result) -> None:
        """See nothing yet."""
        self._runs = folder / "runs"
        self._site = site
        self._rules = {rule.name: rule for rule in site.rules}
        self._contributors = site.contributors
        self._faulty = site.faulty
        self._faulty_namespaces = {namespace.name for namespace in site.namespaces if namespace.faulty}
        self._store = store
        self._result = result
        self.seen: dict[tuple[str, Key], list[tuple[int, int]]] = defaultdict(list)  # by rule: when, which number
        self.last: dict[str, dict[str, Any]] = {}  # what each rule ran on last
        self._ends: dict[str, str] = {}  # how that run ended
        self.last_run = 0  # when it ended
        self.runs = self.failed = self.cut_off = 0

    def collect(self, *, final: bool = False) -> None:
        """Take the runs that ended since."""
        ended = []
        for entry in os.scandir(self._runs):
            try:
                content, when = Path(entry.path).read_bytes(), entry.stat().st_mtime_ns
            except OSError:
                continue
            if content.endswith((b"\nend\n", b"\nfail\n")):
                ended.append((when, entry.name, content))
            elif final or time.time_ns() - when > CUT_OFF * 1e9:
                self.cut_off += 1
                os.unlink(entry.path)
        for when, name, content in sorted(ended):
            os.unlink(self._runs / name)
            self._take(when, content)

    def _take(self, when: int, content: bytes) -> None:
        self.runs += 1
        self.last_run = when
        try:
            who, text, end = content.decode().split("\n")[:-1]
            name, _pid, attempt = who.split()
            rule = self._rules[name]
            data = json.loads(text)
            assert isinstance(data, dict)
        except (ValueError, KeyError, AssertionError):
            self._result.breaks(f"a handler's input is no JSON object: {content[:300]!r}")
            return
        self.failed += end == "fail"
        wrong = set(data) - set(rule.interfaces) if rule.mode == "any" else set(data) ^ set(rule.interfaces)
        if wrong or not data:
            self._result.breaks(f"rule {name} ({rule.mode}) ran on {sorted(data)}, not on {rule.interfaces}")
            return
        for interface, parts in data.items():
            if problem := self._problem(interface, parts):
                self._result.breaks(f"rule {name} saw invalid data of {interface}: {problem}: {str(parts)[:300]}")
                return
        for namespace, seen in _by_namespace([data]).items():
            if not self._is_of_one_moment(namespace, seen):
                self._result.breaks(f"rule {name} saw of {namespace} what never was there at one moment: {seen}")
        if self.last.get(name) == data and attempt == "1":
            self._result.breaks(f"rule {name} ran again on the same data {short(data)}")
        for interface, parts in data.items():
            for namespace, part in parts.items():
                history = self.seen[name, (interface, namespace)]
                if interface not in self._faulty and history and part["n"] < history[-1][1]:
                    self._result.breaks(f"rule {name} saw {interface} of {namespace} go back: {history[-1][1]}, then {part['n']}")
                if not history or history[-1][1] != part["n"]:
                    history.append((when, part["n"]))
        self.last[name], self._ends[name] = data, end

    def _problem(self, interface: str, parts: Any) -> str:
        if not isinstance(parts, dict) or set(parts) != set(self._contributors[interface]):
            return "not of these namespaces"
        for namespace, part in parts.items():
            if not isinstance(part, dict) or set(part) != {"n", "digest", "payload"} or type(part["n"]) is not int:
                return "not by its schema"
            if part != make_part(interface, namespace, part["n"], part["payload"]):
                return "torn: it does not match its digest"
            if interface not in self._faulty and part["n"] > self._store.written.get((interface, namespace), 0):
                return "never written"
        return ""

    def _is_of_one_moment(self, namespace: str, seen: Iterable[tuple[str, int]]) -> bool:
        """Return whether a namespace had these numbers of its interfaces at the same time."""
        numbers = {n for _, n in seen}
        if namespace in self._faulty_namespaces and max(numbers) > FAULTY_FROM:  # of its script: all have the same one
            return len(numbers) == 1
        spans = [self._store.moments((interface, namespace), n) for interface, n in seen]
        return max(since for since, _ in spans) < min(until for _, until in spans)

    def check_exec(self, writes: Iterable[tuple[int, Key, int, bool]]) -> None:
        """Check what COMMAND starts on: of each source what was there at one moment, and the newest that disco could know of."""
        for namespace, seen in _by_namespace(self.last.values()).items():
            if not self._is_of_one_moment(namespace, seen):
                self._result.breaks(f"exec on what never was there at one moment of {namespace}: {sorted(seen)}")
        if failed := [name for name, end in self._ends.items() if end == "fail"]:
            self._result.breaks(f"exec although the last run of these rules failed: {failed}")
        types = {namespace.name: namespace.type for namespace in self._site.namespaces}
        before = {key: n for when, key, n, _ in writes if when < self.last_run - LATENESS[types[key[1]]] * 1e9}
        for rule, data in self.last.items():
            for interface, parts in data.items():
                for namespace, part in parts.items():
                    if part["n"] < (n := before.get((interface, namespace), 0)):
                        how = f"number {part['n']} of {interface} of {namespace}, which had had number {n} for a while"
                        self._result.breaks(f"exec while rule {rule} had seen {how}")

    def is_newest(self, rule: RulePlan) -> bool:
        """Return whether the rule's last run was on the newest data of all its interfaces."""
        data = self.last.get(rule.name, {})
        return all(
            data.get(interface, {}).get(namespace, {}).get("n") == self._store.written.get((interface, namespace))
            for interface in rule.interfaces
            for namespace in self._contributors[interface]
        )


def _by_namespace(runs: Iterable[dict[str, Any]]) -> dict[str, set[tuple[str, int]]]:
    """Return what runs saw of each namespace: its interfaces with their numbers."""
    numbers: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for data in runs:
        for interface, parts in data.items():
            for namespace, part in parts.items():
                numbers[namespace].add((interface, part["n"]))
    return numbers


def short(data: dict[str, Any]) -> str:
    """Return the numbers in some data, for people."""
    return str({interface: {namespace: part["n"] for namespace, part in parts.items()} for interface, parts in data.items()})[:300]
