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
        self.plan = plan = Plan(sources=sources, rules=(rule("r", "a"), rule("q", "b")), interfaces=KNOWN)
        self.outbox = Outbox()
        self.children = Children(sources, self.outbox, lambda: 1.0)
        self.composition = Composition(plan)
        self.merging = Merging(self.children, self.composition, self.outbox)
        for source in "st":
            self.composition.apply(source, diff({name: fragment(source) for name in "ab"}, first=True), NOW)

    def asked(self, now: float = NOW) -> list[messages.Merge]:
        self.merging.advance(now)
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
    (task,) = desk.asked(NOW + 120.0)
    assert task.interface == "b"


def unjudged(*interfaces: str, data: str = "1!") -> messages.Diff:
    """Return what a source says that only the checker can judge."""
    return diff({interface: fragment(data) for interface in interfaces}, first=True)


@pytest.fixture
def queue() -> Desk:
    """Give two sources of which the first has much that only the checker can judge."""
    desk = Desk()
    desk.composition = Composition(Plan(sources=desk.plan.sources, rules=(), interfaces=KNOWN))
    desk.merging = Merging(desk.children, desk.composition, desk.outbox)
    desk.composition.apply("s", unjudged("a", "b", "c", "d"), NOW)
    return desk


def test_what_one_source_cannot_judge(queue: Desk) -> None:
    """The checker's verdict on it is the interface's, and so is its data, with defaults."""
    (task,) = queue.asked()
    assert (task.interface, task.bodies) == ("a", (b'{"d":"1!"}',))
    queue.merging.finish(merged(task.task), NOW)
    assert queue.composition.adoption.newest("a").body == b"{}"
    (task,) = queue.asked()
    queue.merging.finish(merged(task.task, "/x is wrong"), NOW)
    assert queue.composition.adoption.newest("b").problems == ("/x is wrong",)


def test_what_several_say_alike_is_judged_once(queue: Desk) -> None:
    """Of equal bodies the checker gets one."""
    queue.composition.apply("t", unjudged("a", "b", "c", "d"), NOW)
    (task,) = queue.asked()
    assert task.bodies == (b'{"d":"1!"}',)


def test_sources_take_turns(queue: Desk) -> None:
    """A source with much to judge keeps no other waiting, and an interface that changes keeps its place."""
    order = []
    for number in range(7):
        (task,) = queue.asked()
        order.append(task.interface)
        if not number:
            queue.composition.apply("t", unjudged("x", "y"), NOW)
            queue.composition.apply("s", unjudged("a", "b", "c", "d", data="2!")._replace(first=False), NOW)
        queue.merging.finish(merged(task.task), NOW)
    assert order == ["a", "b", "x", "c", "y", "d", "a"]


@pytest.mark.parametrize("end", ["overrun", "hung", "deadly"])
def test_a_costly_verdict(queue: Desk, end: str) -> None:
    """After a verdict that took too long its source waits as long as it took, and nobody else waits."""
    (task,) = queue.asked()
    later = NOW + 5.0
    match end:
        case "overrun":
            queue.merging.finish(merged(task.task, "too slow")._replace(has_overrun=True), later)
        case "hung":
            queue.merging.give_up(later)
        case "deadly":
            queue.merging.lose(NOW)
            queue.asked()
            queue.merging.lose(later)
    assert queue.asked(later) == []
    assert queue.merging.deadline == later + 5.0
    queue.composition.apply("t", unjudged("x"), later)
    (task,) = queue.asked(later)
    assert task.interface == "x"
    assert queue.merging.deadline is None, "there is nothing to give to a busy checker"
    queue.merging.finish(merged(task.task), later)
    assert queue.asked(later + 4.9) == []
    (task,) = queue.asked(later + 5.0)
    assert task.interface == "b"


def test_what_is_adopted_together_waits_together() -> None:
    """An interface that a rule names beside one of a waiting source is not judged before that."""
    desk = Desk()
    sources = desk.plan.sources
    desk.composition = Composition(Plan(sources=sources, rules=(rule("r", "a", "x"),), interfaces=KNOWN))
    desk.merging = Merging(desk.children, desk.composition, desk.outbox)
    desk.composition.apply("s", unjudged("c"), NOW)
    (task,) = desk.asked()
    desk.composition.apply("s", unjudged("a", "c")._replace(first=False), NOW)
    desk.composition.apply("t", unjudged("x", "z"), NOW)
    desk.merging.finish(merged(task.task, "too slow")._replace(has_overrun=True), NOW + 5.0)
    (task,) = desk.asked(NOW + 5.0)
    assert task.interface == "z"
    desk.merging.finish(merged(task.task), NOW + 5.0)
    assert desk.asked(NOW + 5.0) == []
    assert [desk.asked(NOW + 10.0)[0].interface for _ in range(1)] in (["a"], ["x"])
