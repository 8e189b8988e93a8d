"""The status: a snapshot that later events do not change, and that says the same as the machines."""

from __future__ import annotations

from disco.core import actions, events, facts
from disco.core.ending import Phase
from disco.core.facts import Cause, Exit
from disco.wire import messages
from tests.core.world import World, diff, fragment, plan, rule


def test_a_snapshot_stays_as_it_is() -> None:
    """Whatever happens after it was taken."""
    world = World(plan(rule("r", "a"), rule("q", "b"), timeout=60.0))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    before = world.life.status()
    world.hear("s", diff({"a": fragment("2"), "b": fragment("1")}))
    world.ran("runner-1", status=1)
    world.crash("s")
    assert before.sources["s"].fragments == {"a": fragment("1")}
    assert before.sources["s"].trouble == ""
    assert before.interfaces["a"].newest.digest == fragment("1").digest
    assert before.rules["r"].is_running
    assert not before.rules["r"].failures


def test_all_that_people_may_ask_about() -> None:
    """Sources, interfaces, rules, and what is due next, in the plan's order."""
    world = World(plan(rule("r", "a"), rule("q", "b", "c", any_=True), sources=("s", "t"), timeout=60.0, fail_limit=0))
    world.hear("s", diff({"a": fragment("1"), "z": fragment("1")}, first=True))
    world.ran("runner-1", status=3)
    world.end("t", -11)
    world.feed()
    status = world.life.status()
    assert list(status.sources) == ["s", "t"]
    assert list(status.interfaces) == ["a", "b", "c", "z"], "those of rules first"
    assert status.sources["t"].trouble == Exit(Cause.EXITED, -11)
    assert [status.sources[name].is_awaited for name in "st"] == [False, True]
    assert [one.is_lacking for one in status.interfaces.values()] == [False, True, True, False]
    failed = status.rules["r"]
    assert (failed.basis, failed.is_satisfied, failed.is_running, failed.failures) == (
        (("a", fragment("1").digest),),
        False,
        False,
        1,
    )
    assert failed.last_failure == facts.RunFailure(status=3, problem="", tail="")
    assert status.rules["q"].basis is None
    assert (status.timeout_at, status.is_gathering, status.outcome) == (world.now + 60.0, True, None)


def test_a_report_has_the_status_of_its_decision() -> None:
    """What is reported when disco gives up is what led to that, not what came of it."""
    world = World(plan(rule("r", "a"), timeout=5.0))
    world.hear("s", messages.ReadFailed(reason="refused", retry_in=1.0))
    wanted = world.life.handle(events.BatchEnded(), world.now + 5.0) + world.life.handle(events.AllRead(), world.now + 5.0)
    (status,) = [action.status for action in wanted if isinstance(action, actions.Report)]
    assert status.outcome is not None
    assert status.left.children == ("s", "runner-1"), "nothing was stopped yet"
    assert world.life.phase is Phase.STOPPING
