"""The lifecycle: the order of what has happened and what is due, signals, time, and the end."""

from __future__ import annotations

import pytest

from disco.core import actions, events
from disco.core.children import State
from disco.core.ending import Phase
from disco.core.goals import Exec
from disco.core.lifecycle import Lifecycle
from disco.core.plan import Plan, SourcePlan
from disco.errors import ExitStatus
from disco.people import wording
from disco.wire import messages
from tests.core.world import HUP, KNOWN, TERM, World, diff, fragment, plan, rule, who


def test_simplest() -> None:
    """One source, one rule: data, run, success, exec."""
    world = World(plan(rule("r", "a")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert b"".join(world.runs[0].stdin) == b'{"a":{"d":"1"}}\n'
    world.ran("runner-1")
    assert world.life.phase is Phase.OVER
    assert world.life.outcome is not None
    assert world.life.outcome.status is None


def test_children_that_were_forked_before() -> None:
    """A child that is there already is not started, and is watched like all others; those that are missing are started."""
    life = Lifecycle(plan(rule("r", "a"), sources=("s", "t")), Exec(), 0.0, lambda: 0.5)
    started = [action.child for action in life.start([who("s"), who("runner-1")]) if isinstance(action, actions.Start)]
    assert started == [who("t")]
    assert life.core.children.sources["s"].state is State.STARTING
    assert life.core.children.sources["s"].until == life.core.children.sources["t"].until
    assert life.core.children.runners["runner-1"].state is State.RUNNING


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
    world.witness.ended(run, 0, world.now)
    world.stop(events.MessageReceived(who("runner-1"), ran))
    world.feed(events.SignalReceived(TERM))
    if "runner-1" in world.alive:
        world.end("runner-1", 0)
        world.feed()
    assert world.life.outcome is not None
    assert world.life.outcome.status == 128 + TERM


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
    world.witness.ended(run, 0, world.now)
    world.stop(events.MessageReceived(who("runner-1"), ran))
    world.now += 10.0
    world.do(world.life.handle(events.BatchEnded(), world.now))
    assert world.life.outcome is not None
    assert world.life.outcome.status is None


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


@pytest.mark.parametrize("excess", ["name", "size", "filled size"])
def test_source_that_says_what_it_may_not(excess: str) -> None:
    """A source that gives an interface without a schema, or more data than fits, is replaced; what it said before stays."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    half = b" " * (25 << 20)
    large = messages.Fragment(digest="2", problems=(), body=half * 2)
    if excess == "filled size":
        large = messages.Fragment(digest="2", problems=(), body=half, filled=half)
    world.hear("s", diff({"nobody": fragment("1")} if excess == "name" else {"a": large}))
    assert "s" not in world.alive
    assert any("may not provide" in text or "MiB of data" in text for text in world.told)
    assert world.core.composition.contribution("s").fragments.keys() == {"a"}


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


def test_a_source_that_says_when_it_tries_again_is_left_alone_until_then() -> None:
    """A pause that a source has announced is no silence."""
    world = World(plan(rule("r", "a")))
    world.hear("s", messages.ReadFailed(reason="refused", retry_in=100.0))
    for _ in range(110):
        world.wait(1.0)
    assert "s" not in world.fresh, "it was replaced"


def test_sighup_thaws() -> None:
    """Whoever asks for all data anew gets it, though it was frozen."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("0"), "b": fragment("0")}, first=True))
    turn = 0
    while not world.core.schedule.freeze.rule:
        turn += 1
        world.hear("s", diff({"a": fragment(str(turn))}))
        for runner, run in list(world.busy.items()):
            if run.rule == "r" or turn == 1:
                world.ran(runner)
    world.feed(events.SignalReceived(HUP))
    assert not world.core.schedule.freeze.rule


def test_forks_that_are_refused_for_too_long() -> None:
    """A child that can never be forked ends disco with 71, and the system's reason."""
    world = World(plan(rule("r", "a")))
    for _ in range(7):
        while "s" not in world.alive:
            world.wait()
        del world.alive["s"]
        world.feed(events.ForkFailed(who("s"), "no memory"))
    assert world.life.outcome is not None
    assert world.life.outcome.status == ExitStatus.SYSTEM
    assert "no memory" in wording.reason(world.life.outcome.reason)
