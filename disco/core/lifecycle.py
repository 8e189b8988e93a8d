"""The lifecycle: events in, actions out. It says what each message, exit and signal means: the machine that it concerns acts on it.

What has happened comes before what is due: before data is adopted, before the goal counts as reached, and before a time is up, it
asks for everything that lies in the channels (`ReadAll`), and goes on when that is known (`AllRead`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.core import events, facts, reasons
from disco.core.actions import Outbox, ReadAll, Report
from disco.core.children import Children, RunnerState, SourceState
from disco.core.composition import Composition
from disco.core.ending import Ending, Phase
from disco.core.events import Kind
from disco.core.facts import Cause, Exit
from disco.core.goals import Machines
from disco.core.health import RETRY_LIMIT, Health
from disco.core.merging import Merging
from disco.core.reasons import Outcome
from disco.core.reporting import Reporting
from disco.core.schedule import Schedule
from disco.errors import ExitStatus
from disco.system.signals import HUP, STOP, USR1
from disco.text import NAME_LIMIT, REASON_LIMIT, escape
from disco.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from disco.core.actions import Action
    from disco.core.children import ChildState
    from disco.core.events import ChildId
    from disco.core.goals import Goal
    from disco.core.plan import Plan
    from disco.core.status import Status


class Lifecycle:
    """From the first event to the last. It owns the machines, and nobody else acts on them."""

    def __init__(self, plan: Plan, goal: Goal, now: float, jitter: Callable[[], float]) -> None:
        """Do nothing yet. now: monotonic seconds. jitter: gives numbers from 0 to 1."""
        self.now = now
        self._goal = goal
        self._began = now
        self._outbox = outbox = Outbox()
        self._children = children = Children(plan.sources, outbox, jitter)
        named = {interface for source in plan.sources for interface in source.interfaces or ()}
        self._composition = composition = Composition(plan, withheld=named)
        self._health = health = Health(plan, children, composition, outbox)
        self._merging = Merging(children, composition, outbox)
        self._ending = ending = Ending(plan.grace, children, outbox, self.status if goal.runs_handlers else None)
        self._schedule = schedule = Schedule(plan, children, composition, health, ending, outbox)
        self.core = Machines(plan, children, composition, health, ending, schedule, outbox)
        self._timeout_at = now + plan.timeout if plan.timeout else None
        self._reporting = Reporting()

    # What may be asked

    @property
    def phase(self) -> Phase:
        """How far disco has come."""
        return self._ending.phase

    @property
    def outcome(self) -> Outcome | None:
        """How disco ends, as far as that is known; final when the phase is OVER."""
        return self._ending.outcome

    @property
    def deadline(self) -> float | None:
        """When (monotonic seconds) a BatchEnded is due without any other event; None: never."""
        if not self._ending.is_gathering:
            return self.now if self._ending.is_over else self._ending.until
        times = (self._next_timer(), self._composition.adoption.deadline)
        return min((time for time in times if time is not None), default=None)

    def status(self) -> Status:
        """Return a snapshot of everything that people may ask about."""
        from disco.core import snapshot  # noqa: PLC0415 -- most starts of disco report nothing

        return snapshot.take(self.core, self.now, self._began, self._timeout_at, self._reporting.at)

    # What happens

    def start(self, started: Collection[ChildId] = ()) -> list[Action]:
        """Return what to do first; started: the children that were forked already."""
        children = self._children
        if self._goal.runs_handlers:
            children.add_runner()
        for child in (*children.sources.values(), *children.runners.values()):
            (children.begin if child.id in started else children.start)(child, self.now)
        self._health.begin(self.now)
        if self._goal.runs_handlers:
            self._reporting.begin(self.now)
            self._advance()  # a rule without data is due, and there may be no event for a long time
        elif not children.sources:
            self._ending.begin(self._goal.finish(self.core, self.now), self.now)
        return self._outbox.empty()

    def handle(self, event: events.Event, now: float) -> list[Action]:
        """Take an event at a time (monotonic seconds); return what to do, in this order."""
        self.now = now
        match event:
            case events.MessageReceived(child, message):
                self._receive(self._children.find(child), message)
            case events.ProtocolViolated(child, reason):
                self._replace(self._children.find(child), Exit(Cause.VIOLATION, reason))
            case events.MemoryExceeded(child, limit):
                source = self._children.find(child)
                if self._ending.is_gathering and source.is_usable:
                    self._replace(source, Exit(Cause.MEMORY, limit))
            case events.ChildExited(child, number):
                self._exited(self._children.find(child), number)
            case events.ForkFailed(child, reason):
                self._fork_failed(self._children.find(child), reason)
            case events.LeftoversFound(pids):
                self._found_leftovers(pids)
            case events.SignalReceived(number):
                self._signalled(number)
            case events.AllRead():
                self._all_read()
            case events.BatchEnded():
                self._batch_ended()
        return self._outbox.empty()

    def _receive(self, child: ChildState, message: messages.Message) -> None:
        now = self.now
        if not self._ending.is_gathering:
            if isinstance(child, RunnerState) and isinstance(message, messages.RunFinished):
                self._schedule.release(child, now, has_leftovers=message.children)
            return
        match child, message:
            case SourceState(), messages.Diff() if excess := self._health.find_excess(child, message):
                self._replace(child, Exit(Cause.VIOLATION, excess))
            case SourceState(), messages.Diff():
                self._health.changed(child, message, now)
            case SourceState(), messages.Heartbeat(answered=True):
                self._health.answered(child, now)
            case SourceState(), messages.Heartbeat():
                self._children.extend(child, child.plan.lease, now)
            case SourceState(), messages.ReadFailed(reason, retry_in):
                retry_in = min(retry_in, RETRY_LIMIT)
                self._health.failed(child, escape(reason, REASON_LIMIT), retry_in, now)
                self._children.extend(child, child.plan.lease + retry_in, now)
            case RunnerState(), messages.Started(task) if child.run and task == child.run.task:
                self._schedule.started(child, now)
            case RunnerState(), messages.RunFinished(task) if child.run and task == child.run.task:
                self._run_finished(child, message)
            case _, messages.Merged() if child.id.kind is Kind.CHECKER:
                self._merging.finish(message, now)
            case _:
                self._replace(child, Exit(Cause.VIOLATION, f"an unexpected {type(message).__name__}"))

    def _run_finished(self, runner: RunnerState, result: messages.RunFinished) -> None:
        if result.unusable:  # a runner is the first that looks into data: what is no JSON object costs its sources
            reason = f"data of interface {escape(result.unusable, NAME_LIMIT)} that is no JSON object"
            for source in self._children.sources.values():
                if result.unusable in self._composition.contribution(source.name).fragments:
                    self._replace(source, Exit(Cause.VIOLATION, reason))
        self._schedule.finished(runner, result, self.now)

    def _replace(self, child: ChildState, why: Exit) -> None:
        """Kill a child for what it did; it is started again when it has ended."""
        match why.cause:
            case Cause.VIOLATION:
                self._outbox.log(facts.ChildViolated(child.id, str(why.detail)))
            case Cause.MEMORY:
                self._outbox.log(facts.ChildGrew(child.id, int(why.detail)))
        self._children.kill(child, why)

    def _exited(self, child: ChildState, number: int) -> None:
        is_renewed = child.is_renewed
        self._children.bury(child, number)
        if isinstance(child, RunnerState):
            self._schedule.lose(child, self.now)
        if not self._ending.is_gathering:
            self._ending.advance()
            return
        if is_renewed:
            self._children.start(child, self.now)
            return
        wait = self._children.back_off(child, self.now)
        if isinstance(child, SourceState):
            self._health.failed(child, child.exit, wait, self.now)
        else:
            self._outbox.log(facts.ChildReplaced(child.id, child.exit))
        if child.id.kind is Kind.CHECKER:
            self._merging.lose(self.now)

    def _fork_failed(self, child: ChildState, reason: str) -> None:
        is_refused_too_often = self._children.refuse(child)
        if not self._ending.is_gathering:
            self._ending.advance()
            return
        if isinstance(child, RunnerState):
            self._schedule.take_back(child, self.now)
        elif child.id.kind is Kind.CHECKER:
            self._merging.take_back()
        if is_refused_too_often:
            refused = reasons.ForksRefused(child.id, child.refused_forks, reason)
            self._ending.begin(Outcome(ExitStatus.SYSTEM, refused), self.now)
            return
        wait = self._children.back_off(child, self.now)
        self._outbox.log(facts.ChildNotStarted(child.id, reason, wait))
        if isinstance(child, SourceState):
            self._health.fork_failed(child, reason, wait, self.now)

    def _found_leftovers(self, pids: tuple[int, ...]) -> None:
        self._ending.leftovers = pids
        if not pids:
            self._schedule.leftovers_gone()
            if self.phase is Phase.SWEEPING:
                self._ending.advance()

    def _signalled(self, number: int) -> None:
        if number in STOP:
            again = self.outcome is not None and (self.outcome.status or 0) > ExitStatus.SIGNALLED
            self._outbox.log(facts.Stopping(number, again))
            self._ending.begin(Outcome(ExitStatus.SIGNALLED + number, reasons.Signalled(number)), self.now)
            if again:
                self._ending.force(self.now)
        elif number == HUP and self._ending.is_gathering:
            self._outbox.log(facts.ReadingAnew())
            self._schedule.freeze.thaw()
            for source in self._children.sources.values():
                self._health.renew(source, self.now)
                self._children.renew(source, self.now)
        elif number == USR1:
            self._outbox.emit(Report(self.status()))

    # What is due

    def _batch_ended(self) -> None:
        if not self._ending.is_gathering:
            self._ending.expire(self.now)
            return
        self._look()
        timer = self._next_timer()
        is_time_up = timer is not None and timer <= self.now
        if self._composition.adoption.is_due or is_time_up or self._goal.is_reached(self.core, self.now):
            self._outbox.emit(ReadAll())
        else:
            self._advance()

    def _all_read(self) -> None:
        """Do what is due, now that all that has happened is known: first what follows from that, then what the time is up for."""
        if self._ending.is_gathering:
            self._health.accept_held(self.now)
            self._look()
            adopted = self._composition.adoption.adopt(self.now)
            self._schedule.judge(adopted)
            self._advance()
            self._schedule.count_cut(adopted, self.now)
            if self._ending.is_gathering and self._goal.is_reached(self.core, self.now):
                self._ending.begin(self._goal.finish(self.core, self.now), self.now)
        self._expire()
        if self._ending.is_gathering:
            self._advance()

    def _look(self) -> None:
        """Find out what data is due, and which rules it keeps from being satisfied."""
        self._schedule.judge(self._composition.adoption.look(self.now))

    def _advance(self) -> None:
        """Give the checker and idle runners what is due for them."""
        self._merging.advance(self.now)
        if self._goal.runs_handlers:
            self._schedule.advance(self.now)

    def _next_timer(self) -> float | None:
        """Return when something but new data is due."""
        times = (
            self._timeout_at,
            self._reporting.at,
            self._children.deadline,
            self._health.deadline,
            self._schedule.deadline,
            self._composition.hold_deadline,
            self._merging.deadline,
        )
        return min((time for time in times if time is not None), default=None)

    def _expire(self) -> None:
        """Act on every time that is up. disco.timeout comes first, since it ends the rest; the report comes last."""
        now = self.now
        if self._ending.is_gathering and self._timeout_at is not None and self._timeout_at <= now:
            self._ending.begin(self._goal.time_out(self.core), now)
        if not self._ending.is_gathering:
            self._ending.expire(now)
            return
        for child in self._children.expire(now):
            if child.id.kind is Kind.CHECKER:
                self._merging.give_up(now)
        self._health.expire(now)
        self._schedule.expire(now)
        if self._ending.is_gathering and self._reporting.expire(now):
            self._outbox.emit(Report(self.status()))
