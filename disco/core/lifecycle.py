"""What happens next. Pure: events in, actions out; no clock, no process, no randomness but what it is given.

Phases go one way: GATHERING (sources are read, handlers run) → STOPPING (what disco started is told to end) → SWEEPING (what
handlers left behind) → OVER. Whether a rule is satisfied is computed, never stored: `succeeded_on` is the data of its last
success, and counts while it is the data of now.
"""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from disco.core.composition import Composition
from disco.core.events import (
    Action,
    AllRead,
    BatchEnded,
    ChildExited,
    ChildId,
    Event,
    ForkFailed,
    Kill,
    Kind,
    LeftoversFound,
    Log,
    MemoryExceeded,
    MessageReceived,
    ProtocolViolated,
    ReadAll,
    Report,
    Send,
    SignalReceived,
    Start,
)
from disco.errors import ExitStatus
from disco.system.signals import HUP, KILL, STOP, TERM, USR1, name_of
from disco.text import duration, escape, plural
from disco.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from disco.core.adoption import Combination
    from disco.site.rules import Basis, Rule

CHECKER = ChildId(Kind.CHECKER, "checker")
START_LEASE = 30.0  # seconds from the fork until a child's first word, on a loaded machine
STARTED_LEASE = 30.0  # from Run to Started
CHECK_MARGIN = 10.0
DOUBT = 2.0  # seconds that an overdue child gets, watched by a coordinator that is awake
RESTART_FIRST, RESTART_LAST = 0.25, 30.0
FREE_RERUNS = 3  # of a rule in a row, of nothing but changed data, before all data is frozen; and so often older data is adopted
SOURCE_BODIES = 32 << 20  # bytes of JSON that are kept of one source: more than its own process lets pass
START_ATTEMPTS = 6  # forks of one child that may fail in a row, over about ten seconds
STOPPED, RENEWED = "it was stopped", "it was renewed"
REPORT_AFTER = (5.0, 10.0, 20.0, 40.0, 60.0)  # seconds between reports of what is missing; the last one goes on
NAMES = 10  # that are told of many
KILL_WAIT = 10.0  # seconds for what got SIGKILL to be gone


class Phase(Enum):
    """Where in its life disco is."""

    GATHERING = auto()
    STOPPING = auto()
    SWEEPING = auto()
    OVER = auto()


class SourcePlan(NamedTuple):
    """A source's process: its name, the seconds in which it must be heard of, and whether exec waits for its first answer.

    timeout: how long exec waits for one that is not required. settle: how long its sudden total emptiness is not believed.
    place: where it reads, for people. interfaces: those that its `interfaces` names; None: that is not set.
    """

    name: str
    lease: float
    required: bool
    timeout: float
    settle: float = 0.0
    place: str = ""
    interfaces: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Plan:
    """All that the lifecycle goes by; durations in seconds, 0 for no limit.

    interfaces: those that have a schema. command: its name, for people. environment: what each handler gets besides,
    NAME=VALUE each. dry: run no handler, and end when every source has answered.
    """

    sources: tuple[SourcePlan, ...]
    rules: tuple[Rule, ...]
    interfaces: frozenset[str] = frozenset()
    command: str = "COMMAND"
    interval: float = 1.0
    fail_limit: int = 5
    timeout: float = 0.0
    handler_timeout: float = 60.0
    workers: int = 4
    grace: float = 5.0
    settle: float = 0.0
    run: str = "disco"
    environment: tuple[bytes, ...] = ()
    dry: bool = False


# State


@dataclass(eq=False, repr=False)
class ChildState:
    """A process of disco's own: running, or waiting to be started again."""

    id: ChildId
    running: bool = False
    told: str = ""  # why disco told it to end; "" if it did not
    deaths: int = 0  # in a row, without a good answer in between
    refused: int = 0  # forks in a row
    ended: str = ""  # how the last one ended

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.id.name


@dataclass(eq=False, repr=False)
class SourceState(ChildState):
    """A source's process, and the health of what it reads."""

    lease: float = 0.0
    required: bool = True
    timeout: float = 0.0
    place: str = ""
    answered: bool = False  # since disco's start
    anew_until: float = 0.0  # exec waits for what its process that SIGHUP asked for says first, so long at most
    heard_at: float = 0.0  # the last good answer
    trouble: str = ""  # why it cannot be read
    trouble_since: float = 0.0
    told_trouble: str = ""  # the last one, until it is well again: told once, however often it comes and goes
    told_since: float = 0.0
    good_step: bool = False  # it answered once since
    retry_at: float = 0.0
    note: str = ""  # what people should know of it although it answers
    interfaces: frozenset[str] | None = None  # those that its `interfaces` names

    @property
    def ignored(self) -> str:
        """Which names of those that it holds are ignored, for people."""
        option = f"{self.name.partition('/')[0]}.interfaces"
        return "that no schema knows" + ("" if self.interfaces is None else f" or {option} does not name")

    def may_provide(self, interface: str) -> bool:
        """Return whether an interface is one that its `interfaces` names, and its part reads."""
        part = self.name.partition("/")[2]
        return part in {"", interface} and (self.interfaces is None or interface in self.interfaces)


@dataclass(eq=False, repr=False)
class RunnerState(ChildState):
    """A runner's process, and the run that it is busy with."""

    task: int = 0  # 0: idle
    rule: int = -1
    children: bool = False  # what its handlers left behind


@dataclass(eq=False, repr=False)
class RuleState:
    """What happened to a rule so far."""

    rule: Rule
    number: int  # its place in the order of all rules
    turn: int = 0  # its last run, counted over all rules; 0: it has not run yet
    running_on: Basis | None = None
    succeeded_on: Basis | None = None
    started_on: Basis | None = None  # the last run, however it ended
    failures: int = 0  # in a row
    last_failure: str = ""  # how it ended, with the last line of its output
    reruns: int = 0  # in a row, while nothing but changes of the data kept exec waiting
    orphan: bool = False  # its runner died, and orphans are left: no other run before they are gone


class Outcome(NamedTuple):
    """How disco ends: exec (status None), or an exit status; reason says why."""

    status: int | None
    reason: str


class Lifecycle:
    """The one owner of rules, retries, the pool and the phases."""

    def __init__(self, plan: Plan, now: float, jitter: Callable[[], float]) -> None:
        """Plan but do nothing yet; jitter gives numbers from 0 to 1."""
        self.plan = plan
        self.phase = Phase.GATHERING
        self.outcome: Outcome | None = None  # final only when the phase is OVER
        self._namers: dict[str, list[str]] = {}  # by interface: the sources whose `interfaces` names it
        for source in plan.sources:
            for interface in source.interfaces or ():
                self._namers.setdefault(interface, []).append(source.name)
        self.knowledge = Composition(
            {source.name: source.settle for source in plan.sources},
            plan.settle,
            [rule.interfaces for rule in plan.rules],
            withheld=self._namers,
        )
        self.frozen = ""  # the rule because of which no more data is adopted until all have succeeded, or one fails
        self._frozen_at = 0.0
        self._overtaken = 0  # times in a row that exec only waited for the newest of data that changes faster than it is merged
        self.began = now
        self.now = now
        self.sources = {
            source.name: SourceState(
                ChildId(Kind.SOURCE, source.name),
                lease=source.lease,
                required=source.required,
                timeout=source.timeout,
                place=source.place,
                interfaces=source.interfaces,
            )
            for source in plan.sources
        }
        self.runners: dict[str, RunnerState] = {}
        self.checker = ChildState(CHECKER)
        self.rules = [RuleState(rule, number) for number, rule in enumerate(plan.rules)]
        self.left: tuple[int, ...] = ()  # orphans that got SIGKILL and are still there
        self._named = {state.rule.name: state for state in self.rules}
        # With thousands of rules only those are looked at again which something happened to.
        self._needing: dict[str, list[RuleState]] = {}  # by interface
        self._following: dict[str, list[RuleState]] = {}  # by the rule that they come after
        for state in self.rules:
            for interface in state.rule.interfaces:
                self._needing.setdefault(interface, []).append(state)
            for name in state.rule.after:
                self._following.setdefault(name, []).append(state)
        self._open = {state.number for state in self.rules}  # not satisfied
        self._lacking = set(self._open)  # without the data that they need
        self._queue: list[tuple[int, int]] = []  # a heap of the rules that may be due, by their turns and numbers
        self._queued: set[int] = set()  # what is in it
        self._settle = {source.name: source.settle for source in plan.sources}
        self._jitter = jitter
        self._timers: dict[tuple[str, str | ChildId], float] = {}
        self._doubted: set[ChildId] = set()
        self._checking: tuple[int, str, Combination] | None = None
        self._tasks = 0
        self._reports = 0
        self._forced = False

    # What others may ask

    @property
    def deadline(self) -> float | None:
        """When (monotonic seconds) a BatchEnded is due without any other event; None: never."""
        if self.phase is Phase.OVER:
            return self.now
        times = [*self._timers.values()]
        hold = self.knowledge.deadline if self.phase is Phase.GATHERING else None
        return min(times if hold is None else [*times, hold], default=None)

    def basis(self, state: RuleState) -> Basis | None:
        """Return what a run of the rule would stand for now; None while it cannot run."""
        return state.rule.basis(self.knowledge.adoption.valid)

    def is_satisfied(self, state: RuleState) -> bool:
        """Return whether the rule's handler has succeeded on the data of now, and no other is about to be adopted."""
        has_succeeded = state.succeeded_on is not None and state.succeeded_on == self.basis(state)
        return has_succeeded and self.knowledge.adoption.pending.isdisjoint(state.rule.interfaces)

    @property
    def is_gathering(self) -> bool:
        """Whether sources are still read and handlers run."""
        return self.phase is Phase.GATHERING

    def lacks(self, interface: str) -> bool:
        """Return whether rules that need this interface have to wait for it."""
        return interface not in self.knowledge.adoption.valid or interface in self.knowledge.adoption.pending

    def awaited_for(self, interface: str) -> list[SourceState]:
        """Return the sources that have to answer before rules may see an interface: their `interfaces` names it."""
        found = (self.sources[name] for name in self._namers.get(interface, ()))
        return [source for source in found if self._lacks_first_answer(source)] if interface in self.knowledge.withheld else []

    def named(self, rule: str) -> RuleState:
        """Return what happened to the rule of this name."""
        return self._named[rule]

    def still_there(self) -> list[str]:
        """Return what has to end before disco does: children by their names, what handlers left behind by its pids."""
        return [*(child.name for child in self._children() if child.running), *(f"process {pid}" for pid in self.left)]

    def due_at(self, timer: str) -> float | None:
        """Return when (monotonic seconds) the next `report` or the `timeout` is due; None: never."""
        return self._timers.get((timer, ""))

    def is_awaited(self, source: SourceState) -> bool:
        """Return whether exec waits for this source's first good answer, or its first word after SIGHUP."""
        return self._lacks_first_answer(source) or self.now < source.anew_until

    def _lacks_first_answer(self, source: SourceState) -> bool:
        return not source.answered and (source.required or self.now < self.began + source.timeout)

    # The one entry

    def start(self) -> list[Action]:
        """Return what to do first."""
        actions: list[Action] = []
        for source in self.sources.values():
            actions += self._start(source)
            if not source.required:
                self._timers["optional", source.id] = self.now + source.timeout
        if self.plan.dry and not self.sources:
            actions += self._stop(self._foresee())
        elif not self.plan.dry:
            actions += self._start(self._new_runner())
            self._timers["report", ""] = self.now + REPORT_AFTER[0]
        if self.plan.timeout:
            self._timers["timeout", ""] = self.now + self.plan.timeout
        return actions

    def handle(self, event: Event, now: float) -> Iterator[Action]:
        """Take an event at a time (monotonic seconds); yield what to do, each to be done before the next is asked for."""
        self.now = now
        match event:
            case MessageReceived():
                yield from self._heard(event)
            case ProtocolViolated():
                yield from self._broken(self._child(event.child), event.reason)
            case ChildExited():
                yield from self._ended(event)
            case MemoryExceeded():
                yield from self._outgrown(self._child(event.child), event.limit)
            case ForkFailed():
                yield from self._not_started(event)
            case SignalReceived():
                yield from self._signalled(event)
            case LeftoversFound():
                yield from self._swept(event)
            case AllRead():
                yield from self._all_read()
            case BatchEnded():
                yield from self._elapsed()

    # Children

    def _children(self) -> Iterator[ChildState]:
        yield from self.sources.values()
        yield from self.runners.values()
        yield self.checker

    def _child(self, child: ChildId) -> ChildState:
        match child.kind:
            case Kind.SOURCE:
                return self.sources[child.name]
            case Kind.RUNNER:
                return self.runners[child.name]
            case Kind.CHECKER:
                return self.checker

    def _new_runner(self) -> RunnerState:
        runner = RunnerState(ChildId(Kind.RUNNER, f"runner-{len(self.runners) + 1}"))
        self.runners[runner.name] = runner
        return runner

    def _start(self, child: ChildState) -> list[Action]:
        child.running, child.told = True, ""
        if isinstance(child, SourceState):
            self._lease(child, START_LEASE)
        return [Start(child.id)]

    def _lease(self, child: ChildState, seconds: float) -> None:
        """Expect to hear of a child within so many seconds; 0: no need to."""
        self._doubted.discard(child.id)
        if seconds:
            self._timers["lease", child.id] = self.now + seconds
        else:
            self._timers.pop(("lease", child.id), None)

    def _restart_later(self, child: ChildState) -> float:
        wait = min(RESTART_LAST, RESTART_FIRST * 2.0 ** min(child.deaths, 10))
        wait = max(RESTART_FIRST / 10, wait * self._jitter())
        child.deaths += 1
        self._timers["restart", child.id] = self.now + wait
        return wait

    def _kill(self, child: ChildState, number: int = KILL, told: str = STOPPED) -> Iterator[Action]:
        if child.running:
            child.told = told
            yield Kill(child.id, number)

    # Events

    def _heard(self, event: MessageReceived) -> Iterator[Action]:
        if self.phase is not Phase.GATHERING:
            match self._child(event.child), event.message:
                case (RunnerState() as runner, messages.RunFinished() as ran):
                    self._free(runner, ran.children)
            return
        match self._child(event.child), event.message:
            case (SourceState() as source, messages.Diff() as diff) if excess := self._find_excess_of(source, diff):
                yield from self._broken(source, excess)
            case (SourceState() as source, messages.Diff() as diff):
                yield from self._good(source)
                yield from self._note(source, escape(diff.note, 500))
                before = self.knowledge.unknown(source.name)
                emptied = self.knowledge.is_emptied(source.name)
                self.knowledge.apply(source.name, diff, self.now)
                yield from self._tell_emptied(source, emptied)
                if diff.unknown_count and before != self.knowledge.unknown(source.name):
                    yield self._tell_unknown(source, diff)
            case (SourceState() as source, messages.Heartbeat(answered=True)):
                yield from self._good(source)
            case (SourceState() as source, messages.Heartbeat()):
                self._lease(source, source.lease)
            case (SourceState() as source, messages.ReadFailed(reason=reason, retry_in=retry_in)):
                yield from self._trouble(source, escape(reason, 500), min(retry_in, 120.0))
            case (RunnerState() as runner, messages.Started() as started) if started.task == runner.task:
                limit = self.plan.handler_timeout
                self._lease(runner, limit + self.plan.grace + CHECK_MARGIN if limit else 0.0)
            case (RunnerState() as runner, messages.RunFinished() as ran) if ran.task == runner.task:
                yield from self._ran(runner, ran)
            case (ChildState(id=ChildId(kind=Kind.CHECKER)), messages.Merged() as checked):
                if self._checking and self._checking[0] == checked.task:
                    _, interface, combination = self._checking
                    self._checking = None
                    self._lease(self.checker, 0.0)
                    self.checker.deaths = 0
                    self.knowledge.checked(interface, combination, checked, self.now)
            case (child, message):
                yield from self._broken(child, f"an unexpected {type(message).__name__}")

    def _find_excess_of(self, source: SourceState, diff: messages.Diff) -> str:
        """Return what a source may not say; empty if there is nothing."""
        if not all(name in self.plan.interfaces and source.may_provide(name) for name in diff.changed):
            return "an interface that it may not provide"
        if self.knowledge.size_with(source.name, diff) > SOURCE_BODIES:
            return f"more than {SOURCE_BODIES >> 20} MiB of data"
        return ""

    def _broken(self, child: ChildState, reason: str) -> Iterator[Action]:
        text = (
            f"{_say_child(child)} sent disco what is no message ({reason}) and is replaced: "
            "a bug, unless it is a plug-in's; please report it"
        )
        yield Log(logging.ERROR, "child-broken", text, source=_source(child))
        yield from self._kill(child, told=f"it sent {reason}, and was killed")

    def _outgrown(self, child: ChildState, limit: int) -> Iterator[Action]:
        if self.phase is not Phase.GATHERING or child.told:
            return
        much = f"more than {limit >> 20} MiB of memory"
        remedy = f"raise {child.name.partition('/')[0]}.memory if it needs more"
        text = f"{_say_child(child)}: its process had {much} and is replaced ({remedy})"
        yield Log(logging.ERROR, "source-outgrown", text, source=_source(child))
        yield from self._kill(child, told=f"its process had {much}, and was killed")

    def _good(self, source: SourceState) -> Iterator[Action]:
        if not source.answered:
            source.answered, source.told_trouble = True, ""
            yield Log(logging.INFO, "source-answered", f"source {source.name}: first answer", source=source.name)
            self._release(source)
        source.heard_at, source.trouble, source.refused = self.now, "", 0
        self.knowledge.trust(source.name, self.now)
        if source.told != RENEWED:
            source.anew_until = 0.0
        self._lease(source, source.lease)
        if source.told_trouble or source.deaths:
            if source.good_step:
                yield from self._recovered(source)
            else:  # one answer may be all that it gives: the next one counts, or that it stays well
                source.good_step = True
                self._timers["well", source.id] = self.now + RESTART_LAST

    def _recovered(self, source: SourceState) -> Iterator[Action]:
        """Forget what a source that is well again has gone through."""
        self._timers.pop(("well", source.id), None)
        if source.told_trouble:
            text = f"source {source.name}: answers again after {duration(self.now - source.told_since)}"
            yield Log(logging.INFO, "source-recovered", text, source=source.name)
        source.good_step, source.told_trouble, source.deaths = False, "", 0

    def _note(self, source: SourceState, note: str) -> Iterator[Action]:
        if note and note != source.note:
            yield Log(logging.WARNING, "source-note", f"source {source.name}: {note}", source=source.name)
        source.note = note

    def _release(self, source: SourceState) -> None:
        """Let rules see the interfaces that only waited for this source."""
        for interface in source.interfaces or ():
            if interface in self.knowledge.withheld and not self.awaited_for(interface):
                self.knowledge.release(interface, self.now)

    def _trouble(self, source: SourceState, reason: str, retry_in: float) -> Iterator[Action]:
        if source.told != RENEWED:
            source.anew_until = 0.0
        source.good_step = False
        self._timers.pop(("well", source.id), None)
        if source.told_trouble != reason:
            kept = "; what it said last is kept" if source.answered else ""
            level = logging.WARNING if source.required else logging.INFO
            text = f"source {source.name}: {reason}{kept} (next try in {duration(retry_in)})"
            yield Log(level, "source-failed", text, source=source.name)
        if not source.told_trouble:
            source.told_since = self.now
        if not source.trouble:
            source.trouble_since = self.now
        source.trouble = source.told_trouble = reason
        source.retry_at = self.now + retry_in
        self.knowledge.doubt(source.name)
        self._lease(source, source.lease + retry_in)

    def _tell_emptied(self, source: SourceState, before: bool) -> Iterator[Action]:  # noqa: FBT001 -- a fact
        if self.knowledge.is_emptied(source.name) and not before:
            yield Log(
                logging.WARNING,
                "source-emptied",
                f"source {source.name}: everything that it had is gone at once; that is believed in "
                f"{duration(self._settle[source.name])} if nothing comes back (a server that restarts, has no leader, or "
                "no longer permits us to read looks like this)",
                source=source.name,
            )
        elif before and not self.knowledge.is_emptied(source.name):
            yield Log(logging.INFO, "source-refilled", f"source {source.name}: what was gone is back", source=source.name)

    def _tell_unknown(self, source: SourceState, diff: messages.Diff) -> Log:
        names = ", ".join(escape(name, 100) for name in diff.unknown[:20])
        more = ", …" if diff.unknown_count > len(diff.unknown) else ""
        known = f"{plural(diff.unknown_count, 'name')} {source.ignored}"
        return Log(logging.INFO, "unknown-names", f"source {source.name}: {known}, ignored: {names}{more}", source=source.name)

    def _ran(self, runner: RunnerState, ran: messages.RunFinished) -> Iterator[Action]:
        state = self.rules[runner.rule]
        basis, state.running_on = state.running_on, None
        self._free(runner, ran.children)
        runner.deaths = 0
        if ran.status == 0 and not ran.problem:
            state.succeeded_on, state.failures, state.last_failure = basis, 0, ""
            name = state.rule.name
            yield Log(logging.INFO, "rule-succeeded", f"rule {name}: handler succeeded ({duration(ran.seconds)})", rule=name)
            self._judge(state)
            return
        if ran.unusable:
            for source in self.sources.values():
                if ran.unusable in self.knowledge.fragments(source.name):
                    yield from self._broken(source, f"data of interface {escape(ran.unusable, 80)} that is no JSON object")
        yield from self._failed(state, ran.problem or _say_status(ran.status), ran.tail)

    def _failed(self, state: RuleState, why: str, tail: tuple[str, ...] = ()) -> Iterator[Action]:
        self._thaw()
        state.failures += 1
        state.last_failure = why + (f" ({escape(tail[-1], 200)})" if tail else "")
        limit = self.plan.fail_limit
        times = f"failure {state.failures} of {limit}" if limit else f"failure {state.failures}"
        last = limit and state.failures >= limit
        again = "" if last else f", next try in {duration(self.plan.interval)}"
        handler = _say_handler(state)
        text = f"rule {state.rule.name}: handler {handler} failed: {why} ({times}{again})"
        yield Log(logging.WARNING, "rule-failed", text, rule=state.rule.name)
        if last:
            times = f"{plural(state.failures, 'time')} in a row (disco.fail_limit)"
            reason = f"rule {state.rule.name}: its handler failed {times}"
            yield from self._stop(Outcome(ExitStatus.HANDLER, f"{reason}, last: {state.last_failure}"))
        else:
            self._timers["retry", state.rule.name] = self.now + self.plan.interval

    def _free(self, runner: RunnerState, children: bool) -> None:  # noqa: FBT001 -- as in the message
        runner.task, runner.rule, runner.children = 0, -1, children
        self._lease(runner, 0.0)

    def _ended(self, event: ChildExited) -> Iterator[Action]:
        child = self._child(event.child)
        child.refused = 0
        child.running, child.ended = False, child.told or f"its process ended ({_say_status(event.status)})"
        self._lease(child, 0.0)
        if isinstance(child, RunnerState) and child.task:
            yield from self._lost_run(child)
        if self.phase is not Phase.GATHERING:
            yield from self._wind_up()
            return
        if child.told == RENEWED:
            yield from self._start(child)
            return
        wait = self._restart_later(child)
        if isinstance(child, SourceState):
            yield from self._trouble(child, child.ended, wait)
            self._lease(child, 0.0)
        else:
            yield Log(logging.WARNING, "child-ended", f"{_say_child(child)}: {child.ended}; it is replaced")
        if child is self.checker:
            self._checking = None  # the next one gets the same task

    def _lost_run(self, runner: RunnerState) -> Iterator[Action]:
        """Let a dead runner's rule fail, and wait for what is left of the run: never two runs of one rule at a time."""
        state = self.rules[runner.rule]
        state.running_on, state.orphan = None, bool(self.left)
        if state.orphan and self.phase is Phase.GATHERING:
            self._timers["orphan", state.rule.name] = self.now + KILL_WAIT
        self._free(runner, children=False)
        if self.phase is Phase.GATHERING:
            yield from self._failed(state, f"{runner.name}, which ran it: {runner.ended}")

    def _not_started(self, event: ForkFailed) -> Iterator[Action]:
        child = self._child(event.child)
        child.running = False
        self._lease(child, 0.0)
        if self.phase is not Phase.GATHERING:
            yield from self._wind_up()
            return
        if child is self.checker:
            self._checking = None
        if isinstance(child, RunnerState) and child.task:  # it was given work in the moment in which it was to start
            state = self.rules[child.rule]
            state.running_on = None
            self._free(child, children=False)
            self._enqueue(state)
        child.refused += 1
        if child.refused > START_ATTEMPTS:
            reason = f"{_say_child(child)} cannot be started ({child.refused} attempts): {event.reason}"
            remedy = "raise the container's limits (processes, open files, memory)"
            yield from self._stop(Outcome(ExitStatus.SYSTEM, f"{reason}; {remedy}"))
            return
        wait = self._restart_later(child)
        text = f"{_say_child(child)}: cannot be started: {event.reason} (next try in {duration(wait)})"
        yield Log(logging.ERROR, "child-not-started", text, source=_source(child))
        if isinstance(child, SourceState):
            child.anew_until = 0.0
            self.knowledge.doubt(child.name)
            if not child.trouble:
                child.trouble, child.trouble_since = f"its process cannot be started: {event.reason}", self.now
            child.retry_at = self.now + wait

    def _signalled(self, event: SignalReceived) -> Iterator[Action]:
        name = name_of(event.number)
        if event.number in STOP:
            again = self.outcome is not None and (self.outcome.status or 0) > ExitStatus.SIGNALLED
            yield Log(logging.INFO, "stopping", f"{name} received: stopping" + (" at once" if again else ""))
            yield from self._stop(Outcome(ExitStatus.SIGNALLED + event.number, f"stopped by {name}"))
            if again:
                yield from self._force()
        elif event.number == HUP and self.phase is Phase.GATHERING:
            yield Log(logging.INFO, "reading-anew", "SIGHUP received: every source is read anew")
            self._thaw()
            for source in self.sources.values():
                source.deaths = 0
                if source.anew_until <= self.now:  # a further SIGHUP does not make exec wait longer
                    source.anew_until = self._timers["anew", source.id] = self.now + source.timeout
                if source.running:
                    yield from self._kill(source, told=RENEWED)
                else:
                    self._timers["restart", source.id] = self.now
        elif event.number == USR1:
            yield Report()

    # Time

    def _elapsed(self) -> Iterator[Action]:
        if self.phase is not Phase.GATHERING:
            yield from self._expire()
            return
        yield from self._look()
        if self.knowledge.adoption.is_due or self._is_over() or any(at <= self.now for at in self._timers.values()):
            yield ReadAll()
        else:
            yield from self._advance()

    def _all_read(self) -> Iterator[Action]:
        """Do what is due, now that all that has happened is known: first what follows from that, then what the time is up for."""
        if self.phase is Phase.GATHERING:
            yield from self._look()
            adopted = self.knowledge.adoption.adopt(self.now)
            self._judge_all(adopted)
            yield from self._advance()
            yield from self._count_overtaken(adopted)
            if self._is_over():
                yield from self._finish()
        yield from self._expire()
        if self.phase is Phase.GATHERING:
            yield from self._advance()

    def _expire(self) -> Iterator[Action]:
        due = [(at, timer) for timer, at in self._timers.items() if at <= self.now]
        # The end comes first: it has a report of its own.
        for at, timer in sorted(due, key=lambda one: (one[1][0] != "timeout", one[0])):
            if self._timers.get(timer) == at:  # an earlier one may have changed it
                del self._timers[timer]
                yield from self._expired(*timer, self.now - at)

    def _expired(self, kind: str, what: str | ChildId, late: float) -> Iterator[Action]:
        match kind, what:
            case "lease", ChildId() as child:
                yield from self._overdue(self._child(child), late)
            case "restart", ChildId() as child:
                yield from self._start(self._child(child))
            case "timeout", _:
                yield from self._stop(self._foresee() if self.plan.dry else self._time_out())
            case "report", _:
                self._reports += 1
                self._timers["report", ""] = self.now + REPORT_AFTER[min(self._reports, len(REPORT_AFTER) - 1)]
                yield Report()
            case "orphan", str() as name:
                reason = f"rule {name}: what its killed run left is {_SURVIVED}: {', '.join(self.still_there())}"
                yield from self._stop(Outcome(ExitStatus.SYSTEM, reason))
            case "grace", _:
                if self.left or any(runner.running and (runner.task or runner.children) for runner in self.runners.values()):
                    yield Log(logging.WARNING, "grace-passed", "disco.grace passed: what is left is killed")
                yield from self._force()
            case "kill", _:
                self.phase = Phase.OVER
                self.outcome = Outcome(ExitStatus.SYSTEM, f"{_SURVIVED}: {', '.join(self.still_there())}")
                yield Log(logging.ERROR, "unkillable", self.outcome.reason)
            case "retry", str() as name:
                self._enqueue(self._named[name])
            case "well", ChildId() as child:
                yield from self._recovered(self.sources[child.name])
            case "optional", ChildId() as child:
                self._release(self.sources[child.name])
            case _:  # "anew": exec may be due now
                return

    def _overdue(self, child: ChildState, late: float) -> Iterator[Action]:
        """Kill a silent child, but only after watching it for a while: disco may have slept itself (SIGSTOP, load)."""
        if child.id not in self._doubted or late > DOUBT / 2:
            self._doubted.add(child.id)
            self._timers["lease", child.id] = self.now + DOUBT
            return
        if child is self.checker and self._checking:
            task, interface, combination = self._checking
            self._checking = None
            slow = "merging and validating what several sources say took too long"
            verdict = messages.Merged(task=task, digest="", problems=(slow,), body=b"")
            self.knowledge.checked(interface, combination, verdict, self.now)
        yield from self._kill(child, told="its process hung (nothing heard of it in time), and was killed")

    # What is due

    def _look(self) -> Iterator[Action]:
        """Find out what data is due, and which rules it keeps from being satisfied."""
        for name in self.knowledge.believe(self.now):
            option = f"{name.partition('/')[0]}.settle"
            gone = "nothing" if not self.knowledge.fragments(name) else "not everything"
            text = f"source {name}: {gone} came back: what it had and has no more counts as deleted now ({option})"
            yield Log(logging.WARNING, "source-withdrawn", text, source=name)
        self._judge_all(self.knowledge.adoption.look(self.now))

    def _advance(self) -> Iterator[Action]:
        """Give the checker and idle runners what is due for them."""
        yield from self._check()
        if not self.plan.dry:
            yield from self._run_due()

    def _is_over(self) -> bool:
        """Return whether nothing is left to wait for: exec is due, or in a dry run the answer."""
        adoption = self.knowledge.adoption
        if self.plan.dry:
            return not adoption.pending and all(source.answered for source in self.sources.values())
        return not adoption.late and self._has_all_succeeded()

    def _has_all_succeeded(self) -> bool:
        """Return whether nothing but newer data can keep exec waiting."""
        return not (self._open or any(runner.task for runner in self.runners.values()) or self._awaits_sources())

    def _awaits_sources(self) -> bool:
        """Return whether exec waits for what sources have to say, whatever the rules are at."""
        return any(self.is_awaited(source) or self._may_refill(source) for source in self.sources.values())

    def _judge_all(self, interfaces: Iterable[str]) -> None:
        for number in {state.number for interface in interfaces for state in self._needing.get(interface, ())}:
            self._judge(self.rules[number])

    def _judge(self, state: RuleState) -> None:
        """Look at a rule again: its data changed, or its handler succeeded."""
        if self.basis(state) is None:
            self._lacking.add(state.number)
        else:
            self._lacking.discard(state.number)
        if not self.is_satisfied(state):
            self._open.add(state.number)
            self._enqueue(state)
        elif state.number in self._open:
            self._open.discard(state.number)
            for follower in self._following.get(state.rule.name, ()):
                self._enqueue(follower)

    def _enqueue(self, state: RuleState) -> None:
        """Let a rule run as soon as a runner is free, if it is due then."""
        if state.number not in self._queued:
            self._queued.add(state.number)
            heapq.heappush(self._queue, (state.turn, state.number))

    def _run_due(self) -> Iterator[Action]:
        """Give each idle runner the due rule that ran longest ago; there are more runners when all are busy.

        Those that have not run yet come first, in the order of their files: data that changes all the time keeps no rule waiting.
        """
        while self._queue and self.phase is Phase.GATHERING:
            _, number = self._queue[0]
            state = self.rules[number]
            basis = self.basis(state)
            if basis is None or basis == state.succeeded_on or not self._may_run(state):
                heapq.heappop(self._queue)
                self._queued.discard(number)
                continue
            runner = next((one for one in self.runners.values() if one.running and not one.told and not one.task), None)
            if runner is None:
                if not self._may_grow():
                    return
                runner = self._new_runner()
                yield from self._start(runner)
            heapq.heappop(self._queue)  # before the run: that may put another rule in front
            self._queued.discard(number)
            yield from self._run(runner, state, basis)

    def _may_run(self, state: RuleState) -> bool:
        """Return whether a rule is not satisfied, and nothing but its data and a runner can be missing."""
        if state.number not in self._open or state.running_on is not None or state.orphan:
            return False
        return ("retry", state.rule.name) not in self._timers and not any(
            self._named[name].number in self._open for name in state.rule.after
        )

    def _may_refill(self, source: SourceState) -> bool:
        """Return whether exec waits for what a source lost at once to come back: not while it cannot be read."""
        return self.knowledge.is_emptied(source.name) and not source.trouble

    def _may_grow(self) -> bool:
        return len(self.runners) < self.plan.workers and all(runner.running for runner in self.runners.values())

    def _run(self, runner: RunnerState, state: RuleState, basis: Basis) -> Iterator[Action]:
        interfaces = [interface for interface, _ in basis]
        stdin = self._stdin(interfaces)
        if excess := _find_excess(stdin):
            yield from self._failed(state, f"cannot be started: {excess}")
            return
        yield from self._count_rerun(state, basis)
        self._tasks += 1
        state.turn = self._tasks
        state.running_on = state.started_on = basis
        state.succeeded_on = None  # it may leave anything behind, from its first moment on
        runner.task, runner.rule = self._tasks, state.number
        self._lease(runner, STARTED_LEASE)
        attempt = state.failures + 1
        yield Log(
            logging.INFO,
            "rule-started",
            f"rule {state.rule.name}: running {_say_handler(state)} on {', '.join(interfaces)}"
            + (f" (attempt {attempt})" if attempt > 1 else ""),
            rule=state.rule.name,
        )
        yield Send(
            runner.id,
            messages.Run(
                task=self._tasks,
                rule=state.rule.name,
                argv=state.rule.argv,
                env=(
                    *self.plan.environment,
                    *(
                        f"{name}={value}".encode(errors="surrogateescape")
                        for name, value in (
                            ("DISCO_RULE", state.rule.name),
                            ("DISCO_INTERFACES", ",".join(interfaces)),
                            ("DISCO_ATTEMPT", str(attempt)),
                            ("DISCO_RUN", f"{self.plan.run}-{self._tasks}"),
                        )
                    ),
                ),
                stdin=stdin,
                timeout=self.plan.handler_timeout,
            ),
        )

    def _stdin(self, interfaces: list[str]) -> tuple[bytes, ...]:
        """Return the handler's input: bodies put together, never parsed, nor copied."""
        parts: list[bytes] = []
        for name in interfaces:
            parts += (
                (b',"' if parts else b'{"') + name.translate(_QUOTED).encode() + b'":',
                self.knowledge.adoption.adopted(name).body,
            )
        return (*parts, b"}\n")

    def _count_rerun(self, state: RuleState, basis: Basis) -> Iterator[Action]:
        """Freeze the data when a rule runs again and again on nothing but other data: exec would never come."""
        if state.started_on is None or state.started_on == basis:
            return
        state.reruns = state.reruns + 1 if self._is_calm() else 0
        if state.reruns <= FREE_RERUNS or self.frozen:
            return
        before = dict(state.started_on)
        changed = [interface for interface, digest in basis if before.get(interface) != digest]
        why = f"runs for the {state.reruns + 1}th time in a row, because its data keeps changing ({_some(changed)})"
        yield from self._freeze(state, why)

    def _count_overtaken(self, adopted: set[str]) -> Iterator[Action]:
        """Freeze the data when exec again and again only waits for data that changes faster than it is merged."""
        late = self.knowledge.adoption.late
        if not late:
            self._overtaken = 0
        elif not late.isdisjoint(adopted) and self._has_all_succeeded():
            self._overtaken += 1
            if self._overtaken > FREE_RERUNS:
                state = min((state for name in late for state in self._needing[name]), key=lambda state: state.number)
                why = f"has succeeded, but its data changes faster than it is merged ({_some(sorted(late))})"
                yield from self._freeze(state, why)

    def _freeze(self, state: RuleState, why: str) -> Iterator[Action]:
        """Adopt nothing any more, because of this rule."""
        self.frozen, self._frozen_at, self._overtaken = state.rule.name, self.now, 0
        self.knowledge.adoption.freeze(wanted=True)
        self._judge_all(self.knowledge.adoption.look(self.now))
        until = "every rule has succeeded, or one has failed"
        text = f"rule {state.rule.name} {why}: what changes from now on is not used before {until}"
        yield Log(logging.WARNING, "data-frozen", text, rule=state.rule.name)

    def _is_calm(self) -> bool:
        """Return whether nothing but rules that have to run keeps exec waiting."""
        return not (self._lacking or self._awaits_sources())

    def _thaw(self) -> None:
        """Adopt what has changed again."""
        if self.frozen:
            self.frozen = ""
            self.knowledge.adoption.freeze(wanted=False)
            for state in self.rules:
                state.reruns = 0

    def _check(self) -> Iterator[Action]:
        """Give the checker, which is started when it is needed first, its next task."""
        if self._checking or ("restart", CHECKER) in self._timers or (self.checker.running and self.checker.told):
            return
        found = self.knowledge.next_check()
        if not found:
            return
        interface, combination, bodies = found
        if not self.checker.running:
            yield from self._start(self.checker)
        self._tasks += 1
        self._checking = (self._tasks, interface, combination)
        # Its own limit is CPU time; this one is for a checker that hangs all the same.
        self._lease(self.checker, START_LEASE + CHECK_MARGIN + sum(map(len, bodies)) / (1 << 18))
        yield Send(CHECKER, messages.Merge(task=self._tasks, interface=interface, bodies=bodies))

    # The end

    def _time_out(self) -> Outcome:
        """Return how disco ends when disco.timeout has passed."""
        silent = self._silent()
        if silent:
            return Outcome(ExitStatus.UNAVAILABLE, f"disco.timeout passed, and no good answer ever came from {silent}")
        return Outcome(ExitStatus.TIMEOUT, "disco.timeout passed")

    def _silent(self) -> str:
        """Return the required sources that never answered, for people; empty: there is none."""
        silent = [one for one in self.sources.values() if one.required and not one.answered]
        return ", ".join(one.name + (f" ({one.trouble})" if one.trouble else "") for one in silent)

    def _foresee(self) -> Outcome:
        """Return how disco would end if it ran the handlers, all of them succeeded, and nothing changed."""
        if not self.rules:
            return Outcome(None, "there is no rule")
        silent = self._silent()
        if silent:
            return Outcome(ExitStatus.UNAVAILABLE, f"no good answer came from {silent}")
        stuck = sum(self.basis(state) is None for state in self.rules)
        if stuck:
            return Outcome(ExitStatus.TIMEOUT, f"{plural(stuck, 'rule')} would wait for data")
        for state in self.rules:
            if excess := _find_excess(self._stdin([interface for interface, _ in self.basis(state) or ()])):
                return Outcome(ExitStatus.HANDLER, f"rule {state.rule.name}: its handler could not be started: {excess}")
        return Outcome(None, "every rule would run")

    def _finish(self) -> Iterator[Action]:
        if self.plan.dry:
            yield from self._stop(self._foresee())
            return
        if self.frozen and (behind := self.knowledge.adoption.behind):
            since = duration(self.now - self._frozen_at)
            text = f"{self.plan.command} starts with the data of {since} ago: meanwhile {_some(behind)} changed, as it keeps doing"
            yield Log(logging.WARNING, "frozen-data", text)
        for source in self.sources.values():
            if source.trouble:
                data = f"as of {duration(self.now - source.heard_at)} ago" if source.answered else "missing: it never answered"
                text = f"source {source.name}: {self.plan.command} starts with its data {data} ({source.trouble})"
                yield Log(logging.WARNING, "old-data", text, source=source.name)
        yield from self._stop(Outcome(None, "all rules are satisfied"))

    def _stop(self, outcome: Outcome) -> Iterator[Action]:
        """Begin to stop, or, when that has begun, only end in another way (a signal overrides everything)."""
        self.outcome = outcome
        if self.phase is not Phase.GATHERING:
            return
        if outcome.status is not None and not self.plan.dry:
            yield Report()
        self.phase = Phase.STOPPING
        self._timers.clear()
        self._timers["grace", ""] = self.now + self.plan.grace
        for child in self._children():
            busy = isinstance(child, RunnerState) and (child.task or child.children)
            yield from self._kill(child, TERM if busy else KILL)
        yield from self._wind_up()

    def _wind_up(self) -> Iterator[Action]:
        """Go on when all children have ended: it is over when no orphan of theirs is left."""
        if self.phase is not Phase.OVER and not any(child.running for child in self._children()):
            self.phase = Phase.SWEEPING if self.left else Phase.OVER
            if not self.left:
                self._timers.clear()
        yield from ()

    def _force(self) -> Iterator[Action]:
        if self._forced or self.phase is Phase.OVER:
            return
        self._forced = True
        self._timers.clear()
        self._timers["kill", ""] = self.now + KILL_WAIT
        for child in self._children():
            yield from self._kill(child)

    def _swept(self, event: LeftoversFound) -> Iterator[Action]:
        self.left = event.left
        if self.left:
            return
        for state in self.rules:
            if state.orphan:
                state.orphan = False
                self._timers.pop(("orphan", state.rule.name), None)
                self._enqueue(state)
        if self.phase is Phase.SWEEPING:
            yield from self._wind_up()


_SURVIVED = f"still there {KILL_WAIT:g} s after SIGKILL (a hanging disk or NFS?)"
_QUOTED = {ord(character): f"\\u{ord(character):04x}" for character in '"\\\x7f'} | {n: f"\\u{n:04x}" for n in range(32)}


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")


def _source(child: ChildState) -> str:
    return child.name if isinstance(child, SourceState) else ""


def _say_child(child: ChildState) -> str:
    """Return a child's name with what it is, for people."""
    match child.id.kind:
        case Kind.SOURCE:
            return f"source {child.name}"
        case Kind.RUNNER:
            return f"{child.name} (which runs handlers)"
        case Kind.CHECKER:
            return f"{child.name} (which merges what several sources say)"


def _find_excess(stdin: tuple[bytes, ...]) -> str:
    """Return why a handler's input cannot be sent to a runner; empty if it can."""
    size, limit = sum(map(len, stdin)), messages.BODY_LIMIT
    if size <= limit:
        return ""
    return f"its input of {-(-size >> 20)} MiB is over the limit of {limit >> 20} MiB (let the rule name fewer interfaces)"


def _say_handler(state: RuleState) -> str:
    """Return what a rule runs, for people: without its arguments, which may hold a secret."""
    return escape(state.rule.argv[0], 200)


def _say_status(status: int) -> str:
    """Return how a process ended, for people."""
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {name_of(-status)}" + (", not by disco: out of memory?" if -status == KILL else "")
