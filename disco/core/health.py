"""The health of sources: who has answered, who cannot be read, and whom exec, or an interface, waits for.

Invariant: an interface is withheld exactly as long as a source that names it in its `interfaces` is awaited for the first time.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from disco.core import facts
from disco.core.deadlines import Deadlines
from disco.text import NAME_LIMIT, REASON_LIMIT, escape

if TYPE_CHECKING:
    from disco.core.actions import Outbox
    from disco.core.children import Children, SourceState
    from disco.core.composition import Composition
    from disco.core.plan import Plan
    from disco.wire.messages import Diff

WELL_AFTER = 30.0  # seconds without an error, after which one good answer is enough
DATA_LIMIT = 48 << 20  # bytes of JSON, bare and filled, that are kept of one source: more than its own process lets pass
RETRY_LIMIT = 120.0  # seconds that a source may say it needs until its next try
NAMES_SHOWN = 20


class Health:
    """What each source's answers and failures mean for the data, for exec, and for people."""

    def __init__(self, plan: Plan, children: Children, composition: Composition, outbox: Outbox) -> None:
        """Know of no answer."""
        self._interfaces = plan.interfaces
        self._children = children
        self._sources = children.sources
        self._composition = composition
        self._outbox = outbox
        self._waits: Deadlines[SourceState] = Deadlines(attrgetter("waits_until"))
        self._namers: dict[str, list[SourceState]] = {}  # by interface: the sources whose `interfaces` names it
        for source in self._sources.values():
            for interface in source.plan.interfaces or ():
                self._namers.setdefault(interface, []).append(source)

    def begin(self, now: float) -> None:
        """Begin to wait for the first answers."""
        for source in self._sources.values():
            if not source.plan.required:
                source.optional_until = now + source.plan.timeout
                self._waits.note(source)

    # Who is awaited

    def is_awaited(self, source: SourceState, now: float) -> bool:
        """Return whether exec waits for this source's first good answer, or for its process that SIGHUP asked for."""
        return self._lacks_first_answer(source, now) or (source.renewed_until is not None and now < source.renewed_until)

    def awaited_for(self, interface: str, now: float) -> list[SourceState]:
        """Return the sources that have to answer before rules may see an interface."""
        if interface not in self._composition.withheld:
            return []
        return [source for source in self._namers.get(interface, ()) if self._lacks_first_answer(source, now)]

    def keeps_waiting(self, now: float) -> bool:
        """Return whether exec waits for what sources have to say, whatever the rules do."""
        return any(self.is_awaited(source, now) or self._may_refill(source) for source in self._sources.values())

    def silent(self) -> tuple[tuple[str, facts.Trouble], ...]:
        """Return the required sources that never answered, and why."""
        return tuple(
            (source.name, source.trouble) for source in self._sources.values() if source.plan.required and not source.has_answered
        )

    def _lacks_first_answer(self, source: SourceState, now: float) -> bool:
        is_in_time = source.optional_until is not None and now < source.optional_until
        return not source.has_answered and (source.plan.required or is_in_time)

    def _may_refill(self, source: SourceState) -> bool:
        """Return whether what a source lost at once may come back soon: not while it cannot be read."""
        return not source.trouble and self._composition.contribution(source.name).is_held_empty

    # What sources say

    def find_excess(self, source: SourceState, diff: Diff) -> str:
        """Return what of its news a source may not say; empty if there is nothing."""
        if not all(name in self._interfaces and source.plan.may_provide(name) for name in diff.changed):
            return "an interface that it may not provide"
        newest = self._composition.contribution(source.name).newest(diff)
        if sum(len(fragment.body) + len(fragment.filled) for fragment in newest.values()) > DATA_LIMIT:
            return f"more than {DATA_LIMIT >> 20} MiB of data"
        return ""

    def changed(self, source: SourceState, diff: Diff, now: float) -> None:
        """Take a source's news."""
        self.answered(source, now)
        note = escape(diff.note, REASON_LIMIT)
        if note and note != source.note:
            self._outbox.log(facts.SourceNoted(source.name, note))
        source.note = note
        contribution = self._composition.contribution(source.name)
        was_held, unknown = contribution.is_held_empty, (contribution.unknown, contribution.unknown_count)
        self._composition.apply(source.name, diff, now)
        if contribution.is_held_empty and not was_held:
            self._outbox.log(facts.SourceEmptied(source.name, source.plan.settle))
        elif was_held and not contribution.is_held_empty:
            self._outbox.log(facts.SourceRefilled(source.name))
        if diff.unknown_count and unknown != (diff.unknown, diff.unknown_count):
            names = tuple(escape(name, NAME_LIMIT) for name in diff.unknown[:NAMES_SHOWN])
            self._outbox.log(facts.NamesIgnored(source.plan, names, diff.unknown_count))

    def answered(self, source: SourceState, now: float) -> None:
        """Take a source's good answer, with news or without."""
        if not source.has_answered:
            source.has_answered, source.logged_trouble = True, ""
            self._outbox.log(facts.SourceAnswered(source.name))
            self._release(source, now)
        source.answered_at, source.trouble, source.refused_forks = now, "", 0
        self._composition.limit_hold(source.name, now)
        if not source.is_renewed:
            source.renewed_until = None
        self._children.extend(source, source.plan.lease, now)
        if source.logged_trouble or source.deaths:
            if source.well_at is not None:
                self._recover(source, now)
            else:  # one answer may be all that it gives: the next one counts, or that it stays well
                source.well_at = now + WELL_AFTER
                self._waits.note(source)

    def failed(self, source: SourceState, trouble: facts.Trouble, retry_in: float, now: float) -> None:
        """Take why a source cannot be read; it, or its process, tries again in retry_in seconds."""
        if not source.is_renewed:
            source.renewed_until = None
        source.well_at = None
        if source.logged_trouble != trouble:
            failed = facts.SourceFailed(source.name, trouble, retry_in, source.plan.required, source.has_answered)
            self._outbox.log(failed)
        if not source.logged_trouble:
            source.logged_at = now
        if not source.trouble:
            source.failed_at = now
        source.trouble = source.logged_trouble = trouble
        source.retry_at = now + retry_in
        self._composition.extend_hold(source.name)

    def fork_failed(self, source: SourceState, reason: str, retry_in: float, now: float) -> None:
        """Take that a source's process could not be started, which is logged of every child."""
        source.renewed_until = source.well_at = None
        if not source.trouble:
            source.trouble, source.failed_at = facts.ForkRefused(reason), now
        source.retry_at = now + retry_in
        self._composition.extend_hold(source.name)

    def accept_held(self, now: float) -> None:
        """Accept each emptiness that was held for its time."""
        for source in self._composition.accept_held(now):
            has_data = bool(self._composition.contribution(source).fragments)
            self._outbox.log(facts.SourceWithdrawn(source, has_data))

    def renew(self, source: SourceState, now: float) -> None:
        """Wait for the next process of a source, for its timeout at most; a further SIGHUP does not extend that."""
        source.deaths = 0
        if source.renewed_until is None or source.renewed_until <= now:
            source.renewed_until = now + source.plan.timeout
            self._waits.note(source)

    def _recover(self, source: SourceState, now: float) -> None:
        """Forget what a source that is well again went through."""
        if source.logged_trouble:
            self._outbox.log(facts.SourceRecovered(source.name, now - source.logged_at))
        source.well_at, source.logged_trouble, source.deaths = None, "", 0

    def _release(self, source: SourceState, now: float) -> None:
        """Let rules see the interfaces that only waited for this source."""
        for interface in source.plan.interfaces or ():
            if interface in self._composition.withheld and not self.awaited_for(interface, now):
                self._composition.release(interface, now)

    # Time

    @property
    def deadline(self) -> float | None:
        """When the first wait for a source ends."""
        return self._waits.first

    def expire(self, now: float) -> None:
        """End the waits whose time is up."""
        for source in self._waits.due(now):
            if source.well_at is not None and source.well_at <= now:
                self._recover(source, now)
            if source.renewed_until is not None and source.renewed_until <= now:
                source.renewed_until = None
            if source.optional_until is not None and source.optional_until <= now:
                source.optional_until = None
                self._release(source, now)
