"""What rules see of all that is known: adopted in cuts, so that a rule sees all its interfaces as of one moment. Pure.

Interfaces that changed and that a rule names together wait for each other, until all of them are quiet and merged: what came
in one message is adopted at once or not at all. Where data changes faster than it is merged, what was known at one older moment
is adopted. A freeze ends all that: nothing is adopted until it is lifted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SETTLE_AT_MOST = 10  # times `settle` that interfaces which never become quiet are waited for
LATE_AFTER = 1.0  # seconds of changes faster than the checker, after which an older moment is better than none

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
    newest: View = NOTHING
    adopted: View = NOTHING
    changing_since: float = 0.0  # the first change that is not adopted yet
    settled_at: float = 0.0  # when what changed has been quiet for long enough
    pending_since: float = 0.0  # when the newest verdict began to be missing


class Moment(dict[str, View]):
    """Interfaces that are adopted together, as they were known at one moment."""


class Adoption:
    """The newest of each interface, and what of it rules see: `valid`, `pending` and `late` are what they are judged by."""

    def __init__(self, rules: Iterable[tuple[str, ...]], settle: float) -> None:
        """Know nothing yet.

        rules: the interfaces of each rule. settle: seconds for which interfaces must be quiet before a change is adopted.
        """
        self._settle = settle
        self._joined: dict[str, list[int]] = {}  # by interface: the rules that name it
        for number, names in enumerate(rules):
            for name in names:
                self._joined.setdefault(name, []).append(number)
        self._interfaces: dict[str, _Interface] = {}
        self._changed: set[str] = set()  # the newest is not what was adopted
        self._older: dict[str, Moment] = {}  # by interface: a moment that is wholly known, while newer data is not
        self._open: Moment | None = None  # the moment whose interfaces are being checked
        self._due: list[Moment] = []
        self._looked = True  # nothing happened since the last look
        self.deadline: float | None = None  # when something that waits can be adopted
        self.frozen = False
        self.valid: dict[str, str] = {}  # digests
        self.pending: set[str] = set()  # a change of these is known and not adopted: no rule is judged by what was before
        self.late: set[str] = set()  # adopted as of an older moment: rules may run on it, exec waits for the newest

    def newest(self, interface: str) -> View:
        """Return the newest of an interface."""
        known = self._interfaces.get(interface)
        return known.newest if known else NOTHING

    def adopted(self, interface: str) -> View:
        """Return an interface as rules see it."""
        known = self._interfaces.get(interface)
        return known.adopted if known else NOTHING

    @property
    def behind(self) -> list[str]:
        """The interfaces whose newest data is not adopted."""
        return sorted(self._changed)

    # What is new

    def change(self, interface: str, newest: View, now: float, *, at_once: bool) -> None:
        """Take the newest of an interface; `at_once`: it need not be quiet before it is adopted."""
        known = self._interfaces.setdefault(interface, _Interface())
        if interface not in self._changed:
            known.changing_since = now
        known.settled_at = now if at_once else now + self._settle
        self.learn(interface, newest, now)

    def learn(self, interface: str, newest: View, now: float) -> None:
        """Take what is known by now of data that has not changed."""
        known = self._interfaces.setdefault(interface, _Interface())
        if newest.pending and not known.newest.pending:
            known.pending_since = now
        known.newest = newest
        if newest.pending or newest.digest != known.adopted.digest:
            self._changed.add(interface)
        else:
            known.adopted = newest
            self._changed.discard(interface)
        self._looked = False

    def judge(self, interface: str, view: View) -> None:
        """Take a verdict on an interface of the moment that is being checked."""
        if self._open and interface in self._open and self._open[interface].combination == view.combination:
            self._open[interface] = view

    def open_moment(self, interface: str) -> Moment:
        """Return an interface that has to be checked, with all that is adopted together with it, as of now."""
        joined = next(group for group in self._groups() if interface in group)
        self._open = Moment({name: self._interfaces[name].newest for name in joined})
        return self._open

    def close_moment(self) -> None:
        """End the moment that was opened: if all of it is known by now, it can be adopted even though newer data is not known."""
        moment, self._open = self._open, None
        if moment is None or any(view.pending for view in moment.values()):
            return
        for name in moment:
            for other in self._older.pop(name, ()):
                self._older.pop(other, None)
        if any(self._interfaces[name].newest.pending for name in moment):
            self._older |= dict.fromkeys(moment, moment)
        self._looked = False

    # What is adopted

    def look(self, now: float) -> set[str]:
        """Find out what is due; return the interfaces that began or ceased to be pending."""
        if self._looked and (self.deadline is None or now < self.deadline):
            return set()
        self._looked, self._due, self.deadline = True, [], None
        before = self.pending
        waiting: set[str] = set()
        late: set[str] = set()
        if not self.frozen:
            times = []
            for group in self._groups():
                moment, at = self._find_moment(group)
                if moment and at <= now:
                    self._due.append(moment)
                elif moment:
                    times.append(at)
                if self.late.isdisjoint(group):
                    waiting |= group
                else:
                    late |= group
            self.deadline = min(times, default=None)
        self.pending, self.late = waiting, late & self._joined.keys()
        return before ^ self.pending

    @property
    def is_due(self) -> bool:
        """Whether the last look found something to adopt."""
        return bool(self._due)

    def adopt(self, now: float) -> set[str]:
        """Let rules see what is due; return the interfaces that they have to be judged by anew."""
        changed: set[str] = set()
        for moment in self._due:
            late = any(self._interfaces[name].newest.pending for name in moment)
            if not late and self._open and not self._open.keys().isdisjoint(moment):
                self._open = None  # it is older than this
            for name, view in moment.items():
                self._adopt(name, view)
                self._older.pop(name, None)
                known = self._interfaces[name]
                known.changing_since = known.pending_since = now
                if known.newest.pending or known.newest.digest != view.digest:
                    self._changed.add(name)
                else:
                    self._changed.discard(name)
                (self.late.add if late and name in self._joined else self.late.discard)(name)
            changed.update(moment)
        if self._due:
            self._looked = False
            changed |= self.look(now)
        return changed

    def freeze(self, *, wanted: bool) -> None:
        """Adopt nothing any more: what rules see by now is what counts; or go on."""
        self.frozen, self._looked = wanted, False

    def _adopt(self, name: str, view: View) -> None:
        self._interfaces[name].adopted = view
        if view.digest:
            self.valid[name] = view.digest
        else:
            self.valid.pop(name, None)

    def _find_moment(self, group: set[str]) -> tuple[Moment | None, float]:
        """Return what of a group can be adopted, and when; None: nothing as long as it is not checked."""
        known = [self._interfaces[name] for name in group]
        missing = [one.pending_since for one in known if one.newest.pending]
        if missing:
            older = next((self._older[name] for name in group if name in self._older), None)
            return older, min(missing) + LATE_AFTER
        quiet = max(one.settled_at for one in known)
        return Moment({name: self._interfaces[name].newest for name in group}), min(
            quiet, min(one.changing_since for one in known) + SETTLE_AT_MOST * self._settle
        )

    def _groups(self) -> Iterator[set[str]]:
        """Yield what is adopted together: of all that changed, what a rule names together."""
        left = {*self._changed, *self._older, *(self._open or ())}
        by_rule: dict[int, list[str]] = {}
        for name in left:
            for number in self._joined.get(name, ()):
                by_rule.setdefault(number, []).append(name)
        while left:
            group: set[str] = set()
            reached = {left.pop()}
            while reached:
                name = reached.pop()
                group.add(name)
                for number in self._joined.get(name, ()):
                    reached.update(by_rule.pop(number, ()))
                reached -= group
            left -= group
            yield group
