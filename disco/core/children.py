"""The life of each child: started, heard of in time, stopped, and started again after a pause.

Invariant: a child whose process is alive is in one of the states of `ALIVE`, and a state that ends by itself has its `until`.
"""

from __future__ import annotations

from enum import Enum, auto
from operator import attrgetter
from typing import TYPE_CHECKING

from disco.core.actions import Kill, Start
from disco.core.deadlines import Deadlines
from disco.core.events import ChildId, Kind, runner
from disco.core.facts import Cause, Exit
from disco.system.backoff import backoff
from disco.system.signals import KILL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from disco.core import facts
    from disco.core.actions import Outbox
    from disco.core.plan import SourcePlan
    from disco.core.progress import Assignment

CHECKER = ChildId(Kind.CHECKER, "checker")
LAST_CHANCE = 2.0  # seconds that an overdue child gets, watched by a coordinator that is awake
FORKS_AT_MOST = 6  # of one child that may fail in a row, over about ten seconds


class State(Enum):
    """Where in its life a child is; `until` is when that ends, if time can end it."""

    IDLE = auto()  # nobody needs it yet
    STARTING = auto()  # it is forked; until: it must have sent something
    RUNNING = auto()  # until: it must have sent something again
    OVERDUE = auto()  # it has not; until: it is killed
    STOPPING = auto()  # it was signalled, and has not ended yet; `exit` says why
    BACKOFF = auto()  # it has ended, or could not be forked; until: it is started again


ALIVE = frozenset({State.STARTING, State.RUNNING, State.OVERDUE, State.STOPPING})


class ChildState:
    """A child: its state, when that ends, and what it went through."""

    def __init__(self, child: ChildId) -> None:
        """Make a child that nobody needs yet."""
        self.id = child
        self.state = State.IDLE
        self.until: float | None = None
        self.exit = Exit(Cause.STOPPED)  # while STOPPING: why; after that: how it ended
        self.deaths = 0  # in a row, without a good answer in between
        self.refused_forks = 0  # in a row

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.id.name

    @property
    def is_alive(self) -> bool:
        """Whether it has a process."""
        return self.state in ALIVE

    @property
    def is_usable(self) -> bool:
        """Whether it has a process that nobody has told to end."""
        return self.state in ALIVE and self.state is not State.STOPPING

    @property
    def is_renewed(self) -> bool:
        """Whether its process is ending because of SIGHUP."""
        return self.state is State.STOPPING and self.exit.cause is Cause.RENEWED


class SourceState(ChildState):
    """A source's process, and the health of what it reads."""

    def __init__(self, plan: SourcePlan) -> None:
        """Make a source that has not answered yet."""
        super().__init__(ChildId(Kind.SOURCE, plan.name))
        self.plan = plan
        self.has_answered = False  # since disco's start
        self.answered_at = 0.0  # the last good answer
        self.note = ""  # what people should know of it although it answers
        self.trouble: facts.Trouble = ""  # why it cannot be read
        self.failed_at = 0.0  # when the trouble began
        self.retry_at = 0.0
        self.logged_trouble: facts.Trouble = ""  # until it is well again: logged once, however often it comes and goes
        self.logged_at = 0.0
        self.well_at: float | None = None  # it answered once since; when it is well without a second good answer
        self.renewed_until: float | None = None  # exec waits for its process that SIGHUP asked for, so long at most
        self.optional_until: float | None = None  # exec and its interfaces wait for its first answer, so long at most

    @property
    def waits_until(self) -> float | None:
        """When the first of its waits ends."""
        times = (self.well_at, self.renewed_until, self.optional_until)
        return min((time for time in times if time is not None), default=None)


class RunnerState(ChildState):
    """A runner's process, and the run that it is busy with."""

    def __init__(self, number: int) -> None:
        """Make an idle runner."""
        super().__init__(runner(number))
        self.run: Assignment | None = None
        self.has_leftovers = False  # its handlers left something behind

    @property
    def is_busy(self) -> bool:
        """Whether something is below it."""
        return self.run is not None or self.has_leftovers


class Children:
    """All children of disco, by kind and name."""

    def __init__(self, sources: tuple[SourcePlan, ...], outbox: Outbox, jitter: Callable[[], float]) -> None:
        """Start none yet; jitter gives numbers from 0 to 1."""
        self.sources = {plan.name: SourceState(plan) for plan in sources}
        self.runners: dict[str, RunnerState] = {}
        self.checker = ChildState(CHECKER)
        self._outbox = outbox
        self._jitter = jitter
        self._deadlines: Deadlines[ChildState] = Deadlines(attrgetter("until"))

    def __iter__(self) -> Iterator[ChildState]:
        """Iterate over all, whatever their states."""
        yield from self.sources.values()
        yield from self.runners.values()
        yield self.checker

    def find(self, child: ChildId) -> ChildState:
        """Return the child that an event is about."""
        match child.kind:
            case Kind.SOURCE:
                return self.sources[child.name]
            case Kind.RUNNER:
                return self.runners[child.name]
            case Kind.CHECKER:
                return self.checker

    def add_runner(self) -> RunnerState:
        """Return one more runner, idle."""
        runner = RunnerState(len(self.runners) + 1)
        self.runners[runner.name] = runner
        return runner

    def start(self, child: ChildState, now: float) -> None:
        """Fork a child."""
        self.begin(child, now)
        self._outbox.emit(Start(child.id))

    def begin(self, child: ChildState, now: float) -> None:
        """Take that a child is forked, or about to be."""
        lease = child.id.kind.value.start_lease
        self._enter(child, State.STARTING if lease else State.RUNNING, now + lease if lease else None)

    def extend(self, child: ChildState, seconds: float, now: float) -> None:
        """Expect to hear of a child within so many seconds; 0: no need to."""
        if child.is_usable:
            self._enter(child, State.RUNNING, now + seconds if seconds else None)

    def kill(self, child: ChildState, why: Exit, number: int = KILL) -> None:
        """Let a child end, if it has a process."""
        if child.is_alive:
            child.exit = why
            self._enter(child, State.STOPPING)
            self._outbox.emit(Kill(child.id, number))

    def bury(self, child: ChildState, status: int) -> None:
        """Take the end of a child's process."""
        if child.state is not State.STOPPING:
            child.exit = Exit(Cause.EXITED, status)
        child.refused_forks = 0
        self._enter(child, State.IDLE)

    def refuse(self, child: ChildState) -> bool:
        """Take that a child could not be forked; return whether that has happened too often in a row."""
        child.refused_forks += 1
        self._enter(child, State.IDLE)
        return child.refused_forks > FORKS_AT_MOST

    def back_off(self, child: ChildState, now: float) -> float:
        """Start a child that has no process again, after the pause (seconds) that is returned."""
        wait = backoff(child.deaths, self._jitter())
        child.deaths += 1
        self._enter(child, State.BACKOFF, now + wait)
        return wait

    def renew(self, child: ChildState, now: float) -> None:
        """Start a child anew: at once if it has no process, else when that has ended."""
        if child.is_alive:
            self.kill(child, Exit(Cause.RENEWED))
        else:
            self._enter(child, State.BACKOFF, now)

    @property
    def deadline(self) -> float | None:
        """When the first state of a child ends."""
        return self._deadlines.first

    def expire(self, now: float) -> list[ChildState]:
        """Act on the states whose time is up; return the children that are being killed, as nothing was heard of them.

        A child that is overdue gets some more time, and again where this comes late: disco itself may have slept (SIGSTOP, load).
        """
        hung = []
        for child in self._deadlines.due(now):
            late = now - (child.until or now)
            if child.state is State.BACKOFF:
                self.start(child, now)
            elif child.state is not State.OVERDUE or late > LAST_CHANCE / 2:
                self._enter(child, State.OVERDUE, now + LAST_CHANCE)
            else:
                self.kill(child, Exit(Cause.HUNG))
                hung.append(child)
        return hung

    def _enter(self, child: ChildState, state: State, until: float | None = None) -> None:
        child.state, child.until = state, until
        self._deadlines.note(child)
