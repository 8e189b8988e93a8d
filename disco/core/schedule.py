"""Rules and their runs: which rule is satisfied, which is due, and what runs on which runner.

Whether a rule is satisfied is computed from digests, never stored. Invariant: a rule has one run at a time, in the `run` of one
runner; and none while something of a lost run is left.
"""

from __future__ import annotations

import heapq
from operator import attrgetter
from typing import TYPE_CHECKING

from disco.core import facts, reasons
from disco.core.actions import Send
from disco.core.deadlines import Deadlines
from disco.core.facts import RunFailure
from disco.core.freeze import Freeze
from disco.core.inputs import Inputs
from disco.core.progress import Assignment, RuleState
from disco.core.reasons import Outcome
from disco.errors import ExitStatus, HandlerStatus
from disco.system.programs import exec_size
from disco.text import PROBLEM_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from disco.core.actions import Outbox
    from disco.core.children import Children, RunnerState
    from disco.core.composition import Composition
    from disco.core.ending import Ending
    from disco.core.health import Health
    from disco.core.plan import Plan
    from disco.site.rules import Basis
    from disco.wire import messages

START_LEASE = 30.0  # seconds from Run to Started
END_MARGIN = 10.0  # seconds that a runner may take for a handler beyond its time and its grace
LEFTOVERS_WAIT = 10.0  # seconds for what a lost run left, and got SIGKILL, to be gone


class Schedule:
    """Gives runners what is due. With thousands of rules only those are looked at to which something happened."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what is due depends on all of these
        self, plan: Plan, children: Children, composition: Composition, health: Health, ending: Ending, outbox: Outbox
    ) -> None:
        """Run nothing yet."""
        self.rules = [RuleState(rule, number) for number, rule in enumerate(plan.rules)]
        self.freeze = Freeze(plan.free_reruns, composition.adoption, outbox)
        self.inputs = Inputs(plan, composition.adoption)
        self._plan = plan
        self._children = children
        self._adoption = composition.adoption
        self._health = health
        self._ending = ending
        self._outbox = outbox
        self._named = {state.rule.name: state for state in self.rules}
        self._needing: dict[str, list[RuleState]] = {}  # by interface
        self._following: dict[str, list[RuleState]] = {}  # by the rule that they come after
        for state in self.rules:
            for interface in state.rule.interfaces:
                self._needing.setdefault(interface, []).append(state)
            for name in state.rule.after:
                self._following.setdefault(name, []).append(state)
        self._open = {state.number for state in self.rules}  # not satisfied
        self._lacking = {state.number for state in self.rules if state.rule.interfaces}  # without the data that they need
        self._refused: set[int] = set()  # their handlers have refused the data of the last run
        self._queue: list[tuple[int, int]] = []  # a heap of the rules that may be due, by their turns and numbers
        self._queued: set[int] = set()  # what is in it
        self._waits: Deadlines[RuleState] = Deadlines(attrgetter("waits_until"))
        self._leaving: set[RuleState] = set()  # those that wait for what is left of a run
        self._runs = 0
        for number in sorted(self._open - self._lacking):
            self._enqueue(self.rules[number])

    # What may be asked

    def basis(self, state: RuleState) -> Basis | None:
        """Return what a run of the rule would stand for now; None while it cannot run."""
        return state.rule.basis(self._adoption.valid)

    def is_satisfied(self, state: RuleState) -> bool:
        """Return whether the rule's handler has succeeded on the data of now, and no other is about to be adopted."""
        has_succeeded = state.succeeded_on is not None and state.succeeded_on == self.basis(state)
        return has_succeeded and self._adoption.pending.isdisjoint(state.rule.interfaces)

    def lacks(self, interface: str) -> bool:
        """Return whether rules that need this interface have to wait for it."""
        return interface not in self._adoption.valid or interface in self._adoption.pending

    def exported(self) -> list[tuple[str, bytes]]:
        """Return each rule that exports variables, with those of its last success, in the order of the files."""
        return [(state.rule.name, state.exported) for state in self.rules if state.exported]

    def named(self, rule: str) -> RuleState:
        """Return what happened to the rule of this name."""
        return self._named[rule]

    def running(self) -> set[str]:
        """Return the names of the rules that run."""
        return {runner.run.rule.rule.name for runner in self._children.runners.values() if runner.run}

    def all_succeeded(self, now: float) -> bool:
        """Return whether nothing but newer data can keep exec waiting."""
        is_running = any(runner.run for runner in self._children.runners.values())
        return not (self._open or is_running or self._health.keeps_waiting(now))

    # What changed

    def judge(self, interfaces: Iterable[str]) -> None:
        """Look again at the rules of these interfaces: what they see of them, or are to see, has changed."""
        for number in {state.number for interface in interfaces for state in self._needing.get(interface, ())}:
            self._judge(self.rules[number])

    def count_cut(self, adopted: set[str], now: float) -> None:
        """Freeze the data if exec again and again only waits for data that changes faster than it is merged."""
        self.freeze.count_cut(adopted, self._needing, now, all_succeeded=self.all_succeeded(now))

    def started(self, runner: RunnerState, now: float) -> None:
        """Take that a runner's handler runs: its time begins."""
        limit = self._plan.timeout_of(runner.run.rule.rule) if runner.run else 0.0
        self._children.extend(runner, limit + self._plan.grace + END_MARGIN if limit else 0.0, now)

    def finished(self, runner: RunnerState, result: messages.RunFinished, now: float) -> None:
        """Take how a runner's run ended."""
        run = self.release(runner, now, has_leftovers=result.children)
        runner.deaths = 0
        if run is None:
            return
        state = run.rule
        if result.status == 0 and not result.problem:
            exported = bytes(result.exported)
            if excess := self._find_export_excess(state, exported):
                self._fail(state, excess, now)
                return
            state.succeed(run.basis, exported)
            self._refused.discard(state.number)
            self._outbox.log(facts.RuleSucceeded(state.rule.name, result.seconds))
            self._judge(state)
            return
        tail = escape(result.tail[-1], PROBLEM_LIMIT) if result.tail else ""
        failure = RunFailure(status=result.status, problem=result.problem, tail=tail)
        if result.status == HandlerStatus.DATA and not result.problem and run.basis:
            self._refuse(run, failure, now)
        else:
            self._fail(state, failure, now)

    def lose(self, runner: RunnerState, now: float) -> None:
        """Let the rule of a dead runner fail, and wait for what is left of its run."""
        if (run := self.release(runner, now)) and self._ending.is_gathering:
            if self._ending.leftovers:
                run.rule.leftovers_until = now + LEFTOVERS_WAIT
                self._leaving.add(run.rule)  # its deadline is noted with the failure's
            self._fail(run.rule, RunFailure(lost=(runner.id, runner.exit)), now)

    def take_back(self, runner: RunnerState, now: float) -> None:
        """Let the rule run elsewhere that was given to a runner which could not be started."""
        if run := self.release(runner, now):
            self._enqueue(run.rule)

    def release(self, runner: RunnerState, now: float, *, has_leftovers: bool = False) -> Assignment | None:
        """Let a runner be idle; return what it ran."""
        run, runner.run, runner.has_leftovers = runner.run, None, has_leftovers
        self._children.extend(runner, 0.0, now)
        return run

    def leftovers_gone(self) -> None:
        """Let the rules run again that waited for what was left of a run."""
        for state in self._leaving:
            state.leftovers_until = None
            self._enqueue(state)
        self._leaving.clear()

    def _judge(self, state: RuleState) -> None:
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

    def _find_export_excess(self, state: RuleState, exported: bytes) -> RunFailure | None:
        """Return why the variables that a rule exports, with those of all other rules, are too much for exec."""
        if not exported:
            return None
        others = (other.exported for other in self.rules if other is not state)
        size, limit = exec_size(exported) + sum(map(exec_size, others)), self._plan.export_room
        return RunFailure(size=size, limit=limit, is_export=True) if size > limit else None

    def _fail(self, state: RuleState, failure: RunFailure, now: float) -> None:
        self.freeze.thaw()
        state.fail(failure)
        self._refused.discard(state.number)
        limit = self._plan.fail_limit_of(state.rule)
        is_last = bool(limit) and state.failures >= limit
        pause = self._plan.pause_of(state.rule, state.failures)
        retry_in = None if is_last else pause
        name, handler = state.rule.name, state.rule.argv[0]
        self._outbox.log(facts.RuleFailed(name, handler, failure, state.failures, limit, retry_in))
        if is_last:
            is_own_limit = state.rule.fail_limit is not None
            self._ending.begin(Outcome(ExitStatus.HANDLER, reasons.GaveUp(name, state.failures, failure, is_own_limit)), now)
        else:
            state.not_before = now + pause
            self._waits.note(state)

    def _refuse(self, run: Assignment, failure: RunFailure, now: float) -> None:
        """Take that the data of a run is wrong, by what its handler says; nothing may keep other data from the rule."""
        self.freeze.thaw()
        state = run.rule
        retry_in = state.refuse(run.basis, failure, now)
        self._refused.add(state.number)
        self._waits.note(state)
        self._enqueue(state)  # there may be other data by now
        names = tuple(name for name, _ in run.basis)
        self._outbox.log(facts.RuleRefused(state.rule.name, state.rule.argv[0], names, retry_in))

    # What is due

    def advance(self, now: float) -> None:
        """Give each idle runner the due rule that ran longest ago; there are more runners when all are busy.

        Those that have not run yet come first, in the order of their files: data that changes all the time keeps no rule waiting.
        """
        running = self.running()
        while self._queue and self._ending.is_gathering:
            _, number = self._queue[0]
            state = self.rules[number]
            basis = self.basis(state)
            if basis is None or basis == state.succeeded_on or state.rule.name in running or not self._may_run(state, basis):
                heapq.heappop(self._queue)
                self._queued.discard(number)
                continue
            runner = next((idle for idle in self._children.runners.values() if idle.is_usable and not idle.run), None)
            if runner is None:
                if not self._may_grow():
                    return
                runner = self._children.add_runner()
                self._children.start(runner, now)
            heapq.heappop(self._queue)  # before the run: that may put another rule in front
            self._queued.discard(number)
            self._run(runner, state, basis, now)
            running.add(state.rule.name)

    def _enqueue(self, state: RuleState) -> None:
        """Let a rule run as soon as a runner is free, if it is due then."""
        if state.number not in self._queued:
            self._queued.add(state.number)
            heapq.heappush(self._queue, (state.turn, state.number))

    def _may_run(self, state: RuleState, basis: Basis) -> bool:
        """Return whether a rule is not satisfied, and nothing but a runner can be missing for its run on this data."""
        if state.number not in self._open or not state.may_run_on(basis):
            return False
        return not any(self._named[name].number in self._open for name in state.rule.after)

    def _may_grow(self) -> bool:
        runners = self._children.runners
        return len(runners) < self._plan.workers and all(runner.is_alive for runner in runners.values())

    def _run(self, runner: RunnerState, state: RuleState, basis: Basis, now: float) -> None:
        rule = state.rule
        stdin = self.inputs.stdin(basis)
        if excess := self.inputs.find_excess(stdin):
            self._fail(state, excess, now)
            return
        is_calm = not (self._lacking or self._refused or self._health.keeps_waiting(now))
        if self.freeze.count_run(state, basis, now, is_calm=is_calm):
            self.judge(self._adoption.look(now))
        self._runs += 1
        state.turn = self._runs
        state.started_on = basis
        state.succeeded_on = None  # it may leave anything behind, from its first moment on
        runner.run = Assignment(self._runs, state, basis)
        self._children.extend(runner, START_LEASE, now)
        attempt = state.failures + 1
        self._outbox.log(facts.RuleStarted(rule.name, rule.argv[0], tuple(name for name, _ in basis), attempt))
        self._outbox.emit(Send(runner.id, self.inputs.run(self._runs, rule, basis, attempt, stdin)))

    # Time

    @property
    def deadline(self) -> float | None:
        """When the first rule that waits need no longer do so."""
        return self._waits.first

    def expire(self, now: float) -> None:
        """Let rules run whose pause is over; what is left of a lost run for too long ends disco."""
        for state in self._waits.due(now):
            if state.leftovers_until is not None and state.leftovers_until <= now:
                self._ending.begin(Outcome(ExitStatus.SYSTEM, facts.Survived(state.rule.name, (), self._ending.leftovers)), now)
                return
            state.end_waits(now)
            self._enqueue(state)
