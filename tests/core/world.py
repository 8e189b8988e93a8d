"""The model that the pure core is tested in: what stands in for the coordinator and the kernel, and checks the invariants."""

from __future__ import annotations

import json
import pickle
import random
from itertools import product
from typing import TYPE_CHECKING, Any

from disco.core import actions, events, facts, reasons
from disco.core.ending import Phase
from disco.core.events import ChildId, Kind
from disco.core.goals import Exec
from disco.core.lifecycle import Lifecycle
from disco.core.merging import DEADLY, TOO_SLOW
from disco.core.plan import Plan, SourcePlan
from disco.errors import ExitStatus
from disco.people import report, wording
from disco.site.rules import Rule
from disco.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from disco.core.goals import Goal, Machines
    from disco.site.rules import Basis

TERM, HUP, USR1, KILL = 15, 1, 10, 9


def who(name: str) -> ChildId:
    """Return which child a name stands for in these tests."""
    kind = Kind.RUNNER if name.startswith("runner-") else Kind.CHECKER if name == "checker" else Kind.SOURCE
    return ChildId(kind, name)


def rule(name: str, *interfaces: str, any_: bool = False, after: tuple[str, ...] = (), **limits: Any) -> Rule:
    """Return a rule; limits: its own timeout, fail_limit and retry."""
    return Rule(name=name, where="f:1:1", interfaces=interfaces, any=any_, argv=(f"/{name}",), after=after, **limits)


def fragment(data: str, *problems: str) -> messages.Fragment:
    """Return what a source says; the schema has a default for each `?` in it. Only the checker can judge what has a `!`."""
    body = _body(data)
    if "!" in data and not problems:
        return messages.Fragment(digest=messages.digest(body), problems=(), body=body, is_judged=False)
    filled = b"" if problems or fill(data) == data else _body(fill(data))
    return messages.Fragment(digest=messages.digest(body), problems=problems, body=body, filled=filled)


def fill(data: str) -> str:
    """Return data with its defaults; a source may as well say the same itself."""
    return data.replace("?", "=")


def data_of(part: messages.Fragment) -> str:
    """Return the data that a fragment was made of."""
    return str(json.loads(part.body)["d"])


def _body(data: str) -> bytes:
    return f'{{"d":"{data}"}}'.encode()


def diff(
    changed: dict[str, messages.Fragment] | None = None, removed: tuple[str, ...] = (), *, first: bool = False
) -> messages.Diff:
    return messages.Diff(first=first, changed=changed or {}, removed=removed, unknown=(), unknown_count=0)


State = dict[str, messages.Fragment]
"""All that a source says at one moment, by interface."""

TRIES = 10_000  # combinations of moments that are looked at
RERUNS = 5  # of a rule in a row, of nothing but changed data, before exec
REFUSED = 65  # the exit status of a handler whose data is wrong


class Witness:
    """What was sent and what the handlers saw: judges runs and exec without a look into the core."""

    def __init__(self, plan: Plan) -> None:
        self.moments: dict[str, list[State]] = {source.name: [{}] for source in plan.sources}
        self.plan = plan
        self.rules = {rule.name: rule for rule in plan.rules}
        self.failures = dict.fromkeys(self.rules, 0)  # in a row
        self.failures_before: dict[str, int] = {}  # its last success
        self.refused: dict[str, int] = {}  # by rule whose last run that has ended ended so: how often in a row on this input
        self.pauses: dict[
            str, tuple[float, dict[str, str]]
        ] = {}  # by rule: until when it has to wait; empty: whatever its input is
        self.last: dict[str, tuple[dict[str, str], int | None]] = {}  # by rule: the input of its last run, and how it ended
        self.merge: Callable[[list[str]], str] = "+".join  # from what each source says to what the checker makes of it
        self.seen_at: dict[tuple[str, str], int] = {}  # by rule and source: the moment of its last run's input, at the earliest
        self.reruns: dict[str, int] = {}
        self.exported: dict[str, bytes] = {}  # by rule: what its last success wrote
        self.verdicts: dict[tuple[str, str], bool] = {}  # the checker's, by interface and merged data

    def sent(self, source: str, diff: messages.Diff) -> None:
        state = {} if diff.first else dict(self.moments[source][-1])
        for interface in diff.removed:
            state.pop(interface, None)
        self.moments[source].append(state | diff.changed)

    def newest(self, interface: str) -> str | None:
        """Return the data of an interface by all that was sent; None where it is not there or not valid."""
        return self._compose(interface, [states[-1].get(interface) for states in self.moments.values()])

    def _compose(self, interface: str, said: Iterable[messages.Fragment | None]) -> str | None:
        parts = [part for part in said if part is not None]
        if not parts or not all(part.body for part in parts):
            return None
        is_same = len({part.digest for part in parts}) == 1
        if is_same and parts[-1].is_judged:
            return None if parts[-1].problems else fill(data_of(parts[-1]))
        merged = fill(self.merge([data_of(part) for part in (parts[-1:] if is_same else parts)]))
        return merged if self.verdicts.get((interface, merged), True) else None

    def expected(self, rule: Rule) -> dict[str, str] | None:
        """Return what a rule's handler has to see on the newest data; None if it cannot run on that."""
        if not rule.interfaces:
            return {}
        found = {name: data for name in rule.interfaces if (data := self.newest(name)) is not None}
        return found if found and (rule.any or len(found) == len(rule.interfaces)) else None

    def started(self, run: messages.Run, withheld: set[str], now: float, *, calm: bool) -> None:
        """Judge a run, and its input. withheld: what it need not see. calm: only changes of the data keep exec waiting."""
        rule = self.rules[run.rule]
        limit = self.fail_limit(rule)
        assert not limit or self.failures[run.rule] < limit, f"rule {run.rule} has failed too often, and is run"
        assert f"DISCO_ATTEMPT={self.failures[run.rule] + 1}".encode() in run.env, f"rule {run.rule}: failures are miscounted"
        assert run.timeout == (self.plan.handler_timeout if rule.timeout is None else rule.timeout)
        seen = {name: content["d"] for name, content in json.loads(b"".join(run.stdin)).items()}
        assert not self.has_to_wait(run.rule, seen, now), (
            f"rule {run.rule} does not wait after a failure, or runs on what it refused"
        )
        assert seen or self.last.get(run.rule, ({}, None))[1] != 0, f"rule {run.rule} needs no data, has succeeded, and runs again"
        assert len(run.stdin) == 2 * len(seen) + 1, "not every second part of the input is an interface's body"
        self._look_back(run.rule, seen, [name for name in rule.interfaces if name not in withheld])
        before = self.last.get(run.rule)
        can_end = calm and not self.refused and all(self.expected(other) is not None for other in self.rules.values())
        rerun = can_end and before is not None and before[1] == 0
        self.reruns[run.rule] = self.reruns.get(run.rule, 0) + 1 if rerun else 0
        assert self.reruns[run.rule] <= RERUNS, f"rule {run.rule} is run again and again, and exec never comes"
        self.last[run.rule] = (seen, None)

    def _look_back(self, rule: str, seen: dict[str, str], names: list[str]) -> None:
        """See that what a rule sees is what each source said at one moment, none before what the rule saw of it last."""
        said: list[dict[tuple[messages.Fragment | None, ...], int]] = []  # by source: what it said of these, and when first
        for source, states in self.moments.items():
            said.append({})
            for index in range(self.seen_at.get((rule, source), 0), len(states)):
                said[-1].setdefault(tuple(states[index].get(name) for name in names), index)
        for place, name in enumerate(names):  # what only one source says of an interface tells its moments at once
            speakers = [one for one in said if any(parts[place] for parts in one)]
            if len(speakers) == 1:
                for parts in list(speakers[0]):
                    if self._compose(name, [parts[place]]) != seen.get(name):
                        del speakers[0][parts]
        found = []
        for number, moments in enumerate(product(*(one.items() for one in said))):
            if number > TRIES:
                return
            said_of = zip(*(parts for parts, _ in moments), strict=True)
            if all(self._compose(name, parts) == seen.get(name) for name, parts in zip(names, said_of, strict=True)):
                found.append([index for _, index in moments])
        assert found, f"rule {rule} sees a mixture, or what is older than what it saw: {[(name, seen.get(name)) for name in names]}"
        for source, indexes in zip(self.moments, zip(*found, strict=True), strict=True):
            self.seen_at[rule, source] = min(indexes)

    def ended(self, run: messages.Run, status: int, now: float, exported: bytes = b"") -> None:
        seen, _ = self.last[run.rule]
        self.last[run.rule] = (seen, status)
        _, refused = self.pauses.pop(run.rule, (0.0, {}))
        times = self.refused.pop(run.rule, 0)
        if not status:
            self.exported[run.rule] = exported
        if status:
            self.reruns.clear()
        if status == REFUSED and seen:
            times = times + 1 if refused == seen else 1
            self.refused[run.rule] = times
            self.pauses[run.rule] = now + doubled(10.0, 300.0, times), seen
        elif status:
            self.failed(run.rule, now)
        else:
            self.failures_before[run.rule] = self.failures[run.rule]
            self.failures[run.rule] = 0

    def refuted(self, rule: str, now: float, *, has_run: bool) -> None:
        """Take a failure that the core finds: a handler that cannot be run, or one that has succeeded and exports too much."""
        if has_run:
            self.last[rule] = (self.last[rule][0], -1)
            self.failures[rule] = self.failures_before[rule]
        self.failed(rule, now)

    def failed(self, rule: str, now: float) -> None:
        self.failures[rule] += 1
        first, longest = self.rules[rule].retry or (self.plan.interval, self.plan.interval)
        self.pauses[rule] = now + doubled(first, longest, self.failures[rule]), {}

    def has_to_wait(self, rule: str, input_: dict[str, str], now: float) -> bool:
        """Return whether a rule may not run yet: after a failure on whatever there is, after exit status 65 on the same."""
        until, refused = self.pauses.get(rule, (now, {}))
        return now < until and (not refused or refused == input_)

    def fail_limit(self, rule: Rule) -> int:
        return self.plan.fail_limit if rule.fail_limit is None else rule.fail_limit

    def stale(self, sources: Iterable[str]) -> list[str]:
        """Return the rules that did not succeed on the newest data, as far as it comes from these sources."""
        known = {name for source, states in self.moments.items() if source not in sources for state in states for name in state}
        return [
            name
            for name, rule in self.rules.items()
            if self._seen(name, known) != {one: d for one, d in (self.expected(rule) or {}).items() if one not in known}
        ]

    def _seen(self, rule: str, left_out: set[str]) -> dict[str, str] | None:
        seen, status = self.last.get(rule, ({}, None))
        return {one: digest for one, digest in seen.items() if one not in left_out} if status == 0 else None


def doubled(first: float, longest: float, times: int) -> float:
    """Return the so-manieth pause of a row."""
    pause = first
    for _ in range(times - 1):
        pause = min(pause * 2, longest)
    return pause


class World:
    """What stands in for the coordinator and the kernel: executes actions, gives events, and checks the invariants."""

    def __init__(
        self,
        plan: Plan,
        seed: int = 0,
        jitter: Callable[[], float] | None = None,
        *,
        goal: Goal | None = None,
        prompt: bool = False,
    ) -> None:
        self.now = 1000.0
        self.goal = goal or Exec()
        self.life = Lifecycle(plan, self.goal, self.now, jitter or random.Random(seed).random)
        self.witness = Witness(plan)
        self.settle = plan.settle
        self.unread: dict[str, list[messages.Message]] = {}  # by child: what lies in its channel
        self.alive: dict[str, Kind] = {}
        self.fresh: set[str] = set()  # processes that said nothing yet
        self.busy: dict[str, messages.Run] = {}
        self.handlers: dict[int, int] = {}  # pid of a handler that lives → index of its rule's run
        self.pids: dict[str, int] = {}  # runner → its handler's pid
        self.checks: list[messages.Merge] = []
        self.dying: list[int] = []  # orphans that got SIGKILL and are not reaped yet, handlers among them
        self.leftovers: dict[str, int] = {}  # runner → the processes that its handlers left behind
        self.queue: list[events.Event] = []
        self.told: list[str] = []
        self.reports = 0
        self.runs: list[messages.Run] = []
        self.stopped = self.stopping = self.could_exec = False
        self.prompt = prompt  # whether each handler starts at once
        self._next_pid = 100
        first = [who(source.name) for source in plan.sources] + [events.runner(1)] * self.goal.runs_handlers
        forked = first[: seed % (len(first) + 1)]  # before there was a lifecycle; the system may have refused the others
        for kind, name in forked:
            self.fork(kind, name)
        self.do(self.life.start(forked))
        self.assert_none_forgotten()  # nothing else need ever happen
        self.feed()

    @property
    def core(self) -> Machines:
        return self.life.core

    def fork(self, kind: Kind, name: str) -> None:
        assert name not in self.alive, "started twice"
        self.alive[name] = kind
        self.fresh.add(name)

    # The invariants that hold at each action

    def do(self, wanted: Iterable[actions.Action]) -> None:
        was_stopping, self.stopping = self.stopping, self.life.phase is not Phase.GATHERING
        if self.stopping and not was_stopping:
            # Data that is again as it was when a rule succeeded on it has to become quiet all the same.
            is_settling = bool(self.settle and self.core.composition.adoption.pending)
            self.could_exec = self.is_calm() and not is_settling and not self.witness.stale(self.core.children.sources)
            self.assert_refused_named()
        self.note_given_up()
        if self.stopping:
            assert not any(child.is_usable for child in self.core.children), "a child that was not stopped"
        for action in wanted:
            assert not (was_stopping and isinstance(action, (actions.Start, actions.Send))), f"after STOPPING: {action}"
            match action:
                case actions.Start(ChildId(kind, name)):
                    self.fork(kind, name)
                case actions.Send(ChildId(name=name), messages.Run() as run):
                    assert name in self.alive, "a run for a runner that is dead"
                    assert name not in self.busy, "a run for a runner that is busy"
                    assert all(other.rule != run.rule for other in self.busy.values()), "two runs of one rule at a time"
                    running = {self.runs[index].rule for index in self.handlers.values()}
                    assert run.rule not in running, "a run while a handler of the same rule still lives"
                    self.busy[name] = run
                    self.runs.append(run)
                    self.witness.started(run, self.core.composition.withheld, self.now, calm=self.is_calm())
                    if self.prompt:
                        self.queue.append(self._start(name))
                case actions.Send(_, messages.Merge() as check):
                    self.checks.append(check)
                case actions.Kill(ChildId(name=name), number):
                    if name not in self.alive:
                        continue  # killed already, and its end is on its way
                    if number == KILL or (name not in self.busy and name not in self.leftovers):  # it dies last
                        self.end(name, -number)
                case actions.ReadAll():
                    for name in list(self.unread):
                        self.deliver(name)
                    self.queue.append(events.AllRead())
                case actions.Log(fact):
                    self.told.append(wording.say(fact).text)
                    if isinstance(fact, facts.RuleFailed) and fact.failure.size:  # what no handler says
                        self.witness.refuted(fact.rule, self.now, has_run=fact.failure.is_export)
                case actions.Report(status):
                    self.reports += 1
                    assert list(report.lines(status))
        if self.life.phase is Phase.OVER and not self.stopped:
            self.stopped = True
            outcome = self.life.outcome
            assert outcome is not None
            if outcome.status != ExitStatus.SYSTEM:
                assert not self.alive, f"over with {self.alive}"
                assert not self.dying, f"over with orphans: {self.dying}"
            if not self.goal.runs_handlers:
                return
            if outcome.status is None:
                for state in self.core.schedule.rules:
                    assert self.core.schedule.is_satisfied(state), "exec with a rule that is not satisfied"
                    _, ended = self.witness.last[state.rule.name]
                    assert ended == 0, f"exec although the last run of rule {state.rule.name} did not succeed"
                written = [(rule, self.witness.exported[rule]) for rule in self.witness.rules]
                assert self.core.schedule.exported() == [one for one in written if one[1]], "exec with other variables"
                assert all(not self.core.health.is_awaited(source, self.life.now) for source in self.core.children.sources.values())
                for source in self.core.children.sources.values():
                    assert source.trouble or not self.core.composition.contribution(source.name).is_held_empty, (
                        "exec while an emptiness is held"
                    )
                held = [name for name in self.core.children.sources if self.core.composition.contribution(name).is_held_empty]
                behind = self.witness.stale([name for name in self.core.children.sources if name not in held])
                if self.is_frozen():
                    assert not behind or any("meanwhile" in text for text in self.told), "exec on frozen data without a word"
                else:
                    assert not self.core.composition.adoption.stale, "exec on data that is not the newest"
                    assert not behind, f"exec on data that is not the newest: {behind}"
            elif outcome.status in {ExitStatus.TIMEOUT, ExitStatus.UNAVAILABLE}:
                assert not self.could_exec, "disco.timeout, and every rule has succeeded"
            elif isinstance(outcome.reason, reasons.GaveUp):
                failed = self.witness.rules[outcome.reason.rule]
                assert 0 < self.witness.fail_limit(failed) <= self.witness.failures[failed.name], "disco gives up too early"

    def note_given_up(self) -> None:
        """Let the witness know of data that is invalid because the checker hung with it, or died of it."""
        for interface, view in self.core.composition._verdicts.items():
            if view.problems in {(TOO_SLOW,), (DEADLY,)}:
                said = [reversed(self.witness.moments[source]) for source, _ in view.combination]
                parts = [
                    next(state[interface] for state in states if interface in state and state[interface].digest == digest)
                    for states, (_, digest) in zip(said, view.combination, strict=True)
                ]
                self.witness.verdicts.setdefault((interface, fill(self.witness.merge([*map(data_of, parts)]))), False)

    def is_judged(self) -> bool:
        """Return whether the checker has judged the data of its task before."""
        return bool(self.checks) and (self.checks[0].interface, self._merge(self.checks[0])) in self.witness.verdicts

    def _merge(self, check: messages.Merge) -> str:
        return fill(self.witness.merge([json.loads(body)["d"] for body in check.bodies]))

    def is_calm(self) -> bool:
        """Return whether only rules, or changes of the data, keep exec waiting."""
        life = self.life
        waiting = any(
            life.core.health.is_awaited(source, life.now) or life.core.composition.contribution(source.name).is_held_empty
            for source in life.core.children.sources.values()
        )
        return not waiting and not any(self.unread.values())

    def is_frozen(self) -> bool:
        return bool(self.core.schedule.freeze.rule)

    def stop(self, *given: events.Event) -> None:
        """Give events and let disco begin to stop, no more."""
        for event in (*given, events.BatchEnded()):
            self.do(self.life.handle(event, self.now))
        while self.queue and self.life.phase is Phase.GATHERING:
            self.do(self.life.handle(self.queue.pop(0), self.now))
        assert self.life.phase is Phase.STOPPING

    def deliver(self, name: str) -> None:
        """Let what lies in a child's channel be read."""
        self.queue += (events.MessageReceived(who(name), message) for message in self.unread.pop(name, []))

    def feed(self, *given: events.Event) -> None:
        """Give events and all that follows from them, then BatchEnded, as the coordinator does."""
        self.queue += given
        once = True
        while self.queue or once:
            once = False
            batch, self.queue = self.queue, []
            for event in [*batch, events.BatchEnded()]:
                if self.life.phase is not Phase.OVER:
                    self.do(self.life.handle(event, self.now))
                if isinstance(event, events.BatchEnded) and not self.queue and self.life.phase is Phase.GATHERING:
                    self.assert_none_forgotten()

    def assert_none_forgotten(self) -> None:
        """No rule that could run is left waiting beside an idle runner, and a rule that refuses its data gets other data."""
        life = self.life
        assert not (self.is_frozen() and self.witness.refused), "the data is frozen that a handler refuses"
        if not any(runner.is_usable and not runner.run for runner in life.core.children.runners.values()):
            return
        for state in life.core.schedule.rules:
            basis = life.core.schedule.basis(state)
            waits = state.leftovers_until is not None or self.witness.has_to_wait(state.rule.name, self._input(basis), self.now)
            if state.rule.name in life.core.schedule.running() or waits or life.core.schedule.is_satisfied(state):
                continue
            may_run = basis not in {None, state.succeeded_on}
            assert not may_run or not all(
                life.core.schedule.is_satisfied(life.core.schedule.named(name)) for name in state.rule.after
            ), f"rule {state.rule.name} is due, and forgotten"

    def _input(self, basis: Basis | None) -> dict[str, str]:
        """Return the data that a handler would get for a basis now."""
        return {name: json.loads(self.core.composition.adoption.effective(name).body)["d"] for name, _ in basis or ()}

    def assert_refused_named(self) -> None:
        """At disco.timeout the reason names the rules whose handlers refuse the data of now, and no other."""
        assert self.life.outcome is not None
        if isinstance(why := self.life.outcome.reason, reasons.TimedOut):
            now = {name: self._input(self.core.schedule.basis(self.core.schedule.named(name))) for name in self.witness.refused}
            assert {name for name, _ in why.refused} == {name for name in now if self.witness.pauses[name][1] == now[name]}

    def assert_indexes(self) -> None:
        """See that what is looked at piece by piece is as if all were looked at."""
        if self.life.phase is not Phase.GATHERING:
            return
        life, kept = self.life, self.core.composition.adoption
        anew = pickle.loads(pickle.dumps(kept))  # noqa: S301 -- our own
        anew._dissolve(list(anew._interfaces))
        anew.look(self.life.now)
        assert (kept.pending, kept.stale, kept.deadline, kept.is_due) == (anew.pending, anew.stale, anew.deadline, anew.is_due)
        assert life.core.schedule._open == {
            state.number for state in life.core.schedule.rules if not life.core.schedule.is_satisfied(state)
        }
        assert life.core.schedule._refused == {state.number for state in life.core.schedule.rules if state.refusal}
        assert life.core.schedule._lacking == {
            state.number for state in life.core.schedule.rules if state.rule.basis(kept.valid) is None
        }

    def end(self, name: str, status: int) -> None:
        """Let a child die; what is below a runner is an orphan then, and gets SIGKILL from the coordinator."""
        self.deliver(name)  # its last words
        del self.alive[name]
        self.fresh.discard(name)
        if lost := self.busy.pop(name, None):
            self.witness.ended(lost, -1, self.now)
        self.dying += (pid for pid in [self.pids.pop(name, 0)] if pid in self.handlers)
        for _ in range(self.leftovers.pop(name, 0)):
            self._next_pid += 1
            self.dying.append(self._next_pid)
        if name == "checker":
            self.checks.clear()
        self.queue += (events.LeftoversFound(tuple(self.dying)), events.ChildExited(who(name), status))

    def crash(self, name: str) -> None:
        self.end(name, -11)
        self.feed()

    # What can happen

    def send(self, name: str, message: messages.Message) -> None:
        """Let a child say something that is not read yet."""
        self.fresh.discard(name)
        self.unread.setdefault(name, []).append(message)
        if isinstance(message, messages.Diff) and self.alive[name] is Kind.SOURCE:
            self.witness.sent(name, message)

    def read(self, name: str) -> None:
        self.deliver(name)
        self.feed()

    def hear(self, name: str, message: messages.Message) -> None:
        self.send(name, message)
        self.read(name)

    def started(self, name: str) -> None:
        self.feed(self._start(name))

    def _start(self, name: str) -> events.Event:
        self._next_pid += 1
        pid = self._next_pid
        run = self.busy[name]
        self.handlers[pid] = self.runs.index(run)
        self.pids[name] = pid
        return events.MessageReceived(who(name), messages.Started(task=run.task, pid=pid))

    def bury(self) -> None:
        self.handlers.pop(self.dying.pop(), None)
        self.feed(events.LeftoversFound(tuple(self.dying)))

    def ran(self, name: str, status: int = 0, *, problem: str = "", tail: tuple[str, ...] = (), children: bool = False) -> None:
        run = self.busy.pop(name)
        exported = self.exports_of(run)
        self.witness.ended(run, -1 if problem else status, self.now, exported)
        self.handlers.pop(self.pids.pop(name, 0), None)
        if children:
            self.leftovers[name] = self.leftovers.get(name, 0) + 1
        self.feed(
            events.MessageReceived(
                who(name),
                messages.RunFinished(
                    task=run.task, status=status, problem=problem, tail=tail, seconds=0.5, children=children, exported=exported
                ),
            )
        )
        if self.life.phase is not Phase.GATHERING and name in self.alive:
            self.leftovers.pop(name, None)
            self.end(name, 0)  # a runner that was told to end does so after all that is below it
            self.feed()

    def exports_of(self, run: messages.Run) -> bytes:
        """Return what a handler writes, by what it sees: of half of all data nothing. It writes before it fails too."""
        digest = messages.digest(run.rule.encode() + b"".join(run.stdin))
        return f"{run.rule.upper()}={digest}\0".encode() if digest < "8" else b""

    def checked(self, *problems: str) -> None:
        """Let the checker answer; it says the same of the same data each time."""
        check = self.checks.pop(0)
        data = self._merge(check)
        if not self.witness.verdicts.setdefault((check.interface, data), not problems):
            problems = problems or ("/x is wrong",)
        else:
            problems = ()
        body, digest = _body(data), messages.digest(_body(data))
        self.hear("checker", messages.Merged(task=check.task, digest=digest, problems=problems, body=b"" if problems else body))

    def wait(self, seconds: float | None = None) -> None:
        """Let time pass: so many seconds, or until the nearest deadline."""
        deadline = self.life.deadline
        self.now = max(self.now, deadline) if seconds is None and deadline is not None else self.now + (seconds or 0.0)
        self.feed()


KNOWN = frozenset("abcdefghijklmnopqrstuvwxyz") | {"db", "web", "other"}
"""The interfaces of these tests."""


def plan(*rules: Rule, sources: tuple[str, ...] = ("s",), **more: object) -> Plan:
    plans = tuple(SourcePlan(name=name, lease=20.0, required=True, timeout=10.0) for name in sources)
    return Plan(sources=plans, rules=rules, interfaces=KNOWN, **more)  # type: ignore[arg-type]


def settling(*rules: Rule, settle: float = 0.1, patience: float = 5.0) -> Plan:
    sources = (SourcePlan(name="s", lease=100.0, required=True, timeout=10.0, settle=patience),)
    return Plan(interfaces=KNOWN, sources=sources, rules=rules, settle=settle)


def settle(world: World) -> None:
    """From now on everything works: disco must come to an end by itself, or by a signal if its data cannot."""
    for _ in range(400):
        if world.life.phase is Phase.OVER:
            return
        while world.dying:
            world.bury()
        for name in sorted(world.fresh):
            if world.alive.get(name) is Kind.SOURCE:
                world.hear(name, diff({one: fragment(f"end {name}") for one in "abc"}, first=True))
        for name in sorted(world.alive):
            if world.alive.get(name) is Kind.SOURCE:
                world.hear(name, diff({one: fragment(f"end {name}") for one in "abc"}))
        while world.checks:
            if "checker" in world.alive:
                world.checked()
            else:
                world.checks.clear()
        for name in sorted(world.busy):
            if name in world.busy:
                world.ran(name)
        world.wait()
    state = [(state.rule, world.core.schedule.basis(state)) for state in world.core.schedule.rules]
    raise AssertionError(f"no end: {world.life.phase} {state} {world.alive} {world.told[-5:]}")
