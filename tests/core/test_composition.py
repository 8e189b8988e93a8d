"""Composition: what several sources say, sudden emptiness, and interfaces that are withheld."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from disco.core import events
from disco.core.ending import Phase
from disco.core.plan import Plan, SourcePlan
from disco.people import report
from disco.wire import messages
from tests.core.world import HUP, KNOWN, World, diff, fragment, plan, rule, settling, who

if TYPE_CHECKING:
    from disco.site.rules import Rule


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


def test_lost_check_is_asked_again() -> None:
    """A check that dies with its checker is given to the next one."""
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.hear("t", diff({"a": fragment("2")}, first=True))
    assert len(world.checks) == 1
    world.end("checker", -9)
    world.feed()
    assert not world.checks
    world.wait()
    assert len(world.checks) == 1
    world.checked()
    assert len(world.runs) == 1


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
    assert any("all its data is gone" in text for text in world.told)
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


@pytest.mark.parametrize("failure", ["cannot be read", "cannot be forked"])
def test_a_hold_begins_anew_when_its_source_is_back(failure: str) -> None:
    """An emptiness is held without an end while its source fails in whatever way; an answer without news starts its time."""
    world = World(settling(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff(removed=("a",)))
    if failure == "cannot be read":
        world.hear("s", messages.ReadFailed(reason="refused", retry_in=3.0))
    else:
        world.feed(events.SignalReceived(HUP))  # so the new process is the first that fails
        del world.alive["s"]
        world.feed(events.ForkFailed(who("s"), "no memory"))
    world.wait(20.0)
    assert "a" in world.core.composition.adoption.valid
    while "s" not in world.alive:
        world.wait()
    world.hear("s", messages.Heartbeat(answered=True))
    world.wait(4.9)
    assert "a" in world.core.composition.adoption.valid
    world.wait(0.2)
    assert "a" not in world.core.composition.adoption.valid


def test_what_is_back_and_unread_is_back() -> None:
    """An emptiness is accepted only when all that lies in the channels is read: the data may be there again."""
    world = World(settling(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1")
    world.hear("s", diff(removed=("a",)))
    world.send("s", diff({"a": fragment("1")}))
    world.wait(6.0)
    assert not any("counts as deleted" in text for text in world.told)
    assert "a" in world.core.composition.adoption.valid


def test_a_handler_gets_its_data_with_defaults() -> None:
    """What a handler gets has the defaults, and what is merged has not: a later default never hides an earlier source's value."""
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1?")}, first=True))
    assert b"".join(world.runs[-1].stdin) == b'{"a":{"d":"1="}}\n'
    assert world.core.schedule.basis(world.core.schedule.rules[0]) == (("a", messages.digest(b'{"d":"1="}')),)
    world.hear("t", diff({"a": fragment("2?")}, first=True))
    assert world.checks[-1].bodies == (b'{"d":"1?"}', b'{"d":"2?"}')
    world.checked()
    world.ran("runner-1")
    assert b"".join(world.runs[-1].stdin) == b'{"a":{"d":"1=+2="}}\n'


def test_a_source_that_now_says_the_default_itself_changes_nothing() -> None:
    """A rule is judged by what its handler gets: the same value from a default or from a source is the same."""
    world = World(plan(rule("r", "a"), rule("q", "b"), sources=("s",)))
    world.hear("s", diff({"a": fragment("1?")}, first=True))
    world.ran("runner-1")
    for said in ("1=", "1?"):
        world.hear("s", diff({"a": fragment(said)}))
        assert world.core.schedule.is_satisfied(world.core.schedule.named("r"))
    assert len(world.runs) == 1
    world.hear("s", diff({"a": fragment("2?")}))
    assert len(world.runs) == 2


def test_sources_that_say_the_same_are_compared_without_defaults() -> None:
    """Two sources agree if they say the same; what only a default makes alike is merged."""
    world = World(plan(rule("r", "a"), sources=("s", "t")))
    world.hear("s", diff({"a": fragment("1?")}, first=True))
    world.hear("t", diff({"a": fragment("1?")}, first=True))
    assert not world.checks
    world.hear("t", diff({"a": fragment("1=")}))
    assert world.checks[-1].bodies == (b'{"d":"1?"}', b'{"d":"1="}')
