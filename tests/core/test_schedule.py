"""Rules and their runs: what is due, what is satisfied, and what becomes of runs that are lost."""

from __future__ import annotations

import pytest

from disco.core import events, facts, reasons
from disco.core.ending import Phase
from disco.core.goals import DryRun
from disco.errors import ExitStatus
from disco.wire import messages
from tests.core.world import World, diff, fragment, plan, rule, who


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


def test_variables_over_the_limit() -> None:
    """A run whose variables are too much for exec, with those of all other rules, fails; each costs a pointer too."""
    content = b"R=1\0"
    for room, status in ((2 * (4 + 8), None), (2 * (4 + 8) - 1, ExitStatus.HANDLER)):
        world = World(plan(rule("r", "a"), rule("q", "a"), workers=1, fail_limit=1, export_room=room))
        world.exports_of = lambda run: content  # type: ignore[method-assign]  # noqa: ARG005
        world.hear("s", diff({"a": fragment("1")}, first=True))
        world.ran("runner-1")
        world.ran("runner-1")
        assert world.life.outcome is not None
        assert world.life.outcome.status == status
    [failed] = [text for text in world.told if "failed" in text]
    assert "rule q: handler /q failed: the variables that rules export need 1 KiB, and COMMAND can be given 0 KiB" in failed


def test_a_rule_that_exports_anew_needs_no_room_twice() -> None:
    """What its last success exported makes way for what this one exports."""
    world = World(plan(rule("r", "a"), fail_limit=1, export_room=4 + 8))
    world.exports_of = lambda run: b"R=1\0"  # type: ignore[method-assign]  # noqa: ARG005
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.send("s", diff({"a": fragment("2")}))
    world.ran("runner-1")
    world.ran("runner-1")
    assert len(world.runs) == 2
    assert world.life.outcome == reasons.Outcome(None, reasons.Satisfied())


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


def test_the_fail_limit_and_the_pauses_of_one_rule() -> None:
    """What a rule says of its failures wins over what the plan says; other rules go by the plan."""
    world = World(plan(rule("r", "a", fail_limit=4, retry=(2.0, 5.0)), rule("q", "a"), fail_limit=2, interval=9.0))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-2")
    for pause in (2.0, 4.0, 5.0):
        world.ran("runner-1", status=1)
        world.wait(pause - 0.1)
        assert not world.busy
        world.wait(0.1)
    world.ran("runner-1", status=1)
    failure = facts.RunFailure(status=1, problem="", tail="")
    assert world.life.outcome == reasons.Outcome(ExitStatus.HANDLER, reasons.GaveUp("r", 4, failure, is_own_limit=True))


def test_the_timeout_of_one_rule() -> None:
    """A runner is given as much time as the rule says: longer than the plan has it, or no end of it."""
    for timeout, is_replaced in ((1.0, True), (500.0, False), (0.0, False)):
        world = World(plan(rule("r", "a", timeout=timeout), handler_timeout=5.0))
        world.hear("s", diff({"a": fragment("1")}, first=True))
        world.started("runner-1")
        for _ in range(60):
            world.wait(1.0)
            world.hear("s", messages.Heartbeat(answered=True))
        assert any("hung" in text for text in world.told) == is_replaced


def test_refused_data() -> None:
    """Data that its handler refuses is tried again after 10 s, and then ever more rarely, up to 5 minutes; it is no failure."""
    world = World(plan(rule("r", "a"), fail_limit=1))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    for runs, pause in enumerate((10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0)):
        assert len(world.runs) == runs + 1
        world.ran("runner-1", status=65)
        began = world.now
        while not world.busy:
            world.wait(1.0)
            world.hear("s", messages.Heartbeat(answered=True))
        assert pause <= world.now - began < pause + 2.0
    assert world.life.phase is Phase.GATHERING
    assert any("/r refuses the data of a (exit status 65" in text for text in world.told)


def test_other_data_than_what_was_refused() -> None:
    """It runs at once, also what came while the handler ran; data that was away unseen is still refused."""
    world = World(plan(rule("r", "a"), rule("q", "b"), workers=1))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff({"a": fragment("2")}))
    world.ran("runner-1", status=65)
    world.ran("runner-1", status=65)
    assert [b"".join(run.stdin) for run in world.runs] == [b'{"a":{"d":"1"}}\n', b'{"a":{"d":"2"}}\n']
    world.hear("s", diff({"b": fragment("1")}))
    world.hear("s", diff({"a": fragment("1")}))
    world.hear("s", diff({"a": fragment("2")}))
    world.ran("runner-1")
    assert not world.busy
    world.hear("s", diff({"a": fragment("1")}))
    assert [run.rule for run in world.runs] == ["r", "r", "q", "r"]


def test_a_failure_between_refusals() -> None:
    """A failure has its own pause, which other data does not shorten; then the data that was refused before it is tried anew."""
    world = World(plan(rule("r", "a"), interval=3.0))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1", status=65)
    world.hear("s", diff({"a": fragment("2")}))
    world.ran("runner-1", status=1)
    world.hear("s", diff({"a": fragment("1")}))
    world.wait(2.9)
    assert not world.busy
    world.wait(0.1)
    assert b"DISCO_ATTEMPT=2" in world.runs[-1].env
    assert b"".join(world.runs[-1].stdin) == b'{"a":{"d":"1"}}\n'


def test_a_handler_with_a_problem_refuses_nothing() -> None:
    """One that is killed for its time and exits with 65 on the way has failed, whatever it means by that."""
    world = World(plan(rule("r", "a"), fail_limit=1))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1", status=65, problem="killed: it ran longer than 60 s")
    assert world.life.outcome is not None
    assert world.life.outcome.status == ExitStatus.HANDLER


def test_refused_data_at_the_timeout() -> None:
    """At disco.timeout the status is 75, or 69 where a source never answered; the reason names the rules that refuse their data."""
    for sources, status in ((("s",), ExitStatus.TIMEOUT), (("s", "t"), ExitStatus.UNAVAILABLE)):
        world = World(plan(rule("r", "a"), rule("q", "b"), timeout=3.0, sources=sources, workers=1))
        world.hear("s", diff({"a": fragment("1"), "b": fragment("1")}, first=True))
        world.ran("runner-1", status=65)
        world.ran("runner-1", status=65)
        world.hear("s", diff({"b": fragment("2")}))
        world.wait(3.0)
        assert world.life.outcome is not None
        assert world.life.outcome.status == status
        assert isinstance(world.life.outcome.reason, reasons.TimedOut)
        assert world.life.outcome.reason.refused == (("r", facts.RunFailure(status=65, problem="", tail="")),)


def test_a_rule_without_data() -> None:
    """It runs once, before any source has answered, and is a failure where it exits with 65; others may come after it."""
    world = World(plan(rule("q", "a", after=("r",)), rule("r"), workers=1))
    assert [(run.rule, run.stdin) for run in world.runs] == [("r", (b"{}\n",))]
    world.ran("runner-1", status=65)
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.wait(1.0)
    assert b"DISCO_ATTEMPT=2" in world.runs[-1].env
    world.ran("runner-1")
    world.hear("s", diff({"a": fragment("2")}))
    world.ran("runner-1")
    assert [run.rule for run in world.runs] == ["r", "r", "q", "q"]
    world.ran("runner-1")
    assert world.life.outcome == reasons.Outcome(None, reasons.Satisfied())


def test_rules_that_need_no_source() -> None:
    """Without any source the rules run, and COMMAND starts."""
    world = World(plan(rule("r"), sources=()))
    world.ran("runner-1")
    assert world.life.outcome == reasons.Outcome(None, reasons.Satisfied())


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
    assert isinstance(world.life.outcome.reason, facts.Survived)
    assert world.life.outcome.reason.children == (), "children that are well are named"


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


def test_a_free_worker_is_used_at_once() -> None:
    """A rule that becomes due while another runs gets a new runner in the same moment: nothing else need happen first."""
    world = World(plan(rule("slow", "a"), rule("quick", "b"), workers=2))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("s", diff({"b": fragment("1")}))
    assert {run.rule for run in world.busy.values()} == {"slow", "quick"}


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


def test_a_runner_that_does_not_begin() -> None:
    """A runner that was given a run, and does not say that its handler started, is replaced; the rule runs again."""
    world = World(plan(rule("r", "a"), handler_timeout=0.0))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    for _ in range(70):
        world.wait(0.5)
        world.hear("s", messages.Heartbeat(answered=True))
    assert [run.rule for run in world.runs] == ["r", "r"]
    assert any("runner-1, which ran it: its process hung" in text for text in world.told)


def test_an_idle_runner_need_not_be_heard() -> None:
    """When its run has ended nothing is expected of a runner, however long a handler may take."""
    world = World(plan(rule("r", "a"), rule("q", "b"), handler_timeout=5.0))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.started("runner-1")
    world.ran("runner-1")
    for _ in range(100):
        world.wait(1.0)
        world.hear("s", messages.Heartbeat(answered=True))
    assert not any("runner-1" in text for text in world.told)


def test_a_run_that_ends_well_ends_the_backoff_of_its_runner() -> None:
    """A runner that dies is started ever more rarely, until it has run something to its end."""
    world = World(plan(rule("r", "a"), fail_limit=0), jitter=lambda: 1.0)
    world.hear("s", diff({"a": fragment("0")}, first=True))
    for _ in range(3):
        world.crash("runner-1")
        while "runner-1" not in world.alive or not world.busy:
            world.wait()
    assert world.core.children.runners["runner-1"].deaths == 3
    world.ran("runner-1", status=1)
    assert world.core.children.runners["runner-1"].deaths == 0
