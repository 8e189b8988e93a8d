"""The plan of a phase: everything that a seed decides, and nothing else does."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    Key = tuple[str, str]  # an interface and a namespace that contributes to it

PROBE_PAUSE = 70.0  # seconds between a probe's changes: disco takes over more rarely what changes more often than that
FREE_CHANGES = 2  # of a probe, which may come sooner
TOGETHER, AGAIN = 0.1, 0.02  # shares of the changes: of a whole source at once; of one interface again and again, then of all
AGAIN_TIMES, AGAIN_PAUSE = 5, 1.3  # seconds: a flat file is looked at each second
LIMITS = {"kv": 30}  # sources of each server: each has a client of its own
FAULTS = {  # and how often each is chosen
    "good": 12, "large": 1, "hang": 3, "hang_deaf": 2, "hang_in_close": 1, "spin": 1, "spin_in_c": 1, "swallow": 1, "segfault": 3,
    "abort": 2, "leave": 3, "leave_well": 2, "stop": 3, "stop_in_a_message": 2, "garbage": 2, "close_all": 2, "flood": 2,
    "flood_prints": 2, "print_binary": 1, "leak": 1, "fork": 1, "refuse": 3, "fail": 3, "interrupt": 2, "exit": 2, "end": 2,
    "nonsense": 3, "no_json": 2, "not_a_number": 2, "deep": 1, "half": 4, "wrong": 4, "flap": 4, "unknown": 1, "vanish": 3,
}  # fmt: skip
SCRIPT_LENGTH = 60
HANDLERS = {"see": 30, "flaky": 3, "slow": 2, "talk": 3, "daemon": 1}  # and how often each is chosen
KILLS = {  # of a child of disco, or of disco; and how often each is chosen
    "kill a child": 40, "kill a runner": 8, "kill a handler": 8, "terminate a child": 4, "crash a child": 4, "pause a child": 20,
    "pause a runner": 4, "stop a child": 4, "stop a runner": 1, "pause disco": 4, "child signals": 4, "usr1": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Namespace:
    """A source: its type, what it contributes to, and whether it misbehaves. options: its own."""

    name: str
    type: str
    interfaces: tuple[str, ...]
    faulty: bool = False
    options: dict[str, str] = field(default_factory=dict)
    whole: bool = False  # of a key/value store: an interface is one JSON value


@dataclass(frozen=True)
class RulePlan:
    """A rule; probe: it is there to measure by."""

    name: str
    mode: str
    interfaces: tuple[str, ...]
    after: tuple[str, ...]
    handler: str
    probe: bool = False


@dataclass(frozen=True)
class Step:
    """Something that is done at a time (seconds from the phase's start). where: from 0 to 1, picks one of what is there."""

    at: float
    what: str
    key: Key = ("", "")
    size: int = 0
    where: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Site:
    """Sources and rules; the steps of a phase."""

    namespaces: tuple[Namespace, ...]
    rules: tuple[RulePlan, ...]
    steps: tuple[Step, ...]

    @property
    def contributors(self) -> dict[str, list[str]]:
        """Return the namespaces of each interface."""
        contributors: dict[str, list[str]] = {}
        for namespace in self.namespaces:
            for interface in namespace.interfaces:
                contributors.setdefault(interface, []).append(namespace.name)
        return contributors

    @property
    def faulty(self) -> set[str]:
        """Return the interfaces of faulty sources."""
        return {interface for namespace in self.namespaces if namespace.faulty for interface in namespace.interfaces}

    def depends_on_faulty(self, rule: RulePlan) -> bool:
        """Return whether a rule may have to wait for a faulty source."""
        if (any if rule.mode == "all" else all)(name in self.faulty for name in rule.interfaces):
            return True
        return any(self.depends_on_faulty(earlier) for earlier in self.rules if earlier.name in rule.after)


def make_site(options: argparse.Namespace, types: Sequence[str], seconds: float, *, faulty: bool) -> Site:
    """Plan a phase; without the faulty sources the rest is the same."""
    namespaces = plan_sources(options, types)
    rules, probes = plan_rules(options, namespaces)
    if not faulty:
        gone = {interface for namespace in namespaces if namespace.faulty for interface in namespace.interfaces}
        namespaces = tuple(namespace for namespace in namespaces if not namespace.faulty)
        left = [replace(rule, interfaces=tuple(name for name in rule.interfaces if name not in gone)) for rule in rules]
        there = {rule.name for rule in left if rule.interfaces}
        rules = tuple(replace(rule, after=tuple(name for name in rule.after if name in there)) for rule in left if rule.interfaces)
    steps = tuple(sorted(plan_steps(options, namespaces, probes, seconds, kills=faulty), key=lambda step: step.at))
    return Site((*namespaces, Namespace("gate", "flat", ("gate",))), rules, steps)


def plan_sources(options: argparse.Namespace, types: Sequence[str]) -> tuple[Namespace, ...]:
    """Choose the sources; types: of healthy ones, that can be had."""
    decide = random.Random(f"{options.seed} sources")
    faulty = round(options.sources * options.faulty)
    wanted = {"flat": 10, "steady": 4, "consul": 3, "etcd": 3}
    chosen: list[str] = []
    for _ in range(options.sources - faulty):
        left = [kind for kind in types if kind in ("flat", "steady") or chosen.count(kind) < LIMITS["kv"]]
        chosen += decide.choices(left, [wanted[kind] for kind in left])
    made: list[Namespace] = []
    shared = ""
    for number, kind in enumerate(sorted(chosen)):
        names = [f"i{number:04}", *(f"i{number:04}{more}" for more in "bc"[: decide.choice((0, 0, 1, 1, 2))])]
        if kind == "flat" and decide.random() < 0.15:  # the checker's work: two sources of one interface
            names.append(shared or f"s{number:04}")
            shared = "" if shared else names[-1]
        made.append(Namespace(f"{kind[0]}{number:04}", kind, tuple(names), whole=decide.random() < 0.5))
    for number in range(faulty):
        names = [f"x{number:04}", *([f"x{number:04}b"] if decide.random() < 0.3 else [])]
        script = decide.choices([*FAULTS], [*FAULTS.values()], k=SCRIPT_LENGTH)
        made.append(
            Namespace(
                f"x{number:04}", "chaos", tuple(names), faulty=True,
                options={
                    "names": ",".join(names), "script": ",".join(script), "timeout": decide.choice(("0.3", "1", "2")),
                    "settle": decide.choice(("0", "1", "5")), "memory": "96M", "required": decide.choice(("yes", "yes", "no")),
                },
            )
        )  # fmt: skip
    decide.shuffle(made)
    return tuple(made)


def plan_rules(options: argparse.Namespace, namespaces: Sequence[Namespace]) -> tuple[tuple[RulePlan, ...], dict[str, str]]:
    """Choose probes (interface: namespace, with a rule each) and rules over random sets of all other interfaces."""
    decide = random.Random(f"{options.seed} rules")
    alone = [namespace for namespace in namespaces if not namespace.faulty and len(namespace.interfaces) == 1]
    healthy = sum(not namespace.faulty for namespace in namespaces)
    probes = {
        namespace.interfaces[0]: namespace.name
        for namespace in decide.sample(alone, min(len(alone), max(2, min(60, healthy // 4))))
    }
    rules = [RulePlan(f"probe-{interface}", "all", (interface,), (), "see", probe=True) for interface in probes]
    others = sorted({interface for namespace in namespaces for interface in namespace.interfaces} - set(probes))
    decide.shuffle(others)
    number = 0
    while others:  # each at least once, most of them in two or three rules
        size = decide.choice((1, 1, 2, 2, 3, 5))
        names = {others.pop() for _ in range(min(size, len(others)))}
        if others and decide.random() < 0.6:
            names |= set(decide.sample(others, min(2, len(others))))
        earlier = [rule.name for rule in rules[-20:] if not rule.probe]
        rules.append(
            RulePlan(
                f"rule-{number:04}", decide.choice(("all", "all", "any")), tuple(sorted(names)),
                tuple(decide.sample(earlier, 1)) if earlier and decide.random() < 0.15 else (),
                decide.choices([*HANDLERS], [*HANDLERS.values()])[0],
            )
        )  # fmt: skip
        number += 1
    rules += [
        RulePlan(f"whole-{namespace.name}", decide.choice(("all", "all", "any")), namespace.interfaces, (), "see")
        for namespace in namespaces
        if len(namespace.interfaces) > 1
    ]
    decide.shuffle(rules)
    return (*rules, RulePlan("gate", "all", ("gate",), (), "see")), probes


def plan_steps(
    options: argparse.Namespace, namespaces: Sequence[Namespace], probes: dict[str, str], seconds: float, *, kills: bool
) -> Iterator[Step]:
    """Choose the changes of healthy sources, of probes, and what is killed when."""
    decide = random.Random(f"{options.seed} steps {seconds} {kills}")
    keys = [
        (i, namespace.name)
        for namespace in namespaces
        if not namespace.faulty
        for i in namespace.interfaces
        if i not in probes and i != "gate"
    ]
    joint = [namespace for namespace in namespaces if not namespace.faulty and len(namespace.interfaces) > 1]
    at = 0.0
    while keys and options.rate and (at := at + decide.expovariate(options.rate)) < seconds:
        key = decide.choice(keys)
        size = decide.choice((0, 10, 100, 300, 20_000 if decide.random() < 0.05 else 50))
        kind = decide.random()
        if joint and kind < TOGETHER:
            namespace = decide.choice(joint)
            times = AGAIN_TIMES if kind < AGAIN else 0
            for number in range(times):
                yield Step(at + number * AGAIN_PAUSE, "change", (namespace.interfaces[0], namespace.name), size)
            yield Step(at + times * AGAIN_PAUSE, "transaction", ("", namespace.name), size)
        elif decide.random() < 0.03:
            yield Step(at, decide.choice(("spoil", "tear")), key)
            yield Step(at + decide.uniform(0.2, 2), "change", key, size)
        else:
            yield Step(at, "change", key, size)
    for key in probes.items():
        at, pause = seconds * 0.05, (seconds * 0.9) / FREE_CHANGES
        for number in itertools.count():
            place = at + decide.random() * min(pause, PROBE_PAUSE) * 0.8
            if place > seconds:
                break
            yield Step(place, "probe", key, 20)
            at = at + pause if number + 1 < FREE_CHANGES else max(at + pause, place + PROBE_PAUSE)
    at = 0.5
    while kills and options.kills and (at := at + decide.expovariate(options.kills)) < seconds:
        what = decide.choices([*KILLS], [*KILLS.values()])[0]
        yield Step(at, what, where=decide.random(), seconds=min(6.0, decide.expovariate(1)))
    if kills:
        for number in range(1, 1 + int(seconds // 100)):
            yield Step(number * 100.0, "hup")
