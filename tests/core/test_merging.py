"""The checker's work: one task at a time, none lost."""

from __future__ import annotations

import pytest

from disco.core.actions import Outbox, Send, Start
from disco.core.children import CHECKER, Children
from disco.core.composition import Composition
from disco.core.merging import DEADLY, TOO_SLOW, Merging
from disco.core.plan import Plan, SourcePlan
from disco.wire import messages
from tests.core.world import KNOWN, diff, fragment, rule

NOW = 1000.0


class Desk:
    """Two sources that say different things of two interfaces."""

    def __init__(self) -> None:
        sources = tuple(SourcePlan(name, lease=20.0, required=True, timeout=10.0) for name in "st")
        plan = Plan(sources=sources, rules=(rule("r", "a"), rule("q", "b")), interfaces=KNOWN)
        self.outbox = Outbox()
        self.children = Children(sources, self.outbox, lambda: 1.0)
        self.composition = Composition(plan)
        self.merging = Merging(self.children, self.composition, self.outbox)
        for source in "st":
            self.composition.apply(source, diff({name: fragment(source) for name in "ab"}, first=True), NOW)

    def asked(self) -> list[messages.Merge]:
        self.merging.advance(NOW)
        sent = [action.message for action in self.outbox.empty() if isinstance(action, Send)]
        return [message for message in sent if isinstance(message, messages.Merge)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def merged(task: int, *problems: str) -> messages.Merged:
    return messages.Merged(task=task, digest="m", problems=problems, body=b"{}")


def test_the_checker_is_started_when_it_is_needed(desk: Desk) -> None:
    """It gets one task, and the next one with its verdict."""
    desk.merging.advance(NOW)
    assert [type(action) for action in desk.outbox.empty()] == [Start, Send]
    assert desk.asked() == []
    desk.merging.finish(merged(1), NOW)
    (second,) = desk.asked()
    assert second.interface == "b"
    assert desk.composition.adoption.newest("a").digest == "m"


def test_a_lost_task_is_given_again(desk: Desk) -> None:
    """A dead checker's task is the next one's, after the backoff."""
    (first,) = desk.asked()
    desk.children.bury(desk.children.checker, -9)
    desk.children.back_off(desk.children.checker, NOW)
    desk.merging.lose(NOW)
    assert desk.asked() == []
    desk.children.expire(NOW + 60.0)
    (again,) = desk.asked()
    assert (again.interface, again.bodies) == (first.interface, first.bodies)
    desk.merging.finish(merged(first.task), NOW)
    assert desk.composition.adoption.newest("a").pending, "a verdict on the lost task"


def test_a_checker_that_hangs(desk: Desk) -> None:
    """What it hangs with is invalid, and says why; its process is killed."""
    desk.asked()
    for seconds in (60.0, 62.0):
        for child in desk.children.expire(NOW + seconds):
            assert child.id == CHECKER
            desk.merging.give_up(NOW + seconds)
    assert desk.composition.adoption.newest("a").problems == (TOO_SLOW,)
    assert desk.asked() == [], "a task for a checker that is being killed"


def test_an_idle_checker_need_not_be_heard(desk: Desk) -> None:
    """Its lease ends with its verdict; a larger task has a longer one."""
    desk.asked()
    assert desk.children.checker.until is not None
    desk.merging.finish(merged(1), NOW)
    assert desk.children.checker.until is None
    (second,) = desk.asked()
    before = desk.children.checker.until
    desk.merging.finish(merged(second.task), NOW)
    desk.composition.apply("s", diff({"a": fragment("x")._replace(body=b" " * (10 << 20))}), NOW)
    desk.asked()
    assert desk.children.checker.until > before


def test_a_merge_that_kills_the_checker_keeps_no_other_waiting(desk: Desk) -> None:
    """What ends the checker twice is invalid, and says so; the next interface is merged."""
    for now in (NOW, NOW + 60.0):
        desk.children.expire(now)
        (task,) = desk.asked()
        assert task.interface == "a"
        desk.children.bury(desk.children.checker, -9)
        desk.children.back_off(desk.children.checker, now)
        desk.merging.lose(now)
    assert desk.composition.adoption.newest("a").problems == (DEADLY,)
    desk.children.expire(NOW + 120.0)
    (task,) = desk.asked()
    assert task.interface == "b"
