"""Reasons: why disco ends as it does. Facts too, of which `people.wording` makes the last words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.core.facts import Fact, Survived

if TYPE_CHECKING:
    from disco.core.events import ChildId
    from disco.core.facts import RunFailure, Trouble


class Satisfied(Fact):
    """All rules are satisfied."""


class GaveUp(Fact):
    """A rule's handler failed as often in a row as it may; is_own_limit: by the rule's fail_limit, not by disco's."""

    rule: str
    failures: int
    last: RunFailure
    is_own_limit: bool


class TimedOut(Fact):
    """disco.timeout has passed.

    silent: the required sources that never answered, and why. refused: the rules whose handlers refuse their data, and how.
    """

    silent: tuple[tuple[str, Trouble], ...]
    refused: tuple[tuple[str, RunFailure], ...]


class Signalled(Fact):
    """A signal stopped disco."""

    signal: int


class ForksRefused(Fact):
    """A child could not be forked so many times in a row."""

    child: ChildId
    attempts: int
    reason: str


class NoRules(Fact):
    """A dry run: there is no rule."""


class WouldRun(Fact):
    """A dry run: every rule would run."""


class Silent(Fact):
    """A dry run: these required sources did not answer."""

    silent: tuple[tuple[str, Trouble], ...]


class WouldWait(Fact):
    """A dry run: so many rules would wait for data."""

    rules: int


class WouldFail(Fact):
    """A dry run: a rule's handler could not be started."""

    rule: str
    failure: RunFailure


Reason = Satisfied | GaveUp | TimedOut | Signalled | ForksRefused | Survived | NoRules | WouldRun | Silent | WouldWait | WouldFail
"""Why disco ends as it does."""


class Outcome(Fact):
    """How disco ends: exec (status None), or an exit status; and why."""

    status: int | None
    reason: Reason
