"""The pure core against recorded and random histories, with a fake clock: what must hold in every one of them."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco.core import actions, events
from disco.core.ending import Phase
from disco.core.events import Kind
from disco.core.goals import DryRun, Exec
from disco.core.lifecycle import Lifecycle
from disco.core.plan import Plan, SourcePlan
from disco.errors import ExitStatus
from disco.people import report
from disco.wire import messages
from tests.core.world import HUP, KNOWN, TERM, USR1, World, diff, fragment, plan, rule, who

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from disco.site.rules import Rule


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    sources = tuple(f"s{n}" for n in range(draw(st.integers(1, 3))))
    rules = []
    for n in range(draw(st.integers(1, 4))):
        interfaces = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
        after = draw(st.lists(st.sampled_from([f"r{k}" for k in range(n)]), max_size=2, unique=True)) if n else []
        rules.append(rule(f"r{n}", *interfaces, any_=draw(st.booleans()), after=tuple(after)))
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


STEPS = ["diff"] * 6 + ["unread"] * 3 + ["read", "read", "transaction", "back", "sleep"] + ["started"] * 3 + ["ran"] * 6 + [
    "failed", "alive", "trouble", "wait", "wait", "long", "die", "die", "checked", "checked", "bad check", "late",
    "bury", "bury", "term", "hup", "usr1", "not started", "swept", "outgrown", "broken", "leave",
]  # fmt: skip


def step(world: World, what: str, pick: random.Random) -> None:
    names = sorted(world.alive)
    sources = [name for name in names if world.alive[name] is Kind.SOURCE]
    busy = sorted(world.busy)
    match what:
        case "diff" | "unread" if sources:
            name = pick.choice(sources)
            first = name in world.fresh
            changed = {
                one: fragment(str(pick.randrange(3)), *(["/x is required"] if pick.random() < 0.2 else []))
                for one in "abc"
                if pick.random() < 0.6
            }
            removed = tuple(one for one in "abc" if one not in changed and pick.random() < 0.1)
            if pick.random() < 0.1:
                changed, removed = {}, tuple("abc")
            say = world.hear if what == "diff" else world.send
            say(name, diff(changed, () if first else removed, first=first))
        case "transaction" if settled := [name for name in sources if name not in world.fresh]:
            value = str(pick.randrange(3))
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
@given(plans(), st.lists(st.sampled_from(STEPS), max_size=120), st.integers(0, 1 << 30))
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


def settle(world: World) -> None:
    """From now on everything works: disco must come to an end by itself, or by a signal if its data cannot."""
    for _ in range(400):
        if world.life.phase is Phase.OVER:
            return
        while world.dying:
            world.bury()
        for name in sorted(world.fresh):
            if world.alive.get(name) is Kind.SOURCE:
                world.hear(name, diff({one: fragment(f"end {name}") for one in "abc"}, first=True))
        for name in sorted(world.alive):
            if world.alive.get(name) is Kind.SOURCE:
                world.hear(name, diff({one: fragment(f"end {name}") for one in "abc"}))
        while world.checks:
            if "checker" in world.alive:
                world.checked()
            else:
                world.checks.clear()
        for name in sorted(world.busy):
            if name in world.busy:
                world.ran(name)
        world.wait()
    state = [(state.rule, world.core.schedule.basis(state)) for state in world.core.schedule.rules]
    raise AssertionError(f"no end: {world.life.phase} {state} {world.alive} {world.told[-5:]}")


def test_simplest() -> None:
    """One source, one rule: data, run, success, exec."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert b"".join(world.runs[0].stdin) == b'{"a":{"d":"1"}}\n'
    world.ran("runner-1")
    assert world.life.phase is Phase.OVER
    assert world.life.outcome is not None
    assert world.life.outcome.status is None


def test_run_given_to_a_runner_that_does_not_start() -> None:
    """A rule whose runner cannot be forked in the moment in which it is due runs when another one can take it."""
    world = World(plan(rule("r", "a"), rule("q", "b"), sources=("s",)))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff({"b": fragment("1")}))
    assert [run.rule for run in world.runs] == ["r", "q"]
    lost = next(name for name, run in world.busy.items() if run.rule == "q")
    del world.alive[lost], world.busy[lost]
    world.feed(events.ForkFailed(who(lost), "no memory"))
    world.ran("runner-1")
    assert [run.rule for run in world.runs] == ["r", "q", "q"]
    world.ran("runner-1")
    assert world.life.outcome is not None
    assert world.life.outcome.status is None


def test_newer_data_while_running() -> None:
    """Data that changes while the handler runs makes it run again, on the newest only, before exec."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff({"a": fragment("2")}))
    world.hear("s", diff({"a": fragment("3")}))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    assert [b"".join(run.stdin) for run in world.runs] == [b'{"a":{"d":"1"}}\n', b'{"a":{"d":"3"}}\n']
    world.ran("runner-1")
    assert world.life.phase is Phase.OVER


def test_restart_with_equal_data() -> None:
    """A source that is replaced and says the same changes nothing."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.end("s", -9)
    world.feed()
    world.wait()
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert len(world.runs) == 1


def test_first_diff_withdraws_what_it_does_not_hold() -> None:
    """What a replaced source no longer says is withdrawn."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.end("s", -9)
    world.feed()
    world.wait()
    world.hear("s", diff({"b": fragment("1")}, first=True))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    assert not world.core.schedule.is_satisfied(world.core.schedule.rules[0])


def test_flapping_does_not_prevent_exec() -> None:
    """What a rule runs on again and again is frozen in the end: exec happens, and the log says what changes."""
    world = World(plan(rule("r", "a")))
    for turn in range(100):
        world.hear("s", diff({"a": fragment(str(turn))}, first=turn == 0))
        if turn % 2:  # the handler takes two changes' time
            world.ran("runner-1")
        if world.life.phase is Phase.OVER:
            break
    assert world.life.outcome is not None
    assert world.life.outcome.status is None
    assert len(world.runs) == 5
    assert any("rule r" in text and "keeps changing (a)" in text for text in world.told)
    assert any("meanwhile a changed" in text for text in world.told)


def test_churn_over_many_interfaces_does_not_prevent_exec() -> None:
    """Reruns are the rule's, whichever of its many interfaces changes, and however slowly."""
    names = "abcdefghijklmnopqrst"
    world = World(plan(rule("r", *names, any_=True), settle=0.1))
    world.hear("s", diff({name: fragment("0") for name in names}, first=True))
    for turn in range(100):
        world.hear("s", diff({names[turn % len(names)]: fragment(str(turn + 1))}))
        world.wait(1.1)
        if turn % 2 and world.busy:
            world.ran("runner-1")
        if world.life.phase is Phase.OVER:
            break
    assert world.life.outcome is not None
    assert world.life.outcome.status is None
    assert len(world.runs) < 7


def test_failure_thaws() -> None:
    """Where a rule fails on frozen data, what changed meanwhile is used again."""
    world = World(plan(rule("r", "a")))
    turn = 0
    world.hear("s", diff({"a": fragment("0")}, first=True))
    while not world.core.schedule.freeze.rule:
        turn += 1
        world.hear("s", diff({"a": fragment(str(turn))}))
        world.ran("runner-1")
    world.hear("s", diff({"a": fragment("last")}))
    world.ran("runner-1", status=1)
    world.wait()
    assert b"last" in b"".join(world.runs[-1].stdin)


def freeze() -> World:
    """Return a world whose data is frozen, and whose only rule runs."""
    world = World(settling(rule("r", "a"), settle=0.0))
    world.hear("s", diff({"a": fragment("0")}, first=True))
    turn = 0
    while not world.core.schedule.freeze.rule:
        turn += 1
        world.hear("s", diff({"a": fragment(str(turn))}))
        world.ran("runner-1")
    return world


def test_an_emptiness_is_waited_for_though_all_is_frozen() -> None:
    """What a source has lost at once may come back to frozen data too; else exec says that it is gone."""
    world = freeze()
    world.hear("s", diff(removed=("a",)))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.wait(5.0)
    assert world.life.phase is Phase.OVER
    assert any("meanwhile a changed" in text for text in world.told)


def test_frozen_data_that_no_rule_needs() -> None:
    """What no rule names is not told as a change that exec leaves out."""
    world = freeze()
    world.hear("s", diff({"z": fragment("1")}))
    world.ran("runner-1")
    assert world.life.phase is Phase.OVER
    assert not any("meanwhile" in text for text in world.told)


def test_a_freeze_forgets_no_rule() -> None:
    """Whatever rule's run froze the data, all the others run on it too, and exec comes."""
    world = World(plan(rule("q", "b"), rule("r", "a"), settle=0.1, workers=1))
    world.hear("s", diff({"a": fragment("0"), "b": fragment("0")}, first=True))
    world.ran("runner-1")
    turn = 0
    while not world.core.schedule.freeze.rule:  # each time a is adopted first, then b; and b goes on changing when r has run
        turn += 1
        world.hear("s", diff({"a": fragment(str(turn))}))
        world.wait(0.05)
        world.hear("s", diff({"b": fragment(str(turn))}))
        world.wait(0.06)
        world.wait(0.06)
        world.hear("s", diff({"b": fragment(f"{turn} more")}))
        world.ran("runner-1")
    while world.busy:
        world.ran("runner-1")
    assert world.life.phase is Phase.OVER


def test_input_over_the_limit() -> None:
    """A handler whose input no message can hold counts as failed, with the reason; it runs when its data has become less."""
    world = World(plan(rule("r", "a", "b"), rule("q", "a"), input_limit=len('{"a":{"d":"1"},"b":{"d":"1"}}\n')))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("long")}, first=True))
    assert [run.rule for run in world.runs] == ["q"]
    assert any("rule r:" in text and "its input of 1 MiB is over the limit" in text for text in world.told)
    world.ran("runner-1")
    world.hear("s", diff({"b": fragment("1")}))
    world.wait(1.0)
    assert [run.rule for run in world.runs] == ["q", "r"]


def test_input_over_the_limit_for_the_last_time() -> None:
    """Where that is one failure too many nothing else is run any more."""
    world = World(plan(rule("r", "a", "b"), rule("q", "a"), fail_limit=1, input_limit=20))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    assert not world.runs
    assert world.life.outcome is not None
    assert world.life.outcome.status == ExitStatus.HANDLER
    dry = World(plan(rule("r", "a", "b"), rule("q", "a"), input_limit=20), goal=DryRun())
    dry.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    assert dry.life.outcome is not None
    assert dry.life.outcome.status == ExitStatus.HANDLER, "a dry run foresees it"


def test_sources_that_say_too_much_together() -> None:
    """What several sources say of an interface is not merged if no message can hold it: a problem of this interface alone."""
    world = World(plan(rule("r", "a"), rule("q", "b"), sources=("s", "t"), input_limit=2 * len('{"d":"1"}')))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    world.hear("t", diff({"a": fragment("22"), "b": fragment("2")}, first=True))
    assert [check.interface for check in world.checks] == ["b"]
    assert any("2 sources say more than 0 MiB of it" in line for line in report.lines(world.life.status()))
    world.hear("t", diff({"a": fragment("2")}))
    world.checked()
    assert [check.interface for check in world.checks] == ["a"]


@pytest.mark.parametrize("limit", [1, 3])
def test_fail_limit(limit: int) -> None:
    """So many failures in a row end disco with 70; each is tried again only after the interval, whatever the data does."""
    world = World(plan(rule("r", "a"), fail_limit=limit))
    world.hear("s", diff({"a": fragment("0")}, first=True))
    for n in range(limit):
        assert len(world.runs) == n + 1
        world.ran("runner-1", status=1)
        if n + 1 < limit:
            world.hear("s", diff({"a": fragment(f"new {n}")}))
            assert len(world.runs) == n + 1, "new data shortens the interval"
            world.wait(1.0)
    assert world.life.phase is Phase.OVER
    assert world.life.outcome is not None
    assert world.life.outcome.status == ExitStatus.HANDLER


def test_timeout_statuses() -> None:
    """disco.timeout gives 69 while a required source never answered, 75 otherwise."""
    for answered, status in ((False, ExitStatus.UNAVAILABLE), (True, ExitStatus.TIMEOUT)):
        world = World(plan(rule("r", "a"), timeout=5.0))
        if answered:
            world.hear("s", diff(first=True))
        world.wait(5.0)
        assert world.life.outcome is not None
        assert world.life.outcome.status == status


def test_exec_waits_for_required_sources() -> None:
    """Handlers run on what is there; exec waits for each required source, and for another at most its timeout."""
    required = SourcePlan(name="s", lease=20.0, required=True, timeout=10.0)
    optional = SourcePlan(name="o", lease=20.0, required=False, timeout=10.0)
    world = World(Plan(interfaces=KNOWN, sources=(required, optional), rules=(rule("r", "a"),)))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.wait(10.0)
    assert world.life.phase is Phase.OVER
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.wait(1000.0)
    assert world.life.phase is Phase.GATHERING


def test_order_with_one_worker() -> None:
    """With one worker, due rules run in their order."""
    world = World(plan(rule("r1", "a"), rule("r2", "b"), rule("r3", "c"), workers=1))
    world.hear("s", diff({one: fragment("1") for one in "cba"}, first=True))
    for _ in range(3):
        world.ran("runner-1")
    assert [run.rule for run in world.runs] == ["r1", "r2", "r3"]


def test_after() -> None:
    """A rule with `after` waits for the other's success, and for its success on newer data."""
    world = World(plan(rule("r2", "b", after=("r1",)), rule("r1", "a")))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    assert [run.rule for run in world.runs] == ["r1"]
    world.ran("runner-1")
    assert [run.rule for run in world.runs] == ["r1", "r2"]


def test_any_grows() -> None:
    """An `any` rule runs on what is valid, and again when more becomes valid before exec."""
    world = World(plan(rule("r", "a", "b", any_=True), rule("hold", "c")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff({"b": fragment("1")}))
    assert [[text for text in run.env if b"INTERFACES" in text] for run in world.runs] == [
        [b"DISCO_INTERFACES=a"],
        [b"DISCO_INTERFACES=a,b"],
    ]


def test_composition_goes_to_the_checker() -> None:
    """Of one source its own verdict counts; of several the checker's, and only on the newest combination."""
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1", "/x is required")}, first=True))
    assert not world.checks
    world.hear("t", diff({"a": fragment("2", "/y is required")}, first=True))
    assert world.checks[-1].bodies == (b'{"d":"1"}', b'{"d":"2"}')
    world.hear("t", diff({"a": fragment("3")}))
    world.checked()  # of the older combination: counts for nothing
    assert not world.runs
    assert world.checks[-1].bodies == (b'{"d":"1"}', b'{"d":"3"}')
    world.checked()
    assert len(world.runs) == 1


def test_hung_source_is_replaced_but_not_after_our_own_sleep() -> None:
    """A silent source is killed when its lease is over and disco was awake; after disco's own sleep it gets its time."""
    world = World(plan(rule("r", "a")))
    world.hear("s", messages.Heartbeat(answered=False))
    world.wait(3600.0)  # asleep: the lease is long over when we wake
    assert "s" in world.alive
    world.hear("s", messages.Heartbeat(answered=False))
    for _ in range(42):
        world.wait(0.5)
    assert "s" not in world.fresh
    for _ in range(6):
        world.wait(0.5)
    assert "s" in world.fresh, "it was not replaced"


def test_second_signal_kills_at_once() -> None:
    """The first SIGTERM gives handlers their grace, the second none."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.started("runner-1")
    world.feed(events.SignalReceived(TERM))
    assert "runner-1" in world.alive
    world.feed(events.SignalReceived(TERM))
    assert "runner-1" not in world.alive
    assert world.life.phase is Phase.SWEEPING
    world.bury()
    assert world.life.phase is Phase.OVER
    assert world.life.outcome is not None
    assert world.life.outcome.status == 128 + TERM


def test_signal_while_stopping_for_exec() -> None:
    """A SIGTERM that comes while disco stops for exec changes how it ends."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.leftovers["runner-1"] = 2
    run = world.busy.pop("runner-1")
    ran = messages.RunFinished(task=run.task, status=0, problem="", tail=(), seconds=0.1, children=True)
    world.witness.ended(run, 0)
    world.stop(events.MessageReceived(who("runner-1"), ran))
    world.feed(events.SignalReceived(TERM))
    if "runner-1" in world.alive:
        world.end("runner-1", 0)
        world.feed()
    assert world.life.outcome is not None
    assert world.life.outcome.status == 128 + TERM


def test_verdict_on_data_that_is_not_quiet_yet() -> None:
    """Data that changes faster than it is merged, and stops: the verdict on the newest counts as soon as it has been quiet."""
    world = World(plan(rule("r", "i"), sources=("s", "t"), settle=0.1))
    world.hear("t", diff({"i": fragment("t")}, first=True))
    world.hear("s", diff({"i": fragment("0")}, first=True))
    for number in range(1, 60):
        world.wait(0.05)
        world.hear("s", diff({"i": fragment(str(number))}))
        world.checked()
    assert world.core.composition.adoption.stale
    while world.checks:
        world.checked()
    assert world.life.deadline is not None
    assert world.life.deadline <= world.now + 0.1
    world.wait()
    assert not world.core.composition.adoption.stale


def test_late_result_counts_for_nothing() -> None:
    """A result for another run than the outstanding one satisfies nothing; the runner that sent it is replaced."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1", status=1)
    world.wait()
    world.hear("runner-1", messages.RunFinished(task=1, status=0, problem="", tail=(), seconds=1.0, children=False))
    assert "runner-1" not in world.alive
    assert world.life.phase is Phase.GATHERING


def test_lost_handler_is_buried_before_the_next_run() -> None:
    """When a runner dies, the next run of its rule waits until the handler that it left is gone; an immortal one ends disco."""
    world = World(plan(rule("r", "a"), workers=2))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.started("runner-1")
    world.end("runner-1", -9)
    world.feed()
    world.wait(3.0)
    assert len(world.runs) == 1
    pid = world.dying[0]
    world.bury()
    world.wait(2.0)
    assert len(world.runs) == 2
    world.started("runner-1")
    world.end("runner-1", -9)
    world.feed()
    assert world.dying[0] != pid
    world.wait(60.0)
    assert world.life.outcome is not None
    assert world.life.outcome.status == ExitStatus.SYSTEM


def test_hup_replaces_at_once() -> None:
    """SIGHUP replaces each source without a backoff; what they said is kept meanwhile."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.feed(events.SignalReceived(HUP))
    assert "s" in world.fresh
    assert world.core.schedule.is_satisfied(world.core.schedule.rules[0])


def test_timeout_does_not_undo_exec() -> None:
    """disco.timeout that passes while disco stops for exec changes nothing."""
    world = World(plan(rule("r", "a"), timeout=3.0, grace=60.0))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    run = world.busy.pop("runner-1")
    ran = messages.RunFinished(task=run.task, status=0, problem="", tail=(), seconds=0.1, children=True)
    world.witness.ended(run, 0)
    world.stop(events.MessageReceived(who("runner-1"), ran))
    world.now += 10.0
    world.do(world.life.handle(events.BatchEnded(), world.now))
    assert world.life.outcome is not None
    assert world.life.outcome.status is None


def test_lost_check_is_asked_again() -> None:
    """A check that dies with its checker is given to the next one."""
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("t", diff({"a": fragment("2")}, first=True))
    assert len(world.checks) == 1
    world.end("checker", -9)
    world.feed()
    world.wait()
    assert len(world.checks) == 2
    world.checked()
    assert len(world.runs) == 1


def test_pending_interface_holds_its_rules() -> None:
    """While an interface is being merged its rules do not run without it."""
    world = World(plan(rule("r", "a", "b", any_=True), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("t", diff({"a": fragment("2"), "b": fragment("1")}, first=True))
    world.ran("runner-1")
    runs = len(world.runs)
    world.checked()
    assert runs == 1
    assert b"DISCO_INTERFACES=a,b" in world.runs[-1].env


def test_no_exec_while_a_handler_runs() -> None:
    """Data that returns to what succeeded does not lead to exec while the handler still runs on what was between."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff({"a": fragment("2")}))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}))
    for name in [name for name, run in world.busy.items() if run.rule == "q"]:
        world.ran(name)
    world.wait(0.1)
    for name in [name for name, run in world.busy.items() if run.rule == "q"]:
        world.ran(name)
    assert world.life.phase is Phase.GATHERING


def settling(*rules: Rule, settle: float = 0.1, patience: float = 5.0) -> Plan:
    sources = (SourcePlan(name="s", lease=100.0, required=True, timeout=10.0, settle=patience),)
    return Plan(interfaces=KNOWN, sources=sources, rules=rules, settle=settle)


def test_change_is_handed_on_when_it_is_quiet() -> None:
    """A first full read is never delayed; a change is, until nothing more came for disco.settle; exec waits for it."""
    world = World(settling(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert len(world.runs) == 1
    world.ran("runner-1")
    for n in range(3):
        world.hear("s", diff({"a": fragment(f"half {n}")}))
        world.wait(0.06)
    assert len(world.runs) == 1
    world.wait(0.05)
    assert [b"".join(run.stdin) for run in world.runs][1:] == [b'{"a":{"d":"half 2"}}\n']


def test_change_without_an_end_is_handed_on_all_the_same() -> None:
    """An interface that is never quiet is handed on after ten times disco.settle."""
    world = World(settling(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    began = world.now
    while len(world.runs) == 1:
        world.hear("s", diff({"a": fragment(f"{world.now}")}))
        world.wait(0.05)
        assert world.now < began + 1.2
    assert world.now > began + 0.9


def test_no_exec_while_a_change_settles() -> None:
    """A change that is known but not settled keeps disco from exec."""
    world = World(settling(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff({"a": fragment("2")}))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.wait()
    world.ran("runner-1")
    assert world.life.phase is Phase.OVER


@pytest.mark.parametrize("first", [False, True])
def test_sudden_emptiness_is_held(first: bool) -> None:
    """A source that had data and says all is gone is not believed at once: its data stays, exec waits, people are told."""
    world = World(settling(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    world.ran("runner-1")
    gone = diff(first=True) if first else diff(removed=("a", "b"))
    world.hear("s", gone)
    assert world.core.schedule.is_satisfied(world.core.schedule.rules[0])
    for name in list(world.busy):
        world.ran(name)
    assert world.life.phase is Phase.GATHERING, "exec while an emptiness is held"
    assert any("everything that it had is gone" in text for text in world.told)
    world.wait(4.9)
    assert world.life.phase is Phase.GATHERING
    world.wait(0.2)
    assert not world.core.composition.adoption.valid
    assert any("nothing came back" in text for text in world.told)


def test_emptiness_is_dropped_when_the_data_comes_back() -> None:
    """What comes back within the time changes nothing: no handler runs again, and exec happens."""
    world = World(settling(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff(removed=("a",)))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.hear("s", diff({"a": fragment("1")}))
    world.wait(1.0)
    assert world.life.phase is Phase.OVER
    assert len(world.runs) == 1


def test_emptiness_of_a_source_that_fails_is_not_believed() -> None:
    """While the source that said so cannot be read, its emptiness is not believed, however long that takes."""
    world = World(settling(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff(removed=("a",)))
    for _ in range(5):
        world.hear("s", messages.ReadFailed(reason="refused", retry_in=3.0))
        world.wait(4.0)
    assert world.core.schedule.is_satisfied(world.core.schedule.rules[0])


def test_single_deletion_is_believed_at_once() -> None:
    """An interface that is gone beside others that are not is withdrawn without any patience."""
    world = World(settling(rule("r", "a"), rule("q", "b"), settle=0.0))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    world.hear("s", diff(removed=("a",)))
    assert set(world.core.composition.adoption.valid) == {"b"}


def test_reports_come_ever_more_rarely() -> None:
    """What is missing is told after 5 s, and then ever more rarely, until exec."""
    world = World(plan(rule("r", "a")))
    began = world.now
    times: list[float] = []
    while world.now < began + 250.0:
        world.wait(1.0)
        world.hear("s", messages.Heartbeat(answered=True))
        if world.reports > len(times):
            times.append(world.now - began)
    assert times == [5.0, 15.0, 35.0, 75.0, 135.0, 195.0]


def test_a_free_worker_is_used_at_once() -> None:
    """A rule that becomes due while another runs gets a new runner in the same moment: nothing else need happen first."""
    world = World(plan(rule("slow", "a"), rule("quick", "b"), workers=2))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff({"b": fragment("1")}))
    assert {run.rule for run in world.busy.values()} == {"slow", "quick"}


def test_changes_faster_than_the_checker_do_not_starve_a_rule() -> None:
    """An interface that changes again before each verdict is used all the same, and exec happens once it stands still."""
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("0")}, first=True))
    world.hear("t", diff({"a": fragment("t")}, first=True))
    for n in range(1, 40):
        world.hear("s", diff({"a": fragment(str(n))}))  # before the verdict on the one before
        world.checked()
        world.wait(0.2)
        if n % 3 == 0 and world.busy:
            world.ran("runner-1")
        assert world.life.phase is Phase.GATHERING or any("keeps changing" in text for text in world.told)
        if world.life.phase is Phase.OVER:
            break
    assert world.runs
    settle(world)
    assert world.life.outcome is not None
    assert world.life.outcome.status is None


def test_emptiness_of_a_source_that_is_not_back_is_not_believed() -> None:
    """Nor while the process that said so is dead, and the next one has said nothing; then the source's patience begins anew."""
    world = World(settling(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff(removed=("a",)))
    world.crash("s")
    for _ in range(10):
        world.wait(2.0)
    assert world.core.schedule.is_satisfied(world.core.schedule.rules[0])
    world.hear("s", diff(first=True))
    world.wait(4.9)
    assert world.core.schedule.is_satisfied(world.core.schedule.rules[0])
    world.wait(0.2)
    assert not world.core.schedule.is_satisfied(world.core.schedule.rules[0])


def test_no_older_moment_after_a_newer_one() -> None:
    """A verdict on what was said before something that rules have seen is not adopted, though the newest data is not merged yet."""
    world = World(plan(rule("r", "a"), rule("hold", "b"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("t", diff({"a": fragment("5")}, first=True))
    world.hear("s", diff({"a": fragment("2")}))
    world.hear("t", diff(removed=("a",)))
    world.ran("runner-1")
    assert b"".join(world.runs[-1].stdin) == b'{"a":{"d":"2"}}\n'
    world.hear("t", diff({"a": fragment("6")}))
    world.checked()  # on s=1 and t=5
    world.wait(1.5)
    assert len(world.runs) == 2
    world.checked()
    assert b"2+6" in b"".join(world.runs[-1].stdin)


def test_changes_that_make_no_difference_do_not_prevent_exec() -> None:
    """Where what several sources say changes before each verdict, which is the same each time, exec comes on an older moment."""
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.witness.merge = lambda digests: digests[-1]  # t says all that s does
    world.hear("s", diff({"a": fragment("0")}, first=True))
    world.hear("t", diff({"a": fragment("t")}, first=True))
    turn = 0
    while world.life.phase is Phase.GATHERING:
        turn += 1
        assert turn < 100, "exec never comes"
        world.hear("s", diff({"a": fragment(str(turn))}))
        world.checked()
        world.wait(0.2)
        if world.busy:
            world.ran("runner-1")
    assert len(world.runs) == 2, "it runs on what s says alone, and then on the merged data only once"
    assert any("faster than it is merged (a)" in text for text in world.told)
    assert any("meanwhile a changed" in text for text in world.told)


def test_emptied_source_that_fails_does_not_prevent_exec() -> None:
    """A source that said that all is gone, and then cannot be read, keeps its last good data: exec happens on it."""
    world = World(settling(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff(removed=("a",)))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.hear("s", messages.ReadFailed(reason="refused", retry_in=3.0))
    world.wait(0.1)
    assert world.life.phase is Phase.OVER


def test_a_failed_run_on_other_data_is_not_forgotten() -> None:
    """Where a handler failed on other data, its success before that does not count when the data is as it was."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff({"a": fragment("2")}))
    world.ran("runner-1", status=1)
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}))
    world.wait(1.0)
    assert [run.rule for run in world.runs] == ["r", "r", "q", "r"]


def test_exec_waits_for_what_is_unread() -> None:
    """What lies in a channel is read before exec, and before data is adopted."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.send("s", diff({"a": fragment("2")}))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.ran("runner-1")
    assert world.life.outcome is not None
    assert b"".join(world.runs[-1].stdin) == b'{"a":{"d":"2"}}\n'


def test_result_and_timeout_at_once() -> None:
    """A success that arrives together with the end of disco.timeout counts: what has happened comes before what is due."""
    world = World(plan(rule("r", "a"), timeout=3.0))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.now += 4.0  # disco was stopped meanwhile
    world.ran("runner-1")
    assert world.life.outcome is not None
    assert world.life.outcome.status is None


def test_timeout_and_report_at_once() -> None:
    """Where a report and the end of disco.timeout are due together, the report is printed once."""
    world = World(plan(rule("r", "a"), timeout=5.0))
    world.wait(5.0)
    assert world.life.outcome is not None
    assert (world.life.outcome.status, world.reports) == (ExitStatus.UNAVAILABLE, 1)


def test_sighup_is_waited_for() -> None:
    """After SIGHUP exec waits for the first word of each fresh process, for its source's timeout at most; once."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.feed(events.SignalReceived(HUP))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.hear("s", diff({"a": fragment("2")}, first=True))
    world.ran("runner-1")
    assert world.life.phase is Phase.OVER


@pytest.mark.parametrize("word", ["trouble", "crash", "silence"])
def test_sighup_does_not_wait_for_ever(word: str) -> None:
    """After SIGHUP a source that cannot be read, or says nothing, keeps exec no longer than its timeout; another SIGHUP neither."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.feed(events.SignalReceived(HUP))
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    if word == "trouble":
        world.hear("s", messages.ReadFailed(reason="refused", retry_in=1.0))
    elif word == "crash":
        world.crash("s")
    else:
        world.wait(8.0)
        world.feed(events.SignalReceived(HUP))
        world.wait(1.9)
        assert world.life.phase is Phase.GATHERING
        world.wait(0.2)
    assert world.life.phase is Phase.OVER


def test_emptiness_that_ends_bit_by_bit() -> None:
    """After a sudden emptiness nothing of a source is withdrawn at the first key that is back; at the end all is as it is then."""
    world = World(settling(rule("r", "a", "b"), rule("q", "c")))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff(removed=("a", "b")))
    world.hear("s", diff({"a": fragment("1")}))
    world.wait(1.0)
    assert world.core.schedule.is_satisfied(world.core.schedule.rules[0])
    world.hear("s", diff({"b": fragment("2")}))
    world.wait()
    world.wait()
    assert b"".join(world.runs[-1].stdin) == b'{"a":{"d":"1"},"b":{"d":"2"}}\n'


def naming(*rules: Rule, required: bool = True) -> Plan:
    """Return a plan of two sources that both name the interface a, of which the second may be optional."""
    named = frozenset("a")
    return Plan(
        interfaces=KNOWN,
        sources=(
            SourcePlan(name="s", lease=20.0, required=True, timeout=10.0, interfaces=named),
            SourcePlan(name="t", lease=20.0, required=required, timeout=10.0, interfaces=named),
        ),
        rules=rules,
    )


def test_named_interface_waits_for_each_that_names_it() -> None:
    """An interface that two sources name is used only when both have answered; after a crash that is not asked for again."""
    world = World(naming(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert not world.runs
    assert "waits for the first answer of t (t.interfaces names it)" in "\n".join(report.lines(world.life.status()))
    world.hear("t", diff({"a": fragment("1")}, first=True))
    assert len(world.runs) == 1
    world.ran("runner-1")
    world.crash("t")
    world.hear("s", diff({"a": fragment("2")}))
    while world.checks or len(world.runs) < 2:
        world.checked() if world.checks else world.wait()
    assert b"2+1" in b"".join(world.runs[-1].stdin)


def test_named_interface_of_an_optional_source() -> None:
    """For a source that is not required an interface is withheld for its timeout, and then for good no more."""
    world = World(naming(rule("r", "a"), required=False))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert not world.runs
    world.wait(10.0)
    assert len(world.runs) == 1
    world.ran("runner-1")
    assert world.life.phase is Phase.OVER


def test_any_rule_runs_beside_what_is_withheld() -> None:
    """A rule that takes any of its interfaces runs on the others meanwhile."""
    named = frozenset("a")
    sources = (
        SourcePlan(name="s", lease=20.0, required=True, timeout=10.0),
        SourcePlan(name="t", lease=20.0, required=True, timeout=10.0, interfaces=named),
    )
    world = World(Plan(sources=sources, rules=(rule("r", "a", "b", any_=True),), interfaces=KNOWN))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
    assert b"".join(world.runs[-1].stdin) == b'{"b":{"d":"1"}}\n'


def test_refused_forks_are_counted_alone() -> None:
    """A source that crashes often and is then once refused a fork does not end disco."""
    world = World(plan(rule("r", "a"), sources=("s",)))
    for _ in range(10):
        world.crash("s")
        while "s" not in world.alive:
            world.wait()
    world.end("s", -11)
    world.feed()
    while "s" not in world.alive:
        world.wait()
    del world.alive["s"]
    world.feed(events.ForkFailed(who("s"), "no memory"))
    assert world.life.phase is Phase.GATHERING


@pytest.mark.parametrize("excess", ["name", "size"])
def test_source_that_says_what_it_may_not(excess: str) -> None:
    """A source that gives an interface without a schema, or more data than fits, is replaced; what it said before stays."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    large = messages.Fragment(digest="2", problems=(), body=b" " * (33 << 20))
    world.hear("s", diff({"nobody": fragment("1")} if excess == "name" else {"a": large}))
    assert "s" not in world.alive
    assert any("may not provide" in text or "MiB of data" in text for text in world.told)
    assert world.core.composition.contribution("s").fragments.keys() == {"a"}


class Meter:
    """A lifecycle alone, fed as the coordinator does; counts the calls of Python functions that an event costs."""

    def __init__(self, size: int) -> None:
        """size: of how many interfaces, with a rule for each."""
        self.names = [f"i{number}" for number in range(size)]
        made = plan(*(rule(f"r{name}", name) for name in [*self.names, "few0"]), sources=("s", "t"), settle=0.1)
        few = [f"few{number}" for number in range(20)]
        self.life = Lifecycle(made._replace(interfaces=frozenset([*self.names, *few])), Exec(), 0.0, lambda: 0.5)
        self.now = 0.0
        self.calls = 0
        self.sent: list[actions.Send] = []
        self.do(self.life.start())

    def do(self, wanted: Iterable[actions.Action]) -> bool:
        reads = False
        for action in wanted:
            reads = reads or isinstance(action, actions.ReadAll)
            if isinstance(action, actions.Send):
                self.sent.append(action)
        return reads

    def feed(self, child: str, message: messages.Message) -> None:
        batch: list[events.Event] = [events.MessageReceived(who(child), message), events.BatchEnded()]
        sys.setprofile(self.count)
        try:
            while batch:
                if self.do(self.life.handle(batch.pop(0), self.now)):
                    batch = [events.AllRead(), events.BatchEnded()]
        finally:
            sys.setprofile(None)

    def count(self, frame: FrameType, event: str, _: object) -> None:
        self.calls += event == "call" and "disco" in frame.f_code.co_filename

    def answer(self) -> None:
        """Let the checker, or else a runner, answer."""
        asked = self.sent.pop(0)
        if isinstance(asked.message, messages.Merge):
            self.feed("checker", messages.Merged(task=asked.message.task, digest="d", problems=(), body=b"{}"))
        elif isinstance(asked.message, messages.Run):
            ran = messages.RunFinished(task=asked.message.task, status=0, problem="", tail=(), seconds=0.1, children=False)
            self.feed(asked.child.name, ran)


def measure(what: str, size: int) -> int:
    """Return the calls that 20 events cost where there are so many interfaces."""
    meter = Meter(size)
    few = [f"few{number}" for number in range(20)]
    meter.feed("s", diff({name: fragment("1") for name in meter.names}, first=True))
    if what == "change":
        meter.feed("t", diff({name: fragment("1") for name in few}, first=True))
        meter.feed("s", diff({name: fragment("2") for name in meter.names}))
    elif what == "verdict":
        meter.feed("t", diff({name: fragment("2") for name in meter.names}, first=True))
        meter.sent = [one for one in meter.sent if isinstance(one.message, messages.Merge)]
    elif what == "run again":
        meter.feed("t", diff(first=True))
        last = meter.sent.pop(0)  # which keeps exec waiting
        while meter.sent:
            meter.answer()
        meter.feed("s", diff({name: fragment("3") for name in meter.names}))
        meter.now += 1.0
        meter.sent.append(last)
        meter.answer()
    meter.calls = 0
    for number in range(20):
        if what == "change":
            meter.feed("t", diff({few[number]: fragment("4")}))
        else:
            meter.answer()
    assert meter.life.phase is Phase.GATHERING
    return meter.calls


@pytest.mark.parametrize("what", ["verdict", "run again", "change"])
def test_an_event_costs_the_same_on_a_large_site(what: str) -> None:
    """What an event costs does not grow with the number of interfaces and rules that it has nothing to do with."""
    assert measure(what, 800) <= 1.2 * measure(what, 100)


def test_rules_that_run_again_and_again_keep_no_other_waiting() -> None:
    """Where more changes than there are runners, each rule gets its turn: first those that have not run, then by how long ago."""
    names = "abcdefgh"
    world = World(plan(*(rule(name, name) for name in names), rule("last", "i"), rule("never", "z"), workers=2))
    world.hear("s", diff({name: fragment("0") for name in "abcdefghi"}, first=True))
    for turn in range(20):
        world.hear("s", diff({name: fragment(str(turn + 1)) for name in names}))
        world.ran("runner-1")
        world.ran("runner-2")
    ran = [run.rule for run in world.runs]
    assert ran[:9] == [*names, "last"]
    assert {ran.count(name) for name in names} <= {4, 5, 6}


def test_a_rule_on_data_that_is_never_quiet_gets_its_turn() -> None:
    """A rule whose data changed again while it waited for a runner runs on what was adopted, and exec waits for the newest."""
    world = World(plan(rule("q", "b"), rule("r", "a"), settle=0.1, workers=1))
    world.hear("s", diff({"a": fragment("0"), "b": fragment("0")}, first=True))
    world.hear("s", diff({"a": fragment("1")}))
    world.ran("runner-1")
    assert [run.rule for run in world.runs] == ["q", "r"]
    world.ran("runner-1")
    assert world.life.phase is Phase.GATHERING
    world.wait()
    assert b"".join(world.runs[-1].stdin) == b'{"a":{"d":"1"}}\n'


def test_a_source_that_answers_once_and_fails_again_is_told_once() -> None:
    """A source is well after its second good answer, or a while without trouble: until then the log does not repeat itself."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    for _ in range(5):
        world.hear("s", messages.ReadFailed(reason="refused", retry_in=1.0))
        world.hear("s", messages.Heartbeat(answered=True))
    assert sum("refused" in text for text in world.told) == 1
    assert not any("answers again" in text for text in world.told)
    world.hear("s", messages.Heartbeat(answered=True))
    assert sum("answers again" in text for text in world.told) == 1
    world.hear("s", messages.ReadFailed(reason="refused", retry_in=1.0))
    world.hear("s", messages.Heartbeat(answered=True))
    world.now += 30.0
    world.hear("s", messages.Heartbeat(answered=False))
    assert sum("answers again" in text for text in world.told) == 2
    assert sum("refused" in text for text in world.told) == 2


def test_a_source_that_answers_once_and_crashes_backs_off() -> None:
    """A source's process that dies after its first answer each time is started ever more rarely."""
    world = World(plan(rule("r", "a"), rule("q", "b")), jitter=lambda: 1.0)
    waits = []
    for _ in range(6):
        world.hear("s", diff({"a": fragment("1")}, first=True))
        world.end("s", -11)
        world.feed()
        began = world.now
        while "s" not in world.alive:
            world.wait()
        waits.append(world.now - began)
    assert waits[-1] > 4 * waits[0]
