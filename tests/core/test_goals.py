"""Goals: when the gathering ends, and how."""

from __future__ import annotations

from disco.core import facts, reasons
from disco.core.ending import Phase
from disco.core.goals import DryRun, Input
from disco.errors import ExitStatus
from disco.wire import messages
from tests.core.world import World, diff, fragment, plan, rule


def test_a_dry_run_runs_nothing() -> None:
    """It ends when every source has answered, and tells what would be; no report is made."""
    world = World(plan(rule("r", "a"), sources=("s", "t")), goal=DryRun())
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert world.life.phase is Phase.GATHERING
    world.hear("t", diff(first=True))
    assert world.life.phase is Phase.OVER
    assert world.life.outcome == reasons.Outcome(None, reasons.WouldRun())
    assert (world.runs, world.reports, world.life.core.children.runners) == ([], 0, {})


def test_a_dry_run_waits_for_merges() -> None:
    """What several sources say is merged first."""
    world = World(plan(rule("r", "a"), sources=("s", "t")), goal=DryRun())
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("t", diff({"a": fragment("2")}, first=True))
    assert world.life.phase is Phase.GATHERING
    world.checked()
    assert world.life.outcome == reasons.Outcome(None, reasons.WouldRun())


def test_a_dry_run_that_takes_too_long() -> None:
    """At disco.timeout it tells what is known by then."""
    world = World(plan(rule("r", "a"), timeout=3.0), goal=DryRun())
    world.hear("s", messages.ReadFailed(reason="refused", retry_in=1.0))
    world.wait(3.0)
    assert world.life.outcome == reasons.Outcome(ExitStatus.UNAVAILABLE, reasons.Silent((("s", "refused"),)))
    world = World(plan(rule("r", "a"), rule("q", "b"), sources=("s",), timeout=3.0), goal=DryRun())
    world.hear("s", diff({"b": fragment("1")}, first=True))
    assert world.life.outcome == reasons.Outcome(ExitStatus.TIMEOUT, reasons.WouldWait(1))


def test_a_dry_run_without_sources() -> None:
    """It is over at once."""
    world = World(plan(sources=()), goal=DryRun())
    assert world.life.outcome == reasons.Outcome(None, reasons.NoRules())


def test_a_dry_run_of_rules_without_data() -> None:
    """They would run, whatever sources there are."""
    world = World(plan(rule("r"), sources=()), goal=DryRun())
    assert world.life.outcome == reasons.Outcome(None, reasons.WouldRun())


def test_the_input_of_one_rule() -> None:
    """It is there if that rule could run; else a source that never answered is told from data that is not there."""
    for name, status, why in (
        ("r", None, reasons.WouldRun()),
        ("q", ExitStatus.UNAVAILABLE, reasons.Silent((("t", ""),))),
        ("p", ExitStatus.HANDLER, reasons.WouldFail("p", facts.RunFailure(size=30, limit=20))),
        ("n", None, reasons.WouldRun()),
    ):
        rules = rule("r", "a"), rule("q", "b"), rule("p", "a", "c"), rule("n")
        world = World(plan(*rules, sources=("s", "t"), timeout=3.0, input_limit=20), goal=Input(name))
        world.hear("s", diff({"a": fragment("1"), "c": fragment("1")}, first=True))
        assert world.life.phase is Phase.GATHERING
        world.wait(3.0)
        assert world.life.outcome == reasons.Outcome(status, why)
    world = World(plan(rule("r", "a"), rule("q", "b")), goal=Input("q"))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    assert world.life.outcome == reasons.Outcome(ExitStatus.TIMEOUT, reasons.WouldWait(1))
    assert world.runs == []
