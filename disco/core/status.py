"""The status: a frozen snapshot of all that people may ask about. Reports, the dry run and the last words are made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.named import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.core.adoption import View
    from disco.core.facts import RunFailure, Survived, Trouble
    from disco.core.plan import Plan, SourcePlan
    from disco.core.progress import Refusal
    from disco.core.reasons import Outcome
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

    basis: None while too little of its data is there. has_new_data: it could run on other data than it succeeded on. refusal: its
    handler has refused the basis.
    """

    rule: Rule
    basis: Basis | None
    has_new_data: bool
    is_satisfied: bool
    is_running: bool
    failures: int
    last_failure: RunFailure | None
    refusal: Refusal | None


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
