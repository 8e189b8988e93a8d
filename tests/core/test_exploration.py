"""The pure core in every history of small sites, up to a depth: the invariants of the model hold in each.

Breadth first, states that look alike are visited once: a violation comes with the shortest history that leads to it.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from enum import Enum
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from disco.core import events
from disco.core.adoption import Adoption, View
from disco.core.adoption import _Interface as Interface
from disco.core.children import Children, ChildState, RunnerState, SourceState
from disco.core.composition import Composition
from disco.core.contribution import Contribution
from disco.core.ending import Ending, Phase
from disco.core.events import ChildId
from disco.core.freeze import Freeze
from disco.core.lifecycle import Lifecycle
from disco.core.merging import Merging, _Task
from disco.core.plan import Plan, SourcePlan
from disco.core.progress import Assignment, RuleState
from disco.core.schedule import Schedule
from disco.wire import messages
from tests.core.world import HUP, REFUSED, World, data_of, diff, fragment, rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEAST_DEPTH = 4  # steps that are explored of each site, however loaded the machine is
SECONDS = 3.0  # for each site; what is deeper and not reached by then is not explored
FINISHED = 10  # of so many states one is followed to its end
HORIZON = 100.0  # seconds that a wait may take: leases are not waited for
TICK = 0.001  # seconds that each step takes
EPOCH = 500.0  # what is later is a moment, what is below is a duration

Step = tuple[str, "Callable[[World], None]"]


class Site(NamedTuple):
    """A small site, and what can happen in it."""

    name: str
    plan: Plan
    says: dict[str, tuple[messages.Diff, ...]]  # by source: the first is its first
    depth: int = 14
    can: frozenset[str] = frozenset()  # fail, refuse, crash, sleep, hup, unread, override (of what sources merge the last counts)


def half() -> float:
    return 0.5


def of(*given: str, gone: str = "", first: bool = False) -> messages.Diff:
    """Return a diff: `a1` is interface a with the value 1."""
    return diff({one[0]: fragment(one[1:]) for one in given}, tuple(gone), first=first)


def site(
    name: str,
    *rules: Any,
    says: dict[str, tuple[messages.Diff, ...]],
    can: str = "",
    depth: int = 14,
    **more: Any,
) -> Site:
    """Return a site.

    patience: each source's settle. named: what `interfaces` of each names. optional: the sources that need not answer.
    """
    patience, named, optional = more.pop("patience", 0.0), more.pop("named", ""), more.pop("optional", "")
    sources = tuple(
        SourcePlan(
            source, lease=900.0, required=source not in optional, timeout=30.0, settle=patience, interfaces=frozenset(named) or None
        )
        for source in says
    )
    defaults = {"settle": 0.0, "fail_limit": 0, "workers": 1, "handler_timeout": 0.0}
    made = Plan(sources=sources, rules=rules, interfaces=frozenset("ab"), **(defaults | more))
    return Site(name, made, says, depth, frozenset(can.split()))


A = of("a1", first=True)
AB = of("a1", "b1", first=True)
SITES = [
    site("failure on other data", rule("r", "a"), says={"s": (A, of("a1"), of("a2"))}, can="fail crash"),
    site(
        "unread",
        rule("r", "a"),
        rule("q", "b"),
        says={"s": (A, of("a1"), of("a2")), "t": (of("b1", first=True), of("b2"))},
        can="unread",
    ),
    site("transaction", rule("r", "a", "b"), says={"s": (AB, of("a2"), of("a1"), of("a2", "b2"))}, depth=16),
    site("any of two", rule("r", "a", "b", any_=True), says={"s": (AB, of("a2"), of("b2"), of("a1"), of("b1"))}, depth=16),
    site("timeout", rule("r", "a"), says={"s": (A, of("a2"))}, can="sleep fail unread", timeout=3.0),
    site("settling", rule("r", "a", "b"), rule("q", "b"), says={"s": (AB, of("a2"), of("b2"), of("a2", "b2"))}, settle=0.1),
    site("merge", rule("r", "a", "b"), says={"s": (AB, of("a2", "b2")), "t": (of("a5", first=True), of("a6"))}, settle=0.1),
    site(
        "two sources",
        rule("all", "a", "b"),
        rule("some", "a", "b", any_=True),
        says={"s": (A, of("a2"), of(gone="a")), "t": (of("b1", first=True), of("b2"))},
        can="crash fail",
    ),
    site("emptied", rule("r", "a"), rule("q", "b"), says={"s": (AB, of(gone="ab"), of("a1"), of("b1"), of("b2"))}, patience=5.0),
    site("anew", rule("r", "a"), says={"s": (A, of("a2"))}, can="hup crash unread"),
    site(
        "frozen",
        rule("q", "b"),
        rule("r", "a"),
        says={"s": (AB, of("a2"), of("b2"), of("b1"))},
        can="fail",
        free_reruns=0,
        settle=0.1,
    ),
    site("after", rule("q", "b", after=("r",)), rule("r", "a"), says={"s": (AB, of("a2"), of("b2"))}, can="fail crash"),
    site("two runners", rule("r", "a"), rule("q", "a", "b"), says={"s": (AB, of("a2"), of("b2", "a1"))}, can="fail", workers=2),
    site(
        "named",
        rule("r", "a"),
        rule("some", "a", "b", any_=True),
        says={"s": (AB, of("a2")), "t": (of("a5", first=True), of("b6"), of(gone="a"))},
        named="a b",
        can="crash",
    ),
    site("named, and optional", rule("r", "a"), says={"s": (A, of("a2")), "t": (A, of("a3"))}, named="a", optional="t", can="hup"),
    site(
        "defaults",
        rule("r", "a"),
        says={"s": (of("a1?", first=True), of("a1="), of("a2")), "t": (of(first=True), of("a1?"), of(gone="a"))},
        can="fail",
    ),
    site(
        "overtaken",
        rule("r", "a"),
        says={"s": (A, of("a2")), "t": (of("a5", first=True), of(gone="a"), of("a6"))},
        can="override",
        free_reruns=1,
    ),
    site("refused", rule("r", "a"), rule("q", "b"), says={"s": (AB, of("a2"), of("a1"))}, can="refuse fail", fail_limit=2),
    site(
        "refused beside changes",
        rule("q", "b"),
        rule("r", "a"),
        says={"s": (AB, of("a2"), of("b2"), of("b1"))},
        can="refuse",
        free_reruns=0,
        workers=2,
    ),
    site(
        "refused, and settling",
        rule("some", "a", "b", any_=True),
        says={"s": (AB, of("a2"), of(gone="a"), of("a1"))},
        can="refuse sleep unread",
        settle=0.1,
        timeout=30.0,
    ),
    site("own limits", rule("r", "a", fail_limit=3, retry=(1.0, 2.0)), says={"s": (A, of("a2"))}, can="fail refuse crash"),
    site("without when", rule("q", "a", after=("r",)), rule("r"), says={"s": (A, of("a2"))}, can="fail refuse crash", fail_limit=3),
]


def steps(world: World, where: Site) -> Iterator[Step]:
    """Yield what can happen next."""
    say = World.send if "unread" in where.can else World.hear
    for source, said in where.says.items():
        if source in world.fresh:
            yield f"{source} says {_say(said[0])} first", partial(say, name=source, message=said[0])
        elif source in world.alive and len(world.unread.get(source, ())) < 2:
            for one in said[1:]:
                if _matters(world, source, one):
                    yield f"{source} says {_say(one)}", partial(say, name=source, message=one)
        if world.unread.get(source):
            yield f"{source} is read", partial(World.read, name=source)
        if "crash" in where.can and source in world.alive and source not in world.fresh:
            yield f"{source} crashes", partial(World.crash, name=source)
    for runner in world.busy:
        yield f"{runner} succeeds", partial(World.ran, name=runner)
        if "fail" in where.can:
            yield f"{runner} fails", partial(World.ran, name=runner, status=1)
        if "refuse" in where.can:
            yield f"{runner} refuses its data", partial(World.ran, name=runner, status=REFUSED)
        if "crash" in where.can:
            yield f"{runner} crashes", partial(World.crash, name=runner)
    if world.dying:
        yield "the orphan is reaped", World.bury
    if world.checks and "checker" in world.alive:
        yield "the checker answers", World.checked
    if "hup" in where.can:
        yield "SIGHUP", partial(_signal, number=HUP)
    deadline = world.life.deadline
    in_time = deadline is not None and deadline != world.life.core.children.checker.until  # a merge is always answered
    if deadline is not None and deadline - world.now < HORIZON and in_time:
        yield f"{deadline - world.now:.3g} s pass", World.wait
        if "sleep" in where.can and deadline > world.now:
            yield f"disco sleeps {deadline - world.now:.3g} s", _sleep


def _signal(world: World, number: int) -> None:
    world.feed(events.SignalReceived(number))


def _sleep(world: World) -> None:
    """Let a deadline pass while disco cannot run: what happens next is in one batch with it."""
    assert world.life.deadline is not None
    world.now = world.life.deadline


def _matters(world: World, source: str, said: messages.Diff) -> bool:
    """Return whether a diff would change anything: a source sends no other."""
    now = world.witness.moments[source][-1]
    return any(now.get(name) != one for name, one in said.changed.items()) or any(name in now for name in said.removed)


def _say(said: messages.Diff) -> str:
    return (
        " ".join([*(f"{name}={data_of(one)}" for name, one in said.changed.items()), *(f"-{name}" for name in said.removed)])
        or "nothing"
    )


def finish(world: World, where: Site) -> None:
    """Let everything work from now on, and each source say what it said first: it ends."""
    for _ in range(100):
        if world.life.phase is Phase.OVER:
            return
        for source, said in where.says.items():
            if source in world.fresh:
                world.hear(source, said[0])
            elif source in world.alive:
                more = world.witness.moments[source][-1].keys() - said[0].changed.keys()
                again = said[0]._replace(first=False, removed=tuple(more))
                world.hear(source, again if _matters(world, source, again) else messages.Heartbeat(answered=True))
        while world.dying:
            world.bury()
        if world.checks and "checker" in world.alive:
            world.checked()
        for runner in [*world.busy]:
            if runner in world.busy:
                world.ran(runner)
        world.wait()
    raise AssertionError("it never ends, though everything works from now on")


IGNORED = {
    # What cannot matter for what comes: what is only told, the past, what never changes, and what is seen elsewhere.
    World: {"told", "reports", "runs", "_next_pid", "witness", "now"},
    Lifecycle: {"now", "_goal", "_began", "_outbox", "_health", "core", "_reporting"},
    Children: {"_outbox", "_jitter", "_deadlines"},
    ChildState: {"id", "exit"},
    RunnerState: {"id", "exit"},
    SourceState: {"id", "exit", "plan", "answered_at", "failed_at", "retry_at", "logged_at", "note"},
    Composition: {"_limit", "_holds", "_givers", "_order"},
    Contribution: {"source", "_settle"},
    Adoption: {"_joined", "_rules", "_waiting", "_settle"},
    Interface: {"group"},
    Merging: {"_children", "_composition", "_outbox", "_tasks"},
    Ending: {"_grace", "_children", "_outbox", "_snapshot"},
    Schedule: {
        "inputs", "_plan", "_children", "_adoption", "_health", "_ending", "_outbox", "_named", "_needing",
        "_following", "_runs", "_waits",
    },
    RuleState: {"rule", "number", "last_failure"},
    Freeze: {"began", "_free_reruns", "_adoption", "_outbox"},
}  # fmt: skip
PLAIN = {str, int, bytes, bool, type(None)}


def fingerprint(world: World) -> Any:
    """Return what two states have in common that differ in nothing that matters: times are relative to now."""

    def look(value: Any) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is float:
            return max(-1.0, round(value - now, 3)) if value > EPOCH else value
        if kind is messages.Fragment or kind is View:
            return (*value[:2], value.problems, value[-1])  # the digest stands for the body
        if kind is messages.Run:
            return value.rule, value.stdin
        if kind is ChildId:
            return value.name
        if kind is Assignment:
            return value.rule.number, value.basis
        if kind is _Task:
            return value[1:]
        if kind is dict and value and None in value.values():
            return tuple(map(look, value))  # an ordered set
        if isinstance(value, dict):
            return frozenset([(look(key), look(one)) for key, one in value.items()])
        if kind is set or kind is frozenset:
            return frozenset(map(look, value))
        if isinstance(value, list | tuple):
            return tuple(map(look, value))
        if kind in IGNORED:
            return tuple([look(one) for name, one in vars(value).items() if name not in IGNORED[kind]])
        if isinstance(value, Enum):
            return value.name
        return tuple([look(one) for one in vars(value).values()])

    now = world.now

    witness = world.witness
    busy = [(runner.name, bool(runner.run)) for runner in world.life.core.children.runners.values()]
    past = {source: states[-3:] for source, states in witness.moments.items()}
    seen = {one: min(len(witness.moments[one[1]]) - index, 4) for one, index in witness.seen_at.items()}
    runs = [witness.last, witness.reruns, witness.failures, witness.refused, witness.pauses]
    return look(world), look([busy, past, seen, *runs, witness.verdicts])


def explore(where: Site, seconds: float = SECONDS) -> tuple[int, int]:
    """Visit every state; return how many there were, and the depth up to which all are known. A violation is an AssertionError."""
    until = time.monotonic() + seconds
    start = World(where.plan, jitter=half, prompt=True)
    if "override" in where.can:
        start.witness.merge = itemgetter(-1)
    queue: deque[tuple[bytes, tuple[str, ...]]] = deque([(pickle.dumps(start), ())])
    known = {hash(fingerprint(start))}
    while queue and len(queue[0][1]) < where.depth and (len(queue[0][1]) < LEAST_DEPTH or time.monotonic() < until):
        state, path = queue.popleft()
        for number, (label, _) in enumerate(steps(pickle.loads(state), where)):  # noqa: S301 -- our own
            world: World = pickle.loads(state)  # noqa: S301 -- as above
            history = (*path, label)
            try:
                list(steps(world, where))[number][1](world)
                if len(known) % FINISHED == 0:
                    finish(pickle.loads(pickle.dumps(world)), where)  # noqa: S301 -- as above
            except AssertionError as error:
                told = "\n  ".join(history)
                raise AssertionError(f"{where.name}: {error}, after\n  {told}") from error
            if world.life.phase is Phase.GATHERING and (mark := hash(fingerprint(world))) not in known:
                known.add(mark)
                queue.append((pickle.dumps(world), history))
    return len(known), len(queue[0][1]) if queue else where.depth


@pytest.mark.parametrize("where", SITES, ids=lambda where: where.name)
def test_every_history_of_a_small_site(where: Site, record_property: Callable[[str, object], None]) -> None:
    """In every order of the events of a small site no invariant is violated."""
    states, depth = explore(where)
    record_property("states", states)
    record_property("depth", depth)
    assert depth >= LEAST_DEPTH, f"{states} states"
