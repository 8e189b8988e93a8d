"""The model that the pure core is tested in: what stands in for the coordinator and the kernel, and checks the invariants."""

from __future__ import annotations

import random

from disco import events, messages, report
from disco.errors import Status
from disco.events import ChildId, Kind
from disco.lifecycle import Lifecycle, Phase, Plan, SourcePlan
from disco.rules import Rule

TERM, HUP, USR1, KILL = 15, 1, 10, 9


def who(name: str) -> ChildId:
    """Return which child a name stands for in these tests."""
    kind = Kind.RUNNER if name.startswith("runner-") else Kind.CHECKER if name == "checker" else Kind.SOURCE
    return ChildId(kind, name)


def rule(name: str, *interfaces: str, any_: bool = False, after: tuple[str, ...] = ()) -> Rule:
    return Rule(name=name, where="f:1:1", interfaces=interfaces, any=any_, argv=(f"/{name}",), after=after)


def fragment(digest: str, *problems: str) -> messages.Fragment:
    return messages.Fragment(digest=digest, problems=problems, body=f'{{"d":"{digest}"}}'.encode())


def diff(
    changed: dict[str, messages.Fragment] | None = None, removed: tuple[str, ...] = (), *, first: bool = False
) -> messages.Diff:
    return messages.Diff(first=first, changed=changed or {}, removed=removed, unknown=(), unknown_count=0)


class World:
    """What stands in for the coordinator and the kernel: executes actions, gives events, and checks the invariants."""

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.life = Lifecycle(plan, self.now, self.random.random)
        self.alive: dict[str, Kind] = {}
        self.fresh: set[str] = set()  # processes that said nothing yet
        self.busy: dict[str, messages.Run] = {}
        self.handlers: dict[int, int] = {}  # pid of a handler that lives → index of its rule's run
        self.pids: dict[str, int] = {}  # runner → its handler's pid
        self.checks: list[messages.Check] = []
        self.dying: list[int] = []  # handlers that got SIGKILL and are not reaped yet
        self.leftovers = 0
        self.queue: list[events.Event] = []
        self.told: list[str] = []
        self.reports = 0
        self.runs: list[messages.Run] = []
        self.stopped = self.stopping = False
        self._next_pid = 100
        self.do(self.life.start())
        self.feed()

    # The invariants that hold at each action

    def do(self, actions: list[events.Action]) -> None:
        for action in actions:
            self.stopping |= isinstance(action, events.Sweep) and not action.run
            assert not (self.stopping and isinstance(action, (events.Start, events.Send))), f"after STOPPING: {action}"
            match action:
                case events.Start(ChildId(kind, name)):
                    assert name not in self.alive, "started twice"
                    self.alive[name] = kind
                    self.fresh.add(name)
                case events.Send(ChildId(name=name), messages.Run() as run):
                    assert name in self.alive, "a run for a runner that is dead"
                    assert name not in self.busy, "a run for a runner that is busy"
                    assert all(other.rule != run.rule for other in self.busy.values()), "two runs of one rule at a time"
                    running = {self.runs[index].rule for index in self.handlers.values()}
                    assert run.rule not in running, "a run while a handler of the same rule still lives"
                    self.busy[name] = run
                    self.runs.append(run)
                case events.Send(_, messages.Check() as check):
                    self.checks.append(check)
                case events.Kill(ChildId(name=name), number):
                    if name not in self.alive:
                        continue  # killed already, and its end is on its way
                    if number == KILL or name not in self.busy:
                        self.end(name, -number)
                case events.KillGroup(pid):
                    if pid in self.handlers:
                        self.dying.append(pid)
                    else:
                        self.queue.append(events.Stray(pid))  # gone already: the coordinator says so
                case events.Sweep(number, run):
                    if not run:
                        if number == KILL:
                            self.leftovers = 0
                        self.queue.append(events.Swept(tuple(range(1, self.leftovers + 1))))
                        if self.leftovers:
                            self.leftovers -= 1
                            self.queue.append(events.Stray(1))
                case events.Tell(text=text):
                    self.told.append(text)
                case events.Report():
                    self.reports += 1
                    assert list(report.lines(self.life))
        if self.life.phase is Phase.OVER and not self.stopped:
            self.stopped = True
            outcome = self.life.outcome
            assert outcome is not None
            if outcome.status != Status.SYSTEM:
                assert not self.alive, f"over with {self.alive}"
            if outcome.status is None:
                for state in self.life.rules:
                    assert self.life.is_satisfied(state), "exec with a rule that is not satisfied"
                assert all(not self.life.is_awaited(source) for source in self.life.sources.values())
                for source in self.life.sources.values():
                    assert source.trouble or not self.life.knowledge.is_emptied(source.name), "exec while an emptiness is held"
                assert not self.life.knowledge.late, "exec on data that is not the newest"

    def feed(self, *given: events.Event) -> None:
        """Give events and all that follows from them, then Elapsed, as the coordinator does."""
        self.queue += given
        once = True
        while self.queue or once:
            once = False
            batch, self.queue = self.queue, []
            for event in [*batch, events.Elapsed()]:
                if self.life.phase is not Phase.OVER:
                    self.do(self.life.handle(event, self.now))
                if isinstance(event, events.Elapsed) and self.life.phase is Phase.GATHERING:
                    self.assert_none_forgotten()

    def assert_none_forgotten(self) -> None:
        """No rule that could run is left waiting beside an idle runner."""
        life = self.life
        if not any(runner.running and not runner.told and not runner.task for runner in life.runners.values()):
            return
        for state in life.rules:
            if state.running_on or state.orphan or ("retry", state.rule.name) in life._timers or life.is_satisfied(state):
                continue
            assert life.basis(state) is None or not all(life.is_satisfied(life.named(name)) for name in state.rule.after), (
                f"rule {state.rule.name} is due, and forgotten"
            )

    def end(self, name: str, status: int) -> None:
        """Let a child die; a runner's handler stays behind."""
        del self.alive[name]
        self.fresh.discard(name)
        self.busy.pop(name, None)
        self.pids.pop(name, None)
        self.queue.append(events.Ended(who(name), status))

    # What can happen

    def hear(self, name: str, message: messages.Message) -> None:
        self.fresh.discard(name)
        self.feed(events.Heard(who(name), message))

    def started(self, name: str) -> None:
        self._next_pid += 1
        pid = self._next_pid
        run = self.busy[name]
        self.handlers[pid] = self.runs.index(run)
        self.pids[name] = pid
        self.hear(name, messages.Started(task=run.task, pid=pid))

    def bury(self) -> None:
        pid = self.dying.pop()
        del self.handlers[pid]
        self.feed(events.Stray(pid))

    def ran(self, name: str, status: int = 0, *, children: bool = False) -> None:
        run = self.busy.pop(name)
        self.handlers.pop(self.pids.pop(name, 0), None)
        self.leftovers += children
        self.feed(
            events.Heard(
                who(name),
                messages.Ran(task=run.task, status=status, problem="", tail=(), seconds=0.5, children=children),
            )
        )
        if self.life.phase is not Phase.GATHERING and name in self.alive:
            self.end(name, 0)  # a runner that was told to end does so after its handler
            self.feed()

    def checked(self, *problems: str) -> None:
        check = self.checks.pop()
        body = b"+".join(check.bodies)
        self.feed(
            events.Heard(who("checker"), messages.Checked(task=check.task, digest=str(hash(body)), problems=problems, body=body))
        )

    def wait(self, seconds: float | None = None) -> None:
        """Let time pass: so many seconds, or until the nearest deadline."""
        deadline = self.life.deadline
        self.now = max(self.now, deadline) if seconds is None and deadline is not None else self.now + (seconds or 0.0)
        self.feed()


def plan(*rules: Rule, sources: tuple[str, ...] = ("s",), **more: object) -> Plan:
    plans = tuple(SourcePlan(name=name, lease=20.0, required=True, timeout=10.0) for name in sources)
    return Plan(sources=plans, rules=rules, **more)  # type: ignore[arg-type]
