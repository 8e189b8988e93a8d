"""What an event costs on a large site."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from disco.core import actions, events
from disco.core.ending import Phase
from disco.core.goals import Exec
from disco.core.lifecycle import Lifecycle
from disco.wire import messages
from tests.core.world import diff, fragment, plan, rule, who

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType


class Meter:
    """A lifecycle alone, fed as the coordinator does; counts the calls of Python functions that an event costs."""

    def __init__(self, size: int) -> None:
        """size: of how many interfaces, with a rule for each."""
        self.names = [f"i{number}" for number in range(size)]
        made = plan(*(rule(f"r{name}", name) for name in [*self.names, "few0"]), sources=("s", "t"), settle=0.1)
        few = [f"few{number}" for number in range(20)]
        self.life = Lifecycle(made._replace(interfaces=frozenset([*self.names, *few])), Exec(), 0.0, lambda: 0.5)
        self.now = 0.0
        self.calls = 0
        self.sent: list[actions.Send] = []
        self.do(self.life.start())

    def do(self, wanted: Iterable[actions.Action]) -> bool:
        reads = False
        for action in wanted:
            reads = reads or isinstance(action, actions.ReadAll)
            if isinstance(action, actions.Send):
                self.sent.append(action)
        return reads

    def feed(self, child: str, message: messages.Message) -> None:
        batch: list[events.Event] = [events.MessageReceived(who(child), message), events.BatchEnded()]
        sys.setprofile(self.count)
        try:
            while batch:
                if self.do(self.life.handle(batch.pop(0), self.now)):
                    batch = [events.AllRead(), events.BatchEnded()]
        finally:
            sys.setprofile(None)

    def count(self, frame: FrameType, event: str, _: object) -> None:
        self.calls += event == "call" and "disco" in frame.f_code.co_filename

    def answer(self) -> None:
        """Let the checker, or else a runner, answer."""
        asked = self.sent.pop(0)
        if isinstance(asked.message, messages.Merge):
            self.feed("checker", messages.Merged(task=asked.message.task, digest="d", problems=(), body=b"{}"))
        elif isinstance(asked.message, messages.Run):
            ran = messages.RunFinished(task=asked.message.task, status=0, problem="", tail=(), seconds=0.1, children=False)
            self.feed(asked.child.name, ran)


def measure(what: str, size: int) -> int:
    """Return the calls that 20 events cost where there are so many interfaces."""
    meter = Meter(size)
    few = [f"few{number}" for number in range(20)]
    meter.feed("s", diff({name: fragment("1") for name in meter.names}, first=True))
    if what == "change":
        meter.feed("t", diff({name: fragment("1") for name in few}, first=True))
        meter.feed("s", diff({name: fragment("2") for name in meter.names}))
    elif what == "verdict":
        meter.feed("t", diff({name: fragment("2") for name in meter.names}, first=True))
        meter.sent = [one for one in meter.sent if isinstance(one.message, messages.Merge)]
    elif what == "run again":
        meter.feed("t", diff(first=True))
        last = meter.sent.pop(0)  # which keeps exec waiting
        while meter.sent:
            meter.answer()
        meter.feed("s", diff({name: fragment("3") for name in meter.names}))
        meter.now += 1.0
        meter.sent.append(last)
        meter.answer()
    meter.calls = 0
    for number in range(20):
        if what == "change":
            meter.feed("t", diff({few[number]: fragment("4")}))
        else:
            meter.answer()
    assert meter.life.phase is Phase.GATHERING
    return meter.calls


@pytest.mark.parametrize("what", ["verdict", "run again", "change"])
def test_an_event_costs_the_same_on_a_large_site(what: str) -> None:
    """What an event costs does not grow with the number of interfaces and rules that it has nothing to do with."""
    assert measure(what, 800) <= 1.2 * measure(what, 100)
