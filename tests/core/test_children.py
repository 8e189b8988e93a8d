"""Children: each state, and what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.actions import Kill, Outbox, Start
from disco.core.children import ALIVE, FORKS_AT_MOST, LAST_CHANCE, Children, SourceState, State
from disco.core.facts import Cause, Exit
from disco.core.plan import SourcePlan
from disco.system.backoff import LAST

if TYPE_CHECKING:
    from disco.core.actions import Action

NOW = 1000.0


class Nursery:
    """Children of one source, and the actions that they ask for."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.children = Children((SourcePlan("s", lease=20.0, required=True, timeout=10.0),), self.outbox, lambda: 1.0)
        self.source = self.children.sources["s"]

    def done(self) -> list[Action]:
        return self.outbox.empty()

    def running(self) -> SourceState:
        self.children.start(self.source, NOW)
        self.children.extend(self.source, 20.0, NOW)
        self.done()
        return self.source


@pytest.fixture
def nursery() -> Nursery:
    return Nursery()


def test_a_start_has_a_lease(nursery: Nursery) -> None:
    """A source that was forked must send something in time; a runner need not."""
    nursery.children.start(nursery.source, NOW)
    runner = nursery.children.add_runner()
    nursery.children.start(runner, NOW)
    assert nursery.done() == [Start(nursery.source.id), Start(runner.id)]
    assert (nursery.source.state, runner.state) == (State.STARTING, State.RUNNING)
    assert nursery.source.until is not None
    assert runner.until is None


def test_overdue_then_killed(nursery: Nursery) -> None:
    """A child of which nothing is heard gets a last chance, and is killed after that."""
    source = nursery.running()
    assert nursery.children.expire(NOW + 20.0) == []
    assert source.state is State.OVERDUE
    assert nursery.children.expire(NOW + 20.0 + LAST_CHANCE) == [source]
    assert nursery.done() == [Kill(source.id, 9)]
    assert (source.state, source.exit, source.until) == (State.STOPPING, Exit(Cause.HUNG), None)


def test_our_own_sleep_is_not_held_against_a_child(nursery: Nursery) -> None:
    """Where the end of the last chance is seen late, disco itself has slept: the child gets another one."""
    source = nursery.running()
    nursery.children.expire(NOW + 20.0)
    assert nursery.children.expire(NOW + 500.0) == []
    assert source.state is State.OVERDUE
    nursery.children.extend(source, 20.0, NOW + 500.5)
    assert source.state is State.RUNNING


def test_a_word_of_a_child_that_is_being_killed(nursery: Nursery) -> None:
    """A child that was told to end stays so, whatever it sends meanwhile."""
    source = nursery.running()
    nursery.children.kill(source, Exit(Cause.MEMORY, 1 << 20))
    nursery.children.extend(source, 20.0, NOW)
    assert (source.state, source.until) == (State.STOPPING, None)
    nursery.children.bury(source, -9)
    assert source.exit == Exit(Cause.MEMORY, 1 << 20)


def test_an_end_of_its_own(nursery: Nursery) -> None:
    """A child that ends by itself has its status as the reason."""
    source = nursery.running()
    nursery.children.bury(source, 3)
    assert source.exit == Exit(Cause.EXITED, 3)


def test_backoff_grows_to_its_last(nursery: Nursery) -> None:
    """The pause before each next start doubles, up to a limit, and ends with the start."""
    source, now, waits = nursery.running(), NOW, []
    for _ in range(12):
        nursery.children.bury(source, 1)
        waits.append(nursery.children.back_off(source, now))
        assert (source.state, nursery.children.deadline) == (State.BACKOFF, now + waits[-1])
        now += waits[-1]
        nursery.children.expire(now)
        assert source.state is State.STARTING
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == LAST


def test_renewal(nursery: Nursery) -> None:
    """A child that lives is killed to be started anew; one in its backoff is due at once."""
    source = nursery.running()
    nursery.children.renew(source, NOW)
    assert source.is_renewed
    nursery.children.bury(source, -9)
    nursery.children.back_off(source, NOW)
    nursery.children.renew(source, NOW)
    assert nursery.children.deadline == NOW


def test_refused_forks(nursery: Nursery) -> None:
    """So many refused forks in a row are too many; a process that was started ends the row."""
    assert [nursery.children.refuse(nursery.source) for _ in range(FORKS_AT_MOST + 1)] == [False] * FORKS_AT_MOST + [True]
    nursery.children.start(nursery.source, NOW)
    nursery.children.bury(nursery.source, 0)
    assert not nursery.children.refuse(nursery.source)


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "extend", "kill", "bury", "back", "refuse", "renew", "wait"]), st.floats(0, 50)),
        max_size=50,
    )
)
def test_the_invariant(steps: list[tuple[str, float]]) -> None:
    """A child with a process is in a state of those that live, and the nearest deadline is that of its state."""
    nursery, now, has_process = Nursery(), NOW, False
    source = nursery.source
    for what, seconds in steps:
        match what:
            case "start" if not source.is_alive:
                nursery.children.start(source, now)
            case "extend":
                nursery.children.extend(source, seconds, now)
            case "kill":
                nursery.children.kill(source, Exit(Cause.STOPPED))
            case "bury" if source.is_alive:
                nursery.children.bury(source, 0)
                has_process = False
            case "back" if not source.is_alive:
                nursery.children.back_off(source, now)
            case "refuse" if source.state is State.STARTING:
                nursery.children.refuse(source)
                has_process = False
            case "renew":
                nursery.children.renew(source, now)
            case "wait":
                now += seconds
                nursery.children.expire(now)
        for action in nursery.done():
            assert isinstance(action, Kill) == has_process, "started twice, or a signal to nobody"
            has_process = True
        assert (source.state in ALIVE) == has_process
        assert nursery.children.deadline == source.until
        assert source.until is None or source.state not in {State.IDLE, State.STOPPING}
