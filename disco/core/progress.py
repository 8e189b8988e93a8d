"""How far each rule has come, and what is run for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.named import NamedTuple

if TYPE_CHECKING:
    from disco.core.facts import RunFailure
    from disco.site.rules import Basis, Rule


class RuleState:
    """What happened to a rule so far."""

    def __init__(self, rule: Rule, number: int) -> None:
        """Nothing; number: its place in the order of all rules."""
        self.rule = rule
        self.number = number
        self.turn = 0  # its last run, counted over all rules; 0: it has not run yet
        self.started_on: Basis | None = None  # the data of its last run, however that ended
        self.succeeded_on: Basis | None = None  # the data of its last run, if that has succeeded
        self.exported = b""  # the variables for COMMAND that its last success wrote; nobody looks into them before exec
        self.failures = 0  # in a row
        self.last_failure: RunFailure | None = None
        self.not_before: float | None = None  # after a failure: when it is tried again
        self.leftovers_until: float | None = None  # its runner died: it waits for what is left of the run, so long at most

    @property
    def waits_until(self) -> float | None:
        """When the first of its waits ends."""
        if self.not_before is None or self.leftovers_until is None:
            return self.leftovers_until if self.not_before is None else self.not_before
        return min(self.not_before, self.leftovers_until)


class Assignment(NamedTuple):
    """What a runner runs: the run's number, its rule, and the data that it stands for."""

    task: int
    rule: RuleState
    basis: Basis
