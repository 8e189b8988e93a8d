"""The status: a frozen snapshot of all that people may ask about. Reports, the dry run and the last words are made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.core.adoption import View
    from disco.core.children import SourceState
    from disco.core.facts import RunFailure, Survived, Trouble
    from disco.core.goals import Machines
    from disco.core.plan import Plan, SourcePlan
    from disco.core.reasons import Outcome
    from disco.core.schedule import RuleState
    from disco.site.rules import Basis, Rule
    from disco.wire.messages import Fragment


class SourceStatus(NamedTuple):
    """A source: when it answered last (0: never), why it cannot be read and since when, and what it says.

    is_awaited: exec waits for it. is_held_empty: all that it had is gone at once, and kept for a while. unknown: some of its
    names that disco does not use, and how many there are.
    """

    plan: SourcePlan
    has_answered: bool
    answered_at: float
    trouble: Trouble
    failed_at: float
    retry_at: float
    note: str
    is_awaited: bool
    is_held_empty: bool
    fragments: Mapping[str, Fragment]
    unknown: tuple[str, ...]
    unknown_count: int


class InterfaceStatus(NamedTuple):
    """An interface: the newest that is known; whether rules have to wait for it; for whose first answer it waits."""

    newest: View
    is_lacking: bool
    awaited: tuple[str, ...]


class RuleStatus(NamedTuple):
    """A rule: what it could run on now, and how it has fared.

    basis: None while too little of its data is there. has_new_data: it could run on other data than it succeeded on.
    """

    rule: Rule
    basis: Basis | None
    has_new_data: bool
    is_satisfied: bool
    is_running: bool
    failures: int
    last_failure: RunFailure | None


class Status(NamedTuple):
    """Everything at one moment. Times are monotonic seconds.

    frozen: the rule because of which no more data is adopted; behind: the interfaces that changed since. left: what has to end
    before disco does.
    """

    plan: Plan
    now: float
    began: float
    is_gathering: bool
    outcome: Outcome | None
    timeout_at: float | None
    report_at: float | None
    sources: Mapping[str, SourceStatus]
    interfaces: Mapping[str, InterfaceStatus]
    rules: Mapping[str, RuleStatus]
    frozen: str
    behind: tuple[str, ...]
    left: Survived


def take(core: Machines, now: float, began: float, timeout_at: float | None, report_at: float | None) -> Status:
    """Return the status of the machines."""
    sources = {name: _source(core, source, now) for name, source in core.children.sources.items()}
    named = dict.fromkeys(interface for rule in core.plan.rules for interface in rule.interfaces)
    others = sorted({name for source in sources.values() for name in source.fragments} - named.keys())
    running = core.schedule.running()
    adoption = core.composition.adoption
    return Status(
        plan=core.plan,
        now=now,
        began=began,
        is_gathering=core.ending.is_gathering,
        outcome=core.ending.outcome,
        timeout_at=timeout_at,
        report_at=report_at,
        sources=sources,
        interfaces={
            name: InterfaceStatus(
                newest=adoption.newest(name),
                is_lacking=core.schedule.lacks(name),
                awaited=tuple(source.name for source in core.health.awaited_for(name, now)),
            )
            for name in [*named, *others]
        },
        rules={state.rule.name: _rule(core, state, running) for state in core.schedule.rules},
        frozen=core.schedule.freeze.rule,
        behind=tuple(adoption.behind),
        left=core.ending.survivors(),
    )


def _source(core: Machines, source: SourceState, now: float) -> SourceStatus:
    contribution = core.composition.contribution(source.name)
    return SourceStatus(
        plan=source.plan,
        has_answered=source.has_answered,
        answered_at=source.answered_at,
        trouble=source.trouble,
        failed_at=source.failed_at,
        retry_at=source.retry_at,
        note=source.note,
        is_awaited=core.health.is_awaited(source, now),
        is_held_empty=contribution.is_held_empty,
        fragments=contribution.fragments,  # replaced, never changed
        unknown=contribution.unknown,
        unknown_count=contribution.unknown_count,
    )


def _rule(core: Machines, state: RuleState, running: set[str]) -> RuleStatus:
    basis = core.schedule.basis(state)
    return RuleStatus(
        rule=state.rule,
        basis=basis,
        has_new_data=basis not in {None, state.succeeded_on},
        is_satisfied=core.schedule.is_satisfied(state),
        is_running=state.rule.name in running,
        failures=state.failures,
        last_failure=state.last_failure,
    )
