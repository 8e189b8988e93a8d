"""The end: children are stopped, what is left of them is waited for, and at last killed.

Phases go one way: GATHERING → STOPPING → SWEEPING → OVER. Invariant: OVER without a survivor to name means that no child is
alive, and no orphan is left.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from disco.core import facts
from disco.core.actions import Report
from disco.core.children import RunnerState
from disco.core.facts import Cause, Exit
from disco.core.reasons import Outcome
from disco.errors import ExitStatus
from disco.system.signals import KILL, TERM

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.core.actions import Outbox
    from disco.core.children import Children
    from disco.core.status import Status

KILL_WAIT = 10.0  # seconds for what got SIGKILL to be gone


class Phase(Enum):
    """Where in its life disco is."""

    GATHERING = auto()  # sources are read, handlers run
    STOPPING = auto()  # children end
    SWEEPING = auto()  # none is left; what handlers left behind ends
    OVER = auto()


class Ending:
    """How disco ends, and how far it has come with that."""

    def __init__(self, grace: float, children: Children, outbox: Outbox, snapshot: Callable[[], Status] | None) -> None:
        """Begin with gathering; snapshot: gives what is reported when that ends without exec; None: nothing is."""
        self.phase = Phase.GATHERING
        self.outcome: Outcome | None = None  # final when the phase is OVER
        self.leftovers: tuple[int, ...] = ()  # orphans that got SIGKILL and are still there
        self.until: float | None = None  # when patience ends: with SIGTERM, then with SIGKILL
        self._grace = grace
        self._children = children
        self._outbox = outbox
        self._snapshot = snapshot
        self._has_killed = False

    @property
    def is_gathering(self) -> bool:
        """Whether nothing has ended disco yet."""
        return self.phase is Phase.GATHERING

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.phase is Phase.OVER

    def begin(self, outcome: Outcome, now: float) -> None:
        """Begin to stop; once that has begun, only end in another way."""
        self.outcome = outcome
        if not self.is_gathering:
            return
        if outcome.status is not None and self._snapshot:
            self._outbox.emit(Report(self._snapshot()))
        self.phase = Phase.STOPPING
        self.until = now + self._grace
        for child in self._children:
            is_busy = isinstance(child, RunnerState) and child.is_busy
            self._children.kill(child, Exit(Cause.STOPPED), TERM if is_busy else KILL)
        self.advance()

    def force(self, now: float) -> None:
        """Kill what is left."""
        if self._has_killed or self.is_over:
            return
        self._has_killed = True
        self.until = now + KILL_WAIT
        for child in self._children:
            self._children.kill(child, Exit(Cause.STOPPED))

    def advance(self) -> None:
        """Go on when all children have ended: it is over when no orphan of theirs is left."""
        if not self.is_over and not any(child.is_alive for child in self._children):
            self.phase = Phase.SWEEPING if self.leftovers else Phase.OVER
            if self.is_over:
                self.until = None

    def expire(self, now: float) -> None:
        """Act if patience has ended."""
        if self.until is None or self.until > now:
            return
        if not self._has_killed:
            if self.leftovers or any(runner.is_alive and runner.is_busy for runner in self._children.runners.values()):
                self._outbox.log(facts.GracePassed())
            self.force(now)
            return
        survived = self.survivors()
        self.phase, self.until = Phase.OVER, None
        self.outcome = Outcome(ExitStatus.SYSTEM, survived)
        self._outbox.log(survived)

    def survivors(self) -> facts.Survived:
        """Return what is still there: children by their names, what handlers left behind by its pids."""
        return facts.Survived("", tuple(child.name for child in self._children if child.is_alive), self.leftovers)
