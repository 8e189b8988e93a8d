"""The checker's work: what several sources say of an interface is merged and validated by it, one task at a time.

Invariant: a task that is outstanding is the one that `Composition.next_merge` returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.core.actions import Send
from disco.core.children import CHECKER, State
from disco.named import NamedTuple
from disco.wire import messages

if TYPE_CHECKING:
    from disco.core.actions import Outbox
    from disco.core.adoption import Combination
    from disco.core.children import Children
    from disco.core.composition import Composition

LEASE, BYTES_A_SECOND = 40.0, 1 << 18  # the checker's own limit is CPU time; this one is for one that hangs all the same
TOO_SLOW = "validating it took too long"
DEADLY = "validating it ended the process that does it, more than once"
DEATHS = 2  # of a checker with the same task, after which its data is taken for invalid: others wait for it


class _Task(NamedTuple):
    number: int
    interface: str
    combination: Combination
    began: float


class Merging:
    """Gives the checker its tasks; it is started when it is needed first."""

    def __init__(self, children: Children, composition: Composition, outbox: Outbox) -> None:
        """Have no task."""
        self._children = children
        self._composition = composition
        self._outbox = outbox
        self._task: _Task | None = None
        self._tasks = 0
        self._deaths = 0  # in a row, of a checker that had a task

    def advance(self, now: float) -> None:
        """Give the checker its next task, if there is one and it is free."""
        checker = self._children.checker
        if self._task or not self._is_free or not (merge := self._composition.next_merge(now)):
            return
        interface, combination, bodies = merge
        if not checker.is_alive:
            self._children.start(checker, now)
        self._tasks += 1
        self._task = _Task(self._tasks, interface, combination, now)
        self._children.extend(checker, LEASE + sum(map(len, bodies)) / BYTES_A_SECOND, now)
        self._outbox.emit(Send(CHECKER, messages.Merge(task=self._tasks, interface=interface, bodies=bodies)))

    def finish(self, merged: messages.Merged, now: float) -> None:
        """Take the checker's verdict."""
        if self._task and self._task.number == merged.task:
            checker = self._children.checker
            self._children.extend(checker, 0, now)
            checker.deaths = 0
            self._judge(merged, now, is_costly=merged.has_overrun)

    def give_up(self, now: float) -> None:
        """Take the outstanding task's data for invalid, since the checker hangs with it; it is being killed."""
        if self._task:
            self._judge(messages.Merged(task=self._task.number, digest="", problems=(TOO_SLOW,), body=b""), now, is_costly=True)

    def lose(self, now: float) -> None:
        """Take that the checker is dead: the next one gets its task, unless that has happened before."""
        self._deaths += self._task is not None
        if self._task and self._deaths >= DEATHS:
            self._judge(messages.Merged(task=self._task.number, digest="", problems=(DEADLY,), body=b""), now, is_costly=True)
        self._task = None

    def take_back(self) -> None:
        """Forget the outstanding task: the checker could not be started, and the next one gets it."""
        self._task = None

    @property
    def deadline(self) -> float | None:
        """When the free checker may be given what has to wait."""
        return None if self._task or not self._is_free else self._composition.turns.deadline

    @property
    def _is_free(self) -> bool:
        return self._children.checker.state not in {State.BACKOFF, State.STOPPING}

    def _judge(self, merged: messages.Merged, now: float, *, is_costly: bool) -> None:
        """Take a verdict; is_costly: who contributes waits as long as it took, so that others are not kept waiting."""
        assert self._task  # noqa: S101 -- as the callers know
        _, interface, combination, began = self._task
        self._task, self._deaths = None, 0
        if is_costly:
            self._composition.turns.put_off(tuple(source for source, _ in combination), now + (now - began))
        self._composition.judge(interface, combination, merged, now)
