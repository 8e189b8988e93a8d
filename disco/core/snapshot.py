"""The snapshot: from the machines to a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.core.status import InterfaceStatus, RuleStatus, SourceStatus, Status

if TYPE_CHECKING:
    from disco.core.children import SourceState
    from disco.core.goals import Machines
    from disco.core.progress import RuleState


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
        refusal=state.refusal_of(basis),
    )
