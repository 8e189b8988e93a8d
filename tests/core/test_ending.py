"""The end: phases go one way, and nothing is over as long as something is there."""

from __future__ import annotations

import pytest

from disco.core import events, facts, reasons
from disco.core.actions import Kill, Log, Outbox
from disco.core.children import Children
from disco.core.ending import KILL_WAIT, Ending, Phase
from disco.core.plan import SourcePlan
from disco.core.progress import Assignment, RuleState
from disco.core.reasons import Outcome
from disco.errors import ExitStatus
from tests.core.world import World, diff, fragment, plan, rule, who

NOW = 1000.0
DONE = Outcome(None, reasons.Satisfied())
TERMINATED = Outcome(128 + 15, reasons.Signalled(15))


class Scene:
    """A source, an idle runner and a busy one, which are about to end."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.children = Children((SourcePlan("s", lease=20.0, required=True, timeout=10.0),), self.outbox, lambda: 1.0)
        self.idle, self.busy = self.children.add_runner(), self.children.add_runner()
        self.busy.run = Assignment(1, RuleState(rule("r", "a"), 0), ())
        self.all = [self.children.sources["s"], self.idle, self.busy]
        for child in self.all:
            self.children.start(child, NOW)
        self.outbox.empty()
        self.ending = Ending(5.0, self.children, self.outbox, None)

    def bury(self, *children: object) -> None:
        for child in self.all:
            if child in children:
                self.children.bury(child, -9)
                self.ending.advance()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_only_what_is_busy_is_asked(scene: Scene) -> None:
    """A runner with something below it gets SIGTERM, everything else SIGKILL."""
    scene.ending.begin(DONE, NOW)
    source, idle, busy = scene.all
    assert scene.outbox.empty() == [Kill(source.id, 9), Kill(idle.id, 9), Kill(busy.id, 15)]
    assert (scene.ending.phase, scene.ending.until) == (Phase.STOPPING, NOW + 5.0)


def test_it_is_over_when_all_have_ended(scene: Scene) -> None:
    """With the last child, or with the last orphan if there are some."""
    scene.ending.begin(DONE, NOW)
    scene.ending.leftovers = (7,)
    scene.bury(*scene.all[:2])
    assert scene.ending.phase is Phase.STOPPING
    scene.bury(scene.busy)
    assert scene.ending.phase is Phase.SWEEPING
    scene.ending.leftovers = ()
    scene.ending.advance()
    assert (scene.ending.phase, scene.ending.outcome, scene.ending.until) == (Phase.OVER, DONE, None)


def test_a_signal_changes_the_outcome(scene: Scene) -> None:
    """Whoever comes later decides how disco ends; nothing is stopped twice."""
    scene.ending.begin(DONE, NOW)
    scene.outbox.empty()
    scene.ending.begin(TERMINATED, NOW + 1.0)
    assert scene.outbox.empty() == []
    assert scene.ending.outcome == TERMINATED
    assert scene.ending.until == NOW + 5.0


def test_grace_passes(scene: Scene) -> None:
    """What is busy when the grace has passed is killed, and people are told so."""
    scene.ending.begin(DONE, NOW)
    scene.bury(*scene.all[:2])
    scene.outbox.empty()
    scene.ending.expire(NOW + 5.0)
    assert scene.outbox.empty() == [Log(facts.GracePassed()), Kill(scene.busy.id, 9)]


def test_what_survives_is_named(scene: Scene) -> None:
    """What is there so long after SIGKILL is named, and makes the exit status."""
    scene.ending.begin(DONE, NOW)
    scene.ending.force(NOW)
    scene.bury(*scene.all[:2])
    scene.ending.leftovers = (7, 8)
    scene.ending.expire(NOW + KILL_WAIT)
    survived = facts.Survived("", ("runner-2",), (7, 8))
    assert scene.ending.outcome == Outcome(ExitStatus.SYSTEM, survived)
    assert scene.ending.is_over


def test_force_is_used_once(scene: Scene) -> None:
    """A second demand does not extend the wait for what got SIGKILL."""
    scene.ending.begin(DONE, NOW)
    scene.ending.force(NOW)
    scene.outbox.empty()
    scene.ending.force(NOW + 5.0)
    assert scene.outbox.empty() == []
    assert scene.ending.until == NOW + KILL_WAIT


def test_a_runner_with_leftovers_is_asked() -> None:
    """A runner that runs nothing gets SIGTERM too, if its last handler left something behind that it has to hand that on to."""
    world = World(plan(rule("r", "a"), rule("q", "b")))
    world.hear("s", diff({"a": fragment("1")}, first=True))
    world.ran("runner-1", children=True)
    world.life.core.outbox.empty()
    kills = [action for action in world.life.handle(events.SignalReceived(15), NOW) if isinstance(action, Kill)]
    assert Kill(who("runner-1"), 15) in kills
