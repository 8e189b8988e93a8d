"""The pure core against recorded and random histories, with a fake clock: what must hold in every one of them."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco.core import events
from disco.core.ending import Phase
from disco.core.events import Kind
from disco.core.plan import Plan, SourcePlan
from disco.wire import messages
from tests.core.world import HUP, KNOWN, REFUSED, TERM, USR1, World, diff, fragment, rule, settle, who


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    sources = tuple(f"s{n}" for n in range(draw(st.integers(1, 3))))
    rules = []
    for n in range(draw(st.integers(1, 4))):
        interfaces = draw(st.lists(st.sampled_from("abc"), min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=3, unique=True))
        after = draw(st.lists(st.sampled_from([f"r{k}" for k in range(n)]), max_size=2, unique=True)) if n else []
        limits = {
            "timeout": draw(st.sampled_from([None, None, 0.0, 30.0])),
            "fail_limit": draw(st.sampled_from([None, None, 0, 2])),
            "retry": draw(st.sampled_from([None, None, (0.5, 0.5), (1.0, 30.0)])),
        }
        rules.append(rule(f"r{n}", *interfaces, any_=draw(st.booleans()), after=tuple(after), **limits))
    return Plan(
        interfaces=KNOWN,
        sources=tuple(
            SourcePlan(name=name, lease=20.0, required=draw(st.booleans()), timeout=5.0, settle=draw(st.sampled_from([0.0, 5.0])))
            for name in sources
        ),
        rules=tuple(rules),
        fail_limit=draw(st.sampled_from([0, 1, 3])),
        timeout=draw(st.sampled_from([0.0, 60.0])),
        workers=draw(st.integers(1, 3)),
        settle=draw(st.sampled_from([0.0, 0.1])),
    )


STEPS = ["nothing"] + ["diff"] * 6 + ["unread"] * 3 + ["started"] * 3 + ["ran"] * 6 + [
    "read", "read", "transaction", "back", "sleep", "failed", "refused", "refused", "alive", "trouble", "wait", "wait", "long",
    "die", "die", "checked", "checked", "bad check", "late", "bury", "bury", "term", "hup", "usr1", "not started", "swept",
    "outgrown", "broken", "leave",
]  # fmt: skip


DATA = ("0", "1", "2", "3!", "1?", "1=", "4!?")  # of those with `1` two differ until a default has filled in one


def step(world: World, what: str, pick: random.Random) -> None:
    while "checker" in world.alive and world.is_judged():
        world.checked()  # it neither hangs with data that it has judged, nor dies of it
    names = sorted(world.alive)
    sources = [name for name in names if world.alive[name] is Kind.SOURCE]
    busy = sorted(world.busy)
    match what:
        case "diff" | "unread" if sources:
            name = pick.choice(sources)
            first = name in world.fresh
            changed = {
                one: fragment(pick.choice(DATA), *(["/x is required"] if pick.random() < 0.2 else []))
                for one in "abc"
                if pick.random() < 0.6
            }
            removed = tuple(one for one in "abc" if one not in changed and pick.random() < 0.1)
            if pick.random() < 0.1:
                changed, removed = {}, tuple("abc")
            say = world.hear if what == "diff" else world.send
            say(name, diff(changed, () if first else removed, first=first))
        case "transaction" if settled := [name for name in sources if name not in world.fresh]:
            value = pick.choice(DATA)
            world.send(pick.choice(settled), diff({one: fragment(value) for one in "abc"}))
        case "back" if settled := [name for name in sources if len(world.witness.moments[name]) > 1 and name not in world.fresh]:
            name = pick.choice(settled)  # to what it said before
            world.hear(name, diff(dict(world.witness.moments[name][-2])))
        case "read" if unread := sorted(name for name, said in world.unread.items() if said and name in world.alive):
            world.read(pick.choice(unread))
        case "sleep" if world.life.deadline is not None:  # what happens next is in one batch with what is due
            world.now = max(world.now, world.life.deadline)
        case "alive" if sources:
            world.hear(pick.choice(sources), messages.Heartbeat(answered=pick.random() < 0.5))
        case "trouble" if sources:
            world.hear(pick.choice(sources), messages.ReadFailed(reason="refused", retry_in=pick.random() * 9))
        case "started" if fresh := [name for name in busy if name not in world.pids]:
            world.started(pick.choice(fresh))
        case "ran" | "leave" if busy:
            world.ran(pick.choice(busy), children=what == "leave")
        case "failed" if busy:
            world.ran(pick.choice(busy), status=pick.choice([1, -9]))
        case "refused" if busy:
            world.ran(pick.choice(busy), status=REFUSED)
        case "late" if world.runs and names:
            runners = [name for name in names if world.alive[name] is Kind.RUNNER and name not in world.busy]
            if runners and len(world.runs) > 1:  # the result of a run that is long over
                late = messages.RunFinished(task=world.runs[0].task, status=0, problem="", tail=(), seconds=1.0, children=False)
                world.hear(pick.choice(runners), late)
        case "bury" if world.dying:
            world.bury()
        case "wait":
            world.wait()
        case "long":
            world.wait(pick.random() * 100)
        case "die" if names:
            name = pick.choice(names)
            if pick.random() < 0.3:  # its handler dies in the same moment
                world.handlers.pop(world.pids.get(name, 0), None)
            world.end(name, -11)
            world.feed()
        case "checked" | "bad check" if world.checks and "checker" in world.alive:
            world.checked(*(["/x is wrong"] if what == "bad check" else []))
        case "term":
            if pick.random() < 0.1:
                world.feed(events.SignalReceived(TERM))
        case "hup":
            world.feed(events.SignalReceived(HUP))
        case "usr1":
            world.feed(events.SignalReceived(USR1))
        case "not started" if world.fresh:
            name = pick.choice(sorted(world.fresh))
            if name in world.alive and name not in world.pids:
                del world.alive[name]
                world.busy.pop(name, None)
                world.fresh.discard(name)
                world.feed(events.ForkFailed(who(name), "no memory"))
        case "outgrown" if sources:
            world.feed(events.MemoryExceeded(who(pick.choice(sources)), 1 << 30))
        case "swept":
            world.feed(events.LeftoversFound(tuple(world.dying)))
        case "broken" if names:
            world.feed(events.ProtocolViolated(who(pick.choice(names)), "garbage"))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans(), st.lists(st.sampled_from(STEPS), min_size=30, max_size=120), st.integers(0, 1 << 30))
def test_every_history_keeps_the_invariants_and_ends(made: Plan, history: list[str], seed: int) -> None:
    """Whatever happens, no rule runs twice at a time, nothing starts after STOPPING, exec means all satisfied, and it ends."""
    pick = random.Random(seed)
    world = World(made, seed)
    for what in history:
        if world.life.phase is Phase.OVER:
            break
        step(world, what, pick)
        world.assert_indexes()
    settle(world)
