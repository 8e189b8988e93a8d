"""How far each rule has come, and what is run for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.named import NamedTuple
from disco.system.backoff import double

if TYPE_CHECKING:
    from disco.core.facts import RunFailure
    from disco.site.rules import Basis, Rule


FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0  # seconds until refused data is tried again, doubling


class Refusal(NamedTuple):
    """A handler exited with 65: the data is wrong. It is not tried again at once, but other data is.

    times: so often in a row the handler has refused this data. until: when it is tried again; None: the pause is over.
    """

    basis: Basis
    failure: RunFailure
    times: int
    until: float | None


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
        self.refusal: Refusal | None = None  # its last run ended so
        self.not_before: float | None = None  # after a failure: when it is tried again
        self.leftovers_until: float | None = None  # its runner died: it waits for what is left of the run, so long at most

    @property
    def waits_until(self) -> float | None:
        """When the first of its waits ends."""
        times = (self.not_before, self.leftovers_until, self.refusal and self.refusal.until)
        return min((time for time in times if time is not None), default=None)

    def may_run_on(self, basis: Basis) -> bool:
        """Return whether it need not wait before it runs on this data."""
        if self.not_before is not None or self.leftovers_until is not None:
            return False
        refusal = self.refusal_of(basis)
        return refusal is None or refusal.until is None

    def refusal_of(self, basis: Basis | None) -> Refusal | None:
        """Return how its handler has refused this data in its last run; None if it has not."""
        return self.refusal if self.refusal and self.refusal.basis == basis else None

    def succeed(self, basis: Basis, exported: bytes) -> None:
        """Take that its run on this data has succeeded, and what it exported."""
        self.succeeded_on, self.exported = basis, exported
        self.failures, self.last_failure, self.refusal = 0, None, None

    def fail(self, failure: RunFailure) -> None:
        """Take that its run has failed."""
        self.failures += 1
        self.last_failure, self.refusal = failure, None

    def refuse(self, basis: Basis, failure: RunFailure, now: float) -> float:
        """Take that its handler has refused this data, which is no failure; return the seconds until that is tried again."""
        before = self.refusal_of(basis)
        times = before.times + 1 if before else 1
        pause = double(FIRST_PAUSE, LONGEST_PAUSE, times - 1)
        self.refusal = Refusal(basis, failure, times, now + pause)
        return pause

    def end_waits(self, now: float) -> None:
        """End the pauses that are over."""
        if self.not_before is not None and self.not_before <= now:
            self.not_before = None
        if self.refusal and self.refusal.until is not None and self.refusal.until <= now:
            self.refusal = self.refusal._replace(until=None)


class Assignment(NamedTuple):
    """What a runner runs: the run's number, its rule, and the data that it stands for."""

    task: int
    rule: RuleState
    basis: Basis
