"""The freeze: data that changes all the time keeps exec waiting only for so long.

Invariant: while a rule has frozen the data nothing is adopted, and no rule's reruns are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.core import facts

if TYPE_CHECKING:
    from disco.core.actions import Outbox
    from disco.core.adoption import Adoption
    from disco.core.progress import RuleState
    from disco.site.rules import Basis


class Freeze:
    """Counts how often a rule, or the adoption, does the same again for nothing but other data, and then freezes the data."""

    def __init__(self, free_reruns: int, adoption: Adoption, outbox: Outbox) -> None:
        """Freeze nothing; free_reruns: how many in a row do no harm."""
        self.rule = ""  # because of which no more data is adopted
        self.began = 0.0
        self._free_reruns = free_reruns
        self._adoption = adoption
        self._outbox = outbox
        self._reruns: dict[str, int] = {}  # by rule, in a row
        self._stale_cuts = 0  # in a row: exec only waited for data that changes faster than it is merged

    def count_run(self, state: RuleState, basis: Basis, now: float, *, is_calm: bool) -> bool:
        """Count a run that begins; return whether it freezes the data. is_calm: nothing but rules keeps exec waiting."""
        if self.rule or state.started_on is None or state.started_on == basis:
            return False
        name = state.rule.name
        self._reruns[name] = self._reruns.get(name, 0) + 1 if is_calm else 0
        if self._reruns[name] <= self._free_reruns:
            return False
        before = dict(state.started_on)
        changed = tuple(interface for interface, digest in basis if before.get(interface) != digest)
        self._freeze(name, changed, self._reruns[name] + 1, now)
        return True

    def count_cut(self, adopted: set[str], rules: dict[str, list[RuleState]], now: float, *, all_succeeded: bool) -> None:
        """Count what was adopted, which may freeze the data. rules: those that name an interface."""
        stale = self._adoption.stale
        if not stale:
            self._stale_cuts = 0
        elif not stale.isdisjoint(adopted) and all_succeeded:
            self._stale_cuts += 1
            if self._stale_cuts > self._free_reruns:
                first = min((state for name in stale for state in rules[name]), key=lambda state: state.number)
                self._freeze(first.rule.name, tuple(sorted(stale)), 0, now)

    def thaw(self) -> None:
        """Adopt what has changed again."""
        if self.rule:
            self.rule = ""
            self._reruns.clear()
            self._adoption.freeze(wanted=False)

    def _freeze(self, rule: str, changed: tuple[str, ...], runs: int, now: float) -> None:
        self.rule, self.began, self._stale_cuts = rule, now, 0
        self._adoption.freeze(wanted=True)
        self._outbox.log(facts.DataFrozen(rule, changed, runs))
