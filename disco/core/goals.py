"""Goals: what ends the gathering, and how. The one place in which a run for exec and a dry run differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from disco.core import facts, reasons
from disco.core.reasons import Outcome
from disco.errors import ExitStatus
from disco.named import NamedTuple

if TYPE_CHECKING:
    from disco.core.actions import Outbox
    from disco.core.children import Children
    from disco.core.composition import Composition
    from disco.core.ending import Ending
    from disco.core.health import Health
    from disco.core.plan import Plan
    from disco.core.schedule import Schedule


class Machines(NamedTuple):
    """The machines of the core, for those who look at all of them."""

    plan: Plan
    children: Children
    composition: Composition
    health: Health
    ending: Ending
    schedule: Schedule
    outbox: Outbox


class Goal(Protocol):
    """What disco gathers data for.

    runs_handlers: rules' handlers are run, and people are kept informed.
    """

    runs_handlers: bool

    def is_reached(self, core: Machines, now: float) -> bool:
        """Return whether nothing is left to wait for."""
        ...

    def finish(self, core: Machines, now: float) -> Outcome:
        """Return how disco ends now that the goal is reached."""
        ...

    def time_out(self, core: Machines) -> Outcome:
        """Return how disco ends when disco.timeout has passed before that."""
        ...


class Exec:
    """Run handlers until every rule is satisfied on the newest data, then let COMMAND be executed."""

    runs_handlers = True

    def is_reached(self, core: Machines, now: float) -> bool:
        """Return whether every rule has succeeded, on data of which nothing newer is known."""
        return not core.composition.adoption.stale and core.schedule.all_succeeded(now)

    def finish(self, core: Machines, now: float) -> Outcome:
        """Say on which old data COMMAND starts, if it does."""
        command = core.plan.command
        if behind := core.composition.adoption.behind:  # which is so on frozen data only
            core.outbox.log(facts.StartsFrozen(command, now - core.schedule.freeze.began, tuple(behind)))
        for source in core.children.sources.values():
            if source.trouble:
                age = now - source.answered_at if source.has_answered else None
                core.outbox.log(facts.StartsOnOldData(command, source.name, source.trouble, age))
        return Outcome(None, reasons.Satisfied())

    def time_out(self, core: Machines) -> Outcome:
        """Tell a backend that was never there from everything else."""
        silent = core.health.silent()
        refusals = ((state.rule.name, state.refusal_of(core.schedule.basis(state))) for state in core.schedule.rules)
        refused = tuple((name, refusal.failure) for name, refusal in refusals if refusal)
        return Outcome(ExitStatus.UNAVAILABLE if silent else ExitStatus.TIMEOUT, reasons.TimedOut(silent, refused))


class DryRun:
    """Run no handler, and end when every source has answered."""

    runs_handlers = False

    def is_reached(self, core: Machines, now: float) -> bool:  # noqa: ARG002 -- as Goal has it
        """Return whether all data is there, and merged."""
        return not core.composition.adoption.pending and all(source.has_answered for source in core.children.sources.values())

    def finish(self, core: Machines, now: float) -> Outcome:  # noqa: ARG002 -- as Goal has it
        """Return how disco would end if it ran the handlers, all of them succeeded, and nothing changed."""
        return self._predict(core)

    def time_out(self, core: Machines) -> Outcome:
        """Return the same by what is known by now."""
        return self._predict(core)

    def _predict(self, core: Machines) -> Outcome:
        schedule = core.schedule
        if not schedule.rules:
            return Outcome(None, reasons.NoRules())
        if silent := core.health.silent():
            return Outcome(ExitStatus.UNAVAILABLE, reasons.Silent(silent))
        bases = {state.rule.name: schedule.basis(state) for state in schedule.rules}
        if waiting := sum(basis is None for basis in bases.values()):
            return Outcome(ExitStatus.TIMEOUT, reasons.WouldWait(waiting))
        for rule, basis in bases.items():
            if excess := schedule.inputs.find_excess(schedule.inputs.stdin(basis or ())):
                return Outcome(ExitStatus.HANDLER, reasons.WouldFail(rule, excess))
        return Outcome(None, reasons.WouldRun())


class Input(DryRun):
    """Run no handler, and end when every source has answered: what counts is whether one rule could run."""

    def __init__(self, rule: str) -> None:
        """Take the rule's name."""
        self._rule = rule

    def _predict(self, core: Machines) -> Outcome:
        schedule = core.schedule
        basis = schedule.basis(schedule.named(self._rule))
        if basis is None:
            if silent := core.health.silent():
                return Outcome(ExitStatus.UNAVAILABLE, reasons.Silent(silent))
            return Outcome(ExitStatus.TIMEOUT, reasons.WouldWait(1))
        if excess := schedule.inputs.find_excess(schedule.inputs.stdin(basis)):
            return Outcome(ExitStatus.HANDLER, reasons.WouldFail(self._rule, excess))
        return Outcome(None, reasons.WouldRun())
