"""Adoption: what rules see, and when."""

from __future__ import annotations

from disco.core.ending import Phase
from tests.core.world import World, diff, fragment, plan, rule, settle, settling


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
