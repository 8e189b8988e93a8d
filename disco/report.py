"""What is missing, and why: the lifecycle's state → lines for people. Pure; no value is in that state to be shown."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from disco.text import duration, escape, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disco.lifecycle import Lifecycle, RuleState, Source

RULE_LIMIT = 20  # rules told one by one
PROBLEM_LIMIT = 5  # problems told of one interface


def lines(state: Lifecycle) -> Iterator[str]:
    """Yield why exec has not happened: each rule that waits, and each source that does not answer."""
    waiting = [rule for rule in state.rules if not state.is_satisfied(rule)]
    if state.outcome and state.outcome.status is not None:
        yield state.outcome.reason
    yield f"{len(waiting)} of {plural(len(state.rules), 'rule')} not satisfied after {duration(state.now - state.began)}"
    for rule in waiting[:RULE_LIMIT]:
        for number, line in enumerate(_rule(state, rule)):
            yield ("  " if number else "") + f"{line}"
    if len(waiting) > RULE_LIMIT:
        yield f"… and {plural(len(waiting) - RULE_LIMIT, 'more rule')}"
    for source in state.sources.values():
        gone = (
            "; everything that it had is gone at once, which is not believed yet" if state.knowledge.is_emptied(source.name) else ""
        )
        yield f"source {source.name}: {health(state, source)}{gone}"


def health(state: Lifecycle, source: Source) -> str:
    """Return how a source is, in a few words."""
    answered = f"last answered {duration(state.now - source.heard_at)} ago" if source.answered else "has never answered"
    if source.trouble:
        retry = max(0.0, source.retry_at - state.now)
        again = f"next try in {duration(retry)}" if retry else "trying again"
        return f"{source.trouble} (for {duration(state.now - source.trouble_since)}; {answered}; {again})"
    return answered


def _rule(state: Lifecycle, rule: RuleState) -> Iterator[str]:
    named = rule.rule
    if rule.running_on:
        yield f"rule {named.name}: its handler is running"
        return
    basis = state.basis(rule)
    open_ = [name for name in named.after if not state.is_satisfied(next(r for r in state.rules if r.rule.name == name))]
    if basis is not None and rule.failures:
        last = f"{plural(rule.failures, 'time')} in a row, last: {rule.last_failure}"
        yield f"rule {named.name}: its handler failed {last}"
    elif basis is not None and open_:
        yield f"rule {named.name}: comes after {', '.join(open_)}"
    elif basis is not None:
        yield f"rule {named.name}: its handler has not run on the newest data yet"
    else:
        kind = "any" if named.any and len(named.interfaces) > 1 else "all"
        wanted = f"{kind} of {', '.join(named.interfaces)}" if len(named.interfaces) > 1 else named.interfaces[0]
        yield f"rule {named.name} ({named.where}): waits for valid data of {wanted}"
        for interface in named.interfaces:
            if interface not in state.knowledge.valid:
                yield from (f"{interface}: {reason}" for reason in _interface(state, interface))


def _interface(state: Lifecycle, interface: str) -> Iterator[str]:
    view = state.knowledge.view(interface)
    if view.pending:
        yield "is being merged and validated"
    elif view.problems:
        from_ = f" (from {', '.join(name for name, _ in view.combination)})"
        for problem in view.problems[:PROBLEM_LIMIT]:
            yield escape(problem, 300) + from_
        if len(view.problems) > PROBLEM_LIMIT:
            yield f"and {plural(len(view.problems) - PROBLEM_LIMIT, 'more problem')}"
    else:
        silent = [source.name for source in state.sources.values() if not source.answered]
        held = f"no source has it yet (no answer so far from {', '.join(silent)})" if silent else "no source has it"
        yield held + "".join(_similar(state, interface))


def _similar(state: Lifecycle, interface: str) -> Iterator[str]:
    """Yield the names in the sources that look like a mistyped interface."""
    for source in state.sources:
        names, _ = state.knowledge.unknown(source)
        for name in difflib.get_close_matches(interface, names, n=1):
            yield f"; {source} has {escape(name, 80)}, which no schema knows: is that it?"
