"""The freeze: when data that changes all the time is no longer adopted."""

from __future__ import annotations

import pytest

from disco.core.actions import Outbox
from disco.core.adoption import NOTHING, Adoption
from disco.core.ending import Phase
from disco.core.freeze import Freeze
from disco.core.progress import RuleState
from tests.core.world import World, diff, fragment, plan, rule, settling

NOW = 1000.0


class Scene:
    """One rule, which may run twice in a row on nothing but other data."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.adoption = Adoption([("a",)], 0.0)
        self.freeze = Freeze(2, self.adoption, self.outbox)
        self.state = RuleState(rule("r", "a"), 0)
        self.turn = 0

    def run(self, *, is_calm: bool = True) -> bool:
        self.turn += 1
        basis = (("a", str(self.turn)),)
        frozen = self.freeze.count_run(self.state, basis, NOW, is_calm=is_calm)
        self.state.started_on = basis
        return frozen


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_third_rerun_in_a_row_freezes(scene: Scene) -> None:
    """The first run is none; then nothing is adopted, and that is told once."""
    assert [scene.run() for _ in range(6)] == [False, False, False, True, False, False]
    assert scene.adoption.frozen
    assert scene.freeze.rule == "r"
    assert len(scene.outbox.empty()) == 1


def test_other_reasons_to_wait_end_the_row(scene: Scene) -> None:
    """Where exec waits for more than this rule, its reruns keep nobody waiting."""
    assert [scene.run(is_calm=number % 3 != 0) for number in range(20)] == [False] * 20


def test_the_same_data_again_is_no_rerun(scene: Scene) -> None:
    """A run after a failure, on the same data, is not counted."""
    scene.run()
    basis = scene.state.started_on
    assert basis
    assert not any(scene.freeze.count_run(scene.state, basis, NOW, is_calm=True) for _ in range(10))


def test_thaw_begins_anew(scene: Scene) -> None:
    """After a failure all is as it was at first."""
    for _ in range(4):
        scene.run()
    scene.freeze.thaw()
    assert (scene.freeze.rule, scene.adoption.frozen) == ("", False)
    assert [scene.run() for _ in range(3)] == [False, False, True]


def test_only_stale_cuts_in_a_row_freeze(scene: Scene) -> None:
    """Newest data in between ends the row, and so does a freeze."""

    def cut(*stale: str) -> str:
        scene.adoption.stale.clear()
        scene.adoption.stale.update(stale)
        scene.freeze.count_cut({"a"}, {"a": [scene.state]}, NOW, all_succeeded=True)
        return scene.freeze.rule

    scene.adoption.change("a", NOTHING, NOW, at_once=True)
    assert [cut(*stale) for stale in ("a", "a", "", "a", "a", "a")] == ["", "", "", "", "", "r"]
    scene.freeze.thaw()
    assert [cut("a") for _ in range(3)] == ["", "", "r"]


# In whole lives


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
    assert any("faster than it is validated (a)" in text for text in world.told)
    assert any("meanwhile a changed" in text for text in world.told)


def test_no_rerun_is_counted_while_all_is_frozen(scene: Scene) -> None:
    """Whatever runs on frozen data runs for the last time."""
    for _ in range(4):
        scene.run()
    before = dict(scene.freeze._reruns)
    scene.run()
    assert scene.freeze._reruns == before


def test_refused_data_is_never_frozen() -> None:
    """Where a handler has refused its data nothing keeps other data from it: no freeze begins meanwhile."""
    world = World(plan(rule("r", "a"), rule("q", "b"), free_reruns=1))
    world.hear("s", diff({"a": fragment("1"), "b": fragment("0")}, first=True))
    refusing, changing = world.busy
    world.ran(changing)
    world.ran(refusing, status=65)
    for turn in range(1, 10):
        world.hear("s", diff({"b": fragment(str(turn))}))
        world.ran(next(iter(world.busy)))
        assert not world.is_frozen()
    world.hear("s", diff({"a": fragment("2")}))
    world.ran(next(iter(world.busy)))
    assert world.life.phase is Phase.OVER
