"""What all sources say → interfaces: data by digest, verdicts, who contributed. Pure; data is opaque here.

A change is *composed* (of one source: its verdict counts; of several: the checker's), and then *taken over*: rules see only what
was taken over. An interface whose changes make rules run again and again is taken over ever more rarely, so that
data that keeps changing cannot prevent exec for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from disco import messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.messages import Checked, Diff, Fragment

FREE_RERUNS = 3  # in a row, before an interface is taken over more rarely
SETTLE_AT_MOST = 10  # times `settle` that an interface which never becomes quiet is waited for
LATE_AFTER = 1.0  # seconds of changes faster than the checker, after which a verdict on older data is better than none
FIRST_WAIT, LAST_WAIT = 1.0, 30.0  # seconds

Combination = tuple[tuple[str, str], ...]
"""The sources that contribute to an interface, in order, each with its digest."""


class View(NamedTuple):
    """An interface as it is known: who contributes; digest and body if it is valid, else the problems; or still to be checked."""

    combination: Combination
    digest: str = ""
    body: bytes = b""
    problems: tuple[str, ...] = ()
    pending: bool = False


NOTHING = View(())


@dataclass(eq=False, repr=False)
class _Interface:
    composed: View = NOTHING
    taken: View = NOTHING
    checked: tuple[Combination, View] | None = None
    late: View | None = None  # the checker's verdict on data that has changed again meanwhile
    pending_since: float = 0.0  # when the newest verdict began to be missing; 0: it is not
    changing_since: float = 0.0  # the first change that was not taken over yet
    settled_at: float = 0.0  # when what changed has been quiet for long enough
    reruns: int = 0
    taken_at: float = 0.0
    counted_at: float = 0.0  # the taking over that was counted as a rerun last
    not_before: float = 0.0


@dataclass(eq=False, repr=False)
class _Said:
    fragments: dict[str, Fragment] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    unknown_count: int = 0
    emptied: Diff | None = None  # a sudden total emptiness that is not believed yet
    believed_at: float = 0.0  # when it will be


class Knowledge:
    """All that is known; `valid` and `pending` are what rules are judged by."""

    def __init__(self, sources: Mapping[str, float], settle: float = 0.0) -> None:
        """Know nothing of these sources.

        sources: in order of precedence (the later one wins), each with the seconds for which its sudden total emptiness is not
        believed. settle: seconds for which an interface must be quiet before a change of it is taken over; a source's first
        full read never waits.
        """
        self._said = {source: _Said() for source in sources}
        self._patience = dict(sources)
        self._settle = settle
        self._interfaces: dict[str, _Interface] = {}
        self._dirty: set[str] = set()  # composed differs from what was taken over
        self._unchecked: dict[str, None] = {}  # in the order of arrival
        self.valid: dict[str, str] = {}
        self.late: set[str] = set()  # taken over from a late verdict: rules may run on it, exec waits for the newest
        self.pending: set[str] = set()  # a change of these is known and not taken over: no rule is judged by what was before

    def apply(self, source: str, diff: Diff, now: float) -> None:
        """Take a source's news; a first diff replaces all that it said before.

        News by which everything is gone that the source had is held back: a new leader, a restarted server or a lost
        permission look like that. It is dropped when something comes back, and believed when the source's patience is over.
        """
        said = self._said[source]
        gone = len(said.fragments) if diff.first else len(said.fragments.keys() & set(diff.removed))
        left = len(said.fragments) - gone + len(diff.changed) + diff.unknown_count
        if said.fragments and not left and not said.emptied and self._patience[source]:
            said.emptied, said.believed_at = diff, now + self._patience[source]
            return
        if said.emptied:
            if not (diff.changed or diff.unknown_count):
                return  # as empty as before
            held, said.emptied = said.emptied, None
            touched = self._believe(said, held) | self._believe(said, diff)
        else:
            touched = self._believe(said, diff)
        self._change(touched, now, at_once=diff.first)

    def is_emptied(self, source: str) -> bool:
        """Return whether a source's sudden total emptiness is being held back."""
        return self._said[source].emptied is not None

    def doubt(self, source: str, now: float, seconds: float) -> None:
        """Hold back an emptiness for at least so many seconds more: its source fails, and may come back with everything."""
        said = self._said[source]
        said.believed_at = max(said.believed_at, now + seconds + self._patience[source])

    def believe(self, now: float) -> list[str]:
        """Believe the emptiness of each source whose time is over; return these sources."""
        believed = []
        for source, said in self._said.items():
            if said.emptied and said.believed_at <= now:
                held, said.emptied = said.emptied, None
                self._change(self._believe(said, held), now, at_once=True)
                believed.append(source)
        return believed

    def _believe(self, said: _Said, diff: Diff) -> set[str]:
        touched = {*diff.changed, *diff.removed}
        if diff.first:
            touched |= set(said.fragments)
            said.fragments = {}
        for interface in diff.removed:
            said.fragments.pop(interface, None)
        said.fragments |= diff.changed
        said.unknown, said.unknown_count = diff.unknown, diff.unknown_count
        return touched

    def _change(self, touched: set[str], now: float, *, at_once: bool) -> None:
        for interface in sorted(touched):
            self._compose(interface)
            known = self._interfaces[interface]
            if at_once or not self._settle:
                known.settled_at = now
                continue
            if known.settled_at <= now:
                known.changing_since = now
            known.settled_at = min(now + self._settle, known.changing_since + SETTLE_AT_MOST * self._settle)

    def next_check(self) -> tuple[str, Combination, tuple[bytes, ...]] | None:
        """Return the next interface to merge and validate, the combination that it stands for, and the bodies; None if none is."""
        for interface in self._unchecked:
            del self._unchecked[interface]
            parts = self._contributions(interface)
            return interface, _combination(parts), tuple(fragment.body for _, fragment in parts)
        return None

    def check_again(self, interface: str) -> None:
        """Put an interface whose check was lost with the checker back into the queue."""
        self._compose(interface)

    def checked(self, interface: str, combination: Combination, answer: Checked) -> None:
        """Take the checker's answer, which counts if that combination is still the current one."""
        digest = "" if answer.problems else answer.digest
        view = View(combination, digest, b"" if answer.problems else answer.body, answer.problems)
        known = self._interfaces[interface]
        known.checked = (combination, view)
        self._compose(interface)
        known.late = view if known.composed.pending else None

    def take_over(self, now: float) -> list[str]:
        """Let rules see what has changed, as far as it need not wait; return the interfaces that they have to be judged by anew."""
        changed = []
        dirty, self._dirty = self._dirty, set()
        for interface in sorted(dirty):
            before = (self.valid.get(interface), interface in self.pending)
            if not self._take_over(interface, now):
                self._dirty.add(interface)
            if before != (self.valid.get(interface), interface in self.pending):
                changed.append(interface)
        return changed

    def _take_over(self, interface: str, now: float) -> bool:
        """Return whether the newest is taken over; else it has to wait."""
        known = self._interfaces[interface]
        if known.not_before > now:
            self.pending.discard(interface)  # what was taken over before is what counts
            self.late.discard(interface)
            return False
        newest = known.composed
        known.pending_since = (known.pending_since or now) if newest.pending else 0.0
        if newest.pending and known.late and now - known.pending_since >= LATE_AFTER:
            # It changes faster than it is checked: what is known by now has to do.
            newest, known.late, known.pending_since = known.late, None, now
            self.late.add(interface)
        elif newest.pending or known.settled_at > now:
            if interface not in self.late:
                self.pending.add(interface)
            return False
        else:
            self.late.discard(interface)
        self.pending.discard(interface)
        if newest.digest != known.taken.digest:
            if now - known.taken_at > 2 * max(LAST_WAIT, known.not_before - known.taken_at):
                known.reruns = 0
            known.taken_at = now
        known.taken = newest
        if known.taken.digest:
            self.valid[interface] = known.taken.digest
        else:
            self.valid.pop(interface, None)
        return interface not in self.late

    @property
    def deadline(self) -> float | None:
        """When something that waits can be taken over, or is believed."""
        times = [said.believed_at for said in self._said.values() if said.emptied]
        for interface in self._dirty:
            known = self._interfaces[interface]
            if interface in self.late:
                if not known.composed.pending:  # the newest verdict is there, and waits until the data is quiet
                    times.append(known.settled_at)
            elif interface not in self.pending:
                times.append(known.not_before)
            elif not known.composed.pending:
                times.append(known.settled_at)
        return min(times, default=None)

    def reran(self, interface: str, now: float, seconds: float) -> float:
        """Note that a change of this interface made a handler that takes so long run again.

        Return how long (seconds) its further changes now wait: not at first, then ever longer, up to 30 s or twice the
        handler's time; so the handler can end, and exec can happen, on data that stands still meanwhile.
        """
        known = self._interfaces[interface]
        if known.counted_at == known.taken_at:
            return 0.0  # by another rule
        known.counted_at = known.taken_at
        known.reruns += 1
        if known.reruns < FREE_RERUNS:
            return 0.0
        wait = min(FIRST_WAIT * 2.0 ** min(known.reruns - FREE_RERUNS, 20), max(LAST_WAIT, 2 * seconds))
        known.not_before = now + wait
        return wait

    def body(self, interface: str) -> bytes:
        """Return the canonical JSON of a valid interface."""
        return self._interfaces[interface].taken.body

    def view(self, interface: str) -> View:
        """Return the newest that is known of an interface."""
        return self._interfaces[interface].composed if interface in self._interfaces else NOTHING

    def unknown(self, source: str) -> tuple[tuple[str, ...], int]:
        """Return some names that the source holds and no schema knows, and how many there are."""
        return self._said[source].unknown, self._said[source].unknown_count

    def fragments(self, source: str) -> Mapping[str, Fragment]:
        """Return what a source said last, by interface."""
        return self._said[source].fragments

    def _contributions(self, interface: str) -> list[tuple[str, Fragment]]:
        return [(name, said.fragments[interface]) for name, said in self._said.items() if interface in said.fragments]

    def _compose(self, interface: str) -> None:
        known = self._interfaces.setdefault(interface, _Interface())
        parts = self._contributions(interface)
        known.composed = self._view(known, parts)
        if known.composed.pending:
            self._unchecked.setdefault(interface)  # it keeps its place: who changes often must not come last for ever
        else:
            self._unchecked.pop(interface, None)
        self._dirty.add(interface)

    @staticmethod
    def _view(known: _Interface, parts: list[tuple[str, Fragment]]) -> View:
        combination = _combination(parts)
        unusable = [f"{name}: {problem}" for name, part in parts if not part.body for problem in part.problems]
        if unusable:
            return View(combination, problems=tuple(unusable))
        if not parts:
            return NOTHING
        if len({part.digest for _, part in parts}) == 1:  # one source, or all say the same
            part = parts[0][1]
            return View(combination, "" if part.problems else part.digest, part.body, part.problems)
        if sum(len(part.body) for _, part in parts) > messages.BODY_LIMIT:
            much = f"{len(parts)} sources say more than {messages.BODY_LIMIT >> 20} MiB of it: let fewer of them have it"
            return View(combination, problems=(much,))
        if known.checked and known.checked[0] == combination:
            return known.checked[1]
        return View(combination, pending=True)


def _combination(parts: list[tuple[str, Fragment]]) -> Combination:
    return tuple((name, part.digest) for name, part in parts)
